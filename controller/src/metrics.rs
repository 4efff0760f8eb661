//! The controller's own metrics. Handles are made once; every label has a closed set of values.

use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::feed::Fleet;

/// All of them.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    /// Of the watches.
    pub watch: WatchMetrics,
    /// Of translation.
    pub translate: TranslateMetrics,
    /// Of the feed.
    pub feed: FeedMetrics,
    /// Of status writing.
    pub status: StatusMetrics,
    /// 1 while this replica holds the lease.
    pub leader: IntGauge,
}

/// Watches, by kind.
#[derive(Clone, Debug)]
pub struct WatchMetrics {
    /// Events that came in.
    pub events: IntCounterVec,
    /// Watches that broke and were started again.
    pub errors: IntCounterVec,
    /// Objects that could not be read as their kind.
    pub unreadable: IntCounterVec,
}

/// Translation and publishing.
#[derive(Clone, Debug)]
pub struct TranslateMetrics {
    /// Seconds for one translation.
    pub seconds: Histogram,
    /// Seconds from the first change of a batch to its publication.
    pub publish_seconds: Histogram,
    /// Units put or deleted.
    pub units: IntCounter,
}

/// The feed.
#[derive(Clone, Debug)]
pub struct FeedMetrics {
    subscribers: IntGaugeVec,
    /// The newest revision, by fleet.
    pub revision: IntGaugeVec,
    /// Reports taken.
    pub reports: IntCounter,
    /// Callers turned away.
    pub refused: IntCounter,
}

/// Status writing.
#[derive(Clone, Debug)]
pub struct StatusMetrics {
    /// Patches sent, by result: `ok`, `gone`, `conflict`, `throttled`, `error`.
    pub patches: IntCounterVec,
    /// Objects whose status waits to be written.
    pub waiting: IntGauge,
    /// Events sent, by result: `ok`, `error`.
    pub events: IntCounterVec,
}

impl Metrics {
    /// Registers everything in a new registry.
    pub fn new() -> Self {
        let registry = Registry::new();
        let r = &registry;
        let buckets = vec![0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];
        Self {
            watch: WatchMetrics {
                events: counters(r, "watch_events_total", "Events of watches", "kind"),
                errors: counters(r, "watch_errors_total", "Watches that broke and were started again", "kind"),
                unreadable: counters(r, "watch_unreadable_total", "Objects that could not be read", "kind"),
            },
            translate: TranslateMetrics {
                seconds: histogram(r, "translate_seconds", "Time of one translation", &buckets),
                publish_seconds: histogram(r, "publish_seconds", "Time from a change to its publication", &buckets),
                units: counter(r, "published_units_total", "Units put or deleted"),
            },
            feed: FeedMetrics {
                subscribers: gauges(r, "feed_subscribers", "Open feed streams", "fleet"),
                revision: gauges(r, "feed_revision", "Newest revision of the feed", "fleet"),
                reports: counter(r, "feed_reports_total", "Reports taken from proxies"),
                refused: counter(r, "feed_refused_total", "Callers of the feed turned away"),
            },
            status: StatusMetrics {
                patches: counters(r, "status_patches_total", "Status patches", "result"),
                waiting: gauge(r, "status_waiting", "Objects whose status waits to be written"),
                events: counters(r, "status_events_total", "Events sent", "result"),
            },
            leader: gauge(r, "leader", "1 while this replica holds the lease"),
            registry,
        }
    }

    /// The text exposition format.
    pub fn render(&self) -> Vec<u8> {
        let mut text = Vec::new();
        let encoded = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        encoded.expect("registered metrics can be written to memory");
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Counts a subscriber for as long as it lives.
#[derive(Debug)]
pub struct Subscribed(IntGauge);

impl Drop for Subscribed {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl FeedMetrics {
    /// One more subscriber, until the value is dropped.
    pub fn subscribed(&self, fleet: Fleet) -> Subscribed {
        let gauge = self.subscribers.with_label_values(&[fleet.as_str()]);
        gauge.inc();
        Subscribed(gauge)
    }
}

const UNIQUE: &str = "names are unique and valid";

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("tollgate_controller")
}

fn counters(registry: &Registry, name: &str, help: &str, label: &str) -> IntCounterVec {
    let made = IntCounterVec::new(opts(name, help), &[label]).expect(UNIQUE);
    registry.register(Box::new(made.clone())).expect(UNIQUE);
    made
}

fn counter(registry: &Registry, name: &str, help: &str) -> IntCounter {
    let made = IntCounter::with_opts(opts(name, help)).expect(UNIQUE);
    registry.register(Box::new(made.clone())).expect(UNIQUE);
    made
}

fn gauges(registry: &Registry, name: &str, help: &str, label: &str) -> IntGaugeVec {
    let made = IntGaugeVec::new(opts(name, help), &[label]).expect(UNIQUE);
    registry.register(Box::new(made.clone())).expect(UNIQUE);
    made
}

fn gauge(registry: &Registry, name: &str, help: &str) -> IntGauge {
    let made = IntGauge::with_opts(opts(name, help)).expect(UNIQUE);
    registry.register(Box::new(made.clone())).expect(UNIQUE);
    made
}

fn histogram(registry: &Registry, name: &str, help: &str, buckets: &[f64]) -> Histogram {
    let options = HistogramOpts { common_opts: opts(name, help), buckets: buckets.to_vec() };
    let made = Histogram::with_opts(options).expect(UNIQUE);
    registry.register(Box::new(made.clone())).expect(UNIQUE);
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_render_and_subscribers_are_counted() {
        let metrics = Metrics::new();
        let one = metrics.feed.subscribed(Fleet::Public);
        let text = String::from_utf8(metrics.render()).unwrap();
        assert!(text.contains("tollgate_controller_feed_subscribers{fleet=\"public\"} 1"), "{text}");
        drop(one);
        let text = String::from_utf8(metrics.render()).unwrap();
        assert!(text.contains("tollgate_controller_feed_subscribers{fleet=\"public\"} 0"), "{text}");
    }
}
