//! HTTP/2 towards backends: connections that many requests share.
//!
//! A connection takes as many requests at a time as its backend allows; then another one is opened. A request that the backend says it has
//! not begun (RFC 9113 section 8.7: GOAWAY with a lower stream, REFUSED_STREAM) is sent again, as is one that never left.

mod connection;
mod io;

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{LocalBoxFuture, WeakShared};
use h2::Reason;
use http::header::HOST;
use http::uri::{Authority, Scheme};
use http::{Request, Response, Uri};
use hyper::body::{Body, Incoming};

use super::{Attempt, ConnectError, Dial, Lease, SendError, Upstreams};
use crate::body::{Replay, UpstreamBody};
use crate::metrics::{Counter, WorkerMetrics};
use connection::{Address, Connection};

/// Connections of one worker to one address.
const MOST_CONNECTIONS: usize = 64;
/// Connections that a request is tried on before another endpoint is.
const TRIES: usize = 3;
/// Seconds without a byte from a backend after which a connection that owes an answer is used for nothing new.
const SILENT_SECONDS: u32 = 5;

/// Why there is no connection; those who wait for the same one share it.
type Shared = Arc<ConnectError>;
type Opening = LocalBoxFuture<'static, Result<(), Shared>>;

/// Connections to one backend address.
#[derive(Debug, Default)]
pub(super) struct Http2Pool {
    connections: RefCell<Vec<Rc<Connection>>>,
    opening: RefCell<Option<WeakShared<Opening>>>,
}

impl Http2Pool {
    /// Room for a request on a connection; says whether the connection is new. Who finds none waits for one connection with all the others.
    async fn enter(self: &Rc<Self>, upstreams: &Upstreams, dial: &Dial<'_>) -> Result<(InFlight, bool), ConnectError> {
        loop {
            if let Some(entered) = self.take(&upstreams.clock, dial.address)? {
                return Ok(entered);
            }
            let waiting = self.opening.borrow().as_ref().and_then(WeakShared::upgrade);
            let opened = match waiting {
                Some(opening) => opening.await,
                None => {
                    let timeout = upstreams.limits.connect_timeout;
                    let (now, metrics) = (upstreams.clock.get(), Rc::clone(&upstreams.metrics));
                    let opening = open(Rc::clone(self), Address::of(dial), dial.address, timeout, now, metrics);
                    let opening = opening.boxed_local().shared();
                    self.opening.replace(opening.downgrade());
                    opening.await
                }
            };
            opened.map_err(ConnectError::Shared)?;
        }
    }

    fn take(
        self: &Rc<Self>,
        clock: &Rc<Cell<u32>>,
        address: SocketAddr,
    ) -> Result<Option<(InFlight, bool)>, ConnectError> {
        let mut connections = self.connections.borrow_mut();
        connections.retain(|connection| !connection.is_closed());
        if let Some(connection) = connections.iter().find(|connection| connection.has_room()) {
            connection.streams.set(connection.streams.get() + 1);
            let fresh = !connection.used.replace(true);
            let (pool, connection, clock) = (Rc::clone(self), Rc::clone(connection), Rc::clone(clock));
            return Ok(Some((InFlight { pool, connection, clock }, fresh)));
        }
        // A backend that takes nothing at all would get connection after connection.
        let none_taken = connections.iter().any(|connection| connection.capacity() == 0);
        if none_taken || connections.len() >= MOST_CONNECTIONS {
            return Err(ConnectError::Busy(address));
        }
        Ok(None)
    }

    /// Nothing new goes over the connection; what is in flight goes on.
    fn retire(&self, connection: &Rc<Connection>) {
        self.connections.borrow_mut().retain(|known| !Rc::ptr_eq(known, connection));
    }

    /// Closes what has been idle since before `idle_before`; false when nothing is left.
    pub(super) fn sweep(&self, idle_before: u32) -> bool {
        let mut connections = self.connections.borrow_mut();
        connections.retain(|connection| {
            let idle = connection.streams.get() == 0 && connection.idle_since.get() < idle_before;
            !idle && !connection.is_closed()
        });
        !connections.is_empty()
    }
}

/// Opens a connection into `pool`.
async fn open(
    pool: Rc<Http2Pool>,
    to: Address,
    address: SocketAddr,
    timeout: Duration,
    now: u32,
    metrics: Rc<WorkerMetrics>,
) -> Result<(), Shared> {
    let opened = tokio::time::timeout(timeout, Connection::open(&to, &metrics, now)).await;
    let opened = opened.unwrap_or(Err(ConnectError::Timeout(address)));
    pool.opening.replace(None);
    let connection = opened.map_err(|error| {
        metrics.count(error.counter());
        Arc::new(error)
    })?;
    pool.connections.borrow_mut().push(Rc::new(connection));
    Ok(())
}

/// A request on a connection; dropping it makes room.
#[derive(Debug)]
struct InFlight {
    pool: Rc<Http2Pool>,
    connection: Rc<Connection>,
    clock: Rc<Cell<u32>>,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let streams = &self.connection.streams;
        streams.set(streams.get() - 1);
        self.connection.idle_since.set(self.clock.get());
    }
}

