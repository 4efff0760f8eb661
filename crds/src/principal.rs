//! `Principal`: who signs requests, and what they may call.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{LocalRef, Status};

/// A caller of Routes with authorizationType AWS_IAM.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "tollgate.dev",
    version = "v1alpha1",
    kind = "Principal",
    namespaced,
    status = "Status",
    derive = "PartialEq",
    category = "tollgate",
    shortname = "princ",
    doc = "A caller of the Routes of its namespace with authorizationType AWS_IAM: the access keys it signs with, and the policies that say what it may call."
)]
#[serde(rename_all = "camelCase")]
pub struct PrincipalSpec {
    /// The keys that it signs with; two while one takes the place of the other.
    #[schemars(length(min = 1, max = 2))]
    pub access_keys: Vec<AccessKeySource>,
    /// Identity policies as JSON, e.g. '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action":
    /// "execute-api:Invoke", "Resource": "arn:aws:execute-api:*:*:*/*/GET/orders/*"}]}'. What none allows is denied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10), inner(length(min = 2, max = 6144)))]
    pub policies: Vec<String>,
    /// For conditions on aws:PrincipalTag/NAME.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "crate::schema::tags")]
    pub tags: BTreeMap<String, String>,
}

/// Where an access key is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccessKeySource {
    /// A Secret of the same namespace with accessKeyId and secretAccessKey, and sessionToken for temporary keys.
    pub secret_ref: LocalRef,
}
