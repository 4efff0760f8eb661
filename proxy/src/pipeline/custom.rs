//! Routes of authorization type `CUSTOM`: the authorizer's function is asked, or has been (sections 6.7 to 6.10 of the spec).

use std::sync::Arc;

use http_body_util::{BodyExt, Limited};
use tollgate_engine::context::{Facts, RouteFacts};
use tollgate_engine::lambda::result::Invocation;
use tollgate_engine::lambda::{MAX_PAYLOAD_BYTES, write_authorizer_event};
use tollgate_engine::lambda_authorizer::{self, Answer, Identity, LambdaPolicy};
use tollgate_engine::policy::Ask;
use tollgate_engine::reject::Reject;
use tollgate_engine::route::decoded_variables;
use tollgate_engine::trace::AmznTrace;

use super::admit::Matched;
use super::integrate::Way;
use super::{Arrived, Stop, facts, integrate};
use crate::authorize::answers::{Answers, Asked, Failed, From};
use crate::gateway::{Gateway, Target};
use crate::metrics::Counter;
use crate::record::{Caller, Record};
use crate::worker::Worker;

/// The authorizer of a route, and what this proxy knows of it.
pub(super) struct Function<'s> {
    pub(super) policy: &'s LambdaPolicy,
    pub(super) target: &'s Target,
    pub(super) answers: &'s Answers,
}

/// Asks whether the request may go on (H-LA-6, H-LA-17).
pub(super) async fn authorize(
    matched: &Matched<'_>,
    function: Function<'_>,
    gateway: &Gateway,
    worker: &Worker,
    arrived: &Arrived,
    arn: &str,
    record: &mut Record,
) -> Result<(), Stop> {
    let head = &arrived.head;
    let (trace, _) = AmznTrace::of(&head.headers, arrived.received_ms / 1000, arrived.trace_random);
    let trace = trace.header_value();
    let route = matched.route();
    let path = matched.path.without_stage(&head.uri);
    let parameters = route.key.path().map(|key| decoded_variables(key, path)).unwrap_or_default();
    let route = RouteFacts { key: &route.key_text, parameters: &parameters };
    let facts = facts::of(worker, record, head, matched.path, &trace, route);
    let Some(identity) = function.policy.identity(&facts) else {
        record.authorizer_error = Some("missing: identity source not provided".into());
        return Err(Reject::Unauthorized.into());
    };
    let asked = asked(&function, gateway, worker, &facts, &identity, arn).await;
    let answer = asked.map_err(|Failed { reject, error }| {
        record.authorizer_error = Some(error.to_string().into());
        Stop::from(reject)
    })?;
    let text = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
    let ask = Ask {
        resource: arn,
        source_ip: record.source_ip,
        now: arrived.received_ms / 1000,
        user_agent: text(http::header::USER_AGENT),
        referer: text(http::header::REFERER),
        principal: None,
    };
    let allowed = answer.allows(&ask);
    record.caller = Some(Caller::Function(answer));
    if allowed {
        Ok(())
    } else {
        record.authorizer_error = Some("the authorizer does not allow the request".into());
        Err(Reject::Forbidden.into())
    }
}

async fn asked(
    function: &Function<'_>,
    gateway: &Gateway,
    worker: &Worker,
    facts: &Facts<'_>,
    identity: &Identity<'_>,
    arn: &str,
) -> Asked {
    let timeout = worker.settings.limits.authorizer_timeout;
    let ask = async || {
        let asking = tokio::time::timeout(timeout, ask(function, gateway, worker, facts, identity, arn));
        let slow = |_| failed(Reject::AuthorizerFailure, "the authorizer's function did not answer in time");
        asking.await.unwrap_or_else(|elapsed| Err(slow(elapsed))).map(Arc::new)
    };
    let (asked, from) = match function.policy.ttl {
        Some(ttl) => function.answers.get(identity.digest(), ttl, ask).await,
        None => (ask().await, From::Function),
    };
    worker.metrics.count(match (from, &asked) {
        (From::Cache, _) => Counter::AuthorizerCached,
        (From::Function, Ok(_)) => Counter::AuthorizerAsked,
        (From::Function, Err(_)) => Counter::AuthorizerFailed,
    });
    asked
}

fn failed(reject: Reject, error: &str) -> Failed {
    Failed { reject, error: error.into() }
}

/// Invokes the function with its event.
async fn ask(
    function: &Function<'_>,
    gateway: &Gateway,
    worker: &Worker,
    facts: &Facts<'_>,
    identity: &Identity<'_>,
    arn: &str,
) -> Result<Answer, Failed> {
    let LambdaPolicy { call, shape, .. } = function.policy;
    let identity = function.policy.has_sources().then_some(identity);
    let mut event = Vec::new();
    write_authorizer_event(call.version, facts, identity, arn, &mut event);
    let Way { addresses, tls, .. } =
        integrate::addresses(gateway, &call.destination, function.target, (facts.source_ip, facts.headers));
    let keys = match &call.signing {
        Some(signing) => Some(gateway.credentials(facts.api_id, &signing.credentials).ok_or_else(|| {
            let text = format!("Secret {} has no keys to sign the call with", signing.credentials);
            failed(Reject::AuthorizerFailure, &text)
        })?),
        None => None,
    };
    let request = integrate::invocation(call, event, keys.map(|keys| &**keys), facts.received_ms / 1000);
    let broken = |error: &dyn std::error::Error| {
        let text = format!("the authorizer's function could not be called: {}", integrate::describe(error));
        failed(Reject::AuthorizerFailure, &text)
    };
    let exchanged = integrate::exchange(worker, &addresses, tls, request).await;
    let (response, lease) = exchanged.map_err(|error| broken(&error))?;
    let (head, body) = response.into_parts();
    let payload = Limited::new(body, MAX_PAYLOAD_BYTES).collect().await.map_err(|error| broken(&*error))?.to_bytes();
    lease.give_back();
    let invocation = Invocation::of(head.status.as_u16(), &head.headers, payload);
    lambda_authorizer::answer(*shape, &invocation).map_err(|(reject, error)| failed(reject, &error))
}
