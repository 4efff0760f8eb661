//! Every constraint of every schema has a case in `tests/refusals` that breaks it: each keyword of each field, and each CEL rule.
//!
//! A schema that stands in several places (a reference, the integration of a Route) counts once. The type of a field counts where
//! nothing else can be wrong about it.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;
use serde_json::Value;
use tollgate_crds::validate::validate;

use crate::cases;

/// The name of a field, a keyword of its schema, and what that says: the same wherever a schema stands.
type Constraint = (String, String, String);

/// Where a constraint is found first, for people.
type Places = BTreeMap<Constraint, String>;

const SIZES: [(&str, &str, &str); 3] = [
    ("string", "minLength", "maxLength"),
    ("array", "minItems", "maxItems"),
    ("object", "minProperties", "maxProperties"),
];

/// A constraint of this place. A rule is known by its message alone, since an integration stands in two fields of different names.
fn constraint(name: &str, schema: &Value, keyword: &str) -> Constraint {
    match keyword.split_once(' ') {
        Some(("rule", _)) => (String::new(), keyword.to_owned(), String::new()),
        Some((_, missing)) => {
            let mut missing = schema["properties"][missing].clone();
            missing.as_object_mut().unwrap().remove("description");
            (String::new(), keyword.to_owned(), missing.to_string())
        }
        None => (name.to_owned(), keyword.to_owned(), format!("{} {}", schema["pattern"], schema[keyword])),
    }
}

/// The constraints of this place, without those of its fields and items.
fn constraints(name: &str, schema: &Value) -> Vec<Constraint> {
    const NO_CONSTRAINTS: [&str; 9] = [
        "type",
        "description",
        "default",
        "properties",
        "items",
        "additionalProperties",
        "required",
        "x-kubernetes-validations",
        "format",
    ];
    let single = ["enum", "pattern", "minimum", "maximum"];
    let sizes = || SIZES.iter().flat_map(|(_, min, max)| [*min, *max]);
    for keyword in schema.as_object().unwrap().keys() {
        let known = NO_CONSTRAINTS.into_iter().chain(single).chain(sizes()).any(|known| known == keyword);
        assert!(known, "{name}: {keyword} is a keyword that nothing here knows");
    }
    let mut found: Vec<String> =
        single.into_iter().chain(sizes()).filter(|keyword| !schema[*keyword].is_null()).map(str::to_owned).collect();
    match schema["format"].as_str() {
        Some("date-time") => found.push("format".to_owned()),
        // A number's range is narrower than its format.
        Some("int32" | "int64" | "double") => assert!(found.len() == 2, "{name}: a number has a minimum and a maximum"),
        other => assert_eq!(other, None, "{name}"),
    }
    let required = schema["required"].as_array().into_iter().flatten();
    let without_default = required.filter(|name| schema["properties"][name.as_str().unwrap()]["default"].is_null());
    found.extend(without_default.map(|name| format!("required {}", name.as_str().unwrap())));
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        found.push(format!("rule {}", rule["message"].as_str().unwrap()));
    }
    let deeper = ["properties", "items", "additionalProperties"].iter().any(|keyword| schema[*keyword].is_object());
    if found.is_empty() && !deeper {
        found.push("type".to_owned());
    }
    found.iter().map(|keyword| constraint(name, schema, keyword)).collect()
}

fn collect(name: &str, path: &str, schema: &Value, places: &mut Places) {
    for constraint in constraints(name, schema) {
        places.entry(constraint).or_insert_with(|| path.to_owned());
    }
    for (field, property) in schema["properties"].as_object().into_iter().flatten() {
        collect(field, &format!("{path}.{field}"), property, places);
    }
    for each in ["items", "additionalProperties"] {
        if schema[each].is_object() {
            collect(&format!("{name}[]"), &format!("{path}[]"), &schema[each], places);
        }
    }
}

fn has_type(value: &Value, wanted: &Value) -> bool {
    match wanted.as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("number") => value.is_number(),
        Some("integer") => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        other => panic!("a schema of the type {other:?}"),
    }
}

