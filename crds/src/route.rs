//! `Route`: which requests of an API go where, and who may send them.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema::{immutable, rules};
use crate::{ApiKind, ApiRef, IntegrationSpec, LocalRef, Status};

/// One route of an API.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "tollgate.dev",
    version = "v1alpha1",
    kind = "Route",
    namespaced,
    status = "Status",
    derive = "PartialEq",
    category = "tollgate",
    shortname = "tgroute",
    doc = "A route of an API: the requests that match routeKey go to one integration, once authorizationType lets them."
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[
    (
        "!(has(self.integration) && has(self.integrationRef))",
        "integration and integrationRef are both set: keep integration for a backend of this route alone, or integrationRef for an Integration that several routes share",
    ),
    (
        "!(self.authorizationType in ['JWT', 'CUSTOM']) || has(self.authorizerRef)",
        "authorizationType JWT needs a JWT authorizer and CUSTOM a lambda authorizer: set authorizerRef.name to an Authorizer of this namespace",
    ),
    (
        "self.authorizationType in ['JWT', 'CUSTOM'] || !has(self.authorizerRef)",
        "authorizerRef has no effect while authorizationType is NONE or AWS_IAM, and NONE would leave the route open: set authorizationType to JWT or CUSTOM, or remove authorizerRef",
    ),
    (
        "self.authorizationType == 'JWT' || !has(self.authorizationScopes) || self.authorizationScopes.size() == 0",
        "authorizationScopes are checked for authorizationType JWT only: set authorizationType to JWT, or remove authorizationScopes",
    ),
])))]
pub struct RouteSpec {
    /// The API that the route belongs to. Cannot be changed.
    #[schemars(extend("x-kubernetes-validations" = immutable("apiRef")))]
    pub api_ref: ApiRef,
    /// Which requests: a method and a path, e.g. 'GET /orders/{id}' or 'ANY /files/{path+}', or '$default' for all that no
    /// other route takes. {id} stands for one path segment, {path+} for all that follow. Literals win over {id}, {id} over
    /// {path+}, a method over ANY.
    #[schemars(length(min = 1, max = 1024), extend("x-kubernetes-validations" = route_key_rules()))]
    pub route_key: String,
    /// The backend, for this route alone. A route with neither integration nor integrationRef answers 500.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub integration: Option<IntegrationSpec>,
    /// The backend, as an Integration of the same namespace that several routes may share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub integration_ref: Option<LocalRef>,
    /// Who may call. NONE: anyone. JWT: bearers of a token that authorizerRef accepts. CUSTOM: whom the function of
    /// authorizerRef lets in. AWS_IAM: Principals of this namespace whose policies allow it, by signature.
    #[serde(default)]
    pub authorization_type: AuthorizationType,
    /// The Authorizer that decides, in the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorizer_ref: Option<LocalRef>,
    /// The token must hold at least one of these scopes; without any, scopes are not checked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10), inner(length(min = 1, max = 256)))]
    pub authorization_scopes: Vec<String>,
    /// Callers need an API key whose UsagePlan contains the stage, and its limits hold. Not on AWS's HTTP APIs: an extension.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub api_key_required: bool,
    /// Name of the operation, for people and generated clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub operation_name: Option<String>,
}

impl RouteSpec {
    /// A route with the schema's defaults, and without a backend.
    pub fn new(api: &str, route_key: &str) -> Self {
        Self {
            api_ref: ApiRef { kind: ApiKind::default(), name: api.to_owned() },
            route_key: route_key.to_owned(),
            integration: None,
            integration_ref: None,
            authorization_type: AuthorizationType::default(),
            authorizer_ref: None,
            authorization_scopes: Vec::new(),
            api_key_required: false,
            operation_name: None,
        }
    }
}

/// Ways to decide who may call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum AuthorizationType {
    #[default]
    None,
    Jwt,
    Custom,
    #[serde(rename = "AWS_IAM")]
    AwsIam,
}

/// The grammar of H-ROUTE-1 to H-ROUTE-5, one rule for each way to get it wrong.
fn route_key_rules() -> serde_json::Value {
    rules(&[
        (
            "self == '$default' || self.matches('^[^ ]+ /')",
            "a route key is $default, or a method, one space and a path that starts with /: e.g. 'GET /orders/{id}'",
        ),
        (
            "self == '$default' || !self.matches('^[^ ]+ /') || self.matches('^(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS|ANY) ')",
            "the method of a route key is GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS or ANY, in upper case: e.g. 'GET /orders/{id}'",
        ),
        (
            r"self == '$default' || !self.matches('^[^ ]+ /') || self.matches('^[^ ]+ (/([A-Za-z0-9._~!$&()+,;=:@%\'-]+|\\{[A-Za-z0-9_.:-]+[+]?\\}))*/?$')",
            "each path segment of a route key is a literal or one variable that fills it, {name} or {name+}: literals have letters, digits, percent-encoded bytes and -._~!$&'()+,;=:@ only, names have letters, digits and _.:- only, and no segment but the last may be empty",
        ),
        (
            r"!self.matches('[+]\\}.')",
            "a greedy variable takes the rest of the path, so it is the last segment of a route key: move {name+} to the end",
        ),
    ])
}
