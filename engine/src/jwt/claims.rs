//! What a token says: the checks on its claims, and the text form that backends and logs see (section 6.6 of the spec).

use std::fmt::Write;

use serde_json::{Map, Value};

use super::{JwtError, JwtPolicy};

/// Most text that the claims of one token may make. Only numbers such as `1e300` make more text than the token has.
const MAX_TEXT: usize = 64 * 1024;

/// The claims of a token as text (H-JWT-30), in the token's order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims(Vec<(Box<str>, Box<str>)>);

impl Claims {
    /// The text of one claim.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// All claims.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }
}

/// A token whose signature, times, issuer and audience are right. Made by [`super::verify`] only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    claims: Claims,
    scopes: Box<[Box<str>]>,
    expires_at: u64,
}

impl Verified {
    /// The claims as text.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// All scopes of the token (H-JWT-29).
    pub fn scopes(&self) -> &[Box<str>] {
        &self.scopes
    }

    /// The first second after 1970 at which the token is expired.
    pub fn expires_at(&self) -> u64 {
        self.expires_at
    }

    /// Whether the token has one of a route's scopes; a route without scopes asks for none (H-JWT-14). If not, the answer is 403 with
    /// [`super::scope_challenge`].
    pub fn allows(&self, route_scopes: &[String]) -> bool {
        route_scopes.is_empty() || route_scopes.iter().any(|wanted| self.scopes.iter().any(|scope| **scope == **wanted))
    }
}

/// Checks a payload whose signature is right (H-JWT-10..13) and takes its claims.
pub(super) fn check(payload: &[u8], policy: &JwtPolicy, now: u64) -> Result<Verified, JwtError> {
    let claims: Map<String, Value> = serde_json::from_slice(payload).map_err(|_| JwtError::Malformed)?;
    let expires_at = check_times(&claims, now)?;
    if claims.get("iss").and_then(Value::as_str) != Some(&policy.issuer) {
        return Err(JwtError::Issuer);
    }
    if !has_audience(&claims, policy) {
        return Err(JwtError::Audience);
    }
    Ok(Verified { scopes: scopes(&claims), claims: texts(&claims)?, expires_at })
}

/// `exp` later than now, `nbf` and `iat` not later than now; fractions of seconds count. Gives the first whole second at which the
/// token is expired.
fn check_times(claims: &Map<String, Value>, now: u64) -> Result<u64, JwtError> {
    #[expect(clippy::cast_precision_loss, reason = "seconds stay below 2^53 for 285 million years")]
    let now = now as f64;
    let exp = claims.get("exp").and_then(Value::as_f64).ok_or(JwtError::MissingExpiration)?;
    if exp <= now {
        return Err(JwtError::Expired);
    }
    for name in ["nbf", "iat"] {
        match claims.get(name) {
            None => {}
            Some(time) if time.as_f64().is_some_and(|time| time <= now) => {}
            Some(_) => return Err(JwtError::NotYetValid),
        }
    }
    #[expect(clippy::cast_possible_truncation, reason = "casts from floats saturate: a huge `exp` never expires")]
    #[expect(clippy::cast_sign_loss, reason = "later than now, hence above 0")]
    Ok(exp.ceil() as u64)
}

/// `aud`, or only if it is absent `client_id` (H-JWT-13).
fn has_audience(claims: &Map<String, Value>, policy: &JwtPolicy) -> bool {
    let known =
        |value: &Value| value.as_str().is_some_and(|audience| policy.audience.iter().any(|known| **known == *audience));
    match claims.get("aud") {
        Some(Value::Array(list)) => list.iter().any(known),
        Some(one) => known(one),
        None => claims.get("client_id").is_some_and(known),
    }
}

/// `scope` split on white space, or if absent `scp` (H-JWT-14).
fn scopes(claims: &Map<String, Value>) -> Box<[Box<str>]> {
    let words = |text: &str| text.split_whitespace().map(Into::into).collect();
    match (claims.get("scope"), claims.get("scp")) {
        (Some(Value::String(text)), _) | (None, Some(Value::String(text))) => words(text),
        (None, Some(Value::Array(list))) => list.iter().filter_map(Value::as_str).map(Into::into).collect(),
        _ => Box::default(),
    }
}

fn texts(claims: &Map<String, Value>) -> Result<Claims, JwtError> {
    let mut texts = Vec::with_capacity(claims.len());
    let mut size = 0;
    for (name, value) in claims {
        if value.is_null() {
            continue;
        }
        let text = match value {
            Value::String(text) => text.as_str().into(),
            other => {
                let mut text = String::new();
                render(other, &mut text);
                text.into_boxed_str()
            }
        };
        size += text.len();
        if size > MAX_TEXT {
            return Err(JwtError::TooLong);
        }
        texts.push((name.as_str().into(), text));
    }
    Ok(Claims(texts))
}

/// The form that Go's formatting has (H-JWT-30): `[a b]` for arrays, `map[k:v k2:v2]` with sorted keys for objects.
fn render(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("<nil>"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Number(number) => render_number(number, out),
        Value::String(text) => out.push_str(text),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(' ');
                }
                render(item, out);
            }
            out.push(']');
        }
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            out.push_str("map[");
            for (index, (key, value)) in entries.into_iter().enumerate() {
                if index > 0 {
                    out.push(' ');
                }
                out.push_str(key);
                out.push(':');
                render(value, out);
            }
            out.push(']');
        }
    }
}

/// Decimal, never with an exponent: Rust writes floating point numbers so.
fn render_number(number: &serde_json::Number, out: &mut String) {
    let written = match (number.as_u64(), number.as_i64(), number.as_f64()) {
        (Some(number), _, _) => write!(out, "{number}"),
        (_, Some(number), _) => write!(out, "{number}"),
        (_, _, Some(number)) => write!(out, "{number}"),
        (None, None, None) => Ok(()),
    };
    written.expect("writing to a string does not fail");
}
