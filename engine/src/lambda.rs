//! The Lambda payload formats (sections 3.2 to 3.4 of the spec): a request as a function's event, a function's result as a response.

mod authorizer_v1;
mod authorizer_v2;
mod event_headers;
mod event_v1;
mod event_v2;
mod query;
pub mod result;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};

use crate::context::Facts;
use crate::json::push_string;
use crate::lambda_authorizer::Identity;
use crate::reject::Reject;
use crate::snapshot::PayloadFormatVersion;

pub use self::result::{FunctionFailure, FunctionResponse};

/// Largest event and largest result in bytes (H-RES-19).
pub const MAX_PAYLOAD_BYTES: usize = 6 * 1024 * 1024;

/// Appends the event of a request.
///
/// Header names: the types that carry a request here know names in lower case only. Format 2.0 wants them so. Format 1.0 wants the client's
/// spelling (H-EV1-5): a client of HTTP/2 has sent lower case; for one of HTTP/1.x every name is written in Title-Case, which is what nearly
/// all of them send.
///
/// # Errors
///
/// [`Reject::PayloadTooLarge`] if the event is over [`MAX_PAYLOAD_BYTES`]. The buffer then holds a part of it.
pub fn write_event(
    version: PayloadFormatVersion,
    facts: &Facts<'_>,
    body: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), Reject> {
    if body.len() > MAX_PAYLOAD_BYTES {
        return Err(Reject::PayloadTooLarge);
    }
    let start = out.len();
    out.reserve(2048 + body.len());
    match version {
        PayloadFormatVersion::V1 => event_v1::write(facts, body, out),
        PayloadFormatVersion::V2 => event_v2::write(facts, body, out),
    }
    if out.len() - start > MAX_PAYLOAD_BYTES { Err(Reject::PayloadTooLarge) } else { Ok(()) }
}

/// Appends the event that an authorizer's function gets (H-LA-8, H-LA-9). `arn` is the request's (H-LA-12). The request has no body here;
/// `content-length` says what the client announced.
pub fn write_authorizer_event(
    version: PayloadFormatVersion,
    facts: &Facts<'_>,
    identity: Option<&Identity<'_>>,
    arn: &str,
    out: &mut Vec<u8>,
) {
    out.reserve(2048);
    match version {
        PayloadFormatVersion::V1 => authorizer_v1::write(facts, identity, arn, out),
        PayloadFormatVersion::V2 => authorizer_v2::write(facts, identity, arn, out),
    }
}

/// Length of a body that the client announced.
fn announced(facts: &Facts<'_>) -> usize {
    let value = facts.headers.get(http::header::CONTENT_LENGTH);
    value.and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or(0)
}

/// How a body stands in an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BodyForm<'b> {
    Empty,
    Text(&'b str),
    Base64(&'b [u8]),
}

impl<'b> BodyForm<'b> {
    /// Text if the content type says so, nothing is encoded and it is UTF-8; else base64 (H-EV2-21..25).
    fn of(headers: &HeaderMap, body: &'b [u8]) -> Self {
        if body.is_empty() {
            return Self::Empty;
        }
        let encoded =
            headers.get_all(CONTENT_ENCODING).iter().any(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"));
        let text = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(is_text_type);
        match std::str::from_utf8(body) {
            Ok(body) if text && !encoded => Self::Text(body),
            _ => Self::Base64(body),
        }
    }

    fn is_base64(self) -> bool {
        matches!(self, Self::Base64(_))
    }

    /// Appends the JSON string.
    fn write(self, out: &mut Vec<u8>) {
        match self {
            Self::Empty => out.extend_from_slice(b"null"),
            Self::Text(text) => push_string(out, text),
            Self::Base64(bytes) => {
                out.push(b'"');
                let start = out.len();
                let length =
                    base64::encoded_len(bytes.len(), true).expect("a body is far smaller than the address space");
                out.resize(start + length, 0);
                let written = STANDARD.encode_slice(bytes, &mut out[start..]);
                debug_assert_eq!(written, Ok(length), "the length was computed for this alphabet");
                out.push(b'"');
            }
        }
    }
}

/// H-EV2-22.
fn is_text_type(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence.starts_with("text/")
        || matches!(essence.as_str(), "application/json" | "application/xml" | "application/javascript")
        || essence.ends_with("+json")
        || essence.ends_with("+xml")
}

/// Writes the members of one JSON object.
struct Object<'o> {
    out: &'o mut Vec<u8>,
    first: bool,
}

impl<'o> Object<'o> {
    fn open(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, first: true }
    }

    /// Appends comma and key; the caller appends the value.
    fn key(&mut self, key: &'static str) -> &mut Vec<u8> {
        self.harmless_key(key)
    }

    /// As [`Object::key`] for text without quotes, backslashes and control characters, such as the names of headers.
    fn harmless_key(&mut self, key: &str) -> &mut Vec<u8> {
        self.comma();
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    /// As [`Object::key`] for any text.
    fn any_key(&mut self, key: &str) -> &mut Vec<u8> {
        self.comma();
        push_string(self.out, key);
        self.out.push(b':');
        self.out
    }

    fn comma(&mut self) {
        if !self.first {
            self.out.push(b',');
        }
        self.first = false;
    }

    fn string(&mut self, key: &'static str, value: &str) {
        push_string(self.key(key), value);
    }

    fn raw(&mut self, key: &'static str, json: &str) {
        self.key(key).extend_from_slice(json.as_bytes());
    }

    fn strings<'s>(&mut self, entries: impl Iterator<Item = (&'s str, &'s str)>) {
        for (key, value) in entries {
            push_string(self.any_key(key), value);
        }
    }

    /// Appends members that are JSON already.
    fn members(&mut self, json: &str) {
        self.comma();
        self.out.extend_from_slice(json.as_bytes());
    }

    fn close(self) {
        self.out.push(b'}');
    }
}

/// H-EV2-27.
fn write_client_cert(cert: &crate::client_cert::ClientCert, out: &mut Vec<u8>) {
    let mut object = Object::open(out);
    object.string("clientCertPem", &cert.pem);
    object.string("subjectDN", &cert.subject_dn);
    object.string("issuerDN", &cert.issuer_dn);
    object.string("serialNumber", &cert.serial_number);
    let mut validity = Object::open(object.key("validity"));
    validity.string("notBefore", &cert.not_before);
    validity.string("notAfter", &cert.not_after);
    validity.close();
    object.close();
}

/// Appends `{"claims":{…},"scopes":…}`, what both formats say of a token (H-JWT-28, H-JWT-29).
fn write_jwt(jwt: &crate::context::JwtFacts<'_>, out: &mut Vec<u8>) {
    let mut object = Object::open(out);
    let mut claims = Object::open(object.key("claims"));
    claims.strings(jwt.token.claims().iter());
    claims.close();
    let out = object.key("scopes");
    if jwt.route_has_scopes {
        out.push(b'[');
        for (index, scope) in jwt.token.scopes().iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            push_string(out, scope);
        }
        out.push(b']');
    } else {
        out.extend_from_slice(b"null");
    }
    object.close();
}

#[cfg(test)]
mod tests;
