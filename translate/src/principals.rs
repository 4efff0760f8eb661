//! From Principals and their Secrets to the unit of a namespace.
//!
//! A refused Principal keeps its last accepted policies (promise P1), but a key goes with its Secret: taking a key away must work at once.
//! Nothing of this is recorded: secrets have no place in ControllerRevisions (promise P7).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use sha2::{Digest, Sha256};
use tollgate_crds::PrincipalSpec;
use tollgate_engine::policy::{Dialect, Policy};
use tollgate_engine::snapshot::{AccessKey, Principal, Principals, Unit, UnitId};

use crate::content::Content;
use crate::{Kind, ObjectRef, ObjectVerdict, Reason, Requirement, Serving, Verdict, World};

/// What is known of the principals that exist.
#[derive(Debug, Default)]
pub(crate) struct PrincipalStates(BTreeMap<ObjectRef, State>);

/// One principal.
#[derive(Debug)]
struct State {
    uid: String,
    generation: i64,
    accepted: Verdict,
    resolved: Verdict,
    /// An older principal has one of its keys.
    conflict: Option<Verdict>,
    current: bool,
    last: Option<Policies>,
    keys: Vec<AccessKey>,
    /// When what it contributes changed.
    since: u64,
}

/// What an accepted version says beside its keys.
#[derive(Clone, Debug, PartialEq)]
struct Policies {
    policies: Vec<serde_json::Value>,
    tags: BTreeMap<String, String>,
}

impl PrincipalStates {
    /// Looks at a Principal again.
    pub(crate) fn look_at(&mut self, world: &World, object: &ObjectRef, revision: u64) {
        let Some(item) = world.principal(object) else {
            self.0.remove(object);
            return;
        };
        let before = self.0.remove(object).filter(|state| state.uid == item.uid);
        let (keys, resolved) = keys(world, object, &item.spec);
        let (accepted, mut last) = match policies(&item.spec) {
            Ok(policies) => (Verdict::accepted(), Some(policies)),
            Err(message) => (Verdict::no(Reason::Invalid, message), None),
        };
        let current = last.is_some();
        let mut since = revision;
        if let Some(before) = before {
            last = last.or_else(|| before.last.clone());
            if last == before.last && keys == before.keys {
                since = before.since;
            }
        }
        let (uid, generation) = (item.uid.clone(), item.generation);
        self.0.insert(
            object.clone(),
            State { uid, generation, accepted, resolved, conflict: None, current, last, keys, since },
        );
    }

    /// The principals of a namespace as they travel. Of two with the same key the older one has it.
    pub(crate) fn unit(&mut self, world: &World, namespace: &str) -> Content {
        let mut members: Vec<(&ObjectRef, &mut State)> = self.members(namespace).collect();
        members.sort_by_key(|(object, _)| {
            world.principal(object).and_then(|item| item.created.as_ref().map(|time| time.0))
        });
        let mut taken: BTreeMap<String, String> = BTreeMap::new();
        let mut principals = Vec::new();
        for (object, state) in members {
            state.conflict = None;
            let Some(last) = &state.last else { continue };
            let mut access_keys = Vec::new();
            for key in &state.keys {
                if let Some(holder) = taken.get(&key.access_key_id) {
                    if *holder != object.name {
                        state.conflict = Some(Verdict::no(
                            Reason::AccessKeyConflict,
                            format!(
                                "spec.accessKeys: {} is the key of the older Principal {holder}: use another",
                                key.access_key_id
                            ),
                        ));
                    }
                    continue;
                }
                taken.insert(key.access_key_id.clone(), object.name.clone());
                access_keys.push(key.clone());
            }
            principals.push(Principal {
                name: object.name.clone(),
                user_id: user_id(&state.uid, object),
                access_keys,
                policies: last.policies.clone(),
                tags: last.tags.clone(),
            });
        }
        principals.sort_by(|one, other| one.name.cmp(&other.name));
        Content::of(&Unit::Principals(Principals { namespace: namespace.to_owned(), principals }))
    }

    /// Whether the namespace has any.
    pub(crate) fn has_any(&mut self, namespace: &str) -> bool {
        self.members(namespace).next().is_some()
    }

