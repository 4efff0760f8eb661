//! What travels from controller to proxy: plain, versioned serde types.
//!
//! A snapshot is a set of **units**, each with its own identity and content hash, so that a change sends only
//! what changed: the deployments of APIs, the stages that point at them, and the endpoints of services.
//! Units travel as [`Line`]s, one JSON object a line, over the feed and into the proxy's state file.
//!
//! **Skew.** A newer controller talks to an older proxy and the reverse. Fields are only ever added, with a
//! default. What an older proxy cannot ignore without harm is either a new variant of an enum that has an
//! `Unknown` member (the proxy then answers 500 on that route alone, promise P3) or is named in
//! [`Route::requires`]. `engine/tests/snapshot/` holds lines as each release wrote them.
//!
//! What *runs* is another type: see [`crate::deployment`].

mod domain;
mod link;
mod plans;
mod protocol;
mod read;
mod usage;

pub use link::{Balance, HealthCheck, Link, LinkName, OutlierDetection};

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::secret::Secret;
pub use domain::{
    ApiMapping, Certificate, Domain, DomainTarget, HeaderMatch, MutualTls, PrivateKey, RoutingMode, RoutingRule,
};
pub use plans::{ApiKey, FailureMode, KeyShard, Plan, PlanQuota, PlanStage, PlanThrottle, QuotaExtension, QuotaPeriod};
pub use protocol::BackendProtocol;
pub use usage::{KeyUsage, PlanUsage, UsageReport};

/// The version of these types. Raised only when an older reader could not do the right thing by ignoring what it
/// does not know; a proxy refuses a feed whose [`Line::Hello`] has a higher one and keeps what it serves.
pub const FORMAT: u32 = 1;

/// A content hash: the first 16 bytes of SHA-256 over the unit's JSON, as 32 lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ContentHash(String);

impl ContentHash {
    /// The hash of `content` as it is serialised here. Maps in these types are ordered, so equal content has equal hashes.
    pub fn of(content: &impl Serialize) -> Self {
        let json = serde_json::to_vec(content).expect("snapshot types have string keys and no failing serializer");
        Self::of_json(&json)
    }

    /// The hash of a unit that is already serialised.
    pub fn of_json(json: &[u8]) -> Self {
        use std::fmt::Write;
        let digest = Sha256::digest(json);
        let mut hex = String::with_capacity(32);
        for byte in &digest[..16] {
            write!(hex, "{byte:02x}").expect("writing to a string does not fail");
        }
        Self(hex)
    }

    /// The 32 hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One line of the feed and of the proxy's state file.
///
/// A stream is `Hello`, then any number of batches; a batch is `Put` and `Delete` lines closed by one `Commit`, and takes
/// effect as a whole. The first batch of a stream is complete: what it does not name is gone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "camelCase")]
pub enum Line {
    /// First line of a stream.
    Hello {
        /// [`FORMAT`] of the writer.
        format: u32,
    },
    /// A unit is new or has new content.
    Put {
        /// Which unit.
        id: UnitId,
        /// Hash of the unit's content; what acknowledgements name.
        hash: ContentHash,
        /// The content.
        unit: Box<Unit>,
    },
    /// A unit is gone.
    Delete {
        /// Which unit.
        id: UnitId,
    },
    /// Everything since the previous commit takes effect now, together.
    Commit {
        /// Counts the commits of this writer; for logs.
        revision: u64,
    },
    /// Nothing happened; the stream is alive. Sent when the feed has been silent for ten seconds.
    Ping,
    /// A line of a kind this reader does not know; ignored.
    #[serde(other)]
    Unknown,
}

/// Names one unit: `deployment/{hash}`, `stage/{apiId}/{stage}`, `endpoints/{namespace}/{service}:{port}`,
/// `plan/{namespace}/{name}`, `keys/{part}`, `link/{namespace}/{name}`, `credentials/{apiId}/{namespace}/{secret}`,
/// `principals/{namespace}`, `domain/{domainName}`, `certificate/{domainName}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnitId(String);

impl UnitId {
    /// The unit of the deployment whose content has this hash.
    pub fn deployment(hash: &ContentHash) -> Self {
        Self(format!("deployment/{hash}"))
    }

    /// The unit of a stage of an API.
    pub fn stage(api_id: &str, stage_name: &str) -> Self {
        Self(format!("stage/{api_id}/{stage_name}"))
    }

