//! The kinds that are read, and what an object of each has to look like.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
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
    match object.key.kind.as_str() {
        "HttpApi" => core::<Envelope<tollgate_crds::HttpApiSpec>>(object),
        "Route" => core::<Envelope<tollgate_crds::RouteSpec>>(object),
        "Integration" => core::<Envelope<tollgate_crds::IntegrationSpec>>(object),
        "Authorizer" => core::<Envelope<tollgate_crds::AuthorizerSpec>>(object),
        "Stage" => core::<Envelope<tollgate_crds::StageSpec>>(object),
        _ => core::<Envelope<tollgate_crds::ApiDeploymentSpec>>(object),
    }
}

/// An object of ours, all of it; `status` is there in what `kubectl get` prints and nobody's to write.
#[derive(Deserialize)]
struct Envelope<S> {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    #[serde(rename = "metadata")]
    _metadata: ObjectMeta,
    #[serde(rename = "spec")]
    _spec: S,
    #[serde(rename = "status", default)]
    _status: IgnoredAny,
}
