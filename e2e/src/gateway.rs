//! Tollgate's programs as processes beside a control plane, with the identities and rights that the chart gives them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::control_plane::free_ports;
use crate::{Answer, ControlPlane, Process, Request, chart, eventually, programs};

/// The chart's output, applied in a namespace of its own: definitions, accounts, rights. No pod runs; the programs are
/// started by [`Gateway::controller`] and [`Gateway::proxy`].
#[derive(Debug)]
pub struct Gateway<'a> {
    plane: &'a ControlPlane,
    /// The namespace, and what every name begins with.
    pub namespace: String,
    folder: PathBuf,
    /// One per replica, kept so that proxies know them before they run.
    feeds: [SocketAddr; 2],
}

impl<'a> Gateway<'a> {
    /// Renders the chart and applies it.
    pub async fn install(plane: &'a ControlPlane) -> Result<Self> {
        let cluster = plane.cluster();
        let namespace = cluster.namespace("gateway").await?;
        cluster.apply_yaml(&namespace, &chart::render(&namespace, &[])?).await?;
        let folder = plane.folder().join(&namespace);
        std::fs::create_dir_all(&folder)?;
        let [first, second] = free_ports()?;
        Ok(Self { plane, namespace, folder, feeds: [local(first), local(second)] })
    }

    /// Starts a replica of the controller, the first (0) or the second (1), and waits until it is ready.
    pub async fn controller(&self, replica: usize) -> Result<Controller> {
        let kubeconfig = self.plane.kubeconfig_for(&self.namespace, &format!("{}-controller", self.namespace)).await?;
        let [admin] = free_ports()?;
        let name = format!("controller-{replica}");
        let mut command = Command::new(programs::ours("tollgate-controller")?);
        command
            .args(["--feed-listen", &self.feeds[replica].to_string(), "--admin-listen", &local(admin).to_string()])
            .args(["--namespace", &self.namespace, "--identity", &name, "--base-domain", "localhost"])
            .args(["--feed-dns-names", "localhost,127.0.0.1"])
            .arg(format!("--proxy-service-account={0}/{0}-proxy", self.namespace))
            // Tests kill controllers; nobody wants to wait a quarter of a minute for the lease each time.
            .args(["--lease-duration", "2s", "--lease-renew-deadline", "1500ms", "--lease-retry", "200ms"])
            .arg("--kubeconfig")
            .arg(kubeconfig);
        let process = Process::start(&name, &command, &self.folder)?;
        let mut controller = Controller { process, admin: local(admin) };
        controller.ready().await?;
        Ok(controller)
    }

    /// Both replicas.
    pub async fn controllers(&self) -> Result<[Controller; 2]> {
        Ok([self.controller(0).await?, self.controller(1).await?])
    }

    /// Starts a proxy; does not wait. Controllers must have run once, since they make the feed's CA.
    pub async fn proxy(&self, name: &str) -> Result<Proxy> {
        let cluster = self.plane.cluster();
        let token = cluster.token(&self.namespace, &format!("{}-proxy", self.namespace), Some("tollgate-feed")).await?;
        let ca = eventually("the feed's CA", async || {
            let map = cluster.get("v1", "ConfigMap", &self.namespace, "tollgate-feed-ca").await?;
            map.pointer("/data/ca.crt").and_then(Value::as_str).map(str::to_owned).context("no ca.crt yet")
        })
        .await?;
        let state = self.folder.join(name);
        std::fs::create_dir_all(&state)?;
        let (token_file, ca_file) = (self.folder.join(format!("{name}.token")), self.folder.join("ca.crt"));
        std::fs::write(&token_file, token)?;
        std::fs::write(&ca_file, ca)?;
        let [listen, admin] = free_ports()?;
        let feeds: Vec<String> = self.feeds.iter().map(|feed| format!("https://{feed}")).collect();
        let mut command = Command::new(programs::ours("tollgate-proxy")?);
        command
            .args(["--listen", &local(listen).to_string(), "--admin", &local(admin).to_string()])
            .args(["--feed", &feeds.join(","), "--fleet", "public", "--name", name, "--workers", "1"])
            .args(["--base-domain", "localhost", "--min-drain", "1s", "--max-drain", "10s"])
            .arg("--feed-token")
            .arg(token_file)
            .arg("--feed-ca")
            .arg(ca_file)
            .arg("--state")
            .arg(&state);
        let process = Process::start(name, &command, &self.folder)?;
        Ok(Proxy {
            process,
            listen: local(listen),
            admin: local(admin),
            name: name.to_owned(),
            command,
            state,
            logs: self.folder.clone(),
        })
    }

    /// Two proxies, both ready.
    pub async fn proxies(&self) -> Result<[Proxy; 2]> {
        let mut proxies = [self.proxy("proxy-0").await?, self.proxy("proxy-1").await?];
        for proxy in &mut proxies {
            proxy.ready().await?;
        }
        Ok(proxies)
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

/// A running controller.
#[derive(Debug)]
pub struct Controller {
    /// For faults.
    pub process: Process,
    admin: SocketAddr,
}

impl Controller {
    async fn ready(&mut self) -> Result<()> {
        eventually("the controller to be ready", async || {
            self.process.alive()?;
            Request::get("/readyz").send(self.admin).await?.expect(200)?;
            Ok(())
        })
        .await
    }

    /// Ends it as a rollout does: SIGTERM, then wait.
    pub fn stop(&mut self) -> Result<()> {
        self.process.terminate()?;
        self.process.ended(Duration::from_secs(30))?;
        Ok(())
    }
}

/// A running proxy.
#[derive(Debug)]
pub struct Proxy {
    /// For faults.
    pub process: Process,
    /// Where it serves traffic.
    pub listen: SocketAddr,
    admin: SocketAddr,
    name: String,
    command: Command,
    state: PathBuf,
    logs: PathBuf,
}

impl Proxy {
    /// Waits until it says that it serves.
    pub async fn ready(&mut self) -> Result<()> {
        eventually("the proxy to be ready", async || {
            self.process.alive()?;
            self.readiness().await?.expect(200)?;
            Ok(())
        })
        .await
    }

    /// What it says about itself.
    pub async fn readiness(&self) -> Result<Answer> {
        Request::get("/readyz").send(self.admin).await
    }

    /// Kills it and starts it again with the same settings, ports and state; does not wait.
    pub fn restart(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process = Process::start(&self.name, &self.command, &self.logs)?;
        Ok(())
    }

    /// Waits until its state holds this text, so that a crash from now on does not lose it.
    pub async fn saved(&self, text: &str) -> Result<()> {
        eventually(&format!("{text:?} in the proxy's state"), async || {
            // Not the file beside it, which is still being written.
            let saved = std::fs::read(self.state.join("units.ndjson"))?;
            ensure!(String::from_utf8_lossy(&saved).contains(text), "it is not there");
            Ok(())
        })
        .await
    }

    /// Begins a drain (SIGTERM).
    pub fn drain(&self) -> Result<()> {
        self.process.terminate()
    }

    /// Waits until it has drained.
    pub fn drained(&mut self) -> Result<()> {
        let status = self.process.ended(Duration::from_secs(30))?;
        ensure!(status.success(), "the proxy ended with {status}");
        Ok(())
    }
}
