//! What the API server asks of every object, whatever its kind.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use super::{Violation, structural, suggest};
use crate::form::LABEL;

/// Fields of `ObjectMeta` (Kubernetes API reference, `meta/v1`).
const FIELDS: [&str; 15] = [
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// DNS-1123 subdomain: labels of 63 characters are not asked for.
static NAME: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new("^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
        .expect("a constant that the tests compile")
});
static NAMESPACE: LazyLock<Regex> = LazyLock::new(|| Regex::new(LABEL).expect("a constant that the tests compile"));

pub(super) fn check(object: &Value) -> Vec<Violation> {
    let mut violations = Vec::new();
    let metadata = object.get("metadata").and_then(Value::as_object);
    for name in metadata.into_iter().flat_map(|metadata| metadata.keys()) {
        if !FIELDS.contains(&name.as_str()) {
            violations.push(structural::unknown(
                &format!("metadata.{name}"),
                suggest::nearest(name, FIELDS.into_iter()),
                "remove it; labels and annotations take your own entries",
            ));
        }
    }
    let field = |name: &str| metadata.and_then(|metadata| metadata.get(name));
    match field("name") {
        None => violations.push(Violation {
            path: "metadata.name".into(),
            value: String::new(),
            rule: "required field is missing".into(),
            fix: "name the object".into(),
        }),
        Some(name) => violations.extend(name_violation(
            "metadata.name",
            name,
            (&NAME, "lower-case letters, digits, - and ."),
            253,
        )),
    }
    if let Some(namespace) = field("namespace") {
        violations.extend(name_violation(
            "metadata.namespace",
            namespace,
            (&NAMESPACE, "lower-case letters, digits and -"),
            63,
        ));
    }
    for map in ["labels", "annotations"] {
        for (key, value) in field(map).and_then(Value::as_object).into_iter().flatten() {
            if !value.is_string() {
                violations.push(Violation {
                    path: format!("metadata.{map}.{key}"),
                    value: structural::shortened(value),
                    rule: "the value is text".into(),
                    fix: "put it in quotes".into(),
                });
            }
        }
    }
    violations
}

fn name_violation(path: &str, name: &Value, (form, of): (&Regex, &str), longest: usize) -> Option<Violation> {
    let valid = name.as_str().is_some_and(|name| name.len() <= longest && form.is_match(name));
    (!valid).then(|| Violation {
        path: path.into(),
        value: structural::shortened(name),
        rule: format!("a name has up to {longest} {of}, and starts and ends with a letter or digit"),
        fix: "choose a name of this form".into(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_have_dots_and_namespaces_have_none() {
        let wrong = |metadata: Value| -> Vec<String> {
            check(&json!({"metadata": metadata})).into_iter().map(|violation| violation.path).collect()
        };
        assert_eq!(wrong(json!({"name": "a.b", "namespace": "shop-2"})), [""; 0]);
        assert_eq!(wrong(json!({"name": "a..b", "namespace": "shop.eu"})), ["metadata.name", "metadata.namespace"]);
    }
}
