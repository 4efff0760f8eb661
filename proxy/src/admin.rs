//! The admin port: is it alive, is it ready, what does it count, what does it run, what does it log.
//!
//! On a thread of its own, so that it answers while workers are busy and never takes their time. It has no authentication: bind it
//! where only operators, probes and Prometheus reach it. What it shows holds no secrets.

mod config;

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{Semaphore, oneshot, watch};
use tracing::{debug, info};

use crate::feed::View;
use crate::metrics::Metrics;
use crate::readiness::Readiness;
use crate::usage::UsageMeters;

/// Connections at a time: probes, a scraper or two, a person.
const MAX_CONNECTIONS: usize = 64;
/// A head, and a body, must come within this time.
const PATIENCE: Duration = Duration::from_secs(10);
/// Largest log filter that is read.
const MAX_BODY: usize = 4 << 10;

/// The process's log, as the admin port changes it.
pub trait LogControl: Send + Sync + 'static {
    /// The filter in effect.
    fn current(&self) -> String;
    /// Puts another into effect, or says why it is none.
    fn change(&self, directives: &str) -> Result<(), String>;
}

/// What the admin port shows and changes.
#[derive(Clone)]
pub struct AdminParts {
    /// For `/metrics`.
    pub metrics: Metrics,
    /// For `/readyz`.
    pub readiness: Readiness,
    /// For `/config`.
    pub view: watch::Receiver<View>,
    /// For `/usage`.
    pub usage: UsageMeters,
    /// For `/loglevel`.
    pub log: Arc<dyn LogControl>,
}

impl std::fmt::Debug for AdminParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AdminParts").field("readiness", &self.readiness).finish_non_exhaustive()
    }
}

/// The running admin port. Dropping it leaves it running to the end of the process: probes are answered while the proxy drains.
#[derive(Debug)]
pub struct Admin {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<io::Result<()>>,
}

impl Admin {
    /// Binds the address and starts the thread.
    pub fn start(address: SocketAddr, parts: AdminParts) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name("admin".into()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(serve(listener, parts, stopped))
        })?;
        info!(%address, "admin port");
        Ok(Self { address, stop, thread })
    }

    /// Where it listens; the port is the real one if 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it and waits until its address is free.
    pub fn stop(self) {
        // An error means that the thread has ended already.
        let _ = self.stop.send(());
        if let Ok(Err(error)) = self.thread.join() {
            tracing::error!(%error, "admin port failed");
        }
    }
}

async fn serve(listener: TcpListener, parts: AdminParts, mut stopped: oneshot::Receiver<()>) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut dropped = false;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // An error: nobody is left to stop us.
            told = &mut stopped, if !dropped => {
                if told.is_ok() {
                    return Ok(());
                }
                dropped = true;
                continue;
            }
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                debug!(%error, "accept failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        // Without room the connection is closed; whoever probes will come again.
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else { continue };
        let parts = parts.clone();
        tokio::spawn(async move {
            let _place = place;
            let service = service_fn(|request| answer(&parts, request));
            let mut server = http1::Builder::new();
            server.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
            if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
                debug!(%error, "admin connection ended");
            }
        });
    }
}

async fn answer(parts: &AdminParts, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let get = matches!(*request.method(), Method::GET | Method::HEAD);
    Ok(match request.uri().path() {
        "/livez" if get => text(StatusCode::OK, "ok"),
        "/readyz" if get => match parts.readiness.reason() {
            None => text(StatusCode::OK, "ok"),
            Some(reason) => text(StatusCode::SERVICE_UNAVAILABLE, reason),
        },
        "/metrics" if get => typed(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", parts.metrics.encode()),
        "/config" if get => config_answer(parts, request.uri().query()),
        "/usage" if get => usage_answer(parts, request.uri().query()).await,
        "/loglevel" if get => text(StatusCode::OK, &parts.log.current()),
        "/loglevel" if request.method() == Method::PUT => change_log(parts, request).await,
        "/loglevel" => not_allowed("GET, HEAD, PUT"),
        "/livez" | "/readyz" | "/metrics" | "/config" | "/usage" => not_allowed("GET, HEAD"),
        _ => text(StatusCode::NOT_FOUND, "there are /livez, /readyz, /metrics, /config, /usage and /loglevel"),
    })
}

/// All units in short, or with `?unit=NAME` the whole of one.
fn config_answer(parts: &AdminParts, query: Option<&str>) -> Response<Full<Bytes>> {
    let view = parts.view.borrow().clone();
    let unit = query.and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("unit=")));
    let json = match unit {
        None => config::overview(&view, parts.readiness.reason()),
        Some(name) => match config::unit(&view, name) {
            Some(json) => json,
            None => return text(StatusCode::NOT_FOUND, "no unit has this name; /config lists them"),
        },
    };
    typed(StatusCode::OK, "application/json", format!("{json:#}\n"))
}

/// What customers of usage plans have used in the present periods, or with `?plan=NAMESPACE/NAME` those of one.
async fn usage_answer(parts: &AdminParts, query: Option<&str>) -> Response<Full<Bytes>> {
    let usage = parts.usage.clone();
    let Ok(mut report) = tokio::task::spawn_blocking(move || usage.report_now()).await else {
        return text(StatusCode::INTERNAL_SERVER_ERROR, "usage could not be counted");
    };
    if let Some(plan) = query.and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("plan="))) {
        report.plans.retain(|usage| usage.plan == plan);
    }
    let json = serde_json::to_string_pretty(&report).expect("a report has string keys only");
    typed(StatusCode::OK, "application/json", format!("{json}\n"))
}

