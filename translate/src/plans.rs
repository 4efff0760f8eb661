//! Usage plans and API keys: units of their own, so that neither resends an API, and a change of one key only its part of the keys.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::jiff::Timestamp;
use tollgate_crds::{PlanThrottle, UsagePlanSpec};
use tollgate_engine::meter::{Digest, digest, shard_of};
use tollgate_engine::snapshot::{self, KeyShard, Plan, PlanQuota, PlanStage, Unit, UnitId};

use crate::content::Content;
use crate::outcome::Outcome;
use crate::world::Item;
use crate::{Kind, ObjectRef, ObjectVerdict, Reason, Requirement, Serving, Verdict, World};

/// Shortest and longest value of a key (R-KEY-1).
const VALUE_LENGTH: std::ops::RangeInclusive<usize> = 20..=128;

/// A Secret's entry as the value of an API key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeyValue {
    /// Its digest, as it travels, and the part of the keys that it belongs to.
    Digest(String, u16),
    /// Too short or too long; its length.
    Length(usize),
    /// Has bytes that a header cannot carry.
    Unsendable,
}

impl KeyValue {
    /// A line break at the end is what editors add, and no part of the value.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let value = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let value = value.strip_suffix(b"\r").unwrap_or(value);
        if !VALUE_LENGTH.contains(&value.len()) {
            return Self::Length(value.len());
        }
        if !value.iter().all(u8::is_ascii_graphic) {
            return Self::Unsendable;
        }
        let digest: Digest = digest(value);
        Self::Digest(digest.to_hex(), shard_of(&digest))
    }
}

/// What is known of plans and keys.
#[derive(Debug, Default)]
pub(crate) struct Plans {
    plans: BTreeMap<ObjectRef, PlanState>,
    keys: BTreeMap<ObjectRef, KeyState>,
    /// Which key owns a digest.
    shards: BTreeMap<u16, BTreeMap<String, (ObjectRef, snapshot::ApiKey)>>,
    /// Keys that could not have a digest because another has it.
    waiting: BTreeMap<String, BTreeSet<ObjectRef>>,
}

#[derive(Debug)]
struct PlanState {
    plan: Plan,
    since: u64,
}

#[derive(Debug, Default)]
struct KeyState {
    digests: BTreeSet<(u16, String)>,
    since: u64,
}

/// What came of plans and keys that were looked at.
#[derive(Debug, Default)]
pub(crate) struct PlanChanges {
    /// Units with their content, or `None` for those that are gone.
    pub(crate) units: BTreeMap<UnitId, Option<Content>>,
    pub(crate) verdicts: Vec<ObjectVerdict>,
}

impl Plans {
    /// Looks at `plans` and `keys`, and at the keys that what was found concerns. `api_id` knows the ids of APIs that are served.
    pub(crate) fn translate(
        &mut self,
        world: &World,
        plans: &BTreeSet<ObjectRef>,
        mut keys: BTreeSet<ObjectRef>,
        api_id: impl Fn(&ObjectRef) -> Option<String>,
        revision: u64,
    ) -> PlanChanges {
        let mut changes = PlanChanges::default();
        for object in plans {
            if self.look_at_plan(world, object, &api_id, revision, &mut changes) {
                keys.extend(world.referrers(object, Kind::ApiKey).cloned());
            }
        }
        let mut shards = BTreeSet::new();
        let mut queue = by_age(world, keys);
        while !queue.is_empty() {
            let mut released = BTreeSet::new();
            for object in queue {
                self.look_at_key(world, &object, revision, &mut shards, &mut released, &mut changes);
            }
            let waiting = released.iter().filter_map(|digest| self.waiting.remove(digest)).flatten().collect();
            queue = by_age(world, waiting);
        }
        for shard in shards {
            let keys = self.shards.get(&shard).filter(|keys| !keys.is_empty());
            let content = keys.map(|keys| {
                let keys = keys.values().map(|(_, key)| key.clone()).collect();
                Content::of(&Unit::Keys(KeyShard { keys }))
            });
            if content.is_none() {
                self.shards.remove(&shard);
            }
            changes.units.insert(UnitId::keys(shard), content);
        }
        changes
    }

