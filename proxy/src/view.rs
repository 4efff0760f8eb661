//! A worker's own view of what is served: each stage with this worker's counters.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use rustc_hash::FxBuildHasher;

use crate::gateway::{Gateway, Served};
use crate::metrics::{PlanHandle, PlanResult, RouteHandle, RouteKey, StageHandle, StageKey, WorkerMetrics};

/// A stage, held without touching a counter that other workers write.
#[derive(Debug)]
pub(crate) struct StageView {
    pub(crate) served: Arc<Served>,
    pub(crate) stage: StageHandle,
    /// By route number; `Some` where detailed metrics are on (H-MET-8).
    pub(crate) routes: Box<[Option<RouteHandle>]>,
}

/// What a worker serves, with its counters.
#[derive(Debug, Default)]
pub(crate) struct Views {
    /// By their slots.
    stages: RefCell<HashMap<u64, Rc<StageView>, FxBuildHasher>>,
    /// Usage plans by their ids.
    plans: RefCell<HashMap<Box<str>, PlanHandle, FxBuildHasher>>,
}

impl Views {
    pub(crate) fn get(&self, served: &Served) -> Option<Rc<StageView>> {
        self.stages.borrow().get(&served.slot.0).map(Rc::clone)
    }

    /// Counts a request of a plan. A plan that went away meanwhile is not counted any more.
    pub(crate) fn count_plan(&self, plan: &str, result: PlanResult) {
        if let Some(handle) = self.plans.borrow().get(plan) {
            handle.count(result);
        }
    }

    /// Makes views of what is new in `gateway` and forgets what is gone.
    pub(crate) fn update(&self, gateway: &Gateway, metrics: &WorkerMetrics) {
        let mut plans = self.plans.borrow_mut();
        let mut handle = |id: &str| (id.into(), plans.remove(id).unwrap_or_else(|| metrics.plan_handle(id)));
        let handles = gateway.plans.all().map(|plan| handle(&plan.id)).collect();
        *plans = handles;
        let mut known = self.stages.borrow_mut();
        *known = gateway
            .served()
            .map(|served| {
                let slot = served.slot.0;
                let same = known.get(&slot).filter(|view| Arc::ptr_eq(&view.served, served)).map(Rc::clone);
                (slot, same.unwrap_or_else(|| Rc::new(view(served, metrics))))
            })
            .collect();
    }
}

fn view(served: &Arc<Served>, metrics: &WorkerMetrics) -> StageView {
    let stage = &served.stage;
    let key = StageKey {
        api_id: stage.api.api_id.clone(),
        api: format!("{}/{}", stage.api.namespace, stage.api.name),
        stage: stage.stage_name.to_string(),
    };
    let routes = stage.deployment.iter().flat_map(|deployment| &deployment.routes);
    let routes = routes.zip(&stage.policies).map(|(route, policy)| {
        let (method, resource) = route.key_text.split_once(' ').unwrap_or(("ANY", &route.key_text));
        let key = || RouteKey { stage: key.clone(), method: method.to_owned(), resource: resource.to_owned() };
        policy.detailed_metrics.then(|| metrics.route_handle(&key()))
    });
    let routes = routes.collect();
    StageView { served: Arc::clone(served), stage: metrics.stage_handle(&key), routes }
}
