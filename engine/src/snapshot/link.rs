//! Links: what a VpcLink opens, to whom, and how requests through it are spread.

use serde::{Deserialize, Serialize};

use super::{BackendTls, is_default};

/// Names a link.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkName {
    /// Namespace of the VpcLink, and of the Services that it opens.
    pub namespace: String,
    /// Name of the VpcLink.
    pub name: String,
}

/// A VpcLink. It changes without the APIs that use it: what it no longer allows ends at once, for pinned stages too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Link {
    /// Which.
    pub link: LinkName,
    /// Names of Services of its namespace.
    pub services: Vec<String>,
    /// Namespaces of APIs that may use it besides its own; `*` stands for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_namespaces: Vec<String>,
    /// Which endpoint gets a request.
    #[serde(default, skip_serializing_if = "is_default")]
    pub balance: Balance,
    /// Active checks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
    /// Passive checks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outlier_detection: Option<OutlierDetection>,
    /// Connections in use to one endpoint at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most_connections: Option<u32>,
    /// HTTPS towards the endpoints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<BackendTls>,
}

/// Which endpoint gets a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "algorithm", rename_all = "camelCase")]
pub enum Balance {
    /// In turn.
    #[default]
    RoundRobin,
    /// The one with the fewest requests in flight.
    LeastRequest,
    /// The same one for the same key.
    ConsistentHash {
        /// `$context.identity.sourceIp` or `$request.header.NAME`.
        key: String,
    },
    /// One that this proxy does not know; it takes turns instead.
    #[serde(other)]
    Unknown,
}

/// A GET whose status from 200 to 399 is well.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthCheck {
    /// Path and query.
    pub path: String,
    /// Between two checks.
    pub interval_seconds: u32,
    /// For the whole answer.
    pub timeout_in_millis: u32,
    /// Good checks in a row until an endpoint is well.
    pub healthy_threshold: u32,
    /// Failed checks in a row until it is not.
    pub unhealthy_threshold: u32,
}

/// What failures of requests lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OutlierDetection {
    /// In a row.
    pub consecutive_errors: u32,
    /// As often again for each time without a success in between.
    pub base_ejection_seconds: u32,
    /// Of a service's endpoints; one may always be left alone.
    pub max_ejection_percent: u32,
}
