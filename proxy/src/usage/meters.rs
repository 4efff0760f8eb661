//! What customers of plans have used, beside the configuration.

use std::hash::BuildHasher;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;
use tokio::sync::Notify;
use tollgate_engine::meter::{Account, Batching, Held, Meter, Outcome, Terms, Window};
use tollgate_engine::snapshot::FailureMode;
use tollgate_engine::throttle::Limit;

use super::file::Journal;
use super::plans::CompiledPlan;
use super::valkey::{Shared, now_us};
use crate::metrics::ControlMetrics;

/// Customers that are remembered. One more is refused as if the store were away.
pub(super) const MAX_CUSTOMERS: usize = 1_000_000;
/// Parts of the table, each with its own lock. Many, so that a sweep holds a lock for some microseconds only.
const PARTS: usize = 1024;
/// Parts that one sweep looks at: with a sweep a second, all of them in two minutes.
const SWEPT: usize = 8;
/// Who was silent for so long may be forgotten.
const IDLE_US: f64 = 60e6;
/// Up to so many customers, those who used some of their quota are remembered until its period ends, for reports of usage.
const TOLD: usize = 100_000;
/// A lease that is written to the journal before it is used: a second's worth, which is what a killed process can lose.
const JOURNALLED: Batching = Batching { tokens_us: 0.0, quota_us: 1e6, dry_us: 0.0 };

/// Where counts are kept.
#[derive(Debug)]
pub enum StoreKind {
    /// In this process: they are gone when it ends.
    Memory,
    /// Quotas also in a file, written ahead of their use.
    File(Journal),
    /// In Valkey or Redis, together with other proxies.
    Shared(Shared),
}

impl StoreKind {
    /// Quotas survive in this directory.
    ///
    /// # Errors
    /// The directory or its file cannot be read and written.
    pub fn in_directory(directory: &Path) -> io::Result<Self> {
        Journal::open(directory).map(Self::File)
    }
}

/// One customer: of which plan, who, and, for a throttle of its own, of which route of which stage.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Customer {
    /// The plan's id, `namespace/name`.
    pub plan: Box<str>,
    /// The key's id, `namespace/name`, or `claim:` and the claim's value.
    pub who: Box<str>,
    /// `apiId/stage/routeKey`; empty for the plan as a whole.
    pub route: Box<str>,
}

/// Whom a request counts for; [`Customer`] without owning it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Named<'a> {
    pub(crate) plan: &'a str,
    pub(crate) who: &'a str,
    pub(crate) route: &'a str,
}

/// The two clocks of a decision.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// Of the process's monotonic clock.
    pub(crate) us: f64,
    /// Seconds since 1970.
    pub(crate) unix: i64,
}

/// Whether a request may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Admit,
    Throttled,
    QuotaExceeded,
    /// Nobody can say.
    Unavailable,
}

/// All customers' meters; a clone is a pointer.
#[derive(Clone, Debug)]
pub struct UsageMeters(Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    store: StoreKind,
    parts: [Mutex<HashTable<Arc<Entry>>>; PARTS],
    customers: AtomicUsize,
    /// [`TOLD`]
    told: usize,
    /// Where the next sweep begins.
    swept: AtomicUsize,
    metrics: OnceLock<ControlMetrics>,
}

/// A customer with what is counted of it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) customer: Customer,
    pub(super) state: Mutex<State>,
    /// The shared store has answered, or will not.
    pub(super) answered: Notify,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct State {
    pub(super) meter: Meter,
    /// The truth, unless a shared store has it: then what counts while that is away.
    account: Account,
    /// While the shared store is away.
    alone: Meter,
    /// What the last request was measured by.
    pub(super) terms: Terms,
    /// A lease is on its way.
    pub(super) asked: bool,
    /// Somebody missed a token or quota,
    pub(super) wanted: bool,
    /// and when.
    pub(super) missed_us: f64,
    /// May hold a lease of the shared store.
    pub(super) active: bool,
    /// Admitted while the shared store was away, and not told to it.
    pub(super) owed: u64,
}

