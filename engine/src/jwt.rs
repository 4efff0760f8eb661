//! JWT authorizers (sections 6.2 to 6.6 of the spec): how a route's tokens are found and checked.
//!
//! [`JwtPolicy`] is an authorizer made ready, [`KeySet`] the issuer's keys, [`verify`] the checks in their order, [`Verified`] what
//! a good token says. Fetching keys and remembering tokens is the proxy's part. A remembered [`Verified`] holds for the policy and
//! the key set it was made with, until [`Verified::expires_at`].

mod claims;
mod error;
mod identity;
mod keys;

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::IgnoredAny;
use smallvec::SmallVec;

use crate::snapshot::{Authorizer, AuthorizerCheck, Problem};

pub use self::claims::{Claims, Verified};
pub use self::error::{JwtError, SCOPE_MISSING, scope_challenge};
pub use self::identity::{IdentitySource, IdentitySourceError, bare_token};
pub use self::keys::{KeySet, KeySetError, MAX_KEY_SET_BYTES};

/// Longest token that is looked at. AWS's limit for a whole request head is 10,240 bytes (H-SIZE-1).
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;
const MAX_AUDIENCES: usize = 50;

/// What an authorizer of type JWT asks of tokens.
#[derive(Clone, Debug)]
pub struct JwtPolicy {
    identity_source: IdentitySource,
    issuer: Box<str>,
    audience: Box<[Box<str>]>,
    jwks_uri: Option<Box<str>>,
}

impl JwtPolicy {
    /// Checks an authorizer (H-JWT-1) and makes it ready. Paths of problems start at the authorizer, e.g. `check.audience`; their
    /// `source` is the authorizer's.
    pub fn compile(authorizer: &Authorizer) -> Result<Self, Vec<Problem>> {
        let Authorizer { source, identity_source, check } = authorizer;
        let mut problems = Vec::new();
        let mut problem = |path: &str, message: String| {
            problems.push(Problem { source: source.clone(), path: path.to_owned(), message });
        };
        let parsed_source = match identity_source.as_slice() {
            [one] => IdentitySource::parse(one).map_err(|error| problem("identitySource[0]", error.to_string())).ok(),
            other => {
                problem(
                    "identitySource",
                    format!(
                        "{} expressions; a JWT authorizer has exactly one, usually $request.header.Authorization",
                        other.len()
                    ),
                );
                None
            }
        };
        let AuthorizerCheck::Jwt { issuer, audience, jwks_uri } = check else {
            problem("check.type", "this version knows no authorizer of this type; use jwt".to_owned());
            return Err(problems);
        };
        if !is_http_url(issuer) {
            problem(
                "check.issuer",
                format!("\"{issuer}\" is not a URL; give the issuer as https://…, exactly as in the tokens' iss"),
            );
        }
        if let Some(uri) = jwks_uri.as_ref().filter(|uri| !is_http_url(uri)) {
            problem(
                "check.jwksUri",
                format!(
                    "\"{uri}\" is not a URL; give https://…, or leave it out to use the issuer's discovery document"
                ),
            );
        }
        if audience.is_empty() || audience.len() > MAX_AUDIENCES {
            problem("check.audience", format!("{} audiences; give 1 to {MAX_AUDIENCES}", audience.len()));
        }
        match parsed_source {
            Some(identity_source) if problems.is_empty() => Ok(Self {
                identity_source,
                issuer: issuer.as_str().into(),
                audience: audience.iter().map(|audience| audience.as_str().into()).collect(),
                jwks_uri: jwks_uri.as_deref().map(Into::into),
            }),
            _ => Err(problems),
        }
    }

    /// Where the token stands.
    pub fn identity_source(&self) -> &IdentitySource {
        &self.identity_source
    }

    /// The issuer as configured.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Where the keys are, when configured; else [`JwtPolicy::discovery_url`] tells.
    pub fn jwks_uri(&self) -> Option<&str> {
        self.jwks_uri.as_deref()
    }

    /// The issuer's discovery document, without a doubled slash (H-JWT-3).
    pub fn discovery_url(&self) -> String {
        format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'))
    }
}

fn is_http_url(text: &str) -> bool {
    text.parse::<http::Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty())
    })
}

/// The parts of a token's header that are used.
#[derive(Deserialize)]
struct TokenHeader<'t> {
    #[serde(borrow, default)]
    alg: Cow<'t, str>,
    #[serde(borrow, default)]
    kid: Option<Cow<'t, str>>,
    /// Names extensions that a reader must know (RFC 7515 section 4.1.11). We know none.
    crit: Option<IgnoredAny>,
}

/// Checks a token in the order of H-JWT-7, up to the audience. Scopes are the route's matter: [`Verified::allows`].
///
/// [`JwtError::UnknownKey`] may mean that the issuer has new keys.
pub fn verify(token: &str, policy: &JwtPolicy, keys: &KeySet, now_unix_seconds: u64) -> Result<Verified, JwtError> {
    if token.is_empty() {
        return Err(JwtError::MissingToken);
    }
    if token.len() > MAX_TOKEN_BYTES {
        return Err(JwtError::TooLong);
    }
    let [header, payload, signature] = segments(token).ok_or(JwtError::Segments)?;
    let signed = &token.as_bytes()[..header.len() + 1 + payload.len()];
    let header = decode(header)?;
    let payload = decode(payload)?;
    let signature = decode(signature)?;
    let header: TokenHeader<'_> = serde_json::from_slice(&header).map_err(|_| JwtError::Malformed)?;
    if header.crit.is_some() {
        return Err(JwtError::Malformed);
    }
    let algorithm =
        keys::Algorithm::of(&header.alg).ok_or_else(|| JwtError::Algorithm { alg: (*header.alg).into() })?;
    let kid = header.kid.as_deref().unwrap_or_default();
    let key = keys.find(kid).ok_or_else(|| JwtError::UnknownKey { kid: kid.into() })?;
    let key = key.for_algorithm(algorithm).ok_or_else(|| JwtError::Algorithm { alg: (*header.alg).into() })?;
    key.verify_sig(signed, &signature).map_err(|_| JwtError::Signature)?;
    claims::check(&payload, policy, now_unix_seconds)
}

fn segments(token: &str) -> Option<[&str; 3]> {
    let mut parts = token.split('.');
    let three = [parts.next()?, parts.next()?, parts.next()?];
    parts.next().is_none().then_some(three)
}

type Decoded = SmallVec<[u8; 1024]>;

fn decode(segment: &str) -> Result<Decoded, JwtError> {
    let mut out = Decoded::from_elem(0, base64::decoded_len_estimate(segment.len()));
    match URL_SAFE_NO_PAD.decode_slice(segment, &mut out) {
        Ok(length) => {
            out.truncate(length);
            Ok(out)
        }
        Err(base64::DecodeSliceError::DecodeError(error)) => {
            Err(JwtError::Base64 { offset: offset_of(&error, segment) })
        }
        Err(base64::DecodeSliceError::OutputSliceTooSmall) => Err(JwtError::Malformed),
    }
}

fn offset_of(error: &base64::DecodeError, segment: &str) -> usize {
    match error {
        base64::DecodeError::InvalidByte(offset, _) | base64::DecodeError::InvalidLastSymbol(offset, _) => *offset,
        base64::DecodeError::InvalidLength(_) => segment.len(),
        base64::DecodeError::InvalidPadding => segment.find('=').unwrap_or(segment.len()),
    }
}

#[cfg(test)]
pub(crate) mod tests;
