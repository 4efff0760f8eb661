//! What each level needs of the machine, and installing what can be installed.

use std::path::Path;

use anyhow::{Result, bail};

use super::Level;
use crate::shell;

/// A program that a level calls and the Debian package that has it.
type Need = (&'static str, &'static str);

const COMPILE: &[Need] = &[("cc", "build-essential"), ("c++", "build-essential"), ("cmake", "cmake")];
const PROCESS: &[Need] = &[("curl", "curl"), ("openssl", "openssl"), ("git", "git")];
const NODE: &[Need] = &[
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("nft", "nftables"),
    ("iptables", "iptables"),
    ("conntrack", "conntrack"),
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
];
/// A package without a program on the `PATH`: the file that tells.
const CNI: Need = ("/usr/lib/cni/bridge", "containernetworking-plugins");

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
    if level == Level::Node {
        if !is_root() {
            bail!("needs root, for network namespaces and containers");
        }
        if !Path::new("/sys/fs/cgroup").read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
            bail!("needs cgroups, and /sys/fs/cgroup is empty");
        }
        needs.extend(NODE);
        needs.push(CNI);
    }
    install(&needs, no_install)
}

fn install(needs: &[Need], no_install: bool) -> Result<()> {
    let there = |name: &str| if name.starts_with('/') { Path::new(name).exists() } else { shell::on_path(name) };
    let mut missing: Vec<&str> = needs.iter().filter(|(name, _)| !there(name)).map(|(_, package)| *package).collect();
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
