//! `cargo xtask test`: every kind of test there is, cheapest first, in one command with its own set-up.
//!
//! A level that this machine cannot run is left out with the reason in the summary; with `CI=true` that is a failure.
//! Steps after a failed one still run, so that one run tells all. The last line is `N passed, N failed`.

mod fuzz;
mod machine;
mod programs;
mod tally;

use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::{dist, generate, shell, tidy};
use tally::{Report, Tally};

/// What to run.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Only these levels; all of them when absent
    #[arg(long = "level", value_enum, value_delimiter = ',')]
    levels: Vec<Level>,
    /// How many seconds of processor time each fuzz target gets
    #[arg(long, default_value_t = 60)]
    fuzz_seconds: u32,
    /// Installs no Debian packages; a level that misses some is left out
    #[arg(long)]
    no_install: bool,
}

/// Kinds of tests, cheapest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Level {
    /// Formatting, lints, tidy, generated files
    Quick,
    /// Unit and in-process tests of every crate
    Unit,
    /// Programs beside a real etcd and kube-apiserver
    Process,
    /// Fuzz targets, from their seeds. Beside the levels after them, but not beside the one before, whose figures they would spoil
    Fuzz,
    /// HTTP/2 as h2spec has it
    Http,
    /// AWS's own Lambda runtime, and Cognito's tokens
    Aws,
    /// The chart on a real one-node Kubernetes
    Node,
}

/// One line of the summary.
struct Row {
    name: String,
    took: Duration,
    outcome: String,
}

struct Suite {
    rows: Vec<Row>,
    tally: Tally,
    ci: bool,
    /// Fuzz targets that run beside the steps after them.
    fuzzing: Option<fuzz::Running>,
}

/// Name of the step that builds the tests.
const TESTS: &str = "test programs";
/// Name of the step that builds what ships.
const PROGRAMS: &str = "release programs";
/// Name of the step that builds Kubernetes.
const CLUSTER: &str = "test cluster";

impl Level {
    /// Runs whole programs.
    fn is_end_to_end(self) -> bool {
        matches!(self, Self::Process | Self::Http | Self::Aws | Self::Node)
    }

    /// As on the command line.
    fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

/// Runs the suite and says how it went.
pub(crate) fn run(options: &Options) -> ExitCode {
    let Options { levels, fuzz_seconds, no_install } = options;
    let wanted = |level: Level| levels.is_empty() || levels.contains(&level);
    let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
    let mut suite = Suite { rows: Vec::new(), tally: Tally::default(), ci, fuzzing: None };

    if let Some(warning) = machine::short_of_disk() {
        println!("\n!!! {warning}");
    }
    let mut able = Vec::new();
    for level in Level::value_variants().iter().copied().filter(|level| wanted(*level)) {
        match machine::prepare(level, *no_install) {
            Ok(()) => able.push(level),
            Err(reason) => suite.leave_out(&format!("level {}", level.name()), &format!("{reason:#}")),
        }
    }

    for level in &able {
        match level {
            Level::Quick => {
                suite.command("rustfmt", &mut shell::cargo(&["fmt", "--all", "--check"]));
                suite.command(
                    "clippy",
                    &mut shell::cargo(&[
                        "clippy",
                        "-q",
                        "--locked",
                        "--workspace",
                        "--all-targets",
                        "--",
                        "-D",
                        "warnings",
                    ]),
                );
                suite.check("tidy", tidy::run);
                suite.check("generated files", || generate::run(&generate::Options { check: true }));
            }
            Level::Unit => suite.unit(),
            Level::Fuzz => {
                // First what else there is to build, since fuzz targets run in what time builds and tests leave.
                if able.iter().any(|level| level.is_end_to_end()) {
                    suite.programs();
                }
                suite.fuzz(*fuzz_seconds);
            }
            Level::Process | Level::Http | Level::Aws | Level::Node => suite.end_to_end(*level),
        }
    }
    suite.finish()
}

impl Suite {
    /// A step that passes or fails as a whole.
    fn check(&mut self, name: &str, step: impl FnOnce() -> Result<()>) {
        println!("\n=== {name}");
        let start = Instant::now();
        let result = step();
        if let Err(error) = &result {
            eprintln!("{name}: {error:#}");
        }
        self.record(name, start, result.is_ok().into(), "");
    }

    fn command(&mut self, name: &str, command: &mut Command) {
        self.check(name, || shell::status(command));
    }

