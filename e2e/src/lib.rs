//! Whole programs against a real Kubernetes; never shipped.
//!
//! Two levels, one library. The **process level** ([`ControlPlane`]) runs etcd and kube-apiserver on loopback and our programs
//! as processes beside them: fault, skew and scale tests, without root. The **node level** ([`Node`]) runs a whole one-node
//! cluster (`cluster/`), where the chart is installed by helm.
//!
//! Nothing here outlives its owner: every process is ended by its id when its value is dropped, and by the kernel when the
//! test program itself dies.

pub mod aws;
pub mod backend;
pub mod chart;
mod control_plane;
mod gateway;
mod load;
pub mod network;
mod node;
mod objects;
mod probe;
mod process;
pub mod programs;
pub mod suite;
mod wait;

pub use control_plane::ControlPlane;
pub use gateway::{Controller, Gateway, Proxy};
pub use load::{Load, Plan, Tally, Targets};
pub use node::Node;
pub use objects::{Cluster, Refusal};
pub use probe::{Answer, Request};
pub use process::Process;
pub use programs::root;
pub use wait::{eventually, within};
