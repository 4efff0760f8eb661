use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::route::inspect_path;
use crate::throttle::{AccountLimit, Meters};

fn api() -> Value {
    json!({"apiId": "abc1234567", "namespace": "shop", "name": "books"})
}

fn integration(backend: &Value) -> Value {
    json!({"source": "Route/shop/r", "timeoutInMillis": 30000, "backend": backend})
}

fn service(path: Option<&str>) -> Value {
    let mut backend = json!({"type": "service", "service": {"namespace": "shop", "name": "orders", "port": 80}});
    if let Some(path) = path {
        backend["path"] = path.into();
    }
    integration(&backend)
}

fn route(key: &str, target: &Value) -> Value {
    json!({"key": key, "source": format!("shop/{}", key.replace([' ', '/', '{', '}'], "-")), "target": target})
}

fn to(id: &str) -> Value {
    json!({"type": "integration", "id": id})
}

fn compile(wire: &Value) -> (Deployment, Vec<Problem>) {
    let wire: snapshot::Deployment = serde_json::from_value(wire.clone()).unwrap();
    let hash = ContentHash::of(&wire);
    Deployment::compile(&wire, hash)
}

fn target_of(deployment: &Deployment, path: &str) -> Option<Target> {
    let number = deployment.find(Method::Get, path, inspect_path(path).unwrap())?;
    Some(deployment.routes[number].target)
}

/// A change of one route among many: the keys of the others are not parsed again.
#[test]
fn only_new_keys_are_parsed() {
    let wire = |last: &str| {
        let keys =
            (0..100).map(|number| format!("GET /a/{number}/{{id}}")).chain([last.to_owned(), "$default".to_owned()]);
        let routes: Vec<Value> = keys.map(|key| route(&key, &json!({"type": "none"}))).collect();
        json!({"api": api(), "routes": routes})
    };
    let (before, _) = compile(&wire("GET /b"));
    let wire: snapshot::Deployment = serde_json::from_value(wire("GET /c")).unwrap();
    let (after, problems) = Deployment::compile_after(&wire, ContentHash::of(&wire), Some(&before));
    assert_eq!(problems, []);
    let template = |route: &Route| match &route.key {
        RouteKey::Path { path, .. } => Some(Arc::clone(path)),
        RouteKey::Default => None,
    };
    let old: Vec<_> = before.routes.iter().filter_map(template).collect();
    let parsed: Vec<&str> = after
        .routes
        .iter()
        .filter(|route| template(route).is_some_and(|path| !old.iter().any(|old| Arc::ptr_eq(old, &path))))
        .map(|route| &*route.key_text)
        .collect();
    assert_eq!(parsed, ["GET /c"]);
    let (alone, _) = Deployment::compile(&wire, after.hash.clone());
    assert_eq!(format!("{after:?}"), format!("{alone:?}"), "what is used again is what would have been made");
}

#[test]
fn a_sound_deployment_compiles_without_problems() {
    let (deployment, problems) = compile(&json!({
        "api": api(),
        "cors": {"allowOrigins": ["https://a.example"]},
        "limits": {"payloadBytes": 1000},
        "authorizers": {"jwt": {
            "source": "shop/jwt",
            "identitySource": ["$request.header.Authorization"],
            "check": {"type": "jwt", "issuer": "https://issuer.example", "audience": ["api"]},
        }},
        "integrations": {"a": service(None), "b": service(Some("/v2/{id}"))},
        "routes": [
            route("GET /a", &to("a")),
            {"key": "GET /b/{id}", "source": "shop/b", "target": to("b"), "authorization": {"type": "JWT", "authorizer": "jwt"}},
            route("$default", &json!({"type": "none"})),
        ],
    }));
    assert_eq!(problems, []);
    assert!(deployment.cors.is_some());
    assert_eq!(deployment.payload_bytes, 1000);
    assert_eq!(target_of(&deployment, "/a"), Some(Target::Integration(0)));
    assert_eq!(target_of(&deployment, "/b/1"), Some(Target::Integration(1)));
    assert!(matches!(deployment.routes[1].authorization, Authorization::Jwt { authorizer: 0, .. }));
    assert_eq!(target_of(&deployment, "/c"), Some(Target::Reject(Reject::NoIntegration)));
}

