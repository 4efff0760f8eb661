//! From DomainNames and ApiMappings to the units of custom domains.
//!
//! A host is one unit, made of the oldest DomainName that names it, with its ApiMappings; its certificate is another. A change marks hosts,
//! and only those are translated again.

mod accept;
mod mapping;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tollgate_engine::snapshot::{self, DomainTarget, Unit, UnitId};

use self::accept::DomainPart;
use self::mapping::MappingState;
use crate::content::Content;
use crate::outcome::Outcome;
use crate::{Fleet, Fleets, Kind, ObjectRef, ObjectVerdict, Reason, Requirement, Serving, Settings, Verdict, World};

/// What is known of custom domains.
#[derive(Debug, Default)]
pub(crate) struct Domains {
    states: BTreeMap<ObjectRef, DomainState>,
    mappings: BTreeMap<ObjectRef, MappingState>,
    /// The DomainNames that name a host.
    hosts: BTreeMap<String, BTreeSet<ObjectRef>>,
    published: BTreeMap<String, Vec<UnitId>>,
    /// Seconds since 1970, once somebody told.
    now: Option<i64>,
}

/// What is known of one DomainName.
#[derive(Debug, Default)]
struct DomainState {
    host: String,
    last: Option<Arc<DomainPart>>,
    since: u64,
    /// When the certificate that it names now begins and ends to be valid.
    validity: Option<(i64, i64)>,
}

/// A stage that a domain may lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StageTarget {
    pub(crate) api_id: String,
    pub(crate) stage_name: String,
    pub(crate) fleet: Fleet,
}

/// What translation of domains reads.
pub(crate) struct Scope<'a> {
    pub(crate) world: &'a World,
    pub(crate) settings: &'a Settings,
    pub(crate) revision: u64,
    /// The stage that a Stage object serves, if it serves one.
    pub(crate) stage: &'a dyn Fn(&ObjectRef) -> Option<StageTarget>,
}

/// What comes of it.
#[derive(Debug, Default)]
pub(crate) struct DomainChanges {
    pub(crate) puts: Vec<(UnitId, Content, Fleets)>,
    pub(crate) deletes: Vec<UnitId>,
    pub(crate) verdicts: Vec<ObjectVerdict>,
}

impl Domains {
    /// The time, in seconds since 1970. Says which DomainNames have a certificate that begins or ends to be valid with it.
    pub(crate) fn set_time(&mut self, now: i64) -> Vec<ObjectRef> {
        let before = self.now.replace(now);
        let phase = |at: i64, validity: (i64, i64)| (at >= validity.0, at > validity.1);
        let moved = |state: &DomainState| {
            state
                .validity
                .is_some_and(|validity| before.map(|before| phase(before, validity)) != Some(phase(now, validity)))
        };
        self.states.iter().filter(|(_, state)| moved(state)).map(|(object, _)| object.clone()).collect()
    }

    /// Translates the hosts that `changed` objects touch. `stages` are Stages whose target may be another now.
    pub(crate) fn translate(
        &mut self,
        changed: &BTreeSet<ObjectRef>,
        stages: &BTreeSet<ObjectRef>,
        scope: &Scope<'_>,
    ) -> DomainChanges {
        let mut changes = DomainChanges::default();
        let touched = self.touched(changed, stages, scope.world);
        let mut hosts = BTreeSet::new();
        for domain in &touched {
            hosts.extend(self.enter(domain, scope.world));
            if scope.world.domain_name(domain).is_none() {
                self.without_domain(domain, scope, &mut changes);
            }
        }
        for host in hosts {
            self.translate_host(&host, scope, &mut changes);
        }
        self.mappings.retain(|object, _| scope.world.api_mapping(object).is_some());
        changes
    }

