//! Accounts and meters together: what any number of proxies admit, whatever happens between them.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const SECOND: f64 = 1e6;
const DAY: i64 = 86_400;
const YEAR_2026: i64 = 1_767_225_600;
const LEASES: Batching = Batching { tokens_us: 0.2 * SECOND, quota_us: SECOND, dry_us: SECOND };

fn rate(per_second: f64, burst: u32) -> Terms {
    Terms { rate: Some(Rate::new(per_second, burst)), quota: None }
}

fn quota(limit: u64, period: Period) -> Quota {
    Quota { limit, period, offset: 0, created: None }
}

fn quota_terms(limit: u64) -> Terms {
    Terms { rate: None, quota: Some(quota(limit, Period::Day)) }
}

/// A request at a proxy whose store answers at once.
fn request(
    meter: &mut Meter,
    account: &mut Account,
    terms: &Terms,
    batching: &Batching,
    now: f64,
    unix: i64,
) -> Outcome {
    match meter.admit(terms, now, unix) {
        Outcome::AskStore => {
            let ask = meter.ask(terms, batching, now, unix);
            let grant = account.serve(&ask, now);
            meter.credit(&ask, &grant, batching, now);
            match meter.admit(terms, now, unix) {
                // The store had none, and may be asked again at once.
                Outcome::AskStore if terms.quota.is_some() && meter.held().quota == 0 => Outcome::QuotaExceeded,
                Outcome::AskStore => Outcome::Throttled,
                other => other,
            }
        }
        other => other,
    }
}

/// Proves R-THR-1, R-PLAN-6.
#[test]
fn a_bucket_lets_its_burst_through_and_then_its_rate() {
    let (mut meter, mut account, terms) = (Meter::default(), Account::default(), rate(2.0, 3));
    let mut at = |seconds: f64| request(&mut meter, &mut account, &terms, &Batching::NONE, SECOND * seconds, 0);
    assert_eq!(
        [at(10.0), at(10.0), at(10.0), at(10.0)],
        [Outcome::Admit, Outcome::Admit, Outcome::Admit, Outcome::Throttled]
    );
    assert_eq!([at(10.4), at(10.5), at(10.6)], [Outcome::Throttled, Outcome::Admit, Outcome::Throttled]);
    assert_eq!(
        [at(60.0), at(60.0), at(60.0), at(60.0)],
        [Outcome::Admit, Outcome::Admit, Outcome::Admit, Outcome::Throttled]
    );
}

/// Proves R-PLAN-5.
#[test]
fn a_quota_allows_exactly_its_limit_in_each_window() {
    let (mut meter, mut account, terms) = (Meter::default(), Account::default(), quota_terms(3));
    for day in 0..3 {
        let outcomes: Vec<Outcome> =
            (0..5).map(|_| request(&mut meter, &mut account, &terms, &LEASES, SECOND, YEAR_2026 + day * DAY)).collect();
        let admitted = outcomes.iter().filter(|outcome| **outcome == Outcome::Admit).count();
        assert_eq!((admitted, outcomes[4]), (3, Outcome::QuotaExceeded));
    }
}

/// Proves R-PLAN-7.
#[test]
fn a_throttled_request_uses_no_quota_and_an_exceeded_quota_no_tokens() {
    let terms = Terms { rate: Some(Rate::new(1e-6, 1)), quota: Some(quota(5, Period::Day)) };
    let (mut meter, mut account) = (Meter::default(), Account::default());
    let outcomes: Vec<Outcome> =
        (0..3).map(|_| request(&mut meter, &mut account, &terms, &Batching::NONE, SECOND, YEAR_2026)).collect();
    assert_eq!(outcomes, [Outcome::Admit, Outcome::Throttled, Outcome::Throttled]);
    assert_eq!(account.quota().1 - meter.held().quota, 1);

    let terms = Terms { rate: Some(Rate::new(1e-6, 2)), quota: Some(quota(1, Period::Day)) };
    let (mut meter, mut account) = (Meter::default(), Account::default());
    let mut at = |unix| request(&mut meter, &mut account, &terms, &Batching::NONE, SECOND, unix);
    let outcomes = [at(YEAR_2026), at(YEAR_2026), at(YEAR_2026), at(YEAR_2026 + DAY), at(YEAR_2026 + DAY)];
    use Outcome::{Admit, QuotaExceeded, Throttled};
    assert_eq!(outcomes, [Admit, QuotaExceeded, QuotaExceeded, Admit, Throttled], "the second token was still there");
}

