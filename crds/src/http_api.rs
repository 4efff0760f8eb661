//! `HttpApi`: one API with its CORS configuration and the switches that hold for all of its routes.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Status;
use crate::form::{API_ID, DATA_KEY, OBJECT_NAME};
use crate::schema::rules;

/// One HTTP API. Routes and Stages name it in apiRef; a Stage makes it reachable.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "tollgate.dev",
    version = "v1alpha1",
    kind = "HttpApi",
    namespaced,
    status = "Status",
    derive = "PartialEq",
    category = "tollgate",
    shortname = "hapi",
    doc = "An HTTP API, as Amazon API Gateway has them (protocolType HTTP): Routes name it in apiRef, a Stage makes it reachable at status.apiEndpoint."
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[(
    "has(self.apiId) == has(oldSelf.apiId) && (!has(self.apiId) || self.apiId == oldSelf.apiId)",
    "apiId is immutable, since clients know the API by it: delete the object and create it again to change it",
)])))]
pub struct HttpApiSpec {
    /// Name for people; the object's name when absent. Two APIs may have the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub name: Option<String>,
    /// What the API is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub description: Option<String>,
    /// Version of the API, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub version: Option<String>,
    /// What routes are chosen by. AWS has one expression for HTTP APIs, so it may be left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["${request.method} ${request.path}"]))]
    pub route_selection_expression: Option<String>,
    /// Tags of the API, for people and tools; labels are what Kubernetes selects by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "crate::schema::tags")]
    pub tags: BTreeMap<String, String>,
    /// How browsers of other origins may use the API. When absent, the gateway does not handle CORS: OPTIONS requests
    /// and access-control headers go through as any others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cors_configuration: Option<Cors>,
    /// Closes the generated host {apiId}.execute-api.{baseDomain} for all stages: requests to it get 404.
    #[serde(default)]
    pub disable_execute_api_endpoint: bool,
    /// Which proxies serve the API. REGIONAL: the public fleet. PRIVATE: the fleet that is reachable inside only.
    #[serde(default)]
    pub endpoint_type: EndpointType,
    /// The id in the API's host name: ten lower-case letters and digits, unique in the cluster. Derived from the object's
    /// uid when absent. Set it to keep addresses when an API moves to another cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 10, max = 10), regex(pattern = API_ID))]
    pub api_id: Option<String>,
    /// Where callers of routes with apiKeyRequired have their key. HEADER: x-api-key. AUTHORIZER: usageIdentifierKey in the answer of the
    /// route's lambda authorizer.
    #[serde(default, skip_serializing_if = "ApiKeySource::is_header")]
    pub api_key_source: ApiKeySource,
    /// An OpenAPI 3.0 document with AWS's extensions that routes, integrations, authorizers and CORS come from. Route
    /// objects may add to it; a Route with the key of one of its routes is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub openapi: Option<OpenApi>,
    /// Raises or lowers AWS's own limits for this API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
}

/// Where the document of an API is, and how it is read. Exactly one of inline and configMapKeyRef is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[(
    "has(self.inline) != has(self.configMapKeyRef)",
    "a document stands in exactly one place: set one of inline and configMapKeyRef",
)])))]
pub struct OpenApi {
    /// The text of the document, JSON or YAML.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1_000_000))]
    pub inline: Option<String>,
    /// A key of a ConfigMap of the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<ConfigMapKeyRef>,
    /// What becomes of the base path of the first server: ignore leaves paths alone, prepend puts it in front of every path,
    /// split puts it there without its first segment.
    #[serde(default)]
    pub basepath: BasePath,
    /// Refuses the document when there are warnings: constructs that have no equivalent and are left out.
    #[serde(default)]
    pub fail_on_warnings: bool,
}