    /// The DomainNames, existing or not, that may look different now.
    fn touched(
        &self,
        changed: &BTreeSet<ObjectRef>,
        stages: &BTreeSet<ObjectRef>,
        world: &World,
    ) -> BTreeSet<ObjectRef> {
        let mut touched = BTreeSet::new();
        let of_mapping = |object: &ObjectRef| {
            let now = world.api_mapping(object).map(|item| mapping::domain_of(object, &item.spec));
            let before = self.mappings.get(object).map(|state| state.domain.clone());
            now.into_iter().chain(before)
        };
        for object in changed {
            match object.kind {
                Kind::DomainName => {
                    touched.insert(object.clone());
                }
                Kind::ApiMapping => touched.extend(of_mapping(object)),
                Kind::Secret | Kind::ConfigMap => {
                    touched.extend(world.referrers(object, Kind::DomainName).cloned());
                }
                _ => {}
            }
        }
        for stage in stages {
            touched.extend(world.referrers(stage, Kind::DomainName).cloned());
            touched.extend(world.referrers(stage, Kind::ApiMapping).flat_map(of_mapping));
        }
        touched
    }

    /// Lists the DomainName under its host. Gives the hosts that this touches.
    fn enter(&mut self, domain: &ObjectRef, world: &World) -> Vec<String> {
        let mut hosts = Vec::new();
        let now = world.domain_name(domain).map(|item| item.spec.domain_name.to_ascii_lowercase());
        let before = self.states.get(domain).map(|state| state.host.clone());
        if let Some(before) = before
            && now.as_ref() != Some(&before)
        {
            if let Some(all) = self.hosts.get_mut(&before) {
                all.remove(domain);
            }
            self.states.remove(domain);
            hosts.push(before);
        }
        if let Some(now) = now {
            self.states.entry(domain.clone()).or_default().host.clone_from(&now);
            self.hosts.entry(now.clone()).or_default().insert(domain.clone());
            hosts.push(now);
        }
        hosts
    }

    /// Mappings of a DomainName that does not exist.
    fn without_domain(&mut self, domain: &ObjectRef, scope: &Scope<'_>, changes: &mut DomainChanges) {
        for object in scope.world.referrers(domain, Kind::ApiMapping) {
            let message =
                format!("spec.domainNameRef: {domain} does not exist: create it or correct name and namespace");
            self.mappings.insert(object.clone(), MappingState::of(domain));
            changes.verdicts.extend(mapping::nowhere(object, Reason::DomainNotFound, message, scope.world));
        }
    }

    fn translate_host(&mut self, host: &str, scope: &Scope<'_>, changes: &mut DomainChanges) {
        let mut claims: Vec<ObjectRef> = self.hosts.get(host).into_iter().flatten().cloned().collect();
        let age = |object: &ObjectRef| {
            scope.world.domain_name(object).and_then(|item| item.created.as_ref().map(|time| time.0))
        };
        claims.sort_by_cached_key(|object| (age(object), object.source()));
        let mut claims = claims.into_iter();
        let mut units = Vec::new();
        match claims.next() {
            Some(winner) => {
                for loser in claims {
                    self.lose(&loser, &winner, scope, changes);
                }
                self.serve(host, &winner, scope, &mut units, changes);
            }
            None => {
                self.hosts.remove(host);
            }
        }
        let ids: Vec<UnitId> = units.iter().map(|(id, _, _)| id.clone()).collect();
        let before = self.published.remove(host).unwrap_or_default();
        changes.deletes.extend(before.into_iter().filter(|id| !ids.contains(id)));
        if !ids.is_empty() {
            self.published.insert(host.to_owned(), ids);
        }
        changes.puts.extend(units);
    }

