//! The grammar of route keys (H-ROUTE-1 to H-ROUTE-6).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::path::decode_segment;

/// A method that routes can name (H-ROUTE-2). Requests with another method match no route (H-ROUTE-29).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Method {
    /// `GET`
    Get,
    /// `HEAD`
    Head,
    /// `POST`
    Post,
    /// `PUT`
    Put,
    /// `PATCH`
    Patch,
    /// `DELETE`
    Delete,
    /// `OPTIONS`
    Options,
}

impl Method {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Self; 7] = [Self::Get, Self::Head, Self::Post, Self::Put, Self::Patch, Self::Delete, Self::Options];

    /// The method of a request; `None` for one that no route can serve. Case-sensitive, as RFC 9110 section 9.1 says.
    pub fn of(method: &http::Method) -> Option<Self> {
        Self::parse(method.as_str())
    }

    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "POST" => Self::Post,
            "PUT" => Self::Put,
            "PATCH" => Self::Patch,
            "DELETE" => Self::Delete,
            "OPTIONS" => Self::Options,
            _ => return None,
        })
    }

    /// As on the request line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
        }
    }
}

/// The method part of a route key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MethodKey {
    /// `ANY`: every method of [`Method`] without a key of its own for the same path (H-ROUTE-18).
    Any,
    /// One method.
    Exact(Method),
}

impl MethodKey {
    /// As in a route key.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Any => "ANY",
            Self::Exact(method) => method.as_str(),
        }
    }
}

/// One segment of a path template.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Segment {
    /// Text to be equal to the percent-decoded segment. Empty only for the segment after a trailing slash.
    Literal(String),
    /// `{name}`: exactly one non-empty segment (H-ROUTE-20).
    Variable(String),
    /// `{name+}`: the rest of the path; the last segment only (H-ROUTE-5).
    Greedy(String),
}

/// The path part of a route key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathTemplate {
    text: String,
    segments: Vec<Segment>,
}

impl PathTemplate {
    /// As written, e.g. `/orders/{id}`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The segments; at least one, `/` has a single empty literal.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Names of the variables from left to right, without `+`.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Literal(_) => None,
            Segment::Variable(name) | Segment::Greedy(name) => Some(name.as_str()),
        })
    }

    /// Name and raw (still percent-encoded) value of each variable of this template in `path`, a path that matched it.
    pub fn bind<'t, 'p>(&'t self, path: &'p str) -> impl Iterator<Item = (&'t str, &'p str)> {
        let mut rest = path.strip_prefix('/').unwrap_or(path);
        self.segments.iter().filter_map(move |segment| {
            if let Segment::Greedy(name) = segment {
                return Some((name.as_str(), rest));
            }
            let (value, next) = rest.split_once('/').unwrap_or((rest, ""));
            rest = next;
            match segment {
                Segment::Variable(name) => Some((name.as_str(), value)),
                _ => None,
            }
        })
    }
}

/// A parsed route key: `$default` or a method and a path template (H-ROUTE-1).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RouteKey {
    /// Every request that no other route takes.
    Default,
    /// `METHOD /path`.
    Path {
        /// The method.
        method: MethodKey,
        /// The path; shared by the versions of an API that have it.
        path: Arc<PathTemplate>,
    },
}

impl RouteKey {
    /// Equal for keys that conflict: those that differ only in the names of variables (H-ROUTE-6).
    pub fn shape(&self) -> String {
        let Self::Path { method, path } = self else { return "$default".to_owned() };
        let mut shape = method.as_str().to_owned();
        shape.push(' ');
        for segment in path.segments() {
            shape.push('/');
            match segment {
                // A decoded literal may hold any character; braces and slashes are encoded again so that shapes stay distinct.
                Segment::Literal(text) => {
                    for character in text.chars() {
                        match character {
                            '/' => shape.push_str("%2F"),
                            '{' => shape.push_str("%7B"),
                            '%' => shape.push_str("%25"),
                            other => shape.push(other),
                        }
                    }
                }
                Segment::Variable(_) => shape.push_str("{}"),
                Segment::Greedy(_) => shape.push_str("{+}"),
            }
        }
        shape
    }

    /// The path template; `None` for `$default`.
    pub fn path(&self) -> Option<&PathTemplate> {
        match self {
            Self::Default => None,
            Self::Path { path, .. } => Some(path),
        }
    }
}

impl fmt::Display for RouteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("$default"),
            Self::Path { method, path } => write!(f, "{} {}", method.as_str(), path.as_str()),
        }
    }
}

