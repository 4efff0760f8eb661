//! The kinds that are read, and what an object of each has to look like.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde::de::DeserializeOwned;
use tollgate_crds::validate::{Violation, validate};
use tollgate_crds::{API_VERSION, GROUP, KINDS};

use super::{Object, strict};
use crate::problem::{Problem, nearest};

/// A kind that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One of [`KINDS`].
    Ours,
    /// `v1`
    Secret,
    /// `v1`
    ConfigMap,
    /// `v1`
    Service,
    /// `discovery.k8s.io/v1`
    EndpointSlice,
    /// `apps/v1`; `tollgate dev` runs those whose container is `tollgate backend …`.
    Deployment,
}

impl Kind {
    /// The kind of this name; `None` for kinds that are none of our business.
    pub fn of(api_version: &str, kind: &str) -> Result<Option<Self>, Box<Problem>> {
        Ok(Some(match (api_version, kind) {
            (API_VERSION, kind) if KINDS.contains(&kind) => Self::Ours,
            ("v1", "Secret") => Self::Secret,
            ("v1", "ConfigMap") => Self::ConfigMap,
            ("v1", "Service") => Self::Service,
            ("discovery.k8s.io/v1", "EndpointSlice") => Self::EndpointSlice,
            ("apps/v1", "Deployment") => Self::Deployment,
            _ => return foreign(api_version, kind).map_or(Ok(None), |problem| Err(Box::new(problem))),
        }))
    }

    /// Everything about an object that the API server would refuse.
    pub fn check(self, object: &Object) -> Vec<Problem> {
        match self {
            Self::Ours => ours(object),
            Self::Secret => core::<Secret>(object),
            Self::ConfigMap => core::<ConfigMap>(object),
            Self::Service => core::<Service>(object),
            Self::EndpointSlice => core::<EndpointSlice>(object),
            Self::Deployment => core::<Deployment>(object),
        }
    }
}

/// What looks like one of our kinds but is none.
fn foreign(api_version: &str, kind: &str) -> Option<Problem> {
    let known = KINDS.contains(&kind);
    let (group, _) = api_version.split_once('/').unwrap_or((api_version, ""));
    if group == GROUP && known {
        let message = format!("{api_version} has no kind {kind}, {API_VERSION} has");
        return Some(Problem::new("UnknownKind", message).fix(format!("write apiVersion: {API_VERSION}")));
    }
    if group == GROUP {
        let message = format!("unknown kind {kind:?} of {api_version}");
        let fix = match nearest(kind, KINDS) {
            Some(name) => format!("did you mean {name}?"),
            None => format!("known kinds: {}", KINDS.join(", ")),
        };
        return Some(Problem::new("UnknownKind", message).fix(fix));
    }
    if known && nearest(group, [GROUP]).is_some() {
        let message = format!("unknown group {group:?} for kind {kind}");
        return Some(Problem::new("UnknownKind", message).fix(format!("write apiVersion: {API_VERSION}")));
    }
    None
}

fn core<T: DeserializeOwned>(object: &Object) -> Vec<Problem> {
    let mistakes = strict::decode::<T>(&object.root, "").err().unwrap_or_default();
    mistakes
        .into_iter()
        .map(|mistake| {
            let mut place = object.place("");
            place.span = mistake.span;
            Problem {
                place: Some(place),
                fix: mistake.fix,
                ..object.problem(mistake.code, &mistake.path, mistake.message)
            }
        })
        .collect()
}

fn ours(object: &Object) -> Vec<Problem> {
    validated(object, None)
}

/// What the API server would refuse about `new` as the next version of `old`: fields that cannot change.
pub fn update(new: &Object, old: &Object) -> Vec<Problem> {
    validated(new, Some(old))
}

fn validated(object: &Object, old: Option<&Object>) -> Vec<Problem> {
    let old = old.map(Object::json);
    let Some((_, violations)) = validate(&object.json(), old.as_ref()) else { return Vec::new() };
    violations.into_iter().map(|violation| problem(object, violation)).collect()
}

fn problem(object: &Object, violation: Violation) -> Problem {
    let Violation { path, value, rule, fix } = violation;
    let name = path.rsplit(['.', '[']).next().unwrap_or_default().trim_end_matches(']');
    let item = path.rsplit('.').next().unwrap_or_default();
    let (code, message) = match rule.as_str() {
        "unknown field" => ("UnknownField", format!("unknown field {name:?}")),
        "required field is missing" => ("MissingField", format!("required field {name:?} is missing")),
        rule if rule.starts_with("has ") && value.is_empty() => ("InvalidField", format!("{item} {rule}")),
        rule if rule.starts_with("has ") => ("InvalidField", format!("{item} {value} {rule}")),
        _ => ("InvalidField", rule),
    };
    let mut problem = object.problem(code, &path, message);
    if code == "UnknownField" {
        problem.place = Some(object.key_place(&path));
    }
    problem.fix = (!fix.is_empty()).then_some(fix);
    problem
}