    /// The unit of the endpoints of one port of a service.
    pub fn endpoints(service: &ServicePort) -> Self {
        Self(format!("endpoints/{service}"))
    }

    /// The unit of a usage plan, by [`Plan::source`].
    pub fn plan(source: &str) -> Self {
        Self(format!("plan/{source}"))
    }

    /// The unit of one part of the API keys, below [`crate::meter::SHARDS`].
    pub fn keys(shard: u16) -> Self {
        Self(format!("keys/{shard}"))
    }

    /// The part of the API keys that the unit is, if it is one.
    pub fn key_shard(&self) -> Option<u16> {
        self.0.strip_prefix("keys/")?.parse().ok()
    }

    /// The unit of a VpcLink.
    pub fn link(link: &LinkName) -> Self {
        Self(format!("link/{}/{}", link.namespace, link.name))
    }

    /// The unit of the keys in a Secret, for one API.
    pub fn credentials(api_id: &str, secret: &SecretName) -> Self {
        Self(format!("credentials/{api_id}/{secret}"))
    }

    /// The unit of the principals of a namespace.
    pub fn principals(namespace: &str) -> Self {
        Self(format!("principals/{namespace}"))
    }

    /// The unit of a custom domain.
    pub fn domain(domain_name: &str) -> Self {
        Self(format!("domain/{domain_name}"))
    }

    /// The unit of a custom domain's certificate, apart from the domain so that each changes alone.
    pub fn certificate(domain_name: &str) -> Self {
        Self(format!("certificate/{domain_name}"))
    }

    /// The name as it travels.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UnitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One independently changing part of a snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Unit {
    /// What an API does; immutable, found by its hash.
    Deployment(Deployment),
    /// A name under which a deployment is reachable, and its settings.
    Stage(Stage),
    /// Where the pods of a service are.
    Endpoints(Endpoints),
    /// A usage plan.
    Plan(Plan),
    /// API keys.
    Keys(KeyShard),
    /// What a VpcLink opens; `Route::requires` of those who use it says `vpcLink`.
    Link(Link),
    /// Keys that sign calls of AWS services.
    Credentials(Credentials),
    /// A custom domain.
    Domain(Domain),
    /// The certificate of a custom domain.
    Certificate(Certificate),
    /// Who may sign requests to the APIs of a namespace.
    Principals(Principals),
    /// A unit of a newer controller; acknowledged and ignored.
    #[serde(other)]
    Unknown,
}

/// Which API: its generated id and the object it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiIdentity {
    /// Ten characters of `[a-z0-9]` (H-CTL-3), unique in the cluster.
    pub api_id: String,
    /// Namespace of the API object.
    pub namespace: String,
    /// Name of the API object.
    pub name: String,
}

/// What an API does: its routes with their integrations and authorizers, and its CORS configuration (H-STAGE-3).
/// Immutable; its identity is the hash of its content.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deployment {
    /// The API.
    pub api: ApiIdentity,
    /// Closes the `execute-api` host (H-ROUTE-34).
    #[serde(default, skip_serializing_if = "is_default")]
    pub disable_execute_api_endpoint: bool,
    /// CORS handling; absent means off (H-CORS-1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cors: Option<Cors>,
    /// The API's own limits where they differ from AWS's.
    #[serde(default, skip_serializing_if = "is_default")]
    pub limits: Limits,
    /// By the name routes use.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub authorizers: BTreeMap<String, Authorizer>,
    /// By the id routes use.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub integrations: BTreeMap<String, Integration>,
    /// At most one per route key.
    pub routes: Vec<Route>,
}

/// CORS configuration (H-CORS-1), lists as written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Cors {
    /// `*`, `https://*`, `http://*` or exact origins.
    pub allow_origins: Vec<String>,
    /// Methods or `*`.
    pub allow_methods: Vec<String>,
    /// Header names or `*`.
    pub allow_headers: Vec<String>,
    /// Header names or `*`.
    pub expose_headers: Vec<String>,
    /// Sends `access-control-allow-credentials: true`.
    pub allow_credentials: bool,
    /// Seconds, -1 to 86400.
    pub max_age: Option<i32>,
}

/// Limits that an API sets for itself; an absent one is AWS's (`spec/http-api.md`, section 9.2).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Limits {
    /// Largest request and response body in bytes; AWS: 10,485,760 (H-SIZE-2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload_bytes: Option<u64>,
}

