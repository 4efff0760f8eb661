//! Sends spans to the collector, in batches.

use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Request, StatusCode, Uri};
use prost::Message;
use tokio::sync::mpsc;
use tracing::{debug, warn};

use super::{Span, SpanSettings, encode};
use crate::http_client::HttpClient;
use crate::metrics::ControlMetrics;

/// Spans in one request.
const BATCH: usize = 512;
/// The first span of a batch waits this long for others.
const LINGER: Duration = Duration::from_secs(2);
/// Tries of one batch, and the wait before the second; doubled after that.
const TRIES: u32 = 3;
const RETRY: Duration = Duration::from_secs(1);
const TIME_LIMIT: Duration = Duration::from_secs(10);
/// Answers are only looked at for their status.
const MAX_ANSWER: usize = 64 << 10;

/// Takes spans from the queue and posts them. Made by [`Spans::to`](super::Spans::to).
#[derive(Debug)]
pub struct SpanExporter {
    url: Uri,
    instance: String,
    spans: mpsc::Receiver<Span>,
    metrics: ControlMetrics,
    failing: bool,
    retry: Duration,
}

enum Refused {
    /// OTLP says which statuses are worth another try.
    Retry(String),
    Final(String),
}

impl SpanExporter {
    pub(super) fn new(settings: &SpanSettings, spans: mpsc::Receiver<Span>, metrics: ControlMetrics) -> Self {
        let (url, instance) = (traces_url(&settings.endpoint), settings.instance.clone());
        Self { url, instance, spans, metrics, failing: false, retry: RETRY }
    }

    /// Runs until every [`Spans`](super::Spans) and its workers are gone and the last span is sent or given up.
    pub async fn run(mut self, client: HttpClient) {
        let mut batch = Vec::with_capacity(BATCH);
        while let Some(first) = self.spans.recv().await {
            batch.push(first);
            let deadline = tokio::time::Instant::now() + LINGER;
            while batch.len() < BATCH {
                match tokio::time::timeout_at(deadline, self.spans.recv()).await {
                    Ok(Some(span)) => batch.push(span),
                    Ok(None) | Err(_) => break,
                }
            }
            let count = batch.len() as u64;
            let body = encode::request(&self.instance, std::mem::take(&mut batch)).encode_to_vec();
            self.send(&client, body.into(), count).await;
        }
    }

    async fn send(&mut self, client: &HttpClient, body: Bytes, count: u64) {
        for attempt in 0..TRIES {
            match self.post(client, body.clone()).await {
                Ok(()) => {
                    self.failing = false;
                    self.metrics.spans_exported.inc_by(count);
                    return;
                }
                Err(Refused::Retry(why)) if attempt + 1 < TRIES => {
                    debug!(url = %self.url, error = why, "spans are sent again");
                    tokio::time::sleep(self.retry * (1 << attempt)).await;
                }
                Err(Refused::Retry(why) | Refused::Final(why)) => {
                    // Said once for each outage.
                    if !std::mem::replace(&mut self.failing, true) {
                        warn!(url = %self.url, error = why, "spans cannot be sent and are dropped");
                    }
                    self.metrics.spans_dropped.inc_by(count);
                    return;
                }
            }
        }
    }

    async fn post(&self, client: &HttpClient, body: Bytes) -> Result<(), Refused> {
        let request = Request::post(self.url.clone()).header(CONTENT_TYPE, "application/x-protobuf");
        let answer = client.send(&self.url, request, body, MAX_ANSWER, TIME_LIMIT).await;
        let status = answer.map_err(|error| Refused::Retry(error.full_text()))?.status;
        let text = || format!("status {}", status.as_u16());
        match status {
            status if status.is_success() => Ok(()),
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Err(Refused::Retry(text())),
            _ => Err(Refused::Final(text())),
        }
    }
}

