//! Which API, stage and route a request reaches (section 1 of the spec), seen from outside.

use serde_json::{Value, json};
use tollgate_testkit::{Api, Gateway, Issuer, Reply, SigningKey, backend, echo, function, http, invoked};

const NOT_FOUND: &str = r#"{"message":"Not Found"}"#;

/// Functions that return their event, one per route.
fn api(routes: &[&str]) -> Api {
    let address = backend(invoked);
    let routes: Vec<(&str, Value)> = routes.iter().map(|key| (*key, function(address, "2.0"))).collect();
    Api::new(&routes)
}

fn serving(api: &Api) -> Gateway {
    let mut gateway = Gateway::empty();
    let reports = gateway.publish(&api.units());
    assert!(reports.iter().all(|report| report.problems.is_empty()), "{reports:?}");
    gateway
}

#[track_caller]
fn assert_not_found(reply: &Reply) {
    assert_eq!((reply.status, reply.text()), (404, NOT_FOUND));
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.header("content-length"), Some("23"));
    assert!(reply.headers.iter().all(|(name, _)| !name.starts_with("access-control-")));
}

/// Proves H-ROUTE-16, H-ROUTE-17, H-ROUTE-18, H-ROUTE-26, H-ROUTE-31, C1, C2, C3, C4.
#[test]
fn the_most_specific_route_answers() {
    let gateway =
        serving(&api(&["GET /pets/dog/1", "GET /pets/dog/{id}", "GET /pets/{proxy+}", "ANY /{proxy+}", "$default"]));
    for (request, route, parameters) in [
        ("GET /pets/dog/1", "GET /pets/dog/1", Value::Null),
        ("GET /pets/dog/1?id=2", "GET /pets/dog/1", Value::Null),
        ("GET /pets/dog/2", "GET /pets/dog/{id}", json!({"id": "2"})),
        ("GET /pets/cat/1", "GET /pets/{proxy+}", json!({"proxy": "cat/1"})),
        ("POST /test/5", "ANY /{proxy+}", json!({"proxy": "test/5"})),
        ("POST /pets/dog/1", "ANY /{proxy+}", json!({"proxy": "pets/dog/1"})),
    ] {
        let reply = gateway.call(request);
        let event = reply.json();
        assert_eq!(event["routeKey"], route, "{request}");
        assert_eq!(event["requestContext"]["routeKey"], route, "{request}");
        assert_eq!(event["pathParameters"], parameters, "{request}");
    }
}

/// Proves H-ROUTE-19, C5.
#[test]
fn a_method_that_a_specific_route_lacks_goes_to_a_wider_one() {
    let gateway = serving(&api(&["GET /pets", "ANY /{proxy+}"]));
    assert_eq!(gateway.call("POST /pets").json()["routeKey"], "ANY /{proxy+}");
    assert_eq!(gateway.call("GET /pets").json()["routeKey"], "GET /pets");
}

/// Proves H-ERR-1, H-ERR-3, H-ROUTE-7, H-ROUTE-21, H-ROUTE-23, H-ROUTE-27, H-ROUTE-28, H-ROUTE-29, C6, C7, C8, C11, C15.
#[test]
fn what_no_route_matches_is_404() {
    let gateway = serving(&api(&["GET /pets", "GET /dogs/{proxy+}", "ANY /any"]));
    for request in [
        "POST /pets",
        "GET /pets/",
        "GET /Pets",
        "GET /dogs",
        "OPTIONS /pets\nOrigin: https://a.example\nAccess-Control-Request-Method: GET",
        "PROPFIND /any",
        "TRACE /any",
        "GET /",
    ] {
        assert_not_found(&gateway.call(request));
    }
    let head = gateway.call("HEAD /pets");
    assert_eq!((head.status, head.body.len(), head.header("content-length")), (404, 0, Some("23")));
    assert_eq!(gateway.call("DELETE /any").status, 200);
}

/// Proves H-ROUTE-22, H-ROUTE-23, H-EV2-4, C9, C10.
#[test]
fn greedy_variables_take_the_rest() {
    let gateway = serving(&api(&["ANY /{proxy+}", "ANY /beta/{proxy+}"]));
    for (path, route, proxy) in [
        ("/", "ANY /{proxy+}", ""),
        ("/beta/foo/", "ANY /beta/{proxy+}", "foo/"),
        ("/beta/", "ANY /beta/{proxy+}", ""),
        ("/beta/a%2Fb%20c", "ANY /beta/{proxy+}", "a/b c"),
    ] {
        let event = gateway.call(&format!("GET {path}")).json();
        assert_eq!((&event["routeKey"], &event["pathParameters"]["proxy"]), (&json!(route), &json!(proxy)), "{path}");
    }
    assert_eq!(gateway.call("GET /beta/foo/").json()["rawPath"], "/beta/foo/");
}

