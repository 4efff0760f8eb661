//! Which API and stage a request is for (H-FLOW-1, steps 2 to 5).

use std::net::IpAddr;
use std::rc::Rc;

use http::header::CONTENT_LENGTH;
use http::uri::Uri;
use http::{HeaderMap, HeaderValue, Version};
use tollgate_engine::deployment::HEAD_BYTES;
use tollgate_engine::forward::Asked;
use tollgate_engine::reject::Reject;
use tollgate_engine::route::{PathShape, inspect_path};
use tollgate_engine::trace::AmznTrace;

use super::{Arrived, domain};
use crate::client_io::Connection;
use crate::gateway::{self, Gateway};
use crate::metrics::Counter;
use crate::record::Record;
use crate::spans::SpanContext;
use crate::view::StageView;
use crate::worker::Worker;

/// A request whose stage is known.
pub(super) struct Located {
    pub(super) view: Rc<StageView>,
    pub(super) record: Box<Record>,
    pub(super) path: StagePath,
    /// What stands in the place of the client's request target: on custom domains the mapping key goes and the stage comes (H-EV2-6).
    pub(super) target: Option<Box<Uri>>,
    pub(super) heard: Heard,
}

/// Which of the headers that few requests have this one has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    /// `Connection`.
    pub(super) connection: bool,
    /// `X-Amzn-Trace-Id`.
    pub(super) trace: bool,
}

/// Parts of the client path, as offsets into it.
#[derive(Clone, Copy, Debug)]
pub(super) struct StagePath {
    /// Where the path with the stage segment begins: behind `/_aws/execute-api/{apiId}`.
    with_stage: usize,
    /// Where the path without it begins. An empty rest stands for `/`.
    without_stage: usize,
    pub(super) shape: PathShape,
}

impl StagePath {
    /// The path that backends and events see (H-EV2-4).
    pub(super) fn with_stage(self, uri: &Uri) -> &str {
        or_root(&uri.path()[self.with_stage..])
    }

    /// The path that routes are matched with.
    pub(super) fn without_stage(self, uri: &Uri) -> &str {
        or_root(&uri.path()[self.without_stage..])
    }

    /// Whether backends get the request target as the client sent it.
    pub(super) fn is_as_received(self) -> bool {
        self.with_stage == 0
    }
}

fn or_root(path: &str) -> &str {
    if path.is_empty() { "/" } else { path }
}

/// Finds the stage.
///
/// # Errors
/// The request belongs to no stage: nothing is logged (H-LOG-6).
pub(super) fn stage(
    worker: &Rc<Worker>,
    gateway: &Gateway,
    connection: &Connection,
    arrived: &Arrived,
) -> Result<Located, Reject> {
    let head = &arrived.head;
    worker.metrics.count(if head.version == Version::HTTP_2 { Counter::RequestHttp2 } else { Counter::RequestHttp1 });
    let asked = Asked::of(&head.headers);
    let host = host(head, &asked).ok_or(Reject::BadRequest)?;
    if has_two_lengths(head) {
        return Err(Reject::BadRequest);
    }
    let host_text = host.to_str().map_err(|_| Reject::BadRequest)?;
    let path = head.uri.path();
    let shape = inspect_path(path).map_err(|_| Reject::BadRequest)?;
    if head_size(head, &asked) > HEAD_BYTES {
        return Err(Reject::HeaderFieldsTooLarge);
    }
    let mut on_domain = None;
    let mut target = None;
    let (served, path) = match gateway.locate(host_text, path).ok_or(Reject::UnknownHost)? {
        gateway::Located::Api { api, start: with_stage } => {
            let (served, named) = api.stage(&path[with_stage..]).ok_or(Reject::NotFound)?;
            if served.stage.deployment.as_ref().is_some_and(|deployment| deployment.disable_execute_api_endpoint) {
                return Err(Reject::EndpointDisabled);
            }
            (served, StagePath { with_stage, without_stage: with_stage + named, shape })
        }
        gateway::Located::Domain(domain) => {
            let found = domain::stage(domain, connection, head)?;
            // Cutting a key off inside a segment can leave another path than was looked at: `/orders../x`.
            let shape = match &found.target {
                Some(target) => inspect_path(target.path()).map_err(|_| Reject::BadRequest)?,
                None => shape,
            };
            on_domain = Some(found.facts);
            target = found.target;
            (found.served, StagePath { with_stage: 0, without_stage: found.stage_segment, shape })
        }
    };
    let view = worker.views.get(served).ok_or(Reject::ServiceUnavailable)?;
    let record = Box::new(Record {
        worker: Rc::clone(worker),
        view: Rc::clone(&view),
        request_id: arrived.request_id,
        started: arrived.started,
        received_ms: arrived.received_ms,
        method: head.method.clone(),
        uri: head.uri.clone(),
        version: head.version,
        source_ip: source_ip(worker, connection, &head.headers),
        domain: on_domain,
        host,
        user_agent: asked.user_agent.cloned(),
        route: None,
        caller: None,
        authorizer_error: None,
        api_key_id: None,
        rate_limit: None,
        reject: None,
        status: 0,
        integration: None,
        request_bytes: 0,
        span: span(worker, arrived),
    });
    let heard = Heard { connection: asked.connection, trace: asked.trace };
    Ok(Located { view, record, path, target, heard })
}

