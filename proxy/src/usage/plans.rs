//! Plans and keys as they run, compiled from their units.

use std::collections::HashMap;
use std::sync::Arc;

use rustc_hash::FxBuildHasher;
use tollgate_engine::meter::{Digest, Key, KeyShard, Period, Quota, Rate, SHARDS, Terms, shard_of};
use tollgate_engine::snapshot::{self, FailureMode, Plan, PlanThrottle, QuotaPeriod, UnitId};

use crate::units::Held;

/// What a gateway knows of plans and keys.
#[derive(Debug, Default)]
pub(crate) struct Plans {
    /// By [`shard_of`]; empty when there are no keys at all.
    keys: Box<[Option<Arc<KeyShard>>]>,
    /// By the number of a stage's slot.
    stages: HashMap<u64, StagePlans, FxBuildHasher>,
    all: Vec<Arc<CompiledPlan>>,
}

/// The plans that contain one stage.
#[derive(Debug, Default)]
pub(crate) struct StagePlans {
    by_id: HashMap<Box<str>, PlanAt, FxBuildHasher>,
    /// Those whose customers are told apart by a claim.
    by_claim: Vec<PlanAt>,
}

/// A plan at one stage.
#[derive(Clone, Debug)]
pub(crate) struct PlanAt {
    pub(crate) plan: Arc<CompiledPlan>,
    /// Throttles of single routes (R-PLAN-3).
    pub(crate) routes: Arc<HashMap<Box<str>, Rate, FxBuildHasher>>,
}

/// A plan as it runs.
#[derive(Debug)]
pub(crate) struct CompiledPlan {
    pub(crate) id: Box<str>,
    pub(crate) terms: Terms,
    pub(crate) failure_mode: FailureMode,
    pub(crate) headers: bool,
    pub(crate) claim: Option<Box<str>>,
}

impl Plans {
    /// The key with this digest.
    pub(crate) fn key(&self, digest: &Digest) -> Option<&Key> {
        self.keys.get(usize::from(shard_of(digest)))?.as_ref()?.find(digest)
    }

    /// Every plan.
    pub(crate) fn all(&self) -> impl Iterator<Item = &CompiledPlan> {
        self.all.iter().map(|plan| &**plan)
    }

    /// The plans of a stage.
    pub(crate) fn of_stage(&self, slot: u64) -> Option<&StagePlans> {
        self.stages.get(&slot)
    }
}

impl StagePlans {
    /// The plan of a key here: the first that the key names (R-KEY-6, R-PLAN-8).
    pub(crate) fn of_key(&self, key: &Key) -> Option<&PlanAt> {
        key.plans.iter().find_map(|plan| self.by_id.get(plan))
    }

    /// Plans whose customers are told apart by a claim.
    pub(crate) fn by_claim(&self) -> &[PlanAt] {
        &self.by_claim
    }
}

type CompiledShard = (Arc<Held>, Arc<KeyShard>, Vec<snapshot::Problem>);

/// What the next compilation can use again.
#[derive(Debug, Default)]
pub(crate) struct PlansState {
    shards: HashMap<UnitId, CompiledShard>,
    plans: HashMap<UnitId, (Arc<Held>, Arc<CompiledPlan>)>,
}

impl PlansState {
    /// Compiles what is new of `units`. `slot` knows the number of a stage; `report` hears of problems.
    pub(crate) fn compile<'u>(
        &mut self,
        units: impl Iterator<Item = (&'u UnitId, &'u Arc<Held>)>,
        slot: impl Fn(&UnitId) -> Option<u64>,
        mut report: impl FnMut(&UnitId, &Held, &[snapshot::Problem]),
    ) -> Plans {
        let mut plans = Plans::default();
        let (mut shards, mut kept) = (HashMap::new(), HashMap::new());
        for (id, held) in units {
            match &held.unit {
                snapshot::Unit::Keys(wire) => {
                    let Some(number) = id.key_shard().filter(|number| *number < SHARDS) else { continue };
                    let known = self.shards.remove(id).filter(|(old, ..)| Arc::ptr_eq(old, held));
                    let compiled = known.unwrap_or_else(|| {
                        let (shard, problems) = KeyShard::compile(wire);
                        (Arc::clone(held), Arc::new(shard), problems)
                    });
                    report(id, held, &compiled.2);
                    if plans.keys.is_empty() {
                        plans.keys = vec![None; usize::from(SHARDS)].into();
                    }
                    plans.keys[usize::from(number)] = Some(Arc::clone(&compiled.1));
                    shards.insert(id.clone(), compiled);
                }
                snapshot::Unit::Plan(wire) => {
                    let known = self.plans.remove(id).filter(|(old, _)| Arc::ptr_eq(old, held));
                    let compiled = known.unwrap_or_else(|| (Arc::clone(held), Arc::new(compile(wire))));
                    place(&mut plans, wire, &compiled.1, &slot);
                    plans.all.push(Arc::clone(&compiled.1));
                    kept.insert(id.clone(), compiled);
                }
                _ => {}
            }
        }
        (self.shards, self.plans) = (shards, kept);
        plans
    }
}

fn place(plans: &mut Plans, wire: &Plan, plan: &Arc<CompiledPlan>, slot: impl Fn(&UnitId) -> Option<u64>) {
    for stage in &wire.stages {
        // A stage that this fleet does not serve.
        let Some(slot) = slot(&UnitId::stage(&stage.api_id, &stage.stage_name)) else { continue };
        let routes = stage.throttle.iter().map(|(key, throttle)| (key.as_str().into(), rate(throttle)));
        let at = PlanAt { plan: Arc::clone(plan), routes: Arc::new(routes.collect()) };
        let of_stage = plans.stages.entry(slot).or_default();
        if plan.claim.is_some() {
            of_stage.by_claim.push(at);
        } else {
            of_stage.by_id.insert(plan.id.clone(), at);
        }
    }
}

fn compile(wire: &Plan) -> CompiledPlan {
    let Plan { source, created, throttle, quota, stages: _, failure_mode, rate_limit_headers, jwt_claim } = wire;
    let quota = quota.map(|quota| Quota {
        limit: quota.limit,
        period: match quota.period {
            QuotaPeriod::Day => Period::Day,
            QuotaPeriod::Week => Period::Week,
            QuotaPeriod::Month => Period::Month,
        },
        offset: quota.offset,
        created: *created,
    });
    CompiledPlan {
        id: source.as_str().into(),
        terms: Terms { rate: throttle.as_ref().map(rate), quota },
        failure_mode: *failure_mode,
        headers: *rate_limit_headers,
        claim: jwt_claim.as_deref().map(Into::into),
    }
}

fn rate(throttle: &PlanThrottle) -> Rate {
    Rate::new(throttle.rate_limit, throttle.burst_limit)
}
