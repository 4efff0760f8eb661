//! What we trust when we are the client.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tollgate_engine::snapshot::BackendTls;
use tracing::warn;

use super::provider;

/// Most distinct trust bundles; each is a few kilobytes and an own set of connections.
const MAX_CONFIGS: usize = 1_000;

/// Settings for TLS towards backends, one for each distinct trust bundle; a clone is a pointer.
///
/// What name is verified is the caller's to give with each connection ([`BackendTls::server_name_to_verify`]).
#[derive(Clone, Debug)]
pub struct ClientConfigs {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    system: Arc<ClientConfig>,
    nothing: Arc<ClientConfig>,
    bundles: Mutex<Bundles>,
}

#[derive(Debug)]
struct Bundles {
    by_pem: HashMap<String, (Arc<ClientConfig>, usize)>,
    next: usize,
}

/// Identities of the two configurations that have no bundle of their own.
const SYSTEM: usize = 0;
const NOTHING: usize = 1;

/// Why a trust bundle cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTrust {
    /// No certificate in PEM, or one that does not parse.
    #[error("the CA bundle holds no usable certificate: put PEM certificates there")]
    NoCertificate,
    /// More than [`MAX_CONFIGS`].
    #[error("more than {MAX_CONFIGS} distinct CA bundles are in use: share bundles between backends")]
    TooMany,
}

impl ClientConfigs {
    /// Trust in what the system trusts, and whatever bundles are asked for later.
    pub fn from_system() -> Self {
        Self::with_roots(system_roots())
    }

    fn with_roots(roots: RootCertStore) -> Self {
        let alpn = &[&b"http/1.1"[..]];
        let bundles = Mutex::new(Bundles { by_pem: HashMap::new(), next: NOTHING + 1 });
        let (system, nothing) = (config(roots, alpn), config(RootCertStore::empty(), alpn));
        Self { shared: Arc::new(Shared { system, nothing, bundles }) }
    }

    /// The settings for `tls`, HTTP/1.1 only, and a number that is the same for the same settings and never given to others: pools
    /// keep connections apart by it.
    pub fn get(&self, tls: &BackendTls) -> Result<(Arc<ClientConfig>, usize), BadTrust> {
        let Some(pem) = &tls.ca_pem else { return Ok((Arc::clone(&self.shared.system), SYSTEM)) };
        let mut bundles = self.shared.bundles.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = bundles.by_pem.get(pem) {
            return Ok(known.clone());
        }
        let roots = roots_of(pem)?;
        if bundles.by_pem.len() >= MAX_CONFIGS {
            // Those that no configuration refers to any more make room.
            bundles.by_pem.retain(|_, (config, _)| Arc::strong_count(config) > 1);
        }
        if bundles.by_pem.len() >= MAX_CONFIGS {
            return Err(BadTrust::TooMany);
        }
        let made = (config(roots, &[&b"http/1.1"[..]]), bundles.next);
        bundles.next += 1;
        bundles.by_pem.insert(pem.clone(), made.clone());
        Ok(made)
    }

    /// Settings under which every handshake fails, for backends whose own cannot be used (promise P3).
    pub fn trusting_nothing(&self) -> (Arc<ClientConfig>, usize) {
        (Arc::clone(&self.shared.nothing), NOTHING)
    }
}

/// Settings for the proxy's own requests (feed, keys, spans), HTTP/2 and HTTP/1.1: trust in `ca_pem` alone, or in what the system
/// trusts.
pub fn control_config(ca_pem: Option<&str>) -> Result<Arc<ClientConfig>, BadTrust> {
    let roots = ca_pem.map_or_else(|| Ok(system_roots()), roots_of)?;
    Ok(config(roots, &[b"h2", b"http/1.1"]))
}

fn config(roots: RootCertStore, alpn: &[&[u8]]) -> Arc<ClientConfig> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .expect("the provider has suites for both versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Arc::new(config)
}

fn system_roots() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        warn!(errors = ?found.errors, "the system has no trusted certificates: TLS towards public names will fail");
    }
    roots
}

fn roots_of(pem: &str) -> Result<RootCertStore, BadTrust> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|_| BadTrust::NoCertificate)?;
        roots.add(certificate).map_err(|_| BadTrust::NoCertificate)?;
    }
    if roots.is_empty() { Err(BadTrust::NoCertificate) } else { Ok(roots) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle(name: &str) -> BackendTls {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        BackendTls { ca_pem: Some(made.cert.pem()), server_name_to_verify: None }
    }

    #[test]
    fn equal_bundles_share_settings_and_others_do_not() {
        let configs = ClientConfigs::with_roots(RootCertStore::empty());
        let (a, b) = (bundle("a"), bundle("b"));
        let (first, id) = configs.get(&a).unwrap();
        let named = BackendTls { server_name_to_verify: Some("x".into()), ..a };
        let (again, same_id) = configs.get(&named).unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        assert_eq!(id, same_id);
        let ids = [
            id,
            configs.get(&b).unwrap().1,
            configs.get(&BackendTls::default()).unwrap().1,
            configs.trusting_nothing().1,
        ];
        let distinct: std::collections::HashSet<_> = ids.into_iter().collect();
        assert_eq!(distinct.len(), 4);
    }

    #[test]
    fn a_bundle_without_certificates_is_refused() {
        let configs = ClientConfigs::with_roots(RootCertStore::empty());
        for pem in ["", "hello", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            let tls = BackendTls { ca_pem: Some(pem.into()), server_name_to_verify: None };
            assert_eq!(configs.get(&tls).unwrap_err(), BadTrust::NoCertificate, "{pem:?}");
        }
    }
}
