//! The part of JSON schema that Kubernetes' structural schemas have.

use std::collections::HashMap;
use std::sync::{LazyLock, RwLock};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use regex::Regex;
use serde_json::{Map, Value};

use super::{Violation, suggest};
use crate::form;

/// Checks `value` against `schema`, after filling in defaults and removing nulls, which count as absent.
pub(super) fn check(schema: &Value, value: &mut Value, path: &str, violations: &mut Vec<Violation>) {
    let wanted = schema["type"].as_str().unwrap_or_default();
    if !has_type(value, wanted) {
        violations.push(wrong_type(schema, value, path));
        return;
    }
    if let Some(known) = schema["enum"].as_array()
        && !known.contains(value)
    {
        violations.push(not_in_enum(value, known, path));
        return;
    }
    match value {
        Value::Object(fields) => object(schema, fields, path, violations),
        Value::Array(items) => {
            size(schema, items.len(), ("minItems", "maxItems"), "items", path, violations);
            for (index, item) in items.iter_mut().enumerate() {
                check_removable(&schema["items"], item, &format!("{path}[{index}]"), "entry", violations);
            }
        }
        Value::String(text) => string(schema, text, path, violations),
        Value::Number(_) => number(schema, value, path, violations),
        Value::Bool(_) | Value::Null => {}
    }
}

/// The same for what need not be there: what it lacks it can lack whole.
fn check_removable(schema: &Value, value: &mut Value, path: &str, what: &str, violations: &mut Vec<Violation>) {
    let before = violations.len();
    check(schema, value, path, violations);
    for violation in &mut violations[before..] {
        if violation.path == path && violation.fix == FILL_IN {
            violation.fix = format!("{FILL_IN}, or remove the {what}");
        }
    }
}

fn object(schema: &Value, fields: &mut Map<String, Value>, path: &str, violations: &mut Vec<Violation>) {
    let each = &schema["additionalProperties"];
    if each.is_object() {
        size(schema, fields.len(), ("minProperties", "maxProperties"), "entries", path, violations);
        for (name, value) in fields {
            check_removable(each, value, &format!("{path}.{name}"), "entry", violations);
        }
        return;
    }
    let empty = Map::new();
    let known = schema["properties"].as_object().unwrap_or(&empty);
    for name in fields.keys().filter(|name| !known.contains_key(*name)) {
        let near = suggest::nearest(name, known.keys().map(String::as_str));
        let all: Vec<&str> = known.keys().map(String::as_str).collect();
        violations.push(unknown(&format!("{path}.{name}"), near, &format!("use one of {}", all.join(", "))));
    }
    fields.retain(|_, value| !value.is_null());
    for (name, schema) in known {
        if let Some(default) = schema.get("default")
            && !fields.contains_key(name)
        {
            fields.insert(name.clone(), default.clone());
        }
    }
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for name in &required {
        if !fields.contains_key(*name) {
            violations.push(missing(&format!("{path}.{name}"), &known[*name]));
        }
    }
    for (name, value) in fields {
        let Some(schema) = known.get(name) else { continue };
        let path = format!("{path}.{name}");
        if required.contains(&name.as_str()) {
            check(schema, value, &path, violations);
        } else {
            check_removable(schema, value, &path, "field", violations);
        }
    }
}

/// Fields beside `spec` that no object has.
pub(super) fn unknown_top_level(object: &Value, violations: &mut Vec<Violation>) {
    const KNOWN: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];
    for name in object.as_object().into_iter().flat_map(|fields| fields.keys()) {
        if !KNOWN.contains(&name.as_str()) {
            violations.push(unknown(
                name,
                suggest::nearest(name, KNOWN.into_iter()),
                "move it into spec, or remove it",
            ));
        }
    }
}

/// A field that the schema does not have.
pub(super) fn unknown(path: &str, near: Option<&str>, otherwise: &str) -> Violation {
    Violation {
        path: path.to_owned(),
        value: String::new(),
        rule: "unknown field".to_owned(),
        fix: near.map_or_else(|| otherwise.to_owned(), |name| format!("did you mean {name}?")),
    }
}

/// A field that has to be there.
pub(super) fn missing(path: &str, schema: &Value) -> Violation {
    let description = schema["description"].as_str().unwrap_or_default();
    Violation {
        path: path.to_owned(),
        value: String::new(),
        rule: "required field is missing".to_owned(),
        fix: format!("add it ({})", first_sentence(description)),
    }
}

/// Without its full stop. What follows a sentence begins with a capital letter; what follows an abbreviation does not.
fn first_sentence(text: &str) -> &str {
    let ends = |(at, _): &(usize, &str)| text[at + 2..].starts_with(char::is_uppercase);
    text.match_indices(". ").find(ends).map_or(text.trim_end_matches('.'), |(at, _)| &text[..at])
}

fn has_type(value: &mut Value, wanted: &str) -> bool {
    match wanted {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "number" => value.is_number(),
        "integer" => is_integer(value),
        _ => true,
    }
}

/// As Kubernetes has it, `1.0` is an integer. It becomes one here, since our types read no fractions.
fn is_integer(value: &mut Value) -> bool {
    if let Some(float) = value.as_f64()
        && !value.is_i64()
        && !value.is_u64()
        && float.fract() == 0.0
        && float.abs() < 9_007_199_254_740_992.0
        && let Ok(integer) = format!("{float:.0}").parse::<i64>()
    {
        *value = integer.into();
    }
    value.is_i64() || value.is_u64()
}

