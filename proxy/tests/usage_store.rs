//! Usage plans of several proxies that share their counts in a real Redis and in a real Valkey (without these the tests say
//! so and prove nothing).

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tollgate_proxy::usage::Topology;
use tollgate_testkit::{
    Api, Client, Metered, Server, Store, customer_key, each_server, metered_api, store_settings, unused_address,
};

/// Long enough for the slowest machine; nothing waits this long unless it fails.
const AMPLE: Duration = Duration::from_secs(60);

/// Knows the one server of a store and has found it.
fn start(store: &Store, api: &Api) -> Metered {
    Metered::up(store_settings(format!("redis://{}", store.address), Topology::Single), api)
}

/// Sends requests of all customers in turn to one proxy on one connection while `on` holds; counts those that pass.
fn load(address: SocketAddr, admitted: &[AtomicU64], requests: &AtomicU64, on: impl Fn() -> bool) {
    let mut client = Client::connect(address);
    let mut turn = 0;
    while on() {
        let key = turn % admitted.len();
        turn += 1;
        let reply = client.call(&format!("GET /a\nx-api-key: {}", customer_key(key)));
        requests.fetch_add(1, Ordering::Relaxed);
        match reply.status {
            200 => admitted[key].fetch_add(1, Ordering::Relaxed),
            429 | 503 => 0,
            other => panic!("{other}"),
        };
    }
}

fn counters(count: usize) -> Vec<AtomicU64> {
    (0..count).map(|_| AtomicU64::new(0)).collect()
}

each_server!(
    a_quota_is_exact_over_four_proxies,
    a_rate_holds_over_four_proxies,
    a_killed_store_comes_back_with_its_counts,
    what_was_admitted_without_the_store_counts,
    a_store_that_is_emptied_sells_no_quota_twice,
    an_older_copy_of_a_store_sells_no_quota_twice,
);

/// Four proxies admit exactly the quota of each customer, not one more.
fn a_quota_is_exact_over_four_proxies(server: Server) {
    const LIMIT: u64 = 150;
    let Some(store) = Store::start(server) else { return };
    let api = metered_api(8, json!({"quota": {"limit": LIMIT, "period": "MONTH"}}));
    let proxies: Vec<Metered> = (0..4).map(|_| start(&store, &api)).collect();
    let (admitted, requests, begun) = (counters(8), AtomicU64::new(0), Instant::now());
    let missing = || admitted.iter().any(|count| count.load(Ordering::Relaxed) < LIMIT);
    std::thread::scope(|scope| {
        for proxy in &proxies {
            scope.spawn(|| load(proxy.gateway.address, &admitted, &requests, || missing() && begun.elapsed() < AMPLE));
        }
    });
    let rest = AtomicU64::new(0);
    for proxy in &proxies {
        load(proxy.gateway.address, &admitted, &rest, || rest.load(Ordering::Relaxed) < 100);
    }
    for count in &admitted {
        assert_eq!(count.load(Ordering::Relaxed), LIMIT);
    }
}

/// Four proxies never admit more than rate × time + burst, also when one of them is gone with its lease.
fn a_rate_holds_over_four_proxies(server: Server) {
    let Some(store) = Store::start(server) else { return };
    let (rate, burst, keys) = (40.0, 30.0, 5);
    let api = metered_api(keys, json!({"throttle": {"rateLimit": rate, "burstLimit": 30}}));
    let mut proxies: Vec<Metered> = (0..4).map(|_| start(&store, &api)).collect();
    let (admitted, requests, begun) = (counters(keys), AtomicU64::new(0), Instant::now());
    for round in 1..=2_u32 {
        std::thread::scope(|scope| {
            for proxy in &proxies {
                scope.spawn(|| {
                    let on = || begun.elapsed() < Duration::from_millis(1500) * round;
                    load(proxy.gateway.address, &admitted, &requests, on);
                });
            }
        });
        // Its leases are lost.
        proxies.pop();
    }
    let seconds = begun.elapsed().as_secs_f64();
    for count in &admitted {
        #[expect(clippy::cast_precision_loss, reason = "there are few")]
        let count = count.load(Ordering::Relaxed) as f64;
        println!("{count} of {:.1}", rate * seconds + burst);
        assert!(count <= rate * seconds + burst, "{count} in {seconds} s");
        assert!(count >= burst / 2.0, "{count}: nearly nothing passes");
    }
}

/// A store that is killed and comes back has forgotten nothing; meanwhile the plan's failure mode decides.
fn a_killed_store_comes_back_with_its_counts(server: Server) {
    const LIMIT: u64 = 60;
    let Some(mut store) = Store::start(server) else { return };
    let closed = metered_api(1, json!({"quota": {"limit": LIMIT, "period": "MONTH"}, "failureMode": "Closed"}));
    let proxies: Vec<Metered> = (0..2).map(|_| start(&store, &closed)).collect();
    let (admitted, requests) = (counters(1), AtomicU64::new(0));
    load(proxies[0].gateway.address, &admitted, &requests, || requests.load(Ordering::Relaxed) < 20);
    store.kill();
    store.resume();
    let begun = Instant::now();
    let on = || admitted[0].load(Ordering::Relaxed) < LIMIT && begun.elapsed() < AMPLE;
    std::thread::scope(|scope| {
        for proxy in &proxies {
            scope.spawn(|| load(proxy.gateway.address, &admitted, &requests, on));
        }
    });
    for proxy in &proxies {
        let rest = AtomicU64::new(0);
        load(proxy.gateway.address, &admitted, &rest, || rest.load(Ordering::Relaxed) < 30);
    }
    assert_eq!(admitted[0].load(Ordering::Relaxed), LIMIT);
}

