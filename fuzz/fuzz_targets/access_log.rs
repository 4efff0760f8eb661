//! Access logs: any format parses or is refused, and no client can leave its place in a line.
//!
//! The first line is the format, the rest the request.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate_engine::access_log::{Format, MAX_ENTRY_BYTES};
use tollgate_engine::context::Outcome;
use tollgate_fuzz::Request;

/// A format as users write them; whatever clients send, its entries are JSON with these members.
const JSON: &str = r#"{"id":"$context.requestId","path":"$context.path","method":"$context.httpMethod","agent":"$context.identity.userAgent","host":"$context.domainName","prefix":"$context.domainPrefix","key":"$context.routeKey","status":$context.status}"#;

fuzz_target!(|bytes: &[u8]| {
    let cut = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let Ok(format) = std::str::from_utf8(&bytes[..cut]) else { return };
    let Some(request) = Request::parse(bytes.get(cut + 1..).unwrap_or_default()) else { return };
    let outcome = Outcome { status: 200, ..Outcome::default() };
    let entry = |format: &Format| {
        let mut out = Vec::new();
        request.with_facts(|facts| format.append(&mut out, facts, &outcome));
        out
    };
    if let Ok(format) = Format::parse(format) {
        let entry = entry(&format);
        assert!(entry.len() <= MAX_ENTRY_BYTES);
        assert_eq!(entry.iter().position(|byte| *byte == b'\n'), Some(entry.len() - 1), "an entry is one line");
    }
    let entry = entry(&Format::parse(JSON).expect("the format is a good one"));
    let value: serde_json::Value = serde_json::from_slice(&entry).expect("values cannot break a JSON format");
    assert_eq!(value.as_object().map(serde_json::Map::len), Some(8));
    assert_eq!(value["status"], 200);
});
