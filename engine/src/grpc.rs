//! gRPC over HTTP/2: how its callers hear of errors that the gateway makes, and how long they wait.
//!
//! Sources: "gRPC over HTTP2" and "HTTP to gRPC Status Code Mapping", both in the documentation of grpc/grpc.

use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::reject::Reject;

/// `grpc-status`.
pub const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// `grpc-message`.
pub const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// A status of gRPC, as far as a gateway makes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Code {
    /// What has no other code.
    Unknown = 2,
    /// The call took longer than its deadline or the integration's timeout.
    DeadlineExceeded = 4,
    /// 403.
    PermissionDenied = 7,
    /// 404: no route, so no such method.
    Unimplemented = 12,
    /// 400.
    Internal = 13,
    /// 429, 502, 503 and 504: trying again later may help.
    Unavailable = 14,
    /// 401.
    Unauthenticated = 16,
}

impl Code {
    /// The code for an HTTP status, by gRPC's own table for clients that meet a proxy's errors.
    pub const fn of_status(status: u16) -> Self {
        match status {
            400 => Self::Internal,
            401 => Self::Unauthenticated,
            403 => Self::PermissionDenied,
            404 => Self::Unimplemented,
            429 | 502..=504 => Self::Unavailable,
            _ => Self::Unknown,
        }
    }

    /// The code of a rejected call. A call that ran out of time is not [`Code::Unavailable`]: it may have been carried out, and clients call
    /// unavailable services again by themselves.
    pub fn of(reject: Reject) -> Self {
        match reject {
            Reject::IntegrationTimeout => Self::DeadlineExceeded,
            other => Self::of_status(other.status()),
        }
    }
}

/// Whether a request is a call of gRPC: `application/grpc`, maybe with a format after `+` or parameters. gRPC-Web, which is for clients
/// that see no trailers, is not.
pub fn is_call(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE) else { return false };
    let Some((start, rest)) = value.as_bytes().split_at_checked("application/grpc".len()) else { return false };
    start.eq_ignore_ascii_case(b"application/grpc") && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
}

/// The answer to a call that the gateway refuses, as headers: they stand for trailers of a response without a body ("Trailers-Only"), whose
/// HTTP status is 200.
pub fn refuse(reject: Reject, headers: &mut HeaderMap) {
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(GRPC_STATUS, HeaderValue::from(Code::of(reject) as u16));
    // Plain ASCII without `%`, so nothing has to be encoded.
    headers.insert(GRPC_MESSAGE, HeaderValue::from_static(reject.message()));
}

/// The caller's deadline, from `grpc-timeout`: up to eight digits and a unit. What is malformed is the backend's to refuse.
pub fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let (unit, digits) = headers.get(GRPC_TIMEOUT)?.as_bytes().split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let amount = digits.iter().fold(0, |amount, digit| amount * 10 + u64::from(digit - b'0'));
    match unit {
        b'H' => Some(Duration::from_secs(amount * 3600)),
        b'M' => Some(Duration::from_secs(amount * 60)),
        b'S' => Some(Duration::from_secs(amount)),
        b'm' => Some(Duration::from_millis(amount)),
        b'u' => Some(Duration::from_micros(amount)),
        b'n' => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn calls_are_known_by_their_content_type() {
        for (value, call) in [
            ("application/grpc", true),
            ("Application/GRPC+proto", true),
            ("application/grpc;charset=x", true),
            ("application/grpc-web", false),
            ("application/grpc-web+proto", false),
            ("application/grpcx", false),
            ("application/grp", false),
            ("application/json", false),
        ] {
            assert_eq!(is_call(&with(CONTENT_TYPE, value)), call, "{value}");
        }
        assert!(!is_call(&HeaderMap::new()));
    }

    #[test]
    fn every_rejection_has_the_code_of_its_status_but_timeouts() {
        let table =
            [(400, 13), (401, 16), (403, 7), (404, 12), (429, 14), (502, 14), (503, 14), (504, 14), (500, 2), (413, 2)];
        for (status, code) in table {
            assert_eq!(Code::of_status(status) as u16, code, "{status}");
        }
        for reject in Reject::ALL {
            let mut headers = HeaderMap::new();
            refuse(reject, &mut headers);
            let code = if reject == Reject::IntegrationTimeout { 4 } else { Code::of_status(reject.status()) as u16 };
            assert_eq!(headers[GRPC_STATUS], code.to_string());
            assert_eq!(headers[GRPC_MESSAGE], reject.message());
            assert!(!reject.message().contains('%'));
        }
    }

    #[test]
    fn deadlines() {
        for (value, expected) in [
            ("1H", Some(Duration::from_secs(3600))),
            ("2M", Some(Duration::from_secs(120))),
            ("3S", Some(Duration::from_secs(3))),
            ("100m", Some(Duration::from_millis(100))),
            ("5u", Some(Duration::from_micros(5))),
            ("99999999n", Some(Duration::from_nanos(99_999_999))),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
            ("0S", Some(Duration::ZERO)),
            ("S", None),
            ("", None),
            ("1", None),
            ("1s", None),
            ("-1S", None),
            ("1.5S", None),
            ("123456789S", None),
        ] {
            assert_eq!(timeout(&with(GRPC_TIMEOUT, value)), expected, "{value:?}");
        }
        assert_eq!(timeout(&HeaderMap::new()), None);
    }
}
