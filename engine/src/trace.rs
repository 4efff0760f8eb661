//! Trace ids: AWS's `X-Amzn-Trace-Id` (H-EV2-13) and W3C `traceparent`.
//!
//! Randomness and time are arguments.

use http::{HeaderMap, HeaderName, HeaderValue};

/// `x-amzn-trace-id`.
pub const X_AMZN_TRACE_ID: HeaderName = HeaderName::from_static("x-amzn-trace-id");
/// `traceparent`.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// `tracestate`.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Longest `X-Amzn-Trace-Id` of a client that is kept.
const MAX_CLIENT_VALUE: usize = 512;

/// The 16 bytes that both forms share: in AWS's form four bytes of seconds and twelve random ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceId(pub [u8; 16]);

impl TraceId {
    /// A new id of a request that came `seconds` after 1970.
    pub fn new(seconds: u64, random: [u8; 12]) -> Self {
        let mut id = [0; 16];
        // AWS's form has eight hexadecimal digits for the seconds; they wrap in 2106.
        id[..4].copy_from_slice(&seconds.to_be_bytes()[4..]);
        id[4..].copy_from_slice(&random);
        Self(id)
    }

    /// `Root=1-{8 hex}-{24 hex}`.
    fn amzn_root(self) -> [u8; 40] {
        let mut text = *b"Root=1-00000000-000000000000000000000000";
        write_hex(&self.0[..4], &mut text[7..15]);
        write_hex(&self.0[4..], &mut text[16..]);
        text
    }
}

/// The `X-Amzn-Trace-Id` of one request.
#[derive(Clone, Copy, Debug)]
pub struct AmznTrace<'h>(Source<'h>);

#[derive(Clone, Copy, Debug)]
enum Source<'h> {
    Client(&'h HeaderValue),
    Made([u8; 40]),
}

impl<'h> AmznTrace<'h> {
    /// The client's value when it has a well-formed `Root`, else a new one (H-EV2-13). The second part is the id.
    pub fn of(headers: &'h HeaderMap, seconds: u64, random: [u8; 12]) -> (Self, TraceId) {
        let sent = headers.get(X_AMZN_TRACE_ID).and_then(|value| Some((value, amzn_root_of(value.to_str().ok()?)?)));
        match sent {
            Some((value, id)) if value.len() <= MAX_CLIENT_VALUE => (Self(Source::Client(value)), id),
            _ => (Self::made(seconds, random), TraceId::new(seconds, random)),
        }
    }

    /// The value for a client that sent none.
    pub fn made(seconds: u64, random: [u8; 12]) -> Self {
        Self(Source::Made(TraceId::new(seconds, random).amzn_root()))
    }

    /// The value as text.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Source::Client(value) => value.to_str().expect("only values that are visible ASCII are kept"),
            Source::Made(text) => std::str::from_utf8(text).expect("made of ASCII characters"),
        }
    }

    /// The value as a header towards a backend.
    pub fn header_value(&self) -> HeaderValue {
        match &self.0 {
            Source::Client(value) => (*value).clone(),
            Source::Made(text) => HeaderValue::from_bytes(text).expect("made of visible ASCII characters"),
        }
    }
}

/// The id in the `Root` field of a value such as `Root=1-6a5145a9-0123456789abcdef01234567;Sampled=1`.
pub fn amzn_root_of(value: &str) -> Option<TraceId> {
    let root = value.split(';').find_map(|field| field.trim().strip_prefix("Root="))?;
    let (seconds, unique) = root.strip_prefix("1-")?.split_once('-')?;
    let mut id = [0; 16];
    read_hex(seconds.as_bytes(), &mut id[..4], AnyCase)?;
    read_hex(unique.as_bytes(), &mut id[4..], AnyCase)?;
    Some(TraceId(id))
}

/// A span as W3C Trace Context names it: `00-{trace id}-{span id}-{flags}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace; not all zero.
    pub trace_id: TraceId,
    /// The span; not all zero.
    pub span_id: [u8; 8],
    /// Bit 0: the caller recorded this trace.
    pub flags: u8,
}

impl TraceParent {
    /// Reads a `traceparent` header (Trace Context section 3.2). Versions above 00 are read by the fields that 00 has.
    pub fn parse(value: &str) -> Option<Self> {
        let bytes = value.as_bytes();
        let mut version = [0];
        read_hex(bytes.get(..2)?, &mut version, LowerCase)?;
        let whole = match version[0] {
            0 => bytes.len() == 55,
            0xff => false,
            _ => bytes.len() == 55 || bytes.get(55) == Some(&b'-'),
        };
        if !whole || [bytes[2], bytes[35], bytes[52]] != *b"---" {
            return None;
        }
        let mut parent = Self { trace_id: TraceId([0; 16]), span_id: [0; 8], flags: 0 };
        let mut flags = [0];
        read_hex(&bytes[3..35], &mut parent.trace_id.0, LowerCase)?;
        read_hex(&bytes[36..52], &mut parent.span_id, LowerCase)?;
        read_hex(&bytes[53..55], &mut flags, LowerCase)?;
        parent.flags = flags[0];
        let zero = parent.trace_id.0 == [0; 16] || parent.span_id == [0; 8];
        (!zero).then_some(parent)
    }

