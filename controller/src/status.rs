//! What the status of an object should say, as plain functions; [`writer`] writes it.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use tollgate_crds::{ApiDeploymentStatus, DataPlane, DeploymentStatusCode, Status};
use tollgate_translate::{Capture, Kind, ObjectRef, ObjectVerdict, Reason, Serving, Verdict};

use crate::board::Observed;
use crate::proxies::{self, Proxies};
use crate::watch::Unreadable;

pub mod events;
mod schedule;
pub mod writer;

/// The conditions that we write, in their order.
const TYPES: [&str; 4] = ["Accepted", "ResolvedRefs", "Programmed", "Ready"];
/// Conditions' messages end here; the API server refuses more than 32 KiB.
const LONGEST_MESSAGE: usize = 4096;
/// Problems of one object that its condition names.
const PROBLEMS_NAMED: usize = 3;

/// What proxies complain about, gathered once for many objects.
#[derive(Debug, Default)]
pub struct Complaints {
    /// By the object as snapshots name it: path in the unit and message.
    problems: BTreeMap<String, BTreeSet<(String, String)>>,
    /// By Authorizer: message, and how many proxies say so.
    authorizers: BTreeMap<String, (String, u32)>,
}

impl Complaints {
    /// Of all ready proxies.
    pub fn of(proxies: &Proxies) -> Self {
        let mut problems = BTreeMap::<_, BTreeSet<_>>::new();
        for (source, of_source) in crate::feed::FLEETS.into_iter().flat_map(|fleet| proxies.problems(fleet)) {
            problems.entry(source).or_default().extend(of_source);
        }
        Self { problems, authorizers: proxies.authorizers() }
    }

    /// Those about one object. Sources are `namespace/name`, and the path says of which kind, or `Kind/namespace/name`.
    fn about(&self, object: &ObjectRef) -> Vec<String> {
        let with_kind = format!("{}/{}", object.kind.as_str(), object.source());
        let exact = self.problems.get(&with_kind).into_iter().flatten();
        let by_path = self.problems.get(&object.source()).into_iter().flatten();
        let by_path = by_path.filter(|(path, _)| kind_of_path(path) == object.kind);
        exact.chain(by_path).map(|(path, message)| format!("{path}: {message}")).collect()
    }
}

/// Which kind of object a path in a unit leads to.
fn kind_of_path(path: &str) -> Kind {
    if path.starts_with("routes") {
        Kind::Route
    } else if path.starts_with("links") {
        Kind::VpcLink
    } else if path.starts_with("authorizers") {
        Kind::Authorizer
    } else if path.starts_with("principals") {
        Kind::Principal
    } else if path.starts_with("integrations") {
        Kind::Integration
    } else if path.starts_with("keys") {
        Kind::ApiKey
    } else if path.starts_with("plan") {
        Kind::UsagePlan
    } else {
        Kind::Stage
    }
}

/// A condition without its times.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Say {
    ok: bool,
    reason: &'static str,
    message: String,
}

impl Say {
    fn verdict(verdict: &Verdict) -> Self {
        Self { ok: verdict.ok, reason: verdict.reason.as_str(), message: verdict.message.clone() }
    }

    fn yes(reason: &'static str, message: impl Into<String>) -> Self {
        Self { ok: true, reason, message: message.into() }
    }

    fn no(reason: &'static str, message: impl Into<String>) -> Self {
        Self { ok: false, reason, message: message.into() }
    }
}

/// The status that an object should have. What did not change keeps its `lastTransitionTime`.
pub fn wanted(
    verdict: &ObjectVerdict,
    observed: &Observed,
    proxies: &Proxies,
    complaints: &Complaints,
    now: &Time,
) -> ApiDeploymentStatus {
    let plane = match &verdict.serving {
        Serving::When(requirements) => Some(proxies.data_plane(requirements)),
        Serving::NotNeeded(_) | Serving::Nowhere(_) => None,
    };
    let accepted = Say::verdict(&verdict.accepted);
    let resolved = resolved(verdict, complaints);
    let programmed = programmed(verdict, plane, complaints);
    let ready = summary(&[&accepted, &resolved, &programmed]);
    let says = [accepted, resolved, programmed, ready];
    let conditions = TYPES.iter().zip(says);
    let conditions = conditions.map(|(type_, say)| condition(type_, say, verdict.generation, observed, now));
    let common = Status {
        observed_generation: Some(verdict.generation),
        conditions: conditions.collect(),
        api_id: verdict.api_id.clone(),
        api_endpoint: verdict.api_endpoint.clone(),
        data_plane: plane.map(|proxies::DataPlane { ready, acknowledged }| DataPlane { ready, acknowledged }),
        programmed: plane.map(|plane| format!("{}/{}", plane.acknowledged, plane.ready)),
    };
    let (deployment_id, deployment_status, deployment_status_message) = capture(verdict.capture.as_ref());
    let auto_deployed = (verdict.object.kind == Kind::ApiDeployment).then_some(observed.made_for.is_some());
    ApiDeploymentStatus { common, deployment_id, deployment_status, deployment_status_message, auto_deployed }
}

/// The status of an object that could not be read: it says so, and keeps what was said about the version that serves.
pub fn wanted_unreadable(unreadable: &Unreadable, observed: &Observed, now: &Time) -> ApiDeploymentStatus {
    let mut status = observed.status.clone();
    let say = || Say::no(Reason::Invalid.as_str(), format!("the object cannot be read: {}", unreadable.error));
    let of = |type_| condition(type_, say(), unreadable.generation, observed, now);
    status.common.observed_generation = Some(unreadable.generation);
    status.common.conditions.retain(|condition| condition.type_ != "Accepted" && condition.type_ != "Ready");
    status.common.conditions.insert(0, of("Accepted"));
    status.common.conditions.push(of("Ready"));
    status
}

