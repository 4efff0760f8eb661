//! Which version of each route of an API is in its deployment.
//!
//! Routes compete for their keys, and the oldest wins: with its current version, or with its last accepted one while the
//! current is refused. What they leave free goes to the bare keys of routes that never were accepted, which answer 500.
//! So a change that is refused takes nothing from anyone and costs nobody anything (promise P1).

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;

use tollgate_crds::Limits;

use crate::route::{Key, RoutePart};

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

/// How many an API may have of what AWS counts (Q2, Q5 and Q12 of section 9.2 of the specification).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quotas {
    pub(crate) routes: usize,
    pub(crate) stages: usize,
    pub(crate) authorizers: usize,
}

impl Quotas {
    /// AWS's own, as far as the API says nothing else.
    pub(crate) fn of(limits: Option<Limits>) -> Self {
        let limits = limits.unwrap_or_default();
        let or = |own: Option<i32>, usual| own.and_then(|own| usize::try_from(own).ok()).unwrap_or(usual);
        Self { routes: or(limits.routes, 300), stages: or(limits.stages, 10), authorizers: or(limits.authorizers, 10) }
    }
}

/// Why the current version of a route is not in the deployment although nothing is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// The older route of this name has its key.
    Key(String),
    /// The API has so many older routes, and may have no more.
    Routes(usize),
    /// The API's older routes use so many other authorizers, and it may have no more.
    Authorizers(usize),
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
    /// The version that serves.
    pub(crate) fn part(&self) -> Option<&Arc<RoutePart>> {
        match self {
            Self::Current(part) | Self::Last(part) => Some(part),
            Self::Refused(_) | Self::Absent => None,
        }
    }

    /// The key that it takes.
    pub(crate) fn key(&self) -> Option<&Key> {
        match self {
            Self::Current(part) | Self::Last(part) => Some(&part.key),
            Self::Refused(key) => Some(key),
            Self::Absent => None,
        }
    }

    /// Whether the deployment gets the same from both.
    pub(crate) fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Current(a), Self::Current(b)) => Arc::ptr_eq(a, b) || a == b,
            _ => self == other,
        }
    }
}

/// The slot of each candidate, and for those that lost theirs to older routes, why.
///
/// The oldest route chooses first: its current version, or if that is refused, one too many, or its key taken, its last accepted one. So a
/// refused change leaves a route what it had, also towards younger routes that ask for the same key.
pub(crate) fn arrange(candidates: &[Candidate<'_>], quotas: Quotas) -> Vec<(Slot, Option<Loss>)> {
    let mut by_age: Vec<usize> = (0..candidates.len()).collect();
    by_age.sort_unstable_by_key(|&index| (candidates[index].created, candidates[index].name));
    let mut taken: HashMap<&str, usize> = HashMap::with_capacity(candidates.len());
    let mut authorizers: HashSet<&str> = HashSet::new();
    let mut slots = vec![(Slot::Absent, None); candidates.len()];
    let mut left = Vec::new();
    for index in by_age {
        let candidate = &candidates[index];
        if let Some(current) = candidate.current {
            let routes = taken.len();
            let authorizer = current.authorization.authorizer();
            let another = authorizer.is_some_and(|name| !authorizers.contains(name));
            match taken.entry(&current.key.shape) {
                Entry::Occupied(older) => {
                    slots[index].1 = Some(Loss::Key(candidates[*older.get()].name.to_owned()));
                }
                Entry::Vacant(_) if routes >= quotas.routes => slots[index].1 = Some(Loss::Routes(quotas.routes)),
                Entry::Vacant(_) if another && authorizers.len() >= quotas.authorizers => {
                    slots[index].1 = Some(Loss::Authorizers(quotas.authorizers));
                }
                Entry::Vacant(free) => {
                    free.insert(index);
                    authorizers.extend(authorizer);
                    slots[index].0 = Slot::Current(Arc::clone(current));
                    continue;
                }
            }
        }
        match candidate.last.map(|last| (last, taken.entry(&last.key.shape))) {
            Some((last, Entry::Vacant(free))) => {
                free.insert(index);
                authorizers.extend(last.authorization.authorizer());
                slots[index].0 = Slot::Last(Arc::clone(last));
            }
            _ => left.push(index),
        }
    }
    for index in left {
        if let Some(wanted) = candidates[index].wanted
            && let Entry::Vacant(free) = taken.entry(&wanted.shape)
        {
            free.insert(index);
            slots[index].0 = Slot::Refused(wanted.clone());
        }
    }
    slots
}
