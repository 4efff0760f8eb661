//! An identity provider: discovery document, keys, and the tokens it signs.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Response;
use http_body_util::Full;
use serde_json::{Value, json};

use crate::backend::backend;

const DISCOVERY: &str = "/.well-known/openid-configuration";
const KEYS: &str = "/keys";

/// An issuer on a thread of its own.
#[derive(Debug)]
pub struct Issuer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    keys: Vec<Value>,
    discovery_fails: bool,
    keys_fail: bool,
    fetches: HashMap<String, usize>,
}

impl Issuer {
    /// Publishes `keys`.
    pub fn new(keys: &[&SigningKey]) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let seen = Arc::clone(&state);
        let address = backend(move |head, _| {
            let mut state = seen.lock().unwrap();
            let path = head.uri.path();
            *state.fetches.entry(path.to_owned()).or_default() += 1;
            let host = head.headers["host"].to_str().unwrap();
            let document = match path {
                DISCOVERY if !state.discovery_fails => json!({"jwks_uri": format!("http://{host}{KEYS}")}),
                KEYS if !state.keys_fail => json!({"keys": state.keys}),
                _ => return Response::builder().status(500).body(Full::default()).unwrap(),
            };
            Response::new(Full::from(document.to_string()))
        });
        let issuer = Self { address, state };
        issuer.rotate(keys);
        issuer
    }

    /// The value of `iss`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on these are the keys.
    pub fn rotate(&self, keys: &[&SigningKey]) {
        self.state.lock().unwrap().keys = keys.iter().map(|key| key.jwk()).collect();
    }

    /// Whether the discovery document is there.
    pub fn discovery_fails(&self, fails: bool) {
        self.state.lock().unwrap().discovery_fails = fails;
    }

    /// Whether the keys are there.
    pub fn keys_fail(&self, fails: bool) {
        self.state.lock().unwrap().keys_fail = fails;
    }

    /// How often the keys were asked for.
    pub fn key_fetches(&self) -> usize {
        self.state.lock().unwrap().fetches.get(KEYS).copied().unwrap_or(0)
    }

    /// An authorizer in an [`Api`](crate::Api)'s `authorizers`.
    pub fn authorizer(&self, audience: &str) -> Value {
        json!({"source": "shop/jwt", "identitySource": ["$request.header.Authorization"],
            "check": {"type": "jwt", "issuer": self.url(), "audience": [audience]}})
    }

    /// Claims that `audience` accepts for an hour, with `changes` made; `null` removes.
    pub fn claims(&self, audience: &str, changes: &Value) -> Value {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let mut claims = json!({"iss": self.url(), "aud": audience, "exp": now + 3600, "iat": now - 1, "sub": "u1"});
        for (name, value) in changes.as_object().unwrap() {
            if value.is_null() {
                claims.as_object_mut().unwrap().remove(name);
            } else {
                claims[name] = value.clone();
            }
        }
        claims
    }
}

/// An RSA key with its name.
#[derive(Debug)]
pub struct SigningKey {
    kid: String,
    pair: KeyPair,
}

impl SigningKey {
    /// A new key of 2048 bits.
    pub fn new(kid: &str) -> Self {
        Self { kid: kid.to_owned(), pair: KeyPair::generate(KeySize::Rsa2048).unwrap() }
    }

    /// A token signed with RS256.
    pub fn token(&self, claims: &Value) -> String {
        self.token_as("RS256", claims)
    }

    /// A token signed with RS256, RS384 or RS512; or with a new key of another kind for ES256.
    pub fn token_as(&self, alg: &str, claims: &Value) -> String {
        let signed = unsigned_part(&json!({"alg": alg, "kid": self.kid, "typ": "JWT"}), claims);
        let random = SystemRandom::new();
        let signature = if alg == "ES256" {
            let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
            pair.sign(&random, signed.as_bytes()).unwrap().as_ref().to_vec()
        } else {
            let encoding = match alg {
                "RS256" => &RSA_PKCS1_SHA256,
                "RS384" => &RSA_PKCS1_SHA384,
                "RS512" => &RSA_PKCS1_SHA512,
                other => panic!("{other} is not signed here"),
            };
            let mut signature = vec![0; self.pair.public_modulus_len()];
            self.pair.sign(encoding, &random, signed.as_bytes(), &mut signature).unwrap();
            signature
        };
        format!("{signed}.{}", base64(signature))
    }

    fn jwk(&self) -> Value {
        // RFC 8017 A.1.1: a sequence of two integers.
        let (sequence, _) = der_element(self.pair.public_key().as_ref());
        let (modulus, rest) = der_element(sequence);
        let (exponent, _) = der_element(rest);
        json!({"kty": "RSA", "use": "sig", "kid": self.kid, "n": base64(modulus), "e": base64(exponent)})
    }
}

/// A token with `alg: none`.
pub fn unsigned(kid: &str, claims: &Value) -> String {
    format!("{}.", unsigned_part(&json!({"alg": "none", "kid": kid}), claims))
}

fn unsigned_part(header: &Value, claims: &Value) -> String {
    format!("{}.{}", base64(header.to_string()), base64(claims.to_string()))
}

fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn der_element(der: &[u8]) -> (&[u8], &[u8]) {
    let (length, start) = match der[1] {
        0x82 => (usize::from(der[2]) << 8 | usize::from(der[3]), 4),
        0x81 => (usize::from(der[2]), 3),
        short => (usize::from(short), 2),
    };
    (&der[start..start + length], &der[start + length..])
}
