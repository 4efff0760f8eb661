//! Constant load, and what went wrong under it: every request is checked, every connection that ends unannounced counted.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use http::header::CONNECTION;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::Request;

/// A request that takes longer has failed.
const LIMIT: Duration = Duration::from_secs(10);

/// The addresses that new connections go to, as a load balancer knows them; may change under way.
#[derive(Clone, Debug)]
pub struct Targets(Arc<Mutex<Vec<SocketAddr>>>);

impl Targets {
    /// These, in turn.
    pub fn new(addresses: &[SocketAddr]) -> Self {
        Self(Arc::new(Mutex::new(addresses.to_vec())))
    }

    /// From now on these.
    pub fn set(&self, addresses: &[SocketAddr]) {
        *self.0.lock().expect("no holder of this lock panics") = addresses.to_vec();
    }

    fn pick(&self, turn: usize) -> SocketAddr {
        let addresses = self.0.lock().expect("no holder of this lock panics");
        addresses[turn % addresses.len()]
    }
}

/// What to send.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where to.
    pub targets: Targets,
    /// Sent in turn; each is to answer 200.
    pub requests: Vec<Request>,
    /// How many connections send at a time, each one request after the other.
    pub connections: usize,
    /// Between an answer and the next request of a connection.
    pub pause: Duration,
}

/// Load that runs until [`Load::stop`].
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    counts: Arc<Counts>,
    thread: JoinHandle<Result<Tally>>,
}

/// What is known while it runs.
#[derive(Debug, Default)]
struct Counts {
    answered: AtomicUsize,
    failures: Mutex<BTreeMap<String, usize>>,
}

/// How it went.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Requests that got what they should.
    pub answered: usize,
    /// What went wrong, and how often. Kinds, not cases, so it stays small.
    pub failures: BTreeMap<String, usize>,
    /// Connections opened.
    pub opened: usize,
    /// Connections that the other side closed without having said so in an answer.
    pub closed_unannounced: usize,
    /// The longest that an answer took.
    pub slowest: Duration,
}

impl Load {
    /// Starts it.
    pub fn start(plan: Plan) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let counts = Arc::new(Counts::default());
        let shared = (stop.clone(), counts.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            Ok(runtime.block_on(all(Arc::new(plan), &shared.0, &shared.1)))
        });
        Self { stop, counts, thread }
    }

    /// How many requests were answered as they should so far.
    pub fn answered(&self) -> usize {
        self.counts.answered.load(Ordering::Relaxed)
    }

    /// An error when a request has failed so far.
    pub fn no_failure_yet(&self) -> Result<()> {
        let failures = self.counts.failures.lock().expect("no holder of this lock panics");
        ensure!(failures.is_empty(), "of {} requests failed: {failures:?}", self.answered());
        Ok(())
    }

    /// Lets the requests under way finish, and tells how it went.
    pub fn stop(self) -> Result<Tally> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Tally {
    /// An error unless every request was answered; with `connections`, also unless every connection stayed open until its
    /// end was announced.
    pub fn flawless(&self, connections: bool) -> Result<()> {
        ensure!(self.answered > 0, "no request was answered: {self:?}");
        ensure!(self.failures.is_empty(), "requests failed: {self:?}");
        ensure!(!connections || self.closed_unannounced == 0, "connections were closed: {self:?}");
        Ok(())
    }

    fn and(mut self, other: Self) -> Self {
        let Self { answered, failures, opened, closed_unannounced, slowest } = other;
        self.answered += answered;
        for (kind, count) in failures {
            *self.failures.entry(kind).or_default() += count;
        }
        self.opened += opened;
        self.closed_unannounced += closed_unannounced;
        self.slowest = self.slowest.max(slowest);
        self
    }
}

async fn all(plan: Arc<Plan>, stop: &Arc<AtomicBool>, counts: &Arc<Counts>) -> Tally {
    let mut clients = JoinSet::new();
    for turn in 0..plan.connections {
        clients.spawn(Client { plan: plan.clone(), stop: stop.clone(), counts: counts.clone() }.run(turn));
    }
    clients.join_all().await.into_iter().fold(Tally::default(), Tally::and)
}