impl Heard {
    /// Nobody has looked.
    pub(super) const ANYTHING: Self = Self { connection: true, trace: true };
}

/// The span of this request, if it is sampled. Its trace is that of `X-Amzn-Trace-Id`.
fn span(worker: &Worker, arrived: &Arrived) -> Option<SpanContext> {
    if !worker.spans.is_on() {
        return None;
    }
    let headers = &arrived.head.headers;
    let (_, trace_id) = AmznTrace::of(headers, arrived.received_ms / 1000, arrived.trace_random);
    worker.spans.begin(headers, trace_id, worker.random())
}

/// The one host that the request names. `:authority` or an absolute target go before the `Host` line (RFC 9112 section 3.2.2, RFC 9113
/// section 8.3.1), but some look at the line all the same, so the two must agree; and there is at most one line.
fn host(head: &http::request::Parts, asked: &Asked<'_>) -> Option<HeaderValue> {
    if asked.hosts > 1 {
        return None;
    }
    let line = asked.host;
    let Some(authority) = head.uri.authority() else { return line.cloned() };
    let agreed = match line {
        Some(line) => line.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()),
        // HTTP/1.1 demands the line in any case (RFC 9112 section 3.2).
        None => head.version != Version::HTTP_11,
    };
    let known = head.version == Version::HTTP_2 || matches!(head.uri.scheme_str(), Some("http" | "https"));
    if !agreed || !known || authority.as_str().contains('@') {
        return None;
    }
    HeaderValue::from_str(authority.as_str()).ok()
}

/// HTTP/2 lets a length be said twice, and HTTP/1 would pass that on.
fn has_two_lengths(head: &http::request::Parts) -> bool {
    head.version == Version::HTTP_2 && head.headers.get_all(CONTENT_LENGTH).iter().nth(1).is_some()
}

/// Bytes of the request line and of all header names and values (H-SIZE-1).
fn head_size(head: &http::request::Parts, asked: &Asked<'_>) -> usize {
    let target = head.uri.path_and_query().map_or(1, |target| target.as_str().len());
    let line = head.method.as_str().len() + target + " HTTP/1.1".len() + 1;
    line + asked.bytes
}

/// The TCP peer, or, behind trusted proxies, the entry of `X-Forwarded-For` that the outermost of them wrote (H-EV2-18).
fn source_ip(worker: &Worker, connection: &Connection, headers: &HeaderMap) -> IpAddr {
    let peer = connection.client_ip();
    let hops = usize::from(worker.settings.trusted_hops);
    if hops == 0 {
        return peer;
    }
    let entries = headers.get_all("x-forwarded-for");
    let entries: Vec<&str> =
        entries.iter().filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(',')).collect();
    let entry = entries.len().checked_sub(hops).and_then(|index| entries.get(index));
    entry.and_then(|entry| entry.trim().parse().ok()).unwrap_or(peer)
}
