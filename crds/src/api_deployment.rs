//! `ApiDeployment`: an immutable capture of an API.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema::rules;
use crate::{ApiRef, Status};

/// An immutable capture of an API, made when the object is created.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "tollgate.dev",
    version = "v1alpha1",
    kind = "ApiDeployment",
    namespaced,
    status = "ApiDeploymentStatus",
    derive = "PartialEq",
    category = "tollgate",
    shortname = "apideploy",
    doc = "An immutable capture of an API's routes, integrations, authorizers and CORS configuration. Made by hand, or by stages with autoDeploy (the last 10 are kept). A Stage with autoDeploy false serves the one that its deploymentRef names."
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[(
    "self == oldSelf",
    "spec is immutable, since a deployment is a capture: create another ApiDeployment",
)])))]
pub struct ApiDeploymentSpec {
    /// The API to capture.
    pub api_ref: ApiRef,
    /// What the deployment is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub description: Option<String>,
}

/// What was captured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiDeploymentStatus {
    /// What every kind reports.
    #[serde(flatten)]
    pub common: Status,
    /// Hash of the captured content; two deployments with the same id do the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub deployment_id: Option<String>,
    /// PENDING: not captured yet. DEPLOYED: captured. FAILED: cannot be captured, see deploymentStatusMessage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment_status: Option<DeploymentStatusCode>,
    /// Why the capture failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub deployment_status_message: Option<String>,
    /// Made by a stage with autoDeploy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_deployed: Option<bool>,
}

/// How far a capture got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum DeploymentStatusCode {
    Pending,
    Deployed,
    Failed,
}
