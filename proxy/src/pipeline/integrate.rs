//! The call of the integration and its answer (H-FLOW-1, step 12).

use std::borrow::Cow;
use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Incoming};
use tollgate_engine::context::{Mapped, RouteFacts};
use tollgate_engine::deployment::{Destination, LambdaCall};
use tollgate_engine::forward::{self, Answered};
use tollgate_engine::lambda::result::Invocation;
use tollgate_engine::lambda::{self, FunctionResponse};
use tollgate_engine::mapping::RequestChange;
use tollgate_engine::reject::Reject;
use tollgate_engine::route::decoded_variables;
use tollgate_engine::snapshot::Credentials;

use super::aws;
use super::mapping::{self, Original};
use super::prepare::{Addresses, FunctionRequest, Kind, Prepared};
use super::{Stop, facts};
use crate::body::{ClientBody, Passed, UpstreamBody};
use crate::deadlines::Elapsed;
use crate::gateway::{self, Gateway, Tls};
use crate::metrics::Counter;
use crate::record::Record;
use crate::upstream::{ConnectError, DialTls, Lease, Linked, SendError};
use crate::worker::Worker;

/// What the integration answered.
pub(super) enum Reply {
    /// A response that is passed on as it comes.
    Stream { response: Response<Incoming>, lease: Lease, payload_bytes: u64 },
    /// A function's response.
    Whole { status: StatusCode, headers: HeaderMap, body: Bytes },
}

impl Reply {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Stream { response, .. } => response.status(),
            Self::Whole { status, .. } => *status,
        }
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        match self {
            Self::Stream { response, .. } => response.headers(),
            Self::Whole { headers, .. } => headers,
        }
    }

    pub(super) fn headers_mut(&mut self) -> &mut HeaderMap {
        match self {
            Self::Stream { response, .. } => response.headers_mut(),
            Self::Whole { headers, .. } => headers,
        }
    }
}

/// Calls the integration.
pub(super) async fn send(prepared: Prepared<'_>, worker: &Worker, record: &mut Record) -> Result<Reply, Stop> {
    let Prepared { timeout, addresses, tls, payload_bytes, mapping, kind } = prepared;
    let tls = tls.as_deref();
    let sent = Instant::now();
    let timeout = tokio::time::Instant::from_std(sent + timeout);
    let result = match kind {
        Kind::Http { request, passed } => {
            // Pinned here, so that it is not moved once more.
            let exchange = pin!(exchange(worker, &addresses, tls, request));
            let result = worker.deadlines.until(timeout, exchange).await;
            if let (Err(_), Addresses::Linked(linked)) = (&result, &addresses) {
                linked.timed_out();
            }
            note_latency(record, sent);
            record.request_bytes = passed.as_ref().map_or(0, |passed| passed.bytes.get());
            match flatten(result, worker, passed.as_deref(), record) {
                Ok((response, lease)) => stream(response, lease, payload_bytes, record),
                Err(reject) => Err(reject),
            }
        }
        Kind::Function { call, function } => {
            let invoked = worker
                .deadlines
                .until(timeout, Box::pin(invoke(worker, &addresses, tls, call, function, payload_bytes, record)));
            let result = invoked.await;
            if let (Err(_), Addresses::Linked(linked)) = (&result, &addresses) {
                linked.timed_out();
            }
            note_latency(record, sent);
            result.unwrap_or_else(|_| {
                worker.metrics.count(Counter::BackendTimeout);
                Err(Reject::IntegrationTimeout)
            })
        }
    };
    match (result, mapping) {
        (Ok(reply), Some(mapping)) => Ok(Box::pin(mapping::response(reply, mapping, timeout, record)).await?),
        (result, _) => result.map_err(Stop::from),
    }
}

fn note_latency(record: &mut Record, sent: Instant) {
    record.integration.get_or_insert_default().latency = Some(sent.elapsed());
}

/// Passes a backend's response on (H-HTTP-13).
fn stream(
    mut response: Response<Incoming>,
    lease: Lease,
    payload_bytes: u64,
    record: &mut Record,
) -> Result<Reply, Reject> {
    let status = response.status();
    let integration = record.integration.get_or_insert_default();
    integration.status = Some(status.as_u16());
    integration.call_status = Some(status.as_u16());
    let headers = response.headers_mut();
    let answered = Answered::of(headers);
    if answered.may_name_request() {
        integration.request_id = headers.get("x-amzn-requestid").or_else(|| headers.get("x-amz-request-id")).cloned();
        integration.request_id_2 = headers.get("x-amz-id-2").cloned();
    }
    // A response without a body may announce any length (HEAD, 304).
    let announced = response.body().size_hint();
    if announced.exact().is_none() && answered.is_coded(response.headers()) {
        integration.error = Some("the backend's response has a transfer coding beside chunked".into());
        return Err(Reject::IntegrationBadResponse);
    }
    if answered.has_two_lengths(response.headers()) {
        integration.error = Some("the backend's response says its length twice".into());
        return Err(Reject::IntegrationBadResponse);
    }
    if announced.lower() > payload_bytes {
        integration.error = Some("the backend's response is over the payload limit".into());
        return Err(Reject::IntegrationBadResponse);
    }
    if status == StatusCode::SWITCHING_PROTOCOLS {
        // No upgrade was asked for (H-ROUTE-33).
        integration.error = Some("the backend switched protocols unasked".into());
        return Err(Reject::IntegrationBadResponse);
    }
    answered.strip(response.headers_mut());
    Ok(Reply::Stream { response, lease, payload_bytes })
}

