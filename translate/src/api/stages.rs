//! The stages of an API: what each of them serves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tollgate_engine::snapshot::{self, ApiIdentity, ContentHash, Unit, UnitId};

use super::verdicts::{not_accepted, too_many};
use super::{ApiChanges, ApiState, Scope};
use crate::arrange::Quotas;
use crate::changes::Record;
use crate::content::{Built, Content};
use crate::domain::StageTarget;
use crate::outcome::Outcome;
use crate::stage::{self, Follows, StagePart};
use crate::world::Item;
use crate::{Kind, ObjectRef, ObjectVerdict, Reason, Requirement, Serving, credentials};

/// What is known of a stage.
#[derive(Debug, Default)]
pub(super) struct StageState {
    last: Option<StagePart>,
    pub(super) served: Option<Arc<Built>>,
    pub(super) since: u64,
}

impl ApiState {
    /// What a Stage serves under which name; `None` when it never was accepted.
    pub(crate) fn stage_target(&self, stage: &str) -> Option<StageTarget> {
        let name = self.stages.get(stage)?.last.as_ref()?.settings.stage_name.clone();
        let api_id = self.identity.as_ref()?.api_id.clone();
        Some(StageTarget { api_id, stage_name: name, fleet: self.fleet() })
    }

    /// Looks at the stages, and lists what is to be published.
    pub(super) fn stages<S>(
        &mut self,
        api: &ObjectRef,
        scope: &mut Scope<'_, S>,
        changes: &mut ApiChanges,
    ) -> Vec<ObjectVerdict> {
        let mut objects: Vec<ObjectRef> = scope.world.referrers(api, Kind::Stage).cloned().collect();
        let age =
            |object: &ObjectRef| scope.world.stage(object).and_then(|item| item.created.as_ref().map(|time| time.0));
        objects.sort_by_cached_key(|object| (age(object), object.name.clone()));
        self.stages.retain(|name, _| objects.iter().any(|object| object.name == *name));
        let mut verdicts = Vec::new();
        let mut names: BTreeMap<String, String> = BTreeMap::new();
        let mut following = Vec::new();
        let most = Quotas::of(scope.world.http_api(api).and_then(|item| item.spec.limits)).stages;
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
                None if names.len() >= most => {
                    let verdict = too_many("stages", most, &item.spec.api_ref.name);
                    Outcome::refused(verdict.reason, verdict.message)
                }
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
        if let Some(identity) = &self.identity {
            let served = self.stages.values().filter_map(|state| state.served.as_ref());
            let secrets: BTreeSet<_> = served.flat_map(|built| &built.secrets).collect();
            changes.units.extend(secrets.into_iter().filter_map(|secret| {
                let unit = credentials::unit(scope.world, &identity.api_id, secret)?;
                Some((UnitId::credentials(&identity.api_id, secret), Content::of(&unit)))
            }));
        }
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
        stage::evaluate(object, identity, item, follows, self.live.as_ref())
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

    pub(super) fn unit(&self, identity: &ApiIdentity) -> Option<UnitId> {
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

/// A stage's record; it changes with its settings, not with its API.
fn record_of(object: &ObjectRef, part: &StagePart) -> Option<Record> {
    let deployment = match &part.follows {
        Follows::Live => None,
        Follows::Pinned(built) => built.as_ref().map(|built| built.hash().clone()),
    };
    let stage = snapshot::Stage { deployment, ..part.settings.clone() };
    Some(Record::Stage { object: object.clone(), stage: Arc::new(stage) })
}
