//! Which version of each route of an API is in its deployment.
//!
//! Routes that are fine alone compete for their keys; the oldest wins. What they leave free goes to the last accepted
//! versions of the routes that are refused, and then to the bare keys of those that never were accepted, which answer 500.
//! So a route that is refused takes nothing from one that is not (promise P1).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use tollgate_engine::snapshot::{self, ApiIdentity, Authorization, Authorizer, ContentHash, Deployment, RouteTarget};

use crate::api::ApiPart;
use crate::route::{IntegrationUse, Key, RoutePart};

/// A route that wants to be in the deployment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate<'a> {
    pub(crate) name: &'a str,
    pub(crate) created: Option<Timestamp>,
    /// What it is now, unless that was refused.
    pub(crate) current: Option<&'a Arc<RoutePart>>,
    /// What it was when it was last accepted.
    pub(crate) last: Option<&'a Arc<RoutePart>>,
    /// The key that it asks for now.
    pub(crate) wanted: Option<&'a Key>,
}

/// What a route contributes to the deployment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Slot {
    /// Its current version.
    Current(Arc<RoutePart>),
    /// Its last accepted version.
    Last(Arc<RoutePart>),
    /// A route that answers 500.
    Refused(Key),
    /// Nothing: its key is not one, or belongs to another route.
    Absent,
}

impl Slot {
    /// Whether the deployment gets the same from both.
    pub(crate) fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Current(a), Self::Current(b)) => Arc::ptr_eq(a, b) || a == b,
            _ => self == other,
        }
    }
}

/// The slot of each candidate, and for those that lost their key to an older route, the name of that.
pub(crate) fn arrange<'a>(candidates: &[Candidate<'a>]) -> Vec<(Slot, Option<&'a str>)> {
    let age = |index: usize| (candidates[index].created, candidates[index].name);
    let mut taken: HashMap<&str, usize> = HashMap::with_capacity(candidates.len());
    for (index, candidate) in candidates.iter().enumerate() {
        let Some(current) = candidate.current else { continue };
        taken
            .entry(&current.key.shape)
            .and_modify(|winner| {
                if age(index) < age(*winner) {
                    *winner = index;
                }
            })
            .or_insert(index);
    }
    let mut slots = Vec::with_capacity(candidates.len());
    let mut left = Vec::new();
    for (index, candidate) in candidates.iter().enumerate() {
        let winner = candidate.current.map(|current| taken[current.key.shape.as_str()]);
        slots.push(match (candidate.current, winner) {
            (Some(current), Some(winner)) if winner == index => (Slot::Current(Arc::clone(current)), None),
            (_, winner) => {
                left.push(index);
                (Slot::Absent, winner.map(|winner| candidates[winner].name))
            }
        });
    }
    left.sort_by_key(|&index| age(index));
    for &index in &left {
        let Some(last) = candidates[index].last else { continue };
        taken.entry(&last.key.shape).or_insert_with(|| {
            slots[index].0 = Slot::Last(Arc::clone(last));
            index
        });
    }
    for &index in &left {
        let Some(wanted) = candidates[index].wanted else { continue };
        if slots[index].0 == Slot::Absent {
            taken.entry(&wanted.shape).or_insert_with(|| {
                slots[index].0 = Slot::Refused(wanted.clone());
                index
            });
        }
    }
    slots
}

/// The deployment of an API with these routes, in order of their names.
pub(crate) fn deployment<'a>(
    identity: &ApiIdentity,
    api: &ApiPart,
    slots: impl Iterator<Item = (&'a str, &'a Slot)> + Clone,
) -> Deployment {
    let mut shared = SharedParts::default();
    let mut routes = Vec::new();
    // Current versions first: they name what they share plainly.
    let current = slots.clone().filter(|(_, slot)| matches!(slot, Slot::Current(_)));
    let others = slots.filter(|(_, slot)| !matches!(slot, Slot::Current(_)));
    for (name, slot) in current.chain(others) {
        let source = format!("{}/{name}", identity.namespace);
        let requires = Vec::new();
        match slot {
            Slot::Current(part) | Slot::Last(part) => routes.push(snapshot::Route {
                key: part.key.text.clone(),
                source,
                authorization: shared.authorization(part),
                target: shared.target(name, part),
                requires,
            }),
            Slot::Refused(key) => routes.push(snapshot::Route {
                key: key.text.clone(),
                source,
                authorization: Authorization::None,
                target: RouteTarget::Refused,
                requires,
            }),
            Slot::Absent => {}
        }
    }
    routes.sort_by(|a, b| a.source.cmp(&b.source));
    Deployment {
        api: identity.clone(),
        disable_execute_api_endpoint: api.disable_execute_api_endpoint,
        cors: api.cors.clone(),
        limits: api.limits.clone(),
        authorizers: shared.authorizers,
        integrations: shared.integrations,
        routes,
    }
}

/// What routes name instead of holding. A second content under one name gets its hash as part of the name.
#[derive(Debug, Default)]
struct SharedParts {
    integrations: BTreeMap<String, snapshot::Integration>,
    authorizers: BTreeMap<String, Authorizer>,
}

impl SharedParts {
    fn target(&mut self, route: &str, part: &RoutePart) -> RouteTarget {
        let (name, backend) = match &part.integration {
            IntegrationUse::None => return RouteTarget::None,
            // A slash is in no object's name, so these never meet those of Integrations.
            IntegrationUse::Own(backend) => (format!("route/{route}"), backend),
            IntegrationUse::Shared(name, backend) => (name.clone(), backend),
        };
        RouteTarget::Integration { id: insert(&mut self.integrations, name, &backend.content) }
    }

    fn authorization(&mut self, part: &RoutePart) -> Authorization {
        match (&part.authorization, &part.authorizer) {
            (Authorization::Jwt { authorizer, scopes }, Some(check)) => Authorization::Jwt {
                authorizer: insert(&mut self.authorizers, authorizer.clone(), check),
                scopes: scopes.clone(),
            },
            (other, _) => other.clone(),
        }
    }
}

fn insert<T: Clone + PartialEq + serde::Serialize>(
    into: &mut BTreeMap<String, T>,
    name: String,
    content: &T,
) -> String {
    match into.get(&name) {
        Some(known) if known == content => name,
        None => {
            into.insert(name.clone(), content.clone());
            name
        }
        Some(_) => {
            let name = format!("{name}@{}", ContentHash::of(content));
            into.entry(name.clone()).or_insert_with(|| content.clone());
            name
        }
    }
}