/// In [`Route::requires`] of routes with `apiKeyRequired`.
pub const REQUIRES_USAGE_PLANS: &str = "usagePlans";

/// In [`Route::requires`] of routes whose API key is not in the header: an older proxy would look for it there.
pub const REQUIRES_API_KEY_SOURCE: &str = "apiKeySource";

/// Where callers have their API key (R-KEY-5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ApiKeySource {
    /// In `x-api-key`.
    #[default]
    Header,
    /// In the answer of the route's Lambda authorizer.
    Authorizer,
    /// Somewhere this proxy does not know.
    #[serde(other)]
    Unknown,
}

/// One route of a deployment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// `METHOD /path` or `$default` (H-ROUTE-1).
    pub key: String,
    /// `namespace/name` of the Route object.
    pub source: String,
    /// Who may call.
    #[serde(default, skip_serializing_if = "Authorization::is_none")]
    pub authorization: Authorization,
    /// Callers need an API key, or a claim, that a usage plan of the stage knows (R-KEY-6). A route that has it also has
    /// [`REQUIRES_USAGE_PLANS`] in `requires`: a proxy that cannot check keys must not serve it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub api_key_required: bool,
    /// Where the key is, if one is required. Other sources than the header have [`REQUIRES_API_KEY_SOURCE`] in `requires`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub api_key_source: ApiKeySource,
    /// What answers.
    pub target: RouteTarget,
    /// Names of behaviour that a proxy has to know to serve this route as meant. A proxy that misses one answers 500
    /// on this route and reports it: see [`crate::deployment::KNOWN_BEHAVIOUR`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires: Vec<String>,
}

/// Who may call a route (H-AUTH-1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Authorization {
    /// Anyone.
    #[default]
    #[serde(rename = "NONE")]
    None,
    /// Bearers of a token that the authorizer accepts (section 6.2 of the spec).
    #[serde(rename = "JWT", rename_all = "camelCase")]
    Jwt {
        /// Name in [`Deployment::authorizers`].
        authorizer: String,
        /// At least one of these must be in the token (H-JWT-14); empty: not checked.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        scopes: Vec<String>,
    },
    /// Callers that the authorizer's function lets in (section 6.7 of the spec).
    #[serde(rename = "CUSTOM", rename_all = "camelCase")]
    Custom {
        /// Name in [`Deployment::authorizers`].
        authorizer: String,
    },
    /// Principals whose policies allow it, by signature (section 6.11 of the spec).
    #[serde(rename = "AWS_IAM")]
    Iam,
    /// A kind this proxy does not know: the route answers 500.
    #[serde(other)]
    Unknown,
}

impl Authorization {
    /// The authorizer that it names.
    pub fn authorizer(&self) -> Option<&str> {
        match self {
            Self::Jwt { authorizer, .. } | Self::Custom { authorizer } => Some(authorizer),
            Self::None | Self::Iam | Self::Unknown => None,
        }
    }

    /// The same with another name for the authorizer.
    #[must_use]
    pub fn naming(&self, authorizer: &str) -> Self {
        match self {
            Self::Jwt { scopes, .. } => Self::Jwt { authorizer: authorizer.to_owned(), scopes: scopes.clone() },
            Self::Custom { .. } => Self::Custom { authorizer: authorizer.to_owned() },
            Self::None | Self::Iam | Self::Unknown => self.clone(),
        }
    }

    fn is_none(&self) -> bool {
        *self == Self::None
    }
}

/// What answers a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", tag = "type", rename_all = "camelCase")]
pub enum RouteTarget {
    /// An integration of the deployment.
    Integration {
        /// Key in [`Deployment::integrations`].
        id: String,
    },
    /// The route exists without an integration (H-ROUTE-8): 500.
    None,
    /// The Route object was refused and never had an accepted version: 500, and no fall-through (promise P1).
    Refused,
    /// A kind this proxy does not know: 500.
    #[serde(other)]
    Unknown,
}

/// How tokens are found and checked.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Authorizer {
    /// `namespace/name` of the Authorizer object.
    pub source: String,
    /// Where the token stands, for JWT exactly one (H-JWT-1); what identifies a caller to a function (H-LA-2).
    #[serde(default)]
    pub identity_source: Vec<String>,
    /// What decides.
    pub check: AuthorizerCheck,
}

