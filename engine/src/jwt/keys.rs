//! An issuer's signing keys (section 6.4 of the spec).

use aws_lc_rs::signature::{
    ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RsaPublicKeyComponents,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;

/// Largest key set document in bytes (H-JWT-17).
pub const MAX_KEY_SET_BYTES: usize = 150_000;

/// The RSA keys of a JSON Web Key Set, ready to verify. Share it by pointer.
#[derive(Debug, Default)]
pub struct KeySet {
    keys: Vec<Key>,
    ignored: usize,
}

/// Why a document is no key set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// H-JWT-17.
    #[error("the key set has {bytes} bytes; at most {MAX_KEY_SET_BYTES} are accepted")]
    TooLarge {
        /// Size of the document.
        bytes: usize,
    },
    /// Not an object with a list `keys`.
    #[error("the document is not a JSON Web Key Set: {why}")]
    NotAKeySet {
        /// What the JSON parser says.
        why: String,
    },
}

/// A signature algorithm that is accepted (H-JWT-8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
}

impl Algorithm {
    pub(super) fn of(name: &str) -> Option<Self> {
        match name {
            "RS256" => Some(Self::Rs256),
            "RS384" => Some(Self::Rs384),
            "RS512" => Some(Self::Rs512),
            _ => None,
        }
    }
}

/// One key, parsed once for each algorithm that it may be used with.
#[derive(Debug)]
pub(super) struct Key {
    kid: Box<str>,
    rs256: Option<ParsedPublicKey>,
    rs384: Option<ParsedPublicKey>,
    rs512: Option<ParsedPublicKey>,
}

impl Key {
    pub(super) fn for_algorithm(&self, algorithm: Algorithm) -> Option<&ParsedPublicKey> {
        match algorithm {
            Algorithm::Rs256 => self.rs256.as_ref(),
            Algorithm::Rs384 => self.rs384.as_ref(),
            Algorithm::Rs512 => self.rs512.as_ref(),
        }
    }
}

impl KeySet {
    /// Reads a key set. Entries that are not RSA signature keys with a `kid` and 2048 to 8192 bits are left out (H-JWT-9,
    /// H-JWT-20); of two with one `kid` the first counts.
    pub fn parse(jwks: &[u8]) -> Result<Self, KeySetError> {
        if jwks.len() > MAX_KEY_SET_BYTES {
            return Err(KeySetError::TooLarge { bytes: jwks.len() });
        }
        let document: Document =
            serde_json::from_slice(jwks).map_err(|error| KeySetError::NotAKeySet { why: error.to_string() })?;
        let mut set = Self::default();
        for entry in document.keys {
            match Entry::deserialize(entry).ok().and_then(|entry| entry.key()) {
                Some(key) if set.find(&key.kid).is_none() => set.keys.push(key),
                _ => set.ignored += 1,
            }
        }
        Ok(set)
    }

    pub(super) fn find(&self, kid: &str) -> Option<&Key> {
        self.keys.iter().find(|key| *key.kid == *kid)
    }

    /// Whether a key has this id.
    pub fn contains(&self, kid: &str) -> bool {
        self.find(kid).is_some()
    }

    /// How many keys can verify tokens.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether no token can be verified.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// How many entries were left out.
    pub fn ignored(&self) -> usize {
        self.ignored
    }
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

/// RFC 7517 section 4 and RFC 7518 section 6.3.1.
#[derive(Deserialize)]
struct Entry {
    kty: String,
    kid: String,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    n: String,
    e: String,
}

impl Entry {
    fn key(self) -> Option<Key> {
        let for_signatures = self.kty == "RSA"
            && self.usage.is_none_or(|usage| usage == "sig")
            && self.key_ops.is_none_or(|operations| operations.iter().any(|operation| operation == "verify"));
        // A key that names its algorithm is for that one only.
        let only = match &self.alg {
            Some(name) => Some(Algorithm::of(name)?),
            None => None,
        };
        if !for_signatures || self.kid.is_empty() {
            return None;
        }
        let (n, e) = (integer(&self.n)?, integer(&self.e)?);
        if !(256..=1024).contains(&n.len()) {
            return None;
        }
        let components = RsaPublicKeyComponents { n: n.as_slice(), e: e.as_slice() };
        let parsed = |algorithm, parameters| {
            if only.is_none_or(|only| only == algorithm) {
                components.to_parsed_public_key(parameters).ok()
            } else {
                None
            }
        };
        let key = Key {
            kid: self.kid.as_str().into(),
            rs256: parsed(Algorithm::Rs256, &RSA_PKCS1_2048_8192_SHA256),
            rs384: parsed(Algorithm::Rs384, &RSA_PKCS1_2048_8192_SHA384),
            rs512: parsed(Algorithm::Rs512, &RSA_PKCS1_2048_8192_SHA512),
        };
        let usable = key.rs256.is_some() || key.rs384.is_some() || key.rs512.is_some();
        usable.then_some(key)
    }
}

/// A number in unpadded URL-safe base64, most significant byte first, without the leading zeros that some issuers write.
fn integer(text: &str) -> Option<Vec<u8>> {
    let mut bytes = URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok()?;
    let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
    bytes.drain(..zeros);
    Some(bytes)
}
