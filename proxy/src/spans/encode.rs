//! Spans as OTLP messages, with the attribute names of OpenTelemetry's HTTP conventions.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{
    ResourceSpans, ScopeSpans, Span as WireSpan, Status, span::SpanKind, status::StatusCode,
};

use super::{MAX_TEXT, Span};

/// One export request with these spans.
pub(super) fn request(instance: &str, spans: Vec<Span>) -> ExportTraceServiceRequest {
    let resource = Resource {
        attributes: vec![
            text("service.name", "tollgate"),
            text("service.version", env!("CARGO_PKG_VERSION")),
            text("service.instance.id", instance),
        ],
        ..Resource::default()
    };
    let scope = InstrumentationScope { name: "tollgate-proxy".into(), ..InstrumentationScope::default() };
    let spans = spans.into_iter().map(wire).collect();
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource),
            scope_spans: vec![ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        }],
    }
}

fn wire(span: Span) -> WireSpan {
    let duration = u64::try_from(span.duration.as_nanos()).unwrap_or(u64::MAX);
    let name = match &span.route {
        Some(route) => format!("{} {route}", span.method),
        None => span.method.clone(),
    };
    // For a server, only its own faults are errors.
    let status = (span.status >= 500).then(|| Status {
        code: StatusCode::Error.into(),
        message: span.error.as_deref().map(cut).unwrap_or_default().to_owned(),
    });
    WireSpan {
        trace_id: span.context.trace_id.0.to_vec(),
        span_id: span.context.span_id.to_vec(),
        parent_span_id: span.context.parent.map(|id| id.to_vec()).unwrap_or_default(),
        flags: 1,
        name: cut(&name).to_owned(),
        kind: SpanKind::Server.into(),
        start_time_unix_nano: span.start_unix_nanos,
        end_time_unix_nano: span.start_unix_nanos.saturating_add(duration),
        attributes: attributes(&span),
        status,
        ..WireSpan::default()
    }
}

fn attributes(span: &Span) -> Vec<KeyValue> {
    let mut attributes = vec![
        text("http.request.method", &span.method),
        text("url.scheme", span.scheme),
        text("url.path", &span.path),
        text("server.address", &span.host),
        text("network.protocol.version", span.protocol_version),
        text("client.address", &span.client.to_string()),
        number("http.response.status_code", i64::from(span.status)),
        text("tollgate.api_id", &span.api_id),
        text("tollgate.api", &span.api),
        text("tollgate.stage", &span.stage),
        text("tollgate.request_id", &span.request_id),
    ];
    attributes.extend(span.user_agent.as_deref().map(|value| text("user_agent.original", value)));
    attributes.extend(span.route.as_deref().map(|value| text("http.route", value)));
    attributes.extend(span.error.as_deref().map(|value| text("error.type", value)));
    let latency = span.integration_latency.map(|latency| i64::try_from(latency.as_micros()).unwrap_or(i64::MAX));
    attributes.extend(latency.map(|micros| number("tollgate.integration_latency_us", micros)));
    attributes
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(cut(value).to_owned()))
}

fn number(key: &str, value: i64) -> KeyValue {
    attribute(key, Value::IntValue(value))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT)]
}
