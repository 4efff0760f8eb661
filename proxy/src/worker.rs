//! One worker: a thread with its own runtime, listeners, connections, upstream pools and counters.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tollgate_engine::throttle::{Bucket, Limit};
use tracing::{debug, warn};

use crate::access_log::WorkerLog;
use crate::authorize::TokenCaches;
use crate::client_io::Connections;
use crate::connection::{self, Kind};
use crate::deadlines::Deadlines;
use crate::gateway::Gateway;
use crate::metrics::{Counter, WorkerMetrics};
use crate::server::Services;
use crate::settings::Settings;
use crate::spans::WorkerSpans;
use crate::upstream::{Connector, Upstreams};
use crate::usage::{Moment, SharedThrottle, UsageMeters};
use crate::view::Views;

/// What a worker is told from outside.
#[derive(Debug)]
pub(crate) enum Command {
    /// Serve this from now on.
    Serve(Arc<Gateway>),
    /// Leave (see [`crate::settings::Drain`]).
    Drain,
}

/// A gateway in use. Cloning the [`Rc`] around it stays on this thread; the count inside is touched once per change.
#[derive(Debug)]
pub(crate) struct Current(Arc<Gateway>);

impl std::ops::Deref for Current {
    type Target = Gateway;

    fn deref(&self) -> &Gateway {
        &self.0
    }
}

/// What limits the requests of a route, or all requests.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Throttle<'a> {
    None,
    /// Of this proxy alone.
    Own(&'a Limit, &'a Bucket),
    /// Of all proxies.
    Shared(&'a SharedThrottle),
}

impl Throttle<'_> {
    fn give_back(self) {
        match self {
            Self::None => {}
            Self::Own(limit, bucket) => bucket.give_back(limit),
            Self::Shared(throttle) => throttle.give_back(),
        }
    }
}

/// What all requests of a worker share. Nothing in it is seen by another thread.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) settings: Rc<Settings>,
    pub(crate) connections: Rc<Connections>,
    pub(crate) upstreams: Upstreams,
    pub(crate) metrics: Rc<WorkerMetrics>,
    pub(crate) views: Views,
    pub(crate) log: WorkerLog,
    pub(crate) spans: WorkerSpans,
    pub(crate) tokens: TokenCaches,
    pub(crate) usage: UsageMeters,
    /// The bucket of all APIs together, if there is one.
    account: Option<Arc<(Limit, Bucket)>>,
    /// The same where proxies share it; then it counts alone.
    shared_account: Option<SharedThrottle>,
    pub(crate) clock: Clock,
    pub(crate) deadlines: Deadlines,
    random: RefCell<fastrand::Rng>,
    gateway: RefCell<Option<Rc<Current>>>,
}

impl Worker {
    /// What is served now; `None` before the first snapshot (promise P4). The clone stays on this thread, so that no request touches
    /// a counter that other workers write.
    pub(crate) fn gateway(&self) -> Option<Rc<Current>> {
        self.gateway.borrow().clone()
    }

    /// Takes a token of the route's bucket and one of the account's, or none (H-THR-2, H-THR-3, R-THR-2).
    pub(crate) fn take(&self, route: Option<&(Limit, Arc<Bucket>)>, now: Instant) -> bool {
        if let Some((limit, bucket)) = route
            && !bucket.take(limit, self.clock.nanoseconds(now))
        {
            return false;
        }
        if let Some((limit, bucket)) = self.account.as_deref()
            && !bucket.take(limit, self.clock.nanoseconds(now))
        {
            if let Some((limit, bucket)) = route {
                bucket.give_back(limit);
            }
            return false;
        }
        true
    }

    /// Puts back what [`Self::take`] took, for a request that is refused for another reason.
    pub(crate) fn give_back(&self, route: Option<&(Limit, Arc<Bucket>)>) {
        if let Some((limit, bucket)) = route {
            bucket.give_back(limit);
        }
        if let Some((limit, bucket)) = self.account.as_deref() {
            bucket.give_back(limit);
        }
    }

    /// [`Self::take`] where proxies share throttles.
    pub(crate) async fn take_shared(&self, route: Throttle<'_>, now: Moment) -> bool {
        if !self.take_one(route, now).await {
            return false;
        }
        let passes = self.take_one(self.account(), now).await;
        if !passes {
            route.give_back();
        }
        passes
    }

