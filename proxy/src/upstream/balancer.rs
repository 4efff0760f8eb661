//! Which endpoint of a linked service gets a request, and what its answers lead to.
//!
//! An endpoint's counts are shared by all workers of the process, so that its limits are exact; requests that go through no link never
//! touch them. They live beside the configuration: a change of the link or of other endpoints keeps them (promise P6).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use smallvec::SmallVec;
use tollgate_engine::link::{self, Balance, Link};
use tollgate_engine::snapshot::{HealthCheck, LinkName, ServicePort};

use crate::gateway::Tls;

/// One endpoint behind a link.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    /// Requests in flight.
    active: AtomicU32,
    /// Failures in a row.
    failures: AtomicU32,
    /// Times that it was left alone without a success since.
    ejections: AtomicU32,
    /// Second since the registry's epoch until which it is left alone.
    away_until: AtomicU32,
    /// What active checks say.
    healthy: AtomicBool,
    /// Checks in a row that say otherwise.
    against: AtomicU32,
}

/// A request in flight to an endpoint; dropping it ends that.
#[derive(Debug)]
pub(crate) struct Active(Arc<Endpoint>);

impl Drop for Active {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Endpoint {
    fn new(address: SocketAddr) -> Self {
        Self {
            address,
            active: AtomicU32::new(0),
            failures: AtomicU32::new(0),
            ejections: AtomicU32::new(0),
            away_until: AtomicU32::new(0),
            healthy: AtomicBool::new(true),
            against: AtomicU32::new(0),
        }
    }

    /// Counts a request, unless the endpoint has `most` already.
    pub(crate) fn enter(self: &Arc<Self>, most: u32) -> Option<Active> {
        let entered =
            self.active.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| (now < most).then_some(now + 1));
        entered.is_ok().then(|| Active(Arc::clone(self)))
    }

    fn is_away(&self, now: u32) -> bool {
        self.away_until.load(Ordering::Relaxed) > now
    }

    fn is_well(&self, now: u32) -> bool {
        self.healthy.load(Ordering::Relaxed) && !self.is_away(now)
    }

    /// Takes the result of an active check; says whether it changed what the endpoint is taken for.
    pub(crate) fn checked(&self, check: &HealthCheck, good: bool) -> bool {
        let was = self.healthy.load(Ordering::Relaxed);
        let (is, against) = link::checked(check, was, self.against.load(Ordering::Relaxed), good);
        self.against.store(against, Ordering::Relaxed);
        self.healthy.store(is, Ordering::Relaxed);
        was != is
    }
}

/// A linked service as an API may reach it.
#[derive(Debug)]
pub(crate) struct Balancer {
    pub(crate) link: Arc<Link>,
    /// Towards the endpoints, unless the integration says otherwise.
    pub(crate) tls: Option<Tls>,
    /// The endpoints speak HTTP/2, unless the integration knows better.
    pub(crate) http2: bool,
    endpoints: Box<[Arc<Endpoint>]>,
    turn: AtomicUsize,
    epoch: Instant,
}

/// Endpoints in the order in which they are to be tried.
pub(crate) type Order = SmallVec<[u32; 16]>;

impl Balancer {
    /// `before` had these requests until now: their turns go on.
    pub(crate) fn new(
        link: Arc<Link>,
        tls: Option<Tls>,
        endpoints: Box<[Arc<Endpoint>]>,
        epoch: Instant,
        before: Option<&Self>,
    ) -> Self {
        let turn = before.map_or(0, |before| before.turn.load(Ordering::Relaxed));
        Self { link, tls, http2: false, endpoints, turn: AtomicUsize::new(turn), epoch }
    }

