//! Lambda authorizers (sections 6.7 to 6.10 of the spec) with functions that are really asked.

#![expect(clippy::unwrap_used, reason = "a test ends where something unexpected happens")]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tollgate_proxy::settings::ConnectionLimits;
use tollgate_testkit::{Api, Gateway, Reply, backend, echo, function, http, invoked, raw_backend, unused_address};

const UNAUTHORIZED: &str = r#"{"message":"Unauthorized"}"#;
const FORBIDDEN: &str = r#"{"message":"Forbidden"}"#;
const INTERNAL: &str = r#"{"message":"Internal Server Error"}"#;

/// A function that answers with the header `x-say` of its event (no part of the identity), and counts its calls.
struct Decider {
    address: SocketAddr,
    calls: Arc<AtomicUsize>,
    last: Arc<Mutex<Value>>,
}

impl Decider {
    fn new() -> Self {
        let calls = Arc::new(AtomicUsize::new(0));
        let last = Arc::new(Mutex::new(Value::Null));
        let (counter, seen) = (Arc::clone(&calls), Arc::clone(&last));
        let address = backend(move |head, body| {
            counter.fetch_add(1, Ordering::SeqCst);
            *seen.lock().unwrap() = serde_json::from_slice(body).unwrap();
            let event: Value = serde_json::from_slice(body).unwrap();
            let headers = event["headers"].as_object().unwrap();
            let say = |name: &str| {
                headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone())
            };
            let arn = event_arn(body);
            let answer = say("x-say").map_or_else(
                || json!({"isAuthorized": true}).to_string(),
                |say| say.as_str().unwrap().replace("ROUTE_ARN", &arn),
            );
            let told =
                json!({"x-result": answer, "x-function-error": say("x-throw"), "x-invoke-status": say("x-status")});
            let told: serde_json::Map<String, Value> =
                told.as_object().unwrap().clone().into_iter().filter(|(_, value)| !value.is_null()).collect();
            invoked(head, &json!({"headers": told}).to_string().into())
        });
        Self { address, calls, last }
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// As it travels.
    fn authorizer(&self, sources: &[&str], changes: &Value) -> Value {
        let url = format!("http://{}", self.address);
        let version = changes["version"].as_str().unwrap_or("2.0");
        json!({
            "source": "shop/decide",
            "identitySource": sources,
            "check": {
                "type": "lambda",
                "function": {
                    "endpoint": {"type": "url", "url": url}, "functionName": "function", "payloadFormatVersion": version,
                },
                "enableSimpleResponses": changes["simple"].as_bool().unwrap_or(false),
                "resultTtlInSeconds": changes["ttl"].as_u64().unwrap_or(0),
            },
        })
    }
}

fn event_arn(body: &[u8]) -> String {
    let event: Value = serde_json::from_slice(body).unwrap();
    let arn = event.get("routeArn").or(event.get("methodArn")).unwrap();
    arn.as_str().unwrap().to_owned()
}

fn closed(mut backend: Value) -> Value {
    backend["route"] = json!({"authorization": {"type": "CUSTOM", "authorizer": "decide"}});
    backend
}

fn api(authorizer: Value) -> Api {
    let address = backend(invoked);
    let url = format!("http://{}/", backend(echo));
    let stage = json!({"stageName": "$default", "accessLogSettings": {"format":
        "$context.status $context.authorizer.n $context.authorizer.principalId $context.error.responseType $context.authorizer.error"}});
    Api::new(&[
        ("GET /v2", closed(function(address, "2.0"))),
        ("GET /v1", closed(function(address, "1.0"))),
        ("GET /http", closed(http(&url))),
        ("POST /pets/{id}", closed(http(&url))),
        ("GET /open", http(&url)),
    ])
    .set("authorizers", json!({"decide": authorizer}))
    .only_stage(stage)
}

