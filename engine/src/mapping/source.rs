//! Where mappings read from: `$request.header.x`, `$context.stage`, `$response.body.id` … (section 4.2 of the spec).

use std::cell::OnceCell;

use http::header::HOST;
use http::{HeaderMap, HeaderName};

use super::json_path::{JsonPath, WINDOW};
use super::value::Side;
use crate::context::{Facts, Outcome, Variable};
use crate::percent::{decode_query, query_parameters};
use crate::route::PathTemplate;

/// A source that parses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Header(HeaderName),
    /// Case-sensitive, decoded.
    Query(Box<str>),
    Body,
    BodyPath(JsonPath),
    Path,
    PathVariable(Box<str>),
    /// `None`: a variable that can have a value in AWS and never has one here.
    Context(Option<Variable>),
    StageVariable(Box<str>),
}

/// A request as it came, before any mapping.
#[derive(Debug)]
pub struct Request<'a> {
    /// What `$context` and stage variables are made of.
    pub facts: &'a Facts<'a>,
    /// The client's headers.
    pub headers: &'a HeaderMap,
    /// The path without the stage, as sent.
    pub path: &'a str,
    /// The raw query.
    pub query: Option<&'a str>,
    /// The path of the route's key; `None` for `$default`.
    pub template: Option<&'a PathTemplate>,
    /// The whole body, where a mapping reads it.
    pub body: Option<&'a [u8]>,
}

/// A backend's response as it came.
#[derive(Debug)]
pub struct Response<'a> {
    /// What `$context` and stage variables are made of.
    pub facts: &'a Facts<'a>,
    /// The backend's headers.
    pub headers: &'a HeaderMap,
    /// The whole body, where a mapping reads it.
    pub body: Option<&'a [u8]>,
}

/// A message that mappings read.
#[derive(Debug)]
pub struct Sources<'a> {
    message: Message<'a>,
    /// The body's JSON, parsed at most once.
    document: OnceCell<Option<serde_json::Value>>,
}

#[derive(Debug)]
enum Message<'a> {
    Request(Request<'a>),
    Response(Response<'a>),
}

impl<'a> From<Request<'a>> for Sources<'a> {
    fn from(request: Request<'a>) -> Self {
        Self { message: Message::Request(request), document: OnceCell::new() }
    }
}

impl<'a> From<Response<'a>> for Sources<'a> {
    fn from(response: Response<'a>) -> Self {
        Self { message: Message::Response(response), document: OnceCell::new() }
    }
}

/// Where a value goes: paths take path variables as they were sent, so that `%2F` stays `%2F`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Path,
    Text,
}

impl Source {
    /// Parses an expression without `$` and braces.
    pub(super) fn parse(text: &str, side: Side) -> Result<Self, String> {
        let unknown = || format!("{text:?} is not a source of values");
        let (root, rest) = text.split_once('.').ok_or_else(unknown)?;
        match (root, side) {
            ("context", _) => context(rest),
            ("stageVariables", _) if !rest.is_empty() && rest.bytes().all(is_word) => {
                Ok(Self::StageVariable(rest.into()))
            }
            ("stageVariables", _) => {
                Err(format!("{rest:?} is not the name of a stage variable: letters, digits and _"))
            }
            ("request", Side::Request) => {
                if rest == "path" {
                    return Ok(Self::Path);
                }
                if let Some(name) = rest.strip_prefix("path.").filter(|name| !name.is_empty()) {
                    return Ok(Self::PathVariable(name.into()));
                }
                if let Some(name) = rest.strip_prefix("querystring.").filter(|name| !name.is_empty()) {
                    return Ok(Self::Query(name.into()));
                }
                message(rest).unwrap_or_else(|| {
                    Err(format!(
                        "{text:?} is not a source of values: of a request there are header.NAME, querystring.NAME, path, path.VARIABLE, body and body.PATH"
                    ))
                })
            }
            ("response", Side::Response) => message(rest).unwrap_or_else(|| {
                Err(format!(
                    "{text:?} is not a source of values: of a response there are header.NAME, body and body.PATH"
                ))
            }),
            ("request", Side::Response) => Err(format!(
                "{text:?} is not known when a response is mapped: use $response, $context or $stageVariables"
            )),
            ("response", Side::Request) => Err(format!(
                "{text:?} is not known when a request is mapped: use $request, $context or $stageVariables"
            )),
            _ => Err(unknown()),
        }
    }

    pub(super) fn needs_body(&self) -> bool {
        matches!(self, Self::Body | Self::BodyPath(_))
    }