    /// The `traceparent` of a request, when it has a valid one.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => Self::parse(value.to_str().ok()?),
            _ => None,
        }
    }

    /// Whether the caller recorded this trace.
    pub fn sampled(&self) -> bool {
        self.flags & 1 == 1
    }

    /// The header value, version 00.
    pub fn header_value(&self) -> HeaderValue {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        write_hex(&self.trace_id.0, &mut text[3..35]);
        write_hex(&self.span_id, &mut text[36..52]);
        write_hex(&[self.flags], &mut text[53..55]);
        HeaderValue::from_bytes(&text).expect("made of visible ASCII characters")
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum HexCase {
    AnyCase,
    LowerCase,
}
use HexCase::{AnyCase, LowerCase};

fn read_hex(text: &[u8], out: &mut [u8], case: HexCase) -> Option<()> {
    if text.len() != out.len() * 2 {
        return None;
    }
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' if case == AnyCase => Some(byte - b'A' + 10),
        _ => None,
    };
    for (pair, byte) in text.chunks_exact(2).zip(out) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(())
}

fn write_hex(bytes: &[u8], out: &mut [u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for (byte, pair) in bytes.iter().zip(out.chunks_exact_mut(2)) {
        pair[0] = HEX[usize::from(byte >> 4)];
        pair[1] = HEX[usize::from(byte & 15)];
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    /// Proves H-EV2-13.
    #[test]
    fn a_new_id_holds_the_seconds_and_random_bytes() {
        let headers = HeaderMap::new();
        let (trace, id) = AmznTrace::of(&headers, 0x6a51_45a9, *b"\x01\x23\x45\x67\x89\xab\xcd\xef\x01\x23\x45\x67");
        assert_eq!(trace.as_str(), "Root=1-6a5145a9-0123456789abcdef01234567");
        assert_eq!(trace.header_value(), trace.as_str());
        assert_eq!(amzn_root_of(trace.as_str()), Some(id));
    }

    /// Proves H-EV2-13.
    #[test]
    fn a_client_value_with_a_root_is_kept() {
        for sent in [
            "Root=1-6a5145a9-0123456789abcdef01234567",
            "Self=1-00000000-000000000000000000000000;Root=1-6a5145a9-0123456789ABCDEF01234567;Sampled=1",
        ] {
            let headers = headers(X_AMZN_TRACE_ID, sent);
            let (trace, id) = AmznTrace::of(&headers, 1, [9; 12]);
            assert_eq!(trace.as_str(), sent);
            assert_eq!(id.0[..5], [0x6a, 0x51, 0x45, 0xa9, 0x01]);
        }
    }

    #[test]
    fn other_client_values_are_replaced() {
        let long = format!("Root=1-6a5145a9-0123456789abcdef01234567;x={}", "y".repeat(600));
        for sent in [
            "",
            "Root=1-6a5145a9",
            "Root=2-6a5145a9-0123456789abcdef01234567",
            "Sampled=1",
            "Root=1-6a5145ag-0123456789abcdef01234567",
            &long,
        ] {
            let headers = headers(X_AMZN_TRACE_ID, sent);
            let (trace, id) = AmznTrace::of(&headers, 1, [9; 12]);
            assert_eq!(trace.as_str(), "Root=1-00000001-090909090909090909090909", "{sent}");
            assert_eq!(id, TraceId::new(1, [9; 12]));
        }
    }

    #[test]
    fn traceparents() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let parsed = TraceParent::parse(good).unwrap();
        assert!(parsed.sampled());
        assert_eq!(parsed.header_value(), good);
        assert_eq!(TraceParent::of(&headers(TRACEPARENT, good)), Some(parsed));
        let later = TraceParent::parse("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00-what").unwrap();
        assert!(!later.sampled());
        for bad in [
            "",
            "00",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01x",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331_01",
        ] {
            assert_eq!(TraceParent::parse(bad), None, "{bad}");
        }
        let mut twice = headers(TRACEPARENT, good);
        twice.append(TRACEPARENT, HeaderValue::from_static("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"));
        assert_eq!(TraceParent::of(&twice), None);
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text: String) {
            let _ = TraceParent::parse(&text);
            let _ = amzn_root_of(&text);
        }

        #[test]
        fn what_is_written_reads_back(trace in prop::array::uniform16(1_u8..), span in prop::array::uniform8(1_u8..), flags: u8) {
            let parent = TraceParent { trace_id: TraceId(trace), span_id: span, flags };
            prop_assert_eq!(TraceParent::parse(parent.header_value().to_str().unwrap()), Some(parent));
        }
    }
}