/// Proves H-ROUTE-10, H-ROUTE-12, H-LOG-6, C12, C13.
#[test]
fn without_a_default_stage_the_first_segment_has_to_name_one() {
    let log = json!({"format": "$context.stage $context.routeKey $context.status"});
    let api = api(&["GET /ok"]).only_stage(json!({"stageName": "dev", "accessLogSettings": log}));
    let gateway = serving(&api);
    assert_not_found(&gateway.call("GET /ok"));
    let reply = gateway.call("GET /dev/ok");
    let event = reply.json();
    assert_eq!(event["rawPath"], "/dev/ok");
    assert_eq!(event["routeKey"], "GET /ok");
    assert_eq!(event["requestContext"]["stage"], "dev");
    assert_eq!(event["requestContext"]["http"]["path"], "/dev/ok");
    assert_not_found(&gateway.call("GET /dev/none"));
    assert_eq!(gateway.stop(), "dev GET /ok 200\ndev - 404\n");
}

/// Proves H-ROUTE-10, H-ROUTE-11, H-ROUTE-12, H-ROUTE-13, C14.
#[test]
fn an_explicit_stage_wins() {
    let api = api(&["GET /dev/ok", "GET /ok", "GET /", "GET /$default/ok"]).stage(json!({"stageName": "dev"}));
    let gateway = serving(&api);
    for (path, stage, route) in [
        ("/dev/ok", "dev", "GET /ok"),
        ("/dev/dev/ok", "dev", "GET /dev/ok"),
        ("/ok", "$default", "GET /ok"),
        ("/dev", "dev", "GET /"),
        ("/dev/", "dev", "GET /"),
        ("/", "$default", "GET /"),
        ("/$default/ok", "$default", "GET /$default/ok"),
    ] {
        let event = gateway.call(&format!("GET {path}")).json();
        assert_eq!((event["requestContext"]["stage"].as_str(), event["routeKey"].as_str()), (Some(stage), Some(route)));
    }
    assert_not_found(&gateway.call("GET /Dev/ok"));
}

/// Proves H-ROUTE-15.
#[test]
fn a_stage_that_was_never_deployed_is_404() {
    let api = api(&["GET /ok"]).stage(json!({"stageName": "new", "deployment": null}));
    let gateway = serving(&api);
    assert_not_found(&gateway.call("GET /new/ok"));
    assert_eq!(gateway.call("GET /ok").status, 200);
}

/// Proves H-STAGE-3, C17.
#[test]
fn routes_appear_with_their_deployment() {
    let before = api(&["GET /old"]);
    let mut gateway = serving(&before);
    assert_not_found(&gateway.call("GET /new"));
    gateway.publish(&api(&["GET /old", "GET /new"]).units());
    assert_eq!(gateway.call("GET /new").status, 200);
    gateway.publish(&before.units());
    assert_not_found(&gateway.call("GET /new"));
}

/// Proves H-ROUTE-34, H-ROUTE-35, C16.
#[test]
fn a_closed_endpoint_is_404_once_deployed() {
    let open = api(&["GET /ok"]).stage(json!({"stageName": "dev"}));
    let mut gateway = serving(&open);
    assert_eq!(gateway.call("GET /ok").status, 200);
    gateway.publish(&open.set("disableExecuteApiEndpoint", json!(true)).units());
    for path in ["/ok", "/dev/ok", "/none"] {
        assert_not_found(&gateway.call(&format!("GET {path}")));
    }
}

