//! Pieces that the schemas of several kinds share.

use serde_json::{Value, json};

/// CEL rules for `x-kubernetes-validations`: the condition to hold, and what to say when it does not.
pub(crate) fn rules(rules: &[(&str, &str)]) -> Value {
    rules.iter().map(|(rule, message)| json!({"rule": rule, "message": message})).collect()
}

/// A reference that cannot be changed once the object exists.
pub(crate) fn immutable(field: &str) -> Value {
    rules(&[("self == oldSelf", &format!("{field} is immutable: delete the object and create it again to change it"))])
}

/// Text of a Kubernetes object name.
pub(crate) const OBJECT_NAME: &str = "^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$";
