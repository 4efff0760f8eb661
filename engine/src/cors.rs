//! CORS (section 5 of the spec): the configuration made ready, and the headers of answers.
//!
//! Header values are made once, so that an answer only copies pointers.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD,
    ORIGIN, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use smallvec::SmallVec;

use crate::snapshot::{self, Problem};

/// Most items of one list.
const MAX_ITEMS: usize = 300;
const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "*"];

/// A CORS configuration that runs.
#[derive(Clone, Debug)]
pub struct Cors {
    origins: Origins,
    methods: Option<HeaderValue>,
    headers: Option<HeaderValue>,
    expose: Option<HeaderValue>,
    max_age: Option<HeaderValue>,
    credentials: bool,
}

#[derive(Clone, Debug)]
enum Origins {
    /// `*`.
    Any,
    Listed {
        /// `https://*`.
        all_https: bool,
        /// `http://*`.
        all_http: bool,
        exact: Vec<Box<[u8]>>,
    },
}

impl Cors {
    /// Checks a configuration (H-CORS-1..4) and makes it ready. Paths of problems start at the configuration, e.g.
    /// `allowOrigins[1]`; their `source` is empty.
    pub fn compile(config: &snapshot::Cors) -> Result<Self, Vec<Problem>> {
        let snapshot::Cors { allow_origins, allow_methods, allow_headers, expose_headers, allow_credentials, max_age } =
            config;
        let mut problems = Vec::new();
        for (name, list) in [
            ("allowOrigins", allow_origins),
            ("allowMethods", allow_methods),
            ("allowHeaders", allow_headers),
            ("exposeHeaders", expose_headers),
        ] {
            if list.len() > MAX_ITEMS {
                problems.push(problem(
                    name.into(),
                    format!("{} items are too many; at most {MAX_ITEMS} are allowed", list.len()),
                ));
            }
        }
        let origins = compile_origins(allow_origins, *allow_credentials, &mut problems);
        check_methods(allow_methods, &mut problems);
        check_header_names("allowHeaders", allow_headers, &mut problems);
        check_header_names("exposeHeaders", expose_headers, &mut problems);
        if let Some(seconds @ (..=-2 | 86_401..)) = max_age {
            problems.push(problem(
                "maxAge".into(),
                format!("{seconds} is out of range; give -1 to 86400 seconds, or leave it out"),
            ));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self {
            origins,
            methods: joined(allow_methods, |method| method.to_owned()),
            headers: joined(allow_headers, str::to_ascii_lowercase),
            expose: joined(expose_headers, str::to_ascii_lowercase),
            max_age: max_age.filter(|&seconds| seconds != 0).map(HeaderValue::from),
            credentials: *allow_credentials,
        })
    }

    /// Adds the headers of a preflight's answer (H-CORS-9); none when the origin is not allowed (H-CORS-10).
    pub fn preflight(&self, origin: Option<&HeaderValue>, out: &mut HeaderMap) {
        if !self.actual(origin, out) {
            return;
        }
        let mut insert = |name: HeaderName, value: &Option<HeaderValue>| {
            if let Some(value) = value {
                out.insert(name, value.clone());
            }
        };
        insert(ACCESS_CONTROL_ALLOW_METHODS, &self.methods);
        insert(ACCESS_CONTROL_ALLOW_HEADERS, &self.headers);
        insert(ACCESS_CONTROL_MAX_AGE, &self.max_age);
    }

    /// Adds the headers of any other answer to a request with this `Origin`, errors of the gateway included (H-CORS-13,
    /// H-CORS-16), and says whether the origin is allowed. Headers of the backend have to be [stripped](strip) before.
    pub fn actual(&self, origin: Option<&HeaderValue>, out: &mut HeaderMap) -> bool {
        let Some(allowed) = self.allow_origin(origin) else { return false };
        let any = allowed == "*";
        out.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        if !any {
            vary_by_origin(out);
        }
        if self.credentials {
            out.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        if let Some(expose) = &self.expose {
            out.insert(ACCESS_CONTROL_EXPOSE_HEADERS, expose.clone());
        }
        true
    }

    /// The value of `access-control-allow-origin`, when the origin is allowed.
    fn allow_origin(&self, origin: Option<&HeaderValue>) -> Option<HeaderValue> {
        let origin = origin?;
        match &self.origins {
            Origins::Any => Some(HeaderValue::from_static("*")),
            Origins::Listed { all_https, all_http, exact } => {
                let sent = origin.as_bytes();
                let allowed = *all_https && has_host_after(sent, b"https://")
                    || *all_http && has_host_after(sent, b"http://")
                    || exact.iter().any(|exact| **exact == *sent);
                allowed.then(|| origin.clone())
            }
        }
    }
}

/// Whether a request is a preflight (H-CORS-6).
pub fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    *method == Method::OPTIONS && headers.contains_key(ORIGIN) && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// Removes every `access-control-*` header of a backend (H-CORS-14). To be called only when CORS is configured.
pub fn strip(headers: &mut HeaderMap) {
    let ours: SmallVec<[HeaderName; 8]> =
        headers.keys().filter(|name| name.as_str().starts_with("access-control-")).cloned().collect();
    for name in ours {
        headers.remove(name);
    }
}

/// Adds `Vary: Origin` unless the answer varies by it already (H-CORS-17).
fn vary_by_origin(out: &mut HeaderMap) {
    let names_origin = |value: &HeaderValue| {
        value
            .as_bytes()
            .split(|&byte| byte == b',')
            .map(<[u8]>::trim_ascii)
            .any(|item| item == b"*" || item.eq_ignore_ascii_case(b"origin"))
    };
    if !out.get_all(VARY).iter().any(names_origin) {
        out.append(VARY, HeaderValue::from_static("Origin"));
    }
}

fn has_host_after(origin: &[u8], scheme: &[u8]) -> bool {
    origin.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty())
}

