//! What is known about each of our objects, for those who write: what the API server has (observed) and what translation
//! says (verdict). Filled by the publisher, which never waits for a writer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use tokio::sync::Notify;
use tollgate_crds::{ApiDeploymentStatus, Status};
use tollgate_translate::{DEPLOYMENT_ID_ANNOTATION, Object, ObjectRef, ObjectVerdict};

use crate::watch::Unreadable;

/// An object as the API server has it; the parts that writers need.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.generation`.
    pub generation: i64,
    /// When it was made.
    pub created: Option<Time>,
    /// Its status. All kinds but ApiDeployment use `common` only.
    pub status: ApiDeploymentStatus,
    /// `spec.apiRef.name`, of kinds that have one.
    pub api: Option<String>,
    /// `spec.deploymentRef.name` of a Stage.
    pub deployment: Option<String>,
    /// Of a UsagePlan: whether it has a quota, and whether its status tells usage.
    pub counts: Option<Counts>,
    /// [`DEPLOYMENT_ID_ANNOTATION`] of an ApiDeployment that we made.
    pub made_for: Option<String>,
}

/// What a UsagePlan counts, and what is written about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// It has a quota.
    pub quota: bool,
    /// There is a `status.usage`.
    pub usage: bool,
}

/// All objects.
#[derive(Debug, Default)]
pub struct Board {
    entries: Mutex<Entries>,
    /// Tells that something is dirty.
    pub changed: Notify,
}

/// The content of a [`Board`].
#[derive(Debug, Default)]
pub struct Entries {
    /// By name.
    pub observed: BTreeMap<ObjectRef, Observed>,
    /// By name; only of objects that are observed.
    pub verdicts: BTreeMap<ObjectRef, ObjectVerdict>,
    /// Objects that could not be read, instead of a verdict.
    pub unreadable: BTreeMap<ObjectRef, Unreadable>,
    /// Objects whose verdict or status changed since a writer looked.
    pub dirty: BTreeSet<ObjectRef>,
}

impl Board {
    /// For a look or a change; hold it briefly.
    pub fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().expect("no code panics while it holds the entries")
    }

    /// UsagePlans without a quota, by `namespace/name`: the uids of those whose status tells usage all the same.
    pub fn without_quota(&self) -> BTreeMap<String, Option<String>> {
        let entries = self.entries();
        let plans = entries.observed.iter().filter_map(|(object, observed)| {
            let Counts { quota, usage } = observed.counts?;
            (!quota).then(|| (object.source(), usage.then(|| observed.uid.clone())))
        });
        plans.collect()
    }

    /// An object of ours was seen. Objects of other kinds are none of our business.
    pub fn see(&self, object: &Object) {
        let reference = object.reference();
        let Some(observed) = observe(object) else { return };
        let mut entries = self.entries();
        entries.unreadable.remove(&reference);
        entries.observe(reference, observed);
        drop(entries);
        self.changed.notify_one();
    }

    /// An object of ours was seen and could not be read.
    pub fn see_unreadable(&self, unreadable: Unreadable) {
        let mut entries = self.entries();
        let observed =
            Observed { uid: unreadable.uid.clone(), generation: unreadable.generation, ..Observed::default() };
        // Its status could not be read either; what was known of it is a better guess than nothing.
        let status = entries.observed.get(&unreadable.object).map(|known| known.status.clone());
        let observed = Observed { status: status.unwrap_or_default(), ..observed };
        entries.observe(unreadable.object.clone(), observed);
        entries.dirty.insert(unreadable.object.clone());
        entries.unreadable.insert(unreadable.object.clone(), unreadable);
        drop(entries);
        self.changed.notify_one();
    }

    /// An object is gone.
    pub fn forget(&self, object: &ObjectRef) {
        let mut entries = self.entries();
        entries.observed.remove(object);
        entries.verdicts.remove(object);
        entries.unreadable.remove(object);
        entries.dirty.remove(object);
    }

    /// Translation has something to say.
    pub fn judge(&self, verdicts: Vec<ObjectVerdict>) {
        if verdicts.is_empty() {
            return;
        }
        let mut entries = self.entries();
        for verdict in verdicts {
            entries.dirty.insert(verdict.object.clone());
            entries.verdicts.insert(verdict.object.clone(), verdict);
        }
        drop(entries);
        self.changed.notify_one();
    }
}

impl Entries {
    fn observe(&mut self, object: ObjectRef, observed: Observed) {
        if self.observed.get(&object) != Some(&observed) {
            self.dirty.insert(object.clone());
            self.observed.insert(object, observed);
        }
    }
}

fn observe(object: &Object) -> Option<Observed> {
    let metadata = object.metadata();
    Some(match object {
        Object::HttpApi(o) => with_status(metadata, o.status.as_ref()),
        Object::Integration(o) => with_status(metadata, o.status.as_ref()),
        Object::Authorizer(o) => with_status(metadata, o.status.as_ref()),
        Object::UsagePlan(o) => Observed {
            counts: Some(Counts {
                quota: o.spec.quota.is_some(),
                usage: o.status.as_ref().is_some_and(|status| status.usage.is_some()),
            }),
            ..with_status(metadata, o.status.as_ref().map(|status| &status.common))
        },
        Object::ApiKey(o) => with_status(metadata, o.status.as_ref()),
        Object::VpcLink(o) => with_status(metadata, o.status.as_ref()),
        Object::DomainName(o) => with_status(metadata, o.status.as_ref()),
        Object::ApiMapping(o) => with_status(metadata, o.status.as_ref()),
        Object::Principal(o) => with_status(metadata, o.status.as_ref()),
        Object::Route(o) => {
            Observed { api: Some(o.spec.api_ref.name.clone()), ..with_status(metadata, o.status.as_ref()) }
        }
        Object::Stage(o) => Observed {
            api: Some(o.spec.api_ref.name.clone()),
            deployment: o.spec.deployment_ref.as_ref().map(|to| to.name.clone()),
            ..with_status(metadata, o.status.as_ref())
        },
        Object::ApiDeployment(o) => Observed {
            status: o.status.clone().unwrap_or_default(),
            api: Some(o.spec.api_ref.name.clone()),
            made_for: metadata.annotations.as_ref().and_then(|all| all.get(DEPLOYMENT_ID_ANNOTATION)).cloned(),
            ..with_status(metadata, None)
        },
        Object::Service(_) | Object::EndpointSlice(_) | Object::ConfigMap(_) | Object::Secret(_) => return None,
    })
}

fn with_status(metadata: &ObjectMeta, status: Option<&Status>) -> Observed {
    Observed {
        uid: metadata.uid.clone().unwrap_or_default(),
        generation: metadata.generation.unwrap_or_default(),
        created: metadata.creation_timestamp.clone(),
        status: ApiDeploymentStatus { common: status.cloned().unwrap_or_default(), ..ApiDeploymentStatus::default() },
        ..Observed::default()
    }
}
