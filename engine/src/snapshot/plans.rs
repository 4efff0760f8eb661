//! Usage plans and key digests: units that travel apart from APIs, so that neither resends the other.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::is_default;

/// A usage plan (R-PLAN-1). Its id is `source`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// `namespace/name` of the UsagePlan object.
    pub source: String,
    /// When the object was made, seconds since 1970; for the quota's offset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<i64>,
    /// For each customer, over all stages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttle: Option<PlanThrottle>,
    /// For each customer, over all stages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<PlanQuota>,
    /// Where the plan is good.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<PlanStage>,
    /// While the shared store is away.
    #[serde(default, skip_serializing_if = "is_default")]
    pub failure_mode: FailureMode,
    /// Sends `RateLimit` headers.
    #[serde(default, skip_serializing_if = "is_default")]
    pub rate_limit_headers: bool,
    /// The claim that tells customers apart; absent: API keys do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwt_claim: Option<String>,
}

/// A token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanThrottle {
    /// Tokens a second.
    pub rate_limit: f64,
    /// Capacity.
    pub burst_limit: u32,
}

/// A quota (R-PLAN-5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanQuota {
    /// Requests in a period.
    pub limit: u64,
    /// Its length.
    pub period: QuotaPeriod,
    /// Subtracted in the first period.
    #[serde(default, skip_serializing_if = "is_default")]
    pub offset: u64,
}

/// Lengths of quota periods. A length that a proxy does not know cannot be read: the plan is refused whole, and its keys with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum QuotaPeriod {
    /// A day of UTC.
    Day,
    /// From Sunday.
    Week,
    /// From the first.
    Month,
}

/// What happens while the shared store is away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FailureMode {
    /// Each proxy limits by itself.
    #[default]
    Local,
    /// Nothing is limited.
    Open,
    /// Everything is refused.
    Closed,
}

/// A stage where a plan is good.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanStage {
    /// The API.
    pub api_id: String,
    /// The stage.
    pub stage_name: String,
    /// By route key, instead of the plan's throttle (R-PLAN-3).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub throttle: BTreeMap<String, PlanThrottle>,
}

/// Keys whose digests begin alike ([`crate::meter::shard_of`]).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyShard {
    /// In the order of their digests.
    pub keys: Vec<ApiKey>,
}

/// One value of an API key. The value itself never travels (promise P7).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiKey {
    /// SHA-256 of the value, 64 lower-case hexadecimal digits.
    pub digest: String,
    /// `namespace/name` of the ApiKey object.
    pub source: String,
    /// Refused when false.
    pub enabled: bool,
    /// Seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<i64>,
    /// Ids of plans.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plans: Vec<String>,
    /// On top of quotas. An older proxy refuses what they would allow.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extensions: Vec<QuotaExtension>,
}

/// Requests on top of a quota, in one period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QuotaExtension {
    /// Id of the plan.
    pub plan: String,
    /// How many.
    pub requests: u64,
    /// A second since 1970 of the period.
    pub during: i64,
}