    /// Says whether keys of the plan have to be looked at again: it came or went, or has other stages.
    fn look_at_plan(
        &mut self,
        world: &World,
        object: &ObjectRef,
        api_id: &impl Fn(&ObjectRef) -> Option<String>,
        revision: u64,
        changes: &mut PlanChanges,
    ) -> bool {
        let id = UnitId::plan(&object.source());
        let before = self.plans.remove(object);
        let Some(item) = world.usage_plan(object) else {
            changes.units.insert(id, None);
            return before.is_some();
        };
        let Outcome { value, accepted, resolved } = plan(world, object, item, api_id);
        let plan = value.expect("a plan is served with the stages that it has");
        let places = |plan: &Plan| -> Vec<(String, String)> {
            plan.stages.iter().map(|stage| (stage.api_id.clone(), stage.stage_name.clone())).collect()
        };
        let moved = before.as_ref().is_none_or(|before| places(&before.plan) != places(&plan));
        let since = before.filter(|before| before.plan == plan).map_or(revision, |before| before.since);
        changes.units.insert(id.clone(), Some(Content::of(&Unit::Plan(plan.clone()))));
        let serving = Serving::When(vec![Requirement { unit: id, revision: since }]);
        changes.verdicts.push(verdict(object, item.uid.clone(), item.generation, accepted, resolved, serving));
        self.plans.insert(object.clone(), PlanState { plan, since });
        moved
    }

    fn look_at_key(
        &mut self,
        world: &World,
        object: &ObjectRef,
        revision: u64,
        shards: &mut BTreeSet<u16>,
        released: &mut BTreeSet<String>,
        changes: &mut PlanChanges,
    ) {
        let before = self.keys.remove(object).unwrap_or_default();
        let Some(item) = world.api_key(object) else {
            self.release(object, before.digests, shards, released);
            return;
        };
        let (values, mut resolved) = values(world, object, item);
        let mut digests = BTreeSet::new();
        let mut changed = false;
        for (shard, digest, field) in values {
            let of_shard = self.shards.entry(shard).or_default();
            if let Some((owner, _)) = of_shard.get(&digest).filter(|(owner, _)| owner != object) {
                let message = format!(
                    "{field}: {owner} has the same value, and two keys with the same value are one: give this key another value, or delete {owner} and this key takes its place"
                );
                resolved = Verdict::no(Reason::KeyValueConflict, message);
                self.waiting.entry(digest).or_default().insert(object.clone());
                continue;
            }
            let key = entry(object, item, &digest);
            if of_shard.get(&digest).is_none_or(|(_, known)| *known != key) {
                of_shard.insert(digest.clone(), (object.clone(), key));
                shards.insert(shard);
                changed = true;
            }
            digests.insert((shard, digest));
        }
        let gone = before.digests.difference(&digests).cloned().collect();
        changed |= self.release(object, gone, shards, released);
        let since = if changed || before.since == 0 { revision } else { before.since };
        if resolved.ok {
            resolved = self.plans_of(object, item);
        }
        if resolved.ok {
            resolved = extensions(&object.namespace, &item.spec);
        }
        let serving = if digests.is_empty() {
            Serving::Nowhere(Verdict::no(Reason::NotAccepted, "the key has no value that could be used"))
        } else {
            let shards: BTreeSet<u16> = digests.iter().map(|(shard, _)| *shard).collect();
            let units = shards.into_iter().map(UnitId::keys);
            Serving::When(units.map(|unit| Requirement { unit, revision: since }).collect())
        };
        let accepted = Verdict::accepted();
        changes.verdicts.push(verdict(object, item.uid.clone(), item.generation, accepted, resolved, serving));
        self.keys.insert(object.clone(), KeyState { digests, since });
    }

    /// The key has these digests no more. Says whether it had any.
    fn release(
        &mut self,
        object: &ObjectRef,
        digests: BTreeSet<(u16, String)>,
        shards: &mut BTreeSet<u16>,
        released: &mut BTreeSet<String>,
    ) -> bool {
        let any = !digests.is_empty();
        for (shard, digest) in digests {
            if let Some(of_shard) = self.shards.get_mut(&shard)
                && of_shard.get(&digest).is_some_and(|(owner, _)| owner == object)
            {
                of_shard.remove(&digest);
                shards.insert(shard);
                released.insert(digest);
            }
        }
        any
    }

    /// Whether the plans exist, and no two of them contain the same stage (R-PLAN-8).
    fn plans_of(&self, key: &ObjectRef, item: &Item<tollgate_crds::ApiKeySpec>) -> Verdict {
        let mut places: BTreeMap<(&str, &str), &str> = BTreeMap::new();
        for (index, to) in item.spec.usage_plan_refs.iter().enumerate() {
            let object = ObjectRef::new(Kind::UsagePlan, &key.namespace, &to.name);
            let Some(state) = self.plans.get(&object) else {
                let message =
                    format!("spec.usagePlanRefs[{index}]: {object} does not exist: create it or correct the name");
                return Verdict::no(Reason::UsagePlanNotFound, message);
            };
            for stage in &state.plan.stages {
                if let Some(first) = places.insert((&stage.api_id, &stage.stage_name), &to.name) {
                    let message = format!(
                        "spec.usagePlanRefs[{index}]: {first} and {} both contain stage {} of API {}: keep one of them",
                        to.name, stage.stage_name, stage.api_id
                    );
                    return Verdict::no(Reason::UsagePlanConflict, message);
                }
            }
        }
        Verdict::resolved()
    }
}

