//! An OpenID Connect issuer for trying things: discovery document, keys, and tokens for whoever asks.
//!
//! `POST /token` takes a form: `sub`, `scope`, `aud`, `expires_in` (seconds, may be negative), and any other field becomes
//! a claim of its name. `grant_type`, `client_id` and `client_secret` are taken and not looked at.

use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Map, Value, json};

use super::args::IssuerArgs;

/// Tokens are good for an hour unless they ask for something else.
const LIFETIME: i64 = 3600;

/// The issuer.
#[derive(Debug)]
pub struct Issuer {
    issuer: String,
    audience: String,
    key: KeyPair,
    kid: String,
}

impl Issuer {
    /// As the arguments say, with the key of `key_file`, which is made if it is not there.
    ///
    /// # Errors
    ///
    /// When the key cannot be made, read or kept.
    pub fn new(args: &IssuerArgs, key_file: Option<&Path>) -> io::Result<Self> {
        let key = match key_file {
            Some(path) => kept_key(path)?,
            None => new_key()?,
        };
        let kid = BASE64
            .encode(&aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key.public_key().as_ref()).as_ref()[..8]);
        Ok(Self { issuer: args.issuer.clone(), audience: args.audience.clone(), key, kid })
    }

    /// Answers discovery, keys and token requests.
    pub fn answer(&self, request: &Request<Bytes>, now: SystemTime) -> Response<Full<Bytes>> {
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/.well-known/openid-configuration") => super::json(StatusCode::OK, &self.discovery()),
            (&Method::GET, "/jwks.json") => super::json(StatusCode::OK, &self.keys()),
            (&Method::POST, "/token") => {
                let form = String::from_utf8_lossy(request.body());
                super::json(StatusCode::OK, &self.token(&form, now))
            }
            _ => {
                let paths = "GET /.well-known/openid-configuration, GET /jwks.json, POST /token";
                super::json(StatusCode::NOT_FOUND, &json!({"error": format!("this is a token issuer: {paths}")}))
            }
        }
    }

    fn discovery(&self) -> Value {
        let base = self.issuer.trim_end_matches('/');
        json!({
            "issuer": self.issuer,
            "jwks_uri": format!("{base}/jwks.json"),
            "token_endpoint": format!("{base}/token"),
            "response_types_supported": ["token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        })
    }

    fn keys(&self) -> Value {
        let key = self.key.public_key();
        let number = |bytes: &[u8]| BASE64.encode(bytes);
        json!({"keys": [{
            "kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.kid,
            "n": number(key.modulus().big_endian_without_leading_zero()),
            "e": number(key.exponent().big_endian_without_leading_zero()),
        }]})
    }

    fn token(&self, form: &str, now: SystemTime) -> Value {
        let mut claims = Map::new();
        let mut lifetime = LIFETIME;
        claims.insert("iss".into(), self.issuer.clone().into());
        claims.insert("aud".into(), self.audience.clone().into());
        claims.insert("sub".into(), "nobody".into());
        for (name, value) in form.split('&').filter(|pair| !pair.is_empty()).map(decode_pair) {
            match name.as_str() {
                "grant_type" | "client_id" | "client_secret" => {}
                "expires_in" => lifetime = value.parse().unwrap_or(LIFETIME),
                _ => {
                    claims.insert(name, value.into());
                }
            }
        }
        let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
        claims.insert("iat".into(), seconds.into());
        claims.insert("exp".into(), seconds.saturating_add(lifetime).into());
        json!({"access_token": self.sign(&Value::Object(claims)), "token_type": "Bearer", "expires_in": lifetime})
    }

    fn sign(&self, claims: &Value) -> String {
        let header = json!({"alg": "RS256", "typ": "JWT", "kid": self.kid});
        let text = format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()));
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature)
            .expect("a 2048 bit key signs a SHA-256 digest");
        format!("{text}.{}", BASE64.encode(signature))
    }
}

fn new_key() -> io::Result<KeyPair> {
    KeyPair::generate(KeySize::Rsa2048).map_err(|_| io::Error::other("the system gives no random numbers"))
}

