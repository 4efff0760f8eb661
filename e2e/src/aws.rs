//! AWS's own parts as processes: the Lambda runtime behind the runtime interface emulator, and Cognito as moto plays it.
//! And a whole gateway in one process, `tollgate dev`, in front of them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::control_plane::free_ports;
use crate::{Process, Request, eventually, programs, root};

/// A folder with AWS's parts, fetched once (`e2e/aws/build`), and one for logs and files of this run.
#[derive(Debug)]
pub struct Parts {
    aws: PathBuf,
    folder: tempfile::TempDir,
}

impl Parts {
    /// Fetches what is missing.
    pub fn fetch() -> Result<Self> {
        let output = Command::new(root().join("e2e/aws/build"))
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .context("starting e2e/aws/build")?;
        ensure!(output.status.success(), "e2e/aws/build ended with {}; what it misses stands above", output.status);
        let aws = PathBuf::from(String::from_utf8(output.stdout)?.trim());
        Ok(Self { aws, folder: tempfile::TempDir::with_prefix("tollgate-aws-")? })
    }

    /// Leaves the files for a look.
    pub fn keep_files(&mut self) -> &Path {
        self.folder.disable_cleanup(true);
        self.folder.path()
    }

    fn python(&self) -> Command {
        let mut command = Command::new(self.aws.join("venv/bin/python"));
        command.env("PYTHONDONTWRITEBYTECODE", "1").current_dir(root().join("e2e/aws"));
        command
    }

    /// Starts the function of `function.py` in an emulator of its own, which takes one request at a time, as in Lambda.
    /// It may run for `limit` seconds.
    pub async fn function(&self, name: &str, limit: u32) -> Result<Function> {
        let [invoke, runtime] = free_ports()?;
        let address = local(invoke);
        let mut command = Command::new(self.aws.join("aws-lambda-rie"));
        command
            .args(["--runtime-interface-emulator-address", &address.to_string()])
            .args(["--runtime-api-address", &local(runtime).to_string()])
            .arg(self.aws.join("venv/bin/python"))
            .args(["-m", "awslambdaric", "function.handler"])
            .env("AWS_LAMBDA_FUNCTION_TIMEOUT", limit.to_string())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .current_dir(root().join("e2e/aws"));
        let mut process = Process::start(name, &command, self.folder.path())?;
        eventually("the function to answer", async || {
            process.alive()?;
            let answer = Request::post("/2015-03-31/functions/function/invocations", "{}").send(address).await?;
            ensure!(answer.expect(200)?.body == "\"not called by a gateway\"", "the function gives something else");
            Ok(())
        })
        .await?;
        Ok(Function { _process: process, address })
    }

    /// Starts a Cognito whose clock is `offset` seconds away from ours, with a user pool in it.
    pub async fn pool(&self, name: &str, offset: i64) -> Result<Pool> {
        let (process, endpoint) = self.moto(name, offset).await?;
        let made =
            serde_json::from_value(self.script(&["pool.py", &endpoint])?).context("pool.py printed something else")?;
        Ok(Pool { _process: process, endpoint, made })
    }

    /// Starts a cloud with queues, a stream, a state machine, an event bus, a function, and users with keys, which refuses
    /// requests that are signed wrongly or that the user may not make.
    pub async fn cloud(&self, name: &str) -> Result<Cloud<'_>> {
        let (process, endpoint) = self.moto(name, 0).await?;
        let made = self.script(&["services.py", &endpoint, "make"])?;
        Ok(Cloud { _process: process, parts: self, endpoint, made })
    }

    async fn moto(&self, name: &str, offset: i64) -> Result<(Process, String)> {
        let [port] = free_ports()?;
        let mut command = self.python();
        command.args(["moto_at.py", &port.to_string(), &offset.to_string()]);
        let mut process = Process::start(name, &command, self.folder.path())?;
        eventually("moto to answer", async || {
            process.alive()?;
            Request::get("/moto-api/data.json").send(local(port)).await?.expect(200)
        })
        .await?;
        Ok((process, format!("http://{}", local(port))))
    }

    /// Sends the requests of `signed.py`, which botocore signs, to a gateway. What each is, and the status and body it got.
    pub fn signed(&self, gateway: SocketAddr) -> Result<Vec<(String, u16, String)>> {
        let output = self.python().args(["signed.py", &format!("http://{gateway}")]).output()?;
        ensure!(output.status.success(), "signed.py: {}", String::from_utf8_lossy(&output.stderr));
        let lines = String::from_utf8(output.stdout)?;
        lines.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }

    /// Starts a server of gRPC's own library.
    pub async fn grpc(&self, name: &str) -> Result<Grpc<'_>> {
        let [port] = free_ports()?;
        let mut command = self.python();
        command.args(["grpc_peer.py", "serve", &port.to_string()]);
        let mut process = Process::start(name, &command, self.folder.path())?;
        let address = local(port);
        eventually("the server of gRPC to listen", async || {
            process.alive()?;
            tokio::net::TcpStream::connect(address).await?;
            Ok(())
        })
        .await?;
        Ok(Grpc { _process: process, parts: self, address })
    }

    /// What a script of `e2e/aws` prints as JSON.
    fn script(&self, args: &[&str]) -> Result<serde_json::Value> {
        let output = self.python().args(args).output().with_context(|| format!("starting {}", args[0]))?;
        if !output.status.success() {
            bail!("{} ended with {}: {}", args[0], output.status, String::from_utf8_lossy(&output.stderr));
        }
        serde_json::from_slice(&output.stdout).with_context(|| format!("{} printed no JSON", args[0]))
    }

    /// Starts `tollgate dev` on objects written as YAML, where `LISTEN` stands for its port, and waits until it serves them.
    pub async fn gateway(&self, name: &str, yaml: &str) -> Result<Dev> {
        let folder = self.folder.path().join(format!("{name}.d"));
        std::fs::create_dir_all(&folder)?;
        let [listen] = free_ports()?;
        std::fs::write(folder.join("api.yaml"), yaml.replace("LISTEN", &listen.to_string()))?;
        let mut command = Command::new(programs::ours("tollgate")?);
        command.args(["dev", "--workers", "1", "--listen", &local(listen).to_string()]).arg(&folder);
        let mut process = Process::start(name, &command, self.folder.path())?;
        let log = eventually("tollgate dev to print its addresses", async || {
            process.alive()?;
            let log = std::fs::read_to_string(process.log())?;
            ensure!(log.contains("/_aws/execute-api/") || log.contains("error["), "{log}");
            Ok(log)
        })
        .await?;
        ensure!(!log.contains("error["), "{name} refuses objects:\n{log}");
        Ok(Dev { process, address: local(listen) })
    }

    /// Starts `tollgate backend issuer` at `address`, with a new key.
    pub async fn issuer(&self, name: &str, address: SocketAddr) -> Result<Process> {
        let mut command = Command::new(programs::ours("tollgate")?);
        command.args(["backend", "issuer", "--listen", &address.to_string(), "--audience", "shop"]);
        command.arg(format!("--issuer=http://{address}"));
        let mut process = Process::start(name, &command, self.folder.path())?;
        eventually("the issuer to answer", async || {
            process.alive()?;
            Request::get("/.well-known/openid-configuration").send(address).await?.expect(200)
        })
        .await?;
        Ok(process)
    }
}

