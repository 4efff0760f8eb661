//! Fuzz targets without cargo-fuzz: the coverage that libFuzzer needs comes from LLVM, which stable rustc can be told to
//! use, so nobody needs a nightly toolchain. The layout is cargo-fuzz's; `cargo fuzz run` works as well.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::tally::{self, Tally};
use crate::shell;

const FLAGS: &[&str] = &[
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cdebug-assertions",
    "-Coverflow-checks",
];
/// One input that takes longer, in seconds, or more memory, in MiB, is a finding.
const SLOWEST_INPUT: u32 = 10;
const MOST_MEMORY: u32 = 1024;

/// A built target.
pub(super) struct Target {
    name: String,
    program: PathBuf,
}

/// Builds all targets.
pub(super) fn build() -> Result<Vec<Target>> {
    let folder = shell::root().join("fuzz");
    let names = names(&std::fs::read_to_string(folder.join("Cargo.toml")).context("reading fuzz/Cargo.toml")?);
    let host = host()?;
    let target_dir = shell::target_dir(&shell::metadata()?).join("fuzz");
    let mut cargo = shell::cargo(&["build", "--locked", "--release", "--bins", "--target", &host]);
    cargo.current_dir(&folder).env("CARGO_TARGET_DIR", &target_dir).env("RUSTFLAGS", FLAGS.join(" "));
    shell::status(&mut cargo)?;
    let built = target_dir.join(host).join("release");
    Ok(names.into_iter().map(|name| Target { program: built.join(&name), name }).collect())
}

/// The `[[bin]]` names of the manifest.
fn names(manifest: &str) -> Vec<String> {
    let bins = manifest.split("[[bin]]").skip(1);
    let name = |bin: &str| Some(bin.split("name = \"").nth(1)?.split('"').next()?.to_owned());
    bins.filter_map(name).collect()
}

fn host() -> Result<String> {
    let version = shell::output(&mut shell::command("rustc", &["-vV"]))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}

/// Targets that run beside other steps.
pub(super) struct Running(JoinHandle<(Tally, Duration)>);

/// Starts the targets, as many at once as there are cores. Each runs until it has used so many seconds of processor time,
/// and mostly takes time that nobody else wants: what runs beside makes it later, but not less.
pub(super) fn start(targets: Vec<Target>, seconds: u32) -> Running {
    Running(thread::spawn(move || {
        let start = Instant::now();
        (run(&targets, seconds), start.elapsed())
    }))
}

impl Running {
    /// Waits for the last target; also returns how long all of them took.
    pub(super) fn finish(self) -> (Tally, Duration) {
        self.0.join().unwrap_or_else(|_| (Tally::failure(), Duration::ZERO))
    }
}

fn run(targets: &[Target], seconds: u32) -> Tally {
    tally::of_each(targets, |target| {
        let result = run_one(target, seconds);
        match &result {
            Ok(done) => println!("fuzz {}: ok, {done}", target.name),
            Err(error) => eprintln!("fuzz {}: FAILED: {error:#}", target.name),
        }
        result.is_ok().into()
    })
}

/// What the fuzzer did.
fn run_one(target: &Target, seconds: u32) -> Result<String> {
    let Target { name, program } = target;
    let fuzz = shell::root().join("fuzz");
    let (corpus, artifacts) = (fuzz.join("corpus").join(name), fuzz.join("artifacts").join(name));
    for folder in [&corpus, &artifacts] {
        std::fs::create_dir_all(folder)?;
    }
    let log = program.with_extension("log");
    let mut fuzzer = nicely(program)
        .arg("-print_final_stats=1")
        .arg(format!("-timeout={SLOWEST_INPUT}"))
        .arg(format!("-rss_limit_mb={MOST_MEMORY}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .arg(corpus)
        .args(Some(fuzz.join("seeds").join(name)).filter(|seeds| seeds.is_dir()))
        .args(dictionary(&fuzz, name))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(&log)?)
        .spawn()
        .with_context(|| format!("starting {}", program.display()))?;
    let status = ended(&mut fuzzer, Duration::from_secs(seconds.into()))?;
    let text = std::fs::read(&log)?;
    let text = String::from_utf8_lossy(&text);
    if !status.success() {
        bail!("{status}\n{}", finding(&text));
    }
    let inputs = text.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    Ok(format!("{} inputs", inputs.context("the fuzzer ended before its time")?.trim()))
}

/// What starts a program that takes a tenth of a core that another wants. Less would not do: libFuzzer times inputs by the clock.
fn nicely(program: &Path) -> Command {
    let mut command = Command::new("nice");
    command.args(["-n", "10"]).arg(program);
    command
}

/// Waits for a fuzzer, and asks it to end once it has used its time.
fn ended(fuzzer: &mut Child, most: Duration) -> Result<ExitStatus> {
    let pid = fuzzer.id().to_string();
    let mut asked = false;
    loop {
        if let Some(status) = fuzzer.try_wait()? {
            return Ok(status);
        }
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if !asked && processor_time(&stat).is_some_and(|used| used >= most) {
            // libFuzzer takes this for "end after this input".
            shell::status(&mut shell::command("kill", &["-USR1", &pid]))?;
            asked = true;
        }
        thread::sleep(Duration::from_millis(200));
    }
}

/// From `/proc/PID/stat`, see proc(5): fields 14 and 15, in hundredths of a second. Field 2 may hold blanks and brackets.
fn processor_time(stat: &str) -> Option<Duration> {
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(Duration::from_millis((user + system) * 10))
}

/// What a reader wants of a fuzzer's last words: the panic, and where the input lies.
fn finding(text: &str) -> String {
    let mut lines = text.lines();
    let mut told: Vec<&str> = Vec::new();
    while let Some(line) = lines.next() {
        if line.contains("panicked at") {
            told.push(line);
            told.extend(lines.by_ref().take_while(|line| !line.starts_with("stack backtrace")).take(20));
        } else if line.contains("ERROR: libFuzzer") || line.contains("Test unit written to") {
            told.push(line);
        }
    }
    told.join("\n")
}

fn dictionary(fuzz: &Path, name: &str) -> Option<String> {
    let file = fuzz.join("dictionaries").join(name);
    file.is_file().then(|| format!("-dict={}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_told_without_its_backtrace() {
        let text = "#1 INITED\nthread '<unnamed>' panicked at a.rs:1:\nleft\nright\nstack backtrace:\n 0: x\nERROR: libFuzzer: deadly signal\n";
        assert!(finding(text).contains("right\n"));
        assert!(!finding(text).contains("0: x"));
    }

    #[test]
    fn processor_time_is_of_user_and_system() {
        let stat = "7 (a ) (b) S 1 7 7 0 -1 4194560 105 0 0 0 250 50 9 9 20 0 1 0 1 1 1 1";
        assert_eq!(processor_time(stat), Some(Duration::from_secs(3)));
        assert_eq!(processor_time(""), None);
    }

    #[test]
    fn targets_are_the_bins_of_the_manifest() {
        let manifest = "[package]\nname = \"fuzz\"\n\n[[bin]]\nname = \"a\"\npath = \"a.rs\"\n\n[[bin]]\npath = \"b.rs\"\nname = \"b\"\n";
        assert_eq!(names(manifest), ["a", "b"]);
    }
}
