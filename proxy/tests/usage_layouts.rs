//! The store of usage plans as one server with TLS, as a cluster, and behind sentinels: real Redis and real Valkey (without these the
//! tests say so and prove nothing).

#![expect(clippy::unwrap_used, reason = "a test ends where something unexpected happens")]

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tollgate_proxy::usage::{StoreSettings, Topology};
use tollgate_testkit::{
    Authority, Issued, Metered, STORE_PASSWORD, Server, Store, each_server, metered_api, store_settings,
};

/// Long enough for the slowest machine; nothing waits this long unless it fails.
const AMPLE: Duration = Duration::from_secs(60);

fn quota(limit: usize) -> Value {
    json!({"quota": {"limit": limit, "period": "MONTH"}, "failureMode": "Closed"})
}

/// How many of so many requests of each customer pass, sent through the proxies in turn.
fn admitted(proxies: &[Metered], keys: usize, requests: usize) -> Vec<usize> {
    let passes = |key| (0..requests).filter(|n| proxies[n % proxies.len()].ask(key) == 200).count();
    (0..keys).map(passes).collect()
}

fn write(directory: &Path, issued: &Issued, ca: &str) {
    for (name, text) in [("server.crt", &*issued.certificate), ("server.key", &*issued.key), ("ca.crt", ca)] {
        std::fs::write(directory.join(name), text).unwrap();
    }
}

fn with_tls(server: Server, authority: &Authority) -> Option<Store> {
    Store::with(server, |directory| {
        write(directory, &authority.server(&["localhost", "127.0.0.1"]), &authority.pem);
        let file = |name: &str| directory.join(name).display().to_string();
        let tls = ["--port", "0", "--tls-port", "PORT", "--tls-auth-clients", "no"].map(String::from);
        let files =
            [("--tls-cert-file", "server.crt"), ("--tls-key-file", "server.key"), ("--tls-ca-cert-file", "ca.crt")];
        tls.into_iter().chain(files.into_iter().flat_map(|(option, name)| [option.to_owned(), file(name)])).collect()
    })
}

each_server!(a_server_with_tls_and_password, a_cluster, sentinels_lead_to_the_primary);

fn a_server_with_tls_and_password(server: Server) {
    let authority = Authority::new("The store's authority");
    let Some(store) = with_tls(server, &authority) else { return };
    let api = metered_api(1, quota(10));
    let right = StoreSettings {
        ca: Some(authority.pem.into_bytes()),
        ..store_settings(format!("rediss://{}", store.address), Topology::Single)
    };
    let proxies = [Metered::up(right.clone(), &api), Metered::up(right.clone(), &api)];
    assert_eq!(admitted(&proxies, 1, 20), [10]);

    let stranger = Authority::new("Somebody else");
    for (wrong, why) in [
        (StoreSettings { ca: Some(stranger.pem.into_bytes()), ..right.clone() }, "another authority"),
        (StoreSettings { ca: None, ..right.clone() }, "public authorities"),
        (StoreSettings { password: Some("guess".into()), ..right.clone() }, "another password"),
        (StoreSettings { password: None, ..right.clone() }, "no password"),
        (StoreSettings { urls: vec![format!("redis://{}", store.address)], ..right }, "no TLS"),
    ] {
        let proxy = Metered::start(wrong, &api);
        proxy.wait("tollgate_usage_store_connects_total{result=\"failed\"}", |tries| tries > 0.0);
        assert!(proxy.metric("tollgate_usage_store_up") < 1.0, "{why}");
        assert_eq!(proxy.ask(0), 503, "{why}");
    }
}

