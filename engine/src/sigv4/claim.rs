//! What a request says of its signature (H-IAM-2).

use std::borrow::Cow;

use http::header::{AUTHORIZATION, DATE};
use http::{HeaderMap, HeaderName};

use super::{ALGORITHM, MAX_EXPIRES, Request, SignatureError};
use crate::percent::query_parameters;
use crate::time::{compact_date, seconds_of_date, seconds_of_http_date};

/// Most headers that may be signed; a request has at most a hundred.
const MAX_SIGNED: usize = 100;

/// A signature that is not verified yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim<'r> {
    /// The access key that is said to have signed.
    pub access_key_id: Cow<'r, str>,
    /// The session token of temporary credentials.
    pub session_token: Option<Cow<'r, str>>,
    /// `{day}/{region}/{service}/aws4_request`.
    pub(super) scope: Box<str>,
    /// `20260710T191905Z`.
    pub(super) time: Box<str>,
    /// The same in seconds since 1970.
    pub(super) seconds: i64,
    /// How long a signature in the query is good for.
    pub(super) expires: Option<i64>,
    /// Lower-case names in ascending order, joined with `;`.
    pub(super) signed_headers: Box<str>,
    pub(super) signature: [u8; 32],
    /// The signature stands in the query, so that the query is signed without it.
    pub(super) in_query: bool,
}

impl<'r> Claim<'r> {
    /// Reads the claim of a request.
    ///
    /// # Errors
    /// [`SignatureError::Format`] for a request without one, or with one that is not of the documented form.
    pub fn of(request: &Request<'r>) -> Result<Self, SignatureError> {
        let in_query =
            request.query.is_some_and(|query| query_parameters(query).any(|(name, _)| name == "X-Amz-Algorithm"));
        let claim = match (request.headers.contains_key(AUTHORIZATION), in_query) {
            (true, false) => Self::of_header(request.headers),
            (false, true) => Self::of_query(request.query.unwrap_or_default()),
            // With two it would not be clear which one counts.
            _ => None,
        };
        claim.ok_or(SignatureError::Format)
    }

    fn of_header(headers: &'r HeaderMap) -> Option<Self> {
        let rest = text(headers, AUTHORIZATION)?.strip_prefix(ALGORITHM)?.strip_prefix(' ')?;
        let (mut credential, mut signed, mut signature) = (None, None, None);
        for part in rest.split(',') {
            let (name, value) = part.trim().split_once('=')?;
            let place = match name {
                "Credential" => &mut credential,
                "SignedHeaders" => &mut signed,
                "Signature" => &mut signature,
                _ => return None,
            };
            if place.replace(value).is_some() {
                return None;
            }
        }
        let date = HeaderName::from_static("x-amz-date");
        let (time, seconds) = if headers.contains_key(&date) {
            basic_time(text(headers, date)?)?
        } else {
            let seconds = seconds_of_http_date(text(headers, DATE)?)?;
            (compact_date(seconds)?.into(), seconds)
        };
        let token = HeaderName::from_static("x-amz-security-token");
        let session_token = if headers.contains_key(&token) { Some(text(headers, token)?.into()) } else { None };
        let (access_key_id, scope) = credential?.split_once('/')?;
        Some(Self {
            access_key_id: access_key_id.into(),
            session_token,
            scope: scope.into(),
            time,
            seconds,
            expires: None,
            signed_headers: signed_headers(signed?)?,
            signature: digits(signature?)?,
            in_query: false,
        })
    }

    fn of_query(query: &'r str) -> Option<Self> {
        let mut found: [Option<Cow<'r, str>>; 7] = Default::default();
        const NAMES: [&str; 7] = [
            "X-Amz-Algorithm",
            "X-Amz-Credential",
            "X-Amz-Date",
            "X-Amz-Expires",
            "X-Amz-SignedHeaders",
            "X-Amz-Signature",
            "X-Amz-Security-Token",
        ];
        for (name, value) in query_parameters(query) {
            if let Some(index) = NAMES.iter().position(|known| **known == *name)
                && found[index].replace(value).is_some()
            {
                return None;
            }
        }
        let [algorithm, credential, date, expires, signed, signature, session_token] = found;
        if algorithm? != ALGORITHM {
            return None;
        }
        let credential = credential?;
        let (access_key_id, scope) = credential.split_once('/')?;
        let (time, seconds) = basic_time(&date?)?;
        let expires = expires?.parse().ok().filter(|seconds| (1..=MAX_EXPIRES).contains(seconds))?;
        Some(Self {
            access_key_id: access_key_id.to_owned().into(),
            session_token,
            scope: scope.into(),
            time,
            seconds,
            expires: Some(expires),
            signed_headers: signed_headers(&signed?)?,
            signature: digits(&signature?)?,
            in_query: true,
        })
    }
}

/// The only value of a header.
fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    if values.next().is_some() { None } else { first.to_str().ok() }
}

/// `20260710T191905Z` and no other form.
fn basic_time(text: &str) -> Option<(Box<str>, i64)> {
    let text = text.trim();
    let seconds = seconds_of_date(text).filter(|_| text.len() == 16 && text.is_ascii())?;
    Some((text.into(), seconds))
}

/// Names in ascending order, `host` among them, so that a signature is good for one host only.
fn signed_headers(text: &str) -> Option<Box<str>> {
    let names: Vec<&str> = text.split(';').take(MAX_SIGNED + 1).collect();
    let sound = names.len() <= MAX_SIGNED
        && names.iter().all(|name| !name.is_empty() && !name.bytes().any(|byte| byte.is_ascii_uppercase()))
        && names.is_sorted_by(|one, other| one < other)
        && names.contains(&"host");
    sound.then(|| text.into())
}

/// 64 hexadecimal digits.
fn digits(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digit = |byte: u8| char::from(byte).to_digit(16);
        *byte = u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok()?;
    }
    Some(bytes)
}
