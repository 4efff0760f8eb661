//! The network that tests run in. Load and faults stay inside a network namespace of their own.

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Marks that this program runs in its own network already.
const INSIDE: &str = "TOLLGATE_E2E_INSIDE";

/// Addresses of backends at the process level: on the loopback device, yet not loopback addresses, which the API server
/// refuses in EndpointSlices.
pub const BACKENDS: Ipv4Addr = Ipv4Addr::new(10, 203, 1, 1);

/// Starts this program again in a network of its own that holds nothing but loopback and [`BACKENDS`]/24. Returns only when
/// it is there. Needs root, or a kernel that lets users make namespaces.
pub fn enter_own() -> Result<()> {
    if std::env::var_os(INSIDE).is_some() {
        return Ok(());
    }
    let mut unshare = vec!["unshare", "--net"];
    if !rustix::process::getuid().is_root() {
        unshare.push("--map-root-user");
    }
    let probe = Command::new(unshare[0]).args(&unshare[1..]).arg("true").output().context("starting unshare")?;
    if !probe.status.success() {
        bail!("no network namespace can be made: {}", String::from_utf8_lossy(&probe.stderr).trim());
    }
    let script = format!("ip link set lo up && ip addr add {BACKENDS}/24 dev lo && exec \"$@\"");
    let error = Command::new(unshare[0])
        .args(&unshare[1..])
        .args(["--", "sh", "-c", &script, "sh"])
        .arg(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .env(INSIDE, "1")
        .exec();
    Err(error).context("starting in a network of its own")
}

/// Moves the calling thread into the network of another process. Threads and processes that it starts from now on are there
/// too; threads that run already are not.
pub fn enter(pid: u32) -> Result<()> {
    let path = format!("/proc/{pid}/ns/net");
    let file = File::open(Path::new(&path)).with_context(|| format!("opening {path}"))?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
        .with_context(|| format!("entering {path}"))
}
