//! What is said of an API and of its routes.

use std::collections::BTreeMap;
use std::sync::Arc;

use tollgate_crds::HttpApiSpec;

use super::{ApiChanges, ApiState, RouteState};
use crate::arrange::{Loss, Slot};
use crate::document;
use crate::outcome::Outcome;
use crate::route::{self, RoutePart};
use crate::world::Item;
use crate::{Kind, ObjectRef, ObjectVerdict, Reason, Requirement, Serving, Settings, Verdict};
impl ApiState {
    pub(super) fn api_verdict(
        &self,
        api: &ObjectRef,
        item: &Item<HttpApiSpec>,
        own: Outcome<()>,
        settings: &Settings,
    ) -> ObjectVerdict {
        let Outcome { value, mut accepted, resolved: mut resolved_refs } = own;
        // Routes of a document have no status of their own.
        if accepted.ok && resolved_refs.ok {
            let made = || self.routes.iter().filter(|(name, _)| document::is_made(name));
            let key = |state: &'_ RouteState| state.item.spec.route_key.clone();
            let refused = made().map(|(_, state)| (key(state), state.verdict()));
            let unresolved = made().map(|(_, state)| (key(state), state.looked.outcome.resolved.clone()));
            if let Some(verdict) = document::about_routes(refused) {
                accepted = verdict;
            }
            if let Some(verdict) = document::about_routes(unresolved) {
                resolved_refs = verdict;
            }
        }
        let pinned = || self.stages.values().any(|state| state.served.is_some());
        let serving = if value.is_none() {
            not_accepted()
        } else if !self.following.is_empty() {
            Serving::When(self.requirements(self.since).collect())
        } else if pinned() {
            Serving::NotNeeded(Reason::NotDeployed)
        } else {
            Serving::Nowhere(no_stage())
        };
        let id = self.identity.as_ref().map(|identity| identity.api_id.clone());
        ObjectVerdict {
            object: api.clone(),
            uid: item.uid.clone(),
            generation: item.generation,
            accepted,
            resolved_refs,
            serving,
            api_endpoint: id.as_deref().map(|id| settings.endpoint(id, None)),
            api_id: id,
            capture: None,
        }
    }

    pub(super) fn route_verdicts(&mut self, api: &ObjectRef, everyone: bool, changes: &mut ApiChanges) {
        // What pinned stages serve matters only while none follows the API.
        let pinned = self.following.is_empty().then(|| self.pinned());
        let id = self.identity.as_ref().map(|identity| identity.api_id.clone());
        let mut verdicts = Vec::new();
        for (name, state) in &self.routes {
            if !(everyone || state.report || pinned.is_some()) {
                continue;
            }
            let accepted = state.verdict();
            let serving = match &pinned {
                _ if self.part.is_none() => Serving::Nowhere(Verdict::no(
                    Reason::ApiNotAccepted,
                    format!("spec.apiRef: {api} is refused: see its conditions"),
                )),
                _ if !matches!(state.slot, Slot::Current(_)) => refused_route(&state.slot),
                None => Serving::When(self.requirements(state.since).collect()),
                Some(pinned) => pinned.serving(name, &state.slot),
            };
            verdicts.push(ObjectVerdict {
                object: ObjectRef::new(Kind::Route, &api.namespace, name),
                uid: state.item.uid.clone(),
                generation: state.item.generation,
                accepted,
                resolved_refs: state.looked.outcome.resolved.clone(),
                serving,
                api_id: id.clone(),
                api_endpoint: None,
                capture: None,
            });
        }
        for state in self.routes.values_mut() {
            state.report = false;
        }
        changes.verdicts.extend(verdicts);
    }

    fn pinned(&self) -> Pinned {
        let stages = self.stages.values().filter_map(|state| {
            let unit = state.unit(self.identity.as_ref()?)?;
            Some((Requirement { unit, revision: state.since }, route::restored(state.served.as_ref()?.deployment())))
        });
        Pinned { stages: stages.collect() }
    }
}

/// The routes of the deployments that stages are pinned to.
struct Pinned {
    stages: Vec<(Requirement, BTreeMap<String, Arc<RoutePart>>)>,
}

impl Pinned {
    /// Where the version in `slot` is served.
    fn serving(&self, name: &str, slot: &Slot) -> Serving {
        let held = |parts: &BTreeMap<String, Arc<RoutePart>>| matches!(slot, Slot::Current(part) if parts.get(name) == Some(part));
        let requirements: Vec<_> =
            self.stages.iter().filter(|(_, parts)| held(parts)).map(|(requirement, _)| requirement.clone()).collect();
        if !requirements.is_empty() {
            Serving::When(requirements)
        } else if self.stages.is_empty() {
            Serving::Nowhere(no_stage())
        } else {
            Serving::Nowhere(Verdict::no(
                Reason::NotDeployed,
                "no stage serves this version: create an ApiDeployment and name it in a Stage's deploymentRef, or set autoDeploy",
            ))
        }
    }
}

impl RouteState {
    /// Whether the current version is accepted, beside the other routes of the API.
    fn verdict(&self) -> Verdict {
        let api = &self.item.spec.api_ref.name;
        match &self.loss {
            _ if self.looked.outcome.value.is_none() => self.looked.outcome.accepted.clone(),
            None => self.looked.outcome.accepted.clone(),
            Some(Loss::Key(winner)) => conflict(winner, self),
            Some(Loss::Routes(most)) => too_many("routes", *most, api),
            Some(Loss::Authorizers(most)) => too_many("authorizers", *most, api),
        }
    }
}

/// AWS's words (H-QUOTA-1), and what to do.
pub(super) fn too_many(what: &str, most: usize, api: &str) -> Verdict {
    Verdict::no(
        Reason::LimitExceeded,
        format!(
            "spec.apiRef: maximum number of {what} for this API has been reached: it has {most} that are older; delete some, or raise spec.limits.{what} of HttpApi {api}"
        ),
    )
}

fn conflict(winner: &str, state: &RouteState) -> Verdict {
    if document::is_made(winner) {
        return Verdict::no(
            Reason::RouteKeyConflict,
            format!(
                "spec.routeKey: {:?} is the key of a route of the API's OpenAPI document, which comes first (names of variables do not tell keys apart): change or delete one of the two",
                state.item.spec.route_key
            ),
        );
    }
    Verdict::no(
        Reason::RouteKeyConflict,
        format!(
            "spec.routeKey: {:?} is the key of the older Route {winner} of this API (names of variables do not tell keys apart): change or delete one of the two",
            state.item.spec.route_key
        ),
    )
}

pub(crate) fn not_accepted() -> Serving {
    Serving::Nowhere(Verdict::no(Reason::NotAccepted, "this version was refused; the last accepted one keeps serving"))
}

fn refused_route(slot: &Slot) -> Serving {
    let message = match slot {
        Slot::Refused(_) => "this version was refused and there is no earlier one: requests get 500",
        Slot::Absent => "this version was refused and there is no earlier one: nothing is served for it",
        Slot::Current(_) | Slot::Last(_) => return not_accepted(),
    };
    Serving::Nowhere(Verdict::no(Reason::NotAccepted, message))
}

fn no_stage() -> Verdict {
    Verdict::no(Reason::NoStage, "no Stage serves the API: create one with apiRef naming it")
}
