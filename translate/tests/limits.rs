//! AWS's limits, and raising them for one API.

#![expect(clippy::unwrap_used, reason = "a test ends where something unexpected happens")]

use serde_json::{Value, json};
use tollgate_engine::snapshot::{RouteTarget, Unit};
use tollgate_translate::{Kind, Object, ObjectRef, Settings, Translator};

fn apply(translator: &mut Translator, kind: &str, name: &str, spec: Value) {
    let metadata = json!({"name": name, "namespace": "n", "uid": name});
    let value = json!({"apiVersion": "tollgate.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec});
    translator.world_mut().apply(Object::from_value(value).unwrap().unwrap());
}

/// The timeout that is served for the only route; none when it answers 500.
fn served(translator: &Translator) -> Option<u32> {
    let units = translator.units().map(|put| put.unit());
    let deployment = units.into_iter().find_map(|unit| match unit {
        Unit::Deployment(deployment) => Some(deployment),
        _ => None,
    });
    let deployment = deployment.unwrap();
    match &deployment.routes[0].target {
        RouteTarget::Integration { id } => Some(deployment.integrations[id].timeout_in_millis),
        _ => None,
    }
}

fn said(translator: &Translator) -> String {
    let route = ObjectRef::new(Kind::Route, "n", "slow");
    translator.verdicts().find(|verdict| verdict.object == route).unwrap().accepted.message.clone()
}

/// Proves H-INT-3.
#[test]
fn a_timeout_over_30_s_needs_the_apis_leave() {
    let own = |timeout: u32| json!({"apiRef": {"name": "shop"}, "routeKey": "GET /slow", "integration": {"http": {"uri": "https://b.example/"}, "timeoutInMillis": timeout}});
    let mut translator = Translator::new(Settings { base_domain: "localhost".into(), https: false });
    apply(&mut translator, "HttpApi", "shop", json!({}));
    apply(&mut translator, "Stage", "dev", json!({"apiRef": {"name": "shop"}, "stageName": "$default"}));
    apply(&mut translator, "Route", "slow", own(30_001));
    translator.translate();
    let refused = "spec.integration: timeoutInMillis: 30001 is more than the 30000 that the API allows: lower it, or raise spec.limits.timeoutInMillis of HttpApi shop";
    assert_eq!((served(&translator), said(&translator).as_str()), (None, refused));
    apply(&mut translator, "HttpApi", "shop", json!({"limits": {"timeoutInMillis": 60_000}}));
    translator.translate();
    assert_eq!((served(&translator), said(&translator).as_str()), (Some(30_001), ""), "the API's change is enough");
    // Lowered again, what was accepted stays until the route is changed.
    apply(&mut translator, "HttpApi", "shop", json!({"limits": {"timeoutInMillis": 10_000}}));
    translator.translate();
    assert_eq!(served(&translator), Some(30_001));
    assert!(said(&translator).contains("more than the 10000"));
    apply(&mut translator, "Route", "slow", own(10_000));
    translator.translate();
    assert_eq!(served(&translator), Some(10_000));
}

#[test]
fn a_shared_integration_is_measured_by_each_api() {
    let mut translator = Translator::new(Settings { base_domain: "localhost".into(), https: false });
    let back = |timeout: u32| json!({"http": {"uri": "https://b.example/"}, "timeoutInMillis": timeout});
    apply(&mut translator, "HttpApi", "shop", json!({}));
    apply(&mut translator, "Stage", "dev", json!({"apiRef": {"name": "shop"}, "stageName": "$default"}));
    apply(&mut translator, "Integration", "back", back(20_000));
    let route = json!({"apiRef": {"name": "shop"}, "routeKey": "GET /slow", "integrationRef": {"name": "back"}});
    apply(&mut translator, "Route", "slow", route);
    translator.translate();
    assert_eq!(served(&translator), Some(20_000));
    apply(&mut translator, "Integration", "back", back(40_000));
    translator.translate();
    assert_eq!(served(&translator), Some(20_000), "the last accepted version stays");
    assert!(said(&translator).starts_with("spec.integrationRef: timeoutInMillis: 40000"), "{}", said(&translator));
    apply(&mut translator, "HttpApi", "shop", json!({"limits": {"timeoutInMillis": 40_000}}));
    translator.translate();
    assert_eq!(served(&translator), Some(40_000));
}