    /// A step whose output tells how many tests passed.
    fn tests(&mut self, name: &str, command: &mut Command) {
        println!("\n=== {name}");
        let start = Instant::now();
        match tally::run(command) {
            Ok(Report { tally: Tally { passed: 0, .. }, left_out: Some(reason) }) => self.leave_out(name, &reason),
            Ok(report) => self.record(name, start, report.tally, " tests"),
            Err(error) => {
                eprintln!("{name}: {error:#}");
                self.record(name, start, Tally::failure(), " tests");
            }
        }
    }

    fn unit(&mut self) {
        println!("\n=== test programs");
        let start = Instant::now();
        match programs::build() {
            Ok(programs) => {
                self.record(TESTS, start, Tally::default(), "");
                println!("\n=== unit");
                let start = Instant::now();
                let programs: Vec<_> = programs.into_iter().filter(|program| !program.is_a_level()).collect();
                let tally = programs::run(&programs);
                self.record("unit", start, tally, " tests");
            }
            Err(error) => {
                eprintln!("{TESTS}: {error:#}");
                self.record(TESTS, start, Tally::failure(), "");
            }
        }
        match programs::doc_tests() {
            Ok(None) => {}
            Ok(Some(mut command)) => self.tests("doc tests", &mut command),
            Err(error) => self.check("doc tests", || Err(error)),
        }
    }

    fn fuzz(&mut self, seconds: u32) {
        println!("\n=== fuzz targets");
        let start = Instant::now();
        match fuzz::build() {
            Ok(targets) => {
                self.record("fuzz build", start, Tally::default(), "");
                self.fuzzing = Some(fuzz::start(targets, seconds));
            }
            Err(error) => {
                eprintln!("fuzz: {error:#}");
                self.record("fuzz build", start, Tally::failure(), "");
            }
        }
    }

    /// Builds what ships, once.
    fn programs(&mut self) {
        if !self.rows.iter().any(|row| row.name == PROGRAMS) {
            self.check(PROGRAMS, dist::run);
        }
    }

    fn end_to_end(&mut self, level: Level) {
        self.programs();
        if matches!(level, Level::Process | Level::Node) && !self.rows.iter().any(|row| row.name == CLUSTER) {
            self.command(CLUSTER, shell::command("e2e/cluster/build", &[]).stdout(Stdio::null()));
        }
        let name = level.name();
        match programs::build_level(&name).and_then(|program| Ok((program, dist::folder()?))) {
            Ok((program, folder)) => {
                self.tests(&format!("e2e, {name} level"), program.command().env("TOLLGATE_PROGRAMS", folder));
            }
            Err(error) => self.check(&name, || Err(error)),
        }
    }

    /// Says loudly that something does not run here. In CI that is a failure.
    fn leave_out(&mut self, name: &str, reason: &str) {
        println!("\n!!! LEFT OUT: {name}: {reason}");
        let outcome = if self.ci { "FAILED: left out, and CI leaves nothing out" } else { "LEFT OUT" };
        if self.ci {
            self.tally.add(Tally::failure());
        }
        self.rows.push(Row { name: name.to_owned(), took: Duration::ZERO, outcome: format!("{outcome}: {reason}") });
    }

    fn record(&mut self, name: &str, start: Instant, tally: Tally, unit: &str) {
        self.note(name, start.elapsed(), tally, unit);
    }

    fn note(&mut self, name: &str, took: Duration, tally: Tally, unit: &str) {
        let outcome = match tally {
            Tally { failed: 0, passed } if unit.is_empty() => if passed > 0 { "ok" } else { "built" }.to_owned(),
            Tally { failed: 0, passed } => format!("ok, {passed}{unit}"),
            Tally { failed, .. } if unit.is_empty() && failed == 1 => "FAILED".to_owned(),
            Tally { failed, passed } => format!("FAILED, {passed} passed, {failed} failed"),
        };
        self.tally.add(tally);
        self.rows.push(Row { name: name.to_owned(), took, outcome });
    }

    fn finish(mut self) -> ExitCode {
        if let Some(fuzzing) = self.fuzzing.take() {
            println!("\n=== waiting for the fuzz targets");
            let (tally, took) = fuzzing.finish();
            self.note("fuzz, beside the steps before it", took, tally, " targets");
        }
        println!("\n=== summary");
        for Row { name, took, outcome } in &self.rows {
            println!("{:>7.1} s  {name}: {outcome}", took.as_secs_f64());
        }
        let Tally { passed, failed } = self.tally;
        println!("{passed} passed, {failed} failed");
        if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
