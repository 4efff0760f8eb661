//! Parameter mapping: parsing of keys and values, and what comes of them for any request.
//!
//! The first two lines are the key and the value of a mapping, the rest is the request of the other targets.

#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use tollgate_engine::mapping::{Mapping, Request};
use tollgate_engine::route::{RouteKey, inspect_path};
use tollgate_fuzz::Request as Sent;

fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.splitn(3, |&byte| byte == b'\n');
    let mut text = || parts.next().and_then(|part| std::str::from_utf8(part).ok());
    let (Some(key), Some(value)) = (text(), text()) else { return };
    let mapping: BTreeMap<String, String> = [(key.to_owned(), value.to_owned())].into();
    let responses = BTreeMap::from([("200".to_owned(), mapping.clone())]);
    let _ = Mapping::compile(&BTreeMap::new(), &responses);
    let Ok(Some(mapping)) = Mapping::compile(&mapping, &BTreeMap::new()) else { return };
    let Some(sent) = Sent::parse(parts.next().unwrap_or_default()) else { return };
    let route: RouteKey = "ANY /{proxy+}".parse().expect("a route key");
    sent.with_facts(|facts| {
        let request = Request {
            facts,
            headers: facts.headers,
            path: facts.path,
            query: facts.query,
            template: route.path(),
            body: Some(&sent.body),
        };
        let request_mapping = mapping.request.as_ref().expect("one entry");
        let Ok(change) = request_mapping.resolve(&request.into()) else { return };
        let mut headers = facts.headers.clone();
        change.apply_to_headers(&mut headers);
        if let Some(path) = change.path() {
            assert!(inspect_path(path).is_ok(), "{path:?}");
            assert!(!path.contains(['?', '#', ' ']), "{path:?}");
        }
        if let Some(target) = change.target("/base?a=1") {
            assert!(target.parse::<http::uri::PathAndQuery>().is_ok(), "{target:?}");
        }
    });
});
