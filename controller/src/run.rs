//! Puts the parts together, and takes them apart in the right order.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Context;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use rustls::crypto::aws_lc_rs;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tollgate_translate::Translator;
use tracing::info;

use crate::admin::{self, Admin};
use crate::board::Board;
use crate::ca::store::Keeper;
use crate::feed::auth::{ApiServer, Gate};
use crate::feed::hub::Hub;
use crate::feed::server::{self, Feed};
use crate::feed::tls::{self, Certificate};
use crate::history::restore::{self, Restorer};
use crate::history::{self, Records};
use crate::metrics::Metrics;
use crate::publisher::Publisher;
use crate::shared::Fleets;
use crate::{Settings, generated, lease, referenced, status, telemetry, usage, watch as watches};

/// Messages between the watches and the owner of the world; when it is full, the watches wait.
const MESSAGES: usize = 1024;
/// How often silent proxies are looked for.
const EXPIRE: Duration = Duration::from_secs(1);

/// Runs the controller until SIGTERM or SIGINT.
///
/// # Errors
/// When an address cannot be bound or no credentials for the API server are found.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    let Settings {
        feed_listen,
        admin_listen,
        namespace,
        identity,
        base_domain,
        https,
        feed_names,
        proxy_accounts,
        watch_namespaces,
        log,
        log_json,
        lease: timings,
        proxy_timeout,
        kubeconfig,
    } = settings;
    let log = telemetry::start(&log, log_json);
    // A second call in one process (tests) finds the same provider.
    let _ = aws_lc_rs::default_provider().install_default();
    let mut stopped = Stop::listen()?;

    // Bound early: an address in use is reported at once, and probes find somebody.
    let feed_listener = TcpListener::bind(feed_listen).await.with_context(|| format!("--feed-listen {feed_listen}"))?;
    let admin_listener =
        TcpListener::bind(admin_listen).await.with_context(|| format!("--admin-listen {admin_listen}"))?;
    let client = client(kubeconfig.as_deref()).await?;

    let metrics = Metrics::new();
    let certificate = Arc::new(Certificate::default());
    let published = Arc::new(AtomicBool::new(false));
    let (hub, fleets, board) = (Arc::new(Hub::default()), Arc::new(Fleets::default()), Arc::new(Board::default()));
    let records = Arc::new(Records::default());
    let (stop_sender, stop) = watch::channel(false);
    let (leader_sender, leader) = watch::channel(false);

    let admin = Admin {
        metrics: metrics.clone(),
        log,
        published: Arc::clone(&published),
        certificate: Arc::clone(&certificate),
        stop: stop.clone(),
    };
    tokio::spawn(admin::serve(admin_listener, Arc::new(admin)));

    let (to, messages) = mpsc::channel(MESSAGES);
    let (wanted, wanted_receiver) = watch::channel(BTreeSet::new());
    let lists = watches::start(&client, &watch_namespaces, &metrics.watch, &to);
    let (load, places) = mpsc::channel(restore::WAITING);
    tokio::spawn(restore::load(client.clone(), places, to.clone()));
    tokio::spawn(referenced::run(client.clone(), wanted_receiver, to.clone()));
    let (generate, generating) = mpsc::channel(generated::WAITING);
    let (news, told) = mpsc::channel(status::events::WAITING);
    tokio::spawn(status::events::run(client.clone(), identity.clone(), metrics.status.events.clone(), told));
    tokio::spawn(generated::run(client.clone(), generating, leader.clone(), to, news));
    let publisher = Publisher {
        translator: Translator::new(tollgate_translate::Settings { base_domain, https }),
        hub: Arc::clone(&hub),
        fleets: Arc::clone(&fleets),
        board: Arc::clone(&board),
        records: Arc::clone(&records),
        wanted,
        published: Arc::clone(&published),
        metrics: metrics.clone(),
        restorer: Restorer::default(),
        load,
        generate,
    };
    let publishing = tokio::spawn(publisher.run(lists, messages));

    let gauge = metrics.leader.clone();
    let election =
        lease::run(client.clone(), namespace.clone(), identity.clone(), timings, leader_sender, gauge, stop.clone());
    let election = tokio::spawn(election);
    let keeper = Keeper::new(client.clone(), &namespace, feed_names, Arc::clone(&certificate));
    tokio::spawn(keeper.run(leader.clone()));
    let writer = status::writer::Writer::new(
        client.clone(),
        identity,
        Arc::clone(&board),
        Arc::clone(&fleets),
        metrics.status.clone(),
    );
    tokio::spawn(writer.run(leader.clone()));
    tokio::spawn(usage::run(client.clone(), Arc::clone(&fleets), Arc::clone(&board), leader.clone()));
    tokio::spawn(history::writer::run(client.clone(), records, board, leader));
    tokio::spawn(expire(Arc::clone(&fleets), proxy_timeout));

    let feed = Feed {
        hub,
        gate: Gate::new(ApiServer(client), proxy_accounts),
        fleets,
        published,
        metrics: metrics.feed,
        stop,
    };
    let feed = tokio::spawn(server::serve(feed_listener, tls::server_config(certificate), Arc::new(feed)));
    info!(%feed_listen, %admin_listen, version = env!("CARGO_PKG_VERSION"), "started");

    tokio::select! {
        () = stopped.wait() => info!("stopping"),
        // The owner of the world never ends by itself: with it gone nothing would be published any more.
        ended = publishing => anyhow::bail!("publishing ended: {ended:?}"),
    }
    stop_sender.send_replace(true);
    // Proxies are sent to the other replica, and the other replica gets the lease.
    let _ = tokio::join!(feed, election);
    Ok(())
}

async fn client(kubeconfig: Option<&std::path::Path>) -> anyhow::Result<Client> {
    let mut config = match kubeconfig {
        Some(path) => {
            let kubeconfig = Kubeconfig::read_from(path).with_context(|| format!("--kubeconfig {}", path.display()))?;
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?
        }
        None => match Config::incluster() {
            Ok(config) => config,
            Err(_) => Config::infer().await.context("no credentials for the API server")?,
        },
    };
    // Each part retries in its own way: status writing slows down as a whole, a lease must not wait.
    config.default_retry = false;
    Client::try_from(config).context("the client for the API server")
}

async fn expire(fleets: Arc<Fleets>, timeout: Duration) {
    let mut ticks = tokio::time::interval(EXPIRE);
    loop {
        ticks.tick().await;
        fleets.expire(timeout, Instant::now());
    }
}

/// The signals that end the program.
struct Stop {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Stop {
    fn listen() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
