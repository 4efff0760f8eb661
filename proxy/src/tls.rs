//! Certificates we show, certificates we trust.
//!
//! [`Certificates`] holds what clients are shown and follows the files it came from; [`ClientConfigs`] makes the settings for backends.
//! All cryptography is aws-lc's, given explicitly rather than through a process-wide default.

mod client;
mod dev;
mod domain;
mod server;

pub use client::{BadTrust, ClientConfigs, control_config};
pub use dev::self_signed;
pub(crate) use domain::DomainConfigs;
pub use server::{CertificateProblem, Certificates};
use tollgate_engine::certificate::provider;
pub use tollgate_engine::certificate::{BadPair, Pair};