    /// [`Self::give_back`] where proxies share throttles.
    pub(crate) fn give_back_shared(&self, route: Throttle<'_>) {
        route.give_back();
        self.account().give_back();
    }

    async fn take_one(&self, throttle: Throttle<'_>, now: Moment) -> bool {
        match throttle {
            Throttle::None => true,
            Throttle::Own(limit, bucket) => bucket.take(limit, self.clock.nanoseconds(Instant::now())),
            Throttle::Shared(throttle) => self.usage.take(throttle, now).await,
        }
    }

    fn account(&self) -> Throttle<'_> {
        match (&self.shared_account, self.account.as_deref()) {
            (Some(account), _) => Throttle::Shared(account),
            (None, Some((limit, bucket))) => Throttle::Own(limit, bucket),
            (None, None) => Throttle::None,
        }
    }

    /// Random bytes for ids: hard to guess, not secret.
    pub(crate) fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.random.borrow_mut().fill(&mut bytes);
        bytes
    }

    /// Whether to go on serving.
    fn follow(&self, command: Option<Command>) -> bool {
        match command {
            Some(Command::Serve(gateway)) => {
                self.serve(gateway);
                true
            }
            Some(Command::Drain) | None => false,
        }
    }

    fn serve(&self, gateway: Arc<Gateway>) {
        self.tokens.keep_only(&gateway);
        self.views.update(&gateway, &self.metrics);
        *self.gateway.borrow_mut() = Some(Rc::new(Current(gateway)));
    }
}

/// Times without a system call more than needed: wall-clock time is reckoned from the monotonic clock.
#[derive(Debug)]
pub(crate) struct Clock {
    epoch: Instant,
    /// Wall-clock milliseconds at `epoch`, corrected once a second.
    wall_at_epoch: Cell<u64>,
}

impl Clock {
    /// `epoch` is one for the whole process: buckets count from it.
    pub(crate) fn new(epoch: Instant) -> Self {
        let clock = Self { epoch, wall_at_epoch: Cell::new(0) };
        clock.correct();
        clock
    }

    /// Nanoseconds of the monotonic clock since the process began.
    pub(crate) fn nanoseconds(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.epoch).as_nanos()).unwrap_or(u64::MAX)
    }

    /// The same in microseconds, as meters of usage plans want it.
    #[expect(clippy::cast_precision_loss, reason = "a process does not run for a century")]
    pub(crate) fn microseconds(&self, now: Instant) -> f64 {
        self.nanoseconds(now) as f64 / 1000.0
    }

    /// Milliseconds since 1970.
    pub(crate) fn unix_milliseconds(&self, now: Instant) -> u64 {
        self.wall_at_epoch.get() + self.nanoseconds(now) / 1_000_000
    }

    fn correct(&self) {
        let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let wall = u64::try_from(wall.as_millis()).unwrap_or(u64::MAX);
        self.wall_at_epoch.set(wall.saturating_sub(self.nanoseconds(Instant::now()) / 1_000_000));
    }
}

/// What a worker thread is started with.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) settings: Settings,
    pub(crate) listeners: Vec<(std::net::TcpListener, Kind)>,
    pub(crate) commands: mpsc::UnboundedReceiver<Command>,
    pub(crate) services: Services,
    pub(crate) account: Option<Arc<(Limit, Bucket)>>,
    pub(crate) shared_account: Option<SharedThrottle>,
    pub(crate) epoch: Instant,
}

/// Runs a worker until it has drained.
pub(crate) fn run(start: Start) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // A `LocalRuntime` in place of the two takes some 200 instructions more for a request, and no fewer allocations.
    LocalSet::new().block_on(&runtime, work(start))
}

