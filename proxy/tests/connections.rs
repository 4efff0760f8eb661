//! The connection tier: what happens between requests, and under them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tollgate_testkit::{Api, Client, Gateway, Reply, backend, echo, function, http, invoked, raw_backend, service};

const HOST: &str = "Host: abc123.execute-api.gw.example\r\n";
const SHORT: Duration = Duration::from_millis(100);

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
    configured(api, Gateway::empty())
}

fn configured(api: &Api, mut gateway: Gateway) -> Gateway {
    let reports = gateway.publish(&api.units());
    assert!(reports.iter().all(|report| report.problems.is_empty()), "{reports:?}");
    gateway
}

/// Proves H-ERR-9.
#[test]
fn connections_serve_many_requests() {
    let gateway = serving(&echoing());
    let mut client = gateway.connect();
    for number in 0..5 {
        let reply = client.call(&format!("POST /a\n\n{number}"));
        assert_eq!(reply.json()["body"], number.to_string());
        assert_eq!(reply.header("connection"), Some("keep-alive"));
        assert_eq!(client.call("GET /none").status, 404);
    }
    gateway.await_metric("tollgate_client_connections_opened_total", 1.0);
    let reply = client.call("GET /a\nConnection: close");
    assert_eq!((reply.status, reply.header("connection")), (200, Some("close")));
    assert!(client.is_closed());
}

#[test]
fn clients_may_wait_for_the_first_configuration() {
    let waiting = || Gateway::with(|settings| settings.wait_for_configuration = true);
    let gateway = waiting();
    let mut early = std::net::TcpStream::connect(gateway.address).unwrap();
    early.write_all(format!("GET /a HTTP/1.1\r\n{HOST}\r\n").as_bytes()).unwrap();
    early.set_read_timeout(Some(SHORT)).unwrap();
    let nothing = early.read(&mut [0]).unwrap_err();
    assert!(matches!(nothing.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut), "{nothing}");
    let gateway = configured(&echoing(), gateway);
    assert_eq!(Client::of(early).read(false).status, 200);
    gateway.stop();
    // It leaves when told so, configured or not.
    waiting().stop();
}

#[test]
fn http_1_0_clients() {
    let gateway = serving(&echoing());
    let mut client = gateway.connect();
    client.send(format!("GET /a HTTP/1.0\r\n{HOST}\r\n").as_bytes());
    let reply = client.read(false);
    assert_eq!((reply.status, reply.header("transfer-encoding")), (200, None));
    assert!(client.is_closed());
    let mut client = gateway.connect();
    client.send(format!("GET /a HTTP/1.0\r\n{HOST}Connection: keep-alive\r\n\r\n").as_bytes());
    assert_eq!(client.read(false).header("connection"), Some("keep-alive"));
    client.send(format!("GET /a HTTP/1.0\r\n{HOST}\r\n").as_bytes());
    assert_eq!(client.read(false).status, 200);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let gateway = serving(&echoing());
    let mut client = gateway.connect();
    let one = |body: &str| format!("POST /a HTTP/1.1\r\n{HOST}Content-Length: {}\r\n\r\n{body}", body.len());
    client.send(format!("{}GET /none HTTP/1.1\r\n{HOST}\r\n{}", one("first"), one("second")).as_bytes());
    assert_eq!(client.read(false).json()["body"], "first");
    assert_eq!(client.read(false).status, 404);
    assert_eq!(client.read(false).json()["body"], "second");
}

#[test]
fn a_slow_head_is_not_waited_for() {
    let gateway = configured(&echoing(), Gateway::with(|settings| settings.limits.head_timeout = SHORT));
    for start in ["GET", "GET /a HTTP/1.1\r\n", "GET /a HTTP/1.1\r\nHost: x\r\nX-Y: z\r\n"] {
        let mut client = gateway.connect();
        client.send(start.as_bytes());
        assert!(client.is_closed(), "{start}");
    }
    let mut client = gateway.connect();
    assert_eq!(client.call("GET /a").status, 200);
    client.send(b"GET /a");
    assert!(client.is_closed());
}

