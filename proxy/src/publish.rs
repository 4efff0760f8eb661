//! From units to a [`Gateway`]: compiled on the calling thread, which is never a worker, and handed to every worker.

mod links;

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use rustc_hash::FxBuildHasher;
use tokio::sync::mpsc;
use tollgate_engine::deployment::{Backend, Check, Deployment, Destination, Stage};
use tollgate_engine::principal::Principals;
use tollgate_engine::snapshot;
use tollgate_engine::snapshot::{
    ApiIdentity, AuthorizerCheck, BackendProtocol, BackendTls, ContentHash, Problem, ServicePort, Unit, UnitId,
    UnitReport,
};
use tollgate_engine::throttle::{AccountLimit, Meters};

use crate::authorize::answers::Answers;
use crate::domains::{self, KnownDomains};
use crate::gateway::{Api, AuthorizerHandle, Gateway, Served, Service, Slot, Target, Tls, TokenHandle};
use crate::health::HealthChecks;
use crate::jwks::Jwks;
use crate::tls::{ClientConfigs, DomainConfigs};
use crate::units::{Held, Publisher, UnitSet};
use crate::upstream::Endpoints;
use crate::usage::{PlansState, SharedThrottle, UsageMeters};
use crate::worker::Command;
use links::{LinkUse, Links};

/// TLS in both directions.
#[derive(Debug)]
pub(crate) struct TlsConfigs {
    /// Trust towards backends.
    pub(crate) backends: ClientConfigs,
    /// Of custom domains; `None` without an HTTPS listener.
    pub(crate) domains: Option<DomainConfigs>,
}

/// Compiles sets of units and hands them to the workers.
#[derive(Debug)]
pub(crate) struct Publication {
    base_domain: String,
    account_id: String,
    account: AccountLimit,
    meters: Meters,
    /// Where throttles are shared, if they are.
    shared: Option<UsageMeters>,
    jwks: Jwks,
    tls: TlsConfigs,
    checks: HealthChecks,
    endpoints: Endpoints,
    workers: Vec<mpsc::UnboundedSender<Command>>,
    epoch: Instant,
    state: Mutex<State>,
}

/// What the next compilation can use again.
#[derive(Debug, Default)]
struct State {
    deployments: HashMap<ContentHash, Compiled<Deployment>>,
    stages: HashMap<UnitId, CompiledStage>,
    principals: HashMap<String, (ContentHash, Compiled<Principals>)>,
    services: Slots<ServicePort>,
    links: Slots<LinkUse>,
    balancers: Links,
    tokens: Slots<(Vec<String>, AuthorizerCheck)>,
    /// A change of an authorizer gives it an empty cache (H-LA-38); any other change none.
    answers: AnswerCaches,
    stage_slots: Slots<UnitId>,
    plans: PlansState,
    domains: KnownDomains,
    /// Gateways that workers may still hold: freed here and not on a worker, where it would hold up requests.
    retired: Vec<Arc<Gateway>>,
}

#[derive(Clone, Debug)]
struct Compiled<T> {
    value: Arc<T>,
    problems: Vec<Problem>,
}

#[derive(Clone, Debug)]
struct CompiledStage {
    held: Arc<Held>,
    served: Arc<Served>,
    problems: Vec<Problem>,
}