/// Why a text is not a route key. Each message names the value, the rule and the fix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteKeyError {
    /// Neither `$default` nor two words.
    #[error("{0:?} is not a route key: write $default, or a method, one space and a path, e.g. \"GET /orders/{{id}}\"")]
    Form(String),
    /// The method is none of H-ROUTE-2.
    #[error(
        "{0:?} is not a method of a route key: use GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS or ANY, in upper case"
    )]
    Method(String),
    /// The path does not start with a slash.
    #[error("path {0:?} does not start with \"/\"")]
    Slash(String),
    /// Two slashes in a row.
    #[error("path {0:?} has an empty segment: remove one of the two slashes")]
    EmptySegment(String),
    /// A segment that clients' requests are refused for (H-ROUTE-25).
    #[error("segment {0:?} could never match, since requests with dot segments are refused: remove it")]
    DotSegment(String),
    /// Braces that do not enclose the whole segment.
    #[error("segment {0:?} mixes text and a variable: a variable fills a whole segment, e.g. \"/a/{{b}}\"")]
    PartialVariable(String),
    /// A character that a literal cannot have.
    #[error(
        "segment {segment:?} has the character {character:?}: use letters, digits and -._~!$&'()+,;=:@ or percent-encoding"
    )]
    Literal {
        /// The segment.
        segment: String,
        /// The first character that is not allowed.
        character: char,
    },
    /// A name outside `[\w.:-]+`.
    #[error("variable name {0:?} is not allowed: use letters, digits, \"_\", \".\", \":\" and \"-\"")]
    VariableName(String),
    /// The same name twice.
    #[error("variable {0:?} appears twice: give each variable its own name")]
    DuplicateVariable(String),
    /// A greedy variable before the last segment (H-ROUTE-5).
    #[error("greedy variable {0:?} is not the last segment: only the last segment can take the rest of the path")]
    GreedyNotLast(String),
    /// More segments than the matcher takes.
    #[error("path has {0} segments: at most 64 are allowed")]
    TooManySegments(usize),
}

/// Deeper templates than this serve nobody, and a bound keeps the matcher's recursion small.
const MAX_SEGMENTS: usize = 64;

impl FromStr for RouteKey {
    type Err = RouteKeyError;

    fn from_str(text: &str) -> Result<Self, RouteKeyError> {
        if text == "$default" {
            return Ok(Self::Default);
        }
        let (method, path) = text.split_once(' ').ok_or_else(|| RouteKeyError::Form(text.to_owned()))?;
        let method = match method {
            "ANY" => MethodKey::Any,
            name => MethodKey::Exact(Method::parse(name).ok_or_else(|| RouteKeyError::Method(name.to_owned()))?),
        };
        Ok(Self::Path { method, path: Arc::new(path.parse()?) })
    }
}

impl FromStr for PathTemplate {
    type Err = RouteKeyError;

    fn from_str(text: &str) -> Result<Self, RouteKeyError> {
        let rest = text.strip_prefix('/').ok_or_else(|| RouteKeyError::Slash(text.to_owned()))?;
        let count = rest.split('/').count();
        if count > MAX_SEGMENTS {
            return Err(RouteKeyError::TooManySegments(count));
        }
        let mut segments = Vec::with_capacity(count);
        for (index, part) in rest.split('/').enumerate() {
            let last = index + 1 == count;
            if part.is_empty() && !last {
                return Err(RouteKeyError::EmptySegment(text.to_owned()));
            }
            let segment = parse_segment(part)?;
            if let Segment::Greedy(_) = segment
                && !last
            {
                return Err(RouteKeyError::GreedyNotLast(part.to_owned()));
            }
            segments.push(segment);
        }
        let template = Self { text: text.to_owned(), segments };
        let mut names: Vec<&str> = template.variables().collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(RouteKeyError::DuplicateVariable(pair[0].to_owned()));
        }
        Ok(template)
    }
}

fn parse_segment(part: &str) -> Result<Segment, RouteKeyError> {
    if let Some(inner) = part.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        let (name, greedy) = inner.strip_suffix('+').map_or((inner, false), |name| (name, true));
        let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':' | '-');
        if name.is_empty() || !name.chars().all(valid) {
            return Err(RouteKeyError::VariableName(name.to_owned()));
        }
        let name = name.to_owned();
        return Ok(if greedy { Segment::Greedy(name) } else { Segment::Variable(name) });
    }
    if part.contains(['{', '}']) {
        return Err(RouteKeyError::PartialVariable(part.to_owned()));
    }
    if let Some(character) = part.chars().find(|&c| !is_literal(c)) {
        return Err(RouteKeyError::Literal { segment: part.to_owned(), character });
    }
    let decoded = decode_segment(part.as_bytes())
        .and_then(|bytes| String::from_utf8(bytes.into_owned()).ok())
        .ok_or_else(|| RouteKeyError::Literal { segment: part.to_owned(), character: '%' })?;
    if decoded == "." || decoded == ".." {
        return Err(RouteKeyError::DotSegment(part.to_owned()));
    }
    Ok(Segment::Literal(decoded))
}

