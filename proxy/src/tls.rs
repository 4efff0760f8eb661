//! Certificates we show, certificates we trust.
//!
//! [`Certificates`] holds what clients are shown and follows the files it came from; [`ClientConfigs`] makes the settings for backends.
//! All cryptography is aws-lc's, given explicitly rather than through a process-wide default.

mod client;
mod dev;
mod pair;
mod server;

use std::sync::{Arc, LazyLock};

use rustls::crypto::CryptoProvider;

pub use client::{BadTrust, ClientConfigs, control_config};
pub use dev::self_signed;
pub use pair::{BadPair, Pair};
pub use server::{CertificateProblem, Certificates};

static PROVIDER: LazyLock<Arc<CryptoProvider>> =
    LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));

fn provider() -> Arc<CryptoProvider> {
    Arc::clone(&PROVIDER)
}