fn resolved(verdict: &ObjectVerdict, complaints: &Complaints) -> Say {
    let say = Say::verdict(&verdict.resolved_refs);
    let complaint = (verdict.object.kind == Kind::Authorizer)
        .then(|| complaints.authorizers.get(&verdict.object.source()))
        .flatten();
    match complaint {
        Some((message, count)) if say.ok => {
            let proxies = if *count == 1 { "proxy" } else { "proxies" };
            Say::no("IssuerUnreachable", format!("{count} {proxies} cannot get the issuer's keys: {message}"))
        }
        _ => say,
    }
}

fn programmed(verdict: &ObjectVerdict, plane: Option<proxies::DataPlane>, complaints: &Complaints) -> Say {
    let Some(plane) = plane else {
        return match &verdict.serving {
            Serving::NotNeeded(reason) => Say::yes(reason.as_str(), reason.meaning()),
            Serving::Nowhere(verdict) => Say::verdict(verdict),
            Serving::When(_) => unreachable!("it has a data plane"),
        };
    };
    let about = complaints.about(&verdict.object);
    let proxies::DataPlane { ready, acknowledged } = plane;
    if ready == 0 {
        Say::no("NoProxies", "0/0: no proxy of the fleet is ready; start proxies, or look at their logs")
    } else if acknowledged < ready {
        Say::no("Pending", format!("{acknowledged}/{ready} ready proxies serve this generation"))
    } else if !about.is_empty() {
        let more = about.len().saturating_sub(PROBLEMS_NAMED);
        let mut message = about.into_iter().take(PROBLEMS_NAMED).collect::<Vec<_>>().join("; ");
        if more > 0 {
            message += &format!("; and {more} more");
        }
        Say::no("RefusedByProxy", message)
    } else {
        Say::yes("Programmed", format!("{acknowledged}/{ready} ready proxies serve this generation"))
    }
}

/// `Ready`: yes, or the first no.
fn summary(parts: &[&Say]) -> Say {
    match parts.iter().find(|say| !say.ok) {
        Some(&no) => no.clone(),
        None => Say::yes("Ready", ""),
    }
}

fn capture(capture: Option<&Capture>) -> (Option<String>, Option<DeploymentStatusCode>, Option<String>) {
    let cut = |message: &str| Some(truncated(message.to_owned(), 1024));
    match capture {
        None => (None, None, None),
        Some(Capture::Pending(message)) => (None, Some(DeploymentStatusCode::Pending), cut(message)),
        Some(Capture::Deployed(id)) => (Some(id.clone()), Some(DeploymentStatusCode::Deployed), None),
        Some(Capture::Failed(message)) => (None, Some(DeploymentStatusCode::Failed), cut(message)),
    }
}

fn condition(type_: &str, say: Say, generation: i64, observed: &Observed, now: &Time) -> Condition {
    let status = if say.ok { "True" } else { "False" };
    let before = find(&observed.status, type_).filter(|before| before.status == status);
    Condition {
        last_transition_time: before.map_or(now, |before| &before.last_transition_time).clone(),
        message: truncated(say.message, LONGEST_MESSAGE),
        observed_generation: Some(generation),
        reason: say.reason.to_owned(),
        status: status.to_owned(),
        type_: type_.to_owned(),
    }
}

fn truncated(mut text: String, longest: usize) -> String {
    if text.len() > longest {
        let end = (0..=longest - 3).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

fn find<'a>(status: &'a ApiDeploymentStatus, type_: &str) -> Option<&'a Condition> {
    status.common.conditions.iter().find(|condition| condition.type_ == type_)
}

/// How a wanted status differs from the one in the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// Not at all.
    None,
    /// In counts of proxies only, while conditions say the same: not urgent, since every object of a fleet has it when a
    /// proxy comes or goes.
    Counts,
    /// In anything else, but proxies are still to acknowledge: in a moment it may be settled.
    Pending,
    /// In anything else.
    Matter,
}

/// Compares; conditions of others are not looked at.
pub fn difference(wanted: &ApiDeploymentStatus, observed: &ApiDeploymentStatus) -> Difference {
    let mut observed = observed.clone();
    observed.common.conditions.retain(|condition| TYPES.contains(&condition.type_.as_str()));
    if *wanted == observed {
        return Difference::None;
    }
    if without_counts(wanted.clone()) == without_counts(observed) {
        return Difference::Counts;
    }
    let pending = find(wanted, "Programmed").is_some_and(|programmed| programmed.reason == "Pending");
    if pending { Difference::Pending } else { Difference::Matter }
}

fn without_counts(mut status: ApiDeploymentStatus) -> ApiDeploymentStatus {
    status.common.data_plane = None;
    status.common.programmed = None;
    for condition in &mut status.common.conditions {
        if condition.reason == "Programmed" || condition.reason == "Pending" {
            condition.message.clear();
        }
    }
    status
}

/// The condition that newly says no, for Events. That proxies are behind or absent is no news of the object.
pub fn news<'a>(wanted: &'a ApiDeploymentStatus, observed: &ApiDeploymentStatus) -> Option<&'a Condition> {
    let no = |condition: &&Condition| {
        condition.status == "False" && !["Pending", "NoProxies", "KeyValuePending"].contains(&condition.reason.as_str())
    };
    let first = wanted.common.conditions.iter().find(no)?;
    let before = find(observed, &first.type_);
    let same = before.is_some_and(|before| {
        before.status == first.status && before.reason == first.reason && before.message == first.message
    });
    (!same).then_some(first)
}

#[cfg(test)]
mod tests;