    /// A DomainName whose host an older one has.
    fn lose(&mut self, loser: &ObjectRef, winner: &ObjectRef, scope: &Scope<'_>, changes: &mut DomainChanges) {
        let Some(item) = scope.world.domain_name(loser) else { return };
        let host = &item.spec.domain_name;
        if let Some(state) = self.states.get_mut(loser) {
            state.last = None;
        }
        let message = format!(
            "spec.domainName: {host:?} is the host of the older {winner}: choose another, or delete one of the two"
        );
        let outcome: Outcome<()> = Outcome::refused(Reason::DomainNameConflict, message);
        changes.verdicts.push(ObjectVerdict {
            object: loser.clone(),
            uid: item.uid.clone(),
            generation: item.generation,
            accepted: outcome.accepted,
            resolved_refs: outcome.resolved,
            serving: Serving::Nowhere(Verdict::no(Reason::NotAccepted, "the host belongs to another DomainName")),
            api_id: None,
            api_endpoint: None,
            capture: None,
        });
        for object in scope.world.referrers(loser, Kind::ApiMapping) {
            let message = format!("spec.domainNameRef: {loser} is refused: see its conditions");
            self.mappings.insert(object.clone(), MappingState::of(loser));
            changes.verdicts.extend(mapping::nowhere(object, Reason::DomainNotAccepted, message, scope.world));
        }
    }

    fn serve(
        &mut self,
        host: &str,
        object: &ObjectRef,
        scope: &Scope<'_>,
        units: &mut Vec<(UnitId, Content, Fleets)>,
        changes: &mut DomainChanges,
    ) {
        let Some(item) = scope.world.domain_name(object).cloned() else { return };
        let accept::Looked { outcome, validity } = accept::look_at(object, &item.spec, scope, self.now);
        let mut state = self.states.remove(object).unwrap_or_default();
        state.validity = validity;
        let current = outcome.value.is_some();
        if let Some(part) = outcome.value
            && state.last.as_deref() != Some(&part)
        {
            state.since = scope.revision;
            state.last = Some(Arc::new(part));
        }
        let part = state.last.clone();
        let since = state.since;
        self.states.insert(object.clone(), state);

        let slots = self.map(object, &item.spec, host, scope, changes);
        let mut fleets = Fleets::default();
        part.iter()
            .flat_map(|part| &part.fleets)
            .chain(slots.iter().map(|slot| &slot.fleet))
            .for_each(|fleet| fleets.insert(*fleet));
        if fleets == Fleets::default() {
            fleets.insert(Fleet::Public);
        }
        let domain = unit(object, host, part.as_deref(), item.spec.certificate_secret_ref.is_some(), slots);
        let mut requirements = vec![Requirement { unit: UnitId::domain(host), revision: since }];
        units.push((UnitId::domain(host), Content::of(&Unit::Domain(domain)), fleets));
        if let Some(certificate) = part.as_ref().and_then(|part| part.certificate.clone()) {
            units.push((UnitId::certificate(host), Content::of(&Unit::Certificate(certificate)), fleets));
            requirements.push(Requirement { unit: UnitId::certificate(host), revision: since });
        }
        changes.verdicts.push(ObjectVerdict {
            object: object.clone(),
            uid: item.uid.clone(),
            generation: item.generation,
            accepted: outcome.accepted,
            resolved_refs: outcome.resolved,
            serving: match (current, &part) {
                (true, _) => Serving::When(requirements),
                (false, Some(_)) => crate::api::not_accepted(),
                (false, None) => Serving::Nowhere(Verdict::no(
                    Reason::NotAccepted,
                    "this version was refused and there is no earlier one: handshakes fail and requests get 500",
                )),
            },
            api_id: None,
            api_endpoint: Some(scope.settings.custom_endpoint(host, "")),
            capture: None,
        });
    }
}

fn unit(
    object: &ObjectRef,
    host: &str,
    part: Option<&DomainPart>,
    own_certificate: bool,
    slots: Vec<mapping::Slot>,
) -> snapshot::Domain {
    let mappings = slots.into_iter().map(|slot| slot.mapping).collect();
    match part {
        Some(part) => snapshot::Domain { mappings, ..part.domain.clone() },
        None => snapshot::Domain {
            source: object.source(),
            domain_name: host.to_owned(),
            own_certificate,
            mutual_tls: None,
            routing_mode: snapshot::RoutingMode::default(),
            mappings,
            rules: Vec::new(),
            refused: true,
            requires: Vec::new(),
        },
    }
}

fn target(stage: StageTarget) -> DomainTarget {
    DomainTarget::Stage { api_id: stage.api_id, stage_name: stage.stage_name }
}
