//! The series of a usage plan: what became of its requests, in cells that one thread writes.

use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::series::bump;

/// What a plan said to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanResult {
    /// Let through.
    Allowed,
    /// Refused by a throttle.
    Throttled,
    /// Refused by the quota.
    QuotaExceeded,
    /// Refused because the counts could not be had.
    Unavailable,
}

impl PlanResult {
    pub(super) const COUNT: usize = 4;
    pub(super) const ALL: [Self; Self::COUNT] =
        [Self::Allowed, Self::Throttled, Self::QuotaExceeded, Self::Unavailable];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Throttled => "throttled",
            Self::QuotaExceeded => "quota_exceeded",
            Self::Unavailable => "unavailable",
        }
    }
}

/// One worker's part of a plan's series. Aligned as the series of stages are.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct PlanCells([AtomicU64; PlanResult::COUNT]);

impl PlanCells {
    pub(super) fn add_to(&self, sum: &mut [u64; PlanResult::COUNT]) {
        for (value, cell) in sum.iter_mut().zip(&self.0) {
            *value += cell.load(Relaxed);
        }
    }
}

/// Where a worker counts the requests of a plan.
#[derive(Clone, Debug)]
pub struct PlanHandle {
    cells: Arc<PlanCells>,
    one_thread: PhantomData<Rc<()>>,
}

impl PlanHandle {
    pub(super) fn new(cells: Arc<PlanCells>) -> Self {
        Self { cells, one_thread: PhantomData }
    }

    /// Counts one request.
    pub fn count(&self, result: PlanResult) {
        bump(&self.cells.0[result as usize], 1);
    }
}
