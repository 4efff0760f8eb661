//! `UsagePlan`: where keys are good, and how often.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema::rules;
use crate::{LocalRef, UsagePlanStatus};

/// A tier: its stages, and the limits of each key in it.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "tollgate.dev",
    version = "v1alpha1",
    kind = "UsagePlan",
    namespaced,
    status = "UsagePlanStatus",
    derive = "PartialEq",
    category = "tollgate",
    shortname = "plan",
    doc = "A tier that API owners sell: the stages that its keys may call, and how often each key may."
)]
#[serde(rename_all = "camelCase")]
pub struct UsagePlanSpec {
    /// Name for people; the object's name when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub name: Option<String>,
    /// What the plan is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub description: Option<String>,
    /// How fast each key may call, all stages of the plan together. Not limited when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttle: Option<PlanThrottle>,
    /// How often each key may call in a period, all stages of the plan together. Not limited when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<PlanQuota>,
    /// The stages that the plan's keys may call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub api_stages: Vec<PlanStage>,
    /// What happens while the store that proxies share the counts in cannot be reached. Local: each proxy limits by itself.
    /// Open: nothing is limited. Closed: every metered request is refused.
    #[serde(default)]
    pub failure_mode: FailureMode,
    /// Sends the headers RateLimit-Policy and RateLimit with every answer of a metered route.
    #[serde(default)]
    pub rate_limit_headers: bool,
    /// Meters callers by this claim of their token instead of by API key, on routes with authorizationType JWT: every value of
    /// the claim is a customer of the plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub jwt_claim: Option<String>,
}

/// A token bucket for each key.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanThrottle {
    /// Requests a second in the long run; fractions are allowed, 0 refuses every request.
    #[schemars(range(min = 0, max = 1_000_000_000))]
    pub rate_limit: f64,
    /// Requests that may come at once; 0 refuses every request.
    #[schemars(range(min = 0, max = 1_000_000_000))]
    pub burst_limit: i32,
}

/// A number of requests for each key and period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[(
    "!has(self.offset) || self.offset <= self.limit",
    "offset is subtracted from limit in the period in which the plan was made, so it is at most as large as limit: lower offset, or raise limit",
)])))]
pub struct PlanQuota {
    /// Requests in a period.
    #[schemars(range(min = 0, max = 1_000_000_000_000_i64))]
    pub limit: i64,
    /// DAY begins at midnight, WEEK on Sunday, MONTH on the first, all in UTC.
    pub period: QuotaPeriod,
    /// Requests that are subtracted from limit in the period in which the plan was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000_000_000_i64))]
    pub offset: Option<i64>,
}

/// Lengths of quota periods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum QuotaPeriod {
    Day,
    Week,
    Month,
}

/// What happens while the shared store is away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum FailureMode {
    #[default]
    Local,
    Open,
    Closed,
}

/// A stage that the plan's keys may call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanStage {
    /// The Stage, in the same namespace.
    pub stage_ref: LocalRef,
    /// Throttles of single routes by route key, e.g. 'GET /orders/{id}': each replaces the plan's throttle for that route, with
    /// a bucket of its own for each key. As AWS writes them, '/orders/{id}/GET', is also understood.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "route_throttles")]
    pub throttle: BTreeMap<String, PlanThrottle>,
}

fn route_throttles(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "maxProperties": 20,
        "additionalProperties": generator.subschema_for::<PlanThrottle>()
    })
}
