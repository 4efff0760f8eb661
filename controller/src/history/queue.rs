//! What is to be recorded, and what is recorded already. Holds one entry for each API, captured ApiDeployment and Stage.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tollgate_engine::snapshot::{ContentHash, Unit};
use tollgate_translate::{self as translate, ObjectRef};

use super::{Record, What};
use crate::debounce::Debounce;
use crate::watch::ItemName;

/// A deployment is recorded when it has not changed for this time, so that 200 quick edits do not make 200 objects …
const QUIET: Duration = Duration::from_secs(1);
/// … and at the latest after this.
const AT_MOST: Duration = Duration::from_secs(10);

/// The queue and the knowledge; filled by the publisher, emptied by the writer.
#[derive(Debug, Default)]
pub struct Records {
    state: Mutex<State>,
    /// Tells that there is something to write.
    pub changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    pending: BTreeMap<Subject, Pending>,
    /// By namespace and name of the ControllerRevision.
    known: BTreeMap<(String, String), Known>,
    /// The deployment that each stage serves, by Stage.
    served: BTreeMap<ObjectRef, Option<ContentHash>>,
}

/// Whose record it is: an HttpApi's latest automatic deployment, an ApiDeployment's capture, or a Stage's accepted version.
pub(super) type Subject = ObjectRef;

#[derive(Clone, Debug)]
struct Pending {
    todo: Todo,
    debounce: Debounce,
    not_before: Option<Instant>,
}

/// What has to be written: the hash of a unit, and the unit as JSON.
#[derive(Clone, Debug, PartialEq)]
pub enum Todo {
    /// Make an ApiDeployment of the API, and its record.
    AutoDeployed(ContentHash, Arc<str>),
    /// Make the record of an ApiDeployment.
    Captured(ContentHash, Arc<str>),
    /// Make the record of a Stage.
    Stage(ContentHash, Arc<str>),
}

impl Todo {
    /// Of the content.
    pub fn hash(&self) -> &ContentHash {
        match self {
            Self::AutoDeployed(hash, _) | Self::Captured(hash, _) | Self::Stage(hash, _) => hash,
        }
    }
}

/// What is known of a record in the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The ControllerRevision's namespace and name.
    pub id: (String, String),
    /// Its `revision`.
    pub revision: i64,
    /// The ApiDeployment or Stage.
    pub owner: ObjectRef,
    /// Of the content.
    pub hash: ContentHash,
    /// Of an automatic deployment: the API.
    pub api: Option<String>,
}

impl Records {
    /// Translation has something to keep.
    pub fn add(&self, records: Vec<translate::Record>, now: Instant) {
        if records.is_empty() {
            return;
        }
        let mut state = self.state();
        for record in records {
            let (subject, todo) = match record {
                translate::Record::AutoDeployed { api, hash, json } => (api, Todo::AutoDeployed(hash, json)),
                translate::Record::Captured { object, hash, json } => (object, Todo::Captured(hash, json)),
                translate::Record::Stage { object, stage } => {
                    state.served.insert(object.clone(), stage.deployment.clone());
                    let json = serde_json::to_string(&Unit::Stage(stage.as_ref().clone()))
                        .expect("snapshot types have string keys and no failing serializer");
                    (object, Todo::Stage(ContentHash::of_json(json.as_bytes()), json.into()))
                }
            };
            let new = || Pending { todo: todo.clone(), debounce: Debounce::new(QUIET, AT_MOST), not_before: None };
            let pending = state.pending.entry(subject).or_insert_with(new);
            pending.todo = todo.clone();
            pending.debounce.touch(now);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// A record was seen in the API server.
    pub fn known(&self, record: &Record) {
        self.know(Known {
            id: (record.owner.namespace.clone(), record.name.clone()),
            revision: record.revision,
            owner: record.owner.clone(),
            hash: record.hash.clone(),
            api: record.api.clone().filter(|_| record.what == What::Auto),
        });
    }

    /// A record was written.
    pub fn know(&self, known: Known) {
        self.state().known.insert(known.id.clone(), known);
    }

    /// A record is gone from the API server.
    pub fn forget(&self, namespace: &str, name: &str) {
        self.state().known.remove(&(namespace.to_owned(), name.to_owned()));
    }

    /// The API server listed these records, in one namespace or in all: others are gone.
    pub fn keep(&self, namespace: Option<&str>, listed: &BTreeSet<ItemName>) {
        self.state().known.retain(|(of, name), _| {
            let name = ItemName { namespace: of.clone(), name: name.clone() };
            namespace.is_some_and(|namespace| namespace != of) || listed.contains(&name)
        });
    }

    /// What is due, or when something will be. What is recorded already is dropped.
    pub fn due(&self, now: Instant) -> Result<(Subject, Todo), Option<Instant>> {
        let mut state = self.state();
        let State { pending, known, .. } = &mut *state;
        let latest = Latest::of(known.values());
        pending.retain(|subject, pending| !latest.has(subject, &pending.todo));
        let when = |pending: &Pending| pending.debounce.due().max(pending.not_before).unwrap_or(now);
        match pending.iter().min_by_key(|(_, pending)| when(pending)) {
            None => Err(None),
            Some((_, pending)) if when(pending) > now => Err(Some(when(pending))),
            Some((subject, pending)) => Ok((subject.clone(), pending.todo.clone())),
        }
    }

    /// It was written, unless something newer is to be written meanwhile.
    pub fn done(&self, subject: &Subject, todo: &Todo) {
        let mut state = self.state();
        if state.pending.get(subject).is_some_and(|pending| pending.todo == *todo) {
            state.pending.remove(subject);
        }
    }

    /// It could not be written; try again later.
    pub fn postpone(&self, subject: &Subject, until: Instant) {
        if let Some(pending) = self.state().pending.get_mut(subject) {
            pending.not_before = Some(until);
        }
    }

    /// The object is gone: nothing is to be recorded for it.
    pub fn drop_subject(&self, subject: &Subject) {
        let mut state = self.state();
        state.pending.remove(subject);
        state.served.remove(subject);
    }

    /// Known records of an owner's kind and namespace.
    pub fn all(&self, mut filter: impl FnMut(&Known) -> bool) -> Vec<Known> {
        self.state().known.values().filter(|known| filter(known)).cloned().collect()
    }

    /// Hashes of the deployments that stages serve.
    pub fn served(&self) -> BTreeSet<ContentHash> {
        self.state().served.values().flatten().cloned().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds the state")
    }
}

/// The newest record of each API and of each owner.
struct Latest<'a> {
    by_api: BTreeMap<(&'a str, &'a str), &'a Known>,
    by_owner: BTreeMap<&'a ObjectRef, &'a Known>,
}

impl<'a> Latest<'a> {
    fn of(known: impl Iterator<Item = &'a Known>) -> Self {
        let mut latest = Self { by_api: BTreeMap::new(), by_owner: BTreeMap::new() };
        for one in known {
            if let Some(api) = &one.api {
                let newest = latest.by_api.entry((&one.id.0, api)).or_insert(one);
                if newest.revision < one.revision {
                    *newest = one;
                }
            }
            let newest = latest.by_owner.entry(&one.owner).or_insert(one);
            if newest.revision < one.revision {
                *newest = one;
            }
        }
        latest
    }

