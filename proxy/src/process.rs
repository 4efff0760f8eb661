//! The parts of a proxy put together: workers, the control thread beside them, and how they stop.
//!
//! `tollgate-proxy` ([`run`]) adds the feed and the command line; `tollgate dev` publishes by itself.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, mpsc};
use std::thread::available_parallelism;
use std::time::Duration;

use clap::Parser;
use tokio::runtime::Runtime;
use tracing::{error, info, warn};

use crate::access_log::{AccessLog, Destination};
use crate::admin::{Admin, AdminParts};
use crate::args::{Args, LogFormat};
use crate::feed::{Feed, FeedParts, FeedSettings, HttpTransport};
use crate::health::HealthChecks;
use crate::hosts::Hosts;
use crate::http_client::HttpClient;
use crate::jwks::Jwks;
use crate::metrics::Metrics;
use crate::readiness::Readiness;
use crate::server::{Server, Services, StartError};
use crate::settings::{ConnectionLimits, Drain, Settings, UNLIMITED};
use crate::spans::{SpanSettings, Spans};
use crate::state::Store;
use crate::tls::{Certificates, ClientConfigs, Pair, control_config};
use crate::units::Publisher;
use crate::usage::{self, StoreKind, StoreSettings, Topology, UsageMeters};

/// What a proxy is made of.
#[derive(Debug)]
pub struct Options {
    /// Listeners, workers, limits.
    pub settings: Settings,
    /// Directories with certificates of the HTTPS listener.
    pub certificates: Vec<PathBuf>,
    /// Shown where no other certificate fits.
    pub fallback_certificate: Option<Pair>,
    /// Where access-log entries go.
    pub access_log: Destination,
    /// Where spans go; `None`: nowhere.
    pub spans: Option<SpanSettings>,
    /// Where counts of usage plans are kept.
    pub usage: StoreKind,
    /// Shared with other proxies instead.
    pub usage_store: Option<StoreSettings>,
}

/// How long a leaving proxy waits for the collector of spans.
const FLUSH_SPANS: Duration = Duration::from_secs(3);

