//! The state of `tollgate dev`: files, objects, backends and what the proxy was given, one update at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};
use tollgate_crds::SecretKeyRef;
use tollgate_engine::snapshot::{Unit, UnitReport};
use tollgate_proxy::units::{Batch, Held, Publisher, UnitSet};
use tollgate_translate::Fleet;

use super::addresses::{self, Apis};
use super::generated::Generated;
use super::pods::{Pods, Stopping};
use super::workloads::{self, Endpoints};
use crate::load::Parsed;
use crate::load::tree::{Change, Tree};
use crate::problem::{ObjectKey, Problem};
use crate::report::arrange;
use crate::verdicts::Judge;

/// `host:port` → address, for names of Services in URLs.
pub type Hosts = std::collections::HashMap<(String, u16), std::net::SocketAddr>;

/// Everything `tollgate dev` knows.
pub struct Session {
    tree: Tree,
    judge: Judge,
    pods: Pods,
    generated: Generated,
    units: UnitSet,
    publisher: Arc<dyn Publisher>,
    publish_hosts: Box<dyn Fn(&Hosts) + Send>,
    slices: BTreeMap<(String, String), Value>,
    refused_by_proxy: Vec<UnitReport>,
    problems: Vec<Problem>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("units", &self.units.len()).finish_non_exhaustive()
    }
}

/// What an update did.
#[derive(Debug)]
pub struct Outcome {
    /// Objects that are new, changed (true) or gone (false).
    pub changed: Vec<(ObjectKey, bool)>,
    /// Problems that were not there before.
    pub appeared: Vec<Problem>,
    /// How many problems there are now.
    pub problems: usize,
    /// How many of the problems before are gone.
    pub solved: usize,
    /// Backends that nothing leads to any more; dropping it stops them.
    pub stopping: Stopping,
    /// Values that were given to API keys without one: `namespace/name` and value.
    pub generated: Vec<(String, String)>,
}

