//! Clients that speak HTTP/2: the same answers in another form.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use http::Request;
use serde_json::{Value, json};
use tollgate_testkit::{Api, Gateway, Http2Client, backend, echo, function, http, invoked, raw_backend, service};

fn at(address: SocketAddr) -> Value {
    http(&format!("http://{address}/"))
}

fn echoing() -> Api {
    let address = backend(echo);
    Api::new(&[
        ("ANY /a", at(address)),
        ("ANY /service", service("s")),
        ("ANY /function", function(backend(invoked), "2.0")),
    ])
    .endpoints("s", &[address])
}

fn serving(api: &Api) -> Gateway {
    let mut gateway = Gateway::empty();
    let reports = gateway.publish(&api.units());
    assert!(reports.iter().all(|report| report.problems.is_empty()), "{reports:?}");
    gateway
}

fn uri(path: &str) -> String {
    format!("https://abc123.execute-api.gw.example{path}")
}

fn http2_conversation(client: &mut Http2Client) {
    let reply = client.call(Request::post(uri("/service?x=1")).header("cookie", "a=1").header("cookie", "b=2"), "abc");
    assert_eq!((reply.status, reply.json()["body"].as_str()), (200, Some("abc")));
    assert_eq!(reply.json()["target"], "/service?x=1");
    assert_eq!(reply.seen("host").as_deref(), Some("abc123.execute-api.gw.example"));
    assert_eq!(reply.seen("cookie").as_deref(), Some("a=1; b=2"));
    assert_eq!(reply.seen("via").as_deref(), Some("HTTP/1.1 AmazonAPIGateway"));
    assert_eq!((reply.header("connection"), reply.header("transfer-encoding")), (None, None));
    assert_eq!(reply.header("apigw-requestid").unwrap().len(), 16);

    let event = client.call(Request::get(uri("/function")).header("cookie", "a=1").header("cookie", "b=2"), "").json();
    assert_eq!(event["cookies"], json!(["a=1", "b=2"]));
    assert_eq!(event["headers"]["host"], "abc123.execute-api.gw.example");
    assert_eq!(event["requestContext"]["http"]["protocol"], "HTTP/1.1");

    for (request, status, body) in [
        (Request::get(uri("/none")), 404, r#"{"message":"Not Found"}"#),
        (Request::get("https://other.example/a"), 403, r#"{"message":"Forbidden"}"#),
        (Request::get(uri("/a/../a")), 400, r#"{"message":"Bad Request"}"#),
        (
            Request::get(uri("/a")).header("x", "v".repeat(11_000)),
            431,
            r#"{"message":"Request Header Fields Too Large"}"#,
        ),
    ] {
        let reply = client.call(request, "");
        assert_eq!((reply.status, reply.text()), (status, body));
        assert_eq!(reply.header("content-type"), Some("application/json"));
        assert_eq!(reply.header("connection"), None);
    }
    let head = client.call(Request::head(uri("/a")).header("x-answer", r#"{"headers":{"content-length":"5"}}"#), "");
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, Some("5"), 0));
    let large = client.call(Request::post(uri("/a")), &"x".repeat(4097));
    assert_eq!((large.status, large.text()), (413, r#"{"message":"Request Entity Too Large"}"#));
}

/// Proves H-FLOW-3, H-ERR-6, H-ERR-9.
#[test]
fn http_2_clients_get_the_same_answers() {
    let api = echoing().stage(json!({"stageName": "dev"})).set("limits", json!({"payloadBytes": 4096}));
    let mut gateway = Gateway::with(|settings| settings.tls_listen = Some("127.0.0.1:0".parse().unwrap()));
    gateway.publish(&api.units());
    http2_conversation(&mut Http2Client::connect(gateway.address));
    let name = "abc123.execute-api.gw.example";
    http2_conversation(&mut Http2Client::connect_tls(gateway.tls_address.unwrap(), name, &gateway.certificate));
    assert!(gateway.metric(r#"tollgate_client_requests_total{protocol="http2"}"#) > 15.0);
    assert!(gateway.metric(r#"tollgate_tls_handshakes_total{result="full"}"#) > 0.5);
}

/// `:authority` counts, and a `host` beside it says the same (RFC 9113 section 8.3.1).
#[test]
fn the_authority_is_the_host() {
    let gateway = serving(&echoing());
    let mut client = Http2Client::connect(gateway.address);
    let reply = client.call(Request::get(uri("/service")).header("host", "abc123.execute-api.gw.example"), "");
    assert_eq!((reply.status, reply.seen("host").as_deref()), (200, Some("abc123.execute-api.gw.example")));
    assert_eq!(client.call(Request::get(uri("/service")).header("host", "other.example"), "").status, 400);
}

/// Proves H-HTTP-9, H-EV2-14.
#[test]
fn te_trailers_goes_no_further() {
    let gateway = serving(&echoing());
    let mut client = Http2Client::connect(gateway.address);
    assert_eq!(client.call(Request::get(uri("/a")).header("te", "trailers"), "").seen("te"), None);
    let event = client.call(Request::get(uri("/function")).header("te", "trailers"), "").json();
    assert_eq!(event["headers"].get("te"), None);
}

#[test]
fn a_backend_that_breaks_off_breaks_the_stream_only() {
    let address = raw_backend(|_, mut connection| {
        connection.until("\r\n\r\n");
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234");
    });
    let chunked = raw_backend(|_, mut connection| {
        connection.until("\r\n\r\n");
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n");
    });
    let gateway =
        serving(&Api::new(&[("GET /a", at(address)), ("GET /chunked", at(chunked)), ("GET /ok", at(backend(echo)))]));
    let mut client = Http2Client::connect(gateway.address);
    for path in ["/a", "/chunked"] {
        client.try_call(Request::get(uri(path)), "").unwrap_err();
        assert_eq!(client.call(Request::get(uri("/ok")), "").status, 200);
    }
}

/// A stream that the client gives up ends its call of the backend, and nothing else.
#[test]
fn a_client_that_gives_up() {
    let (seen, events) = mpsc::channel();
    let address = raw_backend(move |_, mut connection| {
        connection.until("\r\n\r\n").unwrap();
        seen.send(false).unwrap();
        seen.send(connection.is_closed()).unwrap();
    });
    let gateway = serving(&Api::new(&[("GET /a", at(address)), ("GET /ok", at(backend(echo)))]));
    let mut client = Http2Client::connect(gateway.address);
    client.give_up(Request::get(uri("/a")), || assert!(!events.recv().unwrap()));
    assert!(events.recv().unwrap());
    assert_eq!(client.call(Request::get(uri("/ok")), "").status, 200);
}

/// A large body of a request that is refused does not hurt the connection.
#[test]
fn refused_bodies() {
    let gateway = serving(&echoing().set("limits", json!({"payloadBytes": 1000})));
    let mut client = Http2Client::connect(gateway.address);
    for _ in 0..3 {
        for (path, status) in [("/none", 404), ("/a", 413), ("/function", 413)] {
            let reply = client.call(Request::post(uri(path)), &"x".repeat(3_000_000));
            assert_eq!(reply.status, status, "{path}");
        }
    }
    assert_eq!(client.call(Request::get(uri("/none")), "").status, 404);
}

/// What is in flight ends well; then the connection does.
#[test]
fn draining() {
    let (seen, requests) = mpsc::channel();
    let (answers, answer) = mpsc::channel::<()>();
    let answer = std::sync::Mutex::new(answer);
    let address = raw_backend(move |_, mut connection| {
        connection.until("\r\n\r\n").unwrap();
        seen.send(()).unwrap();
        answer.lock().unwrap().recv().unwrap();
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone");
    });
    let mut gateway = serving(&Api::new(&[("GET /a", at(address))]));
    let mut client = Http2Client::connect(gateway.address);
    let idle = Http2Client::connect(gateway.address);
    std::thread::scope(|scope| {
        let busy = scope.spawn(|| {
            let reply = client.call(Request::get(uri("/a")), "");
            (reply, client)
        });
        requests.recv().unwrap();
        let leaving = gateway.drain();
        await_closed(&idle);
        answers.send(()).unwrap();
        let (reply, client) = busy.join().unwrap();
        assert_eq!((reply.status, reply.text()), (200, "done"));
        await_closed(&client);
        leaving.join().unwrap();
    });
}

fn await_closed(client: &Http2Client) {
    let begun = Instant::now();
    while !client.is_closed() {
        assert!(begun.elapsed() < Duration::from_secs(20), "the connection stays open");
        std::thread::yield_now();
    }
}
