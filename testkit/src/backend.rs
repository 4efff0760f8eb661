//! Backends in this process.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

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

/// A backend on a thread of its own; it ends with the test program.
pub fn backend<F>(answer: F) -> SocketAddr
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
                let answer = Arc::clone(&answer);
                let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                    let answer = Arc::clone(&answer);
                    async move {
                        let (head, body) = request.into_parts();
                        let Ok(body) = body.collect().await else {
                            return Ok::<_, Infallible>(Response::new(Full::default()));
                        };
                        Ok(answer(&head, &body.to_bytes()))
                    }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
                );
            }
        });
    });
    address
}
