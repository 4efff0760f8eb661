//! Every response that the gateway itself makes because a request cannot be served: one closed enum of causes.
//!
//! A cause decides status, body (H-ERR-2), log field (H-LOG-10), metric label and whose fault it is. There is no catch-all
//! member on purpose.

/// Why a request was not served as asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reject {
    /// The request head or its path cannot be accepted (H-ERR-2, H-ROUTE-25).
    BadRequest,
    /// The token is missing or was refused (H-JWT-6, H-JWT-22).
    Unauthorized,
    /// The host belongs to no API and no domain (H-DOM-4).
    UnknownHost,
    /// No mapping of the custom domain takes the path (H-APM-8).
    NoMapping,
    /// The connection was made for another custom domain (H-DOM-5).
    DomainMismatch,
    /// The same on HTTP/2, where browsers share connections among hosts: they try again on a new one (RFC 9110 section 7.4).
    Misdirected,
    /// The custom domain wants a client certificate, and this connection has none that is trusted (H-MTLS-5).
    ClientCertificate,
    /// The token holds none of the route's scopes (H-JWT-14).
    ScopeMissing,
    /// The authorizer's function or a policy does not allow it (H-LA-17, H-IAM-3).
    Forbidden,
    /// No stage, no route, or a stage that was never deployed (H-ROUTE-10, H-ROUTE-15, H-ROUTE-16).
    NotFound,
    /// The default endpoint is closed (H-ROUTE-35).
    EndpointDisabled,
    /// The body is over the limit of the API (H-SIZE-2) or the event over that of the function service (H-RES-19).
    PayloadTooLarge,
    /// The ARN of an authorized route is over 1600 bytes (H-ROUTE-32).
    UriTooLong,
    /// A bucket is empty (H-THR-1).
    TooManyRequests,
    /// No API key, or one that opens nothing here (R-KEY-6).
    InvalidApiKey,
    /// The quota of the caller's usage plan is used up (R-PLAN-5).
    QuotaExceeded,
    /// The store of the usage plans' counts is away, and the plan says to refuse then.
    MeterUnavailable,
    /// Request line and headers are over the limit (H-SIZE-1).
    HeaderFieldsTooLarge,
    /// The function threw, timed out or could not be called (H-RES-1).
    FunctionError,
    /// The function's result is not one that makes a response (H-RES-7..12).
    BadFunctionResponse,
    /// The function service throttled the call (H-RES-20).
    FunctionThrottled,
    /// The route has no integration (H-ROUTE-8).
    NoIntegration,
    /// The Route, ApiMapping or DomainName object was refused and never had an accepted version.
    RefusedRoute,
    /// The route uses something that this version of the proxy does not know.
    UnknownBehaviour,
    /// The integration's URI names a stage variable that the stage does not have (H-VAR-5).
    UndefinedVariable,
    /// The authorizer cannot decide: it is broken, not the request (H-LOG-10).
    AuthorizerFailure,
    /// No complete answer in time (H-INT-4).
    IntegrationTimeout,
    /// No endpoint, no connection, or the connection broke before an answer (H-HTTP-15, H-VPC-10).
    IntegrationUnreachable,
    /// The backend's certificate was not accepted (H-HTTP-14, H-VPC-4).
    IntegrationTlsFailure,
    /// The backend's answer is not HTTP, or is over the limit (H-HTTP-16).
    IntegrationBadResponse,
    /// There are no keys to sign a call of an AWS service with (H-AWS-9).
    CredentialsMissing,
    /// There is no snapshot yet.
    ServiceUnavailable,
}

/// Who has to act so that the request can be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The client.
    Caller,
    /// The backend, function or identity provider.
    Upstream,
    /// The owner of the API.
    Configuration,
    /// The gateway.
    Gateway,
}

impl Fault {
    /// For metric labels.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Upstream => "upstream",
            Self::Configuration => "configuration",
            Self::Gateway => "gateway",
        }
    }
}

