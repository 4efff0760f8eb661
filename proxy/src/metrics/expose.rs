//! Adds the workers' cells up and writes them in Prometheus' text format.

use std::collections::BTreeMap;
use std::sync::Arc;

use prometheus::proto::{
    Bucket, Counter as CounterValue, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};

use super::plans::PlanResult;
use super::process::{Counter, OPEN};
use super::series::{BUCKETS, HistogramSum, MethodLabel, RouteKey, STATUS_CLASSES, StageKey, Sum};
use super::{WorkerCells, lock};

const CLASSES: [&str; STATUS_CLASSES] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
/// H-MET-9.
const LABEL_CHARACTERS: usize = 255;

pub(super) fn encode(workers: &[Arc<WorkerCells>], registry: &prometheus::Registry) -> String {
    let mut families = registry.gather();
    families.extend(process_families(workers));
    families.extend(stage_families(workers));
    families.extend(route_families(workers));
    families.push(plan_family(workers));
    families.retain(|family| !family.get_metric().is_empty());
    families.sort_by(|left, right| left.name().cmp(right.name()));
    let mut text = String::new();
    if let Err(error) = prometheus::TextEncoder::new().encode_utf8(&families, &mut text) {
        // A family with broken values: what was written before it is still good.
        tracing::error!(%error, "metrics could not be written");
    }
    text
}

fn process_families(workers: &[Arc<WorkerCells>]) -> Vec<MetricFamily> {
    let total = |counter| workers.iter().map(|worker| worker.process.value(counter)).sum::<u64>();
    let mut families: Vec<MetricFamily> = Vec::new();
    for (counter, member) in Counter::ALL {
        let labels = member.label.map(|label| vec![label]).unwrap_or_default();
        let metric = counter_metric(&labels, total(*counter));
        match families.last_mut() {
            Some(last) if last.name() == member.family => last.mut_metric().push(metric),
            _ => families.push(family(member.family, member.help, MetricType::COUNTER, vec![metric])),
        }
    }
    for (name, help, opened, closed) in OPEN {
        let mut gauge = Gauge::default();
        // Read in this order a connection that ends in between is counted as open, never as less than none.
        let closed = total(*closed);
        gauge.set_value(float(total(*opened).saturating_sub(closed)));
        let metric = Metric::from_gauge(gauge);
        families.push(family(name, help, MetricType::GAUGE, vec![metric]));
    }
    families
}

fn stage_families(workers: &[Arc<WorkerCells>]) -> Vec<MetricFamily> {
    let mut sums: BTreeMap<StageKey, Sum<{ MethodLabel::COUNT }>> = BTreeMap::new();
    for worker in workers {
        for (key, cells) in lock(&worker.stages).iter() {
            cells.add_to(sums.entry(key.clone()).or_default());
        }
    }
    let mut out = Families::new("tollgate_", "");
    for (key, sum) in &sums {
        let labels = stage_labels(key);
        for (method, row) in MethodLabel::ALL.iter().zip(&sum.counts) {
            let labels = with(&labels, "method", method.as_str());
            out.counts(&labels, row);
        }
        out.rest(&labels, sum);
    }
    out.finish()
}

fn route_families(workers: &[Arc<WorkerCells>]) -> Vec<MetricFamily> {
    let mut sums: BTreeMap<RouteKey, Sum<1>> = BTreeMap::new();
    for worker in workers {
        for (key, cells) in lock(&worker.routes).iter() {
            cells.add_to(sums.entry(key.clone()).or_default());
        }
    }
    let mut out = Families::new("tollgate_route_", " of routes with detailed metrics");
    for (key, sum) in &sums {
        let labels = with(&with(&stage_labels(&key.stage), "method", &key.method), "resource", &key.resource);
        out.counts(&labels, &sum.counts[0]);
        out.rest(&labels, sum);
    }
    out.finish()
}

/// Every result stands there from the start, so that a rate over the first one is seen.
fn plan_family(workers: &[Arc<WorkerCells>]) -> MetricFamily {
    let mut sums: BTreeMap<Box<str>, [u64; PlanResult::COUNT]> = BTreeMap::new();
    for worker in workers {
        for (plan, cells) in lock(&worker.plans).iter() {
            cells.add_to(sums.entry(plan.clone()).or_default());
        }
    }
    let mut metrics = Vec::with_capacity(sums.len() * PlanResult::COUNT);
    for (plan, sum) in &sums {
        for (result, count) in PlanResult::ALL.iter().zip(sum) {
            metrics.push(counter_metric(&[("plan", plan), ("result", result.as_str())], *count));
        }
    }
    let help = "Requests of routes with apiKeyRequired, by their usage plan and what it said.";
    family("tollgate_usage_plan_requests_total", help, MetricType::COUNTER, metrics)
}