/// The keywords that a value breaks here, those of sizes first: a text of a wrong length says nothing about a pattern.
fn broken_here(schema: &Value, value: &Value) -> Vec<String> {
    if !has_type(value, &schema["type"]) {
        return vec!["type".to_owned()];
    }
    let size = match value {
        Value::String(text) => Some(text.chars().count()),
        Value::Array(items) => Some(items.len()),
        Value::Object(fields) => Some(fields.len()),
        _ => None,
    };
    let beyond = |number: Option<f64>, min: &str, max: &str| {
        let less = number.zip(schema[min].as_f64()).is_some_and(|(number, least)| number < least);
        let more = number.zip(schema[max].as_f64()).is_some_and(|(number, most)| number > most);
        if less { Some(min.to_owned()) } else { more.then(|| max.to_owned()) }
    };
    #[expect(clippy::cast_precision_loss, reason = "no case is that large")]
    let size = size.map(|size| size as f64);
    let sizes = SIZES.iter().filter(|(of, ..)| schema["type"] == *of);
    let mut broken: Vec<String> = sizes.filter_map(|(_, min, max)| beyond(size, min, max)).collect();
    broken.extend(beyond(value.as_f64(), "minimum", "maximum"));
    if schema["format"] == "date-time" && value.as_str().is_some_and(|text| !text.contains('T')) {
        broken.push("format".to_owned());
    }
    if schema["enum"].as_array().is_some_and(|known| !known.contains(value)) {
        broken.push("enum".to_owned());
    }
    if let (Some(pattern), Some(text), true) = (schema["pattern"].as_str(), value.as_str(), broken.is_empty())
        && !Regex::new(pattern).unwrap().is_match(text)
    {
        broken.push("pattern".to_owned());
    }
    let required = schema["required"].as_array().into_iter().flatten().map(|name| name.as_str().unwrap());
    let absent =
        |name: &&str| value.get(name).is_none_or(Value::is_null) && schema["properties"][name]["default"].is_null();
    broken.extend(required.filter(absent).map(|name| format!("required {name}")));
    broken
}

/// The constraints that a value breaks here or deeper, but for rules.
fn broken(name: &str, schema: &Value, value: &Value, into: &mut BTreeSet<Constraint>) {
    into.extend(broken_here(schema, value).iter().map(|keyword| constraint(name, schema, keyword)));
    if !has_type(value, &schema["type"]) {
        return;
    }
    for (field, property) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(value) = value.get(field).filter(|value| !value.is_null()) {
            broken(field, property, value, into);
        }
    }
    let items = value.as_array().into_iter().flatten().map(|item| ("items", item));
    let entries = value.as_object().into_iter().flatten().map(|(_, value)| ("additionalProperties", value));
    for (each, value) in items.chain(entries).filter(|(each, _)| schema[each].is_object()) {
        broken(&format!("{name}[]"), &schema[each], value, into);
    }
}

/// Proves H-CTL-5.
#[test]
fn every_constraint_has_a_case_that_breaks_it() {
    let schemas: BTreeMap<String, Value> = tollgate_crds::all()
        .into_iter()
        .map(|crd| {
            let schema = crd.spec.versions[0].schema.clone().unwrap().open_api_v3_schema.unwrap();
            (crd.spec.names.kind, serde_json::to_value(schema).unwrap())
        })
        .collect();
    let mut places = Places::new();
    for (kind, schema) in &schemas {
        collect("spec", &format!("{kind} spec"), &schema["properties"]["spec"], &mut places);
    }
    let mut shown = BTreeSet::new();
    for case in cases::all() {
        let kind = case.object["kind"].as_str().unwrap();
        let (_, violations) = validate(&case.object, case.old.as_ref()).unwrap();
        shown.extend(violations.iter().map(|said| (String::new(), format!("rule {}", said.message()), String::new())));
        if let Some(spec) = case.object.get("spec") {
            broken("spec", &schemas[kind]["properties"]["spec"], spec, &mut shown);
        }
    }
    let missing: Vec<String> = places
        .iter()
        .filter(|(constraint, _)| !shown.contains(*constraint))
        .map(|((_, keyword, _), place)| format!("{place}: {keyword}"))
        .collect();
    assert!(missing.is_empty(), "constraints that no object of tests/refusals breaks: {missing:#?}");
}
