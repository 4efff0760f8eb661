//! From an integration object, of an Integration or inside a Route, to the backend that travels.

use std::collections::BTreeMap;
use std::sync::Arc;

use tollgate_crds::{
    AwsTarget, HttpTarget, IntegrationSpec, LambdaTarget, LocalRef, PayloadFormatVersion, ProtocolVersion,
    ServiceTarget, Tls,
};
use tollgate_engine::aws::AwsCall;
use tollgate_engine::deployment::Deployment;
use tollgate_engine::mapping::Mapping;
use tollgate_engine::snapshot::{
    self, ApiIdentity, AwsBackend, BackendProtocol, BackendTls, ContentHash, HttpBackend, Integration, LambdaBackend,
    LambdaEndpoint, LinkName, SecretName, ServiceBackend, ServicePort,
};
use tollgate_engine::template::Template;

use crate::credentials;
use crate::endpoints::{Missing, look_up};
use crate::outcome::Outcome;
use crate::world::{certificates_object, link_object};
use crate::{Reason, Verdict, World, link};

/// A backend, and what depends on the route that uses it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Backend {
    pub(crate) content: Integration,
    template: Option<Template>,
}

impl Backend {
    /// A backend that was accepted by an earlier controller.
    pub(crate) fn restored(content: Integration) -> Arc<Self> {
        let template = match &content.backend {
            snapshot::Backend::Service(service) => service.path.as_deref(),
            snapshot::Backend::Http(http) => Some(http.uri.as_str()),
            snapshot::Backend::Lambda(_) | snapshot::Backend::Aws(_) | snapshot::Backend::Unknown => None,
        };
        let template = template.and_then(|text| Template::parse(text).ok());
        Arc::new(Self { content, template })
    }

    /// The service whose pods answer.
    pub(crate) fn service(&self) -> Option<&ServicePort> {
        service_of(&self.content)
    }

    /// The Secret whose keys sign.
    pub(crate) fn credentials(&self) -> Option<&SecretName> {
        credentials::of_integration(&self.content)
    }

    /// Whether the service and the keys that it needs are there.
    pub(crate) fn resolved(&self, world: &World, place: &Place<'_>, field: &str) -> Verdict {
        let service = self.service().map(|port| service_verdict(world, place, port));
        let keys =
            self.credentials().map(|secret| credentials::verdict(world, &format!("{}{field}", place.path), secret));
        service.or(keys).unwrap_or_else(Verdict::resolved)
    }

    /// Refuses placeholders that the route has no variable for (H-HTTP-2).
    pub(crate) fn fits<'a>(&self, variables: impl Iterator<Item = &'a str> + Clone) -> Result<(), String> {
        let Some(template) = &self.template else { return Ok(()) };
        template.check_variables(variables).map_err(|error| error.to_string())
    }
}

/// The service behind an integration.
pub(crate) fn service_of(integration: &Integration) -> Option<&ServicePort> {
    match &integration.backend {
        snapshot::Backend::Service(service) => Some(&service.service),
        snapshot::Backend::Lambda(function) => function_service(function),
        _ => None,
    }
}

/// The service behind a function.
pub(crate) fn function_service(function: &LambdaBackend) -> Option<&ServicePort> {
    match &function.endpoint {
        LambdaEndpoint::Service { service, .. } => Some(service),
        LambdaEndpoint::Url { .. } | LambdaEndpoint::Aws { .. } | LambdaEndpoint::Unknown => None,
    }
}

/// Where the integration stands: names in messages and in the snapshot come from it.
#[derive(Clone, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) namespace: &'a str,
    /// `Route/namespace/name` or `Integration/namespace/name`.
    pub(crate) source: String,
    /// `spec` or `spec.integration`.
    pub(crate) path: &'static str,
}

