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
            let grant = account.serve(&ask, now, unix);
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

/// However late a token comes back, no more than a full bucket passes at once.
#[test]
fn a_token_that_comes_back_late_does_not_overfill_the_bucket() {
    let (mut meter, mut account, terms) = (Meter::default(), Account::default(), rate(1.0, 2));
    let all_at_once = Batching { tokens_us: 3.0 * SECOND, ..LEASES };
    let mut at = |meter: &mut Meter, seconds: f64| {
        request(meter, &mut account, &terms, &all_at_once, SECOND * seconds, 0) == Outcome::Admit
    };
    assert!(at(&mut meter, 10.0) && at(&mut meter, 10.0));
    // Meanwhile the bucket fills up again.
    assert!(at(&mut meter, 14.0));
    meter.undo(&terms);
    meter.undo(&terms);
    meter.undo(&terms);
    assert!(meter.ready() <= 2, "{}", meter.ready());
}

/// Who found nothing hears of what others give back within a second, however slowly tokens come.
#[test]
fn tokens_that_others_give_back_are_found() {
    let (mut account, terms) = (Account::default(), rate(0.001, 4));
    let (mut holds, mut waits) = (Meter::default(), Meter::default());
    let at = |meter: &mut Meter, account: &mut Account, seconds: f64| {
        request(meter, account, &terms, &LEASES, SECOND * seconds, 0)
    };
    for _ in 0..3 {
        assert_eq!(at(&mut holds, &mut account, 10.0), Outcome::Admit);
    }
    assert_eq!(holds.held().tokens, 1, "it leased for a growing demand");
    assert_eq!(at(&mut waits, &mut account, 10.0), Outcome::Throttled);
    let back = holds.give_back(&terms, 0);
    account.serve(&back, 10.1 * SECOND, 0);
    assert_eq!(at(&mut waits, &mut account, 10.5), Outcome::Throttled);
    assert_eq!(at(&mut waits, &mut account, 11.0), Outcome::Admit);
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
                    pending[n] = Some((ask, account.serve(&ask, now, YEAR_2026)));
                }
            }
            Event::Answer(n) => {
                if let Some((ask, grant)) = pending[n].take() {
                    meters[n].credit(&ask, &grant, &LEASES, now);
                }
            }
            Event::GiveBack(n) => {
                let ask = meters[n].give_back(terms, YEAR_2026);
                account.serve(&ask, now, YEAR_2026);
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

/// What a proxy did in one exchange with the store.
fn lease(meter: &mut Meter, account: &mut Account, terms: &Terms, now: f64, unix: i64) -> u64 {
    let before = meter.held().quota;
    let ask = meter.ask(terms, &LEASES, now, unix);
    meter.credit(&ask, &account.serve(&ask, now, unix), &LEASES, now);
    meter.held().quota - before
}

/// Uses up to `most`, one after the other; says how many passed.
fn use_up(meter: &mut Meter, account: &mut Account, terms: &Terms, now: f64, unix: i64, most: usize) -> usize {
    (0..most).filter(|_| request(meter, account, terms, &Batching::NONE, now, unix) == Outcome::Admit).count()
}

/// The clock is set a day ahead and back again: neither is a quota sold twice on the day that it is, nor does anybody wait for tomorrow.
#[test]
fn a_clock_that_is_set_moves_no_quota() {
    let terms = quota_terms(100);
    for step in [1, DAY, 40 * DAY] {
        let (mut meter, mut account) = (Meter::default(), Account::default());
        let noon = YEAR_2026 + DAY / 2;
        let mut at = |unix, most| use_up(&mut meter, &mut account, &terms, SECOND, unix, most);
        assert_eq!(at(noon, 60), 60);
        assert_eq!(at(noon + step, 30), 30);
        assert_eq!(at(noon + 1, 200), 10, "a step of {step} s");
        assert_eq!(at(noon + DAY, 200), 100, "the day after has its own");
    }
}

/// A clock that is set back where a period began does not open the last one again, and where it goes back by a period takes it up.
#[test]
fn a_clock_that_is_set_back_over_a_boundary() {
    let terms = quota_terms(100);
    let (mut meter, mut account) = (Meter::default(), Account::default());
    let midnight = YEAR_2026 + DAY;
    let mut at = |unix, most| use_up(&mut meter, &mut account, &terms, SECOND, unix, most);
    assert_eq!(at(midnight - 1, 70), 70);
    assert_eq!(at(midnight, 40), 40);
    assert_eq!(at(midnight - 1, 10), 10, "an instant too early: counted in the present period");
    assert_eq!(at(midnight, 200), 50);
    let (mut meter, mut account) = (Meter::default(), Account::default());
    let mut at = |unix, most| use_up(&mut meter, &mut account, &terms, SECOND, unix, most);
    assert_eq!((at(midnight - 10, 70), at(midnight, 20)), (70, 20));
    assert_eq!(at(midnight - 60, 200), 10, "ninety were used before midnight");
    assert_eq!(at(midnight, 200), 100);
}

/// A proxy whose clock is a day, or a year, ahead of the store's gets nothing, and takes nothing from the others.
#[test]
fn a_proxy_whose_clock_is_wrong_spoils_nothing() {
    let terms = quota_terms(100);
    let (mut wrong, mut right, mut account) = (Meter::default(), Meter::default(), Account::default());
    for ahead in [DAY, 365 * DAY, -DAY] {
        assert_eq!(use_up(&mut right, &mut account, &terms, SECOND, YEAR_2026, 10), 10);
        let ask = wrong.ask(&terms, &LEASES, SECOND, YEAR_2026 + ahead);
        assert_eq!(account.serve(&ask, SECOND, YEAR_2026).quota.map(|grant| grant.granted), Some(0), "{ahead}");
        assert_eq!(account.quota().0, YEAR_2026);
    }
    assert_eq!(use_up(&mut right, &mut account, &terms, SECOND, YEAR_2026, 200), 70);
}

/// Another period begins a new count, also when it is a longer one.
#[test]
fn a_longer_period_begins_at_once() {
    let month = Terms { rate: None, quota: Some(quota(50, Period::Month)) };
    let (mut meter, mut account, unix) = (Meter::default(), Account::default(), YEAR_2026 + 20 * DAY);
    assert_eq!(use_up(&mut meter, &mut account, &quota_terms(30), SECOND, unix, 99), 30);
    assert_eq!(use_up(&mut meter, &mut account, &month, SECOND, unix, 99), 50);
    assert_eq!(use_up(&mut meter, &mut account, &quota_terms(30), SECOND, unix, 99), 30);
}

/// The clock of buckets is set: back, nobody waits for it to come round again; ahead, a full bucket is the most that it gives.
#[test]
fn a_clock_that_is_set_neither_blocks_a_bucket_nor_fills_it_twice() {
    let terms = rate(1.0, 5);
    let day = 86_400.0 * SECOND;
    for step in [-day, -60.0 * SECOND, 60.0 * SECOND, day] {
        let mut account = Account::default();
        // Meters keep a clock of their own, so each ask comes from a new one.
        let mut ready = |now: f64, want| {
            let rate = Rate::new(1.0, 5);
            let ask = RateAsk { rate, give_back: 0, want, ahead_us: 0.0 };
            let grant = account.serve(&Ask { rate: Some(ask), quota: None }, now, 0).rate;
            grant.map_or(0, |grant| grant.ready)
        };
        let noon = 2.0 * day;
        assert_eq!(ready(noon, 9), 5, "{terms:?}");
        assert_eq!(ready(noon + 2.0 * SECOND, 9), 2);
        let refill = if step > 0.0 { 5 } else { 0 };
        assert_eq!(ready(noon + step, 9), refill, "a step of {step} us");
        assert_eq!(ready(noon + step + 3.0 * SECOND, 9), 3, "a step of {step} us");
    }
}

/// Four proxies over midnight, under load: the limit before, and the limit after, to the last unit.
#[test]
fn a_boundary_under_load_is_exact() {
    let (limit, midnight) = (500_u64, YEAR_2026 + DAY);
    let terms = quota_terms(limit);
    let (mut account, mut meters) = (Account::default(), [Meter::default(); 4]);
    let mut admitted = BTreeMap::<i64, u64>::new();
    for tick in 0..8_000_u32 {
        let ms = f64::from(tick);
        let unix = midnight - 4 + i64::from(tick / 1000);
        let meter = &mut meters[(tick % 4) as usize];
        if request(meter, &mut account, &terms, &LEASES, SECOND + ms * 1e3, unix) == Outcome::Admit {
            *admitted.entry(terms.quota.expect("there is one").period.window(unix).start).or_default() += 1;
        }
    }
    assert_eq!(admitted, BTreeMap::from([(YEAR_2026, limit), (midnight, limit)]));
}

/// The store is emptied, or an older copy is brought back: proxies know what was used, so no quota is sold twice.
#[test]
fn a_store_that_forgot_is_told() {
    let terms = quota_terms(1000);
    for copied in [false, true] {
        let (mut meters, mut account, mut used) = ([Meter::default(); 3], Account::default(), 0);
        let mut copy = Account::default();
        for round in 0..100_u32 {
            let meter = &mut meters[(round % 3) as usize];
            let now = SECOND * f64::from(round + 1);
            used += use_up(meter, &mut account, &terms, now, YEAR_2026, 3) as u64;
            if round == 50 && copied {
                copy = account;
            }
        }
        account = copy;
        let now = 200.0 * SECOND;
        // Of an empty store it does not matter who comes first; of a copy nobody can tell from what is there that it is one.
        let mut stranger = Meter::default();
        if !copied {
            used += lease(&mut stranger, &mut account, &terms, now, YEAR_2026);
        }
        for meter in &mut meters {
            used += use_up(meter, &mut account, &terms, now, YEAR_2026, 5) as u64;
        }
        if copied {
            used += lease(&mut stranger, &mut account, &terms, now, YEAR_2026);
        }
        assert_eq!(account.quota().1 - meters.iter().map(|meter| meter.held().quota).sum::<u64>(), used, "{copied}");
        used += use_up(&mut meters[0], &mut account, &terms, now, YEAR_2026, 2000) as u64;
        let held: u64 = meters[1..].iter().map(|meter| meter.held().quota).sum();
        assert_eq!(used + held, 1000, "{copied}");
    }
}