    fn members(&mut self, namespace: &str) -> impl Iterator<Item = (&ObjectRef, &mut State)> {
        let first = ObjectRef::new(Kind::Principal, namespace, "");
        self.0.range_mut(first..).take_while(move |(object, _)| object.namespace == namespace)
    }

    /// What there is to say of the Principals of a namespace; `published` when their unit is.
    pub(crate) fn verdicts(&mut self, namespace: &str, published: Option<&UnitId>) -> Vec<ObjectVerdict> {
        self.members(namespace)
            .map(|(object, state)| {
                let serving = match (state.current, published) {
                    (false, _) => Serving::Nowhere(Verdict::no(
                        Reason::NotAccepted,
                        "this version was refused; the last accepted one keeps serving",
                    )),
                    (true, Some(unit)) => {
                        Serving::When(vec![Requirement { unit: unit.clone(), revision: state.since }])
                    }
                    (true, None) => Serving::NotNeeded(Reason::NotUsed),
                };
                ObjectVerdict {
                    object: object.clone(),
                    uid: state.uid.clone(),
                    generation: state.generation,
                    accepted: state.accepted.clone(),
                    resolved_refs: state.conflict.as_ref().unwrap_or(&state.resolved).clone(),
                    serving,
                    api_id: None,
                    api_endpoint: None,
                    capture: None,
                }
            })
            .collect()
    }
}

/// The keys whose Secrets are there, and what is wrong with the others.
fn keys(world: &World, object: &ObjectRef, spec: &PrincipalSpec) -> (Vec<AccessKey>, Verdict) {
    let mut keys = Vec::new();
    let mut resolved = Verdict::resolved();
    for (index, source) in spec.access_keys.iter().enumerate() {
        let secret = ObjectRef::new(Kind::Secret, &object.namespace, &source.secret_ref.name);
        let at = format!("spec.accessKeys[{index}].secretRef");
        let found = match world.signing_keys(&secret) {
            Some(item) => {
                keys.push(item.spec.access_key());
                continue;
            }
            None if world.contains(&secret) => Verdict::no(
                Reason::SecretInvalid,
                format!(
                    "{at}: {secret} needs accessKeyId and secretAccessKey, and may have sessionToken: add them; until then the key is not known"
                ),
            ),
            None => Verdict::no(
                Reason::SecretNotFound,
                format!(
                    "{at}: {secret} does not exist: create it or correct the name; until then the key is not known"
                ),
            ),
        };
        if resolved.ok {
            resolved = found;
        }
    }
    (keys, resolved)
}

fn policies(spec: &PrincipalSpec) -> Result<Policies, String> {
    let mut policies = Vec::with_capacity(spec.policies.len());
    for (index, text) in spec.policies.iter().enumerate() {
        let at = format!("spec.policies[{index}]");
        let policy = serde_json::from_str(text).map_err(|error| format!("{at}: is not JSON: {error}"))?;
        Policy::parse(&policy, Dialect::Identity).map_err(|error| format!("{at}: {error}"))?;
        policies.push(policy);
    }
    Ok(Policies { policies, tags: spec.tags.clone() })
}

/// As AWS writes the unique ids of users: `AIDA` and 17 capital letters and digits, for as long as the object lives.
fn user_id(uid: &str, object: &ObjectRef) -> String {
    let digest = Sha256::digest(format!("{uid}/{}", object.source()));
    let mut id = "AIDA".to_owned();
    for byte in &digest[..17] {
        const DIGITS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        let _ = id.write_char(char::from(DIGITS[usize::from(byte & 31)]));
    }
    id
}

/// The Principals among some objects, and those that need one of the Secrets.
pub(crate) fn changed(world: &World, changed: &BTreeSet<ObjectRef>) -> BTreeSet<ObjectRef> {
    let mut principals = BTreeSet::new();
    for object in changed {
        match object.kind {
            Kind::Principal => {
                principals.insert(object.clone());
            }
            Kind::Secret => principals.extend(world.referrers(object, Kind::Principal).cloned()),
            _ => {}
        }
    }
    principals
}
