//! Counting what test runners report.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use anyhow::{Context, Result};

/// How many tests passed and failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) passed: u64,
    pub(super) failed: u64,
}

impl Tally {
    /// One thing failed.
    pub(super) fn failure() -> Self {
        Self { passed: 0, failed: 1 }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }

    /// From the line with which Rust's test runner ends.
    fn from_line(line: &str) -> Option<Self> {
        let counts = line.strip_prefix("test result: ")?;
        let number_before = |word: &str| counts.split(word).next()?.trim().rsplit(' ').next()?.parse().ok();
        Some(Self { passed: number_before("passed;")?, failed: number_before("failed;")? })
    }
}

impl From<bool> for Tally {
    fn from(passed: bool) -> Self {
        if passed { Self { passed: 1, failed: 0 } } else { Self::failure() }
    }
}

/// What a test runner said.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) tally: Tally,
    /// Why it ran none of its tests.
    pub(super) left_out: Option<String>,
}

/// The tests that a runner's output tells of.
pub(super) fn of(output: &str) -> Tally {
    let mut tally = Tally::default();
    output.lines().filter_map(Tally::from_line).for_each(|line| tally.add(line));
    tally
}

/// Does the work for each of the items, for as many at once as there are cores, and adds up what came of it.
pub(super) fn of_each<T: Sync>(items: &[T], work: impl Fn(&T) -> Tally + Sync) -> Tally {
    let queue = Mutex::new(items.iter());
    let tally = Mutex::new(Tally::default());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                // A closure, so that the lock is free again before the work is done.
                let next = || queue.lock().expect("no holder of this lock panics").next();
                while let Some(item) = next() {
                    let done = work(item);
                    tally.lock().expect("no holder of this lock panics").add(done);
                }
            });
        }
    });
    tally.into_inner().expect("no holder of this lock panics")
}

/// How our own runners say that this machine cannot run their tests.
const LEFT_OUT: &str = "!!! LEFT OUT: ";

/// Runs a test runner, lets its output through and counts. A runner that fails without a failed test counts as one.
pub(super) fn run(command: &mut Command) -> Result<Report> {
    let mut child = command.stdout(Stdio::piped()).spawn().with_context(|| format!("starting {command:?}"))?;
    let stdout = child.stdout.take().expect("stdout is piped");
    let Report { mut tally, mut left_out } = Report::default();
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        tally.add(Tally::from_line(&line).unwrap_or_default());
        left_out = left_out.or_else(|| line.strip_prefix(LEFT_OUT).map(str::to_owned));
    }
    let status = child.wait()?;
    if !status.success() && tally.failed == 0 {
        eprintln!("{command:?} ended with {status}");
        tally.add(Tally::failure());
    }
    Ok(Report { tally, left_out })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runners_last_line_is_read() {
        let line = "test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s";
        assert_eq!(Tally::from_line(line), Some(Tally { passed: 12, failed: 3 }));
        assert_eq!(Tally::from_line("test a::result ... ok"), None);
    }

    #[test]
    fn a_runner_that_dies_counts_as_a_failure() {
        let report =
            run(Command::new("sh").args(["-c", "echo 'test result: ok. 2 passed; 0 failed;'; exit 3"])).unwrap();
        assert_eq!(report, Report { tally: Tally { passed: 2, failed: 1 }, left_out: None });
    }

    #[test]
    fn what_a_runner_leaves_out_is_told() {
        let report = run(Command::new("sh").args(["-c", "echo '!!! LEFT OUT: every test: no root'"])).unwrap();
        assert_eq!(report.left_out.as_deref(), Some("every test: no root"));
    }
}
