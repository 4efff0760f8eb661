//! ApiMappings: which of a domain's paths lead where.

use std::collections::BTreeMap;
use std::sync::Arc;

use tollgate_crds::{ApiMappingSpec, DomainNameSpec};
use tollgate_engine::snapshot::{self, DomainTarget, UnitId};

use super::{DomainChanges, Domains, Scope, StageTarget, target};
use crate::outcome::Outcome;
use crate::world::Item;
use crate::{Fleet, Kind, ObjectRef, ObjectVerdict, Reason, Requirement, Serving, Verdict, World};

/// What is known of one ApiMapping.
#[derive(Debug)]
pub(super) struct MappingState {
    /// The DomainName that it names.
    pub(super) domain: ObjectRef,
    last: Option<MappingPart>,
    since: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct MappingPart {
    key: String,
    stage: StageTarget,
}

/// What a mapping contributes to its domain.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) mapping: snapshot::ApiMapping,
    pub(super) fleet: Fleet,
}

impl MappingState {
    /// One that never was accepted.
    pub(super) fn of(domain: &ObjectRef) -> Self {
        Self { domain: domain.clone(), last: None, since: 0 }
    }
}

/// The DomainName that a mapping names.
pub(super) fn domain_of(object: &ObjectRef, spec: &ApiMappingSpec) -> ObjectRef {
    let namespace = spec.domain_name_ref.namespace.as_ref().unwrap_or(&object.namespace);
    ObjectRef::new(Kind::DomainName, namespace, &spec.domain_name_ref.name)
}

/// Why a Stage leads nowhere.
pub(super) fn missing_stage(at: &str, stage: &ObjectRef, world: &World) -> (Reason, String) {
    if world.contains(stage) {
        (Reason::StageNotAccepted, format!("{at}: {stage} is refused and was never accepted: see its conditions"))
    } else {
        (Reason::StageNotFound, format!("{at}: {stage} does not exist: create it or correct the name"))
    }
}

/// The verdict about a mapping that no domain takes.
pub(super) fn nowhere(object: &ObjectRef, reason: Reason, message: String, world: &World) -> Option<ObjectVerdict> {
    let item = world.api_mapping(object)?;
    let outcome: Outcome<()> = Outcome::unresolved(reason, message);
    let serving =
        Serving::Nowhere(Verdict::no(Reason::NotAccepted, "no domain takes the mapping, so nothing reaches it"));
    Some(verdict(object, item, outcome, serving, None, None))
}

impl Domains {
    /// Looks at the mappings of a DomainName; gives what they contribute, in the order of their keys.
    pub(super) fn map(
        &mut self,
        domain: &ObjectRef,
        spec: &DomainNameSpec,
        host: &str,
        scope: &Scope<'_>,
        changes: &mut DomainChanges,
    ) -> Vec<Slot> {
        let mut objects: Vec<&ObjectRef> = scope.world.referrers(domain, Kind::ApiMapping).collect();
        let age = |object: &&ObjectRef| {
            scope.world.api_mapping(object).and_then(|item| item.created.as_ref().map(|time| time.0))
        };
        objects.sort_by_cached_key(|object| (age(object), object.source()));
        let mut keys: BTreeMap<String, (ObjectRef, Slot)> = BTreeMap::new();
        for object in objects {
            let Some(item) = scope.world.api_mapping(object) else { continue };
            let mut state = self.mappings.remove(object).filter(|state| state.domain == *domain);
            let state_now = state.get_or_insert_with(|| MappingState::of(domain));
            let outcome = look_at(domain, spec, object, &item.spec, state_now, &keys, scope);
            let current = outcome.value.is_some();
            if let Some(part) = &outcome.value
                && state_now.last.as_ref() != Some(part)
            {
                state_now.since = scope.revision;
                state_now.last = Some(part.clone());
            }
            if let Some(slot) = slot(object, &item.spec, state_now, &outcome, &keys) {
                keys.insert(slot.mapping.key.clone(), (object.clone(), slot));
            }
            let serving = match (current, &state_now.last) {
                (true, _) => Serving::When(vec![Requirement { unit: UnitId::domain(host), revision: state_now.since }]),
                (false, Some(_)) => crate::api::not_accepted(),
                (false, None) => Serving::Nowhere(Verdict::no(
                    Reason::NotAccepted,
                    "this version was refused and there is no earlier one, so it leads nowhere",
                )),
            };
            let endpoint = scope.settings.custom_endpoint(host, &item.spec.api_mapping_key);
            let api_id = state_now.last.as_ref().map(|part| part.stage.api_id.clone());
            changes.verdicts.push(verdict(object, item, outcome, serving, Some(endpoint), api_id));
            self.mappings.extend(state.map(|state| (object.clone(), state)));
        }
        keys.into_values().map(|(_, slot)| slot).collect()
    }
}

