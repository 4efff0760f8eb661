//! Counters of the proxy, and how Prometheus sees them.
//!
//! Each worker writes its own cells with a plain load and store, without a locked instruction and without sharing a cache line
//! with another worker; a scrape adds them up. The doors are [`Metrics`] (one per process), [`WorkerMetrics`] (one per worker thread),
//! the handles it gives for stages and routes, and [`ControlMetrics`] for everything off the request path.
//!
//! Series are keyed by names that outlive configuration, so a deploy never resets a count (promise P6), and bounded (promise P9):
//! what does not fit is counted under `other`.

mod control;
mod expose;
mod plans;
mod process;
mod series;
mod usage;

use std::collections::HashMap;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

pub use control::ControlMetrics;
pub use plans::{PlanHandle, PlanResult};
pub use process::Counter;
pub use series::{MethodLabel, RouteHandle, RouteKey, StageHandle, StageKey};
pub use usage::UsageStoreMetrics;

use control::Maker;
use plans::PlanCells;
use process::ProcessCells;
use series::Cells;

/// Most stages with series of their own.
pub const MAX_STAGES: usize = 1_000;
/// Most routes with series of their own (`detailedMetricsEnabled`); each is some forty lines of a scrape.
pub const MAX_ROUTES: usize = 2_000;
/// Most usage plans with series of their own; AWS allows an account 300 (R-PLAN-8).
pub const MAX_PLANS: usize = 1_000;

/// All metrics of a process; a clone is a pointer.
#[derive(Clone, Debug)]
pub struct Metrics {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    workers: Mutex<Vec<Arc<WorkerCells>>>,
    control: ControlMetrics,
    usage_store: OnceLock<UsageStoreMetrics>,
    registry: prometheus::Registry,
}

/// What one worker writes.
#[derive(Debug, Default)]
struct WorkerCells {
    process: ProcessCells,
    /// Locked when a handle is made and at a scrape, never to record.
    stages: Mutex<HashMap<StageKey, Arc<Cells<{ MethodLabel::COUNT }>>>>,
    routes: Mutex<HashMap<RouteKey, Arc<Cells<1>>>>,
    plans: Mutex<HashMap<Box<str>, Arc<PlanCells>>>,
}

impl Metrics {
    /// Metrics that all stand at zero.
    pub fn new() -> Self {
        let registry = prometheus::Registry::new();
        let control = ControlMetrics::new(&registry);
        let workers = Mutex::default();
        Self { shared: Arc::new(Shared { workers, control, usage_store: OnceLock::new(), registry }) }
    }

    /// Cells for one more worker. Called on the worker's own thread, once.
    pub fn worker(&self) -> WorkerMetrics {
        let cells = Arc::new(WorkerCells::default());
        lock(&self.shared.workers).push(Arc::clone(&cells));
        WorkerMetrics { cells, one_thread: PhantomData }
    }

    /// Metrics of the feed, the keys, the certificates, the logs.
    pub fn control(&self) -> &ControlMetrics {
        &self.shared.control
    }

    /// Metrics of the store that usage plans share; shown from the first call on.
    pub fn usage_store(&self) -> &UsageStoreMetrics {
        self.shared.usage_store.get_or_init(|| UsageStoreMetrics::new(&Maker { registry: &self.shared.registry }))
    }

    /// Everything in Prometheus' text format 0.0.4.
    pub fn encode(&self) -> String {
        expose::encode(&lock(&self.shared.workers), &self.shared.registry)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// The cells of one worker. Not `Send`: only the worker's thread may write them.
#[derive(Clone, Debug)]
pub struct WorkerMetrics {
    cells: Arc<WorkerCells>,
    one_thread: PhantomData<Rc<()>>,
}

impl WorkerMetrics {
    /// Adds one.
    pub fn count(&self, counter: Counter) {
        self.cells.process.add(counter, 1);
    }

    /// Adds `amount`.
    pub fn add(&self, counter: Counter, amount: u64) {
        self.cells.process.add(counter, amount);
    }

    /// The series of a stage. Made once per snapshot and kept with it; the same key always reaches the same counts.
    pub fn stage_handle(&self, key: &StageKey) -> StageHandle {
        StageHandle::new(cells_of(&mut lock(&self.cells.stages), key, MAX_STAGES, StageKey::other))
    }

    /// The series of a route with `detailedMetricsEnabled` (H-MET-3).
    pub fn route_handle(&self, key: &RouteKey) -> RouteHandle {
        RouteHandle::new(cells_of(&mut lock(&self.cells.routes), key, MAX_ROUTES, RouteKey::other))
    }

    /// The series of a usage plan, by its `namespace/name`.
    pub fn plan_handle(&self, plan: &str) -> PlanHandle {
        PlanHandle::new(cells_of(&mut lock(&self.cells.plans), &plan.into(), MAX_PLANS, || "other".into()))
    }
}

/// The cells of `key`. At the bound, series that no snapshot refers to any more make room, and if none does, `other` counts.
fn cells_of<K: Clone + Eq + std::hash::Hash, C: Default>(
    series: &mut HashMap<K, Arc<C>>,
    key: &K,
    bound: usize,
    other: fn() -> K,
) -> Arc<C> {
    if let Some(cells) = series.get(key) {
        return Arc::clone(cells);
    }
    if series.len() >= bound {
        series.retain(|_, cells| Arc::strong_count(cells) > 1);
    }
    let key = if series.len() >= bound { other() } else { key.clone() };
    Arc::clone(series.entry(key).or_default())
}

/// Nothing panics while holding one of these locks half way through a change, so a poisoned one is as good as new.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(name: &str) -> StageKey {
        StageKey { api_id: "a1b2c3d4e5".into(), api: "shop/orders".into(), stage: name.into() }
    }

    #[test]
    fn a_key_reaches_the_same_counts_through_every_handle() {
        let metrics = Metrics::new();
        let worker = metrics.worker();
        worker.stage_handle(&stage("prod")).record_status(MethodLabel::Get, 200);
        worker.stage_handle(&stage("prod")).record_status(MethodLabel::Get, 204);
        metrics.worker().stage_handle(&stage("prod")).record_status(MethodLabel::Get, 299);
        let text = metrics.encode();
        let line =
            r#"tollgate_count_total{api="shop/orders",api_id="a1b2c3d4e5",method="GET",stage="prod",status="2xx"} 3"#;
        assert!(text.contains(line), "{text}");
    }

    #[test]
    fn stages_past_the_bound_count_as_other_until_some_are_gone() {
        let metrics = Metrics::new();
        let worker = metrics.worker();
        let mut held: Vec<_> = (0..MAX_STAGES).map(|n| worker.stage_handle(&stage(&format!("s{n}")))).collect();
        worker.stage_handle(&stage("late")).record_status(MethodLabel::Get, 200);
        let text = metrics.encode();
        assert!(!text.contains(r#"stage="late""#), "{text}");
        assert!(
            text.contains(
                r#"tollgate_count_total{api="other",api_id="other",method="GET",stage="other",status="2xx"} 1"#
            )
        );
        held.truncate(MAX_STAGES - 1);
        worker.stage_handle(&stage("late")).record_status(MethodLabel::Get, 200);
        assert!(metrics.encode().contains(r#"stage="late""#));
    }
}
