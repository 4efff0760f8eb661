//! Request headers that the gateway itself reads: trace ids and origins.

#![no_main]

use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use tollgate_engine::trace::{AmznTrace, TraceParent};
use tollgate_engine::{cors::Cors, snapshot};

fuzz_target!(|bytes: &[u8]| {
    let (name, value) = bytes.split_at(bytes.len().min(1));
    let Ok(value) = HeaderValue::from_bytes(value) else { return };
    let mut headers = HeaderMap::new();
    match name {
        b"p" => {
            if let Some(parent) = value.to_str().ok().and_then(TraceParent::parse) {
                let written = parent.header_value();
                assert_eq!(written.to_str().ok().and_then(TraceParent::parse), Some(parent));
            }
        }
        b"x" => {
            headers.insert("x-amzn-trace-id", value.clone());
            let (trace, id) = AmznTrace::of(&headers, 1, [7; 12]);
            assert_eq!(tollgate_engine::trace::amzn_root_of(trace.as_str()), Some(id));
            assert_eq!(trace.header_value().to_str().ok(), Some(trace.as_str()));
        }
        _ => {
            let config = snapshot::Cors {
                allow_origins: vec!["https://*".to_owned(), "http://a.example".to_owned()],
                ..snapshot::Cors::default()
            };
            let cors = Cors::compile(&config).expect("both origins are allowed ones");
            cors.preflight(Some(&value), &mut headers);
            let preflight = headers.contains_key("access-control-allow-origin");
            let mut headers = HeaderMap::new();
            cors.actual(Some(&value), &mut headers);
            assert_eq!(headers.contains_key("access-control-allow-origin"), preflight, "{value:?}");
        }
    }
});
