//! The series of a stage and of a route: AWS's metrics (H-MET-1) as cells that one thread writes.

use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper bounds of the latency buckets in nanoseconds, from half a millisecond to the longest integration timeout (H-INT-4).
pub(super) const BUCKETS: [u64; 15] = [
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    30_000_000_000,
];
/// 1xx to 5xx.
pub(super) const STATUS_CLASSES: usize = 5;

/// Names a stage's series.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StageKey {
    /// The API's generated id.
    pub api_id: String,
    /// `namespace/name` of the API object.
    pub api: String,
    /// Name of the stage.
    pub stage: String,
}

impl StageKey {
    pub(super) fn other() -> Self {
        Self { api_id: "other".into(), api: "other".into(), stage: "other".into() }
    }
}

/// Names a route's series (H-MET-3).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteKey {
    /// The stage.
    pub stage: StageKey,
    /// Method of the route key: `GET`, `ANY`; of `$default` also `ANY`.
    pub method: String,
    /// Path of the route key, or `$default`.
    pub resource: String,
}

impl RouteKey {
    pub(super) fn other() -> Self {
        Self { stage: StageKey::other(), method: "other".into(), resource: "other".into() }
    }
}

/// A request's method as a label: those of H-ROUTE-2, and one value for whatever else a client makes up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MethodLabel {
    /// `GET`
    Get,
    /// `HEAD`
    Head,
    /// `POST`
    Post,
    /// `PUT`
    Put,
    /// `PATCH`
    Patch,
    /// `DELETE`
    Delete,
    /// `OPTIONS`
    Options,
    /// Any other.
    Other,
}

impl MethodLabel {
    pub(super) const COUNT: usize = 8;
    pub(super) const ALL: [Self; Self::COUNT] =
        [Self::Get, Self::Head, Self::Post, Self::Put, Self::Patch, Self::Delete, Self::Options, Self::Other];

    /// The label of a method.
    pub fn of(method: &http::Method) -> Self {
        match *method {
            http::Method::GET => Self::Get,
            http::Method::HEAD => Self::Head,
            http::Method::POST => Self::Post,
            http::Method::PUT => Self::Put,
            http::Method::PATCH => Self::Patch,
            http::Method::DELETE => Self::Delete,
            http::Method::OPTIONS => Self::Options,
            _ => Self::Other,
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
            Self::Other => "OTHER",
        }
    }
}

/// One worker's part of a series. Aligned so that two workers' cells never share a cache line (two lines are fetched at a time).
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Cells<const ROWS: usize> {
    /// By method (one row where the method is a label of its own), by status class.
    counts: [[AtomicU64; STATUS_CLASSES]; ROWS],
    latency: HistogramCells,
    integration_latency: HistogramCells,
    bytes: AtomicU64,
}

impl<const ROWS: usize> Default for Cells<ROWS> {
    fn default() -> Self {
        Self {
            counts: std::array::from_fn(|_| std::array::from_fn(|_| AtomicU64::new(0))),
            latency: HistogramCells::default(),
            integration_latency: HistogramCells::default(),
            bytes: AtomicU64::new(0),
        }
    }
}

impl<const ROWS: usize> Cells<ROWS> {
    fn record(&self, row: usize, status: u16, latency: Duration, integration: Option<Duration>, bytes: u64) {
        let class = usize::from(status / 100).clamp(1, STATUS_CLASSES) - 1;
        bump(&self.counts[row][class], 1);
        self.latency.record(latency);
        if let Some(integration) = integration {
            self.integration_latency.record(integration);
        }
        bump(&self.bytes, bytes);
    }

    pub(super) fn add_to(&self, sum: &mut Sum<ROWS>) {
        for (row, cells) in sum.counts.iter_mut().zip(&self.counts) {
            for (value, cell) in row.iter_mut().zip(cells) {
                *value += cell.load(Relaxed);
            }
        }
        self.latency.add_to(&mut sum.latency);
        self.integration_latency.add_to(&mut sum.integration_latency);
        sum.bytes += self.bytes.load(Relaxed);
    }
}

#[derive(Debug)]
struct HistogramCells {
    /// One more than bounds: the last has none.
    buckets: [AtomicU64; BUCKETS.len() + 1],
    nanos: AtomicU64,
}

impl Default for HistogramCells {
    fn default() -> Self {
        Self { buckets: std::array::from_fn(|_| AtomicU64::new(0)), nanos: AtomicU64::new(0) }
    }
}

