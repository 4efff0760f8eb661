use proptest::prelude::*;

use super::*;

const SECOND: u64 = 1_000_000_000;

fn settings(rate: Option<f64>, burst: Option<u32>) -> RouteSettings {
    RouteSettings { throttling_rate_limit: rate, throttling_burst_limit: burst, detailed_metrics_enabled: None }
}

/// Proves H-THR-1.
#[test]
fn a_full_bucket_gives_burst_tokens_and_then_one_by_one() {
    let limit = Limit::new(1.0, 2);
    let bucket = Bucket::new();
    let now = 5 * SECOND;
    let passed = (0..4).filter(|_| bucket.take(&limit, now)).count();
    assert_eq!(passed, 2);
    assert!(!bucket.take(&limit, now + SECOND - 1));
    assert!(bucket.take(&limit, now + SECOND));
    assert!(!bucket.take(&limit, now + SECOND));
    assert_eq!(bucket.level(&limit, now + 10 * SECOND), 2);
}

/// Proves H-THR-4.
#[test]
fn zero_refuses_everything() {
    for limit in [
        Limit::new(0.0, 0),
        Limit::new(0.0, 5),
        Limit::new(5.0, 0),
        Limit::new(-1.0, 5),
        Limit::new(f64::NAN, 5),
        Limit::REFUSE_ALL,
    ] {
        let bucket = Bucket::new();
        assert!(limit.refuses_all());
        assert!((0..100).all(|second| !bucket.take(&limit, second * SECOND)));
    }
}

#[test]
fn extreme_limits_do_not_overflow() {
    for (rate, burst) in
        [(f64::INFINITY, u32::MAX), (1e300, 1), (f64::MIN_POSITIVE, u32::MAX), (1e-9, 1), (1e-300, 5000)]
    {
        let limit = Limit::new(rate, burst);
        for now in [0, SECOND, u64::MAX / 16, u64::MAX] {
            let bucket = Bucket::new();
            assert!(bucket.take(&limit, now) || now > u64::MAX / 16 - 1, "{rate} {burst} at {now}");
            let bucket = bucket.retuned(&limit, &Limit::new(3.0, 7), now);
            bucket.take(&Limit::new(3.0, 7), now);
        }
    }
}

#[test]
fn fractions_of_a_request_a_second() {
    let limit = Limit::new(0.25, 1);
    let bucket = Bucket::new();
    assert!(bucket.take(&limit, 0));
    assert!(!bucket.take(&limit, 4 * SECOND - 1));
    assert!(bucket.take(&limit, 4 * SECOND));
}

#[test]
fn time_that_goes_back_adds_nothing() {
    let limit = Limit::new(1.0, 1);
    let bucket = Bucket::new();
    assert!(bucket.take(&limit, 10 * SECOND));
    assert!(!bucket.take(&limit, 5 * SECOND));
    assert!(bucket.take(&limit, 11 * SECOND));
}

/// Proves H-THR-2, H-THR-4.
#[test]
fn settings_of_a_route_go_over_the_default_field_by_field() {
    let account = AccountLimit::default();
    let merged = |default, route: Option<RouteSettings>| route_limit(&default, route.as_ref(), &account);
    assert_eq!(merged(settings(None, None), None), None);
    assert_eq!(merged(settings(None, None), Some(settings(None, None))), None);
    assert_eq!(merged(settings(Some(10.0), Some(20)), None), Some(Limit::new(10.0, 20)));
    assert_eq!(merged(settings(Some(10.0), Some(20)), Some(settings(Some(1.0), None))), Some(Limit::new(1.0, 20)));
    assert_eq!(merged(settings(Some(10.0), Some(20)), Some(settings(None, Some(2)))), Some(Limit::new(10.0, 2)));
    assert_eq!(merged(settings(None, None), Some(settings(Some(1.0), None))), Some(Limit::new(1.0, 5000)));
    assert_eq!(merged(settings(None, Some(7)), None), Some(Limit::new(10_000.0, 7)));
    assert_eq!(merged(settings(Some(1e6), Some(1_000_000)), None), Some(account.limit()));
    assert_eq!(merged(settings(Some(0.0), Some(0)), None), Some(Limit::REFUSE_ALL));
    assert_eq!(merged(settings(Some(10.0), Some(20)), Some(settings(Some(0.0), None))), Some(Limit::REFUSE_ALL));
}

/// Proves H-MET-8.
#[test]
fn detailed_metrics_of_the_stage_win_over_a_false_of_the_route() {
    let with = |enabled| RouteSettings { detailed_metrics_enabled: enabled, ..RouteSettings::default() };
    assert!(detailed_metrics(&with(Some(true)), Some(&with(Some(false)))));
    assert!(detailed_metrics(&with(None), Some(&with(Some(true)))));
    assert!(!detailed_metrics(&with(Some(false)), None));
    assert!(!detailed_metrics(&with(None), Some(&with(Some(false)))));
}

#[test]
fn many_threads_never_take_more_than_there_is() {
    let limit = Limit::new(1e-3, 1000);
    let bucket = Bucket::new();
    let taken: usize = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..4).map(|_| scope.spawn(|| (0..1000).filter(|_| bucket.take(&limit, 1)).count())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(taken, 1000);
}

/// A bucket as the textbook has it, in whole ticks: a level that grows with time.
struct Refilled {
    level: u64,
    at: u64,
}

impl Refilled {
    fn take(&mut self, limit: &Limit, now: u64) -> bool {
        self.level = (self.level + (now - self.at)).min(limit.capacity);
        self.at = now;
        let passes = self.level >= limit.interval;
        if passes {
            self.level -= limit.interval;
        }
        passes
    }
}

/// The same with tokens as floating point numbers.
struct Floating {
    tokens: f64,
    at: u64,
}