impl Publication {
    /// `account_id` is the account that principals belong to; `shared` is where proxies share throttles, if they do.
    pub(crate) fn new(
        (base_domain, account_id): (String, String),
        (account, shared): (AccountLimit, Option<UsageMeters>),
        jwks: Jwks,
        tls: TlsConfigs,
        checks: HealthChecks,
        workers: Vec<mpsc::UnboundedSender<Command>>,
        epoch: Instant,
    ) -> Self {
        let state = Mutex::default();
        let (meters, endpoints) = (Meters::new(), Endpoints::default());
        Self { base_domain, account_id, account, meters, shared, jwks, tls, checks, endpoints, workers, epoch, state }
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn compile(&self, state: &mut State, units: &UnitSet) -> (Arc<Gateway>, Vec<UnitReport>) {
        let mut reports = Vec::new();
        let mut report = |id: &UnitId, held: &Held, problems: &[Problem]| {
            if !problems.is_empty() {
                reports.push(UnitReport { id: id.clone(), hash: held.hash.clone(), problems: problems.to_vec() });
            }
        };

        let mut deployments = HashMap::new();
        for (id, held) in units.iter() {
            let Unit::Deployment(wire) = &held.unit else { continue };
            let compiled = state.deployments.remove(&held.hash).unwrap_or_else(|| {
                let known = state.deployments.values().chain(deployments.values());
                let before =
                    known.map(|compiled: &Compiled<Deployment>| &*compiled.value).find(|known| known.api == wire.api);
                let (deployment, problems) = Deployment::compile_after(wire, held.hash.clone(), before);
                Compiled { value: Arc::new(deployment), problems }
            });
            report(id, held, &compiled.problems);
            deployments.insert(held.hash.clone(), compiled);
        }
        state.deployments = deployments;

        let mut stages = HashMap::new();
        let mut apis: BTreeMap<ApiIdentity, Vec<Arc<Served>>> = BTreeMap::new();
        for (id, held) in units.iter() {
            let Unit::Stage(wire) = &held.unit else { continue };
            let deployment =
                wire.deployment.as_ref().and_then(|hash| state.deployments.get(hash)).map(|d| Arc::clone(&d.value));
            let known = state.stages.remove(id).filter(|known| {
                let same =
                    known.served.stage.deployment.as_ref().map(Arc::as_ptr) == deployment.as_ref().map(Arc::as_ptr);
                same && known.held.hash == held.hash
            });
            let compiled = known.unwrap_or_else(|| self.stage(state, id, held, wire, deployment));
            report(id, held, &compiled.problems);
            apis.entry(wire.api.clone()).or_default().push(Arc::clone(&compiled.served));
            stages.insert(id.clone(), compiled);
        }
        state.stages = stages;

        let services = units.iter().filter_map(|(_, held)| match &held.unit {
            Unit::Endpoints(endpoints) => {
                let addresses = endpoints.endpoints.iter().map(|end| SocketAddr::new(end.address, end.port)).collect();
                let http2 = endpoints.protocol == Some(BackendProtocol::Http2);
                Some((state.services.peek(&endpoints.service)?, Service { addresses, http2 }))
            }
            _ => None,
        });
        let apis = apis.into_iter().map(|(identity, served)| Arc::new(api(identity, served))).collect();
        let mut gateway = Gateway::new(&self.base_domain, apis, services);
        let slots = &state.stages;
        let slot = |id: &UnitId| slots.get(id).map(|stage| stage.served.slot.0);
        gateway.plans = state.plans.compile(units.iter(), slot, &mut report);
        let stage = |id: &UnitId| state.stages.get(id).map(|compiled| Arc::clone(&compiled.served));
        gateway.domains = domains::compile(&mut state.domains, units, self.tls.domains.as_ref(), stage, &mut report);
        let mut principals = HashMap::new();
        for (id, held) in units.iter() {
            let Unit::Principals(wire) = &held.unit else { continue };
            let known = state.principals.remove(&wire.namespace).filter(|(hash, _)| *hash == held.hash);
            let (hash, compiled) = known.unwrap_or_else(|| {
                let (compiled, problems) = Principals::compile(wire, &self.account_id);
                (held.hash.clone(), Compiled { value: Arc::new(compiled), problems })
            });
            report(id, held, &compiled.problems);
            gateway.principals.insert(wire.namespace.as_str().into(), Arc::clone(&compiled.value));
            principals.insert(wire.namespace.clone(), (hash, compiled));
        }
        state.principals = principals;
        gateway.links = self.links(state, units, &mut reports);
        gateway.credentials = units
            .iter()
            .filter_map(|(id, held)| match &held.unit {
                Unit::Credentials(credentials) => Some((id.clone(), Arc::new(credentials.clone()))),
                _ => None,
            })
            .collect();
        let gateway = Arc::new(gateway);
        state.links.sweep();
        state.services.sweep();
        state.tokens.sweep();
        state.answers.0.retain(|_, answers| answers.strong_count() > 0);
        state.stage_slots.sweep();
        (gateway, reports)
    }

    fn stage(
        &self,
        state: &mut State,
        id: &UnitId,
        held: &Arc<Held>,
        wire: &snapshot::Stage,
        deployment: Option<Arc<Deployment>>,
    ) -> CompiledStage {
        let missing = wire.deployment.is_some() && deployment.is_none();
        let (stage, mut problems) = Stage::compile(wire, deployment, &self.account, &self.meters, self.now_ns());
        if missing {
            problems.push(Problem {
                source: wire.source.clone(),
                path: "deployment".to_owned(),
                message: "the deployment that the stage names did not come with it".to_owned(),
            });
        }
        let mut targets = Vec::with_capacity(stage.calls.len());
        for call in &stage.calls {
            let destination = match call.as_ref().map(|call| &call.backend) {
                Ok(Backend::Http(http)) => &http.destination,
                Ok(Backend::Lambda(lambda)) => &lambda.destination,
                Ok(Backend::Aws(aws)) => match &aws.endpoint {
                    Some(endpoint) => endpoint,
                    None => {
                        // The name is that of the region, which a request may choose.
                        let tls = self.client_tls(&wire.source, Some(&BackendTls::default()), "", &mut problems);
                        targets.push(Target::Origin { tls });
                        continue;
                    }
                },
                Err(_) => {
                    targets.push(Target::Origin { tls: None });
                    continue;
                }
            };
            targets.push(self.target(state, wire, destination, &mut problems));
        }
        let mut authorizers = Vec::new();
        for authorizer in stage.deployment.iter().flat_map(|deployment| &deployment.authorizers) {
            let wire_check = &authorizer.wire;
            authorizers.push(match &authorizer.check {
                Check::Jwt(policy) => AuthorizerHandle::Jwt(TokenHandle {
                    jwks: self.jwks.handle(&wire_check.source, policy.issuer(), policy.jwks_uri()),
                    cache: state.tokens.slot(&(wire_check.identity_source.clone(), wire_check.check.clone())),
                }),
                Check::Lambda(policy) => AuthorizerHandle::Lambda {
                    target: self.target(state, wire, &policy.call.destination, &mut problems),
                    answers: state.answers.get(&(id.clone(), wire.authorizer_cache.clone(), wire_check.clone())),
                },
            });
        }
        let throttles = self.throttles(&stage);
        let served = Arc::new(Served { stage, targets, authorizers, throttles, slot: state.stage_slots.slot(id) });
        CompiledStage { held: Arc::clone(held), served, problems }
    }

    /// Found by stable names, so that they outlive the configuration as local buckets do (promise P6).
    fn throttles(&self, stage: &Stage) -> Vec<Option<SharedThrottle>> {
        let Some(meters) = &self.shared else { return Vec::new() };
        let scope = format!("{}/{}", stage.api.api_id, stage.stage_name);
        let routes = stage.deployment.iter().flat_map(|deployment| &deployment.routes);
        let each = routes.zip(&stage.policies);
        each.map(|(route, policy)| meters.throttle(&scope, &route.key_text, &policy.throttle.as_ref()?.0)).collect()
    }

    fn target(
        &self,
        state: &mut State,
        wire: &snapshot::Stage,
        destination: &Destination,
        problems: &mut Vec<Problem>,
    ) -> Target {
        match destination {
            Destination::Service { service, tls, link } => {
                let tls = tls.as_ref().and_then(|tls| {
                    let name = format!("{}.{}.svc", service.name, service.namespace);
                    self.client_tls(&wire.source, Some(tls), &name, problems)
                });
                match link {
                    None => Target::Service { service: state.services.slot(service), tls },
                    Some(link) => {
                        let from = wire.api.namespace.clone();
                        let used = LinkUse { link: link.clone(), from, service: service.clone() };
                        Target::Linked { link: state.links.slot(&used), tls }
                    }
                }
            }
            Destination::Origin { tls, host, .. } => {
                Target::Origin { tls: self.client_tls(&wire.source, tls.as_ref(), host, problems) }
            }
        }
    }

    fn client_tls(
        &self,
        source: &str,
        tls: Option<&BackendTls>,
        name: &str,
        problems: &mut Vec<Problem>,
    ) -> Option<Tls> {
        let tls = tls?;
        let server_name = tls.server_name_to_verify.as_deref().unwrap_or(name).into();
        match self.tls.backends.get(tls) {
            Ok((config, id)) => Some(Tls { config, id, server_name }),
            Err(error) => {
                problems.push(Problem {
                    source: source.to_owned(),
                    path: "tls.caRef".to_owned(),
                    message: error.to_string(),
                });
                // Nothing is trusted, so every call fails: closed, not open (promise P3).
                let (config, id) = self.tls.backends.trusting_nothing();
                Some(Tls { config, id, server_name })
            }
        }
    }
}

impl Publisher for Publication {
    fn publish(&self, units: &UnitSet) -> Vec<UnitReport> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (gateway, reports) = self.compile(&mut state, units);
        for worker in &self.workers {
            // A worker that is gone has drained.
            let _ = worker.send(Command::Serve(Arc::clone(&gateway)));
        }
        state.retired.retain(|old| Arc::strong_count(old) > 1);
        state.retired.push(gateway);
        drop(state);
        self.meters.sweep(self.now_ns());
        reports
    }
}

