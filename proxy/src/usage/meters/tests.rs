use futures::FutureExt;
use tollgate_engine::meter::{Period, Quota, Rate};

use super::*;

const DAY: i64 = 86_400;

fn plan(rate: Option<Rate>, limit: Option<u64>) -> CompiledPlan {
    let quota = limit.map(|limit| Quota { limit, period: Period::Day, offset: 0, created: None });
    let terms = Terms { rate, quota };
    CompiledPlan { id: "shop/gold".into(), terms, failure_mode: FailureMode::Local, headers: false, claim: None }
}

fn at(seconds: i64) -> Moment {
    #[expect(clippy::cast_precision_loss, reason = "small")]
    Moment { us: seconds as f64 * 1e6, unix: seconds }
}

fn admit(meters: &UsageMeters, plan: &CompiledPlan, who: &str, now: Moment) -> Decision {
    meters.admit(plan, &plan.terms, who, None, now).now_or_never().expect("this store answers at once")
}

/// All parts of the table are looked at.
fn sweep(meters: &UsageMeters, now: Moment) {
    for _ in 0..PARTS / SWEPT {
        meters.sweep(now);
    }
}

#[test]
fn the_silent_are_forgotten_when_their_bucket_is_full() {
    let meters = UsageMeters::new(StoreKind::Memory);
    // A token in 100 seconds.
    let plan = plan(Some(Rate::new(0.01, 2)), None);
    for who in 0..5000 {
        assert_eq!(admit(&meters, &plan, &who.to_string(), at(100)), Decision::Admit);
    }
    assert_eq!(meters.len(), 5000);
    assert_eq!(admit(&meters, &plan, "7", at(170)), Decision::Admit);
    sweep(&meters, at(170));
    assert_eq!(meters.len(), 5000, "buckets are not full");
    sweep(&meters, at(201));
    assert_eq!(meters.len(), 1, "but for the one that was used again");
    assert_eq!(admit(&meters, &plan, "7", at(201)), Decision::Admit, "its second token came back");
    assert_eq!(admit(&meters, &plan, "7", at(201)), Decision::Throttled);
    sweep(&meters, at(1000));
    assert!(meters.is_empty());
}

#[test]
fn quotas_that_only_memory_knows_are_kept_until_their_period_ends() {
    let meters = UsageMeters::new(StoreKind::Memory);
    let plan = plan(None, Some(2));
    assert_eq!(admit(&meters, &plan, "alice", at(DAY)), Decision::Admit);
    assert_eq!(admit(&meters, &plan, "alice", at(DAY)), Decision::Admit);
    sweep(&meters, at(2 * DAY - 1));
    assert_eq!(admit(&meters, &plan, "alice", at(2 * DAY - 1)), Decision::QuotaExceeded);
    sweep(&meters, at(2 * DAY));
    assert!(meters.is_empty());
}

/// Four requests a second, the last two of which share a lease that is given back in part; the period began days ago.
#[test]
fn an_orderly_end_gives_back_what_was_not_used_of_a_month() {
    let directory = tempfile::tempdir().unwrap();
    let open = || UsageMeters::new(StoreKind::in_directory(directory.path()).unwrap());
    let mut plan = plan(None, Some(100));
    plan.terms.quota = plan.terms.quota.map(|quota| Quota { period: Period::Month, ..quota });
    let day = 20 * DAY;
    let meters = open();
    for request in 0..43 {
        assert_eq!(admit(&meters, &plan, "alice", at(day + request / 8)), Decision::Admit);
    }
    meters.settle_at(day + 6);
    let meters = open();
    let passed = (0..100).filter(|_| admit(&meters, &plan, "alice", at(day + 7)) == Decision::Admit).count();
    assert_eq!(passed, 57);
}