    fn has(&self, subject: &Subject, todo: &Todo) -> bool {
        let known = match todo {
            Todo::AutoDeployed(..) => self.by_api.get(&(subject.namespace.as_str(), subject.name.as_str())),
            Todo::Captured(..) | Todo::Stage(..) => self.by_owner.get(subject),
        };
        known.is_some_and(|known| known.hash == *todo.hash())
    }
}

#[cfg(test)]
mod tests {
    use tollgate_engine::snapshot::{ApiIdentity, Deployment};
    use tollgate_translate::Kind;

    use super::*;

    fn api() -> ObjectRef {
        ObjectRef::new(Kind::HttpApi, "a", "x")
    }

    fn deployment(n: u64) -> Arc<Deployment> {
        Arc::new(Deployment {
            api: ApiIdentity { api_id: "abcdefghij".into(), namespace: "a".into(), name: "x".into() },
            disable_execute_api_endpoint: false,
            cors: None,
            limits: tollgate_engine::snapshot::Limits { payload_bytes: Some(n) },
            authorizers: BTreeMap::new(),
            integrations: BTreeMap::new(),
            routes: vec![],
        })
    }

    fn auto(n: u64) -> translate::Record {
        translate::Record::AutoDeployed { api: api(), hash: ContentHash::of(&*deployment(n)), json: "{}".into() }
    }

    fn recorded(n: u64, revision: i64) -> Record {
        let deployment = deployment(n);
        let hash = ContentHash::of(&*deployment);
        Record {
            name: format!("tollgate-x-{hash}"),
            revision,
            owner_uid: "uid".into(),
            owner: ObjectRef::new(Kind::ApiDeployment, "a", format!("x-{hash}")),
            hash,
            what: What::Auto,
            api: Some("x".into()),
            packed: String::new(),
        }
    }

    #[test]
    fn quick_edits_make_one_record() {
        let (records, now) = (Records::default(), Instant::now());
        for n in 0..50 {
            records.add(vec![auto(n)], now + Duration::from_millis(10) * u32::try_from(n).unwrap());
        }
        let last = now + Duration::from_millis(490);
        assert_eq!(records.due(last), Err(Some(last + QUIET)));
        let (subject, todo) = records.due(last + QUIET).unwrap();
        assert_eq!((&subject, todo.hash()), (&api(), &ContentHash::of(&*deployment(49))));
        records.done(&subject, &todo);
        assert_eq!(records.due(last + QUIET), Err(None));
    }

    #[test]
    fn what_is_recorded_already_is_not_written_again() {
        let (records, now) = (Records::default(), Instant::now());
        records.known(&recorded(1, 10));
        records.add(vec![auto(1)], now);
        assert_eq!(records.due(now + QUIET), Err(None), "a restarted controller writes nothing");
        records.known(&recorded(2, 20));
        records.add(vec![auto(1)], now);
        assert!(records.due(now + QUIET).is_ok(), "1 is served again, but 2 is the latest record");
    }

    #[test]
    fn what_came_while_one_was_written_stays() {
        let (records, now) = (Records::default(), Instant::now());
        records.add(vec![auto(1)], now);
        let (subject, todo) = records.due(now + QUIET).unwrap();
        records.add(vec![auto(2)], now + QUIET);
        records.done(&subject, &todo);
        assert!(records.due(now + AT_MOST).is_ok());
        records.postpone(&subject, now + AT_MOST * 2);
        assert_eq!(records.due(now + AT_MOST), Err(Some(now + AT_MOST * 2)));
    }
}
