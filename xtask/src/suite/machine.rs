//! What each level needs of the machine, and installing what can be installed.

use anyhow::{Result, bail};

use super::Level;
use crate::shell;

/// A program that a level calls and the Debian package that has it.
type Need = (&'static str, &'static str);

const COMPILE: &[Need] = &[("cc", "build-essential"), ("c++", "build-essential"), ("cmake", "cmake")];
const PROCESS: &[Need] =
    &[("curl", "curl"), ("openssl", "openssl"), ("git", "git"), ("ip", "iproute2"), ("unshare", "util-linux")];
const AWS: &[Need] = &[("python3", "python3-venv"), ("chromium", "chromium")];
const UNIT: &[Need] = &[("redis-server", "redis-server"), ("promtool", "prometheus")];

/// What a whole run fills at most, measured: builds 13 GiB, fuzz targets 2, the node's images and logs 1, and some room.
const DISK_GIB: u64 = 20;

/// What to say when a whole run may not fit on the disk of the build folder. A full disk shows late and far from its
/// cause: as pods that the node evicts, or as a linker that is killed.
pub(super) fn short_of_disk() -> Option<String> {
    // POSIX: one line per file system, its fourth field the free KiB.
    let df = shell::output(&mut shell::command("df", &["-Pk", "."])).ok()?;
    let free: u64 = df.lines().nth(1)?.split_whitespace().nth(3)?.parse().ok()?;
    let gib = free >> 20;
    (gib < DISK_GIB)
        .then(|| format!("{gib} GiB of disk are free, and a whole run from a cold build fills up to {DISK_GIB}"))
}

/// Makes the machine ready for a level, or says why it cannot be.
pub(super) fn prepare(level: Level, no_install: bool) -> Result<()> {
    let mut needs = COMPILE.to_vec();
    if matches!(level, Level::Process | Level::Node) {
        if !cfg!(target_os = "linux") {
            bail!("needs Linux");
        }
        needs.extend(PROCESS);
        kubernetes()?;
    }
    if level == Level::Aws {
        if !cfg!(target_os = "linux") {
            bail!("needs Linux");
        }
        needs.extend(AWS);
    }
    install(&needs, no_install)?;
    if level == Level::Unit
        && let Err(error) = install(UNIT, no_install)
    {
        // With CI set these tests fail instead.
        println!("=== LEFT OUT: tests of usage in Redis, and of alerts: {error}");
    }
    if matches!(level, Level::Unit | Level::Process | Level::Node)
        && let Err(error) = valkey(no_install)
    {
        if level != Level::Unit {
            return Err(error);
        }
        println!("=== LEFT OUT: tests of usage in Valkey: {error}");
    }
    if level == Level::Http {
        // From its Go module, into the cache.
        let built = shell::command("e2e/http/build", &[]).output()?;
        if !built.status.success() {
            bail!("e2e/http/build, which builds h2spec: {}", String::from_utf8_lossy(&built.stderr).trim());
        }
    }
    if level == Level::Aws {
        // From PyPI, into the cache.
        let fetched = shell::command("e2e/aws/build", &[]).output()?;
        if !fetched.status.success() {
            let said = String::from_utf8_lossy(&fetched.stderr).trim().replace('\n', "; ");
            bail!("e2e/aws/build, which fetches AWS's parts from PyPI: {said}");
        }
    }
    if level == Level::Node {
        // Knows what a node needs, and as root installs it.
        let check = shell::command("e2e/cluster/node", &["check"]).output()?;
        if !check.status.success() {
            bail!("{}", String::from_utf8_lossy(&check.stderr).trim().replace('\n', "; "));
        }
    }
    Ok(())
}

/// Real Valkey, from Debian's backports into the cache.
fn valkey(no_install: bool) -> Result<()> {
    let how: &[&str] = if no_install { &["--cached"] } else { &[] };
    let fetched = shell::command("e2e/valkey/fetch", how).output()?;
    if !fetched.status.success() {
        bail!("e2e/valkey/fetch: {}", String::from_utf8_lossy(&fetched.stderr).trim().replace('\n', "; "));
    }
    Ok(())
}

fn install(needs: &[Need], no_install: bool) -> Result<()> {
    let mut missing: Vec<&str> =
        needs.iter().filter(|(program, _)| !shell::on_path(program)).map(|(_, package)| *package).collect();
    missing.sort_unstable();
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if no_install || !is_root() || !shell::on_path("apt-get") {
        bail!("needs what is in the Debian packages {list}");
    }
    println!("=== installing {list}");
    shell::status(&mut shell::command("apt-get", &["update", "-qq"]))?;
    let mut apt = shell::command("apt-get", &["install", "-y", "-qq", "--no-install-recommends"]);
    shell::status(apt.args(missing).env("DEBIAN_FRONTEND", "noninteractive"))
}

/// Kubernetes is built from its Go modules by `e2e/cluster/build`, so a Go toolchain or finished programs must be there.
fn kubernetes() -> Result<()> {
    if std::env::var_os("TOLLGATE_CLUSTER_BIN").is_none() && !shell::on_path("go") {
        bail!("needs Go 1.24 or newer to build Kubernetes, or its programs in TOLLGATE_CLUSTER_BIN");
    }
    Ok(())
}

fn is_root() -> bool {
    shell::output(&mut shell::command("id", &["-u"])).is_ok_and(|id| id.trim() == "0")
}
