//! Metrics of the store that proxies share for usage plans. They exist only where there is a store.

use prometheus::{Histogram, IntCounterVec, IntGauge};

use super::control::Maker;

/// Seconds, from a quarter of a millisecond to the longest that anybody waits.
const BUCKETS: &[f64] = &[0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25];

/// The store, the leases it gave, and what happened without it.
#[derive(Clone, Debug)]
pub struct UsageStoreMetrics {
    /// 1 while it answers.
    pub up: IntGauge,
    /// Attempts to connect, by `result`: `ok`, `failed`.
    pub connects: IntCounterVec,
    /// Calls, by `result`: `ok`, `failed`.
    pub calls: IntCounterVec,
    /// How long calls took.
    pub seconds: Histogram,
    /// Leases asked for, by `reason`: `missing` (a request waits for it), `renewal`, `return`, `recovery` (what a store that forgot is told).
    pub leases: IntCounterVec,
    /// How long requests waited for a lease.
    pub lease_wait: Histogram,
    /// Customers that may hold a lease now.
    pub leased: IntGauge,
    /// Requests decided without the store, by `mode`: `local`, `open`, `closed`.
    pub fallbacks: IntCounterVec,
}

impl UsageStoreMetrics {
    pub(super) fn new(to: &Maker<'_>) -> Self {
        Self {
            up: to.int_gauge("usage_store_up", "1 while the store of usage plans answers."),
            connects: to.counter_vec(
                "usage_store_connects_total",
                "Tries to reach the store.",
                "result",
                &["ok", "failed"],
            ),
            calls: to.counter_vec("usage_store_calls_total", "Calls of the store.", "result", &["ok", "failed"]),
            seconds: to.histogram("usage_store_seconds", "How long calls of the store of usage plans took.", BUCKETS),
            leases: to.counter_vec(
                "usage_leases_total",
                "Leases of customers asked for or given back.",
                "reason",
                &["missing", "renewal", "return", "recovery"],
            ),
            lease_wait: to.histogram("usage_lease_wait_seconds", "How long requests waited for a lease.", BUCKETS),
            leased: to.int_gauge("usage_customers_leased", "Customers that may hold a lease now."),
            fallbacks: to.counter_vec(
                "usage_fallbacks_total",
                "Requests of usage plans decided without the store.",
                "mode",
                &["local", "open", "closed"],
            ),
        }
    }
}
