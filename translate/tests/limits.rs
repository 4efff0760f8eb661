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

/// Names of the routes that answer, and what is said of the others by name.
fn routes(translator: &Translator) -> (Vec<String>, Vec<(String, String)>) {
    let units = translator.units().map(|put| put.unit());
    let deployment = units.into_iter().find_map(|unit| match unit {
        Unit::Deployment(deployment) => Some(deployment),
        _ => None,
    });
    let routes = deployment.unwrap().routes;
    let answering = routes.iter().filter(|route| route.target != RouteTarget::Refused);
    let answering = answering.map(|route| route.source.replace("n/", "")).collect();
    let refused = translator.verdicts().filter(|verdict| verdict.object.kind == Kind::Route && !verdict.accepted.ok);
    let refused = refused.map(|verdict| (verdict.object.name.clone(), verdict.accepted.message.clone())).collect();
    (answering, refused)
}

fn aged(translator: &mut Translator, kind: &str, name: &str, age: usize, spec: Value) {
    let created = format!("2026-01-01T{:02}:{:02}:00Z", age / 60, age % 60);
    let metadata = json!({"name": name, "namespace": "n", "uid": name, "creationTimestamp": created});
    let value = json!({"apiVersion": "tollgate.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec});
    translator.world_mut().apply(Object::from_value(value).unwrap().unwrap());
}

fn gone(translator: &mut Translator, kind: Kind, name: &str) {
    assert!(translator.world_mut().delete(&ObjectRef::new(kind, "n", name)));
}

fn shop() -> Translator {
    let mut translator = Translator::new(Settings { base_domain: "localhost".into(), https: false });
    apply(&mut translator, "HttpApi", "shop", json!({}));
    aged(&mut translator, "Stage", "s0", 0, json!({"apiRef": {"name": "shop"}, "stageName": "$default"}));
    translator
}

fn too_many(what: &str, most: usize) -> String {
    format!(
        "spec.apiRef: maximum number of {what} for this API has been reached: it has {most} that are older; delete some, or raise spec.limits.{what} of HttpApi shop"
    )
}

/// Proves H-QUOTA-1.
#[test]
fn an_api_has_300_routes_unless_it_may_have_more() {
    let mut translator = shop();
    let route = |number: usize| json!({"apiRef": {"name": "shop"}, "routeKey": format!("GET /{number}")});
    // The youngest first: when an object was made counts, not when it was seen.
    for number in (0..301).rev() {
        aged(&mut translator, "Route", &format!("r{number:03}"), number, route(number));
    }
    translator.translate();
    let (answering, refused) = routes(&translator);
    assert_eq!((answering.len(), answering.contains(&"r300".to_owned())), (300, false));
    assert_eq!(refused, [("r300".to_owned(), too_many("routes", 300))]);
    // Raised, lowered: what was accepted stays, and the condition says so.
    apply(&mut translator, "HttpApi", "shop", json!({"limits": {"routes": 301}}));
    translator.translate();
    assert_eq!(routes(&translator), ((0..301).map(|number| format!("r{number:03}")).collect(), Vec::new()));
    apply(&mut translator, "HttpApi", "shop", json!({"limits": {"routes": 300}}));
    translator.translate();
    let (answering, refused) = routes(&translator);
    assert_eq!((answering.len(), refused), (301, vec![("r300".to_owned(), too_many("routes", 300))]));
    gone(&mut translator, Kind::Route, "r007");
    translator.translate();
    assert_eq!(routes(&translator).1, [], "one that goes makes room");
}

#[test]
fn routes_of_an_api_use_10_authorizers_unless_it_may_have_more() {
    let mut translator = shop();
    for number in 0..11 {
        let jwt = json!({"issuer": format!("https://issuer-{number}.example"), "audience": ["a"]});
        apply(&mut translator, "Authorizer", &format!("a{number}"), json!({"jwt": jwt}));
        for (place, age) in [("first", number), ("second", 20 + number)] {
            let closed = json!({"apiRef": {"name": "shop"}, "routeKey": format!("GET /{place}/{number}"),
                "authorizationType": "JWT", "authorizerRef": {"name": format!("a{number}")}});
            aged(&mut translator, "Route", &format!("{place}{number}"), age, closed);
        }
    }
    aged(&mut translator, "Route", "open", 99, json!({"apiRef": {"name": "shop"}, "routeKey": "GET /open"}));
    translator.translate();
    let (answering, refused) = routes(&translator);
    assert_eq!(answering.len(), 21, "those that share an authorizer, and those without one: {answering:?}");
    let expected = ["first10", "second10"].map(|name| (name.to_owned(), too_many("authorizers", 10)));
    assert_eq!(refused, expected);
    apply(&mut translator, "HttpApi", "shop", json!({"limits": {"authorizers": 11}}));
    translator.translate();
    assert_eq!(routes(&translator).0.len(), 23);
}

#[test]
fn an_api_has_10_stages_unless_it_may_have_more() {
    let mut translator = shop();
    for number in 1..11 {
        let stage = json!({"apiRef": {"name": "shop"}, "stageName": format!("s{number}")});
        aged(&mut translator, "Stage", &format!("s{number}"), number, stage);
    }
    translator.translate();
    let stages = |translator: &Translator| {
        let units = translator.units().filter(|put| matches!(put.unit(), Unit::Stage(_))).count();
        let last = ObjectRef::new(Kind::Stage, "n", "s10");
        (units, translator.verdicts().find(|verdict| verdict.object == last).unwrap().accepted.message.clone())
    };
    assert_eq!(stages(&translator), (10, too_many("stages", 10)));
    apply(&mut translator, "HttpApi", "shop", json!({"limits": {"stages": 11}}));
    translator.translate();
    assert_eq!(stages(&translator), (11, String::new()));
    apply(&mut translator, "HttpApi", "shop", json!({"limits": {"stages": 1}}));
    translator.translate();
    assert_eq!(stages(&translator), (11, too_many("stages", 1)), "what was accepted stays");
}