fn look_at(
    domain: &ObjectRef,
    domain_spec: &DomainNameSpec,
    object: &ObjectRef,
    spec: &ApiMappingSpec,
    state: &mut MappingState,
    keys: &BTreeMap<String, (ObjectRef, Slot)>,
    scope: &Scope<'_>,
) -> Outcome<MappingPart> {
    let allowed = &domain_spec.allowed_namespaces;
    let own = object.namespace == domain.namespace;
    if !own && !allowed.iter().any(|namespace| namespace == "*" || *namespace == object.namespace) {
        // What was allowed once is allowed no more, so no earlier version stays.
        state.last = None;
        return Outcome::unresolved(
            Reason::NamespaceNotAllowed,
            format!(
                "spec.domainNameRef: {domain} does not take ApiMappings of namespace {:?}: add the namespace to its allowedNamespaces",
                object.namespace
            ),
        );
    }
    let key = &spec.api_mapping_key;
    if let Some((older, _)) = keys.get(key) {
        return Outcome::refused(
            Reason::MappingKeyConflict,
            format!(
                "spec.apiMappingKey: {key:?} is the key of the older {older} on this domain (ApiMapping key already exists for this domain name): choose another"
            ),
        );
    }
    let stage = ObjectRef::new(Kind::Stage, &object.namespace, &spec.stage_ref.name);
    match (scope.stage)(&stage) {
        Some(stage) => Outcome::good(MappingPart { key: key.clone(), stage }),
        None => {
            let (reason, message) = missing_stage("spec.stageRef", &stage, scope.world);
            Outcome::unresolved(reason, message)
        }
    }
}

/// The accepted version, or one that answers 500 where a mapping that may be here never had any (promise P1).
fn slot(
    object: &ObjectRef,
    spec: &ApiMappingSpec,
    state: &MappingState,
    outcome: &Outcome<MappingPart>,
    keys: &BTreeMap<String, (ObjectRef, Slot)>,
) -> Option<Slot> {
    let (key, target, fleet) = match &state.last {
        Some(part) => (&part.key, target(part.stage.clone()), part.stage.fleet),
        None if outcome.resolved.reason == Reason::NamespaceNotAllowed => return None,
        None => (&spec.api_mapping_key, DomainTarget::Refused, Fleet::Public),
    };
    let mapping = snapshot::ApiMapping { source: object.source(), key: key.clone(), target };
    (!keys.contains_key(key)).then_some(Slot { mapping, fleet })
}

fn verdict<T>(
    object: &ObjectRef,
    item: &Arc<Item<ApiMappingSpec>>,
    outcome: Outcome<T>,
    serving: Serving,
    api_endpoint: Option<String>,
    api_id: Option<String>,
) -> ObjectVerdict {
    ObjectVerdict {
        object: object.clone(),
        uid: item.uid.clone(),
        generation: item.generation,
        accepted: outcome.accepted,
        resolved_refs: outcome.resolved,
        serving,
        api_id,
        api_endpoint,
        capture: None,
    }
}
