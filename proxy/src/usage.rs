//! Usage plans at run time: who a request counts for, and whether it may pass.
//!
//! [`Plans`] is configuration and changes as a whole with the gateway. [`UsageMeters`] outlives it (promise P6): what customers have
//! used, in this process alone, with a file that survives it, or shared with other proxies through Valkey.
//!
//! Only routes with `apiKeyRequired` come here; the others take no branch for it.

mod connect;
mod file;
mod meters;
mod plans;
mod report;
mod valkey;

pub use connect::{StoreSettings, Topology};
pub use meters::{Customer, StoreKind, UsageMeters};
pub(crate) use meters::{Decision, Moment, SharedThrottle};
pub(crate) use plans::{CompiledPlan, Plans, PlansState};
pub use valkey::{Shared, StoreService, shared};