/// The plan as it travels. Stages that are not there are left out: their keys open nothing meanwhile.
fn plan(
    world: &World,
    object: &ObjectRef,
    item: &Item<UsagePlanSpec>,
    api_id: &impl Fn(&ObjectRef) -> Option<String>,
) -> Outcome<Plan> {
    let spec = &item.spec;
    let mut outcome = Outcome::good(());
    let mut stages = Vec::new();
    for (index, wanted) in spec.api_stages.iter().enumerate() {
        let name = ObjectRef::new(Kind::Stage, &object.namespace, &wanted.stage_ref.name);
        let stage = world.stage(&name);
        let api = stage.map(|stage| ObjectRef::new(Kind::HttpApi, &object.namespace, &stage.spec.api_ref.name));
        let (Some(stage), Some(api_id)) = (stage, api.and_then(|api| api_id(&api))) else {
            let message = format!(
                "spec.apiStages[{index}].stageRef: {name} does not exist or its API is not served: create it or correct the name"
            );
            outcome.resolved = Verdict::no(Reason::StageNotFound, message);
            continue;
        };
        let throttle = wanted.throttle.iter().map(|(key, throttle)| (route_key(key), wire(throttle))).collect();
        stages.push(PlanStage { api_id, stage_name: stage.spec.stage_name.clone(), throttle });
    }
    let plan = Plan {
        source: object.source(),
        created: item.created.as_ref().map(|time| time.0.as_second()),
        throttle: spec.throttle.as_ref().map(wire),
        quota: spec.quota.map(|quota| PlanQuota {
            limit: u64::try_from(quota.limit).unwrap_or(0),
            period: match quota.period {
                tollgate_crds::QuotaPeriod::Day => snapshot::QuotaPeriod::Day,
                tollgate_crds::QuotaPeriod::Week => snapshot::QuotaPeriod::Week,
                tollgate_crds::QuotaPeriod::Month => snapshot::QuotaPeriod::Month,
            },
            offset: u64::try_from(quota.offset.unwrap_or(0)).unwrap_or(0),
        }),
        stages,
        failure_mode: match spec.failure_mode {
            tollgate_crds::FailureMode::Local => snapshot::FailureMode::Local,
            tollgate_crds::FailureMode::Open => snapshot::FailureMode::Open,
            tollgate_crds::FailureMode::Closed => snapshot::FailureMode::Closed,
        },
        rate_limit_headers: spec.rate_limit_headers,
        jwt_claim: spec.jwt_claim.clone(),
    };
    outcome.map(|()| plan)
}

fn wire(throttle: &PlanThrottle) -> snapshot::PlanThrottle {
    let burst_limit = u32::try_from(throttle.burst_limit).unwrap_or(0);
    snapshot::PlanThrottle { rate_limit: throttle.rate_limit, burst_limit }
}

/// `/pets/GET`, as AWS writes it (R-PLAN-4), is `GET /pets`; the root is `//GET`.
fn route_key(key: &str) -> String {
    let verb = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_uppercase());
    match key.rsplit_once('/') {
        Some((path, method)) if key.starts_with('/') && verb(method) => {
            format!("{method} {}", if path.is_empty() { "/" } else { path })
        }
        _ => key.to_owned(),
    }
}