fn api(identity: ApiIdentity, served: Vec<Arc<Served>>) -> Api {
    let (default, mut stages): (Vec<_>, Vec<_>) = served.into_iter().partition(|served| served.stage.is_default());
    stages.sort_by(|a, b| a.stage.stage_name.cmp(&b.stage.stage_name));
    Api { identity, stages, default: default.into_iter().next() }
}

/// Answers of authorizers' functions by stage and authorizer, as long as somebody holds them.
#[derive(Debug, Default)]
struct AnswerCaches(HashMap<AnswersOf, Weak<Answers>>);

/// The stage, its name for them, and the authorizer.
type AnswersOf = (UnitId, Option<ContentHash>, snapshot::Authorizer);

impl AnswerCaches {
    fn get(&mut self, key: &AnswersOf) -> Arc<Answers> {
        if let Some(answers) = self.0.get(key).and_then(Weak::upgrade) {
            return answers;
        }
        let answers = Arc::new(Answers::default());
        self.0.insert(key.clone(), Arc::downgrade(&answers));
        answers
    }
}

/// Gives each key a number as long as somebody holds it.
#[derive(Debug)]
struct Slots<K> {
    held: HashMap<K, Weak<Slot>, FxBuildHasher>,
    next: u64,
}

impl<K> Default for Slots<K> {
    fn default() -> Self {
        Self { held: HashMap::default(), next: 0 }
    }
}

impl<K: Eq + Hash + Clone> Slots<K> {
    fn slot(&mut self, key: &K) -> Arc<Slot> {
        if let Some(slot) = self.held.get(key).and_then(Weak::upgrade) {
            return slot;
        }
        self.next += 1;
        let slot = Arc::new(Slot(self.next));
        self.held.insert(key.clone(), Arc::downgrade(&slot));
        slot
    }

    /// Every key that anybody holds.
    fn held(&self) -> Vec<(K, Arc<Slot>)> {
        self.held.iter().filter_map(|(key, slot)| Some((key.clone(), slot.upgrade()?))).collect()
    }

    /// The number of `key` if anybody holds it.
    fn peek(&self, key: &K) -> Option<u64> {
        self.held.get(key).and_then(Weak::upgrade).map(|slot| slot.0)
    }

    fn sweep(&mut self) {
        self.held.retain(|_, slot| slot.strong_count() > 0);
    }
}
