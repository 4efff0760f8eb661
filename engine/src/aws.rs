//! AWS services as integrations (section 3.7 of the spec), and the Lambda service: what a call needs, and the signed request that it is.
//!
//! [`AwsCall::request`] looks the parameters up and writes the request of the action; [`sign`] signs it. Both are plain functions: where the
//! request goes and what time it is are the caller's to know.

mod action;
mod body;
mod sign;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, Method};

pub use self::action::Action;
pub use self::sign::{Scope, sign};

use self::action::{Form, Protocol};
use crate::deployment::{Destination, parse_origin};
use crate::mapping::{Side, Sources, Value};
use crate::reject::Reject;
use crate::snapshot::{self, SecretName};

const X_AMZ_TARGET: HeaderName = HeaderName::from_static("x-amz-target");

/// A call of an action of an AWS service.
#[derive(Clone, Debug)]
pub struct AwsCall {
    /// Which action.
    pub action: Action,
    /// Whose keys sign.
    pub credentials: SecretName,
    /// In place of the service's own address.
    pub endpoint: Option<Destination>,
    parameters: Vec<(&'static action::Parameter, Value)>,
    region: Option<Value>,
}

/// The request of an action, not signed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsRequest {
    /// Its method.
    pub method: Method,
    /// Path and query, encoded.
    pub target: String,
    /// Content type and the name of the action.
    pub headers: HeaderMap,
    /// The parameters, for all but AppConfig.
    pub body: Vec<u8>,
    /// The region that the integration asks for; `None`: the API's (H-AWS-7).
    pub region: Option<String>,
}

impl AwsCall {
    /// Parses an integration's parameters (H-AWS-1, H-AWS-2).
    ///
    /// # Errors
    /// An unknown action or parameter, a required one that is missing (H-AWS-5), or a value that does not parse; with its field path.
    pub fn compile(wire: &snapshot::AwsBackend, parameters: &BTreeMap<String, String>) -> Result<Self, String> {
        let snapshot::AwsBackend { subtype, credentials, endpoint } = wire;
        let action = Action::parse(subtype).ok_or_else(|| {
            format!("aws.subtype: {subtype:?} is not known: use one of {}", Action::ALL.map(Action::name).join(", "))
        })?;
        let mut compiled = Vec::with_capacity(parameters.len());
        let mut region = None;
        for (name, text) in parameters {
            let at = |message: String| format!("requestParameters[{name:?}]: {message}");
            if text.is_empty() {
                return Err(at("the value is empty: write one, or take the parameter away".to_owned()));
            }
            let value = Value::parse(text, Side::Request).map_err(at)?;
            if name == "Region" {
                if let Some(text) = value.as_text().filter(|text| !is_region(text.as_bytes())) {
                    return Err(at(format!("{text:?} is no region: write one such as eu-central-1")));
                }
                region = Some(value);
                continue;
            }
            let parameter = action.parameters().iter().find(|known| known.name == name).ok_or_else(|| {
                let known: Vec<&str> = action.parameters().iter().map(|known| known.name).collect();
                at(format!("{} has no such parameter: it has {} and Region", action.name(), known.join(", ")))
            })?;
            compiled.push((parameter, value));
        }
        if let Some(missing) =
            action.parameters().iter().find(|known| known.required && !parameters.contains_key(known.name))
        {
            return Err(format!("requestParameters: {} needs the parameter {}: add it", action.name(), missing.name));
        }
        let endpoint = endpoint.as_deref().map(|url| parse_origin(url.trim_end_matches('/'), None)).transpose();
        let endpoint = endpoint.map_err(|error| format!("aws.endpoint: {}", error.trim_start_matches("uri: ")))?;
        Ok(Self { action, credentials: credentials.clone(), endpoint, parameters: compiled, region })
    }

    /// Whether a parameter reads the body of the client's request.
    pub fn needs_body(&self) -> bool {
        self.parameters.iter().map(|(_, value)| value).chain(&self.region).any(Value::needs_body)
    }

    /// The request for a client's request. A parameter whose source finds nothing is left out: the service says what it misses (H-AWS-5).
    ///
    /// # Errors
    /// A value that the service could not be sent at all: attributes that are no JSON, a region that is none.
    pub fn request(&self, from: &Sources<'_>) -> Result<AwsRequest, Reject> {
        let text = |value: &Value| value.resolve(from).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let region = match &self.region {
            Some(value) => text(value),
            None => None,
        };
        // A region is part of a host name: nobody may choose the host.
        if region.as_ref().is_some_and(|region| !is_region(region.as_bytes())) {
            return Err(Reject::BadRequest);
        }
        let mut found = Vec::with_capacity(self.parameters.len());
        for (parameter, value) in &self.parameters {
            if parameter.form == Form::Base64 {
                if let Some(bytes) = value.resolve(from) {
                    found.push((*parameter, body::base64(&bytes)));
                }
            } else if let Some(text) = text(value) {
                found.push((*parameter, text));
            }
        }
        let mut headers = HeaderMap::new();
        let mut content_type = |text: &'static str| headers.insert(CONTENT_TYPE, HeaderValue::from_static(text));
        let (method, target, body) = match self.action.protocol() {
            Protocol::Json { version, target } => {
                content_type(if version == 0 { "application/x-amz-json-1.0" } else { "application/x-amz-json-1.1" });
                headers.insert(X_AMZ_TARGET, HeaderValue::from_static(target));
                (Method::POST, "/".to_owned(), body::json(self.action, &found)?)
            }
            Protocol::Query { action } => {
                content_type("application/x-www-form-urlencoded");
                (Method::POST, "/".to_owned(), body::form(action, &found)?)
            }
            Protocol::AppConfig => (Method::GET, body::app_config(&found), Vec::new()),
        };
        Ok(AwsRequest { method, target, headers, body, region })
    }
}

/// `eu-central-1` and the like; also what tests and compatible services use, such as `local`.
pub fn is_region(text: &[u8]) -> bool {
    (1..=32).contains(&text.len())
        && text.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-')
        && text[0] != b'-'
        && text[text.len() - 1] != b'-'
}

/// The host of a service in a region.
pub fn host(prefix: &str, region: &str) -> String {
    let suffix = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    format!("{prefix}.{region}.{suffix}")
}
