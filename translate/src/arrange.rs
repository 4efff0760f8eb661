//! Which version of each route of an API is in its deployment.
//!
//! Routes that are fine alone compete for their keys; the oldest wins. What they leave free goes to the last accepted
//! versions of the routes that are refused, and then to the bare keys of those that never were accepted, which answer 500.
//! So a route that is refused takes nothing from one that is not (promise P1).

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;

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
        let winner = candidate.current.map(|current| taken[&*current.key.shape]);
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
