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

/// Tags, as AWS bounds them.
pub(crate) fn tags(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "maxProperties": 50,
        "additionalProperties": {"type": "string", "maxLength": 256},
        "x-kubernetes-validations": rules(&[(
            "self.all(name, name.size() >= 1 && name.size() <= 128)",
            "the name of a tag has 1 to 128 characters: shorten it, or give it one",
        )])
    })
}
