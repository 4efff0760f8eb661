//! The feed's certificate authority. The lease holder makes it and replaces it; every replica signs its own serving
//! certificate with it; proxies trust the published bundle.
//!
//! **Replacement without a gap.** A new CA is published as `next` long before it signs anything, becomes the signer after
//! [`ANNOUNCED`], and its predecessor stays in the bundle until it has run out. So whoever trusts a bundle that is less than
//! [`ANNOUNCED`] old trusts every serving certificate.

use std::collections::BTreeMap;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, X509Certificate};

pub mod store;

/// How long a CA lives.
const CA_LIFE: Duration = Duration::from_secs(365 * 24 * 3600);
/// A successor is made when less than this is left.
const PREPARE_BEFORE: Duration = Duration::from_secs(60 * 24 * 3600);
/// A successor is known for this long before it signs. Mounted ConfigMaps are minutes behind at most.
pub const ANNOUNCED: Duration = Duration::from_secs(24 * 3600);
/// How long a serving certificate lives; it is replaced at half of it.
const SERVING_LIFE: Duration = Duration::from_secs(24 * 3600);
/// Certificates are valid from a little before they were made, for peers whose clocks are late.
const BACKDATE: Duration = Duration::from_secs(3600);

/// What the Secret holds, as PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// Signs serving certificates.
    pub current: Signer,
    /// Will.
    pub next: Option<Signer>,
    /// Did; only its certificate is kept.
    pub previous: Option<String>,
}

/// A CA certificate and its key, PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Signer {
    /// The certificate.
    pub certificate: String,
    key: String,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").finish_non_exhaustive() // never the key
    }
}

