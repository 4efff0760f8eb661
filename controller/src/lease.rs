//! Which replica writes status: the holder of a Lease.
//!
//! What to do is decided by [`Elector`], which knows no clock and no network; [`run`] does it. Other replicas' clocks are never
//! compared with ours: a lease has run out when it has not changed for its duration by our own clock.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use prometheus::IntGauge;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};

/// The Lease's name.
pub const NAME: &str = "tollgate-controller";

/// How long things take; retry < renew deadline < duration.
#[derive(Clone, Copy, Debug)]
pub struct Timings {
    /// Others wait so long after the last renewal.
    pub duration: Duration,
    /// The holder acts so long without a renewal.
    pub renew_deadline: Duration,
    /// Time between two looks.
    pub retry: Duration,
}

/// What is read from the Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Who holds it; empty when it was given back.
    pub holder: String,
    /// Changes with every renewal.
    pub version: String,
    /// What the holder asked others to wait.
    pub duration: Duration,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// There is no Lease: create it as ours.
    Create,
    /// It is ours: renew it.
    Renew,
    /// It was given back or has run out: make it ours.
    Take,
    /// Somebody else holds it.
    Wait,
}

/// Decides who leads.
#[derive(Debug)]
pub struct Elector {
    identity: String,
    timings: Timings,
    /// The record and when we first saw it.
    seen: Option<(Record, Instant)>,
    renewed: Option<Instant>,
}

impl Elector {
    /// One that has seen nothing.
    pub fn new(identity: String, timings: Timings) -> Self {
        Self { identity, timings, seen: None, renewed: None }
    }

    /// What to do about a Lease as it was read just now.
    pub fn decide(&mut self, record: Option<Record>, now: Instant) -> Act {
        let Some(record) = record else {
            self.seen = None;
            return Act::Create;
        };
        let since = match &self.seen {
            Some((seen, since)) if *seen == record => *since,
            _ => now,
        };
        let ran_out = now.duration_since(since) >= record.duration;
        let act = if record.holder == self.identity {
            Act::Renew
        } else if record.holder.is_empty() || ran_out {
            Act::Take
        } else {
            Act::Wait
        };
        self.seen = Some((record, since));
        if act == Act::Wait {
            self.renewed = None;
        }
        act
    }

    /// A request to create, renew or take, sent at `sent`, was accepted.
    pub fn written(&mut self, sent: Instant) {
        self.renewed = Some(sent);
    }

    /// It was given back.
    pub fn released(&mut self) {
        self.renewed = None;
    }

    /// Whether this replica may act as the holder.
    pub fn leads(&self, now: Instant) -> bool {
        self.leads_until().is_some_and(|until| now < until)
    }

    /// How long a request may take: two must fit into the time a holder has left, and no answer is waited for longer.
    pub fn patience(&self, now: Instant) -> Duration {
        let most = self.timings.renew_deadline / 2;
        self.leads_until().filter(|until| now < *until).map_or(most, |until| (until - now).min(most))
    }

    /// When it has to stop acting as the holder unless it can renew.
    pub fn leads_until(&self) -> Option<Instant> {
        self.renewed.map(|renewed| renewed + self.timings.renew_deadline)
    }
}

/// Keeps trying to hold the lease until the program stops, then gives it back. `leader` says at any time whether this replica
/// holds it.
pub async fn run(
    client: Client,
    namespace: String,
    identity: String,
    timings: Timings,
    leader: watch::Sender<bool>,
    gauge: IntGauge,
    mut stop: watch::Receiver<bool>,
) {
    let leases: Api<Lease> = Api::namespaced(client, &namespace);
    let mut elector = Elector::new(identity, timings);
    while !*stop.borrow() {
        // A request that hangs must not keep us acting on a lease that has run out.
        let deadline = elector.patience(Instant::now());
        let round = round(&leases, &mut elector);
        if let Ok(Err(error)) | Err(error) = tokio::time::timeout(deadline, round).await.map_err(|_| RoundFailed::Slow)
        {
            warn!(%error, "the lease could not be read or written");
        }
        tell(&leader, &gauge, elector.leads(Instant::now()));
        let next = Instant::now() + timings.retry;
        let wake = elector.leads_until().filter(|_| *leader.borrow()).map_or(next, |until| until.min(next));
        tokio::select! {
            () = tokio::time::sleep_until(wake) => {}
            _ = stop.wait_for(|stopped| *stopped) => {}
        }
        tell(&leader, &gauge, elector.leads(Instant::now()));
    }
    let held = *leader.borrow();
    tell(&leader, &gauge, false);
    if held {
        let released = tokio::time::timeout(Duration::from_secs(2), release(&leases, &elector.identity)).await;
        elector.released();
        info!(released = matches!(released, Ok(Ok(()))), "lease given back");
    }
}

fn tell(leader: &watch::Sender<bool>, gauge: &IntGauge, leads: bool) {
    let changed = leader.send_if_modified(|was| std::mem::replace(was, leads) != leads);
    if changed {
        gauge.set(i64::from(leads));
        info!(leads, "leadership changed");
    }
}

