//! `Authorizer`: how the tokens of callers are found and checked.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Status;
use crate::schema::rules;

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
#[schemars(extend("x-kubernetes-validations" = rules(&[(
    "has(self.jwt)",
    "an authorizer has exactly one way to decide: set jwt",
)])))]
pub struct AuthorizerSpec {
    /// Where the token stands: one of '$request.header.NAME' and '$request.querystring.NAME'. A leading 'Bearer ' is
    /// removed.
    #[serde(default = "default_identity_source")]
    #[schemars(schema_with = "identity_source")]
    pub identity_source: Vec<String>,
    /// JSON Web Tokens of an OpenID Connect issuer, signed with RSA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwt: Option<JwtConfiguration>,
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

/// Where clients put tokens unless told otherwise.
fn default_identity_source() -> Vec<String> {
    vec!["$request.header.Authorization".to_owned()]
}

fn identity_source(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "array",
        "minItems": 1,
        "maxItems": 1,
        "items": {
            "type": "string", "minLength": 1, "maxLength": 256,
            "x-kubernetes-validations": rules(&[(
                "self.matches('^[$]request[.](header[.][!#$%&*+.^_`|~0-9A-Za-z-]+|querystring[.][^ ]+)$')",
                "an identity source is $request.header.NAME or $request.querystring.NAME: e.g. '$request.header.Authorization'",
            )])
        }
    })
}