async fn work(start: Start) -> std::io::Result<()> {
    let Start { settings, listeners, mut commands, services, account, shared_account, epoch } = start;
    let wait = settings.wait_for_configuration;
    let metrics = Rc::new(services.metrics.worker());
    let connector = Connector::from_system(settings.hosts.clone());
    let worker = Rc::new(Worker {
        connections: Rc::new(Connections::new()),
        upstreams: Upstreams::new(connector, settings.limits, Rc::clone(&metrics)),
        metrics,
        views: Views::default(),
        log: services.access_log.worker(),
        spans: services.spans.worker(),
        tokens: TokenCaches::default(),
        usage: services.usage.clone(),
        account,
        shared_account,
        clock: Clock::new(epoch),
        deadlines: Deadlines::default(),
        random: RefCell::new(fastrand::Rng::new()),
        gateway: RefCell::new(None),
        settings: Rc::new(settings),
    });
    let sweeper = tokio::task::spawn_local(sweep(Rc::clone(&worker)));
    let flusher = tokio::task::spawn_local({
        let worker = Rc::clone(&worker);
        async move { worker.log.flush_in_time().await }
    });
    let keeper = tokio::task::spawn_local({
        let worker = Rc::clone(&worker);
        async move { worker.deadlines.keep().await }
    });
    let mut serving = !wait || worker.follow(commands.recv().await);
    let mut accepting = Vec::new();
    for (listener, kind) in listeners {
        let listener = TcpListener::from_std(listener)?;
        accepting.push(tokio::task::spawn_local(accept(Rc::clone(&worker), listener, kind)));
    }
    while serving {
        serving = worker.follow(commands.recv().await);
    }
    drain(&worker, &mut commands).await;
    worker.connections.finish();
    for task in accepting {
        // It ends by itself, since connections that the kernel has completed are not to be reset.
        let _ = task.await;
    }
    finish(&worker).await;
    sweeper.abort();
    flusher.abort();
    keeper.abort();
    worker.log.flush();
    Ok(())
}

/// Connections that the kernel completes for a listener before they are accepted.
const BACKLOG: i32 = 4096;

/// Accepts until everything ends, and then what has been waiting. At the bound of connections the queue of the listener grows instead, and
/// then the kernel refuses.
async fn accept(worker: Rc<Worker>, listener: TcpListener, kind: Kind) {
    loop {
        while worker.connections.len() >= worker.settings.limits.connections_per_worker {
            if worker.connections.is_finishing() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = worker.connections.finishing() => break,
        };
        match accepted {
            Ok((stream, peer)) => begin(&worker, stream, peer, &kind),
            // Out of file descriptors, or a connection that was gone before it was taken.
            Err(error) => {
                debug!(%error, "accept failed");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
    for _ in 0..BACKLOG {
        match listener.accept().now_or_never() {
            Some(Ok((stream, peer))) => begin(&worker, stream, peer, &kind),
            _ => return,
        }
    }
}

fn begin(worker: &Rc<Worker>, stream: TcpStream, peer: SocketAddr, kind: &Kind) {
    worker.metrics.count(Counter::ClientOpened);
    tokio::task::spawn_local(connection::serve(Rc::clone(worker), stream, peer, kind.clone()));
}

async fn sweep(worker: Rc<Worker>) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        worker.clock.correct();
        worker.connections.sweep(&worker.settings.limits);
        worker.upstreams.sweep();
        let now = Instant::now();
        let unix = i64::try_from(worker.clock.unix_milliseconds(now) / 1000).unwrap_or(i64::MAX);
        worker.usage.sweep(Moment { us: worker.clock.microseconds(now), unix });
    }
}

/// Still accepts, while load balancers take notice; every answer closes its connection. Configuration changes still count.
async fn drain(worker: &Worker, commands: &mut mpsc::UnboundedReceiver<Command>) {
    worker.connections.begin_drain();
    let end = tokio::time::Instant::now() + worker.settings.drain.min;
    while let Ok(Some(command)) = tokio::time::timeout_at(end, commands.recv()).await {
        if let Command::Serve(gateway) = command {
            worker.serve(gateway);
        }
    }
    tokio::time::sleep_until(end).await;
}

/// Waits for what is in flight.
async fn finish(worker: &Worker) {
    let end = tokio::time::Instant::now() + worker.settings.drain.max;
    while worker.connections.len() > 0 {
        if tokio::time::Instant::now() >= end {
            warn!(connections = worker.connections.len(), "drain took too long: closing what is left");
            worker.connections.abort();
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A listener of one worker. All workers bind the same address; the kernel spreads connections over them.
pub(crate) fn bind(address: SocketAddr, workers: usize) -> std::io::Result<std::net::TcpListener> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if workers > 1 {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
