//! Usage of plans in their status: what proxies tell, put together and written at a pace of its own.
//!
//! [`together`] and [`fold`] decide; [`run`] writes, with a field manager of its own, so that the conditions' writer and this one know
//! nothing of each other. A plan is written at most every [`EVERY`], and only when its usage differs: never once for each request.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tollgate_crds::{API_VERSION, CustomerUsage, PlanUsageStatus, UsagePlan};
use tollgate_engine::snapshot::{KeyUsage, PlanUsage, UsageReport};
use tracing::warn;

use crate::board::Board;
use crate::shared::Fleets;

/// Who writes `status.usage`.
const USAGE_MANAGER: &str = "tollgate-usage";
/// A plan is written not more often.
pub const EVERY: Duration = Duration::from_secs(30);
/// An API server that does not answer must not hold up the other plans for ever.
const PATIENCE: Duration = Duration::from_secs(10);
/// Customers in a status, those that used most.
const MOST_KEYS: usize = 100;
/// Days in a status.
const MOST_DAYS: usize = 31;
/// What is kept of one proxy's report.
const MOST_PLANS: usize = 1000;
const MOST_KEYS_OF_PROXY: usize = 20_000;
const DAY: i64 = 86_400;

/// Cuts a report to what may be kept of it.
pub fn bounded(mut report: UsageReport) -> UsageReport {
    report.plans.truncate(MOST_PLANS);
    let mut room = MOST_KEYS_OF_PROXY;
    for plan in &mut report.plans {
        plan.keys.truncate(room);
        room -= plan.keys.len();
    }
    report
}

/// What all proxies say, by plan: of the latest period that any of them is in. Counts of proxies that share a store are the same counts, of
/// which the highest is the newest; counts of others are added up.
pub fn together<'a>(reports: impl IntoIterator<Item = &'a UsageReport>) -> BTreeMap<String, PlanUsage> {
    let mut plans: BTreeMap<String, Sum> = BTreeMap::new();
    for report in reports {
        for plan in &report.plans {
            let sum = plans.entry(plan.plan.clone()).or_insert_with(|| Sum::of(plan));
            if sum.period.0 < plan.period_start {
                *sum = Sum::of(plan);
            }
            if sum.period.0 == plan.period_start {
                sum.add(plan, report.shared);
            }
        }
    }
    plans.into_iter().map(|(name, sum)| (name.clone(), sum.usage(name))).collect()
}

/// What proxies say of one plan.
struct Sum {
    period: (i64, i64),
    limit: u64,
    /// Shared counts and others of requests and of customers, with those of customers that are told by name.
    used: (u64, u64),
    customers: (u64, u64),
    keys: BTreeMap<String, (u64, u64, u64)>,
}

impl Sum {
    fn of(plan: &PlanUsage) -> Self {
        Self {
            period: (plan.period_start, plan.period_end),
            limit: plan.limit,
            used: (0, 0),
            customers: (0, 0),
            keys: BTreeMap::new(),
        }
    }

    fn add(&mut self, plan: &PlanUsage, shared: bool) {
        let put = |(most, sum): (u64, u64), more: u64| match shared {
            true => (most.max(more), sum),
            false => (most, sum.saturating_add(more)),
        };
        self.limit = plan.limit;
        self.used = put(self.used, plan.used);
        // A customer of several proxies counts once.
        self.customers.0 = self.customers.0.max(plan.customers);
        for KeyUsage { key, used, limit } in &plan.keys {
            let known = self.keys.entry(key.clone()).or_default();
            let (most, sum) = put((known.0, known.1), *used);
            *known = (most, sum, (*limit).max(known.2));
        }
    }