impl Reject {
    /// Every member, for metrics that exist from the start and for tests.
    pub const ALL: [Self; 32] = [
        Self::BadRequest,
        Self::Unauthorized,
        Self::UnknownHost,
        Self::NoMapping,
        Self::DomainMismatch,
        Self::Misdirected,
        Self::ClientCertificate,
        Self::ScopeMissing,
        Self::Forbidden,
        Self::NotFound,
        Self::EndpointDisabled,
        Self::PayloadTooLarge,
        Self::UriTooLong,
        Self::TooManyRequests,
        Self::InvalidApiKey,
        Self::QuotaExceeded,
        Self::MeterUnavailable,
        Self::HeaderFieldsTooLarge,
        Self::FunctionError,
        Self::BadFunctionResponse,
        Self::FunctionThrottled,
        Self::NoIntegration,
        Self::RefusedRoute,
        Self::UnknownBehaviour,
        Self::UndefinedVariable,
        Self::AuthorizerFailure,
        Self::IntegrationTimeout,
        Self::IntegrationUnreachable,
        Self::IntegrationTlsFailure,
        Self::IntegrationBadResponse,
        Self::CredentialsMissing,
        Self::ServiceUnavailable,
    ];

    /// The status sent to the client.
    pub const fn status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Unauthorized => 401,
            Self::UnknownHost
            | Self::NoMapping
            | Self::DomainMismatch
            | Self::ClientCertificate
            | Self::ScopeMissing
            | Self::Forbidden
            | Self::InvalidApiKey => 403,
            Self::NotFound | Self::EndpointDisabled => 404,
            Self::PayloadTooLarge => 413,
            Self::UriTooLong => 414,
            Self::Misdirected => 421,
            Self::TooManyRequests | Self::QuotaExceeded => 429,
            Self::HeaderFieldsTooLarge => 431,
            Self::FunctionError
            | Self::BadFunctionResponse
            | Self::NoIntegration
            | Self::RefusedRoute
            | Self::UnknownBehaviour
            | Self::UndefinedVariable
            | Self::CredentialsMissing
            | Self::AuthorizerFailure
            | Self::IntegrationTlsFailure
            | Self::IntegrationBadResponse => 500,
            Self::FunctionThrottled
            | Self::IntegrationTimeout
            | Self::IntegrationUnreachable
            | Self::MeterUnavailable
            | Self::ServiceUnavailable => 503,
        }
    }

    /// The text of the body and of `$context.error.message` (H-LOG-9).
    pub const fn message(self) -> &'static str {
        self.texts().0
    }

    /// The whole body (H-ERR-1). Its content type is `application/json`.
    pub const fn body(self) -> &'static [u8] {
        self.texts().1.as_bytes()
    }

    const fn texts(self) -> (&'static str, &'static str) {
        match self {
            Self::QuotaExceeded => ("Limit Exceeded", r#"{"message":"Limit Exceeded"}"#),
            other => texts(other.status()),
        }
    }

    /// `$context.error.responseType` (H-LOG-10).
    pub const fn response_type(self) -> &'static str {
        match self {
            Self::Unauthorized => "UNAUTHORIZED",
            Self::ScopeMissing | Self::Forbidden => "ACCESS_DENIED",
            Self::PayloadTooLarge => "REQUEST_TOO_LARGE",
            Self::TooManyRequests => "THROTTLED",
            Self::InvalidApiKey => "INVALID_API_KEY",
            Self::QuotaExceeded => "QUOTA_EXCEEDED",
            Self::AuthorizerFailure => "AUTHORIZER_FAILURE",
            Self::IntegrationTimeout => "INTEGRATION_TIMEOUT",
            Self::FunctionError
            | Self::BadFunctionResponse
            | Self::FunctionThrottled
            | Self::IntegrationUnreachable
            | Self::IntegrationTlsFailure
            | Self::IntegrationBadResponse
            | Self::CredentialsMissing => "INTEGRATION_FAILURE",
            Self::BadRequest
            | Self::UnknownHost
            | Self::NoMapping
            | Self::DomainMismatch
            | Self::Misdirected
            | Self::ClientCertificate
            | Self::NotFound
            | Self::EndpointDisabled
            | Self::UriTooLong
            | Self::HeaderFieldsTooLarge => "DEFAULT_4XX",
            Self::NoIntegration
            | Self::RefusedRoute
            | Self::UnknownBehaviour
            | Self::UndefinedVariable
            | Self::MeterUnavailable
            | Self::ServiceUnavailable => "DEFAULT_5XX",
        }
    }

    /// `x-amzn-ErrorType` of refusals for a key, a plan or a throttle, by which AWS's SDKs tell them apart (R-KEY-6, R-PLAN-5, R-PLAN-6).
    /// HTTP APIs have none of their own (H-ERR-1), so the others have none.
    pub const fn error_type(self) -> Option<&'static str> {
        match self {
            Self::InvalidApiKey => Some("ForbiddenException"),
            Self::TooManyRequests => Some("TooManyRequestsException"),
            Self::QuotaExceeded => Some("LimitExceededException"),
            _ => None,
        }
    }

    /// Who has to act.
    pub const fn whose_fault(self) -> Fault {
        match self {
            Self::BadRequest
            | Self::Unauthorized
            | Self::UnknownHost
            | Self::NoMapping
            | Self::DomainMismatch
            | Self::Misdirected
            | Self::ClientCertificate
            | Self::ScopeMissing
            | Self::Forbidden
            | Self::NotFound
            | Self::EndpointDisabled
            | Self::PayloadTooLarge
            | Self::UriTooLong
            | Self::TooManyRequests
            | Self::InvalidApiKey
            | Self::QuotaExceeded
            | Self::HeaderFieldsTooLarge => Fault::Caller,
            Self::FunctionError
            | Self::BadFunctionResponse
            | Self::FunctionThrottled
            | Self::AuthorizerFailure
            | Self::IntegrationTimeout
            | Self::IntegrationUnreachable
            | Self::IntegrationTlsFailure
            | Self::IntegrationBadResponse => Fault::Upstream,
            Self::NoIntegration
            | Self::RefusedRoute
            | Self::UnknownBehaviour
            | Self::UndefinedVariable
            | Self::CredentialsMissing => Fault::Configuration,
            Self::MeterUnavailable | Self::ServiceUnavailable => Fault::Gateway,
        }
    }

    /// For metric labels and log fields; `snake_case`, never changes its meaning.
    pub const fn label(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::Unauthorized => "unauthorized",
            Self::UnknownHost => "unknown_host",
            Self::NoMapping => "no_mapping",
            Self::DomainMismatch => "domain_mismatch",
            Self::Misdirected => "misdirected",
            Self::ClientCertificate => "client_certificate",
            Self::ScopeMissing => "scope_missing",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::EndpointDisabled => "endpoint_disabled",
            Self::PayloadTooLarge => "payload_too_large",
            Self::UriTooLong => "uri_too_long",
            Self::TooManyRequests => "too_many_requests",
            Self::InvalidApiKey => "invalid_api_key",
            Self::QuotaExceeded => "quota_exceeded",
            Self::MeterUnavailable => "meter_unavailable",
            Self::HeaderFieldsTooLarge => "header_fields_too_large",
            Self::FunctionError => "function_error",
            Self::BadFunctionResponse => "bad_function_response",
            Self::FunctionThrottled => "function_throttled",
            Self::NoIntegration => "no_integration",
            Self::RefusedRoute => "refused_route",
            Self::UnknownBehaviour => "unknown_behaviour",
            Self::UndefinedVariable => "undefined_variable",
            Self::AuthorizerFailure => "authorizer_failure",
            Self::IntegrationTimeout => "integration_timeout",
            Self::IntegrationUnreachable => "integration_unreachable",
            Self::IntegrationTlsFailure => "integration_tls_failure",
            Self::IntegrationBadResponse => "integration_bad_response",
            Self::CredentialsMissing => "credentials_missing",
            Self::ServiceUnavailable => "service_unavailable",
        }
    }
}

