//! Writes status while this replica leads: several at a time, the urgent ones first, and only what differs. It has its own
//! task and its own pace; nothing waits for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::{Api, Client, Resource};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tollgate_crds::{
    ApiDeployment, ApiDeploymentStatus, ApiKey, ApiMapping, Authorizer, DomainName, HttpApi, Integration, Principal,
    Route, Stage, UsagePlan, VpcLink,
};
use tollgate_translate::{Kind, ObjectRef};
use tracing::{debug, warn};

use super::events::{self, News};
use super::schedule::Schedule;
use super::{Complaints, Difference, difference, news, wanted, wanted_unreadable};
use crate::FIELD_MANAGER;
use crate::board::Board;
use crate::metrics::StatusMetrics;
use crate::shared::{Changed, Fleets};

/// Patches under way at once. The API server's default for one user is far above.
const AT_ONCE: usize = 8;
/// Proxies need a few milliseconds to acknowledge: within this time one patch instead of two says how it went.
const SETTLE: Duration = Duration::from_millis(150);
/// Counts that no condition depends on wait so long for each object that there is, so that a rollout of proxies does not
/// write every object for each pod: a second with 500 objects, ten with 5,000.
const LAZY_PER_OBJECT: Duration = Duration::from_millis(2);
/// Everything is looked at again, whatever happened.
const FULL_PASS: Duration = Duration::from_secs(60);
/// Acknowledgements come in bursts.
const GATHER: Duration = Duration::from_millis(5);
/// One object after an error that is its own.
const AGAIN: Duration = Duration::from_secs(60);
/// The pause of all after an error of the API server grows from the first to the second.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));
/// An API server that does not answer must not hold up the others for ever.
const PATIENCE: Duration = Duration::from_secs(10);

/// The writer of status.
#[expect(missing_debug_implementations, reason = "a Client has none")]
pub struct Writer {
    client: Client,
    board: Arc<Board>,
    fleets: Arc<Fleets>,
    metrics: StatusMetrics,
    news: mpsc::Sender<News>,
    schedule: Schedule,
    /// Since when an object's status is known to differ.
    differs_since: BTreeMap<ObjectRef, Instant>,
    /// Objects that not all proxies have acknowledged: their status changes with the next reports.
    unsettled: BTreeSet<ObjectRef>,
    in_flight: BTreeSet<ObjectRef>,
    pause: Duration,
    paused_until: Option<Instant>,
}

/// What became of a patch.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Written,
    /// The object is gone.
    Gone,
    /// Somebody changed it at the same time, or it was made again: soon.
    Conflict,
    /// The API server has too much to do, or is away: everything waits, for this time if it said one.
    Unavailable(Option<Duration>),
    /// The API server refuses this patch: later, and the log says why.
    Refused(String),
}

impl Outcome {
    fn of(result: Result<(), kube::Error>) -> Self {
        match result {
            Ok(()) => Self::Written,
            Err(kube::Error::Api(status)) => match status.code {
                404 => Self::Gone,
                409 => Self::Conflict,
                429 | 500..=599 => {
                    let seconds =
                        status.details.as_ref().map(|details| details.retry_after_seconds).unwrap_or_default();
                    Self::Unavailable((seconds > 0).then(|| Duration::from_secs(seconds.into())))
                }
                _ => Self::Refused(status.message.clone()),
            },
            Err(_) => Self::Unavailable(None),
        }
    }

    fn label(&self) -> &'static str {
        match self {
            Self::Written => "ok",
            Self::Gone => "gone",
            Self::Conflict => "conflict",
            Self::Unavailable(_) => "throttled",
            Self::Refused(_) => "error",
        }
    }
}

/// A patch that was answered.
struct Answered {
    object: ObjectRef,
    uid: String,
    status: ApiDeploymentStatus,
    outcome: Outcome,
}

impl Writer {
    /// A writer that has looked at nothing.
    pub fn new(
        client: Client,
        identity: String,
        board: Arc<Board>,
        fleets: Arc<Fleets>,
        metrics: StatusMetrics,
    ) -> Self {
        let (news, receiver) = mpsc::channel(events::WAITING);
        tokio::spawn(events::run(client.clone(), identity, metrics.events.clone(), receiver));
        Self {
            client,
            board,
            fleets,
            metrics,
            news,
            schedule: Schedule::default(),
            differs_since: BTreeMap::new(),
            unsettled: BTreeSet::new(),
            in_flight: BTreeSet::new(),
            pause: PAUSES.0,
            paused_until: None,
        }
    }