impl Session {
    /// Nothing is loaded yet. API keys without a value get one of `generated`. `publish_hosts` is told where the names of Services lead.
    pub fn new(
        judge: Judge,
        pods: Pods,
        generated: Generated,
        publisher: Arc<dyn Publisher>,
        publish_hosts: Box<dyn Fn(&Hosts) + Send>,
    ) -> Self {
        Self {
            tree: Tree::default(),
            judge,
            pods,
            generated,
            units: UnitSet::default(),
            publisher,
            publish_hosts,
            slices: BTreeMap::new(),
            refused_by_proxy: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// Files and objects.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// The APIs that are served.
    pub fn apis(&self) -> Apis {
        addresses::apis(self.units.iter().filter_map(|(_, held)| match &held.unit {
            Unit::Stage(stage) => Some(stage),
            _ => None,
        }))
    }

    /// Everything that is wrong, in order.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Deployments that nothing runs here.
    pub fn not_run(&self) -> Vec<ObjectKey> {
        workloads::wanted(self.tree.objects()).foreign
    }

    /// Takes in files that changed: new requests see the result when this returns. `found` is what was wrong with looking
    /// for files.
    pub fn update(&mut self, files: Vec<(PathBuf, Option<Parsed>)>, found: Vec<Problem>) -> Outcome {
        let changes = self.tree.update(files);
        self.judge.apply(&changes, &self.tree);
        let generated = self.generate();
        let mut problems = found;
        let stopping = self.run_backends(&mut problems);
        self.publish(&mut problems);
        problems.extend(self.tree.problems());
        problems.extend(self.judge.problems(&self.tree));
        problems.extend(self.refused_by_proxy.iter().flat_map(proxy_problems));
        let (problems, omitted) = arrange(problems);
        let before = std::mem::replace(&mut self.problems, problems);
        let same = |left: &Problem, right: &Problem| {
            (&left.code, &left.object, &left.field, &left.message)
                == (&right.code, &right.object, &right.field, &right.message)
        };
        let appeared: Vec<Problem> =
            self.problems.iter().filter(|new| !before.iter().any(|old| same(old, new))).cloned().collect();
        let solved = before.iter().filter(|old| !self.problems.iter().any(|new| same(old, new))).count();
        let changed = changes.into_iter().map(|change| match change {
            Change::Apply(object) => (object.key, true),
            Change::Delete(key) => (key, false),
        });
        Outcome {
            changed: changed.collect(),
            appeared,
            problems: self.problems.len() + omitted,
            solved,
            stopping,
            generated,
        }
    }

    fn generate(&mut self) -> Vec<(String, String)> {
        let without = self.judge.without_value();
        let mut generated = Vec::new();
        for (key, secret) in without {
            let value = self.generated.value(&key).to_owned();
            let entry = SecretKeyRef::by_name("").key;
            self.judge.put(json!({
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": secret.name, "namespace": secret.namespace},
                "stringData": {entry: value},
            }));
            generated.push((key, value));
        }
        generated
    }

    fn run_backends(&mut self, problems: &mut Vec<Problem>) -> Stopping {
        let wanted = workloads::wanted(self.tree.objects());
        problems.extend(wanted.problems);
        let (stopping, failed) = self.pods.update(&wanted.workloads);
        for (key, why) in failed {
            let message = format!("the backend of {key} does not start: {why}");
            problems.extend(self.tree.object(&key).map(|object| object.problem("BackendFailed", "", message)));
        }
        let Endpoints { slices, hosts, problems: unreachable } =
            workloads::endpoints(self.tree.objects(), &wanted.workloads, &self.pods.addresses());
        problems.extend(unreachable);
        for (namespace, name) in self.slices.keys().filter(|name| !slices.contains_key(*name)) {
            self.judge.delete(&ObjectKey {
                api_version: "discovery.k8s.io/v1".into(),
                kind: "EndpointSlice".into(),
                namespace: namespace.clone(),
                name: name.clone(),
            });
        }
        for slice in slices.values() {
            self.judge.put(slice.clone());
        }
        self.slices = slices;
        (self.publish_hosts)(&hosts);
        stopping
    }

    fn publish(&mut self, problems: &mut Vec<Problem>) {
        let changes = self.judge.translate();
        let first = self.units.is_empty() && changes.puts.is_empty();
        if changes.puts.is_empty() && changes.deletes.is_empty() && !first {
            return;
        }
        let mut batch = Batch::new(false);
        let deletes = changes.deletes.into_iter().map(|id| batch.delete(id)).collect::<Result<Vec<_>, _>>();
        let puts = changes
            .puts
            .into_iter()
            .map(|put| {
                // Both fleets are this one proxy.
                let ours = put.fleets.contains(Fleet::Public) || put.fleets.contains(Fleet::Private);
                let held = Held { unit: put.unit(), bytes: put.json.len() as u64, hash: put.hash };
                if ours { batch.put(put.id, held) } else { batch.delete(put.id) }
            })
            .collect::<Result<Vec<_>, _>>();
        match deletes.and(puts).and_then(|_| self.units.apply(batch)) {
            Ok(units) => {
                self.refused_by_proxy = self.publisher.publish(&units);
                self.units = units;
            }
            Err(error) => {
                problems.push(Problem::new("TooMuch", error.to_string()));
                if self.units.is_empty() {
                    // Clients wait for the first configuration; let them hear that there is none.
                    self.publisher.publish(&self.units);
                }
            }
        }
    }
}

/// What the proxy could not use, although translation accepted it.
fn proxy_problems(report: &UnitReport) -> Vec<Problem> {
    let told: BTreeSet<(&str, &str, &str)> = report
        .problems
        .iter()
        .map(|problem| (problem.source.as_str(), problem.path.as_str(), problem.message.as_str()))
        .collect();
    told.into_iter()
        .map(|(source, path, message)| {
            let message = format!("{source}: {message} ({path} of {})", report.id);
            Problem::new("RefusedByProxy", message)
        })
        .collect()
}
