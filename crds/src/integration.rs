//! `Integration`: a backend and how to call it. The same object stands in `Route.spec.integration`.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::form::{DATA_KEY, FUNCTION_NAME, LABEL, OBJECT_NAME};
use crate::schema::rules;
use crate::{LocalRef, Status, VpcLinkRef};

/// A backend and how to call it. Exactly one of service, http, lambda and aws is set.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "tollgate.dev",
    version = "v1alpha1",
    kind = "Integration",
    namespaced,
    status = "Status",
    derive = "PartialEq",
    category = "tollgate",
    shortname = "integ",
    doc = "A backend and how to call it, shared by the Routes that name it in integrationRef."
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[
    (
        "[has(self.service), has(self.http), has(self.lambda), has(self.aws)].filter(set, set).size() == 1",
        "an integration has exactly one target: set one of service, http, lambda and aws",
    ),
    (
        "!has(self.type) || !(has(self.lambda) || has(self.aws)) || self.type == 'AWS_PROXY'",
        "type does not fit the targets lambda and aws: remove type, or set it to AWS_PROXY",
    ),
    (
        "!has(self.type) || has(self.lambda) || has(self.aws) || self.type == 'HTTP_PROXY'",
        "type does not fit the targets service and http: remove type, or set it to HTTP_PROXY",
    ),
    (
        "!has(self.payloadFormatVersion) || has(self.lambda) || self.payloadFormatVersion == '1.0'",
        "payloadFormatVersion 2.0 is for the target lambda only: remove payloadFormatVersion",
    ),
    (
        "!has(self.tls) || !(has(self.lambda) || has(self.aws))",
        "tls is for the targets service and http: remove tls, and write https:// in the endpoint of a function or AWS service behind TLS",
    ),
    (
        "has(self.aws) || !has(self.requestParameters) || self.requestParameters.all(key, key.matches('^((append|overwrite|remove):(header|querystring)[.].+|overwrite:path)$'))",
        "a key of requestParameters is append, overwrite or remove, a colon, then header.NAME or querystring.NAME; or overwrite:path: e.g. 'overwrite:header.x-tenant'",
    ),
    (
        "!has(self.tls) || !has(self.http) || self.http.uri.startsWith('https://')",
        "tls needs a URI that starts with https://: change http.uri, or remove tls",
    ),
    (
        "!has(self.protocolVersion) || !(has(self.lambda) || has(self.aws))",
        "protocolVersion is for the targets service and http: remove protocolVersion",
    ),
    (
        "!has(self.vpcLinkRef) || has(self.service) || (has(self.lambda) && has(self.lambda.service))",
        "vpcLinkRef is for targets that are a service, or a function's: remove vpcLinkRef, or name a service that the link opens",
    ),
])))]
pub struct IntegrationSpec {
    /// A Service of the same namespace, or of the namespace of vpcLinkRef; requests go to its ready pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceTarget>,
    /// A URL, inside or outside the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpTarget>,
    /// A function that speaks the Lambda invoke protocol, as AWS's base images do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lambda: Option<LambdaTarget>,
    /// An action of an AWS service. Its parameters stand in requestParameters, e.g. 'QueueUrl' and 'MessageBody'.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aws: Option<AwsTarget>,
    /// AWS_PROXY for lambda and aws, HTTP_PROXY for service and http; follows from the target when absent.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<IntegrationType>,
    /// The method towards the backend. ANY: the client's. Functions are always invoked with POST.
    #[serde(default)]
    pub method: Method,
    /// Shape of a function's event and result; 2.0 when absent. Other targets have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_format_version: Option<PayloadFormatVersion>,
    /// How long the complete response may take, in milliseconds. After that the client gets 503. More than 30000 needs
    /// limits.timeoutInMillis in the HttpApi.
    #[serde(default = "default_timeout")]
    #[schemars(range(min = 50, max = 900_000))]
    pub timeout_in_millis: i32,
    /// TLS towards the backend. A service is called by plain HTTP without it; a https URI uses TLS anyway, and this
    /// object changes whom to trust.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// What requests get on the way to the backend: 'append:', 'overwrite:' or 'remove:' with 'header.NAME', 'querystring.NAME',
    /// or 'overwrite:path', to a value such as '$request.header.x', '$context.requestId' or '${request.path.id}-x'.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "request_parameters")]
    pub request_parameters: BTreeMap<String, String>,
    /// What responses get on the way to the client, by the status that the backend returned: 'append:', 'overwrite:' or 'remove:' with
    /// 'header.NAME', or 'overwrite:statuscode'.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "response_parameters")]
    pub response_parameters: BTreeMap<String, BTreeMap<String, String>>,
    /// The VpcLink that opens the service, or the function's, which is then one of the link's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vpc_link_ref: Option<VpcLinkRef>,
    /// HTTP2 for backends of gRPC and others that speak HTTP/2: with TLS it is agreed on in the handshake (ALPN), else it is assumed. When
    /// absent, the appProtocol of the Service's port decides (kubernetes.io/h2c and grpc mean HTTP2), and HTTP1 is the rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol_version: Option<ProtocolVersion>,
}

