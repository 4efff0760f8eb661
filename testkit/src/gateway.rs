//! A proxy in this process.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tollgate_engine::meter::{Digest, shard_of};
use tollgate_engine::snapshot::{ContentHash, Unit, UnitId, UnitReport};
use tollgate_proxy::access_log::AccessLog;
use tollgate_proxy::health::HealthChecks;
use tollgate_proxy::hosts::Hosts;
use tollgate_proxy::http_client::HttpClient;
use tollgate_proxy::jwks::Jwks;
use tollgate_proxy::metrics::Metrics;
use tollgate_proxy::spans::Spans;
use tollgate_proxy::tls::ClientConfigs;
use tollgate_proxy::units::{Batch, Held, UnitSet};
use tollgate_proxy::usage::{StoreKind, UsageMeters};
use tollgate_proxy::{Server, Services, Settings};

use crate::backend::Identity;
use crate::client::{Client, Reply};

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    server: Option<Server>,
    pub metrics: Metrics,
    pub address: SocketAddr,
    /// Where it serves HTTPS, if its settings have a `tls_listen`.
    pub tls_address: Option<SocketAddr>,
    /// What it shows there: a certificate for `*.execute-api.gw.example`.
    pub certificate: String,
    pub log: Arc<Mutex<Vec<u8>>>,
    access_log: AccessLog,
    units: UnitSet,
}

struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Gateway {
    /// A gateway without any configuration.
    pub fn empty() -> Self {
        Self::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut Settings)) -> Self {
        Self::with_store(StoreKind::Memory, change)
    }

    /// A gateway whose usage plans count in `store`.
    pub fn with_store(store: StoreKind, change: impl FnOnce(&mut Settings)) -> Self {
        let metrics = Metrics::new();
        let log = Arc::new(Mutex::new(Vec::new()));
        let access_log = AccessLog::to_writer(Box::new(Shared(Arc::clone(&log))), &metrics).unwrap();
        let mut settings = settings();
        change(&mut settings);
        let identity = Identity::of("*.execute-api.gw.example");
        let client_tls = ClientConfigs::from_system();
        let services = Services {
            metrics: metrics.clone(),
            access_log: access_log.clone(),
            jwks: keys(&metrics),
            client_tls: client_tls.clone(),
            checks: checks(client_tls),
            spans: Spans::off(),
            usage: UsageMeters::new(store),
            server_tls: settings.tls_listen.map(|_| Arc::clone(&identity.server)),
        };
        let server = Server::start(&settings, &services).unwrap();
        let address = server.listen().unwrap();
        let tls_address = server.tls_listen();
        let certificate = identity.pem;
        let units = UnitSet::default();
        Self { server: Some(server), metrics, address, tls_address, certificate, log, access_log, units }
    }

    /// Publishes these units and nothing else.
    pub fn publish(&mut self, units: &[Unit]) -> Vec<UnitReport> {
        self.units = self.units.apply(complete(units)).unwrap();
        self.server.as_ref().unwrap().publisher().publish(&self.units)
    }

    /// Publishes one unit more, or instead of the one with its name, as the feed would: all others stay what they are.
    pub fn put(&mut self, unit: &Unit) -> Vec<UnitReport> {
        let mut batch = Batch::new(false);
        let (id, hash) = named(unit);
        batch.put(id, Held { hash, unit: unit.clone(), bytes: 1 }).unwrap();
        self.units = self.units.apply(batch).unwrap();
        self.server.as_ref().unwrap().publisher().publish(&self.units)
    }

    pub fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// One request on a connection of its own.
    pub fn call(&self, request: &str) -> Reply {
        self.connect().call(request)
    }

    /// Stops the gateway on a thread of its own, so that the test can watch it leave.
    pub fn drain(&mut self) -> std::thread::JoinHandle<()> {
        let server = self.server.take().unwrap();
        std::thread::spawn(move || server.drain())
    }

    /// The value of a metric whose line begins with `series`; 0 when there is none.
    pub fn metric(&self, series: &str) -> f64 {
        let text = self.metrics.encode();
        let line = text.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')));
        line.map_or(0.0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    }

    /// Waits until a metric has this value.
    pub fn await_metric(&self, series: &str, value: f64) {
        let begun = Instant::now();
        while (self.metric(series) - value).abs() > 1e-6 {
            assert!(begun.elapsed() < Duration::from_secs(20), "{series} is {}, not {value}", self.metric(series));
            std::thread::yield_now();
        }
    }

    /// Stops the gateway and gives the access log.
    pub fn stop(mut self) -> String {
        self.server.take().unwrap().drain();
        self.access_log.finish();
        let log = self.log.lock().unwrap();
        String::from_utf8(log.clone()).unwrap()
    }
}

/// One worker on a free port of loopback.
pub fn settings() -> Settings {
    Settings {
        listen: Some("127.0.0.1:0".parse().unwrap()),
        base_domain: "gw.example".to_owned(),
        ..Settings::default()
    }
}

/// A set of these units and nothing else, for a publisher.
pub fn unit_set(units: &[Unit]) -> UnitSet {
    UnitSet::default().apply(complete(units)).unwrap()
}

fn complete(units: &[Unit]) -> Batch {
    let mut batch = Batch::new(true);
    for unit in units {
        let (id, hash) = named(unit);
        batch.put(id, Held { hash, unit: unit.clone(), bytes: 1 }).unwrap();
    }
    batch
}

/// What a unit is called, and the hash of its content.
pub(crate) fn named(unit: &Unit) -> (UnitId, ContentHash) {
    let hash = ContentHash::of(unit);
    match unit {
        Unit::Deployment(deployment) => {
            let hash = ContentHash::of(deployment);
            (UnitId::deployment(&hash), hash)
        }
        Unit::Stage(stage) => (UnitId::stage(&stage.api.api_id, &stage.stage_name), hash),
        Unit::Credentials(keys) => (UnitId::credentials(&keys.api_id, &keys.secret), hash),
        Unit::Principals(principals) => (UnitId::principals(&principals.namespace), hash),
        Unit::Endpoints(endpoints) => (UnitId::endpoints(&endpoints.service), hash),
        Unit::Plan(plan) => (UnitId::plan(&plan.source), hash),
        Unit::Keys(keys) => {
            let first = Digest::from_hex(&keys.keys[0].digest).unwrap();
            (UnitId::keys(shard_of(&first)), hash)
        }
        Unit::Link(link) => (UnitId::link(&link.link), hash),
        Unit::Domain(domain) => (UnitId::domain(&domain.domain_name), hash),
        Unit::Certificate(certificate) => (UnitId::certificate(&certificate.domain_name), hash),
        Unit::Unknown => panic!("a unit to publish is known"),
    }
}

/// Checks of endpoints behind links, on a thread that ends with the test program.
fn checks(trust: ClientConfigs) -> HealthChecks {
    let checks = HealthChecks::default();
    let service = checks.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(service.run(trust));
    });
    checks
}

/// Keys of identity providers, fetched on a thread that ends with the test program.
fn keys(metrics: &Metrics) -> Jwks {
    let (jwks, service) = Jwks::new(metrics);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let tls = tollgate_proxy::tls::control_config(None).unwrap();
        runtime.block_on(service.run(HttpClient::new(tls, Hosts::default())));
    });
    jwks
}
