//! Headers towards backends: whatever a client sends, the gateway alone says where the request came from.

#![no_main]

use http::HeaderValue;
use libfuzzer_sys::fuzz_target;
use tollgate_engine::forward::{DEFAULT_VIA, Onward, Peer, Target, request_headers, response_headers};
use tollgate_fuzz::Request;

fuzz_target!(|bytes: &[u8]| {
    let Some(request) = Request::parse(bytes) else { return };
    let peer =
        Peer::new("10.1.2.3".parse().expect("an address"), "10.9.9.9".parse().expect("an address"), "https", false);
    let host = HeaderValue::from_static("api.example");
    let backend = HeaderValue::from_static("backend.example");
    let trace = HeaderValue::from_static("Root=1-6a5145a9-0123456789abcdef01234567");
    for target in [Target::Http, Target::Service] {
        let mut headers = request.headers.clone();
        let onward = Onward {
            peer: &peer,
            target,
            api_host: &host,
            backend_host: &backend,
            trace: &trace,
            via: &DEFAULT_VIA,
            empty_body: request.body.is_empty(),
            trailers: false,
        };
        request_headers(&mut headers, &onward);
        let values = |name: &str| headers.get_all(name).iter().collect::<Vec<_>>();
        assert_eq!(values("host"), [&backend]);
        assert_eq!(values("x-amzn-trace-id"), [&trace]);
        for name in ["connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"] {
            assert!(values(name).is_empty(), "{name} ends at each hop: {headers:?}");
        }
        let [forwarded] = values("forwarded")[..] else { panic!("one Forwarded: {headers:?}") };
        // A client's X-Forwarded-For may put any byte into it, but only in front of the peer and quoted.
        let forwarded = String::from_utf8_lossy(forwarded.as_bytes());
        assert!(forwarded.contains("for=10.1.2.3"), "{forwarded}");
        assert!(forwarded.ends_with("host=api.example;proto=https"), "{forwarded}");
        match target {
            Target::Http => assert!(values("x-forwarded-for").is_empty() && values("x-forwarded-host").is_empty()),
            Target::Service => {
                assert_eq!(values("x-forwarded-for"), ["10.1.2.3"]);
                assert_eq!(values("x-forwarded-host"), [&host]);
                assert_eq!(values("x-forwarded-proto"), ["https"]);
            }
        }
    }
    let mut headers = request.headers;
    response_headers(&mut headers);
    for name in ["connection", "keep-alive", "transfer-encoding", "upgrade"] {
        assert!(!headers.contains_key(name), "{name} ends at each hop: {headers:?}");
    }
});
