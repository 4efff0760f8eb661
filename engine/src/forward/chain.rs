//! The `Forwarded` header (RFC 7239, H-HTTP-9, H-HTTP-10, H-VPC-7).

use std::net::Ipv6Addr;

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName, HeaderValue};
use smallvec::SmallVec;

use super::{Onward, Target, X_FORWARDED_FOR};

type Text = SmallVec<[u8; 256]>;

/// For a request without a chain: `by=<gateway>;for=<peer>;host=<host>;proto=<scheme>`; to services without `by=`.
pub(super) fn forwarded(onward: &Onward<'_>) -> HeaderValue {
    let mut text = Text::new();
    push_by(&mut text, onward);
    push_for(&mut text, onward.peer.address.as_bytes());
    text.push(b';');
    push_host_and_scheme(&mut text, onward);
    value(&text)
}

/// For a request with a chain: the addresses of `X-Forwarded-For`, then the peer: `for=a,for=b,for=<peer>;by=…;host=…;proto=…`. `Forwarded`
/// of a trusted peer stands in front instead; of others it is not believed.
pub(super) fn forwarded_after(headers: &HeaderMap, onward: &Onward<'_>) -> HeaderValue {
    let chain = if onward.peer.trusted { joined(headers, &FORWARDED, ", ") } else { None };
    let mut text = Text::new();
    match chain {
        Some(chain) => {
            text.extend_from_slice(&chain);
            text.extend_from_slice(b", ");
        }
        None => {
            let nodes =
                headers.get_all(X_FORWARDED_FOR).iter().flat_map(|value| value.as_bytes().split(|&byte| byte == b','));
            for node in nodes.map(<[u8]>::trim_ascii).filter(|node| !node.is_empty()) {
                push_for(&mut text, node);
                text.push(b',');
            }
        }
    }
    if text.is_empty() {
        return forwarded(onward);
    }
    push_for(&mut text, onward.peer.address.as_bytes());
    text.push(b';');
    push_by(&mut text, onward);
    push_host_and_scheme(&mut text, onward);
    value(&text)
}

/// All values of a header as one list; `None` if there is nothing in it.
pub(super) fn joined(headers: &HeaderMap, name: &HeaderName, separator: &str) -> Option<Text> {
    let mut text = Text::new();
    for value in headers.get_all(name).iter().map(HeaderValue::as_bytes).filter(|value| !value.is_empty()) {
        if !text.is_empty() {
            text.extend_from_slice(separator.as_bytes());
        }
        text.extend_from_slice(value);
    }
    (!text.is_empty()).then_some(text)
}

/// `by=<gateway>;`, only towards URLs.
fn push_by(text: &mut Text, onward: &Onward<'_>) {
    if onward.target == Target::Http {
        text.extend_from_slice(b"by=");
        push_node(text, onward.peer.gateway.as_bytes());
        text.push(b';');
    }
}

fn push_for(text: &mut Text, node: &[u8]) {
    text.extend_from_slice(b"for=");
    push_node(text, node);
}

fn push_host_and_scheme(text: &mut Text, onward: &Onward<'_>) {
    text.extend_from_slice(b"host=");
    push_word(text, onward.api_host.as_bytes());
    text.extend_from_slice(b";proto=");
    text.extend_from_slice(onward.peer.scheme.as_bytes());
}

/// An address; IPv6 in brackets and quotes (RFC 7239 section 6).
fn push_node(text: &mut Text, node: &[u8]) {
    let bare_v6 = node.contains(&b':') && std::str::from_utf8(node).is_ok_and(|node| node.parse::<Ipv6Addr>().is_ok());
    if bare_v6 {
        text.extend_from_slice(b"\"[");
        text.extend_from_slice(node);
        text.extend_from_slice(b"]\"");
    } else {
        push_word(text, node);
    }
}

/// A token as it is, anything else as a quoted string, so that a client's text cannot start another parameter or element.
fn push_word(text: &mut Text, word: &[u8]) {
    if !word.is_empty() && word.iter().all(|&byte| is_token(byte)) {
        text.extend_from_slice(word);
        return;
    }
    text.push(b'"');
    for &byte in word {
        if byte == b'"' || byte == b'\\' {
            text.push(b'\\');
        }
        text.push(byte);
    }
    text.push(b'"');
}

/// RFC 9110 section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn value(text: &[u8]) -> HeaderValue {
    HeaderValue::from_bytes(text).expect("parts of header values and visible ASCII")
}
