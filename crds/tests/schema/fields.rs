//! Every field of every kind has a case in `tests/refusals` that gets it wrong.

use std::collections::BTreeSet;

use serde_json::Value;
use tollgate_crds::validate::validate;

use crate::cases;

/// Fields that cannot be wrong by themselves, each with the reason: objects and lists whose own fields have cases.
fn cannot_be_wrong(schema: &Value) -> bool {
    let has_fields = |schema: &Value| schema["properties"].is_object();
    has_fields(schema) || has_fields(&schema["items"]) || has_fields(&schema["additionalProperties"])
}

/// `kind spec.field`, with `[]` for items of lists and of maps.
fn fields(kind: &str, path: &str, schema: &Value, into: &mut BTreeSet<String>) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        // An integration is the same object in a Route.
        if kind == "Route" && path == "spec.integration" {
            continue;
        }
        if !cannot_be_wrong(property) {
            into.insert(format!("{kind} {path}"));
        }
        fields(kind, &path, property, into);
    }
    for each in ["items", "additionalProperties"] {
        if schema[each]["properties"].is_object() {
            fields(kind, &format!("{path}[]"), &schema[each], into);
        }
    }
}

/// `spec.list[3].name` is about `spec.list[].name`; a key of a map stands like an index.
fn general(path: &str, known: &BTreeSet<String>, kind: &str) -> Option<String> {
    let mut indexed = String::new();
    let mut inside = false;
    for c in path.chars() {
        match c {
            '[' => {
                inside = true;
                indexed.push_str("[]");
            }
            ']' => inside = false,
            _ if inside => {}
            c => indexed.push(c),
        }
    }
    let mut parts: Vec<&str> = indexed.split('.').collect();
    while !parts.is_empty() {
        let name = parts.join(".");
        let name = name.trim_end_matches("[]");
        let as_keys = (2..parts.len()).map(|key| with_map_key(&parts, key));
        let found = std::iter::once(name.to_owned()).chain(as_keys).map(|name| format!("{kind} {name}"));
        if let Some(field) = found.into_iter().find(|field| known.contains(field)) {
            return Some(field);
        }
        parts.pop();
    }
    None
}

/// `spec.routeSettings.GET /x.field` is about `spec.routeSettings[].field`: the part at `key` is a key of a map.
fn with_map_key(parts: &[&str], key: usize) -> String {
    let map = parts[..key].join(".");
    std::iter::once(format!("{map}[]"))
        .chain(parts[key + 1..].iter().map(ToString::to_string))
        .collect::<Vec<_>>()
        .join(".")
}

/// Proves H-CTL-5.
#[test]
fn every_field_has_a_case_that_gets_it_wrong() {
    let mut known = BTreeSet::new();
    for crd in tollgate_crds::all() {
        let schema = crd.spec.versions[0].schema.clone().unwrap().open_api_v3_schema.unwrap();
        let schema = serde_json::to_value(schema).unwrap();
        fields(&crd.spec.names.kind, "spec", &schema["properties"]["spec"], &mut known);
    }
    let mut wrong = BTreeSet::new();
    for case in cases::all() {
        let (_, violations) = validate(&case.object, case.old.as_ref()).unwrap();
        let kind = case.object["kind"].as_str().unwrap();
        for violation in violations {
            let own = general(&violation.path, &known, kind);
            let integration = violation.path.strip_prefix("spec.integration.").filter(|_| kind == "Route");
            let shared = integration.and_then(|rest| general(&format!("spec.{rest}"), &known, "Integration"));
            wrong.extend(own.into_iter().chain(shared));
        }
    }
    let missing: Vec<&String> = known.difference(&wrong).collect();
    assert!(missing.is_empty(), "fields without a wrong object in tests/refusals: {missing:#?}");
}
