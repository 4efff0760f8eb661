//! One API: its state between translations, and a translation of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use tollgate_crds::{EndpointType, HttpApiSpec};
use tollgate_engine::cors;
use tollgate_engine::snapshot::{self, ApiIdentity, ContentHash, Deployment, Unit, UnitId};

use crate::api_id::ApiIds;
use crate::arrange::{self, Candidate, Slot};
use crate::changes::Record;
use crate::content::{Built, Content};
use crate::outcome::Outcome;
use crate::render::{self, Pieces, Placed};
use crate::route::{self, RouteOutcome, RoutePart, Shared};
use crate::stage::{self, Follows, StagePart};
use crate::world::Item;
use crate::{Capture, Fleet, Kind, ObjectRef, ObjectVerdict, Reason, Requirement, Serving, Settings, Verdict, World};

/// As many as the controller keeps ApiDeployments of.
const MOST_RECORDED: usize = 10;

/// What an HttpApi itself puts into its deployment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ApiPart {
    pub(crate) disable_execute_api_endpoint: bool,
    pub(crate) cors: Option<snapshot::Cors>,
    pub(crate) limits: snapshot::Limits,
    pub(crate) private: bool,
}

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
    /// The older route that has its key.
    loses_to: Option<String>,
    /// When the current slot came into the deployment.
    since: u64,
    /// Its verdict may have changed.
    report: bool,
}

#[derive(Debug, Default)]
struct StageState {
    last: Option<StagePart>,
    served: Option<Arc<Built>>,
    since: u64,
}

