//! The form of a request that is signed: what means the same is written the same.

use std::borrow::Cow;

use http::HeaderValue;

use super::Request;
use super::claim::Claim;

/// The canonical request, to be hashed. `path` is the canonical path, `digest` the body's in hexadecimal digits. `None` when a signed header is
/// not there.
pub(super) fn canonical_request(request: &Request<'_>, path: &str, claim: &Claim<'_>, digest: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(request.method.as_bytes());
    out.push(b'\n');
    out.extend_from_slice(path.as_bytes());
    out.push(b'\n');
    out.extend_from_slice(query(request.query.unwrap_or_default(), claim.in_query).as_bytes());
    out.push(b'\n');
    for name in claim.signed_headers.split(';') {
        out.extend_from_slice(name.as_bytes());
        out.push(b':');
        header(request, name, &mut out)?;
        out.push(b'\n');
    }
    out.push(b'\n');
    out.extend_from_slice(claim.signed_headers.as_bytes());
    out.push(b'\n');
    out.extend_from_slice(digest.as_bytes());
    Some(out)
}

/// The values of a header joined with commas, each without the spaces around it, runs of spaces as one.
fn header(request: &Request<'_>, name: &str, out: &mut Vec<u8>) -> Option<()> {
    if name == "host" {
        push_trimmed(request.host.as_bytes(), out);
        return (!request.host.is_empty()).then_some(());
    }
    let mut values = request.headers.get_all(name).iter().map(HeaderValue::as_bytes);
    push_trimmed(values.next()?, out);
    for value in values {
        out.push(b',');
        push_trimmed(value, out);
    }
    Some(())
}

fn push_trimmed(value: &[u8], out: &mut Vec<u8>) {
    let mut space = false;
    for &byte in value.trim_ascii() {
        if byte != b' ' || !space {
            out.push(byte);
        }
        space = byte == b' ';
    }
}

/// The path as sent, encoded once more: what was `%20` is `%2520`.
pub(super) fn path(path: &str) -> String {
    let mut out = String::with_capacity(path.len() + 8);
    push_encoded(path.as_bytes(), b"/", &mut out);
    if out.is_empty() {
        out.push('/');
    }
    out
}

/// The same without empty and dot segments (RFC 3986 section 6.2.2.3), as most clients sign it.
pub(super) fn normal_path(sent: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in sent.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            other => kept.push(other),
        }
    }
    let mut normal = String::with_capacity(sent.len() + 1);
    for segment in &kept {
        normal.push('/');
        normal.push_str(segment);
    }
    if kept.is_empty() || sent.ends_with('/') {
        normal.push('/');
    }
    path(&normal)
}

/// The parameters, each encoded in one way, in the order of their encoded names and values. The signature itself is left out.
fn query(raw: &str, signature_inside: bool) -> String {
    let mut parameters: Vec<(String, String)> = raw
        .split('&')
        .filter(|piece| !piece.is_empty())
        .map(|piece| {
            let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
            (encoded(name), encoded(value))
        })
        .filter(|(name, _)| !(signature_inside && name == "X-Amz-Signature"))
        .collect();
    parameters.sort_unstable();
    let mut out = String::with_capacity(raw.len() + 16);
    for (name, value) in parameters {
        if !out.is_empty() {
            out.push('&');
        }
        out.push_str(&name);
        out.push('=');
        out.push_str(&value);
    }
    out
}

fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    push_encoded(&decoded(text), b"", &mut out);
    out
}

/// `%XX` as the byte it stands for, `+` as a space; anything else as it is.
fn decoded(text: &str) -> Cow<'_, [u8]> {
    if !text.bytes().any(|byte| matches!(byte, b'%' | b'+')) {
        return Cow::Borrowed(text.as_bytes());
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, after @ ..] = rest {
        rest = after;
        match (byte, after) {
            (b'+', _) => out.push(b' '),
            (b'%', [high, low, after @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => {
                    out.push(high << 4 | low);
                    rest = after;
                }
                _ => out.push(b'%'),
            },
            (other, _) => out.push(*other),
        }
    }
    Cow::Owned(out)
}

/// All but unreserved characters (RFC 3986 section 2.3) and `kept` as `%XX`.
fn push_encoded(bytes: &[u8], kept: &[u8], out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || kept.contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(DIGITS[usize::from(byte >> 4)]));
            out.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
}
