//! The PROXY protocol, versions 1 and 2: where a connection came from, as the load balancer before us says it.
//!
//! Pure and incremental: [`parse`] looks at the bytes received so far. It follows `proxy-protocol.txt` of HAProxy, sections 2.1
//! and 2.2, strictly: a header that is not exactly as written there is refused, so that nothing half understood decides
//! who the client is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest version 1 header, line end included (section 2.1).
pub const V1_MAX: usize = 107;
/// The longest version 2 header taken: 16 bytes and what a sender may put in 536 (section 2.2), TLVs included.
pub const V2_MAX: usize = 16 + 536;

const V1_PREFIX: &[u8] = b"PROXY ";
const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_FIXED: usize = 16;

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// So far they could begin a header; read more.
    Incomplete,
    /// They begin something else.
    NotProxy,
    /// A complete header.
    Header {
        /// The client, or `None` where the sender speaks for itself (`LOCAL`, health checks) or does not say (`UNKNOWN`,
        /// address families without ports): then the connection's own peer counts.
        source: Option<SocketAddr>,
        /// Length of the header; what follows belongs to the connection.
        consumed: usize,
    },
    /// A header that breaks the rules; close the connection.
    Invalid(Malformed),
}

/// Which rule a header breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Version 1 without a line end in its first 107 bytes.
    #[error("version 1 header without a line end in 107 bytes")]
    TooLongV1,
    /// Version 1 with a word out of place.
    #[error("version 1 header is not `PROXY TCP4|TCP6 source destination port port`")]
    SyntaxV1,
    /// Version 2 that announces more than 536 bytes.
    #[error("version 2 header of more than 536 bytes")]
    TooLongV2,
    /// Version field other than 2.
    #[error("version 2 signature with another version number")]
    Version,
    /// Command other than LOCAL and PROXY.
    #[error("version 2 command is neither LOCAL nor PROXY")]
    Command,
    /// Address family or transport that the protocol does not define.
    #[error("version 2 address family or transport is not defined")]
    Family,
    /// The announced length does not hold the addresses of the family.
    #[error("version 2 header too short for its addresses")]
    TooShortV2,
}

/// Reads a header from the first bytes of a connection.
pub fn parse(bytes: &[u8]) -> Parsed {
    if begins(bytes, V2_SIGNATURE) {
        return if bytes.len() < V2_SIGNATURE.len() { Parsed::Incomplete } else { parse_v2(bytes) };
    }
    if begins(bytes, V1_PREFIX) {
        return if bytes.len() < V1_PREFIX.len() { Parsed::Incomplete } else { parse_v1(bytes) };
    }
    Parsed::NotProxy
}

/// Whether `bytes` could become, or already is, something that starts with `prefix`.
fn begins(bytes: &[u8], prefix: &[u8]) -> bool {
    let length = bytes.len().min(prefix.len());
    bytes[..length] == prefix[..length]
}

fn parse_v1(bytes: &[u8]) -> Parsed {
    let window = &bytes[..bytes.len().min(V1_MAX)];
    let Some(end) = window.iter().position(|&byte| byte == b'\n') else {
        return if bytes.len() >= V1_MAX { Parsed::Invalid(Malformed::TooLongV1) } else { Parsed::Incomplete };
    };
    let line = window[..end].strip_suffix(b"\r").and_then(|line| std::str::from_utf8(line).ok());
    let Some(line) = line else { return Parsed::Invalid(Malformed::SyntaxV1) };
    match v1_source(&line[V1_PREFIX.len()..]) {
        Some(source) => Parsed::Header { source, consumed: end + 1 },
        None => Parsed::Invalid(Malformed::SyntaxV1),
    }
}

/// The words after `PROXY `. The outer `None` is a syntax error.
fn v1_source(words: &str) -> Option<Option<SocketAddr>> {
    // What follows UNKNOWN is to be ignored (section 2.1).
    if words == "UNKNOWN" || words.starts_with("UNKNOWN ") {
        return Some(None);
    }
    let mut words = words.split(' ');
    let family = words.next()?;
    let (source, destination) = (words.next()?, words.next()?);
    let (source_port, _) = (v1_port(words.next()?)?, v1_port(words.next()?)?);
    if words.next().is_some() {
        return None;
    }
    let source = match family {
        "TCP4" => {
            destination.parse::<Ipv4Addr>().ok()?;
            IpAddr::V4(source.parse().ok()?)
        }
        "TCP6" => {
            destination.parse::<Ipv6Addr>().ok()?;
            IpAddr::V6(source.parse().ok()?)
        }
        _ => return None,
    };
    Some(Some(SocketAddr::new(source, source_port)))
}