    /// Writes while `leader` says so, until its sender is gone.
    pub async fn run(mut self, mut leader: watch::Receiver<bool>) {
        let mut patches = FuturesUnordered::new();
        let mut reports = self.fleets.watch();
        let mut seen = *reports.borrow_and_update();
        let mut complaints = Complaints::default();
        let mut full_pass = tokio::time::interval(FULL_PASS);
        loop {
            if !*leader.borrow_and_update() {
                self.schedule.clear();
                self.differs_since.clear();
                if leader.wait_for(|leads| *leads).await.is_err() {
                    return;
                }
                complaints = Complaints::of(&self.fleets.proxies());
                self.look_at_all(Instant::now());
            }
            tokio::select! {
                changed = leader.changed() => if changed.is_err() { return },
                Some(answered) = patches.next() => self.answered(answered, Instant::now()),
                () = self.board.changed.notified() => self.take_dirty(Instant::now()),
                changed = reports.changed() => {
                    if changed.is_err() { return }
                    tokio::time::sleep(GATHER).await;
                    let now = *reports.borrow_and_update();
                    if now.everything != seen.everything {
                        complaints = Complaints::of(&self.fleets.proxies());
                    }
                    self.reported(seen, now);
                    seen = now;
                }
                _ = full_pass.tick() => self.look_at_all(Instant::now()),
                () = self.next_due() => {
                    while self.in_flight.len() < AT_ONCE {
                        let Some(object) = self.schedule.pop(Instant::now()) else { break };
                        if let Some((uid, status)) = self.decide(&object, &complaints, Instant::now()) {
                            self.in_flight.insert(object.clone());
                            patches.push(patch(self.client.clone(), object, uid, status));
                        }
                    }
                }
            }
            self.metrics.waiting.set(i64::try_from(self.schedule.len()).unwrap_or(i64::MAX));
        }
    }

    /// When the next object can be looked at.
    async fn next_due(&self) {
        match self.schedule.next().filter(|_| self.in_flight.len() < AT_ONCE) {
            Some(due) => tokio::time::sleep_until(self.paused_until.map_or(due, |until| until.max(due))).await,
            None => std::future::pending().await,
        }
    }

    fn take_dirty(&mut self, now: Instant) {
        let dirty = std::mem::take(&mut self.board.entries().dirty);
        for object in dirty {
            self.schedule.at(object, now);
        }
    }

    fn look_at_all(&mut self, now: Instant) {
        let board = Arc::clone(&self.board);
        for object in board.entries().observed.keys() {
            self.schedule.at(object.clone(), now);
        }
    }

    fn reported(&mut self, before: Changed, after: Changed) {
        let now = Instant::now();
        if after.everything != before.everything {
            self.look_at_all(now);
        } else {
            for object in &self.unsettled {
                self.schedule.at(object.clone(), now);
            }
        }
    }

    /// Whether the object's status is to be written now, and what; else, if it differs, when to look again.
    fn decide(
        &mut self,
        object: &ObjectRef,
        complaints: &Complaints,
        now: Instant,
    ) -> Option<(String, ApiDeploymentStatus)> {
        if self.in_flight.contains(object) {
            return None; // the answer brings it back
        }
        let board = Arc::clone(&self.board);
        let entries = board.entries();
        let Some(observed) = entries.observed.get(object) else {
            self.settled(object);
            return None;
        };
        let time = Time(seconds(Timestamp::now()));
        let wanted = match (entries.unreadable.get(object), entries.verdicts.get(object)) {
            (Some(unreadable), _) => wanted_unreadable(unreadable, observed, &time),
            // A verdict about an object of the same name that was deleted, or about an older version, is soon replaced.
            (None, Some(verdict)) if verdict.uid == observed.uid && verdict.generation == observed.generation => {
                wanted(verdict, observed, &self.fleets.proxies(), complaints, &time)
            }
            _ => return None,
        };
        let waits = wanted.common.data_plane.is_some_and(|plane| plane.acknowledged < plane.ready || plane.ready == 0);
        if waits {
            self.unsettled.insert(object.clone());
        } else {
            self.unsettled.remove(object);
        }
        let patience = match difference(&wanted, &observed.status) {
            Difference::None => {
                self.differs_since.remove(object);
                return None;
            }
            Difference::Matter => Duration::ZERO,
            Difference::Pending => SETTLE,
            Difference::Counts => LAZY_PER_OBJECT * u32::try_from(entries.observed.len()).unwrap_or(u32::MAX),
        };
        let since = *self.differs_since.entry(object.clone()).or_insert(now);
        if now < since + patience {
            self.schedule.at(object.clone(), since + patience);
            return None;
        }
        if let Some(condition) = news(&wanted, &observed.status) {
            let news = News { object: object.clone(), uid: observed.uid.clone(), condition: condition.clone() };
            if self.news.try_send(news).is_err() {
                debug!(%object, "too many events wait; one is left out");
            }
        }
        Some((observed.uid.clone(), wanted))
    }

