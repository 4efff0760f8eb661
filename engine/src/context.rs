//! The facts of one request and of its outcome, and the `$context` variables that are made of them (H-LOG-7).

mod domain;

pub use domain::{DomainFacts, DomainVariable};

use std::collections::BTreeMap;
use std::net::IpAddr;

use http::{HeaderMap, Version};

use crate::ip::IpText;
use crate::jwt::Verified;
use crate::lambda_authorizer::Answer;
use crate::principal::Principal;
use crate::reject::Reject;
use crate::request_id::RequestId;
use crate::time::LogTime;

/// What is known of a request before it is answered. Borrowed, made on the stack.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The gateway's id of this request.
    pub request_id: RequestId,
    /// Receipt of the request in milliseconds since 1970.
    pub received_ms: u64,
    /// Protocol of the client. It is told to nobody (H-FLOW-3) but decides the spelling of header names (H-EV1-5).
    pub version: Version,
    /// The client's method.
    pub method: &'a str,
    /// The path as sent, still encoded, with the stage segment of a named stage.
    pub path: &'a str,
    /// The raw query without `?`.
    pub query: Option<&'a str>,
    /// What parameter mapping put in place of path and host of the event (H-MAP-9).
    pub mapped: Mapped<'a>,
    /// The client's headers.
    pub headers: &'a HeaderMap,
    /// The client's `User-Agent`, apart from the other headers because it outlives them: access logs are written when the request's headers
    /// have long gone to the backend. As bytes because clients send what they like.
    pub user_agent: Option<&'a [u8]>,
    /// The host as called, with its port if one was sent: `Host` or `:authority`.
    pub host: &'a str,
    /// The peer, or who it speaks for if it is trusted (H-EV2-18).
    pub source_ip: IpAddr,
    /// `X-Amzn-Trace-Id` of this request ([`crate::trace::AmznTrace`]).
    pub trace: &'a str,
    /// Account that owns the API (H-EV2-20).
    pub account_id: &'a str,
    /// Id of the API.
    pub api_id: &'a str,
    /// Name of the stage, `$default` included.
    pub stage: &'a str,
    /// Variables of the stage.
    pub stage_variables: &'a BTreeMap<String, String>,
    /// The matched route; `None` when none matches (H-LOG-6).
    pub route: Option<RouteFacts<'a>>,
    /// Id of the API key that the caller sent, on routes that need one (R-KEY-8).
    pub api_key_id: Option<&'a str>,
    /// What the route's authorizer found.
    pub authorizer: Option<CallerFacts<'a>>,
    /// The custom domain that the client called; `None` on default endpoints.
    pub domain: Option<DomainFacts<'a>>,
}

/// What parameter mapping changed of a function's event beside headers and query. `$context` knows nothing of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mapped<'a> {
    /// `overwrite:path`, encoded.
    pub path: Option<&'a str>,
    /// `overwrite:header.Host`.
    pub host: Option<&'a str>,
}

/// The matched route.
#[derive(Clone, Copy, Debug)]
pub struct RouteFacts<'a> {
    /// Its key, e.g. `GET /pets/{id}` or `$default`.
    pub key: &'a str,
    /// Its variables with decoded values, in the order of the key (H-ROUTE-30). Only functions need them.
    pub parameters: &'a [(&'a str, String)],
}

impl<'a> RouteFacts<'a> {
    /// The path of the key, `$default` for the default route (H-EV1-2).
    pub fn resource(&self) -> &'a str {
        self.key.split_once(' ').map_or(self.key, |(_, path)| path)
    }
}

/// Who calls, by the way in which the route authorizes.
#[derive(Clone, Copy, Debug)]
pub enum CallerFacts<'a> {
    /// A token.
    Jwt(JwtFacts<'a>),
    /// The answer of an authorizer's function.
    Lambda(&'a Answer),
    /// Who signed the request.
    Iam(IamFacts<'a>),
}

/// Who signed a request.
#[derive(Clone, Copy, Debug)]
pub struct IamFacts<'a> {
    /// The access key that it was signed with.
    pub access_key: &'a str,
    /// Whose key it is.
    pub principal: &'a Principal,
}

/// A token that the route's authorizer accepted.
#[derive(Clone, Copy, Debug)]
pub struct JwtFacts<'a> {
    /// What the token says.
    pub token: &'a Verified,
    /// Whether the route has scopes of its own: only then functions see those of the token (H-JWT-29).
    pub route_has_scopes: bool,
}