/// What an authorizer decides by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum AuthorizerCheck {
    /// Signature, times, issuer and audience (H-JWT-7).
    #[serde(rename_all = "camelCase")]
    Jwt {
        /// Compared with `iss` as it stands (H-JWT-12).
        issuer: String,
        /// Any one must be in `aud` (H-JWT-13).
        audience: Vec<String>,
        /// Where the keys are; absent: from the issuer's discovery document (H-JWT-17).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        jwks_uri: Option<String>,
    },
    /// A function's answer (section 6.9 of the spec).
    #[serde(rename_all = "camelCase")]
    Lambda {
        /// The function, and the shape of its event and answer.
        function: LambdaBackend,
        /// The answer is `isAuthorized`, not a policy (H-LA-15).
        #[serde(default, skip_serializing_if = "is_default")]
        enable_simple_responses: bool,
        /// How long answers are kept; 0: not at all (H-LA-35).
        #[serde(default, skip_serializing_if = "is_default")]
        result_ttl_in_seconds: u32,
    },
    /// A kind this proxy does not know: routes that use it answer 500.
    #[serde(other)]
    Unknown,
}

/// A backend and how to call it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Integration {
    /// `Route/namespace/name` or `Integration/namespace/name` of the object it comes from.
    pub source: String,
    /// From sending the request to the complete response (H-INT-4), 50 to 30000.
    pub timeout_in_millis: u32,
    /// The backend.
    pub backend: Backend,
    /// Parameter mapping of requests (H-MAP-1); for AWS services the parameters of the action (H-AWS-1). Routes that use it require
    /// [`PARAMETER_MAPPING`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub request_parameters: BTreeMap<String, String>,
    /// Parameter mapping of responses, by the backend's status (H-MAP-2). As above.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub response_parameters: BTreeMap<String, BTreeMap<String, String>>,
}

/// In [`Route::requires`]: the route's integration has parameter mappings, which an older proxy would leave out.
pub const PARAMETER_MAPPING: &str = "parameterMapping";
/// In [`Route::requires`]: the service is reached through a link. An older proxy would leave out its checks and its TLS.
pub const VPC_LINK: &str = "vpcLink";
/// In [`Route::requires`]: the function is reached through a link. An older proxy would reach it without.
pub const FUNCTION_LINK: &str = "functionLink";
/// In [`Route::requires`]: the backend speaks HTTP/2 only. An older proxy would call it with HTTP/1.1.
pub const HTTP2_BACKEND: &str = "http2Backend";

impl Integration {
    /// What a route with this integration asks of a proxy ([`Route::requires`]).
    pub fn requires(&self) -> Vec<String> {
        let mapped = !self.request_parameters.is_empty() || !self.response_parameters.is_empty();
        let linked = matches!(&self.backend, Backend::Service(ServiceBackend { link: Some(_), .. }));
        let function_linked = matches!(
            &self.backend,
            Backend::Lambda(LambdaBackend { endpoint: LambdaEndpoint::Service { link: Some(_), .. }, .. })
        );
        let needed = [
            (mapped, PARAMETER_MAPPING),
            (linked, VPC_LINK),
            (function_linked, FUNCTION_LINK),
            (self.backend.is_http2(), HTTP2_BACKEND),
        ];
        needed.into_iter().filter(|(needed, _)| *needed).map(|(_, name)| name.to_owned()).collect()
    }
}

/// The kinds of backends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", tag = "type", rename_all = "camelCase")]
pub enum Backend {
    /// Pods of an in-cluster service (private integration, section 3.6).
    Service(ServiceBackend),
    /// A URL (section 3.5).
    Http(HttpBackend),
    /// A function behind the Lambda invoke protocol (section 3.2).
    Lambda(LambdaBackend),
    /// An action of an AWS service (section 3.7).
    Aws(AwsBackend),
    /// A kind this proxy does not know: 500.
    #[serde(other)]
    Unknown,
}

impl Backend {
    fn is_http2(&self) -> bool {
        let protocol = match self {
            Self::Service(service) => service.protocol,
            Self::Http(http) => http.protocol,
            Self::Lambda(_) | Self::Aws(_) | Self::Unknown => None,
        };
        protocol == Some(BackendProtocol::Http2)
    }
}

