//! Backends that speak HTTP/2, gRPC among them: everything passes as it comes, in both directions.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tollgate_testkit::{Api, Gateway, Http2Backend, Http2Call, Identity, http, service};

/// A route to a backend that is called with HTTP/2.
fn http2(address: SocketAddr) -> Value {
    let mut target = http(&format!("http://{address}/{{proxy}}"));
    target["backend"]["protocol"] = "http2".into();
    target["route"] = json!({"requires": ["http2Backend"]});
    target
}

fn serving(api: &Api) -> Gateway {
    let mut gateway = Gateway::empty();
    let reports = gateway.publish(&api.units());
    assert!(reports.iter().all(|report| report.problems.is_empty()), "{reports:?}");
    gateway
}

fn to(address: SocketAddr) -> Gateway {
    serving(&Api::new(&[("ANY /{proxy+}", http2(address))]))
}

/// A client's connection.
async fn connect(gateway: &Gateway) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    sender.ready().await.unwrap()
}

fn call(path: &str) -> http::request::Builder {
    Request::post(format!("http://abc123.execute-api.gw.example{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
}

/// Starts a call whose body is sent piece by piece.
fn begin(client: &mut SendRequest<Bytes>, request: http::request::Builder) -> (ResponseFuture, SendStream<Bytes>) {
    client.send_request(request.body(()).unwrap(), false).unwrap()
}

/// A whole call.
async fn unary(client: &SendRequest<Bytes>, path: &str, body: &'static str) -> Response<RecvStream> {
    let mut client = client.clone().ready().await.unwrap();
    let (answer, mut send) = begin(&mut client, call(path));
    send.send_data(Bytes::from_static(body.as_bytes()), true).unwrap();
    answer.await.unwrap()
}

async fn data(body: &mut RecvStream) -> Option<Result<Bytes, h2::Error>> {
    let data = body.data().await?;
    if let Ok(data) = &data {
        body.flow_control().release_capacity(data.len()).unwrap();
    }
    Some(data)
}

async fn text(body: &mut RecvStream) -> String {
    let mut all = Vec::new();
    while let Some(piece) = data(body).await {
        all.extend(piece.unwrap());
    }
    String::from_utf8(all).unwrap()
}

fn ok() -> Response<()> {
    Response::builder().header("content-type", "application/grpc").body(()).unwrap()
}

fn status(code: &'static str) -> HeaderMap {
    HeaderMap::from_iter([("grpc-status".parse().unwrap(), code.parse().unwrap())])
}

/// Answers with what it got, and a status in trailers.
async fn echo(mut call: Http2Call) {
    let body = call.rest().await;
    let trailers = call.body.trailers().await.unwrap();
    let mut send = call.respond.send_response(ok(), false).unwrap();
    let names = |headers: &HeaderMap| -> Vec<String> {
        headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect()
    };
    let seen = json!({
        "connection": call.connection,
        "target": call.head.uri.to_string(),
        "headers": names(&call.head.headers),
        "body": String::from_utf8(body).unwrap(),
        "trailers": trailers.as_ref().map(names),
    });
    send.send_data(seen.to_string().into(), false).unwrap();
    send.send_trailers(status("0")).unwrap();
}

async fn json_of(response: Response<RecvStream>) -> Value {
    serde_json::from_str(&text(&mut response.into_body()).await).unwrap()
}

#[tokio::test]
async fn a_call_passes_whole_with_its_trailers() {
    let gateway = to(Http2Backend::default().start(echo));
    let mut client = connect(&gateway).await;
    let (answer, mut send) = begin(&mut client, call("/shop.Greeter/Hello?x=1").header("x-a", "1"));
    send.send_data(Bytes::from_static(b"hello"), false).unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-checksum", "7".parse().unwrap());
    trailers.insert("authorization", "Bearer smuggled".parse().unwrap());
    send.send_trailers(trailers).unwrap();
    let answer = answer.await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "application/grpc");
    assert!(answer.headers().contains_key("apigw-requestid"));
    let mut body = answer.into_body();
    let seen: Value = serde_json::from_str(&text(&mut body).await).unwrap();
    assert_eq!(body.trailers().await.unwrap().unwrap()["grpc-status"], "0");
    let backend = seen["target"].as_str().unwrap().strip_prefix("http://127.0.0.1:").unwrap();
    assert!(backend.ends_with("/shop.Greeter/Hello?x=1"), "{backend}");
    let headers: Vec<&str> = seen["headers"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    for line in ["content-type: application/grpc", "te: trailers", "x-a: 1", "via: HTTP/1.1 AmazonAPIGateway"] {
        assert!(headers.contains(&line), "{line}: {headers:?}");
    }
    assert!(!headers.iter().any(|line| line.starts_with("host:") || line.starts_with("connection:")), "{headers:?}");
    assert_eq!((seen["body"].as_str(), &seen["trailers"]), (Some("hello"), &json!(["x-checksum: 7"])));
}

#[tokio::test]
async fn a_service_says_by_its_port_what_it_speaks() {
    let backend = Http2Backend::default().start(echo);
    let mut api = Api::new(&[("ANY /{proxy+}", service("s"))]).endpoints("s", &[backend]);
    let gateway = serving(&api);
    assert!(gateway.call("GET /a").status >= 500, "HTTP/1.1 is no HTTP/2");
    drop(gateway);
    api.endpoints[0]["protocol"] = "http2".into();
    let gateway = serving(&api);
    let client = connect(&gateway).await;
    let seen = json_of(unary(&client, "/a.B/C", "x").await).await;
    assert_eq!(seen["target"], "http://abc123.execute-api.gw.example/a.B/C");
    api.deployment["integrations"]["i0"]["backend"]["protocol"] = "http1".into();
    let gateway = serving(&api);
    assert!(gateway.call("GET /a").status >= 500, "the integration knows better");
}

#[tokio::test]
async fn clients_of_http_1_reach_the_same_backends() {
    let gateway = to(Http2Backend::default().start(echo));
    let mut client = gateway.connect();
    for number in 0..3 {
        let reply = client.call("POST /a/b\nTE: trailers\nConnection: TE\n\nhello");
        assert_eq!((reply.status, reply.json()["body"].as_str()), (200, Some("hello")), "{number}");
        assert_eq!(reply.json()["connection"], 0);
        assert!(!reply.text().contains("te: trailers"), "trailers go no further");
    }
    assert_eq!(client.call("GET /a").json()["body"], "");
}

#[tokio::test]
async fn tls_agrees_on_http_2() {
    let identity = Identity::of("backend.example");
    let address = Http2Backend::default().tls(&identity).start(echo);
    let mut target = http(&format!("https://{address}/"));
    target["backend"]["protocol"] = "http2".into();
    target["backend"]["tls"] = json!({"serverNameToVerify": "backend.example", "caPem": identity.pem});
    let mut server = rustls::ServerConfig::clone(&identity.server);
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    let old_identity = Identity { pem: identity.pem.clone(), server: Arc::new(server) };
    let only_http1 = tollgate_testkit::tls_backend(&old_identity, tollgate_testkit::echo);
    let mut old = target.clone();
    old["backend"]["uri"] = format!("https://{only_http1}/").into();
    let gateway = serving(&Api::new(&[("ANY /a", target), ("ANY /old", old)]));
    let client = connect(&gateway).await;
    let seen = json_of(unary(&client, "/a", "x").await).await;
    assert!(seen["target"].as_str().unwrap().starts_with("https://127.0.0.1:"));
    let refused = unary(&client, "/old", "x").await;
    assert_eq!(refused.headers()["grpc-status"], "2", "no HTTP/2 by ALPN");
}

#[tokio::test]
async fn a_server_streams() {
    let (release, gate) = mpsc::unbounded_channel::<()>();
    let gate = Arc::new(tokio::sync::Mutex::new(gate));
    let address = Http2Backend::default().start(move |mut call| {
        let gate = Arc::clone(&gate);
        async move {
            call.rest().await;
            let mut send = call.respond.send_response(ok(), false).unwrap();
            for number in 0..3 {
                send.send_data(format!("{number}").into(), false).unwrap();
                gate.lock().await.recv().await;
            }
            send.send_trailers(status("0")).unwrap();
        }
    });
    let gateway = to(address);
    let client = connect(&gateway).await;
    let mut body = unary(&client, "/a", "x").await.into_body();
    for number in ["0", "1", "2"] {
        assert_eq!(data(&mut body).await.unwrap().unwrap(), number);
        release.send(()).unwrap();
    }
    assert!(data(&mut body).await.is_none());
    assert_eq!(body.trailers().await.unwrap().unwrap()["grpc-status"], "0");
}

#[tokio::test]
async fn both_sides_stream_at_once() {
    let address = Http2Backend::default().start(|mut call| async move {
        let mut send = call.respond.send_response(ok(), false).unwrap();
        while let Some(data) = call.data().await {
            send.send_data(format!("<{}>", std::str::from_utf8(&data).unwrap()).into(), false).unwrap();
        }
        send.send_trailers(status("0")).unwrap();
    });
    let gateway = to(address);
    let mut client = connect(&gateway).await;
    let (answer, mut send) = begin(&mut client, call("/a"));
    let mut body = answer.await.unwrap().into_body();
    for word in ["a", "b", "c"] {
        send.send_data(word.into(), false).unwrap();
        assert_eq!(data(&mut body).await.unwrap().unwrap(), format!("<{word}>"), "nothing waits for the end");
    }
    send.send_data(Bytes::new(), true).unwrap();
    assert!(data(&mut body).await.is_none());
    assert_eq!(body.trailers().await.unwrap().unwrap()["grpc-status"], "0");
}

#[tokio::test]
async fn who_gives_up_is_heard_on_the_other_side() {
    let (heard, mut resets) = mpsc::unbounded_channel();
    let address = Http2Backend::default().start(move |mut call| {
        let heard = heard.clone();
        async move {
            match call.head.uri.path() {
                "/unanswered" => {
                    heard.send("called".to_owned()).unwrap();
                    let reset = std::future::poll_fn(|cx| call.respond.poll_reset(cx)).await.unwrap();
                    heard.send(format!("{reset:?}")).unwrap();
                }
                "/streaming" => {
                    let mut send = call.respond.send_response(ok(), false).unwrap();
                    send.send_data("x".into(), false).unwrap();
                    let reset = std::future::poll_fn(|cx| send.poll_reset(cx)).await.unwrap();
                    heard.send(format!("{reset:?}")).unwrap();
                }
                _ => {
                    let mut send = call.respond.send_response(ok(), false).unwrap();
                    send.send_data("x".into(), false).unwrap();
                    call.data().await;
                    send.send_reset(Reason::ENHANCE_YOUR_CALM);
                }
            }
        }
    });
    let gateway = to(address);
    let mut client = connect(&gateway).await;

    let (answer, mut send) = begin(&mut client, call("/unanswered"));
    assert_eq!(resets.recv().await.unwrap(), "called");
    send.send_reset(Reason::CANCEL);
    assert!(answer.await.is_err());
    assert_eq!(resets.recv().await.unwrap(), format!("{:?}", Reason::CANCEL));

    let (answer, mut send) = begin(&mut client, call("/streaming"));
    let mut body = answer.await.unwrap().into_body();
    assert_eq!(data(&mut body).await.unwrap().unwrap(), "x");
    send.send_reset(Reason::CANCEL);
    assert_eq!(resets.recv().await.unwrap(), format!("{:?}", Reason::CANCEL));

    let (answer, mut send) = begin(&mut client, call("/resetting"));
    let mut body = answer.await.unwrap().into_body();
    assert_eq!(data(&mut body).await.unwrap().unwrap(), "x");
    send.send_data("more".into(), false).unwrap();
    let error = data(&mut body).await.unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(Reason::ENHANCE_YOUR_CALM), "as the backend said it");
}

#[tokio::test]
async fn connections_are_shared_up_to_what_the_backend_takes() {
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let connections = Arc::new(AtomicUsize::new(0));
    let barrier = Arc::new(tokio::sync::Barrier::new(12));
    let address = Http2Backend::default().most_streams(4).start({
        let (running, most, connections) = (Arc::clone(&running), Arc::clone(&most), Arc::clone(&connections));
        move |call| {
            let (running, most, barrier) = (Arc::clone(&running), Arc::clone(&most), Arc::clone(&barrier));
            connections.fetch_max(call.connection + 1, Ordering::SeqCst);
            async move {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                barrier.wait().await;
                running.fetch_sub(1, Ordering::SeqCst);
                echo(call).await;
            }
        }
    });
    let gateway = to(address);
    let client = connect(&gateway).await;
    for round in 0..3 {
        let calls = (0..12).map(|_| unary(&client, "/a", "x"));
        for answer in futures::future::join_all(calls).await {
            assert_eq!(answer.status(), 200, "{round}");
            text(&mut answer.into_body()).await;
        }
    }
    assert_eq!(most.load(Ordering::SeqCst), 12, "all at once");
    assert_eq!(connections.load(Ordering::SeqCst), 3, "and again on the same connections");
}

#[tokio::test]
async fn a_backend_that_leaves_loses_nothing() {
    let address = Http2Backend::default().leave_after(7).start(echo);
    let gateway = to(address);
    let client = connect(&gateway).await;
    let mut last = 0;
    for _ in 0..20 {
        let calls = (0..20).map(|_| unary(&client, "/a", "hello"));
        for answer in futures::future::join_all(calls).await {
            assert_eq!((answer.status().as_u16(), answer.headers().get("grpc-status")), (200, None));
            let mut body = answer.into_body();
            let seen: Value = serde_json::from_str(&text(&mut body).await).unwrap();
            assert_eq!(body.trailers().await.unwrap().unwrap()["grpc-status"], "0");
            assert_eq!(seen["body"], "hello");
            last = last.max(seen["connection"].as_u64().unwrap());
        }
    }
    assert!(last > 10, "{last} connections");
}

/// Reads frames of HTTP/2 and writes them, by hand.
mod frames {
    use tollgate_testkit::Client;

    pub(super) const DATA: u8 = 0;
    pub(super) const HEADERS: u8 = 1;
    pub(super) const RST_STREAM: u8 = 3;
    pub(super) const SETTINGS: u8 = 4;
    pub(super) const GOAWAY: u8 = 7;

    pub(super) fn write(client: &mut Client, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = length[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        client.send(&frame);
    }

    pub(super) fn begin(client: &mut Client) {
        assert_eq!(client.take(24), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        write(client, SETTINGS, 0, 0, &[]);
    }

    /// Kind, stream and payload of the next frame.
    pub(super) fn read(client: &mut Client) -> (u8, u32, Vec<u8>) {
        let head = client.take(9);
        let payload = client.take(usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]));
        (head[3], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload)
    }

    /// The stream of the next request.
    pub(super) fn request(client: &mut Client) -> u32 {
        loop {
            if let (HEADERS, stream, _) = read(client) {
                return stream;
            }
        }
    }

    /// `:status: 200` and the end.
    pub(super) fn answer(client: &mut Client, stream: u32) {
        write(client, HEADERS, 0x5, stream, &[0x88]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_backend_has_not_begun_is_sent_again() {
    let address = tollgate_testkit::raw_backend(|number, mut connection| {
        frames::begin(&mut connection);
        if number == 0 {
            // A first one, so that the connection has shown that it works.
            let first = frames::request(&mut connection);
            frames::answer(&mut connection, first);
            let [kept, _, _] = [(); 3].map(|()| frames::request(&mut connection));
            let mut goaway = kept.to_be_bytes().to_vec();
            goaway.extend([0; 4]);
            frames::write(&mut connection, frames::GOAWAY, 0, 0, &goaway);
            frames::answer(&mut connection, kept);
            return;
        }
        let refused = frames::request(&mut connection);
        frames::write(&mut connection, frames::RST_STREAM, 0, refused, &7_u32.to_be_bytes());
        loop {
            // Only with its body a request is whole.
            if let (frames::DATA, stream, body) = frames::read(&mut connection)
                && stream != refused
                && body == b"hello"
            {
                frames::answer(&mut connection, stream);
            }
        }
    });
    let mut api = Api::new(&[("ANY /{proxy+}", service("s"))]).endpoints("s", &[address, address, address]);
    api.endpoints[0]["protocol"] = "http2".into();
    let gateway = serving(&api);
    let client = connect(&gateway).await;
    assert_eq!(unary(&client, "/a", "x").await.headers().get("grpc-status"), None);
    for answer in futures::future::join_all((0..3).map(|_| unary(&client, "/a", "hello"))).await {
        assert_eq!((answer.status().as_u16(), answer.headers().get("grpc-status")), (200, None));
    }
    let retries = gateway.metric("tollgate_backend_retries_total");
    assert!(retries > 1.5, "{retries}");
}

#[tokio::test]
async fn what_is_no_http_2_is_refused_before_anything_is_sent() {
    let old = tollgate_testkit::backend(tollgate_testkit::echo);
    let gateway = to(old);
    let client = connect(&gateway).await;
    let answer = unary(&client, "/a", "x").await;
    assert_eq!(answer.headers()["grpc-status"], "14");
    assert_eq!(gateway.call("GET /a").status, 503);
}

#[tokio::test]
async fn errors_have_the_form_of_the_call() {
    let gateway = to(Http2Backend::default().start(echo));
    let client = connect(&gateway).await;
    let refused = unary(&client, "/a/../b", "x").await;
    let headers = refused.headers();
    assert_eq!(
        (refused.status().as_u16(), &headers["grpc-status"], &headers["grpc-message"]),
        (200, &"13".parse().unwrap(), &"Bad Request".parse().unwrap())
    );
    assert_eq!(headers["content-type"], "application/grpc");
    assert!(headers.contains_key("apigw-requestid"));
    assert_eq!(text(&mut refused.into_body()).await, "");

    let nowhere = serving(&Api::new(&[("GET /{proxy+}", http2(tollgate_testkit::unused_address()))]));
    let client = connect(&nowhere).await;
    assert_eq!(unary(&client, "/a.B/C", "x").await.headers()["grpc-status"], "12");
    let mut plain = client.clone().ready().await.unwrap();
    let request = Request::post("http://abc123.execute-api.gw.example/a").body(()).unwrap();
    let (answer, _) = plain.send_request(request, true).unwrap();
    assert_eq!(answer.await.unwrap().status(), 404, "other calls keep HTTP's form");
    let reply = nowhere.call("POST /a.B/C\nContent-Type: application/grpc");
    assert_eq!(reply.status, 404, "gRPC needs HTTP/2");
}

#[tokio::test]
async fn a_deadline_ends_the_wait() {
    let (heard, mut resets) = mpsc::unbounded_channel();
    let address = Http2Backend::default().start(move |mut call| {
        let heard = heard.clone();
        async move {
            let timeout = call.head.headers["grpc-timeout"].to_str().unwrap().to_owned();
            let reset = std::future::poll_fn(|cx| call.respond.poll_reset(cx)).await.unwrap();
            heard.send((timeout, reset)).unwrap();
        }
    });
    let gateway = to(address);
    let mut client = connect(&gateway).await;
    let (answer, mut send) = begin(&mut client, call("/a").header("grpc-timeout", "500m"));
    send.send_data("x".into(), true).unwrap();
    let answer = answer.await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], "4");
    assert_eq!(resets.recv().await.unwrap(), ("500m".to_owned(), Reason::CANCEL), "the backend knows of both");
}

#[tokio::test]
async fn a_body_over_the_limit_is_cut_off() {
    let address = Http2Backend::default().start(echo);
    let gateway = serving(&Api::new(&[("ANY /{proxy+}", http2(address))]).set("limits", json!({"payloadBytes": 1000})));
    let client = connect(&gateway).await;
    assert_eq!(unary(&client, "/a", "x").await.status(), 200);
    let large: &'static str = "x".repeat(2000).leak();
    assert_eq!(unary(&client, "/a", large).await.headers()["grpc-status"], "2");
    assert_eq!(unary(&client, "/a", "x").await.headers().get("grpc-status"), None, "the connection goes on");
}

/// A link's checks speak what its service speaks.
#[tokio::test]
async fn links_check_and_call_with_http_2() {
    let (asked, mut checks) = mpsc::unbounded_channel();
    let address = Http2Backend::default().start(move |mut call| {
        let asked = asked.clone();
        async move {
            if call.head.uri.path() == "/healthz" {
                call.respond.send_response(Response::new(()), true).unwrap();
                let _ = asked.send(call.head.method.clone());
                return;
            }
            echo(call).await;
        }
    });
    let mut target = service("orders");
    target["backend"]["service"]["namespace"] = "backends".into();
    target["backend"]["link"] = json!({"namespace": "backends", "name": "open"});
    target["route"] = json!({"requires": ["vpcLink"]});
    let check = json!({"path": "/healthz", "intervalSeconds": 1, "timeoutInMillis": 2000, "healthyThreshold": 1, "unhealthyThreshold": 1});
    let api = Api::new(&[("ANY /{proxy+}", target)])
        .unit(json!({"kind": "link", "link": {"namespace": "backends", "name": "open"}, "services": ["orders"],
            "allowedNamespaces": ["shop"], "healthCheck": check}))
        .unit(json!({"kind": "endpoints", "service": {"namespace": "backends", "name": "orders", "port": 80}, "protocol": "http2",
            "endpoints": [{"address": address.ip(), "port": address.port()}]}));
    let gateway = serving(&api);
    let client = connect(&gateway).await;
    assert_eq!(json_of(unary(&client, "/a", "x").await).await["body"], "x");
    assert_eq!(checks.recv().await.unwrap(), http::Method::GET);
}