impl<'a> Facts<'a> {
    /// `$context.domainName`: the host without its port.
    pub fn domain_name(&self) -> &'a str {
        match self.host.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
            _ => self.host,
        }
    }

    /// `$context.domainPrefix`: the first label of the host (H-EV2-19).
    pub fn domain_prefix(&self) -> &'a str {
        let name = self.domain_name();
        name.split_once('.').map_or(name, |(first, _)| first)
    }

    /// The path as the client sent it: on a custom domain it holds the mapping key and no stage (H-EV1-4).
    pub fn client_path(&self) -> &'a str {
        self.domain.map_or(self.path, |domain| domain.client_path)
    }

    /// Who signed the request, on routes of type `AWS_IAM`.
    pub fn iam(&self) -> Option<IamFacts<'a>> {
        match self.authorizer {
            Some(CallerFacts::Iam(iam)) => Some(iam),
            _ => None,
        }
    }

    /// `$context.requestTime`.
    pub fn request_time(&self) -> LogTime {
        LogTime::from_epoch_seconds(self.received_ms / 1000)
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome<'a> {
    /// Status sent to the client.
    pub status: u16,
    /// The gateway's own error, if that was the answer.
    pub reject: Option<Reject>,
    /// Text of the authorizer's failure ([`crate::jwt::JwtError::authorizer_error`]).
    pub authorizer_error: Option<&'a str>,
    /// What the integration did; `None` when it was not called.
    pub integration: Option<IntegrationOutcome<'a>>,
    /// Bytes of the response body.
    pub response_length: u64,
    /// Milliseconds of the whole exchange.
    pub response_latency_ms: u64,
    /// Bytes processed (H-MET-5).
    pub data_processed: u64,
}

/// How the call of an integration ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct IntegrationOutcome<'a> {
    /// Status that the backend returned; of functions the `statusCode` of their result, 500 when they failed
    /// (`$context.integration.status`).
    pub status: Option<u16>,
    /// Status of the call itself (`$context.integrationStatus`): of functions that of the invoke call (H-LOG-11).
    pub call_status: Option<u16>,
    /// Milliseconds from sending to receiving.
    pub latency_ms: Option<u64>,
    /// What went wrong (H-LOG-11, H-LOG-12).
    pub error: Option<&'a str>,
    /// The backend's `x-amzn-requestid` or `x-amz-request-id`.
    pub request_id: Option<&'a str>,
    /// The backend's `x-amz-id-2`.
    pub request_id_2: Option<&'a str>,
}

/// A `$context` variable that can have a value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the variable that `Variable::parse` names")]
pub enum Variable {
    AccountId,
    ApiId,
    /// One claim of the token; the name may hold dots and colons (H-LOG-8).
    AuthorizerClaim(Box<str>),
    AuthorizerError,
    /// One value of the context that an authorizer's function gave, or `principalId`.
    AuthorizerValue(Box<str>),
    AwsEndpointRequestId,
    AwsEndpointRequestId2,
    DataProcessed,
    /// Only on custom domains.
    Domain(DomainVariable),
    DomainName,
    DomainPrefix,
    ErrorMessage,
    ErrorMessageString,
    ErrorResponseType,
    HttpMethod,
    IdentityApiKeyId,
    IdentityAccessKey,
    IdentityAccountId,
    /// The caller's unique id; `identity.user` is the same (H-LOG-7).
    IdentityCaller,
    IdentitySourceIp,
    IdentityUserAgent,
    IdentityUserArn,
    IntegrationError,
    IntegrationCallStatus,
    IntegrationLatency,
    IntegrationStatus,
    Path,
    Protocol,
    RequestId,
    RequestTime,
    RequestTimeEpoch,
    ResponseLatency,
    ResponseLength,
    RouteKey,
    Stage,
    Status,
}

