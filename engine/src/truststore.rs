//! Which client certificates a custom domain trusts (section 7.4 of the spec).
//!
//! Roots, which have signed themselves, are the only anchors; what else the truststore holds helps to build chains (H-MTLS-12). Revocation,
//! host names and extended key usages are not looked at (H-MTLS-3).

use std::collections::BTreeMap;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter, VerifiedPath};
use x509_parser::certificate::X509Certificate;
use x509_parser::public_key::PublicKey;

use crate::certificate::provider;
use crate::client_cert::distinguished_name;

/// Most bytes of a truststore (H-MTLS-2).
pub const MAX_BYTES: usize = 1 << 20;
/// Most certificates in one (H-MTLS-2).
pub const MAX_CERTIFICATES: usize = 1000;
/// Most certificates of a chain, the client's own and the root included (H-MTLS-2).
const MAX_CHAIN: usize = 4;
/// Most warnings that are told.
const MAX_WARNINGS: usize = 20;

/// The certificates of a truststore that can be used.
#[derive(Debug)]
pub struct Truststore {
    anchors: Vec<TrustAnchor<'static>>,
    intermediates: Vec<CertificateDer<'static>>,
    /// Names of the roots, for the hint that servers send.
    subjects: Vec<Vec<u8>>,
}

/// Why a truststore cannot be used at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTruststore {
    /// Too large.
    #[error("the truststore has {0} bytes, at most {MAX_BYTES} are taken: remove certificates")]
    TooLarge(usize),
    /// Too many certificates.
    #[error("the truststore has more than {MAX_CERTIFICATES} certificates: remove some")]
    TooMany,
    /// No root that can be used.
    #[error(
        "the truststore holds no self-signed root certificate that can be used: add the root of each chain in PEM{0}"
    )]
    NoRoot(String),
    /// H-MTLS-10.
    #[error(
        "The certificate subject {0} conflicts with an existing certificate from a different issuer: keep one of the two"
    )]
    Conflict(String),
}

/// A client certificate is not trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the client certificate is not trusted: {0}")]
pub struct Untrusted(webpki::Error);

impl Untrusted {
    /// It, or one of its chain, is valid no more.
    pub fn is_expired(&self) -> bool {
        matches!(self.0, webpki::Error::CertExpired { .. })
    }

    /// No chain leads to a root.
    pub fn is_unknown_issuer(&self) -> bool {
        matches!(self.0, webpki::Error::UnknownIssuer)
    }
}

impl Truststore {
    /// Reads PEM. Certificates that cannot be used are left out and told (H-MTLS-8).
    ///
    /// # Errors
    /// Nothing can be used, or a bound is broken.
    pub fn from_pem(pem: &str) -> Result<(Self, Vec<String>), BadTruststore> {
        if pem.len() > MAX_BYTES {
            return Err(BadTruststore::TooLarge(pem.len()));
        }
        let mut store = Self::trusting_nobody();
        let mut warnings = Vec::new();
        let mut issuers: BTreeMap<String, String> = BTreeMap::new();
        for (number, der) in CertificateDer::pem_slice_iter(pem.as_bytes()).enumerate() {
            if number >= MAX_CERTIFICATES {
                return Err(BadTruststore::TooMany);
            }
            let number = number + 1;
            let result = der.map_err(|_| "it is not PEM".to_owned()).and_then(|der| store.add(der));
            match result {
                Ok((subject, issuer)) => {
                    if issuers.get(&subject).is_some_and(|known| *known != issuer) {
                        return Err(BadTruststore::Conflict(subject));
                    }
                    issuers.insert(subject, issuer);
                }
                Err(why) if warnings.len() < MAX_WARNINGS => {
                    warnings.push(format!("certificate {number} of the truststore is left out: {why}"));
                }
                Err(_) => {}
            }
        }
        if store.anchors.is_empty() {
            let first = warnings.first().map(|warning| format!(" ({warning})")).unwrap_or_default();
            return Err(BadTruststore::NoRoot(first));
        }
        Ok((store, warnings))
    }

