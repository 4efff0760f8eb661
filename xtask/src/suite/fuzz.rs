//! Fuzz targets without cargo-fuzz: the coverage that libFuzzer needs comes from LLVM, which stable rustc can be told to
//! use, so nobody needs a nightly toolchain. The layout is cargo-fuzz's; `cargo fuzz run` works as well.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use anyhow::{Context, Result, bail};

use super::tally::Tally;
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

/// Runs every target for the given time, as many at once as there are cores.
pub(super) fn run(targets: &[Target], seconds: u32) -> Tally {
    let queue = Mutex::new(targets.iter());
    let tally = Mutex::new(Tally::default());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                // A closure, so that the lock is free again before the target runs.
                let next = || queue.lock().expect("no holder of this lock panics").next();
                while let Some(target) = next() {
                    let result = run_one(target, seconds);
                    match &result {
                        Ok(last) => println!("fuzz {}: ok, {last}", target.name),
                        Err(error) => eprintln!("fuzz {}: FAILED: {error:#}", target.name),
                    }
                    tally.lock().expect("no holder of this lock panics").add(result.is_ok().into());
                }
            });
        }
    });
    tally.into_inner().expect("no holder of this lock panics")
}

/// The fuzzer's last line.
fn run_one(target: &Target, seconds: u32) -> Result<String> {
    let Target { name, program } = target;
    let fuzz = shell::root().join("fuzz");
    let (corpus, artifacts) = (fuzz.join("corpus").join(name), fuzz.join("artifacts").join(name));
    for folder in [&corpus, &artifacts] {
        std::fs::create_dir_all(folder)?;
    }
    let mut command = Command::new(program);
    command
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-timeout={SLOWEST_INPUT}"))
        .arg(format!("-rss_limit_mb={MOST_MEMORY}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .arg(corpus)
        .args(Some(fuzz.join("seeds").join(name)).filter(|seeds| seeds.is_dir()))
        .args(dictionary(&fuzz, name));
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("starting {}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("{}\n{}", output.status, finding(&text));
    }
    Ok(text.lines().rfind(|line| line.starts_with("Done ")).unwrap_or("done").to_owned())
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
    use super::{finding, names};

    #[test]
    fn a_finding_is_told_without_its_backtrace() {
        let text = "#1 INITED\nthread '<unnamed>' panicked at a.rs:1:\nleft\nright\nstack backtrace:\n 0: x\nERROR: libFuzzer: deadly signal\n";
        assert!(finding(text).contains("right\n"));
        assert!(!finding(text).contains("0: x"));
    }

    #[test]
    fn targets_are_the_bins_of_the_manifest() {
        let manifest = "[package]\nname = \"fuzz\"\n\n[[bin]]\nname = \"a\"\npath = \"a.rs\"\n\n[[bin]]\npath = \"b.rs\"\nname = \"b\"\n";
        assert_eq!(names(manifest), ["a", "b"]);
    }
}