/// The clock was a day ahead, the process ended, and started with the right clock: today's count is what was used today, under whichever date.
#[test]
fn a_file_written_by_a_clock_that_was_ahead() {
    let directory = tempfile::tempdir().unwrap();
    let open = || UsageMeters::new(StoreKind::in_directory(directory.path()).unwrap());
    let plan = plan(None, Some(10));
    let pass = |meters: &UsageMeters, times: usize, now: Moment| {
        (0..times).filter(|_| admit(meters, &plan, "alice", now) == Decision::Admit).count()
    };
    let (today, tomorrow) = (at(20 * DAY), at(21 * DAY));
    let meters = open();
    assert_eq!((pass(&meters, 4, today), pass(&meters, 3, tomorrow)), (4, 3));
    meters.settle_at(tomorrow.unix);
    let meters = open();
    assert_eq!(pass(&meters, 1, today), 1);
    meters.settle_at(today.unix);
    // And once more, with what was written then.
    assert_eq!(pass(&open(), 9, today), 2);
    assert_eq!(pass(&open(), 19, tomorrow), 10);
}

#[test]
fn quotas_in_a_file_are_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let meters = UsageMeters::telling(StoreKind::in_directory(directory.path()).unwrap(), 0);
    let plan = plan(None, Some(40));
    for second in 0..30 {
        assert_eq!(admit(&meters, &plan, "alice", at(DAY + second)), Decision::Admit);
    }
    let (left, _) = meters.remaining(&plan, &plan.terms, "alice", at(DAY + 30)).expect("there is a quota");
    assert_eq!(left, 10);
    sweep(&meters, at(DAY + 600));
    assert!(meters.is_empty());
    for _ in 0..10 {
        assert_eq!(admit(&meters, &plan, "alice", at(DAY + 601)), Decision::Admit);
    }
    assert_eq!(admit(&meters, &plan, "alice", at(DAY + 601)), Decision::QuotaExceeded);
}

#[test]
fn who_used_a_quota_is_told_until_its_period_ends() {
    let directory = tempfile::tempdir().unwrap();
    let meters = UsageMeters::new(StoreKind::in_directory(directory.path()).unwrap());
    assert_eq!(admit(&meters, &plan(None, Some(40)), "alice", at(DAY)), Decision::Admit);
    sweep(&meters, at(2 * DAY - 1));
    let mut told = Vec::new();
    meters.each_quota(2 * DAY - 1, |customer, _, used, _| told.push((customer.who.clone(), used)));
    assert_eq!(told, [("alice".into(), 1)]);
    sweep(&meters, at(2 * DAY));
    assert!(meters.is_empty());
}

/// Proves R-PLAN-5.
#[test]
fn a_year_of_quotas() {
    let start = 1_767_225_600; // 2026-01-01, a Thursday
    for (period, windows) in [(Period::Day, 365), (Period::Week, 53), (Period::Month, 12)] {
        let directory = tempfile::tempdir().unwrap();
        for store in [StoreKind::Memory, StoreKind::in_directory(directory.path()).unwrap()] {
            let meters = UsageMeters::new(store);
            let mut plan = plan(None, None);
            plan.terms.quota = Some(Quota { limit: 7, period, offset: 3, created: Some(start + 5 * 3600) });
            let mut admitted = 0;
            // Ten requests in a row, every six hours: more than any period allows.
            for quarter in 0..365 * 4 {
                let now = at(start + quarter * 6 * 3600);
                sweep_some(&meters, now);
                let passed = (0..10).filter(|_| admit(&meters, &plan, "alice", now) == Decision::Admit).count();
                let window = period.window(now.unix);
                let first_of_window = quarter == 0 || period.window(now.unix - 6 * 3600) != window;
                let allowed = if window.contains(start) { 4 } else { 7 };
                assert_eq!(passed, if first_of_window { allowed } else { 0 }, "{period:?} {quarter}");
                admitted += passed;
            }
            assert_eq!(admitted, windows * 7 - 3, "{period:?}");
        }
    }
}

fn sweep_some(meters: &UsageMeters, now: Moment) {
    for _ in 0..16 {
        meters.sweep(now);
    }
}
