//! What customers of plans have used, beside the configuration.

use std::hash::BuildHasher;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;
use tollgate_engine::meter::{Account, Batching, Meter, Outcome, Terms};
use tollgate_engine::snapshot::FailureMode;

use super::file::Journal;
use super::plans::CompiledPlan;

/// Customers that are remembered. One more is refused as if the store were away.
const MAX_CUSTOMERS: usize = 1_000_000;
/// Parts of the table, each with its own lock.
const PARTS: usize = 64;
/// A lease that is written to the journal before it is used: a second's worth, which is what a killed process can lose.
const JOURNALLED: Batching = Batching { tokens_us: 0.0, quota_us: 1e6, dry_us: 0.0 };

/// Where counts are kept.
#[derive(Debug)]
pub enum StoreKind {
    /// In this process: they are gone when it ends.
    Memory,
    /// Quotas also in a file, written ahead of their use.
    File(Journal),
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
struct Inner {
    store: StoreKind,
    parts: [Mutex<HashTable<Arc<Entry>>>; PARTS],
}

#[derive(Debug)]
struct Entry {
    customer: Customer,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    meter: Meter,
    account: Account,
}

impl UsageMeters {
    /// Nothing used yet, but what the store remembers.
    pub fn new(store: StoreKind) -> Self {
        Self(Arc::new(Inner { store, parts: std::array::from_fn(|_| Mutex::default()) }))
    }

    /// Decides about one request of a customer. `route` is the throttle of the route, if it has one of its own in the plan, and its
    /// name; it replaces the plan's (R-PLAN-3).
    pub(crate) fn admit(
        &self,
        plan: &CompiledPlan,
        who: &str,
        route: Option<(&tollgate_engine::meter::Rate, &str)>,
        now: Moment,
    ) -> Decision {
        match self.both(plan, who, route, now) {
            Decision::Unavailable if plan.failure_mode == FailureMode::Open => Decision::Admit,
            decision => decision,
        }
    }

    fn both(
        &self,
        plan: &CompiledPlan,
        who: &str,
        route: Option<(&tollgate_engine::meter::Rate, &str)>,
        now: Moment,
    ) -> Decision {
        let whole = Named { plan: &plan.id, who, route: "" };
        let Some((rate, name)) = route else { return self.decide(whole, &plan.terms, now) };
        let own = Terms { rate: Some(*rate), quota: None };
        let named = Named { route: name, ..whole };
        match self.decide(named, &own, now) {
            Decision::Admit => {}
            refused => return refused,
        }
        let decision = self.decide(whole, &Terms { rate: None, ..plan.terms }, now);
        if decision != Decision::Admit {
            self.undo(named, &own);
        }
        decision
    }

    fn decide(&self, named: Named<'_>, terms: &Terms, now: Moment) -> Decision {
        if terms.rate.is_none() && terms.quota.is_none() {
            return Decision::Admit;
        }
        let Some(entry) = self.entry(named) else { return Decision::Unavailable };
        let mut state = lock(&entry.state);
        match state.meter.admit(terms, now.us, now.unix) {
            Outcome::AskStore => self.lease(&entry.customer, &mut state, terms, now),
            Outcome::Admit => Decision::Admit,
            Outcome::Throttled => Decision::Throttled,
            Outcome::QuotaExceeded => Decision::QuotaExceeded,
        }
    }

    /// Takes a lease of the account and tries again.
    fn lease(&self, customer: &Customer, state: &mut State, terms: &Terms, now: Moment) -> Decision {
        let batching = match &self.0.store {
            StoreKind::Memory => &Batching::NONE,
            StoreKind::File(_) => &JOURNALLED,
        };
        let ask = state.meter.ask(terms, batching, now.us, now.unix);
        let mut account = state.account;
        let grant = account.serve(&ask, now.us);
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
            Outcome::Admit => Decision::Admit,
            Outcome::QuotaExceeded => Decision::QuotaExceeded,
            Outcome::Throttled => Decision::Throttled,
            // The store has none and may be asked again at once.
            Outcome::AskStore if terms.rate.is_some() && state.meter.ready() == 0 => Decision::Throttled,
            Outcome::AskStore => Decision::QuotaExceeded,
        }
    }

    fn undo(&self, named: Named<'_>, terms: &Terms) {
        if let Some(entry) = self.entry(named) {
            lock(&entry.state).meter.undo(terms);
        }
    }

    /// Requests that the window of the plan's quota still allows a customer, and seconds until the next window.
    pub(crate) fn remaining(&self, plan: &CompiledPlan, who: &str, now: Moment) -> Option<(u64, i64)> {
        let quota = plan.terms.quota?;
        let window = quota.period.window(now.unix);
        let entry = self.entry(Named { plan: &plan.id, who, route: "" })?;
        let used = lock(&entry.state).used_in(window);
        Some((quota.limit_in(window).saturating_sub(used), window.end - now.unix))
    }

    /// The customer's entry, made if there is none; `None` when there are too many.
    fn entry(&self, named: Named<'_>) -> Option<Arc<Entry>> {
        let hash = hash(named.plan, named.who, named.route);
        let part = &self.0.parts[usize::try_from(hash >> 58).expect("six bits are left")];
        let mut part = lock(part);
        let same = |entry: &Arc<Entry>| {
            let Customer { plan, who, route } = &entry.customer;
            **who == *named.who && **plan == *named.plan && **route == *named.route
        };
        if let Some(entry) = part.find(hash, same) {
            return Some(Arc::clone(entry));
        }
        if part.len() >= MAX_CUSTOMERS / PARTS {
            return None;
        }
        let customer = Customer { plan: named.plan.into(), who: named.who.into(), route: named.route.into() };
        let account = match &self.0.store {
            StoreKind::Memory => Account::default(),
            StoreKind::File(journal) => journal
                .latest(&customer)
                .map_or_else(Account::default, |(window, used)| Account::restored(window, used)),
        };
        let entry = Arc::new(Entry { customer, state: Mutex::new(State { account, meter: Meter::default() }) });
        part.insert_unique(hash, Arc::clone(&entry), |entry| hash_of(&entry.customer));
        Some(entry)
    }

    /// Gives back what is leased and writes it down: for an orderly end. What was not leased is not touched.
    pub fn settle(&self) {
        let StoreKind::File(journal) = &self.0.store else { return };
        for part in &self.0.parts {
            for entry in lock(part).iter() {
                let state = lock(&entry.state);
                let (window, used) = state.account.quota();
                let held = state.meter.held().quota;
                if held > 0
                    && let Err(error) = journal.write(&entry.customer, window, used.saturating_sub(held), window)
                {
                    tracing::warn!(%error, "the unused part of a quota could not be given back");
                }
            }
        }
    }

    /// How many customers are remembered.
    pub fn len(&self) -> usize {
        self.0.parts.iter().map(|part| lock(part).len()).sum()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl State {
    fn used_in(&self, window: tollgate_engine::meter::Window) -> u64 {
        let (start, used) = self.account.quota();
        if start == window.start { used.saturating_sub(self.meter.held().quota) } else { 0 }
    }
}

fn hash_of(customer: &Customer) -> u64 {
    hash(&customer.plan, &customer.who, &customer.route)
}

fn hash(plan: &str, who: &str, route: &str) -> u64 {
    FxBuildHasher.hash_one((plan, who, route))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