/// What the translation of one API needs from outside.
pub(crate) struct Scope<'a, S> {
    pub(crate) world: &'a World,
    pub(crate) settings: &'a Settings,
    pub(crate) revision: u64,
    pub(crate) shared: &'a S,
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
                let state =
                    RouteState { item, looked, last: None, slot, pieces: None, loses_to: None, since: 0, report };
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
        let (accepted, identity_changed) = self.accept(api, &item, scope);
        self.arrange(api, scope);
        let captured = self.capture(api, scope, &mut changes);
        let verdicts = self.stages(api, scope, &mut changes);
        self.record(api, &mut changes);
        changes.verdicts.extend(verdicts);
        changes.verdicts.extend(captured);
        changes.verdicts.push(self.api_verdict(api, &item, accepted, scope.settings));
        let everyone = changes.following_changed || identity_changed;
        self.route_verdicts(api, everyone, &mut changes);
        changes
    }

    /// The API is gone, and everything that was served for it.
    fn forget<S>(&mut self, api: &ObjectRef, scope: &mut Scope<'_, S>, changes: &mut ApiChanges) {
        scope.ids.release(api);
        changes.following_changed = !self.following.is_empty();
        let routes = std::mem::take(&mut self.routes);
        let units = std::mem::take(&mut self.units);
        let needs = std::mem::take(&mut self.needs);
        *self = Self { routes, units, needs, ..Self::default() };
        for state in self.routes.values_mut() {
            state.slot = Slot::Absent;
            state.last = None;
            state.pieces = None;
            state.loses_to = None;
        }
        let missing = Verdict::no(
            Reason::ApiNotFound,
            format!("spec.apiRef: {api} does not exist: create it or correct the name"),
        );
        let nowhere = || Serving::Nowhere(Verdict::no(Reason::ApiNotFound, "the API does not exist"));
        for (name, state) in &self.routes {
            changes.verdicts.push(ObjectVerdict {
                object: ObjectRef::new(Kind::Route, &api.namespace, name),
                uid: state.item.uid.clone(),
                generation: state.item.generation,
                accepted: state.looked.outcome.accepted.clone(),
                resolved_refs: missing.clone(),
                serving: nowhere(),
                api_id: None,
                api_endpoint: None,
                capture: None,
            });
        }
        let members = |kind| scope.world.referrers(api, kind);
        for object in members(Kind::Stage).chain(members(Kind::ApiDeployment)) {
            let stage = scope.world.stage(object).map(|item| (item.uid.clone(), item.generation));
            let deployment = scope.world.deployment(object).map(|item| (item.uid.clone(), item.generation));
            let Some((uid, generation)) = stage.or(deployment) else { continue };
            let pending = || Capture::Pending(missing.message.clone());
            changes.verdicts.push(ObjectVerdict {
                object: object.clone(),
                uid,
                generation,
                accepted: Verdict::accepted(),
                resolved_refs: missing.clone(),
                serving: nowhere(),
                api_id: None,
                api_endpoint: None,
                capture: (object.kind == Kind::ApiDeployment).then(pending),
            });
        }
    }

    /// Finds the API's id and looks at its own fields.
    fn accept<S>(&mut self, api: &ObjectRef, item: &Item<HttpApiSpec>, scope: &mut Scope<'_, S>) -> (Verdict, bool) {
        if let Some(deployment) = scope.restored.take()
            && self.part.is_none()
        {
            self.part = Some(ApiPart {
                disable_execute_api_endpoint: deployment.disable_execute_api_endpoint,
                cors: deployment.cors.clone(),
                limits: deployment.limits.clone(),
                private: item.spec.endpoint_type == EndpointType::Private,
            });
            let parts = route::restored(&deployment);
            self.recorded.push_back(Built::restored(deployment));
            for (name, part) in parts {
                if let Some(state) = self.routes.get_mut(&name) {
                    state.last = Some(part);
                }
            }
        }
        let (outcome, id) = match claim(api, item, scope.ids) {
            Ok(id) => (api_part(&item.spec), Some(id)),
            Err(verdict) => (Outcome::refused(verdict.reason, verdict.message), None),
        };
        let identity =
            id.map(|api_id| ApiIdentity { api_id, namespace: api.namespace.clone(), name: api.name.clone() });
        // Refused for its id, the API stays where it was.
        let identity = identity.or_else(|| self.identity.clone());
        let moved = identity != self.identity;
        self.identity = identity;
        if let Some(part) = outcome.value
            && (moved || self.part.as_ref() != Some(&part))
        {
            self.part = Some(part);
            self.since = scope.revision;
        }
        (outcome.accepted, moved)
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
        let slots: Vec<(Slot, Option<String>)> =
            arrange::arrange(&candidates).into_iter().map(|(slot, winner)| (slot, winner.map(str::to_owned))).collect();
        for ((name, state), (mut slot, loses_to)) in self.routes.iter_mut().zip(slots) {
            if let Slot::Last(part) = &mut slot {
                *part = route::refreshed(scope.shared, &api.namespace, part);
                state.last = Some(Arc::clone(part));
            }
            if !state.slot.same(&slot) {
                state.since = scope.revision;
                state.report = true;
            }
            state.report |= state.loses_to != loses_to;
            if let Slot::Current(part) = &slot {
                if state.pieces.is_none() || !state.last.as_ref().is_some_and(|last| Arc::ptr_eq(last, part)) {
                    state.pieces = Some(Pieces::of(&api.namespace, name, part));
                }
                state.last = Some(Arc::clone(part));
            }
            state.slot = slot;
            state.loses_to = loses_to;
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

    /// Captures the API for ApiDeployments that hold nothing yet.
    fn capture<S>(&self, api: &ObjectRef, scope: &mut Scope<'_, S>, changes: &mut ApiChanges) -> Vec<ObjectVerdict> {
        let objects: Vec<ObjectRef> = scope.world.referrers(api, Kind::ApiDeployment).cloned().collect();
        let mut verdicts = Vec::new();
        for object in objects {
            let Some(item) = scope.world.deployment(&object) else { continue };
            let live = self.live.as_ref().filter(|built| !built.keys.is_empty());
            let (resolved, capture) = match (scope.captures.get(&object), &item.spec.id, live) {
                (Some(built), _, _) => (Verdict::resolved(), Capture::Deployed(built.hash().to_string())),
                // Nobody needs the content: ten old deployments of a large API would take a hundred megabytes.
                (None, Some(id), _) if !scope.world.is_referenced(&object) => {
                    (Verdict::resolved(), Capture::Deployed(id.clone()))
                }
                (None, Some(id), _) if self.known(id).is_some() => {
                    scope.captures.extend(self.known(id).map(|built| (object.clone(), Arc::clone(built))));
                    (Verdict::resolved(), Capture::Deployed(id.clone()))
                }
                (None, Some(id), _) => {
                    let message = format!("the content of deployment {id} is not known yet");
                    (Verdict::no(Reason::DeploymentPending, message.clone()), Capture::Pending(message))
                }
                (None, None, Some(live)) => {
                    scope.captures.insert(object.clone(), Arc::clone(live));
                    changes.records.push(Record::Captured {
                        object: object.clone(),
                        hash: live.hash().clone(),
                        json: Arc::clone(&live.content.json),
                    });
                    (Verdict::resolved(), Capture::Deployed(live.hash().to_string()))
                }
                // The words of AWS (H-STAGE-10).
                (None, None, None) if self.live.is_some() => (
                    Verdict::no(Reason::NoRoutes, "spec.apiRef: the API has no routes yet: create a Route of it"),
                    Capture::Failed("Unable to deploy API because no routes exist in this API".to_owned()),
                ),
                (None, None, None) => {
                    let message = format!("spec.apiRef: {api} is refused: see its conditions");
                    (Verdict::no(Reason::ApiNotAccepted, message.clone()), Capture::Pending(message))
                }
            };
            verdicts.push(ObjectVerdict {
                object,
                uid: item.uid.clone(),
                generation: item.generation,
                accepted: Verdict::accepted(),
                serving: if resolved.ok {
                    Serving::NotNeeded(Reason::Accepted)
                } else {
                    Serving::Nowhere(Verdict::no(Reason::NotAccepted, "there is no content to serve"))
                },
                resolved_refs: resolved,
                api_id: self.identity.as_ref().map(|identity| identity.api_id.clone()),
                api_endpoint: None,
                capture: Some(capture),
            });
        }
        verdicts
    }

    /// The deployment with this hash, if it is live or was lately.
    fn known(&self, id: &str) -> Option<&Arc<Built>> {
        self.live.iter().chain(&self.recorded).find(|built| built.hash().as_str() == id)
    }

    /// Looks at the stages, and lists what is to be published.
    fn stages<S>(&mut self, api: &ObjectRef, scope: &mut Scope<'_, S>, changes: &mut ApiChanges) -> Vec<ObjectVerdict> {
        let mut objects: Vec<ObjectRef> = scope.world.referrers(api, Kind::Stage).cloned().collect();
        let age =
            |object: &ObjectRef| scope.world.stage(object).and_then(|item| item.created.as_ref().map(|time| time.0));
        objects.sort_by_cached_key(|object| (age(object), object.name.clone()));
        self.stages.retain(|name, _| objects.iter().any(|object| object.name == *name));
        let mut verdicts = Vec::new();
        let mut names: BTreeMap<String, String> = BTreeMap::new();
        let mut following = Vec::new();
        for object in &objects {
            let Some(item) = scope.world.stage(object).cloned() else { continue };
            let mut state = self.stages.remove(&object.name).unwrap_or_default();
            if let Some(recorded) = scope.restored_stages.remove(object) {
                state.restore(recorded, &item.spec, scope.captures, self.live.as_ref());
            }
            let outcome = match names.get(&item.spec.stage_name) {
                Some(older) => Outcome::refused(
                    Reason::StageNameConflict,
                    format!(
                        "spec.stageName: {:?} is the name of the older Stage {older} of {api}: choose another",
                        item.spec.stage_name
                    ),
                ),
                None => self.look_at_stage(object, &item, &state, scope),
            };
            if let Some(part) = outcome.value
                && state.last.as_ref() != Some(&part)
            {
                state.since = scope.revision;
                changes.records.extend(record_of(object, &part));
                state.last = Some(part);
            }
            let unit = state.publish(self.live.as_ref(), self.identity.as_ref(), &mut names, object, changes);
            if let Some(unit) = &unit
                && state.last.as_ref().is_some_and(|part| matches!(part.follows, Follows::Live))
            {
                following.push(unit.clone());
            }
            let good = outcome.accepted.ok && outcome.resolved.ok;
            verdicts.push(ObjectVerdict {
                object: object.clone(),
                uid: item.uid.clone(),
                generation: item.generation,
                serving: match unit {
                    Some(unit) if good => Serving::When(vec![Requirement { unit, revision: state.since }]),
                    _ => not_accepted(),
                },
                accepted: outcome.accepted,
                resolved_refs: outcome.resolved,
                api_id: self.identity.as_ref().map(|identity| identity.api_id.clone()),
                api_endpoint: self
                    .identity
                    .as_ref()
                    .map(|identity| scope.settings.endpoint(&identity.api_id, Some(&item.spec.stage_name))),
                capture: None,
            });
            self.stages.insert(object.name.clone(), state);
        }
        changes.following_changed = following != self.following;
        self.following = following;
        changes.services = self
            .stages
            .values()
            .filter_map(|state| state.served.as_ref())
            .flat_map(|built| built.services.iter().cloned())
            .collect();
        verdicts
    }

    fn look_at_stage<S>(
        &self,
        object: &ObjectRef,
        item: &Item<tollgate_crds::StageSpec>,
        state: &StageState,
        scope: &Scope<'_, S>,
    ) -> Outcome<StagePart> {
        let spec = &item.spec;
        let Some(identity) = self.identity.as_ref().filter(|_| self.part.is_some()) else {
            return Outcome::unresolved(
                Reason::ApiNotAccepted,
                format!("spec.apiRef: HttpApi {} is refused: see its conditions", spec.api_ref.name),
            );
        };
        let follows = match (&spec.deployment_ref, spec.auto_deploy) {
            (_, true) => Follows::Live,
            // As in AWS, turning autoDeploy off keeps what is served.
            (None, false) => Follows::Pinned(state.served.clone()),
            (Some(to), false) => {
                let target = ObjectRef::new(Kind::ApiDeployment, &object.namespace, &to.name);
                let known = scope.world.deployment(&target);
                if known.is_none_or(|known| known.spec.spec.api_ref != spec.api_ref) {
                    return Outcome::unresolved(
                        Reason::DeploymentNotFound,
                        format!(
                            "spec.deploymentRef: {target} does not exist or is not of HttpApi {}: name a deployment of this API",
                            spec.api_ref.name
                        ),
                    );
                }
                match scope.captures.get(&target) {
                    Some(built) => Follows::Pinned(Some(Arc::clone(built))),
                    None => {
                        return Outcome::unresolved(
                            Reason::DeploymentPending,
                            format!("spec.deploymentRef: {target} holds nothing yet: see its status"),
                        );
                    }
                }
            }
        };
        stage::evaluate(object, identity, spec, follows, self.live.as_ref())
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

    fn api_verdict(
        &self,
        api: &ObjectRef,
        item: &Item<HttpApiSpec>,
        accepted: Verdict,
        settings: &Settings,
    ) -> ObjectVerdict {
        let pinned = || self.stages.values().any(|state| state.served.is_some());
        let serving = if !accepted.ok {
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
            resolved_refs: Verdict::resolved(),
            serving,
            api_endpoint: id.as_deref().map(|id| settings.endpoint(id, None)),
            api_id: id,
            capture: None,
        }
    }

    fn route_verdicts(&mut self, api: &ObjectRef, everyone: bool, changes: &mut ApiChanges) {
        // What pinned stages serve matters only while none follows the API.
        let pinned = self.following.is_empty().then(|| self.pinned());
        let id = self.identity.as_ref().map(|identity| identity.api_id.clone());
        let mut verdicts = Vec::new();
        for (name, state) in &self.routes {
            if !(everyone || state.report || pinned.is_some()) {
                continue;
            }
            let accepted = match &state.loses_to {
                Some(winner) if state.looked.outcome.value.is_some() => conflict(winner, state),
                _ => state.looked.outcome.accepted.clone(),
            };
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

impl StageState {
    /// What an earlier controller accepted.
    fn restore(
        &mut self,
        recorded: snapshot::Stage,
        spec: &tollgate_crds::StageSpec,
        captures: &BTreeMap<ObjectRef, Arc<Built>>,
        live: Option<&Arc<Built>>,
    ) {
        let wanted = |built: &&Arc<Built>| recorded.deployment.as_ref() == Some(built.hash());
        self.served = captures.values().chain(live).find(wanted).cloned();
        let follows = if spec.auto_deploy { Follows::Live } else { Follows::Pinned(self.served.clone()) };
        self.last = Some(StagePart { settings: snapshot::Stage { deployment: None, ..recorded }, follows });
    }

    fn unit(&self, identity: &ApiIdentity) -> Option<UnitId> {
        Some(UnitId::stage(&identity.api_id, &self.last.as_ref()?.settings.stage_name))
    }

    /// Lists the stage's unit and its deployment, unless an older stage has its name.
    fn publish(
        &mut self,
        live: Option<&Arc<Built>>,
        identity: Option<&ApiIdentity>,
        names: &mut BTreeMap<String, String>,
        object: &ObjectRef,
        changes: &mut ApiChanges,
    ) -> Option<UnitId> {
        self.served = None;
        let (part, identity) = (self.last.as_ref()?, identity?);
        let name = &part.settings.stage_name;
        if names.contains_key(name) {
            return None;
        }
        names.insert(name.clone(), object.name.clone());
        let built = part.follows.built(live).cloned();
        let deployment: Option<ContentHash> = built.as_ref().map(|built| built.hash().clone());
        let settings = snapshot::Stage { api: identity.clone(), deployment, ..part.settings.clone() };
        let unit = UnitId::stage(&identity.api_id, name);
        changes.units.push((unit.clone(), Content::of(&Unit::Stage(settings))));
        if let Some(built) = &built {
            changes.units.push((UnitId::deployment(built.hash()), built.content.clone()));
        }
        self.served = built;
        Some(unit)
    }
}

fn claim(api: &ObjectRef, item: &Item<HttpApiSpec>, ids: &mut ApiIds) -> Result<String, Verdict> {
    let Some(id) = &item.spec.api_id else {
        // Objects from files have no uid.
        let name = api.source();
        return Ok(ids.derive(api, if item.uid.is_empty() { &name } else { &item.uid }));
    };
    match ids.claim(api, id) {
        Ok(()) => Ok(id.clone()),
        Err(owner) => Err(Verdict::no(
            Reason::ApiIdConflict,
            format!("spec.apiId: {id:?} is the id of {owner}: create the API with another apiId, or without one"),
        )),
    }
}

fn api_part(spec: &HttpApiSpec) -> Outcome<ApiPart> {
    let cors = spec.cors_configuration.as_ref().map(|cors| snapshot::Cors {
        allow_origins: cors.allow_origins.clone(),
        allow_methods: cors.allow_methods.clone(),
        allow_headers: cors.allow_headers.clone(),
        expose_headers: cors.expose_headers.clone(),
        allow_credentials: cors.allow_credentials.unwrap_or_default(),
        max_age: cors.max_age,
    });
    if let Some(Err(problems)) = cors.as_ref().map(cors::Cors::compile) {
        let all: Vec<String> = problems
            .iter()
            .map(|problem| format!("spec.corsConfiguration.{}: {}", problem.path, problem.message))
            .collect();
        return Outcome::invalid(all.join("; "));
    }
    Outcome::good(ApiPart {
        disable_execute_api_endpoint: spec.disable_execute_api_endpoint,
        cors,
        limits: snapshot::Limits {
            payload_bytes: spec.limits.and_then(|limits| limits.payload_bytes).map(i64::unsigned_abs),
        },
        private: spec.endpoint_type == EndpointType::Private,
    })
}

/// A stage's record; it changes with its settings, not with its API.
fn record_of(object: &ObjectRef, part: &StagePart) -> Option<Record> {
    let deployment = match &part.follows {
        Follows::Live => None,
        Follows::Pinned(built) => built.as_ref().map(|built| built.hash().clone()),
    };
    let stage = snapshot::Stage { deployment, ..part.settings.clone() };
    Some(Record::Stage { object: object.clone(), stage: Arc::new(stage) })
}

fn conflict(winner: &str, state: &RouteState) -> Verdict {
    Verdict::no(
        Reason::RouteKeyConflict,
        format!(
            "spec.routeKey: {:?} is the key of the older Route {winner} of this API (names of variables do not tell keys apart): change or delete one of the two",
            state.item.spec.route_key
        ),
    )
}

fn not_accepted() -> Serving {
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
