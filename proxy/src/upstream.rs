//! A worker's connections to backends: pools, connecting, and the one retry that is allowed.
//!
//! A request is tried on another connection or another endpoint only while no byte of it has been sent (design, section 1).

mod balancer;
mod connect;
mod http2;
mod pool;

pub(crate) use balancer::{Balancer, Endpoint, Endpoints};
pub(crate) use connect::{ConnectError, Connector, Dial, DialTls};
pub(crate) use pool::{Lease, PoolKey};

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use http::{HeaderMap, Request, Response, Version};
use hyper::body::Incoming;
use rustc_hash::FxBuildHasher;
use tollgate_engine::link::Balance;

use crate::body::UpstreamBody;
use crate::gateway::Tls;
use crate::metrics::{Counter, WorkerMetrics};
use crate::settings::ConnectionLimits;
use http2::Http2Pool;
use pool::Pool;

/// Why no response came. Each decides a `Reject` in the pipeline.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    /// No address to try.
    #[error("the service has no ready endpoint")]
    NoEndpoint,
    /// Nobody lets the API reach the service.
    #[error("no VpcLink opens the service to this API")]
    NotLinked,
    /// All endpoints have as many connections as their link allows.
    #[error("every endpoint of the service has as many connections as its VpcLink allows")]
    Full,
    /// No connection to any address that was tried.
    #[error("connecting to the backend failed")]
    Connect(#[source] ConnectError),
    /// The connection broke after bytes of the request had been sent.
    #[error("the connection to the backend broke before a response")]
    Broken(#[source] hyper::Error),
    /// The backend's bytes are not an HTTP response.
    #[error("the backend's answer is not HTTP")]
    NotHttp(#[source] hyper::Error),
}

/// Connections to backends of one worker.
#[derive(Debug)]
pub(crate) struct Upstreams {
    pools: RefCell<HashMap<PoolKey, Rc<Pool>, FxBuildHasher>>,
    http2_pools: RefCell<HashMap<PoolKey, Rc<Http2Pool>, FxBuildHasher>>,
    connector: Connector,
    limits: ConnectionLimits,
    turn: Cell<usize>,
    /// Coarse seconds, moved by [`Self::sweep`].
    clock: Rc<Cell<u32>>,
    metrics: Rc<WorkerMetrics>,
}

/// At most this many endpoints are tried for one request.
const ATTEMPTS: usize = 3;

impl Upstreams {
    pub(crate) fn new(connector: Connector, limits: ConnectionLimits, metrics: Rc<WorkerMetrics>) -> Self {
        let (pools, http2_pools) = Default::default();
        Self { pools, http2_pools, connector, limits, turn: Cell::new(0), clock: Rc::new(Cell::new(0)), metrics }
    }

    /// Resolves names and opens connections.
    pub(crate) fn connector(&self) -> &Connector {
        &self.connector
    }

    /// Sends `request` to one of `addresses`, round robin, over the HTTP that its version says. It is boxed, since it would be moved a dozen times otherwise.
    ///
    /// # Errors
    /// See [`SendError`]. The caller bounds the whole by the integration's timeout.
    pub(crate) async fn send(
        &self,
        addresses: &[SocketAddr],
        tls: Option<DialTls<'_>>,
        mut request: Box<Request<UpstreamBody>>,
    ) -> Result<(Response<Incoming>, Lease), SendError> {
        let start = self.turn.get();
        self.turn.set(start.wrapping_add(1));
        let mut failure = None;
        for attempt in 0..addresses.len().min(ATTEMPTS) {
            let address = addresses[start.wrapping_add(attempt) % addresses.len()];
            match self.send_to(&Dial { address, tls }, request).await {
                Ok(done) => return Ok(done),
                Err(Attempt::Unsent(back, error)) => {
                    if attempt > 0 {
                        self.metrics.count(Counter::BackendRetry);
                    }
                    request = back;
                    failure = Some(error);
                }
                Err(Attempt::Sent(error)) => return Err(error),
            }
        }
        Err(failure.map_or(SendError::NoEndpoint, SendError::Connect))
    }

    /// Sends `request` to an endpoint behind a link, and lets the link learn from what comes of it.
    ///
    /// # Errors
    /// As [`Self::send`], and [`SendError::Full`].
    pub(crate) async fn send_linked(
        &self,
        linked: &Linked,
        tls: Option<&Tls>,
        mut request: Box<Request<UpstreamBody>>,
    ) -> Result<(Response<Incoming>, Lease), SendError> {
        let balancer = &*linked.balancer;
        let tls = tls.or(balancer.tls.as_ref());
        let order = balancer.order(linked.key, Instant::now());
        let mut failure = if order.is_empty() { SendError::NoEndpoint } else { SendError::Full };
        let mut attempts = 0;
        for index in order {
            let endpoint = balancer.at(index);
            let Some(active) = endpoint.enter(balancer.link.most_connections) else { continue };
            if attempts == ATTEMPTS {
                break;
            }
            if attempts > 0 {
                self.metrics.count(Counter::BackendRetry);
            }
            attempts += 1;
            let dial = Dial { address: endpoint.address, tls: tls.map(DialTls::of) };
            linked.current.replace(Some(Arc::clone(endpoint)));
            let sent = self.send_to(&dial, request).await;
            linked.current.replace(None);
            let observe = |good| balancer.observe(endpoint, good, Instant::now());
            match sent {
                Ok((response, lease)) => {
                    observe(!response.status().is_server_error());
                    return Ok((response, lease.counted(active)));
                }
                Err(Attempt::Unsent(back, error)) => {
                    observe(false);
                    request = back;
                    failure = SendError::Connect(error);
                }
                Err(Attempt::Sent(error)) => {
                    // A client that breaks off its body says nothing about the endpoint.
                    if !matches!(&error, SendError::Broken(cause) if cause.is_user() || http2::is_own(cause)) {
                        observe(false);
                    }
                    return Err(error);
                }
            }
        }
        Err(failure)
    }

    async fn send_to(
        &self,
        dial: &Dial<'_>,
        mut request: Box<Request<UpstreamBody>>,
    ) -> Result<(Response<Incoming>, Lease), Attempt> {
        if request.version() == Version::HTTP_2 {
            return Box::pin(http2::send(self, dial, request)).await;
        }
        let pool = self.pool(dial);
        loop {
            let reused = pool.take(self.clock.get());
            let fresh = reused.is_none();
            let mut sender = match reused {
                Some(sender) => sender,
                // Boxed, like all that few requests do: hyper moves the future of every request into place.
                None => match Box::pin(self.connector.open(dial, self.limits.connect_timeout, &self.metrics)).await {
                    Ok(sender) => sender,
                    Err(error) => {
                        self.metrics.count(error.counter());
                        return Err(Attempt::Unsent(request, error));
                    }
                },
            };
            self.metrics.count(if fresh { Counter::BackendOnNew } else { Counter::BackendOnReused });
            match sender.try_send_request(*request).await {
                Ok(response) => {
                    let lease = Lease::new(sender, pool, Rc::clone(&self.clock), &response, &self.limits);
                    return Ok((response, lease));
                }
                Err(mut error) => match error.take_message() {
                    // An idle connection that the backend had closed: nothing was sent, so another one may be tried. A
                    // fresh connection that closes at once is the endpoint's refusal.
                    Some(back) if !fresh => {
                        self.metrics.count(Counter::BackendRetry);
                        request = Box::new(back);
                    }
                    Some(back) => return Err(Attempt::Unsent(Box::new(back), ConnectError::Closed)),
                    None => {
                        let error = error.into_error();
                        return Err(Attempt::Sent(if error.is_parse() {
                            SendError::NotHttp(error)
                        } else {
                            SendError::Broken(error)
                        }));
                    }
                },
            }
        }
    }

    fn pool(&self, dial: &Dial<'_>) -> Rc<Pool> {
        let key = PoolKey::of(dial);
        let mut pools = self.pools.borrow_mut();
        if let Some(pool) = pools.get(&key) {
            return Rc::clone(pool);
        }
        let pool = Rc::new(Pool::default());
        pools.insert(key, Rc::clone(&pool));
        pool
    }

    fn http2_pool(&self, dial: &Dial<'_>) -> Rc<Http2Pool> {
        Rc::clone(self.http2_pools.borrow_mut().entry(PoolKey::of(dial)).or_default())
    }

    /// Called once a second: closes idle connections that are too old and forgets empty pools.
    pub(crate) fn sweep(&self) {
        self.clock.set(self.clock.get().saturating_add(1));
        let now = self.clock.get();
        self.pools.borrow_mut().retain(|_, pool| pool.sweep(now) || Rc::strong_count(pool) > 1);
        let idle_seconds = u32::try_from(self.limits.backend_idle_timeout.as_secs()).unwrap_or(u32::MAX);
        let idle_before = now.saturating_sub(idle_seconds);
        self.http2_pools.borrow_mut().retain(|_, pool| pool.sweep(idle_before) || Rc::strong_count(pool) > 1);
    }
}

/// A request on its way through a link.
#[derive(Debug)]
pub(crate) struct Linked {
    balancer: Arc<Balancer>,
    key: Option<u64>,
    /// The endpoint that has the request now.
    current: RefCell<Option<Arc<Endpoint>>>,
}

impl Linked {
    /// For the request of a client at `source`.
    pub(crate) fn new(balancer: &Arc<Balancer>, source: IpAddr, headers: &HeaderMap) -> Self {
        let key = match &balancer.link.balance {
            Balance::ConsistentHash(key) => key.of(source, headers),
            Balance::RoundRobin | Balance::LeastRequest => None,
        };
        Self { balancer: Arc::clone(balancer), key, current: RefCell::new(None) }
    }

    /// The integration's time is over: whoever has the request did not answer.
    pub(crate) fn timed_out(&self) {
        if let Some(endpoint) = self.current.take() {
            self.balancer.observe(&endpoint, false, Instant::now());
        }
    }
}

enum Attempt {
    /// Nothing was sent: the request comes back.
    Unsent(Box<Request<UpstreamBody>>, ConnectError),
    /// Bytes were sent: no other endpoint may see it.
    Sent(SendError),
}
