use super::*;

/// A Saturday.
const TODAY: i64 = 20_000 * DAY;

fn plan(used: &[(&str, u64)]) -> PlanUsage {
    PlanUsage {
        plan: "shop/gold".into(),
        period_start: TODAY,
        period_end: TODAY + 30 * DAY,
        limit: 100,
        used: used.iter().map(|(_, used)| used).sum(),
        customers: used.len() as u64,
        keys: used.iter().map(|(key, used)| KeyUsage { key: format!("shop/{key}"), used: *used, limit: 100 }).collect(),
    }
}

fn report(shared: bool, plan: PlanUsage) -> UsageReport {
    UsageReport { shared, plans: vec![plan] }
}

fn used(usage: &BTreeMap<String, PlanUsage>) -> (u64, u64, Vec<(&str, u64)>) {
    let plan = &usage["shop/gold"];
    (plan.used, plan.customers, plan.keys.iter().map(|key| (key.key.as_str(), key.used)).collect())
}

#[test]
fn shared_counts_are_one_count_and_others_are_added() {
    let one = report(true, plan(&[("alice", 5), ("bob", 3)]));
    let other = report(true, plan(&[("alice", 7)]));
    assert_eq!(used(&together([&one, &other])), (10, 2, vec![("shop/alice", 7), ("shop/bob", 3)]));
    let one = report(false, plan(&[("alice", 5), ("bob", 3)]));
    let other = report(false, plan(&[("alice", 7)]));
    assert_eq!(used(&together([&one, &other])), (15, 2, vec![("shop/alice", 12), ("shop/bob", 3)]));
}

#[test]
fn the_latest_period_counts() {
    let old = report(false, PlanUsage { period_start: TODAY - DAY, period_end: TODAY, ..plan(&[("alice", 90)]) });
    let new = report(false, plan(&[("alice", 1)]));
    for order in [[&old, &new], [&new, &old]] {
        assert_eq!(used(&together(order)), (1, 1, vec![("shop/alice", 1)]));
    }
}

#[test]
fn a_report_is_cut_to_its_bound() {
    let many = PlanUsage { keys: vec![KeyUsage::default(); 15_000], ..plan(&[]) };
    let report = bounded(UsageReport { shared: false, plans: vec![many; 3] });
    assert_eq!(report.plans.iter().map(|plan| plan.keys.len()).collect::<Vec<_>>(), [15_000, 5_000, 0]);
}

fn at(day: i64) -> Timestamp {
    Timestamp::from_second(TODAY + day * DAY + 60).expect("a time")
}

/// The pairs of a customer, and the day of the first.
fn days(status: &PlanUsageStatus, key: &str) -> (String, Vec<[u64; 2]>) {
    let found = status.keys.iter().find(|customer| customer.key == key).expect("it is told");
    (found.from.clone(), found.days.clone())
}

/// Proves R-PLAN-12.
#[test]
fn each_day_has_what_was_used_and_what_remained() {
    let first = fold(None, &plan(&[("alice", 10)]), "shop", at(0));
    assert_eq!(days(&first, "alice"), ("2024-10-04".into(), vec![[10, 90]]));
    let more = fold(Some(&first), &plan(&[("alice", 15), ("bob", 1)]), "shop", at(0));
    assert_eq!(days(&more, "alice").1, [[15, 85]]);
    let later = fold(Some(&more), &plan(&[("alice", 40)]), "shop", at(3));
    assert_eq!(days(&later, "alice").1, [[15, 85], [0, 85], [0, 85], [25, 60]]);
    assert_eq!(days(&later, "bob").1, [[1, 99], [0, 99], [0, 99], [0, 99]], "who is told of no more keeps its days");
    assert_eq!((later.used, later.keys[0].remaining), (40, 60));
    // In the next period nothing is used, and everything remains.
    let next = PlanUsage { period_start: TODAY + 5 * DAY, period_end: TODAY + 35 * DAY, ..plan(&[("alice", 2)]) };
    let next = fold(Some(&later), &next, "shop", at(6));
    assert_eq!(days(&next, "alice").1[3..], [[25, 60], [0, 60], [0, 100], [2, 98]]);
    assert_eq!(next.keys.iter().map(|key| key.used).collect::<Vec<_>>(), [2, 0]);
}

#[test]
fn a_status_is_bounded() {
    let names: Vec<String> = (0..150).map(|number| format!("key-{number}")).collect();
    let many: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 1)).collect();
    let mut status = fold(None, &plan(&many), "shop", at(0));
    for day in 1..60 {
        let all: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 1 + day)).collect();
        status = fold(Some(&status), &plan(&all), "shop", at(i64::try_from(day).expect("small")));
    }
    assert_eq!((status.keys.len(), status.customers), (100, 150));
    assert!(status.keys.iter().all(|key| key.days.len() == 31 && key.from == "2024-11-02"));
    assert!(serde_json::to_string(&status).expect("JSON").len() < 64 << 10);
    // After a long silence nothing is left of the days.
    let silent = fold(Some(&status), &plan(&[("key-0", 70)]), "shop", at(200));
    assert_eq!(days(&silent, "key-0").1, [[10, 30]]);
    assert_eq!(silent.keys.len(), 1);
}
