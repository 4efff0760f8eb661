//! What mappings do to a message, as values (section 4.3 of the spec).

use std::fmt::Write;

use http::header::HOST;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::key::{Action, RequestTarget, ResponseTarget};
use super::source::{Sources, Use};
use super::{RequestMapping, ResponseMapping};
use crate::deployment::HEAD_BYTES;
use crate::percent::decode_query;
use crate::reject::Reject;
use crate::route::inspect_path;

/// Changes to one request. Applied after the gateway's own changes, so that a client cannot have a mapped header taken out by naming it
/// in `Connection`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestChange {
    headers: Vec<(Action, HeaderName, Option<HeaderValue>)>,
    query: Vec<(Action, Box<str>, String)>,
    path: Option<String>,
}

/// Changes to one response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseChange {
    headers: Vec<(Action, HeaderName, Option<HeaderValue>)>,
    status: Option<u16>,
}

impl RequestMapping {
    /// Looks the values up.
    ///
    /// # Errors
    /// The values are longer than a request head may be (431), or make a path that backends may read in another way than it is meant
    /// (400, H-ROUTE-25).
    pub fn resolve(&self, from: &Sources<'_>) -> Result<RequestChange, Reject> {
        let mut change = RequestChange::default();
        let mut bytes = 0;
        for (action, target, value) in &self.entries {
            if *action == Action::Remove {
                change.remove(target);
                continue;
            }
            let to = if *target == RequestTarget::Path { Use::Path } else { Use::Text };
            let Some(value) = value.resolve_for(from, to) else { continue };
            bytes += value.len();
            if bytes > HEAD_BYTES {
                return Err(Reject::HeaderFieldsTooLarge);
            }
            match target {
                RequestTarget::Header(name) => {
                    change.headers.push((*action, name.clone(), Some(header_value(value))));
                }
                RequestTarget::Query(name) => {
                    change.query.push((*action, name.clone(), String::from_utf8_lossy(&value).into_owned()));
                }
                RequestTarget::Path => change.path = Some(path(&value)?),
            }
        }
        Ok(change)
    }
}

impl RequestChange {
    fn remove(&mut self, target: &RequestTarget) {
        match target {
            RequestTarget::Header(name) => self.headers.push((Action::Remove, name.clone(), None)),
            RequestTarget::Query(name) => self.query.push((Action::Remove, name.clone(), String::new())),
            // `remove:path` is refused.
            RequestTarget::Path => {}
        }
    }

    /// Changes the headers.
    pub fn apply_to_headers(&self, headers: &mut HeaderMap) {
        apply(&self.headers, headers);
    }

    /// `overwrite:path`, percent-encoded; it starts with `/`.
    pub fn path(&self) -> Option<&str> {
        self.path.as_deref()
    }

    /// `overwrite:header.Host`.
    pub fn host(&self) -> Option<&HeaderValue> {
        self.headers.iter().rev().find(|(_, name, _)| *name == HOST)?.2.as_ref()
    }

    /// The query after the changes; `None` when it stays as it is.
    pub fn query(&self, sent: Option<&str>) -> Option<String> {
        if self.query.is_empty() {
            return None;
        }
        let mut pieces: Vec<String> =
            sent.unwrap_or_default().split('&').filter(|piece| !piece.is_empty()).map(str::to_owned).collect();
        for (action, name, value) in &self.query {
            if *action != Action::Append {
                pieces.retain(|piece| decode_query(piece.split('=').next().unwrap_or(piece)) != **name);
            }
            if *action != Action::Remove {
                let mut piece = String::with_capacity(name.len() + value.len() + 1);
                encode(name, is_unreserved, &mut piece);
                piece.push('=');
                encode(value, is_unreserved, &mut piece);
                pieces.push(piece);
            }
        }
        Some(pieces.join("&"))
    }

    /// Path and query of the request to the backend, which would be `target` without the changes; `None` when it stays.
    pub fn target(&self, target: &str) -> Option<String> {
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let changed = self.query(query);
        if changed.is_none() && self.path.is_none() {
            return None;
        }
        let mut out = self.path.as_deref().unwrap_or(path).to_owned();
        if let Some(query) = changed.as_deref().or(query).filter(|query| !query.is_empty()) {
            out.push('?');
            out.push_str(query);
        }
        Some(out)
    }
}