    /// Appends what it finds; `false` when it finds nothing.
    pub(super) fn push(&self, from: &Sources<'_>, to: Use, out: &mut Vec<u8>) -> bool {
        match (self, &from.message) {
            (Self::Header(name), Message::Request(request)) if *name == HOST => push_text(request.facts.host, out),
            (Self::Header(name), _) => push_header(from.headers(), name, out),
            (Self::Query(name), Message::Request(request)) => push_query(request.query, name, out),
            (Self::Body, _) => from.body().is_some_and(|body| {
                out.extend_from_slice(body);
                !body.is_empty()
            }),
            (Self::BodyPath(path), _) => from.document().is_some_and(|document| path.push(document, out)),
            (Self::Path, Message::Request(request)) => push_path(request.path, to, out),
            (Self::PathVariable(name), Message::Request(request)) => {
                let bound = request.template.map(|template| template.bind(request.path));
                let value = bound.into_iter().flatten().find(|(known, _)| **known == **name);
                value.is_some_and(|(_, value)| push_path_value(value, to, out))
            }
            (Self::Context(variable), _) => variable
                .as_ref()
                .is_some_and(|variable| variable.value(from.facts(), &Outcome::default()).push_plain(out)),
            (Self::StageVariable(name), _) => {
                from.facts().stage_variables.get(&**name).is_some_and(|value| push_text(value, out))
            }
            (Self::Query(_) | Self::Path | Self::PathVariable(_), Message::Response(_)) => false,
        }
    }
}

impl<'a> Sources<'a> {
    fn facts(&self) -> &'a Facts<'a> {
        match &self.message {
            Message::Request(request) => request.facts,
            Message::Response(response) => response.facts,
        }
    }

    fn headers(&self) -> &'a HeaderMap {
        match &self.message {
            Message::Request(request) => request.headers,
            Message::Response(response) => response.headers,
        }
    }

    fn body(&self) -> Option<&'a [u8]> {
        match &self.message {
            Message::Request(request) => request.body,
            Message::Response(response) => response.body,
        }
    }

    /// A body over [`WINDOW`] is cut, and then it is hardly ever JSON (H-MAP-14).
    fn document(&self) -> Option<&serde_json::Value> {
        let parse = || self.body().and_then(|body| serde_json::from_slice(&body[..body.len().min(WINDOW)]).ok());
        self.document.get_or_init(parse).as_ref()
    }
}

/// Sources that requests and responses have; `None` for what is none.
fn message(rest: &str) -> Option<Result<Source, String>> {
    if let Some(name) = rest.strip_prefix("header.") {
        return Some(header(name));
    }
    let path = rest.strip_prefix("body")?;
    Some(match path {
        "" => Ok(Source::Body),
        path if path.starts_with(['.', '[']) => JsonPath::parse(path).map(Source::BodyPath),
        _ => return None,
    })
}

/// Reserved headers may be read, except the gateway's own (H-MAP-5).
fn header(name: &str) -> Result<Source, String> {
    let parsed: HeaderName = match name.parse() {
        Ok(parsed) if !name.contains('$') => parsed,
        _ => return Err(format!("{name:?} is not the name of a header; to combine expressions, write each as ${{…}}")),
    };
    if parsed.as_str().starts_with("apigw-") {
        return Err(format!("Operations on header {name} are restricted: it is the gateway's own"));
    }
    Ok(Source::Header(parsed))
}

/// Only what is known before the request ends (column P of H-LOG-7).
fn context(name: &str) -> Result<Source, String> {
    if !Variable::is_known_before_the_end(name) {
        return Err(format!(
            "$context.{name} has no value while requests and responses are mapped: use one of those that the documentation lists for mappings, e.g. $context.requestId"
        ));
    }
    Ok(Source::Context(Variable::parse(name)))
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn push_text(text: &str, out: &mut Vec<u8>) -> bool {
    out.extend_from_slice(text.as_bytes());
    true
}

/// Several values are joined with a comma (H-MAP-10).
fn push_header(headers: &HeaderMap, name: &HeaderName, out: &mut Vec<u8>) -> bool {
    let mut found = false;
    for value in headers.get_all(name) {
        if found {
            out.push(b',');
        }
        found = true;
        out.extend_from_slice(value.as_bytes());
    }
    found
}

fn push_query(query: Option<&str>, name: &str, out: &mut Vec<u8>) -> bool {
    let mut found = false;
    for (_, value) in query_parameters(query.unwrap_or_default()).filter(|(known, _)| known == name) {
        if found {
            out.push(b',');
        }
        found = true;
        out.extend_from_slice(value.as_bytes());
    }
    found
}

fn push_path(path: &str, _to: Use, out: &mut Vec<u8>) -> bool {
    // The path as a whole stays encoded everywhere: decoded, `%2F` would look like a boundary.
    push_text(path, out)
}

fn push_path_value(raw: &str, to: Use, out: &mut Vec<u8>) -> bool {
    match to {
        Use::Path => push_text(raw, out),
        // A plus in a path is a plus (H-ROUTE-30), which `decode_query` would not know.
        Use::Text => push_text(&decode_query(&raw.replace('+', "%2B")), out),
    }
}
