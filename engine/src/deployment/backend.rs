//! Integrations as they run.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use http::uri::PathAndQuery;

use crate::mapping::Mapping;
use crate::route::RouteKey;
use crate::snapshot::{self, BackendTls, LinkName, PayloadFormatVersion, ServicePort};
use crate::template::{Template, TemplateError};

/// A backend and how to call it, before a stage's variables are filled in.
#[derive(Clone, Debug)]
pub struct Integration {
    pub(super) timeout: Duration,
    pub(super) backend: BackendTemplate,
    pub(super) mapping: Option<Arc<Mapping>>,
}

#[derive(Clone, Debug)]
pub(super) enum BackendTemplate {
    Service {
        service: ServicePort,
        path: Option<Template>,
        method: Option<http::Method>,
        tls: Option<BackendTls>,
        link: Option<LinkName>,
    },
    Http {
        origin: Template,
        path: Template,
        method: Option<http::Method>,
        tls: Option<BackendTls>,
    },
    Lambda(LambdaCall),
}

/// A backend ready to be called.
#[derive(Clone, Debug)]
pub enum Backend {
    /// Request and response pass through.
    Http(HttpCall),
    /// The request becomes an event, the result a response.
    Lambda(LambdaCall),
}

/// Where a call goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// One of the endpoints of a service.
    Service {
        /// Which endpoints.
        service: ServicePort,
        /// HTTPS towards them.
        tls: Option<BackendTls>,
        /// The link that has to open it.
        link: Option<LinkName>,
    },
    /// A host of a URL.
    Origin {
        /// Name or address; an IPv6 address in brackets.
        host: Box<str>,
        /// From the URL, or the scheme's default.
        port: u16,
        /// HTTPS; `Some` also when no trust is configured.
        tls: Option<BackendTls>,
        /// The `Host` header (H-HTTP-9).
        authority: HeaderValue,
    },
}

/// A call that passes requests through.
#[derive(Clone, Debug)]
pub struct HttpCall {
    /// Where to.
    pub destination: Destination,
    /// In place of the client's (H-INT-5).
    pub method: Option<http::Method>,
    /// Path and query.
    pub path: OutgoingPath,
}

/// The path that a backend gets.
#[derive(Clone, Debug)]
pub enum OutgoingPath {
    /// What the client sent, stage segment included (H-VPC-6).
    AsReceived,
    /// A template; the client's query is added (H-HTTP-6).
    Template(Template),
}

/// A call of a function.
#[derive(Clone, Debug)]
pub struct LambdaCall {
    /// Where the invoke protocol is spoken.
    pub destination: Destination,
    /// `/2015-03-31/functions/{functionName}/invocations`, below the base URL's path.
    pub path: PathAndQuery,
    /// Shape of event and result.
    pub version: PayloadFormatVersion,
}

impl Integration {
    /// Compiles what travelled. The error names value, rule and fix.
    pub(super) fn compile(wire: &snapshot::Integration) -> Result<Self, String> {
        let snapshot::Integration { source: _, timeout_in_millis, backend, request_parameters, response_parameters } =
            wire;
        let mapping = Mapping::compile(request_parameters, response_parameters).map_err(|error| error.to_string())?;
        let backend = match backend {
            snapshot::Backend::Service(service) => {
                let snapshot::ServiceBackend { service, path, method, tls, link } = service;
                let path =
                    path.as_deref().map(Template::parse).transpose().map_err(|error| format!("path: {error}"))?;
                let method = parse_method(method.as_deref())?;
                BackendTemplate::Service {
                    service: service.clone(),
                    path,
                    method,
                    tls: tls.clone(),
                    link: link.clone(),
                }
            }
            snapshot::Backend::Http(http) => {
                let snapshot::HttpBackend { uri, method, tls } = http;
                let (origin, path) = Template::parse(uri).map_err(|error| format!("uri: {error}"))?.split_origin();
                if let Some(variable) = origin.variables().next() {
                    return Err(format!(
                        "uri: {{{variable}}} stands in the host: clients must not choose the host, move it to the path"
                    ));
                }
                if let Some(text) = origin.as_text() {
                    parse_origin(text, tls.as_ref())?;
                }
                BackendTemplate::Http { origin, path, method: parse_method(method.as_deref())?, tls: tls.clone() }
            }
            snapshot::Backend::Lambda(lambda) => BackendTemplate::Lambda(LambdaCall::compile(lambda)?),
            snapshot::Backend::Unknown => {
                return Err("the kind of backend is not known to this version of the proxy: upgrade it".to_owned());
            }
        };
        let timeout = Duration::from_millis(u64::from(*timeout_in_millis));
        Ok(Self { timeout, backend, mapping: mapping.map(Arc::new) })
    }