pub(super) type Exchanged = Result<(Response<Incoming>, Lease), SendError>;

/// One request and the head of its response.
pub(super) async fn exchange(
    worker: &Worker,
    addresses: &Addresses<'_>,
    tls: Option<&Tls>,
    request: Box<Request<UpstreamBody>>,
) -> Exchanged {
    let resolved;
    let addresses: &[SocketAddr] = match addresses {
        Addresses::Known(known) => known,
        Addresses::Name { host, port } => {
            let resolving = Box::pin(worker.upstreams.connector().resolve(host, *port));
            resolved = resolving.await.map_err(SendError::Connect)?;
            &resolved
        }
        // Few requests go through links; the others should not carry the room that it takes.
        Addresses::Linked(linked) => return Box::pin(worker.upstreams.send_linked(linked, tls, request)).await,
        Addresses::NotLinked => return Err(SendError::NotLinked),
    };
    worker.upstreams.send(addresses, tls.map(DialTls::of), request).await
}

/// Where a destination is now, and how to speak to it.
pub(super) struct Way<'s> {
    pub(super) addresses: Addresses<'s>,
    pub(super) tls: Option<&'s Tls>,
    /// By what the service's port says.
    pub(super) http2: bool,
}

/// Where a destination is now, and how to speak to it. `source` and `headers` are the client's; links may choose by them.
pub(super) fn addresses<'s>(
    gateway: &Gateway,
    destination: &'s Destination,
    target: &'s gateway::Target,
    (source, headers): (IpAddr, &HeaderMap),
) -> Way<'s> {
    match (destination, target) {
        (Destination::Service { .. }, gateway::Target::Service { service, tls }) => {
            let known = gateway.services.get(&service.0);
            let http2 = known.is_some_and(|service| service.http2);
            let addresses = known.map_or_else(|| Arc::from([]), |service| Arc::clone(&service.addresses));
            Way { addresses: Addresses::Known(addresses), tls: tls.as_ref(), http2 }
        }
        (Destination::Service { .. }, gateway::Target::Linked { link, tls }) => {
            let balancer = gateway.links.get(&link.0);
            let http2 = balancer.is_some_and(|balancer| balancer.http2);
            let linked = balancer.map(|balancer| Box::new(Linked::new(balancer, source, headers)));
            let addresses = linked.map_or(Addresses::NotLinked, Addresses::Linked);
            Way { addresses, tls: tls.as_ref(), http2 }
        }
        (Destination::Origin { host, port, .. }, gateway::Target::Origin { tls }) => {
            let addresses = Addresses::Name { host: Cow::Borrowed(host), port: *port };
            Way { addresses, tls: tls.as_ref(), http2: false }
        }
        _ => unreachable!("targets are made from the calls' destinations, one for one"),
    }
}

/// What the client hears of a call that did not end in a response.
fn flatten(
    result: Result<Exchanged, Elapsed>,
    worker: &Worker,
    passed: Option<&Passed>,
    record: &mut Record,
) -> Result<(Response<Incoming>, Lease), Reject> {
    let error = match result {
        Ok(Ok(exchanged)) => return Ok(exchanged),
        Ok(Err(error)) => error,
        Err(_) => {
            worker.metrics.count(Counter::BackendTimeout);
            return Err(Reject::IntegrationTimeout);
        }
    };
    if passed.is_some_and(|passed| passed.too_large.get()) {
        return Err(Reject::PayloadTooLarge);
    }
    if passed.is_some_and(|passed| passed.broken.get()) {
        // The client itself broke off; nobody will read the answer.
        return Err(Reject::BadRequest);
    }
    record.integration.get_or_insert_default().error = Some(describe(&error).into());
    Err(match error {
        SendError::NoEndpoint | SendError::NotLinked | SendError::Full | SendError::Broken(_) => {
            Reject::IntegrationUnreachable
        }
        SendError::NotHttp(_) => Reject::IntegrationBadResponse,
        SendError::Connect(error) => match error.root() {
            ConnectError::Tls { .. } | ConnectError::ServerName(_) => Reject::IntegrationTlsFailure,
            _ => Reject::IntegrationUnreachable,
        },
    })
}