    /// The endpoints for a request whose hash key is `key`. Where none is well all count as well, as with AWS's load balancers: a
    /// wrong check must not take a service down.
    pub(crate) fn order(&self, key: Option<u64>, now: Instant) -> Order {
        let now = self.second(now);
        let all = 0..u32::try_from(self.endpoints.len()).unwrap_or(u32::MAX);
        let mut order: Order = all.clone().filter(|index| self.at(*index).is_well(now)).collect();
        if order.is_empty() {
            order.extend(all);
        }
        if order.len() < 2 {
            return order;
        }
        match (&self.link.balance, key) {
            (Balance::ConsistentHash(_), Some(key)) => {
                order.sort_unstable_by_key(|index| std::cmp::Reverse(link::rank(key, self.at(*index).address)));
            }
            (Balance::LeastRequest, _) => {
                // Turned first, so that among equals not always the same one is chosen.
                self.turn(&mut order);
                order.sort_by_key(|index| self.at(*index).active.load(Ordering::Relaxed));
            }
            _ => self.turn(&mut order),
        }
        order
    }

    fn turn(&self, order: &mut Order) {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % order.len();
        order.rotate_left(turn);
    }

    /// One of the endpoints of [`Self::order`].
    pub(crate) fn at(&self, index: u32) -> &Arc<Endpoint> {
        &self.endpoints[index as usize]
    }

    pub(crate) fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }

    /// An endpoint answered, or did not.
    pub(crate) fn observe(&self, endpoint: &Endpoint, good: bool, now: Instant) {
        let Some(policy) = &self.link.outlier_detection else { return };
        if good {
            // Read first: what is zero already is not written, and stays in every worker's cache.
            if endpoint.failures.load(Ordering::Relaxed) > 0 {
                endpoint.failures.store(0, Ordering::Relaxed);
            }
            if endpoint.ejections.load(Ordering::Relaxed) > 0 {
                endpoint.ejections.store(0, Ordering::Relaxed);
            }
            return;
        }
        let now = self.second(now);
        let failures = endpoint.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if endpoint.is_away(now) {
            return;
        }
        let away = self.endpoints.iter().filter(|other| other.is_away(now)).count();
        let ejections = endpoint.ejections.load(Ordering::Relaxed);
        if let Some(seconds) = link::ejection(policy, failures, ejections, away, self.endpoints.len()) {
            endpoint.away_until.store(now.saturating_add(seconds), Ordering::Relaxed);
            endpoint.ejections.store(ejections.saturating_add(1), Ordering::Relaxed);
            endpoint.failures.store(0, Ordering::Relaxed);
            tracing::info!(endpoint = %endpoint.address, seconds, "an endpoint keeps failing and is left alone");
        }
    }

    fn second(&self, now: Instant) -> u32 {
        u32::try_from(now.saturating_duration_since(self.epoch).as_secs()).unwrap_or(u32::MAX)
    }
}

type Key = (LinkName, ServicePort, SocketAddr);

/// The endpoints that any configuration in use has behind a link.
#[derive(Debug, Default)]
pub(crate) struct Endpoints(Mutex<HashMap<Key, Weak<Endpoint>>>);

impl Endpoints {
    /// The endpoint with the counts that it has.
    pub(crate) fn get(&self, link: &LinkName, service: &ServicePort, address: SocketAddr) -> Arc<Endpoint> {
        let mut known = self.lock();
        let entry = known.entry((link.clone(), service.clone(), address)).or_default();
        entry.upgrade().unwrap_or_else(|| {
            let endpoint = Arc::new(Endpoint::new(address));
            *entry = Arc::downgrade(&endpoint);
            endpoint
        })
    }

