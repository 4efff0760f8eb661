//! Bodies and targets of requests to AWS services, in the protocol of each.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value as Json, json};

use super::action::{Action, Form, Parameter};
use crate::percent::push_encoded;
use crate::reject::Reject;

type Found = [(&'static Parameter, String)];

pub(super) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// AWS's JSON protocols. EventBridge takes a list of events; an integration sends one.
pub(super) fn json(action: Action, found: &Found) -> Result<Vec<u8>, Reject> {
    let mut members = Map::new();
    for (parameter, text) in found {
        let value = match parameter.form {
            Form::List => json!(list(text)?),
            Form::Time => time(text),
            Form::Text | Form::Base64 => Json::String(text.clone()),
            Form::Attributes => serde_json::from_str(text).map_err(|_| Reject::BadRequest)?,
        };
        members.insert(parameter.wire.to_owned(), value);
    }
    let body = match action {
        Action::EventBridgePutEvents => json!({ "Entries": [members] }),
        _ => Json::Object(members),
    };
    Ok(body.to_string().into_bytes())
}

/// AWS's query protocol, as SQS speaks it.
pub(super) fn form(action: &str, found: &Found) -> Result<Vec<u8>, Reject> {
    let mut out = format!("Action={action}&Version=2012-11-05");
    for (parameter, text) in found {
        match parameter.form {
            Form::List => {
                for (index, item) in list(text)?.iter().enumerate() {
                    pair(&mut out, &format!("{}.{}", parameter.wire, index + 1), item);
                }
            }
            Form::Attributes => attributes(&mut out, parameter.wire, text)?,
            Form::Text | Form::Time | Form::Base64 => pair(&mut out, parameter.wire, text),
        }
    }
    Ok(out.into_bytes())
}

/// `GetConfiguration`: `/applications/{}/environments/{}/configurations/{}?client_id=…`.
pub(super) fn app_config(found: &Found) -> String {
    let value = |wire: &str| found.iter().find(|(parameter, _)| parameter.wire == wire).map(|(_, text)| text.as_str());
    let mut out = String::new();
    for (folder, wire) in
        [("applications", "Application"), ("environments", "Environment"), ("configurations", "Configuration")]
    {
        out.push('/');
        out.push_str(folder);
        out.push('/');
        push_encoded(&mut out, value(wire).unwrap_or_default());
    }
    let mut separator = '?';
    for wire in ["client_configuration_version", "client_id"] {
        if let Some(text) = value(wire) {
            out.push(separator);
            out.push_str(wire);
            out.push('=');
            push_encoded(&mut out, text);
            separator = '&';
        }
    }
    out
}

/// Encoded as HTML forms are, with `+` for a space.
fn pair(out: &mut String, name: &str, value: &str) {
    out.push('&');
    push_encoded(out, name);
    out.push('=');
    for (index, piece) in value.split(' ').enumerate() {
        if index > 0 {
            out.push('+');
        }
        push_encoded(out, piece);
    }
}

/// A JSON array of text, else text with commas.
fn list(text: &str) -> Result<Vec<String>, Reject> {
    if text.trim_start().starts_with('[') {
        return serde_json::from_str(text).map_err(|_| Reject::BadRequest);
    }
    Ok(text.split(',').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect())
}

/// A number stays one; text goes as it is, and the service says whether it is a time.
fn time(text: &str) -> Json {
    text.parse::<u64>().map_or_else(|_| Json::String(text.to_owned()), Json::from)
}

/// `{"name":{"DataType":"String","StringValue":"…"}}` as numbered fields.
fn attributes(out: &mut String, wire: &str, text: &str) -> Result<(), Reject> {
    let attributes: Map<String, Json> = serde_json::from_str(text).map_err(|_| Reject::BadRequest)?;
    for (index, (name, attribute)) in attributes.iter().enumerate() {
        let place = format!("{wire}.{}", index + 1);
        pair(out, &format!("{place}.Name"), name);
        for (field, value) in attribute.as_object().ok_or(Reject::BadRequest)? {
            let value = value.as_str().ok_or(Reject::BadRequest)?;
            pair(out, &format!("{place}.Value.{field}"), value);
        }
    }
    Ok(())
}