    /// Refuses path variables that the route does not have (H-HTTP-2).
    pub(super) fn check_variables(&self, key: &RouteKey) -> Result<(), TemplateError> {
        let template = match &self.backend {
            BackendTemplate::Service { path: Some(path), .. } | BackendTemplate::Http { path, .. } => path,
            BackendTemplate::Service { path: None, .. } | BackendTemplate::Lambda(_) => return Ok(()),
        };
        let known: Vec<&str> = key.path().map(|path| path.variables().collect()).unwrap_or_default();
        template.check_variables(known.iter().copied())
    }
}

fn parse_method(method: Option<&str>) -> Result<Option<http::Method>, String> {
    match method {
        None | Some("ANY") => Ok(None),
        Some(name) => http::Method::from_bytes(name.as_bytes()).map(Some).map_err(|_| {
            format!(
                "method: {name:?} is not an HTTP method: use ANY or one of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
            )
        }),
    }
}

impl LambdaCall {
    /// Compiles what travelled. The error names value, rule and fix.
    pub(crate) fn compile(lambda: &snapshot::LambdaBackend) -> Result<Self, String> {
        let snapshot::LambdaBackend { endpoint, function_name, payload_format_version } = lambda;
        let (destination, base) = match endpoint {
            snapshot::LambdaEndpoint::Service { service } => {
                (Destination::Service { service: service.clone(), tls: None, link: None }, "")
            }
            snapshot::LambdaEndpoint::Url { url } => {
                let path = url.splitn(4, '/').nth(3).map_or("", |path| &url[url.len() - path.len() - 1..]);
                let origin = &url[..url.len() - path.len()];
                (parse_origin(origin, None).map_err(|error| format!("endpoint: {error}"))?, path.trim_end_matches('/'))
            }
        };
        let path = format!("{base}/2015-03-31/functions/{function_name}/invocations");
        let path = path.parse().map_err(|_| format!("functionName: {function_name:?} cannot stand in a path"))?;
        Ok(Self { destination, path, version: *payload_format_version })
    }
}

/// `https://host[:port]`, nothing after it.
pub(super) fn parse_origin(text: &str, tls: Option<&BackendTls>) -> Result<Destination, String> {
    let (https, rest) = text
        .strip_prefix("https://")
        .map(|rest| (true, rest))
        .or_else(|| text.strip_prefix("http://").map(|rest| (false, rest)))
        .ok_or_else(|| format!("uri: {text:?} does not start with http:// or https://"))?;
    let authority: http::uri::Authority =
        rest.parse().map_err(|error| format!("uri: {rest:?} is not a host with an optional port: {error}"))?;
    if rest.contains('@') || authority.host().is_empty() {
        return Err(format!("uri: {rest:?} has to be a host with an optional port, without user information"));
    }
    let port = match rest[authority.host().len()..].strip_prefix(':') {
        None => {
            if https {
                443
            } else {
                80
            }
        }
        Some(port) => match port.parse() {
            Ok(0) | Err(_) => return Err(format!("uri: the port of {rest:?} is not between 1 and 65535")),
            Ok(port) => port,
        },
    };
    Ok(Destination::Origin {
        host: authority.host().into(),
        port,
        tls: https.then(|| tls.cloned().unwrap_or_default()),
        authority: HeaderValue::from_str(rest).map_err(|_| format!("uri: {rest:?} cannot stand in a Host header"))?,
    })
}