fn publish(gateway: &mut Gateway, api: &Api) {
    let reports = gateway.publish(&api.units());
    assert!(reports.iter().all(|report| report.problems.is_empty()), "{reports:?}");
}

fn serving(authorizer: Value) -> Gateway {
    let mut gateway = Gateway::empty();
    publish(&mut gateway, &api(authorizer));
    gateway
}

fn simple() -> Value {
    json!({"simple": true})
}

fn say(gateway: &Gateway, path: &str, answer: &Value) -> Reply {
    gateway.call(&format!("GET {path}\nX-K: 1\nX-Say: {answer}"))
}

fn policy(resource: &str, context: &Value) -> Value {
    let statement = json!({"Effect": "Allow", "Action": "execute-api:Invoke", "Resource": resource});
    let document = json!({"Version": "2012-10-17", "Statement": [statement]});
    json!({"principalId": "anna", "policyDocument": document, "context": context})
}

#[track_caller]
fn assert_answer(reply: &Reply, status: u16, body: &str) {
    assert_eq!((reply.status, reply.text()), (status, body));
    assert_eq!(reply.header("www-authenticate"), None);
}

/// Proves H-LA-6, H-LA-7, H-LA-37, C77.
#[test]
fn a_missing_identity_asks_nobody() {
    let decider = Decider::new();
    let gateway = serving(decider.authorizer(&["$request.header.X-K"], &simple()));
    assert_answer(&gateway.call("GET /v2"), 401, UNAUTHORIZED);
    assert_eq!(decider.calls(), 0);
    assert_eq!(gateway.call("GET /v2\nX-K:").status, 200);
    assert_eq!(decider.calls(), 1);
    assert_eq!(gateway.call("GET /open").status, 200);
    let kept = serving(decider.authorizer(&["$request.header.X-K"], &json!({"simple": true, "ttl": 60})));
    assert_eq!(kept.call("GET /v2\nX-K: 1").status, 200);
    assert_answer(&kept.call("GET /v2"), 401, UNAUTHORIZED);
}

/// Proves H-LA-15, H-LA-17, H-LA-21, H-LA-22, H-LA-25, C78, C79, C80.
#[test]
fn simple_answers() {
    let decider = Decider::new();
    let gateway = serving(decider.authorizer(&["$request.header.X-K"], &simple()));
    assert_answer(&say(&gateway, "/v2", &json!({"isAuthorized": false})), 403, FORBIDDEN);
    for broken in [json!({}), json!({"isAuthorized": null}), policy("*", &json!({}))] {
        assert_answer(&say(&gateway, "/v2", &broken), 500, INTERNAL);
    }
    let answer = json!({"isAuthorized": true, "context": {"n": 1, "a": ["x"], "claims": {"sub": "me"}}});
    let event = say(&gateway, "/v2", &answer).json();
    assert_eq!(event["requestContext"]["authorizer"], json!({"lambda": {"n": 1, "a": ["x"]}}));
    let event = say(&gateway, "/v2", &json!({"isAuthorized": "true"})).json();
    assert_eq!(event["requestContext"]["authorizer"], json!({"lambda": null}));
    let event = say(&gateway, "/v1", &answer).json();
    assert_eq!(event["requestContext"]["authorizer"], json!({"n": 1, "a": ["x"]}));
}