/// A throttle of a route or of the account that proxies share. As long as it is held its level is remembered.
#[derive(Clone, Debug)]
pub(crate) struct SharedThrottle {
    entry: Arc<Entry>,
    terms: Terms,
}

impl SharedThrottle {
    /// Puts a token back, for a request that was refused for another reason.
    pub(crate) fn give_back(&self) {
        lock(&self.entry.state).meter.undo(&self.terms);
    }
}

/// Whether a decision can be had at once.
enum Now {
    Decided(Decision),
    /// The shared store was asked.
    Wait(Arc<Entry>),
}

/// A request waits no longer for the shared store; then the plan's failure mode decides.
const PATIENCE: Duration = Duration::from_millis(250);

impl UsageMeters {
    /// Nothing used yet, but what the store remembers.
    pub fn new(store: StoreKind) -> Self {
        Self::telling(store, TOLD)
    }

    fn telling(store: StoreKind, told: usize) -> Self {
        let inner = Arc::new(Inner {
            store,
            parts: std::array::from_fn(|_| Mutex::default()),
            customers: AtomicUsize::new(0),
            told,
            swept: AtomicUsize::new(0),
            metrics: OnceLock::new(),
        });
        if let StoreKind::Shared(shared) = &inner.store {
            // New, so it has no other table.
            let _ = shared.table.set(Arc::downgrade(&inner));
        }
        Self(inner)
    }

    /// The start of the clock that requests are measured by, and where to tell how many customers there are.
    pub(crate) fn begin(&self, epoch: Instant, metrics: &ControlMetrics) {
        metrics.usage_customers_max.set(i64::try_from(MAX_CUSTOMERS).unwrap_or(i64::MAX));
        let _ = self.0.metrics.set(metrics.clone());
        if let StoreKind::Shared(shared) = &self.0.store {
            // The first server of the process wins; there is one.
            let _ = shared.epoch.set(epoch);
        }
    }

    /// The moment as the store of quotas has it: with a shared store, windows are those of its clock, whatever this machine's says.
    pub(crate) fn moment(&self, now: Moment) -> Moment {
        match &self.0.store {
            StoreKind::Shared(shared) => Moment { unix: shared.unix(now.us, now.unix), ..now },
            StoreKind::Memory | StoreKind::File(_) => now,
        }
    }

    /// This second as the store of quotas has it.
    pub(super) fn unix(&self, own: i64) -> i64 {
        match &self.0.store {
            StoreKind::Shared(shared) => shared.moment(own).unix,
            StoreKind::Memory | StoreKind::File(_) => own,
        }
    }

    /// Decides about one request of a customer. `terms` are the plan's, or the customer's own. `route` is the throttle of the route, if it has one of its own in the plan, and its
    /// name; it replaces the plan's (R-PLAN-3).
    pub(crate) async fn admit(
        &self,
        plan: &CompiledPlan,
        terms: &Terms,
        who: &str,
        route: Option<(&tollgate_engine::meter::Rate, &str)>,
        now: Moment,
    ) -> Decision {
        match self.both(plan, terms, who, route, now).await {
            Decision::Unavailable if plan.failure_mode == FailureMode::Open => Decision::Admit,
            decision => decision,
        }
    }

    async fn both(
        &self,
        plan: &CompiledPlan,
        terms: &Terms,
        who: &str,
        route: Option<(&tollgate_engine::meter::Rate, &str)>,
        now: Moment,
    ) -> Decision {
        let whole = Named { plan: &plan.id, who, route: "" };
        let Some((rate, name)) = route else { return self.decide(whole, terms, plan.failure_mode, now).await };
        let own = Terms { rate: Some(*rate), quota: None };
        let named = Named { route: name, ..whole };
        match self.decide(named, &own, plan.failure_mode, now).await {
            Decision::Admit => {}
            refused => return refused,
        }
        let terms = Terms { rate: None, ..*terms };
        let decision = self.decide(whole, &terms, plan.failure_mode, now).await;
        if decision != Decision::Admit {
            self.undo(named, &own);
        }
        decision
    }