#[test]
fn an_undone_admission_consumes_nothing() {
    let terms = Terms { rate: Some(Rate::new(1e-6, 1)), quota: Some(quota(1, Period::Day)) };
    let (mut meter, mut account) = (Meter::default(), Account::default());
    assert_eq!(request(&mut meter, &mut account, &terms, &Batching::NONE, SECOND, YEAR_2026), Outcome::Admit);
    meter.undo(&terms);
    assert_eq!(request(&mut meter, &mut account, &terms, &Batching::NONE, SECOND, YEAR_2026), Outcome::Admit);
    assert_ne!(request(&mut meter, &mut account, &terms, &Batching::NONE, SECOND, YEAR_2026), Outcome::Admit);
}

/// Proves H-THR-4.
#[test]
fn zeros_refuse_everything() {
    for terms in [rate(0.0, 5), rate(5.0, 0), rate(-1.0, 5), rate(f64::NAN, 5)] {
        assert_eq!(Meter::default().admit(&terms, SECOND, 0), Outcome::Throttled);
    }
    assert_eq!(Meter::default().admit(&quota_terms(0), SECOND, 0), Outcome::QuotaExceeded);
}

/// A change of a plan never refills a bucket (promise P6), and takes effect at once.
#[test]
fn another_limit_keeps_the_level() {
    let (mut meter, mut account) = (Meter::default(), Account::default());
    let slow = rate(0.001, 2);
    let mut at =
        |terms: &Terms, seconds| request(&mut meter, &mut account, terms, &Batching::NONE, SECOND * seconds, 0);
    assert_eq!([at(&slow, 1.0), at(&slow, 1.0), at(&slow, 1.0)], [Outcome::Admit, Outcome::Admit, Outcome::Throttled]);
    let fast = rate(1.0, 100);
    assert_eq!(
        [at(&fast, 1.0), at(&fast, 2.0), at(&fast, 2.0)],
        [Outcome::Throttled, Outcome::Admit, Outcome::Throttled]
    );
    assert_eq!((0..300).filter(|_| at(&fast, 500.0) == Outcome::Admit).count(), 100);
}

/// Proves R-PLAN-5.
#[test]
fn the_offset_counts_in_the_first_window_only() {
    let quota = Quota { limit: 10, period: Period::Month, offset: 7, created: Some(YEAR_2026 + 3 * DAY) };
    let limit = |unix| quota.limit_in(quota.period.window(unix));
    assert_eq!([limit(YEAR_2026), limit(YEAR_2026 + 30 * DAY), limit(YEAR_2026 + 31 * DAY)], [3, 3, 10]);
    let small = Quota { offset: 20, ..quota };
    assert_eq!(small.limit_in(small.period.window(YEAR_2026)), 0);
}

/// A year of requests every ten minutes, with offsets: each window admits exactly its limit. Proved for three proxies at once.
///
/// Proves R-PLAN-5.
#[test]
fn a_year_of_quotas() {
    for (period, limit, windows) in [(Period::Day, 100, 365), (Period::Week, 700, 53), (Period::Month, 3000, 12)] {
        let quota = Quota { limit, period, offset: 40, created: Some(YEAR_2026 + 5000) };
        let terms = Terms { rate: None, quota: Some(quota) };
        let mut account = Account::default();
        let mut meters = [Meter::default(); 3];
        let mut admitted: BTreeMap<i64, u64> = BTreeMap::new();
        for step in 0..365 * 144_i64 {
            let unix = YEAR_2026 + step * 600;
            let meter = &mut meters[usize::try_from(step % 3).unwrap()];
            #[expect(clippy::cast_precision_loss, reason = "a year is short")]
            let now = step as f64 * 600.0 * SECOND;
            if request(meter, &mut account, &terms, &LEASES, now, unix) == Outcome::Admit {
                *admitted.entry(period.window(unix).start).or_default() += 1;
            }
        }
        assert_eq!(admitted.len(), windows);
        for (index, (start, count)) in admitted.iter().enumerate() {
            let whole = start + i64::try_from(limit).unwrap() * 600 <= period.window(*start).end;
            let cut = index == 0 && *start < YEAR_2026 || index == windows - 1 && period == Period::Week;
            if whole && !cut {
                assert_eq!(*count, if index == 0 { limit - 40 } else { limit }, "{period:?} {start}");
            } else {
                assert!(*count <= limit, "{period:?} {start}: {count}");
            }
        }
    }
}