    fn usage(self, plan: String) -> PlanUsage {
        let keys = self.keys.into_iter();
        let mut keys: Vec<KeyUsage> =
            keys.map(|(key, (most, sum, limit))| KeyUsage { key, used: most.saturating_add(sum), limit }).collect();
        keys.sort_by(|a, b| b.used.cmp(&a.used).then_with(|| a.key.cmp(&b.key)));
        let by_name = keys.iter().fold(0_u64, |sum, key| sum.saturating_add(key.used));
        PlanUsage {
            plan,
            period_start: self.period.0,
            period_end: self.period.1,
            limit: self.limit,
            // Each proxy that shares a store knows its own customers only.
            used: by_name.max(self.used.0.saturating_add(self.used.1)),
            customers: self.customers.0.max(u64::try_from(keys.len()).unwrap_or(u64::MAX)),
            keys,
        }
    }
}

/// The status that follows from the last one and what is used now. Days are counted by what was used between two writes.
pub fn fold(before: Option<&PlanUsageStatus>, now: &PlanUsage, namespace: &str, at: Timestamp) -> PlanUsageStatus {
    let time = |seconds: i64| Time(Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH));
    let same_period = before.is_some_and(|before| before.period_start == time(now.period_start));
    let known = before.map(|before| before.keys.as_slice()).unwrap_or_default();
    let mut keys: Vec<CustomerUsage> = Vec::new();
    for KeyUsage { key, used, limit } in &now.keys {
        let name = own_name(key, namespace);
        let last = known.iter().find(|known| known.key == name);
        keys.push(customer(name, last, (*used, *limit), same_period, now, at.as_second()));
    }
    for last in known {
        if !keys.iter().any(|key| key.key == last.key) {
            let (used, limit) =
                if same_period { (last.used, last.used.saturating_add(last.remaining)) } else { (0, now.limit) };
            let key = customer(&last.key, Some(last), (used, limit), same_period, now, at.as_second());
            if key.days.iter().any(|day| day[0] > 0) {
                keys.push(key);
            }
        }
    }
    keys.sort_by(|a, b| b.used.cmp(&a.used).then_with(|| a.key.cmp(&b.key)));
    keys.truncate(MOST_KEYS);
    PlanUsageStatus {
        period_start: time(now.period_start),
        period_end: time(now.period_end),
        observed_at: time(at.as_second()),
        used: now.used,
        customers: now.customers,
        keys,
    }
}

/// ApiKeys of the plan's namespace go by their names.
fn own_name<'a>(key: &'a str, namespace: &str) -> &'a str {
    key.strip_prefix(namespace).and_then(|rest| rest.strip_prefix('/')).unwrap_or(key)
}

fn customer(
    key: &str,
    last: Option<&CustomerUsage>,
    (used, limit): (u64, u64),
    same_period: bool,
    now: &PlanUsage,
    at: i64,
) -> CustomerUsage {
    let today = at.div_euclid(DAY);
    let remaining = limit.saturating_sub(used);
    let more = used.saturating_sub(last.filter(|_| same_period).map_or(0, |last| last.used));
    let first = last.and_then(|last| day_of(&last.from)).filter(|first| *first <= today);
    let (mut first, mut days) = match (first, last) {
        (Some(first), Some(last)) if !last.days.is_empty() => (first, last.days.clone()),
        _ => (today, Vec::new()),
    };
    // Days without a request; those before the period have what was left then.
    let left = |day: i64, days: &[[u64; 2]]| match days.last() {
        Some([_, left]) if same_period || (day + 1) * DAY <= now.period_start => *left,
        _ => limit,
    };
    let missing = today - first - i64::try_from(days.len()).unwrap_or(i64::MAX);
    if missing >= i64::try_from(MOST_DAYS).unwrap_or(i64::MAX) {
        (first, days) = (today, Vec::new());
    }
    loop {
        let day = first + i64::try_from(days.len()).unwrap_or(i64::MAX);
        if day > today {
            break;
        }
        days.push([0, left(day, &days)]);
    }
    if let Some(day) = days.last_mut() {
        *day = [day[0].saturating_add(more), remaining];
    }
    let old = days.len().saturating_sub(MOST_DAYS);
    days.drain(..old);
    first += i64::try_from(old).unwrap_or(0);
    CustomerUsage { key: key.to_owned(), used, remaining, from: date(first), days }
}

