//! `ApiKey`: a customer's key, whose value lies in a Secret.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::form::{DATA_KEY, DAY, OBJECT_NAME};
use crate::{LocalRef, Status};

/// A key that callers send in the header x-api-key. Its value is in a Secret, never here (R-KEY-1).
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "tollgate.dev",
    version = "v1alpha1",
    kind = "ApiKey",
    namespaced,
    status = "Status",
    derive = "PartialEq",
    category = "tollgate",
    shortname = "apikey",
    doc = "A key that callers send in the header x-api-key; the UsagePlans that it names say where it is good and how often."
)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeySpec {
    /// Name for people; the object's name when absent. Two keys may have the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub name: Option<String>,
    /// What the key is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub description: Option<String>,
    /// With false, every request with the key is refused.
    #[serde(default = "enabled")]
    pub enabled: bool,
    /// From this moment on, every request with the key is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
    /// Who the key was given to, for your own records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub customer_id: Option<String>,
    /// Where the value is: 20 to 128 characters. When absent, the entry 'value' of the Secret {name}-api-key, which is made with a
    /// generated value if there is no such Secret, and deleted with this object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_from: Option<KeyValueSource>,
    /// A second value that is good as well, so that a value can be replaced without a gap: the new one goes to valueFrom, the
    /// old one here until all callers have changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_value_from: Option<KeyValueSource>,
    /// The plans of the key, in the same namespace. Of the plans that contain a stage, a key may have one only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub usage_plan_refs: Vec<LocalRef>,
    /// More requests than the quota of a plan allows, in one period only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub quota_extensions: Vec<QuotaExtension>,
}

/// Requests that a key may make in one period on top of its plan's quota.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct QuotaExtension {
    /// Which of the key's plans.
    pub usage_plan_ref: LocalRef,
    /// How many requests more.
    #[schemars(range(min = 1, max = 1_000_000_000_000_i64))]
    pub requests: i64,
    /// Any day (UTC) of the period that is extended, as in 2026-11-21. In other periods the extension means nothing.
    #[schemars(length(min = 10, max = 10), regex(pattern = DAY))]
    pub during: String,
}

/// Unlike AWS's API (M-V1-KEY-1): an object that someone applies is meant to work.
fn enabled() -> bool {
    true
}

/// Where a value is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyValueSource {
    /// An entry of a Secret.
    pub secret_key_ref: SecretKeyRef,
}

/// One entry of a Secret of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// Name of the Secret, in the same namespace.
    #[schemars(length(min = 1, max = 253), regex(pattern = OBJECT_NAME))]
    pub name: String,
    /// Name of the entry in the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = DATA_KEY))]
    pub key: String,
}

/// What the names of Secrets with generated values end in, and the entry that has the value.
const GENERATED: &str = "-api-key";
/// The entry.
const GENERATED_ENTRY: &str = "value";

impl SecretKeyRef {
    /// The entry that holds the value of a key that names none.
    pub fn by_name(api_key: &str) -> Self {
        Self { name: format!("{api_key}{GENERATED}"), key: GENERATED_ENTRY.to_owned() }
    }

    /// The key whose value is in the Secret `secret`, if that names none.
    pub fn generated_for(secret: &str) -> Option<&str> {
        secret.strip_suffix(GENERATED).filter(|name| !name.is_empty())
    }
}

impl ApiKeySpec {
    /// Where the value of the key `name` is.
    pub fn value_ref(&self, name: &str) -> SecretKeyRef {
        self.value_from.as_ref().map_or_else(|| SecretKeyRef::by_name(name), |from| from.secret_key_ref.clone())
    }
}
