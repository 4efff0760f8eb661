//! A worker's own view of what is served: each stage with this worker's counters.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use rustc_hash::FxBuildHasher;

use crate::gateway::{Gateway, Served};
use crate::metrics::{RouteHandle, RouteKey, StageHandle, StageKey, WorkerMetrics};

/// A stage, held without touching a counter that other workers write.
#[derive(Debug)]
pub(crate) struct StageView {
    pub(crate) served: Arc<Served>,
    pub(crate) stage: StageHandle,
    /// By route number; `Some` where detailed metrics are on (H-MET-8).
    pub(crate) routes: Box<[Option<RouteHandle>]>,
}

/// The stages of the gateway that a worker serves, by their slots.
#[derive(Debug, Default)]
pub(crate) struct Views(RefCell<HashMap<u64, Rc<StageView>, FxBuildHasher>>);

impl Views {
    pub(crate) fn get(&self, served: &Served) -> Option<Rc<StageView>> {
        self.0.borrow().get(&served.slot.0).map(Rc::clone)
    }

    /// Makes views of what is new in `gateway` and forgets what is gone.
    pub(crate) fn update(&self, gateway: &Gateway, metrics: &WorkerMetrics) {
        let mut known = self.0.borrow_mut();
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