    fn answered(&mut self, answered: Answered, now: Instant) {
        let Answered { object, uid, status, outcome } = answered;
        self.in_flight.remove(&object);
        self.metrics.patches.with_label_values(&[outcome.label()]).inc();
        match outcome {
            Outcome::Written => {
                self.pause = PAUSES.0;
                self.paused_until = None;
                self.differs_since.remove(&object);
                // The watch tells it too, but later: until then the same patch must not be sent again.
                if let Some(observed) = self.board.entries().observed.get_mut(&object)
                    && observed.uid == uid
                {
                    observed.status = status;
                }
                self.schedule.at(object, now); // what happened meanwhile
            }
            Outcome::Gone => self.settled(&object),
            Outcome::Conflict => self.schedule.at(object, now + PAUSES.0),
            Outcome::Unavailable(asked) => {
                warn!(%object, pause = ?self.pause, "status cannot be written now");
                self.paused_until = Some(now + asked.unwrap_or(self.pause));
                self.pause = (self.pause * 2).min(PAUSES.1);
                self.schedule.at(object, now);
            }
            Outcome::Refused(message) => {
                warn!(%object, error = message, "status was refused");
                self.schedule.at(object, now + AGAIN);
            }
        }
    }

    fn settled(&mut self, object: &ObjectRef) {
        self.differs_since.remove(object);
        self.unsettled.remove(object);
    }
}

async fn patch(client: Client, object: ObjectRef, uid: String, status: ApiDeploymentStatus) -> Answered {
    let api: Api<DynamicObject> = Api::namespaced_with(client, &object.namespace, &resource(object.kind));
    let body = body(&object, &uid, &status);
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    let body = Patch::Apply(body);
    let sent = api.patch_status(&object.name, &parameters, &body);
    let outcome = match tokio::time::timeout(PATIENCE, sent).await {
        Ok(result) => Outcome::of(result.map(drop)),
        Err(_) => Outcome::Unavailable(None),
    };
    Answered { object, uid, status, outcome }
}

/// What is applied. The uid makes the API server refuse it when the object was made again meanwhile.
fn body(object: &ObjectRef, uid: &str, status: &ApiDeploymentStatus) -> Value {
    json!({
        "apiVersion": object.kind.api_version(),
        "kind": object.kind.as_str(),
        "metadata": {"name": object.name, "namespace": object.namespace, "uid": uid},
        "status": status,
    })
}

fn resource(kind: Kind) -> ApiResource {
    fn of<K: Resource<DynamicType = ()>>() -> ApiResource {
        ApiResource::erase::<K>(&())
    }
    match kind {
        Kind::HttpApi => of::<HttpApi>(),
        Kind::Route => of::<Route>(),
        Kind::Integration => of::<Integration>(),
        Kind::Authorizer => of::<Authorizer>(),
        Kind::Principal => of::<Principal>(),
        Kind::Stage => of::<Stage>(),
        Kind::ApiDeployment => of::<ApiDeployment>(),
        Kind::UsagePlan => of::<UsagePlan>(),
        Kind::ApiKey => of::<ApiKey>(),
        Kind::VpcLink => of::<VpcLink>(),
        Kind::DomainName => of::<DomainName>(),
        Kind::ApiMapping => of::<ApiMapping>(),
        Kind::Service | Kind::EndpointSlice | Kind::ConfigMap | Kind::Secret => {
            unreachable!("only objects of ours are on the board")
        }
    }
}

/// Conditions carry whole seconds.
fn seconds(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn failed(code: u16) -> Outcome {
        Outcome::of(Err(kube::Error::Api(Box::new(Status { code, message: "no".into(), ..Status::default() }))))
    }

    #[test]
    fn errors_are_told_apart() {
        assert_eq!(Outcome::of(Ok(())), Outcome::Written);
        assert_eq!(failed(404), Outcome::Gone);
        assert_eq!(failed(409), Outcome::Conflict);
        assert_eq!(failed(429), Outcome::Unavailable(None));
        assert_eq!(failed(503), Outcome::Unavailable(None));
        assert_eq!(failed(422), Outcome::Refused("no".into()));
    }
}
