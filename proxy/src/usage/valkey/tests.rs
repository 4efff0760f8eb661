use proptest::prelude::*;
use tollgate_engine::meter::{Account, Period, QuotaAsk, Rate, RateAsk};
use tollgate_testkit::{STORE_PASSWORD, Server, Store, each_server};

use super::*;

#[test]
fn pauses_grow_and_spread_proxies() {
    let milliseconds = |failures, random| pause(failures, random).as_millis();
    assert_eq!((milliseconds(0, 0.0), milliseconds(0, 1.0)), (100, 200));
    assert_eq!((milliseconds(2, 0.0), milliseconds(2, 0.5)), (400, 600));
    for failures in [5, 31, 32, u32::MAX] {
        assert_eq!((milliseconds(failures, 0.0), milliseconds(failures, 1.0)), (3000, 6000));
    }
    // A thousand proxies whose store is away: however their chances fall, no tenth of a second brings more than one in thirty back.
    let mut back = [0; 61];
    for proxy in 0..1000_u32 {
        back[usize::try_from(milliseconds(9, f64::from(proxy) / 1000.0) / 100).unwrap()] += 1;
    }
    assert!(back.iter().all(|count| *count <= 34), "{back:?}");
}

/// What happens to one of three customers.
#[derive(Clone, Copy, Debug)]
struct Step {
    customer: usize,
    /// Since the step before; less than nothing when the clock is set back.
    microseconds: i64,
    /// Whether the proxy knows the count from the life that it has now, and how far that had come.
    known: Option<(bool, u64)>,
    /// Whether the next step goes in the same call.
    together: bool,
    ask: Ask,
}

fn rates() -> impl Strategy<Value = RateAsk> {
    let rate = prop_oneof![
        Just((1.0, 5)),
        Just((3.0, 1)),
        Just((7.7, 20)),
        Just((1000.0, 3)),
        Just((0.01, 2)),
        Just((10_000.0, 100_000)),
        Just((f64::MAX, 1)),
    ];
    let ahead = prop_oneof![Just(0.0), Just(1.25e6), Just(1.0), 0.0..3e6];
    (rate, 0..4_u32, 0..30_u32, ahead).prop_map(|((rate, burst), give_back, want, ahead_us)| RateAsk {
        rate: Rate::new(rate, burst),
        give_back,
        want,
        ahead_us,
    })
}

fn quotas() -> impl Strategy<Value = QuotaAsk> {
    let period = prop_oneof![Just(Period::Day), Just(Period::Week), Just(Period::Month)];
    let limit = prop_oneof![0..4_u64, 0..100_u64, Just(u64::from(u32::MAX))];
    let parts = (period, 0..40_i64, limit, 0..6_u64, 0..3_u64, 0..100_u64, 0..50_u64);
    parts.prop_map(|(period, day, limit, give_back, owed, used, want)| {
        // Days go back and forth, as clocks of proxies do.
        let window = period.window(1_767_225_600 + day / 8 * 86_400);
        QuotaAsk { window, limit, give_back, owed, known: (Life::default(), used), want }
    })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let day = 86_400_000_000_i64;
    let time = prop_oneof![
        Just(0),
        0..3_000_i64,
        0..5_000_000_i64,
        Just(3_600_000_000),
        Just(day),
        Just(3 * day),
        -5_000_000..0_i64,
        Just(-day)
    ];
    let known = proptest::option::of((any::<bool>(), 1..20_u64));
    let ask =
        (proptest::option::of(rates()), proptest::option::of(quotas())).prop_map(|(rate, quota)| Ask { rate, quota });
    let step = (0..3_usize, time, known, any::<bool>(), ask);
    let step = step.prop_map(|(customer, microseconds, known, together, ask)| Step {
        customer,
        microseconds,
        known,
        together,
        ask,
    });
    proptest::collection::vec(step, 1..60)
}

fn customer(case: u64, number: usize) -> Customer {
    Customer { plan: "shop/gold".into(), who: format!("{case}-{number}").into(), route: "".into() }
}

/// As the script tells it: whole microseconds, and no longer than a store remembers.
fn told(grant: Grant) -> Grant {
    let round = |rate: RateGrant| RateGrant { next_in_us: rate.next_in_us.ceil().min(1e15), ..rate };
    Grant { rate: grant.rate.map(round), quota: grant.quota }
}

each_server!(the_script_does_what_an_account_does);

/// Whatever is asked in whatever order, the script in a real server answers as the engine's account does.
fn the_script_does_what_an_account_does(server: Server) {
    let Some(store) = Store::start(server) else { return };
    let client = redis::Client::open(format!("redis://:{STORE_PASSWORD}@{}", store.address)).unwrap();
    let connection = std::cell::RefCell::new(client.get_connection().unwrap());
    // The server's clock becomes an argument.
    let text = include_str!("../lease.lua");
    let clock = "local time = redis.call('TIME')";
    assert!(text.contains(clock));
    let script = Script::new(&text.replace(clock, "local time = {ARGV[#ARGV - 1], ARGV[#ARGV]}"));
    let cases = std::cell::Cell::new(0);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig { cases: 200, ..ProptestConfig::default() });
    let result = runner.run(&steps(), |steps| {
        cases.set(cases.get() + 1);
        let mut accounts = [Account::default(); 3];
        let (mut now, mut call, mut expected, mut asks) =
            (1_767_225_600_000_000_i64, script.prepare_invoke(), Vec::new(), Vec::new());
        let mut lives = [Life::default(); 3];
        for (number, step) in steps.iter().enumerate() {
            if asks.is_empty() {
                now += step.microseconds;
            }
            let mut ask = step.ask;
            if let (Some((present, version)), Some(quota)) = (step.known, &mut ask.quota) {
                let epoch = if present { lives[step.customer].epoch } else { 7 };
                quota.known.0 = Life { epoch, version };
            }
            add(&mut call, &customer(cases.get(), step.customer), &ask);
            asks.push(ask);
            #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
            let served = accounts[step.customer].serve(&ask, now as f64, now / 1_000_000);
            if let Some(quota) = served.quota.filter(|quota| quota.life.version > 0) {
                lives[step.customer] = quota.life;
            }
            expected.push(told(served));
            if step.together && number + 1 < steps.len() {
                continue;
            }
            call.arg(now / 1_000_000).arg(now % 1_000_000);
            let answers: Vec<i64> = call.invoke(&mut *connection.borrow_mut()).unwrap();
            prop_assert_eq!(answers.last(), Some(&(now / 1000)));
            for (number, (ask, expected)) in asks.iter().zip(&expected).enumerate() {
                let answer = grant(ask, &answers[number * ANSWERS..(number + 1) * ANSWERS]);
                prop_assert_eq!(answer, *expected, "{:?}", ask);
            }
            (call, expected, asks) = (script.prepare_invoke(), Vec::new(), Vec::new());
        }
        Ok(())
    });
    result.unwrap();
}
