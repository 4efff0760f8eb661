//! Fetches keys, on the control thread.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::time::Instant;
use tollgate_engine::jwt::KeySet;
use tracing::{debug, info, warn};

use super::fetch::{self, Fetch};
use super::{Failure, KeySource, Shared, State, lock};

/// Fetches that run at a time.
const PARALLEL: usize = 32;
/// How long to sleep when nothing is due; whoever wants something wakes the service.
const IDLE: Duration = Duration::from_secs(3600);

/// Fetches the keys of all sources that are in use. Made by [`Jwks::new`](super::Jwks::new).
#[derive(Debug)]
pub struct JwksService {
    shared: Arc<Shared>,
}

type Ended = (Arc<KeySource>, Result<(String, Bytes), Failure>);

impl JwksService {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Runs for as long as the process lives.
    pub async fn run(self, fetch: impl Fetch) {
        let mut running = FuturesUnordered::new();
        loop {
            let now = Instant::now();
            let mut next = now + IDLE;
            for source in self.sources() {
                let room = running.len() < PARALLEL;
                match turn(&source, now, room) {
                    Turn::Attempt => running.push(attempt(fetch.clone(), source)),
                    Turn::Wait(until) => next = next.min(until),
                }
            }
            tokio::select! {
                () = self.shared.wake.notified() => {}
                Some((source, result)) = running.next() => self.ended(&source, result),
                () = tokio::time::sleep_until(next) => {}
            }
        }
    }

    /// Sources that someone still holds.
    fn sources(&self) -> Vec<Arc<KeySource>> {
        let mut registry = lock(&self.shared.registry);
        registry.sources.retain(|_, source| source.strong_count() > 0);
        let sources: Vec<_> = registry.sources.values().filter_map(Weak::upgrade).collect();
        drop(registry);
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        self.shared.metrics.jwks_sources.set(count(sources.len()));
        let without = sources.iter().filter(|source| source.keys.load().is_none()).count();
        self.shared.metrics.jwks_sources_without_keys.set(count(without));
        sources
    }

    fn ended(&self, source: &KeySource, result: Result<(String, Bytes), Failure>) {
        let mut state = lock(&source.state);
        let outcome = result.and_then(|(url, document)| accept(source, &mut state, &url, document));
        let label = if outcome.is_ok() { "ok" } else { "failed" };
        self.shared.metrics.jwks_fetches.with_label_values(&[label]).inc();
        state.schedule.ended(Instant::now(), outcome.is_ok());
        state.in_flight = false;
        let failure = match outcome {
            Ok(warning) => warning,
            Err(failure) => Some(failure),
        };
        if let Some(failure) = failure.as_ref().filter(|failure| state.failure.as_ref() != Some(failure)) {
            warn!(issuer = source.issuer, error = failure.message, "signing keys are missing");
        }
        state.failure = failure;
        drop(state);
        source.ended.send_replace(());
    }
}

/// What a source needs now.
enum Turn {
    Attempt,
    Wait(Instant),
}

fn turn(source: &KeySource, now: Instant, room: bool) -> Turn {
    let far = now + IDLE;
    let mut state = lock(&source.state);
    let expires = state.schedule.expires();
    if expires.is_some_and(|expires| expires <= now) {
        warn!(issuer = source.issuer, "signing keys are two hours old and are not used any more");
        state.schedule.expired();
        state.document = None;
        source.publish(None);
    }
    let expires = state.schedule.expires().unwrap_or(far);
    // Without room, the end of a running attempt brings the next turn.
    if state.in_flight || !room {
        return Turn::Wait(expires);
    }
    let wanted = std::mem::take(&mut state.wanted) && state.schedule.may_ask(now);
    match state.schedule.due() {
        Some(due) if due > now && !wanted => Turn::Wait(due.min(expires)),
        _ => {
            state.in_flight = true;
            Turn::Attempt
        }
    }
}

async fn attempt(fetch: impl Fetch, source: Arc<KeySource>) -> Ended {
    let result = fetch::document(&fetch, &source.issuer, source.jwks_uri.as_deref()).await;
    (source, result)
}

/// Takes a document over. Not an error, but worth a report: it holds no key that could be used.
fn accept(source: &KeySource, state: &mut State, url: &str, document: Bytes) -> Result<Option<Failure>, Failure> {
    if state.document.as_ref() == Some(&document) {
        debug!(url, "signing keys are unchanged");
        return Ok(state
            .failure
            .take()
            .filter(|_| source.keys.load().as_ref().is_some_and(|keys| keys.set.is_empty())));
    }
    let set = KeySet::parse(&document).map_err(|error| fetch::keys_failure(url, &error.to_string()))?;
    let warning = set.is_empty().then(|| {
        let left_out = set.ignored();
        fetch::keys_failure(
            url,
            &format!("none of its {left_out} keys is an RSA signature key with a kid and 2048 bits"),
        )
    });
    info!(url, keys = set.len(), ignored = set.ignored(), "signing keys fetched");
    state.document = Some(document);
    source.publish(Some(set));
    Ok(warning)
}