async fn change_log(parts: &AdminParts, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let body = tokio::time::timeout(PATIENCE, Limited::new(request.into_body(), MAX_BODY).collect()).await;
    let Ok(Ok(body)) = body else { return text(StatusCode::BAD_REQUEST, "send a log filter of at most 4096 bytes") };
    let body = body.to_bytes();
    let Ok(directives) = std::str::from_utf8(&body) else { return text(StatusCode::BAD_REQUEST, "send text") };
    match parts.log.change(directives.trim()) {
        Ok(()) => {
            info!(filter = directives.trim(), "log filter changed");
            text(StatusCode::OK, &parts.log.current())
        }
        Err(why) => text(StatusCode::BAD_REQUEST, &why),
    }
}

fn not_allowed(methods: &'static str) -> Response<Full<Bytes>> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, methods);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    response
}

fn text(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    typed(status, "text/plain; charset=utf-8", format!("{text}\n"))
}

fn typed(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::hosts::Hosts;
    use crate::http_client::HttpClient;
    use crate::tls::control_config;

    #[derive(Default)]
    struct Log(Mutex<String>);

    impl LogControl for Log {
        fn current(&self) -> String {
            self.0.lock().unwrap().clone()
        }
        fn change(&self, directives: &str) -> Result<(), String> {
            if directives == "nonsense" {
                return Err("it is no filter".into());
            }
            directives.clone_into(&mut self.0.lock().unwrap());
            Ok(())
        }
    }

    struct Bench {
        admin: Admin,
        readiness: Readiness,
        client: HttpClient,
    }

    fn bench() -> Bench {
        let readiness = Readiness::default();
        let parts = AdminParts {
            metrics: Metrics::new(),
            readiness: readiness.clone(),
            view: watch::Sender::new(View::default()).subscribe(),
            usage: UsageMeters::new(crate::usage::StoreKind::Memory),
            log: Arc::new(Log(Mutex::new("info".into()))),
        };
        let admin = Admin::start("127.0.0.1:0".parse().unwrap(), parts).unwrap();
        Bench { admin, readiness, client: HttpClient::new(control_config(None).unwrap(), Hosts::default()) }
    }

    impl Bench {
        async fn ask(&self, method: Method, path: &str, body: &str) -> (u16, String) {
            let uri: http::Uri = format!("http://{}{path}", self.admin.address()).parse().unwrap();
            let request = Request::builder().method(method).uri(uri.clone());
            let limit = Duration::from_secs(30);
            let answer =
                self.client.send(&uri, request, Bytes::copy_from_slice(body.as_bytes()), 1 << 20, limit).await.unwrap();
            (answer.status.as_u16(), String::from_utf8(answer.body.to_vec()).unwrap())
        }

        async fn get(&self, path: &str) -> (u16, String) {
            self.ask(Method::GET, path, "").await
        }
    }

    #[tokio::test]
    async fn readiness_follows_the_snapshot_and_the_drain() {
        let bench = bench();
        assert_eq!(bench.get("/livez").await, (200, "ok\n".into()));
        assert_eq!(bench.get("/readyz").await, (503, "no complete configuration yet\n".into()));
        bench.readiness.set_complete();
        assert_eq!(bench.get("/readyz").await, (200, "ok\n".into()));
        bench.readiness.set_leaving();
        assert_eq!(bench.get("/readyz").await, (503, "draining\n".into()));
        assert_eq!(bench.get("/livez").await.0, 200);
    }

    #[tokio::test]
    async fn the_log_filter_can_be_changed() {
        let bench = bench();
        assert_eq!(bench.get("/loglevel").await, (200, "info\n".into()));
        assert_eq!(bench.ask(Method::PUT, "/loglevel", "debug\n").await, (200, "debug\n".into()));
        assert_eq!(bench.ask(Method::PUT, "/loglevel", "nonsense").await, (400, "it is no filter\n".into()));
        assert_eq!(bench.ask(Method::PUT, "/loglevel", &"x".repeat(5_000)).await.0, 400);
        assert_eq!(bench.get("/loglevel").await, (200, "debug\n".into()));
    }

    #[tokio::test]
    async fn metrics_and_config_are_served_and_other_things_are_not() {
        let bench = bench();
        let (status, metrics) = bench.get("/metrics").await;
        assert_eq!(status, 200);
        assert!(metrics.contains("# TYPE tollgate_client_connections gauge"), "{metrics}");
        let (status, config) = bench.get("/config").await;
        assert_eq!(status, 200);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&config).unwrap()["units"], serde_json::json!([]));
        assert_eq!(bench.get("/config?unit=stage/x/y").await.0, 404);
        assert_eq!(bench.get("/").await.0, 404);
        assert_eq!(bench.ask(Method::POST, "/metrics", "").await.0, 405);
        let address = bench.admin.address();
        bench.admin.stop();
        assert!(TcpListener::bind(address).is_ok(), "the address is free");
    }
}
