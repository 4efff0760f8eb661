//! `DomainName`: a host of one's own for APIs, with its certificate and its rules.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::form::{LABEL, NAMESPACE_OR_ALL, OBJECT_NAME};
use crate::schema::{immutable, rules};
use crate::{CaRef, LocalRef, Status};

/// A host of one's own for APIs (H-DOM-1).
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "tollgate.dev",
    version = "v1alpha1",
    kind = "DomainName",
    namespaced,
    status = "Status",
    derive = "PartialEq",
    category = "tollgate",
    shortname = "tgdomain",
    doc = "Makes APIs reachable under a host of one's own. ApiMappings say which of its paths lead where."
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[(
    "self.routingMode != 'API_MAPPING_ONLY' || !has(self.routingRules) || size(self.routingRules) == 0",
    "routingRules have no effect with routingMode API_MAPPING_ONLY: set routingMode to ROUTING_RULE_THEN_API_MAPPING or ROUTING_RULE_ONLY, or remove the rules",
)])))]
pub struct DomainNameSpec {
    /// The host, in lower case, e.g. api.example.com. A first label '*' stands for exactly one label. Cannot be changed.
    #[schemars(length(min = 1, max = 253), extend("x-kubernetes-validations" = rules(&[
        (
            "self.matches('^([*][.])?([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?[.])*[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$')",
            "a domain name has labels of lower-case letters, digits and hyphens, separated by dots, and at most one '*' as its first label: e.g. api.example.com or *.example.com",
        ),
        (
            "!self.matches('(^|[.])[0-9]+$')",
            "an address is no domain name: use a DNS name",
        ),
        (
            "!self.startsWith('*.') || self.substring(2).contains('.')",
            "a wildcard needs two labels behind it: e.g. *.example.com",
        ),
        ("self == oldSelf", "domainName is immutable: delete the object and create it again to change it"),
    ])))]
    pub domain_name: String,
    /// The Secret of type kubernetes.io/tls, in the same namespace, with the certificate chain and its key. Without it clients are shown the
    /// certificate that the operator gave the proxies for this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_secret_ref: Option<LocalRef>,
    /// The oldest TLS that is spoken. TLS_1_2: versions 1.2 and 1.3.
    #[serde(default)]
    #[schemars(extend("x-kubernetes-validations" = rules(&[(
        "self == 'TLS_1_2'",
        "TLS 1.0 and 1.1 are not served, and no HTTP API may use TLS_1_0: set TLS_1_2",
    )])))]
    pub security_policy: SecurityPolicy,
    /// Lets in only clients with a certificate of a trusted authority. Covers every API of the domain; default endpoints stay open
    /// unless disableExecuteApiEndpoint is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mutual_tls_authentication: Option<MutualTlsAuthentication>,
    /// Taken so that definitions from AWS fit; it has no meaning in a cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub ownership_verification_certificate_arn: Option<String>,
    /// Namespaces whose ApiMappings may use the domain, besides its own; '*' stands for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 100),
        inner(length(min = 1, max = 63), regex(pattern = NAMESPACE_OR_ALL))
    )]
    pub allowed_namespaces: Vec<String>,
    /// Whether ApiMappings, routingRules or both say which API a request is for.
    #[serde(default)]
    pub routing_mode: RoutingMode,
    /// Looked at in the order of their priority; the first whose conditions all hold decides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), extend("x-kubernetes-validations" = rules(&[
        (
            "self.all(rule, self.exists_one(other, other.priority == rule.priority))",
            "two routing rules have the same priority: give each its own",
        ),
        (
            "self.all(rule, self.exists_one(other, other.name == rule.name))",
            "two routing rules have the same name: give each its own",
        ),
    ])))]
    pub routing_rules: Vec<RoutingRule>,
}

/// Versions of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SecurityPolicy {
    #[serde(rename = "TLS_1_0")]
    Tls10,
    #[default]
    #[serde(rename = "TLS_1_2")]
    Tls12,
}

/// What decides about the API (H-RULE-1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RoutingMode {
    #[default]
    #[serde(rename = "API_MAPPING_ONLY")]
    ApiMappingOnly,
    #[serde(rename = "ROUTING_RULE_ONLY")]
    RoutingRuleOnly,
    #[serde(rename = "ROUTING_RULE_THEN_API_MAPPING")]
    RoutingRuleThenApiMapping,
}

/// Certificates of clients (H-MTLS-1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MutualTlsAuthentication {
    /// PEM certificates of the authorities whose clients are let in, each chain up to its self-signed root.
    pub truststore_ref: CaRef,
}

/// One routing rule (H-RULE-2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RoutingRule {
    /// What $context.customDomain.routingRuleIdMatched says.
    #[schemars(length(min = 1, max = 63), regex(pattern = OBJECT_NAME))]
    pub name: String,
    /// Lower ones come first; each rule of a domain has its own.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub priority: i32,
    /// All have to hold; a rule without conditions matches every request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 3), extend("x-kubernetes-validations" = rules(&[
        (
            "self.filter(condition, has(condition.matchHeaders)).size() <= 2",
            "a routing rule has at most two matchHeaders conditions: remove the others",
        ),
        (
            "self.filter(condition, has(condition.matchBasePaths)).size() <= 1",
            "a routing rule has at most one matchBasePaths condition: make a rule for each path",
        ),
    ])))]
    pub conditions: Vec<RoutingCondition>,
    /// Exactly one.
    #[schemars(length(min = 1, max = 1))]
    pub actions: Vec<RoutingAction>,
}

