//! CORS (section 5 of the spec), seen from a browser's side.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Response;
use http_body_util::Full;
use serde_json::{Value, json};
use tollgate_testkit::{Api, Gateway, Issuer, Reply, SigningKey, backend, http, unused_address};

const PREFLIGHT: &str = "Access-Control-Request-Method: GET\nAccess-Control-Request-Headers: x-unlisted";

/// Sends CORS headers of its own and counts its calls.
struct Backend {
    calls: Arc<AtomicUsize>,
    integration: Value,
}

impl Backend {
    fn new() -> Self {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        let address = backend(move |head, _| {
            counted.fetch_add(1, Ordering::SeqCst);
            let origin = head.headers.get("origin").map_or("none", |origin| origin.to_str().unwrap());
            Response::builder()
                .header("access-control-allow-origin", "*")
                .header("access-control-allow-methods", "TRACE")
                .header("access-control-expose-headers", "x-mine")
                .header("x-origin", origin)
                .body(Full::default())
                .unwrap()
        });
        Self { calls, integration: http(&format!("http://{address}/")) }
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

fn cors() -> Value {
    json!({"allowOrigins": ["https://a.example"], "allowMethods": ["GET", "POST"], "allowHeaders": ["Content-Type"], "maxAge": 300})
}

fn serving(api: &Api) -> Gateway {
    let mut gateway = Gateway::empty();
    let reports = gateway.publish(&api.units());
    assert!(reports.iter().all(|report| report.problems.is_empty()), "{reports:?}");
    gateway
}

/// The `access-control-*` headers of an answer.
fn controls(reply: &Reply) -> Vec<(&str, &str)> {
    let headers = reply.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let mut controls: Vec<_> =
        headers.filter_map(|(name, value)| Some((name.strip_prefix("access-control-")?, value))).collect();
    controls.sort_unstable();
    controls
}

const ALLOWED: (&str, &str) = ("allow-origin", "https://a.example");

/// Proves H-CORS-6, H-CORS-9, H-CORS-10, H-CORS-11, H-CORS-12, C60, C61.
#[test]
fn preflights_are_answered_without_the_backend() {
    let backend = Backend::new();
    let gateway = serving(&Api::new(&[("GET /p", backend.integration.clone())]).set("cors", cors()));
    for path in ["/p", "/no/route/at/all"] {
        let reply = gateway.call(&format!("OPTIONS {path}\nOrigin: https://a.example\n{PREFLIGHT}"));
        assert_eq!((reply.status, reply.header("content-type"), reply.header("content-length")), (204, None, None));
        assert_eq!(
            controls(&reply),
            [("allow-headers", "content-type"), ("allow-methods", "GET,POST"), ALLOWED, ("max-age", "300")]
        );
        assert!(reply.header("apigw-requestid").is_some());
    }
    for origin in ["https://b.example", "HTTPS://a.example", "https://a.example/", "https://a.example:443", "null"] {
        let reply = gateway.call(&format!("OPTIONS /p\nOrigin: {origin}\n{PREFLIGHT}"));
        assert_eq!((reply.status, controls(&reply)), (204, vec![]), "{origin}");
    }
    assert_eq!(backend.calls(), 0);
}

/// Proves H-CORS-6.
#[test]
fn a_preflight_on_an_open_options_route_does_not_reach_it() {
    let backend = Backend::new();
    let gateway = serving(&Api::new(&[("OPTIONS /p", backend.integration.clone())]).set("cors", cors()));
    let reply = gateway.call(&format!("OPTIONS /p\nOrigin: https://a.example\n{PREFLIGHT}"));
    assert_eq!((reply.status, backend.calls()), (204, 0));
    assert!(controls(&reply).contains(&ALLOWED));
}

/// Proves H-CORS-8.
#[test]
fn other_options_requests_are_ordinary() {
    let backend = Backend::new();
    let gateway = serving(&Api::new(&[("OPTIONS /p", backend.integration.clone())]).set("cors", cors()));
    assert_eq!(gateway.call("OPTIONS /p").status, 200);
    assert_eq!(gateway.call("OPTIONS /p\nOrigin: https://a.example").status, 200);
    assert_eq!(backend.calls(), 2);
    for request in ["OPTIONS /none", "OPTIONS /none\nOrigin: https://a.example", &format!("OPTIONS /none\n{PREFLIGHT}")]
    {
        let reply = gateway.call(request);
        assert_eq!((reply.status, controls(&reply)), (204, vec![]), "{request}");
    }
    assert_eq!(backend.calls(), 2);
}

/// Proves H-CORS-12, H-CORS-13, H-CORS-14, H-CORS-15, H-CORS-17, H-CORS-18, C62, C63.
#[test]
fn answers_have_the_gateways_headers_only() {
    let backend = Backend::new();
    let gateway = serving(&Api::new(&[("GET /p", backend.integration.clone())]).set("cors", cors()));
    let reply = gateway.call("GET /p\nOrigin: https://a.example");
    assert_eq!(controls(&reply), [ALLOWED]);
    assert_eq!(reply.header("vary"), Some("Origin"));
    assert_eq!(reply.header("x-origin"), Some("https://a.example"));
    assert_eq!(controls(&gateway.call("GET /p")), []);
    assert_eq!(controls(&gateway.call("GET /p\nOrigin: https://b.example")), []);
    assert_eq!(backend.calls(), 3);
}

/// Proves H-CORS-5.
#[test]
fn cors_is_part_of_a_deployment() {
    let open = Api::new(&[("GET /p", Backend::new().integration)]);
    let mut units = open.clone().set("cors", cors()).units();
    units.extend(open.only_stage(json!({"stageName": "old"})).units());
    let mut gateway = Gateway::empty();
    gateway.publish(&units);
    let request = "Origin: https://a.example";
    assert_eq!(controls(&gateway.call(&format!("GET /p\n{request}"))), [ALLOWED]);
    assert!(controls(&gateway.call(&format!("GET /old/p\n{request}"))).contains(&("allow-origin", "*")));
}

/// Proves H-CORS-1.
#[test]
fn without_cors_the_backends_headers_pass() {
    let gateway = serving(&Api::new(&[("GET /p", Backend::new().integration)]));
    let reply = gateway.call("GET /p\nOrigin: https://a.example");
    assert_eq!(controls(&reply), [("allow-methods", "TRACE"), ("allow-origin", "*"), ("expose-headers", "x-mine")]);
}

/// Proves H-CORS-9, H-CORS-12, H-CORS-13.
#[test]
fn wildcards_credentials_and_exposed_headers() {
    let backend = Backend::new();
    let with = |cors: Value| serving(&Api::new(&[("GET /p", backend.integration.clone())]).set("cors", cors));
    let any = with(json!({"allowOrigins": ["*"], "allowMethods": ["*"], "allowHeaders": ["*"], "maxAge": 0}));
    let reply = any.call(&format!("OPTIONS /p\nOrigin: null\n{PREFLIGHT}"));
    assert_eq!(controls(&reply), [("allow-headers", "*"), ("allow-methods", "*"), ("allow-origin", "*")]);
    let reply = any.call("GET /p\nOrigin: https://b.example");
    assert_eq!((controls(&reply), reply.header("vary")), (vec![("allow-origin", "*")], None));

    let secure =
        with(json!({"allowOrigins": ["https://*"], "exposeHeaders": ["X-One", "X-Two"], "allowCredentials": true}));
    let expected =
        [("allow-credentials", "true"), ("allow-origin", "https://b.example"), ("expose-headers", "x-one,x-two")];
    assert_eq!(controls(&secure.call("GET /p\nOrigin: https://b.example")), expected);
    assert_eq!(controls(&secure.call(&format!("OPTIONS /p\nOrigin: https://b.example\n{PREFLIGHT}"))), expected);
    assert_eq!(controls(&secure.call("GET /p\nOrigin: http://b.example")), []);
}

/// Proves H-CORS-7, H-CORS-16, C64, C65.
#[test]
fn an_authorizer_comes_before_the_preflight() {
    let key = SigningKey::new("k1");
    let issuer = Issuer::new(&[&key]);
    let backend = Backend::new();
    let mut closed = backend.integration.clone();
    closed["route"] = json!({"authorization": {"type": "JWT", "authorizer": "jwt"}});
    let finish = |api: Api| api.set("cors", cors()).set("authorizers", json!({"jwt": issuer.authorizer("shop")}));
    let mut gateway = serving(&finish(Api::new(&[("$default", closed.clone())])));
    let preflight = format!("OPTIONS /p\nOrigin: https://a.example\n{PREFLIGHT}");
    let reply = gateway.call(&preflight);
    assert_eq!((reply.status, controls(&reply)), (401, vec![ALLOWED]));
    let token = key.token(&issuer.claims("shop", &json!({})));
    assert_eq!(gateway.call(&format!("{preflight}\nAuthorization: {token}")).status, 204);

    let open = ("OPTIONS /{proxy+}", backend.integration.clone());
    gateway.publish(&finish(Api::new(&[("$default", closed), open])).units());
    let reply = gateway.call(&preflight);
    assert_eq!(reply.status, 204);
    assert!(controls(&reply).contains(&("allow-methods", "GET,POST")));
    let reply = gateway.call("GET /p\nOrigin: https://a.example");
    assert_eq!((reply.status, reply.text()), (401, r#"{"message":"Unauthorized"}"#));
    assert_eq!(controls(&reply), [ALLOWED]);
    assert_eq!(backend.calls(), 0);
}

/// Proves H-CORS-16.
#[test]
fn gateway_errors_can_be_read_by_browsers() {
    let api = Api::new(&[
        ("GET /p", http(&format!("http://{}/", unused_address()))),
        ("GET /empty", json!({"route": {"target": {"type": "none"}}})),
        ("GET /throttled", Backend::new().integration),
    ])
    .set("cors", cors())
    .only_stage(json!({"stageName": "$default", "routeSettings": {"GET /throttled": {"throttlingBurstLimit": 0}}}));
    let gateway = serving(&api);
    for (path, status) in [("/p", 503), ("/empty", 500), ("/none", 404), ("/throttled", 429)] {
        let reply = gateway.call(&format!("GET {path}\nOrigin: https://a.example"));
        assert_eq!((reply.status, controls(&reply)), (status, vec![ALLOWED]), "{path}");
        assert_eq!(controls(&gateway.call(&format!("GET {path}\nOrigin: https://b.example"))), [], "{path}");
    }
}
