//! One API: its state between translations, and a translation of it.

mod accept;
mod captures;
mod gone;
mod stages;
mod verdicts;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use tollgate_engine::snapshot::{self, ApiIdentity, Deployment, UnitId};

pub(crate) use accept::ApiPart;
use stages::StageState;
pub(crate) use verdicts::not_accepted;

use crate::api_id::ApiIds;
use crate::arrange::{self, Candidate, Loss, Quotas, Slot};
use crate::changes::Record;
use crate::content::{Built, Content};
use crate::document;
use crate::render::{self, Pieces, Placed};
use crate::route::{self, RouteOutcome, RoutePart, Shared};
use crate::world::Item;
use crate::{Fleet, ObjectRef, ObjectVerdict, Requirement, Settings, World};

/// As many as the controller keeps ApiDeployments of.
const MOST_RECORDED: usize = 10;

/// What is known of an API and of the objects that belong to it.
#[derive(Debug, Default)]
pub(crate) struct ApiState {
    pub(crate) identity: Option<ApiIdentity>,
    /// Its last accepted version.
    part: Option<ApiPart>,
    since: u64,
    pub(crate) routes: BTreeMap<String, RouteState>,
    stages: BTreeMap<String, StageState>,
    live: Option<Arc<Built>>,
    /// The latest that were recorded, for the ApiDeployments that are made of them.
    recorded: VecDeque<Arc<Built>>,
    /// Stages that follow the API.
    following: Vec<UnitId>,
    /// What is published for it.
    pub(crate) units: BTreeSet<UnitId>,
    /// Whose endpoints it needs, and for which fleet.
    pub(crate) needs: (BTreeSet<snapshot::ServicePort>, Option<Fleet>),
}

/// What is known of a route.
#[derive(Debug)]
pub(crate) struct RouteState {
    pub(crate) item: Arc<Item<tollgate_crds::RouteSpec>>,
    pub(crate) looked: RouteOutcome,
    /// Its last accepted version.
    last: Option<Arc<RoutePart>>,
    slot: Slot,
    /// The JSON of `last`, once it was current.
    pieces: Option<Pieces>,
    /// What older routes took from it.
    loss: Option<Loss>,
    /// When the current slot came into the deployment.
    since: u64,
    /// Its verdict may have changed.
    report: bool,
}

/// What the translation of one API needs from outside.
pub(crate) struct Scope<'a, S> {
    pub(crate) world: &'a World,
    pub(crate) settings: &'a Settings,
    pub(crate) revision: u64,
    pub(crate) shared: &'a S,
    /// The API's OpenAPI document.
    pub(crate) document: Option<&'a document::State>,
    pub(crate) ids: &'a mut ApiIds,
    /// Contents of ApiDeployments.
    pub(crate) captures: &'a mut BTreeMap<ObjectRef, Arc<Built>>,
    /// Recorded stages that were not looked at yet.
    pub(crate) restored_stages: &'a mut BTreeMap<ObjectRef, snapshot::Stage>,
    /// The recorded deployment, the first time.
    pub(crate) restored: Option<Deployment>,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct ApiChanges {
    /// Everything to be published for the API.
    pub(crate) units: Vec<(UnitId, Content)>,
    pub(crate) services: BTreeSet<snapshot::ServicePort>,
    pub(crate) verdicts: Vec<ObjectVerdict>,
    pub(crate) records: Vec<Record>,
    /// The stages that follow the API are others than before.
    pub(crate) following_changed: bool,
}

impl ApiState {
    /// A route was looked at again.
    pub(crate) fn put_route(&mut self, name: &str, item: Arc<Item<tollgate_crds::RouteSpec>>, looked: RouteOutcome) {
        match self.routes.get_mut(name) {
            Some(state) => {
                if state.item.uid != item.uid {
                    // Another object of the same name inherits nothing.
                    state.last = None;
                    state.pieces = None;
                }
                state.item = item;
                state.looked = looked;
                state.report = true;
            }
            None => {
                let (slot, report) = (Slot::Absent, true);
                let state = RouteState { item, looked, last: None, slot, pieces: None, loss: None, since: 0, report };
                self.routes.insert(name.to_owned(), state);
            }
        }
    }

    /// Which fleet serves it.
    pub(crate) fn fleet(&self) -> Fleet {
        if self.part.as_ref().is_some_and(|part| part.private) { Fleet::Private } else { Fleet::Public }
    }