type Labels<'a> = Vec<(&'a str, &'a str)>;

fn stage_labels(key: &StageKey) -> Labels<'_> {
    vec![("api", &key.api), ("api_id", &key.api_id), ("stage", &key.stage)]
}

fn with<'a>(labels: &Labels<'a>, name: &'a str, value: &'a str) -> Labels<'a> {
    let mut labels = labels.clone();
    labels.push((name, value));
    labels
}

/// The six metrics of H-MET-1 under one prefix.
struct Families {
    prefix: &'static str,
    of: &'static str,
    count: Vec<Metric>,
    client_errors: Vec<Metric>,
    server_errors: Vec<Metric>,
    latency: Vec<Metric>,
    integration_latency: Vec<Metric>,
    bytes: Vec<Metric>,
}

impl Families {
    fn new(prefix: &'static str, of: &'static str) -> Self {
        Self {
            prefix,
            of,
            count: Vec::new(),
            client_errors: Vec::new(),
            server_errors: Vec::new(),
            latency: Vec::new(),
            integration_latency: Vec::new(),
            bytes: Vec::new(),
        }
    }

    /// Error counts stand beside every count, also as 0, so that their share is a rate (H-MET-4).
    fn counts(&mut self, labels: &Labels<'_>, row: &[u64; STATUS_CLASSES]) {
        if row.iter().all(|&count| count == 0) {
            return;
        }
        for (class, &count) in CLASSES.iter().zip(row).filter(|(_, count)| **count > 0) {
            self.count.push(counter_metric(&with(labels, "status", class), count));
        }
        self.client_errors.push(counter_metric(labels, row[3]));
        self.server_errors.push(counter_metric(labels, row[4]));
    }

    fn rest<const ROWS: usize>(&mut self, labels: &Labels<'_>, sum: &Sum<ROWS>) {
        if sum.latency.buckets.iter().all(|&count| count == 0) {
            return;
        }
        self.latency.push(histogram_metric(labels, &sum.latency));
        self.integration_latency.push(histogram_metric(labels, &sum.integration_latency));
        self.bytes.push(counter_metric(labels, sum.bytes));
    }

    fn finish(self) -> Vec<MetricFamily> {
        let make = |name: &str, help: &str, kind, metrics| {
            family(&format!("{}{name}", self.prefix), &format!("{help}{}.", self.of), kind, metrics)
        };
        vec![
            make("count_total", "Requests that matched a route", MetricType::COUNTER, self.count),
            make("4xx_total", "Requests answered with a client error", MetricType::COUNTER, self.client_errors),
            make("5xx_total", "Requests answered with a server error", MetricType::COUNTER, self.server_errors),
            make(
                "latency_seconds",
                "From a request's first byte to the last of its answer",
                MetricType::HISTOGRAM,
                self.latency,
            ),
            make(
                "integration_latency_seconds",
                "From sending a request to an integration to its answer",
                MetricType::HISTOGRAM,
                self.integration_latency,
            ),
            make("data_processed_bytes_total", "Bodies of requests and answers", MetricType::COUNTER, self.bytes),
        ]
    }
}

fn family(name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

fn pairs(labels: &[(&str, &str)]) -> Vec<LabelPair> {
    let mut pairs: Vec<_> = labels
        .iter()
        .map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value(value.chars().take(LABEL_CHARACTERS).collect());
            pair
        })
        .collect();
    pairs.sort_by(|left, right| left.name().cmp(right.name()));
    pairs
}

fn counter_metric(labels: &[(&str, &str)], value: u64) -> Metric {
    let mut counter = CounterValue::default();
    counter.set_value(float(value));
    let mut metric = Metric::from_label(pairs(labels));
    metric.set_counter(counter);
    metric
}

fn histogram_metric(labels: &[(&str, &str)], sum: &HistogramSum) -> Metric {
    let mut count = 0;
    let mut buckets = Vec::with_capacity(BUCKETS.len());
    for (&bound, &in_bucket) in BUCKETS.iter().zip(&sum.buckets) {
        count += in_bucket;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(float(bound) / 1e9);
        bucket.set_cumulative_count(count);
        buckets.push(bucket);
    }
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets);
    histogram.set_sample_count(count + sum.buckets[BUCKETS.len()]);
    histogram.set_sample_sum(float(sum.nanos) / 1e9);
    let mut metric = Metric::from_label(pairs(labels));
    metric.set_histogram(histogram);
    metric
}

