//! `Authorizer`: how the tokens of callers are found and checked.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema::rules;
use crate::{LambdaTarget, PayloadFormatVersion, Status};

/// How callers are recognised. Exactly one way to decide is set.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "tollgate.dev",
    version = "v1alpha1",
    kind = "Authorizer",
    namespaced,
    status = "Status",
    derive = "PartialEq",
    category = "tollgate",
    shortname = "authz",
    doc = "Decides who may call the Routes of its namespace that name it in authorizerRef."
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[
    (
        "[has(self.jwt), has(self.lambda)].filter(set, set).size() == 1",
        "an authorizer has exactly one way to decide: set one of jwt and lambda",
    ),
    (
        "!has(self.jwt) || !has(self.identitySource) || self.identitySource.size() == 1",
        "a JWT authorizer takes its token from one place: give one identitySource, or remove it for $request.header.Authorization",
    ),
    (
        "!has(self.jwt) || !has(self.identitySource) || !self.identitySource.exists(source, source.startsWith('$context.') || source.startsWith('$stageVariables.'))",
        "a token stands in $request.header.NAME or $request.querystring.NAME: other identity sources are for lambda authorizers",
    ),
    (
        "!has(self.lambda) || !has(self.lambda.resultTtlInSeconds) || self.lambda.resultTtlInSeconds == 0 || (has(self.identitySource) && self.identitySource.size() > 0)",
        "answers are kept by identity source: give identitySource, or set lambda.resultTtlInSeconds to 0",
    ),
])))]
pub struct AuthorizerSpec {
    /// What identifies a caller: '$request.header.NAME' and '$request.querystring.NAME', and for lambda also
    /// '$context.NAME' and '$stageVariables.NAME'. A request that lacks one is answered 401. For jwt exactly one place of
    /// the token, $request.header.Authorization when absent; a leading 'Bearer ' is removed. For lambda none when absent;
    /// answers are kept by the values of all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "identity_source")]
    pub identity_source: Option<Vec<String>>,
    /// JSON Web Tokens of an OpenID Connect issuer, signed with RSA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwt: Option<JwtConfiguration>,
    /// A function that decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lambda: Option<LambdaConfiguration>,
}

/// A function that decides who may call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[(
    "self.payloadFormatVersion == '2.0' || !self.enableSimpleResponses",
    "simple responses need format 2.0: set payloadFormatVersion to '2.0', or enableSimpleResponses to false",
)])))]
pub struct LambdaConfiguration {
    /// The function, found as in an integration.
    pub function: LambdaTarget,
    /// REQUEST: the function sees the request without its body.
    #[serde(default, rename = "type")]
    pub type_: LambdaAuthorizerType,
    /// Shape of the function's event and answer.
    #[serde(default = "default_format")]
    pub payload_format_version: PayloadFormatVersion,
    /// The function answers {"isAuthorized": true}, not a policy. Needs format 2.0.
    #[serde(default)]
    pub enable_simple_responses: bool,
    /// How long answers are kept, in seconds; 0: not at all. When absent 300 with an identitySource, else 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 3600))]
    pub result_ttl_in_seconds: Option<i32>,
}

/// Types of lambda authorizers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum LambdaAuthorizerType {
    #[default]
    Request,
}

/// The HTTP API's own.
fn default_format() -> PayloadFormatVersion {
    PayloadFormatVersion::V2
}

/// What a token has to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JwtConfiguration {
    /// URL of the issuer, exactly as in the token's claim iss. Keys come from
    /// {issuer}/.well-known/openid-configuration unless jwksUri is set.
    #[schemars(length(min = 1, max = 2048), extend("x-kubernetes-validations" = url_rules("issuer")))]
    pub issuer: String,
    /// The claim aud has to hold one of these; a token without aud is measured by client_id.
    #[schemars(length(min = 1, max = 50), inner(length(min = 1, max = 512)))]
    pub audience: Vec<String>,
    /// Where the issuer's keys are, when it has no discovery document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048), extend("x-kubernetes-validations" = url_rules("jwksUri")))]
    pub jwks_uri: Option<String>,
}

fn url_rules(field: &str) -> serde_json::Value {
    rules(&[(
        "self.matches('^https?://[^/ #?]+[^ #]*$')",
        &format!(
            "{field} starts with https:// (or http:// inside a cluster) and a host, and has no space or #: e.g. 'https://issuer.example.com'"
        ),
    )])
}

fn identity_source(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "array",
        "maxItems": 10,
        "items": {
            "type": "string", "minLength": 1, "maxLength": 256,
            "x-kubernetes-validations": rules(&[(
                "self.matches('^[$](request[.](header[.][!#$%&*+.^_`|~0-9A-Za-z-]+|querystring[.][^ ]+)|context[.][A-Za-z0-9._]+|stageVariables[.][A-Za-z0-9_]+)$')",
                "an identity source is $request.header.NAME, $request.querystring.NAME, $context.NAME or $stageVariables.NAME: e.g. '$request.header.Authorization'",
            )])
        }
    })
}