/// Text and body of a status (H-ERR-2).
const fn texts(status: u16) -> (&'static str, &'static str) {
    macro_rules! pair {
        ($text:literal) => {
            ($text, concat!("{\"message\":\"", $text, "\"}"))
        };
    }
    match status {
        400 => pair!("Bad Request"),
        401 => pair!("Unauthorized"),
        403 => pair!("Forbidden"),
        404 => pair!("Not Found"),
        413 => pair!("Request Entity Too Large"),
        414 => pair!("Request URI too long"),
        421 => pair!("Misdirected Request"),
        429 => pair!("Too Many Requests"),
        431 => pair!("Request Header Fields Too Large"),
        503 => pair!("Service Unavailable"),
        _ => pair!("Internal Server Error"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Proves H-ERR-1, H-ERR-2.
    #[test]
    fn bodies_are_the_documented_ones() {
        let table: [(Reject, u16, &str, usize); 12] = [
            (Reject::BadRequest, 400, r#"{"message":"Bad Request"}"#, 25),
            (Reject::Unauthorized, 401, r#"{"message":"Unauthorized"}"#, 26),
            (Reject::ScopeMissing, 403, r#"{"message":"Forbidden"}"#, 23),
            (Reject::NotFound, 404, r#"{"message":"Not Found"}"#, 23),
            (Reject::PayloadTooLarge, 413, r#"{"message":"Request Entity Too Large"}"#, 38),
            (Reject::UriTooLong, 414, r#"{"message":"Request URI too long"}"#, 34),
            (Reject::TooManyRequests, 429, r#"{"message":"Too Many Requests"}"#, 31),
            (Reject::InvalidApiKey, 403, r#"{"message":"Forbidden"}"#, 23),
            (Reject::QuotaExceeded, 429, r#"{"message":"Limit Exceeded"}"#, 28),
            (Reject::HeaderFieldsTooLarge, 431, r#"{"message":"Request Header Fields Too Large"}"#, 45),
            (Reject::FunctionError, 500, r#"{"message":"Internal Server Error"}"#, 35),
            (Reject::IntegrationTimeout, 503, r#"{"message":"Service Unavailable"}"#, 33),
        ];
        for (reject, status, body, length) in table {
            assert_eq!(reject.status(), status);
            assert_eq!(reject.body(), body.as_bytes());
            assert_eq!(reject.body().len(), length);
        }
    }

    /// Proves H-ERR-3, H-ERR-4.
    #[test]
    fn no_cause_answers_405_502_or_504() {
        for reject in Reject::ALL {
            assert!(
                matches!(reject.status(), 400 | 401 | 403 | 404 | 413 | 414 | 421 | 429 | 431 | 500 | 503),
                "{reject:?}"
            );
        }
    }

    #[test]
    fn the_list_of_all_members_and_the_labels_have_no_duplicates() {
        let members: BTreeSet<_> = Reject::ALL.into_iter().collect();
        assert_eq!(members.len(), Reject::ALL.len());
        let labels: BTreeSet<_> = Reject::ALL.iter().map(|reject| reject.label()).collect();
        assert_eq!(labels.len(), Reject::ALL.len());
    }

    /// Proves H-LOG-10, H-THR-7.
    #[test]
    fn response_types_follow_the_mapping() {
        for (reject, response_type) in [
            (Reject::Unauthorized, "UNAUTHORIZED"),
            (Reject::ScopeMissing, "ACCESS_DENIED"),
            (Reject::Forbidden, "ACCESS_DENIED"),
            (Reject::AuthorizerFailure, "AUTHORIZER_FAILURE"),
            (Reject::FunctionError, "INTEGRATION_FAILURE"),
            (Reject::IntegrationBadResponse, "INTEGRATION_FAILURE"),
            (Reject::IntegrationTimeout, "INTEGRATION_TIMEOUT"),
            (Reject::NotFound, "DEFAULT_4XX"),
            (Reject::TooManyRequests, "THROTTLED"),
            (Reject::InvalidApiKey, "INVALID_API_KEY"),
            (Reject::QuotaExceeded, "QUOTA_EXCEEDED"),
            (Reject::PayloadTooLarge, "REQUEST_TOO_LARGE"),
        ] {
            assert_eq!(reject.response_type(), response_type);
        }
    }

    /// Proves H-LOG-9.
    #[test]
    fn the_message_is_the_text_of_the_body() {
        for reject in Reject::ALL {
            let body: serde_json::Value = serde_json::from_slice(reject.body()).unwrap();
            assert_eq!(body, serde_json::json!({"message": reject.message()}));
        }
    }

    #[test]
    fn only_callers_are_told_4xx() {
        for reject in Reject::ALL {
            assert_eq!(reject.status() < 500, reject.whose_fault() == Fault::Caller, "{reject:?}");
        }
    }
}
