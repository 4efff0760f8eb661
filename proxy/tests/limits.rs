//! Sizes of requests and responses (section 3.9 of the spec), and bodies that end early.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::net::SocketAddr;
use std::sync::mpsc;

use http::Response;
use http_body_util::Full;
use serde_json::{Value, json};
use tollgate_testkit::{
    Api, Gateway, Issuer, Reply, backend, echo, function, http, invoked, raw_backend, unused_address,
};

const MEGABYTES_10: usize = 10 * 1024 * 1024;
const TOO_LARGE: (u16, &str) = (413, r#"{"message":"Request Entity Too Large"}"#);
const HEAD: &str = "HTTP/1.1\r\nHost: abc123.execute-api.gw.example\r\n";

fn serving(api: &Api) -> Gateway {
    let mut gateway = Gateway::empty();
    let reports = gateway.publish(&api.units());
    assert!(reports.iter().all(|report| report.problems.is_empty()), "{reports:?}");
    gateway
}

fn at(address: SocketAddr) -> Value {
    http(&format!("http://{address}/"))
}

fn answer(reply: &Reply) -> (u16, &str) {
    (reply.status, reply.text())
}

/// Says how long the body was.
fn measuring() -> SocketAddr {
    backend(|_, body| Response::new(Full::from(body.len().to_string())))
}

/// Takes bodies of at most 10 bytes: `/http` and `/function`.
fn small() -> Gateway {
    let api = Api::new(&[("POST /http", at(measuring())), ("POST /function", function(backend(invoked), "2.0"))]);
    serving(&api.set("limits", json!({"payloadBytes": 10})))
}

/// Proves H-SIZE-2, H-SIZE-4, C46.
#[test]
fn ten_megabytes_and_no_byte_more() {
    let gateway =
        serving(&Api::new(&[("POST /a", at(measuring())), ("POST /function", function(backend(invoked), "2.0"))]));
    let body = vec![b'x'; MEGABYTES_10 + 1];
    let mut client = gateway.connect();
    client.send(format!("POST /a {HEAD}Content-Length: {MEGABYTES_10}\r\n\r\n").as_bytes());
    client.send(&body[..MEGABYTES_10]);
    assert_eq!(answer(&client.read(false)), (200, MEGABYTES_10.to_string().as_str()));
    for path in ["/a", "/function"] {
        let mut client = gateway.connect();
        client.send(format!("POST {path} {HEAD}Content-Length: {}\r\n\r\n", MEGABYTES_10 + 1).as_bytes());
        // The answer comes whether or not the client first sends all it has.
        client.try_send(&body);
        assert_eq!(answer(&client.read(false)), TOO_LARGE, "{path}");
    }
}

/// Proves H-SIZE-2, H-SIZE-4.
#[test]
fn a_body_over_the_limit_is_refused_however_it_comes() {
    let gateway = small();
    for path in ["/http", "/function"] {
        assert_eq!(gateway.call(&format!("POST {path}\n\n0123456789")).status, 200);
        assert_eq!(answer(&gateway.call(&format!("POST {path}\n\n0123456789x"))), TOO_LARGE);
        let mut client = gateway.connect();
        client.send(format!("POST {path} {HEAD}Transfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n").as_bytes());
        client.send(b"0\r\n\r\n");
        assert_eq!(client.read(false).status, 200);
        client.send(format!("POST {path} {HEAD}Transfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n").as_bytes());
        client.send(b"1\r\nx\r\n");
        assert_eq!(answer(&client.read(false)), TOO_LARGE);
    }
}

/// What a client sends after it was refused is not taken for a request.
///
/// Proves H-SIZE-2.
#[test]
fn after_413_the_connection_is_closed_or_in_step() {
    let gateway = small();
    let mut client = gateway.connect();
    let smuggled = format!("POST /http {HEAD}Content-Length: 2\r\n\r\nno");
    client.send(format!("POST /http {HEAD}Content-Length: {}\r\n\r\n{smuggled}", smuggled.len()).as_bytes());
    assert_eq!(answer(&client.read(false)), TOO_LARGE);
    client.try_send(format!("POST /http {HEAD}Connection: close\r\nContent-Length: 3\r\n\r\nyes").as_bytes());
    let rest = String::from_utf8(client.rest()).unwrap();
    assert!(rest.is_empty() || rest.ends_with("\r\n\r\n3"), "{rest}");
}

/// Proves H-SIZE-1, C47.
#[test]
fn heads_of_10240_bytes_and_no_byte_more() {
    let gateway = serving(&Api::new(&[("GET /a", at(backend(echo)))]));
    let host = "abc123.execute-api.gw.example";
    // Method, target and version with their spaces; names and values.
    let rest = "GET /a HTTP/1.1".len() + "host".len() + host.len() + "x".len();
    let call = |length: usize| gateway.call(&format!("GET /a\nHost: {host}\nX: {}", "v".repeat(length - rest)));
    assert_eq!(call(10_240).status, 200);
    for length in [10_241, 11 * 1024, 60_000] {
        let reply = call(length);
        assert_eq!(answer(&reply), (431, r#"{"message":"Request Header Fields Too Large"}"#), "{length}");
        assert_eq!(reply.header("content-type"), Some("application/json"));
        assert!(reply.header("apigw-requestid").is_some());
    }
    let long = gateway.call(&format!("GET /a?{}", "q".repeat(11_000)));
    assert_eq!(long.status, 431);
}

/// A limit that docs/differences.md states: refused by the HTTP library, without a body.
#[test]
fn heads_that_are_not_read_at_all_are_431() {
    let gateway = serving(&Api::new(&[("GET /a", at(backend(echo)))]));
    let mut client = gateway.connect();
    client.try_send(format!("GET /a {HEAD}X: {}\r\n\r\n", "v".repeat(200_000)).as_bytes());
    assert_eq!(client.until("\r\n").as_deref(), Some("HTTP/1.1 431 Request Header Fields Too Large\r\n"));
    let many: String = (0..101).map(|number| format!("X-{number}: a\n")).collect();
    assert_eq!(gateway.call(&format!("GET /a\n{many}")).status, 431);
}

/// Nobody takes a part for the whole: the end of the body is missing.
///
/// Proves H-HTTP-16, H-SIZE-2.
#[test]
fn a_response_that_grows_over_the_limit_is_cut_off() {
    let address = raw_backend(|_, mut connection| {
        connection.until("\r\n\r\n");
        connection.try_send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n");
        connection.try_send(b"6\r\n56789x\r\n0\r\n\r\n");
        connection.rest();
    });
    let gateway = serving(&Api::new(&[("GET /a", at(address))]).set("limits", json!({"payloadBytes": 10})));
    let mut client = gateway.connect();
    client.send(format!("GET /a {HEAD}\r\n").as_bytes());
    let answer = String::from_utf8(client.rest()).unwrap();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(!answer.contains("56789x") && !answer.ends_with("0\r\n\r\n"), "{answer}");
}

/// What a client sees of a backend's bytes when the backend breaks off.
fn broken(bytes: &'static str, version: &str) -> (String, String) {
    let address = raw_backend(move |_, mut connection| {
        connection.until("\r\n\r\n");
        connection.send(bytes.as_bytes());
    });
    let api = Api::new(&[("GET /a", at(address))]).only_stage(json!({"stageName": "$default",
        "accessLogSettings": {"format": "$context.status $context.responseLength"}}));
    let gateway = serving(&api);
    let mut client = gateway.connect();
    client.send(
        format!("GET /a HTTP/{version}\r\nHost: abc123.execute-api.gw.example\r\nConnection: close\r\n\r\n").as_bytes(),
    );
    let answer = String::from_utf8(client.rest()).unwrap();
    (answer, gateway.stop())
}

/// Proves H-HTTP-13, H-HTTP-15.
#[test]
fn a_backend_that_breaks_off_cannot_look_complete() {
    let (answer, log) = broken("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234", "1.1");
    assert!(answer.contains("content-length: 10\r\n") && answer.ends_with("\r\n\r\n01234"), "{answer}");
    assert_eq!(log, "200 5\n");
    let (answer, log) = broken("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n", "1.1");
    assert!(answer.ends_with("01234\r\n"), "{answer}");
    assert_eq!(log, "200 5\n");
    let (answer, log) = broken("HTTP/1.1 200 OK\r\nContent-Le", "1.1");
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert_eq!(log, "503 33\n");
}

/// A response that ends with the backend's connection ends with a last chunk, and for an HTTP/1.0 client with its connection.
#[test]
fn a_response_without_a_length() {
    let until_close = "HTTP/1.1 200 OK\r\n\r\n01234";
    let (answer, _) = broken(until_close, "1.1");
    assert!(
        answer.contains("transfer-encoding: chunked\r\n") && answer.ends_with("5\r\n01234\r\n0\r\n\r\n"),
        "{answer}"
    );
    let (answer, _) = broken(until_close, "1.0");
    assert!(!answer.contains("transfer-encoding") && answer.ends_with("\r\n\r\n01234"), "{answer}");
}

/// The backend's connection is given up with a client that goes away, and nothing of it reaches the next request.
#[test]
fn a_client_that_goes_away_mid_body() {
    let (seen, events) = mpsc::channel();
    let address = raw_backend(move |number, mut connection| {
        let head = connection.until("\r\n\r\n").unwrap();
        if head.starts_with("GET") {
            connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{number}").as_bytes());
            return;
        }
        let body = connection.take(5);
        seen.send(body).unwrap();
        // The rest never comes, and no other request does.
        seen.send(connection.rest()).unwrap();
    });
    let gateway = serving(&Api::new(&[("ANY /a", at(address))]));
    let mut client = gateway.connect();
    client.send(format!("POST /a {HEAD}Content-Length: 100\r\n\r\nfirst").as_bytes());
    assert_eq!(events.recv().unwrap(), b"first");
    drop(client);
    assert_eq!(events.recv().unwrap(), b"");
    assert_eq!(answer(&gateway.call("GET /a")), (200, "1"));
}

/// The same while the client waits for an answer.
#[test]
fn a_client_that_does_not_wait() {
    let (seen, events) = mpsc::channel();
    let address = raw_backend(move |_, mut connection| {
        connection.until("\r\n\r\n").unwrap();
        seen.send(false).unwrap();
        seen.send(connection.is_closed()).unwrap();
    });
    let gateway = serving(&Api::new(&[("GET /a", at(address))]));
    let mut client = gateway.connect();
    client.send(format!("GET /a {HEAD}\r\n").as_bytes());
    assert!(!events.recv().unwrap());
    drop(client);
    assert!(events.recv().unwrap());
}

/// The same while the client reads.
#[test]
fn a_client_that_has_read_enough() {
    let (seen, events) = mpsc::channel();
    let address = raw_backend(move |_, mut connection| {
        connection.until("\r\n\r\n").unwrap();
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\nfirst");
        seen.send(connection.is_closed()).unwrap();
    });
    let api = Api::new(&[("GET /a", at(address))]).set("limits", json!({"payloadBytes": 1_000_000_000}));
    let gateway = serving(&api);
    let mut client = gateway.connect();
    client.send(format!("GET /a {HEAD}\r\n").as_bytes());
    client.until("first").unwrap();
    drop(client);
    assert!(events.recv().unwrap());
}

/// Who is refused while still sending gets to read why, and the connection goes on. Closing it with bytes unread would reset it, and a
/// reset may overtake the answer.
#[test]
fn the_body_of_a_refused_request_is_read_to_its_end() {
    let mut closed = at(measuring());
    closed["route"] = json!({"authorization": {"type": "JWT", "authorizer": "jwt"}});
    let early = raw_backend(|_, mut connection| {
        connection.until("\r\n\r\n");
        connection.send(b"HTTP/1.1 409 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        connection.finish();
        connection.rest();
    });
    let api = Api::new(&[
        ("POST /closed", closed),
        ("POST /gone", at(unused_address())),
        ("POST /early", at(early)),
        ("POST /empty", json!({"route": {"target": {"type": "none"}}})),
        ("POST /a", at(measuring())),
    ])
    .set("authorizers", json!({"jwt": Issuer::new(&[]).authorizer("shop")}))
    .set("limits", json!({"payloadBytes": 2_000_000}));
    let gateway = serving(&api);
    let body = vec![b'x'; 1_000_000];
    let mut client = gateway.connect();
    for (path, status) in [("/none", 404), ("/closed", 401), ("/gone", 503), ("/empty", 500), ("/early", 409)] {
        client.send(format!("POST {path} {HEAD}Content-Length: {}\r\n\r\n", body.len()).as_bytes());
        client.send(&body);
        assert_eq!(client.read(false).status, status, "{path}");
        client.send(format!("POST {path} {HEAD}Transfer-Encoding: chunked\r\n\r\nf4240\r\n").as_bytes());
        client.send(&body);
        client.send(b"\r\n0\r\n\r\n");
        assert_eq!(client.read(false).status, status, "{path}");
        assert_eq!(answer(&client.call("POST /a\n\nabc")), (200, "3"), "{path}");
    }
}

/// A client that waits for leave to send its body is refused without it.
#[test]
fn a_refused_request_is_not_told_to_continue() {
    let gateway = small();
    for (path, length, status) in [("/none", 5, 404), ("/http", 11, 413), ("/function", 11, 413)] {
        let mut client = gateway.connect();
        client.send(format!("POST {path} {HEAD}Content-Length: {length}\r\nExpect: 100-continue\r\n\r\n").as_bytes());
        assert_eq!(client.read(false).status, status, "{path}");
        client.finish();
        assert!(client.is_closed());
    }
}
