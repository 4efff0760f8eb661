//! The definitions of all kinds, as they are applied to a cluster.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceColumnDefinition, CustomResourceDefinition,
};
use kube::CustomResourceExt;
use serde_json::{Map, Value};

use crate::{
    ApiDeployment, ApiKey, ApiMapping, Authorizer, DomainName, HttpApi, Integration, Principal, Route, Stage,
    UsagePlan, VpcLink,
};

/// The definitions of all kinds, in the order of [`crate::KINDS`].
pub fn all() -> Vec<CustomResourceDefinition> {
    let all = [
        HttpApi::crd(),
        Route::crd(),
        Integration::crd(),
        Authorizer::crd(),
        Principal::crd(),
        Stage::crd(),
        ApiDeployment::crd(),
        UsagePlan::crd(),
        ApiKey::crd(),
        VpcLink::crd(),
        DomainName::crd(),
        ApiMapping::crd(),
    ];
    all.into_iter().map(finish).collect()
}

/// The definitions as YAML: file name and content. The same types give the same bytes.
pub fn yaml() -> Vec<(String, String)> {
    all()
        .into_iter()
        .map(|crd| {
            let name = format!("{}.yaml", crd.spec.names.plural);
            let value = serde_json::to_value(&crd).expect("a definition has string keys only");
            let yaml = serde_norway::to_string(&sorted(value)).expect("JSON is a subset of YAML");
            (name, yaml)
        })
        .collect()
}

fn finish(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    let kind = crd.spec.names.kind.clone();
    for version in &mut crd.spec.versions {
        version.additional_printer_columns = Some(columns(&kind));
        let schema = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut());
        let schema = schema.expect("the derive macro always writes a schema");
        let mut value = serde_json::to_value(&*schema).expect("a schema has string keys only");
        structural(&mut value);
        *schema = serde_json::from_value(value).expect("only keywords were removed");
    }
    crd
}

/// Removes what the derive macros write and we do not mean. `nullable`: a `null` counts as absent, which is what the API
/// server makes of it without the keyword, also as a member of an `enum`. `format`: only the ones Kubernetes knows, the others make it warn.
fn structural(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else { return };
    object.remove("nullable");
    if let Some(Value::Array(values)) = object.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
    if object.get("default").is_some_and(Value::is_null) {
        object.remove("default");
    }
    if let Some(Value::String(text)) = object.get_mut("description") {
        // Line breaks of the source; `kubectl explain` breaks lines itself.
        *text = text.replace('\n', " ");
    }
    if let Some(format) = object.get("format").and_then(Value::as_str)
        && !["int32", "int64", "double", "date-time"].contains(&format)
    {
        object.remove("format");
    }
    for (keyword, value) in object.iter_mut() {
        match keyword.as_str() {
            "properties" => value.as_object_mut().into_iter().flat_map(|map| map.values_mut()).for_each(structural),
            "items" | "additionalProperties" => structural(value),
            _ => {}
        }
    }
}

fn columns(kind: &str) -> Vec<CustomResourceColumnDefinition> {
    let own: &[(&str, &str, &str)] = match kind {
        "HttpApi" => &[("Endpoint", "string", ".status.apiEndpoint")],
        "Route" => &[("Api", "string", ".spec.apiRef.name"), ("Key", "string", ".spec.routeKey")],
        "Authorizer" => &[("Issuer", "string", ".spec.jwt.issuer")],
        "Stage" => &[
            ("Api", "string", ".spec.apiRef.name"),
            ("Stage", "string", ".spec.stageName"),
            ("Endpoint", "string", ".status.apiEndpoint"),
        ],
        "DomainName" => &[("Domain", "string", ".spec.domainName"), ("Endpoint", "string", ".status.apiEndpoint")],
        "ApiMapping" => &[
            ("Domain", "string", ".spec.domainNameRef.name"),
            ("Key", "string", ".spec.apiMappingKey"),
            ("Stage", "string", ".spec.stageRef.name"),
            ("Endpoint", "string", ".status.apiEndpoint"),
        ],
        "ApiDeployment" => &[
            ("Api", "string", ".spec.apiRef.name"),
            ("Status", "string", ".status.deploymentStatus"),
            ("Id", "string", ".status.deploymentId"),
        ],
        "UsagePlan" => &[
            ("Rate", "string", ".spec.throttle.rateLimit"),
            ("Burst", "string", ".spec.throttle.burstLimit"),
            ("Quota", "string", ".spec.quota.limit"),
            ("Period", "string", ".spec.quota.period"),
            ("Used", "integer", ".status.usage.used"),
            ("Customers", "integer", ".status.usage.customers"),
        ],
        "ApiKey" => &[("Enabled", "boolean", ".spec.enabled"), ("Customer", "string", ".spec.customerId")],
        "VpcLink" => &[("Balancing", "string", ".spec.loadBalancing.algorithm")],
        _ => &[],
    };
    let common = [
        ("Ready", "string", ".status.conditions[?(@.type==\"Ready\")].status"),
        ("Reason", "string", ".status.conditions[?(@.type==\"Ready\")].reason"),
        ("Programmed", "string", ".status.programmed"),
    ];
    let age = [("Age", "date", ".metadata.creationTimestamp")];
    own.iter()
        .chain(&common)
        .chain(&age)
        .map(|&(name, type_, json_path)| CustomResourceColumnDefinition {
            name: name.to_owned(),
            type_: type_.to_owned(),
            json_path: json_path.to_owned(),
            ..Default::default()
        })
        .collect()
}

