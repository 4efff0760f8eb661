//! What customers have used, for controllers and the admin port.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use tollgate_engine::snapshot::{KeyUsage, PlanUsage, UsageReport};

use super::UsageMeters;

/// Customers that are told of all plans together, those that used most of each.
const MOST_KEYS: usize = 20_000;
/// And of one plan.
const MOST_OF_PLAN: usize = 1000;
/// Plans that are told, in the order of their names.
const MOST_PLANS: usize = 1000;

impl UsageMeters {
    /// Usage at this moment. It looks at every customer: not for threads that have something else to do.
    pub fn report_now(&self) -> UsageReport {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.report(self.unix(i64::try_from(since_1970.as_secs()).unwrap_or(i64::MAX)))
    }

    /// Usage in the periods that hold this second since 1970.
    pub(crate) fn report(&self, unix: i64) -> UsageReport {
        let mut plans: HashMap<Box<str>, PlanUsage> = HashMap::new();
        self.each_quota(unix, |customer, window, used, limit| {
            let plan = plans.entry(customer.plan.clone()).or_insert_with(|| PlanUsage {
                plan: customer.plan.as_ref().to_owned(),
                period_start: window.start,
                period_end: window.end,
                limit,
                ..PlanUsage::default()
            });
            plan.limit = plan.limit.min(limit);
            // A plan whose period changed while some customers made no request since.
            if used == 0 || window.start != plan.period_start {
                return;
            }
            plan.used = plan.used.saturating_add(used);
            plan.customers += 1;
            plan.keys.push(KeyUsage { key: customer.who.as_ref().to_owned(), used, limit });
        });
        let mut plans: Vec<PlanUsage> = plans.into_values().collect();
        plans.sort_by(|a, b| a.plan.cmp(&b.plan));
        plans.truncate(MOST_PLANS);
        let most = (MOST_KEYS / plans.len().max(1)).min(MOST_OF_PLAN);
        for plan in &mut plans {
            plan.keys.sort_by(|a, b| b.used.cmp(&a.used).then_with(|| a.key.cmp(&b.key)));
            plan.keys.truncate(most);
        }
        UsageReport { shared: self.is_shared(), plans }
    }
}

#[cfg(test)]
mod tests {
    use tollgate_engine::meter::{Period, Quota, Terms};
    use tollgate_engine::snapshot::FailureMode;

    use super::super::{CompiledPlan, Decision, Moment, StoreKind};
    use super::*;

    const DAY: i64 = 86_400;

    fn plan(id: &str, limit: u64) -> CompiledPlan {
        CompiledPlan {
            id: id.into(),
            terms: Terms { rate: None, quota: Some(Quota { limit, period: Period::Day, offset: 0, created: None }) },
            failure_mode: FailureMode::Local,
            headers: false,
            claim: None,
        }
    }

    async fn admit(meters: &UsageMeters, plan: &CompiledPlan, who: &str, now: Moment) -> Decision {
        meters.admit(plan, &plan.terms, who, None, now).await
    }

    #[tokio::test]
    async fn who_used_most_is_told_first_and_a_new_period_begins_with_nothing() {
        let meters = UsageMeters::new(StoreKind::Memory);
        let now = Moment { us: 1e6, unix: 20_000 * DAY };
        for (who, count) in [("a/bob", 2), ("a/alice", 3), ("a/idle", 0)] {
            for _ in 0..count {
                assert_eq!(admit(&meters, &plan("a/gold", 3), who, now).await, Decision::Admit);
            }
        }
        assert_eq!(admit(&meters, &plan("a/gold", 3), "a/alice", now).await, Decision::QuotaExceeded);
        admit(&meters, &plan("a/zinc", 9), "a/alice", now).await;
        let report = meters.report(now.unix + 5);
        let gold = PlanUsage {
            plan: "a/gold".into(),
            period_start: now.unix,
            period_end: now.unix + DAY,
            limit: 3,
            used: 5,
            customers: 2,
            keys: vec![
                KeyUsage { key: "a/alice".into(), used: 3, limit: 3 },
                KeyUsage { key: "a/bob".into(), used: 2, limit: 3 },
            ],
        };
        assert_eq!((report.shared, report.plans.len(), &report.plans[0]), (false, 2, &gold));
        let tomorrow = meters.report(now.unix + DAY);
        assert_eq!(
            (tomorrow.plans[0].used, tomorrow.plans[0].period_start, tomorrow.plans[0].keys.len()),
            (0, now.unix + DAY, 0)
        );
    }
}
