//! Tells every controller what runs.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tollgate_engine::snapshot::{AuthorizerReport, Report, ReportAnswer, UnitId, UnitReport, UsageReport};
use tracing::debug;

use super::{Controller, FeedParts, FeedSettings, Transport, View};
use crate::jwks::Jwks;
use crate::metrics::ControlMetrics;
use crate::readiness::Readiness;
use crate::usage::UsageMeters;

/// Without news. Controllers count a proxy as gone after a few of these.
const EVERY: Duration = Duration::from_secs(5);
/// Counts of usage are told not more often.
const USAGE_EVERY: Duration = Duration::from_secs(15);
/// A controller that takes longer is asked again with the next report.
const TIME_LIMIT: Duration = Duration::from_secs(5);
/// A leaving proxy waits no longer for anyone.
const FAREWELL: Duration = Duration::from_secs(2);
/// Most controllers that are told.
const MAX_CONTROLLERS: usize = 64;

type Reports = Arc<BTreeMap<UnitId, UnitReport>>;

/// Makes and sends reports; a clone is a pointer.
#[derive(Clone, Debug)]
pub(super) struct Reporter {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    proxy: String,
    session: String,
    fleet: String,
    readiness: Readiness,
    jwks: Jwks,
    usage: UsageMeters,
    metrics: ControlMetrics,
    left: AtomicBool,
}

impl Reporter {
    pub(super) fn new(settings: &FeedSettings, parts: &FeedParts) -> Self {
        let inner = Inner {
            proxy: settings.proxy.clone(),
            session: settings.session.clone(),
            fleet: settings.fleet.clone(),
            readiness: parts.readiness.clone(),
            jwks: parts.jwks.clone(),
            usage: parts.usage.clone(),
            metrics: parts.metrics.control().clone(),
            left: AtomicBool::new(false),
        };
        Self { inner: Arc::new(inner) }
    }

    /// One task for each controller that can be found, so that a slow one keeps nobody else waiting.
    pub(super) async fn run<T: Transport>(self, transport: Arc<T>, view: watch::Receiver<View>) {
        let mut tasks: HashMap<Controller, Task> = HashMap::new();
        loop {
            let mut controllers = transport.controllers().await;
            controllers.truncate(MAX_CONTROLLERS);
            tasks.retain(|controller, _| controllers.contains(controller));
            for controller in controllers {
                tasks.entry(controller.clone()).or_insert_with(|| {
                    let telling = self.clone().tell(Arc::clone(&transport), controller, view.clone());
                    Task(tokio::spawn(telling))
                });
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Keeps one controller informed.
    async fn tell<T: Transport>(self, transport: Arc<T>, controller: Controller, mut view: watch::Receiver<View>) {
        let mut answered: Option<Reports> = None;
        let mut used_told: Option<Instant> = None;
        while !self.inner.left.load(Ordering::Acquire) {
            let reports = Arc::clone(&view.borrow_and_update().reports);
            let mut report = self.compose(&reports, answered.as_ref());
            if used_told.is_none_or(|told| told.elapsed() >= USAGE_EVERY) {
                report.usage = self.usage().await;
            }
            match self.send(&*transport, &controller, &report, TIME_LIMIT).await {
                Ok(answer) if answer.resend && !report.full => {
                    answered = None;
                    continue;
                }
                // Sent in full and still not known: it will say so again next time.
                Ok(answer) if answer.resend => answered = None,
                Ok(_) => {
                    answered = Some(reports);
                    used_told = report.usage.is_some().then(Instant::now).or(used_told);
                }
                // What arrived is not known; unchanged units are told again rather than missed.
                Err(why) => debug!(controller = %controller.address, error = why, "report was not taken"),
            }
            // News or time, whichever is first; a closed view means that the feed is gone.
            if let Ok(Err(_)) = timeout(EVERY, view.changed()).await {
                return;
            }
        }
    }

    /// Tells everyone, once, that this proxy goes.
    pub(super) async fn leave<T: Transport>(&self, transport: &T) {
        self.inner.left.store(true, Ordering::Release);
        let mut report = self.header();
        (report.ready, report.leaving) = (false, true);
        let everyone = async {
            let controllers = transport.controllers().await;
            let sends = controllers
                .iter()
                .take(MAX_CONTROLLERS)
                .map(|controller| self.send(transport, controller, &report, FAREWELL));
            join_all(sends).await
        };
        // Whoever does not answer in time finds out by our silence.
        let _ = timeout(FAREWELL, everyone).await;
    }

    async fn send<T: Transport>(
        &self,
        transport: &T,
        controller: &Controller,
        report: &Report,
        time_limit: Duration,
    ) -> Result<ReportAnswer, String> {
        let json = serde_json::to_vec(report).map_err(|error| error.to_string())?;
        let sending = timeout(time_limit, transport.report(controller, Bytes::from(json)));
        let result = sending.await.unwrap_or_else(|_| Err("no answer in time".into()));
        let label = if result.is_ok() { "ok" } else { "failed" };
        self.inner.metrics.reports.with_label_values(&[label]).inc();
        result
    }

    fn compose(&self, now: &Reports, answered: Option<&Reports>) -> Report {
        let mut report = self.header();
        report.authorizers = self.authorizers();
        match answered {
            None => {
                report.full = true;
                report.units = now.values().cloned().collect();
            }
            Some(before) => (report.units, report.gone) = difference(before, now),
        }
        report
    }

    fn header(&self) -> Report {
        Report {
            proxy: self.inner.proxy.clone(),
            session: self.inner.session.clone(),
            fleet: self.inner.fleet.clone(),
            ready: self.inner.readiness.is_ready(),
            leaving: false,
            full: false,
            units: Vec::new(),
            gone: Vec::new(),
            authorizers: Vec::new(),
            usage: None,
        }
    }

    /// Beside this thread, since there may be very many customers.
    async fn usage(&self) -> Option<UsageReport> {
        let usage = self.inner.usage.clone();
        tokio::task::spawn_blocking(move || usage.report_now()).await.ok().filter(|report| !report.plans.is_empty())
    }

    fn authorizers(&self) -> Vec<AuthorizerReport> {
        self.inner.jwks.reports()
    }
}

/// Ends with whoever holds it.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What is new or different, and what is gone.
fn difference(before: &Reports, now: &Reports) -> (Vec<UnitReport>, Vec<UnitId>) {
    if Arc::ptr_eq(before, now) {
        return (Vec::new(), Vec::new());
    }
    let changed = now.iter().filter(|(id, report)| before.get(*id) != Some(*report)).map(|(_, report)| report.clone());
    let gone = before.keys().filter(|id| !now.contains_key(*id)).cloned();
    (changed.collect(), gone.collect())
}
