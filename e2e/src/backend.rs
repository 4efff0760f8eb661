//! Backends that tests send traffic to: an echo that says who it is, over HTTP and over the Lambda invoke protocol.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// An echo on a thread of its own; dropping it closes its port.
#[derive(Debug)]
pub struct Echo {
    /// Where it listens.
    pub address: SocketAddr,
    served: Arc<AtomicU64>,
    _stop: oneshot::Sender<()>,
}

impl Echo {
    /// Starts one that calls itself `name`, on a free port of `address` when its port is 0.
    pub fn start(name: &str, address: SocketAddr) -> Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let (started, starting) = mpsc::channel();
        let served = Arc::new(AtomicU64::new(0));
        let (name, counter) = (name.to_owned(), served.clone());
        std::thread::spawn(move || {
            let work = async {
                match TcpListener::bind(address).await {
                    Ok(listener) => {
                        let _ = started.send(listener.local_addr());
                        tokio::select! {
                            () = serve(name, listener, counter) => {}
                            _ = stopped => {}
                        }
                    }
                    Err(error) => {
                        let _ = started.send(Err(error));
                    }
                }
            };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime needs only memory and descriptors").block_on(work);
        });
        let address = starting.recv()?.with_context(|| format!("listening on {address}"))?;
        Ok(Self { address, served, _stop: stop })
    }

    /// How many requests it has answered.
    pub fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }
}

/// Answers connections until it is dropped.
pub async fn serve(name: String, listener: TcpListener, served: Arc<AtomicU64>) {
    let name: Arc<str> = name.into();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (name, served) = (name.clone(), served.clone());
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let (name, served) = (name.clone(), served.clone());
                async move {
                    let answer = answer(&name, request).await;
                    served.fetch_add(1, Ordering::Relaxed);
                    Ok::<_, Infallible>(answer)
                }
            });
            let mut server = hyper::server::conn::http1::Builder::new();
            // A connection that its client resets is no news here.
            let _ = server.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(name: &str, request: http::Request<Incoming>) -> http::Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let invoked = head.uri.path().starts_with("/2015-03-31/functions/");
    let told = if invoked {
        let event: Value = serde_json::from_slice(&body).unwrap_or_default();
        json!({"backend": name, "event": event})
    } else {
        let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
        // Nothing that differs from request to request, so that answers can be compared.
        json!({
            "backend": name, "method": head.method.as_str(), "path": target, "body": String::from_utf8_lossy(&body),
        })
    };
    let response = http::Response::builder().header("content-type", "application/json").header("x-backend", name);
    response.body(Full::new(told.to_string().into())).expect("a backend's name is a header value")
}
