//! Parameter mapping at work (H-FLOW-1, steps 11 and 13). Routes without mappings come here only to be told so.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Body;
use tokio::time::Instant;
use tollgate_engine::deployment::{Backend, Call, Target};
use tollgate_engine::forward;
use tollgate_engine::mapping::{self, Mapping, RequestChange};
use tollgate_engine::reject::Reject;
use tollgate_engine::route::PathTemplate;

use super::admit::Matched;
use super::integrate::{Reply, collect};
use super::{Arrived, Stop};
use crate::record::Record;

/// Whether a mapping of the route reads the request's body.
pub(super) fn needs_body(matched: &Matched<'_>) -> bool {
    let Target::Integration(number) = matched.route().target else { return false };
    let Ok(Call { mapping, backend, .. }) = &matched.served.stage.calls[number] else { return false };
    mapping.as_ref().is_some_and(|mapping| mapping.needs_request_body())
        || matches!(backend, Backend::Aws(aws) if aws.needs_body())
}

/// Reads the whole body, which then goes on in one piece.
pub(super) async fn buffer(matched: &Matched<'_>, arrived: &mut Arrived) -> Result<(), Stop> {
    let limit = matched.deployment.payload_bytes;
    let announced = arrived.body.size_hint();
    if announced.lower() > limit {
        return Err(Reject::PayloadTooLarge.into());
    }
    if announced.exact().is_none() && forward::is_coded(&arrived.head.headers) {
        return Err(Reject::BadRequest.into());
    }
    let whole = collect(arrived.body.take(), limit).await?;
    arrived.body.set_whole(whole);
    Ok(())
}

/// What of a request is mapped, as it came.
#[derive(Debug)]
pub(super) struct Original<'a> {
    pub(super) headers: &'a HeaderMap,
    pub(super) path: &'a str,
    pub(super) query: Option<&'a str>,
    pub(super) template: Option<&'a PathTemplate>,
    pub(super) body: Option<&'a [u8]>,
}

/// What the route's mapping makes of a request; `None` when it maps none.
pub(super) fn request(
    mapping: Option<&Mapping>,
    original: &Original<'_>,
    record: &Record,
) -> Result<Option<RequestChange>, Reject> {
    let Some(mapping) = mapping.and_then(|mapping| mapping.request.as_ref()) else { return Ok(None) };
    let &Original { headers, path, query, template, body } = original;
    let change = record
        .with_facts(|facts| mapping.resolve(&mapping::Request { facts, headers, path, query, template, body }.into()));
    change.map(Some)
}

/// What the route's mapping makes of a response (H-MAP-23).
pub(super) async fn response(
    reply: Reply,
    mapping: &Mapping,
    timeout: Instant,
    record: &Record,
) -> Result<Reply, Reject> {
    let Some(mapping) = mapping.response(reply.status().as_u16()) else { return Ok(reply) };
    let mut reply = if mapping.needs_body() {
        tokio::time::timeout_at(timeout, whole(reply)).await.map_err(|_| Reject::IntegrationTimeout)??
    } else {
        reply
    };
    let body = match &reply {
        Reply::Stream { .. } => None,
        Reply::Whole { body, .. } => Some(body.clone()),
    };
    let headers = reply.headers();
    let body = body.as_deref();
    let change = record.with_facts(|facts| mapping.resolve(&mapping::Response { facts, headers, body }.into()))?;
    change.apply_to_headers(reply.headers_mut());
    match change.status().and_then(|status| StatusCode::from_u16(status).ok()) {
        Some(status) => Ok(with_status(reply, status)),
        None => Ok(reply),
    }
}

/// Reads the whole body of a response. One that has none stays as it is: its `Content-Length` may be that of another answer (HEAD).
async fn whole(reply: Reply) -> Result<Reply, Reject> {
    let Reply::Stream { response, lease, payload_bytes } = reply else { return Ok(reply) };
    if response.body().is_end_stream() {
        return Ok(Reply::Stream { response, lease, payload_bytes });
    }
    let (head, incoming) = response.into_parts();
    let limit = usize::try_from(payload_bytes).unwrap_or(usize::MAX);
    let body = Limited::new(incoming, limit).collect().await.map_err(|_| Reject::IntegrationBadResponse)?.to_bytes();
    lease.give_back();
    Ok(Reply::Whole { status: head.status, headers: head.headers, body })
}

/// Another status; where one of the two allows no body, the headers of bodies follow (RFC 9110 section 6.4.1).
fn with_status(mut reply: Reply, status: StatusCode) -> Reply {
    let (had_none, has_none) = (is_bare(reply.status()), is_bare(status));
    if had_none != has_none {
        reply.headers_mut().remove(CONTENT_LENGTH);
    }
    if has_none && !had_none {
        let mut headers = std::mem::take(reply.headers_mut());
        headers.remove(CONTENT_TYPE);
        return Reply::Whole { status, headers, body: Bytes::new() };
    }
    match &mut reply {
        Reply::Stream { response, .. } => *response.status_mut() = status,
        Reply::Whole { status: known, .. } => *known = status,
    }
    reply
}

fn is_bare(status: StatusCode) -> bool {
    matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}
