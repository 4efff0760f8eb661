//! TLS settings of custom domains: their own certificates, and certificates of their clients.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, ServerConfig, SignatureScheme};
use tollgate_engine::truststore::Truststore;

use super::{Pair, provider};

/// With more roots than this clients are not told their names: the list would fill the handshake.
const MOST_HINTS: usize = 100;

/// Makes the settings of domains from those of the listener.
#[derive(Clone, Debug)]
pub(crate) struct DomainConfigs {
    listener: Arc<ServerConfig>,
}

impl DomainConfigs {
    pub(crate) fn new(listener: Arc<ServerConfig>) -> Self {
        Self { listener }
    }

    /// Shows `pair`, or the listener's certificates. With `trust`, only clients with a trusted certificate are let in.
    pub(crate) fn make(
        &self,
        pair: Option<&Pair>,
        trust: Option<&Arc<Truststore>>,
    ) -> Result<Arc<ServerConfig>, rustls::Error> {
        let resolver: Arc<dyn ResolvesServerCert> = match pair {
            Some(pair) => Arc::new(Always(Some(Arc::clone(&pair.key)))),
            None => Arc::clone(&self.listener.cert_resolver),
        };
        let Some(trust) = trust else {
            // The same tickets as everywhere: a new certificate does not make clients start again.
            let mut config = (*self.listener).clone();
            config.cert_resolver = resolver;
            return Ok(Arc::new(config));
        };
        let verifier = Arc::new(Verifier::new(Arc::clone(trust)));
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(resolver);
        config.alpn_protocols.clone_from(&self.listener.alpn_protocols);
        // No session is resumed: each handshake proves the certificate against the truststore of that moment.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }

    /// Refuses every handshake.
    pub(crate) fn without_certificate(&self) -> Result<Arc<ServerConfig>, rustls::Error> {
        let mut config = (*self.listener).clone();
        config.cert_resolver = Arc::new(Always(None));
        Ok(Arc::new(config))
    }
}

/// The same certificate for every client.
#[derive(Debug)]
struct Always(Option<Arc<CertifiedKey>>);

impl ResolvesServerCert for Always {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.clone()
    }
}

/// Asks the truststore.
#[derive(Debug)]
struct Verifier {
    trust: Arc<Truststore>,
    hints: Vec<DistinguishedName>,
}

impl Verifier {
    fn new(trust: Arc<Truststore>) -> Self {
        let subjects = trust.subjects();
        let hints = if subjects.len() > MOST_HINTS { &[] } else { subjects };
        let hints = hints.iter().cloned().map(DistinguishedName::from).collect();
        Self { trust, hints }
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        match self.trust.verify(end_entity, intermediates, now) {
            Ok(()) => Ok(ClientCertVerified::assertion()),
            Err(error) => Err(rustls::Error::InvalidCertificate(alert(error))),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

/// The alert that tells the client what is wrong (RFC 8446 section 6.2).
fn alert(error: tollgate_engine::truststore::Untrusted) -> CertificateError {
    if error.is_expired() {
        CertificateError::Expired
    } else if error.is_unknown_issuer() {
        CertificateError::UnknownIssuer
    } else {
        CertificateError::Other(OtherError(Arc::new(error)))
    }
}