/// The key in the file; made and kept, readable by its owner only, if there is none.
fn kept_key(path: &Path) -> io::Result<KeyPair> {
    match std::fs::read(path) {
        Ok(der) => KeyPair::from_pkcs8(&der).map_err(|error| {
            let message = format!("{} holds no RSA key ({error}); remove the file", path.display());
            io::Error::new(io::ErrorKind::InvalidData, message)
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = new_key()?;
            let der = key.as_der().map_err(|_| io::Error::other("the key cannot be encoded"))?;
            keep(path, der.as_ref())?;
            Ok(key)
        }
        Err(error) => Err(error),
    }
}

fn keep(path: &Path, der: &[u8]) -> io::Result<()> {
    use std::io::Write;
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(der)
}

/// `application/x-www-form-urlencoded`
fn decode_pair(pair: &str) -> (String, String) {
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    (decode(name), decode(value))
}

fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while let Some(&byte) = bytes.get(index) {
        let hex = |offset: usize| bytes.get(index + offset).and_then(|digit| char::from(*digit).to_digit(16));
        match (byte, hex(1), hex(2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push(u8::try_from(high * 16 + low).expect("two hexadecimal digits"));
                index += 2;
            }
            (b'+', _, _) => decoded.push(b' '),
            _ => decoded.push(byte),
        }
        index += 1;
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};

    use super::*;

    fn issuer() -> Issuer {
        let args = IssuerArgs { issuer: "http://issuer/".into(), audience: "shop".into(), key_file: None };
        Issuer::new(&args, None).expect("a key")
    }

    fn get(issuer: &Issuer, path: &str) -> Value {
        let request = Request::get(path).body(Bytes::new()).expect("a request");
        super::super::tests::body(issuer.answer(&request, UNIX_EPOCH))
    }

    fn token(issuer: &Issuer, form: &'static str) -> String {
        let request = Request::post("/token").body(Bytes::from(form)).expect("a request");
        let answer = super::super::tests::body(issuer.answer(&request, UNIX_EPOCH + Duration::from_secs(1000)));
        answer["access_token"].as_str().expect("a token").to_owned()
    }

    fn part(text: &str) -> Value {
        serde_json::from_slice(&BASE64.decode(text).expect("base64")).expect("JSON")
    }

    #[test]
    fn tokens_carry_the_claims_that_were_asked_for() {
        let token = token(&issuer(), "sub=alice&scope=books%2Fread+books%2Fwrite&expires_in=60&grant_type=x&tenant=t");
        let claims = part(token.split('.').nth(1).expect("claims"));
        let expected = json!({
            "iss": "http://issuer/", "aud": "shop", "sub": "alice", "scope": "books/read books/write",
            "tenant": "t", "iat": 1000, "exp": 1060
        });
        assert_eq!(claims, expected);
    }

    #[test]
    fn tokens_verify_with_the_published_key() {
        let issuer = issuer();
        assert_eq!(get(&issuer, "/.well-known/openid-configuration")["jwks_uri"], "http://issuer/jwks.json");
        let key = &get(&issuer, "/jwks.json")["keys"][0];
        let number = |name: &str| BASE64.decode(key[name].as_str().expect("text")).expect("base64");
        let key = RsaPublicKeyComponents { n: number("n"), e: number("e") };
        let token = token(&issuer, "");
        let (text, signature) = token.rsplit_once('.').expect("a signature");
        let signature = BASE64.decode(signature).expect("base64");
        assert!(key.verify(&RSA_PKCS1_2048_8192_SHA256, text.as_bytes(), &signature).is_ok());
    }

    #[test]
    fn a_kept_key_is_found_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("state/key");
        let args = IssuerArgs::default();
        let first = Issuer::new(&args, Some(&path)).expect("a key");
        assert_eq!(Issuer::new(&args, Some(&path)).expect("the key").kid, first.kid);
        std::fs::write(&path, "nonsense").expect("written");
        assert!(Issuer::new(&args, Some(&path)).expect_err("no key").to_string().contains("remove the file"));
    }
}
