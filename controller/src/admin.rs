//! The admin port: `/livez`, `/readyz`, `/metrics`, and `/log` to read or set the log filter while the program runs.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use crate::feed::tls::Certificate;
use crate::metrics::Metrics;
use crate::telemetry::LogFilter;

/// Probes, scrapers and operators; more than these wait.
const MAX_CONNECTIONS: usize = 64;
/// A log filter is a line.
const MAX_FILTER: usize = 4096;

/// What the admin port shows.
pub struct Admin {
    /// For `/metrics`.
    pub metrics: Metrics,
    /// For `/log`.
    pub log: LogFilter,
    /// True once every watched kind was listed and the first set is published.
    pub published: Arc<AtomicBool>,
    /// Without one the feed cannot be served.
    pub certificate: Arc<Certificate>,
    /// True when the program stops.
    pub stop: watch::Receiver<bool>,
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

/// Serves until the task is dropped; probes are answered while the program stops.
pub async fn serve(listener: TcpListener, admin: Arc<Admin>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let place = Arc::clone(&places).acquire_owned().await.expect("the semaphore is never closed");
        let Ok((socket, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let admin = Arc::clone(&admin);
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let admin = Arc::clone(&admin);
                async move { Ok::<_, Infallible>(admin.answer(request).await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(10))
                .serve_connection(TokioIo::new(socket), service);
            // Nobody may keep one of the few places for ever.
            let _ = tokio::time::timeout(Duration::from_secs(300), connection).await;
            drop(place);
        });
    }
}

impl Admin {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/livez") => text(StatusCode::OK, "ok"),
            (&Method::GET, "/readyz") => match self.missing() {
                None => text(StatusCode::OK, "ok"),
                Some(missing) => text(StatusCode::SERVICE_UNAVAILABLE, missing),
            },
            (&Method::GET, "/metrics") => {
                let mut response = Response::new(Full::new(self.metrics.render().into()));
                let content_type = http::HeaderValue::from_static(prometheus::TEXT_FORMAT);
                response.headers_mut().insert(http::header::CONTENT_TYPE, content_type);
                response
            }
            (&Method::GET, "/log") => text(StatusCode::OK, &self.log.current()),
            (&Method::PUT, "/log") => self.set_log(request.into_body()).await,
            _ => text(StatusCode::NOT_FOUND, "there are /livez, /readyz, /metrics, and /log (GET, PUT)"),
        }
    }

    /// What readiness waits for.
    fn missing(&self) -> Option<&'static str> {
        if *self.stop.borrow() {
            Some("stopping")
        } else if !self.certificate.is_present() {
            Some("waiting for the feed's CA")
        } else if !self.published.load(Ordering::Acquire) {
            Some("waiting for the first complete set")
        } else {
            None
        }
    }

    async fn set_log(&self, body: Incoming) -> Response<Full<Bytes>> {
        let Ok(body) = Limited::new(body, MAX_FILTER).collect().await else {
            return text(StatusCode::BAD_REQUEST, "the body is a log filter of at most 4096 bytes");
        };
        let bytes = body.to_bytes();
        match self.log.set(String::from_utf8_lossy(&bytes).trim()) {
            Ok(()) => text(StatusCode::OK, "ok"),
            Err(error) => text(StatusCode::BAD_REQUEST, &error),
        }
    }
}

fn text(status: StatusCode, message: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(format!("{message}\n"))));
    *response.status_mut() = status;
    response
}
