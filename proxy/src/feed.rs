//! Follows a controller: takes its units into service and tells all controllers what runs.
//!
//! One stream from one controller at a time, chosen at random; a lost stream disturbs nothing that is served (promise P8). Reports go
//! to every controller, since each of them answers for `Programmed`. Everything here runs on the control thread; compiling happens on
//! a blocking thread beside it.

mod backoff;
mod http;
mod lines;
mod report;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ::http::Uri;
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt};
use tokio::sync::watch;
use tollgate_engine::snapshot::{ReportAnswer, UnitId, UnitReport};
use tracing::{error, info, warn};

use crate::jwks::Jwks;
use crate::metrics::Metrics;
use crate::readiness::Readiness;
use crate::state::Store;
use crate::units::{Batch, Publisher, UnitSet};
use crate::usage::UsageMeters;
use backoff::Backoff;
use report::Reporter;

pub use self::http::HttpTransport;
pub use lines::{BadStream, MAX_LINE_BYTES, Reader};

/// A stream that says nothing for so long is dead: a controller says something every ten seconds.
const SILENCE: Duration = Duration::from_secs(30);
/// The state file is not written more often, so that changes in quick succession are written together.
const SAVE_EVERY: Duration = Duration::from_millis(500);

/// Who the controllers are, and who we are.
#[derive(Clone, Debug)]
pub struct FeedSettings {
    /// `https://host:port`; each host may have several addresses, one for each controller.
    pub controllers: Vec<Uri>,
    /// Certificates (PEM) that controllers are signed with; read again for each connection. Absent: what the system trusts.
    pub ca_file: Option<PathBuf>,
    /// The proxy's token; read again for each request, since a kubelet renews it. Absent: no token is sent.
    pub token_file: Option<PathBuf>,
    /// Which fleet's units to ask for.
    pub fleet: String,
    /// Name of this proxy; the pod's.
    pub proxy: String,
    /// New at each start.
    pub session: String,
}

/// One controller: a URL and one of its host's addresses.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Controller {
    /// As configured.
    pub url: Uri,
    /// Where to connect.
    pub address: std::net::SocketAddr,
}

/// Chunks of a feed.
pub type Chunks = BoxStream<'static, Result<Bytes, String>>;

/// How controllers are reached.
pub trait Transport: Send + Sync + 'static {
    /// All controllers that can be found now.
    fn controllers(&self) -> impl Future<Output = Vec<Controller>> + Send;
    /// Opens the feed.
    fn open(&self, controller: &Controller) -> impl Future<Output = Result<Chunks, String>> + Send;
    /// Posts a report.
    fn report(
        &self,
        controller: &Controller,
        report: Bytes,
    ) -> impl Future<Output = Result<ReportAnswer, String>> + Send;
}

/// What runs: shown by the admin port, reported to controllers.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The units in effect.
    pub units: UnitSet,
    /// One report for each unit.
    pub reports: Arc<BTreeMap<UnitId, UnitReport>>,
}

/// What the feed works with.
#[derive(Clone)]
pub struct FeedParts {
    /// Takes sets into service.
    pub publisher: Arc<dyn Publisher>,
    /// Told when the first set is in effect.
    pub readiness: Readiness,
    /// Asked for what is wrong with keys.
    pub jwks: Jwks,
    /// Asked for what customers have used.
    pub usage: UsageMeters,
    /// Where the last good set is kept.
    pub store: Option<Store>,
    /// Counts.
    pub metrics: Metrics,
}

impl std::fmt::Debug for FeedParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FeedParts")
            .field("readiness", &self.readiness)
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

/// The feed of a proxy; a clone is a pointer.
#[derive(Debug)]
pub struct Feed<T> {
    inner: Arc<Inner<T>>,
}

impl<T> Clone for Feed<T> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

#[derive(Debug)]
struct Inner<T> {
    transport: Arc<T>,
    parts: FeedParts,
    reporter: Reporter,
    view: watch::Sender<View>,
}

impl Feed<HttpTransport> {
    /// A feed over HTTPS (or HTTP, for tests). Nothing happens before [`Feed::run`].
    pub fn new(settings: FeedSettings, parts: FeedParts) -> Self {
        let transport = HttpTransport::new(settings.clone());
        Self::with(transport, &settings, parts)
    }
}

impl<T: Transport> Feed<T> {
    /// A feed over any transport.
    pub fn with(transport: T, settings: &FeedSettings, parts: FeedParts) -> Self {
        let reporter = Reporter::new(settings, &parts);
        let inner = Inner { transport: Arc::new(transport), parts, reporter, view: watch::Sender::default() };
        Self { inner: Arc::new(inner) }
    }

    /// What runs, now and later.
    pub fn view(&self) -> watch::Receiver<View> {
        self.inner.view.subscribe()
    }

    /// Serves the last good set, then follows controllers, for as long as the process lives.
    pub async fn run(self) {
        self.restore().await;
        let inner = &self.inner;
        let reports = inner.reporter.clone().run(Arc::clone(&inner.transport), inner.view.subscribe());
        tokio::join!(self.follow_for_ever(), reports, self.save_for_ever());
    }

    /// Tells all controllers that this proxy goes; reports end with it. Withdraw readiness first.
    pub async fn leave(&self) {
        self.inner.reporter.leave(&*self.inner.transport).await;
    }

