//! What customers of usage plans have used, as proxies tell it.

use serde::{Deserialize, Serialize};

/// Usage of the present periods, as one proxy knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UsageReport {
    /// The counts are those of all proxies together, from a store that they share. Else this proxy's alone, to be added up.
    pub shared: bool,
    /// By plan.
    pub plans: Vec<PlanUsage>,
}

/// Usage of one plan with a quota.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanUsage {
    /// `namespace/name` of the UsagePlan.
    pub plan: String,
    /// First second of the period, since 1970.
    pub period_start: i64,
    /// First second of the next one.
    pub period_end: i64,
    /// Requests that the plan allows each customer in the period.
    pub limit: u64,
    /// Requests of all customers.
    pub used: u64,
    /// Customers that used any.
    pub customers: u64,
    /// Those that used most, most first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<KeyUsage>,
}

/// Usage of one customer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyUsage {
    /// `namespace/name` of the ApiKey, or `claim:` and the value of the plan's claim.
    pub key: String,
    /// Requests in the period.
    pub used: u64,
    /// Requests that the customer may make in the period.
    pub limit: u64,
}
