//! Many API keys: each works, and a change of one is served at once and touches no other. `bench/keys` runs it with 100,000 and shows what they
//! cost.

#![expect(clippy::cast_precision_loss, reason = "figures for people")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::json;
use tollgate_engine::meter::{self, digest, shard_of};
use tollgate_engine::snapshot::{ApiKey, KeyShard, Unit};
use tollgate_testkit::{Api, Client, Gateway, backend, echo, http};

/// Changes of single keys that are timed.
const CHANGES: usize = 20;

fn value(key: usize) -> String {
    format!("customer-{key:06}-0123456789")
}

fn changed(key: usize) -> String {
    format!("{}-changed", value(key))
}

fn wire(key: usize, value: &str) -> ApiKey {
    ApiKey {
        digest: digest(value.as_bytes()).to_hex(),
        source: format!("shop/customer-{key:06}"),
        enabled: true,
        expires_at: None,
        plans: vec!["shop/gold".to_owned()],
        extensions: Vec::new(),
    }
}

/// MiB that this process has in memory; 0 where nobody can say.
fn resident() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<f64>().ok());
    pages.unwrap_or(0.0) * 4096.0 / f64::from(1 << 20)
}

fn call(client: &mut Client, value: &str) -> u16 {
    client.call(&format!("GET /a\nx-api-key: {value}")).status
}

#[test]
fn many_keys() {
    let keys: usize = std::env::var("TOLLGATE_KEYS").map_or(2000, |text| text.parse().unwrap());
    let each = |mib: f64| mib * f64::from(1 << 20) / keys as f64;
    let mut shards: BTreeMap<u16, KeyShard> = BTreeMap::new();
    for key in 0..keys {
        let value = value(key);
        let shard = shards.entry(shard_of(&digest(value.as_bytes()))).or_insert_with(|| KeyShard { keys: Vec::new() });
        shard.keys.push(wire(key, &value));
    }
    let mut metered = http(&format!("http://{}/", backend(echo)));
    metered["route"] = json!({"apiKeyRequired": true, "requires": ["usagePlans"]});
    let plan = json!({"quota": {"limit": 2, "period": "MONTH"}, "throttle": {"rateLimit": 1000, "burstLimit": 1000}});
    let api = Api::new(&[("GET /a", metered)]).plan("gold", &["$default"], plan);
    let mut gateway = Gateway::empty();
    gateway.publish(&api.units());
    let before = resident();
    let begun = Instant::now();
    let mut units = api.units();
    units.extend(shards.values().cloned().map(Unit::Keys));
    gateway.publish(&units);
    let published = begun.elapsed();
    drop(units);
    let known = resident();

    let mut client = gateway.connect();
    for key in 0..keys {
        assert_eq!(call(&mut client, &value(key)), 200, "{key}");
    }
    let used = resident();

    // A customer's second value, in whichever shard it belongs, until it is served.
    let mut times: Vec<Duration> = Vec::new();
    for key in (0..keys).step_by(keys / CHANGES) {
        let new = changed(key);
        let number = shard_of(&digest(new.as_bytes()));
        let shard = shards.entry(number).or_insert_with(|| KeyShard { keys: Vec::new() });
        shard.keys.push(wire(key, &new));
        let unit = Unit::Keys(shard.clone());
        assert_eq!(call(&mut client, &new), 403);
        let begun = Instant::now();
        gateway.put(&unit);
        while call(&mut client, &new) != 200 {}
        times.push(begun.elapsed());
        assert_eq!(call(&mut client, &value(key)), 429, "both values are one customer, who may call twice");
    }
    times.sort();
    for key in (1..keys).step_by(keys / CHANGES) {
        assert_eq!(call(&mut client, &value(key)), 200);
        assert_eq!(call(&mut client, &value(key)), 429, "counts stay over changes of others");
    }

    let compiled: BTreeMap<u16, meter::KeyShard> =
        shards.iter().map(|(number, shard)| (*number, meter::KeyShard::compile(shard).0)).collect();
    let values: Vec<String> = (0..keys).map(value).collect();
    let begun = Instant::now();
    for value in &values {
        let digest = digest(value.as_bytes());
        assert!(compiled[&shard_of(&digest)].find(&digest).is_some());
    }
    let found = begun.elapsed();

    println!("{keys} keys");
    println!("memory of a key, with what travelled: {:.0} bytes", each(known - before));
    println!("memory of a customer who has called: {:.0} bytes more", each(used - known));
    println!("all put into effect in {:.0} ms", published.as_secs_f64() * 1e3);
    println!("digest and lookup: {:.0} ns", found.as_nanos() as f64 / keys as f64);
    let (median, longest) = (times[times.len() / 2], times[times.len() - 1]);
    println!(
        "a changed key serves after {:.2} ms (median of {}; longest {:.2})",
        median.as_secs_f64() * 1e3,
        times.len(),
        longest.as_secs_f64() * 1e3
    );
}