/// `integration.service`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceBackend {
    /// Which endpoints unit serves it.
    pub service: ServicePort,
    /// Path template with `{variable}` placeholders; absent: the whole request path, stage included (H-VPC-6).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// A fixed method; absent: the client's (H-INT-5).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// HTTPS towards the pods (H-VPC-4); absent: what the link says, else plain HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<BackendTls>,
    /// The link that has to open the service to the API; absent: the service is of the API's own namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<LinkName>,
    /// Absent: what the service's port says ([`Endpoints::protocol`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<BackendProtocol>,
}

/// `integration.http`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpBackend {
    /// Absolute URL with `{variable}` and `${stageVariables.name}` placeholders (H-HTTP-1).
    pub uri: String,
    /// A fixed method; absent: the client's (H-INT-5).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Trust other than the proxy's own roots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<BackendTls>,
    /// Absent: HTTP/1.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<BackendProtocol>,
}

/// `integration.lambda`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LambdaBackend {
    /// Where the invoke protocol is spoken.
    pub endpoint: LambdaEndpoint,
    /// For the path `/2015-03-31/functions/{functionName}/invocations`.
    pub function_name: String,
    /// `1.0` or `2.0` (H-INT-2).
    pub payload_format_version: PayloadFormatVersion,
}

/// `integration.aws`; its parameters are [`Integration::request_parameters`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AwsBackend {
    /// `SQS-SendMessage` and the like (H-AWS-2).
    pub subtype: String,
    /// Whose keys sign.
    pub credentials: SecretName,
    /// `http://` or `https://` with host and port, in place of the service's own address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
}

/// A Secret that holds `accessKeyId`, `secretAccessKey` and maybe `sessionToken`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Keys that sign calls of AWS services. A unit of its own: no deployment holds a secret, and new keys change no deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Credentials {
    /// The API whose integrations may use them.
    pub api_id: String,
    /// Where they come from.
    pub secret: SecretName,
    /// `AKIA…`.
    pub access_key_id: String,
    /// What signs.
    pub secret_access_key: Secret,
    /// Of temporary credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_token: Option<Secret>,
}

/// Where a function is invoked.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum LambdaEndpoint {
    /// Pods of a service.
    Service {
        /// Which endpoints unit serves it.
        service: ServicePort,
        /// The link that has to open the service to the API; absent: the service is of the API's own namespace.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        link: Option<LinkName>,
    },
    /// A base URL.
    Url {
        /// `http://` or `https://`, without the invoke path.
        url: String,
    },
    /// The Lambda service.
    #[serde(rename_all = "camelCase")]
    Aws {
        /// Either form of H-INT-12, with stage variables in name, version and alias.
        function_arn: String,
        /// Whose keys sign.
        credentials: SecretName,
        /// Base URL in place of the service's own address.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        endpoint: Option<String>,
    },
    /// A way this proxy does not know: the route answers 500.
    #[serde(other)]
    Unknown,
}

/// The shape of a function's event and result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PayloadFormatVersion {
    /// As REST APIs send it (section 3.3).
    #[serde(rename = "1.0")]
    V1,
    /// The HTTP API's own (section 3.2).
    #[serde(rename = "2.0")]
    V2,
}

/// TLS towards a backend.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackendTls {
    /// Sent as SNI and checked against the certificate instead of the address (H-VPC-4).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name_to_verify: Option<String>,
    /// PEM certificates to trust instead of the proxy's roots.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_pem: Option<String>,
}

/// A port of a service: `namespace/name:port`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServicePort {
    /// Namespace of the Service.
    pub namespace: String,
    /// Name of the Service.
    pub name: String,
    /// The Service's port (not the pods').
    pub port: u16,
}

impl fmt::Display for ServicePort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}:{}", self.namespace, self.name, self.port)
    }
}

/// A name under which a deployment is reachable, and its settings, which act without a deployment (H-STAGE-6).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stage {
    /// The API.
    pub api: ApiIdentity,
    /// `namespace/name` of the Stage object.
    pub source: String,
    /// `$default` or the first path segment (H-STAGE-1).
    pub stage_name: String,
    /// What it serves; absent: never deployed, 404 (H-ROUTE-15).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<ContentHash>,
    /// `stageVariables` (section 2.2).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub stage_variables: BTreeMap<String, String>,
    /// For routes without an entry of their own, and per field (H-THR-2).
    #[serde(default, skip_serializing_if = "is_default")]
    pub default_route_settings: RouteSettings,
    /// By route key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub route_settings: BTreeMap<String, RouteSettings>,
    /// Access log; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_log_settings: Option<AccessLogSettings>,
    /// Names the answers of authorizers' functions that are kept for the stage; with another name they are asked anew (H-LA-36).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorizer_cache: Option<ContentHash>,
}

