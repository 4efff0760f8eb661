//! The life of a request, top to bottom. Each step takes the value that proves the step before ran, and returns the next.
//!
//! The order is H-FLOW-1's. It is fixed; what varies is data. What is decided is decided in `tollgate_engine`; only `authorize` and
//! `integrate` wait for anything.

mod admit;
mod aws;
mod custom;
mod domain;
mod facts;
mod iam;
mod integrate;
mod locate;
mod mapping;
mod meter;
mod prepare;
mod respond;

use std::rc::Rc;
use std::time::Instant;

use http::{HeaderValue, Request, Response, Version};
use hyper::body::Incoming;
use tollgate_engine::deployment::Route;
use tollgate_engine::grpc;
use tollgate_engine::reject::Reject;
use tollgate_engine::request_id::RequestId;

use crate::body::{ClientBody, InFlight, ReplyBody};
use crate::client_io::Connection;
use crate::gateway::Gateway;
use crate::record::Record;
use crate::usage::Moment;
use crate::worker::Worker;

pub(crate) use self::domain::OnDomain;

/// A request whose head is complete. Boxed, since hyper moves the future of every request into place, and async functions keep their
/// arguments twice.
struct Arrived {
    request_id: RequestId,
    started: Instant,
    received_ms: u64,
    /// For the trace id, should the client have sent none.
    trace_random: [u8; 12],
    head: http::request::Parts,
    body: ClientBody,
    /// Its errors have gRPC's form.
    grpc_call: bool,
    heard: locate::Heard,
}

impl Arrived {
    /// When it began, as meters want it.
    fn moment(&self, worker: &Worker) -> Moment {
        let unix = i64::try_from(self.received_ms / 1000).unwrap_or(i64::MAX);
        Moment { us: worker.clock.microseconds(self.started), unix }
    }
}

/// Why a request does not reach its integration, or has no answer from it. A name, not a truth value: an answer is not a failure.
enum Stop {
    /// The gateway refuses, in the words of H-ERR-2.
    Reject {
        reject: Reject,
        /// `www-authenticate` of 401 and 403.
        challenge: Option<HeaderValue>,
        /// The route needs an API key, and answers as the method of a REST API does: with `x-amzn-ErrorType`.
        metered: bool,
    },
    /// The gateway answers by itself: a preflight (H-CORS-6), or `OPTIONS` with CORS on and no route (H-CORS-8).
    NoContent {
        /// Preflight headers belong to it; else none at all.
        preflight: bool,
    },
}

impl Stop {
    /// Of a route that may need an API key.
    fn of_route(reject: Reject, route: &Route) -> Self {
        Self::Reject { reject, challenge: None, metered: route.api_key_required }
    }
}

impl From<Reject> for Stop {
    fn from(reject: Reject) -> Self {
        Self::Reject { reject, challenge: None, metered: false }
    }
}

/// Serves one request.
pub(crate) async fn serve(
    worker: &Rc<Worker>,
    connection: &Rc<Connection>,
    request: Request<Incoming>,
) -> Response<ReplyBody> {
    let in_flight = InFlight::begin(connection);
    let arrived = arrive(worker, connection, request);
    let Some(gateway) = worker.gateway() else {
        // Never 404 without a configuration: clients would take it for the truth (promise P4).
        return respond::without_stage(worker, &arrived, Reject::ServiceUnavailable, in_flight);
    };
    match locate::stage(worker, &gateway, connection, &arrived) {
        Ok(located) => staged(worker, &gateway, connection, located, arrived, in_flight).await,
        Err(reject) => respond::without_stage(worker, &arrived, reject, in_flight),
    }
}

fn arrive(worker: &Worker, connection: &Rc<Connection>, request: Request<Incoming>) -> Box<Arrived> {
    let started = Instant::now();
    let (head, body) = request.into_parts();
    Box::new(Arrived {
        request_id: RequestId::from_random(worker.random()),
        started,
        received_ms: worker.clock.unix_milliseconds(started),
        trace_random: worker.random(),
        body: ClientBody::new(body, &head, connection),
        grpc_call: head.version == Version::HTTP_2 && grpc::is_call(&head.headers),
        head,
        heard: locate::Heard::ANYTHING,
    })
}

/// From here on a stage is known: what happens is recorded, and the response owes CORS headers.
async fn staged(
    worker: &Rc<Worker>,
    gateway: &Gateway,
    connection: &Connection,
    located: locate::Located,
    mut arrived: Box<Arrived>,
    in_flight: InFlight,
) -> Response<ReplyBody> {
    let locate::Located { view, record, path, target, heard } = located;
    arrived.heard = heard;
    if let Some(target) = target {
        arrived.head.uri = *target;
    }
    let mut record: Box<Record> = record;
    let served = &*view.served;
    // Collected before anything can fail, so that rejections carry them too (H-CORS-16).
    let owed = respond::Owed::of(served, &arrived);
    let result = steps(worker, gateway, connection, served, path, arrived, &mut record).await;
    match result {
        Ok(reply) => respond::reply(reply, owed, record, in_flight),
        Err(stop) => respond::stop(stop, owed, record, in_flight),
    }
}

async fn steps(
    worker: &Rc<Worker>,
    gateway: &Gateway,
    connection: &Connection,
    served: &crate::gateway::Served,
    path: locate::StagePath,
    mut arrived: Box<Arrived>,
    record: &mut Record,
) -> Result<integrate::Reply, Stop> {
    let matched = admit::route(served, path, &arrived, record)?;
    let caller = admit::caller(matched, gateway, worker, &mut arrived, record).await?;
    // A preflight carries no credentials; with an authorizer on its route it is refused before it comes here (H-CORS-7).
    let caller = admit::answer_preflight(caller, &arrived)?;
    // Only now is known whose request it is (R-PIPE-1, step 9).
    let caller =
        if caller.is_metered() { meter::admit(caller, worker, gateway, &arrived, record).await? } else { caller };
    if mapping::needs_body(&caller.matched) {
        Box::pin(mapping::buffer(&caller.matched, &mut arrived)).await?;
    }
    let call = prepare::call(caller, gateway, connection, arrived, record)?;
    integrate::send(call, worker, record).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<'a, F: Future>(
        _: impl FnOnce(&'a Rc<Worker>, &'a Rc<Connection>, Request<Incoming>) -> F,
    ) -> usize {
        size_of::<F>()
    }

    /// hyper moves the future of every request into place: what a plain request does not use is boxed where it begins.
    #[test]
    fn the_future_of_a_request_is_small() {
        let bytes = size_of_future(serve);
        assert!(bytes <= 2048, "{bytes} bytes");
    }
}
