//! What backends and logs are told of a client's certificate (H-EV2-27, H-MTLS-7).

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use x509_parser::asn1_rs::Oid;
use x509_parser::time::ASN1Time;
use x509_parser::x509::X509Name;

/// A client's certificate, as texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCert {
    /// `clientCertPem`: with lines of 64 characters, each ended with a line feed.
    pub pem: String,
    /// `subjectDN` (RFC 4514): the most specific part first.
    pub subject_dn: String,
    /// `issuerDN`.
    pub issuer_dn: String,
    /// `serialNumber`: lower-case hexadecimal bytes with colons between them.
    pub serial_number: String,
    /// `validity.notBefore`, e.g. `May 28 12:30:02 2019 GMT`.
    pub not_before: String,
    /// `validity.notAfter`.
    pub not_after: String,
}

impl ClientCert {
    /// Reads a certificate in DER; `None` when it is malformed.
    pub fn from_der(der: &[u8]) -> Option<Self> {
        let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
        Some(Self {
            pem: pem(der),
            subject_dn: distinguished_name(certificate.subject()),
            issuer_dn: distinguished_name(certificate.issuer()),
            serial_number: serial(certificate.raw_serial()),
            not_before: date(certificate.validity().not_before),
            not_after: date(certificate.validity().not_after),
        })
    }
}

fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = String::with_capacity(text.len() + text.len() / 64 + 64);
    pem.push_str("-----BEGIN CERTIFICATE-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = more;
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

/// The integer has a zero byte in front where its first bit is set.
fn serial(bytes: &[u8]) -> String {
    let bytes = match bytes {
        [0, rest @ ..] if !rest.is_empty() => rest,
        bytes => bytes,
    };
    let mut text = String::with_capacity(bytes.len() * 3);
    for (index, byte) in bytes.iter().enumerate() {
        let colon = if index > 0 { ":" } else { "" };
        write!(text, "{colon}{byte:02x}").expect("writing to a string does not fail");
    }
    text
}

fn date(time: ASN1Time) -> String {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let time = time.to_datetime();
    let month = MONTHS[usize::from(u8::from(time.month())) - 1];
    let (hour, minute, second) = time.to_hms();
    format!("{month} {:>2} {hour:02}:{minute:02}:{second:02} {} GMT", time.day(), time.year())
}

/// RFC 4514, with the names of attributes that it and RFC 4519 have; others by number.
pub(crate) fn distinguished_name(name: &X509Name<'_>) -> String {
    let mut text = String::new();
    for set in name.iter().collect::<Vec<_>>().into_iter().rev() {
        for (index, attribute) in set.iter().enumerate() {
            if !text.is_empty() {
                text.push(if index > 0 { '+' } else { ',' });
            }
            match short_name(attribute.attr_type()) {
                Some(short) => text.push_str(short),
                None => text.push_str(&attribute.attr_type().to_id_string()),
            }
            text.push('=');
            match attribute.attr_value().as_string_lossy() {
                Some(value) => escape(&value, &mut text),
                None => {
                    text.push('#');
                    for byte in attribute.attr_value().data {
                        write!(text, "{byte:02x}").expect("writing to a string does not fail");
                    }
                }
            }
        }
    }
    text
}

trait Lossy {
    fn as_string_lossy(&self) -> Option<String>;
}

impl Lossy for x509_parser::der_parser::asn1_rs::Any<'_> {
    /// Text of the string types that names have.
    fn as_string_lossy(&self) -> Option<String> {
        use x509_parser::der_parser::asn1_rs::Tag;
        match self.tag() {
            Tag::BmpString => {
                let units: Vec<u16> =
                    self.data.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
                Some(String::from_utf16_lossy(&units))
            }
            Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::TeletexString | Tag::NumericString => {
                Some(String::from_utf8_lossy(self.data).into_owned())
            }
            _ => None,
        }
    }
}

fn short_name(oid: &Oid<'_>) -> Option<&'static str> {
    Some(match oid.to_id_string().as_str() {
        "2.5.4.3" => "CN",
        "2.5.4.5" => "SERIALNUMBER",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "STREET",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "0.9.2342.19200300.100.1.1" => "UID",
        "0.9.2342.19200300.100.1.25" => "DC",
        "1.2.840.113549.1.9.1" => "EMAILADDRESS",
        _ => return None,
    })
}

fn escape(value: &str, out: &mut String) {
    let last = value.chars().count().saturating_sub(1);
    for (index, character) in value.chars().enumerate() {
        let edge = (character == ' ' && (index == 0 || index == last)) || (character == '#' && index == 0);
        if edge || matches!(character, ',' | '+' | '"' | '\\' | '<' | '>' | ';') {
            out.push('\\');
        }
        match character {
            // Logs and headers have one line.
            control if control.is_control() => {
                let mut bytes = [0; 4];
                for byte in control.encode_utf8(&mut bytes).bytes() {
                    write!(out, "\\{byte:02X}").expect("writing to a string does not fail");
                }
            }
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SerialNumber, date_time_ymd};

    use super::*;

    /// Proves H-EV2-27.
    #[test]
    fn a_certificate_is_told_in_five_texts() {
        let mut params = CertificateParams::new(vec!["client".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CountryName, "NL");
        params.distinguished_name.push(DnType::OrganizationName, "Books, Maps + Co");
        params.distinguished_name.push(DnType::CommonName, "#reader ");
        params.serial_number = Some(SerialNumber::from_slice(&[0xa1, 0x02, 0xff]));
        params.not_before = date_time_ymd(2019, 8, 5);
        params.not_after = date_time_ymd(2031, 12, 31);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let told = ClientCert::from_der(certificate.der()).unwrap();
        assert_eq!(told.subject_dn, "CN=\\#reader\\ ,O=Books\\, Maps \\+ Co,C=NL");
        assert_eq!(told.issuer_dn, told.subject_dn);
        assert_eq!(told.serial_number, "a1:02:ff");
        assert_eq!(told.not_before, "Aug  5 00:00:00 2019 GMT");
        assert_eq!(told.not_after, "Dec 31 00:00:00 2031 GMT");
        assert_eq!(told.pem.replace("\r\n", "\n"), certificate.pem().replace("\r\n", "\n"));
        assert_eq!(ClientCert::from_der(b"no certificate"), None);
    }
}
