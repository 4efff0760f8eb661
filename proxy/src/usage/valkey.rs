//! Counts shared by several proxies, in Valkey or Redis 7.
//!
//! Each customer of a plan is one hash there, and `lease.lua` the only writer: it does what
//! [`Account::serve`](tollgate_engine::meter::Account::serve) does, for many customers in one call. Requests do not wait for it as long as
//! leases are renewed in time, which happens every [`TICK`] for all customers together; only the first request of a customer in a while,
//! or one that comes when a lease ran out early, waits for a call of its own.
//!
//! Whatever becomes of a call, limits hold: an answer that is lost is a lease that nobody uses.

mod clock;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use redis::aio::ConnectionLike;
use redis::{RedisError, RedisResult, Script, ScriptInvocation};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tollgate_engine::meter::{Ask, Batching, Grant, Life, QuotaGrant, RateGrant};
use tracing::{info, warn};

use self::clock::StoreClock;
use super::connect::{CONNECT, Link, StoreSettings, connect};
use super::meters::{Customer, Entry, Inner, lock};
use crate::metrics::UsageStoreMetrics;

/// Leases are renewed this often.
const TICK: Duration = Duration::from_millis(500);
/// Leases are for two and a half ticks: renewed when half is used, they last until the next tick. Who finds the quota used up asks again
/// after a second: another proxy may have given back.
const BATCHING: Batching = Batching { tokens_us: 1.25e6, quota_us: 1.25e6, dry_us: 1e6 };
/// What is not used for this long is given back.
const IDLE_US: f64 = 2e6;
/// Customers in one call. A script holds up everybody else.
const MAX_CUSTOMERS: usize = 256;
/// Pauses between attempts to connect: the first, the longest. Each is stretched by up to its own length.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));
/// Requests for leases that wait for the next call.
const QUEUE: usize = 65_536;
/// A store that nobody called for so long is asked whether it is there.
const PROBE: Duration = Duration::from_secs(2);
/// Customers that the store is told of in one go when it forgot.
const TOLD_AT_ONCE: usize = 2048;
/// Clocks that differ by more are worth a word.
const FAR_MS: u64 = 60_000;
/// A leaving proxy waits no longer to give back.
const FAREWELL: Duration = Duration::from_secs(2);
/// In a cluster the customers of one call have to be in one slot: they are in one of so many.
const TAGS: u32 = 16;
/// Numbers of the script's answer for each customer. One more is the time.
const ANSWERS: usize = 7;

/// The way to the store, for [`UsageMeters`](super::UsageMeters).
#[derive(Debug)]
pub struct Shared {
    urgent: mpsc::Sender<Arc<Entry>>,
    settle: mpsc::UnboundedSender<std::sync::mpsc::Sender<()>>,
    away: Arc<AtomicBool>,
    pub(super) epoch: Arc<OnceLock<Instant>>,
    clock: Arc<StoreClock>,
    pub(super) table: Arc<OnceLock<Weak<Inner>>>,
    pub(super) metrics: UsageStoreMetrics,
}

impl Shared {
    /// Seconds since 1970 as the store has them, which all proxies of a store agree on; before it answered, as this machine does.
    pub(super) fn unix(&self, now_us: f64, own: i64) -> i64 {
        self.clock.unix(now_us).unwrap_or(own)
    }

    /// Whether calls fail at the moment.
    pub(super) fn is_away(&self) -> bool {
        self.away.load(Ordering::Relaxed)
    }

    /// Asks for a lease now. Says whether anybody will.
    pub(super) fn ask(&self, entry: &Arc<Entry>) -> bool {
        self.urgent.try_send(Arc::clone(entry)).is_ok()
    }

    /// Gives back everything; waits until it is done, but not for long.
    pub(super) fn settle(&self) {
        let (done, wait) = std::sync::mpsc::channel();
        if self.settle.send(done).is_ok() {
            // What could not be given back is lost until the end of its period.
            let _ = wait.recv_timeout(FAREWELL);
        }
    }
}

