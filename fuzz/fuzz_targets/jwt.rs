//! Tokens and key sets. Of all texts exactly one is a valid token here, so a second one that is accepted is a forgery.
//!
//! An input that starts with `{` is a key set, everything else a token.

#![no_main]

use std::sync::LazyLock;

use http::HeaderMap;
use libfuzzer_sys::fuzz_target;
use tollgate_engine::jwt::{JwtPolicy, KeySet, verify};
use tollgate_engine::snapshot::{Authorizer, AuthorizerCheck};

static POLICY: LazyLock<JwtPolicy> = LazyLock::new(|| {
    let check = AuthorizerCheck::Jwt {
        issuer: "https://issuer.example.com".to_owned(),
        audience: vec!["api".to_owned()],
        jwks_uri: None,
    };
    let identity_source = vec!["$request.header.Authorization".to_owned()];
    JwtPolicy::compile(&Authorizer { source: "a/b".to_owned(), identity_source, check }).expect("a good authorizer")
});
static KEYS: LazyLock<KeySet> =
    LazyLock::new(|| KeySet::parse(include_bytes!("../seeds/jwt/keys")).expect("a good key set"));
/// Valid until 2096 by a key that nobody has any more.
const TOKEN: &str = include_str!("../seeds/jwt/token");
const NOW: u64 = 1_800_000_000;

fuzz_target!(|bytes: &[u8]| {
    if bytes.starts_with(b"{") {
        if let Ok(keys) = KeySet::parse(bytes) {
            assert!(verify("a.b.c", &POLICY, &keys, NOW).is_err());
        }
        return;
    }
    let Ok(token) = std::str::from_utf8(bytes) else { return };
    let accepted = verify(token, &POLICY, &KEYS, NOW).is_ok();
    assert_eq!(accepted, token == TOKEN, "{token:?}");
    let mut headers = HeaderMap::new();
    if let Ok(value) = token.parse() {
        headers.insert("authorization", value);
        drop(POLICY.identity_source().token(&headers, None));
    }
});