    /// Forgets those that nobody holds any more.
    pub(crate) fn sweep(&self) {
        self.lock().retain(|_, endpoint| endpoint.strong_count() > 0);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Weak<Endpoint>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;

    fn balancer(count: u8, more: Value) -> Balancer {
        let mut wire = json!({"link": {"namespace": "backends", "name": "l"}, "services": ["orders"]});
        wire.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let link = Link::compile(&serde_json::from_value(wire).unwrap()).unwrap();
        let endpoints = (0..count).map(|last| Arc::new(Endpoint::new(SocketAddr::from(([10, 0, 0, last], 80)))));
        Balancer::new(Arc::new(link), None, endpoints.collect(), Instant::now(), None)
    }

    fn first(balancer: &Balancer, now: Instant) -> u32 {
        balancer.order(None, now)[0]
    }

    #[test]
    fn requests_go_in_turn() {
        let balancer = balancer(3, json!({}));
        let now = Instant::now();
        assert_eq!([0; 4].map(|_| first(&balancer, now)), [0, 1, 2, 0]);
    }

    #[test]
    fn the_endpoint_with_the_fewest_requests_comes_first() {
        let balancer = balancer(3, json!({"balance": {"algorithm": "leastRequest"}}));
        let now = Instant::now();
        let held = [balancer.at(0).enter(u32::MAX), balancer.at(1).enter(u32::MAX)];
        assert_eq!([0; 3].map(|_| first(&balancer, now)), [2, 2, 2]);
        drop(held);
        let again: std::collections::BTreeSet<u32> = (0..3).map(|_| first(&balancer, now)).collect();
        assert_eq!(again.len(), 3, "among equals in turn");
    }

    #[test]
    fn a_key_keeps_its_endpoint_while_that_is_well() {
        let outliers = json!({"consecutiveErrors": 1, "baseEjectionSeconds": 30, "maxEjectionPercent": 50});
        let hash = json!({"algorithm": "consistentHash", "key": "$request.header.x-user"});
        let balancer = balancer(4, json!({"balance": hash, "outlierDetection": outliers}));
        let now = Instant::now();
        let order = balancer.order(Some(7), now);
        assert_eq!(order, balancer.order(Some(7), now));
        balancer.observe(balancer.at(order[0]), false, now);
        assert_eq!(
            balancer.order(Some(7), now)[..],
            order[1..],
            "the next best one, and the order of the others stays"
        );
        assert_eq!(balancer.order(Some(7), now + Duration::from_secs(31)), order);
    }

    #[test]
    fn failing_endpoints_are_left_alone_for_a_while() {
        let outliers = json!({"consecutiveErrors": 2, "baseEjectionSeconds": 30, "maxEjectionPercent": 50});
        let balancer = balancer(2, json!({"outlierDetection": outliers}));
        let now = Instant::now();
        let fail = |index: u32, at| balancer.observe(balancer.at(index), false, at);
        fail(0, now);
        balancer.observe(balancer.at(0), true, now);
        fail(0, now);
        assert_eq!(balancer.order(None, now).len(), 2, "not in a row");
        fail(0, now);
        assert_eq!(balancer.order(None, now)[..], [1]);
        fail(1, now);
        fail(1, now);
        assert_eq!(balancer.order(None, now)[..], [1], "half of them are away already");
        let later = now + Duration::from_secs(31);
        assert_eq!(balancer.order(None, later).len(), 2);
        fail(0, later);
        fail(0, later);
        assert_eq!(balancer.order(None, later + Duration::from_secs(31))[..], [1], "twice as long the second time");
    }

    #[test]
    fn without_a_healthy_endpoint_all_are_used() {
        let check = json!({"path": "/", "intervalSeconds": 1, "timeoutInMillis": 100, "healthyThreshold": 1, "unhealthyThreshold": 1});
        let balancer = balancer(2, json!({"healthCheck": check}));
        let check = balancer.link.health_check.clone().unwrap();
        let now = Instant::now();
        assert!(balancer.at(0).checked(&check, false));
        assert_eq!(balancer.order(None, now)[..], [1]);
        assert!(balancer.at(1).checked(&check, false));
        assert_eq!(balancer.order(None, now).len(), 2);
        assert!(balancer.at(1).checked(&check, true));
        assert_eq!(balancer.order(None, now)[..], [1]);
    }

    #[test]
    fn limits_hold_and_counts_outlive_the_configuration() {
        let (link, service) = (
            LinkName { namespace: "backends".into(), name: "l".into() },
            ServicePort { namespace: "backends".into(), name: "orders".into(), port: 80 },
        );
        let address = SocketAddr::from(([10, 0, 0, 1], 80));
        let endpoints = Endpoints::default();
        let old = endpoints.get(&link, &service, address);
        let one = old.enter(1).unwrap();
        drop(old);
        let new = endpoints.get(&link, &service, address);
        assert!(new.enter(1).is_none(), "the request of the old configuration counts");
        drop(one);
        assert!(new.enter(1).is_some());
        drop(new);
        endpoints.sweep();
        assert!(endpoints.lock().is_empty());
    }
}
