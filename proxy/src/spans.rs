//! OpenTelemetry spans: one for each sampled request, sent over OTLP/HTTP in protobuf.
//!
//! Workers hand finished spans over a bounded queue ([`WorkerSpans::finish`]) and never wait; [`SpanExporter`] sends them from the control
//! thread. The messages are those of `opentelemetry-proto`; the SDK's own exporter would bring a second HTTP client.

mod encode;
mod export;

use std::net::IpAddr;
use std::time::Duration;

use http::{HeaderMap, Uri};
use tokio::sync::mpsc;
use tollgate_engine::trace::{TraceId, TraceParent};

use crate::metrics::{ControlMetrics, Metrics};

pub use export::SpanExporter;

/// Spans waiting for the exporter, a few megabytes at most.
const QUEUE: usize = 4_096;
/// Longest text that an attribute keeps of what a client sent.
pub(crate) const MAX_TEXT: usize = 1_024;

/// Where spans go and how many.
#[derive(Clone, Debug)]
pub struct SpanSettings {
    /// Base URL of the collector; `/v1/traces` is added when it has no path.
    pub endpoint: Uri,
    /// Share of the requests without a `traceparent` that are sampled, 0 to 1. With one, the caller's decision counts.
    pub ratio: f64,
    /// Name of this proxy, as `service.instance.id`.
    pub instance: String,
}

/// The spans of a process; a clone is a pointer.
#[derive(Clone, Debug)]
pub struct Spans {
    on: Option<On>,
}

#[derive(Clone, Debug)]
struct On {
    sampler: Sampler,
    queue: mpsc::Sender<Span>,
    metrics: ControlMetrics,
}

impl Spans {
    /// No spans.
    pub fn off() -> Self {
        Self { on: None }
    }

    /// Spans as `settings` say, and the exporter that sends them.
    pub fn to(settings: &SpanSettings, metrics: &Metrics) -> (Self, SpanExporter) {
        let (queue, spans) = mpsc::channel(QUEUE);
        let metrics = metrics.control().clone();
        let exporter = SpanExporter::new(settings, spans, metrics.clone());
        (Self { on: Some(On { sampler: Sampler::new(settings.ratio), queue, metrics }) }, exporter)
    }

    /// The part of one worker.
    pub fn worker(&self) -> WorkerSpans {
        WorkerSpans { on: self.on.clone() }
    }
}

/// One worker's access to the queue.
#[derive(Clone, Debug)]
pub struct WorkerSpans {
    on: Option<On>,
}

impl WorkerSpans {
    /// Whether any request is sampled.
    pub fn is_on(&self) -> bool {
        self.on.is_some()
    }

    /// Decides at the head of a request. A sampled one gets the span that it will be; its [`SpanContext::trace_parent`] goes to the backend.
    /// `trace_id` (of `X-Amzn-Trace-Id`) is used when the caller sent no `traceparent`; `span_id` is random.
    pub fn begin(&self, headers: &HeaderMap, trace_id: TraceId, span_id: [u8; 8]) -> Option<SpanContext> {
        let on = self.on.as_ref()?;
        let parent = TraceParent::of(headers);
        let trace_id = parent.map_or(trace_id, |parent| parent.trace_id);
        on.sampler.decide(parent, trace_id).then_some(SpanContext {
            trace_id,
            span_id,
            parent: parent.map(|parent| parent.span_id),
        })
    }

    /// Hands a finished span over; when the queue is full it is dropped and counted.
    pub fn finish(&self, span: Span) {
        if let Some(on) = &self.on
            && on.queue.try_send(span).is_err()
        {
            on.metrics.spans_dropped.inc();
        }
    }
}

/// Who a span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanContext {
    /// The trace.
    pub trace_id: TraceId,
    /// The span of this request in this proxy.
    pub span_id: [u8; 8],
    /// The caller's span.
    pub parent: Option<[u8; 8]>,
}

impl SpanContext {
    /// The `traceparent` for the backend, which makes its spans children of this one.
    pub fn trace_parent(&self) -> TraceParent {
        TraceParent { trace_id: self.trace_id, span_id: self.span_id, flags: 1 }
    }
}