/// The digests of the key's values, and what is wrong with the others.
fn values(
    world: &World,
    object: &ObjectRef,
    item: &Item<tollgate_crds::ApiKeySpec>,
) -> (Vec<(u16, String, &'static str)>, Verdict) {
    let spec = &item.spec;
    let previous =
        spec.previous_value_from.as_ref().map(|from| ("spec.previousValueFrom", from.secret_key_ref.clone()));
    let sources = std::iter::once(("spec.valueFrom", spec.value_ref(&object.name))).chain(previous);
    let (mut found, mut verdict) = (Vec::new(), Verdict::resolved());
    for (field, source) in sources {
        let secret = ObjectRef::new(Kind::Secret, &object.namespace, &source.name);
        let value = world.key_values(&secret).and_then(|values| values.spec.get(&source.key));
        let (reason, message) = match value {
            Some(KeyValue::Digest(digest, shard)) => {
                found.push((*shard, digest.clone(), field));
                continue;
            }
            None if world.generated_for(&secret).is_some_and(|(key, _)| key == *object) && !world.contains(&secret) => {
                (
                    Reason::KeyValuePending,
                    format!(
                        "{field}: a value is generated into {secret}; if none comes, the controller may not create Secrets: create it with the entry {:?}, or name another Secret here",
                        source.key
                    ),
                )
            }
            None => (
                Reason::KeyValueNotFound,
                format!(
                    "{field}: {secret} has no entry {:?}: create it, with a value of 20 to 128 characters",
                    source.key
                ),
            ),
            Some(KeyValue::Length(length)) => (
                Reason::KeyValueInvalid,
                format!("{field}: the value has {length} characters, but a key has 20 to 128: replace it"),
            ),
            Some(KeyValue::Unsendable) => (
                Reason::KeyValueInvalid,
                format!(
                    "{field}: the value has spaces or characters outside ASCII, which headers do not carry: replace it"
                ),
            ),
        };
        if verdict.ok {
            verdict = Verdict::no(reason, message);
        }
    }
    // The same value in both fields is one; it is of the first.
    found.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    found.dedup_by(|again, first| (again.0, &again.1) == (first.0, &first.1));
    (found, verdict)
}

fn entry(object: &ObjectRef, item: &Item<tollgate_crds::ApiKeySpec>, digest: &str) -> snapshot::ApiKey {
    let spec = &item.spec;
    snapshot::ApiKey {
        digest: digest.to_owned(),
        source: object.source(),
        enabled: spec.enabled,
        expires_at: spec.expires_at.as_ref().map(|time| time.0.as_second()),
        plans: spec.usage_plan_refs.iter().map(|plan| format!("{}/{}", object.namespace, plan.name)).collect(),
        extensions: spec.quota_extensions.iter().filter_map(|more| extension(&object.namespace, more)).collect(),
    }
}

/// `None`: the day is none, such as the 31st of June.
fn extension(namespace: &str, more: &tollgate_crds::QuotaExtension) -> Option<snapshot::QuotaExtension> {
    let during: Timestamp = format!("{}T00:00:00Z", more.during).parse().ok()?;
    Some(snapshot::QuotaExtension {
        plan: format!("{namespace}/{}", more.usage_plan_ref.name),
        requests: u64::try_from(more.requests).unwrap_or(0),
        during: during.as_second(),
    })
}

/// Whether extensions are of plans that the key is in, and of days that exist.
fn extensions(namespace: &str, spec: &tollgate_crds::ApiKeySpec) -> Verdict {
    for (index, more) in spec.quota_extensions.iter().enumerate() {
        if extension(namespace, more).is_none() {
            let message = format!("spec.quotaExtensions[{index}].during: {} is no day: correct it", more.during);
            return Verdict::no(Reason::Invalid, message);
        }
        if !spec.usage_plan_refs.contains(&more.usage_plan_ref) {
            let message = format!(
                "spec.quotaExtensions[{index}].usagePlanRef: the key is not in {}: add it to spec.usagePlanRefs, or name another plan",
                more.usage_plan_ref.name
            );
            return Verdict::no(Reason::UsagePlanNotFound, message);
        }
    }
    Verdict::resolved()
}

/// Older keys first, since they keep their values.
fn by_age(world: &World, keys: BTreeSet<ObjectRef>) -> Vec<ObjectRef> {
    let mut keys: Vec<ObjectRef> = keys.into_iter().collect();
    keys.sort_by_key(|key| world.api_key(key).and_then(|item| item.created.as_ref().map(|time| time.0)));
    keys
}

fn verdict(
    object: &ObjectRef,
    uid: String,
    generation: i64,
    accepted: Verdict,
    resolved_refs: Verdict,
    serving: Serving,
) -> ObjectVerdict {
    ObjectVerdict {
        object: object.clone(),
        uid,
        generation,
        accepted,
        resolved_refs,
        serving,
        api_id: None,
        api_endpoint: None,
        capture: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves R-PLAN-4.
    #[test]
    fn route_throttles_are_found_as_aws_writes_them() {
        for (written, key) in [
            ("/pets/GET", "GET /pets"),
            ("//GET", "GET /"),
            ("/pets/{id}/DELETE", "DELETE /pets/{id}"),
            ("GET /pets", "GET /pets"),
            ("$default", "$default"),
        ] {
            assert_eq!(route_key(written), key);
        }
    }

    /// Proves R-KEY-1.
    #[test]
    fn values_have_20_to_128_characters() {
        let long = |count| KeyValue::of("k".repeat(count).as_bytes());
        assert_eq!((long(19), long(129)), (KeyValue::Length(19), KeyValue::Length(129)));
        assert!(matches!((long(20), long(128)), (KeyValue::Digest(..), KeyValue::Digest(..))));
        assert_eq!(KeyValue::of(b"a key with spaces in it"), KeyValue::Unsendable);
        assert_eq!(KeyValue::of(b"01234567890123456789\n"), KeyValue::of(b"01234567890123456789"));
    }
}
