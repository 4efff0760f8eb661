//! A certificate chain and its key, read and checked.

use std::fmt;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;

use super::provider;

/// A certificate chain with its private key, as in a `kubernetes.io/tls` Secret.
#[derive(Clone, Debug)]
pub struct Pair {
    pub(super) key: Arc<CertifiedKey>,
    /// DNS names of the certificate, lower case.
    pub(super) names: Vec<String>,
    /// End of its validity, seconds since 1970.
    pub(super) not_after: i64,
}

/// Why a pair cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPair {
    /// The file is not there, or not readable, or absurdly large.
    #[error("{file} cannot be read: {why}")]
    Unreadable {
        /// `tls.crt` or `tls.key`.
        file: &'static str,
        /// From the system.
        why: String,
    },
    /// No certificate in PEM.
    #[error("tls.crt holds no certificate: put the PEM chain there, the server's own certificate first")]
    NoCertificate,
    /// The first certificate does not parse.
    #[error("tls.crt: the first certificate is malformed")]
    MalformedCertificate,
    /// No key in PEM.
    #[error("tls.key holds no private key: put the PEM key (PKCS#8, PKCS#1 or SEC1) there")]
    NoKey,
    /// The key is of a kind that is not supported, or not the certificate's.
    #[error("tls.key does not fit tls.crt: {why}")]
    Mismatch {
        /// From the TLS library.
        why: String,
    },
}

impl Pair {
    /// Reads both files' content.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, BadPair> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(certificates)
            .collect::<Result<_, _>>()
            .map_err(|_| BadPair::MalformedCertificate)?;
        let first = chain.first().ok_or(BadPair::NoCertificate)?;
        let (names, not_after) = facts(first).ok_or(BadPair::MalformedCertificate)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| BadPair::NoKey)?;
        let key = CertifiedKey::from_der(chain, key, &provider()).map_err(mismatch)?;
        key.keys_match().map_err(mismatch)?;
        Ok(Self { key: Arc::new(key), names, not_after })
    }
}

fn mismatch(error: rustls::Error) -> BadPair {
    BadPair::Mismatch { why: error.to_string() }
}

fn facts(certificate: &CertificateDer<'_>) -> Option<(Vec<String>, i64)> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let mut names = Vec::new();
    if let Some(alternatives) = certificate.subject_alternative_name().ok()? {
        for name in &alternatives.value.general_names {
            if let GeneralName::DNSName(name) = name {
                names.push(name.to_ascii_lowercase());
            }
        }
    }
    Some((names, certificate.validity().not_after.timestamp()))
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names.join(", "))
    }
}
