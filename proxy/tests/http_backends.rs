//! Backends that speak HTTP: public URLs and services (sections 3.5 and 3.6 of the spec), seen from both ends.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use http::Response;
use http_body_util::Full;
use serde_json::{Value, json};
use tollgate_testkit::{
    Api, Client, Gateway, Identity, Reply, backend, echo, http, raw_backend, service, tls_backend, unused_address,
};

const INTERNAL: (u16, &str) = (500, r#"{"message":"Internal Server Error"}"#);
const UNAVAILABLE: (u16, &str) = (503, r#"{"message":"Service Unavailable"}"#);

fn serving(api: &Api) -> Gateway {
    let mut gateway = Gateway::empty();
    let reports = gateway.publish(&api.units());
    assert!(reports.iter().all(|report| report.problems.is_empty()), "{reports:?}");
    gateway
}

fn answer(reply: &Reply) -> (u16, &str) {
    (reply.status, reply.text())
}

fn at(address: SocketAddr, path: &str) -> Value {
    http(&format!("http://{address}{path}"))
}

/// Answers every request of a connection with the same bytes.
fn answers(bytes: &'static str) -> SocketAddr {
    raw_backend(move |_, mut connection| {
        while request(&mut connection).is_some() {
            connection.try_send(bytes.as_bytes());
        }
    })
}

/// The head of the next request. Its body, if any, is announced by a length and read too.
fn request(connection: &mut Client) -> Option<String> {
    let head = connection.until("\r\n\r\n")?;
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    connection.take(length.unwrap_or(0));
    Some(head)
}

/// Proves H-HTTP-12.
#[test]
fn an_operator_may_say_another_via() {
    let mut gateway = Gateway::with(|settings| settings.via = "1.1 gateway.example".parse().unwrap());
    gateway.publish(&Api::new(&[("GET /a", at(backend(echo), "/a"))]).units());
    assert_eq!(gateway.call("GET /a").seen("via").as_deref(), Some("1.1 gateway.example"));
}

/// Proves H-HTTP-1, H-HTTP-2, H-HTTP-6, H-HTTP-9, H-HTTP-10, H-HTTP-11, C48, C51.
#[test]
fn a_public_backend_gets_a_path_and_headers_of_its_own() {
    let address = backend(echo);
    let gateway = serving(&Api::new(&[("ANY /parent/{proxy+}", at(address, "/base/{proxy}"))]));
    let reply = gateway.call("GET /parent/a/b?x=1\nX-Own: 1\nX-Own: 2\nAuthorization: secret");
    assert_eq!(
        (reply.json()["method"].as_str(), reply.json()["target"].as_str()),
        (Some("GET"), Some("/base/a/b?x=1"))
    );
    assert_eq!(reply.seen("host"), Some(address.to_string()));
    assert_eq!(reply.seen("via").as_deref(), Some("HTTP/1.1 AmazonAPIGateway"));
    assert_eq!(
        reply.seen("forwarded").as_deref(),
        Some("by=127.0.0.1;for=127.0.0.1;host=abc123.execute-api.gw.example;proto=https")
    );
    assert!(reply.seen("x-amzn-trace-id").unwrap().starts_with("Root=1-"));
    assert_eq!(reply.seen("content-length").as_deref(), Some("0"));
    assert_eq!(reply.seen("content-type"), None);
    assert_eq!(reply.seen("authorization").as_deref(), Some("secret"));
    let json = reply.json();
    let headers = json["headers"].as_array().unwrap();
    assert!(headers.iter().all(|pair| !pair[0].as_str().unwrap().starts_with("x-forwarded-")), "{json}");
    let own: Vec<_> = headers.iter().filter(|pair| pair[0] == "x-own").map(|pair| &pair[1]).collect();
    assert_eq!(own, ["1", "2"]);

    let reply = gateway.call("GET /parent/a\nX-Forwarded-For: 1.1.1.1, 2.2.2.2\nX-Forwarded-Proto: http");
    assert_eq!(
        reply.seen("forwarded").as_deref(),
        Some("for=1.1.1.1,for=2.2.2.2,for=127.0.0.1;by=127.0.0.1;host=abc123.execute-api.gw.example;proto=https")
    );
    assert_eq!((reply.seen("x-forwarded-for"), reply.seen("x-forwarded-proto")), (None, None));
}

/// Proves H-HTTP-3, H-HTTP-4, H-HTTP-5, H-HTTP-6, C49.
#[test]
fn the_path_towards_a_public_backend() {
    let address = backend(echo);
    let api = Api::new(&[
        ("GET /pets", at(address, "/v1/animals")),
        ("GET /greedy/{proxy+}", at(address, "/bare")),
        ("GET /query", at(address, "/q?fixed=1")),
        ("GET /var/{a}/{b}", at(address, "/{b}/{a}")),
        ("$default", http(&format!("http://{address}"))),
    ]);
    let gateway = serving(&api.stage(json!({"stageName": "dev"})));
    for (request, target) in [
        ("/pets", "/v1/animals"),
        ("/pets?a=%20b&a=c", "/v1/animals?a=%20b&a=c"),
        ("/greedy/x/y?z=1", "/bare?z=1"),
        ("/query?own=2", "/q?fixed=1&own=2"),
        ("/var/x%20y/a%2Fb", "/a%2Fb/x%20y"),
        ("/store/checkout", "/store/checkout"),
        ("/store/checkout?x", "/store/checkout?x"),
        ("/dev/store/checkout", "/store/checkout"),
    ] {
        assert_eq!(gateway.call(&format!("GET {request}")).json()["target"], target, "{request}");
    }
    let gateway = serving(&Api::new(&[("$default", at(address, "/base"))]));
    assert_eq!(gateway.call("GET /store/checkout").json()["target"], "/base/store/checkout");
}

/// Proves H-HTTP-7, H-INT-5, H-INT-10.
#[test]
fn the_method_towards_a_backend() {
    let address = backend(echo);
    let mut fixed = at(address, "/a");
    fixed["backend"]["method"] = json!("PUT");
    let gateway = serving(&Api::new(&[("ANY /fixed", fixed), ("ANY /same", at(address, "/a"))]));
    for method in ["GET", "POST", "DELETE", "PATCH", "OPTIONS"] {
        assert_eq!(gateway.call(&format!("{method} /fixed\n\nbody")).json()["method"], "PUT");
        assert_eq!(gateway.call(&format!("{method} /same\n\nbody")).json()["method"], method);
    }
}

/// Proves H-HTTP-3, H-HTTP-13, H-ERR-4, H-HDR-3, C50.
#[test]
fn answers_pass_unchanged() {
    let address = answers(
        "HTTP/1.1 302 Somewhere\r\nLocation: /else\r\nServer: me\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\
         Connection: x-hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=60\r\nContent-Length: 3\r\n\r\nabc",
    );
    let gateway = serving(&Api::new(&[("GET /pets", at(address, "/v1/animals"))]));
    let reply = gateway.call("GET /pets");
    assert_eq!(answer(&reply), (302, "abc"));
    assert_eq!(reply.header("location"), Some("/else"));
    assert_eq!(reply.header("server"), Some("me"));
    assert_eq!(reply.all("set-cookie"), ["a=1", "b=2"]);
    assert_eq!((reply.header("x-hop"), reply.header("keep-alive")), (None, None));
    assert_eq!(reply.header("connection"), Some("keep-alive"));
    assert!(reply.header("date").is_some() && reply.header("apigw-requestid").is_some());

    let gateway = serving(&Api::new(&[("GET /a", at(backend(echo), "/"))]));
    for status in [400, 404, 405, 429, 500, 502, 504] {
        let reply = gateway.call(&format!("GET /a\nX-Answer: {{\"status\":{status},\"body\":\"mine\"}}"));
        assert_eq!(answer(&reply), (status, "mine"));
    }
}

/// Proves H-FLOW-4.
#[test]
fn encodings_are_not_touched() {
    let address = backend(|head, _| {
        assert_eq!(head.headers["accept-encoding"], "gzip, br");
        Response::builder().header("content-encoding", "gzip").body(Full::from(&b"\x1f\x8b\x00\xff"[..])).unwrap()
    });
    let gateway = serving(&Api::new(&[("GET /a", at(address, "/"))]));
    let reply = gateway.call("GET /a\nAccept-Encoding: gzip, br");
    assert_eq!((reply.body.as_slice(), reply.header("content-encoding")), (&b"\x1f\x8b\x00\xff"[..], Some("gzip")));
}

/// Proves H-HTTP-8, H-ERR-10, H-HTTP-13.
#[test]
fn bodies_and_their_lengths() {
    let gateway = serving(&Api::new(&[("ANY /a", at(backend(echo), "/"))]));
    let mut client = gateway.connect();
    let reply = client.call("POST /a\nContent-Type: text/x\n\nabc");
    assert_eq!((reply.json()["body"].as_str(), reply.seen("content-length").as_deref()), (Some("abc"), Some("3")));
    let reply = client.call("HEAD /a\nX-Answer: {\"headers\":{\"content-length\":\"5\",\"x-a\":\"b\"}}");
    assert_eq!((reply.status, reply.header("content-length"), reply.header("x-a")), (200, Some("5"), Some("b")));
    for status in [204, 304] {
        let reply = client.call(&format!("GET /a\nX-Answer: {{\"status\":{status}}}"));
        assert_eq!((reply.status, reply.header("transfer-encoding")), (status, None));
    }
    // The connection is still in step.
    assert_eq!(client.call("GET /a").status, 200);
}

/// A route's fixed method may turn a HEAD into a GET; the client must still get no body.
///
/// Proves H-ERR-10.
#[test]
fn head_has_no_body_whatever_the_backend_was_asked() {
    let mut fixed = at(backend(echo), "/a");
    fixed["backend"]["method"] = json!("GET");
    let gateway = serving(&Api::new(&[("ANY /a", fixed)]));
    let mut client = gateway.connect();
    for _ in 0..2 {
        let reply = client.call("HEAD /a");
        assert_eq!(reply.status, 200);
        assert!(reply.header("content-length").is_some());
    }
}

/// Lengths that stand where none may: the client must not wait for bytes.
#[test]
fn answers_without_a_body_announce_none() {
    for (answer, method, length) in [
        ("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", "GET", None),
        ("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", "GET", None),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", "GET", None),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "HEAD", Some("5")),
        ("HTTP/1.1 200 OK\r\n\r\n", "HEAD", None),
    ] {
        let gateway = serving(&Api::new(&[("ANY /a", at(answers(answer), "/"))]));
        let mut client = gateway.connect();
        let reply = client.call(&format!("{method} /a"));
        assert_eq!((reply.header("content-length"), reply.body.len()), (length, 0), "{method} {answer}");
        assert_eq!(reply.header("transfer-encoding"), None, "{method} {answer}");
        assert_eq!(client.call("GET /none").status, 404, "{method} {answer}");
    }
}

/// Proves H-HTTP-17.
#[test]
fn the_gateway_answers_100_continue() {
    let gateway = serving(&Api::new(&[("POST /a", at(backend(echo), "/"))]));
    let mut client = gateway.connect();
    client.send(
        b"POST /a HTTP/1.1\r\nHost: abc123.execute-api.gw.example\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n",
    );
    assert_eq!(client.until("\r\n\r\n").unwrap(), "HTTP/1.1 100 Continue\r\n\r\n");
    client.send(b"abc");
    let reply = client.read(false);
    assert_eq!((reply.json()["body"].as_str(), reply.seen("expect")), (Some("abc"), None));
}

/// Proves H-HTTP-15, H-ERR-4, H-VPC-10, C54.
#[test]
fn an_unreachable_backend_is_503() {
    let gone = unused_address();
    let closes = raw_backend(|_, mut connection| drop(request(&mut connection)));
    let silent = raw_backend(|_, _| {});
    let mut unknown = http("http://no-such-name.invalid/");
    unknown["timeout"] = json!(3000);
    let api = Api::new(&[
        ("GET /gone", at(gone, "/")),
        ("GET /closes", at(closes, "/")),
        ("GET /silent", at(silent, "/")),
        ("GET /unknown", unknown),
        ("GET /service", service("orders")),
    ]);
    let gateway = serving(&api.endpoints("orders", &[gone]));
    for path in ["/gone", "/closes", "/silent", "/unknown", "/service"] {
        assert_eq!(answer(&gateway.call(&format!("GET {path}"))), UNAVAILABLE, "{path}");
    }
}

/// Proves H-INT-4, H-ERR-4.
#[test]
fn a_slow_backend_is_503() {
    let (done, wait) = mpsc::channel();
    let silent = raw_backend(move |_, mut connection| {
        request(&mut connection).unwrap();
        done.send(connection.is_closed()).unwrap();
    });
    let mut slow = at(silent, "/");
    slow["timeout"] = json!(500);
    let gateway = serving(&Api::new(&[("GET /slow", slow)]));
    assert_eq!(answer(&gateway.call("GET /slow")), UNAVAILABLE);
    assert!(wait.recv().unwrap(), "the connection is given up with its request");
    assert!((gateway.metric("tollgate_backend_timeouts_total") - 1.0).abs() < 0.1);
}

/// Proves H-HTTP-16, H-ERR-4.
#[test]
fn what_is_not_http_is_500() {
    for bytes in [
        "nonsense\r\n\r\n",
        "HTTP/1.1 abc OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        "HTTP/1.1 200 OK\r\nbad name: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\r\n folded\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    ] {
        let gateway = serving(&Api::new(&[("GET /a", at(answers(bytes), "/"))]));
        assert_eq!(answer(&gateway.call("GET /a")), INTERNAL, "{bytes}");
    }
}

/// Proves H-HTTP-16, H-SIZE-2.
#[test]
fn an_announced_response_over_the_limit_is_500() {
    let address = answers("HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nabcdefghijk");
    let exact = answers("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabcdefghij");
    let api = Api::new(&[("GET /a", at(address, "/")), ("HEAD /a", at(address, "/")), ("GET /exact", at(exact, "/"))])
        .set("limits", json!({"payloadBytes": 10}));
    let gateway = serving(&api);
    assert_eq!(answer(&gateway.call("GET /a")), INTERNAL);
    assert_eq!(answer(&gateway.call("GET /exact")), (200, "abcdefghij"));
}

/// Proves H-HTTP-14, H-VPC-4.
#[test]
fn backends_with_tls_have_to_prove_their_name() {
    let identity = Identity::of("tower.test");
    let address = tls_backend(&identity, echo);
    let uri = |name: &str| http(&format!("https://{name}:{}/", address.port()));
    let with = |mut backend: Value, tls: Value| {
        backend["backend"]["tls"] = tls;
        backend
    };
    let api = Api::new(&[
        ("GET /untrusted", uri("tower.test")),
        ("GET /trusted", with(uri("tower.test"), json!({"caPem": identity.pem}))),
        ("GET /other", with(uri("other.test"), json!({"caPem": identity.pem}))),
        ("GET /named", with(uri("other.test"), json!({"caPem": identity.pem, "serverNameToVerify": "tower.test"}))),
        ("GET /service", with(service("s"), json!({"caPem": identity.pem, "serverNameToVerify": "tower.test"}))),
        ("GET /wrong", with(service("s"), json!({"caPem": identity.pem, "serverNameToVerify": "else.test"}))),
    ])
    .endpoints("s", &[address]);
    let mut gateway = Gateway::with(|settings| {
        let names = ["tower.test", "other.test"];
        let table = names.map(|name| ((name.to_owned(), address.port()), address));
        settings.hosts.replace(HashMap::from(table));
    });
    gateway.publish(&api.units());
    for path in ["/untrusted", "/other", "/wrong"] {
        assert_eq!(answer(&gateway.call(&format!("GET {path}"))), INTERNAL, "{path}");
    }
    for path in ["/trusted", "/named", "/service"] {
        assert_eq!(gateway.call(&format!("GET {path}")).status, 200, "{path}");
    }
}

/// Proves H-VPC-2, H-VPC-3, H-VPC-6, H-VPC-7.
#[test]
fn services_get_their_share_and_the_clients_host() {
    let names = ["one", "two"];
    let addresses = names.map(|name| {
        backend(move |head, _| {
            let text = format!("{name} {} {}", head.uri, head.headers["host"].to_str().unwrap());
            Response::new(Full::from(text))
        })
    });
    let mut with_path = service("orders");
    with_path["backend"]["path"] = json!("/v2/{id}");
    let api = Api::new(&[("GET /echo", service("orders")), ("GET /path/{id}", with_path)])
        .stage(json!({"stageName": "dev"}))
        .endpoints("orders", &addresses);
    let mut gateway = serving(&api);
    let host = "abc123.execute-api.gw.example";
    let mut seen: Vec<String> = (0..4).map(|_| gateway.call("GET /dev/echo?a").text().to_owned()).collect();
    seen.sort_unstable();
    let line = |name: &str| format!("{name} /dev/echo?a {host}");
    assert_eq!(seen, [line("one"), line("one"), line("two"), line("two")]);
    assert!(gateway.call("GET /dev/path/a%20b?c").text().ends_with(&format!("/v2/a%20b?c {host}")));
    let other = gateway.call("GET /echo\nHost: books.shop.gw.example:8443");
    assert!(other.text().ends_with("/echo books.shop.gw.example:8443"), "{}", other.text());
    gateway.publish(&Api { endpoints: Vec::new(), ..api.clone() }.endpoints("orders", &addresses[..1]).units());
    for _ in 0..4 {
        assert_eq!(gateway.call("GET /dev/echo?a").text(), line("one"));
    }
    gateway.publish(&Api { endpoints: Vec::new(), ..api }.endpoints("orders", &[]).units());
    assert_eq!(answer(&gateway.call("GET /echo")), UNAVAILABLE);
}

/// Proves H-INT-9.
#[test]
fn a_request_is_never_sent_twice() {
    let requests = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&requests);
    // Answers the first request of a connection, and closes on the second.
    let address = raw_backend(move |_, mut connection| {
        if request(&mut connection).is_some() {
            count.fetch_add(1, Ordering::SeqCst);
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
        if request(&mut connection).is_some() {
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    let api = Api::new(&[("ANY /a", service("orders"))]).endpoints("orders", &[address]);
    let gateway = serving(&api);
    assert_eq!(gateway.call("POST /a\n\nbody").status, 200);
    for method in ["POST", "GET"] {
        assert_eq!(answer(&gateway.call(&format!("{method} /a\n\nbody"))), UNAVAILABLE);
        assert_eq!(gateway.call("POST /a\n\nbody").status, 200);
    }
    assert_eq!(requests.load(Ordering::SeqCst), 5);
    assert!(gateway.metric("tollgate_backend_retries_total") < 0.5);
}

/// Proves H-INT-9.
#[test]
fn an_endpoint_that_refuses_is_passed_over() {
    let good = backend(echo);
    let api = Api::new(&[("ANY /a", service("orders"))]).endpoints("orders", &[unused_address(), good]);
    let gateway = serving(&api);
    for _ in 0..6 {
        let reply = gateway.call("POST /a\n\nbody");
        assert_eq!((reply.status, reply.json()["body"].as_str()), (200, Some("body")));
    }
    assert!(gateway.metric("tollgate_backend_connect_failures_total{reason=\"connect\"}") > 0.5);
}

/// The backend closes each connection after its answer, without saying so; no request may meet the closed connection.
#[test]
fn idle_connections_that_the_backend_closed_fail_no_request() {
    let (closed, wait) = mpsc::channel();
    let address = raw_backend(move |_, mut connection| {
        request(&mut connection);
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        drop(connection);
        closed.send(()).unwrap();
    });
    let gateway = serving(&Api::new(&[("ANY /a", at(address, "/"))]));
    let mut client = gateway.connect();
    for turn in 0..50 {
        assert_eq!(answer(&client.call("POST /a\n\nbody")), (200, "ok"), "{turn}");
        wait.recv().unwrap();
    }
}

/// Which connection of a backend answered each of three requests.
fn connections_used(answer: &'static str) -> Vec<String> {
    let address = raw_backend(move |number, mut connection| {
        while request(&mut connection).is_some() {
            connection.try_send(answer.replace('N', &number.to_string()).as_bytes());
        }
    });
    let gateway = serving(&Api::new(&[("GET /a", at(address, "/"))]));
    (0..3).map(|_| gateway.call("GET /a").text().to_owned()).collect()
}

#[test]
fn connections_are_used_again_as_the_backend_allows() {
    let plain = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nN";
    assert_eq!(connections_used(plain), ["0", "0", "0"]);
    let long = "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=60, max=100\r\nContent-Length: 1\r\n\r\nN";
    assert_eq!(connections_used(long), ["0", "0", "0"]);
    let short = "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 1\r\n\r\nN";
    assert_eq!(connections_used(short), ["0", "1", "2"]);
    let close = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nN";
    assert_eq!(connections_used(close), ["0", "1", "2"]);
    let old = "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nN";
    assert_eq!(connections_used(old), ["0", "1", "2"]);
}

/// Bytes that a backend sends behind its answer are not the answer to the next request.
#[test]
fn a_backend_that_says_more_than_asked_answers_nobody_else() {
    let address = raw_backend(|number, mut connection| {
        while request(&mut connection).is_some() {
            let body = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{number}HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
            );
            connection.try_send(body.as_bytes());
        }
    });
    let gateway = serving(&Api::new(&[("GET /a", at(address, "/"))]));
    for _ in 0..10 {
        let reply = gateway.call("GET /a");
        assert_ne!(reply.text(), "evil");
        assert_eq!(reply.status, 200);
    }
}

/// Proves H-HTTP-13.
#[test]
fn interim_answers_are_left_out() {
    let address = answers(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    );
    let gateway = serving(&Api::new(&[("GET /a", at(address, "/"))]));
    assert_eq!(answer(&gateway.call("GET /a")), (200, "ok"));
}

/// A backend may answer before it has read the request.
#[test]
fn an_early_answer_reaches_the_client() {
    let address = raw_backend(|_, mut connection| {
        connection.until("\r\n\r\n").unwrap();
        connection.send(b"HTTP/1.1 413 No\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig");
        connection.finish();
        connection.rest();
    });
    let gateway = serving(&Api::new(&[("POST /a", at(address, "/"))]));
    let mut client = gateway.connect();
    client.send(b"POST /a HTTP/1.1\r\nHost: abc123.execute-api.gw.example\r\nContent-Length: 1000\r\n\r\nfirst");
    let reply = client.read(false);
    assert_eq!(answer(&reply), (413, "big"));
}
