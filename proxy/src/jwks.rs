//! The signing keys of identity providers: fetched, kept, renewed (section 6.4 of the spec).
//!
//! Keys live beside the configuration: a deploy does not fetch them again, and they rotate while no controller is there. Workers read
//! them through [`JwksEntry`] without a lock; [`JwksService`] fetches on the control thread.

mod fetch;
mod schedule;
mod service;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tollgate_engine::jwt::{JwtError, KeySet};
use tollgate_engine::snapshot::AuthorizerReport;

use crate::metrics::{ControlMetrics, Metrics};
use schedule::Schedule;

pub use fetch::Fetch;
pub use service::JwksService;

/// Most sources of keys that are kept.
pub const MAX_SOURCES: usize = 1_000;
/// Longest that a request waits for keys: two fetches (H-JWT-17) and a little.
const WAIT: Duration = Duration::from_millis(3_500);

/// Keys as they were fetched.
#[derive(Debug)]
pub struct Keys {
    /// The keys.
    pub set: KeySet,
    /// Differs from that of all other keys of this process: what was verified with one epoch counts only under it.
    pub epoch: u64,
}

/// All sources of keys of the process; a clone is a pointer.
#[derive(Clone, Debug)]
pub struct Jwks {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    registry: Mutex<Registry>,
    /// Someone wants keys, or there is a new source.
    wake: Notify,
    metrics: ControlMetrics,
}

type SourceId = (String, Option<String>);

#[derive(Debug, Default)]
struct Registry {
    sources: HashMap<SourceId, Weak<KeySource>>,
    entries: HashMap<(String, SourceId), Weak<JwksEntry>>,
}

/// One place that keys come from, shared by the authorizers that name it.
#[derive(Debug)]
struct KeySource {
    issuer: String,
    jwks_uri: Option<String>,
    keys: ArcSwapOption<Keys>,
    epoch: AtomicU64,
    state: Mutex<State>,
    /// Changes when an attempt has ended.
    ended: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    schedule: Schedule,
    in_flight: bool,
    wanted: bool,
    /// What the last attempt found wrong.
    failure: Option<Failure>,
    /// Bytes of the document that the keys come from: equal bytes are the same keys.
    document: Option<bytes::Bytes>,
}

/// Why there are no new keys.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Failure {
    /// For the caller (H-JWT-19).
    error: JwtError,
    /// For the owner of the authorizer: which URL, and what happened.
    message: String,
}

static EPOCHS: AtomicU64 = AtomicU64::new(1);

impl Jwks {
    /// No sources yet, and the service that will fetch.
    pub fn new(metrics: &Metrics) -> (Self, JwksService) {
        let shared =
            Arc::new(Shared { registry: Mutex::default(), wake: Notify::new(), metrics: metrics.control().clone() });
        (Self { shared: Arc::clone(&shared) }, JwksService::new(shared))
    }

    /// The keys for the authorizer `source` (`namespace/name`). The same names reach the same keys for as long as anyone holds their
    /// entry; new ones are fetched at once, before a request needs them.
    pub fn handle(&self, source: &str, issuer: &str, jwks_uri: Option<&str>) -> Arc<JwksEntry> {
        let id: SourceId = (issuer.to_owned(), jwks_uri.map(str::to_owned));
        let mut registry = lock(&self.shared.registry);
        let entry_id = (source.to_owned(), id.clone());
        if let Some(known) = registry.entries.get(&entry_id).and_then(Weak::upgrade) {
            return known;
        }
        let keys = registry.source(id);
        let entry = Arc::new(JwksEntry { source: source.to_owned(), keys, shared: Arc::clone(&self.shared) });
        registry.entries.retain(|_, entry| entry.strong_count() > 0);
        registry.entries.insert(entry_id, Arc::downgrade(&entry));
        drop(registry);
        self.shared.wake.notify_one();
        entry
    }

    /// What is wrong now, for every authorizer in use.
    pub fn reports(&self) -> Vec<AuthorizerReport> {
        let registry = lock(&self.shared.registry);
        let entries: Vec<_> = registry.entries.values().filter_map(Weak::upgrade).collect();
        drop(registry);
        let mut reports: Vec<_> = entries.iter().filter_map(|entry| entry.report()).collect();
        reports.sort_by(|left, right| left.source.cmp(&right.source));
        reports
    }
}

