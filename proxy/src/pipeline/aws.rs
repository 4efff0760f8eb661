//! Calls of AWS services (section 3.7 of the spec), and the signatures of all calls to AWS.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderMap, HeaderValue, Request, Version};
use tollgate_engine::aws::{self, AwsCall, AwsRequest, Scope};
use tollgate_engine::deployment::Destination;
use tollgate_engine::mapping;
use tollgate_engine::reject::Reject;
use tollgate_engine::snapshot::{Credentials, SecretName};

use super::Arrived;
use super::admit::Matched;
use super::integrate::{self, Way};
use super::prepare::Addresses;
use crate::body::UpstreamBody;
use crate::gateway::{Gateway, Target, Tls};
use crate::record::Record;

/// A call that is ready to be sent.
pub(super) struct Ready<'s> {
    pub(super) request: Request<UpstreamBody>,
    pub(super) addresses: Addresses<'s>,
    pub(super) tls: Option<Cow<'s, Tls>>,
}

/// The signed request of an action, and where it goes.
///
/// # Errors
/// There are no keys to sign with, or the request's values cannot be sent.
pub(super) fn call<'s>(
    matched: &Matched<'s>,
    call: &'s AwsCall,
    target: &'s Target,
    gateway: &Gateway,
    arrived: &Arrived,
    record: &mut Record,
) -> Result<Ready<'s>, Reject> {
    let head = &arrived.head;
    let made = record.with_facts(|facts| {
        let sources = mapping::Request {
            facts,
            headers: &head.headers,
            path: matched.path.without_stage(&head.uri),
            query: head.uri.query(),
            template: matched.route().key.path(),
            body: Some(arrived.body.whole().map_or(&[][..], |whole| whole)),
        };
        call.request(&sources.into())
    })?;
    let api_id = &matched.served.stage.api.api_id;
    let keys = credentials(gateway, api_id, &call.credentials, record)?;
    let AwsRequest { method, target: path, mut headers, body, region } = made;
    let worker = &record.worker;
    let region = region.as_deref().unwrap_or(&worker.settings.region);
    let (host, addresses, tls) = match &call.endpoint {
        Some(destination @ Destination::Origin { authority, .. }) => {
            let Way { addresses, tls, .. } =
                integrate::addresses(gateway, destination, target, (record.source_ip, &head.headers));
            (authority.clone(), addresses, tls.map(Cow::Borrowed))
        }
        _ => {
            let host = aws::host(call.action.host_prefix(), region);
            let value = HeaderValue::from_str(&host).map_err(|_| Reject::BadRequest)?;
            (value, Addresses::Name { host: host.clone().into(), port: 443 }, regional(target, &host))
        }
    };
    headers.insert(HOST, host);
    let scope = Scope { region, service: call.action.service(), seconds: record.received_ms / 1000 };
    aws::sign(&mut headers, &method, &path, &body, &keys, &scope);
    let body = if body.is_empty() { UpstreamBody::Empty } else { UpstreamBody::Full(Some(Bytes::from(body))) };
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.version_mut() = Version::HTTP_11;
    *request.uri_mut() = path.parse().map_err(|_| Reject::BadRequest)?;
    *request.headers_mut() = headers;
    Ok(Ready { request, addresses, tls })
}

/// Trust is the target's, the name that of the region's host.
fn regional<'s>(target: &'s Target, host: &str) -> Option<Cow<'s, Tls>> {
    match target {
        Target::Origin { tls: Some(tls) } => Some(Cow::Owned(Tls { server_name: host.into(), ..tls.clone() })),
        Target::Origin { tls: None } | Target::Service { .. } | Target::Linked { .. } => None,
    }
}

/// The keys of a Secret. Without them the call fails, closed (H-AWS-9).
pub(super) fn credentials(
    gateway: &Gateway,
    api_id: &str,
    secret: &SecretName,
    record: &mut Record,
) -> Result<std::sync::Arc<Credentials>, Reject> {
    gateway.credentials(api_id, secret).cloned().ok_or_else(|| {
        let text = format!("Secret {secret} has no keys to sign the call with");
        record.integration.get_or_insert_default().error = Some(text.into());
        Reject::CredentialsMissing
    })
}

/// Signs a call of the Lambda service.
pub(super) fn sign_invocation(
    headers: &mut HeaderMap,
    path: &str,
    event: &[u8],
    keys: &Credentials,
    region: &str,
    seconds: u64,
) {
    aws::sign(headers, &http::Method::POST, path, event, keys, &Scope { region, service: "lambda", seconds });
}
