//! Custom domains and their certificates, as they travel.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::is_default;

/// A custom domain: who may connect, and which request is for which stage (section 7 of the spec).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Domain {
    /// `namespace/name` of the DomainName object.
    pub source: String,
    /// Lower case; a first label `*` stands for one label (H-DOM-1).
    pub domain_name: String,
    /// The certificate is the unit `certificate/{domainName}`; without that unit no handshake succeeds. Otherwise the proxy's own
    /// certificates are shown.
    #[serde(default, skip_serializing_if = "is_default")]
    pub own_certificate: bool,
    /// Certificates of clients; absent: not asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mutual_tls: Option<MutualTls>,
    /// What decides about the stage.
    #[serde(default)]
    pub routing_mode: RoutingMode,
    /// At most one per key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mappings: Vec<ApiMapping>,
    /// By priority, the lowest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RoutingRule>,
    /// The DomainName object was refused and never had an accepted version: every request gets 500, and none falls through to a wildcard
    /// domain (promise P1).
    #[serde(default, skip_serializing_if = "is_default")]
    pub refused: bool,
    /// Names of behaviour that a proxy has to know to serve this domain as meant. A proxy that misses one answers 500 and refuses
    /// handshakes. Empty in this format version.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires: Vec<String>,
}

/// Certificates of clients (section 7.4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MutualTls {
    /// PEM certificates of authorities. Without a usable one nobody is let in (promise P3).
    pub truststore_pem: String,
}

/// What decides about the stage (H-RULE-1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RoutingMode {
    /// Mappings alone.
    #[default]
    #[serde(rename = "API_MAPPING_ONLY")]
    ApiMappingOnly,
    /// Rules alone.
    #[serde(rename = "ROUTING_RULE_ONLY")]
    RoutingRuleOnly,
    /// Rules, and mappings where no rule matches.
    #[serde(rename = "ROUTING_RULE_THEN_API_MAPPING")]
    RoutingRuleThenApiMapping,
    /// A way this proxy does not know: 500.
    #[serde(other)]
    Unknown,
}

/// Paths that lead to a stage (section 7.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiMapping {
    /// `namespace/name` of the ApiMapping object.
    pub source: String,
    /// Without slashes around it; empty: what no other mapping takes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// Where to.
    pub target: DomainTarget,
}

/// A stage that a domain leads to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum DomainTarget {
    /// The stage itself; its deployment is its own affair (H-APM-12).
    #[serde(rename_all = "camelCase")]
    Stage {
        /// Id of the API.
        api_id: String,
        /// Name of the stage.
        stage_name: String,
    },
    /// The object was refused and never had an accepted version: 500, and no fall-through (promise P1).
    Refused,
    /// A kind this proxy does not know: 500.
    #[serde(other)]
    Unknown,
}

/// A routing rule (section 7.5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoutingRule {
    /// What `$context.customDomain.routingRuleIdMatched` says.
    pub id: String,
    /// All have to hold (H-RULE-3).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<HeaderMatch>,
    /// The first segments of the path, without slashes around them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_path: Option<String>,
    /// Removes the base path (H-RULE-7).
    #[serde(default, skip_serializing_if = "is_default")]
    pub strip_base_path: bool,
    /// Where to.
    pub target: DomainTarget,
}

/// A header and what it has to hold (H-RULE-4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeaderMatch {
    /// Its name, in any case.
    pub header: String,
    /// `abc`, `*abc`, `abc*` or `*abc*`.
    pub value_glob: String,
}

/// The certificate of a custom domain, with its private key: proxies hold it in memory and in their memory-backed state only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Certificate {
    /// `namespace/name` of the Secret.
    pub source: String,
    /// The domain that it is shown for.
    pub domain_name: String,
    /// The chain, the domain's own certificate first.
    pub certificate_pem: String,
    /// The key.
    pub private_key_pem: PrivateKey,
}

/// A private key in PEM. It shows itself to nobody who prints it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PrivateKey(String);

impl PrivateKey {
    /// Takes PEM.
    pub fn new(pem: impl Into<String>) -> Self {
        Self(pem.into())
    }

    /// The PEM, for the TLS library and for nobody else.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(hidden)")
    }
}
