//! Events of format 1.0 (section 3.3 of the spec). What is empty is null (H-EV1-1).

use super::event_headers::{self, Shape, Spelling};
use super::query::Grouped;
use super::{BodyForm, Object, write_client_cert, write_jwt};
use crate::context::{CallerFacts, Facts};
use crate::ip::IpText;
use crate::json::{push_bytes, push_number, push_string};
use crate::lambda_authorizer::Answer;
use crate::percent::decode_path;

/// Appends the event, keys in the order of H-EV1-1.
pub(super) fn write(facts: &Facts<'_>, body: &[u8], out: &mut Vec<u8>) {
    let query = Grouped::of(facts.query);
    let form = BodyForm::of(facts.headers, body);
    let resource = facts.route.map_or("", |route| route.resource());
    let spelling = Spelling::of(facts);

    let mut event = Object::open(out);
    event.string("version", "1.0");
    event.string("resource", resource);
    event.string("path", facts.mapped.path.unwrap_or(facts.client_path()));
    event.string("httpMethod", facts.method);
    event_headers::write(facts, body.len(), Shape::Last(spelling), event.key("headers"));
    event_headers::write(facts, body.len(), Shape::All(spelling), event.key("multiValueHeaders"));
    write_last_values(&query, event.key("queryStringParameters"));
    write_all_values(&query, event.key("multiValueQueryStringParameters"));
    write_context(facts, resource, event.key("requestContext"));
    let parameters = facts.route.map_or(&[][..], |route| route.parameters);
    let parameters = parameters.iter().map(|(name, value)| (*name, value.as_str()));
    write_map(parameters, event.key("pathParameters"));
    let variables = facts.stage_variables.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    write_map(variables, event.key("stageVariables"));
    form.write(event.key("body"));
    event.raw("isBase64Encoded", if form.is_base64() { "true" } else { "false" });
    event.close();
}

/// An object, or `null` if there is nothing in it.
fn write_map<'s>(mut entries: impl Iterator<Item = (&'s str, &'s str)>, out: &mut Vec<u8>) {
    let Some(first) = entries.next() else { return out.extend_from_slice(b"null") };
    let mut object = Object::open(out);
    object.strings(std::iter::once(first).chain(entries));
    object.close();
}

fn write_last_values(query: &Grouped<'_>, out: &mut Vec<u8>) {
    write_map(query.iter().filter_map(|(name, mut values)| Some((name, values.next_back()?))), out);
}

fn write_all_values(query: &Grouped<'_>, out: &mut Vec<u8>) {
    if query.is_empty() {
        return out.extend_from_slice(b"null");
    }
    let mut object = Object::open(out);
    for (name, values) in query.iter() {
        let out = object.any_key(name);
        out.push(b'[');
        for (index, value) in values.enumerate() {
            if index > 0 {
                out.push(b',');
            }
            push_string(out, value);
        }
        out.push(b']');
    }
    object.close();
}

/// H-EV1-9.
pub(super) fn write_context(facts: &Facts<'_>, resource: &str, out: &mut Vec<u8>) {
    let mut context = Object::open(out);
    context.string("accountId", facts.account_id);
    context.string("apiId", facts.api_id);
    match &facts.authorizer {
        // Who signed stands in `identity` (H-EV1-12).
        None | Some(CallerFacts::Iam(_)) => {}
        Some(CallerFacts::Jwt(jwt)) => write_jwt(jwt, context.key("authorizer")),
        Some(CallerFacts::Lambda(answer)) => write_answer(answer, context.key("authorizer")),
    }
    context.string("domainName", facts.domain_name());
    context.string("domainPrefix", facts.domain_prefix());
    context.string("extendedRequestId", facts.request_id.as_str());
    context.string("httpMethod", facts.method);
    write_identity(facts, context.key("identity"));
    context.string("path", &decode_path(facts.client_path()));
    context.string("protocol", "HTTP/1.1");
    context.string("requestId", facts.request_id.as_str());
    context.string("requestTime", facts.request_time().as_str());
    push_number(context.key("requestTimeEpoch"), facts.received_ms);
    context.string("resourceId", facts.route.map_or("", |route| route.key));
    context.string("resourcePath", resource);
    context.string("stage", facts.stage);
    context.close();
}

/// The context as it stands, and the principal of policy mode (H-EV1-12, H-LA-25).
fn write_answer(answer: &Answer, out: &mut Vec<u8>) {
    let members = answer.context_json().and_then(|json| json.strip_prefix('{')?.strip_suffix('}')).unwrap_or_default();
    let mut object = Object::open(out);
    if let Some(principal_id) = answer.principal_id().filter(|_| !answer.has_key("principalId")) {
        object.string("principalId", principal_id);
    }
    if !members.is_empty() {
        object.members(members);
    }
    object.close();
}

/// H-EV1-11; who called is known where requests are signed.
fn write_identity(facts: &Facts<'_>, out: &mut Vec<u8>) {
    const UNKNOWN: [&str; 6] = [
        "cognitoAmr",
        "cognitoAuthenticationProvider",
        "cognitoAuthenticationType",
        "cognitoIdentityId",
        "cognitoIdentityPoolId",
        "principalOrgId",
    ];
    let iam = facts.iam();
    let mut identity = Object::open(out);
    let known = |identity: &mut Object<'_>, key: &'static str, value: Option<&str>| match value {
        Some(value) => identity.string(key, value),
        None => identity.raw(key, "null"),
    };
    known(&mut identity, "accessKey", iam.map(|iam| iam.access_key));
    known(&mut identity, "accountId", iam.map(|iam| &*iam.principal.account));
    known(&mut identity, "caller", iam.map(|iam| &*iam.principal.user_id));
    for key in UNKNOWN {
        identity.raw(key, "null");
    }
    identity.string("sourceIp", IpText::new(facts.source_ip).as_str());
    known(&mut identity, "user", iam.map(|iam| &*iam.principal.user_id));
    match facts.user_agent {
        Some(agent) => push_bytes(identity.key("userAgent"), agent),
        None => identity.raw("userAgent", "null"),
    }
    known(&mut identity, "userArn", iam.map(|iam| &*iam.principal.arn));
    if let Some(cert) = facts.domain.and_then(|domain| domain.client_cert) {
        write_client_cert(cert, identity.key("clientCert"));
    }
    identity.close();
}
