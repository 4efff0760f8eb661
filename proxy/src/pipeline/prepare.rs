//! From an accepted request to the call of its integration (H-FLOW-1, steps 10 to 12).

use std::borrow::Cow;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Request, Uri, Version};
use hyper::body::Body;
use tollgate_engine::deployment::{Backend, Call, Destination, HttpCall, LambdaCall, OutgoingPath, Route, Target};
use tollgate_engine::forward::{self, Onward};
use tollgate_engine::grpc;
use tollgate_engine::mapping::Mapping;
use tollgate_engine::reject::Reject;
use tollgate_engine::snapshot::{BackendProtocol, Credentials};
use tollgate_engine::trace::{AmznTrace, TRACEPARENT, TRACESTATE};

use super::admit::{Authorized, Matched};
use super::integrate::Way;
use super::mapping::{self, Original};
use super::{Arrived, Stop, aws, integrate};
use crate::body::{ClientBody, Passed, UpstreamBody};
use crate::client_io::Connection;
use crate::gateway::{Gateway, Tls};
use crate::record::Record;
use crate::upstream::Linked;

/// Everything a call needs; nothing of the request is left unchecked.
pub(super) struct Prepared<'s> {
    pub(super) timeout: Duration,
    pub(super) addresses: Addresses<'s>,
    pub(super) tls: Option<Cow<'s, Tls>>,
    pub(super) payload_bytes: u64,
    pub(super) mapping: Option<&'s Mapping>,
    pub(super) kind: Kind<'s>,
}

/// How the backend is called.
pub(super) enum Kind<'s> {
    /// The request passes through.
    Http { request: Box<Request<UpstreamBody>>, passed: Option<Rc<Passed>> },
    /// The request becomes an event.
    Function { call: &'s LambdaCall, function: Box<FunctionRequest<'s>> },
}

/// What an event is made of, once the body is here.
pub(super) struct FunctionRequest<'s> {
    pub(super) head: http::request::Parts,
    pub(super) body: ClientBody,
    pub(super) trace: HeaderValue,
    pub(super) route: &'s Route,
    pub(super) path: super::locate::StagePath,
    pub(super) mapping: Option<&'s Mapping>,
    /// For functions of the Lambda service.
    pub(super) keys: Option<Arc<Credentials>>,
}

/// Where the backend is.
pub(super) enum Addresses<'s> {
    /// Ready endpoints of a service.
    Known(Arc<[SocketAddr]>),
    /// A name, still to be resolved.
    Name { host: Cow<'s, str>, port: u16 },
    /// Endpoints behind a link, which chooses among them.
    Linked(Box<Linked>),
    /// No link opens the service to the API.
    NotLinked,
}

/// Prepares the call.
///
/// # Errors
/// The route has nothing to call, the body is announced as too large or is coded, or a stage variable is missing.
pub(super) fn call<'s>(
    caller: Authorized<'s>,
    gateway: &Gateway,
    connection: &Connection,
    arrived: Box<Arrived>,
    record: &mut Record,
) -> Result<Prepared<'s>, Stop> {
    let Authorized { matched } = caller;
    let number = match matched.route().target {
        Target::Integration(number) => number,
        Target::Reject(reject) => return Err(reject.into()),
    };
    let payload_bytes = matched.deployment.payload_bytes;
    let announced = arrived.body.size_hint();
    if announced.lower() > payload_bytes {
        return Err(Reject::PayloadTooLarge.into());
    }
    if announced.exact().is_none() && forward::is_coded(&arrived.head.headers) {
        return Err(Reject::BadRequest.into());
    }
    let Call { timeout, backend, mapping } = matched.served.stage.calls[number].as_ref().map_err(|reject| *reject)?;
    record.integration = Some(crate::record::Integration::default());
    let mapping = mapping.as_deref();
    let target = &matched.served.targets[number];
    let (seconds, random) = (arrived.received_ms / 1000, arrived.trace_random);
    let trace = match arrived.heard.trace {
        true => AmznTrace::of(&arrived.head.headers, seconds, random).0,
        false => AmznTrace::made(seconds, random),
    };
    let trace = trace.header_value();
    let mut timeout = (*timeout).max(Duration::from_millis(1));
    let destination = match backend {
        Backend::Http(http) => &http.destination,
        Backend::Lambda(lambda) => &lambda.destination,
        Backend::Aws(call) => {
            let aws::Ready { request, addresses, tls } = aws::call(&matched, call, target, gateway, &arrived, record)?;
            let kind = Kind::Http { request: Box::new(request), passed: None };
            return Ok(Prepared { timeout, addresses, tls, payload_bytes, mapping, kind });
        }
    };
    let client = (record.source_ip, &arrived.head.headers);
    let Way { addresses, tls, http2 } = integrate::addresses(gateway, destination, target, client);
    let kind = match backend {
        Backend::Http(http) => {
            let toward = Toward { call: http, http2: speaks_http2(http, http2) };
            if toward.http2 && arrived.grpc_call {
                timeout = shortened(timeout, &arrived.head.headers);
            }
            let (request, passed) = outgoing(&matched, &toward, mapping, connection, arrived, record, &trace)?;
            Kind::Http { request, passed }
        }
        Backend::Lambda(lambda) => {
            let route = matched.route();
            let Arrived { head, body, .. } = *arrived;
            let api_id = &matched.served.stage.api.api_id;
            let signing = lambda.signing.as_ref();
            let keys = signing.map(|signing| aws::credentials(gateway, api_id, &signing.credentials, record));
            let keys = keys.transpose()?;
            let function = FunctionRequest { head, body, trace, route, path: matched.path, mapping, keys };
            Kind::Function { call: lambda, function: Box::new(function) }
        }
        Backend::Aws(_) => unreachable!("prepared above"),
    };
    let tls = tls.map(Cow::Borrowed);
    Ok(Prepared { timeout, addresses, tls, payload_bytes, mapping, kind })
}