/// The backend of an integration object. A missing Service does not refuse it: such a route answers 503 (H-VPC-10).
pub(crate) fn evaluate(world: &World, place: &Place<'_>, spec: &IntegrationSpec) -> Outcome<Arc<Backend>> {
    let path = place.path;
    let tls = match spec.tls.as_ref().map(|tls| backend_tls(world, place, tls)).transpose() {
        Ok(tls) => tls,
        Err((reason, message)) => return Outcome::unresolved(reason, message),
    };
    let method = spec.method.fixed().map(str::to_owned);
    let call = Calling { method, tls, protocol: spec.protocol_version.map(protocol) };
    let parts = match (&spec.service, &spec.http, &spec.lambda, &spec.aws) {
        (Some(service), None, None, None) => match linked(world, place, spec, &service.name, service.port) {
            Ok((port, link)) => service_backend(path, service, port, link, call),
            Err((reason, message)) => return Outcome::unresolved(reason, message),
        },
        (None, Some(http), None, None) => http_backend(path, http, call),
        (None, None, Some(lambda), None) => match linked_function(world, place, spec, lambda) {
            Ok(parts) => parts,
            Err((reason, message)) => return Outcome::unresolved(reason, message),
        },
        (None, None, None, Some(aws)) => Ok((aws_backend(place, aws), None)),
        _ => Err(format!("{path} has no target or several: set exactly one of service, http, lambda and aws")),
    };
    let (backend, template) = match parts {
        Ok(parts) => parts,
        Err(message) => return Outcome::invalid(message),
    };
    let Ok(timeout_in_millis @ 50..=900_000) = u32::try_from(spec.timeout_in_millis) else {
        return Outcome::invalid(format!(
            "{path}.timeoutInMillis: {} is out of range: give 50 to 900000 milliseconds",
            spec.timeout_in_millis
        ));
    };
    let (request_parameters, response_parameters) = (spec.request_parameters.clone(), spec.response_parameters.clone());
    if let Err(message) = check_parameters(&backend, &request_parameters, &response_parameters) {
        return Outcome::invalid(format!("{path}.{message}"));
    }
    let source = place.source.clone();
    let content = Integration { source, timeout_in_millis, backend, request_parameters, response_parameters };
    if let Some(problem) = first_problem(&content) {
        return Outcome::invalid(format!("{path}: {problem}"));
    }
    let backend = Backend { content, template };
    let resolved = backend.resolved(
        world,
        place,
        if spec.aws.is_some() { ".aws.credentialsRef" } else { ".lambda.credentialsRef" },
    );
    Outcome { resolved, ..Outcome::good(Arc::new(backend)) }
}

/// Parameters of an AWS service are its own (H-AWS-1); all others map requests.
fn check_parameters(
    backend: &snapshot::Backend,
    request: &BTreeMap<String, String>,
    responses: &BTreeMap<String, BTreeMap<String, String>>,
) -> Result<(), String> {
    let none = BTreeMap::new();
    let mapped = match backend {
        snapshot::Backend::Aws(aws) => {
            AwsCall::compile(aws, request)?;
            &none
        }
        _ => request,
    };
    Mapping::compile(mapped, responses).map(drop).map_err(|error| error.to_string())
}

fn aws_backend(place: &Place<'_>, target: &AwsTarget) -> snapshot::Backend {
    let AwsTarget { subtype, credentials_ref, endpoint } = target;
    snapshot::Backend::Aws(AwsBackend {
        subtype: subtype.name().to_owned(),
        credentials: secret_name(place, credentials_ref),
        endpoint: endpoint.as_ref().map(|url| url.trim_end_matches('/').to_owned()),
    })
}

fn secret_name(place: &Place<'_>, secret: &LocalRef) -> SecretName {
    SecretName { namespace: place.namespace.to_owned(), name: secret.name.clone() }
}

/// What keeps proxies from running it, by their own conversion.
fn first_problem(content: &Integration) -> Option<String> {
    let api = ApiIdentity { api_id: String::new(), namespace: String::new(), name: String::new() };
    let deployment = snapshot::Deployment {
        api,
        disable_execute_api_endpoint: false,
        cors: None,
        limits: snapshot::Limits::default(),
        authorizers: BTreeMap::new(),
        integrations: BTreeMap::from([(String::new(), content.clone())]),
        routes: Vec::new(),
    };
    let (_, problems) = Deployment::compile(&deployment, ContentHash::of(&0));
    problems.into_iter().next().map(|problem| problem.message)
}

pub(crate) type Parts = Result<(snapshot::Backend, Option<Template>), String>;

/// The service, and the link that opens it.
fn linked(
    world: &World,
    place: &Place<'_>,
    spec: &IntegrationSpec,
    service: &str,
    port: u16,
) -> Result<(ServicePort, Option<LinkName>), (Reason, String)> {
    let mut port = service_port(place, service, port);
    let Some(to) = &spec.vpc_link_ref else { return Ok((port, None)) };
    let object = link_object(place.namespace, to);
    port.namespace.clone_from(&object.namespace);
    let name = link::granted(world, place, &object, &port)?;
    Ok((port, Some(name)))
}

/// A function, behind the link that opens its service if one is named.
fn linked_function(
    world: &World,
    place: &Place<'_>,
    spec: &IntegrationSpec,
    target: &LambdaTarget,
) -> Result<Parts, (Reason, String)> {
    let mut parts = lambda_backend(place, target, spec.payload_format_version);
    if let (Ok((snapshot::Backend::Lambda(function), _)), Some(named)) = (&mut parts, &target.service) {
        let (service, link) = linked(world, place, spec, &named.name, named.port)?;
        function.endpoint = LambdaEndpoint::Service { service, link };
    }
    Ok(parts)
}

/// How a backend is called that requests pass through to.
struct Calling {
    method: Option<String>,
    tls: Option<BackendTls>,
    protocol: Option<BackendProtocol>,
}

fn protocol(version: ProtocolVersion) -> BackendProtocol {
    match version {
        ProtocolVersion::Http1 => BackendProtocol::Http1,
        ProtocolVersion::Http2 => BackendProtocol::Http2,
    }
}

