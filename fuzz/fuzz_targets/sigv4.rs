//! Signatures. Of all requests exactly one was signed by the key here (the plainest of AWS's published vectors), so that another one that is
//! accepted is a forgery.
//!
//! The lines of an input: the header `Authorization`, `X-Amz-Date`, the request target, the host, and any header `X-A`.

#![no_main]

use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use tollgate_engine::secret::Secret;
use tollgate_engine::sigv4::{Claim, Request, payload_digest};

const NOW: i64 = 1_440_938_160;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut lines = text.split('\n');
    let mut next = || lines.next().unwrap_or_default();
    let (authorization, date, target, host, other) = (next(), next(), next(), next(), next());
    let mut headers = HeaderMap::new();
    for (name, value) in [("authorization", authorization), ("x-amz-date", date), ("x-a", other)] {
        if let Ok(value) = HeaderValue::from_str(value)
            && !value.is_empty()
        {
            headers.insert(name, value);
        }
    }
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let request = Request { method: "GET", path, query, headers: &headers, host };
    let Ok(claim) = Claim::of(&request) else { return };
    if claim.check("us-east-1", "service", NOW).is_err() {
        return;
    }
    let secret = Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
    if claim.verify(&request, &payload_digest(b""), &secret).is_ok() {
        // What means the same is signed the same: empty and dot segments, empty parameters, spaces around the host.
        let segments = path.split('/').filter(|segment| !matches!(*segment, "" | "."));
        let depth = segments.fold(0_u32, |depth, segment| if segment == ".." { depth.saturating_sub(1) } else { depth + 1 });
        assert_eq!(depth, 0, "{path:?}");
        assert!(query.unwrap_or_default().bytes().all(|byte| byte == b'&'), "{query:?}");
        assert_eq!(host.trim(), "example.amazonaws.com");
    }
});
