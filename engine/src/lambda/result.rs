//! A function's result as an HTTP response (section 3.4 of the spec).

use std::borrow::Cow;

use base64::Engine;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue};
use memchr::memmem;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;

use super::MAX_PAYLOAD_BYTES;
use crate::reject::Reject;
use crate::snapshot::PayloadFormatVersion;

/// How much of a function's error message goes into the log, in bytes.
pub(crate) const MAX_ERROR_MESSAGE: usize = 4096;

/// What the function wants the client to get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionResponse {
    /// 200 to 599.
    pub status: u16,
    /// Headers without those that are the gateway's own (H-RES-17).
    pub headers: HeaderMap,
    /// Body; shares the result's memory where it can.
    pub body: Bytes,
}

/// Why there is no response. The client gets [`Reject`], only the log gets the message (H-RES-22).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionFailure {
    /// The answer.
    pub reject: Reject,
    /// `$context.integration.status`; `None` when no function ran.
    pub integration_status: Option<u16>,
    /// `$context.integrationErrorMessage` (H-LOG-11).
    pub message: String,
}

/// The answer of the invoke protocol.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// Status of the invoke call.
    pub status: u16,
    /// Whether `X-Amz-Function-Error` is set.
    pub function_error: bool,
    /// The function's result, or what went wrong.
    pub payload: Bytes,
}

impl Invocation {
    /// From the HTTP response of the invoke call.
    ///
    /// AWS's runtime interface emulator never sets `X-Amz-Function-Error` (its issue 20): a function that throws or runs out of time looks
    /// like one that has answered. Of one whose process ended older emulators make an empty answer; newer ones answer 502, which is
    /// the status of the call and is told as such (`docs/differences.md`). An answer without `x-amzn-RequestId`, which the real service always sends, is therefore also a
    /// function error if it is what the emulator then writes. Else format 2.0 would send stack traces to clients (H-RES-3, H-RES-22).
    pub fn of(status: u16, headers: &HeaderMap, payload: Bytes) -> Self {
        let function_error = headers.contains_key("x-amz-function-error")
            || !headers.contains_key("x-amzn-requestid") && is_emulated_error(&payload);
        Self { status, function_error, payload }
    }
}

/// What the emulator starts its answer with when a function has run out of time.
const EMULATED_TIMEOUT: &[u8] = b"Task timed out after ";

/// The emulator's answers for a function that threw, ran out of time, or (older emulators, its issue 86) whose process ended.
fn is_emulated_error(payload: &[u8]) -> bool {
    payload.is_empty()
        || payload.starts_with(EMULATED_TIMEOUT)
        || memmem::find(payload, b"\"errorMessage\"").is_some()
            && serde_json::from_slice::<Thrown>(payload)
                .is_ok_and(|thrown| thrown.error_type.is_some() && thrown.status_code.is_none())
}

/// What a runtime reports of a function that threw.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Thrown {
    error_message: String,
    error_type: Option<String>,
    status_code: Option<IgnoredAny>,
}

/// Makes the response of a result (H-RES-1..20).
///
/// # Errors
///
/// A failure for whatever makes no response.
pub fn parse(version: PayloadFormatVersion, invocation: Invocation) -> Result<FunctionResponse, FunctionFailure> {
    let Invocation { status, function_error, payload } = invocation;
    if let Some(failure) = call_failure(status) {
        return Err(failure);
    }
    if function_error {
        return Err(FunctionFailure::thrown(&payload));
    }
    if payload.len() > MAX_PAYLOAD_BYTES {
        return Err(FunctionFailure::bad_response("The response of the function is over 6 MB."));
    }
    let envelope = Envelope::read(&payload);
    match (version, envelope) {
        (PayloadFormatVersion::V2, None) => Ok(inferred(payload)),
        (_, Some(envelope)) => envelope.response(version, &payload).map_err(FunctionFailure::wrong_field),
        (PayloadFormatVersion::V1, None) => Err(FunctionFailure::wrong_field("statusCode")),
    }
}

/// What the status of the invoke call says when it is not about the function's own work.
fn call_failure(status: u16) -> Option<FunctionFailure> {
    let (reject, message) = match status {
        200..=299 => return None,
        413 => (Reject::PayloadTooLarge, "The function service refused the size of the request."),
        429 => (Reject::FunctionThrottled, "The function service throttled the request."),
        403 => (Reject::FunctionError, PERMISSION_MISSING),
        404 => (Reject::FunctionError, "The function does not exist."),
        _ => (Reject::FunctionError, "The function service failed."),
    };
    Some(FunctionFailure { reject, integration_status: None, message: message.to_owned() })
}