    async fn restore(&self) {
        let Some(store) = self.inner.parts.store.clone() else { return };
        match tokio::task::spawn_blocking(move || store.load()).await {
            Ok(Ok(Some(units))) => {
                info!(units = units.len(), "serving the last good configuration until a controller answers");
                self.publish(units).await;
            }
            Ok(Ok(None)) => {}
            Ok(Err(error)) => warn!(%error, "the last good configuration is not usable and is ignored"),
            Err(error) => error!(%error, "the last good configuration could not be read"),
        }
    }

    async fn follow_for_ever(&self) {
        let metrics = self.inner.parts.metrics.control();
        let mut backoff = Backoff::default();
        loop {
            match self.open().await {
                Ok((controller, chunks)) => {
                    metrics.feed_connects.with_label_values(&["ok"]).inc();
                    metrics.feed_connected.set(1);
                    info!(controller = %controller.address, "following");
                    let (end, progress) = self.follow(chunks).await;
                    metrics.feed_connected.set(0);
                    metrics.feed_ends.with_label_values(&[end.label()]).inc();
                    if progress {
                        backoff = Backoff::default();
                    }
                    warn!(controller = %controller.address, error = %end, "feed ended, what runs stays");
                }
                Err(why) => {
                    metrics.feed_connects.with_label_values(&["failed"]).inc();
                    warn!(error = why, "no controller can be followed, what runs stays");
                }
            }
            tokio::time::sleep(backoff.next(fastrand::f64())).await;
        }
    }

    /// The first controller, in random order, that lets us follow.
    async fn open(&self) -> Result<(Controller, Chunks), String> {
        let mut controllers = self.inner.transport.controllers().await;
        fastrand::shuffle(&mut controllers);
        let mut last = "no controller has an address".to_owned();
        for controller in controllers {
            match self.inner.transport.open(&controller).await {
                Ok(chunks) => return Ok((controller, chunks)),
                Err(why) => last = format!("{}: {why}", controller.address),
            }
        }
        Err(last)
    }

    /// Reads one stream to its end; whether any batch of it took effect.
    async fn follow(&self, mut chunks: Chunks) -> (BadStream, bool) {
        let mut reader = Reader::default();
        let mut progress = false;
        loop {
            let chunk = match tokio::time::timeout(SILENCE, chunks.next()).await {
                Ok(Some(Ok(chunk))) => chunk,
                Ok(Some(Err(why))) => return (BadStream::Closed(why), progress),
                Ok(None) => return (BadStream::Closed("by the controller".into()), progress),
                Err(_) => return (BadStream::Silent(SILENCE), progress),
            };
            reader.push(&chunk);
            loop {
                match reader.next_batch() {
                    Ok(Some(batch)) => match self.commit(batch).await {
                        Ok(()) => progress = true,
                        Err(end) => return (end, progress),
                    },
                    Ok(None) => break,
                    Err(end) => return (end, progress),
                }
            }
        }
    }

    async fn commit(&self, batch: Batch) -> Result<(), BadStream> {
        let current = self.inner.view.borrow().units.clone();
        let next = current.apply(batch)?;
        // After a reconnect the complete set is mostly what runs already.
        if !next.same_content(&current) || !self.inner.parts.readiness.has_snapshot() {
            self.publish(next).await;
        }
        Ok(())
    }

    async fn publish(&self, units: UnitSet) {
        let parts = &self.inner.parts;
        let (publisher, set, start) = (Arc::clone(&parts.publisher), units.clone(), Instant::now());
        let problems = match tokio::task::spawn_blocking(move || publisher.publish(&set)).await {
            Ok(problems) => problems,
            Err(error) => {
                error!(%error, "a configuration could not be put into effect, what runs stays");
                return;
            }
        };
        let metrics = parts.metrics.control();
        metrics.config_publish_seconds.set(start.elapsed().as_secs_f64());
        metrics.config_commits.inc();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        metrics.config_last_commit.set(now.as_secs_f64());
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        metrics.config_units.set(count(units.len()));
        metrics.config_problems.set(count(problems.iter().map(|report| report.problems.len()).sum()));
        parts.readiness.set_complete();
        self.inner.view.send_replace(View { reports: Arc::new(all_reports(&units, problems)), units });
    }

    async fn save_for_ever(&self) {
        let Some(store) = self.inner.parts.store.clone() else { return };
        let writes = &self.inner.parts.metrics.control().state_writes;
        let mut view = self.inner.view.subscribe();
        while view.changed().await.is_ok() {
            // At once: a proxy that is killed right after its first set comes back with it.
            let (store, units) = (store.clone(), view.borrow_and_update().units.clone());
            let result = tokio::task::spawn_blocking(move || store.save(&units)).await;
            match result.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
                Ok(()) => writes.with_label_values(&["ok"]).inc(),
                Err(error) => {
                    writes.with_label_values(&["failed"]).inc();
                    warn!(%error, "the last good configuration could not be kept");
                }
            }
            tokio::time::sleep(SAVE_EVERY).await;
        }
    }
}

/// A report for every unit: what the publisher says of it, else that all of it is in effect.
fn all_reports(units: &UnitSet, problems: Vec<UnitReport>) -> BTreeMap<UnitId, UnitReport> {
    let fine = |(id, held): (&UnitId, &Arc<crate::units::Held>)| {
        (id.clone(), UnitReport { id: id.clone(), hash: held.hash.clone(), problems: Vec::new() })
    };
    let mut reports: BTreeMap<_, _> = units.iter().map(fine).collect();
    reports.extend(problems.into_iter().map(|report| (report.id.clone(), report)));
    reports
}
