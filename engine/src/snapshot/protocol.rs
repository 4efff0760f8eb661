//! Which HTTP a backend is spoken to in.

use serde::{Deserialize, Serialize};

/// The protocol towards a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum BackendProtocol {
    /// HTTP/1.1, as AWS calls backends.
    Http1,
    /// HTTP/2: by ALPN over TLS, else with prior knowledge (RFC 9113 sections 3.2 and 3.3).
    Http2,
    /// One that this proxy does not know: as if nothing was said.
    #[serde(other)]
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_protocol_of_the_future_is_unknown() {
        let read = |text: &str| serde_json::from_str::<BackendProtocol>(text).unwrap();
        assert_eq!(
            [read(r#""http1""#), read(r#""http2""#), read(r#""http3""#)],
            [BackendProtocol::Http1, BackendProtocol::Http2, BackendProtocol::Unknown]
        );
    }
}