/// H-LOG-12.
pub const PERMISSION_MISSING: &str = "The IAM role configured on the integration or API Gateway doesn't have permissions to call the integration. Check the permissions and try again.";

/// The message of a function that threw.
pub(crate) fn thrown_message(payload: &[u8]) -> Cow<'_, str> {
    match serde_json::from_slice::<Thrown>(payload) {
        Ok(thrown) => Cow::Owned(thrown.error_message),
        Err(_) if payload.starts_with(EMULATED_TIMEOUT) => String::from_utf8_lossy(payload),
        Err(_) => Cow::Borrowed("Unhandled"),
    }
}

impl FunctionFailure {
    /// The function threw (H-RES-1, H-LOG-11).
    fn thrown(payload: &[u8]) -> Self {
        let said = thrown_message(payload);
        let said = &said[..said.floor_char_boundary(MAX_ERROR_MESSAGE)];
        Self {
            reject: Reject::FunctionError,
            integration_status: Some(500),
            message: format!(
                "The Lambda function returned the following error: {said}. Check your Lambda function code and try again."
            ),
        }
    }

    fn bad_response(message: &str) -> Self {
        Self { reject: Reject::BadFunctionResponse, integration_status: Some(500), message: message.to_owned() }
    }

    fn wrong_field(field: &str) -> Self {
        Self::bad_response(&format!(
            "The response from the Lambda function doesn't match the format that API Gateway expects. Lambda body contains the wrong type for field \"{field}\""
        ))
    }
}

/// Format 2.0 without `statusCode`: the result is the body, byte for byte; a JSON string loses its quotes (H-RES-3..6).
fn inferred(payload: Bytes) -> FunctionResponse {
    let is_string = payload.trim_ascii_start().first() == Some(&b'"');
    let text = if is_string { serde_json::from_slice::<String>(&payload).ok() } else { None };
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
    FunctionResponse { status: 200, headers, body: text.map_or(payload, Bytes::from) }
}

/// A result with a `statusCode` (H-RES-2). Values are read later: which of them matter depends on the format.
#[derive(Deserialize)]
struct Envelope<'r> {
    #[serde(borrow, rename = "statusCode")]
    status_code: &'r RawValue,
    #[serde(borrow)]
    headers: Option<&'r RawValue>,
    #[serde(borrow, rename = "multiValueHeaders")]
    multi_value_headers: Option<&'r RawValue>,
    #[serde(borrow)]
    cookies: Option<&'r RawValue>,
    #[serde(borrow)]
    body: Option<&'r RawValue>,
    #[serde(borrow, rename = "isBase64Encoded")]
    is_base64_encoded: Option<&'r RawValue>,
}

/// Names the field that is wrong.
type Wrong = &'static str;

impl<'r> Envelope<'r> {
    fn read(payload: &'r [u8]) -> Option<Self> {
        // Without this look a JSON array would be read as a struct too.
        let object = payload.trim_ascii_start().first() == Some(&b'{');
        if object { serde_json::from_slice(payload).ok() } else { None }
    }

    fn response(&self, version: PayloadFormatVersion, payload: &Bytes) -> Result<FunctionResponse, Wrong> {
        let status = status(self.status_code.get()).ok_or("statusCode")?;
        let mut headers = HeaderMap::new();
        append_single(self.headers, &mut headers)?;
        match version {
            PayloadFormatVersion::V1 => append_multiple(self.multi_value_headers, &mut headers)?,
            PayloadFormatVersion::V2 => append_cookies(self.cookies, &mut headers)?,
        }
        let body = self.body(payload)?;
        if !body.is_empty() && !headers.contains_key(CONTENT_TYPE) {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        }
        let body = if matches!(status, 204 | 304) { Bytes::new() } else { body };
        Ok(FunctionResponse { status, headers, body })
    }

    fn body(&self, payload: &Bytes) -> Result<Bytes, Wrong> {
        let Some(raw) = self.body else { return Ok(Bytes::new()) };
        let text = string(raw, payload).ok_or("body")?;
        match self.is_base64_encoded.map(RawValue::get) {
            None | Some("false") => Ok(text),
            Some("true") => BASE64.decode(&text).map(Bytes::from).map_err(|_| "body"),
            Some(_) => Err("isBase64Encoded"),
        }
    }
}