/// Keys in one order, whatever made the value.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<(String, Value)> = map.into_iter().collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(entries.into_iter().map(|(key, value)| (key, sorted(value))).collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every object schema below `schema`, with its path.
    fn walk<'a>(schema: &'a Value, path: &str, visit: &mut dyn FnMut(&str, &'a Value)) {
        visit(path, schema);
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            walk(property, &format!("{path}.{name}"), visit);
        }
        for keyword in ["items", "additionalProperties"] {
            if schema[keyword].is_object() {
                walk(&schema[keyword], &format!("{path}[]"), visit);
            }
        }
    }

    fn schemas() -> Vec<(String, Value)> {
        all()
            .into_iter()
            .map(|crd| {
                let schema = crd.spec.versions[0].schema.clone().unwrap().open_api_v3_schema.unwrap();
                (crd.spec.names.kind, serde_json::to_value(schema).unwrap())
            })
            .collect()
    }

    #[test]
    fn all_kinds_are_defined_in_order() {
        let kinds: Vec<String> = all().into_iter().map(|crd| crd.spec.names.kind).collect();
        assert_eq!(kinds, crate::KINDS);
    }

    #[test]
    fn every_list_map_and_string_has_a_maximum() {
        for (kind, schema) in schemas() {
            walk(&schema, &kind, &mut |path, schema| {
                let bounded = match schema["type"].as_str() {
                    Some("string") => {
                        schema["maxLength"].is_number() || schema["enum"].is_array() || schema["format"] == "date-time"
                    }
                    Some("array") => schema["maxItems"].is_number(),
                    Some("object") => {
                        schema["properties"].is_object()
                            || schema["maxProperties"].is_number() && schema["additionalProperties"].is_object()
                    }
                    Some("integer" | "number" | "boolean") => true,
                    other => panic!("{path}: type {other:?} in {schema}"),
                };
                assert!(bounded, "{path} has no maximum: {schema}");
            });
        }
    }

    #[test]
    fn every_field_explains_itself() {
        for (kind, schema) in schemas() {
            walk(&schema, &kind, &mut |path, schema| {
                let described = schema["description"].as_str().is_some_and(|text| !text.contains("Auto-generated"));
                assert!(described || path.ends_with("[]"), "{path} has no description: {schema}");
            });
        }
    }

    #[test]
    fn rules_say_what_to_do_and_end_as_errors_do() {
        for (kind, schema) in schemas() {
            walk(&schema, &kind, &mut |path, schema| {
                for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
                    let message = rule["message"].as_str().unwrap_or_default();
                    assert!(message.contains(": ") && !message.ends_with('.'), "{path}: {message:?}");
                    assert!(message.len() < 2048, "{path}: Kubernetes takes messages of 2048 bytes");
                }
            });
        }
    }

    #[test]
    fn a_definition_is_small_and_always_the_same() {
        let yaml = yaml();
        assert_eq!(yaml, super::yaml());
        for (name, content) in yaml {
            assert!(content.len() < 200_000, "{name} has {} bytes", content.len());
            assert!(!content.contains("nullable"), "{name}");
        }
    }
}
