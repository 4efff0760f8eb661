//! Usage plans of several proxies that share their counts in a real Redis (`redis-server` in the path; without it these tests say so and
//! prove nothing).

#![expect(clippy::unwrap_used, reason = "a test ends where something unexpected happens")]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tollgate_proxy::metrics::Metrics;
use tollgate_proxy::usage::{StoreKind, StoreSettings, Topology, shared};
use tollgate_testkit::{Api, Client, Gateway, REDIS_PASSWORD, Redis, backend, echo, http, unused_address};

/// Long enough for the slowest machine; nothing waits this long unless it fails.
const AMPLE: Duration = Duration::from_secs(60);

/// A proxy, the counters of its store's task, and what keeps that running.
struct Proxy {
    gateway: Gateway,
    metrics: Metrics,
    _task: tokio::runtime::Runtime,
}

impl Proxy {
    fn start(redis: SocketAddr, api: &Api) -> Self {
        let metrics = Metrics::new();
        let settings = StoreSettings {
            urls: vec![format!("redis://{redis}")],
            topology: Topology::Single,
            password: Some(REDIS_PASSWORD.into()),
            ca: None,
        };
        let (store, service) = shared(settings, &metrics);
        let task = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        task.spawn(service.run());
        let mut gateway = Gateway::with_store(StoreKind::Shared(store), |_| {});
        gateway.publish(&api.units());
        let proxy = Self { gateway, metrics, _task: task };
        proxy.wait_up();
        proxy
    }

    fn wait_up(&self) {
        self.wait("tollgate_usage_store_up 1\n");
    }

    /// Until the metrics show this.
    fn wait(&self, line: &str) {
        let begun = Instant::now();
        while !self.metrics.encode().contains(line) {
            assert!(begun.elapsed() < AMPLE, "no {line}");
            std::thread::yield_now();
        }
    }

    fn gateway_metric(&self, series: &str) -> u64 {
        let text = self.metrics.encode();
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().unwrap())
    }

    fn calls(&self) -> u64 {
        let text = self.metrics.encode();
        let calls =
            text.lines().filter_map(|line| line.strip_prefix("tollgate_usage_store_calls_total{result=\"ok\"} "));
        calls.map(|count| count.parse::<u64>().unwrap()).sum()
    }
}

fn value(key: usize) -> String {
    format!("customer-{key:04}-0123456789")
}

/// One plan and some of its customers.
fn api(keys: usize, plan: Value) -> Api {
    let mut metered = http(&format!("http://{}/", backend(echo)));
    metered["route"] = json!({"apiKeyRequired": true, "requires": ["usagePlans"]});
    let mut api = Api::new(&[("GET /a", metered)]).plan("gold", &["$default"], plan);
    for key in 0..keys {
        api = api.key(&format!("k{key}"), &value(key), &["gold"], &json!({}));
    }
    api
}

/// Sends requests of all customers in turn to one proxy on one connection while `on` holds; counts those that pass.
fn load(address: SocketAddr, admitted: &[AtomicU64], requests: &AtomicU64, on: impl Fn() -> bool) {
    let mut client = Client::connect(address);
    let mut turn = 0;
    while on() {
        let key = turn % admitted.len();
        turn += 1;
        let reply = client.call(&format!("GET /a\nx-api-key: {}", value(key)));
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

/// Four proxies admit exactly the quota of each customer, not one more, and use few calls for it.
#[test]
fn a_quota_is_exact_over_four_proxies() {
    const LIMIT: u64 = 150;
    let Some(redis) = Redis::start() else { return };
    let api = api(8, json!({"quota": {"limit": LIMIT, "period": "MONTH"}}));
    let proxies: Vec<Proxy> = (0..4).map(|_| Proxy::start(redis.address, &api)).collect();
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
    let calls: u64 = proxies.iter().map(Proxy::calls).sum();
    let requests = requests.into_inner();
    println!("{calls} calls for {requests} requests: {} per 1,000", calls * 1000 / requests);
}

/// Four proxies never admit more than rate × time + burst, also when one of them is gone with its lease.
#[test]
fn a_rate_holds_over_four_proxies() {
    let Some(redis) = Redis::start() else { return };
    let (rate, burst, keys) = (40.0, 30.0, 5);
    let api = api(keys, json!({"throttle": {"rateLimit": rate, "burstLimit": 30}}));
    let mut proxies: Vec<Proxy> = (0..4).map(|_| Proxy::start(redis.address, &api)).collect();
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
#[test]
fn a_killed_store_comes_back_with_its_counts() {
    const LIMIT: u64 = 60;
    let Some(mut redis) = Redis::start() else { return };
    let closed = api(1, json!({"quota": {"limit": LIMIT, "period": "MONTH"}, "failureMode": "Closed"}));
    let proxies: Vec<Proxy> = (0..2).map(|_| Proxy::start(redis.address, &closed)).collect();
    let (admitted, requests) = (counters(1), AtomicU64::new(0));
    load(proxies[0].gateway.address, &admitted, &requests, || requests.load(Ordering::Relaxed) < 20);
    redis.kill();
    redis.resume();
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
#[test]
fn what_was_admitted_without_the_store_counts() {
    let Some(mut redis) = Redis::start() else { return };
    let local = api(1, json!({"quota": {"limit": 12, "period": "MONTH"}, "failureMode": "Local"}));
    let proxies: Vec<Proxy> = (0..2).map(|_| Proxy::start(redis.address, &local)).collect();
    let ask = |proxy: usize, times: usize| {
        let request = format!("GET /a\nx-api-key: {}", value(0));
        (0..times).filter(|_| proxies[proxy].gateway.call(&request).status == 200).count()
    };
    assert_eq!(ask(0, 4), 4);
    proxies[0].wait("tollgate_usage_customers_leased 0\n");
    redis.kill();
    proxies[0].wait("tollgate_usage_store_up 0\n");
    assert_eq!(ask(0, 3), 3);
    let renewals = || proxies[0].gateway_metric("tollgate_usage_leases_total{reason=\"renewal\"}");
    let missing = || proxies[0].gateway_metric("tollgate_usage_leases_total{reason=\"missing\"}");
    let before = renewals() + missing();
    redis.resume();
    let begun = Instant::now();
    while renewals() + missing() <= before {
        assert!(begun.elapsed() < AMPLE, "the store hears of nothing");
        std::thread::yield_now();
    }
    proxies[0].wait("tollgate_usage_customers_leased 0\n");
    proxies[1].wait_up();
    assert_eq!(ask(1, 20), 5, "twelve less four less three");
}

/// Without a store, each plan does what it says.
#[test]
fn failure_modes() {
    let plan = |mode: &str| json!({"quota": {"limit": 3, "period": "MONTH"}, "failureMode": mode});
    for (mode, expected) in [("Local", [200, 200, 200, 429]), ("Open", [200; 4]), ("Closed", [503; 4])] {
        let (store, service) = shared(
            StoreSettings {
                urls: vec![format!("redis://{}", unused_address())],
                topology: Topology::Single,
                password: None,
                ca: None,
            },
            &Metrics::new(),
        );
        let mut gateway = Gateway::with_store(StoreKind::Shared(store), |_| {});
        gateway.publish(&api(1, plan(mode)).units());
        let status = || gateway.call(&format!("GET /a\nx-api-key: {}", value(0))).status;
        assert_eq!([status(), status(), status(), status()], expected, "{mode}");
        drop(service);
    }
}
