//! Metrics of what runs beside the workers. Rarely written, so ordinary shared counters do.

use prometheus::core::Collector;
use prometheus::{Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// Feed, configuration, keys, certificates, logs, spans.
#[derive(Clone, Debug)]
pub struct ControlMetrics {
    /// 1 while a feed is being read.
    pub feed_connected: IntGauge,
    /// Tries to open a feed, by `result`: `ok`, `failed`.
    pub feed_connects: IntCounterVec,
    /// Feeds that ended, by `reason`: `closed`, `silent`, `malformed`, `too_large`, `format`.
    pub feed_ends: IntCounterVec,
    /// Reports posted to controllers, by `result`: `ok`, `failed`.
    pub reports: IntCounterVec,
    /// Sets of units that took effect.
    pub config_commits: IntCounter,
    /// When the last one did, in seconds since 1970.
    pub config_last_commit: Gauge,
    /// How long the last one took to compile and hand over.
    pub config_publish_seconds: Gauge,
    /// Units held.
    pub config_units: IntGauge,
    /// Problems that the units held have.
    pub config_problems: IntGauge,
    /// Writes of the state file, by `result`: `ok`, `failed`.
    pub state_writes: IntCounterVec,
    /// Fetches of keys, by `result`: `ok`, `failed`.
    pub jwks_fetches: IntCounterVec,
    /// Sources of keys in use.
    pub jwks_sources: IntGauge,
    /// Of these, how many have no usable keys.
    pub jwks_sources_without_keys: IntGauge,
    /// Server certificates in use.
    pub certificates: IntGauge,
    /// Certificates that could not be read; their last good version stays in use.
    pub certificates_refused: IntGauge,
    /// When the first of the certificates in use ends, in seconds since 1970; 0 without any.
    pub certificate_expiry: Gauge,
    /// Access log entries that found the queue full.
    pub access_log_dropped: IntCounter,
    /// Bytes of access log written.
    pub access_log_bytes: IntCounter,
    /// Writes of the access log that failed.
    pub access_log_failures: IntCounter,
    /// Customers of usage plans that are remembered.
    pub usage_customers: IntGauge,
    /// At most so many.
    pub usage_customers_max: IntGauge,
    /// Spans handed to the collector.
    pub spans_exported: IntCounter,
    /// Spans that found the queue full or the collector away.
    pub spans_dropped: IntCounter,
}

impl ControlMetrics {
    pub(super) fn new(registry: &Registry) -> Self {
        let to = Maker { registry };
        let build = to.gauge_vec("build_info", "Always 1; what runs.", "version");
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let result: &[&str] = &["ok", "failed"];
        Self {
            feed_connected: to.int_gauge("feed_connected", "1 while a feed is being read."),
            feed_connects: to.counter_vec("feed_connects_total", "Tries to open a feed.", "result", result),
            feed_ends: to.counter_vec(
                "feed_ends_total",
                "Feeds that ended.",
                "reason",
                &["closed", "silent", "malformed", "too_large", "format"],
            ),
            reports: to.counter_vec("reports_total", "Reports posted to controllers.", "result", result),
            config_commits: to.counter("config_commits_total", "Configurations that took effect."),
            config_last_commit: to
                .gauge("config_last_commit_timestamp_seconds", "When the last configuration took effect."),
            config_publish_seconds: to
                .gauge("config_publish_seconds", "Time to put the last configuration into effect."),
            config_units: to.int_gauge("config_units", "Units of configuration held."),
            config_problems: to.int_gauge("config_problems", "Parts of the configuration that cannot run."),
            state_writes: to.counter_vec(
                "state_writes_total",
                "Writes of the last good configuration.",
                "result",
                result,
            ),
            jwks_fetches: to.counter_vec("jwks_fetches_total", "Fetches of signing keys.", "result", result),
            jwks_sources: to.int_gauge("jwks_sources", "Sources of signing keys in use."),
            jwks_sources_without_keys: to
                .int_gauge("jwks_sources_without_keys", "Sources without usable signing keys."),
            certificates: to.int_gauge("certificates", "Server certificates in use."),
            certificates_refused: to.int_gauge("certificates_refused", "Server certificates that could not be read."),
            certificate_expiry: to
                .gauge("certificate_expiry_timestamp_seconds", "End of the certificate that ends first."),
            access_log_dropped: to.counter("access_log_dropped_total", "Access log entries dropped."),
            access_log_bytes: to.counter("access_log_written_bytes_total", "Access log written."),
            access_log_failures: to.counter("access_log_write_failures_total", "Access log writes that failed."),
            usage_customers: to.int_gauge("usage_customers", "Customers of usage plans that are remembered."),
            usage_customers_max: to.int_gauge("usage_customers_max", "Most customers that can be remembered."),
            spans_exported: to.counter("spans_exported_total", "Spans handed to the collector."),
            spans_dropped: to.counter("spans_dropped_total", "Spans dropped."),
        }
    }
}

/// Makes metrics and registers them.
pub(super) struct Maker<'a> {
    pub(super) registry: &'a Registry,
}

impl Maker<'_> {
    fn register<C: Collector + Clone + 'static>(&self, metric: Result<C, prometheus::Error>) -> C {
        let metric = metric.expect("names and labels are constants that the tests encode");
        self.registry.register(Box::new(metric.clone())).expect("each name is registered once");
        metric
    }

    pub(super) fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        let options = HistogramOpts { common_opts: opts(name, help), buckets: buckets.to_vec() };
        self.register(Histogram::with_opts(options))
    }

    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.register(IntCounter::with_opts(opts(name, help)))
    }

    /// Members stand at 0 from the start, so that a rate over the first one is seen.
    pub(super) fn counter_vec(&self, name: &str, help: &str, label: &str, values: &[&str]) -> IntCounterVec {
        let counters = self.register(IntCounterVec::new(opts(name, help), &[label]));
        for value in values {
            counters.with_label_values(&[*value]);
        }
        counters
    }

    pub(super) fn int_gauge(&self, name: &str, help: &str) -> IntGauge {
        self.register(IntGauge::with_opts(opts(name, help)))
    }

    fn gauge(&self, name: &str, help: &str) -> Gauge {
        self.register(Gauge::with_opts(opts(name, help)))
    }

    fn gauge_vec(&self, name: &str, help: &str, label: &str) -> prometheus::IntGaugeVec {
        self.register(prometheus::IntGaugeVec::new(opts(name, help), &[label]))
    }
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("tollgate")
}
