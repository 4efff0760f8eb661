//! etcd and kube-apiserver on loopback, as processes: everything of Kubernetes that is an API, and nothing that runs pods.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::{Cluster, Process, eventually, programs};

/// A running control plane. Dropping it ends it and removes its files.
///
/// No controller-manager runs: namespaces keep their objects, Services get no EndpointSlices, ServiceAccounts are made by
/// hand. Tests write what they need, and so decide when it happens.
#[derive(Debug)]
pub struct ControlPlane {
    // In the order in which they are to end.
    api_server: Process,
    etcd: Process,
    cluster: Cluster,
    port: u16,
    folder: TempDir,
}

impl ControlPlane {
    /// Starts both and waits until the API answers.
    pub async fn start() -> Result<Self> {
        let folder = TempDir::with_prefix("tollgate-e2e-")?;
        let path = folder.path();
        let logs = path.join("log");
        let [clients, peers, port] = free_ports()?;

        let mut etcd = programs::cluster("etcd")?;
        etcd.args(["--unsafe-no-fsync", "--log-level=warn", "--data-dir"]).arg(path.join("etcd"));
        for (role, port) in [("client", clients), ("peer", peers)] {
            etcd.arg(format!("--listen-{role}-urls=http://127.0.0.1:{port}"));
        }
        etcd.arg(format!("--advertise-client-urls=http://127.0.0.1:{clients}"));
        etcd.arg(format!("--initial-advertise-peer-urls=http://127.0.0.1:{peers}"));
        etcd.arg(format!("--initial-cluster=default=http://127.0.0.1:{peers}"));
        let mut etcd = Process::start("etcd", &etcd, &logs)?;

        let pki = path.join("pki");
        std::fs::create_dir(&pki)?;
        std::fs::write(pki.join("tokens.csv"), format!("{ADMIN_TOKEN},admin,admin,system:masters\n"))?;
        service_account_key(&pki.join("sa.key"))?;
        let mut api_server = programs::cluster("kube-apiserver")?;
        api_server
            .arg(format!("--etcd-servers=http://127.0.0.1:{clients}"))
            .arg(format!("--secure-port={port}"))
            .args(["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none"])
            .args(["--authorization-mode=RBAC", "--allow-privileged", "--service-cluster-ip-range=10.205.0.0/16"])
            .args(["--service-account-issuer=https://kubernetes.default.svc", "--profiling=false"])
            .arg("--cert-dir")
            .arg(&pki)
            .arg("--token-auth-file")
            .arg(pki.join("tokens.csv"));
        for flag in ["--service-account-signing-key-file", "--service-account-key-file"] {
            api_server.arg(flag).arg(pki.join("sa.key"));
        }
        let mut api_server = Process::start("kube-apiserver", &api_server, &logs)?;

        let kubeconfig = path.join("admin.kubeconfig");
        std::fs::write(&kubeconfig, kubeconfig_text(&pki, port, ADMIN_TOKEN))?;
        let cluster = eventually("the API server", async || {
            etcd.alive()?;
            api_server.alive()?;
            let cluster = Cluster::connect(&kubeconfig).await?;
            cluster.ready().await?;
            Ok(cluster)
        })
        .await?;
        Ok(Self { api_server, etcd, cluster, port, folder })
    }

    /// The API as its administrator.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Where logs and other files of tests go; removed with the control plane.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a kubeconfig for a ServiceAccount, with a token of its own, as a pod would have it.
    pub async fn kubeconfig_for(&self, namespace: &str, service_account: &str) -> Result<PathBuf> {
        let token = self.cluster.token(namespace, service_account, None).await?;
        let path = self.folder().join(format!("{namespace}.{service_account}.kubeconfig"));
        std::fs::write(&path, kubeconfig_text(&self.folder().join("pki"), self.port, &token))?;
        Ok(path)
    }

    /// Stops the API server where it stands; clients see silence, not an error.
    pub fn freeze_api_server(&self) -> Result<()> {
        self.api_server.freeze()
    }

    /// Lets the API server go on.
    pub fn thaw_api_server(&self) -> Result<()> {
        self.api_server.thaw()
    }

    /// Leaves the files for a look.
    pub fn keep_files(&mut self) -> &Path {
        self.folder.disable_cleanup(true);
        self.folder.path()
    }

    /// An error when a part of it has ended.
    pub fn alive(&mut self) -> Result<()> {
        self.etcd.alive()?;
        self.api_server.alive()
    }
}

/// Good on loopback, for the life of a test.
const ADMIN_TOKEN: &str = "admin-of-a-test";

/// Ports that nobody listens on. They lie below those that systems give away by themselves, and no other call in this process gets them,
/// so only a program that asks for one of them can take it before it is used; the start then fails and says so.
pub(crate) fn free_ports<const N: usize>() -> Result<[u16; N]> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    const FIRST: u32 = 20_000;
    const COUNT: u32 = 12_000;
    let start = std::process::id().wrapping_mul(61);
    let mut ports = [0; N];
    let mut tried = 0;
    for port in &mut ports {
        loop {
            *port = u16::try_from(FIRST + start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT)?;
            if TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok() {
                break;
            }
            tried += 1;
            ensure!(tried < COUNT, "no port from {FIRST} to {} is free", FIRST + COUNT - 1);
        }
    }
    Ok(ports)
}

fn service_account_key(path: &Path) -> Result<()> {
    let output = Command::new("openssl").args(["genrsa", "-out"]).arg(path).arg("2048").output();
    let output = output.context("starting openssl")?;
    if !output.status.success() {
        bail!("openssl genrsa: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

fn kubeconfig_text(pki: &Path, port: u16, token: &str) -> String {
    let ca = pki.join("apiserver.crt");
    format!(
        r#"apiVersion: v1
kind: Config
clusters: [{{name: test, cluster: {{server: "https://127.0.0.1:{port}", certificate-authority: "{}"}}}}]
users: [{{name: test, user: {{token: "{token}"}}}}]
contexts: [{{name: test, context: {{cluster: test, user: test}}}}]
current-context: test
"#,
        ca.display()
    )
}
