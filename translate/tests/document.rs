//! APIs whose routes come from an OpenAPI document.

#![expect(clippy::unwrap_used, reason = "a test ends where something unexpected happens")]

use serde_json::{Value, json};
use tollgate_engine::snapshot::{Deployment, RouteTarget, Unit};
use tollgate_translate::{Kind, Object, ObjectRef, ObjectVerdict, Reason, Record, Serving, Settings, Translator};

const API_VERSION: &str = "tollgate.dev/v1alpha1";

fn translator() -> Translator {
    Translator::new(Settings { base_domain: "localhost".into(), https: false })
}

fn apply(translator: &mut Translator, kind: &str, name: &str, spec: Value) {
    let metadata = json!({"name": name, "namespace": "n", "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z"});
    let value = match kind {
        "ConfigMap" => json!({"apiVersion": "v1", "kind": kind, "metadata": metadata, "data": spec}),
        _ => json!({"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}),
    };
    translator.world_mut().apply(Object::from_value(value).unwrap().unwrap());
}

/// A document with a route for each key, which leads to a URL that ends with `version`.
fn document(keys: &[&str], version: &str) -> Value {
    let mut document = json!({"openapi": "3.0.1", "info": {"title": "Shop", "version": "1"}, "paths": {}});
    for key in keys {
        let (method, path) = key.split_once(' ').unwrap();
        let integration = json!({
            "type": "http_proxy", "httpMethod": "ANY", "uri": format!("https://b.example/{version}"), "payloadFormatVersion": "1.0"
        });
        document["paths"][path][method.to_lowercase()] = json!({"x-amazon-apigateway-integration": integration});
    }
    document
}

fn inline(document: &Value) -> Value {
    json!({"openapi": {"inline": document.to_string()}})
}

fn stage(translator: &mut Translator) {
    apply(translator, "Stage", "dev", json!({"apiRef": {"name": "shop"}, "stageName": "$default"}));
}

fn route(translator: &mut Translator, name: &str, key: &str) {
    let integration = json!({"http": {"uri": "https://own.example/"}});
    apply(translator, "Route", name, json!({"apiRef": {"name": "shop"}, "routeKey": key, "integration": integration}));
}

/// The deployment that is published.
fn deployment(translator: &Translator) -> Deployment {
    let deployments = translator.units().filter_map(|put| match put.unit() {
        Unit::Deployment(deployment) => Some(deployment),
        _ => None,
    });
    let all: Vec<Deployment> = deployments.collect();
    assert_eq!(all.len(), 1);
    all.into_iter().next().unwrap()
}

/// `key -> uri`, or what else the route is.
fn routes(translator: &Translator) -> Vec<String> {
    let deployment = deployment(translator);
    let target = |target: &RouteTarget| match target {
        RouteTarget::Integration { id } => {
            let content = serde_json::to_value(&deployment.integrations[id]).unwrap();
            content.pointer("/backend/uri").and_then(Value::as_str).unwrap_or("?").to_owned()
        }
        RouteTarget::Refused => "refused".to_owned(),
        _ => "none".to_owned(),
    };
    let mut routes: Vec<String> =
        deployment.routes.iter().map(|route| format!("{} -> {}", route.key, target(&route.target))).collect();
    routes.sort();
    routes
}

fn verdict(translator: &Translator, kind: Kind, name: &str) -> ObjectVerdict {
    let object = ObjectRef::new(kind, "n", name);
    translator.verdicts().find(|verdict| verdict.object == object).unwrap().clone()
}

/// Proves H-OAS-11.
#[test]
fn the_routes_of_a_document_are_served_and_follow_it() {
    let mut translator = translator();
    let mut first = document(&["GET /a", "POST /b"], "1");
    first["x-amazon-apigateway-cors"] = json!({"allowOrigins": ["https://a.example"]});
    apply(&mut translator, "HttpApi", "shop", inline(&first));
    stage(&mut translator);
    translator.translate();
    assert_eq!(routes(&translator), ["GET /a -> https://b.example/1", "POST /b -> https://b.example/1"]);
    assert!(deployment(&translator).cors.is_some());
    let verdicts: Vec<_> = translator.verdicts().map(|verdict| verdict.object.to_string()).collect();
    assert_eq!(verdicts, ["HttpApi n/shop", "Stage n/dev"], "what a document gives has no status of its own");
    assert!(translator.world().names(Kind::Route).is_empty());
    // A list of all Routes of the cluster does not take them away.
    assert!(!translator.world_mut().replace(Kind::Route, Vec::new()));
    apply(&mut translator, "HttpApi", "shop", inline(&document(&["GET /a", "GET /c"], "2")));
    let changes = translator.translate();
    assert_eq!(routes(&translator), ["GET /a -> https://b.example/2", "GET /c -> https://b.example/2"]);
    let Serving::When(requirements) = verdict(&translator, Kind::HttpApi, "shop").serving else { panic!("not served") };
    assert_eq!(requirements[0].revision, changes.revision, "the API is programmed once its new document is");
    apply(&mut translator, "HttpApi", "shop", json!({}));
    translator.translate();
    assert_eq!(routes(&translator), [""; 0]);
}

#[test]
fn a_document_in_a_config_map_is_followed_and_may_come_later() {
    let mut translator = translator();
    apply(
        &mut translator,
        "HttpApi",
        "shop",
        json!({"openapi": {"configMapKeyRef": {"name": "doc", "key": "api.json"}}}),
    );
    stage(&mut translator);
    translator.translate();
    let missing = verdict(&translator, Kind::HttpApi, "shop").resolved_refs;
    assert_eq!(missing.reason, Reason::DocumentNotFound);
    assert_eq!(
        missing.message,
        "spec.openapi.configMapKeyRef: ConfigMap n/doc does not exist: create it or correct the name"
    );
    assert!(translator.world().is_referenced(&ObjectRef::new(Kind::ConfigMap, "n", "doc")));
    apply(&mut translator, "ConfigMap", "doc", json!({"api.json": "{}"}));
    translator.translate();
    assert!(
        verdict(&translator, Kind::HttpApi, "shop")
            .resolved_refs
            .message
            .contains("no OpenAPI document under the key \"api.json\"")
    );
    apply(&mut translator, "ConfigMap", "doc", json!({"api.json": document(&["GET /a"], "1").to_string()}));
    translator.translate();
    assert_eq!(routes(&translator), ["GET /a -> https://b.example/1"]);
    apply(&mut translator, "ConfigMap", "doc", json!({"api.json": document(&["GET /a"], "2").to_string()}));
    translator.translate();
    assert_eq!(routes(&translator), ["GET /a -> https://b.example/2"]);
    translator.world_mut().delete(&ObjectRef::new(Kind::ConfigMap, "n", "doc"));
    translator.translate();
    assert_eq!(routes(&translator), ["GET /a -> https://b.example/2"], "what it gave stays");
    assert!(!verdict(&translator, Kind::HttpApi, "shop").resolved_refs.ok);
}

/// Proves H-OAS-3.
#[test]
fn a_refused_document_leaves_what_the_last_one_gave() {
    let mut translator = translator();
    apply(&mut translator, "HttpApi", "shop", inline(&document(&["GET /a"], "1")));
    stage(&mut translator);
    translator.translate();
    let mut second = document(&["GET /a", "GET /b"], "2");
    second["paths"]["/old"]["get"]["x-amazon-apigateway-integration"] = json!({"type": "mock"});
    let text = second.to_string();
    apply(&mut translator, "HttpApi", "shop", json!({"openapi": {"inline": text, "failOnWarnings": true}}));
    translator.translate();
    assert_eq!(routes(&translator), ["GET /a -> https://b.example/1"]);
    let said = verdict(&translator, Kind::HttpApi, "shop");
    assert!(!said.accepted.ok && matches!(said.serving, Serving::Nowhere(_)));
    let expected = "spec.openapi: the document is refused: line 1: /paths/~1old/get/x-amazon-apigateway-integration/type: \"mock\"";
    assert!(said.accepted.message.starts_with(expected), "{}", said.accepted.message);
    // Without failOnWarnings the rest is taken, and the condition says what was left out.
    apply(&mut translator, "HttpApi", "shop", json!({"openapi": {"inline": text}}));
    translator.translate();
    assert_eq!(
        routes(&translator),
        ["GET /a -> https://b.example/2", "GET /b -> https://b.example/2", "GET /old -> none"]
    );
    let said = verdict(&translator, Kind::HttpApi, "shop").accepted;
    assert!(said.ok && said.message.starts_with("spec.openapi: left out: line 1: "), "{said:?}");
    apply(&mut translator, "HttpApi", "shop", json!({"openapi": {"inline": "openapi: ["}}));
    translator.translate();
    assert_eq!(routes(&translator).len(), 3);
}

#[test]
fn a_refused_document_keeps_serving_after_a_restart() {
    let mut before = translator();
    apply(&mut before, "HttpApi", "shop", inline(&document(&["GET /a", "GET /b"], "1")));
    stage(&mut before);
    let records = before.translate().records;
    let recorded = records.iter().find_map(|record| match record {
        Record::AutoDeployed { json, .. } => Some(serde_json::from_str::<Unit>(json).unwrap()),
        _ => None,
    });
    let Some(Unit::Deployment(recorded)) = recorded else { panic!("nothing was recorded") };
    let mut after = translator();
    apply(&mut after, "HttpApi", "shop", inline(&json!({"swagger": "2.0"})));
    stage(&mut after);
    after.restore_api(recorded);
    after.translate();
    assert_eq!(routes(&after), ["GET /a -> https://b.example/1", "GET /b -> https://b.example/1"]);
    apply(&mut after, "HttpApi", "shop", inline(&document(&["GET /a"], "2")));
    after.translate();
    assert_eq!(routes(&after), ["GET /a -> https://b.example/2"]);
}

#[test]
fn the_document_comes_before_routes_with_its_keys() {
    let mut translator = translator();
    apply(&mut translator, "HttpApi", "shop", json!({}));
    stage(&mut translator);
    route(&mut translator, "own", "GET /a");
    route(&mut translator, "other", "GET /c");
    translator.translate();
    apply(&mut translator, "HttpApi", "shop", inline(&document(&["GET /a", "GET /{x}"], "1")));
    translator.translate();
    assert_eq!(
        routes(&translator),
        ["GET /a -> https://b.example/1", "GET /c -> https://own.example/", "GET /{x} -> https://b.example/1"]
    );
    let said = verdict(&translator, Kind::Route, "own").accepted;
    assert_eq!(said.reason, Reason::RouteKeyConflict);
    assert!(said.message.contains("is the key of a route of the API's OpenAPI document"), "{}", said.message);
    assert!(verdict(&translator, Kind::Route, "other").accepted.ok);
}

#[test]
fn what_is_wrong_with_its_routes_is_said_of_the_api() {
    let mut translator = translator();
    let mut one = document(&["GET /a/{x}", "GET /a/{y}"], "1");
    one["paths"]["/s"]["get"] = json!({"x-amazon-apigateway-integration": {
        "type": "aws_proxy", "payloadFormatVersion": "2.0", "uri": "arn:aws:lambda:r:1:function:hello"
    }});
    apply(&mut translator, "HttpApi", "shop", inline(&one));
    stage(&mut translator);
    translator.translate();
    let said = verdict(&translator, Kind::HttpApi, "shop");
    assert!(said.accepted.message.starts_with("spec.openapi: GET /a/{y}: "), "{:?}", said.accepted);
    assert!(said.resolved_refs.message.starts_with("spec.openapi: GET /s: "), "{:?}", said.resolved_refs);
    assert!(said.resolved_refs.message.contains("Service n/hello does not exist"), "{:?}", said.resolved_refs);
}

#[test]
fn a_field_is_set_in_one_place() {
    let cors = json!({"allowOrigins": ["https://a.example"]});
    let limits = json!({"payloadBytes": 2048});
    let mut with_cors = document(&["GET /a"], "1");
    with_cors["x-amazon-apigateway-cors"] = cors.clone();
    let over = |spec: Value| {
        let mut document = document(&["GET /a"], "1");
        document["x-tollgate"] = json!({"spec": spec});
        document
    };
    let table = [
        (with_cors, json!({"corsConfiguration": cors}), "spec.corsConfiguration: the document"),
        (over(json!({"limits": limits})), json!({"limits": limits}), "spec.limits: the document"),
        (over(json!({"endpointType": "PRIVATE"})), json!({}), "endpointType of an API cannot come from its document"),
        (over(json!({"apiId": "abcdefghij"})), json!({}), "apiId of an API cannot come from its document"),
    ];
    for (document, mut spec, expected) in table {
        let mut translator = translator();
        spec["openapi"] = json!({"inline": document.to_string()});
        apply(&mut translator, "HttpApi", "shop", spec);
        translator.translate();
        let said = verdict(&translator, Kind::HttpApi, "shop").accepted;
        assert!(!said.ok && said.message.contains(expected), "{said:?}");
    }
    let mut translator = translator();
    apply(&mut translator, "HttpApi", "shop", inline(&over(json!({"limits": limits}))));
    stage(&mut translator);
    translator.translate();
    assert_eq!(deployment(&translator).limits.payload_bytes, Some(2048));
}
