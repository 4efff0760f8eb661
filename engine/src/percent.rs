//! Percent-decoding of paths and query strings, and the parameters of a query.

use std::borrow::Cow;

/// `%XX` decoded except `%2F`, which stays as sent so that it does not look like a segment boundary (H-EV2-4, H-EV2-5).
/// Bytes that are then not UTF-8 become U+FFFD; a `%` without two hexadecimal digits stays. `+` stays `+`.
pub fn decode_path(path: &str) -> Cow<'_, str> {
    decode(path, Decode { keep_slash: true, plus_is_space: false })
}

/// A name or value of a query: `+` is a space, `%2B` a plus (H-EV2-8).
pub fn decode_query(text: &str) -> Cow<'_, str> {
    decode(text, Decode { keep_slash: false, plus_is_space: true })
}

/// The parameters of a raw query in the order of the request, decoded. `k` and `k=` both have the value `""`; empty
/// pieces (`a=1&&b=2`) are no parameters.
pub fn query_parameters(raw: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    raw.split('&').filter(|piece| !piece.is_empty()).map(|piece| {
        let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
        (decode_query(name), decode_query(value))
    })
}

/// Appends `text` with everything encoded but the unreserved characters of RFC 3986 section 2.3, as AWS wants it.
pub(crate) fn push_encoded(out: &mut String, text: &str) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

#[derive(Clone, Copy)]
struct Decode {
    keep_slash: bool,
    plus_is_space: bool,
}

fn decode(text: &str, how: Decode) -> Cow<'_, str> {
    let special = |byte: u8| byte == b'%' || how.plus_is_space && byte == b'+';
    let bytes = text.as_bytes();
    let Some(first) = bytes.iter().position(|&byte| special(byte)) else { return Cow::Borrowed(text) };
    let mut out = Vec::with_capacity(bytes.len());
    out.extend_from_slice(&bytes[..first]);
    let mut rest = &bytes[first..];
    while let [byte, tail @ ..] = rest {
        rest = tail;
        match (byte, tail) {
            (b'+', _) if how.plus_is_space => out.push(b' '),
            (b'%', [high, low, after @ ..]) => match hex_pair(*high, *low) {
                Some(decoded) if decoded != b'/' || !how.keep_slash => {
                    out.push(decoded);
                    rest = after;
                }
                _ => out.push(b'%'),
            },
            (other, _) => out.push(*other),
        }
    }
    match String::from_utf8(out) {
        Ok(text) => Cow::Owned(text),
        Err(error) => Cow::Owned(String::from_utf8_lossy(error.as_bytes()).into_owned()),
    }
}

fn hex_pair(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(high)? << 4 | digit(low)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves H-EV2-4, H-EV2-5.
    #[test]
    fn paths() {
        for (sent, decoded) in [
            ("/dev/pets/a%20b", "/dev/pets/a b"),
            ("/a+b/", "/a+b/"),
            ("/a%2Fb%2fc", "/a%2Fb%2fc"),
            ("/%41%c3%a9", "/Aé"),
            ("/%ff", "/\u{fffd}"),
            ("/%", "/%"),
            ("/%4", "/%4"),
            ("/%zz%41", "/%zzA"),
            ("/%252F", "/%2F"),
        ] {
            assert_eq!(decode_path(sent), decoded);
        }
    }

    /// Proves H-EV2-8.
    #[test]
    fn queries() {
        let read = |raw| query_parameters(raw).map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>();
        assert_eq!(read("a=1&a=2&b=x+y&c=x%2By&d=&e"), ["a=1", "a=2", "b=x y", "c=x+y", "d=", "e="]);
        assert_eq!(read("&&a=b=c&=v&%61=%2f"), ["a=b=c", "=v", "a=/"]);
        assert!(read("").is_empty());
    }

    #[test]
    fn nothing_is_copied_when_nothing_is_encoded() {
        assert!(matches!(decode_path("/pets/1"), Cow::Borrowed(_)));
        assert!(matches!(decode_query("plain"), Cow::Borrowed(_)));
    }
}
