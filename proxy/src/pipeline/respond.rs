//! The response to the client (H-FLOW-1, steps 14 and 15).

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, ORIGIN, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version};
use tollgate_engine::cors::{self, Cors};
use tollgate_engine::forward;
use tollgate_engine::grpc;
use tollgate_engine::reject::Reject;

use super::integrate::Reply;
use super::{Arrived, Stop};
use crate::body::{InFlight, ReplyBody};
use crate::gateway::Served;
use crate::metrics::Counter;
use crate::record::Record;
use crate::worker::Worker;

/// Which error it is, for AWS's SDKs.
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");

/// What every response of a stage owes its client, whatever happens on the way.
pub(super) struct Owed<'s> {
    cors: Option<&'s Cors>,
    origin: Option<HeaderValue>,
    /// The client will close the connection.
    last: bool,
    head_request: bool,
    grpc_call: bool,
}

impl<'s> Owed<'s> {
    pub(super) fn of(served: &'s Served, arrived: &Arrived) -> Self {
        let cors = served.stage.deployment.as_ref().and_then(|deployment| deployment.cors.as_ref());
        let origin = cors.and_then(|_| arrived.head.headers.get(ORIGIN).cloned());
        let head_request = arrived.head.method == Method::HEAD;
        Self { cors, origin, last: is_last(arrived), head_request, grpc_call: arrived.grpc_call }
    }

    /// CORS headers of an actual request (H-CORS-13 to H-CORS-17), the id, and what becomes of the connection.
    fn pay(&self, headers: &mut HeaderMap, record: &Record) {
        if let Some(cors) = self.cors {
            cors::strip(headers);
            cors.actual(self.origin.as_ref(), headers);
        }
        if let Some(limits) = &record.rate_limit {
            let (policy, state) = &**limits;
            let lines = [("ratelimit-policy", Some(policy)), ("ratelimit", state.as_ref())];
            for (name, value) in lines.into_iter().filter_map(|(name, value)| Some((name, value?))) {
                if let Ok(value) = HeaderValue::from_str(value) {
                    headers.insert(name, value);
                }
            }
        }
        self.finish(headers, record);
    }

    fn finish(&self, headers: &mut HeaderMap, record: &Record) {
        // Asked now, since draining may have begun after the request had.
        let ending = Ending { last: self.last, draining: record.worker.connections.draining() };
        finish(headers, record.request_id, record.version, ending);
    }
}

/// Whether a connection ends with a response.
#[derive(Clone, Copy, Debug)]
struct Ending {
    /// The client said so.
    last: bool,
    /// The gateway leaves.
    draining: bool,
}

/// Whether the client sends nothing more on this connection.
fn is_last(arrived: &Arrived) -> bool {
    arrived.heard.connection && arrived.head.headers.get(CONNECTION).is_some_and(forward::lists_close)
}

/// The headers of every response (H-ERR-6, H-ERR-9). The connection writes `close` itself where the client has said it.
fn finish(headers: &mut HeaderMap, id: tollgate_engine::request_id::RequestId, version: Version, ending: Ending) {
    forward::finish_response(headers, &id, version == Version::HTTP_11 && !ending.draining && !ending.last);
    if ending.draining && version != Version::HTTP_2 {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
}

/// An error of a request that belongs to no stage: no log, no metrics of a stage (H-LOG-6, H-MET-7).
pub(super) fn without_stage(
    worker: &Worker,
    arrived: &Arrived,
    reject: Reject,
    in_flight: InFlight,
) -> Response<ReplyBody> {
    worker.metrics.count(match reject {
        Reject::ServiceUnavailable => Counter::RejectedNotReady,
        Reject::HeaderFieldsTooLarge => Counter::RejectedHeadSize,
        Reject::BadRequest => Counter::RejectedMalformed,
        _ => Counter::RejectedUnmatched,
    });
    let ends = in_flight.is_last() || worker.connections.draining();
    let ending = Ending { last: is_last(arrived), draining: ends };
    let mut response = error(reject, in_flight, arrived.grpc_call);
    finish(response.headers_mut(), arrived.request_id, arrived.head.version, ending);
    response
}

/// What the integration answered, on its way to the client.
pub(super) fn reply(reply: Reply, owed: Owed<'_>, mut record: Box<Record>, in_flight: InFlight) -> Response<ReplyBody> {
    let mut response = match reply {
        Reply::Stream { response, lease, payload_bytes } => {
            let (mut head, incoming) = response.into_parts();
            head.version = Version::HTTP_11;
            Response::from_parts(head, ReplyBody::backend(incoming, lease, payload_bytes, in_flight))
        }
        Reply::Whole { status, headers, body } => {
            // 204 and 304 have no body, whatever the function says (H-RES-18).
            let bare = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
            let body = if bare { Bytes::new() } else { body };
            let length = body.len();
            let mut response = Response::new(ReplyBody::full(body, in_flight));
            *response.status_mut() = status;
            *response.headers_mut() = headers;
            if !bare {
                response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
            }
            response
        }
    };
    owed.pay(response.headers_mut(), &record);
    record.status = response.status().as_u16();
    finish_record(&mut response, record, owed.head_request);
    response
}

/// An answer that the gateway makes itself.
pub(super) fn stop(stop: Stop, owed: Owed<'_>, mut record: Box<Record>, in_flight: InFlight) -> Response<ReplyBody> {
    let mut response = match stop {
        Stop::Reject { reject, challenge, metered } => {
            record.reject = Some(reject);
            let mut response = error(reject, in_flight, owed.grpc_call);
            if let Some(challenge) = challenge {
                response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
            }
            if let Some(error_type) = reject.error_type().filter(|_| metered) {
                response.headers_mut().insert(ERROR_TYPE, HeaderValue::from_static(error_type));
            }
            owed.pay(response.headers_mut(), &record);
            response
        }
        Stop::NoContent { preflight } => {
            let mut response = Response::new(ReplyBody::full(Bytes::new(), in_flight));
            *response.status_mut() = StatusCode::NO_CONTENT;
            if let Some(cors) = owed.cors
                && preflight
            {
                cors.preflight(owed.origin.as_ref(), response.headers_mut());
            }
            owed.finish(response.headers_mut(), &record);
            response
        }
    };
    // Logs and metrics have the status that says what happened, also where gRPC has 200 for it.
    record.status = record.reject.map_or(response.status().as_u16(), Reject::status);
    finish_record(&mut response, record, owed.head_request);
    response
}

/// A body that is known whole ends its record here; one that streams carries it along.
fn finish_record(response: &mut Response<ReplyBody>, record: Box<Record>, head_request: bool) {
    match response.body().known_length() {
        _ if head_request => record.finish(0),
        Some(length) => record.finish(length),
        None => response.body_mut().finish_later(record),
    }
}

/// `{"message":"…"}` (H-ERR-1, H-ERR-2), and for calls of gRPC what their clients read.
fn error(reject: Reject, in_flight: InFlight, grpc_call: bool) -> Response<ReplyBody> {
    if grpc_call {
        let mut response = Response::new(ReplyBody::full(Bytes::new(), in_flight));
        grpc::refuse(reject, response.headers_mut());
        return response;
    }
    let body = reject.body();
    let mut response = Response::new(ReplyBody::full(Bytes::from_static(body), in_flight));
    *response.status_mut() = StatusCode::from_u16(reject.status()).expect("rejects have valid statuses");
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    response
}