/// An answer that is still to come. Given up after a silence, it puts an end to the connection's use: its other end may have vanished, and
/// whoever came next would wait in vain as well.
struct Awaited<'a> {
    in_flight: &'a InFlight,
    since: u32,
    heard: u64,
    answered: bool,
}

impl<'a> Awaited<'a> {
    fn begin(in_flight: &'a InFlight) -> Self {
        let heard = in_flight.connection.heard.bytes();
        Self { in_flight, since: in_flight.clock.get(), heard, answered: false }
    }
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        let InFlight { pool, connection, clock } = self.in_flight;
        let silent = connection.heard.bytes() == self.heard;
        if !self.answered && silent && clock.get().saturating_sub(self.since) >= SILENT_SECONDS {
            pool.retire(connection);
        }
    }
}

/// A response in progress. Dropped before its end, it takes back what of the request has not been sent.
#[derive(Debug)]
pub(super) struct Exchange {
    _in_flight: InFlight,
    replay: Option<Replay>,
}

impl Exchange {
    /// The response is complete. A client that still sends may go on: it is the backend's to stop it.
    pub(super) fn complete(mut self) {
        self.replay = None;
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if let Some(replay) = &self.replay {
            replay.stop();
        }
    }
}

/// Sends `request` to one address.
pub(super) async fn send(
    upstreams: &Upstreams,
    dial: &Dial<'_>,
    request: Box<Request<UpstreamBody>>,
) -> Result<(Response<Incoming>, Lease), Attempt> {
    let pool = upstreams.http2_pool(dial);
    let (mut head, body) = (*request).into_parts();
    target(&mut head, dial.tls.is_some());
    let replay = (!body.is_end_stream()).then(|| Replay::of(body));
    let again = || match &replay {
        Some(replay) => replay.again(),
        None => Some(UpstreamBody::Empty),
    };
    let unsent = |head, error| match again() {
        Some(body) => Attempt::Unsent(Box::new(Request::from_parts(head, body)), error),
        None => Attempt::Sent(SendError::Connect(error)),
    };
    for tries in 1.. {
        let (in_flight, fresh) = match pool.enter(upstreams, dial).await {
            Ok(entered) => entered,
            Err(error) => return Err(unsent(head, error)),
        };
        let Some(body) = again() else { return Err(Attempt::Sent(SendError::Connect(ConnectError::Closed))) };
        upstreams.metrics.count(if fresh { Counter::BackendOnNew } else { Counter::BackendOnReused });
        let mut awaited = Awaited::begin(&in_flight);
        let mut sender = in_flight.connection.sender.clone();
        let sent = sender.try_send_request(Request::from_parts(head.clone(), body)).await;
        awaited.answered = true;
        drop(awaited);
        let mut error = match sent {
            Ok(response) => {
                if let Some(replay) = &replay {
                    replay.settle();
                }
                return Ok((response, Lease::shared(Exchange { _in_flight: in_flight, replay })));
            }
            Err(error) => error,
        };
        let unsent_message = error.take_message().is_some();
        let error = error.into_error();
        if !unsent_message && !is_unbegun(&error) {
            return Err(Attempt::Sent(broken(error)));
        }
        // A new connection that takes nothing is the endpoint's refusal.
        if fresh || tries == TRIES {
            return Err(unsent(head, ConnectError::Closed));
        }
        upstreams.metrics.count(Counter::BackendRetry);
    }
    unreachable!("tries are bounded")
}

/// HTTP/2 has the host in the target (RFC 9113 section 8.3.1). A request that comes from another endpoint has it there already.
fn target(head: &mut http::request::Parts, tls: bool) {
    let host = head.headers.remove(HOST).and_then(|host| Authority::from_maybe_shared(host).ok());
    if let Some(host) = host {
        let mut parts = std::mem::take(&mut head.uri).into_parts();
        parts.scheme = Some(if tls { Scheme::HTTPS } else { Scheme::HTTP });
        parts.authority = Some(host);
        head.uri = Uri::from_parts(parts).expect("a path with a scheme and an authority");
    }
}

/// Whether the backend says that it has not begun the request.
fn is_unbegun(error: &hyper::Error) -> bool {
    of_http2(error).is_some_and(|error| {
        error.is_remote() && (error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM))
    })
}

/// Bytes that break the rules are no answer; all else is a connection or a stream that broke.
fn broken(error: hyper::Error) -> SendError {
    if of_http2(&error).is_some_and(h2::Error::is_library) {
        SendError::NotHttp(error)
    } else {
        SendError::Broken(error)
    }
}

/// Whether the request's own body ended the exchange.
pub(super) fn is_own(error: &hyper::Error) -> bool {
    of_http2(error).is_some_and(|error| !error.is_remote() && !error.is_library() && !error.is_io())
}

fn of_http2(error: &hyper::Error) -> Option<&h2::Error> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

#[cfg(test)]
mod tests;
