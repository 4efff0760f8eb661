use std::sync::LazyLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{
    KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RsaEncoding,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const NOW: u64 = 1_783_711_145;
const ISSUER: &str = "https://issuer.example/pool";

/// Making keys is slow; two serve all tests.
static KEY: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate(KeySize::Rsa2048).unwrap());
static OTHER_KEY: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate(KeySize::Rsa2048).unwrap());

fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Modulus and exponent of the public key, from its DER (RFC 8017 A.1.1): a sequence of two integers.
fn components(key: &KeyPair) -> (Vec<u8>, Vec<u8>) {
    fn element(der: &[u8]) -> (&[u8], &[u8]) {
        let (length, start) = match der[1] {
            0x82 => (usize::from(der[2]) << 8 | usize::from(der[3]), 4),
            0x81 => (usize::from(der[2]), 3),
            short => (usize::from(short), 2),
        };
        (&der[start..start + length], &der[start + length..])
    }
    let (sequence, _) = element(key.public_key().as_ref());
    let (n, rest) = element(sequence);
    let (e, _) = element(rest);
    (n.to_vec(), e.to_vec())
}

fn jwk(key: &KeyPair, kid: &str) -> Value {
    let (n, e) = components(key);
    // The DER of the modulus has a leading zero, as some issuers write it too.
    json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid, "n": base64(n), "e": base64(e)})
}

fn jwk_without(kid: &str, field: &str) -> Value {
    let mut entry = jwk(&KEY, kid);
    entry.as_object_mut().unwrap().remove(field);
    entry
}

fn key_set(keys: &[Value]) -> KeySet {
    KeySet::parse(json!({"keys": keys}).to_string().as_bytes()).unwrap()
}

fn keys() -> KeySet {
    key_set(&[jwk(&KEY, "k1")])
}

fn policy() -> JwtPolicy {
    JwtPolicy::compile(&authorizer()).unwrap()
}

fn authorizer() -> Authorizer {
    Authorizer {
        source: "shop/jwt".to_owned(),
        identity_source: vec!["$request.header.Authorization".to_owned()],
        check: AuthorizerCheck::Jwt {
            issuer: ISSUER.to_owned(),
            audience: vec!["shop".to_owned(), "admin".to_owned()],
            jwks_uri: None,
        },
    }
}

