//! Keys of mappings: `append:header.x-tenant`, `overwrite:path`, `remove:querystring.debug` (H-MAP-1 to H-MAP-4).

use http::HeaderName;
use http::header::HOST;

/// What happens at a target. Ordered as actions on one target act (H-MAP-22).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Deletes all values.
    Remove,
    /// Replaces all values or creates one.
    Overwrite,
    /// Adds a value after the existing ones.
    Append,
}

/// Where a request mapping acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RequestTarget {
    Header(HeaderName),
    /// Case-sensitive, decoded (H-MAP-18).
    Query(Box<str>),
    Path,
}

impl RequestTarget {
    pub(super) fn is_host(&self) -> bool {
        matches!(self, Self::Header(name) if *name == HOST)
    }
}

/// Where a response mapping acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ResponseTarget {
    Header(HeaderName),
    Status,
}

/// Headers that no mapping may touch (H-MAP-4). The last row is ours: these belong to one connection as well.
const RESERVED: [&str; 20] = [
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-location",
    "forwarded",
    "keep-alive",
    "origin",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailers",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "trailer",
    "expect",
];
/// The same, by how the name begins.
const RESERVED_PREFIXES: [&str; 5] = ["access-control-", "apigw-", "x-amz-", "x-amzn-", "proxy-connection"];

/// A key of `requestParameters`.
pub(super) fn request(key: &str) -> Result<(Action, RequestTarget), String> {
    let rule = "a key is append:, overwrite: or remove:, then header.NAME or querystring.NAME, or overwrite:path";
    let (action, rest) = action(key).ok_or_else(|| rule.to_owned())?;
    if let Some(name) = rest.strip_prefix("header.") {
        let name = header(name)?;
        if name == HOST && action != Action::Overwrite {
            return Err("Host is always sent once: use overwrite:header.Host".to_owned());
        }
        return Ok((action, RequestTarget::Header(name)));
    }
    if let Some(name) = rest.strip_prefix("querystring.").filter(|name| !name.is_empty()) {
        return Ok((action, RequestTarget::Query(name.into())));
    }
    match (rest, action) {
        ("path", Action::Overwrite) => Ok((action, RequestTarget::Path)),
        ("path", _) => Err("a path can only be replaced: use overwrite:path".to_owned()),
        _ => Err(rule.to_owned()),
    }
}

/// A key of one status of `responseParameters`.
pub(super) fn response(key: &str) -> Result<(Action, ResponseTarget), String> {
    let rule = "a key is append:, overwrite: or remove:, then header.NAME, or overwrite:statuscode";
    let (action, rest) = action(key).ok_or_else(|| rule.to_owned())?;
    if let Some(name) = rest.strip_prefix("header.") {
        return Ok((action, ResponseTarget::Header(header(name)?)));
    }
    match (rest, action) {
        ("statuscode", Action::Overwrite) => Ok((action, ResponseTarget::Status)),
        ("statuscode", _) => Err("a status can only be replaced: use overwrite:statuscode".to_owned()),
        _ => Err(rule.to_owned()),
    }
}

fn action(key: &str) -> Option<(Action, &str)> {
    let (action, rest) = key.split_once(':')?;
    let action = match action {
        "append" => Action::Append,
        "overwrite" => Action::Overwrite,
        "remove" => Action::Remove,
        _ => return None,
    };
    Some((action, rest))
}

fn header(name: &str) -> Result<HeaderName, String> {
    let parsed: HeaderName = name.parse().map_err(|_| format!("{name:?} is not the name of a header"))?;
    let lower = parsed.as_str();
    if RESERVED.contains(&lower) || RESERVED_PREFIXES.iter().any(|prefix| lower.starts_with(prefix)) {
        return Err(format!(
            "Operations on header {name} are restricted: it belongs to the gateway or to the connection, use another name"
        ));
    }
    Ok(parsed)
}
