//! What is remembered of a request until it has ended: then it becomes an access-log entry, metrics and a span.

use std::borrow::Cow;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue, Method, Uri, Version};
use tollgate_engine::context::{
    CallerFacts, Facts, IamFacts, IntegrationOutcome, JwtFacts, Mapped, Outcome, RouteFacts,
};
use tollgate_engine::jwt::Verified;
use tollgate_engine::lambda_authorizer::Answer;
use tollgate_engine::principal::Principal;
use tollgate_engine::reject::Reject;
use tollgate_engine::request_id::RequestId;
use tollgate_engine::route::PathTemplate;

use crate::metrics::MethodLabel;
use crate::pipeline::OnDomain;
use crate::spans::{Span, SpanContext};
use crate::view::StageView;
use crate::worker::Worker;

/// One request, from its head to the end of its response.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) worker: Rc<Worker>,
    pub(crate) view: Rc<StageView>,
    pub(crate) request_id: RequestId,
    pub(crate) started: Instant,
    pub(crate) received_ms: u64,
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) version: Version,
    pub(crate) host: HeaderValue,
    pub(crate) user_agent: Option<HeaderValue>,
    pub(crate) source_ip: IpAddr,
    /// Only on custom domains.
    pub(crate) domain: Option<Box<OnDomain>>,
    /// The matched route's number.
    pub(crate) route: Option<usize>,
    pub(crate) caller: Option<Caller>,
    pub(crate) authorizer_error: Option<Cow<'static, str>>,
    /// Id of the API key, once it is known to be one.
    pub(crate) api_key_id: Option<Box<str>>,
    /// `RateLimit-Policy` and `RateLimit`, if the plan sends them.
    pub(crate) rate_limit: Option<Box<(String, Option<String>)>>,
    pub(crate) reject: Option<Reject>,
    pub(crate) status: u16,
    pub(crate) integration: Option<Integration>,
    pub(crate) request_bytes: u64,
    /// Who its span is, if it is sampled.
    pub(crate) span: Option<SpanContext>,
}

/// Who calls.
#[derive(Debug)]
pub(crate) enum Caller {
    /// The bearer of a token. Functions see its scopes when the route has some (H-JWT-29).
    Token { verified: Rc<Verified>, route_has_scopes: bool },
    /// What an authorizer's function answered.
    Function(Arc<Answer>),
    /// Who signed the request.
    Principal { access_key: Box<str>, principal: Arc<Principal> },
}

impl Caller {
    pub(crate) fn facts(&self) -> CallerFacts<'_> {
        match self {
            Self::Token { verified, route_has_scopes } => {
                CallerFacts::Jwt(JwtFacts { token: verified, route_has_scopes: *route_has_scopes })
            }
            Self::Function(answer) => CallerFacts::Lambda(answer),
            Self::Principal { access_key, principal } => CallerFacts::Iam(IamFacts { access_key, principal }),
        }
    }
}

/// How the call of the integration went.
#[derive(Debug, Default)]
pub(crate) struct Integration {
    pub(crate) latency: Option<Duration>,
    pub(crate) status: Option<u16>,
    pub(crate) call_status: Option<u16>,
    pub(crate) error: Option<Cow<'static, str>>,
    pub(crate) request_id: Option<HeaderValue>,
    pub(crate) request_id_2: Option<HeaderValue>,
    /// Bytes of a function's whole result (H-MET-5); of other backends the response body's are counted.
    pub(crate) result_bytes: Option<u64>,
}

impl Record {
    /// The response was passed on whole, `bytes` of body.
    pub(crate) fn finish(self: Box<Self>, bytes: u64) {
        self.write(bytes);
    }

    /// The client went away, or the backend broke off, after `bytes` of body.
    pub(crate) fn broken_off(self: Box<Self>, bytes: u64) {
        self.write(bytes);
    }

