//! Throttles of stages, of routes and of the account that several proxies share through a real store (`--shared-throttles`).

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tollgate_engine::throttle::AccountLimit;
use tollgate_proxy::settings::Settings;
use tollgate_proxy::usage::Topology;
use tollgate_testkit::{Api, Metered, Server, Store, backend, customer_key, echo, http, store_settings};

/// Long enough for the slowest machine; nothing waits this long unless it fails.
const AMPLE: Duration = Duration::from_secs(60);

const FAILED_CALLS: &str = r#"tollgate_usage_store_calls_total{result="failed"}"#;
const FALLBACKS: &str = r#"tollgate_usage_fallbacks_total{mode="local"}"#;

fn limit(rate: f64, burst: u32) -> Value {
    json!({"throttlingRateLimit": rate, "throttlingBurstLimit": burst})
}

/// Tokens come so slowly that none comes during a test.
fn burst(burst: u32) -> Value {
    limit(0.0001, burst)
}

fn api(routes: &[&str], route_settings: &Value) -> Api {
    let url = format!("http://{}/", backend(echo));
    let routes: Vec<(&str, Value)> = routes.iter().map(|key| (*key, http(&url))).collect();
    Api::new(&routes).only_stage(json!({"stageName": "$default", "routeSettings": route_settings}))
}

fn start(store: &Store, api: &Api, change: impl Fn(&mut Settings)) -> Metered {
    let settings = store_settings(format!("redis://{}", store.address), Topology::Single);
    let proxy = Metered::with(settings, api, |settings| {
        settings.share_throttles = true;
        change(settings);
    });
    proxy.wait_up();
    proxy
}

fn four(store: &Store, api: &Api) -> Vec<Metered> {
    (0..4).map(|_| start(store, api, |_| {})).collect()
}

fn passes(proxy: &Metered, request: &str) -> bool {
    match proxy.gateway.call(request).status {
        200 => true,
        429 => false,
        other => panic!("{other}"),
    }
}

/// Whether a call of the store failed or took too long: then a lease may be lost, and proxies have limited for themselves.
fn disturbed(proxies: &[Metered]) -> bool {
    proxies.iter().any(|proxy| [FAILED_CALLS, FALLBACKS].iter().any(|series| proxy.metric(series) > 0.0))
}

/// Runs on a store of its own until nothing disturbs it, which a busy machine may do. The run ends in what passed, and what should have.
fn calmly(run: impl Fn(&Store) -> (Vec<Metered>, u32, u32)) {
    for _ in 0..10 {
        let Some(store) = Store::start(Server::Valkey) else { return };
        let (proxies, passed, wanted) = run(&store);
        if passed == wanted {
            return;
        }
        assert!(disturbed(&proxies), "{passed} passed of {wanted}");
    }
    panic!("every run was disturbed");
}

/// Asks the proxies in turn until so many requests have passed, and then some times more; says how many have passed.
fn until(proxies: &[Metered], request: &str, wanted: u32) -> u32 {
    let (mut passed, mut refused, begun) = (0, 0, Instant::now());
    let patience = || if disturbed(proxies) { Duration::from_secs(5) } else { AMPLE };
    for proxy in proxies.iter().cycle() {
        if passes(proxy, request) {
            passed += 1;
        } else if passed >= wanted {
            refused += 1;
        }
        if refused >= 20 || begun.elapsed() > patience() {
            break;
        }
    }
    passed
}

/// Proves R-THR-2, R-THR-4.
#[test]
fn each_route_has_one_bucket_for_all_proxies() {
    let api = api(&["GET /a", "GET /b", "GET /free"], &json!({"GET /a": burst(30), "GET /b": burst(5)}));
    calmly(|store| {
        let mut proxies = four(store, &api);
        let passed = until(&proxies, "GET /a", 30) + until(&proxies, "GET /b", 5);
        assert!(proxies.iter().all(|proxy| passes(proxy, "GET /free")), "what nothing limits asks nobody");
        // The level is the store's, so one that starts now finds it.
        proxies.push(start(store, &api, |_| {}));
        let late = u32::from(passes(&proxies[4], "GET /a"));
        (proxies, passed + late, 35)
    });
}

/// What the others are held against: without being asked to, proxies share nothing.
#[test]
fn each_proxy_has_its_own_bucket_unless_told() {
    let Some(store) = Store::start(Server::Valkey) else { return };
    let api = api(&["GET /a"], &json!({"GET /a": burst(3)}));
    for _ in 0..2 {
        let proxy = start(&store, &api, |settings| settings.share_throttles = false);
        assert_eq!(until(&[proxy], "GET /a", 3), 3);
    }
}

