//! What a request path may look like (H-ROUTE-24, H-ROUTE-25).
//!
//! The rule behind all of it: what is matched is what is forwarded. A path that a backend could read differently than the
//! matcher did would walk around a route's authorizer, so it is refused before any route is looked at.

use std::borrow::Cow;

/// What the matcher wants to know about a path that is safe to match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathShape {
    /// The path has percent-encoding, so segments are decoded before they are compared.
    pub encoded: bool,
}

/// Why a path is refused with 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnsafePath {
    /// Not an absolute path (`*`, or empty).
    #[error("the request target is not an absolute path")]
    NotAbsolute,
    /// `.` or `..`, raw or encoded, also before a `;` or beside an encoded slash.
    #[error("the path has a dot segment")]
    DotSegment,
    /// A backslash, `#`, a control or a non-ASCII byte.
    #[error("the path has the byte {0:#04x}, which must be percent-encoded")]
    Byte(u8),
    /// `%` without two hexadecimal digits, or `%00`.
    #[error("the path has a broken percent-encoding")]
    Escape,
}

/// Looks at every byte of `path` (without the query) once.
///
/// # Errors
/// The path could be read in more than one way (H-ROUTE-25).
pub fn inspect_path(path: &str) -> Result<PathShape, UnsafePath> {
    let bytes = path.as_bytes();
    if bytes.first() != Some(&b'/') {
        return Err(UnsafePath::NotAbsolute);
    }
    let mut suspicious = false;
    let mut previous = 0;
    for &byte in bytes {
        match BYTES[usize::from(byte)] {
            Class::Plain => {}
            // A dot segment starts with a dot, whatever follows it.
            Class::Dot => suspicious |= previous == b'/',
            Class::Percent => suspicious = true,
            Class::Refused => return Err(UnsafePath::Byte(byte)),
        }
        previous = byte;
    }
    if !suspicious {
        return Ok(PathShape { encoded: false });
    }
    inspect_segments(&bytes[1..])
}

#[cold]
fn inspect_segments(rest: &[u8]) -> Result<PathShape, UnsafePath> {
    let mut encoded = false;
    for segment in rest.split(|&byte| byte == b'/') {
        let decoded = decode_segment(segment).ok_or(UnsafePath::Escape)?;
        encoded |= matches!(decoded, Cow::Owned(_));
        if decoded.contains(&0) {
            return Err(UnsafePath::Escape);
        }
        // Backends that decode `%2F` or `%5C` before they split, and those that cut path parameters (`..;x`), must not
        // find a dot segment either.
        if decoded.split(|byte| matches!(byte, b'/' | b'\\')).any(is_dots) {
            return Err(UnsafePath::DotSegment);
        }
    }
    Ok(PathShape { encoded })
}

fn is_dots(part: &[u8]) -> bool {
    let name = part.split(|&byte| byte == b';').next().unwrap_or(part);
    name == b"." || name == b".."
}

/// Percent-decodes one segment; borrowed when there is nothing to decode, `None` when an escape is broken.
pub fn decode_segment(segment: &[u8]) -> Option<Cow<'_, [u8]>> {
    let Some(first) = memchr::memchr(b'%', segment) else { return Some(Cow::Borrowed(segment)) };
    let mut decoded = Vec::with_capacity(segment.len());
    decoded.extend_from_slice(&segment[..first]);
    let mut rest = &segment[first..];
    while let Some((&byte, tail)) = rest.split_first() {
        if byte == b'%' {
            let [high, low, tail @ ..] = tail else { return None };
            decoded.push(hex(*high)? << 4 | hex(*low)?);
            rest = tail;
        } else {
            decoded.push(byte);
            rest = tail;
        }
    }
    Some(Cow::Owned(decoded))
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Class {
    Plain,
    Dot,
    Percent,
    Refused,
}

const BYTES: [Class; 256] = {
    let mut classes = [Class::Plain; 256];
    let mut byte = 0;
    while byte < 256 {
        if byte <= 0x20 || byte >= 0x7f {
            classes[byte] = Class::Refused;
        }
        byte += 1;
    }
    classes[b'\\' as usize] = Class::Refused;
    classes[b'#' as usize] = Class::Refused;
    classes[b'.' as usize] = Class::Dot;
    classes[b'%' as usize] = Class::Percent;
    classes
};

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves H-ROUTE-25.
    #[test]
    fn refuses_what_backends_may_read_differently() {
        for path in [
            "/.",
            "/..",
            "/a/./b",
            "/a/../b",
            "/a/..",
            "/%2e",
            "/a/%2e%2E/b",
            "/a/.%2e/b",
            "/a/..;/b",
            "/a/..;x=1/b",
            "/a/%2e%2e%2fb",
            "/a/x%2F..%2Fb",
            "/a/x%5c..%5cb",
            "/a/.%3b/b",
        ] {
            assert_eq!(inspect_path(path), Err(UnsafePath::DotSegment), "{path}");
        }
        assert_eq!(inspect_path("/a\\b"), Err(UnsafePath::Byte(b'\\')));
        assert_eq!(inspect_path("/a#b"), Err(UnsafePath::Byte(b'#')));
        assert_eq!(inspect_path("/a\tb"), Err(UnsafePath::Byte(b'\t')));
        assert_eq!(inspect_path("/caf\u{e9}"), Err(UnsafePath::Byte(0xc3)));
        for path in ["/%", "/%4", "/%zz", "/a/%00"] {
            assert_eq!(inspect_path(path), Err(UnsafePath::Escape), "{path}");
        }
        for path in ["", "*", "pets"] {
            assert_eq!(inspect_path(path), Err(UnsafePath::NotAbsolute), "{path}");
        }
    }

    #[test]
    fn accepts_what_is_only_unusual() {
        for path in
            ["/", "//", "/a//b", "/a.b", "/.well-known/x", "/...", "/..a", "/a;b", "/a..", "/a/b.", "/{x}", "/a|b"]
        {
            assert_eq!(inspect_path(path), Ok(PathShape { encoded: false }), "{path}");
        }
        for path in ["/a%20b", "/a%2Fb", "/%41", "/a%5cb"] {
            assert_eq!(inspect_path(path), Ok(PathShape { encoded: true }), "{path}");
        }
    }

    #[test]
    fn decodes() {
        let decode =
            |text: &str| decode_segment(text.as_bytes()).map(|bytes| String::from_utf8(bytes.into_owned()).unwrap());
        assert_eq!(decode("a%2Fb+%e2%82%ac"), Some("a/b+\u{20ac}".to_owned()));
        assert_eq!(decode("plain"), Some("plain".to_owned()));
        assert_eq!(decode("%e"), None);
    }
}
