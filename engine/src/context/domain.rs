//! What a request has from its custom domain.

use super::{Value, Variable};
use crate::client_cert::ClientCert;

/// How a custom domain led a request to its stage.
#[derive(Clone, Copy, Debug)]
pub struct DomainFacts<'a> {
    /// The path as the client sent it, with the mapping key and without the stage (H-EV1-4).
    pub client_path: &'a str,
    /// `$context.customDomain.basePathMatched` (H-APM-11).
    pub base_path: &'a str,
    /// `$context.customDomain.routingRuleIdMatched` (H-RULE-10).
    pub rule: Option<&'a str>,
    /// Header names are told in lower case (H-APM-9).
    pub lower_case_headers: bool,
    /// The certificate that the client proved (H-MTLS-7).
    pub client_cert: Option<&'a ClientCert>,
}

/// A variable that only requests on custom domains have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the variable that `parse` names")]
pub enum DomainVariable {
    BasePathMatched,
    RoutingRuleIdMatched,
    ClientCertPem,
    SubjectDn,
    IssuerDn,
    SerialNumber,
    NotBefore,
    NotAfter,
}

impl DomainVariable {
    /// The variable of this name, without `$context.`.
    pub(super) fn parse(name: &str) -> Option<Variable> {
        Some(Variable::Domain(match name {
            "customDomain.basePathMatched" => Self::BasePathMatched,
            "customDomain.routingRuleIdMatched" => Self::RoutingRuleIdMatched,
            other => match other.strip_prefix("identity.clientCert.")? {
                "clientCertPem" => Self::ClientCertPem,
                "subjectDN" => Self::SubjectDn,
                "issuerDN" => Self::IssuerDn,
                "serialNumber" => Self::SerialNumber,
                "validity.notBefore" => Self::NotBefore,
                "validity.notAfter" => Self::NotAfter,
                _ => return None,
            },
        }))
    }

    pub(super) fn value<'a>(self, facts: Option<&DomainFacts<'a>>) -> Value<'a> {
        let Some(facts) = facts else { return Value::Absent };
        let cert = |text: fn(&'a ClientCert) -> &'a str| Value::text(facts.client_cert.map(text));
        match self {
            Self::BasePathMatched => Value::Text(facts.base_path),
            Self::RoutingRuleIdMatched => Value::text(facts.rule),
            Self::ClientCertPem => cert(|cert| &cert.pem),
            Self::SubjectDn => cert(|cert| &cert.subject_dn),
            Self::IssuerDn => cert(|cert| &cert.issuer_dn),
            Self::SerialNumber => cert(|cert| &cert.serial_number),
            Self::NotBefore => cert(|cert| &cert.not_before),
            Self::NotAfter => cert(|cert| &cert.not_after),
        }
    }
}
