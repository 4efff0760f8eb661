//! Headers that concern one connection only (H-EV2-14, RFC 9110 section 7.6.1), and others that a gateway takes out.

use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName};
use smallvec::SmallVec;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Which of the headers that matter here are in a map: found in one pass over the names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found(u32);

impl Found {
    pub(crate) const CONNECTION: Self = Self(1);
    pub(crate) const KEEP_ALIVE: Self = Self(1 << 1);
    pub(crate) const PROXY_CONNECTION: Self = Self(1 << 2);
    pub(crate) const TE: Self = Self(1 << 3);
    pub(crate) const TRAILER: Self = Self(1 << 4);
    pub(crate) const TRANSFER_ENCODING: Self = Self(1 << 5);
    pub(crate) const UPGRADE: Self = Self(1 << 6);
    pub(crate) const EXPECT: Self = Self(1 << 7);
    pub(crate) const COOKIE: Self = Self(1 << 8);
    pub(crate) const FORWARDED: Self = Self(1 << 9);
    pub(crate) const X_FORWARDED_FOR: Self = Self(1 << 10);
    pub(crate) const X_FORWARDED_OTHER: Self = Self(1 << 11);
    pub(crate) const APIGW: Self = Self(1 << 12);
    pub(crate) const CONTENT_LENGTH: Self = Self(1 << 13);
    pub(crate) const X_AMZ: Self = Self(1 << 14);
    /// `Expect` is answered by the gateway (H-HTTP-17) and goes no further either.
    pub(crate) const HOP_BY_HOP: Self = Self(0xff);

    /// Looks at every name once.
    pub(crate) fn scan(headers: &HeaderMap) -> Self {
        Self(headers.keys().fold(0, |found, name| found | Self::of(name.as_str()).0))
    }

    /// What one name is.
    pub(crate) fn of(name: &str) -> Self {
        match name {
            "connection" => Self::CONNECTION,
            "keep-alive" => Self::KEEP_ALIVE,
            "proxy-connection" => Self::PROXY_CONNECTION,
            "te" => Self::TE,
            "trailer" => Self::TRAILER,
            "transfer-encoding" => Self::TRANSFER_ENCODING,
            "upgrade" => Self::UPGRADE,
            "expect" => Self::EXPECT,
            "cookie" => Self::COOKIE,
            "forwarded" => Self::FORWARDED,
            "x-forwarded-for" => Self::X_FORWARDED_FOR,
            other if other.starts_with("x-forwarded-") => Self::X_FORWARDED_OTHER,
            other if other.starts_with("apigw-") => Self::APIGW,
            "content-length" => Self::CONTENT_LENGTH,
            other if other.starts_with("x-amz") => Self::X_AMZ,
            _ => Self(0),
        }
    }

    pub(crate) fn any(self, of: Self) -> bool {
        self.0 & of.0 != 0
    }
}

impl std::ops::BitOr for Found {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Removes hop-by-hop headers, those that `Connection` names included. With `Transfer-Encoding` goes `Content-Length`, which then means
/// nothing (RFC 9112 section 6.3).
pub(super) fn remove_hop_by_hop(headers: &mut HeaderMap, found: Found) {
    if found.any(Found::CONNECTION) {
        let named: SmallVec<[HeaderName; 4]> =
            connection_options(headers).filter_map(|name| HeaderName::from_bytes(name).ok()).collect();
        for name in named {
            headers.remove(name);
        }
    }
    for (kind, name) in [
        (Found::CONNECTION, CONNECTION),
        (Found::KEEP_ALIVE, KEEP_ALIVE),
        (Found::PROXY_CONNECTION, PROXY_CONNECTION),
        (Found::TE, TE),
        (Found::TRAILER, TRAILER),
        (Found::TRANSFER_ENCODING, TRANSFER_ENCODING),
        (Found::UPGRADE, UPGRADE),
        (Found::EXPECT, EXPECT),
    ] {
        if found.any(kind) {
            headers.remove(name);
        }
    }
    if found.any(Found::TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    }
}

/// Whether the sender reads trailers (RFC 9110 section 10.1.4).
pub(super) fn takes_trailers(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(TE).iter().flat_map(|value| value.as_bytes().split(|&byte| byte == b','));
    lines.map(<[u8]>::trim_ascii).any(|option| option.eq_ignore_ascii_case(b"trailers"))
}

/// The header names that `Connection` lists and that are in the map, as sent.
pub(crate) fn connection_options(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let options = headers.get_all(CONNECTION).iter().flat_map(|value| value.as_bytes().split(|&byte| byte == b','));
    options.map(<[u8]>::trim_ascii).filter(|option| {
        !option.eq_ignore_ascii_case(b"keep-alive")
            && !option.eq_ignore_ascii_case(b"close")
            && std::str::from_utf8(option).is_ok_and(|name| headers.contains_key(name))
    })
}

/// Removes every `X-Forwarded-*`.
pub(super) fn remove_x_forwarded(headers: &mut HeaderMap, found: Found) {
    if found.any(Found::X_FORWARDED_FOR) {
        headers.remove(super::X_FORWARDED_FOR);
    }
    if found.any(Found::X_FORWARDED_OTHER) {
        remove_prefixed(headers, "x-forwarded-");
    }
}

/// Removes every header whose name starts so.
pub(super) fn remove_prefixed(headers: &mut HeaderMap, prefix: &str) {
    let names: SmallVec<[HeaderName; 8]> =
        headers.keys().filter(|name| name.as_str().starts_with(prefix)).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}
