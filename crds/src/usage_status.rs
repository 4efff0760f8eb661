//! What a `UsagePlan` says of its customers.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Status;

/// What the gateway made of the plan, and what its customers used.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UsagePlanStatus {
    /// What every kind reports.
    #[serde(flatten)]
    pub common: Status,
    /// What customers used of their quotas. Written at most twice a minute; what proxies hold as leases counts as used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<PlanUsageStatus>,
}

/// Usage of a plan's quota in the present period, and in the days before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanUsageStatus {
    /// When the period began.
    pub period_start: Time,
    /// When the next one begins.
    pub period_end: Time,
    /// When this was counted.
    pub observed_at: Time,
    /// Requests of all customers in the period.
    #[schemars(range(min = 0))]
    pub used: u64,
    /// Customers that made any.
    #[schemars(range(min = 0))]
    pub customers: u64,
    /// The hundred that made most, most first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub keys: Vec<CustomerUsage>,
}

/// Usage of one customer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CustomerUsage {
    /// Name of the ApiKey, or claim: and the value of the plan's jwtClaim.
    #[schemars(length(max = 512))]
    pub key: String,
    /// Requests in the period.
    #[schemars(range(min = 0))]
    pub used: u64,
    /// Requests that are left in the period.
    #[schemars(range(min = 0))]
    pub remaining: u64,
    /// The day, of UTC, that the first of days is about.
    #[schemars(length(max = 10))]
    pub from: String,
    /// For each day the requests of the day and those that were left at its end; the last is today's. At most 31.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 31))]
    pub days: Vec<[u64; 2]>,
}
