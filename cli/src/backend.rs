//! Backends to try things with: an echo service, a function, a token issuer.
//!
//! `tollgate backend …` runs one of them in a container; `tollgate dev` runs the same ones inside itself for Deployments
//! whose container says `tollgate backend …`. They are for examples and tests: the issuer gives a token to anyone.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

pub mod args;
pub mod echo;
pub mod function;
pub mod issuer;

use args::{BackendArgs, Which};

/// The largest request body that a backend reads; API Gateway sends at most 10 MiB.
const MAX_BODY: usize = 11 << 20;

/// Open connections; more have to wait.
const MAX_CONNECTIONS: usize = 4096;

/// How long requests in flight are waited for when a backend stops.
const GRACE: Duration = Duration::from_secs(5);

/// A backend that is ready to answer.
#[derive(Debug)]
pub enum Backend {
    /// See [`echo`].
    Echo(echo::Echo),
    /// See [`function`].
    Function(function::Function),
    /// See [`issuer`].
    Issuer(Box<issuer::Issuer>),
}

/// Why a backend cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// The template of a function's answer.
    #[error("--respond is not JSON")]
    Respond(#[source] serde_json::Error),
    /// The issuer's key.
    #[error("the issuer's key cannot be made, read or kept")]
    Key(#[source] io::Error),
}

impl Backend {
    /// Makes the backend that the arguments describe. `key_file` is where an issuer keeps its key, unless they say.
    ///
    /// # Errors
    ///
    /// When an argument does not hold what it should, or the issuer's key cannot be kept.
    pub fn new(args: &BackendArgs, key_file: Option<&std::path::Path>) -> Result<Self, BackendError> {
        Ok(match &args.which {
            Which::Echo(echo) => Self::Echo(echo::Echo::new(echo)),
            Which::Function(function) => {
                Self::Function(function::Function::new(function).map_err(BackendError::Respond)?)
            }
            Which::Issuer(issuer) => {
                let key_file = issuer.key_file.as_deref().or(key_file);
                Self::Issuer(Box::new(issuer::Issuer::new(issuer, key_file).map_err(BackendError::Key)?))
            }
        })
    }

    /// Answers one request whose body was read.
    pub fn answer(&self, request: &Request<Bytes>, now: SystemTime) -> Response<Full<Bytes>> {
        match self {
            Self::Echo(echo) => echo.answer(request),
            Self::Function(function) => function.answer(request),
            Self::Issuer(issuer) => issuer.answer(request, now),
        }
    }
}

/// Serves until `stop` says so, then waits a little for requests in flight.
pub async fn serve(listener: TcpListener, backend: Arc<Backend>, mut stop: watch::Receiver<bool>) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let graceful = hyper_util::server::graceful::GracefulShutdown::new();
    loop {
        let permit = Arc::clone(&room).acquire_owned().await.expect("the semaphore is never closed");
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(_) => {
                // Out of descriptors, most likely: give connections time to close.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let backend = Arc::clone(&backend);
        let service = service_fn(move |request| read_and_answer(Arc::clone(&backend), request));
        let mut server = hyper::server::conn::http1::Builder::new();
        server.timer(TokioTimer::new());
        let connection = graceful.watch(server.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            // A client that goes away is no news.
            let _ = connection.await;
            drop(permit);
        });
    }
    let _ = tokio::time::timeout(GRACE, graceful.shutdown()).await;
}

async fn read_and_answer(
    backend: Arc<Backend>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, std::convert::Infallible> {
    let (head, body) = request.into_parts();
    let answer = match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => backend.answer(&Request::from_parts(head, body.to_bytes()), SystemTime::now()),
        Err(_) => {
            json(StatusCode::PAYLOAD_TOO_LARGE, &serde_json::json!({"error": "the body is too large or broken off"}))
        }
    };
    Ok(answer)
}

/// A JSON answer.
fn json(status: StatusCode, value: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(value.to_string())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("application/json"));
    response
}

/// `tollgate backend …` as a program of its own: serves until it is told to stop.
///
/// # Errors
///
/// When the backend cannot be made or the address cannot be bound.
pub fn run(args: &BackendArgs) -> anyhow::Result<()> {
    use anyhow::Context;
    let backend = Arc::new(Backend::new(args, None)?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(args.listen)
            .await
            .with_context(|| format!("cannot listen on {}; choose another address with --listen", args.listen))?;
        eprintln!("listening on {}", listener.local_addr()?);
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(async move {
            crate::stop_signal().await;
            stop.send_replace(true);
        });
        serve(listener, backend, stopped).await;
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The JSON of an answer.
    pub(super) fn body(response: Response<Full<Bytes>>) -> Value {
        let body =
            tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(response.collect());
        serde_json::from_slice(&body.expect("a full body").to_bytes()).expect("JSON")
    }
}