/// The task that talks to the store; to be run beside the workers.
#[derive(Debug)]
pub struct StoreService {
    settings: StoreSettings,
    urgent: mpsc::Receiver<Arc<Entry>>,
    settle: mpsc::UnboundedReceiver<std::sync::mpsc::Sender<()>>,
    away: Arc<AtomicBool>,
    epoch: Arc<OnceLock<Instant>>,
    clock: Arc<StoreClock>,
    metrics: UsageStoreMetrics,
    script: Script,
    /// Customers that may hold a lease.
    active: Vec<Arc<Entry>>,
    /// All customers.
    table: Arc<OnceLock<Weak<Inner>>>,
    /// A customer whose count shows, while nobody asks for anything, whether the store still has what it had.
    witness: Option<Arc<Entry>>,
    /// The store forgot something: the next part of the table of which it is told everything.
    telling: Option<usize>,
    /// Customers of whom it was told so far.
    told: usize,
}

/// The door and the task.
pub fn shared(settings: StoreSettings, metrics: &crate::metrics::Metrics) -> (Shared, StoreService) {
    let (urgent, urgently) = mpsc::channel(QUEUE);
    let (settle, settling) = mpsc::unbounded_channel();
    // Until the first connection stands nobody waits for it.
    let away = Arc::new(AtomicBool::new(true));
    let epoch = Arc::new(OnceLock::new());
    let clock = Arc::new(StoreClock::default());
    let table = Arc::new(OnceLock::new());
    let service = StoreService {
        settings,
        urgent: urgently,
        settle: settling,
        away: Arc::clone(&away),
        epoch: Arc::clone(&epoch),
        clock: Arc::clone(&clock),
        metrics: metrics.usage_store().clone(),
        script: Script::new(include_str!("lease.lua")),
        active: Vec::new(),
        table: Arc::clone(&table),
        witness: None,
        telling: None,
        told: 0,
    };
    (Shared { urgent, settle, away, epoch, clock, table, metrics: metrics.usage_store().clone() }, service)
}

/// Whose account is asked for what.
type Asked = (Arc<Entry>, Ask);

impl StoreService {
    /// Connects, serves, and connects again, until the proxy ends.
    pub async fn run(mut self) {
        let mut failures = 0;
        loop {
            let connected = match tokio::time::timeout(CONNECT, connect(&self.settings)).await {
                Ok(connected) => connected.map_err(|error| error.to_string()),
                Err(_) => Err("no connection in time".to_owned()),
            };
            let result = if connected.is_ok() { "ok" } else { "failed" };
            self.metrics.connects.with_label_values(&[result]).inc();
            let ended = match connected {
                Ok(mut link) => {
                    info!("usage plans share their counts");
                    self.tell(false);
                    let error = self.serve(&mut link, &mut failures).await;
                    self.tell(true);
                    match error {
                        Some(error) => error.to_string(),
                        None => return,
                    }
                }
                Err(error) => error,
            };
            warn!(error = ended, "the store of usage plans is away: plans fall back to their failureMode");
            self.forget_asks();
            tokio::time::sleep(pause(failures, fastrand::f64())).await;
            failures = failures.saturating_add(1);
            // Whoever asked meanwhile does not wait.
            self.forget_asks();
        }
    }

    fn tell(&self, away: bool) {
        self.away.store(away, Ordering::Relaxed);
        self.metrics.up.set(i64::from(!away));
    }

    /// Nobody has to wait for what was asked.
    fn forget_asks(&mut self) {
        while let Ok(entry) = self.urgent.try_recv() {
            lock(&entry.state).asked = false;
            entry.answered.notify_waiters();
            self.activate(&entry);
        }
        while let Ok(done) = self.settle.try_recv() {
            let _ = done.send(());
        }
    }

