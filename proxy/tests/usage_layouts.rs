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
        let port = ["--port".to_owned(), "0".to_owned()];
        let tls = tls_settings(directory, authority, "PORT").into_iter();
        port.into_iter().chain(tls.flat_map(|(option, value)| [format!("--{option}"), value])).collect()
    })
}

/// What makes a server speak TLS at this port, with a certificate of the authority, also to its like.
fn tls_settings(directory: &Path, authority: &Authority, port: &str) -> Vec<(&'static str, String)> {
    write(directory, &authority.server(&["localhost", "127.0.0.1"]), &authority.pem);
    let file = |name: &str| directory.join(name).display().to_string();
    vec![
        ("tls-port", port.to_owned()),
        ("tls-auth-clients", "no".to_owned()),
        ("tls-replication", "yes".to_owned()),
        ("tls-cert-file", file("server.crt")),
        ("tls-key-file", file("server.key")),
        ("tls-ca-cert-file", file("ca.crt")),
    ]
}

each_server!(
    a_server_with_tls_and_password,
    a_cluster,
    sentinels_lead_to_the_primary,
    sentinels_with_tls_lead_to_the_primary,
);

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

/// What a primary, its replica and their sentinel have in common.
#[derive(Clone, Copy)]
struct Ways<'a> {
    server: Server,
    /// The sentinel has the stores' password; else none.
    password: bool,
    /// They speak TLS to each other and to proxies; the port without TLS is for the test's own commands.
    tls: Option<&'a Authority>,
}

/// A server, and the port that others reach it at.
struct Reached {
    store: Store,
    port: u16,
}

impl Ways<'_> {
    fn reached(self, store: Option<Store>, tls: u16) -> Option<Reached> {
        let store = store?;
        let port = if self.tls.is_some() { tls } else { store.address.port() };
        Some(Reached { store, port })
    }

    fn settings(self, directory: &Path, port: u16) -> Vec<(&'static str, String)> {
        self.tls.map_or_else(Vec::new, |authority| tls_settings(directory, authority, &port.to_string()))
    }

    fn store(self, replica_of: Option<u16>) -> Option<Reached> {
        let tls = tollgate_testkit::address_for_a_program().port();
        let store = Store::with(self.server, |directory| {
            let mut all = vec!["--port".to_owned(), "PORT".to_owned()];
            for (option, value) in self.settings(directory, tls) {
                all.extend([format!("--{option}"), value]);
            }
            if let Some(primary) = replica_of {
                all.extend(["--replicaof".to_owned(), "127.0.0.1".to_owned(), primary.to_string()]);
            }
            all
        });
        self.reached(store, tls)
    }

    fn sentinel(self, primary: u16) -> Option<Reached> {
        let tls = tollgate_testkit::address_for_a_program().port();
        let store = Store::sentinel(self.server, |directory| {
            let mut lines: Vec<String> =
                self.settings(directory, tls).iter().map(|(option, value)| format!("{option} {value}")).collect();
            lines.extend([
                format!("sentinel monitor main 127.0.0.1 {primary} 1"),
                format!("sentinel auth-pass main {STORE_PASSWORD}"),
                "sentinel down-after-milliseconds main 1000".to_owned(),
                "sentinel failover-timeout main 5000".to_owned(),
            ]);
            if self.password {
                lines.push(format!("requirepass {STORE_PASSWORD}"));
            }
            lines
        });
        self.reached(store, tls)
    }
}

struct Sentinels {
    primary: Store,
    replica: Store,
    sentinel: Reached,
}

/// A primary, its replica and a sentinel that watches them.
fn sentinels(ways: Ways<'_>) -> Option<Sentinels> {
    let primary = ways.store(None)?;
    let replica = ways.store(Some(primary.port))?;
    let begun = Instant::now();
    while !primary.store.command("INFO replication").contains("state=online") {
        assert!(begun.elapsed() < AMPLE, "there is no replica");
        std::thread::yield_now();
    }
    let sentinel = ways.sentinel(primary.port)?;
    let begun = Instant::now();
    while !sentinel.store.command("SENTINEL REPLICAS main").contains(&replica.port.to_string()) {
        assert!(begun.elapsed() < AMPLE, "the sentinel does not find the replica");
        std::thread::yield_now();
    }
    Some(Sentinels { primary: primary.store, replica: replica.store, sentinel })
}

fn sentinels_lead_to_the_primary(server: Server) {
    for password in [true, false] {
        let Some(servers) = sentinels(Ways { server, password, tls: None }) else { return };
        let url = format!("redis://127.0.0.1:{}", servers.sentinel.port);
        follows_a_failover(&servers, &store_settings(url, Topology::Sentinel("main".into())));
    }
}

fn sentinels_with_tls_lead_to_the_primary(server: Server) {
    let authority = Authority::new("The store's authority");
    for password in [true, false] {
        let Some(servers) = sentinels(Ways { server, password, tls: Some(&authority) }) else { return };
        let way = StoreSettings {
            ca: Some(authority.pem.clone().into_bytes()),
            ..store_settings(format!("rediss://127.0.0.1:{}", servers.sentinel.port), Topology::Sentinel("main".into()))
        };
        let stranger = Authority::new("Somebody else");
        let api = metered_api(1, quota(20));
        for (wrong, why) in [
            (StoreSettings { ca: Some(stranger.pem.into_bytes()), ..way.clone() }, "another authority"),
            (StoreSettings { ca: None, ..way.clone() }, "public authorities"),
            (StoreSettings { urls: vec![way.urls[0].replace("rediss", "redis")], ..way.clone() }, "no TLS"),
            (StoreSettings { password: Some("guess".into()), ..way.clone() }, "another password"),
        ] {
            let proxy = Metered::start(wrong, &api);
            proxy.wait("tollgate_usage_store_connects_total{result=\"failed\"}", |tries| tries > 0.0);
            assert!(proxy.metric("tollgate_usage_store_up") < 1.0, "{why}");
            assert_eq!(proxy.ask(0), 503, "{why}");
        }
        follows_a_failover(&servers, &way);
    }
}

/// Two proxies admit a quota before and after a failover.
fn follows_a_failover(servers: &Sentinels, way: &StoreSettings) {
    let api = metered_api(2, quota(20));
    let proxies = [Metered::up(way.clone(), &api), Metered::up(way.clone(), &api)];
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
    assert_eq!(servers.sentinel.store.command("SENTINEL FAILOVER main"), "+OK");
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
