//! What the headers of a message hold of the few that the gateway looks at. Most are rare: one pass over the names costs less than a
//! look-up of each, which hashes its name.

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue};

use super::hop::{self, Found};

/// A client's headers, looked at once.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'h> {
    /// The first `Host`.
    pub host: Option<&'h HeaderValue>,
    /// Lines of `Host`.
    pub hosts: usize,
    /// The first `User-Agent`.
    pub user_agent: Option<&'h HeaderValue>,
    /// Bytes of all names and values.
    pub bytes: usize,
    /// There is a `Connection`.
    pub connection: bool,
    /// There is an `X-Amzn-Trace-Id`.
    pub trace: bool,
}

impl<'h> Asked<'h> {
    /// Looks at every line once.
    pub fn of(headers: &'h HeaderMap) -> Self {
        let mut asked = Self { host: None, hosts: 0, user_agent: None, bytes: 0, connection: false, trace: false };
        for (name, value) in headers {
            let text = name.as_str();
            asked.bytes += text.len() + value.len();
            match text {
                "host" => {
                    asked.hosts += 1;
                    asked.host = asked.host.or(Some(value));
                }
                "user-agent" => asked.user_agent = asked.user_agent.or(Some(value)),
                "connection" => asked.connection = true,
                "x-amzn-trace-id" => asked.trace = true,
                _ => {}
            }
        }
        asked
    }
}

/// A backend's headers, looked at once.
#[derive(Clone, Copy, Debug)]
pub struct Answered(Found);

impl Answered {
    /// Looks at every name once.
    pub fn of(headers: &HeaderMap) -> Self {
        Self(Found::scan(headers))
    }

    /// Whether the answer may name its request as AWS does (`x-amzn-requestid`, `x-amz-request-id`, `x-amz-id-2`).
    pub fn may_name_request(self) -> bool {
        self.0.any(Found::X_AMZ)
    }

    /// As [`super::is_coded`].
    pub fn is_coded(self, headers: &HeaderMap) -> bool {
        self.0.any(Found::TRANSFER_ENCODING) && super::is_coded(headers)
    }

    /// Whether the answer frames its body more than once: two lengths, two codings, or one of each. Readers disagree on which counts (RFC
    /// 9112 section 6.3), so that what one takes for the body the other takes for the next message.
    pub fn has_two_lengths(self, headers: &HeaderMap) -> bool {
        let (length, coding) = (self.0.any(Found::CONTENT_LENGTH), self.0.any(Found::TRANSFER_ENCODING));
        let twice = |name| headers.get_all(name).iter().nth(1).is_some();
        let repeats = headers.len() > headers.keys_len();
        length && coding || repeats && (length && twice(CONTENT_LENGTH) || coding && twice(TRANSFER_ENCODING))
    }

    /// Turns a backend's headers into those of the answer to the client (H-HDR-3, H-HDR-4): hop-by-hop and `apigw-*` headers go.
    pub fn strip(self, headers: &mut HeaderMap) {
        if self.0.any(Found::HOP_BY_HOP) {
            hop::remove_hop_by_hop(headers, self.0);
        }
        if self.0.any(Found::APIGW) {
            hop::remove_prefixed(headers, "apigw-");
        }
    }
}