/// `2026-11-21`, of a day since 1970.
fn date(day: i64) -> String {
    let text = Timestamp::from_second(day.saturating_mul(DAY)).unwrap_or(Timestamp::UNIX_EPOCH).to_string();
    text.get(..10).unwrap_or_default().to_owned()
}

fn day_of(date: &str) -> Option<i64> {
    let time: Timestamp = format!("{date}T00:00:00Z").parse().ok()?;
    Some(time.as_second().div_euclid(DAY))
}

/// Writes while `leader` says so, until its sender is gone. Plans that lost their quota, as the `board` knows, lose their usage too.
pub async fn run(client: Client, fleets: Arc<Fleets>, board: Arc<Board>, leader: watch::Receiver<bool>) {
    let mut written: BTreeMap<String, PlanUsage> = BTreeMap::new();
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if leader.has_changed().is_err() {
            return;
        }
        if !*leader.borrow() {
            written.clear();
            continue;
        }
        let mut usage = fleets.proxies().usage();
        let without_quota = board.without_quota();
        // Proxies tell of customers who made no request since by the terms of their last one.
        usage.retain(|plan, _| !without_quota.contains_key(plan));
        for (plan, uid) in without_quota {
            let Some(uid) = uid else { continue };
            match tokio::time::timeout(PATIENCE, clear(&client, &plan, &uid)).await {
                Ok(Ok(())) => {}
                // Deleted meanwhile, or another one of the name is there.
                Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => {}
                Ok(Err(error)) => warn!(plan, %error, "usage could not be cleared"),
                Err(_) => warn!(plan, "usage could not be cleared in time"),
            }
        }
        written.retain(|plan, _| usage.contains_key(plan));
        for (plan, now) in usage {
            if written.get(&plan) == Some(&now) {
                continue;
            }
            match tokio::time::timeout(PATIENCE, write(&client, &plan, &now)).await {
                Ok(Ok(())) => drop(written.insert(plan, now)),
                // A plan that was deleted while customers of it are remembered.
                Ok(Err(kube::Error::Api(status))) if status.code == 404 => drop(written.insert(plan, now)),
                Ok(Err(error)) => warn!(plan, %error, "usage could not be written"),
                Err(_) => warn!(plan, "usage could not be written in time"),
            }
        }
    }
}

async fn write(client: &Client, plan: &str, now: &PlanUsage) -> Result<(), kube::Error> {
    let Some((namespace, name)) = plan.split_once('/') else { return Ok(()) };
    let plans = Api::<UsagePlan>::namespaced(client.clone(), namespace);
    let found = plans.get(name).await?;
    let before = found.status.as_ref().and_then(|status| status.usage.as_ref());
    let usage = fold(before, now, namespace, Timestamp::now());
    let body = json!({
        "apiVersion": API_VERSION, "kind": "UsagePlan",
        "metadata": {"name": name, "namespace": namespace, "uid": found.metadata.uid},
        "status": {"usage": usage},
    });
    let parameters = PatchParams::apply(USAGE_MANAGER).force();
    plans.patch_status(name, &parameters, &Patch::Apply(body)).await.map(drop)
}

/// Takes the usage of a plan without a quota out of its status.
async fn clear(client: &Client, plan: &str, uid: &str) -> Result<(), kube::Error> {
    let Some((namespace, name)) = plan.split_once('/') else { return Ok(()) };
    let plans = Api::<UsagePlan>::namespaced(client.clone(), namespace);
    // What its only manager applies no more is removed.
    let body = json!({
        "apiVersion": API_VERSION, "kind": "UsagePlan",
        "metadata": {"name": name, "namespace": namespace, "uid": uid},
        "status": {},
    });
    let parameters = PatchParams::apply(USAGE_MANAGER).force();
    plans.patch_status(name, &parameters, &Patch::Apply(body)).await.map(drop)
}

#[cfg(test)]
mod tests;