    /// Serves until the store fails, or the proxy ends (`None`). A call that succeeds ends a row of `failures`.
    async fn serve(&mut self, link: &mut Link, failures: &mut u32) -> Option<RedisError> {
        // Proxies that come back together do not renew their leases together.
        let first = tokio::time::Instant::now() + TICK.mul_f64(fastrand::f64());
        let mut ticks = tokio::time::interval_at(first, TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut urgent = Vec::new();
        let mut probed = Instant::now();
        loop {
            let mut asks: Vec<Asked> = Vec::new();
            let mut done = None;
            tokio::select! {
                biased;
                Some(settled) = self.settle.recv() => {
                    asks = self.everything_back();
                    self.count("return", asks.len());
                    done = Some(settled);
                }
                count = self.urgent.recv_many(&mut urgent, MAX_CUSTOMERS) => {
                    if count == 0 {
                        return None;
                    }
                    for entry in urgent.drain(..) {
                        let ask = self.ask(&entry);
                        self.activate(&entry);
                        asks.push((entry, ask));
                    }
                    self.count("missing", asks.len());
                }
                _ = ticks.tick() => {
                    asks = self.renewals();
                    asks.extend(self.telling());
                }
            }
            if probed.elapsed() >= PROBE {
                let witness = self.witness.as_ref().and_then(|entry| self.told(entry));
                if witness.is_none()
                    && asks.is_empty()
                    && let Err(error) = link.ping().await
                {
                    return Some(error);
                }
                asks.extend(witness);
                probed = Instant::now();
            }
            for part in self.parts(link, asks) {
                if let Err(error) = self.call(link, part).await {
                    return Some(error);
                }
                *failures = 0;
            }
            if let Some(done) = done {
                // Nobody waits any more when this fails.
                let _ = done.send(());
            }
        }
    }

    fn activate(&mut self, entry: &Arc<Entry>) {
        let mut state = lock(&entry.state);
        if !std::mem::replace(&mut state.active, true) {
            drop(state);
            self.active.push(Arc::clone(entry));
        }
    }

    fn now_us(&self) -> f64 {
        now_us(&self.epoch)
    }

    fn unix(&self, now_us: f64) -> i64 {
        self.clock.unix(now_us).unwrap_or_else(unix_seconds)
    }

    /// What a customer needs.
    fn ask(&self, entry: &Entry) -> Ask {
        let mut state = lock(&entry.state);
        let terms = state.terms;
        let now = self.now_us();
        let mut ask = state.meter.ask(&terms, &BATCHING, now, self.unix(now));
        if let Some(quota) = &mut ask.quota {
            quota.owed = std::mem::take(&mut state.owed);
        }
        state.asked = true;
        state.wanted = false;
        ask
    }

    /// Leases that run low, those that somebody missed, and those that nobody uses.
    fn renewals(&mut self) -> Vec<Asked> {
        let now = self.now_us();
        let (mut asks, mut back) = (Vec::new(), 0);
        for entry in std::mem::take(&mut self.active) {
            let mut state = lock(&entry.state);
            let terms = state.terms;
            let idle = now - state.meter.last_use_us().max(state.missed_us) > IDLE_US;
            if state.asked {
                drop(state);
                self.active.push(entry);
            } else if state.wanted || state.owed > 0 || (!idle && state.meter.is_low(&terms, now)) {
                drop(state);
                let ask = self.ask(&entry);
                self.active.push(Arc::clone(&entry));
                asks.push((entry, ask));
            } else if idle {
                state.active = false;
                let held = state.meter.held();
                if held.tokens > 0 || held.quota > 0 {
                    let ask = state.meter.give_back(&terms, self.unix(now));
                    state.asked = true;
                    drop(state);
                    back += 1;
                    asks.push((entry, ask));
                }
            } else {
                drop(state);
                self.active.push(entry);
            }
        }
        self.count("renewal", asks.len() - back);
        self.count("return", back);
        self.metrics.leased.set(i64::try_from(self.active.len()).unwrap_or(i64::MAX));
        asks
    }

    /// What the store is to be told again, so many customers at a time.
    fn telling(&mut self) -> Vec<Asked> {
        let mut asks = Vec::new();
        while let Some(part) = self.telling
            && asks.len() < TOLD_AT_ONCE
        {
            let entries = self.table.get().and_then(Weak::upgrade).and_then(|table| table.part(part));
            let Some(entries) = entries else {
                // The last answers have come.
                if asks.is_empty() {
                    self.telling = None;
                    let told = std::mem::take(&mut self.told);
                    self.count("recovery", told);
                }
                break;
            };
            asks.extend(entries.iter().filter_map(|entry| self.told(entry)));
            self.telling = Some(part + 1);
        }
        self.told += asks.len();
        asks
    }

    /// What is known of a customer who holds nothing; those who do are told with their next lease.
    fn told(&self, entry: &Arc<Entry>) -> Option<Asked> {
        let unix = self.unix(self.now_us());
        let mut state = lock(&entry.state);
        if state.active || state.asked {
            return None;
        }
        let terms = state.terms;
        let ask = state.meter.give_back(&terms, unix);
        let knows = ask.quota.is_some_and(|quota| quota.known.0.version > 0);
        knows.then(|| {
            state.asked = true;
            (Arc::clone(entry), ask)
        })
    }

    /// Whether an answer shows that the store does not have what it had.
    fn forgot(ask: &Ask, grant: &Grant) -> bool {
        let (Some(ask), Some(grant)) = (&ask.quota, &grant.quota) else { return false };
        ask.known.0.version > 0 && grant.life.version > 0 && ask.known.0.epoch != grant.life.epoch
    }

    fn count(&self, reason: &str, leases: usize) {
        self.metrics.leases.with_label_values(&[reason]).inc_by(leases as u64);
    }

    /// All leases.
    fn everything_back(&mut self) -> Vec<Asked> {
        let entries = std::mem::take(&mut self.active);
        let unix = self.unix(self.now_us());
        let back = |entry: Arc<Entry>| {
            let mut state = lock(&entry.state);
            state.active = false;
            let terms = state.terms;
            let ask = state.meter.give_back(&terms, unix);
            drop(state);
            (entry, ask)
        };
        entries.into_iter().map(back).collect()
    }

    /// What goes in one call each.
    #[expect(clippy::unused_self, reason = "it reads as the others")]
    fn parts(&self, link: &Link, asks: Vec<Asked>) -> Vec<Vec<Asked>> {
        let mut parts: BTreeMap<u32, Vec<Vec<Asked>>> = BTreeMap::new();
        for ask in asks {
            let tag = match link {
                Link::One(_) => 0,
                Link::Cluster(_) => tag(&ask.0.customer),
            };
            let parts = parts.entry(tag).or_default();
            match parts.last_mut().filter(|part| part.len() < MAX_CUSTOMERS) {
                Some(part) => part.push(ask),
                None => parts.push(vec![ask]),
            }
        }
        parts.into_values().flatten().collect()
    }

    async fn call(&mut self, link: &mut Link, asks: Vec<Asked>) -> RedisResult<()> {
        let began = Instant::now();
        let result = match link {
            Link::One(connection) => self.invoke(connection, &asks).await,
            Link::Cluster(connection) => self.invoke(&mut **connection, &asks).await,
        };
        self.metrics.seconds.observe(began.elapsed().as_secs_f64());
        let label = if result.is_ok() { "ok" } else { "failed" };
        self.metrics.calls.with_label_values(&[label]).inc();
        let now = self.now_us();
        let answers = result.as_deref().unwrap_or_default();
        if let Some(time) = answers.last() {
            // Before those who wait look at it.
            self.learn(now, *time);
        }
        let mut forgot = false;
        for (number, (entry, ask)) in asks.iter().enumerate() {
            let mut state = lock(&entry.state);
            state.asked = false;
            match answers.get(number * ANSWERS..(number + 1) * ANSWERS) {
                Some(answer) => {
                    let grant = grant(ask, answer);
                    forgot |= Self::forgot(ask, &grant);
                    state.meter.credit(ask, &grant, &BATCHING, now);
                }
                // It may have been booked all the same; then it is counted twice, which no limit minds.
                None => state.owed += ask.quota.map_or(0, |quota| quota.owed),
            }
            drop(state);
            entry.answered.notify_waiters();
        }
        self.witness = asks
            .iter()
            .find(|(_, ask)| ask.quota.is_some())
            .map(|(entry, _)| Arc::clone(entry))
            .or(self.witness.take());
        if forgot && self.telling.is_none() {
            warn!("the store of usage plans has lost counts: it is told what is known here");
            self.telling = Some(0);
        }
        result.map(|_| ())
    }

    fn learn(&self, now_us: f64, store_ms: i64) {
        let own_ms = unix_seconds().saturating_mul(1000);
        if self.clock.learn(now_us, store_ms) && own_ms.abs_diff(store_ms) > FAR_MS {
            let seconds = store_ms.saturating_sub(own_ms) / 1000;
            warn!(
                seconds,
                "the clocks of the store and of this machine differ: periods of quotas are those of the store"
            );
        }
    }

    async fn invoke(&self, connection: &mut impl ConnectionLike, asks: &[Asked]) -> RedisResult<Vec<i64>> {
        let mut call = self.script.prepare_invoke();
        for (entry, ask) in asks {
            add(&mut call, &entry.customer, ask);
        }
        let answers: Vec<i64> = call.invoke_async(connection).await?;
        if answers.len() == asks.len() * ANSWERS + 1 {
            Ok(answers)
        } else {
            Err(RedisError::from((redis::ErrorKind::UnexpectedReturnType, "the script answered something else")))
        }
    }
}

/// How long to wait before the next attempt, after so many failed ones in a row. `random`, from 0 to 1, keeps proxies from coming back
/// as one: they spread over as much time as they wait at least.
fn pause(failures: u32, random: f64) -> Duration {
    let (first, longest) = PAUSE;
    let base = first.saturating_mul(2_u32.saturating_pow(failures)).min(longest);
    base + base.mul_f64(random)
}

/// Adds a customer to a call of the script.
fn add(call: &mut ScriptInvocation<'_>, customer: &Customer, ask: &Ask) {
    call.key(key(customer));
    let rate = ask.rate.map_or([0.0; 5], |ask| {
        let (interval, burst) = (ask.rate.interval_us(), f64::from(ask.rate.burst()));
        [interval, burst, f64::from(ask.give_back), f64::from(ask.want), ask.ahead_us]
    });
    rate.iter().for_each(|number| {
        call.arg(number.to_string());
    });
    match ask.quota {
        Some(ask) => {
            call.arg(ask.window.start).arg(ask.window.end).arg(ask.limit);
            call.arg(ask.give_back).arg(ask.owed).arg(ask.want);
            let (life, used) = ask.known;
            call.arg(life.epoch).arg(life.version).arg(used);
        }
        None => {
            call.arg(-1);
            (1..9).for_each(|_| {
                call.arg(0);
            });
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "the script keeps times below 1e15")]
fn grant(ask: &Ask, answer: &[i64]) -> Grant {
    let count = |index: usize| u32::try_from(answer[index]).unwrap_or(0);
    let units = |index: usize| u64::try_from(answer[index]).unwrap_or(0);
    Grant {
        rate: ask.rate.map(|_| RateGrant { ready: count(0), coming: count(1), next_in_us: answer[2] as f64 }),
        quota: ask.quota.map(|_| QuotaGrant {
            granted: units(3),
            used: units(4),
            life: Life { epoch: answer[5], version: units(6) },
        }),
    }
}

/// Never changes: other proxies and later versions have to find it.
fn key(customer: &Customer) -> String {
    let Customer { plan, who, route } = customer;
    format!("tollgate:{{{:x}}}:{plan}|{who}|{route}", tag(customer))
}

fn tag(customer: &Customer) -> u32 {
    customer.who.bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte))) % TAGS
}

/// Microseconds of the process's clock.
#[expect(clippy::cast_precision_loss, reason = "a process does not run for a century")]
pub(super) fn now_us(epoch: &OnceLock<Instant>) -> f64 {
    epoch.get_or_init(Instant::now).elapsed().as_nanos() as f64 / 1000.0
}

fn unix_seconds() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