/// Why stored material cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// An entry of the Secret is absent or not text.
    #[error("entry {0} of the Secret is missing or is not PEM text")]
    Missing(&'static str),
    /// A certificate cannot be read.
    #[error("a CA certificate cannot be read")]
    Certificate,
    /// Keys or signatures failed.
    #[error(transparent)]
    Rcgen(#[from] rcgen::Error),
    /// The key made for serving is refused by TLS.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}

/// Seconds since 1970; an argument everywhere, never read here.
pub type UnixTime = u64;

/// From when until when a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Validity {
    from: UnixTime,
    until: UnixTime,
}

impl Authority {
    /// A first one.
    ///
    /// # Errors
    /// When the random source or the signature fails.
    pub fn new(now: UnixTime) -> Result<Self, CaError> {
        Ok(Self { current: Signer::new(now)?, next: None, previous: None })
    }

    /// The next state, when it is time for a step; `None`: keep.
    ///
    /// # Errors
    /// When a certificate cannot be read or made.
    pub fn step(&self, now: UnixTime) -> Result<Option<Self>, CaError> {
        let current = validity(&self.current.certificate)?;
        if let Some(next) = &self.next {
            let made = validity(&next.certificate)?.from + BACKDATE.as_secs();
            if now >= made + ANNOUNCED.as_secs() || now >= current.until {
                let previous = Some(self.current.certificate.clone());
                return Ok(Some(Self { current: next.clone(), next: None, previous }));
            }
        } else if now + PREPARE_BEFORE.as_secs() >= current.until {
            return Ok(Some(Self { next: Some(Signer::new(now)?), ..self.clone() }));
        }
        if let Some(previous) = &self.previous
            && now >= validity(previous)?.until
        {
            return Ok(Some(Self { previous: None, ..self.clone() }));
        }
        Ok(None)
    }

    /// The certificates to trust, PEM.
    pub fn bundle(&self) -> String {
        let all = [self.previous.as_ref(), Some(&self.current.certificate), self.next.as_ref().map(|n| &n.certificate)];
        all.into_iter().flatten().map(|pem| format!("{}\n", pem.trim_end())).collect()
    }

    /// As entries of a Secret.
    pub fn to_entries(&self) -> BTreeMap<String, String> {
        let mut entries = BTreeMap::from([
            ("ca.crt".to_owned(), self.current.certificate.clone()),
            ("ca.key".to_owned(), self.current.key.clone()),
        ]);
        if let Some(next) = &self.next {
            entries.insert("next.crt".into(), next.certificate.clone());
            entries.insert("next.key".into(), next.key.clone());
        }
        if let Some(previous) = &self.previous {
            entries.insert("previous.crt".into(), previous.clone());
        }
        entries
    }

    /// From the entries of a Secret.
    ///
    /// # Errors
    /// When one is missing or cannot be read.
    pub fn from_entries(mut entry: impl FnMut(&'static str) -> Option<String>) -> Result<Self, CaError> {
        let mut signer = |certificate, key| match (entry(certificate), entry(key)) {
            (None, None) => Ok(None),
            (None, _) => Err(CaError::Missing(certificate)),
            (_, None) => Err(CaError::Missing(key)),
            (Some(certificate), Some(key)) => {
                validity(&certificate)?;
                Ok(Some(Signer { certificate, key }))
            }
        };
        let current = signer("ca.crt", "ca.key")?.ok_or(CaError::Missing("ca.crt"))?;
        let next = signer("next.crt", "next.key")?;
        let previous = entry("previous.crt");
        previous.as_deref().map(validity).transpose()?;
        Ok(Self { current, next, previous })
    }

    /// A new serving certificate for DNS names and addresses.
    ///
    /// # Errors
    /// When a name is none, or the CA's key cannot be used.
    pub fn issue(&self, names: &[String], now: UnixTime) -> Result<Serving, CaError> {
        let issuer = Issuer::from_ca_cert_pem(&self.current.certificate, KeyPair::from_pem(&self.current.key)?)?;
        let until = (now + SERVING_LIFE.as_secs()).min(validity(&self.current.certificate)?.until);
        let mut params = params("tollgate-feed", Validity { from: now - BACKDATE.as_secs(), until });
        params.subject_alt_names = names.iter().map(|name| alternative_name(name)).collect::<Result<_, _>>()?;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = params.signed_by(&key, &issuer)?;
        let private = PrivateKeyDer::try_from(key.serialize_der()).map_err(|_| CaError::Certificate)?;
        let chain: Vec<CertificateDer<'static>> = vec![certificate.der().clone()];
        let certified = CertifiedKey::new(chain, any_supported_type(&private)?);
        Ok(Serving { certified, signer: self.current.certificate.clone(), renew_at: now + (until - now) / 2 })
    }
}

/// A serving certificate.
#[derive(Debug)]
pub struct Serving {
    /// For TLS.
    pub certified: CertifiedKey,
    /// Certificate of the CA that signed it.
    signer: String,
    renew_at: UnixTime,
}

impl Serving {
    /// Whether another should take its place.
    pub fn is_due(&self, authority: &Authority, now: UnixTime) -> bool {
        now >= self.renew_at || self.signer != authority.current.certificate
    }
}

impl Signer {
    fn new(now: UnixTime) -> Result<Self, CaError> {
        let validity = Validity { from: now - BACKDATE.as_secs(), until: now + CA_LIFE.as_secs() };
        // The name tells two CAs of one bundle apart.
        let mut params = params(&format!("tollgate-feed-ca-{now}"), validity);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = params.self_signed(&key)?;
        Ok(Self { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

fn params(common_name: &str, validity: Validity) -> CertificateParams {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = epoch + Duration::from_secs(validity.from);
    params.not_after = epoch + Duration::from_secs(validity.until);
    params
}

fn alternative_name(name: &str) -> Result<SanType, CaError> {
    Ok(match name.parse() {
        Ok(address) => SanType::IpAddress(address),
        Err(_) => SanType::DnsName(name.try_into()?),
    })
}

fn validity(pem: &str) -> Result<Validity, CaError> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| CaError::Certificate)?;
    let (_, certificate) = X509Certificate::from_der(&der).map_err(|_| CaError::Certificate)?;
    let seconds = |time: x509_parser::time::ASN1Time| u64::try_from(time.timestamp()).map_err(|_| CaError::Certificate);
    let validity = certificate.validity();
    Ok(Validity { from: seconds(validity.not_before)?, until: seconds(validity.not_after)? })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier;
    use rustls::pki_types::{ServerName, UnixTime as TlsTime};
    use rustls::{RootCertStore, crypto::aws_lc_rs};

    use super::*;

    const START: UnixTime = 1_800_000_000;
    const DAY: u64 = 24 * 3600;

    fn names() -> Vec<String> {
        vec!["feed.tg.svc".into(), "127.0.0.1".into()]
    }

    /// Whether somebody who trusts `bundle` accepts `serving` at `now`.
    fn trusts(bundle: &str, serving: &Serving, name: &str, now: UnixTime) -> bool {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
            roots.add(certificate.unwrap()).unwrap();
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider).build().unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let now = TlsTime::since_unix_epoch(Duration::from_secs(now));
        verifier.verify_server_cert(&serving.certified.cert[0], &[], &name, &[], now).is_ok()
    }

    #[test]
    fn a_serving_certificate_is_trusted_by_the_bundle_for_its_names() {
        let authority = Authority::new(START).unwrap();
        let serving = authority.issue(&names(), START).unwrap();
        assert!(trusts(&authority.bundle(), &serving, "feed.tg.svc", START));
        assert!(trusts(&authority.bundle(), &serving, "127.0.0.1", START));
        assert!(!trusts(&authority.bundle(), &serving, "other.tg.svc", START));
        assert!(!trusts(&Authority::new(START).unwrap().bundle(), &serving, "feed.tg.svc", START));
    }

    #[test]
    fn a_serving_certificate_is_renewed_at_half_its_life() {
        let authority = Authority::new(START).unwrap();
        let serving = authority.issue(&names(), START).unwrap();
        assert!(!serving.is_due(&authority, START + DAY / 2 - 1));
        assert!(serving.is_due(&authority, START + DAY / 2));
    }

    #[test]
    fn the_secret_holds_everything() {
        let mut authority = Authority::new(START).unwrap();
        authority.next = Some(Signer::new(START + 1).unwrap());
        authority.previous = Some(Signer::new(START - 1).unwrap().certificate);
        let entries = authority.to_entries();
        assert_eq!(Authority::from_entries(|name| entries.get(name).cloned()).unwrap(), authority);
        let without_key = |name| entries.get(name).filter(|_| name != "ca.key").cloned();
        assert!(matches!(Authority::from_entries(without_key), Err(CaError::Missing("ca.key"))));
    }

    /// Goes through two years in steps of six hours. At each moment every serving certificate in use must be trusted by any
    /// bundle published within the last day, which is what proxies and mounted files may have.
    #[test]
    fn replacement_never_leaves_a_gap() {
        let mut authority = Authority::new(START).unwrap();
        let first = authority.current.certificate.clone();
        let mut serving = authority.issue(&names(), START).unwrap();
        let mut bundles = vec![(START, authority.bundle())];
        let mut steps = 0;
        for now in (START..START + 2 * 365 * DAY).step_by(6 * 3600) {
            while let Some(next) = authority.step(now).unwrap() {
                authority = next;
                steps += 1;
                bundles.push((now, authority.bundle()));
            }
            if serving.is_due(&authority, now) {
                serving = authority.issue(&names(), now).unwrap();
            }
            // Held is what was published within the last day, and what was in effect when that day began.
            let older = bundles.iter().rposition(|(since, _)| *since + DAY <= now).unwrap_or(0);
            for (_, bundle) in &bundles[older..] {
                assert!(trusts(bundle, &serving, "feed.tg.svc", now), "day {}", (now - START) / DAY);
            }
        }
        assert_ne!(authority.current.certificate, first);
        assert!(steps >= 3, "prepared, promoted, dropped: {steps}");
    }
}