fn wrong_type(schema: &Value, value: &Value, path: &str) -> Violation {
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) if schema["type"] == "integer" => "a fraction",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    let (wanted, fix) = match schema["type"].as_str().unwrap_or_default() {
        "string" if schema["format"] == "date-time" => ("a moment", MOMENT),
        "string" if value.is_number() || value.is_boolean() => ("text", "put it in quotes"),
        "string" => ("text", "write one text"),
        "integer" => ("a whole number", "write a number without quotes and fraction"),
        "number" => ("a number", "write a number without quotes"),
        "boolean" => ("true or false", "write true or false without quotes"),
        "array" => ("a list", "write it as a list: [...]"),
        _ => ("an object", "write fields: {...}"),
    };
    let value = if value.is_object() || value.is_array() { String::new() } else { shortened(value) };
    Violation { path: path.to_owned(), value, rule: format!("has to be {wanted}, not {found}"), fix: fix.to_owned() }
}

fn not_in_enum(value: &Value, known: &[Value], path: &str) -> Violation {
    let names: Vec<&str> = known.iter().filter_map(Value::as_str).collect();
    let nearest = |backwards: bool| {
        let names: Vec<&str> = if backwards { names.iter().rev().copied().collect() } else { names.clone() };
        suggest::nearest(value.as_str()?, names.into_iter())
    };
    // Of two that are as near, neither: TLS_1_3 is no reason to propose TLS_1_0.
    let near = nearest(false).filter(|near| nearest(true) == Some(*near));
    let (rule, otherwise) = match names.as_slice() {
        [only] => (format!("has to be {only}"), format!("write {only}")),
        _ => (format!("has to be one of {}", names.join(", ")), "use one of these".to_owned()),
    };
    let fix = near.map_or(otherwise, |name| format!("did you mean {name}?"));
    Violation { path: path.to_owned(), value: shortened(value), rule, fix }
}

fn string(schema: &Value, text: &str, path: &str, violations: &mut Vec<Violation>) {
    let before = violations.len();
    size(schema, text.chars().count(), ("minLength", "maxLength"), "characters", path, violations);
    if schema["format"] == "date-time" && !is_moment(text) {
        violations.push(Violation {
            path: path.to_owned(),
            value: shortened(&text.into()),
            rule: "has to be a moment with its offset".to_owned(),
            fix: MOMENT.to_owned(),
        });
    }
    if violations.len() == before
        && let Some(pattern) = schema["pattern"].as_str()
        && !matches(pattern, text)
    {
        let (rule, fix) = form::words(pattern, text);
        violations.push(Violation { path: path.to_owned(), value: shortened(&text.into()), rule, fix });
    }
}

const FILL_IN: &str = "add what is missing";
const MOMENT: &str = "write it as in 2027-01-31T00:00:00Z";

/// Read as our types read it (RFC 3339, section 5.6).
fn is_moment(text: &str) -> bool {
    serde_json::from_value::<Time>(text.into()).is_ok()
}

/// Patterns come from our own schemas, so there are few of them and they compile.
fn matches(pattern: &str, text: &str) -> bool {
    static COMPILED: LazyLock<RwLock<HashMap<String, Regex>>> = LazyLock::new(RwLock::default);
    if let Some(regex) = COMPILED.read().expect("nobody panics while holding the lock").get(pattern) {
        return regex.is_match(text);
    }
    let regex = Regex::new(pattern).expect("the tests compile every pattern of our schemas");
    let matched = regex.is_match(text);
    COMPILED.write().expect("nobody panics while holding the lock").insert(pattern.to_owned(), regex);
    matched
}

fn number(schema: &Value, value: &Value, path: &str, violations: &mut Vec<Violation>) {
    let Some(number) = value.as_f64() else { return };
    let (least, most) = (schema["minimum"].as_f64(), schema["maximum"].as_f64());
    if least.is_some_and(|least| number < least) || most.is_some_and(|most| number > most) {
        let rule = match (least, most) {
            (Some(least), Some(most)) => format!("has to be from {least} to {most}"),
            (Some(least), None) => format!("has to be at least {least}"),
            (_, most) => format!("has to be at most {}", most.unwrap_or_default()),
        };
        violations.push(Violation {
            path: path.to_owned(),
            value: shortened(value),
            rule,
            fix: "choose a number in this range".to_owned(),
        });
    }
}

fn size(
    schema: &Value,
    found: usize,
    (min, max): (&str, &str),
    what: &str,
    path: &str,
    violations: &mut Vec<Violation>,
) {
    let found = u64::try_from(found).unwrap_or(u64::MAX);
    let are = |number: u64| if number == 1 { "is" } else { "are" };
    let (least, most) = (schema[min].as_u64(), schema[max].as_u64());
    let rule = match (least, most) {
        (Some(least), Some(most)) if least == most && found != most => {
            format!("has {found} {what}, exactly {most} {} needed", are(most))
        }
        (Some(least), _) if found < least => format!("has {found} {what}, at least {least} {} needed", are(least)),
        (_, Some(most)) if found > most => format!("has {found} {what}, at most {most} {} allowed", are(most)),
        _ => return,
    };
    let fix = match most.filter(|most| found > *most) {
        Some(_) if what == "characters" => "shorten it".to_owned(),
        Some(most) => format!("remove {} of them", found - most),
        None => FILL_IN.to_owned(),
    };
    violations.push(Violation { path: path.to_owned(), value: String::new(), rule, fix });
}

/// A value as JSON, short enough for a line.
pub(super) fn shortened(value: &Value) -> String {
    const LONGEST: usize = 80;
    let json = value.to_string();
    if json.chars().count() <= LONGEST { json } else { json.chars().take(LONGEST).chain("…".chars()).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_abbreviation_does_not_end_a_sentence() {
        assert_eq!(first_sentence("A path, e.g. '/v2'. When absent, all."), "A path, e.g. '/v2'");
        assert_eq!(first_sentence("Name of the Service."), "Name of the Service");
        assert_eq!(first_sentence(""), "");
    }
}
