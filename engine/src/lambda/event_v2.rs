//! Events of format 2.0 (section 3.2 of the spec). What is empty is absent (H-EV2-2).

use std::borrow::Cow;

use super::event_headers::{self, Shape};
use super::query::Grouped;
use super::{BodyForm, Object, write_client_cert, write_jwt};
use crate::context::{CallerFacts, Facts, IamFacts};
use crate::ip::IpText;
use crate::json::{push_bytes, push_escaped, push_number};
use crate::percent::decode_path;

/// Appends the event, keys in the order of H-EV2-1.
pub(super) fn write(facts: &Facts<'_>, body: &[u8], out: &mut Vec<u8>) {
    let path = decode_path(facts.path);
    let query = Grouped::of(facts.query);
    let form = BodyForm::of(facts.headers, body);
    let route_key = facts.route.map_or("", |route| route.key);

    let mut event = Object::open(out);
    event.string("version", "2.0");
    event.string("routeKey", route_key);
    event.string("rawPath", &facts.mapped.path.map_or(Cow::Borrowed(&*path), decode_path));
    event.string("rawQueryString", facts.query.unwrap_or_default());
    if let Some(cookies) = event_headers::cookies(facts.headers) {
        write_cookies(&cookies, event.key("cookies"));
    }
    event_headers::write(facts, body.len(), Shape::JoinedLowerCase, event.key("headers"));
    if !query.is_empty() {
        write_query(&query, event.key("queryStringParameters"));
    }
    write_context(facts, &path, route_key, event.key("requestContext"));
    if form != BodyForm::Empty {
        form.write(event.key("body"));
    }
    write_parameters(facts, &mut event);
    event.raw("isBase64Encoded", if form.is_base64() { "true" } else { "false" });
    write_stage_variables(facts, &mut event);
    event.close();
}

pub(super) fn write_parameters(facts: &Facts<'_>, event: &mut Object<'_>) {
    if let Some(route) = facts.route.filter(|route| !route.parameters.is_empty()) {
        let mut parameters = Object::open(event.key("pathParameters"));
        parameters.strings(route.parameters.iter().map(|(name, value)| (*name, value.as_str())));
        parameters.close();
    }
}

pub(super) fn write_stage_variables(facts: &Facts<'_>, event: &mut Object<'_>) {
    if !facts.stage_variables.is_empty() {
        let mut variables = Object::open(event.key("stageVariables"));
        variables.strings(facts.stage_variables.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        variables.close();
    }
}

pub(super) fn write_cookies(cookies: &[&[u8]], out: &mut Vec<u8>) {
    out.push(b'[');
    for (index, cookie) in cookies.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push_bytes(out, cookie);
    }
    out.push(b']');
}

/// Repeated names are joined with a comma (H-EV2-8).
pub(super) fn write_query(query: &Grouped<'_>, out: &mut Vec<u8>) {
    let mut object = Object::open(out);
    for (name, values) in query.iter() {
        let out = object.any_key(name);
        out.push(b'"');
        for (index, value) in values.enumerate() {
            if index > 0 {
                out.push(b',');
            }
            push_escaped(out, value.as_bytes());
        }
        out.push(b'"');
    }
    object.close();
}

/// Who signed the request (H-EV2-26). There are no organizations and no Cognito identities here.
fn write_iam(iam: IamFacts<'_>, out: &mut Vec<u8>) {
    let principal = iam.principal;
    let mut object = Object::open(out);
    object.string("accessKey", iam.access_key);
    object.string("accountId", &principal.account);
    object.string("callerId", &principal.user_id);
    object.raw("cognitoIdentity", "null");
    object.raw("principalOrgId", "null");
    object.string("userArn", &principal.arn);
    object.string("userId", &principal.user_id);
    object.close();
}

/// H-EV2-16.
pub(super) fn write_context(facts: &Facts<'_>, path: &str, route_key: &str, out: &mut Vec<u8>) {
    let mut context = Object::open(out);
    context.string("accountId", facts.account_id);
    context.string("apiId", facts.api_id);
    if let Some(cert) = facts.domain.and_then(|domain| domain.client_cert) {
        let mut authentication = Object::open(context.key("authentication"));
        write_client_cert(cert, authentication.key("clientCert"));
        authentication.close();
    }
    if let Some(caller) = &facts.authorizer {
        let mut authorizer = Object::open(context.key("authorizer"));
        match caller {
            CallerFacts::Jwt(jwt) => write_jwt(jwt, authorizer.key("jwt")),
            CallerFacts::Iam(iam) => write_iam(*iam, authorizer.key("iam")),
            CallerFacts::Lambda(answer) => authorizer.raw("lambda", answer.context_json().unwrap_or("null")),
        }
        authorizer.close();
    }
    context.string("domainName", facts.domain_name());
    context.string("domainPrefix", facts.domain_prefix());
    let mut http = Object::open(context.key("http"));
    http.string("method", facts.method);
    http.string("path", path);
    http.string("protocol", "HTTP/1.1");
    http.string("sourceIp", IpText::new(facts.source_ip).as_str());
    push_bytes(http.key("userAgent"), facts.user_agent.unwrap_or_default());
    http.close();
    context.string("requestId", facts.request_id.as_str());
    context.string("routeKey", route_key);
    context.string("stage", facts.stage);
    context.string("time", facts.request_time().as_str());
    push_number(context.key("timeEpoch"), facts.received_ms);
    context.close();
}
