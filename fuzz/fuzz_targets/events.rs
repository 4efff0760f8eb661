//! Function events of any request: JSON in both formats, with the body as it came.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tollgate_engine::lambda;
use tollgate_engine::snapshot::PayloadFormatVersion;
use tollgate_fuzz::Request;

fuzz_target!(|bytes: &[u8]| {
    let Some(request) = Request::parse(bytes) else { return };
    for version in [PayloadFormatVersion::V1, PayloadFormatVersion::V2] {
        let mut out = b"before".to_vec();
        let written = request.with_facts(|facts| lambda::write_event(version, facts, &request.body, &mut out));
        written.expect("fuzz inputs are far below the limit");
        let event: Value = serde_json::from_slice(out.strip_prefix(b"before").expect("events are appended"))
            .expect("an event is JSON whatever the request is");
        if event["isBase64Encoded"] == false {
            let body = event["body"].as_str().unwrap_or_default();
            assert_eq!(body.as_bytes(), request.body, "text bodies arrive byte for byte");
        }
        assert_eq!(event["requestContext"]["stage"], "$default");
    }
});