/// A backend that requests pass through to.
struct Toward<'s> {
    call: &'s HttpCall,
    http2: bool,
}

/// What the integration says goes before what the service's port says.
fn speaks_http2(call: &HttpCall, by_service: bool) -> bool {
    match call.protocol {
        Some(BackendProtocol::Http1) => false,
        Some(BackendProtocol::Http2) => true,
        Some(BackendProtocol::Unknown) | None => by_service,
    }
}

/// A caller's deadline shortens the timeout.
#[cold]
fn shortened(timeout: Duration, headers: &HeaderMap) -> Duration {
    let deadline = grpc::timeout(headers).unwrap_or(timeout);
    timeout.min(deadline).max(Duration::from_millis(1))
}

/// A request and what is seen of its body.
type Outgoing = (Box<Request<UpstreamBody>>, Option<Rc<Passed>>);

/// The request that a backend gets in place of the client's.
fn outgoing(
    matched: &Matched<'_>,
    &Toward { call, http2 }: &Toward<'_>,
    mapping: Option<&Mapping>,
    connection: &Connection,
    arrived: Box<Arrived>,
    record: &Record,
    trace: &HeaderValue,
) -> Result<Outgoing, Stop> {
    let Arrived { head, body, .. } = *arrived;
    let mut target = request_target(matched, call, &head.uri)?;
    let original = Original {
        headers: &head.headers,
        path: matched.path.without_stage(&head.uri),
        query: head.uri.query(),
        template: matched.route().key.path(),
        body: body.whole().map(|whole| &**whole),
    };
    let change = mapping::request(mapping, &original, record)?;
    if let Some(changed) = change.as_ref().and_then(|change| change.target(target.path_and_query()?.as_str())) {
        target = join(&changed, None)?.into();
    }
    let http::request::Parts { method, headers, version, .. } = head;
    let empty_body = body.is_end_stream();
    let (kind, authority) = match &call.destination {
        Destination::Service { .. } => (forward::Target::Service, &record.host),
        Destination::Origin { authority, .. } => (forward::Target::Http, authority),
    };
    let (body, passed) = if empty_body {
        (UpstreamBody::Empty, None)
    } else {
        let passed = Rc::new(Passed::default());
        let limit = matched.deployment.payload_bytes;
        (UpstreamBody::Client { incoming: body, limit, passed: Rc::clone(&passed) }, Some(passed))
    };
    let mut request = Box::new(Request::new(body));
    *request.method_mut() = call.method.clone().unwrap_or(method);
    *request.version_mut() = if http2 { Version::HTTP_2 } else { Version::HTTP_11 };
    *request.uri_mut() = target;
    *request.headers_mut() = headers;
    let onward = Onward {
        peer: &connection.peer,
        target: kind,
        api_host: &record.host,
        backend_host: authority,
        trace,
        via: &record.worker.settings.via,
        empty_body,
        trailers: http2 && version == Version::HTTP_2,
    };
    forward::request_headers(request.headers_mut(), &onward);
    if let Some(change) = change {
        change.apply_to_headers(request.headers_mut());
    }
    if let Some(span) = &record.span {
        if span.parent.is_none() {
            // The state belongs to a trace whose id could not be read (Trace Context, section 4.2).
            request.headers_mut().remove(TRACESTATE);
        }
        request.headers_mut().insert(TRACEPARENT, span.trace_parent().header_value());
    }
    Ok((request, passed))
}

/// Path and query towards the backend (H-HTTP-2 to H-HTTP-6, H-VPC-6).
fn request_target(matched: &Matched<'_>, call: &HttpCall, uri: &Uri) -> Result<Uri, Stop> {
    let path = matched.path;
    let template = match &call.path {
        OutgoingPath::AsReceived => {
            let target = match uri.path_and_query() {
                Some(target) if path.is_as_received() => target.clone(),
                _ => join(path.with_stage(uri), uri.query())?,
            };
            return Ok(Uri::from(target));
        }
        OutgoingPath::Template(template) => template,
    };
    let stage_path = path.without_stage(uri);
    let key = &matched.route().key;
    let mut text = String::with_capacity(stage_path.len() + 64);
    let value = |name: &str| key.path()?.bind(stage_path).find_map(|(known, value)| (known == name).then_some(value));
    template.render(&mut text, value);
    if text.is_empty() {
        text.push('/');
    }
    if key.path().is_none() {
        // `$default` passes the request's path on, below the URI's (H-HTTP-4).
        let (base, query) = text.split_once('?').map_or((text.as_str(), None), |(base, query)| (base, Some(query)));
        let mut joined = format!("{}{stage_path}", base.trim_end_matches('/'));
        if let Some(query) = query {
            joined.push('?');
            joined.push_str(query);
        }
        text = joined;
    }
    Ok(Uri::from(join(&text, uri.query())?))
}

/// `target` may have a query; the client's comes after it (H-HTTP-6).
fn join(target: &str, query: Option<&str>) -> Result<PathAndQuery, Stop> {
    let joined = match query {
        None | Some("") => target.parse(),
        Some(query) => {
            let separator = if target.contains('?') { '&' } else { '?' };
            PathAndQuery::try_from(format!("{target}{separator}{query}"))
        }
    };
    // Both parts were accepted before; a template that makes them unacceptable is the configuration's fault.
    joined.map_err(|_| Reject::UnknownBehaviour.into())
}
