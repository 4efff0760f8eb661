//! Events of format 1.0 for authorizers (H-LA-9 to H-LA-11). Empty maps are `{}`, not null as in events for integrations.

use super::event_headers::{self, Shape, Spelling};
use super::event_v1;
use super::query::Grouped;
use super::{Object, announced};
use crate::context::Facts;
use crate::json::push_escaped;
use crate::lambda_authorizer::Identity;

/// Appends the event, keys in the order of H-LA-9.
pub(super) fn write(facts: &Facts<'_>, identity: Option<&Identity<'_>>, arn: &str, out: &mut Vec<u8>) {
    let query = Grouped::of(facts.query);
    let resource = facts.route.map_or("", |route| route.resource());
    let mut event = Object::open(out);
    event.string("version", "1.0");
    event.string("type", "REQUEST");
    event.string("methodArn", arn);
    for key in ["identitySource", "authorizationToken"] {
        match identity {
            None => event.raw(key, "null"),
            Some(identity) => write_joined(identity, event.key(key)),
        }
    }
    event.string("resource", resource);
    event.string("path", facts.client_path());
    event.string("httpMethod", facts.method);
    let shape = Shape::Last(Spelling::of(facts));
    event_headers::write(facts, announced(facts), shape, event.key("headers"));
    let last = query.iter().filter_map(|(name, mut values)| Some((name, values.next_back()?)));
    write_map(last, event.key("queryStringParameters"));
    let parameters = facts.route.map_or(&[][..], |route| route.parameters);
    write_map(parameters.iter().map(|(name, value)| (*name, value.as_str())), event.key("pathParameters"));
    let variables = facts.stage_variables.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    write_map(variables, event.key("stageVariables"));
    event_v1::write_context(facts, resource, event.key("requestContext"));
    event.close();
}

fn write_map<'s>(entries: impl Iterator<Item = (&'s str, &'s str)>, out: &mut Vec<u8>) {
    let mut object = Object::open(out);
    object.strings(entries);
    object.close();
}

/// The values joined with a comma.
fn write_joined(identity: &Identity<'_>, out: &mut Vec<u8>) {
    out.push(b'"');
    for (index, value) in identity.values().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push_escaped(out, value.as_bytes());
    }
    out.push(b'"');
}