/// Never more than rate × time + burst in all, and no proxy is left out for long.
#[test]
fn a_rate_holds_over_all_proxies() {
    let Some(store) = Store::start(Server::Valkey) else { return };
    let proxies = four(&store, &api(&["GET /a"], &json!({"GET /a": limit(60.0, 20)})));
    let (counts, begun): ([AtomicU32; 4], _) = (Default::default(), Instant::now());
    std::thread::scope(|scope| {
        for (proxy, count) in proxies.iter().zip(&counts) {
            scope.spawn(|| {
                while begun.elapsed() < Duration::from_secs(3) || count.load(Ordering::Relaxed) == 0 {
                    assert!(begun.elapsed() < AMPLE, "nothing passes here");
                    count.fetch_add(u32::from(passes(proxy, "GET /a")), Ordering::Relaxed);
                }
            });
        }
    });
    let passed: u32 = counts.iter().map(|count| count.load(Ordering::Relaxed)).sum();
    let most = 60.0 * begun.elapsed().as_secs_f64() + 20.0;
    assert!(f64::from(passed) <= most || disturbed(&proxies), "{passed} of {most}");
    assert!(passed >= 20, "{passed} of {most}: nearly nothing passes");
}

/// Proves R-THR-5, R-THR-6.
#[test]
fn the_account_is_one_for_all_proxies() {
    let api = api(&["GET /a", "GET /b"], &json!({"GET /a": burst(50)}));
    let account = |settings: &mut Settings| settings.account = AccountLimit { rate: 0.0001, burst: 12 };
    calmly(|store| {
        let proxies: Vec<Metered> = (0..3).map(|_| start(store, &api, account)).collect();
        let first = (0..8).map(|turn| u32::from(passes(&proxies[turn % 2], "GET /a"))).sum::<u32>();
        let passed = first + until(&proxies[2..], "GET /b", 12 - first);
        (proxies, passed, 12)
    });
}

/// A new configuration refills nothing (promise P6), whichever proxy has it first.
#[test]
fn levels_stay_when_the_limit_changes() {
    calmly(|store| {
        let with = |settings: Value| api(&["GET /a"], &json!({"GET /a": settings})).units();
        let mut proxies = four(store, &api(&["GET /a"], &json!({"GET /a": burst(6)})));
        let before = until(&proxies, "GET /a", 6);
        for proxy in &mut proxies {
            proxy.gateway.publish(&with(burst(40)));
        }
        let after: u32 = proxies.iter().map(|proxy| u32::from(passes(proxy, "GET /a"))).sum();
        for proxy in &mut proxies {
            proxy.gateway.publish(&with(limit(1000.0, 40)));
        }
        let begun = Instant::now();
        while !passes(&proxies[0], "GET /a") {
            assert!(begun.elapsed() < AMPLE, "tokens come again at the new rate");
        }
        (proxies, before + after, 6)
    });
}

/// A token of the route is not spent on a request that its plan refuses.
#[test]
fn what_a_plan_refuses_takes_nothing_from_the_shared_throttle() {
    let mut route = http(&format!("http://{}/", backend(echo)));
    route["route"] = json!({"apiKeyRequired": true, "requires": ["usagePlans"]});
    let api = Api::new(&[("GET /a", route)])
        .only_stage(json!({"stageName": "$default", "routeSettings": {"GET /a": burst(4)}}))
        .plan("gold", &["$default"], json!({}))
        .key("alice", &customer_key(0), &["gold"], &json!({}));
    calmly(|store| {
        let proxy = start(store, &api, |_| {});
        let unknown = (0..9).map(|_| proxy.ask(7)).collect::<Vec<_>>();
        assert!(unknown.iter().all(|status| *status == 403) || proxy.metric(FALLBACKS) > 0.0, "{unknown:?}");
        let passed = (0..9).map(|_| u32::from(proxy.ask(0) == 200)).sum();
        (vec![proxy], passed, 4)
    });
}

/// Nobody is refused for want of a store: each proxy limits for itself then.
#[test]
fn without_the_store_each_proxy_limits_for_itself() {
    let Some(mut store) = Store::start(Server::Valkey) else { return };
    let api = api(&["GET /a"], &json!({"GET /a": burst(5)}));
    let proxies = four(&store, &api);
    store.kill();
    for proxy in &proxies {
        proxy.wait("tollgate_usage_store_up", |up| up < 1.0);
        assert_eq!((0..9).filter(|_| passes(proxy, "GET /a")).count(), 5);
    }
}