impl Variable {
    /// The variable of this name, without `$context.`; `None` for names without meaning and for those that have no value yet
    /// (Cognito identities).
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "accountId" => Self::AccountId,
            "apiId" => Self::ApiId,
            "authorizer.error" => Self::AuthorizerError,
            "awsEndpointRequestId" | "integration.requestId" => Self::AwsEndpointRequestId,
            "awsEndpointRequestId2" => Self::AwsEndpointRequestId2,
            "dataProcessed" => Self::DataProcessed,
            "domainName" => Self::DomainName,
            "domainPrefix" => Self::DomainPrefix,
            "error.message" => Self::ErrorMessage,
            "error.messageString" => Self::ErrorMessageString,
            "error.responseType" => Self::ErrorResponseType,
            "extendedRequestId" | "requestId" => Self::RequestId,
            "httpMethod" => Self::HttpMethod,
            "identity.apiKeyId" => Self::IdentityApiKeyId,
            "identity.accessKey" => Self::IdentityAccessKey,
            "identity.accountId" => Self::IdentityAccountId,
            "identity.caller" | "identity.user" => Self::IdentityCaller,
            "identity.userArn" => Self::IdentityUserArn,
            "identity.sourceIp" => Self::IdentitySourceIp,
            "identity.userAgent" => Self::IdentityUserAgent,
            "integration.error" | "integrationErrorMessage" => Self::IntegrationError,
            "integration.integrationStatus" | "integrationStatus" => Self::IntegrationCallStatus,
            "integration.latency" | "integrationLatency" => Self::IntegrationLatency,
            "integration.status" => Self::IntegrationStatus,
            "path" => Self::Path,
            "protocol" => Self::Protocol,
            "requestTime" => Self::RequestTime,
            "requestTimeEpoch" => Self::RequestTimeEpoch,
            "responseLatency" => Self::ResponseLatency,
            "responseLength" => Self::ResponseLength,
            "routeKey" => Self::RouteKey,
            "stage" => Self::Stage,
            "status" => Self::Status,
            other => match other.strip_prefix("authorizer.") {
                Some(name) => match name.strip_prefix("claims.") {
                    Some(claim) => Self::AuthorizerClaim(claim.into()),
                    None => Self::AuthorizerValue(name.into()),
                },
                None => return DomainVariable::parse(other),
            },
        })
    }

    /// Whether a variable of this name is usable in parameter mappings and identity sources: column P of H-LOG-7.
    pub fn is_known_before_the_end(name: &str) -> bool {
        const NAMES: [&str; 31] = [
            "accountId",
            "apiId",
            "customDomain.basePathMatched",
            "domainName",
            "domainPrefix",
            "extendedRequestId",
            "httpMethod",
            "identity.accountId",
            "identity.caller",
            "identity.cognitoAuthenticationProvider",
            "identity.cognitoAuthenticationType",
            "identity.cognitoIdentityId",
            "identity.cognitoIdentityPoolId",
            "identity.principalOrgId",
            "identity.clientCert.clientCertPem",
            "identity.clientCert.subjectDN",
            "identity.clientCert.issuerDN",
            "identity.clientCert.serialNumber",
            "identity.clientCert.validity.notBefore",
            "identity.clientCert.validity.notAfter",
            "identity.sourceIp",
            "identity.user",
            "identity.userArn",
            "identity.userAgent",
            "path",
            "protocol",
            "requestId",
            "requestTime",
            "requestTimeEpoch",
            "routeKey",
            "stage",
        ];
        let of_authorizer = |key: &str| !key.is_empty() && key != "error";
        NAMES.contains(&name) || name.strip_prefix("authorizer.").is_some_and(of_authorizer)
    }

    /// The value of the variable for a request that has ended.
    pub fn value<'a>(&self, facts: &Facts<'a>, outcome: &Outcome<'a>) -> Value<'a> {
        let integration = outcome.integration.unwrap_or_default();
        match self {
            Self::AccountId => Value::Text(facts.account_id),
            Self::ApiId => Value::Text(facts.api_id),
            Self::AuthorizerClaim(name) => Value::text(match facts.authorizer {
                Some(CallerFacts::Jwt(jwt)) => jwt.token.claims().value(name),
                _ => None,
            }),
            Self::AuthorizerValue(name) => Value::text(match facts.authorizer {
                Some(CallerFacts::Lambda(answer)) => answer.value(name),
                _ => None,
            }),
            Self::AuthorizerError => Value::text(outcome.authorizer_error),
            Self::AwsEndpointRequestId => Value::text(integration.request_id),
            Self::AwsEndpointRequestId2 => Value::text(integration.request_id_2),
            Self::DataProcessed => Value::Number(outcome.data_processed),
            Self::Domain(variable) => variable.value(facts.domain.as_ref()),
            Self::DomainName => Value::Text(facts.domain_name()),
            Self::DomainPrefix => Value::Text(facts.domain_prefix()),
            Self::ErrorMessage => Value::text(outcome.reject.map(Reject::message)),
            Self::ErrorMessageString => Value::Quoted(outcome.reject.map_or("-", Reject::message)),
            Self::ErrorResponseType => Value::text(outcome.reject.map(Reject::response_type)),
            Self::HttpMethod => Value::Text(facts.method),
            Self::IdentityApiKeyId => Value::text(facts.api_key_id),
            Self::IdentityAccessKey => Value::text(facts.iam().map(|iam| iam.access_key)),
            Self::IdentityAccountId => Value::text(facts.iam().map(|iam| &*iam.principal.account)),
            Self::IdentityCaller => Value::text(facts.iam().map(|iam| &*iam.principal.user_id)),
            Self::IdentityUserArn => Value::text(facts.iam().map(|iam| &*iam.principal.arn)),
            Self::IdentitySourceIp => Value::Ip(IpText::new(facts.source_ip)),
            Self::IdentityUserAgent => facts.user_agent.map_or(Value::Absent, Value::Bytes),
            Self::IntegrationError => Value::text(integration.error),
            Self::IntegrationCallStatus => Value::number(integration.call_status.map(u64::from)),
            Self::IntegrationLatency => Value::number(integration.latency_ms),
            Self::IntegrationStatus => Value::number(integration.status.map(u64::from)),
            Self::Path => Value::Text(facts.path),
            Self::Protocol => Value::Text("HTTP/1.1"),
            Self::RequestId => Value::Id(facts.request_id),
            Self::RequestTime => Value::Time(facts.request_time()),
            Self::RequestTimeEpoch => Value::Number(facts.received_ms / 1000),
            Self::ResponseLatency => Value::Number(outcome.response_latency_ms),
            Self::ResponseLength => Value::Number(outcome.response_length),
            Self::RouteKey => Value::text(facts.route.map(|route| route.key)),
            Self::Stage => Value::Text(facts.stage),
            Self::Status => Value::Number(u64::from(outcome.status)),
        }
    }
}

