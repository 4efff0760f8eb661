//! A running proxy: worker threads, and the door through which configuration reaches them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use tokio::sync::mpsc;
use tollgate_engine::throttle::Bucket;

use crate::access_log::AccessLog;
use crate::connection::Kind;
use crate::health::HealthChecks;
use crate::jwks::Jwks;
use crate::metrics::Metrics;
use crate::publish::{Publication, TlsConfigs};
use crate::settings::Settings;
use crate::spans::Spans;
use crate::tls::{ClientConfigs, DomainConfigs};
use crate::units::Publisher;
use crate::usage::UsageMeters;
use crate::worker::{self, Command};

/// What the workers share with the rest of the process.
#[derive(Clone, Debug)]
pub struct Services {
    /// Where workers count.
    pub metrics: Metrics,
    /// Where access-log entries go.
    pub access_log: AccessLog,
    /// Keys of identity providers.
    pub jwks: Jwks,
    /// Trust towards backends.
    pub client_tls: ClientConfigs,
    /// What asks endpoints behind links whether they are well; [`HealthChecks::run`] has to run somewhere.
    pub checks: HealthChecks,
    /// Where spans go.
    pub spans: Spans,
    /// What customers of usage plans have used.
    pub usage: UsageMeters,
    /// Certificates of the HTTPS listener.
    pub server_tls: Option<Arc<rustls::ServerConfig>>,
}

/// Why a proxy does not start. Each names the setting and the fix.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener's address cannot be had.
    #[error(
        "cannot listen on {address}: {source}; stop the program that uses the address, or choose another with --{flag}"
    )]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The command-line flag that sets it.
        flag: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// An HTTPS listener without certificates.
    #[error("--tls-listen is set, but there is no certificate: add --tls-certificate DIR")]
    NoCertificate,
    /// Neither listener is set.
    #[error("there is nothing to listen on: set --listen or --tls-listen")]
    NoListener,
    /// A thread could not be started.
    #[error("starting a worker thread failed: {0}")]
    Thread(#[source] std::io::Error),
}

/// A running proxy.
#[derive(Debug)]
pub struct Server {
    publication: Arc<Publication>,
    commands: Vec<mpsc::UnboundedSender<Command>>,
    threads: Vec<JoinHandle<std::io::Result<()>>>,
    listen: Option<SocketAddr>,
    tls_listen: Option<SocketAddr>,
}

impl Server {
    /// Binds the listeners and starts the workers. They answer 503 until something is published (promise P4).
    ///
    /// # Errors
    /// An address is taken, or a setting is missing.
    pub fn start(settings: &Settings, services: &Services) -> Result<Self, StartError> {
        let epoch = Instant::now();
        services.usage.begin(epoch, services.metrics.control());
        let plain =
            settings.listen.map(|address| Listener::open(address, "listen", Kind::Plain, settings)).transpose()?;
        let tls = match (settings.tls_listen, &services.server_tls) {
            (None, _) => None,
            (Some(_), None) => return Err(StartError::NoCertificate),
            (Some(address), Some(config)) => {
                Some(Listener::open(address, "tls-listen", Kind::Tls(Arc::clone(config)), settings)?)
            }
        };
        let (listen, tls_listen) = (plain.as_ref().map(|l| l.address), tls.as_ref().map(|l| l.address));
        let mut listeners: Vec<Listener> = plain.into_iter().chain(tls).collect();
        if listeners.is_empty() {
            return Err(StartError::NoListener);
        }
        let account = settings.account.rate.is_finite().then(|| Arc::new((settings.account.limit(), Bucket::new())));
        let shared = settings.share_throttles.then(|| services.usage.clone());
        let limit = account.as_deref().map(|(limit, _)| limit);
        let shared_account = shared.as_ref().zip(limit).and_then(|(usage, limit)| usage.throttle("", "account", limit));
        let mut commands = Vec::new();
        let mut threads = Vec::new();
        for number in 0..settings.workers.get() {
            let (sender, receiver) = mpsc::unbounded_channel();
            let sockets = listeners.iter_mut().map(|listener| listener.of_worker(settings));
            let start = worker::Start {
                settings: settings.clone(),
                listeners: sockets.collect::<Result<_, _>>()?,
                commands: receiver,
                services: services.clone(),
                account: account.clone(),
                shared_account: shared_account.clone(),
                epoch,
            };
            let thread = std::thread::Builder::new().name(format!("worker-{number}"));
            threads.push(thread.spawn(move || worker::run(start)).map_err(StartError::Thread)?);
            commands.push(sender);
        }
        let tls = TlsConfigs {
            backends: services.client_tls.clone(),
            domains: services.server_tls.clone().map(DomainConfigs::new),
        };
        let publication = Publication::new(
            (settings.base_domain.clone(), settings.account_id.clone()),
            (settings.account, shared),
            services.jwks.clone(),
            tls,
            services.checks.clone(),
            commands.clone(),
            epoch,
        );
        Ok(Self { publication: Arc::new(publication), commands, threads, listen, tls_listen })
    }

    /// The door for configuration.
    pub fn publisher(&self) -> Arc<dyn Publisher> {
        Arc::clone(&self.publication) as Arc<dyn Publisher>
    }

    /// Where plain HTTP is served; the port is the real one if 0 was asked for.
    pub fn listen(&self) -> Option<SocketAddr> {
        self.listen
    }

    /// Where HTTPS is served.
    pub fn tls_listen(&self) -> Option<SocketAddr> {
        self.tls_listen
    }

    /// Tells the workers to leave and waits until they have (see [`crate::settings::Drain`]). Readiness is the caller's to withdraw
    /// first.
    pub fn drain(self) {
        for worker in &self.commands {
            // One that has already ended needs no telling.
            let _ = worker.send(Command::Drain);
        }
        for thread in self.threads {
            match thread.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, "a worker ended with an error"),
                Err(_) => tracing::error!("a worker panicked"),
            }
        }
    }
}

/// One address with a socket per worker.
#[derive(Debug)]
struct Listener {
    address: SocketAddr,
    flag: &'static str,
    kind: Kind,
    first: Option<std::net::TcpListener>,
}

impl Listener {
    fn open(address: SocketAddr, flag: &'static str, kind: Kind, settings: &Settings) -> Result<Self, StartError> {
        let failed = |source| StartError::Bind { address, flag, source };
        let workers = settings.workers.get();
        if address.port() != 0 {
            // Sockets that share a port would also share it with another program of this user; asking for the port alone first
            // finds that out.
            drop(worker::bind(address, 1).map_err(failed)?);
        }
        let first = worker::bind(address, workers).map_err(failed)?;
        let address = first.local_addr().map_err(failed)?;
        Ok(Self { address, flag, kind, first: Some(first) })
    }

    fn of_worker(&mut self, settings: &Settings) -> Result<(std::net::TcpListener, Kind), StartError> {
        let socket = match self.first.take() {
            Some(first) => first,
            None => worker::bind(self.address, settings.workers.get()).map_err(|source| StartError::Bind {
                address: self.address,
                flag: self.flag,
                source,
            })?,
        };
        Ok((socket, self.kind.clone()))
    }
}
