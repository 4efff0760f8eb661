//! What four proxies on one Redis admit together, as processes that are killed and plans that are edited. With a second for each phase it
//! is a test; `bench/usage` runs it for longer and shows the table.
//!
//! Nothing here depends on how fast the machine is: a rate is held against the time that went by, and a quota is counted to its end.

#![expect(clippy::unwrap_used, reason = "a test ends where something unexpected happens")]
#![expect(clippy::cast_precision_loss, reason = "counts of requests are small")]

#[path = "usage_table/fleet.rs"]
mod fleet;
#[path = "usage_table/tally.rs"]
mod tally;

use std::sync::Mutex;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fleet::{CONNECTIONS, Connection, Proxy};
use http::Response;
use http_body_util::Full;
use serde_json::{Value, json};
use tally::{Counts, Row, quota_row, rate_row};
use tollgate_testkit::{Api, Feed, Server, Store, backend, each_server, http};

/// Long enough for the slowest machine; nothing waits this long unless it fails.
pub(crate) const AMPLE: Duration = Duration::from_secs(120);
const PROXIES: usize = 4;

/// A plan of a phase and its customers.
struct Tier {
    name: &'static str,
    /// Tokens a second, and burst.
    rate: Option<(f64, u32)>,
    /// Requests a month for each second that the phase takes: to be used up well before its end. 0: none.
    quota_per_second: f64,
    keys: usize,
    /// How often its customers call, beside the others'.
    weight: usize,
}

/// Fifty customers: some call far too fast, some just so, some not enough to be limited.
const TIERS: [Tier; 6] = [
    Tier { name: "bronze", rate: Some((5.0, 10)), quota_per_second: 0.0, keys: 14, weight: 2 },
    Tier { name: "silver", rate: Some((20.0, 40)), quota_per_second: 0.0, keys: 12, weight: 3 },
    Tier { name: "gold", rate: Some((200.0, 100)), quota_per_second: 0.0, keys: 6, weight: 2 },
    Tier { name: "trial", rate: None, quota_per_second: 12.0, keys: 8, weight: 2 },
    Tier { name: "small", rate: Some((30.0, 15)), quota_per_second: 9.0, keys: 6, weight: 2 },
    Tier { name: "large", rate: None, quota_per_second: 1e5, keys: 4, weight: 1 },
];
/// Of a phase: small quotas are still in use then, so that leases of them are held and can be lost.
const DISTURBED_AT: f64 = 0.12;
/// What the edit makes of them.
const EDITED_SILVER: (f64, u32) = (40.0, 20);
const EDITED_TRIAL: f64 = 15.0;

/// Which disturbance comes in a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Steady,
    ProxyKilled,
    StoreKilled,
    PlansEdited,
}

/// A customer in a phase.
struct Customer {
    tier: usize,
    value: String,
    counts: Mutex<Counts>,
}

struct Settings {
    steady: f64,
    disturbed: f64,
    /// Requests a second, of all connections.
    pace: f64,
}

fn settings() -> Settings {
    let number = |name: &str, default: f64| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let steady = number("TOLLGATE_USAGE_SECONDS", 2.0);
    Settings {
        steady,
        disturbed: number("TOLLGATE_USAGE_DISTURBED_SECONDS", steady),
        pace: number("TOLLGATE_USAGE_PACE", 1200.0),
    }
}

fn limit(per_second: f64, seconds: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small and positive")]
    let limit = (per_second * seconds).ceil() as u64;
    limit
}

impl Tier {
    fn plan(&self, seconds: f64, edited: bool) -> Value {
        // Whatever happens, no more than the limit: with the default, proxies without a store would limit by themselves.
        let mut plan = json!({"failureMode": "Closed"});
        if let Some((rate, burst)) = self.rate_at(edited) {
            plan["throttle"] = json!({"rateLimit": rate, "burstLimit": burst});
        }
        if let Some(limit) = self.quota(seconds, edited) {
            plan["quota"] = json!({"limit": limit, "period": "MONTH"});
        }
        plan
    }

    fn rate_at(&self, edited: bool) -> Option<(f64, u32)> {
        if edited && self.name == "silver" { Some(EDITED_SILVER) } else { self.rate }
    }

    fn quota(&self, seconds: f64, edited: bool) -> Option<u64> {
        let per_second = if edited && self.name == "trial" { EDITED_TRIAL } else { self.quota_per_second };
        (per_second > 0.0).then(|| limit(per_second, seconds))
    }

    /// Whether the phase uses the whole quota.
    fn runs_out(&self) -> bool {
        (1.0..1e4).contains(&self.quota_per_second)
    }
}

const PHASES: [Phase; 4] = [Phase::Steady, Phase::ProxyKilled, Phase::StoreKilled, Phase::PlansEdited];

fn value(phase: Phase, tier: &Tier, key: usize) -> String {
    format!("{phase:?}-{}-{key:02}-0123456789", tier.name)
}