/// The value of a variable, not yet written.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// There is none: `-` in logs (H-LOG-4).
    Absent,
    /// Text.
    Text(&'a str),
    /// Text as a client sent it, maybe not UTF-8.
    Bytes(&'a [u8]),
    /// Text in double quotes (`$context.error.messageString`).
    Quoted(&'static str),
    /// A number.
    Number(u64),
    /// A request id.
    Id(RequestId),
    /// An address.
    Ip(IpText),
    /// A time.
    Time(LogTime),
}

impl<'a> Value<'a> {
    fn text(text: Option<&'a str>) -> Self {
        text.map_or(Self::Absent, Self::Text)
    }

    fn number(number: Option<u64>) -> Self {
        number.map_or(Self::Absent, Self::Number)
    }

    /// Appends the value as it is; `false` when there is none.
    pub(crate) fn push_plain(&self, out: &mut Vec<u8>) -> bool {
        match self {
            Self::Absent => return false,
            Self::Text(text) => out.extend_from_slice(text.as_bytes()),
            Self::Bytes(bytes) => out.extend_from_slice(bytes),
            Self::Quoted(text) => out.extend_from_slice(text.as_bytes()),
            Self::Number(number) => crate::json::push_number(out, *number),
            Self::Id(id) => out.extend_from_slice(id.as_bytes()),
            Self::Ip(address) => out.extend_from_slice(address.as_bytes()),
            Self::Time(time) => out.extend_from_slice(time.as_str().as_bytes()),
        }
        true
    }
}

#[cfg(test)]
pub(crate) mod tests;