#[derive(Debug, thiserror::Error)]
enum RoundFailed {
    #[error(transparent)]
    Api(#[from] kube::Error),
    #[error("the API server took too long")]
    Slow,
}

async fn round(leases: &Api<Lease>, elector: &mut Elector) -> Result<(), RoundFailed> {
    let sent = Instant::now();
    let lease = leases.get_opt(NAME).await?;
    let act = elector.decide(lease.as_ref().map(|lease| read(lease, elector.timings)), sent);
    let outcome = match (act, lease) {
        (Act::Wait, _) => return Ok(()),
        (Act::Create, _) | (_, None) => {
            let lease = write(Lease::default(), elector, true);
            leases.create(&PostParams::default(), &lease).await
        }
        (act, Some(lease)) => {
            // The resource version goes along: of two replicas that take it at once, one is refused.
            let lease = write(lease, elector, act == Act::Take);
            leases.replace(NAME, &PostParams::default(), &lease).await
        }
    };
    match outcome {
        Ok(written) => {
            elector.decide(Some(read(&written, elector.timings)), sent);
            elector.written(sent);
            Ok(())
        }
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()), // somebody was faster; the next look tells
        Err(error) => Err(error.into()),
    }
}

fn read(lease: &Lease, timings: Timings) -> Record {
    let spec = lease.spec.as_ref();
    let seconds = spec.and_then(|spec| spec.lease_duration_seconds).and_then(|seconds| u64::try_from(seconds).ok());
    Record {
        holder: spec.and_then(|spec| spec.holder_identity.clone()).unwrap_or_default(),
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
        duration: seconds.map_or(timings.duration, Duration::from_secs),
    }
}

fn write(mut lease: Lease, elector: &Elector, take: bool) -> Lease {
    let now = MicroTime(Timestamp::now());
    lease.metadata.name = Some(NAME.to_owned());
    let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
    spec.holder_identity = Some(elector.identity.clone());
    spec.lease_duration_seconds = i32::try_from(elector.timings.duration.as_secs()).ok();
    spec.renew_time = Some(now.clone());
    if take {
        spec.acquire_time = Some(now);
        spec.lease_transitions = Some(spec.lease_transitions.unwrap_or(-1) + 1);
    }
    lease
}

async fn release(leases: &Api<Lease>, identity: &str) -> Result<(), kube::Error> {
    let mut lease = leases.get(NAME).await?;
    let ours = lease.spec.as_mut().filter(|spec| spec.holder_identity.as_deref() == Some(identity));
    if let Some(spec) = ours {
        spec.holder_identity = Some(String::new());
        leases.replace(NAME, &PostParams::default(), &lease).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMINGS: Timings = Timings {
        duration: Duration::from_secs(15),
        renew_deadline: Duration::from_secs(10),
        retry: Duration::from_secs(2),
    };

    fn record(holder: &str, version: &str) -> Option<Record> {
        Some(Record { holder: holder.into(), version: version.into(), duration: TIMINGS.duration })
    }

    fn elector() -> (Elector, Instant) {
        (Elector::new("me".into(), TIMINGS), Instant::now())
    }

    #[test]
    fn an_absent_lease_is_created_and_then_renewed() {
        let (mut elector, now) = elector();
        assert_eq!(elector.decide(None, now), Act::Create);
        assert!(!elector.leads(now), "not before the API server has accepted");
        elector.written(now);
        assert!(elector.leads(now));
        assert_eq!(elector.decide(record("me", "1"), now + TIMINGS.retry), Act::Renew);
    }

    #[test]
    fn leadership_ends_before_others_may_take_the_lease() {
        let (mut elector, now) = elector();
        elector.written(now);
        assert!(elector.leads(now + TIMINGS.renew_deadline - Duration::from_millis(1)));
        assert!(!elector.leads(now + TIMINGS.renew_deadline));
    }

    #[test]
    fn no_request_outlives_leadership() {
        let (mut elector, now) = elector();
        assert_eq!(elector.patience(now), Duration::from_secs(5));
        elector.written(now);
        assert_eq!(elector.patience(now + Duration::from_secs(2)), Duration::from_secs(5));
        assert_eq!(elector.patience(now + Duration::from_secs(9)), Duration::from_secs(1));
    }

    #[test]
    fn anothers_lease_is_taken_when_it_has_not_changed_for_its_duration() {
        let (mut elector, now) = elector();
        assert_eq!(elector.decide(record("you", "1"), now), Act::Wait);
        assert_eq!(elector.decide(record("you", "2"), now + Duration::from_secs(10)), Act::Wait);
        assert_eq!(elector.decide(record("you", "2"), now + Duration::from_secs(24)), Act::Wait, "14 s old");
        assert_eq!(elector.decide(record("you", "2"), now + Duration::from_secs(25)), Act::Take);
    }

    #[test]
    fn a_lease_given_back_is_taken_at_once() {
        let (mut elector, now) = elector();
        assert_eq!(elector.decide(record("you", "1"), now), Act::Wait);
        assert_eq!(elector.decide(record("", "2"), now + TIMINGS.retry), Act::Take);
    }

    #[test]
    fn a_holder_that_was_replaced_stops_at_once() {
        let (mut elector, now) = elector();
        elector.written(now);
        assert_eq!(elector.decide(record("you", "9"), now + TIMINGS.retry), Act::Wait);
        assert!(!elector.leads(now + TIMINGS.retry));
    }

    #[test]
    fn a_restarted_holder_of_the_same_name_goes_on() {
        let (mut elector, now) = elector();
        assert_eq!(elector.decide(record("me", "7"), now), Act::Renew);
        assert!(!elector.leads(now));
    }

    #[test]
    fn the_holders_own_duration_counts() {
        let (mut elector, now) = elector();
        let long = Some(Record { duration: Duration::from_secs(60), ..record("you", "1").unwrap() });
        assert_eq!(elector.decide(long.clone(), now), Act::Wait);
        assert_eq!(elector.decide(long.clone(), now + Duration::from_secs(59)), Act::Wait);
        assert_eq!(elector.decide(long, now + Duration::from_secs(60)), Act::Take);
    }
}