/// Names in a rule of the keys of parameter mappings that belong to the gateway or to one connection (H-MAP-4).
const RESERVED: &str = "(?i)^(append|overwrite|remove):header[.](access-control-.*|apigw-.*|authorization|connection|content-encoding|content-length|content-location|expect|forwarded|keep-alive|origin|proxy-authenticate|proxy-authorization|proxy-connection|te|trailer|trailers|transfer-encoding|upgrade|x-amz-.*|x-amzn-.*|x-forwarded-for|x-forwarded-host|x-forwarded-proto|via)$";

fn request_parameters(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    parameters(&[(&format!("self.all(key, !key.matches('{RESERVED}'))"), RESTRICTED)])
}

fn response_parameters(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let entries = parameters(&[
        (
            "self.all(key, key.matches('^((append|overwrite|remove):header[.].+|overwrite:statuscode)$'))",
            "a key of responseParameters is append, overwrite or remove, a colon, then header.NAME; or overwrite:statuscode: e.g. 'remove:header.server'",
        ),
        (&format!("self.all(key, !key.matches('{RESERVED}'))"), RESTRICTED),
    ]);
    schemars::json_schema!({
        "type": "object",
        "maxProperties": 20,
        "additionalProperties": entries,
        "x-kubernetes-validations": rules(&[(
            "self.all(status, status.matches('^[2-5][0-9][0-9]$'))",
            "the keys of responseParameters are exact statuses from 200 to 599: e.g. '404', once for each status",
        )])
    })
}

const RESTRICTED: &str =
    "Operations on this header are restricted: it belongs to the gateway or to the connection, use another name";

fn parameters(of_keys: &[(&str, &str)]) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "maxProperties": 100,
        "additionalProperties": {"type": "string", "maxLength": 2048},
        "x-kubernetes-validations": rules(of_keys)
    })
}

impl Default for IntegrationSpec {
    /// As the schema's defaults; without a target.
    fn default() -> Self {
        Self {
            service: None,
            http: None,
            lambda: None,
            aws: None,
            type_: None,
            method: Method::default(),
            payload_format_version: None,
            timeout_in_millis: default_timeout(),
            tls: None,
            request_parameters: BTreeMap::new(),
            response_parameters: BTreeMap::new(),
            vpc_link_ref: None,
            protocol_version: None,
        }
    }
}

/// AWS's default and maximum (H-INT-3).
fn default_timeout() -> i32 {
    30_000
}