    /// Adds a certificate; gives its subject and issuer.
    fn add(&mut self, der: CertificateDer<'_>) -> Result<(String, String), String> {
        let (_, certificate) = x509_parser::parse_x509_certificate(&der).map_err(|_| "it is malformed".to_owned())?;
        strong(&certificate)?;
        let subject = distinguished_name(certificate.subject());
        let issuer = distinguished_name(certificate.issuer());
        if certificate.subject().as_raw() == certificate.issuer().as_raw() {
            let anchor = webpki::anchor_from_trusted_cert(&der).map_err(|error| error.to_string())?;
            self.subjects.push(certificate.subject().as_raw().to_vec());
            self.anchors.push(anchor.to_owned());
        } else {
            self.intermediates.push(der.into_owned());
        }
        Ok((subject, issuer))
    }

    /// Lets nobody in.
    pub fn trusting_nobody() -> Self {
        Self { anchors: Vec::new(), intermediates: Vec::new(), subjects: Vec::new() }
    }

    /// Names of the roots in DER.
    pub fn subjects(&self) -> &[Vec<u8>] {
        &self.subjects
    }

    /// Checks a client's certificate and what it sent with it (H-MTLS-2, H-MTLS-3). `now` in seconds since 1970.
    ///
    /// # Errors
    /// No chain of at most four valid certificates leads from it to a root.
    pub fn verify(
        &self,
        own: &CertificateDer<'_>,
        sent: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Untrusted> {
        let algorithms = provider().signature_verification_algorithms;
        let intermediates: Vec<CertificateDer<'_>> = sent.iter().chain(&self.intermediates).cloned().collect();
        let short_enough = |path: &VerifiedPath<'_>| {
            // The client's own, those between, and the root.
            let length = path.intermediate_certificates().count() + 2;
            if length > MAX_CHAIN { Err(webpki::Error::MaximumPathDepthExceeded) } else { Ok(()) }
        };
        let own = EndEntityCert::try_from(own).map_err(Untrusted)?;
        own.verify_for_usage(algorithms.all, &self.anchors, &intermediates, now, AnyUsage, None, Some(&short_enough))
            .map(|_| ())
            .map_err(Untrusted)
    }
}

struct AnyUsage;

impl ExtendedKeyUsageValidator for AnyUsage {
    fn validate(&self, _: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        Ok(())
    }
}

/// SHA-256 or stronger, RSA of at least 2048 bits or a curve of at least 256 (H-MTLS-2).
fn strong(certificate: &X509Certificate<'_>) -> Result<(), String> {
    const STRONG: [&str; 8] = [
        "1.2.840.113549.1.1.11", // RSA with SHA-256, 384, 512, and PSS
        "1.2.840.113549.1.1.12",
        "1.2.840.113549.1.1.13",
        "1.2.840.113549.1.1.10",
        "1.2.840.10045.4.3.2", // ECDSA with SHA-256, 384, 512
        "1.2.840.10045.4.3.3",
        "1.2.840.10045.4.3.4",
        "1.3.101.112", // Ed25519
    ];
    let algorithm = certificate.signature_algorithm.algorithm.to_id_string();
    if !STRONG.contains(&algorithm.as_str()) {
        return Err("its signature is weaker than SHA-256".to_owned());
    }
    match certificate.public_key().parsed() {
        Ok(PublicKey::RSA(key)) if key.key_size() < 2048 => {
            Err(format!("its RSA key has {} bits, at least 2048 are needed", key.key_size()))
        }
        Ok(PublicKey::EC(point)) if point.key_size() < 256 => {
            Err(format!("its curve has {} bits, at least 256 are needed", point.key_size()))
        }
        Ok(PublicKey::DSA(_)) => Err("its key is a DSA key".to_owned()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