impl Registry {
    fn source(&mut self, id: SourceId) -> Arc<KeySource> {
        if let Some(known) = self.sources.get(&id).and_then(Weak::upgrade) {
            return known;
        }
        self.sources.retain(|_, source| source.strong_count() > 0);
        let source = Arc::new(KeySource::new(&id));
        if self.sources.len() < MAX_SOURCES {
            self.sources.insert(id, Arc::downgrade(&source));
        } else {
            // Not registered, so never fetched: its routes refuse every token (promise P3).
            let message =
                format!("more than {MAX_SOURCES} sources of signing keys are in use: let authorizers share issuers");
            lock(&source.state).failure = Some(Failure { error: JwtError::Keys, message });
            lock(&source.state).schedule.never();
        }
        source
    }
}

impl KeySource {
    fn new((issuer, jwks_uri): &SourceId) -> Self {
        Self {
            issuer: issuer.clone(),
            jwks_uri: jwks_uri.clone(),
            keys: ArcSwapOption::empty(),
            epoch: AtomicU64::new(0),
            state: Mutex::default(),
            ended: watch::Sender::new(()),
        }
    }

    fn publish(&self, set: Option<KeySet>) {
        let epoch = EPOCHS.fetch_add(1, Ordering::Relaxed);
        self.keys.store(set.map(|set| Arc::new(Keys { set, epoch })));
        self.epoch.store(epoch, Ordering::Release);
    }
}

/// The keys of one authorizer.
#[derive(Debug)]
pub struct JwksEntry {
    source: String,
    keys: Arc<KeySource>,
    shared: Arc<Shared>,
}

impl JwksEntry {
    /// Changes whenever the keys do; 0 before the first ones. One read, for every request.
    pub fn epoch(&self) -> u64 {
        self.keys.epoch.load(Ordering::Acquire)
    }

    /// The keys, if there are any.
    pub fn current(&self) -> Option<Arc<Keys>> {
        self.keys.keys.load_full()
    }

    /// Keys, waiting for the first ones if there are none.
    ///
    /// # Errors
    /// H-JWT-19, at once for five seconds after a failed fetch.
    pub async fn fetch(&self) -> Result<Arc<Keys>, JwtError> {
        if self.current().is_none() {
            self.attempt_ended().await;
        }
        self.current().ok_or_else(|| {
            let failure = lock(&self.keys.state).failure.as_ref().map(|failure| failure.error.clone());
            failure.unwrap_or(if self.keys.jwks_uri.is_some() { JwtError::Keys } else { JwtError::Discovery })
        })
    }

    /// Keys with the id `kid`, fetching them anew if the ones here have no such key and the last fetch is five seconds ago (H-JWT-18).
    pub async fn look_for(&self, kid: &str) -> Option<Arc<Keys>> {
        let with_key = || self.current().filter(|keys| keys.set.contains(kid));
        match with_key() {
            Some(keys) => Some(keys),
            None => {
                self.attempt_ended().await;
                with_key()
            }
        }
    }

    /// Waits for an attempt that runs, or asks for one unless the last has just ended.
    async fn attempt_ended(&self) {
        // Before the look at the state, so that an end in between is not missed.
        let mut ended = self.keys.ended.subscribe();
        {
            let mut state = lock(&self.keys.state);
            if !state.in_flight {
                if !state.schedule.may_ask(Instant::now()) {
                    return;
                }
                state.wanted = true;
                self.shared.wake.notify_one();
            }
        }
        // Late or gone: the caller sees by the keys what has become of it.
        let _ = tokio::time::timeout(WAIT, ended.changed()).await;
    }

    fn report(&self) -> Option<AuthorizerReport> {
        let mut message = lock(&self.keys.state).failure.as_ref()?.message.clone();
        if self.current().is_some_and(|keys| !keys.set.is_empty()) {
            message.push_str("; the keys fetched before stay in use for up to two hours");
        }
        Some(AuthorizerReport { source: self.source.clone(), message })
    }
}

/// Nothing panics half way through a change under one of these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
