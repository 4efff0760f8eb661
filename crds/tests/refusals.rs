//! Wrong objects, one a file, and what the offline check says about them.
//!
//! Each file has `says`: a part of what the API server answers; `object`; and for refusals of an update, `old`.
//! The test on a real API server reads the same files.

#![expect(clippy::unwrap_used, reason = "a test ends where something unexpected happens")]

#[path = "schema/cases.rs"]
mod cases;
#[path = "schema/constraints.rs"]
mod constraints;
#[path = "schema/fields.rs"]
mod fields;

use serde_json::Value;
use tollgate_crds::validate::{Violation, validate};

fn refuse(name: &str, object: &Value, old: Option<&Value>) -> Vec<Violation> {
    let (_, violations) = validate(object, old).unwrap_or_else(|| panic!("{name}: not one of our kinds"));
    violations
}

/// Proves H-STAGE-1, H-STAGE-4, H-VAR-1, H-VAR-2, H-LOG-13, H-AUTH-1, H-AUTH-3, H-INT-2, H-CTL-2, H-ROUTE-3.
#[test]
fn wrong_objects_are_refused_with_their_reason() {
    let cases = cases::all();
    assert!(cases.len() >= 400, "only {} cases", cases.len());
    let mut failures = Vec::new();
    for case in cases {
        let name = &case.name;
        if let Some(old) = &case.old {
            assert_eq!(refuse(name, old, None), [], "{name}: the old object has to be right");
        }
        let said: Vec<String> = refuse(name, &case.object, case.old.as_ref()).iter().map(ToString::to_string).collect();
        // The API server and this check share the rules' messages; about the schema each has its own words.
        let says = case.offline.as_ref().unwrap_or(&case.says);
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

/// Proves H-FLOW-5, H-VPC-5, H-CTL-6, H-INT-6.
#[test]
fn what_http_apis_have_not_is_refused() {
    let api = r#"{"apiRef": {"name": "a"}, "#;
    let route = |field: &str| ("Route", format!(r#"{api} "routeKey": "GET /x", {field}}}"#));
    let stage = |field: &str| ("Stage", format!(r#"{api} "stageName": "dev", {field}}}"#));
    let integration = |field: &str| ("Integration", format!(r#"{{"service": {{"name": "s", "port": 80}}, {field}}}"#));
    let http_api = |field: &str| ("HttpApi", format!("{{{field}}}"));
    for (field, (kind, spec)) in [
        ("requestModels", route(r#""requestModels": {"application/json": "m"}"#)),
        ("requestParameters", route(r#""requestParameters": {}"#)),
        ("requestValidator", route(r#""requestValidator": "all""#)),
        ("routeResponseSelectionExpression", route(r#""routeResponseSelectionExpression": "$default""#)),
        ("modelSelectionExpression", route(r#""modelSelectionExpression": "$request.body.action""#)),
        ("gatewayResponses", http_api(r#""gatewayResponses": {}"#)),
        ("models", http_api(r#""models": {}"#)),
        ("policy", http_api(r#""policy": {}"#)),
        ("minimumCompressionSize", http_api(r#""minimumCompressionSize": 0"#)),
        ("endpointType", http_api(r#""endpointType": "EDGE""#)),
        ("canarySettings", stage(r#""canarySettings": {}"#)),
        ("cacheCluster", stage(r#""cacheCluster": {}"#)),
        ("tracingEnabled", stage(r#""tracingEnabled": true"#)),
        ("clientCertificateId", stage(r#""clientCertificateId": "c""#)),
        ("webAclArn", stage(r#""webAclArn": "arn:x""#)),
        ("mock", ("Integration", r#"{"mock": {}}"#.to_owned())),
        ("requestTemplates", integration(r#""requestTemplates": {}"#)),
        ("passthroughBehavior", integration(r#""passthroughBehavior": "NEVER""#)),
        ("contentHandlingStrategy", integration(r#""contentHandlingStrategy": "CONVERT_TO_TEXT""#)),
        ("templateSelectionExpression", integration(r#""templateSelectionExpression": "x""#)),
        ("connectionType", integration(r#""connectionType": "VPC_LINK""#)),
        ("insecureSkipVerification", integration(r#""tls": {"insecureSkipVerification": true}"#)),
    ] {
        let spec: Value = serde_json::from_str(&spec).unwrap();
        let object = serde_json::json!({"apiVersion": "tollgate.dev/v1alpha1", "kind": kind, "metadata": {"name": "x"}, "spec": spec});
        let said: Vec<String> = refuse(field, &object, None).iter().map(ToString::to_string).collect();
        assert!(said.iter().any(|said| said.contains(field)), "{field}: {said:#?}");
    }
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

fn refuses(kind: &str, spec: &serde_json::Value) -> bool {
    let object = serde_json::json!({"apiVersion": "tollgate.dev/v1alpha1", "kind": kind, "metadata": {"name": "x"}, "spec": spec});
    !refuse("x", &object, None).is_empty()
}

/// Proves H-APM-2.
#[test]
fn keys_of_mappings_have_a_fixed_alphabet() {
    let refused = |key: &str| {
        refuses(
            "ApiMapping",
            &serde_json::json!({"domainNameRef": {"name": "d"}, "stageRef": {"name": "s"}, "apiMappingKey": key}),
        )
    };
    for key in ["", "v1", "orders/v1/items", "aZ09$-_.+!*'()", &"k".repeat(300)] {
        assert!(!refused(key), "{key}");
    }
    for key in ["/", "/v1", "v1/", "a//b", "a b", "a%20b", "a?b", "a#b", "é", "a/../b", &"k".repeat(301)] {
        assert!(refused(key), "{key}");
    }
}

/// Proves H-RULE-2, H-RULE-3, H-RULE-4, H-RULE-5, H-RULE-6.
#[test]
fn conditions_of_routing_rules_have_fixed_forms() {
    let refused = |condition: serde_json::Value| {
        let rule = serde_json::json!({"name": "r", "priority": 1_000_000, "conditions": [condition], "actions": [{"invokeApi": {"stageRef": {"name": "s"}}}]});
        refuses(
            "DomainName",
            &serde_json::json!({"domainName": "a.example", "routingMode": "ROUTING_RULE_ONLY", "routingRules": [rule]}),
        )
    };
    let header =
        |name: &str, glob: &str| serde_json::json!({"matchHeaders": {"anyOf": [{"header": name, "valueGlob": glob}]}});
    for glob in ["abc", "*abc", "abc*", "*abc*", "a?b-!#$%&'.^_`|~", &"v".repeat(127), &format!("*{}*", "v".repeat(39))]
    {
        assert!(!refused(header("x-version", glob)), "{glob}");
    }
    for glob in ["", "*", "**", "a*b", "a b", "a/b", &"v".repeat(128), &format!("*{}*", "v".repeat(40))] {
        assert!(refused(header("x-version", glob)), "{glob}");
    }
    for name in [
        "Authorization",
        "AUTHORIZATION",
        "access-control-request-method",
        "x-amzn-trace-id",
        "x-apigw-api-id",
        "x-restAPI",
        "Via",
    ] {
        assert!(refused(header(name, "a")), "{name}");
    }
    assert!(!refused(header("Authorization-Kind", "a")));
    assert!(!refused(header(&"n".repeat(39), "a")) && refused(header(&"n".repeat(40), "a")));
    let path = |path: &str| serde_json::json!({"matchBasePaths": {"anyOf": [path]}});
    assert!(!refused(path("orders/v1")) && !refused(path(&"p".repeat(127))));
    assert!(refused(path(&"p".repeat(128))) && refused(path("/orders")) && refused(path("a:b")));
}

/// Proves H-DOM-1, H-TLS-1, H-RULE-1, H-MTLS-11.
#[test]
fn a_domain_name_takes_what_is_documented() {
    let refused = |field: &str, value: serde_json::Value| {
        let mut spec = serde_json::json!({"domainName": "api.example.com"});
        spec[field] = value;
        refuses("DomainName", &spec)
    };
    for name in ["a.example", "*.example.com", "xn--bcher-kva.example", "localhost-2", "1a.example"] {
        assert!(!refused("domainName", name.into()), "{name}");
    }
    for mode in ["API_MAPPING_ONLY", "ROUTING_RULE_ONLY", "ROUTING_RULE_THEN_API_MAPPING"] {
        assert!(!refused("routingMode", mode.into()));
    }
    assert!(!refused("securityPolicy", "TLS_1_2".into()) && refused("securityPolicy", "TLS_1_0".into()));
    assert!(!refused("ownershipVerificationCertificateArn", "arn:aws:acm:eu-west-1:1:certificate/x".into()));
}
