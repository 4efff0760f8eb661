//! `Stage`: a name under which an API is reachable, and the settings that act without a deployment.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema::{immutable, rules};
use crate::{ApiRef, LocalRef, Status};

/// A name under which an API is reachable.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "tollgate.dev",
    version = "v1alpha1",
    kind = "Stage",
    namespaced,
    status = "Status",
    derive = "PartialEq",
    category = "tollgate",
    shortname = "tgstage",
    doc = "Makes an API reachable under a name, with its own variables, throttles and access log."
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[(
    "!self.autoDeploy || !has(self.deploymentRef)",
    "a stage with autoDeploy follows its API, so it has no deploymentRef: set autoDeploy to false to pin a deployment, or remove deploymentRef",
)])))]
pub struct StageSpec {
    /// The API that the stage makes reachable. Cannot be changed.
    #[schemars(extend("x-kubernetes-validations" = immutable("apiRef")))]
    pub api_ref: ApiRef,
    /// The first path segment of the stage's addresses, or '$default' for the stage at the root.
    #[schemars(length(min = 1, max = 128), extend("x-kubernetes-validations" = rules(&[(
        "self == '$default' || self.matches('^[A-Za-z0-9_-]+$')",
        "a stage name is $default, or letters, digits, _ and - only: e.g. prod-2",
    )])))]
    pub stage_name: String,
    /// Every change of the API reaches the stage at once. With false, the stage serves what deploymentRef names.
    #[serde(default = "default_auto_deploy")]
    pub auto_deploy: bool,
    /// The ApiDeployment to serve while autoDeploy is false. To roll back, name an older one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment_ref: Option<LocalRef>,
    /// Values for ${stageVariables.NAME} in integrations; functions get all of them. Names have up to 64 letters, digits
    /// and _.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "stage_variables")]
    pub stage_variables: BTreeMap<String, String>,
    /// Settings of every route that has none of its own in routeSettings, field by field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_route_settings: Option<RouteSettings>,
    /// Settings by route key, e.g. 'GET /orders/{id}'. Each key has to be that of a route of the API.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "route_settings")]
    pub route_settings: BTreeMap<String, RouteSettings>,
    /// One line for each request of the stage; none when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_log_settings: Option<AccessLogSettings>,
}

/// Unlike AWS (H-STAGE-2): the object in the cluster is what runs, unless someone says otherwise.
fn default_auto_deploy() -> bool {
    true
}

/// Settings of a route in a stage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RouteSettings {
    /// Requests a second in the long run; fractions are allowed, 0 refuses every request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000_000))]
    pub throttling_rate_limit: Option<f64>,
    /// Requests that may come at once; 0 refuses every request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000_000))]
    pub throttling_burst_limit: Option<i32>,
    /// Metrics of each route, besides those of the stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detailed_metrics_enabled: Option<bool>,
}

/// The access log of a stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccessLogSettings {
    /// One line of text with $context variables, e.g. '$context.requestId $context.status'.
    #[schemars(length(min = 1, max = 3072), extend("x-kubernetes-validations" = rules(&[(
        r"!self.trim().matches('[\\n\\r]')",
        "an access log format is a single line: remove the line breaks inside it",
    )])))]
    pub format: String,
    /// AWS's destination, kept as a label; lines go where the operator of the proxies sends them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub destination_arn: Option<String>,
}

fn stage_variables(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "maxProperties": 100,
        "additionalProperties": {
            "type": "string", "minLength": 1, "maxLength": 512,
            "x-kubernetes-validations": rules(&[(
                "self.matches('^[-A-Za-z0-9._~:/?#&=,]+$')",
                "the value of a stage variable has letters, digits and -._~:/?#&=, only: remove other characters",
            )])
        },
        "x-kubernetes-validations": rules(&[(
            "self.all(name, name.matches('^[A-Za-z0-9_]{1,64}$'))",
            "the name of a stage variable has 1 to 64 letters, digits and _ only: rename it",
        )])
    })
}

fn route_settings(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "maxProperties": 1000,
        "additionalProperties": generator.subschema_for::<RouteSettings>()
    })
}