/// The error with its causes, for `$context.integration.error`.
pub(super) fn describe(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}

/// Invokes a function and reads its result (sections 3.2 to 3.4).
async fn invoke(
    worker: &Worker,
    addresses: &Addresses<'_>,
    tls: Option<&Tls>,
    call: &LambdaCall,
    function: Box<FunctionRequest<'_>>,
    payload_bytes: u64,
    record: &mut Record,
) -> Result<Reply, Reject> {
    let FunctionRequest { mut head, body, trace, route, path, mapping, keys } = *function;
    let body = collect(body, payload_bytes).await?;
    record.request_bytes = body.len() as u64;
    let original = Original {
        headers: &head.headers,
        path: path.without_stage(&head.uri),
        query: head.uri.query(),
        template: route.key.path(),
        body: Some(&body),
    };
    let change = mapping::request(mapping, &original, record)?;
    if let Some(change) = &change {
        // First, since the event leaves out what `Connection` names.
        forward::strip_connection(&mut head.headers);
        change.apply_to_headers(&mut head.headers);
    }
    let query = change.as_ref().and_then(|change| change.query(head.uri.query()));
    let parameters =
        route.key.path().map(|key| decoded_variables(key, path.without_stage(&head.uri))).unwrap_or_default();
    let route = RouteFacts { key: &route.key_text, parameters: &parameters };
    let mut facts = facts::of(worker, record, &head, path, &trace, route);
    facts.query = query.as_deref().or(facts.query);
    facts.mapped = Mapped {
        path: change.as_ref().and_then(RequestChange::path),
        host: change.as_ref().and_then(RequestChange::host).and_then(|host| host.to_str().ok()),
    };
    let mut event = Vec::new();
    lambda::write_event(call.version, &facts, &body, &mut event)?;
    let request = invocation(call, event, keys.as_deref(), record.received_ms / 1000);
    let exchanged = exchange(worker, addresses, tls, request).await;
    let (response, lease) = flatten(Ok(exchanged), worker, None, record)?;
    let (head, incoming) = response.into_parts();
    let payload = Limited::new(incoming, lambda::MAX_PAYLOAD_BYTES).collect().await;
    let payload = payload.map_err(|_| Reject::BadFunctionResponse)?.to_bytes();
    lease.give_back();
    let status = head.status.as_u16();
    let integration = record.integration.get_or_insert_default();
    integration.call_status = Some(status);
    integration.request_id = head.headers.get("x-amzn-requestid").cloned();
    integration.result_bytes = Some(payload.len() as u64);
    match lambda::result::parse(call.version, Invocation::of(status, &head.headers, payload)) {
        Ok(FunctionResponse { status, headers, body }) => {
            integration.status = Some(status);
            let status = StatusCode::from_u16(status).map_err(|_| Reject::BadFunctionResponse)?;
            Ok(Reply::Whole { status, headers, body })
        }
        Err(failure) => {
            integration.status = failure.integration_status;
            integration.error = Some(failure.message.into());
            Err(failure.reject)
        }
    }
}

/// The invocation of a function with its event; of a function of the Lambda service signed with `keys`, at `seconds` since 1970.
pub(super) fn invocation(
    call: &LambdaCall,
    event: Vec<u8>,
    keys: Option<&Credentials>,
    seconds: u64,
) -> Box<Request<UpstreamBody>> {
    let event = Bytes::from(event);
    let length = event.len();
    let mut request = Request::new(UpstreamBody::Full(Some(event.clone())));
    *request.method_mut() = Method::POST;
    *request.version_mut() = Version::HTTP_11;
    *request.uri_mut() = call.path.clone().into();
    let host = match &call.destination {
        Destination::Origin { authority, .. } => authority.clone(),
        Destination::Service { service, .. } => {
            HeaderValue::from_str(&format!("{}.{}:{}", service.name, service.namespace, service.port))
                .unwrap_or(HeaderValue::from_static("function"))
        }
    };
    let headers = request.headers_mut();
    headers.insert(HOST, host);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let (Some(signing), Some(keys)) = (&call.signing, keys) {
        aws::sign_invocation(headers, call.path.as_str(), &event, keys, &signing.region, seconds);
    }
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    Box::new(request)
}

/// The whole body of a request, within the API's limit.
pub(super) async fn collect(body: ClientBody, limit: u64) -> Result<Bytes, Reject> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(Reject::PayloadTooLarge),
        Err(_) => Err(Reject::BadRequest),
    }
}
