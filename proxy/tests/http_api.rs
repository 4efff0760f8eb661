//! HTTP APIs through a real gateway: sockets on both sides, configuration as it travels.

use serde_json::json;
use tollgate_testkit::{Api, Gateway, backend, echo, http, service};

/// Proves H-ERR-1, H-ERR-2, H-ERR-3, H-ERR-6, H-ERR-7, H-ERR-9, C6, C7, C11, C20.
#[test]
fn routes_and_errors() {
    let address = backend(echo);
    let mut gateway = Gateway::empty();
    gateway.publish(&Api::new(&[("GET /pets", http(&format!("http://{address}/v1/animals")))]).units());
    let found = gateway.call("GET /pets?x=1");
    assert_eq!((found.status, found.json()["target"].as_str()), (200, Some("/v1/animals?x=1")));
    assert_eq!(found.header("connection"), Some("keep-alive"));
    let id = found.header("apigw-requestid").unwrap();
    assert!(id.len() == 16 && id.ends_with('='), "{id}");
    for request in ["POST /pets", "GET /pets/", "GET /Pets", "GET /", "TRACE /pets"] {
        let reply = gateway.call(request);
        assert_eq!((reply.status, reply.text()), (404, r#"{"message":"Not Found"}"#), "{request}");
        assert_eq!(reply.header("content-type"), Some("application/json"));
        assert_eq!(reply.header("content-length"), Some("23"));
    }
}

/// No configuration is 503, never 404 (promise P4).
#[test]
fn without_configuration_the_answer_is_503() {
    let mut gateway = Gateway::empty();
    let reply = gateway.call("GET /pets");
    assert_eq!((reply.status, reply.text()), (503, r#"{"message":"Service Unavailable"}"#));
    gateway.publish(&[]);
    assert_eq!(gateway.call("GET /pets").status, 403);
}

/// Proves H-HTTP-9, H-VPC-6, H-VPC-7, H-ROUTE-10, H-ROUTE-11, C13, C14, C52.
#[test]
fn services_get_the_whole_path_and_the_api_host() {
    let address = backend(echo);
    let api = Api::new(&[("GET /ok", service("orders")), ("GET /dev/ok", service("orders"))])
        .endpoints("orders", &[address])
        .stage(json!({"stageName": "dev"}));
    let mut gateway = Gateway::empty();
    gateway.publish(&api.units());
    let reply = gateway.call("GET /dev/ok?a=b");
    assert_eq!(reply.json()["target"], "/dev/ok?a=b");
    assert_eq!(reply.seen("host").as_deref(), Some("abc123.execute-api.gw.example"));
    assert_eq!(reply.seen("x-forwarded-for").as_deref(), Some("127.0.0.1"));
    assert_eq!(
        reply.seen("forwarded").as_deref(),
        Some("for=127.0.0.1;host=abc123.execute-api.gw.example;proto=https")
    );
    assert_eq!(reply.seen("via").as_deref(), Some("HTTP/1.1 AmazonAPIGateway"));
}

/// Proves H-VPC-10, C54.
#[test]
fn a_service_without_endpoints_is_503() {
    let mut gateway = Gateway::empty();
    gateway.publish(&Api::new(&[("GET /a", service("gone"))]).units());
    assert_eq!(gateway.call("GET /a").status, 503);
}

/// Proves H-ROUTE-13.
#[test]
fn an_empty_rest_of_the_path_is_the_root() {
    let address = backend(echo);
    let api =
        Api::new(&[("GET /", service("orders"))]).endpoints("orders", &[address]).stage(json!({"stageName": "dev"}));
    let mut gateway = Gateway::empty();
    gateway.publish(&api.units());
    for (request, target) in [
        ("GET /", "/"),
        ("GET /dev", "/dev"),
        ("GET /dev/", "/dev/"),
        ("GET /_aws/execute-api/abc123\nHost: localhost", "/"),
        ("GET /_aws/execute-api/abc123/\nHost: localhost", "/"),
        ("GET /_aws/execute-api/abc123/dev?a=b\nHost: 127.0.0.1:80", "/dev?a=b"),
    ] {
        let reply = gateway.call(request);
        assert_eq!((reply.status, reply.json()["target"].as_str()), (200, Some(target)), "{request}");
    }
}
