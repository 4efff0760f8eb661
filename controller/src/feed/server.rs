//! Serves the feed: `GET /v1/feed?fleet=…&proxy=…` streams lines, `POST /v1/reports` takes what proxies say.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tollgate_engine::snapshot::{Line, Report};
use tracing::{Instrument, debug, info, info_span};

use super::auth::{Gate, Refusal, Review};
use super::hub::{Difference, Hub, encode};
use super::{Fleet, parse_fleet};
use crate::metrics::FeedMetrics;
use crate::shared::Fleets;

/// Open connections; a fleet has one for each proxy, and some more while it is replaced.
const MAX_CONNECTIONS: usize = 4096;
/// A full report of a proxy that holds 50,000 units.
const MAX_REPORT: usize = 16 * 1024 * 1024;
/// The stream is known to be alive by a line at least this often.
const PING_AFTER: Duration = Duration::from_secs(10);
/// Time for a handshake, and for a report's body.
const PATIENCE: Duration = Duration::from_secs(10);
/// A peer that does not answer HTTP/2 pings within this time is gone, and what was held for it is freed.
const DEAD_AFTER: Duration = Duration::from_secs(20);
/// On a graceful stop, time for streams to end at a line's border before connections are cut.
const DRAIN: Duration = Duration::from_secs(5);

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What the handlers share.
#[derive(Debug)]
pub struct Feed<R> {
    /// The content.
    pub hub: Arc<Hub>,
    /// Who may read it.
    pub gate: Gate<R>,
    /// Where reports go.
    pub fleets: Arc<Fleets>,
    /// True once the first complete set is in the hub.
    pub published: Arc<AtomicBool>,
    /// Counters.
    pub metrics: FeedMetrics,
    /// True when the program stops.
    pub stop: watch::Receiver<bool>,
}

/// Accepts connections until the program stops, then lets streams end and returns.
pub async fn serve<R: Review>(listener: TcpListener, tls: ServerConfig, feed: Arc<Feed<R>>) {
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut stop = feed.stop.clone();
    loop {
        // The place is taken before accepting: what is over the bound waits in the kernel's backlog.
        let place = Arc::clone(&places).acquire_owned().await.expect("the semaphore is never closed");
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stopped| *stopped) => break,
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, or the peer has gone: neither is helped by trying at once.
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (acceptor, feed) = (acceptor.clone(), Arc::clone(&feed));
        let connection = async move {
            if let Err(error) = connection(socket, acceptor, feed).await {
                debug!(%error, "feed connection ended");
            }
            drop(place);
        };
        tokio::spawn(connection.instrument(info_span!("feed", client.addr = %peer)));
    }
    drop(listener);
    let all = u32::try_from(MAX_CONNECTIONS).expect("the bound is small");
    // One place is ours no more only when its connection has ended; so this waits for all of them.
    let _ = tokio::time::timeout(DRAIN, places.acquire_many(all)).await;
}

