use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, date_time_ymd,
};

use super::*;

struct Made {
    pem: String,
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2030, 1, 1);
    params
}

fn make(mut params: CertificateParams, ca: bool, by: Option<&Made>) -> Made {
    if ca {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    let key = KeyPair::generate().unwrap();
    let certificate = match by {
        Some(by) => params.signed_by(&key, &by.issuer).unwrap(),
        None => params.self_signed(&key).unwrap(),
    };
    Made { pem: certificate.pem(), der: certificate.der().clone(), issuer: Issuer::new(params, key) }
}

fn authority(name: &str, by: Option<&Made>) -> Made {
    make(params(name), true, by)
}

/// 2026-01-01.
fn now() -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(1_767_225_600))
}

fn store(pem: &[&Made]) -> Truststore {
    let pem: String = pem.iter().map(|made| made.pem.as_str()).collect();
    let (store, warnings) = Truststore::from_pem(&pem).unwrap();
    assert_eq!(warnings, Vec::<String>::new());
    store
}

/// Proves H-MTLS-2, H-MTLS-3, H-MTLS-12.
#[test]
fn a_chain_leads_to_a_root_of_the_truststore() {
    let root = authority("root", None);
    let middle = authority("middle", Some(&root));
    let low = authority("low", Some(&middle));
    let lowest = authority("lowest", Some(&low));
    let other = authority("other", None);
    let client = make(params("client"), false, Some(&middle));
    let direct = make(params("direct"), false, Some(&root));
    let deep = make(params("deep"), false, Some(&low));
    let deepest = make(params("deepest"), false, Some(&lowest));
    let stranger = make(params("stranger"), false, Some(&other));
    let mut old = params("old");
    old.not_after = date_time_ymd(2021, 1, 1);
    let expired = make(old, false, Some(&root));
    let mut later = params("later");
    later.not_before = date_time_ymd(2029, 1, 1);
    let early = make(later, false, Some(&root));
    let mut server = params("server");
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let other_usage = make(server, false, Some(&root));

    let root_only = store(&[&root]);
    let with_middle = store(&[&root, &middle]);
    let trusts = |store: &Truststore, own: &Made, sent: &[&Made]| {
        let sent: Vec<_> = sent.iter().map(|made| made.der.clone()).collect();
        store.verify(&own.der, &sent, now()).is_ok()
    };
    assert!(trusts(&root_only, &direct, &[]));
    assert!(trusts(&root_only, &client, &[&middle]), "what is between may come from the client");
    assert!(trusts(&with_middle, &client, &[]), "or from the truststore");
    assert!(!trusts(&root_only, &client, &[]));
    assert!(trusts(&root_only, &deep, &[&low, &middle]), "four certificates");
    assert!(!trusts(&root_only, &deepest, &[&lowest, &low, &middle]), "five");
    assert!(!trusts(&root_only, &stranger, &[&other]), "a root of the client's own");
    assert!(!trusts(&root_only, &expired, &[]));
    assert!(!trusts(&root_only, &early, &[]));
    assert!(trusts(&root_only, &other_usage, &[]), "extended key usages are not looked at");
    assert!(
        !trusts(&root_only, &make(params("direct"), false, Some(&client)), &[&client, &middle]),
        "a client is no authority"
    );
}

/// Proves H-MTLS-12.
#[test]
fn an_intermediate_alone_trusts_nobody() {
    let root = authority("root", None);
    let middle = authority("middle", Some(&root));
    assert_eq!(Truststore::from_pem(&middle.pem).unwrap_err(), BadTruststore::NoRoot(String::new()));
    let other = authority("other", None);
    let client = make(params("client"), false, Some(&middle));
    assert!(store(&[&other, &middle]).verify(&client.der, &[], now()).is_err());
}

/// Proves H-MTLS-8.
#[test]
fn what_cannot_be_used_is_left_out_and_told() {
    let root = authority("root", None);
    let rubbish = "-----BEGIN CERTIFICATE-----\nYWJj\n-----END CERTIFICATE-----\n";
    let (kept, warnings) = Truststore::from_pem(&format!("{rubbish}{}", root.pem)).unwrap();
    assert_eq!(warnings, ["certificate 1 of the truststore is left out: it is malformed"]);
    let client = make(params("client"), false, Some(&root));
    assert!(kept.verify(&client.der, &[], now()).is_ok());
    let said = Truststore::from_pem(rubbish).unwrap_err().to_string();
    assert!(said.ends_with("in PEM (certificate 1 of the truststore is left out: it is malformed)"), "{said}");
}

/// Proves H-MTLS-2.
#[test]
fn weak_certificates_are_left_out() {
    // Made with: openssl req -x509 -newkey rsa:1024 -nodes -days 36500 -subj /CN=weak -sha256
    let weak = include_str!("weak.pem");
    let root = authority("root", None);
    let (_, warnings) = Truststore::from_pem(&format!("{weak}{}", root.pem)).unwrap();
    assert_eq!(
        warnings,
        ["certificate 1 of the truststore is left out: its RSA key has 1024 bits, at least 2048 are needed"]
    );
    // The same with rsa:2048 and -sha1.
    let sha1 = include_str!("sha1.pem");
    let (_, warnings) = Truststore::from_pem(&format!("{}{sha1}", root.pem)).unwrap();
    assert_eq!(warnings, ["certificate 2 of the truststore is left out: its signature is weaker than SHA-256"]);
}

/// Proves H-MTLS-10.
#[test]
fn a_subject_has_one_issuer() {
    let (one, two) = (authority("one", None), authority("two", None));
    let of_one = authority("shared", Some(&one));
    let of_two = authority("shared", Some(&two));
    let pem = [&one, &two, &of_one, &of_two].map(|made| made.pem.as_str()).concat();
    let said = Truststore::from_pem(&pem).unwrap_err().to_string();
    assert!(said.starts_with(
        "The certificate subject CN=shared conflicts with an existing certificate from a different issuer"
    ));
}

/// Proves P9, H-MTLS-2.
#[test]
fn a_truststore_is_bounded() {
    assert_eq!(Truststore::from_pem(&" ".repeat(MAX_BYTES + 1)).unwrap_err(), BadTruststore::TooLarge(MAX_BYTES + 1));
    let root = authority("root", None);
    assert_eq!(Truststore::from_pem(&root.pem.repeat(MAX_CERTIFICATES + 1)).unwrap_err(), BadTruststore::TooMany);
}
