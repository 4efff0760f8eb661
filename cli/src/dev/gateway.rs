//! The proxy within this process.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use tokio::runtime::Handle;
use tollgate_engine::snapshot::AuthorizerReport;
use tollgate_engine::throttle::AccountLimit;
use tollgate_proxy::access_log::{AccessLog, Destination};
use tollgate_proxy::hosts::Hosts;
use tollgate_proxy::http_client::HttpClient;
use tollgate_proxy::jwks::Jwks;
use tollgate_proxy::metrics::Metrics;
use tollgate_proxy::settings::{ConnectionLimits, Drain};
use tollgate_proxy::spans::Spans;
use tollgate_proxy::tls::{Certificates, ClientConfigs, control_config, self_signed};
use tollgate_proxy::{Server, Services, Settings};

use super::Options;

/// Requests in flight when the program is asked to end are waited for this long.
const DRAIN: Duration = Duration::from_secs(2);

/// A running proxy and what belongs to it.
#[derive(Debug)]
pub struct Gateway {
    /// Workers and listeners.
    pub server: Server,
    /// Names of Services.
    pub hosts: Hosts,
    jwks: Jwks,
    access_log: AccessLog,
}

impl Gateway {
    /// Binds and starts; answers 503 until something is published.
    ///
    /// # Errors
    ///
    /// When an address is taken or the certificate cannot be made or kept.
    pub fn start(options: &Options, runtime: &Handle) -> anyhow::Result<Self> {
        let metrics = Metrics::new();
        let hosts = Hosts::default();
        let (jwks, keys) = Jwks::new(&metrics);
        let client = HttpClient::new(control_config(None)?, hosts.clone());
        runtime.spawn(keys.run(client));
        let access_log = AccessLog::start(&Destination::Stdout, &metrics)?;
        let certificates = options.tls_listen.map(|_| certificates(options.state.as_deref(), &metrics)).transpose()?;
        let services = Services {
            metrics,
            access_log: access_log.clone(),
            jwks: jwks.clone(),
            client_tls: ClientConfigs::from_system(),
            spans: Spans::off(),
            server_tls: certificates.map(|certificates| certificates.server_config()).transpose()?,
        };
        let settings = Settings {
            listen: Some(options.listen),
            tls_listen: options.tls_listen,
            workers: options.workers.unwrap_or(default_workers()),
            base_domain: "localhost".to_owned(),
            account_id: "000000000000".to_owned(),
            region: "local".to_owned(),
            limits: ConnectionLimits::default(),
            proxy_protocol: false,
            trusted_hops: 0,
            hosts: hosts.clone(),
            drain: Drain { min: Duration::ZERO, max: DRAIN },
        };
        let server = Server::start(&settings, AccountLimit::default(), &services)?;
        Ok(Self { server, hosts, jwks, access_log })
    }

    /// Where it listens, with the ports that the system chose for 0.
    pub fn listeners(&self) -> (SocketAddr, Option<SocketAddr>) {
        (self.server.listen().expect("--listen has a default"), self.server.tls_listen())
    }

    /// Issuers whose keys cannot be had at the moment.
    pub fn issuers_in_trouble(&self) -> Vec<AuthorizerReport> {
        self.jwks.reports()
    }

    /// Finishes what is in flight and ends.
    pub fn stop(self) {
        self.server.drain();
        self.access_log.finish();
    }
}

/// Two: enough to find out what one worker hides, without filling a laptop.
fn default_workers() -> NonZeroUsize {
    const TWO: NonZeroUsize = NonZeroUsize::new(2).expect("two is not zero");
    std::thread::available_parallelism().map_or(NonZeroUsize::MIN, |cores| cores.min(TWO))
}

fn certificates(state: Option<&Path>, metrics: &Metrics) -> anyhow::Result<Certificates> {
    let names = ["localhost", "*.localhost", "*.execute-api.localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let keep_in = state.map(|state| state.join("tls"));
    let pair =
        self_signed(&names, keep_in.as_deref()).context("the certificate for --tls-listen cannot be made or kept")?;
    Ok(Certificates::new(Vec::new(), Some(pair), metrics))
}
