//! The headers of an event (H-EV2-9..15, H-EV1-5, H-EV1-6, H-HDR-1).

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue, Version};
use smallvec::SmallVec;

use super::Object;
use crate::context::Facts;
use crate::forward::{Found, connection_options};
use crate::ip::IpText;
use crate::json::{push_number, push_value};

/// What the front end itself sets, whatever the client sent.
struct FrontEnd<'a> {
    content_length: usize,
    host: &'a str,
    trace: &'a str,
    peer: IpText,
}

const FRONT_END: [&str; 6] =
    ["content-length", "host", "x-amzn-trace-id", "x-forwarded-for", "x-forwarded-port", "x-forwarded-proto"];

/// How names are spelled and which of several values counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Format 2.0: lower case, values joined with `,`; cookies stand elsewhere.
    JoinedLowerCase,
    /// `headers` of format 1.0: the last value.
    Last(Spelling),
    /// `multiValueHeaders` of format 1.0: a list of all values.
    All(Spelling),
}

/// How the client has spelled header names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spelling {
    /// HTTP/1.x: taken to be Title-Case.
    TitleCase,
    /// HTTP/2: lower case, except for what the front end sets.
    LowerCase,
    /// Domains with multi-level mapping keys: all of them lower case (H-APM-9).
    AllLower,
}

impl Spelling {
    pub(super) fn of(facts: &Facts<'_>) -> Self {
        if facts.domain.is_some_and(|domain| domain.lower_case_headers) {
            return Self::AllLower;
        }
        if facts.version < Version::HTTP_2 { Self::TitleCase } else { Self::LowerCase }
    }
}

/// Appends the object of headers.
pub(super) fn write(facts: &Facts<'_>, body_length: usize, shape: Shape, out: &mut Vec<u8>) {
    let headers = facts.headers;
    let named: SmallVec<[&[u8]; 4]> = connection_options(headers).collect();
    let front_end = FrontEnd {
        content_length: body_length,
        host: facts.mapped.host.unwrap_or(facts.host),
        trace: facts.trace,
        peer: IpText::new(facts.source_ip),
    };
    let mut object = Object::open(out);
    front_end.write(headers, shape, &mut object);
    for name in headers.keys() {
        let name = name.as_str();
        let found = Found::of(name);
        let dropped = FRONT_END.contains(&name)
            || found.any(Found::HOP_BY_HOP)
            || named.iter().any(|named| named.eq_ignore_ascii_case(name.as_bytes()));
        if dropped || found == Found::COOKIE && shape == Shape::JoinedLowerCase {
            continue;
        }
        if found == Found::COOKIE {
            write_cookie(headers, shape, &mut object);
        } else {
            write_values(name, headers, shape, &mut object);
        }
    }
    object.close();
}

impl FrontEnd<'_> {
    fn write(&self, headers: &HeaderMap, shape: Shape, object: &mut Object<'_>) {
        one(object, "content-length", shape, |out| push_number(out, self.content_length as u64));
        one(object, "host", shape, |out| push_value(out, self.host.as_bytes()));
        one(object, "x-amzn-trace-id", shape, |out| push_value(out, self.trace.as_bytes()));
        one(object, "x-forwarded-for", shape, |out| self.write_chain(headers, out));
        one(object, "x-forwarded-port", shape, |out| out.extend_from_slice(b"443"));
        one(object, "x-forwarded-proto", shape, |out| out.extend_from_slice(b"https"));
    }

    /// The client's own chain, then the peer (H-EV2-12).
    fn write_chain(&self, headers: &HeaderMap, out: &mut Vec<u8>) {
        for value in headers.get_all("x-forwarded-for").iter().filter(|value| !value.is_empty()) {
            push_value(out, value.as_bytes());
            out.extend_from_slice(b", ");
        }
        out.extend_from_slice(self.peer.as_bytes());
    }
}

/// Writes a header that has a single value; `value` appends the text without quotes.
fn one(object: &mut Object<'_>, name: &str, shape: Shape, value: impl FnOnce(&mut Vec<u8>)) {
    let out = key(object, name, shape);
    let list = matches!(shape, Shape::All(_));
    out.extend_from_slice(if list { b"[\"" } else { b"\"" });
    value(out);
    out.extend_from_slice(if list { b"\"]" } else { b"\"" });
}

fn write_values(name: &str, headers: &HeaderMap, shape: Shape, object: &mut Object<'_>) {
    let mut values = headers.get_all(name).iter().map(HeaderValue::as_bytes);
    match shape {
        Shape::JoinedLowerCase => one(object, name, shape, |out| push_joined(out, values, b",")),
        Shape::Last(_) => one(object, name, shape, |out| push_value(out, values.next_back().unwrap_or_default())),
        Shape::All(_) => one(object, name, shape, |out| {
            for (index, value) in values.enumerate() {
                if index > 0 {
                    out.extend_from_slice(b"\",\"");
                }
                push_value(out, value);
            }
        }),
    }
}

/// Cookies of format 1.0: the fields that an HTTP/2 client may have split are one again (RFC 9113 section 8.2.3).
fn write_cookie(headers: &HeaderMap, shape: Shape, object: &mut Object<'_>) {
    let values = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
    one(object, "cookie", shape, |out| push_joined(out, values, b"; "));
}

fn push_joined<'v>(out: &mut Vec<u8>, values: impl Iterator<Item = &'v [u8]>, separator: &[u8]) {
    for (index, value) in values.enumerate() {
        if index > 0 {
            out.extend_from_slice(separator);
        }
        push_value(out, value);
    }
}

fn key<'o>(object: &'o mut Object<'_>, name: &str, shape: Shape) -> &'o mut Vec<u8> {
    let title = match shape {
        Shape::JoinedLowerCase | Shape::Last(Spelling::AllLower) | Shape::All(Spelling::AllLower) => false,
        Shape::Last(Spelling::TitleCase) | Shape::All(Spelling::TitleCase) => true,
        Shape::Last(Spelling::LowerCase) | Shape::All(Spelling::LowerCase) => {
            FRONT_END.contains(&name) || matches!(name, "content-type" | "user-agent")
        }
    };
    let out = object.harmless_key(name);
    if title {
        // The name stands before `":`.
        let end = out.len() - 2;
        write_title_case(&mut out[end - name.len()..end]);
    }
    out
}

/// Header names are ASCII without characters that JSON would escape.
fn write_title_case(name: &mut [u8]) {
    let mut start = true;
    for letter in name {
        if start {
            letter.make_ascii_uppercase();
        }
        start = *letter == b'-';
    }
}

/// The cookies of format 2.0: one item for each `name=value` (H-EV2-10); `None` without any.
pub(super) fn cookies(headers: &HeaderMap) -> Option<Vec<&[u8]>> {
    let fields = headers.get_all(COOKIE).iter().flat_map(|value| value.as_bytes().split(|&byte| byte == b';'));
    let cookies: Vec<_> = fields.map(<[u8]>::trim_ascii).filter(|cookie| !cookie.is_empty()).collect();
    (!cookies.is_empty()).then_some(cookies)
}
