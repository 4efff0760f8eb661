//! Where a request carries its token (H-JWT-1, H-JWT-5, H-JWT-6).

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::JwtError;
use crate::percent::query_parameters;
use crate::text;

/// One expression of an authorizer's `identitySource`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdentitySource {
    /// `$request.header.<name>`.
    Header(HeaderName),
    /// `$request.querystring.<name>`, case-sensitive.
    Querystring(Box<str>),
}

/// An expression that is not an identity source of a JWT authorizer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{expression}\" {why}; write $request.header.<name> or $request.querystring.<name>, usually $request.header.Authorization"
)]
pub struct IdentitySourceError {
    expression: String,
    why: &'static str,
}

impl IdentitySource {
    /// Reads an expression (H-JWT-1).
    pub fn parse(expression: &str) -> Result<Self, IdentitySourceError> {
        let refused = |why| IdentitySourceError { expression: expression.to_owned(), why };
        if let Some(name) = expression.strip_prefix("$request.header.") {
            return HeaderName::try_from(name).map(Self::Header).map_err(|_| refused("does not end in a header name"));
        }
        match expression.strip_prefix("$request.querystring.") {
            Some("") => Err(refused("does not end in the name of a parameter")),
            Some(name) => Ok(Self::Querystring(name.into())),
            None => Err(refused("is neither a header nor a query parameter")),
        }
    }

    /// The token of a request, without `Bearer`. `query` is the raw query.
    ///
    /// A source that is there more than once is refused as AWS refuses the joined values: it is no token.
    pub fn token<'r>(&self, headers: &'r HeaderMap, query: Option<&'r str>) -> Result<Cow<'r, str>, JwtError> {
        match self {
            Self::Header(name) => {
                let value = only(headers.get_all(name).iter())?;
                bare_token(visible(value).ok_or(JwtError::Segments)?).map(Cow::Borrowed)
            }
            Self::Querystring(name) => {
                let parameters = query_parameters(query.unwrap_or_default());
                match only(parameters.filter(|(sent, _)| *sent == **name))?.1 {
                    Cow::Borrowed(value) => bare_token(value).map(Cow::Borrowed),
                    Cow::Owned(value) => bare_token(&value).map(|token| Cow::Owned(token.to_owned())),
                }
            }
        }
    }
}

/// As [`HeaderValue::to_str`], which looks at one byte at a time; tokens are long.
fn visible(value: &HeaderValue) -> Option<&str> {
    let bytes = value.as_bytes();
    let all_visible = text::all(bytes, |byte| matches!(byte, b' '..=b'~') | (byte == b'\t'));
    all_visible.then(|| std::str::from_utf8(bytes).ok()).flatten()
}

/// The token in the value of an identity source: `Bearer ` in any case is taken off (H-JWT-5).
pub fn bare_token(value: &str) -> Result<&str, JwtError> {
    const PREFIX: &str = "bearer ";
    let value = value.trim();
    let token = match value.get(..PREFIX.len()) {
        Some(prefix) if prefix.eq_ignore_ascii_case(PREFIX) => value[PREFIX.len()..].trim_start(),
        _ => value,
    };
    if token.is_empty() { Err(JwtError::MissingToken) } else { Ok(token) }
}

fn only<T>(mut values: impl Iterator<Item = T>) -> Result<T, JwtError> {
    let first = values.next().ok_or(JwtError::MissingToken)?;
    if values.next().is_some() { Err(JwtError::Segments) } else { Ok(first) }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::AUTHORIZATION;

    use super::*;

    /// Proves H-JWT-1.
    #[test]
    fn expressions() {
        let header = |name: &'static str| IdentitySource::Header(HeaderName::from_static(name));
        assert_eq!(IdentitySource::parse("$request.header.Authorization").unwrap(), header("authorization"));
        assert_eq!(IdentitySource::parse("$request.header.X-K").unwrap(), header("x-k"));
        assert_eq!(
            IdentitySource::parse("$request.querystring.Token").unwrap(),
            IdentitySource::Querystring("Token".into())
        );
        for bad in [
            "",
            "Authorization",
            "$request.header.",
            "$request.header.a b",
            "$request.querystring.",
            "$context.x",
            "$request.body",
        ] {
            let text = IdentitySource::parse(bad).unwrap_err().to_string();
            assert!(text.starts_with(&format!("\"{bad}\"")) && text.contains("$request.header.<name>"), "{text}");
        }
    }

    fn header_token(values: &[&str]) -> Result<String, JwtError> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        IdentitySource::Header(AUTHORIZATION).token(&headers, None).map(Cow::into_owned)
    }

    /// Proves H-JWT-5, H-JWT-6.
    #[test]
    fn tokens_of_headers() {
        for (sent, token) in [
            (vec!["Bearer a.b.c"], Ok("a.b.c")),
            (vec!["bearer   a.b.c"], Ok("a.b.c")),
            (vec!["BEARER a.b.c"], Ok("a.b.c")),
            (vec!["a.b.c"], Ok("a.b.c")),
            (vec!["Basic x"], Ok("Basic x")),
            (vec!["Bearer"], Ok("Bearer")),
            (vec!["Bearer "], Ok("Bearer")),
            (vec![], Err(JwtError::MissingToken)),
            (vec![""], Err(JwtError::MissingToken)),
            (vec!["a.b.c", "a.b.c"], Err(JwtError::Segments)),
            (vec!["é"], Err(JwtError::Segments)),
        ] {
            assert_eq!(header_token(&sent), token.map(str::to_owned), "{sent:?}");
        }
    }

    /// Proves H-JWT-5, H-JWT-6.
    #[test]
    fn tokens_of_queries() {
        let source = IdentitySource::Querystring("t".into());
        let headers = HeaderMap::new();
        for (query, token) in [
            (Some("a=1&t=a.b.c"), Ok("a.b.c")),
            (Some("%74=Bearer+a.b.c"), Ok("a.b.c")),
            (Some("T=a.b.c"), Err(JwtError::MissingToken)),
            (Some("t="), Err(JwtError::MissingToken)),
            (Some("t=a&t=b"), Err(JwtError::Segments)),
            (None, Err(JwtError::MissingToken)),
        ] {
            assert_eq!(source.token(&headers, query).map(Cow::into_owned), token.map(str::to_owned), "{query:?}");
        }
    }
}