/// What a proxy admits by itself while the store is away is told to it afterwards, also of customers who do not come again.
fn what_was_admitted_without_the_store_counts(server: Server) {
    let Some(mut store) = Store::start(server) else { return };
    let local = metered_api(1, json!({"quota": {"limit": 12, "period": "MONTH"}, "failureMode": "Local"}));
    let proxies: Vec<Metered> = (0..2).map(|_| start(&store, &local)).collect();
    let ask = |proxy: usize, times: usize| (0..times).filter(|_| proxies[proxy].ask(0) == 200).count();
    assert_eq!(ask(0, 4), 4);
    proxies[0].all_given_back();
    store.kill();
    proxies[0].wait("tollgate_usage_store_up", |up| up < 1.0);
    assert_eq!(ask(0, 3), 3);
    let renewals = || proxies[0].metric("tollgate_usage_leases_total{reason=\"renewal\"}");
    let missing = || proxies[0].metric("tollgate_usage_leases_total{reason=\"missing\"}");
    let before = renewals() + missing();
    store.resume();
    let begun = Instant::now();
    while renewals() + missing() <= before {
        assert!(begun.elapsed() < AMPLE, "the store hears of nothing");
        std::thread::yield_now();
    }
    proxies[0].all_given_back();
    proxies[1].wait_up();
    assert_eq!(ask(1, 20), 5, "twelve less four less three");
}

/// Without a store, each plan does what it says.
#[test]
fn failure_modes() {
    let plan = |mode: &str| json!({"quota": {"limit": 3, "period": "MONTH"}, "failureMode": mode});
    for (mode, expected) in [("Local", [200, 200, 200, 429]), ("Open", [200; 4]), ("Closed", [503; 4])] {
        let nobody = store_settings(format!("redis://{}", unused_address()), Topology::Single);
        let proxy = Metered::start(nobody, &metered_api(1, plan(mode)));
        let status = || proxy.ask(0);
        assert_eq!([status(), status(), status(), status()], expected, "{mode}");
    }
}

/// How many of so many requests of customer 0 pass.
fn passed(proxy: &Metered, times: usize) -> usize {
    (0..times).filter(|_| proxy.ask(0) == 200).count()
}

fn recovered(proxy: &Metered) {
    proxy.wait("tollgate_usage_leases_total{reason=\"recovery\"}", |told| told > 0.0);
}

/// Proxies tell a store that lost everything what was used, also of customers who come to another proxy afterwards.
fn a_store_that_is_emptied_sells_no_quota_twice(server: Server) {
    let Some(store) = Store::start(server) else { return };
    let api = metered_api(2, json!({"quota": {"limit": 30, "period": "MONTH"}}));
    let proxies = [start(&store, &api), start(&store, &api)];
    assert_eq!(passed(&proxies[0], 20), 20);
    // Afterwards nothing but this customer shows that something is amiss.
    assert_eq!(proxies[0].ask(1), 200);
    proxies[0].all_given_back();
    assert_eq!(store.command("FLUSHALL"), "+OK");
    recovered(&proxies[0]);
    assert_eq!(passed(&proxies[1], 30), 10);
    proxies.iter().for_each(Metered::all_given_back);
    assert_ne!(proxies[0].ask(0), 200);
}

/// So they do when a store comes back with an older copy of its data, as from a backup or from a replica that was behind.
fn an_older_copy_of_a_store_sells_no_quota_twice(server: Server) {
    let Some(mut store) = Store::start(server) else { return };
    let api = metered_api(1, json!({"quota": {"limit": 30, "period": "MONTH"}, "failureMode": "Closed"}));
    let proxies = [start(&store, &api), start(&store, &api)];
    assert_eq!(passed(&proxies[0], 5), 5);
    proxies[0].all_given_back();
    let (files, copy) = (store.directory().join("appendonlydir"), store.directory().join("copy"));
    let copied = |from: &std::path::Path, to: &std::path::Path| {
        std::fs::create_dir_all(to).expect("files of the store can be copied");
        for file in std::fs::read_dir(from).expect("files of the store can be copied") {
            let file = file.expect("files of the store can be copied");
            std::fs::copy(file.path(), to.join(file.file_name())).expect("files of the store can be copied");
        }
    };
    copied(&files, &copy);
    assert_eq!(passed(&proxies[0], 15), 15);
    proxies[0].all_given_back();
    store.kill();
    std::fs::remove_dir_all(&files).expect("files of the store can be copied");
    copied(&copy, &files);
    store.resume();
    recovered(&proxies[0]);
    let begun = Instant::now();
    let mut more = 0;
    while more < 10 {
        assert!(begun.elapsed() < AMPLE, "{more} of 10 pass");
        more += passed(&proxies[1], 1);
    }
    assert_eq!(passed(&proxies[1], 20), 0, "not one more");
}