/// Decimal without sign or leading zeroes.
fn v1_port(word: &str) -> Option<u16> {
    let plain = word.bytes().all(|byte| byte.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
    if plain { word.parse().ok() } else { None }
}

fn parse_v2(bytes: &[u8]) -> Parsed {
    // The two bytes after the signature are judged as soon as they are there: no waiting for the rest of a broken header.
    let Some(&version_command) = bytes.get(12) else { return Parsed::Incomplete };
    if version_command >> 4 != 2 {
        return Parsed::Invalid(Malformed::Version);
    }
    let command = version_command & 0x0f;
    if command > 1 {
        return Parsed::Invalid(Malformed::Command);
    }
    let Some(&family) = bytes.get(13) else { return Parsed::Incomplete };
    if family >> 4 > 3 || family & 0x0f > 2 {
        return Parsed::Invalid(Malformed::Family);
    }
    let (Some(&high), Some(&low)) = (bytes.get(14), bytes.get(15)) else { return Parsed::Incomplete };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if V2_FIXED + length > V2_MAX {
        return Parsed::Invalid(Malformed::TooLongV2);
    }
    let needs = match family >> 4 {
        1 => 12,
        2 => 36,
        3 => 216,
        _ => 0,
    };
    // For LOCAL the receiver must accept and skip whatever is announced.
    if command == 1 && length < needs {
        return Parsed::Invalid(Malformed::TooShortV2);
    }
    let Some(body) = bytes.get(V2_FIXED..V2_FIXED + length) else { return Parsed::Incomplete };
    let source = if command == 0 { None } else { v2_source(family, body) };
    Parsed::Header { source, consumed: V2_FIXED + length }
}

/// The source of a PROXY command over TCP. Other transports carry nobody that could speak HTTP with us.
fn v2_source(family: u8, body: &[u8]) -> Option<SocketAddr> {
    match family {
        0x11 => {
            let address: [u8; 4] = body.get(..4)?.try_into().ok()?;
            let port: [u8; 2] = body.get(8..10)?.try_into().ok()?;
            Some(SocketAddr::new(Ipv4Addr::from(address).into(), u16::from_be_bytes(port)))
        }
        0x21 => {
            let address: [u8; 16] = body.get(..16)?.try_into().ok()?;
            let port: [u8; 2] = body.get(32..34)?.try_into().ok()?;
            Some(SocketAddr::new(Ipv6Addr::from(address).into(), u16::from_be_bytes(port)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(source: &str, consumed: usize) -> Parsed {
        Parsed::Header { source: Some(source.parse().unwrap()), consumed }
    }

    fn v2(version_command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = V2_SIGNATURE.to_vec();
        bytes.extend([version_command, family]);
        bytes.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
        bytes.extend(body);
        bytes
    }

    fn v2_addresses(source: SocketAddr, destination: SocketAddr) -> (u8, Vec<u8>) {
        let mut body = Vec::new();
        for address in [source, destination] {
            match address.ip() {
                IpAddr::V4(ip) => body.extend(ip.octets()),
                IpAddr::V6(ip) => body.extend(ip.octets()),
            }
        }
        for address in [source, destination] {
            body.extend(address.port().to_be_bytes());
        }
        (if source.is_ipv4() { 0x11 } else { 0x21 }, body)
    }

    #[test]
    fn version_1_headers() {
        let cases: &[(&str, Parsed)] = &[
            ("PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\nGET /", header("192.0.2.1:56324", 45)),
            ("PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n", header("[2001:db8::1]:1", 44)),
            ("PROXY UNKNOWN\r\n", Parsed::Header { source: None, consumed: 15 }),
            ("PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", Parsed::Header { source: None, consumed: 35 }),
            ("PROXY TCP4 192.0.2.1 198.51.100.2 56324 443", Parsed::Incomplete),
            ("PROXY ", Parsed::Incomplete),
            ("PRO", Parsed::Incomplete),
            ("", Parsed::Incomplete),
            ("PROPFIND / HTTP/1.1\r\n", Parsed::NotProxy),
            ("GET / HTTP/1.1\r\n", Parsed::NotProxy),
            ("proxy TCP4 192.0.2.1 198.51.100.2 1 2\r\n", Parsed::NotProxy),
        ];
        for (bytes, expected) in cases {
            assert_eq!(parse(bytes.as_bytes()), *expected, "{bytes:?}");
        }
    }

    #[test]
    fn version_1_is_refused_unless_it_is_exact() {
        for line in [
            "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 56324\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443 \r\n",
            "PROXY TCP4 192.0.2.1  198.51.100.2 56324 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 65536 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 +1 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 01 443\r\n",
            "PROXY TCP4 192.0.2.001 198.51.100.2 1 443\r\n",
            "PROXY TCP4 ::1 ::2 1 443\r\n",
            "PROXY TCP6 192.0.2.1 192.0.2.2 1 443\r\n",
            "PROXY TCP6 ::1 192.0.2.2 1 443\r\n",
            "PROXY UDP4 192.0.2.1 192.0.2.2 1 443\r\n",
            "PROXY UNKNOWNX\r\n",
            "PROXY \u{e9}\r\n",
        ] {
            assert_eq!(parse(line.as_bytes()), Parsed::Invalid(Malformed::SyntaxV1), "{line:?}");
        }
        let mut long = b"PROXY UNKNOWN ".to_vec();
        long.resize(106, b'x');
        assert_eq!(parse(&long), Parsed::Incomplete);
        long.push(b'x');
        assert_eq!(parse(&long), Parsed::Invalid(Malformed::TooLongV1));
    }

    #[test]
    fn version_2_headers() {
        let (family, mut body) = v2_addresses("192.0.2.1:4711".parse().unwrap(), "198.51.100.2:443".parse().unwrap());
        assert_eq!(parse(&v2(0x21, family, &body)), header("192.0.2.1:4711", 28));
        body.extend([0x04, 0, 1, 7]);
        assert_eq!(parse(&v2(0x21, family, &body)), header("192.0.2.1:4711", 32), "TLVs are skipped");
        let none = |consumed| Parsed::Header { source: None, consumed };
        assert_eq!(parse(&v2(0x20, 0x00, &[])), none(16), "LOCAL");
        assert_eq!(parse(&v2(0x20, 0x11, &[1, 2])), none(18), "LOCAL skips what is announced");
        assert_eq!(parse(&v2(0x21, 0x00, &[1, 2, 3])), none(19), "UNSPEC");
        assert_eq!(parse(&v2(0x21, 0x12, &body)), none(32), "UDP");
        assert_eq!(parse(&v2(0x21, 0x31, &[0; 216])), none(232), "UNIX");
    }

    #[test]
    fn version_2_is_refused_unless_it_is_exact() {
        let refused = |bytes: &[u8]| match parse(bytes) {
            Parsed::Invalid(why) => why,
            other => panic!("{other:?}"),
        };
        assert_eq!(refused(&v2(0x11, 0x11, &[0; 12])), Malformed::Version);
        assert_eq!(refused(&v2(0x22, 0x11, &[0; 12])), Malformed::Command);
        assert_eq!(refused(&v2(0x21, 0x41, &[0; 12])), Malformed::Family);
        assert_eq!(refused(&v2(0x21, 0x13, &[0; 12])), Malformed::Family);
        assert_eq!(refused(&v2(0x21, 0x11, &[0; 11])), Malformed::TooShortV2);
        assert_eq!(refused(&v2(0x21, 0x21, &[0; 35])), Malformed::TooShortV2);
        assert_eq!(refused(&v2(0x21, 0x11, &[0; 537])), Malformed::TooLongV2);
        assert!(matches!(parse(&v2(0x21, 0x11, &[0; 536])), Parsed::Header { consumed: V2_MAX, .. }));
    }

    fn address(v6: bool) -> BoxedStrategy<SocketAddr> {
        if v6 {
            (any::<[u8; 16]>(), any::<u16>()).prop_map(|(ip, port)| (Ipv6Addr::from(ip), port).into()).boxed()
        } else {
            (any::<[u8; 4]>(), any::<u16>()).prop_map(|(ip, port)| (Ipv4Addr::from(ip), port).into()).boxed()
        }
    }

    proptest! {
        /// Every well-formed header is read back, however it is cut, and what follows is left alone.
        #[test]
        fn well_formed_headers_are_read_at_any_cut(
            (source, destination) in any::<bool>().prop_flat_map(|v6| (address(v6), address(v6))),
            one in any::<bool>(),
            rest in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let head = if one {
                let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
                format!("PROXY {family} {} {} {} {}\r\n", source.ip(), destination.ip(), source.port(), destination.port()).into_bytes()
            } else {
                let (family, body) = v2_addresses(source, destination);
                v2(0x21, family, &body)
            };
            for cut in 0..head.len() {
                prop_assert_eq!(parse(&head[..cut]), Parsed::Incomplete);
            }
            let whole = [head.clone(), rest].concat();
            prop_assert_eq!(parse(&whole), Parsed::Header { source: Some(source), consumed: head.len() });
        }

        /// Whatever is sent, nobody has to buffer more than the larger bound, and more bytes never change a decision.
        #[test]
        fn a_decision_stands_and_comes_in_time(
            start in prop_oneof![Just(V1_PREFIX.to_vec()), Just(V2_SIGNATURE.to_vec()), Just(b"PROXY TCP4 1.1.1.1 ".to_vec()), Just(Vec::new())],
            rest in proptest::collection::vec(any::<u8>(), 0..700),
        ) {
            let bytes = [start, rest].concat();
            let whole = parse(&bytes);
            prop_assert!(bytes.len() < V2_MAX || whole != Parsed::Incomplete);
            if let Parsed::Header { consumed, .. } = whole {
                prop_assert!(consumed <= bytes.len());
            }
            for cut in 0..bytes.len() {
                let part = parse(&bytes[..cut]);
                prop_assert!(part == Parsed::Incomplete || part == whole, "{:?} became {:?}", part, whole);
            }
        }
    }
}
