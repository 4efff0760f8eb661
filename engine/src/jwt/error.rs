//! Why a token was refused, and what the client and the log are told (section 6.5 of the spec).

use http::HeaderValue;

/// `authorizer.error` when the token has none of the route's scopes.
pub const SCOPE_MISSING: &str = "insufficient_scope: the token does not have a valid scope";

/// How many characters of a token's own text an error repeats.
const MAX_REPEATED: usize = 128;

/// Why a token was refused. The text is the description of H-JWT-24.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwtError {
    /// The identity source is missing or empty (H-JWT-6).
    #[error("token not provided")]
    MissingToken,
    /// Longer than any token can be.
    #[error("token is too long")]
    TooLong,
    /// Not three parts (H-JWT-16).
    #[error("token contains an invalid number of segments")]
    Segments,
    /// A part is not unpadded URL-safe base64.
    #[error("illegal base64 data at input byte {offset}")]
    Base64 {
        /// Where in the part.
        offset: usize,
    },
    /// A part is not the JSON that it should be.
    #[error("token is malformed")]
    Malformed,
    /// Not one of RS256, RS384 and RS512, or not what the key is for (H-JWT-8).
    #[error("signing method {} is invalid", shortened(alg))]
    Algorithm {
        /// The token's `alg`.
        alg: Box<str>,
    },
    /// No key with the token's `kid` (H-JWT-9). A refresh of the keys may find it (H-JWT-18).
    #[error("unable to find a signing key that matches '{}'", shortened(kid))]
    UnknownKey {
        /// The token's `kid`.
        kid: Box<str>,
    },
    /// The signature is not of this key and token.
    #[error("crypto/rsa: verification error")]
    Signature,
    /// No `exp`, or not a number (H-JWT-10).
    #[error("the token does not have an expiration time")]
    MissingExpiration,
    /// `exp` is not later than now (H-JWT-10).
    #[error("the token has expired")]
    Expired,
    /// `nbf` or `iat` is later than now, or not a number (H-JWT-11).
    #[error("the token is not valid yet")]
    NotYetValid,
    /// `iss` differs (H-JWT-12).
    #[error("issuer does not match")]
    Issuer,
    /// No configured audience (H-JWT-13).
    #[error("the token does not have a valid audience")]
    Audience,
    /// The discovery document could not be had and no key is known (H-JWT-19).
    #[error("OIDC discovery endpoint communication error")]
    Discovery,
    /// The keys could not be had and no key is known (H-JWT-19).
    #[error("JWKS communication error")]
    Keys,
}

impl JwtError {
    /// `$context.authorizer.error` (H-JWT-6, H-JWT-22).
    pub fn authorizer_error(&self) -> String {
        match self {
            Self::MissingToken => format!("missing: {self}"),
            _ => format!("invalid_token: {self}"),
        }
    }

    /// The `www-authenticate` header of the 401; `scopes` are the route's (H-JWT-6, H-JWT-22, H-JWT-23).
    pub fn challenge(&self, scopes: &[String]) -> HeaderValue {
        match self {
            Self::MissingToken => HeaderValue::from_static("Bearer"),
            _ => challenge(scopes, "invalid_token", &self.to_string()),
        }
    }
}

/// The `www-authenticate` header of the 403 for a token without any of the route's scopes (H-JWT-15).
pub fn scope_challenge(scopes: &[String]) -> HeaderValue {
    challenge(scopes, "insufficient_scope", "the token does not have a valid scope")
}

fn challenge(scopes: &[String], error: &str, description: &str) -> HeaderValue {
    let scopes = scopes.join(" ");
    let text = format!(
        r#"Bearer scope="{}" error="{error}" error_description="{}""#,
        quotable(&scopes),
        quotable(description)
    );
    HeaderValue::try_from(text).expect("only visible ASCII and spaces are left")
}

/// Text that cannot end a quoted string or a header: whatever a token has put in becomes `?`.
fn quotable(text: &str) -> String {
    let safe = |character: char| matches!(character, ' '..='~') && character != '"' && character != '\\';
    text.chars().map(|character| if safe(character) { character } else { '?' }).collect()
}

fn shortened(text: &str) -> &str {
    text.char_indices().nth(MAX_REPEATED).map_or(text, |(end, _)| &text[..end])
}