    fn write(&self, response_bytes: u64) {
        let latency = self.started.elapsed();
        let integration_latency = self.integration.as_ref().and_then(|integration| integration.latency);
        let result_bytes = self.integration.as_ref().and_then(|integration| integration.result_bytes);
        let processed = self.request_bytes + result_bytes.unwrap_or(response_bytes);
        if let Some(route) = self.route {
            let method = MethodLabel::of(&self.method);
            self.view.stage.record(method, self.status, latency, integration_latency, processed);
            if let Some(Some(handle)) = self.view.routes.get(route) {
                handle.record(self.status, latency, integration_latency, processed);
            }
        }
        if let Some(format) = &self.view.served.stage.access_log
            && self.worker.log.is_on()
        {
            let outcome = self.outcome(response_bytes, processed, latency);
            self.with_facts(|facts| self.worker.log.append(|out| format.append(out, facts, &outcome)));
        }
        if let Some(context) = self.span {
            self.worker.spans.finish(self.span(context, latency, integration_latency));
        }
    }

    #[cold]
    fn span(&self, context: SpanContext, duration: Duration, integration_latency: Option<Duration>) -> Span {
        let stage = &self.view.served.stage;
        let route = self.route.and_then(|number| stage.deployment.as_ref()?.routes.get(number));
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let failure = self.integration.as_ref().and_then(|integration| integration.error.as_deref());
        Span {
            context,
            start_unix_nanos: self.received_ms * 1_000_000,
            duration,
            integration_latency,
            method: self.method.to_string(),
            scheme: "https",
            host: text(&self.host),
            path: self.uri.path().to_owned(),
            protocol_version: if self.version == Version::HTTP_2 { "2" } else { "1.1" },
            client: self.source_ip,
            user_agent: self.user_agent.as_ref().map(text),
            status: self.status,
            route: route.map(|route| route.key.path().map_or("$default", PathTemplate::as_str).to_owned()),
            api_id: stage.api.api_id.clone(),
            api: format!("{}/{}", stage.api.namespace, stage.api.name),
            stage: stage.stage_name.to_string(),
            request_id: self.request_id.to_string(),
            error: failure.or(self.authorizer_error.as_deref()).map(str::to_owned),
        }
    }

    fn outcome(&self, response_length: u64, data_processed: u64, latency: Duration) -> Outcome<'_> {
        Outcome {
            status: self.status,
            reject: self.reject,
            authorizer_error: self.authorizer_error.as_deref(),
            integration: self.integration.as_ref().map(|integration| IntegrationOutcome {
                status: integration.status,
                call_status: integration.call_status,
                latency_ms: integration.latency.map(milliseconds),
                error: integration.error.as_deref(),
                request_id: integration.request_id.as_ref().and_then(|value| value.to_str().ok()),
                request_id_2: integration.request_id_2.as_ref().and_then(|value| value.to_str().ok()),
            }),
            response_length,
            response_latency_ms: milliseconds(latency),
            data_processed,
        }
    }

    pub(crate) fn with_facts<T>(&self, then: impl FnOnce(&Facts<'_>) -> T) -> T {
        thread_local!(static NO_HEADERS: HeaderMap = HeaderMap::new());
        let stage = &self.view.served.stage;
        let route = self.route.and_then(|number| stage.deployment.as_ref()?.routes.get(number));
        NO_HEADERS.with(|headers| {
            then(&Facts {
                request_id: self.request_id,
                received_ms: self.received_ms,
                version: self.version,
                method: self.method.as_str(),
                path: self.uri.path(),
                query: self.uri.query(),
                mapped: Mapped::default(),
                headers,
                user_agent: self.user_agent.as_ref().map(HeaderValue::as_bytes),
                host: self.host.to_str().unwrap_or(""),
                source_ip: self.source_ip,
                trace: "",
                account_id: &self.worker.settings.account_id,
                api_id: &stage.api.api_id,
                stage: &stage.stage_name,
                stage_variables: &stage.stage_variables,
                route: route.map(|route| RouteFacts { key: &route.key_text, parameters: &[] }),
                api_key_id: self.api_key_id.as_deref(),
                authorizer: self.caller.as_ref().map(Caller::facts),
                domain: self.domain.as_ref().map(|domain| domain.facts()),
            })
        })
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
