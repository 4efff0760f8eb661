//! Backends in this process.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tollgate_proxy::metrics::Metrics;
use tollgate_proxy::tls::{Certificates, Pair};

use crate::client::Client;

/// Answers with what it got, as JSON; `x-answer: {...}` tells it what to answer instead.
pub fn echo(request: &http::request::Parts, body: &Bytes) -> Response<Full<Bytes>> {
    if let Some(answer) = request.headers.get("x-answer") {
        let answer: Value = serde_json::from_slice(answer.as_bytes()).unwrap();
        let mut response = Response::builder().status(u16::try_from(answer["status"].as_u64().unwrap_or(200)).unwrap());
        for (name, value) in answer["headers"].as_object().into_iter().flatten() {
            response = response.header(name, value.as_str().unwrap());
        }
        return response.body(Full::new(answer["body"].as_str().unwrap_or("").to_owned().into())).unwrap();
    }
    let headers: Vec<Value> =
        request.headers.iter().map(|(name, value)| json!([name.as_str(), value.to_str().unwrap()])).collect();
    let seen = json!({
        "method": request.method.as_str(),
        "target": request.uri.to_string(),
        "headers": headers,
        "body": String::from_utf8_lossy(body),
    });
    Response::builder().header("content-type", "application/json").body(Full::new(seen.to_string().into())).unwrap()
}

/// A function behind the Lambda invoke protocol. It returns its event (format 2.0), or a response with its event as the body (1.0).
///
/// Headers of the client tell it otherwise: `x-result` is returned as it stands; with `x-function-error` it is the payload of a function that
/// failed; `x-invoke-status` is the invocation's own status.
pub fn invoked(request: &http::request::Parts, body: &Bytes) -> Response<Full<Bytes>> {
    assert_eq!(request.method, http::Method::POST);
    assert_eq!(request.uri.path(), "/2015-03-31/functions/function/invocations");
    let event: Value = serde_json::from_slice(body).unwrap();
    let headers = event["headers"].as_object().unwrap();
    let told = |name: &str| {
        let mut found = headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value.as_str().unwrap().to_owned())
    };
    let result = told("x-result").unwrap_or_else(|| match event["version"].as_str() {
        Some("2.0") => event.to_string(),
        _ => {
            let headers = json!({"content-type": "application/json"});
            json!({"statusCode": 200, "headers": headers, "body": event.to_string()}).to_string()
        }
    });
    let status = told("x-invoke-status").map_or(200, |status| status.parse().unwrap());
    let mut response = Response::builder().status(status).header("x-amzn-requestid", "invoke-1");
    if told("x-function-error").is_some() {
        response = response.header("x-amz-function-error", "Unhandled");
    }
    response.body(Full::new(result.into())).unwrap()
}

/// A backend on a thread of its own; it ends with the test program.
pub fn backend<F>(answer: F) -> SocketAddr
where
    F: Fn(&http::request::Parts, &Bytes) -> Response<Full<Bytes>> + Send + Sync + 'static,
{
    start(answer, None)
}

/// As [`backend`], with HTTPS and a certificate of its own.
pub fn tls_backend<F>(identity: &Identity, answer: F) -> SocketAddr
where
    F: Fn(&http::request::Parts, &Bytes) -> Response<Full<Bytes>> + Send + Sync + 'static,
{
    start(answer, Some(Arc::clone(&identity.server)))
}

/// A self-signed certificate.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate, for whoever is to trust it.
    pub pem: String,
    /// For servers that show it.
    pub server: Arc<rustls::ServerConfig>,
}

impl Identity {
    /// A certificate for `name`.
    pub fn of(name: &str) -> Self {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let pem = made.cert.pem();
        let pair = Pair::from_pem(pem.as_bytes(), made.signing_key.serialize_pem().as_bytes()).unwrap();
        let server = Certificates::new(Vec::new(), Some(pair), &Metrics::new()).server_config().unwrap();
        Self { pem, server }
    }
}

fn start<F>(answer: F, tls: Option<Arc<rustls::ServerConfig>>) -> SocketAddr
where
    F: Fn(&http::request::Parts, &Bytes) -> Response<Full<Bytes>> + Send + Sync + 'static,
{
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let service = service(Arc::clone(&answer));
                let tls = tls.clone();
                tokio::spawn(async move {
                    let server = hyper::server::conn::http1::Builder::new();
                    // Connections end as the proxy likes.
                    let _ = match tls {
                        None => server.serve_connection(TokioIo::new(stream), service).await,
                        Some(tls) => {
                            let Ok(stream) = tokio_rustls::TlsAcceptor::from(tls).accept(stream).await else { return };
                            server.serve_connection(TokioIo::new(stream), service).await
                        }
                    };
                });
            }
        });
    });
    address
}

type Answering = std::pin::Pin<Box<dyn Future<Output = Result<Response<Full<Bytes>>, Infallible>> + Send>>;

fn service<F>(
    answer: Arc<F>,
) -> impl hyper::service::Service<Request<Incoming>, Response = Response<Full<Bytes>>, Error = Infallible, Future = Answering>
where
    F: Fn(&http::request::Parts, &Bytes) -> Response<Full<Bytes>> + Send + Sync + 'static,
{
    hyper::service::service_fn(move |request: Request<Incoming>| -> Answering {
        let answer = Arc::clone(&answer);
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let Ok(body) = body.collect().await else { return Ok(Response::new(Full::default())) };
            Ok(answer(&head, &body.to_bytes()))
        })
    })
}

/// A backend that does what `serve` does with each connection, on a thread per connection. Connections are numbered from 0.
pub fn raw_backend<F>(serve: F) -> SocketAddr
where
    F: Fn(usize, Client) + Send + Sync + 'static,
{
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let (serve, client) = (Arc::clone(&serve), Client::of(stream.unwrap()));
            std::thread::spawn(move || serve(number, client));
        }
    });
    address
}

/// An address at which nobody listens, for as long as the process lives: it is held, so that no other test gets it.
pub fn unused_address() -> SocketAddr {
    let held = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    held.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = held.local_addr().unwrap().as_socket().unwrap();
    std::mem::forget(held);
    address
}

/// An address for a program that listens at a port of the test's choice. It lies below the ports that systems give away by themselves,
/// and no second call in this process returns it.
pub fn address_for_a_program() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    const FIRST: u32 = 20_000;
    const COUNT: u32 = 12_000;
    let start = std::process::id().wrapping_mul(61);
    loop {
        let offset = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let address = SocketAddr::from(([127, 0, 0, 1], u16::try_from(FIRST + offset).unwrap()));
        if std::net::TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}
