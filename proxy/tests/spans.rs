//! Traces: what backends are told of them, and what the collector gets.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::net::SocketAddr;
use std::sync::mpsc;

use http_body_util::Full;
use tollgate_proxy::access_log::Destination;
use tollgate_proxy::process::{Options, Process};
use tollgate_proxy::spans::SpanSettings;
use tollgate_testkit::{Api, Client, Gateway, backend, echo, http, service, settings, unit_set};

const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const UNSAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

fn echoing() -> Api {
    let address = backend(echo);
    Api::new(&[("ANY /a", http(&format!("http://{address}/"))), ("ANY /service", service("s"))])
        .endpoints("s", &[address])
}

/// A proxy with spans, and what its collector gets: the path and the body of each request.
fn traced(ratio: f64) -> (Process, mpsc::Receiver<(String, Vec<u8>)>) {
    let (sender, received) = mpsc::channel();
    let collector = backend(move |head, body| {
        sender.send((head.uri.path().to_owned(), body.to_vec())).unwrap();
        http::Response::new(Full::default())
    });
    let endpoint = format!("http://{collector}").parse().unwrap();
    let process = Process::start(Options {
        settings: settings(),
        certificates: Vec::new(),
        fallback_certificate: None,
        access_log: Destination::Off,
        usage: tollgate_proxy::usage::StoreKind::Memory,
        usage_store: None,
        spans: Some(SpanSettings { endpoint, ratio, instance: "proxy-0".into() }),
    })
    .unwrap();
    process.publisher().publish(&unit_set(&echoing().units()));
    (process, received)
}

fn address(process: &Process) -> SocketAddr {
    process.listen().unwrap()
}

/// What a trace says is nobody else's business (W3C Trace Context, section 4): it goes through as it came.
#[test]
fn traces_of_others_are_passed_on() {
    let mut off = Gateway::empty();
    off.publish(&echoing().units());
    let (never, _) = traced(0.0);
    for address in [off.address, address(&never)] {
        for path in ["/a", "/service"] {
            let mut client = Client::connect(address);
            let reply =
                client.call(&format!("GET {path}\nTraceparent: {UNSAMPLED}\nTracestate: a=1,b=2\nTracestate: c=3"));
            assert_eq!(reply.seen("traceparent").as_deref(), Some(UNSAMPLED), "{path}");
            let json = reply.json();
            let states = json["headers"].as_array().unwrap().iter().filter(|pair| pair[0] == "tracestate");
            assert_eq!(states.map(|pair| pair[1].as_str().unwrap()).collect::<Vec<_>>(), ["a=1,b=2", "c=3"], "{path}");
        }
    }
    never.drain();
}

/// A recorded request puts its own span in between; the state of the trace goes along with its trace only.
#[test]
fn recorded_requests_are_part_of_the_trace() {
    let (process, _received) = traced(1.0);
    let mut client = Client::connect(address(&process));
    let reply = client.call(&format!("GET /a\nTraceparent: {SAMPLED}\nTracestate: a=1"));
    let parent = reply.seen("traceparent").unwrap();
    assert!(parent.starts_with(&SAMPLED[..36]) && parent.ends_with("-01") && parent != SAMPLED, "{parent}");
    assert_eq!(reply.seen("tracestate").as_deref(), Some("a=1"));
    let reply = client.call("GET /a\nTraceparent: 00-nonsense\nTracestate: a=1");
    assert!(!reply.seen("traceparent").unwrap().contains("nonsense"));
    assert_eq!(reply.seen("tracestate"), None, "it is of a trace that nobody can name");
    drop(client);
    process.drain();
}

/// What is still queued when the proxy leaves is sent before it is gone.
#[test]
fn a_leaving_proxy_sends_its_last_spans() {
    let (process, received) = traced(1.0);
    let mut client = Client::connect(address(&process));
    assert_eq!(client.call("GET /a\nConnection: close").status, 200);
    process.drain();
    let (path, body) = received.try_recv().unwrap();
    assert_eq!(path, "/v1/traces");
    assert!(body.windows(6).any(|bytes| bytes == b"GET /a"));
}