/// A Service of the same namespace, or of the link's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceTarget {
    /// Name of the Service.
    #[schemars(length(min = 1, max = 63), regex(pattern = LABEL))]
    pub name: String,
    /// Port of the Service.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// Path towards the backend, with variables of the route in braces, e.g. '/v2/{proxy}'. When absent, the whole
    /// request path, with the stage segment of a named stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048), extend("x-kubernetes-validations" = rules(&[(
        "self.matches('^/[^ #?]*$')",
        "a path starts with / and has no space, ? or #: e.g. '/v2/{proxy}'",
    )])))]
    pub path: Option<String>,
}

/// A URL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpTarget {
    /// Absolute URL, with variables of the route in braces (without +) and stage variables, e.g.
    /// 'https://${stageVariables.backend}/base/{proxy}'. On the $default route the request path is appended.
    #[schemars(length(min = 1, max = 2048), extend("x-kubernetes-validations" = rules(&[(
        "self.matches('^https?://[^ #]+$')",
        "a URI starts with http:// or https:// and has no space or #: e.g. 'https://backend.example.com/{proxy}'",
    )])))]
    pub uri: String,
}

/// An action of an AWS service, or of one that speaks like it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AwsTarget {
    /// AWS's integrationSubtype.
    pub subtype: AwsSubtype,
    /// A Secret of the same namespace with accessKeyId, secretAccessKey and, for temporary credentials, sessionToken.
    pub credentials_ref: LocalRef,
    /// Where the service is, instead of AWS's own address for the region, e.g. 'http://localhost:4566'.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048), extend("x-kubernetes-validations" = rules(&[(
        "self.matches('^https?://[^ /#?{}]+/?$')",
        "an endpoint of an AWS service is http:// or https:// with a host and maybe a port: e.g. 'http://localhost:4566'",
    )])))]
    pub endpoint: Option<String>,
}

/// What HTTP APIs can call of AWS beside functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum AwsSubtype {
    #[serde(rename = "EventBridge-PutEvents")]
    EventBridgePutEvents,
    #[serde(rename = "SQS-SendMessage")]
    SqsSendMessage,
    #[serde(rename = "SQS-ReceiveMessage")]
    SqsReceiveMessage,
    #[serde(rename = "SQS-DeleteMessage")]
    SqsDeleteMessage,
    #[serde(rename = "SQS-PurgeQueue")]
    SqsPurgeQueue,
    #[serde(rename = "AppConfig-GetConfiguration")]
    AppConfigGetConfiguration,
    #[serde(rename = "Kinesis-PutRecord")]
    KinesisPutRecord,
    #[serde(rename = "StepFunctions-StartExecution")]
    StepFunctionsStartExecution,
    #[serde(rename = "StepFunctions-StartSyncExecution")]
    StepFunctionsStartSyncExecution,
    #[serde(rename = "StepFunctions-StopExecution")]
    StepFunctionsStopExecution,
}

impl AwsSubtype {
    /// As written in objects.
    pub fn name(self) -> &'static str {
        match self {
            Self::EventBridgePutEvents => "EventBridge-PutEvents",
            Self::SqsSendMessage => "SQS-SendMessage",
            Self::SqsReceiveMessage => "SQS-ReceiveMessage",
            Self::SqsDeleteMessage => "SQS-DeleteMessage",
            Self::SqsPurgeQueue => "SQS-PurgeQueue",
            Self::AppConfigGetConfiguration => "AppConfig-GetConfiguration",
            Self::KinesisPutRecord => "Kinesis-PutRecord",
            Self::StepFunctionsStartExecution => "StepFunctions-StartExecution",
            Self::StepFunctionsStartSyncExecution => "StepFunctions-StartSyncExecution",
            Self::StepFunctionsStopExecution => "StepFunctions-StopExecution",
        }
    }
}