/// RFC 3986 `pchar` without `*` (H-ROUTE-4), and `%` for escapes.
fn is_literal(c: char) -> bool {
    c.is_ascii_alphanumeric()
        || matches!(
            c,
            '-' | '.' | '_' | '~' | '!' | '$' | '&' | '\'' | '(' | ')' | '+' | ',' | ';' | '=' | ':' | '@' | '%'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Result<RouteKey, RouteKeyError> {
        text.parse()
    }

    /// Proves H-ROUTE-1, H-ROUTE-2, H-ROUTE-4.
    #[test]
    fn accepts_the_documented_forms() {
        for text in [
            "$default",
            "GET /",
            "ANY /{proxy+}",
            "DELETE /pets/{petId}",
            "PATCH /a.b:c_d-e/~x/$y",
            "OPTIONS /pets/",
            "HEAD /v1/{a.b:c-d_e}/{rest+}",
            "PUT /x",
            "POST /caf%C3%A9",
        ] {
            assert_eq!(key(text).map(|key| key.to_string()), Ok(text.to_owned()));
        }
    }

    /// Proves H-ROUTE-1, H-ROUTE-2, H-ROUTE-4, H-ROUTE-5.
    #[test]
    fn refuses_with_the_rule() {
        type Expected = fn(&RouteKeyError) -> bool;
        let cases: [(&str, Expected); 17] = [
            ("", |e| matches!(e, RouteKeyError::Form(_))),
            ("/pets", |e| matches!(e, RouteKeyError::Form(_))),
            ("$DEFAULT", |e| matches!(e, RouteKeyError::Form(_))),
            ("get /pets", |e| matches!(e, RouteKeyError::Method(_))),
            ("TRACE /pets", |e| matches!(e, RouteKeyError::Method(_))),
            ("GET pets", |e| matches!(e, RouteKeyError::Slash(_))),
            ("GET  /pets", |e| matches!(e, RouteKeyError::Slash(_))),
            ("GET /a//b", |e| matches!(e, RouteKeyError::EmptySegment(_))),
            ("GET /a/../b", |e| matches!(e, RouteKeyError::DotSegment(_))),
            ("GET /a/%2e%2E", |e| matches!(e, RouteKeyError::DotSegment(_))),
            ("GET /a{b}", |e| matches!(e, RouteKeyError::PartialVariable(_))),
            ("GET /a/*", |e| matches!(e, RouteKeyError::Literal { character: '*', .. })),
            ("GET /a b", |e| matches!(e, RouteKeyError::Literal { character: ' ', .. })),
            ("GET /a%zz", |e| matches!(e, RouteKeyError::Literal { character: '%', .. })),
            ("GET /{}", |e| matches!(e, RouteKeyError::VariableName(_))),
            ("GET /{a}/{a}", |e| matches!(e, RouteKeyError::DuplicateVariable(_))),
            ("GET /{proxy+}/x", |e| matches!(e, RouteKeyError::GreedyNotLast(_))),
        ];
        for (text, expected) in cases {
            let error = key(text).expect_err(text);
            assert!(expected(&error), "{text}: {error}");
        }
        let deep = format!("GET {}", "/a".repeat(65));
        assert_eq!(key(&deep), Err(RouteKeyError::TooManySegments(65)));
    }

    /// Proves H-ROUTE-6.
    #[test]
    fn keys_that_differ_in_variable_names_have_one_shape() {
        let shape = |text| key(text).unwrap().shape();
        assert_eq!(shape("GET /pets/{id}"), shape("GET /pets/{petId}"));
        assert_ne!(shape("GET /pets/{id}"), shape("GET /pets/{id+}"));
        assert_ne!(shape("GET /pets/{id}"), shape("ANY /pets/{id}"));
        assert_ne!(shape("GET /a%2Fb"), shape("GET /a/b"));
        assert_ne!(shape("GET /%7B%7D"), shape("GET /{x}"));
        assert_eq!(shape("GET /p%65ts"), shape("GET /pets"));
    }

    /// Proves H-ROUTE-20, H-ROUTE-22, H-ROUTE-23.
    #[test]
    fn binds_raw_values() {
        let bind = |template: &str, path: &str| {
            let template: PathTemplate = template.parse().unwrap();
            template.bind(path).map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
        };
        assert_eq!(bind("/pets/{id}/x/{y}", "/pets/5%20/x/7"), "id=5%20&y=7");
        assert_eq!(bind("/beta/{proxy+}", "/beta/foo/"), "proxy=foo/");
        assert_eq!(bind("/{proxy+}", "/"), "proxy=");
        assert_eq!(bind("/a/{b}/{rest+}", "/a/1/2/3"), "b=1&rest=2/3");
        assert_eq!(bind("/pets", "/pets"), "");
    }
}