impl HistogramCells {
    fn record(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        bump(&self.buckets[BUCKETS.partition_point(|&bound| bound < nanos)], 1);
        bump(&self.nanos, nanos);
    }

    fn add_to(&self, sum: &mut HistogramSum) {
        for (value, cell) in sum.buckets.iter_mut().zip(&self.buckets) {
            *value += cell.load(Relaxed);
        }
        sum.nanos = sum.nanos.wrapping_add(self.nanos.load(Relaxed));
    }
}

/// Adds to a cell that only this thread writes: no locked instruction is needed.
pub(super) fn bump(cell: &AtomicU64, amount: u64) {
    cell.store(cell.load(Relaxed).wrapping_add(amount), Relaxed);
}

/// What the workers' cells of a series add up to.
#[derive(Clone, Debug)]
pub(super) struct Sum<const ROWS: usize> {
    pub(super) counts: [[u64; STATUS_CLASSES]; ROWS],
    pub(super) latency: HistogramSum,
    pub(super) integration_latency: HistogramSum,
    pub(super) bytes: u64,
}

impl<const ROWS: usize> Default for Sum<ROWS> {
    fn default() -> Self {
        Self {
            counts: [[0; STATUS_CLASSES]; ROWS],
            latency: HistogramSum::default(),
            integration_latency: HistogramSum::default(),
            bytes: 0,
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct HistogramSum {
    pub(super) buckets: [u64; BUCKETS.len() + 1],
    pub(super) nanos: u64,
}

/// Where a worker records the requests of a stage.
#[derive(Clone, Debug)]
pub struct StageHandle {
    cells: Arc<Cells<{ MethodLabel::COUNT }>>,
    one_thread: PhantomData<Rc<()>>,
}

impl StageHandle {
    pub(super) fn new(cells: Arc<Cells<{ MethodLabel::COUNT }>>) -> Self {
        Self { cells, one_thread: PhantomData }
    }

    /// Records one request that matched a route (H-MET-7). `latency` runs from the request's first byte to the answer's last,
    /// `integration` is absent when no integration was called (H-MET-6), `bytes` is what H-MET-5 counts.
    pub fn record(
        &self,
        method: MethodLabel,
        status: u16,
        latency: Duration,
        integration: Option<Duration>,
        bytes: u64,
    ) {
        self.cells.record(method as usize, status, latency, integration, bytes);
    }

    #[cfg(test)]
    pub(super) fn record_status(&self, method: MethodLabel, status: u16) {
        self.record(method, status, Duration::from_millis(1), None, 0);
    }
}

/// Where a worker records the requests of a route with `detailedMetricsEnabled`.
#[derive(Clone, Debug)]
pub struct RouteHandle {
    cells: Arc<Cells<1>>,
    one_thread: PhantomData<Rc<()>>,
}

impl RouteHandle {
    pub(super) fn new(cells: Arc<Cells<1>>) -> Self {
        Self { cells, one_thread: PhantomData }
    }

    /// As [`StageHandle::record`]; the method is the route's.
    pub fn record(&self, status: u16, latency: Duration, integration: Option<Duration>, bytes: u64) {
        self.cells.record(0, status, latency, integration, bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_fall_into_classes_and_times_into_buckets() {
        let cells = Cells::<1>::default();
        for (status, millis) in [(200, 0), (204, 1), (404, 3), (503, 60_000), (999, 0), (0, 0)] {
            cells.record(0, status, Duration::from_millis(millis), None, 10);
        }
        let mut sum = Sum::default();
        cells.add_to(&mut sum);
        assert_eq!(sum.counts, [[1, 2, 0, 1, 2]]);
        assert_eq!(sum.latency.buckets[..5], [3, 1, 0, 1, 0], "a bucket holds its upper bound");
        assert_eq!(sum.latency.buckets[BUCKETS.len()], 1);
        assert_eq!(sum.latency.nanos, 60_004_000_000);
        assert_eq!(sum.bytes, 60);
    }

    /// Proves H-MET-6.
    #[test]
    fn no_integration_no_sample() {
        let cells = Cells::<1>::default();
        cells.record(0, 401, Duration::from_millis(1), None, 0);
        cells.record(0, 200, Duration::from_millis(9), Some(Duration::from_millis(7)), 0);
        let mut sum = Sum::default();
        cells.add_to(&mut sum);
        assert_eq!(sum.integration_latency.buckets.iter().sum::<u64>(), 1);
        assert_eq!(sum.latency.buckets.iter().sum::<u64>(), 2);
    }
}