/// Proves H-LA-16, H-LA-17, H-LA-19, H-LA-20, H-LA-25, C81, C82.
#[test]
fn policies() {
    let decider = Decider::new();
    let gateway = serving(decider.authorizer(&["$request.header.X-K"], &json!({"version": "1.0"})));
    assert_answer(&say(&gateway, "/v1", &policy("*", &json!({"a": ["x"]}))), 500, INTERNAL);
    let event = say(&gateway, "/v1", &policy("ROUTE_ARN", &json!({"n": 1}))).json();
    assert_eq!(event["requestContext"]["authorizer"], json!({"principalId": "anna", "n": "1"}));
    let event = say(&gateway, "/v2", &policy("ROUTE_ARN", &json!({"n": 1}))).json();
    assert_eq!(event["requestContext"]["authorizer"], json!({"lambda": {"n": "1"}}));
    assert_answer(&say(&gateway, "/v1", &policy("arn:other", &json!({}))), 403, FORBIDDEN);
    let mut denied = policy("*", &json!({}));
    let statements = denied["policyDocument"]["Statement"].as_array_mut().unwrap();
    statements.push(json!({"Effect": "Deny", "Action": "*", "Resource": "ROUTE_ARN"}));
    assert_answer(&say(&gateway, "/v1", &denied), 403, FORBIDDEN);
    assert_answer(&say(&gateway, "/v1", &json!({"isAuthorized": true})), 500, INTERNAL);
    let mine = json!({"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}});
    for (condition, status) in [
        (mine, 200),
        (json!({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}), 403),
        (json!({"Bool": {"aws:SecureTransport": "true"}}), 500),
    ] {
        let mut answer = policy("*", &json!({}));
        answer["policyDocument"]["Statement"][0]["Condition"] = condition;
        assert_eq!(say(&gateway, "/v1", &answer).status, status, "{answer}");
    }
}

/// Proves H-LA-8, H-LA-12, H-LA-13.
#[test]
fn the_function_sees_the_request_without_its_body() {
    let decider = Decider::new();
    let gateway = serving(decider.authorizer(&["$request.header.X-K", "$request.querystring.k"], &simple()));
    let request = "POST /pets/a%62%2Fc?k=1&k=2\nX-K: one\nX-K: two\nContent-Type: text/plain\n\nsecret";
    assert_eq!(gateway.call(request).status, 200);
    let event = decider.last.lock().unwrap().clone();
    assert_eq!(event["routeArn"], "arn:aws:execute-api:local:000000000000:abc123/$default/POST/pets/ab%2Fc");
    assert_eq!(event["identitySource"], json!(["one,two", "1,2"]));
    assert_eq!(event["pathParameters"], json!({"id": "ab/c"}));
    assert_eq!(event["requestContext"].get("authorizer"), None);
    assert_eq!(event.get("body"), None);
    assert!(!event.to_string().contains("secret"));
}

/// Proves H-LA-23, H-LA-24, H-LA-40, H-LOG-10, H-LOG-12, C83.
#[test]
fn functions_that_fail() {
    let decider = Decider::new();
    let gateway = serving(decider.authorizer(&["$request.header.X-K"], &simple()));
    let thrown = |message: &str| {
        let say = json!({"errorMessage": message, "errorType": "Error"});
        gateway.call(&format!("GET /v2\nX-K: 1\nX-Throw: 1\nX-Say: {say}"))
    };
    assert_answer(&thrown("Unauthorized"), 401, UNAUTHORIZED);
    assert_answer(&thrown("boom"), 500, INTERNAL);
    assert_answer(&gateway.call("GET /v2\nX-K: 1\nX-Status: 403"), 500, INTERNAL);
    assert_answer(&gateway.call("GET /v2\nX-K: 1\nX-Say: text"), 500, INTERNAL);
    assert_eq!(say(&gateway, "/v2", &json!({"isAuthorized": true, "context": {"n": 7}})).status, 200);
    assert_eq!(say(&gateway, "/v2", &json!({"isAuthorized": false})).status, 403);
    let log = gateway.stop();
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(lines[0], "401 - - UNAUTHORIZED Unauthorized");
    assert_eq!(lines[1], "500 - - AUTHORIZER_FAILURE boom");
    assert_eq!(
        lines[2],
        "500 - - AUTHORIZER_FAILURE The IAM role configured on the authorizer or API Gateway doesn't have permissions to call the authorizer. Check the permissions and try again."
    );
    assert_eq!(lines[4], "200 7 - - -");
    assert!(lines[5].starts_with("403 - - ACCESS_DENIED "), "{}", lines[5]);
}

/// Proves H-LA-24.
#[test]
fn functions_that_cannot_be_reached() {
    let closed = raw_backend(|_, _| {});
    for address in [unused_address(), closed] {
        let decider = Decider { address, calls: Arc::default(), last: Arc::default() };
        let gateway = serving(decider.authorizer(&[], &simple()));
        assert_answer(&gateway.call("GET /v2"), 500, INTERNAL);
        assert_eq!(gateway.call("GET /open").status, 200);
    }
}

/// Proves H-LA-5, H-LA-24.
#[test]
fn functions_that_are_too_slow() {
    assert_eq!(ConnectionLimits::default().authorizer_timeout, Duration::from_secs(10));
    let address = raw_backend(|_, mut client| drop(client.rest()));
    let decider = Decider { address, calls: Arc::default(), last: Arc::default() };
    let mut gateway = Gateway::with(|settings| settings.limits.authorizer_timeout = Duration::from_millis(20));
    publish(&mut gateway, &api(decider.authorizer(&[], &simple())));
    assert_answer(&gateway.call("GET /v2"), 500, INTERNAL);
    assert!(gateway.stop().ends_with(" AUTHORIZER_FAILURE the authorizer's function did not answer in time\n"));
}

/// Proves H-LA-30, H-LA-31, H-LA-32, C84, C85.
#[test]
fn policies_are_kept_and_measured_again() {
    let decider = Decider::new();
    let gateway = serving(decider.authorizer(&["$request.header.X-K"], &json!({"ttl": 300})));
    let answer = policy("ROUTE_ARN", &json!({}));
    assert_eq!(say(&gateway, "/v2", &answer).status, 200);
    assert_answer(&say(&gateway, "/v1", &answer), 403, FORBIDDEN);
    assert_eq!((say(&gateway, "/v2", &answer).status, decider.calls()), (200, 1));
    assert_eq!(gateway.call(&format!("GET /v1\nX-K: 2\nX-Say: {answer}")).status, 200);
    assert_eq!(decider.calls(), 2);

    let per_route = ["$request.header.X-K", "$context.routeKey"];
    let decider = Decider::new();
    let gateway = serving(decider.authorizer(&per_route, &json!({"ttl": 300})));
    for path in ["/v2", "/v1", "/v2", "/v1"] {
        assert_eq!(say(&gateway, path, &answer).status, 200);
    }
    assert_eq!(decider.calls(), 2);
    gateway.await_metric("tollgate_authorizer_answers_total{source=\"function\"}", 2.0);
    gateway.await_metric("tollgate_authorizer_answers_total{source=\"cache\"}", 2.0);
}

/// Proves H-LA-33, H-LA-34, H-LA-35.
#[test]
fn yes_and_no_are_kept_but_no_failures() {
    let decider = Decider::new();
    let gateway = serving(decider.authorizer(&["$request.header.X-K"], &json!({"simple": true, "ttl": 300})));
    let call = |key: &str, path: &str, more: &str| gateway.call(&format!("GET {path}\nX-K: {key}\n{more}"));
    let no = r#"X-Say: {"isAuthorized":false}"#;
    let yes = r#"X-Say: {"isAuthorized":true,"context":{"n":7}}"#;
    assert_eq!(call("a", "/v2", no).status, 403);
    assert_eq!((call("a", "/http", yes).status, decider.calls()), (403, 1));
    assert_eq!(call("b", "/http", yes).status, 200);
    let event = call("b", "/v2", no).json();
    assert_eq!((&event["requestContext"]["authorizer"]["lambda"]["n"], decider.calls()), (&json!(7), 2));
    let thrown = "X-Throw: 1\nX-Say: {\"errorMessage\":\"Unauthorized\",\"errorType\":\"Error\"}";
    assert_eq!(call("c", "/v2", thrown).status, 401);
    assert_eq!(call("c", "/v2", "X-Say: {}").status, 500);
    assert_eq!((call("c", "/v2", yes).status, decider.calls()), (200, 5));

    let never = Decider::new();
    let gateway = serving(never.authorizer(&["$request.header.X-K"], &simple()));
    for _ in 0..2 {
        assert_eq!(say(&gateway, "/v2", &json!({"isAuthorized": true})).status, 200);
    }
    assert_eq!(never.calls(), 2);
}

/// Proves H-LA-36.
#[test]
fn the_owner_of_a_stage_empties_it() {
    let decider = Decider::new();
    let authorizer = decider.authorizer(&["$request.header.X-K"], &json!({"simple": true, "ttl": 300}));
    let stage = |name: &str| json!({"stageName": "$default", "authorizerCache": name});
    let mut gateway = Gateway::empty();
    let yes = json!({"isAuthorized": true});
    for (name, calls) in [("0", 1), ("0", 1), ("1", 2), ("1", 2)] {
        publish(&mut gateway, &api(authorizer.clone()).only_stage(stage(name)));
        assert_eq!((say(&gateway, "/v2", &yes).status, decider.calls()), (200, calls), "{name}");
    }
}

/// Proves P6, H-LA-30, H-LA-38.
#[test]
fn answers_outlive_changes_that_are_not_the_authorizers() {
    let decider = Decider::new();
    let authorizer = |ttl: u64| decider.authorizer(&["$request.header.X-K"], &json!({"simple": true, "ttl": ttl}));
    let mut gateway = serving(authorizer(300));
    let yes = json!({"isAuthorized": true});
    assert_eq!(say(&gateway, "/v2", &yes).status, 200);
    let mut changed = api(authorizer(300));
    changed.deployment["routes"].as_array_mut().unwrap().pop();
    publish(&mut gateway, &changed);
    assert_eq!((say(&gateway, "/v2", &yes).status, decider.calls()), (200, 1));
    assert_eq!(gateway.call("GET /open").status, 404);
    // Another stage has answers of its own.
    publish(&mut gateway, &changed.stage(json!({"stageName": "dev"})));
    assert_eq!((say(&gateway, "/dev/v2", &yes).status, decider.calls()), (200, 2));
    assert_eq!((say(&gateway, "/v2", &yes).status, decider.calls()), (200, 2));
    publish(&mut gateway, &api(authorizer(299)));
    assert_eq!((say(&gateway, "/v2", &yes).status, decider.calls()), (200, 3));
}

/// A function is asked once however many ask at once.
#[test]
fn requests_at_the_same_time_share_an_answer() {
    let calls = Arc::new(AtomicUsize::new(0));
    let gate = Arc::new(std::sync::Barrier::new(2));
    let (counter, opened) = (Arc::clone(&calls), Arc::clone(&gate));
    let address = raw_backend(move |_, mut client| {
        client.until("\r\n\r\n");
        counter.fetch_add(1, Ordering::SeqCst);
        opened.wait();
        let body = r#"{"isAuthorized":true}"#;
        client.send(
            format!("HTTP/1.1 200 OK\r\nx-amzn-requestid: 1\r\ncontent-length: {}\r\n\r\n{body}", body.len())
                .as_bytes(),
        );
        client.until("\r\n\r\n");
    });
    let decider = Decider { address, calls: Arc::clone(&calls), last: Arc::default() };
    let mut gateway = Gateway::with(|settings| settings.workers = std::num::NonZeroUsize::new(2).unwrap());
    publish(&mut gateway, &api(decider.authorizer(&["$request.header.X-K"], &json!({"simple": true, "ttl": 60}))));
    let mut clients: Vec<_> = (0..8).map(|_| gateway.connect()).collect();
    for client in &mut clients {
        client.send(b"GET /http HTTP/1.1\r\nHost: abc123.execute-api.gw.example\r\nX-K: 1\r\n\r\n");
    }
    gate.wait();
    for client in &mut clients {
        assert_eq!(client.read(false).status, 200);
    }
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}
