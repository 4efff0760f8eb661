//! What several tasks look at: the proxies' reports.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tollgate_engine::snapshot::{ContentHash, Report, ReportAnswer, UnitId};

use crate::feed::Fleet;
use crate::proxies::{Effect, Proxies};

/// The proxies, and a signal that conditions may differ.
#[derive(Debug)]
pub struct Fleets {
    proxies: Mutex<Proxies>,
    changed: watch::Sender<Changed>,
}

/// Counts what happened; a reader compares with what it saw last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// See [`Effect::Progress`].
    pub progress: u64,
    /// See [`Effect::Everything`].
    pub everything: u64,
}

impl Default for Fleets {
    fn default() -> Self {
        Self { proxies: Mutex::default(), changed: watch::channel(Changed::default()).0 }
    }
}

impl Fleets {
    /// See [`Proxies::report`].
    pub fn report(&self, fleet: Fleet, report: Report, now: Instant) -> ReportAnswer {
        let (answer, effect) = self.proxies().report(fleet, report, now);
        self.tell(effect);
        answer
    }

    /// See [`Proxies::published`].
    pub fn published(&self, fleet: Fleet, revision: u64, changes: &[(UnitId, Option<ContentHash>)]) {
        self.proxies().published(fleet, revision, changes);
    }

    /// See [`Proxies::expire`].
    pub fn expire(&self, timeout: Duration, now: Instant) {
        if self.proxies().expire(timeout, now) {
            self.tell(Effect::Everything);
        }
    }

    fn tell(&self, effect: Effect) {
        match effect {
            Effect::Nothing => {}
            Effect::Progress => self.changed.send_modify(|changed| changed.progress += 1),
            Effect::Everything => self.changed.send_modify(|changed| changed.everything += 1),
        }
    }

    /// Tells when conditions may differ.
    pub fn watch(&self) -> watch::Receiver<Changed> {
        self.changed.subscribe()
    }

    /// For reading; hold it briefly.
    pub fn proxies(&self) -> MutexGuard<'_, Proxies> {
        self.proxies.lock().expect("no code panics while it holds the proxies")
    }
}