/// Standard base64; padding may be missing.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The text of a JSON string; without escapes it is a part of the result, not a copy.
fn string(raw: &RawValue, payload: &Bytes) -> Option<Bytes> {
    let inner = raw.get().strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        serde_json::from_str::<String>(raw.get()).ok().map(Bytes::from)
    } else {
        Some(payload.slice_ref(inner.as_bytes()))
    }
}

/// An integer, or a string of one, from 200 to 599 (H-RES-8).
fn status(json: &str) -> Option<u16> {
    let digits = json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(json);
    let plain = digits.len() == 3 && digits.bytes().all(|byte| byte.is_ascii_digit());
    let status = if plain { digits.parse().ok()? } else { integral(json)? };
    (200..=599).contains(&status).then_some(status)
}

/// A JSON number such as `2e2` or `200.0` that is an integer all the same.
fn integral(json: &str) -> Option<u16> {
    let number: f64 = serde_json::from_str(json).ok()?;
    #[expect(clippy::cast_possible_truncation, reason = "checked to be an integer in range")]
    #[expect(clippy::cast_sign_loss, reason = "checked to be in range")]
    (number.fract() == 0.0 && (200.0..600.0).contains(&number)).then_some(number as u16)
}

/// `headers`: one value a name (H-RES-12).
fn append_single(raw: Option<&RawValue>, headers: &mut HeaderMap) -> Result<(), Wrong> {
    for (name, value) in object(raw).ok_or("headers")? {
        if let Some(value) = text(&value).ok_or("headers")? {
            append(headers, &name, &value).ok_or("headers")?;
        }
    }
    Ok(())
}

/// `multiValueHeaders`: after the single value of the same name (H-RES-13).
fn append_multiple(raw: Option<&RawValue>, headers: &mut HeaderMap) -> Result<(), Wrong> {
    const FIELD: Wrong = "multiValueHeaders";
    for (name, values) in object(raw).ok_or(FIELD)? {
        let Value::Array(values) = values else {
            if values.is_null() {
                continue;
            }
            return Err(FIELD);
        };
        for value in values {
            if let Some(value) = text(&value).ok_or(FIELD)? {
                append(headers, &name, &value).ok_or(FIELD)?;
            }
        }
    }
    Ok(())
}

/// `cookies`: one `set-cookie` line each (H-RES-15).
fn append_cookies(raw: Option<&RawValue>, headers: &mut HeaderMap) -> Result<(), Wrong> {
    let Some(raw) = raw else { return Ok(()) };
    let cookies: Vec<String> = serde_json::from_str(raw.get()).map_err(|_| "cookies")?;
    for cookie in cookies {
        headers.append(SET_COOKIE, HeaderValue::try_from(cookie).map_err(|_| "cookies")?);
    }
    Ok(())
}

/// The members of an object; none for what is missing or null.
fn object(raw: Option<&RawValue>) -> Option<serde_json::Map<String, Value>> {
    raw.map_or(Some(serde_json::Map::new()), |raw| serde_json::from_str(raw.get()).ok())
}

/// The outer `None` is for values that cannot be a header, the inner for `null`, which is left out.
fn text(value: &Value) -> Option<Option<String>> {
    match value {
        Value::Null => Some(None),
        Value::Bool(value) => Some(Some(value.to_string())),
        Value::Number(value) => Some(Some(value.to_string())),
        Value::String(value) => Some(Some(value.clone())),
        Value::Array(_) | Value::Object(_) => None,
    }
}

/// Adds a header unless it is one of the gateway's own (H-RES-17, H-HDR-4).
fn append(headers: &mut HeaderMap, name: &str, value: &str) -> Option<()> {
    let name = HeaderName::try_from(name).ok()?;
    let value = HeaderValue::try_from(value).ok()?;
    if !is_gateways_own(name.as_str()) {
        headers.try_append(name, value).ok()?;
    }
    Some(())
}

fn is_gateways_own(name: &str) -> bool {
    const OWN: [&str; 9] = [
        "content-length",
        "connection",
        "transfer-encoding",
        "keep-alive",
        "proxy-connection",
        "upgrade",
        "te",
        "trailer",
        "date",
    ];
    OWN.contains(&name) || name.starts_with("apigw-")
}

#[cfg(test)]
mod tests;
