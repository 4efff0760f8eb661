//! A whole Kubernetes node, for what needs pods: one of our own (`cluster/node`), or a given cluster such as kind's
//! (`kind/run`), named by `TOLLGATE_E2E_KUBECONFIG` and by `TOLLGATE_E2E_LOAD`, a command that takes an image archive.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::objects::output;
use crate::{Cluster, Process, network, programs, root, suite, within};

/// A running node. Dropping it ends it and removes its files; a given cluster stays.
#[derive(Debug)]
pub struct Node {
    /// None for a given cluster.
    process: Option<Process>,
    kubeconfig: PathBuf,
    folder: TempDir,
}

impl Node {
    /// What this machine lacks for a node. As root, missing Debian packages are installed.
    pub fn obstacle() -> Result<()> {
        if given().is_some() {
            return Ok(());
        }
        let check = Command::new(script("node")).arg("check").output().context("starting e2e/cluster/node")?;
        let words = String::from_utf8_lossy(&check.stderr);
        ensure!(check.status.success(), "{}", words.trim());
        Ok(())
    }

    /// Starts it and waits until it is Ready. Call it from a thread that lives as long as the node.
    pub fn start() -> Result<Self> {
        programs::build_cluster()?;
        let folder = TempDir::with_prefix("tollgate-node-")?;
        if let Some(kubeconfig) = given() {
            return Ok(Self { process: None, kubeconfig, folder });
        }
        let mut run = Command::new(script("node"));
        run.arg("run").arg(folder.path());
        let mut process = Process::start("node", &run, folder.path())?;
        let ready = folder.path().join("ready");
        suite::block_on(within(Duration::from_secs(60), "the node to be Ready", async || {
            process.alive()?;
            ensure!(ready.exists(), "it is not Ready; its output ends:\n{}", process.tail());
            Ok(())
        }))?;
        Ok(Self { process: Some(process), kubeconfig: folder.path().join("admin.kubeconfig"), folder })
    }

    /// Whether it is one of our own, whose containerd can be reached.
    pub fn is_own() -> bool {
        given().is_none()
    }

    /// Moves the calling thread, and what it starts from now on, onto the node's network; pods, Services and the API are
    /// reachable only from there.
    pub fn enter(&self) -> Result<()> {
        self.process.as_ref().map_or(Ok(()), |process| network::enter(process.pid()))
    }

    /// Its API as administrator; after [`Node::enter`].
    pub async fn cluster(&self) -> Result<Cluster> {
        Cluster::connect(&self.kubeconfig).await
    }

    /// Makes the image that the Dockerfile makes, of our three programs, under a name. Returns the archive.
    pub fn tollgate_image(&self, name: &str) -> Result<PathBuf> {
        let archive = self.path().join(format!("{}.tar", name.replace(['/', ':'], "-")));
        let mut image = Command::new(script("image"));
        image.arg(name).arg(&archive).arg("/tollgate");
        for program in ["tollgate", "tollgate-controller", "tollgate-proxy"] {
            image.arg(format!("{}:/{program}", programs::ours(program)?.display()));
        }
        output(&mut image)?;
        Ok(archive)
    }

    /// Makes an image of a real Valkey (`e2e/valkey/fetch`) that has its programs where the official image has them. Returns the archive.
    pub fn valkey_image(&self, name: &str) -> Result<PathBuf> {
        let archive = self.path().join("valkey.tar");
        let mut image = Command::new(script("image"));
        image.arg(name).arg(&archive).arg("/usr/local/bin/valkey-server");
        for program in ["valkey-server", "valkey-cli"] {
            image.arg(format!("{}:/usr/local/bin/{program}", programs::valkey(program)?.display()));
        }
        output(&mut image)?;
        Ok(archive)
    }

    /// Imports an image, so that pods can use it.
    pub fn load(&self, archive: &Path) -> Result<()> {
        match std::env::var("TOLLGATE_E2E_LOAD") {
            Ok(load) if self.process.is_none() => {
                output(Command::new("sh").args(["-c", &format!("{load} \"$0\"")]).arg(archive))?
            }
            _ => output(Command::new(script("node")).arg("load").arg(self.path()).arg(archive))?,
        };
        Ok(())
    }

    /// Runs helm on the node and returns what it printed.
    pub fn helm(&self, args: &[&str]) -> Result<String> {
        output(programs::cluster("helm")?.args(args).env("KUBECONFIG", &self.kubeconfig))
    }

    /// What its pods say and what happened, for a look after a failure.
    pub fn story(&self) -> String {
        let kubectl = |args: &str| {
            let printed = programs::cluster("kubectl")
                .and_then(|mut kubectl| output(kubectl.args(args.split(' ')).env("KUBECONFIG", &self.kubeconfig)));
            printed.unwrap_or_else(|error| format!("{error:#}"))
        };
        [
            "get pods -A -o wide",
            "get events -A --sort-by=.lastTimestamp",
            "get tollgate -A",
            "logs -n tollgate-system -l app.kubernetes.io/name=tollgate --all-containers --prefix --tail=40",
            "logs -n tollgate-system -l app.kubernetes.io/name=tollgate --all-containers --prefix --tail=20 --previous",
        ]
        .map(|args| format!("--- kubectl {args}\n{}", kubectl(args)))
        .join("\n")
    }

    /// Where its files are.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Runs a command of containerd's client.
    pub fn ctr(&self, args: &[&str]) -> Result<String> {
        output(Command::new("ctr").arg("-a").arg(self.path().join("containerd.sock")).args(["-n", "k8s.io"]).args(args))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if self.process.is_none() {
            return;
        }
        // Removes the cgroups; the processes and mounts end with the first process.
        if let Err(error) = output(Command::new(script("node")).arg("down").arg(self.path())) {
            eprintln!("ending the node: {error:#}");
        }
    }
}

fn given() -> Option<PathBuf> {
    std::env::var_os("TOLLGATE_E2E_KUBECONFIG").map(PathBuf::from)
}

fn script(name: &str) -> PathBuf {
    root().join("e2e/cluster").join(name)
}
