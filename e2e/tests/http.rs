//! HTTP/2 as h2spec has it: all its cases, with prior knowledge and over TLS, on the real program. Needs no Kubernetes and no root.

use std::net::SocketAddr;
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result, ensure};
use tollgate_e2e::aws::{api, unused};
use tollgate_e2e::{Process, Request, eventually, programs, root, suite};

/// How many cases h2spec has.
const CASES: usize = 145;

/// Answers everything, from an echo backend of the program.
const ROUTE: &str = r#"---
apiVersion: tollgate.dev/v1alpha1
kind: Route
metadata: {name: all}
spec:
  apiRef: {name: spec}
  routeKey: $default
  integration:
    http: {uri: "http://BACKEND"}
"#;

#[derive(Debug, Default)]
struct Shared {
    running: OnceLock<Running>,
}

#[derive(Debug)]
struct Running {
    _backend: Process,
    _gateway: Process,
    plain: SocketAddr,
    tls: SocketAddr,
    h2spec: String,
    // Last, so that its files outlive the processes.
    folder: tempfile::TempDir,
}

impl Shared {
    fn start(&self) -> Result<()> {
        let program = programs::ours("tollgate")?;
        let built = Command::new(root().join("e2e/http/build")).stdin(Stdio::null()).stderr(Stdio::inherit()).output();
        let built = built.context("starting e2e/http/build")?;
        ensure!(built.status.success(), "e2e/http/build ended with {}; what it misses stands above", built.status);
        let h2spec = String::from_utf8(built.stdout)?.trim().to_owned();
        let folder = tempfile::TempDir::with_prefix("tollgate-http-")?;
        let (backend, plain, tls) = (unused()?, unused()?, unused()?);
        std::fs::create_dir(folder.path().join("api"))?;
        std::fs::write(
            folder.path().join("api/api.yaml"),
            api("spec") + &ROUTE.replace("BACKEND", &backend.to_string()),
        )?;
        let mut command = Command::new(&program);
        command.args(["backend", "echo", "--listen", &backend.to_string()]);
        let echo = Process::start("backend", &command, folder.path())?;
        let mut command = Command::new(&program);
        command.args(["dev", "--workers", "1", "--listen", &plain.to_string(), "--tls-listen", &tls.to_string()]);
        command.arg(folder.path().join("api"));
        let mut gateway = Process::start("gateway", &command, folder.path())?;
        suite::block_on(eventually("the gateway to serve", async || {
            gateway.alive()?;
            Request::get("/").send(plain).await?.expect(200)
        }))?;
        let running = Running { _backend: echo, _gateway: gateway, plain, tls, h2spec, folder };
        self.running.set(running).expect("nobody else starts it");
        Ok(())
    }

    /// Runs all cases; the ones that failed are told.
    fn run(&self, tls: bool) -> Result<()> {
        let running = self.running.get().expect("all is started before the tests");
        let address = if tls { running.tls } else { running.plain };
        let mut command = Command::new(&running.h2spec);
        command.args(["--host", "127.0.0.1", "--port", &address.port().to_string(), "--timeout", "5"]);
        if tls {
            command.args(["--tls", "--insecure"]);
        }
        let output = command.stdin(Stdio::null()).output().context("starting h2spec")?;
        let said = String::from_utf8_lossy(&output.stdout);
        let wanted = format!("{CASES} tests, {CASES} passed, 0 skipped, 0 failed");
        let failures = said.find("Failures:").map_or(&said[..], |at| &said[at..]);
        ensure!(output.status.success() && said.contains(&wanted), "{failures}");
        Ok(())
    }
}

fn main() -> ExitCode {
    let shared = Arc::new(Shared::default());
    let start = shared.clone();
    let tests = vec![
        suite::test("h2spec::with_prior_knowledge", &shared, async |shared: &Shared| shared.run(false)),
        suite::test("h2spec::over_tls", &shared, async |shared: &Shared| shared.run(true)),
    ];
    suite::run(
        "http",
        move || start.start(),
        tests,
        |well| {
            let running = Arc::into_inner(shared).and_then(|shared| shared.running.into_inner());
            if let (false, Some(mut running)) = (well, running) {
                running.folder.disable_cleanup(true);
                println!("logs are kept in {}", running.folder.path().display());
            }
        },
    )
}