fn a_cluster(server: Server) {
    let node = |_: usize| {
        let bus = tollgate_testkit::address_for_a_program().port().to_string();
        let text =
            ["--port", "PORT", "--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-port"];
        let store = Store::with(server, |_| text.map(String::from).into_iter().chain([bus.clone()]).collect())?;
        Some((store, bus))
    };
    let Some(mut nodes) = (0..3).map(node).collect::<Option<Vec<_>>>() else { return };
    for (number, (store, _)) in nodes.iter().enumerate() {
        let slots = ["0 5460", "5461 10922", "10923 16383"][number];
        assert_eq!(store.command(&format!("CLUSTER ADDSLOTSRANGE {slots}")), "+OK");
        assert_eq!(store.command(&format!("CLUSTER SET-CONFIG-EPOCH {}", number + 1)), "+OK");
    }
    for (store, bus) in &nodes[1..] {
        assert_eq!(nodes[0].0.command(&format!("CLUSTER MEET 127.0.0.1 {} {bus}", store.address.port())), "+OK");
    }
    let begun = Instant::now();
    let agree = |store: &Store| {
        let info = store.command("CLUSTER INFO");
        info.contains("cluster_state:ok") && info.contains("cluster_size:3")
    };
    while !nodes.iter().all(|(store, _)| agree(store)) {
        assert!(begun.elapsed() < AMPLE, "the nodes make no cluster");
        std::thread::yield_now();
    }
    let api = metered_api(24, quota(6));
    let way = || store_settings(format!("redis://{}", nodes[0].0.address), Topology::Cluster);
    let proxies = [Metered::up(way(), &api), Metered::up(way(), &api)];
    assert_eq!(admitted(&proxies, 24, 12), [6; 24]);
    for (store, _) in &nodes {
        assert_ne!(store.command("DBSIZE"), ":0", "customers lie on every node");
    }
    // Nobody holds anything any more.
    proxies.iter().for_each(Metered::all_given_back);
    // A node that starts again has its customers still.
    nodes[2].0.kill();
    nodes[2].0.resume();
    for proxy in &proxies {
        let begun = Instant::now();
        while (0..24).any(|key| proxy.ask(key) != 429) {
            assert!(begun.elapsed() < AMPLE, "the proxy does not find the cluster again");
        }
    }
}

struct Sentinels {
    primary: Store,
    replica: Store,
    sentinel: Store,
}

/// A primary, its replica and a sentinel that watches them, which has a password of its own or not.
fn sentinels(server: Server, password: bool) -> Option<Sentinels> {
    let primary = Store::start(server)?;
    let of = primary.address;
    let replica = Store::with(server, |_| {
        let of = of.port().to_string();
        ["--port", "PORT", "--replicaof", "127.0.0.1", &of].map(String::from).into()
    })?;
    let begun = Instant::now();
    while !primary.command("INFO replication").contains("state=online") {
        assert!(begun.elapsed() < AMPLE, "there is no replica");
        std::thread::yield_now();
    }
    let mut lines = vec![
        format!("sentinel monitor main 127.0.0.1 {} 1", of.port()),
        format!("sentinel auth-pass main {STORE_PASSWORD}"),
        "sentinel down-after-milliseconds main 1000".to_owned(),
        "sentinel failover-timeout main 5000".to_owned(),
    ];
    if password {
        lines.push(format!("requirepass {STORE_PASSWORD}"));
    }
    let sentinel = Store::sentinel(server, &lines)?;
    let begun = Instant::now();
    while !sentinel.command("SENTINEL REPLICAS main").contains(&replica.address.port().to_string()) {
        assert!(begun.elapsed() < AMPLE, "the sentinel does not find the replica");
        std::thread::yield_now();
    }
    Some(Sentinels { primary, replica, sentinel })
}

fn sentinels_lead_to_the_primary(server: Server) {
    for password in [true, false] {
        let Some(servers) = sentinels(server, password) else { return };
        let api = metered_api(2, quota(20));
        let way = || store_settings(format!("redis://{}", servers.sentinel.address), Topology::Sentinel("main".into()));
        let proxies = [Metered::up(way(), &api), Metered::up(way(), &api)];
        assert_eq!(admitted(&proxies, 2, 8), [8; 2]);
        proxies.iter().for_each(Metered::all_given_back);
        let begun = Instant::now();
        // The replica has heard of everything.
        let offset = |store: &Store, name: &str| {
            let info = store.command("INFO replication");
            info.split_once(name).and_then(|(_, rest)| rest.split("\r\n").next()).map(str::to_owned)
        };
        while offset(&servers.primary, "master_repl_offset:") != offset(&servers.replica, "slave_repl_offset:") {
            assert!(begun.elapsed() < AMPLE, "the replica does not follow");
        }
        assert_eq!(servers.sentinel.command("SENTINEL FAILOVER main"), "+OK");
        while !servers.replica.command("ROLE").contains("master") {
            assert!(begun.elapsed() < AMPLE, "the replica does not take over");
            std::thread::yield_now();
        }
        // Until the sentinel says the new name and the old primary refuses to write, some get 503.
        let mut passed = 0;
        while passed < 12 {
            assert!(begun.elapsed() < AMPLE, "{passed} of 12 passed after the failover");
            passed += proxies.iter().filter(|proxy| proxy.ask(0) == 200).count();
        }
        assert_eq!(passed, 12);
        for proxy in &proxies {
            assert_ne!(proxy.ask(0), 200, "not one more");
        }
    }
}
