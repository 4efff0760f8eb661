//! Integrations as they run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use super::function::{LambdaCall, LambdaTemplate};
use crate::aws::AwsCall;
use crate::mapping::Mapping;
use crate::route::RouteKey;
use crate::snapshot::{self, BackendProtocol, BackendTls, LinkName, ServicePort};
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
        protocol: Option<BackendProtocol>,
    },
    Http {
        origin: Template,
        path: Template,
        method: Option<http::Method>,
        tls: Option<BackendTls>,
        protocol: Option<BackendProtocol>,
    },
    Lambda(LambdaTemplate),
    Aws(Arc<AwsCall>),
}

/// A backend ready to be called.
#[derive(Clone, Debug)]
pub enum Backend {
    /// Request and response pass through.
    Http(HttpCall),
    /// The request becomes an event, the result a response.
    Lambda(LambdaCall),
    /// The request becomes a call of an AWS service, whose answer passes through.
    Aws(Arc<AwsCall>),
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
    /// `None`: what the service's port says, HTTP/1.1 to a URL.
    pub protocol: Option<BackendProtocol>,
}

/// The path that a backend gets.
#[derive(Clone, Debug)]
pub enum OutgoingPath {
    /// What the client sent, stage segment included (H-VPC-6).
    AsReceived,
    /// A template; the client's query is added (H-HTTP-6).
    Template(Template),
}

impl Integration {
    /// Compiles what travelled. The error names value, rule and fix.
    pub(super) fn compile(wire: &snapshot::Integration) -> Result<Self, String> {
        let snapshot::Integration { source: _, timeout_in_millis, backend, request_parameters, response_parameters } =
            wire;
        // Those of an AWS service are parameters of its action (H-MAP-8).
        let none = BTreeMap::new();
        let mapped = if matches!(backend, snapshot::Backend::Aws(_)) { &none } else { request_parameters };
        let mapping = Mapping::compile(mapped, response_parameters).map_err(|error| error.to_string())?;
        let backend = match backend {
            snapshot::Backend::Service(service) => {
                let snapshot::ServiceBackend { service, path, method, tls, link, protocol } = service;
                let path =
                    path.as_deref().map(Template::parse).transpose().map_err(|error| format!("path: {error}"))?;
                let method = parse_method(method.as_deref())?;
                BackendTemplate::Service {
                    service: service.clone(),
                    path,
                    method,
                    tls: tls.clone(),
                    link: link.clone(),
                    protocol: *protocol,
                }
            }
            snapshot::Backend::Http(http) => {
                let snapshot::HttpBackend { uri, method, tls, protocol } = http;
                let (origin, path) = Template::parse(uri).map_err(|error| format!("uri: {error}"))?.split_origin();
                if let Some(variable) = origin.variables().next() {
                    return Err(format!(
                        "uri: {{{variable}}} stands in the host: clients must not choose the host, move it to the path"
                    ));
                }
                if let Some(text) = origin.as_text() {
                    parse_origin(text, tls.as_ref())?;
                }
                let (method, tls, protocol) = (parse_method(method.as_deref())?, tls.clone(), *protocol);
                BackendTemplate::Http { origin, path, method, tls, protocol }
            }
            snapshot::Backend::Lambda(lambda) => BackendTemplate::Lambda(LambdaTemplate::compile(lambda)?),
            snapshot::Backend::Aws(aws) => BackendTemplate::Aws(Arc::new(AwsCall::compile(aws, request_parameters)?)),
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
            BackendTemplate::Service { path: None, .. } | BackendTemplate::Lambda(_) | BackendTemplate::Aws(_) => {
                return Ok(());
            }
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

/// `https://host[:port]`, nothing after it.
pub(crate) fn parse_origin(text: &str, tls: Option<&BackendTls>) -> Result<Destination, String> {
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
