//! `tollgate dev`: a directory of YAML, served.
//!
//! One thread looks at files and updates the [`session::Session`]; the proxy's workers serve beside it. What people read
//! goes to standard error, the access log to standard output.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tollgate_engine::snapshot::AuthorizerReport;
use tollgate_proxy::telemetry::LogFilter;
use tollgate_translate::Settings;

use crate::problem::{ObjectKey, Problem};
use crate::report;
use crate::verdicts::Judge;
use addresses::{Apis, Listeners};
use gateway::Gateway;
use generated::Generated;
use pods::{Pods, Stopping};
use scan::{Scan, Scanner};
use session::{Outcome, Session};
use watch::{Next, Signal, Watch};

pub mod addresses;
pub mod gateway;
pub mod generated;
pub mod pods;
pub mod scan;
pub mod session;
pub mod settle;
pub mod watch;
pub mod workloads;

/// A backend that nothing leads to any more runs on for this long: connections to it may be in use or pooled.
const BACKEND_GRACE: Duration = Duration::from_secs(5);

/// How many changed objects one line names.
const NAMED: usize = 6;

/// What the command line says.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the files are.
    pub directory: PathBuf,
    /// Plain HTTP.
    pub listen: SocketAddr,
    /// HTTPS.
    pub tls_listen: Option<SocketAddr>,
    /// Health, metrics, what runs, the log's level.
    pub admin: Option<SocketAddr>,
    /// Where to keep what outlives a restart.
    pub state: Option<PathBuf>,
    /// Worker threads of the proxy.
    pub workers: Option<NonZeroUsize>,
}

/// Serves until it is told to stop.
///
/// # Errors
///
/// When there is nothing to serve from or an address cannot be had. What is wrong within files is no error: it is told and
/// the rest is served.
pub fn run(options: &Options, log: LogFilter) -> anyhow::Result<()> {
    check_directory(options)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let gateway = Gateway::start(options, log)?;
    let (watch, error) = Watch::new();
    stop_on_signal(&runtime, watch.sender());
    let listeners = gateway.listeners();
    let mut dev = Dev {
        scanner: Scanner::new(vec![options.directory.clone()]),
        session: session(
            &gateway,
            listeners.http,
            Pods::new(runtime.handle().clone(), options.state.as_deref()),
            Generated::open(options.state.as_deref())?,
        ),
        watch,
        listeners,
        told: Told::default(),
        stopping: Vec::new(),
    };
    if let Some(error) = error {
        tell(&watching_failed(&error));
    }
    dev.first();
    loop {
        match dev.watch.wait() {
            Next::Stop => break,
            Next::Look(touched) => dev.look(&touched),
        }
        dev.issuers(gateway.issuers_in_trouble());
        dev.stopping.retain(|(since, _)| since.elapsed() < BACKEND_GRACE);
    }
    tell("stopping\n");
    gateway.stop();
    Ok(())
}

fn check_directory(options: &Options) -> anyhow::Result<()> {
    let directory = &options.directory;
    let metadata = std::fs::metadata(directory).with_context(|| {
        format!(
            "cannot read {}; name the directory that holds the YAML files, e.g. tollgate dev examples/bookstore",
            directory.display()
        )
    })?;
    if !metadata.is_dir() {
        bail!("{} is a file; name the directory that holds it", directory.display());
    }
    Ok(())
}

fn session(gateway: &Gateway, http: SocketAddr, pods: Pods, generated: Generated) -> Session {
    let judge = Judge::new(Settings { base_domain: format!("localhost:{}", http.port()), https: false });
    let hosts = gateway.hosts.clone();
    let publish_hosts = move |names: &session::Hosts| hosts.replace(names.clone());
    Session::new(judge, pods, generated, gateway.publisher(), Box::new(publish_hosts))
}

fn stop_on_signal(runtime: &tokio::runtime::Runtime, sender: std::sync::mpsc::Sender<Signal>) {
    runtime.spawn(async move {
        crate::stop_signal().await;
        // The receiver is gone when the program ends for another reason.
        let _ = sender.send(Signal::Stop);
        // Who asks a second time means at once.
        crate::stop_signal().await;
        std::process::exit(130);
    });
}

