//! Signature Version 4 (section 6.11 of the spec): whether a request was signed with a key that we know.
//!
//! [`Claim::of`] reads what a request says of its signature, in the header `Authorization` or in the query. [`Claim::check`] looks at time and
//! scope, which needs no key and no body; [`Claim::verify`] reckons the signature. The order matters: nobody makes us read a body without naming a
//! key that exists and a time that is now. Time is an argument.

mod canonical;
mod claim;

use aws_lc_rs::hmac;
use sha2::{Digest, Sha256};

use crate::secret::Secret;

pub use self::claim::Claim;

/// How far the clocks of client and gateway may be apart, in seconds (H-IAM-3).
pub const SKEW: i64 = 300;
/// The service that API requests are signed for (H-IAM-1).
pub const SERVICE: &str = "execute-api";
/// Longest validity of a signature in the query: AWS's seven days, in seconds.
pub const MAX_EXPIRES: i64 = 604_800;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// What of a request is signed.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The client's method.
    pub method: &'a str,
    /// The path as sent, with stage and mapping key (H-IAM-6).
    pub path: &'a str,
    /// The raw query without `?`.
    pub query: Option<&'a str>,
    /// The client's headers.
    pub headers: &'a http::HeaderMap,
    /// The host as called: `Host` or `:authority`.
    pub host: &'a str,
}

/// Why a request is not taken as signed. The client always gets 403 (H-IAM-3); the log gets the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// There is no signature, or none of the documented form (H-IAM-4).
    #[error("The request for the IAM Authorizer doesn't match the format that API Gateway expects.")]
    Format,
    /// The credential scope names another region, service or day.
    #[error("Credential should be scoped to a valid region and service: {expected}")]
    Scope {
        /// What it should be.
        expected: String,
    },
    /// Signed in the future, or too long ago (H-IAM-3).
    #[error("Signature expired or not yet current: signed at {signed}")]
    Time {
        /// `20260710T191905Z`.
        signed: String,
    },
    /// No principal of the namespace has the access key.
    #[error("The security token included in the request is invalid: no principal has this access key")]
    UnknownKey,
    /// The session token is missing, wrong, or there should be none.
    #[error("The security token included in the request is invalid: its session token is not that of the key")]
    Token,
    /// `x-amz-content-sha256` is not the digest of the body; `UNSIGNED-PAYLOAD` is none (H-IAM-6).
    #[error("The provided x-amz-content-sha256 header does not match what was computed")]
    Payload,
    /// The signature is that of another request or another key.
    #[error("The request signature we calculated does not match the signature you provided")]
    Signature,
}

/// SHA-256 of a body.
pub fn payload_digest(body: &[u8]) -> [u8; 32] {
    Sha256::digest(body).into()
}

impl Claim<'_> {
    /// Whether the claim can be true at `now` (seconds since 1970) for an API of `region`.
    ///
    /// # Errors
    /// [`SignatureError::Scope`] or [`SignatureError::Time`].
    pub fn check(&self, region: &str, service: &str, now: i64) -> Result<(), SignatureError> {
        let expected = format!("{}/{region}/{service}/aws4_request", &self.time[..8]);
        if *self.scope != *expected {
            return Err(SignatureError::Scope { expected });
        }
        let age = now.saturating_sub(self.seconds);
        let oldest = self.expires.unwrap_or(SKEW);
        if age < -SKEW || age > oldest {
            return Err(SignatureError::Time { signed: self.time.to_string() });
        }
        Ok(())
    }

    /// Whether `request`, whose body has `digest`, was signed with `secret`.
    ///
    /// # Errors
    /// [`SignatureError::Payload`] or [`SignatureError::Signature`].
    pub fn verify(&self, request: &Request<'_>, digest: &[u8; 32], secret: &Secret) -> Result<(), SignatureError> {
        let digest = hex(digest);
        if let Some(said) = request.headers.get("x-amz-content-sha256")
            && !said.as_bytes().eq_ignore_ascii_case(digest.as_bytes())
        {
            return Err(SignatureError::Payload);
        }
        let key = self.key(secret);
        let plain = canonical::path(request.path);
        let normal = canonical::normal_path(request.path);
        // Clients normalise paths before they sign (H-IAM-6); some do not. Only paths with empty or dot segments differ.
        let other = (normal != plain).then_some(normal);
        for path in std::iter::once(plain).chain(other) {
            let canonical =
                canonical::canonical_request(request, &path, self, &digest).ok_or(SignatureError::Format)?;
            let hash = hex(&payload_digest(&canonical));
            let text = format!("{ALGORITHM}\n{}\n{}\n{hash}", self.time, self.scope);
            if hmac::verify(&key, text.as_bytes(), &self.signature).is_ok() {
                return Ok(());
            }
        }
        Err(SignatureError::Signature)
    }

    /// The key of the claim's scope.
    fn key(&self, secret: &Secret) -> hmac::Key {
        let sign = |key: &[u8], text: &str| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes());
        let first = format!("AWS4{}", secret.reveal());
        let mut parts = self.scope.split('/');
        let mut tag = sign(first.as_bytes(), parts.next().unwrap_or_default());
        for part in parts {
            tag = sign(tag.as_ref(), part);
        }
        hmac::Key::new(hmac::HMAC_SHA256, tag.as_ref())
    }
}

/// Lower-case hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value)]);
    bytes.iter().flat_map(|&byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests;