/// One key of a ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapKeyRef {
    /// Name of the ConfigMap, in the same namespace.
    #[schemars(length(min = 1, max = 253), regex(pattern = OBJECT_NAME))]
    pub name: String,
    /// Key that holds the document.
    #[serde(default = "default_document_key")]
    #[schemars(length(min = 1, max = 253), regex(pattern = DATA_KEY))]
    pub key: String,
}

/// What people call such files.
fn default_document_key() -> String {
    "openapi.yaml".to_owned()
}

/// Where the API key of a request comes from (R-KEY-5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum ApiKeySource {
    /// The header x-api-key.
    #[default]
    Header,
    /// What the lambda authorizer's answer says.
    Authorizer,
}

impl ApiKeySource {
    fn is_header(&self) -> bool {
        *self == Self::Header
    }
}

/// What becomes of the base path of a document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BasePath {
    #[default]
    Ignore,
    Prepend,
    Split,
}

/// Which fleet of proxies serves an API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum EndpointType {
    #[default]
    Regional,
    Private,
}

/// CORS for the whole API.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[(
    "!has(self.allowCredentials) || !self.allowCredentials || !has(self.allowOrigins) || !self.allowOrigins.exists(o, o == '*')",
    "allowCredentials cannot be combined with the origin '*', since browsers refuse that: list the origins, or write 'https://*'",
)])))]
pub struct Cors {
    /// Origins that may read responses: '*', 'https://*', 'http://*', or exact ones as the browser sends them, e.g.
    /// 'https://app.example.com' or 'http://localhost:3000'. Sub-domain wildcards do not exist.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), schema_with = "origins")]
    pub allow_origins: Vec<String>,
    /// Methods that the browser may use, or '*'.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), schema_with = "methods")]
    pub allow_methods: Vec<String>,
    /// Request headers that the browser may send, or '*'.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), schema_with = "header_names")]
    pub allow_headers: Vec<String>,
    /// Response headers that scripts may read, or '*'.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), schema_with = "header_names")]
    pub expose_headers: Vec<String>,
    /// Lets browsers send cookies and Authorization headers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_credentials: Option<bool>,
    /// How many seconds a browser may remember the answer to a preflight; -1 forbids it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -1, max = 86400))]
    pub max_age: Option<i32>,
}

/// Limits of one API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Largest request and response body in bytes; 10485760 (10 MiB, as in AWS) when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1024, max = 1_073_741_824_i64))]
    pub payload_bytes: Option<i64>,
    /// The longest timeoutInMillis of an integration that a route of this API may use; 30000 (as in AWS) when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 50, max = 900_000))]
    pub timeout_in_millis: Option<i32>,
    /// How many routes the API may have; 300 (as in AWS) when absent. Younger ones are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub routes: Option<i32>,
    /// How many stages the API may have; 10 (as in AWS) when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000))]
    pub stages: Option<i32>,
    /// How many authorizers the routes of the API may use; 10 (as in AWS) when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000))]
    pub authorizers: Option<i32>,
}

fn origins(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "array",
        "maxItems": 100,
        "items": {
            "type": "string", "minLength": 1, "maxLength": 253,
            "x-kubernetes-validations": rules(&[(
                "self == '*' || self == 'http://*' || self == 'https://*' || self.matches('^[A-Za-z][A-Za-z0-9+.-]*://[^/*?#@ ]+$')",
                "an origin is '*', 'https://*', 'http://*', or scheme://host[:port] without path or trailing slash; wildcards inside a host do not exist: list each origin",
            )])
        }
    })
}

fn methods(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "array",
        "maxItems": 8,
        "items": { "type": "string", "enum": ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "*"] }
    })
}

fn header_names(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "array",
        "maxItems": 100,
        "items": {
            "type": "string", "minLength": 1, "maxLength": 256,
            "x-kubernetes-validations": rules(&[(
                "self.matches('^[!#$%&*+.^_`|~0-9A-Za-z-]+$')",
                "a header name has letters, digits and !#$%&*+.^_`|~- only: write names as in 'Content-Type', or '*' for all",
            )])
        }
    })
}
