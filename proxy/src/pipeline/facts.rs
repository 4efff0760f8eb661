//! What functions and authorizers are told of a request.

use http::HeaderValue;
use tollgate_engine::context::{Facts, Mapped, RouteFacts};

use super::locate::StagePath;
use crate::record::Record;
use crate::worker::Worker;

/// The facts of a request whose route is known.
pub(super) fn of<'a>(
    worker: &'a Worker,
    record: &'a Record,
    head: &'a http::request::Parts,
    path: StagePath,
    trace: &'a HeaderValue,
    route: RouteFacts<'a>,
) -> Facts<'a> {
    let stage = &record.view.served.stage;
    Facts {
        request_id: record.request_id,
        received_ms: record.received_ms,
        version: head.version,
        method: head.method.as_str(),
        path: path.with_stage(&head.uri),
        query: head.uri.query(),
        mapped: Mapped::default(),
        headers: &head.headers,
        user_agent: record.user_agent.as_ref().map(HeaderValue::as_bytes),
        host: record.host.to_str().unwrap_or(""),
        source_ip: record.source_ip,
        trace: trace.to_str().unwrap_or(""),
        account_id: &worker.settings.account_id,
        api_id: &stage.api.api_id,
        stage: &stage.stage_name,
        stage_variables: &stage.stage_variables,
        route: Some(route),
        api_key_id: record.api_key_id.as_deref(),
        authorizer: record.caller.as_ref().map(crate::record::Caller::facts),
        domain: record.domain.as_ref().map(|domain| domain.facts()),
    }
}