/// Every phase has plans and customers of its own, whose buckets are full.
fn api(settings: &Settings, edited: bool, backend: std::net::SocketAddr) -> Api {
    let mut metered = http(&format!("http://{backend}/"));
    metered["route"] = json!({"apiKeyRequired": true, "requires": ["usagePlans"]});
    let mut api = Api::new(&[("GET /a", metered)]);
    for phase in PHASES {
        for tier in &TIERS {
            let plan = format!("{phase:?}-{}", tier.name).to_lowercase();
            let body = tier.plan(settings.seconds(phase), edited && phase == Phase::PlansEdited);
            api = api.plan(&plan, &["$default"], body);
            for key in 0..tier.keys {
                api = api.key(&format!("{plan}-{key}"), &value(phase, tier, key), &[&plan], &json!({}));
            }
        }
    }
    api
}

impl Settings {
    fn seconds(&self, phase: Phase) -> f64 {
        if phase == Phase::Steady { self.steady } else { self.disturbed }
    }
}

fn customers(phase: Phase) -> Vec<Customer> {
    let of = |(number, tier): (usize, &Tier)| {
        let values: Vec<String> = (0..tier.keys).map(|key| value(phase, tier, key)).collect();
        values.into_iter().map(move |value| Customer { tier: number, value, counts: Mutex::default() })
    };
    TIERS.iter().enumerate().flat_map(of).collect()
}

/// The order in which customers call: each as often as its weight says, spread out.
fn turns(customers: &[Customer]) -> Vec<usize> {
    let heaviest = TIERS.iter().map(|tier| tier.weight).max().unwrap();
    let of_round = |round| (0..customers.len()).filter(move |n| TIERS[customers[*n].tier].weight > round);
    (0..heaviest).flat_map(of_round).collect()
}