/// What happens to the proxies of a fleet.
#[derive(Clone, Debug)]
enum Event {
    Request(usize),
    /// Asks and takes the answer later, or never.
    Fetch(usize),
    Answer(usize),
    GiveBack(usize),
    /// The proxy is gone with what it held; a new one starts.
    Crash(usize),
    Wait(u32),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        20 => (0..4_usize).prop_map(Event::Request),
        2 => (0..4_usize).prop_map(Event::Fetch),
        2 => (0..4_usize).prop_map(Event::Answer),
        1 => (0..4_usize).prop_map(Event::GiveBack),
        1 => (0..4_usize).prop_map(Event::Crash),
        6 => (0..400_000_u32).prop_map(Event::Wait),
    ];
    proptest::collection::vec(event, 1..400)
}

/// Runs events; returns admissions and seconds, and what crashes lost.
fn play(terms: &Terms, events: &[Event]) -> (u64, f64, u64, Account) {
    let (mut account, mut meters, start) = (Account::default(), [Meter::default(); 4], 5.0 * SECOND);
    let mut pending: [Option<(Ask, Grant)>; 4] = [None; 4];
    let (mut now, mut admitted, mut lost) = (start, 0, 0);
    for event in events {
        match *event {
            Event::Request(n) => {
                if request(&mut meters[n], &mut account, terms, &LEASES, now, YEAR_2026) == Outcome::Admit {
                    admitted += 1;
                }
            }
            Event::Fetch(n) => {
                if pending[n].is_none() && meters[n].is_low(terms, now) {
                    let ask = meters[n].ask(terms, &LEASES, now, YEAR_2026);
                    pending[n] = Some((ask, account.serve(&ask, now)));
                }
            }
            Event::Answer(n) => {
                if let Some((ask, grant)) = pending[n].take() {
                    meters[n].credit(&ask, &grant, &LEASES, now);
                }
            }
            Event::GiveBack(n) => {
                let ask = meters[n].give_back(terms, YEAR_2026);
                account.serve(&ask, now);
                assert_eq!(meters[n].held(), Held::default());
            }
            Event::Crash(n) => {
                let answer = pending[n].take().and_then(|(_, grant)| grant.quota).map_or(0, |grant| grant.granted);
                lost += meters[n].held().quota + answer;
                meters[n] = Meter::default();
            }
            Event::Wait(us) => now += f64::from(us),
        }
    }
    (admitted, (now - start) / SECOND, lost, account)
}

proptest! {
    /// Admitted is never above rate × time + burst.
    #[test]
    fn a_rate_holds_under_any_interleaving(events in events(), per_second in 0.5..2000.0_f64, burst in 1..200_u32) {
        let (admitted, seconds, ..) = play(&rate(per_second, burst), &events);
        #[expect(clippy::cast_precision_loss, reason = "there are few")]
        let admitted = admitted as f64;
        prop_assert!(admitted <= per_second * seconds + f64::from(burst) + 1e-3, "{admitted} in {seconds} s");
    }

    /// Admitted is never above the limit, and what is missing is what crashes lost.
    #[test]
    fn a_quota_is_exact_under_any_interleaving(mut events in events(), limit in 1..300_u64) {
        // In the end all leases come home and one proxy takes what is left.
        for n in 0..4 {
            events.extend([Event::Answer(n), Event::GiveBack(n)]);
        }
        for _ in 0..1200 {
            events.extend([Event::Request(0), Event::Wait(1_000_001)]);
        }
        let (admitted, _, lost, account) = play(&quota_terms(limit), &events);
        prop_assert_eq!(admitted + lost, limit);
        prop_assert_eq!(account.quota().1, limit);
    }
}