    async fn decide(&self, named: Named<'_>, terms: &Terms, mode: FailureMode, now: Moment) -> Decision {
        match self.at_once(named, terms, mode, now) {
            Now::Decided(decision) => decision,
            // Seldom, so it is not part of every request's future.
            Now::Wait(entry) => Box::pin(self.wait(&entry, terms, mode, now.unix)).await,
        }
    }

    fn at_once(&self, named: Named<'_>, terms: &Terms, mode: FailureMode, now: Moment) -> Now {
        if terms.rate.is_none() && terms.quota.is_none() {
            return Now::Decided(Decision::Admit);
        }
        match self.entry(named) {
            Some(entry) => self.at_once_of(&entry, terms, mode, now),
            None => Now::Decided(Decision::Unavailable),
        }
    }

    fn at_once_of(&self, entry: &Arc<Entry>, terms: &Terms, mode: FailureMode, now: Moment) -> Now {
        let mut state = lock(&entry.state);
        state.terms = *terms;
        let decision = match state.meter.admit(terms, now.us, now.unix) {
            Outcome::AskStore => match &self.0.store {
                StoreKind::Shared(shared) => {
                    let asked = self.ask(shared, entry, &mut state, mode, now);
                    drop(state);
                    return asked.map_or_else(|| Now::Wait(Arc::clone(entry)), Now::Decided);
                }
                StoreKind::Memory | StoreKind::File(_) => self.lease(&entry.customer, &mut state, terms, now),
            },
            decided => decision(decided),
        };
        Now::Decided(decision)
    }

    /// Asks the shared store; `None`: its answer has to be waited for.
    #[expect(clippy::unused_self, reason = "it reads as the others")]
    fn ask(
        &self,
        shared: &Shared,
        entry: &Arc<Entry>,
        state: &mut State,
        mode: FailureMode,
        now: Moment,
    ) -> Option<Decision> {
        if shared.is_away() {
            return Some(shared.alone(entry, state, mode, now));
        }
        if state.meter.is_short(&state.terms) {
            // There was too little for everybody a moment ago: the next renewal brings what comes.
            (state.wanted, state.missed_us) = (true, now.us);
            if state.active {
                return Some(none(&state.terms, &state.meter));
            }
        }
        if !state.asked {
            state.asked = true;
            if !shared.ask(entry) {
                state.asked = false;
                return Some(shared.alone(entry, state, mode, now));
            }
        }
        None
    }

    async fn wait(&self, entry: &Arc<Entry>, terms: &Terms, mode: FailureMode, unix: i64) -> Decision {
        let StoreKind::Shared(shared) = &self.0.store else { return Decision::Unavailable };
        let begun = Instant::now();
        let decision = self.answered(shared, entry, terms, mode, unix).await;
        shared.metrics.lease_wait.observe(begun.elapsed().as_secs_f64());
        decision
    }