impl Floating {
    /// `None` when rounding could decide.
    fn take(&mut self, rate: f64, burst: u32, now_ns: u64) -> Option<bool> {
        #[expect(clippy::cast_precision_loss, reason = "differences of nanoseconds in these tests are far below 2^53")]
        let elapsed = (now_ns - self.at) as f64 / 1e9;
        self.tokens = (self.tokens + elapsed * rate).min(f64::from(burst));
        self.at = now_ns;
        if (self.tokens - 1.0).abs() < 1e-4 {
            return None;
        }
        let passes = self.tokens > 1.0;
        if passes {
            self.tokens -= 1.0;
        }
        Some(passes)
    }
}

fn arrivals() -> impl Strategy<Value = Vec<u64>> {
    let gap = prop_oneof![Just(0), 0..1_000_u64, 0..50_000_000_u64, 0..3_000_000_000_u64];
    prop::collection::vec(gap, 1..200)
}

/// Workers learn of a new limit one after the other; whoever still has the old one must find the bucket as it was (promise P6).
#[test]
fn a_raised_limit_refuses_nobody_meanwhile() {
    let meters = Meters::new();
    let key = || MeterKey { api_id: "a".into(), stage: "s".into(), route_key: "GET /".into() };
    let (old, new) = (Limit::new(1000.0, 2000), Limit::new(100_000.0, 1_000_000));
    let before = meters.bucket(key(), old, 0);
    for _ in 0..500 {
        assert!(before.take(&old, 0));
    }
    let after = meters.bucket(key(), new, 0);
    assert_eq!((before.level(&old, 0), after.level(&new, 0)), (1500, 1500));
    assert!(before.take(&old, 0) && after.take(&new, 0));
}

proptest! {
    /// Proves H-THR-1.
    #[test]
    fn it_decides_exactly_as_a_bucket_that_is_refilled(
        rate in prop_oneof![0.01..10.0_f64, 10.0..20_000.0_f64], burst in 1..100_u32, start in 0..SECOND, gaps in arrivals()
    ) {
        let limit = Limit::new(rate, burst);
        let bucket = Bucket::new();
        let mut model = Refilled { level: limit.capacity, at: ticks(start) };
        let mut now = start;
        for gap in gaps {
            now += gap;
            prop_assert_eq!(bucket.take(&limit, now), model.take(&limit, ticks(now)));
        }
    }

    /// Proves H-THR-1.
    #[test]
    fn it_decides_as_a_floating_point_bucket_where_that_is_sure(
        rate in 0.5..5_000.0_f64, burst in 1..50_u32, gaps in arrivals()
    ) {
        let limit = Limit::new(rate, burst);
        let bucket = Bucket::new();
        let mut model = Floating { tokens: f64::from(burst), at: 0 };
        let mut now = 0;
        for gap in gaps {
            now += gap;
            let Some(expected) = model.take(rate, burst, now) else { return Ok(()) };
            prop_assert_eq!(bucket.take(&limit, now), expected, "at {}", now);
        }
    }

    /// Within any time t no more than burst + rate * t requests pass.
    #[test]
    fn never_more_than_burst_and_rate_allow(rate in 1..1000_u32, burst in 1..50_u32, gaps in arrivals()) {
        let limit = Limit::new(f64::from(rate), burst);
        let bucket = Bucket::new();
        let mut now = 0;
        let passed: u64 = gaps.iter().map(|gap| { now += gap; u64::from(bucket.take(&limit, now)) }).sum();
        let allowed = u128::from(burst) + u128::from(now) * u128::from(rate) / u128::from(SECOND);
        // The interval is rounded by at most half a tick of 1/16 ns.
        prop_assert!(u128::from(passed) <= allowed + 1);
    }

    /// A change of the limit never refills a bucket (promise P6).
    #[test]
    fn retuning_keeps_the_tokens(
        old in (0.1..1000.0_f64, 1..1000_u32), new in (0.1..1000.0_f64, 1..1000_u32), taken in 0..1000_u32, later in 0..SECOND
    ) {
        let (old, new) = (Limit::new(old.0, old.1), Limit::new(new.0, new.1));
        let bucket = Bucket::new();
        for _ in 0..taken {
            bucket.take(&old, 0);
        }
        let before = bucket.level(&old, later);
        let bucket = bucket.retuned(&old, &new, later);
        let expected = before.min(new.capacity / new.interval);
        let after = bucket.level(&new, later);
        prop_assert!(after == expected || after + 1 == expected, "{} tokens became {}", before, after);
        let bucket = bucket.retuned(&new, &new, later);
        prop_assert_eq!(bucket.level(&new, later), after);
    }

    #[test]
    fn a_bucket_that_refused_everything_starts_empty(rate in 0.1..1000.0_f64, burst in 1..1000_u32) {
        let new = Limit::new(rate, burst);
        let bucket = Bucket::new();
        let bucket = bucket.retuned(&Limit::REFUSE_ALL, &new, SECOND);
        prop_assert!(!bucket.take(&new, SECOND));
        let bucket = bucket.retuned(&new, &Limit::REFUSE_ALL, SECOND);
        prop_assert!(!bucket.take(&Limit::REFUSE_ALL, 2 * SECOND));
    }
}

#[test]
fn a_limit_says_what_it_was_made_of() {
    for (per_second, burst) in [(0.5, 1), (3.0, 7), (10_000.0, 5_000)] {
        let rate = Limit::new(per_second, burst).rate();
        assert!((rate.interval_us() * per_second / 1e6 - 1.0).abs() < 1e-6 && rate.burst() == burst, "{rate:?}");
    }
    assert!(Limit::REFUSE_ALL.rate().refuses_all());
}
