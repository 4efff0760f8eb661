//! The door: what changed in the world goes in, what has to change elsewhere comes out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tollgate_engine::snapshot::{ApiKeySource, Deployment, ServicePort, Stage, Unit, UnitId};

use crate::api::{ApiChanges, ApiState, Scope};
use crate::api_id::ApiIds;
use crate::changes::{Changes, Put, Settings};
use crate::content::{Built, Content};
use crate::document::{self, Documents};
use crate::domain::{self, Domains, StageTarget};
use crate::plans::Plans;
use crate::principals::{self, PrincipalStates};
use crate::route;
use crate::shared::SharedObjects;
use crate::{Fleets, Kind, ObjectRef, ObjectVerdict, Reason, Requirement, Serving, Verdict, World, endpoints, link};

/// Translates a world, and remembers what it published.
#[derive(Debug)]
pub struct Translator {
    settings: Settings,
    world: World,
    revision: u64,
    shared: SharedObjects,
    principals: PrincipalStates,
    documents: Documents,
    /// What APIs say to their routes: the longest timeout, and where keys come from.
    terms: BTreeMap<ObjectRef, (u32, ApiKeySource)>,
    apis: BTreeMap<ObjectRef, ApiState>,
    /// Which API a Route, Stage or ApiDeployment belongs to.
    members: BTreeMap<ObjectRef, ObjectRef>,
    ids: ApiIds,
    captures: BTreeMap<ObjectRef, Arc<Built>>,
    /// Who needs the endpoints of a service.
    services: BTreeMap<ServicePort, BTreeSet<ObjectRef>>,
    published: BTreeMap<UnitId, Put>,
    verdicts: BTreeMap<ObjectRef, ObjectVerdict>,
    domains: Domains,
    restored_apis: BTreeMap<ObjectRef, Deployment>,
    restored_stages: BTreeMap<ObjectRef, Stage>,
    plans: Plans,
}