fn service_backend(
    path: &str,
    target: &ServiceTarget,
    service: ServicePort,
    link: Option<LinkName>,
    call: Calling,
) -> Parts {
    let template = target.path.as_deref().map(|text| template(path, "service.path", text)).transpose()?;
    let Calling { method, tls, protocol } = call;
    let backend = ServiceBackend { service, path: target.path.clone(), method, tls, link, protocol };
    Ok((snapshot::Backend::Service(backend), template))
}

fn http_backend(path: &str, target: &HttpTarget, call: Calling) -> Parts {
    let template = template(path, "http.uri", &target.uri)?;
    let Calling { method, tls, protocol } = call;
    Ok((snapshot::Backend::Http(HttpBackend { uri: target.uri.clone(), method, tls, protocol }), Some(template)))
}

/// The function of `target`; `version` is 2.0 when absent.
pub(crate) fn lambda_backend(place: &Place<'_>, target: &LambdaTarget, version: Option<PayloadFormatVersion>) -> Parts {
    let url = target.endpoint.as_ref().map(|url| url.trim_end_matches('/').to_owned());
    let endpoint = match (&target.service, url, &target.function_arn) {
        (Some(service), None, None) => {
            LambdaEndpoint::Service { service: service_port(place, &service.name, service.port), link: None }
        }
        (None, Some(url), None) => LambdaEndpoint::Url { url },
        (None, endpoint, Some(function_arn)) => {
            let Some(secret) = &target.credentials_ref else {
                return Err(format!(
                    "{}: functionArn needs credentialsRef: name a Secret with keys for AWS",
                    place.path
                ));
            };
            let (function_arn, credentials) = (function_arn.clone(), secret_name(place, secret));
            LambdaEndpoint::Aws { function_arn, credentials, endpoint }
        }
        _ => return Err(format!("{}.lambda: set exactly one of service, endpoint and functionArn", place.path)),
    };
    let payload_format_version = match version.unwrap_or(PayloadFormatVersion::V2) {
        PayloadFormatVersion::V1 => snapshot::PayloadFormatVersion::V1,
        PayloadFormatVersion::V2 => snapshot::PayloadFormatVersion::V2,
    };
    let function_name = target.function_name.clone();
    Ok((snapshot::Backend::Lambda(LambdaBackend { endpoint, function_name, payload_format_version }), None))
}

fn service_port(place: &Place<'_>, name: &str, port: u16) -> ServicePort {
    ServicePort { namespace: place.namespace.to_owned(), name: name.to_owned(), port }
}

fn template(path: &str, field: &str, text: &str) -> Result<Template, String> {
    Template::parse(text).map_err(|error| format!("{path}.{field}: {text:?}: {error}"))
}

pub(crate) fn service_verdict(world: &World, place: &Place<'_>, port: &ServicePort) -> Verdict {
    missing_service(world, place, port, "until then requests get 503")
}

/// What is wrong with a service that is referred to, and what happens meanwhile.
pub(crate) fn missing_service(world: &World, place: &Place<'_>, port: &ServicePort, meanwhile: &str) -> Verdict {
    let ServicePort { namespace, name, port: number } = port;
    let path = place.path;
    match look_up(world, port) {
        Ok(()) => Verdict::resolved(),
        Err(Missing::Service) => Verdict::no(
            Reason::ServiceNotFound,
            format!("{path}: Service {namespace}/{name} does not exist: create it or correct the name; {meanwhile}"),
        ),
        Err(Missing::Port) => Verdict::no(
            Reason::ServicePortNotFound,
            format!(
                "{path}: Service {namespace}/{name} has no TCP port {number}: use one of its ports (not the pods'); {meanwhile}"
            ),
        ),
        Err(Missing::ExternalName) => Verdict::no(
            Reason::ServicePortNotFound,
            format!(
                "{path}: Service {namespace}/{name} is of type ExternalName and has no pods: use the target http with a URI; {meanwhile}"
            ),
        ),
    }
}

pub(crate) fn backend_tls(world: &World, place: &Place<'_>, tls: &Tls) -> Result<BackendTls, (Reason, String)> {
    let server_name_to_verify = tls.server_name_to_verify.clone();
    let Some(ca) = &tls.ca_ref else { return Ok(BackendTls { server_name_to_verify, ca_pem: None }) };
    let object = certificates_object(place.namespace, ca);
    let at = format!("{}.tls.caRef", place.path);
    let key = &ca.key;
    let Some(item) = world.certificates(&object) else {
        return Err((
            Reason::CertificatesNotFound,
            format!("{at}: {object} does not exist: create it or correct the name"),
        ));
    };
    match item.spec.get(key) {
        Some(Some(pem)) => Ok(BackendTls { server_name_to_verify, ca_pem: Some(pem.clone()) }),
        Some(None) => Err((
            Reason::CertificatesInvalid,
            format!("{at}: key {key:?} of {object} has to hold PEM certificates and nothing else"),
        )),
        None => Err((
            Reason::CertificatesNotFound,
            format!("{at}: {object} has no key {key:?}: add it, or name another in caRef.key"),
        )),
    }
}
