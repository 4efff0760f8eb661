//! A server's certificate chain and its key, read and checked.
//!
//! The controller reads them with the same code before it publishes them, so that a proxy refuses none.

use std::fmt;
use std::sync::{Arc, LazyLock};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;

static PROVIDER: LazyLock<Arc<CryptoProvider>> =
    LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));

/// All cryptography of TLS, given explicitly rather than through a process-wide default.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::clone(&PROVIDER)
}

/// A certificate chain with its private key, as in a `kubernetes.io/tls` Secret.
#[derive(Clone, Debug)]
pub struct Pair {
    /// For the TLS library.
    pub key: Arc<CertifiedKey>,
    /// DNS names of the certificate, lower case.
    pub names: Vec<String>,
    /// Start of its validity, seconds since 1970.
    pub not_before: i64,
    /// End of its validity, seconds since 1970.
    pub not_after: i64,
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
        let (names, not_before, not_after) = facts(first).ok_or(BadPair::MalformedCertificate)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| BadPair::NoKey)?;
        let key = CertifiedKey::from_der(chain, key, &provider()).map_err(mismatch)?;
        key.keys_match().map_err(mismatch)?;
        Ok(Self { key: Arc::new(key), names, not_before, not_after })
    }

    /// Whether clients that call `name`, which may begin with `*.`, accept the certificate's names: a wildcard in the certificate stands
    /// for one label (RFC 9525 section 6.3).
    pub fn covers(&self, name: &str) -> bool {
        let wildcard = name.split_once('.').map(|(_, parent)| format!("*.{parent}"));
        self.names.iter().any(|known| known == name || Some(known) == wildcard.as_ref())
    }
}

fn mismatch(error: rustls::Error) -> BadPair {
    BadPair::Mismatch { why: error.to_string() }
}

fn facts(certificate: &CertificateDer<'_>) -> Option<(Vec<String>, i64, i64)> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let mut names = Vec::new();
    if let Some(alternatives) = certificate.subject_alternative_name().ok()? {
        for name in &alternatives.value.general_names {
            if let GeneralName::DNSName(name) = name {
                names.push(name.to_ascii_lowercase());
            }
        }
    }
    let validity = certificate.validity();
    Some((names, validity.not_before.timestamp(), validity.not_after.timestamp()))
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_covers_one_label() {
        let made = rcgen::generate_simple_self_signed(["*.example.com".to_owned(), "example.org".to_owned()]).unwrap();
        let pair = Pair::from_pem(made.cert.pem().as_bytes(), made.signing_key.serialize_pem().as_bytes()).unwrap();
        for (name, covered) in [
            ("api.example.com", true),
            ("*.example.com", true),
            ("example.com", false),
            ("a.b.example.com", false),
            ("example.org", true),
            ("*.example.org", false),
        ] {
            assert_eq!(pair.covers(name), covered, "{name}");
        }
    }
}