impl Translator {
    /// An empty world and nothing published.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            world: World::default(),
            revision: 0,
            shared: SharedObjects::default(),
            principals: PrincipalStates::default(),
            documents: Documents::default(),
            terms: BTreeMap::new(),
            apis: BTreeMap::new(),
            members: BTreeMap::new(),
            ids: ApiIds::default(),
            captures: BTreeMap::new(),
            services: BTreeMap::new(),
            published: BTreeMap::new(),
            verdicts: BTreeMap::new(),
            domains: Domains::default(),
            restored_apis: BTreeMap::new(),
            restored_stages: BTreeMap::new(),
            plans: Plans::default(),
        }
    }

    /// The last deployment of an API that was recorded: for the parts of objects that are refused now. Has no effect once
    /// the API was translated.
    pub fn restore_api(&mut self, deployment: Deployment) {
        self.shared.restore(&deployment);
        let api = ObjectRef::new(Kind::HttpApi, &deployment.api.namespace, &deployment.api.name);
        self.restored_apis.insert(api, deployment);
    }

    /// The recorded content of an ApiDeployment. Content that is known already stays.
    pub fn restore_deployment(&mut self, object: &ObjectRef, deployment: Deployment) {
        if !self.captures.contains_key(object) {
            self.captures.insert(object.clone(), Built::restored(deployment));
            self.world.touch(object);
        }
    }

    /// The recorded version of a Stage: what it serves and how, in case it is refused now. Has no effect once the stage was
    /// translated.
    pub fn restore_stage(&mut self, object: &ObjectRef, stage: Stage) {
        self.restored_stages.insert(object.clone(), stage);
    }

    /// The objects.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// The objects, to change them.
    pub fn world_mut(&mut self) -> &mut World {
        &mut self.world
    }

    /// Everything that is published, for a new subscriber.
    pub fn units(&self) -> impl Iterator<Item = &Put> {
        self.published.values()
    }

    /// The latest verdict of every object of our kinds.
    pub fn verdicts(&self) -> impl Iterator<Item = &ObjectVerdict> {
        self.verdicts.values()
    }

    /// Tells the time, in seconds since 1970: certificates begin and end to be valid. Says whether there is something to translate.
    pub fn set_time(&mut self, now: i64) -> bool {
        let touched = self.domains.set_time(now);
        touched.iter().for_each(|object| self.world.touch(object));
        !touched.is_empty()
    }

    /// Translates what changed since the last call.
    pub fn translate(&mut self) -> Changes {
        self.revision += 1;
        let mut changes = Changes { revision: self.revision, ..Changes::default() };
        let mut changed = self.world.take_changed();
        self.documents.read(&mut self.world, &changed, &self.restored_apis);
        changed.extend(self.world.take_changed());
        for object in changed.iter().filter(|object| object.kind.is_ours() && !self.world.contains(object)) {
            self.verdicts.remove(object);
            self.captures.remove(object);
        }
        let mut users = self.look_at_shared(&changed);
        self.translate_links(&users, &mut changes);
        let mut dirty = BTreeSet::new();
        self.look_at_routes(&changed, &users, &mut dirty);
        users.extend(self.world.take_released());
        self.find_dirty_apis(&changed, &mut dirty);
        let mut needed = self.world.take_changed_endpoints();
        let mut stages: BTreeSet<ObjectRef> =
            changed.iter().filter(|object| object.kind == Kind::Stage).cloned().collect();
        for api in self.by_age(dirty.clone()) {
            self.translate_api(&api, &mut changes, &mut users, &mut needed);
            stages.extend(self.world.referrers(&api, Kind::Stage).cloned());
        }
        self.translate_domains(&changed, &stages, &mut changes);
        self.shared_verdicts(&users, &mut changes);
        self.translate_plans(&changed, &dirty, &mut changes);
        self.translate_principals(&changed, &mut changes);
        self.translate_endpoints(&needed, &mut changes);
        changes
    }

    fn translate_domains(
        &mut self,
        changed: &BTreeSet<ObjectRef>,
        stages: &BTreeSet<ObjectRef>,
        changes: &mut Changes,
    ) {
        let stage = |object: &ObjectRef| -> Option<StageTarget> {
            let api = ObjectRef::new(Kind::HttpApi, &object.namespace, &self.world.stage(object)?.spec.api_ref.name);
            self.apis.get(&api)?.stage_target(&object.name)
        };
        let scope =
            domain::Scope { world: &self.world, settings: &self.settings, revision: self.revision, stage: &stage };
        let found = self.domains.translate(changed, stages, &scope);
        for (id, content, fleets) in found.puts {
            self.publish(id, content, fleets, changes);
        }
        for id in found.deletes {
            self.published.remove(&id);
            changes.deletes.push(id);
        }
        for verdict in found.verdicts {
            self.report(verdict, changes);
        }
    }

    /// Looks again at Integrations and Authorizers that changed or that need something that did. Returns them.
    fn look_at_shared(&mut self, changed: &BTreeSet<ObjectRef>) -> BTreeSet<ObjectRef> {
        let mut again = BTreeSet::new();
        for object in changed {
            match object.kind {
                Kind::Integration | Kind::Authorizer => {
                    again.insert(object.clone());
                }
                Kind::VpcLink => {
                    again.insert(object.clone());
                    again.extend(self.world.referrers(object, Kind::Integration).cloned());
                }
                Kind::Service | Kind::ConfigMap | Kind::Secret => {
                    again.extend(self.world.referrers(object, Kind::Integration).cloned());
                    again.extend(self.world.referrers(object, Kind::Authorizer).cloned());
                    for link in self.world.referrers(object, Kind::VpcLink) {
                        again.insert(link.clone());
                        again.extend(self.world.referrers(link, Kind::Integration).cloned());
                    }
                }
                _ => {}
            }
        }
        for object in &again {
            match object.kind {
                Kind::Integration => self.shared.look_at_integration(&self.world, object, self.revision),
                Kind::VpcLink => self.shared.look_at_link(&self.world, object, self.revision),
                _ => self.shared.look_at_authorizer(&self.world, object, self.revision),
            }
        }
        again
    }

    /// Publishes the accepted versions of these VpcLinks, and withdraws those that are gone.
    fn translate_links(&mut self, shared: &BTreeSet<ObjectRef>, changes: &mut Changes) {
        for object in shared.iter().filter(|object| object.kind == Kind::VpcLink) {
            let id = UnitId::link(&link::name(object));
            match self.shared.link(object) {
                Some(link) => {
                    let content = Content::of(&Unit::Link(link.as_ref().clone()));
                    // Either fleet may serve an API that uses it.
                    self.publish(id, content, Fleets { public: true, private: true }, changes);
                }
                None => {
                    if self.published.remove(&id).is_some() {
                        changes.deletes.push(id);
                    }
                }
            }
        }
    }

    /// Looks again at the routes that changed or that need something that did. Adds their APIs to `dirty`.
    fn look_at_routes(
        &mut self,
        changed: &BTreeSet<ObjectRef>,
        shared: &BTreeSet<ObjectRef>,
        dirty: &mut BTreeSet<ObjectRef>,
    ) {
        let needed = [Kind::Service, Kind::ConfigMap, Kind::Secret];
        let needed = changed.iter().filter(|object| needed.contains(&object.kind)).chain(shared);
        let users = needed.flat_map(|object| self.world.referrers(object, Kind::Route));
        let own = changed.iter().filter(|object| object.kind == Kind::Route);
        let mut allowed = BTreeSet::new();
        for api in changed.iter().filter(|object| object.kind == Kind::HttpApi) {
            let now = (route::most_timeout(&self.world, api), route::key_source(&self.world, api));
            if self.terms.insert(api.clone(), now) != Some(now) {
                allowed.insert(api.clone());
            }
            if self.world.http_api(api).is_none() {
                self.terms.remove(api);
            }
        }
        let users = users.chain(allowed.iter().flat_map(|api| self.world.referrers(api, Kind::Route)));
        let routes: BTreeSet<ObjectRef> = own.chain(users).cloned().collect();
        for object in routes {
            let item = self.world.route(&object).cloned();
            let api =
                item.as_ref().map(|item| ObjectRef::new(Kind::HttpApi, &object.namespace, &item.spec.api_ref.name));
            if let Some(before) = self.join(&object, api.as_ref()) {
                if api.as_ref() != Some(&before)
                    && let Some(state) = self.apis.get_mut(&before)
                {
                    state.routes.remove(&object.name);
                }
                dirty.insert(before);
            }
            if let (Some(item), Some(api)) = (item, api) {
                let looked = route::evaluate(&self.world, &self.shared, &object, &item.spec);
                self.apis.entry(api.clone()).or_default().put_route(&object.name, item, looked);
                dirty.insert(api);
            }
        }
    }

    /// Remembers which API an object belongs to. Returns the one that it belonged to.
    fn join(&mut self, object: &ObjectRef, api: Option<&ObjectRef>) -> Option<ObjectRef> {
        match api {
            Some(api) => self.members.insert(object.clone(), api.clone()),
            None => self.members.remove(object),
        }
    }

    fn find_dirty_apis(&mut self, changed: &BTreeSet<ObjectRef>, dirty: &mut BTreeSet<ObjectRef>) {
        for object in changed {
            let api = match object.kind {
                Kind::HttpApi => {
                    dirty.insert(object.clone());
                    continue;
                }
                Kind::Stage => self.world.stage(object).map(|item| &item.spec.api_ref),
                Kind::ApiDeployment => self.world.deployment(object).map(|item| &item.spec.spec.api_ref),
                _ => continue,
            };
            let api = api.map(|api| ObjectRef::new(Kind::HttpApi, &object.namespace, &api.name));
            dirty.extend(self.join(object, api.as_ref()));
            dirty.extend(api);
        }
    }

    /// Older APIs first, since they keep their ids.
    fn by_age(&self, apis: BTreeSet<ObjectRef>) -> Vec<ObjectRef> {
        let mut apis: Vec<ObjectRef> = apis.into_iter().collect();
        apis.sort_by_key(|api| self.world.http_api(api).and_then(|item| item.created.as_ref().map(|time| time.0)));
        apis
    }

    /// Adds to `users` the shared objects whose verdict may have changed, and to `needed` the services whose endpoints
    /// may have come or gone.
    fn translate_api(
        &mut self,
        api: &ObjectRef,
        changes: &mut Changes,
        users: &mut BTreeSet<ObjectRef>,
        needed: &mut BTreeSet<ObjectRef>,
    ) {
        let mut state = self.apis.remove(api).unwrap_or_default();
        let exists = self.world.http_api(api).is_some();
        let mut scope = Scope {
            world: &self.world,
            settings: &self.settings,
            revision: self.revision,
            shared: &self.shared,
            document: self.documents.get(api),
            ids: &mut self.ids,
            captures: &mut self.captures,
            restored_stages: &mut self.restored_stages,
            restored: if exists { self.restored_apis.remove(api) } else { None },
        };
        let ApiChanges { units, services, verdicts, records, following_changed } = state.translate(api, &mut scope);
        let mut fleets = Fleets::default();
        fleets.insert(state.fleet());
        let mut ids = BTreeSet::new();
        for (id, content) in units {
            if ids.insert(id.clone()) {
                self.publish(id, content, fleets, changes);
            }
        }
        for gone in state.units.difference(&ids) {
            self.published.remove(gone);
            changes.deletes.push(gone.clone());
        }
        state.units = ids;
        self.need(api, services, &mut state, needed);
        for verdict in verdicts {
            // A route that is reported may use another Integration than before, or the first.
            if following_changed || verdict.object.kind == Kind::Route {
                self.shared_by(&verdict.object, users);
            }
            self.report(verdict, changes);
        }
        changes.records.extend(records);
        if !state.is_empty(api, &self.world) {
            self.apis.insert(api.clone(), state);
        }
    }

    fn publish(&mut self, id: UnitId, content: Content, fleets: Fleets, changes: &mut Changes) {
        let Content { hash, json } = content;
        if self.published.get(&id).is_some_and(|put| put.hash == hash && put.fleets == fleets) {
            return;
        }
        let put = Put { id: id.clone(), hash, json, fleets, revision: self.revision };
        self.published.insert(id, put.clone());
        changes.puts.push(put);
    }

    /// Notes the services whose endpoints an API needs, and who gets them.
    fn need(
        &mut self,
        api: &ObjectRef,
        services: BTreeSet<ServicePort>,
        state: &mut ApiState,
        needed: &mut BTreeSet<ObjectRef>,
    ) {
        let object = |port: &ServicePort| ObjectRef::new(Kind::Service, &port.namespace, &port.name);
        let now = (services, Some(state.fleet()));
        let before = std::mem::replace(&mut state.needs, now.clone());
        if before == now {
            return;
        }
        for port in before.0.difference(&now.0) {
            if let Some(apis) = self.services.get_mut(port) {
                apis.remove(api);
            }
            needed.insert(object(port));
        }
        let moved = before.1 != now.1;
        for port in now.0.iter().filter(|port| moved || !before.0.contains(port)) {
            self.services.entry(port.clone()).or_default().insert(api.clone());
            needed.insert(object(port));
        }
    }

    /// The Integration and the Authorizer that a route names.
    fn shared_by(&self, route: &ObjectRef, into: &mut BTreeSet<ObjectRef>) {
        let Some(item) = self.world.route(route) else { return };
        let named = |kind, name: &str| ObjectRef::new(kind, &route.namespace, name);
        into.extend(item.spec.integration_ref.as_ref().map(|to| named(Kind::Integration, &to.name)));
        into.extend(item.spec.authorizer_ref.as_ref().map(|to| named(Kind::Authorizer, &to.name)));
    }

    fn shared_verdicts(&mut self, objects: &BTreeSet<ObjectRef>, changes: &mut Changes) {
        for object in objects {
            let Some(found) = self.shared.findings(object) else { continue };
            let serving = if found.current {
                self.shared_serving(object, found.since)
            } else {
                Serving::Nowhere(Verdict::no(
                    Reason::NotAccepted,
                    "this version was refused; the last accepted one keeps serving",
                ))
            };
            let verdict = ObjectVerdict {
                object: object.clone(),
                uid: found.uid.to_owned(),
                generation: found.generation,
                accepted: found.accepted.clone(),
                resolved_refs: found.resolved.clone(),
                serving,
                api_id: None,
                api_endpoint: None,
                capture: None,
            };
            self.report(verdict, changes);
        }
    }

    /// A shared object has to be served wherever a route uses its accepted version.
    fn shared_serving(&self, object: &ObjectRef, since: u64) -> Serving {
        if object.kind == Kind::VpcLink {
            return Serving::When(vec![Requirement { unit: UnitId::link(&link::name(object)), revision: since }]);
        }
        let uses = |route: &&ObjectRef| {
            let state = self.members.get(*route).and_then(|api| self.apis.get(api));
            state.is_some_and(|state| state.serves_current(&route.name))
        };
        let routes = self.world.referrers(object, Kind::Route).filter(uses);
        let apis: BTreeSet<&ObjectRef> = routes.filter_map(|route| self.members.get(route)).collect();
        let states = apis.iter().filter_map(|api| self.apis.get(api));
        let requirements: Vec<_> = states.flat_map(|state| state.requirements(since)).collect();
        if requirements.is_empty() { Serving::NotNeeded(Reason::NotUsed) } else { Serving::When(requirements) }
    }

    /// Tells a verdict that is news. No proxy can acknowledge more than was published, so a requirement never asks for a
    /// revision that its unit did not change in.
    fn report(&mut self, mut verdict: ObjectVerdict, changes: &mut Changes) {
        if document::is_made(&verdict.object.name) {
            return; // their API says it
        }
        if let Serving::When(requirements) = &mut verdict.serving {
            for needed in requirements {
                if let Some(put) = self.published.get(&needed.unit) {
                    needed.revision = needed.revision.min(put.revision);
                }
            }
        }
        if self.verdicts.get(&verdict.object) != Some(&verdict) {
            self.verdicts.insert(verdict.object.clone(), verdict.clone());
            changes.verdicts.push(verdict);
        }
    }

    /// Looks at plans and keys that changed or that need something that did. APIs come first: plans name their ids.
    fn translate_plans(&mut self, changed: &BTreeSet<ObjectRef>, apis: &BTreeSet<ObjectRef>, changes: &mut Changes) {
        let world = &self.world;
        let of_kind = |kind| changed.iter().filter(move |object: &&ObjectRef| object.kind == kind);
        let stages = apis.iter().flat_map(|api| world.referrers(api, Kind::Stage));
        let stages = stages.chain(of_kind(Kind::Stage));
        let users = stages.flat_map(|stage| world.referrers(stage, Kind::UsagePlan));
        let plans: BTreeSet<ObjectRef> = users.chain(of_kind(Kind::UsagePlan)).cloned().collect();
        let users = of_kind(Kind::Secret).flat_map(|secret| world.referrers(secret, Kind::ApiKey));
        let keys: BTreeSet<ObjectRef> = users.chain(of_kind(Kind::ApiKey)).cloned().collect();
        if plans.is_empty() && keys.is_empty() {
            return;
        }
        let states = &self.apis;
        let api_id = |api: &ObjectRef| Some(states.get(api)?.identity.as_ref()?.api_id.clone());
        let found = self.plans.translate(world, &plans, keys, api_id, self.revision);
        let fleets = Fleets { public: true, private: true };
        for (id, content) in found.units {
            match content {
                Some(content) => self.publish(id, content, fleets, changes),
                None if self.published.remove(&id).is_some() => changes.deletes.push(id),
                None => {}
            }
        }
        for verdict in found.verdicts {
            self.report(verdict, changes);
        }
    }

    /// Looks again at Principals that changed or whose Secrets did, and publishes those of their namespaces wherever the namespace has APIs. Which
    /// routes ask for signatures does not matter: a stage may serve an old deployment.
    fn translate_principals(&mut self, changed: &BTreeSet<ObjectRef>, changes: &mut Changes) {
        let again = principals::changed(&self.world, changed);
        for object in &again {
            self.principals.look_at(&self.world, object, self.revision);
        }
        let apis = changed.iter().filter(|object| object.kind == Kind::HttpApi);
        let namespaces: BTreeSet<&str> = apis.chain(&again).map(|object| object.namespace.as_str()).collect();
        for namespace in namespaces {
            let id = UnitId::principals(namespace);
            let mut fleets = Fleets::default();
            if self.principals.has_any(namespace) {
                let apis = self.apis.iter().filter(|(api, _)| api.namespace == namespace && self.world.contains(api));
                apis.for_each(|(_, state)| fleets.insert(state.fleet()));
            }
            let content = self.principals.unit(&self.world, namespace);
            let published = fleets != Fleets::default();
            if published {
                self.publish(id.clone(), content, fleets, changes);
            } else if self.published.remove(&id).is_some() {
                changes.deletes.push(id.clone());
            }
            for verdict in self.principals.verdicts(namespace, published.then_some(&id)) {
                self.report(verdict, changes);
            }
        }
    }

    /// Publishes the endpoints of these services that an API needs, and withdraws those that none needs any more.
    fn translate_endpoints(&mut self, services: &BTreeSet<ObjectRef>, changes: &mut Changes) {
        for service in services {
            let first = ServicePort { namespace: service.namespace.clone(), name: service.name.clone(), port: 0 };
            let ports: Vec<(ServicePort, BTreeSet<ObjectRef>)> = self
                .services
                .range(first..)
                .take_while(|(port, _)| port.namespace == service.namespace && port.name == service.name)
                .map(|(port, apis)| (port.clone(), apis.clone()))
                .collect();
            for (port, apis) in ports {
                let id = UnitId::endpoints(&port);
                let mut fleets = Fleets::default();
                for state in apis.iter().filter_map(|api| self.apis.get(api)) {
                    fleets.insert(state.fleet());
                }
                if fleets == Fleets::default() {
                    self.services.remove(&port);
                    if self.published.remove(&id).is_some() {
                        changes.deletes.push(id);
                    }
                } else {
                    let content = Content::of(&Unit::Endpoints(endpoints::endpoints(&self.world, &port)));
                    self.publish(id, content, fleets, changes);
                }
            }
        }
    }
}