    async fn answered(
        &self,
        shared: &Shared,
        entry: &Arc<Entry>,
        terms: &Terms,
        mode: FailureMode,
        unix: i64,
    ) -> Decision {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let answered = entry.answered.notified();
            let mut answered = std::pin::pin!(answered);
            answered.as_mut().enable();
            // The store's clock may be known better by now.
            let now = shared.moment(unix);
            {
                let mut state = lock(&entry.state);
                match state.meter.admit(terms, now.us, now.unix) {
                    Outcome::AskStore => {
                        if let Some(decision) = self.ask(shared, entry, &mut state, mode, now) {
                            return decision;
                        }
                    }
                    decided => return decision(decided),
                }
            }
            if tokio::time::timeout_at(deadline, answered).await.is_err() {
                let now = shared.moment(unix);
                return shared.alone(entry, &mut lock(&entry.state), mode, now);
            }
        }
    }

    /// Takes a lease of the account and tries again.
    fn lease(&self, customer: &Customer, state: &mut State, terms: &Terms, now: Moment) -> Decision {
        let batching = match &self.0.store {
            StoreKind::Memory => &Batching::NONE,
            StoreKind::File(_) => &JOURNALLED,
            StoreKind::Shared(_) => return Decision::Unavailable,
        };
        let ask = state.meter.ask(terms, batching, now.us, now.unix);
        let mut account = state.account;
        let grant = account.serve(&ask, now.us, now.unix);
        if let (StoreKind::File(journal), Some(_)) = (&self.0.store, &terms.quota) {
            let (window, used) = account.quota();
            if account.quota() != state.account.quota() && journal.write(customer, window, used, now.unix).is_err() {
                // Without a record the lease must not be used.
                return Decision::Unavailable;
            }
        }
        state.account = account;
        state.meter.credit(&ask, &grant, batching, now.us);
        match state.meter.admit(terms, now.us, now.unix) {
            // The store has none and may be asked again at once.
            Outcome::AskStore => none(terms, &state.meter),
            decided => decision(decided),
        }
    }

    fn undo(&self, named: Named<'_>, terms: &Terms) {
        if let Some(entry) = self.entry(named) {
            lock(&entry.state).meter.undo(terms);
        }
    }

    /// Requests that the window of the plan's quota still allows a customer, and seconds until the next window.
    pub(crate) fn remaining(&self, plan: &CompiledPlan, terms: &Terms, who: &str, now: Moment) -> Option<(u64, i64)> {
        let quota = terms.quota?;
        let window = quota.period.window(now.unix);
        let entry = self.entry(Named { plan: &plan.id, who, route: "" })?;
        let state = lock(&entry.state);
        let used = match &self.0.store {
            StoreKind::Shared(_) => state.meter.used_in(window),
            StoreKind::Memory | StoreKind::File(_) => state.used_in(window),
        };
        Some((quota.limit_in(window).saturating_sub(used), window.end - now.unix))
    }

    /// Whether the counts are those of all proxies.
    pub(super) fn is_shared(&self) -> bool {
        matches!(self.0.store, StoreKind::Shared(_))
    }

    /// Tells of every customer with a quota: the present window, requests used in it, and requests that it allows.
    pub(super) fn each_quota(&self, unix: i64, mut each: impl FnMut(&Customer, Window, u64, u64)) {
        for part in &self.0.parts {
            // Copied, so that requests wait for no other customer.
            let entries: Vec<Arc<Entry>> = lock(part).iter().map(Arc::clone).collect();
            for entry in entries.iter().filter(|entry| entry.customer.route.is_empty()) {
                let state = *lock(&entry.state);
                if let Some((window, used, limit)) = self.used_now(&state, unix) {
                    each(&entry.customer, window, used, limit);
                }
            }
        }
    }

    /// The present window of a customer's quota, requests used in it, and requests that it allows.
    fn used_now(&self, state: &State, unix: i64) -> Option<(Window, u64, u64)> {
        let quota = state.terms.quota?;
        let window = quota.period.window(unix);
        let used = match &self.0.store {
            StoreKind::Shared(_) => state.meter.used_in(window),
            StoreKind::Memory | StoreKind::File(_) => state.used_in(window),
        };
        Some((window, used, quota.limit_in(window)))
    }

    /// A throttle that is no plan's but all callers' together: of the route `route` of the API and stage that `scope` names. Proxies share it
    /// through the store. `None` where there is no such store, or no room.
    pub(crate) fn throttle(&self, scope: &str, route: &str, limit: &Limit) -> Option<SharedThrottle> {
        if !self.is_shared() || limit.refuses_all() {
            return None;
        }
        let entry = self.entry(Named { plan: "", who: scope, route })?;
        Some(SharedThrottle { entry, terms: Terms { rate: Some(limit.rate()), quota: None } })
    }

    /// Takes a token of a shared throttle. Without the store each proxy has a bucket of its own.
    pub(crate) async fn take(&self, throttle: &SharedThrottle, now: Moment) -> bool {
        let decision = match self.at_once_of(&throttle.entry, &throttle.terms, FailureMode::Local, now) {
            Now::Decided(decision) => decision,
            Now::Wait(entry) => self.wait(&entry, &throttle.terms, FailureMode::Local, now.unix).await,
        };
        decision == Decision::Admit
    }

    /// The customer's entry, made if there is none; `None` when there are too many.
    fn entry(&self, named: Named<'_>) -> Option<Arc<Entry>> {
        let hash = hash(named.plan, named.who, named.route);
        let part = &self.0.parts[part_of(hash)];
        let mut part = lock(part);
        let same = |entry: &Arc<Entry>| {
            let Customer { plan, who, route } = &entry.customer;
            **who == *named.who && **plan == *named.plan && **route == *named.route
        };
        if let Some(entry) = part.find(hash, same) {
            return Some(Arc::clone(entry));
        }
        if self.0.customers.fetch_add(1, Ordering::Relaxed) >= MAX_CUSTOMERS {
            self.0.customers.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let customer = Customer { plan: named.plan.into(), who: named.who.into(), route: named.route.into() };
        let account = match &self.0.store {
            StoreKind::Memory | StoreKind::Shared(_) => Account::default(),
            StoreKind::File(journal) => journal.latest(&customer).unwrap_or_default(),
        };
        let state = Mutex::new(State { account, ..State::default() });
        let entry = Arc::new(Entry { customer, state, answered: Notify::new() });
        part.insert_unique(hash, Arc::clone(&entry), |entry| hash_of(&entry.customer));
        Some(entry)
    }

    /// Gives back what is leased and writes it down: for an orderly end. What was not leased is not touched.
    pub fn settle(&self) {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.settle_at(i64::try_from(since_1970.as_secs()).unwrap_or(i64::MAX));
    }

    fn settle_at(&self, unix: i64) {
        let journal = match &self.0.store {
            StoreKind::Memory => return,
            StoreKind::Shared(shared) => return shared.settle(),
            StoreKind::File(journal) => journal,
        };
        for part in &self.0.parts {
            for entry in lock(part).iter() {
                let state = lock(&entry.state);
                let (window, used) = state.account.quota();
                let held = state.meter.held().quota;
                if held > 0
                    && let Err(error) = journal.write(&entry.customer, window, used.saturating_sub(held), unix)
                {
                    tracing::warn!(%error, "the unused part of a quota could not be given back");
                }
            }
        }
    }

    /// Forgets some of those whom nobody would miss: silent for a minute, with a full bucket, and with nothing counted that is not
    /// also elsewhere. To be called once a second.
    pub(crate) fn sweep(&self, now: Moment) {
        let now = self.moment(now);
        let first = self.0.swept.fetch_add(SWEPT, Ordering::Relaxed);
        for number in first..first + SWEPT {
            let mut part = lock(&self.0.parts[number % PARTS]);
            let before = part.len();
            part.retain(|entry| !self.is_forgettable(entry, now));
            let forgotten = before - part.len();
            if part.capacity() > 4 * part.len() + 64 {
                part.shrink_to_fit(|entry| hash_of(&entry.customer));
            }
            drop(part);
            self.0.customers.fetch_sub(forgotten, Ordering::Relaxed);
        }
        if let Some(metrics) = self.0.metrics.get() {
            metrics.usage_customers.set(i64::try_from(self.len()).unwrap_or(i64::MAX));
        }
    }

    fn is_forgettable(&self, entry: &Arc<Entry>, now: Moment) -> bool {
        // Others come by a clone only under the lock of the part, which the caller holds.
        if Arc::strong_count(entry) > 1 {
            return false;
        }
        let state = lock(&entry.state);
        let silent = now.us - state.meter.last_use_us().max(state.missed_us) > IDLE_US;
        if !silent || state.active || state.asked || state.owed > 0 || !state.account.is_full(now.us) {
            return false;
        }
        if self.len() <= self.0.told && self.used_now(&state, now.unix).is_some_and(|(_, used, _)| used > 0) {
            return false;
        }
        match &self.0.store {
            StoreKind::Memory => state.terms.quota.is_none_or(|quota| {
                let (window, used) = state.account.quota();
                used == state.meter.held().quota || window < quota.period.window(now.unix).start
            }),
            StoreKind::File(journal) => {
                let (window, used) = state.account.quota();
                let held = state.meter.held().quota;
                held == 0 || journal.write(&entry.customer, window, used.saturating_sub(held), now.unix).is_ok()
            }
            StoreKind::Shared(shared) => !shared.is_away() && state.meter.held() == Held::default(),
        }
    }

    /// How many customers are remembered.
    pub fn len(&self) -> usize {
        self.0.customers.load(Ordering::Relaxed)
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Inner {
    /// The customers in one part of the table; `None` behind the last.
    pub(super) fn part(&self, number: usize) -> Option<Vec<Arc<Entry>>> {
        self.parts.get(number).map(|part| lock(part).iter().map(Arc::clone).collect())
    }
}

impl Shared {
    fn moment(&self, own_unix: i64) -> Moment {
        let us = now_us(&self.epoch);
        Moment { us, unix: self.unix(us, own_unix) }
    }

    /// Decides without the store, and counts that.
    fn alone(&self, entry: &Arc<Entry>, state: &mut State, mode: FailureMode, now: Moment) -> Decision {
        let label = match mode {
            FailureMode::Local => "local",
            FailureMode::Open => "open",
            FailureMode::Closed => "closed",
        };
        self.metrics.fallbacks.with_label_values(&[label]).inc();
        let decision = alone(state, mode, now);
        // The store's task has to know whom to speak of when the store is back. Seldom, since a full queue may not have taken it.
        if !state.active && state.owed.is_power_of_two() {
            self.ask(entry);
        }
        decision
    }
}

/// Without the shared store: by what is known, and by the plan's failure mode.
fn alone(state: &mut State, mode: FailureMode, now: Moment) -> Decision {
    let terms = state.terms;
    let decision = match mode {
        FailureMode::Open => Decision::Admit,
        FailureMode::Closed => return Decision::Unavailable,
        FailureMode::Local => {
            if let Some(quota) = &terms.quota {
                let window = quota.period.window(now.unix);
                let used = state.meter.used_in(window).saturating_add(state.meter.held().quota);
                state.account.learn(window.start, used);
            }
            let ask = state.alone.ask(&terms, &Batching::NONE, now.us, now.unix);
            let grant = state.account.serve(&ask, now.us, now.unix);
            state.alone.credit(&ask, &grant, &Batching::NONE, now.us);
            match state.alone.admit(&terms, now.us, now.unix) {
                Outcome::AskStore => none(&terms, &state.alone),
                decided => decision(decided),
            }
        }
    };
    if decision == Decision::Admit && terms.quota.is_some() {
        state.owed += 1;
    }
    decision
}

/// A store that answers at once has answered, and it was too little.
fn none(terms: &Terms, meter: &Meter) -> Decision {
    if terms.rate.is_some() && meter.ready() == 0 { Decision::Throttled } else { Decision::QuotaExceeded }
}

fn decision(outcome: Outcome) -> Decision {
    match outcome {
        Outcome::Admit => Decision::Admit,
        Outcome::Throttled => Decision::Throttled,
        Outcome::QuotaExceeded => Decision::QuotaExceeded,
        Outcome::AskStore => Decision::Unavailable,
    }
}

impl State {
    fn used_in(&self, window: Window) -> u64 {
        let (start, used) = self.account.quota();
        if start == window.start { used.saturating_sub(self.meter.held().quota) } else { 0 }
    }
}

fn hash_of(customer: &Customer) -> u64 {
    hash(&customer.plan, &customer.who, &customer.route)
}

/// By bits that the table itself does not look at: it takes the lowest and the highest.
fn part_of(hash: u64) -> usize {
    usize::try_from((hash >> 32) % PARTS as u64).expect("a number of a part is small")
}

fn hash(plan: &str, who: &str, route: &str) -> u64 {
    FxBuildHasher.hash_one((plan, who, route))
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