/// A running function.
#[derive(Debug)]
pub struct Function {
    _process: Process,
    /// Where it is invoked.
    pub address: SocketAddr,
}

/// A running Cognito with one user pool.
#[derive(Debug)]
pub struct Pool {
    _process: Process,
    endpoint: String,
    /// What is in it.
    pub made: Made,
}

/// What `pool.py` made.
#[derive(Debug, Deserialize)]
pub struct Made {
    pool: String,
    /// Id of the client.
    pub client: String,
    /// Access token of the user: `client_id` and no `aud`.
    pub access: String,
    /// Identity token of the user: `aud` and no `client_id`.
    pub id: String,
}

impl Pool {
    /// The `iss` of its tokens.
    pub fn issuer(&self) -> String {
        format!("https://cognito-idp.us-east-1.amazonaws.com/{}", self.made.pool)
    }

    /// Where its keys are. Not where the issuer's discovery document says: that host is AWS's.
    pub fn keys(&self) -> String {
        format!("{}/{}/.well-known/jwks.json", self.endpoint, self.made.pool)
    }
}

/// A running cloud, as moto plays it.
#[derive(Debug)]
pub struct Cloud<'a> {
    _process: Process,
    parts: &'a Parts,
    /// Where all its services are.
    pub endpoint: String,
    /// What `services.py` made: names, and keys of users.
    pub made: serde_json::Value,
}

impl Cloud<'_> {
    /// What calls have left in it: events that the bus passed on, records of the stream, and what became of `execution`.
    pub fn seen(&self, execution: &str) -> Result<serde_json::Value> {
        let [key, secret] = ["key", "secret"].map(|part| self.made["user"][part].as_str().unwrap_or_default());
        self.parts.script(&["services.py", &self.endpoint, "seen", key, secret, execution])
    }
}

/// A running server of gRPC, and its client.
#[derive(Debug)]
pub struct Grpc<'a> {
    _process: Process,
    parts: &'a Parts,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Grpc<'_> {
    /// What the client gets at `gateway`, for the API whose host is `authority`.
    pub fn call(&self, gateway: SocketAddr, authority: &str) -> Result<serde_json::Value> {
        self.parts.script(&["grpc_peer.py", "call", &gateway.to_string(), authority])
    }
}

/// A running `tollgate dev`.
#[derive(Debug)]
pub struct Dev {
    process: Process,
    /// Where it serves its only API.
    pub address: SocketAddr,
}

impl Dev {
    /// Waits for the line of the access log that has `text` in it.
    pub async fn logged(&self, text: &str) -> Result<String> {
        crate::within(Duration::from_secs(10), "a line of the access log", async || {
            let log = std::fs::read_to_string(self.process.log())?;
            let line = log.lines().find(|line| line.contains(text));
            line.map(str::to_owned).with_context(|| format!("no line has {text:?}:\n{log}"))
        })
        .await
    }
}

/// An address of this machine that nobody listens on.
pub fn unused() -> Result<SocketAddr> {
    let [port] = free_ports()?;
    Ok(local(port))
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

/// An HttpApi of this name, and a stage without a path in front of it, as YAML to which settings of the stage and more objects are added.
pub fn api(name: &str) -> String {
    let kinds = [
        ("HttpApi", name, "{}".to_owned()),
        ("Stage", "default", format!("\n  apiRef: {{name: {name}}}\n  stageName: $default")),
    ];
    let objects = kinds.map(|(kind, name, spec)| {
        format!("apiVersion: tollgate.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n")
    });
    objects.join("---\n")
}
