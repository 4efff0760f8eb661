//! Wrong objects, one a file, and what the offline check says about them.
//!
//! Each file has `says`: a part of what the API server answers; `object`; and for refusals of an update, `old`.
//! The test on a real API server reads the same files.

#![expect(clippy::unwrap_used, reason = "a test ends where something unexpected happens")]

use std::fs;
use std::path::Path;

use serde_json::Value;
use tollgate_crds::validate::{Violation, validate};

fn cases() -> Vec<(String, Value)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/refusals");
    let mut cases: Vec<(String, Value)> = fs::read_dir(root)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            let case = serde_norway::from_str(&fs::read_to_string(&path).unwrap());
            (name.clone(), case.unwrap_or_else(|error| panic!("{name}: {error}")))
        })
        .collect();
    cases.sort_by(|a, b| a.0.cmp(&b.0));
    cases
}

fn refuse(name: &str, object: &Value, old: Option<&Value>) -> Vec<Violation> {
    let (_, violations) = validate(object, old).unwrap_or_else(|| panic!("{name}: not one of our kinds"));
    violations
}

/// Proves H-STAGE-1, H-VAR-1, H-LOG-13, H-AUTH-3.
#[test]
fn wrong_objects_are_refused_with_their_reason() {
    let cases = cases();
    assert!(cases.len() >= 90, "only {} cases", cases.len());
    let mut failures = Vec::new();
    for (name, case) in cases {
        let old = case.get("old");
        if let Some(old) = old {
            assert_eq!(refuse(&name, old, None), [], "{name}: the old object has to be right");
        }
        let said: Vec<String> = refuse(&name, &case["object"], old).iter().map(ToString::to_string).collect();
        // The API server and this check share the rules' messages; about the schema each has its own words.
        let says = case.get("offline").unwrap_or(&case["says"]).as_str().unwrap();
        if said.len() != 1 || !said[0].contains(says) {
            failures.push(format!("{name}: expected {says:?}, got {said:#?}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn right(text: &str) -> Value {
    let object: Value = serde_norway::from_str(text).unwrap();
    let (object, violations) = validate(&object, None).unwrap();
    assert_eq!(violations, [], "{text}");
    object
}

/// Proves P10.
#[test]
fn defaults_are_those_of_the_schema() {
    let route = right(
        "{apiVersion: tollgate.dev/v1alpha1, kind: Route, metadata: {name: r}, spec: {apiRef: {name: a}, \
         routeKey: GET /x, operationName: null, integration: {lambda: {endpoint: 'http://f:1'}, tls: null}}}",
    );
    let expected = serde_json::json!({
        "apiRef": {"name": "a", "kind": "HttpApi"},
        "routeKey": "GET /x",
        "integration": {
            "lambda": {"endpoint": "http://f:1", "functionName": "function"},
            "method": "ANY",
            "timeoutInMillis": 30000
        },
        "authorizationType": "NONE"
    });
    assert_eq!(route["spec"], expected);
    // And the same from files that never saw the schema.
    let read: tollgate_crds::Route = serde_json::from_value(route).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap()["spec"], expected);
}

/// Proves H-ROUTE-1, H-ROUTE-2, H-ROUTE-4.
#[test]
fn every_documented_route_key_is_taken() {
    for key in [
        "$default",
        "GET /",
        "ANY /{proxy+}",
        "DELETE /pets/{petId}",
        "PATCH /a.b:c_d-e/~x/$y",
        "OPTIONS /pets/",
        "HEAD /v1/{a.b:c-d_e}/{rest+}",
        "PUT /it's/(a)+b,c;d=e@f!g&h",
        "POST /caf%C3%A9",
    ] {
        let key = key.replace('\'', "''");
        right(&format!(
            "{{apiVersion: tollgate.dev/v1alpha1, kind: Route, metadata: {{name: r}}, spec: {{apiRef: {{name: a}}, routeKey: '{key}'}}}}"
        ));
    }
}

#[test]
fn other_kinds_are_left_alone() {
    let service = serde_json::json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "Wrong_Name"}});
    assert_eq!(validate(&service, None), None);
}

#[test]
fn a_whole_number_with_a_fraction_point_is_one() {
    let object = right(
        "{apiVersion: tollgate.dev/v1alpha1, kind: Integration, metadata: {name: i}, spec: {service: {name: s, port: 80.0}}}",
    );
    assert_eq!(object["spec"]["service"]["port"], 80);
}

#[test]
fn a_status_is_dropped_as_the_api_server_does() {
    let object = right(
        "{apiVersion: tollgate.dev/v1alpha1, kind: HttpApi, metadata: {name: a}, spec: {}, status: {anything: 1}}",
    );
    assert_eq!(object.get("status"), None);
}