/// Prometheus' values are floating point; counts past 2^53 lose their last digits there.
#[expect(clippy::cast_precision_loss, reason = "the exposition format has no integers")]
fn float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};
    use std::time::Duration;

    use super::super::*;

    fn sample() -> String {
        let metrics = Metrics::new();
        for _ in 0..2 {
            let worker = metrics.worker();
            worker.count(Counter::ClientOpened);
            worker.add(Counter::ClientClosed, 0);
            let stage = StageKey { api_id: "a1".into(), api: "shop/orders".into(), stage: "$default".into() };
            let handle = worker.stage_handle(&stage);
            handle.record(MethodLabel::Get, 200, Duration::from_millis(3), Some(Duration::from_millis(2)), 100);
            handle.record(MethodLabel::Other, 503, Duration::from_secs(31), None, 1);
            let route = RouteKey { stage, method: "GET".into(), resource: format!("/{}\"\\\n", "x".repeat(300)) };
            worker.route_handle(&route).record(404, Duration::from_millis(1), None, 7);
            worker.plan_handle("shop/gold").count(PlanResult::QuotaExceeded);
        }
        metrics.usage_store().fallbacks.with_label_values(&["open"]).inc();
        metrics.encode()
    }

    fn lines(text: &str, prefix: &str) -> Vec<String> {
        text.lines().filter(|line| line.starts_with(prefix)).map(str::to_owned).collect()
    }

    /// Proves H-MET-1, H-MET-2, H-MET-4, H-MET-9.
    #[test]
    fn workers_add_up_to_the_metrics_of_the_model() {
        let text = sample();
        let labels = r#"api="shop/orders",api_id="a1""#;
        assert_eq!(
            lines(&text, "tollgate_count_total"),
            [
                format!(r#"tollgate_count_total{{{labels},method="GET",stage="$default",status="2xx"}} 2"#),
                format!(r#"tollgate_count_total{{{labels},method="OTHER",stage="$default",status="5xx"}} 2"#),
            ]
        );
        assert_eq!(
            lines(&text, "tollgate_5xx_total"),
            [
                format!(r#"tollgate_5xx_total{{{labels},method="GET",stage="$default"}} 0"#),
                format!(r#"tollgate_5xx_total{{{labels},method="OTHER",stage="$default"}} 2"#),
            ]
        );
        assert_eq!(lines(&text, "tollgate_4xx_total").len(), 2);
        let latency = lines(&text, "tollgate_latency_seconds");
        assert!(
            latency.contains(&format!(r#"tollgate_latency_seconds_bucket{{{labels},stage="$default",le="0.005"}} 2"#)),
            "{latency:#?}"
        );
        assert!(
            latency.contains(&format!(r#"tollgate_latency_seconds_bucket{{{labels},stage="$default",le="+Inf"}} 4"#))
        );
        assert!(latency.contains(&format!(r#"tollgate_latency_seconds_sum{{{labels},stage="$default"}} 62.006"#)));
        assert_eq!(
            lines(&text, "tollgate_integration_latency_seconds_count"),
            [format!(r#"tollgate_integration_latency_seconds_count{{{labels},stage="$default"}} 2"#)]
        );
        assert_eq!(
            lines(&text, "tollgate_data_processed_bytes_total"),
            [format!(r#"tollgate_data_processed_bytes_total{{{labels},stage="$default"}} 202"#)]
        );
        assert_eq!(lines(&text, "tollgate_client_connections "), ["tollgate_client_connections 2"]);
    }

    /// Proves H-MET-3, H-MET-9.
    #[test]
    fn routes_with_detailed_metrics_have_method_and_resource_of_at_most_255_characters() {
        let text = sample();
        let route = lines(&text, "tollgate_route_count_total");
        let resource = format!("/{}", "x".repeat(254));
        assert_eq!(
            route,
            [format!(
                r#"tollgate_route_count_total{{api="shop/orders",api_id="a1",method="GET",resource="{resource}",stage="$default",status="4xx"}} 2"#
            )]
        );
    }

    #[test]
    fn plans_have_a_series_for_each_result() {
        let text = sample();
        let series = |result: &str, count: u8| {
            format!(r#"tollgate_usage_plan_requests_total{{plan="shop/gold",result="{result}"}} {count}"#)
        };
        assert_eq!(
            lines(&text, "tollgate_usage_plan_requests_total"),
            [series("allowed", 0), series("throttled", 0), series("quota_exceeded", 2), series("unavailable", 0)]
        );
        assert!(!Metrics::new().encode().contains("usage_store"), "without a store nothing is said of one");
    }

    #[test]
    fn promtool_finds_nothing_to_complain_about() {
        let Ok(mut child) = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
        else {
            eprintln!("promtool is not on the PATH: the exposition was not checked by it");
            return;
        };
        child.stdin.take().expect("it is piped").write_all(sample().as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    }
}
