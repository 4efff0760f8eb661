//! The checks of the API server, without one: `tollgate check` and `tollgate dev` refuse what it refuses.
//!
//! In its order: unknown fields, nulls and defaults, the schema, and CEL rules once the schema holds.
//! `tests/refusals/` holds wrong objects with what is said about them; the same files are given to a real API server.

mod metadata;
mod structural;
mod suggest;

use std::fmt;
use std::sync::LazyLock;

use kube_cel::{CompiledSchema, Validator, compile_schema};
use serde_json::Value;

use crate::API_VERSION;

/// Why the API server refuses an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// The field, e.g. `spec.routeKey`.
    pub path: String,
    /// The value as JSON, shortened; empty when the field is missing.
    pub value: String,
    /// What has to hold.
    pub rule: String,
    /// What to do.
    pub fix: String,
}

impl Violation {
    /// The rule and the fix; of a CEL rule, its message in the schema.
    pub fn message(&self) -> String {
        let Self { rule, fix, .. } = self;
        if fix.is_empty() { rule.clone() } else { format!("{rule}: {fix}") }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, value, .. } = self;
        write!(f, "{path}: ")?;
        if !value.is_empty() {
            write!(f, "{value}: ")?;
        }
        f.write_str(&self.message())
    }
}

/// One kind, ready to check objects.
struct Checker {
    kind: String,
    schema: Value,
    rules: CompiledSchema,
}

static CHECKERS: LazyLock<Vec<Checker>> = LazyLock::new(|| {
    let checker =
        |crd: k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition| {
            let schema = crd.spec.versions.first().and_then(|version| version.schema.as_ref());
            let schema = serde_json::to_value(schema.and_then(|schema| schema.open_api_v3_schema.as_ref()));
            let schema = schema.expect("a schema has string keys only");
            Checker { kind: crd.spec.names.kind, rules: compile_schema(&schema), schema }
        };
    crate::all().into_iter().map(checker).collect()
});

/// Checks an object of one of our kinds as the API server does on `create`, or on `update` of `old`. Returns the object
/// with its defaults, and all that is wrong with it, in order of the fields; `None` when the object is of another kind.
///
/// A `status` is neither checked nor kept, since the API server drops it too.
pub fn validate(object: &Value, old: Option<&Value>) -> Option<(Value, Vec<Violation>)> {
    let text = |field: &str| object.get(field).and_then(Value::as_str);
    if text("apiVersion") != Some(API_VERSION) {
        return None;
    }
    let checker = CHECKERS.iter().find(|checker| Some(checker.kind.as_str()) == text("kind"))?;
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    let mut violations = metadata::check(&object);
    let spec_schema = &checker.schema["properties"]["spec"];
    structural::unknown_top_level(&object, &mut violations);
    match object.get_mut("spec") {
        Some(spec) => structural::check(spec_schema, spec, "spec", &mut violations),
        None => violations.push(structural::missing("spec", spec_schema)),
    }
    if violations.is_empty() {
        violations = rules(checker, &object, old);
    }
    violations.sort();
    Some((object, violations))
}

fn rules(checker: &Checker, object: &Value, old: Option<&Value>) -> Vec<Violation> {
    let Err(errors) = Validator::new().validate_compiled(&checker.rules, object, old) else { return Vec::new() };
    errors
        .into_vec()
        .into_iter()
        .map(|error| {
            let (rule, fix) = error.message.split_once(": ").unwrap_or((&error.message, ""));
            Violation {
                value: at(object, &error.field_path).map(structural::shortened).unwrap_or_default(),
                rule: rule.to_owned(),
                fix: fix.to_owned(),
                path: error.field_path,
            }
        })
        .collect()
}

/// The value at a path such as `spec.list[0].name`; `None` for objects, which say little when printed.
fn at<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    let mut value = object;
    for part in path.split('.') {
        let (name, index) = part.split_once('[').unwrap_or((part, ""));
        value = value.get(name)?;
        if let Some(index) = index.strip_suffix(']') {
            value = value.get(index.parse::<usize>().ok()?)?;
        }
    }
    (!value.is_object()).then_some(value)
}