/// Why a process does not start.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The workers do not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The log file cannot be opened.
    #[error("the access log cannot be opened: {0}")]
    AccessLog(#[source] std::io::Error),
    /// The control thread does not start.
    #[error("starting the control thread failed: {0}")]
    Control(#[source] std::io::Error),
    /// The state directory cannot be used.
    #[error("the state directory {path} cannot be used: {source}; choose another with --state", path = path.display())]
    State {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file for the store of usage plans cannot be read.
    #[error("{path} cannot be read: {source}; see --usage-store", path = path.display())]
    StoreFile {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The admin port's address cannot be had.
    #[error(
        "cannot listen on {address}: {source}; stop the program that uses the address, or choose another with --admin"
    )]
    Admin {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// The certificates that are trusted cannot be used.
    #[error("trusted certificates cannot be used: {0}")]
    Trust(#[from] crate::tls::BadTrust),
}

/// A running proxy with everything beside its workers.
#[derive(Debug)]
pub struct Process {
    server: Server,
    control: Runtime,
    access_log: AccessLog,
    /// Says nothing; its other end is dropped when every span is sent or given up.
    spans_sent: mpsc::Receiver<Infallible>,
    /// What customers of usage plans have used.
    pub usage: UsageMeters,
    /// Counts of everything.
    pub metrics: Metrics,
    /// Whether traffic should come.
    pub readiness: Readiness,
    /// Keys of identity providers.
    pub jwks: Jwks,
}

impl Process {
    /// Starts the workers and the control thread. Nothing is served before something is published.
    ///
    /// # Errors
    /// An address is taken, or a file cannot be used.
    pub fn start(options: Options) -> Result<Self, ProcessError> {
        let Options { settings, certificates, fallback_certificate, access_log, spans, usage, usage_store } = options;
        // One thread, beside the workers: it must not wait behind their requests.
        let control = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("control")
            .enable_all()
            .build()
            .map_err(ProcessError::Control)?;
        let metrics = Metrics::new();
        let usage = match usage_store {
            None => usage,
            Some(settings) => {
                let (shared, service) = usage::shared(settings, &metrics);
                control.spawn(service.run());
                StoreKind::Shared(shared)
            }
        };
        let usage = UsageMeters::new(usage);
        let access_log = AccessLog::start(&access_log, &metrics).map_err(ProcessError::AccessLog)?;
        let client = HttpClient::new(control_config(None)?, settings.hosts.clone());
        let (jwks, fetching) = Jwks::new(&metrics);
        control.spawn(fetching.run(client.clone()));
        let (exporting, spans_sent) = mpsc::channel();
        let spans = match &spans {
            None => Spans::off(),
            Some(settings) => {
                let (spans, exporter) = Spans::to(settings, &metrics);
                control.spawn(async move {
                    exporter.run(client).await;
                    drop(exporting);
                });
                spans
            }
        };
        let server_tls = match settings.tls_listen {
            None => None,
            Some(_) => {
                let certificates = Certificates::new(certificates, fallback_certificate, &metrics);
                let config = certificates.server_config()?;
                control.spawn(certificates.watch());
                Some(config)
            }
        };
        let (client_tls, checks) = (ClientConfigs::from_system(), HealthChecks::default());
        control.spawn(checks.clone().run(client_tls.clone()));
        let services = Services {
            metrics: metrics.clone(),
            access_log: access_log.clone(),
            jwks: jwks.clone(),
            client_tls,
            checks,
            spans,
            usage: usage.clone(),
            server_tls,
        };
        let server = Server::start(&settings, &services)?;
        Ok(Self { server, control, access_log, spans_sent, usage, metrics, readiness: Readiness::default(), jwks })
    }

    /// The door for configuration.
    pub fn publisher(&self) -> Arc<dyn Publisher> {
        self.server.publisher()
    }

    /// Where plain HTTP is served.
    pub fn listen(&self) -> Option<SocketAddr> {
        self.server.listen()
    }

    /// Where HTTPS is served.
    pub fn tls_listen(&self) -> Option<SocketAddr> {
        self.server.tls_listen()
    }

    /// Leaves (see [`Drain`]): not ready, then what is in flight is finished, then the log is written out and spans are sent.
    pub fn drain(self) {
        self.readiness.set_leaving();
        self.server.drain();
        self.access_log.finish();
        // With the workers the last sender of spans is gone. A collector that does not answer holds nobody up.
        if self.spans_sent.recv_timeout(FLUSH_SPANS) == Err(mpsc::RecvTimeoutError::Timeout) {
            warn!("spans are left unsent: their collector does not take them in time");
        }
        self.usage.settle();
        self.control.shutdown_background();
    }
}

/// How many workers run when nothing is said: one per CPU that this process may use.
pub fn default_workers() -> std::num::NonZeroUsize {
    available_parallelism().unwrap_or(std::num::NonZeroUsize::MIN)
}

/// The program `tollgate-proxy`, from its command line to its end.
pub fn run() -> ExitCode {
    let args = Args::parse();
    let log = crate::telemetry::start(&args.log, args.log_format == LogFormat::Json);
    let problems = args.problems();
    if !problems.is_empty() {
        for problem in problems {
            eprintln!("tollgate-proxy: {problem}");
        }
        return ExitCode::from(64);
    }
    match serve(args, log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tollgate-proxy: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(args: Args, log: crate::telemetry::LogFilter) -> Result<(), ProcessError> {
    let Args {
        listen,
        tls_listen,
        tls_certificate,
        admin,
        feed,
        feed_ca,
        feed_token,
        fleet,
        name,
        state,
        workers,
        base_domain,
        account_id,
        account_throttle,
        region,
        min_drain,
        max_drain,
        access_log,
        usage_store,
        usage_store_topology,
        usage_store_password_file,
        usage_store_ca,
        shared_throttles,
        otlp_endpoint,
        trace_ratio,
        proxy_protocol,
        trusted_hops,
        via,
        log: _,
        log_format: _,
    } = args;
    let usage_store = store_settings(usage_store, usage_store_topology, usage_store_password_file, usage_store_ca)?;
    let store = match state {
        None => None,
        Some(path) => Some(Store::open(&path).map_err(|source| ProcessError::State { path, source })?),
    };
    let settings = Settings {
        listen,
        tls_listen,
        workers: workers.unwrap_or_else(default_workers),
        base_domain,
        account_id,
        account: account_throttle.map_or(UNLIMITED, |limit| limit.0),
        share_throttles: shared_throttles,
        region,
        limits: ConnectionLimits::default(),
        proxy_protocol,
        trusted_hops,
        via,
        wait_for_configuration: false,
        hosts: Hosts::default(),
        drain: Drain { min: min_drain.0, max: max_drain.0 },
    };
    let process = Process::start(Options {
        settings,
        certificates: tls_certificate,
        fallback_certificate: None,
        access_log,
        usage: StoreKind::Memory,
        usage_store,
        spans: otlp_endpoint.map(|endpoint| SpanSettings { endpoint, ratio: trace_ratio, instance: name.clone() }),
    })?;
    let feed_settings = FeedSettings {
        controllers: feed,
        ca_file: feed_ca,
        token_file: feed_token,
        fleet,
        proxy: name,
        session: format!("{:016x}", fastrand::u64(..)),
    };
    let parts = FeedParts {
        publisher: process.publisher(),
        readiness: process.readiness.clone(),
        jwks: process.jwks.clone(),
        usage: process.usage.clone(),
        store,
        metrics: process.metrics.clone(),
    };
    let feed = Feed::new(feed_settings, parts);
    let parts = AdminParts {
        metrics: process.metrics.clone(),
        readiness: process.readiness.clone(),
        view: feed.view(),
        usage: process.usage.clone(),
        log: Arc::new(log),
    };
    // It answers until the process ends, also while the proxy drains.
    let _admin = Admin::start(admin, parts).map_err(|source| ProcessError::Admin { address: admin, source })?;
    info!(listen = ?process.listen(), tls_listen = ?process.tls_listen(), "started");
    process.control.spawn(feed.clone().run());
    process.control.block_on(stop_signal());
    info!("stopping: not ready any more, finishing what is in flight");
    process.readiness.set_leaving();
    leave(&process, &feed);
    process.drain();
    Ok(())
}

/// Where the counts of usage plans are shared, if anywhere.
fn store_settings(
    urls: Vec<String>,
    topology: Topology,
    password_file: Option<PathBuf>,
    ca: Option<PathBuf>,
) -> Result<Option<StoreSettings>, ProcessError> {
    if urls.is_empty() {
        return Ok(None);
    }
    let read = |path: PathBuf| std::fs::read(&path).map_err(|source| ProcessError::StoreFile { path, source });
    let password = password_file.map(read).transpose()?;
    let password = password.map(|bytes| String::from_utf8_lossy(&bytes).trim_end().to_owned());
    Ok(Some(StoreSettings { urls, topology, password, ca: ca.map(read).transpose()? }))
}

fn leave(process: &Process, feed: &Feed<HttpTransport>) {
    let feed = feed.clone();
    // Controllers that do not answer must not hold up the drain.
    process.control.spawn(async move { feed.leave().await });
}

/// SIGTERM, as a kubelet sends it, or SIGINT.
async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(mut terminate), Ok(mut interrupt)) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        }
        _ => {
            error!("signals cannot be received: stop this process with SIGKILL");
            std::future::pending::<()>().await;
        }
    }
}