/// A part that cannot run answers 500 itself; it does not fall through to `ANY` or `$default`, and nothing else changes.
///
/// Proves H-ROUTE-8.
#[test]
fn what_cannot_run_is_closed_and_alone() {
    let broken = [
        (
            "refused",
            json!({"key": "GET /x", "source": "shop/x", "target": {"type": "refused"}}),
            Reject::RefusedRoute,
            0,
        ),
        ("no integration", route("GET /x", &json!({"type": "none"})), Reject::NoIntegration, 0),
        ("unknown target", route("GET /x", &json!({"type": "teleport"})), Reject::UnknownBehaviour, 1),
        ("missing integration", route("GET /x", &to("nope")), Reject::UnknownBehaviour, 1),
        (
            "missing authorizer",
            json!({"key": "GET /x", "source": "s/x", "target": to("a"), "authorization": {"type": "JWT", "authorizer": "nope"}}),
            Reject::AuthorizerFailure,
            1,
        ),
        (
            "broken authorizer",
            json!({"key": "GET /x", "source": "s/x", "target": to("a"), "authorization": {"type": "JWT", "authorizer": "broken"}}),
            Reject::AuthorizerFailure,
            0,
        ),
        (
            "newer authorization",
            json!({"key": "GET /x", "source": "s/x", "target": to("a"), "authorization": {"type": "QUANTUM", "key": 1}}),
            Reject::UnknownBehaviour,
            1,
        ),
        (
            "newer behaviour",
            json!({"key": "GET /x", "source": "s/x", "target": to("a"), "requires": ["requestParameters"]}),
            Reject::UnknownBehaviour,
            1,
        ),
        ("variable of another route", route("GET /x", &to("with-id")), Reject::UnknownBehaviour, 1),
        ("newer backend", route("GET /x", &to("newer")), Reject::UnknownBehaviour, 0),
    ];
    for (name, route_x, reject, own_problems) in broken {
        let (deployment, problems) = compile(&json!({
            "api": api(),
            "authorizers": {"broken": {"source": "shop/broken", "identitySource": [], "check": {"type": "jwt", "issuer": "x", "audience": []}}},
            "integrations": {"a": service(None), "with-id": service(Some("/{id}")), "newer": integration(&json!({"type": "carrierPigeon"}))},
            "routes": [route("GET /a", &to("a")), route_x, route("ANY /{proxy+}", &to("a")), route("$default", &to("a"))],
        }));
        assert_eq!(target_of(&deployment, "/x"), Some(Target::Reject(reject)), "{name}");
        assert_eq!(target_of(&deployment, "/a"), Some(Target::Integration(0)), "{name}");
        assert_eq!(target_of(&deployment, "/y"), Some(Target::Integration(0)), "{name}");
        let of_route: Vec<&Problem> = problems.iter().filter(|problem| problem.path.starts_with("routes[1]")).collect();
        assert_eq!(of_route.len(), own_problems, "{name}: {problems:?}");
    }
}

/// Proves H-ROUTE-6.
#[test]
fn a_second_route_with_the_key_is_left_out() {
    let (deployment, problems) = compile(&json!({
        "api": api(),
        "integrations": {"a": service(None)},
        "routes": [route("GET /x/{a}", &to("a")), route("GET /x/{b}", &json!({"type": "none"})), route("bad", &to("a"))],
    }));
    assert_eq!(target_of(&deployment, "/x/1"), Some(Target::Integration(0)));
    assert_eq!(problems.iter().map(|p| p.path.as_str()).collect::<Vec<_>>(), ["routes[1].key", "routes[2].key"]);
}

fn compiled_stage(wire: &Value, deployment: Deployment, meters: &Meters) -> (Stage, Vec<Problem>) {
    let wire: snapshot::Stage = serde_json::from_value(wire.clone()).unwrap();
    Stage::compile(&wire, Some(Arc::new(deployment)), &AccountLimit::default(), meters, 0)
}

fn http(uri: &str) -> Value {
    integration(&json!({"type": "http", "uri": uri}))
}

