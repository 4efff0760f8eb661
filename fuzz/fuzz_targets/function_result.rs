//! What functions return, of both formats: a response or a failure, never anything else.
//!
//! The first byte says the format, and whether the function reported an error.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate_engine::lambda::result::{Invocation, parse};
use tollgate_engine::snapshot::PayloadFormatVersion;

fuzz_target!(|bytes: &[u8]| {
    let (kind, payload) = bytes.split_at(bytes.len().min(1));
    let version = if kind == b"1" { PayloadFormatVersion::V1 } else { PayloadFormatVersion::V2 };
    let invocation = Invocation { status: 200, function_error: kind == b"e", payload: payload.to_vec().into() };
    match parse(version, invocation) {
        Ok(response) => {
            assert!((200..600).contains(&response.status), "{response:?}");
            for name in ["connection", "transfer-encoding", "content-length"] {
                assert!(!response.headers.contains_key(name), "{name} is the gateway's: {response:?}");
            }
        }
        Err(failure) => assert!(failure.message.len() < 8192, "messages have a bound"),
    }
});
