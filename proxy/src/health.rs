//! Active checks of endpoints behind links, on the control thread.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use http::{Request, Uri};
use http_body_util::Full;
use tokio::sync::Notify;
use tokio::time::Instant;
use tollgate_engine::snapshot::HealthCheck;
use tracing::{debug, info};

use crate::gateway::Tls;
use crate::hosts::Hosts;
use crate::http_client::{HttpClient, HttpError};
use crate::tls::ClientConfigs;
use crate::upstream::Endpoint;

/// Checks that run at a time; more wait their turn.
const PARALLEL: usize = 64;
/// How long to sleep when nothing is due; new targets wake the service.
const IDLE: Duration = Duration::from_secs(3600);

/// What has to be checked; a clone is a pointer.
#[derive(Clone, Debug, Default)]
pub struct HealthChecks {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    targets: Mutex<Arc<Vec<CheckTarget>>>,
    changed: Notify,
}

/// An endpoint that has to be checked, and how.
#[derive(Clone, Debug)]
pub(crate) struct CheckTarget {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) check: HealthCheck,
    /// `name.namespace.svc:port`, for the `Host` header.
    pub(crate) authority: String,
    pub(crate) tls: Option<Tls>,
    /// It speaks HTTP/2.
    pub(crate) http2: bool,
}

impl CheckTarget {
    fn id(&self) -> usize {
        Arc::as_ptr(&self.endpoint) as usize
    }
}

impl HealthChecks {
    /// These and no others are checked from now on.
    pub(crate) fn replace(&self, targets: Vec<CheckTarget>) {
        let mut held = self.shared.targets.lock().unwrap_or_else(PoisonError::into_inner);
        if held.is_empty() && targets.is_empty() {
            return;
        }
        *held = Arc::new(targets);
        drop(held);
        self.shared.changed.notify_one();
    }

    fn targets(&self) -> Arc<Vec<CheckTarget>> {
        Arc::clone(&self.shared.targets.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Checks for as long as the process lives.
    pub async fn run(self, trust: ClientConfigs) {
        let (plain, _) = trust.trusting_nothing();
        // When each is due; `None` while it runs.
        let mut due: HashMap<usize, Option<Instant>> = HashMap::new();
        let mut running = FuturesUnordered::new();
        loop {
            let targets = self.targets();
            let now = Instant::now();
            due.retain(|id, due| due.is_none() || targets.iter().any(|target| target.id() == *id));
            let mut next = now + IDLE;
            for target in targets.iter() {
                match due.entry(target.id()).or_insert(Some(now)) {
                    Some(at) if *at > now => next = next.min(*at),
                    // Without room the end of a running one brings the next turn.
                    waiting @ Some(_) if running.len() < PARALLEL => {
                        *waiting = None;
                        let (target, plain) = (target.clone(), Arc::clone(&plain));
                        running.push(async move { (ask(&target, &plain).await, target) });
                    }
                    _ => {}
                }
            }
            tokio::select! {
                () = self.shared.changed.notified() => {}
                Some((result, target)) = running.next() => {
                    due.insert(target.id(), Some(Instant::now() + interval(&target.check)));
                    note(&target, &result);
                }
                () = tokio::time::sleep_until(next) => {}
            }
        }
    }
}

fn interval(check: &HealthCheck) -> Duration {
    Duration::from_secs(u64::from(check.interval_seconds.max(1)))
}

/// What a check found.
#[derive(Debug, thiserror::Error)]
enum Unwell {
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("the status is {0}")]
    Status(u16),
    #[error("{0} is no address")]
    Address(String),
}

fn note(target: &CheckTarget, result: &Result<(), Unwell>) {
    let endpoint = target.endpoint.address;
    let changed = target.endpoint.checked(&target.check, result.is_ok());
    match result {
        Err(error) if changed => info!(%endpoint, %error, "an endpoint fails its health check"),
        Err(error) => debug!(%endpoint, %error, "a health check failed"),
        Ok(()) if changed => info!(%endpoint, "an endpoint passes its health check again"),
        Ok(()) => {}
    }
}

async fn ask(target: &CheckTarget, plain: &Arc<rustls::ClientConfig>) -> Result<(), Unwell> {
    let limit = Duration::from_millis(u64::from(target.check.timeout_in_millis));
    tokio::time::timeout(limit, exchange(target, plain)).await.map_err(|_| HttpError::Timeout(limit))?
}

async fn exchange(target: &CheckTarget, plain: &Arc<rustls::ClientConfig>) -> Result<(), Unwell> {
    let CheckTarget { endpoint, check, authority, tls, http2 } = target;
    let (url, config) = match tls {
        Some(tls) => (format!("https://{}{}", tls.server_name, check.path), Arc::clone(&tls.config)),
        // Plain HTTP asks nobody for trust.
        None => (format!("http://{authority}{}", check.path), Arc::clone(plain)),
    };
    let uri: Uri = url.parse().map_err(|_| Unwell::Address(url))?;
    let address: SocketAddr = endpoint.address;
    let client = HttpClient::new(config, Hosts::default());
    let client = if *http2 { client.http2_only() } else { client };
    let mut connection = client.connect(&uri, address).await?;
    let request = Request::get(uri.clone()).header("user-agent", "tollgate-health-check").body(Full::default());
    let request = request.map_err(|_| Unwell::Address(uri.to_string()))?;
    // The status says it all; the body is nobody's.
    match connection.send(request).await?.status().as_u16() {
        200..400 => Ok(()),
        other => Err(Unwell::Status(other)),
    }
}