async fn connection<R: Review>(
    socket: TcpStream,
    acceptor: TlsAcceptor,
    feed: Arc<Feed<R>>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    socket.set_nodelay(true)?;
    let tls = tokio::time::timeout(PATIENCE, acceptor.accept(socket)).await??;
    let mut stop = feed.stop.clone();
    let service = service_fn(move |request| {
        let feed = Arc::clone(&feed);
        async move { Ok::<_, Infallible>(feed.answer(request).await) }
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(16)
        .max_header_list_size(32 * 1024)
        .keep_alive_interval(Some(PING_AFTER))
        .keep_alive_timeout(DEAD_AFTER)
        .serve_connection(TokioIo::new(tls), service);
    tokio::pin!(connection);
    tokio::select! {
        result = connection.as_mut() => return Ok(result?),
        _ = stop.wait_for(|stopped| *stopped) => connection.as_mut().graceful_shutdown(),
    }
    Ok(connection.await?)
}

impl<R: Review> Feed<R> {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/v1/feed") => self.stream(request).await,
            (&Method::POST, "/v1/reports") => self.take_report(request).await,
            (_, "/v1/feed" | "/v1/reports") => {
                text(StatusCode::METHOD_NOT_ALLOWED, "use GET for /v1/feed, POST for /v1/reports")
            }
            _ => text(StatusCode::NOT_FOUND, "there are /v1/feed and /v1/reports"),
        }
    }

    async fn stream(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let query = request.uri().query().unwrap_or_default();
        let Some(fleet) = parameter(query, "fleet").and_then(parse_fleet) else {
            return text(StatusCode::BAD_REQUEST, "the parameter fleet must be public or private");
        };
        let Some(proxy) = parameter(query, "proxy").filter(|name| is_name(name)) else {
            return text(StatusCode::BAD_REQUEST, "the parameter proxy must name the proxy");
        };
        if let Err(refusal) = self.gate.admit(request.headers(), fleet, proxy, Instant::now()).await {
            return self.refuse(refusal);
        }
        if !self.published.load(Ordering::Acquire) {
            return text(StatusCode::SERVICE_UNAVAILABLE, "nothing is published yet");
        }
        info!(proxy, fleet = fleet.as_str(), "subscribed");
        let counted = self.metrics.subscribed(fleet);
        let lines = lines(Arc::clone(&self.hub), fleet, self.stop.clone()).map(move |chunk| {
            let _ = &counted; // ends with the stream
            Ok(Frame::data(chunk))
        });
        Response::builder()
            .header(header::CONTENT_TYPE, "application/x-ndjson")
            .header(header::CACHE_CONTROL, "no-store")
            .body(StreamBody::new(lines).boxed_unsync())
            .expect("the parts are valid")
    }

    async fn take_report(&self, request: Request<Incoming>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        // Somebody without a token makes us read nothing.
        let body = Limited::new(body, MAX_REPORT);
        if !parts.headers.contains_key(header::AUTHORIZATION) {
            return self.refuse(Refusal::NoToken);
        }
        let body = match tokio::time::timeout(PATIENCE, body.collect()).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                return text(StatusCode::PAYLOAD_TOO_LARGE, "a report has at most 16 MiB");
            }
            Ok(Err(_)) => return text(StatusCode::BAD_REQUEST, "the body ended early"),
            Err(_) => return text(StatusCode::REQUEST_TIMEOUT, "the body took too long"),
        };
        let report: Report = match serde_json::from_slice(&body) {
            Ok(report) => report,
            Err(error) => return text(StatusCode::BAD_REQUEST, &format!("not a report: {error}")),
        };
        let Some(fleet) = parse_fleet(&report.fleet) else {
            return text(StatusCode::BAD_REQUEST, "the fleet must be public or private");
        };
        if !is_name(&report.proxy) || report.session.len() > 128 {
            return text(StatusCode::BAD_REQUEST, "proxy and session must be names");
        }
        let now = Instant::now();
        if let Err(refusal) = self.gate.admit(&parts.headers, fleet, &report.proxy, now).await {
            return self.refuse(refusal);
        }
        self.metrics.reports.inc();
        let answer = self.fleets.report(fleet, report, now);
        let json = serde_json::to_vec(&answer).expect("the answer is plain data");
        Response::builder()
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(json.into()).boxed_unsync())
            .expect("the parts are valid")
    }

    fn refuse(&self, refusal: Refusal) -> Response<Body> {
        self.metrics.refused.inc();
        let status = match refusal {
            Refusal::NoToken | Refusal::BadToken => StatusCode::UNAUTHORIZED,
            Refusal::NotAllowed | Refusal::NotYours => StatusCode::FORBIDDEN,
            Refusal::CannotCheck => StatusCode::SERVICE_UNAVAILABLE,
        };
        text(status, &refusal.to_string())
    }
}

/// The stream of one subscriber: the complete set, then differences, pings when there are none, and the end when the program
/// stops or the subscriber is too far behind.
pub fn lines(hub: Arc<Hub>, fleet: Fleet, stop: watch::Receiver<bool>) -> impl Stream<Item = Bytes> + Send + 'static {
    let revisions = hub.watch(fleet);
    stream::unfold(
        Subscriber { hub, fleet, revisions, stop, seen: None, pending: Vec::new().into_iter() },
        |mut one| async move {
            let chunk = one.next().await?;
            Some((chunk, one))
        },
    )
}

struct Subscriber {
    hub: Arc<Hub>,
    fleet: Fleet,
    revisions: watch::Receiver<u64>,
    stop: watch::Receiver<bool>,
    /// The revision that `pending` leads to.
    seen: Option<u64>,
    pending: std::vec::IntoIter<Bytes>,
}

impl Subscriber {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(chunk) = self.pending.next() {
                return Some(chunk);
            }
            // Only here, between batches: a stream never ends within one.
            if *self.stop.borrow() {
                return None;
            }
            self.revisions.mark_unchanged();
            let Some(seen) = self.seen else {
                let (chunks, revision) = self.hub.complete(self.fleet);
                self.seen = Some(revision);
                self.pending = chunks.into_iter();
                continue;
            };
            match self.hub.since(self.fleet, seen) {
                Difference::Chunks(chunks, revision) => {
                    self.seen = Some(revision);
                    self.pending = chunks.into_iter();
                }
                Difference::TooOld => {
                    info!("subscriber is too slow and has to start again");
                    return None;
                }
                Difference::Nothing => {
                    tokio::select! {
                        changed = self.revisions.changed() => changed.ok()?,
                        _ = self.stop.wait_for(|stopped| *stopped) => return None,
                        () = tokio::time::sleep(PING_AFTER) => return Some(encode(&Line::Ping)),
                    }
                }
            }
        }
    }
}

fn text(status: StatusCode, message: &str) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from(format!("{message}\n"))).boxed_unsync());
    *response.status_mut() = status;
    response
}

/// A query parameter that needs no decoding; names of proxies and fleets never do.
fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// As names of pods are.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= 253 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
}
