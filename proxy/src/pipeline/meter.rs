//! API key, usage plan, throttle and quota, in this order (R-PIPE-1, step 9; R-PLAN-7). What is refused consumes nothing, also not of
//! the throttle of the route, which was asked before.

use http::HeaderValue;
use tollgate_engine::deployment::Route;
use tollgate_engine::meter::{Terms, digest};
use tollgate_engine::reject::Reject;
use tollgate_engine::snapshot::ApiKeySource;

use super::admit::{self, Authorized, Matched};
use super::{Arrived, Stop};
use crate::gateway::Gateway;
use crate::metrics::{Counter, PlanResult};
use crate::record::{Caller, Record};
use crate::usage::{CompiledPlan, Decision, Moment};
use crate::worker::Worker;

/// Longest value of a key (R-KEY-1); longer ones are not worth a digest.
const LONGEST_KEY: usize = 128;

/// Lets a request through as its plan says.
pub(super) async fn admit<'s>(
    caller: Authorized<'s>,
    worker: &Worker,
    gateway: &Gateway,
    arrived: &Arrived,
    record: &mut Record,
) -> Result<Authorized<'s>, Stop> {
    let result = decide(&caller.matched, worker, gateway, arrived, record).await;
    match result {
        Ok(()) => Ok(caller),
        Err(reject) => {
            if reject == Reject::InvalidApiKey {
                worker.metrics.count(Counter::KeyRefused);
            }
            admit::give_back(&caller.matched, worker);
            Err(Stop::of_route(reject, caller.matched.route()))
        }
    }
}

async fn decide(
    matched: &Matched<'_>,
    worker: &Worker,
    gateway: &Gateway,
    arrived: &Arrived,
    record: &mut Record,
) -> Result<(), Reject> {
    let stage = gateway.plans.of_stage(matched.served.slot.0).ok_or(Reject::InvalidApiKey)?;
    let own = arrived.moment(worker);
    let now = worker.usage.moment(own);
    let claimed = stage.by_claim().iter().find_map(|at| {
        let claim = at.plan.claim.as_deref()?;
        let Some(Caller::Token { verified, .. }) = &record.caller else { return None };
        let value = verified.claims().value(claim)?;
        // Customers are remembered, so their names have a bound.
        let short = value.len() <= LONGEST_KEY;
        Some((
            at,
            if short { format!("claim:{value}") } else { format!("claim:{}", digest(value.as_bytes()).to_hex()) },
        ))
    });
    let (at, who, terms) = match &claimed {
        Some((at, who)) => (*at, who.as_str(), at.plan.terms),
        None => {
            let value = value(matched.route().api_key_source, arrived, record);
            let value = value.filter(|value| value.len() <= LONGEST_KEY).ok_or(Reject::InvalidApiKey)?;
            let key = gateway.plans.key(&digest(value)).filter(|key| key.is_live(own.unix));
            let key = key.ok_or(Reject::InvalidApiKey)?;
            record.api_key_id = Some(key.source.clone());
            let at = stage.of_key(key).ok_or(Reject::InvalidApiKey)?;
            (at, &*key.source, key.terms(&at.plan.id, &at.plan.terms, now.unix))
        }
    };
    let throttle = at.routes.get(&*matched.route().key_text);
    let name = throttle.map(|_| route_name(matched, matched.route()));
    let route = throttle.zip(name.as_deref());
    let decision = worker.usage.admit(&at.plan, &terms, who, route, now).await;
    if at.plan.headers {
        record.rate_limit = Some(headers(&at.plan, &terms, worker, who, now));
    }
    let (counted, result) = match decision {
        Decision::Admit => (PlanResult::Allowed, Ok(())),
        Decision::Throttled => (PlanResult::Throttled, Err(Reject::TooManyRequests)),
        Decision::QuotaExceeded => (PlanResult::QuotaExceeded, Err(Reject::QuotaExceeded)),
        Decision::Unavailable => (PlanResult::Unavailable, Err(Reject::MeterUnavailable)),
    };
    worker.views.count_plan(&at.plan.id, counted);
    result
}

/// The value that a caller comes with (R-KEY-5, R-KEY-7).
fn value<'a>(source: ApiKeySource, arrived: &'a Arrived, record: &'a Record) -> Option<&'a [u8]> {
    match source {
        ApiKeySource::Header => {
            let mut values = arrived.head.headers.get_all("x-api-key").iter();
            // Which of two is meant nobody knows.
            values.next().filter(|_| values.next().is_none()).map(HeaderValue::as_bytes)
        }
        ApiKeySource::Authorizer => match &record.caller {
            Some(Caller::Function(answer)) => answer.usage_identifier_key().map(str::as_bytes),
            _ => None,
        },
        ApiKeySource::Unknown => None,
    }
}

/// The bucket of one route for one customer.
fn route_name(matched: &Matched<'_>, route: &Route) -> String {
    let stage = &matched.served.stage;
    format!("{}/{}/{}", stage.api.api_id, stage.stage_name, route.key_text)
}

/// `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers), of the quota if there is one, else of the throttle.
fn headers(
    plan: &CompiledPlan,
    terms: &Terms,
    worker: &Worker,
    who: &str,
    now: Moment,
) -> Box<(String, Option<String>)> {
    let mut policy = Vec::new();
    let mut state = None;
    if let (Some(quota), Some((remaining, reset))) = (&terms.quota, worker.usage.remaining(plan, terms, who, now)) {
        let window = quota.period.window(now.unix);
        policy.push(format!("\"quota\";q={};w={}", quota.limit_in(window), window.end - window.start));
        state = Some(format!("\"quota\";r={remaining};t={reset}"));
    }
    if let Some(rate) = &terms.rate
        && !rate.refuses_all()
    {
        // A full bucket, and how long it takes to fill.
        let seconds = (f64::from(rate.burst()) * rate.interval_us() / 1e6).ceil().max(1.0);
        policy.push(format!("\"throttle\";q={};w={seconds}", rate.burst()));
    }
    Box::new((policy.join(", "), state))
}