/// Proves H-VAR-3, H-VAR-5, H-HTTP-1.
#[test]
fn stages_fill_in_their_variables() {
    let deployment = || {
        let (deployment, problems) = compile(&json!({
            "api": api(),
            "integrations": {
                "1": http("https://${stageVariables.host}/base/{id}"),
                "2": http("http://b.example:8080"),
            },
            "routes": [route("GET /a/{id}", &to("1")), route("GET /b", &to("2"))],
        }));
        assert_eq!(problems, []);
        deployment
    };
    let wire =
        |variables: Value| json!({"api": api(), "source": "shop/dev", "stageName": "dev", "stageVariables": variables});
    let (stage, problems) = compiled_stage(&wire(json!({"host": "one.example"})), deployment(), &Meters::new());
    assert_eq!(problems, []);
    let destinations: Vec<String> = stage
        .calls
        .iter()
        .map(|call| match &call.as_ref().unwrap().backend {
            Backend::Http(HttpCall { destination: Destination::Origin { host, port, tls, .. }, .. }) => {
                format!("{host}:{port} {}", tls.is_some())
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(destinations, ["one.example:443 true", "b.example:8080 false"]);

    let (stage, problems) = compiled_stage(&wire(json!({})), deployment(), &Meters::new());
    assert_eq!(stage.calls[0].as_ref().err(), Some(&Reject::UndefinedVariable));
    assert!(stage.calls[1].is_ok());
    assert_eq!(problems.len(), 1, "{problems:?}");
}

/// A new deployment of a stage finds the buckets of the old one (promise P6).
///
/// Proves H-THR-1, H-THR-2.
#[test]
fn buckets_stay_when_the_deployment_changes() {
    let deployment = |uri: &str| {
        compile(&json!({
            "api": api(), "integrations": {"1": http(uri)}, "routes": [route("GET /a", &to("1")), route("GET /b", &to("1"))],
        }))
        .0
    };
    let wire = json!({
        "api": api(), "source": "shop/dev", "stageName": "dev",
        "defaultRouteSettings": {"throttlingRateLimit": 1.0, "throttlingBurstLimit": 2},
        "routeSettings": {"GET /b": {"throttlingBurstLimit": 1}},
    });
    let meters = Meters::new();
    let take = |stage: &Stage, route: usize| {
        let (limit, bucket) = stage.policies[route].throttle.as_ref().unwrap();
        bucket.take(limit, 1)
    };
    let (before, _) = compiled_stage(&wire, deployment("http://one.example"), &meters);
    assert!(take(&before, 0) && take(&before, 0) && !take(&before, 0));
    assert!(take(&before, 1) && !take(&before, 1));
    let (after, _) = compiled_stage(&wire, deployment("http://two.example"), &meters);
    assert!(!take(&after, 0) && !take(&after, 1));
}

#[test]
fn origins_are_strict() {
    for (uri, fragment) in [
        ("ftp://x", "does not start with http"),
        ("https://", "host"),
        ("https://user@host", "user information"),
        ("https://host:99999", "port"),
        ("https://{tenant}.example/", "must not choose the host"),
        ("https://a b/", "not a host"),
    ] {
        let (_, problems) = compile(&json!({
            "api": api(), "integrations": {"1": http(uri)}, "routes": [route("GET /{tenant}", &to("1"))],
        }));
        assert!(problems.iter().any(|problem| problem.message.contains(fragment)), "{uri}: {problems:?}");
    }
}

#[test]
fn functions_are_invoked_below_the_base_url() {
    let lambda = |url: &str| {
        let (deployment, problems) = compile(&json!({
            "api": api(),
            "integrations": {"1": integration(&json!({
                "type": "lambda", "endpoint": {"type": "url", "url": url}, "functionName": "f", "payloadFormatVersion": "2.0",
            }))},
            "routes": [route("GET /", &to("1"))],
        }));
        assert_eq!(problems, []);
        let (stage, _) = compiled_stage(
            &json!({"api": api(), "source": "shop/dev", "stageName": "dev", "stageVariables": BTreeMap::<String, String>::new()}),
            deployment,
            &Meters::new(),
        );
        match &stage.calls[0].as_ref().unwrap().backend {
            Backend::Lambda(call) => call.path.to_string(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(lambda("http://f.example:9000"), "/2015-03-31/functions/f/invocations");
    assert_eq!(lambda("http://f.example:9000/"), "/2015-03-31/functions/f/invocations");
    assert_eq!(lambda("http://f.example/base/"), "/base/2015-03-31/functions/f/invocations");
}