/// A condition of a routing rule (H-RULE-3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[(
    "has(self.matchHeaders) != has(self.matchBasePaths)",
    "a condition is exactly one of matchHeaders and matchBasePaths: set one, and make the other a condition of its own",
)])))]
pub struct RoutingCondition {
    /// A header of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub match_headers: Option<MatchHeaders>,
    /// The first segments of the request's path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub match_base_paths: Option<MatchBasePaths>,
}

/// A condition on a header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MatchHeaders {
    /// Exactly one header.
    #[schemars(length(min = 1, max = 1))]
    pub any_of: Vec<MatchHeader>,
}

/// A header and what it has to hold (H-RULE-4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MatchHeader {
    /// Its name; upper and lower case count alike.
    #[schemars(length(min = 1, max = 39), extend("x-kubernetes-validations" = rules(&[
        (
            "self.matches('^[a-zA-Z0-9!#$%&*+.^_`|~-]+$')",
            "a header name has letters, digits and !#$%&*+-.^_`|~ only: e.g. x-version",
        ),
        (
            "!self.matches('(?i)^(access-control-.*|apigw-.*|authorization|connection|content-encoding|content-length|content-location|forwarded|keep-alive|origin|proxy-authenticate|proxy-authorization|te|trailers|transfer-encoding|upgrade|x-amz-.*|x-amzn-.*|x-forwarded-for|x-forwarded-host|x-forwarded-proto|via|x-apigw-api-id|x-restapi)$')",
            "this header is reserved and cannot be matched: use another, e.g. one that begins with x- and the name of your product",
        ),
    ])))]
    pub header: String,
    /// Its value: abc, *abc, abc* or *abc*. Upper and lower case differ.
    #[schemars(length(min = 1, max = 127), extend("x-kubernetes-validations" = rules(&[
        (
            r"self.matches('^[a-zA-Z0-9*?!#$%&\'.^_`|~-]+$')",
            "a valueGlob has letters, digits and *?-!#$%&'.^_`|~ only: e.g. 'v1-*'",
        ),
        (
            "self.matches('^[*]?[^*]+[*]?$') && (!self.matches('^[*][^*]+[*]$') || self.size() < 42)",
            "a valueGlob is abc, *abc, abc* or *abc* with one text of at most 39 characters between two asterisks: e.g. 'v1-*'",
        ),
    ])))]
    pub value_glob: String,
}

/// A condition on the path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MatchBasePaths {
    /// Exactly one path without its first slash, e.g. orders or orders/v1. It matches whole segments.
    #[schemars(length(min = 1, max = 1), inner(length(min = 1, max = 127)), extend("x-kubernetes-validations" = rules(&[(
        r"self.all(path, path.matches('^[a-zA-Z0-9$_.+!*\'()/-]+$') && !path.startsWith('/') && !path.endsWith('/') && !path.contains('//'))",
        "a base path has segments of letters, digits and $-_.+!*'() with single slashes between them and none around them: e.g. orders/v1",
    )])))]
    pub any_of: Vec<String>,
}

/// What a routing rule does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RoutingAction {
    /// Leads to a stage of an API.
    pub invoke_api: InvokeApi,
}

/// Which stage a rule leads to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InvokeApi {
    /// The Stage, in the namespace of the DomainName.
    pub stage_ref: LocalRef,
    /// Removes the matched base path before routes are looked for.
    #[serde(default)]
    pub strip_base_path: bool,
}

/// Leads paths of a DomainName to a stage of an API (H-APM-1).
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "tollgate.dev",
    version = "v1alpha1",
    kind = "ApiMapping",
    namespaced,
    status = "Status",
    derive = "PartialEq",
    category = "tollgate",
    shortname = "tgmapping",
    doc = "Leads the paths of a DomainName that begin with a key to a Stage of this namespace."
)]
#[serde(rename_all = "camelCase")]
pub struct ApiMappingSpec {
    /// The DomainName. Cannot be changed.
    #[schemars(extend("x-kubernetes-validations" = immutable("domainNameRef")))]
    pub domain_name_ref: DomainNameRef,
    /// The Stage, in the same namespace.
    pub stage_ref: LocalRef,
    /// The first part of the paths, of one or more segments, e.g. orders or orders/v1; it is removed before routes are looked for. Absent or
    /// empty: all paths that no other mapping of the domain takes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 300), extend("x-kubernetes-validations" = rules(&[
        (
            r"self.matches('^[a-zA-Z0-9$_.+!*\'()/-]*$')",
            "an ApiMapping key may contain only letters, numbers and one of $-_.+!*'() and / between segments: remove other characters, e.g. orders/v1",
        ),
        (
            "!self.startsWith('/') && !self.endsWith('/') && !self.contains('//')",
            "an ApiMapping key has no slash at its start or end and no two in a row: e.g. orders/v1",
        ),
        (
            "!self.split('/').exists(segment, segment == '.' || segment == '..')",
            "an ApiMapping key has no segment . or .., since no such path is accepted: remove it",
        ),
    ])))]
    pub api_mapping_key: String,
}

/// A DomainName, maybe of another namespace that allows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DomainNameRef {
    /// Name of the DomainName object (not the host).
    #[schemars(length(min = 1, max = 253), regex(pattern = OBJECT_NAME))]
    pub name: String,
    /// Its namespace; absent: that of the ApiMapping. Another one has to list this one in allowedNamespaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = LABEL))]
    pub namespace: Option<String>,
}
