//! Runs the backends that [`super::workloads`] asks for, each on a loopback port of its own.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::workloads::Workload;
use crate::backend::args::BackendArgs;
use crate::backend::{self, Backend};
use crate::problem::ObjectKey;

/// The backends that run.
#[derive(Debug)]
pub struct Pods {
    runtime: Handle,
    state: Option<PathBuf>,
    running: BTreeMap<ObjectKey, Pod>,
}

#[derive(Debug)]
struct Pod {
    args: BackendArgs,
    address: SocketAddr,
    /// Stops the backend when dropped.
    _stop: watch::Sender<bool>,
}

impl Pods {
    /// Nothing runs yet. Backends run on `runtime`, and keep what has to outlive them below `state`.
    pub fn new(runtime: Handle, state: Option<&Path>) -> Self {
        Self { runtime, state: state.map(Path::to_owned), running: BTreeMap::new() }
    }

    /// Starts what is new or changed and gives back what is to be stopped: keep it until nothing is sent there any more.
    /// Failures are told by name.
    pub fn update(&mut self, wanted: &BTreeMap<ObjectKey, Workload>) -> (Stopping, Vec<(ObjectKey, String)>) {
        let mut failed = Vec::new();
        let mut before = std::mem::take(&mut self.running);
        for (key, workload) in wanted {
            if let Some(same) = before.remove_entry(key) {
                if same.1.args == workload.args {
                    self.running.insert(same.0, same.1);
                    continue;
                }
                before.insert(same.0, same.1);
            }
            match self.start(key, &workload.args) {
                Ok(pod) => {
                    self.running.insert(key.clone(), pod);
                }
                Err(error) => failed.push((key.clone(), format!("{error:#}"))),
            }
        }
        (Stopping(before), failed)
    }

    /// Where each backend listens.
    pub fn addresses(&self) -> BTreeMap<ObjectKey, SocketAddr> {
        self.running.iter().map(|(key, pod)| (key.clone(), pod.address)).collect()
    }

    fn start(&self, key: &ObjectKey, args: &BackendArgs) -> anyhow::Result<Pod> {
        let key_file = |state: &PathBuf| state.join("issuers").join(format!("{}.{}.key", key.namespace, key.name));
        let backend = Arc::new(Backend::new(args, self.state.as_ref().map(key_file).as_deref())?);
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (stop, stopped) = watch::channel(false);
        let _entered = self.runtime.enter();
        let listener = TcpListener::from_std(listener)?;
        self.runtime.spawn(backend::serve(listener, backend, stopped));
        Ok(Pod { args: args.clone(), address, _stop: stop })
    }
}

/// Backends that stop when this is dropped.
#[derive(Debug)]
#[must_use = "dropping it stops the backends at once"]
pub struct Stopping(#[expect(dead_code, reason = "held for its drop")] BTreeMap<ObjectKey, Pod>);
