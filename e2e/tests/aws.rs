//! AWS's real parts: a function in AWS's own runtime behind its emulator, and Cognito's keys and tokens, through the real
//! program. Needs no Kubernetes and no root.

mod aws {
    pub(crate) mod browser;
    pub(crate) mod events;
    pub(crate) mod failures;
    pub(crate) mod grpc;
    pub(crate) mod results;
    pub(crate) mod services;
    pub(crate) mod signed;
    pub(crate) mod tokens;
}

use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use anyhow::Result;
use tollgate_e2e::aws::{Dev, Function, Parts};
use tollgate_e2e::{Answer, Request, programs, suite};

/// What the tests of this level share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    running: OnceLock<Running>,
}

#[derive(Debug)]
struct Running {
    function: Function,
    gateway: Dev,
    // Last, so that its files outlive the processes.
    parts: Parts,
}

impl Shared {
    pub(crate) fn parts(&self) -> &Parts {
        &self.running().parts
    }

    pub(crate) fn function(&self) -> &Function {
        &self.running().function
    }

    /// Sends a request to the API of `functions.yaml`.
    pub(crate) async fn send(&self, request: Request) -> Result<Answer> {
        request.header("user-agent", "t/1").send(self.running().gateway.address).await
    }

    fn running(&self) -> &Running {
        self.running.get().expect("all is started before the tests")
    }

    fn start(&self) -> Result<()> {
        programs::ours("tollgate")?;
        let parts = Parts::fetch()?;
        let running = suite::block_on(async {
            let function = parts.function("function", 30).await?;
            let yaml = FUNCTIONS.replace("FUNCTION", &format!("http://{}", function.address));
            let gateway = parts.gateway("functions", &yaml).await?;
            anyhow::Ok(Running { function, gateway, parts })
        })?;
        self.running.set(running).expect("nobody else starts it");
        Ok(())
    }
}

/// One function in both payload formats, in two stages.
const FUNCTIONS: &str = include_str!("aws/functions.yaml");

fn main() -> ExitCode {
    let shared = Arc::new(Shared::default());
    let tests = [
        aws::events::tests(&shared),
        aws::results::tests(&shared),
        aws::failures::tests(&shared),
        aws::services::tests(&shared),
        aws::signed::tests(&shared),
        aws::tokens::tests(&shared),
        aws::grpc::tests(&shared),
        aws::browser::tests(&shared),
    ];
    let start = shared.clone();
    suite::run(
        "aws",
        move || start.start(),
        tests.into_iter().flatten().collect(),
        |well| {
            let running = Arc::into_inner(shared).and_then(|shared| shared.running.into_inner());
            if let (false, Some(mut running)) = (well, running) {
                println!("logs are kept in {}", running.parts.keep_files().display());
            }
        },
    )
}
