//! A proxy in this process whose usage plans count in a store that it shares with others.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tollgate_proxy::metrics::Metrics;
use tollgate_proxy::settings::Settings;
use tollgate_proxy::usage::{StoreKind, StoreSettings, Topology, shared};

use crate::api::{Api, http};
use crate::backend::{backend, echo};
use crate::gateway::Gateway;
use crate::store::STORE_PASSWORD;

/// Long enough for the slowest machine; nothing waits this long unless it fails.
const AMPLE: Duration = Duration::from_secs(60);

/// A gateway, the counters of its store's task, and what keeps that running.
#[derive(Debug)]
pub struct Metered {
    pub gateway: Gateway,
    /// Of the store's task; the gateway has its own.
    pub metrics: Metrics,
    _task: tokio::runtime::Runtime,
}

impl Metered {
    /// Serves at once, whether the store is there or not.
    pub fn start(settings: StoreSettings, api: &Api) -> Self {
        Self::with(settings, api, |_| {})
    }

    /// The same with other settings.
    pub fn with(settings: StoreSettings, api: &Api, change: impl FnOnce(&mut Settings)) -> Self {
        let metrics = Metrics::new();
        let (store, service) = shared(settings, &metrics);
        let task = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        task.spawn(service.run());
        let mut gateway = Gateway::with_store(StoreKind::Shared(store), change);
        gateway.publish(&api.units());
        Self { gateway, metrics, _task: task }
    }

    /// Waits until it has found the store.
    pub fn up(settings: StoreSettings, api: &Api) -> Self {
        let proxy = Self::start(settings, api);
        proxy.wait_up();
        proxy
    }

    pub fn wait_up(&self) {
        self.wait("tollgate_usage_store_up", |up| up > 0.0);
    }

    /// The value of a series of the store's task; 0 when there is none.
    pub fn metric(&self, series: &str) -> f64 {
        let text = self.metrics.encode();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }

    pub fn wait(&self, series: &str, until: impl Fn(f64) -> bool) {
        let begun = Instant::now();
        while !until(self.metric(series)) {
            assert!(begun.elapsed() < AMPLE, "{series} stays at {}", self.metric(series));
            std::thread::yield_now();
        }
    }

    /// Waits until it has given back all that it leased.
    pub fn all_given_back(&self) {
        self.wait("tollgate_usage_customers_leased", |customers| customers < 1.0);
    }

    /// The status of a request of one customer.
    pub fn ask(&self, customer: usize) -> u16 {
        self.gateway.call(&format!("GET /a\nx-api-key: {}", customer_key(customer))).status
    }
}

/// The API key of a customer of [`metered_api`].
pub fn customer_key(customer: usize) -> String {
    format!("customer-{customer:04}-0123456789")
}

/// `GET /a` for so many customers of one plan.
pub fn metered_api(customers: usize, plan: Value) -> Api {
    let mut metered = http(&format!("http://{}/", backend(echo)));
    metered["route"] = json!({"apiKeyRequired": true, "requires": ["usagePlans"]});
    let api = Api::new(&[("GET /a", metered)]).plan("gold", &["$default"], plan);
    (0..customers)
        .fold(api, |api, customer| api.key(&format!("k{customer}"), &customer_key(customer), &["gold"], &json!({})))
}

/// The way to a store that has [`STORE_PASSWORD`], without an authority of its own.
pub fn store_settings(url: String, topology: Topology) -> StoreSettings {
    StoreSettings { urls: vec![url], topology, password: Some(STORE_PASSWORD.into()), ca: None }
}
