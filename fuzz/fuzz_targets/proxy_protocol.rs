//! The PROXY protocol: whatever a connection starts with, and however its bytes arrive, one reading.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate_engine::proxy_protocol::{Parsed, V1_MAX, V2_MAX, parse};

fuzz_target!(|bytes: &[u8]| {
    let whole = parse(bytes);
    if let Parsed::Header { consumed, .. } = whole {
        assert!(consumed <= bytes.len() && consumed <= V1_MAX.max(V2_MAX));
        assert_eq!(parse(&bytes[..consumed]), whole, "what follows a header does not change it");
        for end in 0..consumed {
            assert_eq!(parse(&bytes[..end]), Parsed::Incomplete, "a part of a header is not yet one");
        }
    }
    if whole == Parsed::Incomplete {
        assert!(bytes.len() < V1_MAX.max(V2_MAX), "waiting has an end");
    }
});