/// As the OTLP specification has it for a base endpoint.
fn traces_url(endpoint: &Uri) -> Uri {
    if endpoint.path() != "/" {
        return endpoint.clone();
    }
    let mut parts = endpoint.clone().into_parts();
    parts.path_and_query = Some(http::uri::PathAndQuery::from_static("/v1/traces"));
    Uri::from_parts(parts).unwrap_or_else(|_| endpoint.clone())
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;

    use http::Response;
    use http_body_util::{BodyExt, Full};
    use hyper::body::Incoming;
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    use tokio::net::TcpListener;
    use tollgate_engine::trace::TraceId;

    use super::*;
    use crate::metrics::Metrics;
    use crate::spans::{SpanContext, Spans};
    use crate::tls::control_config;

    /// A collector that answers with `statuses`, then 200, and passes on what it was sent.
    async fn collector(statuses: &[u16]) -> (Uri, mpsc::UnboundedReceiver<(String, ExportTraceServiceRequest)>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let statuses = Arc::new(std::sync::Mutex::new(statuses.to_vec()));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (sender, statuses) = (sender.clone(), Arc::clone(&statuses));
                let service = service_fn(move |request: Request<Incoming>| {
                    let (sender, statuses) = (sender.clone(), Arc::clone(&statuses));
                    async move {
                        assert_eq!(request.headers()[CONTENT_TYPE], "application/x-protobuf");
                        let path = request.uri().path().to_owned();
                        let body = request.into_body().collect().await.unwrap().to_bytes();
                        sender.send((path, ExportTraceServiceRequest::decode(body).unwrap())).unwrap();
                        let mut statuses = statuses.lock().unwrap();
                        let status = if statuses.is_empty() { 200 } else { statuses.remove(0) };
                        Ok::<_, Infallible>(Response::builder().status(status).body(Full::<Bytes>::default()).unwrap())
                    }
                });
                let server = hyper::server::conn::http1::Builder::new();
                tokio::spawn(async move { server.serve_connection(TokioIo::new(stream), service).await });
            }
        });
        (uri, receiver)
    }

    fn span(status: u16) -> Span {
        Span {
            context: SpanContext { trace_id: TraceId([1; 16]), span_id: [2; 8], parent: Some([3; 8]) },
            start_unix_nanos: 1_000,
            duration: Duration::from_micros(7),
            integration_latency: Some(Duration::from_micros(5)),
            method: "GET".into(),
            scheme: "https",
            host: "api.test".into(),
            path: format!("/{}", "\u{e9}".repeat(2_000)),
            protocol_version: "2",
            client: [192, 0, 2, 1].into(),
            user_agent: None,
            status,
            route: Some("/pets/{id}".into()),
            api_id: "a1".into(),
            api: "shop/pets".into(),
            stage: "prod".into(),
            request_id: "r=".into(),
            error: (status >= 500).then(|| "timeout".into()),
        }
    }

    fn start(endpoint: Uri) -> (Spans, Metrics, tokio::task::JoinHandle<()>) {
        let metrics = Metrics::new();
        let (spans, mut exporter) =
            Spans::to(&SpanSettings { endpoint, ratio: 1.0, instance: "proxy-0".into() }, &metrics);
        exporter.retry = Duration::from_millis(1);
        let client = HttpClient::new(control_config(None).unwrap(), crate::hosts::Hosts::default());
        (spans, metrics, tokio::spawn(exporter.run(client)))
    }

    #[tokio::test]
    async fn spans_arrive_as_a_collector_reads_them() {
        let (endpoint, mut received) = collector(&[]).await;
        let (spans, metrics, exporter) = start(endpoint);
        let worker = spans.worker();
        worker.finish(span(200));
        worker.finish(span(504));
        // With the last sender gone nothing more can come, so the batch leaves at once.
        drop((worker, spans));
        exporter.await.unwrap();
        let (path, request) = received.recv().await.unwrap();
        assert_eq!(path, "/v1/traces");
        assert_eq!(metrics.control().spans_exported.get(), 2);
        let [resource] = &request.resource_spans[..] else { panic!("{request:?}") };
        let instance = &resource.resource.as_ref().unwrap().attributes[2];
        assert_eq!(instance.value.as_ref().unwrap().value, Some(Value::StringValue("proxy-0".into())));
        let [ok, failed] = &resource.scope_spans[0].spans[..] else { panic!("{request:?}") };
        assert_eq!(
            (&ok.trace_id[..], &ok.span_id[..], &ok.parent_span_id[..]),
            (&[1; 16][..], &[2; 8][..], &[3; 8][..])
        );
        assert_eq!((ok.name.as_str(), ok.kind, ok.status.clone()), ("GET /pets/{id}", 2, None));
        assert_eq!((ok.start_time_unix_nano, ok.end_time_unix_nano), (1_000, 8_000));
        let status = failed.status.as_ref().unwrap();
        assert_eq!((status.code, status.message.as_str()), (2, "timeout"));
        let value = |key: &str| {
            let attribute = ok.attributes.iter().find(|attribute| attribute.key == key);
            attribute.and_then(|attribute| attribute.value.clone()?.value)
        };
        assert_eq!(value("http.response.status_code"), Some(Value::IntValue(200)));
        assert_eq!(value("tollgate.integration_latency_us"), Some(Value::IntValue(5)));
        let Some(Value::StringValue(path)) = value("url.path") else { panic!("no path") };
        assert_eq!(path.len(), 1_023, "cut where a character ends");
        assert_eq!(value("user_agent.original"), None);
    }

    #[tokio::test]
    async fn a_busy_collector_is_asked_again_and_a_refusing_one_is_not() {
        let (endpoint, mut received) = collector(&[503]).await;
        let (spans, metrics, exporter) = start(endpoint);
        spans.worker().finish(span(200));
        drop(spans);
        exporter.await.unwrap();
        assert_eq!(received.recv().await.unwrap().1, received.recv().await.unwrap().1);
        assert_eq!(metrics.control().spans_exported.get(), 1);

        let (endpoint, mut received) = collector(&[400, 400]).await;
        let (spans, metrics, exporter) = start(endpoint);
        spans.worker().finish(span(200));
        drop(spans);
        exporter.await.unwrap();
        assert!(received.recv().await.is_some());
        assert!(received.try_recv().is_err());
        assert_eq!((metrics.control().spans_exported.get(), metrics.control().spans_dropped.get()), (0, 1));
    }

    #[tokio::test]
    async fn a_full_queue_drops_and_counts() {
        let metrics = Metrics::new();
        let settings =
            SpanSettings { endpoint: Uri::from_static("http://127.0.0.1"), ratio: 1.0, instance: String::new() };
        let (spans, _not_running) = Spans::to(&settings, &metrics);
        let worker = spans.worker();
        for _ in 0..super::super::QUEUE + 3 {
            worker.finish(span(200));
        }
        assert_eq!(metrics.control().spans_dropped.get(), 3);
    }

    #[test]
    fn the_path_is_added_only_to_a_base_url() {
        for (endpoint, url) in [
            ("http://c:4318", "http://c:4318/v1/traces"),
            ("http://c:4318/", "http://c:4318/v1/traces"),
            ("https://c/otlp/v1/traces", "https://c/otlp/v1/traces"),
        ] {
            assert_eq!(traces_url(&endpoint.parse().unwrap()).to_string(), url);
        }
    }
}
