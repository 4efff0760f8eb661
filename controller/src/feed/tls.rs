//! The feed's TLS: HTTP/2 only, with a certificate that can be replaced while connections are open.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// The serving certificate; empty until the CA is known.
#[derive(Default)]
pub struct Certificate(ArcSwapOption<CertifiedKey>);

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("present", &self.is_present()).finish()
    }
}

impl Certificate {
    /// New connections get this certificate from now on.
    pub fn replace(&self, key: CertifiedKey) {
        self.0.store(Some(Arc::new(key)));
    }

    /// Whether there is one.
    pub fn is_present(&self) -> bool {
        self.0.load().is_some()
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
    }
}

/// TLS 1.3, since both ends are ours.
pub fn server_config(certificate: Arc<Certificate>) -> ServerConfig {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider has TLS 1.3 suites")
        .with_no_client_auth()
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}