/// A finished request. Texts that a client chose are cut at 1024 bytes when they are sent.
#[derive(Clone, Debug)]
pub struct Span {
    /// Who it is.
    pub context: SpanContext,
    /// Start, nanoseconds since 1970.
    pub start_unix_nanos: u64,
    /// From the first byte of the request to the last of the answer.
    pub duration: Duration,
    /// Time that the integration took, if one was called.
    pub integration_latency: Option<Duration>,
    /// `http.request.method`.
    pub method: String,
    /// `url.scheme`: `http` or `https`.
    pub scheme: &'static str,
    /// `server.address`: the `Host` that was asked for.
    pub host: String,
    /// `url.path`, without the query: that may hold secrets.
    pub path: String,
    /// `network.protocol.version`: `1.1`, `2`.
    pub protocol_version: &'static str,
    /// `client.address`.
    pub client: IpAddr,
    /// `user_agent.original`.
    pub user_agent: Option<String>,
    /// `http.response.status_code`.
    pub status: u16,
    /// `http.route`: path of the route key; also the span's name, with the method.
    pub route: Option<String>,
    /// `tollgate.api_id`.
    pub api_id: String,
    /// `tollgate.api`: `namespace/name`.
    pub api: String,
    /// `tollgate.stage`.
    pub stage: String,
    /// `tollgate.request_id`, as `$context.requestId` says it.
    pub request_id: String,
    /// What went wrong inside the gateway or towards the integration.
    pub error: Option<String>,
}

/// Decides which traces are recorded: as the caller did, else a share of them that every proxy picks alike.
#[derive(Clone, Copy, Debug)]
struct Sampler {
    /// Traces whose last eight bytes, less one bit, are below.
    below: u64,
}

impl Sampler {
    fn new(ratio: f64) -> Self {
        let bound = (ratio.clamp(0.0, 1.0) * 9_223_372_036_854_775_808.0).round();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 2^63")]
        let below = bound as u64;
        Self { below }
    }

    /// W3C says that the last bytes of a trace id are random, also where AWS puts the time into the first.
    fn decide(self, parent: Option<TraceParent>, trace_id: TraceId) -> bool {
        match parent {
            Some(parent) => parent.sampled(),
            None => {
                let [.., a, b, c, d, e, f, g, h] = trace_id.0;
                u64::from_be_bytes([a, b, c, d, e, f, g, h]) >> 1 < self.below
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(n: u64) -> TraceId {
        let mut id = [7; 16];
        id[8..].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        TraceId(id)
    }

    #[test]
    fn the_share_of_new_traces_is_as_asked() {
        let sampled = |ratio| (0..10_000).filter(|&n| Sampler::new(ratio).decide(None, spread(n))).count();
        assert_eq!(sampled(0.0), 0);
        assert_eq!(sampled(1.0), 10_000);
        assert!((900..1100).contains(&sampled(0.1)), "{}", sampled(0.1));
        assert_eq!(sampled(f64::NAN), 0);
    }

    #[test]
    fn the_callers_decision_counts() {
        let headers = |flags: &str| {
            let mut headers = HeaderMap::new();
            let value = format!("00-0102030405060708090a0b0c0d0e0f10-1112131415161718-{flags}");
            headers.insert("traceparent", value.parse().unwrap());
            headers
        };
        let settings =
            |ratio| SpanSettings { endpoint: "http://collector".parse().unwrap(), ratio, instance: "p".into() };
        let metrics = Metrics::new();
        let (never, _exporter) = Spans::to(&settings(0.0), &metrics);
        let (always, _exporter) = Spans::to(&settings(1.0), &metrics);
        let context = never.worker().begin(&headers("01"), spread(1), [9; 8]).unwrap();
        let sent = "00-0102030405060708090a0b0c0d0e0f10-0909090909090909-01";
        assert_eq!(context.trace_parent().header_value(), sent);
        assert_eq!(context.parent, Some([0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18]));
        assert_eq!(always.worker().begin(&headers("00"), spread(1), [9; 8]), None);
        assert_eq!(never.worker().begin(&HeaderMap::new(), spread(1), [9; 8]), None);
        let new = always.worker().begin(&HeaderMap::new(), spread(1), [9; 8]).unwrap();
        assert_eq!((new.trace_id, new.parent), (spread(1), None));
        assert_eq!(Spans::off().worker().begin(&headers("01"), spread(1), [9; 8]), None);
    }
}
