//! Idle connections to one backend address.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;

use http::{HeaderName, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;

use super::balancer::Active;
use super::connect::Dial;
use super::http2::Exchange;
use crate::body::UpstreamBody;
use crate::settings::ConnectionLimits;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// Connections that may stand in for each other: same address, same TLS.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PoolKey {
    address: SocketAddr,
    /// Identity of the TLS configuration and the name it verifies; absent for plain HTTP.
    tls: Option<(usize, Rc<str>)>,
}

impl PoolKey {
    pub(crate) fn of(dial: &Dial<'_>) -> Self {
        let tls = dial.tls.as_ref().map(|tls| (tls.id, Rc::from(tls.server_name)));
        Self { address: dial.address, tls }
    }
}

/// Idle connections, the most recently used on top.
#[derive(Debug, Default)]
pub(super) struct Pool {
    idle: RefCell<Vec<Idle>>,
}

#[derive(Debug)]
struct Idle {
    sender: SendRequest<UpstreamBody>,
    /// Coarse second after which it is not used again.
    until: u32,
}

impl Pool {
    /// A connection that looks usable.
    pub(super) fn take(&self, now: u32) -> Option<SendRequest<UpstreamBody>> {
        let mut idle = self.idle.borrow_mut();
        while let Some(candidate) = idle.pop() {
            // One that is neither closed nor ready still writes a request that its backend answered early.
            if candidate.until >= now && candidate.sender.is_ready() {
                return Some(candidate.sender);
            }
        }
        None
    }

    fn put(&self, sender: SendRequest<UpstreamBody>, until: u32, bound: usize) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < bound && !sender.is_closed() {
            idle.push(Idle { sender, until });
        }
    }

    /// Closes what is too old; false when nothing is left.
    pub(super) fn sweep(&self, now: u32) -> bool {
        let mut idle = self.idle.borrow_mut();
        idle.retain(|candidate| candidate.until >= now && !candidate.sender.is_closed());
        !idle.is_empty()
    }
}

/// A connection in use, or the part of one. Dropping it ends that; [`give_back`](Self::give_back) keeps the connection.
#[derive(Debug)]
pub(crate) struct Lease {
    held: Held,
    /// Counts for its endpoint, behind a link.
    active: Option<Active>,
}

#[derive(Debug)]
enum Held {
    /// Of HTTP/1.1.
    Connection { sender: SendRequest<UpstreamBody>, pool: Rc<Pool>, clock: Rc<Cell<u32>>, lifetime: u32, bound: usize },
    /// Of HTTP/2.
    Shared(Exchange),
}

impl Lease {
    pub(super) fn new(
        sender: SendRequest<UpstreamBody>,
        pool: Rc<Pool>,
        clock: Rc<Cell<u32>>,
        response: &Response<Incoming>,
        limits: &ConnectionLimits,
    ) -> Self {
        let configured = u32::try_from(limits.backend_idle_timeout.as_secs()).unwrap_or(u32::MAX);
        let lifetime = announced_timeout(response).map_or(configured, |seconds| configured.min(seconds));
        let held = Held::Connection { sender, pool, clock, lifetime, bound: limits.idle_per_backend };
        Self { held, active: None }
    }

    pub(super) fn shared(exchange: Exchange) -> Self {
        Self { held: Held::Shared(exchange), active: None }
    }

    /// Until it ends it counts.
    pub(super) fn counted(self, active: Active) -> Self {
        Self { active: Some(active), ..self }
    }

    /// The exchange is complete: the connection may serve another.
    pub(crate) fn give_back(self) {
        let _until_now = self.active;
        match self.held {
            Held::Connection { sender, pool, clock, lifetime, bound } => {
                if lifetime > 0 {
                    pool.put(sender, clock.get().saturating_add(lifetime), bound);
                }
            }
            Held::Shared(exchange) => exchange.complete(),
        }
    }
}

/// `Keep-Alive: timeout=N`: the backend closes after N idle seconds. One second less is used, so that a request does not
/// meet the closing connection.
fn announced_timeout(response: &Response<Incoming>) -> Option<u32> {
    let value = response.headers().get(KEEP_ALIVE)?.to_str().ok()?;
    let seconds = value.split(',').find_map(|part| part.trim().strip_prefix("timeout="))?;
    seconds.parse::<u32>().ok().map(|seconds| seconds.saturating_sub(1))
}