/// Settings of a route in a stage (section 2.3, H-MET-8).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RouteSettings {
    /// Tokens a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throttling_rate_limit: Option<f64>,
    /// Capacity of the bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throttling_burst_limit: Option<u32>,
    /// Metrics per route.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detailed_metrics_enabled: Option<bool>,
}

/// `accessLogSettings` (section 2.4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccessLogSettings {
    /// Text with `$context` variables.
    pub format: String,
    /// AWS's ARN, kept as an opaque label (H-LOG-3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination_arn: Option<String>,
}

/// Where the ready pods of a service are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoints {
    /// The service.
    pub service: ServicePort,
    /// Ready endpoints, ordered and without duplicates; may be empty (503, H-VPC-10).
    pub endpoints: Vec<Endpoint>,
    /// What they speak by the port's `appProtocol`; absent: HTTP/1.1. An older proxy goes on with HTTP/1.1, as before the field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<BackendProtocol>,
}

/// The principals of a namespace. Published only where a route asks for signatures. The one unit that holds secrets: it goes over the feed's
/// TLS and into the proxy's memory-backed state, and is shown nowhere (promise P7).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Principals {
    /// The namespace whose APIs they may call.
    pub namespace: String,
    /// By name.
    #[serde(default)]
    pub principals: Vec<Principal>,
}

/// Who signs requests (section 6.11 of the spec).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Principal {
    /// Name of the Principal object.
    pub name: String,
    /// What AWS calls the unique identifier of a user.
    pub user_id: String,
    /// What it signs with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub access_keys: Vec<AccessKey>,
    /// Identity policies, as JSON.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<serde_json::Value>,
    /// For conditions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

/// What signatures are made with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccessKey {
    /// Names the key in requests.
    pub access_key_id: String,
    /// Signs.
    pub secret_access_key: Secret,
    /// Has to come with requests that are signed with a temporary key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_token: Option<Secret>,
}

/// One pod's address and port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// The pod's address.
    pub address: IpAddr,
    /// The pod's port.
    pub port: u16,
}

/// What a proxy posts to the controllers: that it lives, and what it serves.
///
/// Sent after each commit and every five seconds. `units` holds what changed since the last report that this controller
/// answered, or everything when `full` is set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The proxy's name; in a cluster the pod's.
    pub proxy: String,
    /// New at each start of the proxy.
    pub session: String,
    /// Which fleet it belongs to.
    pub fleet: String,
    /// Serves traffic. A report with `ready: false` and `leaving: true` is the last one.
    pub ready: bool,
    /// The proxy is draining and will not come back under this session.
    #[serde(default, skip_serializing_if = "is_default")]
    pub leaving: bool,
    /// `units` is all there is, not a difference.
    #[serde(default, skip_serializing_if = "is_default")]
    pub full: bool,
    /// What runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub units: Vec<UnitReport>,
    /// Units no longer held.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<UnitId>,
    /// What is wrong at run time with authorizers (keys that cannot be fetched), all of it each time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authorizers: Vec<AuthorizerReport>,
    /// What customers of plans have used; not with every report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<UsageReport>,
}

/// The answer to a [`Report`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReportAnswer {
    /// The controller does not know this session: send a full report.
    pub resend: bool,
}

/// One unit that a proxy holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UnitReport {
    /// Which.
    pub id: UnitId,
    /// The content that was received. With `problems` it is only partly in effect.
    pub hash: ContentHash,
    /// What of it the proxy refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
}

/// Why a part of a unit cannot run.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Problem {
    /// `namespace/name` of the object at fault, when known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// Field path in the unit, e.g. `routes[3].key`.
    pub path: String,
    /// Value, rule and fix, in one sentence.
    pub message: String,
}

/// What is wrong with an authorizer's keys on one proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthorizerReport {
    /// `namespace/name` of the Authorizer object.
    pub source: String,
    /// Where and why, e.g. the URL and the status.
    pub message: String,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