/// A head whose beginning came along with the request before it.
#[test]
fn a_slow_pipelined_head_is_not_waited_for() {
    let gateway = configured(
        &echoing(),
        Gateway::with(|settings| {
            settings.limits.head_timeout = SHORT;
            settings.limits.idle_timeout = SHORT;
        }),
    );
    let mut client = gateway.connect();
    client.send(format!("GET /a HTTP/1.1\r\n{HOST}\r\nGET /a HTTP/1.1\r\nHost").as_bytes());
    assert_eq!(client.read(false).status, 200);
    assert!(client.is_closed());
}

#[test]
fn idle_connections_are_closed() {
    let gateway = configured(&echoing(), Gateway::with(|settings| settings.limits.idle_timeout = SHORT));
    let mut client = gateway.connect();
    assert_eq!(client.call("GET /a").status, 200);
    assert!(client.is_closed());
}

#[test]
fn a_client_that_never_says_anything_is_closed() {
    let gateway = configured(&echoing(), Gateway::with(|settings| settings.limits.idle_timeout = SHORT));
    assert!(gateway.connect().is_closed());
    gateway.await_metric(r#"tollgate_client_connections_refused_total{reason="timeout"}"#, 1.0);
}

/// Clients open connections before they need them; the short limit is for what has begun.
#[test]
fn a_client_may_think_before_it_says_anything() {
    let gateway = configured(&echoing(), Gateway::with(|settings| settings.limits.handshake_timeout = SHORT));
    let mut thinking = gateway.connect();
    let mut begun = gateway.connect();
    begun.send(b"PR");
    assert!(begun.is_closed());
    gateway.await_metric(r#"tollgate_client_connections_refused_total{reason="timeout"}"#, 1.0);
    assert_eq!(thinking.call("GET /a").status, 200);
}

/// The rest of a body that nobody wants is not waited for as long as a body that somebody wants.
#[test]
fn the_body_of_a_refused_request_is_read_for_a_while() {
    let gateway = configured(&echoing(), Gateway::with(|settings| settings.limits.refused_body_timeout = SHORT));
    let mut client = gateway.connect();
    client.send(format!("POST /none HTTP/1.1\r\n{HOST}Content-Length: 10\r\n\r\nabc").as_bytes());
    assert_eq!(client.read(false).status, 404);
    assert!(client.is_closed());
}

#[test]
fn the_body_of_a_refused_request_does_not_hold_up_a_drain() {
    let never = Duration::from_secs(3600);
    let gateway = Gateway::with(|settings| {
        settings.limits.refused_body_timeout = never;
        settings.drain.max = never;
    });
    let mut gateway = configured(&echoing(), gateway);
    let mut client = gateway.connect();
    client.send(format!("POST /none HTTP/1.1\r\n{HOST}Content-Length: 10\r\n\r\nabc").as_bytes());
    assert_eq!(client.read(false).status, 404);
    gateway.drain().join().unwrap();
    assert!(client.is_closed());
}

/// Waits until the gateway listens no more.
fn await_refusal(address: SocketAddr) {
    let begun = Instant::now();
    while std::net::TcpStream::connect(address).is_ok() {
        assert!(begun.elapsed() < Duration::from_secs(20), "the gateway still listens");
    }
}

/// A handshake that began before the listener closed is finished, and so is the request after it.
#[test]
fn draining_finishes_handshakes() {
    let gateway = Gateway::with(|settings| {
        settings.tls_listen = Some("127.0.0.1:0".parse().unwrap());
        settings.drain.max = Duration::from_secs(60);
    });
    let mut gateway = configured(&echoing(), gateway);
    let address = gateway.tls_address.unwrap();
    let trust = tollgate_proxy::tls::control_config(Some(&gateway.certificate)).unwrap();
    let name = "abc123.execute-api.gw.example".try_into().unwrap();
    let mut config = (*trust).clone();
    config.alpn_protocols.clear();
    let mut tls = rustls::ClientConnection::new(config.into(), name).unwrap();
    let mut hello = Vec::new();
    tls.write_tls(&mut hello).unwrap();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.write_all(&hello[..20]).unwrap();
    let mut silent = gateway.connect();
    let leaving = gateway.drain();
    await_refusal(address);
    assert!(silent.is_closed());
    stream.write_all(&hello[20..]).unwrap();
    let mut stream = rustls::Stream::new(&mut tls, &mut stream);
    stream.write_all(format!("GET /a HTTP/1.1\r\n{HOST}\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    let ended = stream.read_to_string(&mut answer);
    assert!(ended.is_ok(), "{ended:?} {answer}");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("connection: close"), "{answer}");
    leaving.join().unwrap();
}

#[test]
fn a_request_that_stalls_is_ended() {
    let (seen, events) = mpsc::channel();
    let address = raw_backend(move |_, mut connection| {
        connection.until("\r\n\r\n").unwrap();
        seen.send(connection.rest()).unwrap();
    });
    let gateway = configured(
        &Api::new(&[("POST /a", at(address))]),
        Gateway::with(|settings| settings.limits.stall_timeout = SHORT),
    );
    let mut client = gateway.connect();
    client.send(format!("POST /a HTTP/1.1\r\n{HOST}Content-Length: 10\r\n\r\nabc").as_bytes());
    assert!(client.is_closed());
    assert_eq!(events.recv().unwrap(), b"abc");
}

/// Proves H-EV2-18.
#[test]
fn the_proxy_protocol_names_the_client() {
    let gateway = configured(&echoing(), Gateway::with(|settings| settings.proxy_protocol = true));
    let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\x0a\x01\x02\x04\x7f\x00\x00\x01\x13\x88\x00\x50";
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";
    for (header, ip) in [
        (&b"PROXY TCP4 10.1.2.3 127.0.0.1 5000 80\r\n"[..], "10.1.2.3"),
        (b"PROXY TCP6 2001:db8::1 ::1 5000 80\r\n", "2001:db8::1"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
        (v2, "10.1.2.4"),
        (local, "127.0.0.1"),
    ] {
        let mut client = gateway.connect();
        client.send(header);
        let event = client.call("GET /function\nX-Forwarded-For: 9.9.9.9").json();
        assert_eq!(event["requestContext"]["http"]["sourceIp"], ip);
        assert_eq!(event["headers"]["x-forwarded-for"], format!("9.9.9.9, {ip}"));
        let forwarded = client.call("GET /a").seen("forwarded").unwrap();
        let ip = if ip.contains(':') { format!("\"[{ip}]\"") } else { ip.to_owned() };
        assert!(forwarded.contains(&format!("for={ip};")), "{forwarded}");
    }
    // In two pieces.
    let mut client = gateway.connect();
    client.send(b"PROXY TCP4 10.1.2.3 127.0");
    client.send(b".0.1 5000 80\r\n");
    assert_eq!(client.call("GET /function").json()["requestContext"]["http"]["sourceIp"], "10.1.2.3");
}

#[test]
fn the_proxy_protocol_is_demanded_or_refused() {
    let on = configured(&echoing(), Gateway::with(|settings| settings.proxy_protocol = true));
    for start in [&b"GET /a HTTP/1.1\r\n"[..], b"PROXY TCP4 x y 1 2\r\n", b"\r\n\r\n\0\r\nQUIT\n\x11\x11\x00\x0c"] {
        let mut client = on.connect();
        client.try_send(start);
        assert!(client.is_closed());
    }
    on.await_metric(r#"tollgate_client_connections_refused_total{reason="proxy_protocol"}"#, 3.0);
    let off = serving(&echoing());
    let mut client = off.connect();
    client.send(b"PROXY TCP4 10.1.2.3 127.0.0.1 5000 80\r\n");
    client.send(format!("GET /a HTTP/1.1\r\n{HOST}\r\n").as_bytes());
    assert_eq!(client.read(false).status, 400);
}

/// Proves H-EV2-18.
#[test]
fn behind_trusted_hops_the_client_is_in_x_forwarded_for() {
    let gateway = configured(&echoing(), Gateway::with(|settings| settings.trusted_hops = 1));
    let event = gateway.call("GET /function\nX-Forwarded-For: 9.9.9.9, 10.1.2.3").json();
    assert_eq!(event["requestContext"]["http"]["sourceIp"], "10.1.2.3");
    let event = gateway.call("GET /function").json();
    assert_eq!(event["requestContext"]["http"]["sourceIp"], "127.0.0.1");
}

/// A backend that answers when told: it reports each request and waits for the body of its answer.
fn patient() -> (SocketAddr, mpsc::Receiver<String>, mpsc::Sender<&'static str>) {
    let (seen, requests) = mpsc::channel();
    let (answers, answer) = mpsc::channel::<&'static str>();
    let answer = std::sync::Mutex::new(answer);
    let address = raw_backend(move |_, mut connection| {
        while let Some(head) = connection.until("\r\n\r\n") {
            seen.send(head).unwrap();
            let bytes = answer.lock().unwrap().recv().unwrap();
            connection.try_send(bytes.as_bytes());
        }
    });
    (address, requests, answers)
}

#[test]
fn draining_fails_nothing_in_flight() {
    let (address, requests, answers) = patient();
    let mut gateway = serving(&Api::new(&[("GET /a", at(address))]));
    let mut idle = gateway.connect();
    assert_eq!(idle.call("GET /unknown").status, 404);
    let mut busy = gateway.connect();
    busy.send(format!("GET /a HTTP/1.1\r\n{HOST}\r\n").as_bytes());
    requests.recv().unwrap();
    let leaving = gateway.drain();
    // With nothing in flight the connection is closed at once; then the proxy only waits for the other.
    assert!(idle.is_closed());
    answers.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone").unwrap();
    let reply = busy.read(false);
    assert_eq!((reply.status, reply.text(), reply.header("connection")), (200, "done", Some("close")));
    assert!(busy.is_closed());
    leaving.join().unwrap();
    assert!(std::net::TcpStream::connect(gateway.address).is_err());
}

#[test]
fn while_load_balancers_take_notice_requests_are_still_served() {
    let gateway = Gateway::with(|settings| settings.drain.min = Duration::from_secs(3));
    let mut gateway = configured(&echoing(), gateway);
    let leaving = gateway.drain();
    let begun = Instant::now();
    loop {
        let mut client = gateway.connect();
        let reply = client.call("GET /a");
        assert_eq!(reply.status, 200);
        if reply.header("connection") == Some("close") {
            assert!(client.is_closed());
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(20));
    }
    let mut client = gateway.connect();
    assert_eq!(client.call("GET /unknown").header("connection"), Some("close"));
    leaving.join().unwrap();
}

/// Proves P5.
#[test]
fn a_new_configuration_serves_the_next_request_of_a_connection() {
    let named = |name: &'static str| at(backend(move |_, _| http::Response::new(http_body_util::Full::from(name))));
    let (one, two) = (named("one"), named("two"));
    let mut gateway = serving(&Api::new(&[("GET /a", one.clone())]));
    let mut client = gateway.connect();
    for _ in 0..5 {
        assert_eq!(client.call("GET /a").text(), "one");
        gateway.publish(&Api::new(&[("GET /a", two.clone())]).units());
        assert_eq!(client.call("GET /a").text(), "two");
        gateway.publish(&Api::new(&[("GET /a", one.clone())]).units());
    }
}

/// What has begun ends as it began.
///
/// Proves P5.
#[test]
fn a_stream_goes_on_over_a_publish() {
    let (more, rest) = mpsc::channel::<()>();
    let rest = std::sync::Mutex::new(rest);
    let address = raw_backend(move |_, mut connection| {
        connection.until("\r\n\r\n").unwrap();
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst");
        rest.lock().unwrap().recv().unwrap();
        connection.send(b"-last");
    });
    let stage =
        json!({"stageName": "$default", "accessLogSettings": {"format": "$context.routeKey $context.responseLength"}});
    let mut gateway = serving(&Api::new(&[("GET /a", at(address))]).only_stage(stage));
    let mut client = gateway.connect();
    client.send(format!("GET /a HTTP/1.1\r\n{HOST}\r\n").as_bytes());
    client.until("first").unwrap();
    gateway.publish(&[]);
    assert_eq!(gateway.call("GET /a").status, 403);
    gateway.publish(&Api::new(&[("GET /b", at(backend(echo)))]).units());
    more.send(()).unwrap();
    assert_eq!(client.take(5), b"-last");
    assert_eq!(client.call("GET /a").status, 404);
    assert_eq!(client.call("GET /b").status, 200);
    assert_eq!(gateway.stop(), "GET /a 10\n");
}

/// A part that cannot run answers 500 alone, and nothing wider takes its place.
///
/// Proves P1, P3, H-VAR-5.
#[test]
fn broken_parts_answer_500_alone() {
    let address = backend(echo);
    let api = Api::new(&[
        ("GET /good", at(address)),
        ("GET /refused", json!({"route": {"target": {"type": "refused"}}})),
        ("GET /newer", json!({"backend": {"type": "quantum", "qubits": 3}})),
        (
            "GET /required",
            json!({"backend": {"type": "http", "uri": "http://127.0.0.1:1/"}, "route": {"requires": ["telepathy"]}}),
        ),
        (
            "GET /authorizer",
            json!({"backend": {"type": "http", "uri": "http://127.0.0.1:1/"},
            "route": {"authorization": {"type": "JWT", "authorizer": "missing"}}}),
        ),
        (
            "GET /authorization",
            json!({"backend": {"type": "http", "uri": "http://127.0.0.1:1/"},
            "route": {"authorization": {"type": "FUTURE"}}}),
        ),
        ("GET /uri", http("not a url")),
        ("GET /variable", http("http://${stageVariables.nobody}/")),
        ("$default", at(address)),
    ]);
    let mut gateway = Gateway::empty();
    let reports = gateway.publish(&api.units());
    assert!(reports.iter().any(|report| !report.problems.is_empty()));
    assert_eq!(gateway.call("GET /good").status, 200);
    assert_eq!(gateway.call("GET /other").status, 200);
    for path in ["refused", "newer", "required", "authorizer", "authorization", "uri", "variable"] {
        let reply = gateway.call(&format!("GET /{path}"));
        assert_eq!((reply.status, reply.text()), (500, r#"{"message":"Internal Server Error"}"#), "{path}");
    }
}

/// The first bytes of an answer arrive before the backend has finished it.
#[test]
fn answers_stream() {
    for head in ["Content-Length: 10\r\n\r\nfirst", "Transfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n"] {
        let (more, rest) = mpsc::channel::<&'static str>();
        let rest = std::sync::Mutex::new(rest);
        let address = raw_backend(move |_, mut connection| {
            connection.until("\r\n\r\n").unwrap();
            connection.send(format!("HTTP/1.1 200 OK\r\n{head}").as_bytes());
            connection.send(rest.lock().unwrap().recv().unwrap().as_bytes());
        });
        let gateway = serving(&Api::new(&[("GET /a", at(address))]));
        let mut client = gateway.connect();
        client.send(format!("GET /a HTTP/1.1\r\n{HOST}\r\n").as_bytes());
        client.until("first").unwrap();
        let chunked = head.starts_with("Transfer");
        more.send(if chunked { "5\r\n-last\r\n0\r\n\r\n" } else { "-last" }).unwrap();
        client.until("-last").unwrap();
        if chunked {
            assert_eq!(client.until("0\r\n\r\n").as_deref(), Some("\r\n0\r\n\r\n"));
        }
        assert_eq!(client.call("GET /none").status, 404);
    }
}

/// The first bytes of a request's body reach the backend before the client has sent the last.
#[test]
fn requests_stream() {
    for (head, last) in [
        ("Content-Length: 10\r\n\r\nfirst", "-last"),
        ("Transfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n", "5\r\n-last\r\n0\r\n\r\n"),
    ] {
        let (seen, events) = mpsc::channel();
        let address = raw_backend(move |_, mut connection| {
            connection.until("first").unwrap();
            seen.send(()).unwrap();
            connection.until("-last").unwrap();
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        });
        let gateway = serving(&Api::new(&[("POST /a", at(address))]));
        let mut client = gateway.connect();
        client.send(format!("POST /a HTTP/1.1\r\n{HOST}{head}").as_bytes());
        events.recv().unwrap();
        client.send(last.as_bytes());
        assert_eq!(client.read(false).text(), "ok");
    }
}

/// Sends `request`; gives the first answer and what the backend saw of it.
fn raw_answer(gateway: &Gateway, request: &str) -> Reply {
    let mut client = gateway.connect();
    client.try_send(request.replace("HOST", HOST.trim_end()).as_bytes());
    client.read(false)
}

/// Heads that two parsers could read in two ways are refused.
#[test]
fn ambiguous_requests_are_refused() {
    let gateway = serving(&echoing());
    for request in [
        "POST /a HTTP/1.1\r\nHOST\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "POST /a HTTP/1.1\r\nHOST\r\nContent-Length: 1, 2\r\n\r\nab",
        "POST /a HTTP/1.1\r\nHOST\r\nContent-Length: +1\r\n\r\na",
        "POST /a HTTP/1.1\r\nHOST\r\nContent-Length: 0x1\r\n\r\na",
        "POST /a HTTP/1.1\r\nHOST\r\nContent-Length: -1\r\n\r\na",
        "POST /a HTTP/1.1\r\nHOST\r\nContent-Length : 1\r\n\r\na",
        "POST /a HTTP/1.1\r\nHOST\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "POST /a HTTP/1.1\r\nHOST\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "POST /a HTTP/1.1\r\nHOST\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "POST /a HTTP/1.1\r\nHOST\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "POST /a HTTP/1.1\r\nHOST\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        "POST /a HTTP/1.0\r\nHOST\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET /a HTTP/1.1\r\nHOST\r\nX: a\r\n b\r\n\r\n",
        "GET /a HTTP/1.1\r\nHOST\r\nX\x01: a\r\n\r\n",
        "GET /a HTTP/1.1\r\nHOST\r\nX: a\0b\r\n\r\n",
        "GET /a HTTP/1.1\r\nHOST\r\nX: a\rb\r\n\r\n",
        "GET /a HTTP/1.1\r\nHOST\r\n: a\r\n\r\n",
        "GET /a HTTP/1.1\r\nHOST\r\nno colon\r\n\r\n",
        "GET /a HTTP/1.1\r\nHOST\r\nHost: other.example\r\n\r\n",
        "GET /a HTTP/1.1\r\nHOST\r\nHOST\r\n\r\n",
        "GET /a HTTP/1.1\r\n\r\n",
        "GET /a  HTTP/1.1\r\nHOST\r\n\r\n",
        "GET /a b HTTP/1.1\r\nHOST\r\n\r\n",
        "GET\t/a HTTP/1.1\r\nHOST\r\n\r\n",
        "GET a HTTP/1.1\r\nHOST\r\n\r\n",
        "GET /a HTTP/1.2\r\nHOST\r\n\r\n",
        "GET /a HTTP/2.0\r\nHOST\r\n\r\n",
        "GET http://user@abc123.execute-api.gw.example/a HTTP/1.1\r\nHOST\r\n\r\n",
        "CONNECT abc123.execute-api.gw.example:80 HTTP/1.1\r\nHOST\r\n\r\n",
    ] {
        let reply = raw_answer(&gateway, request);
        assert_eq!(reply.status, 400, "{request}");
    }
}

/// Chunks that two parsers could read in two ways end the exchange.
#[test]
fn ambiguous_chunks_reach_nobody_whole() {
    let gateway = serving(&echoing());
    for chunks in [
        "3 3\r\nabc\r\n0\r\n\r\n",
        "-3\r\nabc\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nabc\r\n",
        "0x3\r\nabc\r\n0\r\n\r\n",
    ] {
        let mut client = gateway.connect();
        client.send(format!("POST /a HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n{chunks}").as_bytes());
        let answer = String::from_utf8(client.rest()).unwrap();
        assert!(!answer.starts_with("HTTP/1.1 200"), "{chunks}: {answer}");
    }
}

/// Fields behind the last chunk are not headers.
#[test]
fn trailers_do_not_become_headers() {
    let gateway = serving(&echoing());
    for path in ["/a", "/service", "/function"] {
        let mut client = gateway.connect();
        client.send(
            format!("POST {path} HTTP/1.1\r\n{HOST}Trailer: X-Evil\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Evil: 1\r\n\r\n")
                .as_bytes(),
        );
        let reply = client.read(false);
        assert_eq!(reply.status, 200);
        assert!(!reply.text().contains("evil"), "{}", reply.text());
        assert_eq!(client.call(&format!("GET {path}")).status, 200);
    }
}

/// An absolute target is forwarded in the one usual form; what the table of hostile messages cannot see of it is what functions get.
#[test]
fn unusual_but_clear_requests_are_forwarded_in_one_form() {
    let gateway = serving(&echoing());
    for (path, host) in [("service", "abc123.execute-api.gw.example"), ("function", "abc123.execute-api.gw.example")] {
        let request = format!("GET http://abc123.execute-api.gw.example/{path}?x=1 HTTP/1.1\r\n{HOST}X-A: b\r\n\r\n");
        let json = raw_answer(&gateway, &request).json();
        if path == "service" {
            assert_eq!(json["target"], "/service?x=1");
            let hosts: Vec<_> = json["headers"].as_array().unwrap().iter().filter(|pair| pair[0] == "host").collect();
            assert_eq!(hosts, [&json!(["host", host])]);
        } else {
            assert_eq!((&json["rawPath"], &json["headers"]["host"]), (&json!("/function"), &json!(host)));
            assert_eq!(json["requestContext"]["domainName"], host);
        }
    }
    let other = raw_answer(&gateway, "GET http://other.example/a HTTP/1.1\r\nHost: other.example\r\n\r\n");
    assert_eq!(other.status, 403);
}

/// A client cannot have headers taken away by naming them in `Connection`.
#[test]
fn connection_cannot_name_what_the_gateway_adds() {
    let gateway = serving(&echoing());
    let reply = gateway.call(
        "GET /service\nConnection: keep-alive, x-own, x-forwarded-for, forwarded, host, via, x-amzn-trace-id\nX-Own: 1",
    );
    assert_eq!(reply.seen("x-own"), None);
    for name in ["host", "via", "forwarded", "x-forwarded-for", "x-amzn-trace-id"] {
        assert!(reply.seen(name).is_some(), "{name}");
    }
}

/// Proves H-ERR-6.
#[test]
fn every_answer_has_its_own_id() {
    let gateway = serving(&echoing());
    let mut client = Client::connect(gateway.address);
    let mut ids: Vec<String> = ["/a", "/none", "/function", "/a", "/.."]
        .map(|path| client.call(&format!("GET {path}")).header("apigw-requestid").unwrap().to_owned())
        .into();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 5);
}