/// Calls through one connection until `on` says no or the proxy is gone.
fn load(
    proxy: (usize, std::net::SocketAddr),
    customers: &[Customer],
    pace: f64,
    on: impl Fn(&Customer) -> Option<bool>,
) {
    let Ok(mut connection) = Connection::open(proxy.1) else { return };
    let (turns, begun) = (turns(customers), Instant::now());
    let mut sent = 0_u32;
    // Connections begin at different places, so that they do not call for the same customer at a time.
    for turn in (0..turns.len()).cycle().skip(proxy.0 * 13) {
        let customer = &customers[turns[turn]];
        match on(customer) {
            None => return,
            Some(false) => continue,
            Some(true) => {}
        }
        let Ok(verdict) = connection.call(&customer.value) else { return };
        customer.counts.lock().unwrap().add(proxy.0, verdict);
        sent += 1;
        let due = begun + Duration::from_secs_f64(f64::from(sent) / pace);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}

struct Bench {
    settings: Settings,
    store: Store,
    feed: Feed,
    backend: std::net::SocketAddr,
    proxies: Vec<Proxy>,
}

/// How long parts of a phase took.
struct Times {
    begun: Instant,
    /// When the disturbance began.
    disturbed: Instant,
    /// Nobody called any more but those who were to use up their quota.
    calm: Instant,
    ended: Instant,
}

impl Bench {
    /// Runs a phase; returns its rows.
    fn run(&mut self, phase: Phase) -> Vec<Row> {
        let (customers, seconds) = (customers(phase), self.settings.seconds(phase));
        let begun = Instant::now();
        let pace = self.settings.pace / (PROXIES * CONNECTIONS) as f64;
        let addresses: Vec<_> = self.proxies.iter().map(|proxy| proxy.address).enumerate().collect();
        let (mut disturbed, mut steady, mut unused) = (begun, None, None);
        let time = |part: f64| begun + Duration::from_secs_f64(seconds * part);
        std::thread::scope(|scope| {
            let on = |_: &Customer| (Instant::now() < time(1.0)).then_some(true);
            for proxy in addresses.iter().flat_map(|proxy| [*proxy; CONNECTIONS]) {
                let customers = &customers;
                scope.spawn(move || load(proxy, customers, pace, on));
            }
            if phase == Phase::Steady {
                // Leases have grown to their size.
                std::thread::sleep(time(0.2).saturating_duration_since(Instant::now()));
                let before = (self.calls(), asked(&customers));
                std::thread::sleep(time(0.98).saturating_duration_since(Instant::now()));
                steady = Some((self.calls() - before.0, asked(&customers) - before.1));
            } else {
                std::thread::sleep(time(DISTURBED_AT).saturating_duration_since(Instant::now()));
                disturbed = Instant::now();
                unused = least_left(&customers, seconds);
                self.disturb(phase);
            }
        });
        let calm = Instant::now();
        self.use_up(phase, &customers, &addresses);
        let times = Times { begun, disturbed, calm, ended: Instant::now() };
        if let Some((calls, requests)) = steady {
            println!(
                "\n{:.1} calls of the store for 1,000 requests ({calls} for {requests})",
                calls * 1000.0 / requests
            );
        }
        if let Some(unused) = unused {
            println!("\n{phase:?}: {unused} of a small quota at least was left when it began");
        }
        let rows = (0..TIERS.len()).flat_map(|tier| rows(phase, tier, &customers, &times, seconds)).collect();
        self.restore(phase);
        rows
    }

    fn calls(&self) -> f64 {
        self.proxies.iter().map(Proxy::calls).sum()
    }

    fn disturb(&mut self, phase: Phase) {
        match phase {
            Phase::Steady => unreachable!("nothing disturbs it"),
            Phase::ProxyKilled => self.proxies[0].kill(),
            Phase::StoreKilled => {
                self.store.kill();
                self.store.resume();
            }
            Phase::PlansEdited => self.feed.publish(&api(&self.settings, true, self.backend).units()),
        }
    }

    fn restore(&mut self, phase: Phase) {
        if phase == Phase::ProxyKilled {
            self.proxies[0] = Proxy::start(&self.feed, &self.store);
        }
    }

    /// Goes on for customers with a small quota until each proxy has refused them three seconds after the last one that passed: then
    /// nobody holds anything that another needs.
    fn use_up(&self, phase: Phase, customers: &[Customer], addresses: &[(usize, std::net::SocketAddr)]) {
        let begun = Instant::now();
        let live: Vec<usize> = (usize::from(phase == Phase::ProxyKilled)..PROXIES).collect();
        let done = |customer: &Customer| {
            let counts = customer.counts.lock().unwrap();
            !TIERS[customer.tier].runs_out() || live.iter().all(|proxy| counts.is_used_up(*proxy))
        };
        let on = |customer: &Customer| {
            if customers.iter().all(done) || begun.elapsed() > AMPLE { None } else { Some(!done(customer)) }
        };
        std::thread::scope(|scope| {
            for number in &live {
                let proxy = addresses[*number];
                scope.spawn(move || load(proxy, customers, 200.0, on));
            }
        });
    }
}

/// How much of its quota the customer had left that had used the largest part.
fn least_left(customers: &[Customer], seconds: f64) -> Option<u64> {
    let small = customers.iter().filter(|customer| TIERS[customer.tier].runs_out());
    let left = |customer: &Customer| {
        let limit = TIERS[customer.tier].quota(seconds, false)?;
        Some(limit.saturating_sub(customer.counts.lock().unwrap().admitted()))
    };
    small.filter_map(left).min()
}

fn asked(customers: &[Customer]) -> f64 {
    customers.iter().map(|customer| customer.counts.lock().unwrap().asked as f64).sum()
}

fn rows(phase: Phase, number: usize, customers: &[Customer], times: &Times, seconds: f64) -> Vec<Row> {
    let tier = &TIERS[number];
    let counts: Vec<Counts> = customers
        .iter()
        .filter(|customer| customer.tier == number)
        .map(|customer| std::mem::take(&mut *customer.counts.lock().unwrap()))
        .collect();
    let edited = phase == Phase::PlansEdited;
    let mut rows = Vec::new();
    if let (Some((rate, burst)), Some((later, _))) = (tier.rate, tier.rate_at(edited)) {
        // While the edit goes round, proxies have one rate or the other. An edit never refills a bucket.
        let before = (times.disturbed - times.begun).as_secs_f64();
        let ended = if tier.runs_out() { times.ended } else { times.calm };
        let after = (ended - times.disturbed).as_secs_f64();
        let bound = rate * before + rate.max(later) * after + f64::from(burst);
        rows.push(rate_row(phase, tier.name, &counts, bound));
    }
    if let Some(limit) = tier.quota(seconds, edited) {
        // What may be missing: the leases of the proxy that was killed, or those whose answer the killed store did not give.
        let lost: Vec<usize> = match phase {
            Phase::Steady | Phase::PlansEdited => Vec::new(),
            Phase::ProxyKilled => vec![0],
            Phase::StoreKilled => (0..PROXIES).collect(),
        };
        rows.push(quota_row(phase, tier.name, &counts, limit, tier.runs_out(), &lost));
    }
    rows
}

each_server!(limits_hold_over_four_proxies);

/// Four proxies admit no more than a plan's rate, and exactly its quota, also when one of them or the store is killed, or plans change.
fn limits_hold_over_four_proxies(server: Server) {
    let settings = settings();
    let Some(store) = Store::start(server) else { return };
    let backend = backend(|_, _| Response::new(Full::new(Bytes::from_static(b"ok"))));
    let feed = Feed::of(&api(&settings, false, backend).units());
    let proxies = (0..PROXIES).map(|_| Proxy::start(&feed, &store)).collect();
    let mut bench = Bench { settings, store, feed, backend, proxies };
    println!("{}", tally::HEAD);
    let rows: Vec<Row> = PHASES.iter().flat_map(|phase| bench.run(*phase)).inspect(|row| println!("{row}")).collect();
    assert_eq!(bench.feed.reports().1, 0, "the proxies had problems with their configuration");
    let broken: Vec<&Row> = rows.iter().filter(|row| row.broken.is_some()).collect();
    assert!(broken.is_empty(), "{broken:#?}");
    assert!(rows.iter().all(|row| row.admitted > 0), "some plans admitted nothing");
}