impl ResponseMapping {
    /// Looks the values up.
    ///
    /// # Errors
    /// The values are longer than a head may be.
    pub fn resolve(&self, from: &Sources<'_>) -> Result<ResponseChange, Reject> {
        let mut change = ResponseChange::default();
        let mut bytes = 0;
        for (action, target, value) in &self.entries {
            let value = match action {
                Action::Remove => None,
                Action::Overwrite | Action::Append => match value.resolve_for(from, Use::Text) {
                    Some(value) => Some(value),
                    None => continue,
                },
            };
            bytes += value.as_ref().map_or(0, Vec::len);
            if bytes > HEAD_BYTES {
                return Err(Reject::IntegrationBadResponse);
            }
            match target {
                ResponseTarget::Header(name) => {
                    change.headers.push((*action, name.clone(), value.map(header_value)));
                }
                ResponseTarget::Status => change.status = status(&value.unwrap_or_default()),
            }
        }
        Ok(change)
    }
}

impl ResponseChange {
    /// Changes the headers.
    pub fn apply_to_headers(&self, headers: &mut HeaderMap) {
        apply(&self.headers, headers);
    }

    /// `overwrite:statuscode`; an invalid result leaves the status (H-MAP-24).
    pub fn status(&self) -> Option<u16> {
        self.status
    }
}

/// A status that a mapping may name (H-MAP-2, H-MAP-24).
pub(super) fn status(text: &[u8]) -> Option<u16> {
    let digits = text.len() == 3 && text.iter().all(u8::is_ascii_digit);
    let status = digits.then(|| std::str::from_utf8(text).ok()?.parse().ok()).flatten()?;
    (200..=599).contains(&status).then_some(status)
}

fn apply(changes: &[(Action, HeaderName, Option<HeaderValue>)], headers: &mut HeaderMap) {
    for (action, name, value) in changes {
        match (action, value) {
            (Action::Append, Some(value)) => {
                headers.append(name, value.clone());
            }
            (Action::Overwrite, Some(value)) => {
                headers.insert(name, value.clone());
            }
            (Action::Remove, _) | (_, None) => {
                headers.remove(name);
            }
        }
    }
}

/// Control characters cannot stand in a header; each becomes a space, so that nobody starts a line of his own.
fn header_value(mut bytes: Vec<u8>) -> HeaderValue {
    for byte in &mut bytes {
        if byte.is_ascii_control() && *byte != b'\t' {
            *byte = b' ';
        }
    }
    HeaderValue::from_bytes(bytes.trim_ascii()).expect("control characters are gone")
}

/// A `/` is put in front where it is missing (H-MAP-20); what is no path character is encoded.
fn path(value: &[u8]) -> Result<String, Reject> {
    let text = String::from_utf8_lossy(value);
    let mut out = String::with_capacity(text.len() + 1);
    if !text.starts_with('/') {
        out.push('/');
    }
    let mut rest = &*text;
    while !rest.is_empty() {
        let end = rest.find('%').unwrap_or(rest.len());
        encode(&rest[..end], is_path, &mut out);
        rest = &rest[end..];
        if rest.is_empty() {
            break;
        }
        let digits = rest.as_bytes().get(1..3).is_some_and(|pair| pair.iter().all(u8::is_ascii_hexdigit));
        // Already encoded text stays as it is.
        out.push_str(if digits { "%" } else { "%25" });
        rest = &rest[1..];
    }
    inspect_path(&out).map_err(|_| Reject::BadRequest)?;
    Ok(out)
}

fn encode(text: &str, keep: impl Fn(u8) -> bool, out: &mut String) {
    for byte in text.bytes() {
        if keep(byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("writing to a string does not fail");
        }
    }
}

/// RFC 3986 section 2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// RFC 3986 section 3.3: `pchar` without percent, and the slash.
fn is_path(byte: u8) -> bool {
    is_unreserved(byte) || b"!$&'()*+,;=:@/".contains(&byte)
}
