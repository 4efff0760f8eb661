//! Objects that routes share: Integrations, Authorizers and VpcLinks, with their last accepted versions.

use std::collections::BTreeMap;
use std::sync::Arc;

use tollgate_engine::snapshot::{self, Deployment};

use crate::backend::{self, Backend, Place};
use crate::outcome::Outcome;
use crate::route::Shared;
use crate::{Kind, ObjectRef, Verdict, World, authorizer, link};

/// What is known of the objects that exist.
#[derive(Debug, Default)]
pub(crate) struct SharedObjects {
    integrations: BTreeMap<ObjectRef, State<Backend>>,
    authorizers: BTreeMap<ObjectRef, State<snapshot::Authorizer>>,
    links: BTreeMap<ObjectRef, State<snapshot::Link>>,
    /// Recorded versions of objects that were not looked at yet.
    restored_integrations: BTreeMap<ObjectRef, Arc<Backend>>,
    restored_authorizers: BTreeMap<ObjectRef, Arc<snapshot::Authorizer>>,
}

/// One object.
#[derive(Debug)]
pub(crate) struct State<T> {
    pub(crate) uid: String,
    pub(crate) generation: i64,
    pub(crate) accepted: Verdict,
    pub(crate) resolved: Verdict,
    /// The current version is the one that serves.
    pub(crate) current: bool,
    last: Option<Arc<T>>,
    /// When the version that serves came.
    pub(crate) since: u64,
}

impl Shared for SharedObjects {
    fn integration(&self, object: &ObjectRef) -> Option<Arc<Backend>> {
        self.integrations.get(object)?.last.clone()
    }

    fn authorizer(&self, object: &ObjectRef) -> Option<Arc<snapshot::Authorizer>> {
        self.authorizers.get(object)?.last.clone()
    }
}

/// What a verdict needs of a shared object.
#[derive(Debug)]
pub(crate) struct Findings<'a> {
    pub(crate) uid: &'a str,
    pub(crate) generation: i64,
    pub(crate) accepted: &'a Verdict,
    pub(crate) resolved: &'a Verdict,
    pub(crate) current: bool,
    pub(crate) since: u64,
}

impl SharedObjects {
    /// Keeps what a recorded deployment says of shared objects.
    pub(crate) fn restore(&mut self, deployment: &Deployment) {
        for content in deployment.integrations.values() {
            if let Some((namespace, name)) =
                content.source.strip_prefix("Integration/").and_then(|source| source.split_once('/'))
            {
                let object = ObjectRef::new(Kind::Integration, namespace, name);
                self.restored_integrations.insert(object, Backend::restored(content.clone()));
            }
        }
        for content in deployment.authorizers.values() {
            if let Some((namespace, name)) = content.source.split_once('/') {
                let object = ObjectRef::new(Kind::Authorizer, namespace, name);
                self.restored_authorizers.insert(object, Arc::new(content.clone()));
            }
        }
    }

    /// Looks at an Integration again.
    pub(crate) fn look_at_integration(&mut self, world: &World, object: &ObjectRef, revision: u64) {
        let Some(item) = world.integration(object) else {
            self.integrations.remove(object);
            return;
        };
        let source = format!("Integration/{}", object.source());
        let place = Place { namespace: &object.namespace, source, path: "spec" };
        let outcome = backend::evaluate(world, &place, &item.spec);
        let restored = self.restored_integrations.remove(object);
        update(&mut self.integrations, object, (&item.uid, item.generation), outcome, restored, revision);
    }

    /// Looks at an Authorizer again.
    pub(crate) fn look_at_authorizer(&mut self, world: &World, object: &ObjectRef, revision: u64) {
        let Some(item) = world.authorizer(object) else {
            self.authorizers.remove(object);
            return;
        };
        let outcome = authorizer::evaluate(world, object, &item.spec);
        let restored = self.restored_authorizers.remove(object);
        update(&mut self.authorizers, object, (&item.uid, item.generation), outcome, restored, revision);
    }

    /// Looks at a VpcLink again.
    pub(crate) fn look_at_link(&mut self, world: &World, object: &ObjectRef, revision: u64) {
        let Some(item) = world.vpc_link(object) else {
            self.links.remove(object);
            return;
        };
        let outcome = link::evaluate(world, object, &item.spec);
        update(&mut self.links, object, (&item.uid, item.generation), outcome, None, revision);
    }

    /// The accepted version of a VpcLink, the current one or the last; `None` when there never was one.
    pub(crate) fn link(&self, object: &ObjectRef) -> Option<&Arc<snapshot::Link>> {
        self.links.get(object)?.last.as_ref()
    }

    /// What is known of a shared object that exists.
    pub(crate) fn findings(&self, object: &ObjectRef) -> Option<Findings<'_>> {
        match object.kind {
            Kind::Integration => self.integrations.get(object).map(findings),
            Kind::Authorizer => self.authorizers.get(object).map(findings),
            Kind::VpcLink => self.links.get(object).map(findings),
            _ => None,
        }
    }
}

fn findings<T>(state: &State<T>) -> Findings<'_> {
    let State { uid, generation, accepted, resolved, current, last: _, since } = state;
    Findings { uid, generation: *generation, accepted, resolved, current: *current, since: *since }
}

fn update<T: PartialEq>(
    states: &mut BTreeMap<ObjectRef, State<T>>,
    object: &ObjectRef,
    (uid, generation): (&str, i64),
    outcome: Outcome<Arc<T>>,
    restored: Option<Arc<T>>,
    revision: u64,
) {
    let before = states.remove(object).filter(|state| state.uid == uid);
    let (mut last, mut since) = before.map_or((restored, 0), |state| (state.last, state.since));
    let Outcome { value, accepted, resolved } = outcome;
    let current = value.is_some();
    if let Some(value) = value
        && (since == 0 || last.as_ref() != Some(&value))
    {
        last = Some(value);
        since = revision;
    }
    let state = State { uid: uid.to_owned(), generation, accepted, resolved, current, last, since };
    states.insert(object.clone(), state);
}