/// One of the concurrent senders.
struct Client {
    plan: Arc<Plan>,
    stop: Arc<AtomicBool>,
    counts: Arc<Counts>,
}

type Sender = SendRequest<Full<bytes::Bytes>>;

/// What became of one request.
enum Outcome {
    /// Answered as it should; the connection stays.
    Kept,
    /// Answered as it should; the answer announced the end of the connection.
    Ended,
    /// The connection was closed before the request was written, so it can be sent again.
    NotSent,
    Failed(String),
}

impl Client {
    async fn run(self, first: usize) -> Tally {
        let mut tally = Tally::default();
        let mut connection = None;
        let mut turn = first;
        while !self.stop.load(Ordering::Relaxed) {
            turn += 1;
            let start = Instant::now();
            match self.one(turn, &mut connection, &mut tally).await {
                Ok(true) => {
                    tally.answered += 1;
                    tally.slowest = tally.slowest.max(start.elapsed());
                    self.counts.answered.fetch_add(1, Ordering::Relaxed);
                }
                Ok(false) => continue,
                Err(kind) => {
                    let mut failures = self.counts.failures.lock().expect("no holder of this lock panics");
                    *failures.entry(kind.clone()).or_default() += 1;
                    *tally.failures.entry(kind).or_default() += 1;
                }
            }
            tokio::time::sleep(self.plan.pause).await;
        }
        tally
    }

    /// Sends one request, on a new connection when there is none. False when the connection turned out to be closed already.
    async fn one(&self, turn: usize, connection: &mut Option<Sender>, tally: &mut Tally) -> Result<bool, String> {
        let mut sender = match connection.take() {
            Some(sender) => sender,
            None => {
                let sender = open(self.plan.targets.pick(turn)).await?;
                tally.opened += 1;
                sender
            }
        };
        let request = &self.plan.requests[turn % self.plan.requests.len()];
        let exchange = tokio::time::timeout(LIMIT, send(&mut sender, request));
        match exchange.await.unwrap_or_else(|_| Outcome::Failed("no answer in time".to_owned())) {
            Outcome::Kept => {
                *connection = Some(sender);
                Ok(true)
            }
            Outcome::Ended => Ok(true),
            Outcome::NotSent => {
                tally.closed_unannounced += 1;
                Ok(false)
            }
            Outcome::Failed(kind) => Err(kind),
        }
    }
}

async fn open(address: SocketAddr) -> Result<Sender, String> {
    let stream = TcpStream::connect(address).await.map_err(|error| format!("connect: {}", error.kind()))?;
    let _ = stream.set_nodelay(true);
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|error| format!("handshake: {error}"))?;
    // It ends with its sender, and its error reaches the request that was under way.
    tokio::spawn(connection);
    Ok(sender)
}

async fn send(sender: &mut Sender, request: &Request) -> Outcome {
    let built = request.build().expect("requests of a plan are well-formed");
    if sender.ready().await.is_err() {
        return Outcome::NotSent;
    }
    let response = match sender.try_send_request(built).await {
        Ok(response) => response,
        Err(mut error) => match error.take_message() {
            Some(_) => return Outcome::NotSent,
            None => return Outcome::Failed(broken("waiting for the answer", &error.into_error())),
        },
    };
    let (head, body) = response.into_parts();
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return Outcome::Failed(broken("within the answer", &error)),
    };
    if head.status != http::StatusCode::OK {
        return Outcome::Failed(format!("status {}: {}", head.status.as_u16(), String::from_utf8_lossy(&body)));
    }
    let ends = head.headers.get(CONNECTION).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"));
    if ends { Outcome::Ended } else { Outcome::Kept }
}

fn broken(when: &str, error: &hyper::Error) -> String {
    let mut text = format!("connection broke {when}: {error}");
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