fn sign_with(key: &KeyPair, encoding: &'static dyn RsaEncoding, header: &Value, payload: &str) -> String {
    let signed = format!("{}.{}", base64(header.to_string()), base64(payload));
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(encoding, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
    format!("{signed}.{}", base64(signature))
}

fn token_of(claims: &Value) -> String {
    sign_with(&KEY, &RSA_PKCS1_SHA256, &json!({"alg": "RS256", "kid": "k1", "typ": "JWT"}), &claims.to_string())
}

/// Good claims with some replaced; `null` removes.
fn claims(changes: Value) -> Value {
    let mut claims = json!({"iss": ISSUER, "aud": "shop", "exp": NOW + 60, "iat": NOW, "sub": "u1"});
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

/// A good token with some claims replaced, for tests of what is told about tokens.
pub(crate) fn verified(changes: Value) -> Verified {
    check(changes).unwrap()
}

fn check(changes: Value) -> Result<Verified, JwtError> {
    verify(&token_of(&claims(changes)), &policy(), &keys(), NOW)
}

/// Proves H-JWT-7.
#[test]
fn a_good_token_is_accepted_until_it_expires() {
    let verified = check(json!({})).unwrap();
    assert_eq!(verified.claims().value("sub"), Some("u1"));
    assert_eq!(verified.expires_at(), NOW + 60);
    let token = token_of(&claims(json!({})));
    for (now, good) in [(NOW + 59, true), (NOW + 60, false), (NOW, true), (NOW - 1, false)] {
        assert_eq!(verify(&token, &policy(), &keys(), now).is_ok(), good);
    }
}

/// Proves H-JWT-8.
#[test]
fn only_rsa_with_pkcs1_padding() {
    let open = key_set(&[jwk_without("k1", "alg")]);
    let payload = claims(json!({})).to_string();
    let encodings: [(&str, &'static dyn RsaEncoding); 3] =
        [("RS256", &RSA_PKCS1_SHA256), ("RS384", &RSA_PKCS1_SHA384), ("RS512", &RSA_PKCS1_SHA512)];
    for (alg, encoding) in encodings {
        let token = sign_with(&KEY, encoding, &json!({"alg": alg, "kid": "k1"}), &payload);
        assert!(verify(&token, &policy(), &open, NOW).is_ok(), "{alg}");
    }
    for alg in ["ES256", "HS256", "none", "None", "rs256", "PS256", ""] {
        let token = sign_with(&KEY, &RSA_PSS_SHA256, &json!({"alg": alg, "kid": "k1"}), &payload);
        let error = verify(&token, &policy(), &open, NOW).unwrap_err();
        assert_eq!(error.to_string(), format!("signing method {alg} is invalid"));
    }
    let mismatch = sign_with(&KEY, &RSA_PKCS1_SHA512, &json!({"alg": "RS512", "kid": "k1"}), &payload);
    assert_eq!(verify(&mismatch, &policy(), &keys(), NOW).unwrap_err().to_string(), "signing method RS512 is invalid");
}

/// A token signed with a public key as if it were a secret must not pass.
#[test]
fn a_token_without_a_real_signature_is_refused() {
    let signed = format!("{}.{}", base64(r#"{"alg":"RS256","kid":"k1"}"#), base64(claims(json!({})).to_string()));
    for signature in [String::new(), base64([0; 256]), base64([0; 4096])] {
        let token = format!("{signed}.{signature}");
        assert_eq!(verify(&token, &policy(), &keys(), NOW), Err(JwtError::Signature));
    }
    let other =
        sign_with(&OTHER_KEY, &RSA_PKCS1_SHA256, &json!({"alg": "RS256", "kid": "k1"}), &claims(json!({})).to_string());
    assert_eq!(verify(&other, &policy(), &keys(), NOW), Err(JwtError::Signature));
}

/// Proves H-JWT-16, H-JWT-24.
#[test]
fn what_is_no_token() {
    let good = token_of(&claims(json!({})));
    let too_long = "a".repeat(MAX_TOKEN_BYTES + 1);
    let crit = sign_with(&KEY, &RSA_PKCS1_SHA256, &json!({"alg": "RS256", "kid": "k1", "crit": ["b64"]}), "{}");
    let table = [
        ("", "token not provided"),
        ("token", "token contains an invalid number of segments"),
        ("a.b", "token contains an invalid number of segments"),
        (&*format!("{good}.x.y"), "token contains an invalid number of segments"),
        ("ab*d.e30.e30", "illegal base64 data at input byte 2"),
        ("e30.e30=.e30", "illegal base64 data at input byte 3"),
        ("e30.e.e30", "illegal base64 data at input byte 1"),
        ("AAAA.e30.e30", "token is malformed"),
        ("..", "token is malformed"),
        (&too_long, "token is too long"),
        (&crit, "token is malformed"),
    ];
    for (token, description) in table {
        assert_eq!(verify(token, &policy(), &keys(), NOW).unwrap_err().to_string(), description);
    }
    for payload in ["[]", "7", "{", "", "\"x\""] {
        let token = sign_with(&KEY, &RSA_PKCS1_SHA256, &json!({"alg": "RS256", "kid": "k1"}), payload);
        assert_eq!(verify(&token, &policy(), &keys(), NOW), Err(JwtError::Malformed), "{payload}");
    }
}

/// Proves H-JWT-9, H-JWT-18, H-JWT-21.
#[test]
fn a_key_is_found_by_its_id() {
    let payload = claims(json!({})).to_string();
    let both = key_set(&[jwk(&KEY, "k1"), jwk(&OTHER_KEY, "k2")]);
    for (key, kid) in [(&*KEY, "k1"), (&*OTHER_KEY, "k2")] {
        let token = sign_with(key, &RSA_PKCS1_SHA256, &json!({"alg": "RS256", "kid": kid}), &payload);
        assert!(verify(&token, &policy(), &both, NOW).is_ok());
    }
    for (header, kid) in [
        (json!({"alg": "RS256", "kid": "k9"}), "k9"),
        (json!({"alg": "RS256"}), ""),
        (json!({"alg": "RS256", "kid": null}), ""),
    ] {
        let token = sign_with(&KEY, &RSA_PKCS1_SHA256, &header, &payload);
        assert_eq!(verify(&token, &policy(), &both, NOW), Err(JwtError::UnknownKey { kid: kid.into() }));
    }
}

/// Proves H-JWT-10, H-JWT-11.
#[test]
fn times() {
    for (changes, expected) in [
        (json!({"exp": null}), Some(JwtError::MissingExpiration)),
        (json!({"exp": "1783711999"}), Some(JwtError::MissingExpiration)),
        (json!({"exp": NOW}), Some(JwtError::Expired)),
        (json!({"exp": -1}), Some(JwtError::Expired)),
        (json!({"exp": 1_783_711_145.5}), None),
        (json!({"exp": 1e300}), None),
        (json!({"nbf": NOW + 1}), Some(JwtError::NotYetValid)),
        (json!({"nbf": NOW}), None),
        (json!({"nbf": "now"}), Some(JwtError::NotYetValid)),
        (json!({"iat": NOW + 1}), Some(JwtError::NotYetValid)),
        (json!({"iat": null}), None),
    ] {
        assert_eq!(check(changes.clone()).err(), expected, "{changes}");
    }
    assert_eq!(check(json!({"exp": 1_783_711_145.5})).unwrap().expires_at(), NOW + 1);
}

/// Proves H-JWT-12.
#[test]
fn the_issuer_is_compared_exactly() {
    for other in
        [json!(format!("{ISSUER}/")), json!("https://ISSUER.example/pool"), json!(null), json!([ISSUER]), json!("")]
    {
        assert_eq!(check(json!({"iss": other})), Err(JwtError::Issuer));
    }
}

/// Proves H-JWT-13.
#[test]
fn audiences() {
    for (changes, good) in [
        (json!({"aud": "admin"}), true),
        (json!({"aud": ["x", "shop"]}), true),
        (json!({"aud": "x"}), false),
        (json!({"aud": []}), false),
        (json!({"aud": 5}), false),
        (json!({"aud": null}), false),
        (json!({"aud": null, "client_id": "shop"}), true),
        (json!({"aud": null, "client_id": "x"}), false),
        (json!({"aud": "x", "client_id": "shop"}), false),
        (json!({"aud": "shop", "client_id": "x"}), true),
    ] {
        let expected = if good { None } else { Some(JwtError::Audience) };
        assert_eq!(check(changes.clone()).err(), expected, "{changes}");
    }
    assert_eq!(JwtError::Audience.to_string(), "the token does not have a valid audience");
    let token = sign_with(
        &KEY,
        &RSA_PKCS1_SHA256,
        &json!({"alg": "RS256", "kid": "k1"}),
        &format!(r#"{{"iss":"{ISSUER}","exp":{},"aud":null,"client_id":"shop"}}"#, NOW + 1),
    );
    assert_eq!(verify(&token, &policy(), &keys(), NOW), Err(JwtError::Audience));
}

/// Proves H-JWT-14.
#[test]
fn scopes() {
    let route = |scopes: &[&str]| scopes.iter().map(|scope| (*scope).to_owned()).collect::<Vec<_>>();
    for (changes, wanted, allowed) in [
        (json!({"scope": "r"}), vec!["w"], false),
        (json!({"scope": "r  w"}), vec!["w"], true),
        (json!({"scope": "W"}), vec!["w"], false),
        (json!({"scp": ["w"]}), vec!["w", "x"], true),
        (json!({"scp": "r w"}), vec!["w"], true),
        (json!({"scope": "r", "scp": ["w"]}), vec!["w"], false),
        (json!({"scope": "", "scp": ["w"]}), vec!["w"], false),
        (json!({}), vec!["w"], false),
        (json!({}), vec![], true),
    ] {
        assert_eq!(check(changes.clone()).unwrap().allows(&route(&wanted)), allowed, "{changes} {wanted:?}");
    }
    assert_eq!(check(json!({"scope": "r w"})).unwrap().scopes(), ["r".into(), "w".into()]);
}

/// Proves H-JWT-30.
#[test]
fn claims_as_text() {
    let payload = format!(
        r#"{{"iss":"{ISSUER}","aud":"shop","exp":{},"n":1515973296,"b":true,"l":["a","b"],"z":null,"f":1.5,"e":1e21,"neg":-7,
        "t":1e3,"o":{{"k2":[1,null],"k":{{"x":false}}}},"empty":[],"deep":[["a"],"b"],"s":"a \"b\""}}"#,
        NOW + 1
    );
    let token = sign_with(&KEY, &RSA_PKCS1_SHA256, &json!({"alg": "RS256", "kid": "k1"}), &payload);
    let verified = verify(&token, &policy(), &keys(), NOW).unwrap();
    for (name, text) in [
        ("n", Some("1515973296")),
        ("b", Some("true")),
        ("l", Some("[a b]")),
        ("z", None),
        ("f", Some("1.5")),
        ("e", Some("1000000000000000000000")),
        ("neg", Some("-7")),
        ("t", Some("1000")),
        ("o", Some("map[k:map[x:false] k2:[1 <nil>]]")),
        ("empty", Some("[]")),
        ("deep", Some("[[a] b]")),
        ("s", Some("a \"b\"")),
        ("missing", None),
    ] {
        assert_eq!(verified.claims().value(name), text, "{name}");
    }
    let order: Vec<_> = verified.claims().iter().map(|(name, _)| name).take(5).collect();
    assert_eq!(order, ["iss", "aud", "exp", "n", "b"]);
}

#[test]
fn the_text_of_claims_is_bounded() {
    let numbers = vec!["1e308"; 1500].join(",");
    let payload = format!(r#"{{"iss":"{ISSUER}","aud":"shop","exp":{},"n":[{numbers}]}}"#, NOW + 1);
    let token = sign_with(&KEY, &RSA_PKCS1_SHA256, &json!({"alg": "RS256", "kid": "k1"}), &payload);
    assert_eq!(verify(&token, &policy(), &keys(), NOW), Err(JwtError::TooLong));
}

/// Proves H-JWT-6, H-JWT-15, H-JWT-22, H-JWT-23.
#[test]
fn challenges() {
    let scopes = ["a".to_owned(), "b".to_owned()];
    assert_eq!(JwtError::MissingToken.challenge(&scopes), "Bearer");
    assert_eq!(JwtError::MissingToken.authorizer_error(), "missing: token not provided");
    let description = "token contains an invalid number of segments";
    assert_eq!(
        JwtError::Segments.challenge(&[]),
        format!(r#"Bearer scope="" error="invalid_token" error_description="{description}""#)
    );
    assert_eq!(JwtError::Segments.authorizer_error(), format!("invalid_token: {description}"));
    assert_eq!(
        JwtError::Expired.challenge(&scopes),
        r#"Bearer scope="a b" error="invalid_token" error_description="the token has expired""#
    );
    assert_eq!(
        scope_challenge(&scopes),
        r#"Bearer scope="a b" error="insufficient_scope" error_description="the token does not have a valid scope""#
    );
}

/// Proves H-JWT-19.
#[test]
fn texts_for_keys_that_cannot_be_fetched() {
    assert_eq!(JwtError::Discovery.authorizer_error(), "invalid_token: OIDC discovery endpoint communication error");
    assert_eq!(JwtError::Keys.authorizer_error(), "invalid_token: JWKS communication error");
}

#[test]
fn a_token_cannot_write_into_the_challenge() {
    let kid = format!("\"\r\nx: y\\é{}", "z".repeat(500));
    let token = sign_with(&KEY, &RSA_PKCS1_SHA256, &json!({"alg": "RS256", "kid": kid}), "{}");
    let error = verify(&token, &policy(), &keys(), NOW).unwrap_err();
    let challenge = error.challenge(&[]);
    let text = challenge.to_str().unwrap();
    assert!(text.ends_with("zzz'\""), "{text}");
    assert!(text.contains("matches '???x: y??zzz"), "{text}");
    assert!(text.len() < 300, "{text}");
}

/// Proves H-JWT-20, H-JWT-9.
#[test]
fn other_entries_of_a_key_set_are_left_out() {
    let changed = |field: &str, value: Value| {
        let mut entry = jwk(&KEY, "x");
        entry[field] = value;
        entry
    };
    let set = key_set(&[
        changed("use", json!("enc")),
        changed("kty", json!("EC")),
        changed("alg", json!("RSA-OAEP")),
        changed("alg", json!("PS256")),
        changed("key_ops", json!(["encrypt"])),
        changed("n", json!("AQAB")),
        changed("n", json!("*")),
        changed("n", json!(base64([0xff; 1025]))),
        changed("e", json!("")),
        changed("kid", json!(7)),
        changed("kid", json!("")),
        jwk_without("x", "kid"),
        jwk_without("x", "n"),
        json!("no object"),
        changed("key_ops", json!(["verify"])),
        jwk(&OTHER_KEY, "x"),
        jwk_without("y", "use"),
    ]);
    assert_eq!((set.len(), set.ignored()), (2, 15));
    let token =
        sign_with(&KEY, &RSA_PKCS1_SHA256, &json!({"alg": "RS256", "kid": "x"}), &claims(json!({})).to_string());
    assert!(verify(&token, &policy(), &set, NOW).is_ok(), "the first entry of an id counts");
    assert!(set.contains("y") && !set.contains("z"));
    assert!(key_set(&[]).is_empty());
}

/// Proves H-JWT-17.
#[test]
fn a_key_set_is_bounded_and_must_be_one() {
    let padded = |length: usize| {
        let mut document = br#"{"keys":[]}"#.to_vec();
        document.resize(length, b' ');
        document
    };
    assert!(KeySet::parse(&padded(MAX_KEY_SET_BYTES)).is_ok());
    assert_eq!(
        KeySet::parse(&padded(MAX_KEY_SET_BYTES + 1)).unwrap_err(),
        KeySetError::TooLarge { bytes: MAX_KEY_SET_BYTES + 1 }
    );
    for bad in ["", "{}", "[]", "<html>", r#"{"keys":{}}"#] {
        assert!(matches!(KeySet::parse(bad.as_bytes()), Err(KeySetError::NotAKeySet { .. })), "{bad}");
    }
}

/// Proves H-JWT-1, H-JWT-3.
#[test]
fn policies() {
    let good = policy();
    assert_eq!(good.issuer(), ISSUER);
    assert_eq!(good.discovery_url(), "https://issuer.example/pool/.well-known/openid-configuration");
    let with_issuer = |issuer: &str| Authorizer {
        check: AuthorizerCheck::Jwt { issuer: issuer.to_owned(), audience: vec!["a".to_owned()], jwks_uri: None },
        ..authorizer()
    };
    let slash = JwtPolicy::compile(&with_issuer("http://issuer.example/")).unwrap();
    assert_eq!(slash.discovery_url(), "http://issuer.example/.well-known/openid-configuration");
    assert_eq!(slash.issuer(), "http://issuer.example/");

    let paths = |authorizer: &Authorizer| -> Vec<String> {
        let problems = JwtPolicy::compile(authorizer).unwrap_err();
        assert!(problems.iter().all(|problem| problem.source == "shop/jwt"));
        problems.into_iter().map(|problem| problem.path).collect()
    };
    for issuer in ["", "issuer.example", "ftp://issuer.example", "https://"] {
        assert_eq!(paths(&with_issuer(issuer)), ["check.issuer"], "{issuer}");
    }
    let bad = Authorizer {
        identity_source: vec![],
        check: AuthorizerCheck::Jwt { issuer: "x".into(), audience: vec![], jwks_uri: Some("y".into()) },
        ..authorizer()
    };
    assert_eq!(paths(&bad), ["identitySource", "check.issuer", "check.jwksUri", "check.audience"]);
    assert_eq!(paths(&Authorizer { identity_source: vec!["x".into()], ..authorizer() }), ["identitySource[0]"]);
    assert_eq!(paths(&Authorizer { check: AuthorizerCheck::Unknown, ..authorizer() }), ["check.type"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_text_is_refused_without_panic(token in prop_oneof![any::<String>(), "[A-Za-z0-9_.-]{0,60}", "[A-Za-z0-9_-]{1,20}\\.[A-Za-z0-9_-]{1,20}\\.[A-Za-z0-9_-]{1,20}"]) {
        prop_assert!(verify(&token, &policy(), &KeySet::default(), NOW).is_err());
    }

    /// Whatever byte of a good token changes, it is no good token any more, or says the same.
    #[test]
    fn a_changed_token_is_refused(place: prop::sample::Index, byte in prop::sample::select(b"AZaz09-_.=".to_vec())) {
        let token = token_of(&claims(json!({})));
        let mut changed = token.into_bytes();
        let place = place.index(changed.len());
        prop_assume!(changed[place] != byte);
        changed[place] = byte;
        prop_assert!(verify(std::str::from_utf8(&changed).unwrap(), &policy(), &keys(), NOW).is_err());
    }

    #[test]
    fn any_key_set_document_is_read_without_panic(document: Vec<u8>) {
        let _ = KeySet::parse(&document);
    }
}
