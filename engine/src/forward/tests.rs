use std::net::{Ipv4Addr, Ipv6Addr};

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, SET_COOKIE, TRANSFER_ENCODING};
use proptest::prelude::*;

use super::*;

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3));
const GATEWAY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 9, 9));
static API_HOST: HeaderValue = HeaderValue::from_static("abc123.execute-api.local.example");
static BACKEND_HOST: HeaderValue = HeaderValue::from_static("b.example");
static TRACE: HeaderValue = HeaderValue::from_static("Root=1-6a5145a9-0123456789abcdef01234567");

fn peer(trusted: bool) -> Peer {
    Peer::new(CLIENT, GATEWAY, "https", trusted)
}

fn onward(peer: &Peer, target: Target) -> Onward<'_> {
    let backend_host = if target == Target::Http { &BACKEND_HOST } else { &API_HOST };
    Onward {
        peer,
        target,
        api_host: &API_HOST,
        backend_host,
        trace: &TRACE,
        via: &DEFAULT_VIA,
        empty_body: false,
        trailers: false,
    }
}

fn map(entries: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in entries {
        headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

fn lines(headers: &HeaderMap) -> Vec<String> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let mut lines: Vec<_> = headers.iter().map(|(name, value)| format!("{name}: {}", text(value))).collect();
    lines.sort();
    lines
}

fn sent(target: Target, trusted: bool, entries: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = map(entries);
    request_headers(&mut headers, &onward(&peer(trusted), target));
    headers
}

fn forwarded(target: Target, trusted: bool, entries: &[(&'static str, &str)]) -> String {
    sent(target, trusted, entries)["forwarded"].to_str().unwrap().to_owned()
}

/// Proves H-HTTP-9, H-HDR-2.
#[test]
fn towards_a_url() {
    let headers = sent(
        Target::Http,
        false,
        &[
            ("host", "abc123.execute-api.local.example"),
            ("accept", "a"),
            ("accept", "b"),
            ("authorization", "Bearer x"),
        ],
    );
    assert_eq!(
        lines(&headers),
        [
            "accept: a",
            "accept: b",
            "authorization: Bearer x",
            "forwarded: by=10.9.9.9;for=10.1.2.3;host=abc123.execute-api.local.example;proto=https",
            "host: b.example",
            "via: HTTP/1.1 AmazonAPIGateway",
            "x-amzn-trace-id: Root=1-6a5145a9-0123456789abcdef01234567",
        ]
    );
    assert!(headers.contains_key(AUTHORIZATION) && headers.contains_key(ACCEPT));
}

/// Proves H-VPC-7, H-HDR-2.
#[test]
fn towards_a_service() {
    assert_eq!(
        lines(&sent(Target::Service, false, &[("host", "abc123.execute-api.local.example")])),
        [
            "forwarded: for=10.1.2.3;host=abc123.execute-api.local.example;proto=https",
            "host: abc123.execute-api.local.example",
            "via: HTTP/1.1 AmazonAPIGateway",
            "x-amzn-trace-id: Root=1-6a5145a9-0123456789abcdef01234567",
            "x-forwarded-for: 10.1.2.3",
            "x-forwarded-host: abc123.execute-api.local.example",
            "x-forwarded-proto: https",
        ]
    );
}

/// Proves H-HTTP-9.
#[test]
fn a_request_without_a_body_says_so() {
    let peer = peer(false);
    let mut headers = HeaderMap::new();
    request_headers(&mut headers, &Onward { empty_body: true, ..onward(&peer, Target::Http) });
    assert_eq!(headers[CONTENT_LENGTH], "0");
}

/// Proves H-HTTP-10, C51.
#[test]
fn a_chain_of_the_client_goes_into_forwarded() {
    const REST: &str = ";host=abc123.execute-api.local.example;proto=https";
    for (chain, folded) in [
        (&["1.1.1.1, 2.2.2.2"][..], "for=1.1.1.1,for=2.2.2.2,for=10.1.2.3"),
        (&["1.1.1.1", "2.2.2.2"], "for=1.1.1.1,for=2.2.2.2,for=10.1.2.3"),
        (&["2001:db8::1"], r#"for="[2001:db8::1]",for=10.1.2.3"#),
        (&["unknown, _x"], "for=unknown,for=_x,for=10.1.2.3"),
        (&["1.1.1.1:80"], r#"for="1.1.1.1:80",for=10.1.2.3"#),
        (&[r#"1.1.1.1;host="evil""#], r#"for="1.1.1.1;host=\"evil\"",for=10.1.2.3"#),
        (&[r"a\"], r#"for="a\\",for=10.1.2.3"#),
    ] {
        let entries: Vec<_> = chain.iter().map(|value| ("x-forwarded-for", *value)).collect();
        assert_eq!(forwarded(Target::Http, false, &entries), format!("{folded};by=10.9.9.9{REST}"));
        assert_eq!(forwarded(Target::Service, false, &entries), format!("{folded}{REST}"));
    }
    for nothing in ["", " , ,"] {
        assert_eq!(forwarded(Target::Service, false, &[("x-forwarded-for", nothing)]), format!("for=10.1.2.3{REST}"));
        assert_eq!(
            forwarded(Target::Http, false, &[("x-forwarded-for", nothing)]),
            format!("by=10.9.9.9;for=10.1.2.3{REST}")
        );
    }
}

const SPOOFED: [(&str, &str); 6] = [
    ("x-forwarded-for", "1.1.1.1"),
    ("x-forwarded-host", "evil.example"),
    ("x-forwarded-proto", "gopher"),
    ("x-forwarded-port", "1"),
    ("x-forwarded-prefix", "/x"),
    ("forwarded", "for=6.6.6.6"),
];

fn x_forwarded(headers: &HeaderMap) -> Vec<String> {
    lines(headers).into_iter().filter(|line| line.starts_with("x-forwarded")).collect()
}

/// Proves H-HTTP-10.
#[test]
fn a_url_never_gets_x_forwarded() {
    for trusted in [false, true] {
        assert!(x_forwarded(&sent(Target::Http, trusted, &SPOOFED)).is_empty());
    }
}

/// What a client says of itself reaches a service only from a trusted hop: a documented difference from AWS, which sends none.
#[test]
fn a_service_gets_the_truth() {
    assert_eq!(
        x_forwarded(&sent(Target::Service, false, &SPOOFED)),
        ["x-forwarded-for: 10.1.2.3", "x-forwarded-host: abc123.execute-api.local.example", "x-forwarded-proto: https",]
    );
    assert!(!forwarded(Target::Service, false, &SPOOFED).contains("6.6.6.6"));
    assert_eq!(
        x_forwarded(&sent(Target::Service, true, &SPOOFED)),
        [
            "x-forwarded-for: 1.1.1.1, 10.1.2.3",
            "x-forwarded-host: evil.example",
            "x-forwarded-port: 1",
            "x-forwarded-prefix: /x",
            "x-forwarded-proto: gopher",
        ]
    );
    assert_eq!(
        forwarded(Target::Service, true, &SPOOFED),
        "for=6.6.6.6, for=10.1.2.3;host=abc123.execute-api.local.example;proto=https"
    );
}

#[test]
fn hosts_with_ports_and_ipv6_peers_are_quoted() {
    let peer = Peer::new(Ipv6Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into(), "http", false);
    let host = HeaderValue::from_static("localhost:8080");
    let mut headers = HeaderMap::new();
    request_headers(&mut headers, &Onward { api_host: &host, ..onward(&peer, Target::Http) });
    assert_eq!(headers["forwarded"], r#"by="[::1]";for="[::1]";host="localhost:8080";proto=http"#);
}

#[test]
fn what_a_connection_remembers_belongs_to_host_and_target() {
    let peer = peer(false);
    let hosts = ["a.example", "b.example", "a.example"].map(|host| HeaderValue::from_str(host).unwrap());
    for host in &hosts {
        for (target, by) in [(Target::Http, "by=10.9.9.9;"), (Target::Service, "")] {
            for _ in 0..2 {
                let mut headers = HeaderMap::new();
                request_headers(&mut headers, &Onward { api_host: host, ..onward(&peer, target) });
                assert_eq!(
                    headers["forwarded"],
                    format!("{by}for=10.1.2.3;host={};proto=https", host.to_str().unwrap())
                );
            }
        }
    }
}

const HOP_BY_HOP: [(&str, &str); 10] = [
    ("connection", "keep-alive, X-Drop"),
    ("connection", "x-drop-too,,te"),
    ("keep-alive", "timeout=5"),
    ("proxy-connection", "keep-alive"),
    ("te", "trailers"),
    ("trailer", "x"),
    ("upgrade", "websocket"),
    ("x-drop", "1"),
    ("x-drop-too", "1"),
    ("x-stay", "1"),
];

/// Proves H-EV2-14, H-ROUTE-33, H-HTTP-17.
#[test]
fn headers_of_the_connection_end_here() {
    let mut headers = map(&HOP_BY_HOP);
    headers.append("expect", HeaderValue::from_static("100-continue"));
    request_headers(&mut headers, &onward(&peer(false), Target::Http));
    assert_eq!(
        headers.keys().map(HeaderName::as_str).collect::<Vec<_>>().len(),
        5,
        "x-stay and the four of the gateway: {headers:?}"
    );
    assert!(headers.contains_key("x-stay"));
    let mut headers = map(&HOP_BY_HOP);
    response_headers(&mut headers);
    assert_eq!(lines(&headers), ["x-stay: 1"]);
}

/// A client cannot take the gateway's own headers away.
#[test]
fn connection_cannot_name_what_the_gateway_adds() {
    let headers = sent(
        Target::Service,
        false,
        &[
            ("connection", "x-forwarded-for, forwarded, host, via, x-amzn-trace-id"),
            ("x-forwarded-for", "1.1.1.1"),
            ("host", "x"),
        ],
    );
    for name in ["x-forwarded-for", "forwarded", "host", "via", "x-amzn-trace-id"] {
        assert!(headers.contains_key(name), "{name}");
    }
}

#[test]
fn a_length_beside_a_transfer_coding_means_nothing() {
    let entries = [("transfer-encoding", "chunked"), ("content-length", "5")];
    let headers = sent(Target::Http, false, &entries);
    assert!(!headers.contains_key(CONTENT_LENGTH) && !headers.contains_key(TRANSFER_ENCODING));
    let mut headers = map(&entries);
    response_headers(&mut headers);
    assert!(headers.is_empty());
}

#[test]
fn cookies_of_http2_become_one_field() {
    let headers = sent(Target::Service, false, &[("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3; d=4")]);
    assert_eq!(headers.get_all(COOKIE).iter().collect::<Vec<_>>(), ["a=1; b=2; c=3; d=4"]);
}

#[test]
fn via_is_added_to_the_clients() {
    let headers = sent(Target::Http, false, &[("via", "1.0 fred")]);
    assert_eq!(headers.get_all(VIA).iter().collect::<Vec<_>>(), ["1.0 fred", "HTTP/1.1 AmazonAPIGateway"]);
}

/// Proves H-HDR-3, H-HDR-4, H-ERR-6, H-ERR-9, H-ERR-8.
#[test]
fn towards_the_client() {
    let mut headers = map(&[
        ("content-type", "text/plain"),
        ("set-cookie", "a=1"),
        ("set-cookie", "b=2"),
        ("server", "s"),
        ("content-length", "3"),
        ("apigw-requestid", "forged"),
        ("apigw-x", "y"),
        ("connection", "close"),
    ]);
    response_headers(&mut headers);
    let id = RequestId::from_random([0; 11]);
    finish_response(&mut headers, &id, true);
    assert_eq!(
        lines(&headers),
        [
            "apigw-requestid: AAAAAAAAAAAAAAA=",
            "connection: keep-alive",
            "content-length: 3",
            "content-type: text/plain",
            "server: s",
            "set-cookie: a=1",
            "set-cookie: b=2",
        ]
    );
    assert_eq!((headers.get_all(SET_COOKIE).iter().count(), headers.contains_key(CONTENT_TYPE)), (2, true));
    let mut headers = HeaderMap::new();
    finish_response(&mut headers, &id, false);
    assert_eq!(lines(&headers), ["apigw-requestid: AAAAAAAAAAAAAAA="]);
}

fn any_headers() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
    let name = prop_oneof![
        prop::sample::select(
            &[
                "connection",
                "te",
                "forwarded",
                "x-forwarded-for",
                "x-forwarded-proto",
                "cookie",
                "via",
                "host",
                "expect",
                "content-length",
                "transfer-encoding",
                "x-a",
                "x-b",
                "apigw-x",
            ][..]
        )
        .prop_map(str::to_owned),
        "[a-z-]{1,12}",
    ];
    let value = prop_oneof![
        "(x-a|x-b|te|close|host|\\.\\.|[a-z;,=\"\\\\. ]){0,8}".prop_map(String::into_bytes),
        prop::collection::vec(0x20_u8..=0xfe, 0..12)
    ];
    prop::collection::vec((name, value), 0..20)
}

proptest! {
    /// Whatever a client sends, the backend gets exactly one of each header that the gateway speaks for, and none of the connection's.
    #[test]
    fn the_gateways_own_headers_are_always_there(entries in any_headers(), trusted: bool, service: bool) {
        let mut headers = HeaderMap::new();
        for (name, value) in entries {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_bytes(&value)) {
                headers.append(name, value);
            }
        }
        let target = if service { Target::Service } else { Target::Http };
        let peer = peer(trusted);
        request_headers(&mut headers, &onward(&peer, target));
        for name in ["forwarded", "host", "x-amzn-trace-id"] {
            prop_assert_eq!(headers.get_all(name).iter().count(), 1);
        }
        prop_assert!(!Found::scan(&headers).any(Found::HOP_BY_HOP));
        prop_assert_eq!(headers.contains_key("x-forwarded-for"), service);
        if service && !trusted {
            prop_assert_eq!(headers.get_all("x-forwarded-for").iter().collect::<Vec<_>>(), ["10.1.2.3"]);
        }
        let forwarded = headers["forwarded"].as_bytes();
        prop_assert!(forwarded.ends_with(b";host=abc123.execute-api.local.example;proto=https"));
        response_headers(&mut headers);
        prop_assert!(!Found::scan(&headers).any(Found::HOP_BY_HOP | Found::APIGW));
    }
}

#[test]
fn a_body_is_framed_once_at_most() {
    for (framing, twice) in [
        (&[][..], false),
        (&[("content-length", "3")], false),
        (&[("transfer-encoding", "chunked")], false),
        (&[("content-length", "3"), ("content-length", "3")], true),
        (&[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")], true),
        (&[("content-length", "3"), ("transfer-encoding", "chunked")], true),
        (&[("content-length", "3"), ("vary", "a"), ("vary", "b")], false),
    ] {
        let headers = map(framing);
        assert_eq!(Answered::of(&headers).has_two_lengths(&headers), twice, "{framing:?}");
    }
}

#[test]
fn what_is_rare_is_found_in_one_pass() {
    let headers = map(&[("x-amz-id-2", "a"), ("transfer-encoding", "gzip")]);
    let answered = Answered::of(&headers);
    assert!(answered.may_name_request() && answered.is_coded(&headers));
    let headers = map(&[("x-amzn-requestid", "a"), ("transfer-encoding", "chunked")]);
    let answered = Answered::of(&headers);
    assert!(answered.may_name_request() && !answered.is_coded(&headers));
    assert!(!Answered::of(&map(&[("server", "a")])).may_name_request());

    let headers = map(&[("host", "a"), ("user-agent", "b"), ("host", "c"), ("x-y", "")]);
    let asked = Asked::of(&headers);
    assert_eq!((asked.host, asked.hosts), (headers.get("host"), 2));
    assert_eq!((asked.user_agent, asked.bytes), (headers.get("user-agent"), 4 + 1 + 10 + 1 + 4 + 1 + 3));
    assert!(!asked.connection && !asked.trace);
    let headers = map(&[("connection", "close"), ("x-amzn-trace-id", "Root=1")]);
    let asked = Asked::of(&headers);
    assert!(asked.connection && asked.trace && asked.host.is_none() && asked.user_agent.is_none());
}

#[test]
fn te_passes_where_trailers_do() {
    for (te, trailers, passes) in [
        ("trailers", true, true),
        ("deflate, Trailers", true, true),
        ("deflate", true, false),
        ("trailers", false, false),
    ] {
        let mut headers = map(&[("te", te)]);
        request_headers(&mut headers, &Onward { trailers, ..onward(&peer(false), Target::Service) });
        assert_eq!(headers.get("te").map(HeaderValue::as_bytes), passes.then_some(&b"trailers"[..]), "{te}");
    }
}

#[test]
fn trailers_hold_nothing_that_headers_decide() {
    let mut headers = map(&[
        ("grpc-status", "0"),
        ("grpc-status-details-bin", "CAU"),
        ("x-checksum", "1"),
        ("authorization", "Bearer x"),
        ("host", "evil"),
        ("content-length", "1"),
        ("transfer-encoding", "chunked"),
        ("x-forwarded-for", "1.1.1.1"),
        ("x-forwarded-user", "root"),
        ("forwarded", "for=1.1.1.1"),
        ("apigw-requestid", "forged"),
        ("cookie", "a=1"),
        ("connection", "x-checked"),
        ("x-checked", "1"),
    ]);
    trailers(&mut headers);
    assert_eq!(lines(&headers), ["grpc-status-details-bin: CAU", "grpc-status: 0", "x-checksum: 1"]);
}