struct Dev {
    scanner: Scanner,
    session: Session,
    watch: Watch,
    listeners: Listeners,
    told: Told,
    stopping: Vec<(Instant, Stopping)>,
}

/// What was printed, so that it is printed again only when it differs.
#[derive(Default)]
struct Told {
    apis: Apis,
    issuers: BTreeSet<String>,
    found: Vec<Problem>,
}

impl Dev {
    fn first(&mut self) {
        let Scan { changed, directories, problems, .. } = self.scanner.scan(&BTreeSet::new(), |_| false);
        self.watch_directories(directories);
        self.told.found.clone_from(&problems);
        let outcome = self.session.update(changed, problems);
        self.told.apis = self.session.apis();
        tell(&addresses::table(&self.told.apis, &self.listeners));
        tell_generated(&outcome.generated);
        for key in self.session.not_run() {
            tell(&format!("{key} is not run here: only containers with the command `tollgate backend` are\n"));
        }
        self.tell_problems(&outcome);
        // Whatever changed between reading and watching.
        self.watch.doubt(Instant::now());
    }

    fn look(&mut self, touched: &BTreeSet<PathBuf>) {
        let session = &self.session;
        let held = |path: &std::path::Path| {
            session.tree().file(path).is_some_and(|parsed| !parsed.objects.is_empty() || !parsed.refused.is_empty())
        };
        let Scan { changed, doubtful, directories, problems } = self.scanner.scan(touched, held);
        self.watch_directories(directories);
        if doubtful {
            self.watch.doubt(Instant::now());
        }
        if changed.is_empty() && problems == self.told.found {
            return;
        }
        self.told.found.clone_from(&problems);
        let outcome = self.session.update(changed, problems);
        self.tell_changes(&outcome.changed);
        tell_generated(&outcome.generated);
        self.tell_problems(&outcome);
        let apis = self.session.apis();
        if apis != self.told.apis {
            tell(&addresses::table(&apis, &self.listeners));
            self.told.apis = apis;
        }
        self.stopping.push((Instant::now(), outcome.stopping));
    }

    fn watch_directories(&mut self, directories: Vec<PathBuf>) {
        if let Some(error) = self.watch.directories(directories) {
            tell(&watching_failed(&error));
        }
    }

    fn tell_changes(&self, changed: &[(ObjectKey, bool)]) {
        for (word, kept) in [("changed", true), ("gone", false)] {
            let names: Vec<String> =
                changed.iter().filter(|(_, is)| *is == kept).map(|(key, _)| key.to_string()).collect();
            if !names.is_empty() {
                let more =
                    if names.len() > NAMED { format!(" and {} more", names.len() - NAMED) } else { String::new() };
                tell(&format!("{word}: {}{more}\n", names[..names.len().min(NAMED)].join(", ")));
            }
        }
    }

    fn tell_problems(&self, outcome: &Outcome) {
        for problem in &outcome.appeared {
            tell(&format!("\n{}", report::human(problem, crate::colours(&std::io::stderr()))));
        }
        match (outcome.problems, outcome.appeared.len(), outcome.solved) {
            (0, _, 0) => {}
            (0, _, _) => tell("no problems any more\n"),
            (_, 0, 0) => {}
            (count, _, _) => {
                let count = report::plural(count, "problem");
                tell(&format!("\n{count}; the last accepted version of what is refused stays in service\n"));
            }
        }
    }

    fn issuers(&mut self, reports: Vec<AuthorizerReport>) {
        let now: BTreeSet<String> =
            reports.into_iter().map(|report| format!("Authorizer {}: {}\n", report.source, report.message)).collect();
        now.difference(&self.told.issuers).for_each(|new| tell(new));
        self.told.issuers = now;
    }
}

/// On a cluster one reads the Secret; there is none here.
fn tell_generated(generated: &[(String, String)]) {
    for (key, value) in generated {
        tell(&format!("ApiKey {key} names no Secret; its value here is {value}\n"));
    }
}

fn watching_failed(error: &notify::Error) -> String {
    format!("files are looked at every 80 ms, because the system does not tell about changes: {error}\n")
}

/// To standard error, where nobody may be listening.
fn tell(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}