/// Proves H-ROUTE-24, H-ROUTE-25, H-ROUTE-30.
#[test]
fn paths_are_matched_decoded_and_never_normalised() {
    let gateway = serving(&api(&["GET /pets", "GET /pets/{id}"]));
    assert_eq!(gateway.call("GET /p%65ts").json()["routeKey"], "GET /pets");
    assert_eq!(gateway.call("GET /pets/a%2Fb").json()["pathParameters"]["id"], "a/b");
    assert_eq!(gateway.call("GET /pets/a+%C3%A9").json()["pathParameters"]["id"], "a+é");
    for path in ["//pets", "/pets//", "/pets//1", "/a/b"] {
        assert_not_found(&gateway.call(&format!("GET {path}")));
    }
    for path in [
        "/pets/../pets",
        "/./pets",
        "/pets/.",
        "/pets/%2e%2e",
        "/pets/%2E.",
        "/pets/..%2Fx",
        "/pets/..;a=b",
        "/pets/a%5C..%5Cb",
        "/pets/%",
        "/pets/%0",
        "/pets/%00",
    ] {
        let reply = gateway.call(&format!("GET {path}"));
        assert_eq!((reply.status, reply.text()), (400, r#"{"message":"Bad Request"}"#), "{path}");
    }
}

/// Proves H-ROUTE-25.
#[test]
fn bytes_that_no_path_has_are_400() {
    let gateway = serving(&api(&["GET /pets/{id}"]));
    for path in [&b"/pets/a\\b"[..], b"/pets/a\x01b", b"/pets/a\x7fb", b"/pets/\xc3\xa9", b"*"] {
        let mut client = gateway.connect();
        client.send(b"GET ");
        client.send(path);
        client.send(b" HTTP/1.1\r\nHost: abc123.execute-api.gw.example\r\n\r\n");
        let reply = client.read(false);
        assert_eq!(reply.status, 400, "{:?}", String::from_utf8_lossy(path));
    }
}

/// A parser may end the target at `#` and another go on: nobody gets to choose (design, what is matched is what is forwarded).
#[test]
fn a_fragment_in_a_target_is_refused() {
    let gateway = serving(&api(&["GET /pets/{id}"]));
    assert_eq!(gateway.call("GET /pets/a").status, 200);
    assert_eq!(gateway.call("GET /pets/a#/../b?c").status, 400);
}

/// Proves H-ROUTE-32.
#[test]
fn an_authorized_route_has_an_arn_of_at_most_1600_bytes() {
    let key = SigningKey::new("k1");
    let issuer = Issuer::new(&[&key]);
    let mut backend = function(backend(invoked), "2.0");
    let open = backend.clone();
    backend["route"] = json!({"authorization": {"type": "JWT", "authorizer": "jwt"}});
    let api = Api::new(&[("GET /a/{proxy+}", backend), ("GET /open/{proxy+}", open)])
        .set("authorizers", json!({"jwt": issuer.authorizer("shop")}));
    let gateway = serving(&api);
    let token = key.token(&issuer.claims("shop", &json!({})));
    let before = "arn:aws:execute-api:local:000000000000:abc123/$default/GET/a/".len();
    let call = |route: &str, length: usize| {
        gateway.call(&format!("GET /{route}/{}\nAuthorization: {token}", "x".repeat(length - before)))
    };
    assert_eq!(call("a", 1600).status, 200);
    let reply = call("a", 1601);
    assert_eq!((reply.status, reply.text()), (414, r#"{"message":"Request URI too long"}"#));
    assert_eq!(call("open", 2000).status, 200);
}

/// Proves H-ROUTE-33.
#[test]
fn an_upgrade_is_ignored() {
    let address = backend(echo);
    let gateway = serving(&Api::new(&[("GET /a", http(&format!("http://{address}/a")))]));
    let mut client = gateway.connect();
    let reply = client.call(
        "GET /a\nConnection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\nSec-WebSocket-Version: 13",
    );
    assert_eq!(reply.status, 200);
    assert_eq!((reply.seen("upgrade"), reply.seen("connection")), (None, None));
    assert_eq!(reply.seen("sec-websocket-version").as_deref(), Some("13"));
    assert_eq!(client.call("GET /a").status, 200);
}

/// Proves H-FLOW-6.
#[test]
fn ping_is_a_path_like_any_other() {
    let gateway = serving(&api(&["GET /ping", "GET /{other+}"]));
    assert_eq!(gateway.call("GET /ping").status, 200);
    assert_eq!(gateway.call("GET /sping").status, 200);
}

/// Proves H-ROUTE-8.
#[test]
fn a_route_without_a_backend_is_500() {
    let target = json!({"route": {"target": {"type": "none"}}});
    let gateway = serving(&Api::new(&[("GET /a", target)]));
    let reply = gateway.call("GET /a");
    assert_eq!((reply.status, reply.text()), (500, r#"{"message":"Internal Server Error"}"#));
}

/// Proves H-DOM-4.
#[test]
fn an_unknown_host_is_403() {
    let gateway = serving(&api(&["GET /ok"]));
    for host in ["other.example", "nope.execute-api.gw.example", "abc123.execute-api.gw.example.evil"] {
        let reply = gateway.call(&format!("GET /ok\nHost: {host}"));
        assert_eq!((reply.status, reply.text()), (403, r#"{"message":"Forbidden"}"#), "{host}");
        assert!(reply.header("apigw-requestid").is_some());
    }
    for host in ["ABC123.execute-api.gw.example", "abc123.execute-api.gw.example:8443", "books.shop.gw.example"] {
        assert_eq!(gateway.call(&format!("GET /ok\nHost: {host}")).status, 200, "{host}");
    }
}