    /// Whether the current version of a route is in the live deployment.
    pub(crate) fn serves_current(&self, route: &str) -> bool {
        self.routes.get(route).is_some_and(|state| matches!(state.slot, Slot::Current(_)))
    }

    /// What proxies have to acknowledge for something that came into the live deployment with `since`.
    pub(crate) fn requirements(&self, since: u64) -> impl Iterator<Item = Requirement> {
        self.following.iter().map(move |unit| Requirement { unit: unit.clone(), revision: since })
    }

    /// Nothing is left of it.
    pub(crate) fn is_empty(&self, api: &ObjectRef, world: &World) -> bool {
        world.http_api(api).is_none() && self.routes.is_empty() && self.units.is_empty()
    }

    /// Translates the API as the world has it now.
    pub(crate) fn translate<S: Shared>(&mut self, api: &ObjectRef, scope: &mut Scope<'_, S>) -> ApiChanges {
        let mut changes = ApiChanges::default();
        let Some(item) = scope.world.http_api(api).cloned() else {
            self.forget(api, scope, &mut changes);
            return changes;
        };
        let (own, identity_changed) = self.accept(api, &item, scope);
        self.arrange(api, scope);
        let captured = self.capture(api, scope, &mut changes);
        let verdicts = self.stages(api, scope, &mut changes);
        self.record(api, &mut changes);
        changes.verdicts.extend(verdicts);
        changes.verdicts.extend(captured);
        changes.verdicts.push(self.api_verdict(api, &item, own, scope.settings));
        let everyone = changes.following_changed || identity_changed;
        self.route_verdicts(api, everyone, &mut changes);
        changes
    }

    /// Puts the routes together and builds the live deployment.
    fn arrange<S: Shared>(&mut self, api: &ObjectRef, scope: &Scope<'_, S>) {
        let candidates: Vec<Candidate<'_>> = self
            .routes
            .iter()
            .map(|(name, state)| Candidate {
                name,
                created: state.item.created.as_ref().map(|time| time.0),
                current: state.looked.outcome.value.as_ref(),
                last: state.last.as_ref(),
                wanted: state.looked.wanted.as_ref(),
            })
            .collect();
        let quotas = Quotas::of(scope.world.http_api(api).and_then(|item| item.spec.limits));
        let slots = arrange::arrange(&candidates, quotas);
        for ((name, state), (mut slot, loss)) in self.routes.iter_mut().zip(slots) {
            if let Slot::Last(part) = &mut slot {
                *part = route::refreshed(scope.shared, &api.namespace, part);
                state.last = Some(Arc::clone(part));
            }
            if !state.slot.same(&slot) {
                state.since = scope.revision;
                state.report = true;
            }
            state.report |= state.loss != loss;
            if let Slot::Current(part) = &slot {
                if state.pieces.is_none() || !state.last.as_ref().is_some_and(|last| Arc::ptr_eq(last, part)) {
                    state.pieces = Some(Pieces::of(&api.namespace, name, part));
                }
                state.last = Some(Arc::clone(part));
            }
            state.slot = slot;
            state.loss = loss;
        }
        // Without an accepted version of the API itself nothing of it is served: its CORS rules are not known.
        self.live = match (&self.identity, &self.part) {
            (Some(identity), Some(part)) => {
                let placed: Vec<Placed<'_>> = self
                    .routes
                    .iter()
                    .map(|(name, state)| Placed { name, slot: &state.slot, pieces: state.pieces.as_ref() })
                    .collect();
                Some(render::deployment(identity, part, &placed))
            }
            _ => None,
        };
    }

    /// What stages that follow the API serve now, unless it is what was recorded last.
    fn record(&mut self, api: &ObjectRef, changes: &mut ApiChanges) {
        let latest = self.recorded.back().map(|built| built.hash());
        let news = |built: &&Arc<Built>| !built.keys.is_empty() && latest != Some(built.hash());
        if let Some(live) = self.live.as_ref().filter(news)
            && !self.following.is_empty()
        {
            self.recorded.push_back(Arc::clone(live));
            if self.recorded.len() > MOST_RECORDED {
                self.recorded.pop_front();
            }
            changes.records.push(Record::AutoDeployed {
                api: api.clone(),
                hash: live.hash().clone(),
                json: Arc::clone(&live.content.json),
            });
        }
    }
}