fn compile_origins(origins: &[String], credentials: bool, problems: &mut Vec<Problem>) -> Origins {
    let (mut any, mut all_https, mut all_http, mut exact) = (false, false, false, Vec::new());
    for (index, origin) in origins.iter().enumerate() {
        let path = || format!("allowOrigins[{index}]");
        match origin.as_str() {
            "*" if credentials => problems.push(problem(
                path(),
                "\"*\" together with allowCredentials: true is refused, browsers do not accept it; list the origins"
                    .into(),
            )),
            "*" => any = true,
            "https://*" => all_https = true,
            "http://*" => all_http = true,
            other => match check_origin(other) {
                Ok(()) => exact.push(other.as_bytes().into()),
                Err(why) => problems.push(problem(
                    path(),
                    format!(
                        "\"{other}\" {why}; write *, https://*, http://* or an origin such as https://app.example:8443"
                    ),
                )),
            },
        }
    }
    if any { Origins::Any } else { Origins::Listed { all_https, all_http, exact } }
}

/// `scheme://host[:port]` and nothing after it (H-CORS-2).
fn check_origin(origin: &str) -> Result<(), &'static str> {
    let Some((scheme, authority)) = origin.split_once("://") else { return Err("has no scheme followed by ://") };
    let mut scheme_bytes = scheme.bytes();
    let letter_first = scheme_bytes.next().is_some_and(|first| first.is_ascii_alphabetic());
    if !letter_first || !scheme_bytes.all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte)) {
        return Err("has a scheme that is not a letter followed by letters, digits, +, - or .");
    }
    if authority.contains('/') {
        return Err("has a path or a trailing slash, which origins never have");
    }
    if authority.contains('*') {
        return Err("has a wildcard inside, which is not supported");
    }
    let host = match authority.strip_prefix('[') {
        Some(rest) => {
            let Some((address, port)) = rest.split_once(']') else { return Err("has an IPv6 address without ]") };
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return Err("has an invalid IPv6 address");
            }
            return check_port(port);
        }
        None => authority.split(':').next().unwrap_or(authority),
    };
    if host.is_empty() {
        return Err("has no host");
    }
    if !host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)) {
        return Err("has a host with characters that a host cannot have");
    }
    check_port(&authority[host.len()..])
}

fn check_port(text: &str) -> Result<(), &'static str> {
    let valid = text.is_empty()
        || text
            .strip_prefix(':')
            .is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok());
    if valid { Ok(()) } else { Err("has something after the host that is not a port") }
}

fn check_methods(methods: &[String], problems: &mut Vec<Problem>) {
    for (index, method) in methods.iter().enumerate() {
        if !METHODS.contains(&method.as_str()) {
            let allowed = METHODS.join(", ");
            problems.push(problem(
                format!("allowMethods[{index}]"),
                format!("\"{method}\" is not a method that can be listed; use one of {allowed}"),
            ));
        }
    }
}

fn check_header_names(list: &str, names: &[String], problems: &mut Vec<Problem>) {
    for (index, name) in names.iter().enumerate() {
        if name != "*" && HeaderName::try_from(name.as_str()).is_err() {
            problems.push(problem(
                format!("{list}[{index}]"),
                format!("\"{name}\" is not a header name; use letters, digits and hyphens, or *"),
            ));
        }
    }
}

/// `*` if the list has it, else the items joined with commas and no space (H-CORS-9); `None` for an empty list.
fn joined(items: &[String], spelling: impl Fn(&str) -> String) -> Option<HeaderValue> {
    if items.is_empty() {
        return None;
    }
    if items.iter().any(|item| item == "*") {
        return Some(HeaderValue::from_static("*"));
    }
    let text = items.iter().map(|item| spelling(item)).collect::<Vec<_>>().join(",");
    Some(HeaderValue::try_from(text).expect("methods and header names have been checked"))
}

fn problem(path: String, message: String) -> Problem {
    Problem { source: String::new(), path, message }
}

#[cfg(test)]
mod tests;