/// A function: pods of a service, a URL, or a function of the Lambda service by its ARN.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[(
    "has(self.functionArn) ? !has(self.service) : has(self.service) != has(self.endpoint)",
    "a function is found in exactly one way: set one of service, endpoint and functionArn; beside functionArn, endpoint is where the Lambda service is",
), (
    "has(self.functionArn) == has(self.credentialsRef)",
    "credentialsRef signs calls of a functionArn: set both or none",
)])))]
pub struct LambdaTarget {
    /// A Service of the same namespace whose pods speak the invoke protocol; in an integration with vpcLinkRef, of the link's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<LambdaService>,
    /// Base URL of the invoke protocol, e.g. 'http://localhost:9001'.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048), extend("x-kubernetes-validations" = rules(&[(
        "self.matches('^https?://[^ #?{}]+$')",
        "an endpoint starts with http:// or https:// and has no space, query, # or braces: e.g. 'http://localhost:9001'",
    )])))]
    pub endpoint: Option<String>,
    /// Name of the function in the invoke path /2015-03-31/functions/{functionName}/invocations; AWS's base images
    /// expect 'function'.
    #[serde(default = "default_function_name")]
    #[schemars(length(min = 1, max = 255), regex(pattern = FUNCTION_NAME))]
    pub function_name: String,
    /// A function of the Lambda service, with version or alias after it if wanted. Stage variables may stand in name, version and alias:
    /// 'arn:aws:lambda:eu-west-1:123456789012:function:${stageVariables.fn}'.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512), extend("x-kubernetes-validations" = rules(&[(
        "self.matches('^arn:[a-z0-9-]+:(lambda|apigateway):[a-z0-9-]+:[^ ?#]+$')",
        "a functionArn is that of a Lambda function: e.g. 'arn:aws:lambda:eu-west-1:123456789012:function:orders'",
    )])))]
    pub function_arn: Option<String>,
    /// A Secret of the same namespace with accessKeyId, secretAccessKey and, for temporary credentials, sessionToken: they sign calls of
    /// functionArn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_ref: Option<LocalRef>,
}

/// The only name that the runtime interface emulator answers to.
fn default_function_name() -> String {
    "function".to_owned()
}

/// A Service whose pods speak the invoke protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LambdaService {
    /// Name of the Service.
    #[schemars(length(min = 1, max = 63), regex(pattern = LABEL))]
    pub name: String,
    /// Port of the Service.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
}

/// AWS's name for the kind of integration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum IntegrationType {
    AwsProxy,
    HttpProxy,
}

/// Which HTTP a backend is called with, as load balancers of AWS name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum ProtocolVersion {
    Http1,
    Http2,
}

/// A method towards a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    #[default]
    Any,
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
    Options,
}

impl Method {
    /// As on the request line; `None` for `ANY`.
    pub fn fixed(self) -> Option<&'static str> {
        match self {
            Self::Any => None,
            Self::Get => Some("GET"),
            Self::Head => Some("HEAD"),
            Self::Post => Some("POST"),
            Self::Put => Some("PUT"),
            Self::Patch => Some("PATCH"),
            Self::Delete => Some("DELETE"),
            Self::Options => Some("OPTIONS"),
        }
    }
}

/// Shape of a function's event and result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum PayloadFormatVersion {
    #[serde(rename = "1.0")]
    V1,
    #[serde(rename = "2.0")]
    V2,
}

/// TLS towards a backend.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// Sent as SNI and compared with the backend's certificate, instead of the name in the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub server_name_to_verify: Option<String>,
    /// PEM certificates of the authorities to trust; the proxy's own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_ref: Option<CaRef>,
}

/// One key of a ConfigMap or Secret of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CaRef {
    /// ConfigMap or Secret.
    #[serde(default)]
    pub kind: CaKind,
    /// Name of the ConfigMap or Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = OBJECT_NAME))]
    pub name: String,
    /// Key that holds the certificates.
    #[serde(default = "default_ca_key")]
    #[schemars(length(min = 1, max = 253), regex(pattern = DATA_KEY))]
    pub key: String,
}

/// As in the ConfigMap `kube-root-ca.crt` and in cert-manager's Secrets.
fn default_ca_key() -> String {
    "ca.crt".to_owned()
}

/// Kinds that can hold certificates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum CaKind {
    #[default]
    ConfigMap,
    Secret,
}
