//! Events of format 2.0 for authorizers (H-LA-8). What is empty is absent, as in events for integrations.

use super::event_headers::{self, Shape};
use super::event_v2;
use super::query::Grouped;
use super::{Object, announced};
use crate::context::Facts;
use crate::json::push_string;
use crate::lambda_authorizer::Identity;
use crate::percent::decode_path;

/// Appends the event, keys in the order of H-LA-8.
pub(super) fn write(facts: &Facts<'_>, identity: Option<&Identity<'_>>, arn: &str, out: &mut Vec<u8>) {
    let path = decode_path(facts.path);
    let query = Grouped::of(facts.query);
    let route_key = facts.route.map_or("", |route| route.key);
    let mut event = Object::open(out);
    event.string("version", "2.0");
    event.string("type", "REQUEST");
    event.string("routeArn", arn);
    match identity {
        None => event.raw("identitySource", "null"),
        Some(identity) => {
            let out = event.key("identitySource");
            out.push(b'[');
            for (index, value) in identity.values().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                push_string(out, value);
            }
            out.push(b']');
        }
    }
    event.string("routeKey", route_key);
    event.string("rawPath", &path);
    event.string("rawQueryString", facts.query.unwrap_or_default());
    if let Some(cookies) = event_headers::cookies(facts.headers) {
        event_v2::write_cookies(&cookies, event.key("cookies"));
    }
    event_headers::write(facts, announced(facts), Shape::JoinedLowerCase, event.key("headers"));
    if !query.is_empty() {
        event_v2::write_query(&query, event.key("queryStringParameters"));
    }
    event_v2::write_context(facts, &path, route_key, event.key("requestContext"));
    event_v2::write_parameters(facts, &mut event);
    event_v2::write_stage_variables(facts, &mut event);
    event.close();
}
