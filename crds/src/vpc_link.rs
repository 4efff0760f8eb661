//! `VpcLink`: which Services of a namespace the APIs of other namespaces may reach, and how.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::form::{LABEL, OBJECT_NAME};
use crate::schema::rules;
use crate::{Status, Tls};

/// What a link opens, to whom, and how requests through it are spread.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "tollgate.dev",
    version = "v1alpha1",
    kind = "VpcLink",
    namespaced,
    status = "Status",
    derive = "PartialEq",
    category = "tollgate",
    shortname = "vlink",
    doc = "Opens Services of its namespace to the APIs of other namespaces, and says how requests to them are spread, checked and bounded. Integrations name it in vpcLinkRef."
)]
#[serde(rename_all = "camelCase")]
pub struct VpcLinkSpec {
    /// The Services of the link's namespace that it opens.
    #[schemars(length(min = 1, max = 64))]
    pub services: Vec<LinkedService>,
    /// Namespaces whose APIs may use the link; '*' stands for all. The link's own namespace always may.
    #[serde(default)]
    #[schemars(length(max = 256), inner(length(min = 1, max = 63)), extend("x-kubernetes-validations" = rules(&[(
        "self.all(name, name == '*' || name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$'))",
        "a namespace has lower-case letters, digits and '-': write its name, or '*' for all",
    )])))]
    pub allowed_namespaces: Vec<String>,
    /// Which of a Service's ready pods gets a request.
    #[serde(default)]
    pub load_balancing: LoadBalancing,
    /// Asks each pod from time to time whether it is well. When absent, readiness in Kubernetes decides alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
    /// Leaves pods alone whose answers keep failing. When absent, no answer has consequences.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outlier_detection: Option<OutlierDetection>,
    /// Bounds what one proxy asks of one pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_limits: Option<LinkLimits>,
    /// TLS towards the pods; plain HTTP when absent. The tls of an integration goes before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
}

/// A Service of the link's namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LinkedService {
    /// Name of the Service.
    #[schemars(length(min = 1, max = 63), regex(pattern = LABEL))]
    pub name: String,
}

/// Which of a Service's ready pods gets a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[(
    "!has(self.hashKey) || self.algorithm == 'CONSISTENT_HASH'",
    "hashKey is for the algorithm CONSISTENT_HASH: set algorithm, or remove hashKey",
)])))]
pub struct LoadBalancing {
    /// ROUND_ROBIN: in turn. LEAST_REQUEST: the pod with the fewest requests of this proxy in flight. CONSISTENT_HASH:
    /// the same pod for the same hashKey, as long as it is there.
    #[serde(default)]
    pub algorithm: Algorithm,
    /// What is the same for requests that belong together: '$context.identity.sourceIp' (when absent) or
    /// '$request.header.NAME'. Requests without the header are spread in turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), extend("x-kubernetes-validations" = rules(&[(
        "self == '$context.identity.sourceIp' || self.matches('^[$]request[.]header[.][!#$%&*+.^_`|~0-9A-Za-z-]+$')",
        "a hash key is $context.identity.sourceIp or $request.header.NAME: e.g. '$request.header.x-session'",
    )])))]
    pub hash_key: Option<String>,
}

/// How a pod is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Algorithm {
    #[default]
    RoundRobin,
    LeastRequest,
    ConsistentHash,
}

/// An active check: GET, and a status from 200 to 399 is well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HealthCheck {
    /// Path that is asked for, with a query if need be.
    #[schemars(length(min = 1, max = 1024), extend("x-kubernetes-validations" = rules(&[(
        "self.matches('^/[^ #]*$')",
        "a path starts with / and has no space or #: e.g. '/healthz'",
    )])))]
    pub path: String,
    /// Seconds between two checks of a pod by one proxy.
    #[serde(default = "default_interval")]
    #[schemars(range(min = 1, max = 300))]
    pub interval_seconds: i32,
    /// Longest that an answer may take, in milliseconds.
    #[serde(default = "default_check_timeout")]
    #[schemars(range(min = 50, max = 60000))]
    pub timeout_in_millis: i32,
    /// So many good checks in a row make a pod well again.
    #[serde(default = "default_threshold")]
    #[schemars(range(min = 1, max = 10))]
    pub healthy_threshold: i32,
    /// So many failed checks in a row make a pod unwell.
    #[serde(default = "default_threshold")]
    #[schemars(range(min = 1, max = 10))]
    pub unhealthy_threshold: i32,
}

/// AWS's load balancers ask every 30 seconds; pods come and go faster than instances.
fn default_interval() -> i32 {
    10
}

fn default_check_timeout() -> i32 {
    2_000
}

fn default_threshold() -> i32 {
    2
}

/// A passive check: what requests find.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OutlierDetection {
    /// So many failures in a row (no connection, no answer in time, a status of 500 or more) and the pod is left alone.
    #[serde(default = "default_errors")]
    #[schemars(range(min = 1, max = 1000))]
    pub consecutive_errors: i32,
    /// For how many seconds; as often again for each time that it had no success in between, at most ten times.
    #[serde(default = "default_ejection")]
    #[schemars(range(min = 1, max = 3600))]
    pub base_ejection_seconds: i32,
    /// At most this part of a Service's pods is left alone at a time, but always one may be.
    #[serde(default = "default_percent")]
    #[schemars(range(min = 0, max = 100))]
    pub max_ejection_percent: i32,
}

fn default_errors() -> i32 {
    5
}

fn default_ejection() -> i32 {
    30
}

fn default_percent() -> i32 {
    50
}

/// Bounds what one proxy asks of one pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LinkLimits {
    /// Connections in use to one pod at a time, so also requests in flight. When all pods are at the limit, clients get
    /// 503.
    #[schemars(range(min = 1, max = 100000))]
    pub max_connections_per_endpoint: i32,
}

/// A VpcLink, in any namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VpcLinkRef {
    /// Name of the VpcLink.
    #[schemars(length(min = 1, max = 253), regex(pattern = OBJECT_NAME))]
    pub name: String,
    /// Its namespace, which is also that of the Service; the object's own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = LABEL))]
    pub namespace: Option<String>,
}
