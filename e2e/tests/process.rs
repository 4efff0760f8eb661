//! The process level: our programs beside a real etcd and kube-apiserver.

mod process {
    pub(crate) mod changes;
    pub(crate) mod chart;
    pub(crate) mod definitions;
    pub(crate) mod faults;
    pub(crate) mod isolation;
    pub(crate) mod keys;
    pub(crate) mod store;
    pub(crate) mod world;
}

use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use anyhow::Result;
use tollgate_e2e::{ControlPlane, network, programs, suite};

/// What the tests of this level share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    plane: OnceLock<ControlPlane>,
}

impl Shared {
    pub(crate) fn plane(&self) -> &ControlPlane {
        self.plane.get().expect("the control plane is started before the tests")
    }

    fn start(&self) -> Result<()> {
        // Building needs the network that is about to be left.
        programs::cluster("kube-apiserver")?;
        programs::cluster("helm")?;
        programs::ours("tollgate-proxy")?;
        programs::valkey("valkey-server")?;
        network::enter_own()?;
        let plane = suite::block_on(ControlPlane::start())?;
        self.plane.set(plane).expect("nobody else starts it");
        Ok(())
    }
}

fn main() -> ExitCode {
    let shared = Arc::new(Shared::default());
    let tests = [
        process::definitions::tests(&shared),
        process::chart::tests(&shared),
        process::isolation::tests(&shared),
        process::keys::tests(&shared),
        process::store::tests(&shared),
        process::faults::tests(&shared),
        process::changes::tests(&shared),
    ]
    .into_iter()
    .flatten()
    .collect();
    let start = shared.clone();
    suite::run(
        "process",
        move || start.start(),
        tests,
        |well| {
            let plane = Arc::into_inner(shared).and_then(|shared| shared.plane.into_inner());
            if let (false, Some(mut plane)) = (well, plane) {
                println!("logs are kept in {}", plane.keep_files().display());
            }
        },
    )
}
