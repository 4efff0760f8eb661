//! What a function answers (section 6.9 of the spec).

use serde_json::{Map, Value};

use crate::lambda::result::{Invocation, MAX_ERROR_MESSAGE, thrown_message};
use crate::policy::{Ask, Decision, Dialect, Policy};
use crate::reject::Reject;
use crate::secret::Secret;

/// The error message with which a function asks for 401 (H-LA-23).
pub const UNAUTHORIZED: &str = "Unauthorized";

/// H-LOG-12, for authorizers.
const PERMISSION_MISSING: &str = "The IAM role configured on the authorizer or API Gateway doesn't have permissions to call the authorizer. Check the permissions and try again.";

/// What answers look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `isAuthorized` (H-LA-15).
    Simple,
    /// A policy, with a context of plain values (H-LA-16, H-LA-20).
    PolicyV1,
    /// A policy, with a context of any JSON (H-LA-16, H-LA-21).
    PolicyV2,
}

/// What a function said of a caller.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    verdict: Verdict,
    principal_id: Option<Box<str>>,
    /// The context as JSON; `None` when the function gave none.
    context: Option<Context>,
    usage_identifier_key: Option<Secret>,
    /// Bytes that the function sent; what it costs to keep it.
    pub size: usize,
}

#[derive(Clone, Debug, PartialEq)]
enum Verdict {
    Simple(bool),
    Policy(Policy),
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Context {
    /// `{…}`.
    json: Box<str>,
    /// Text of each key (H-LA-26).
    texts: Box<[(Box<str>, Box<str>)]>,
}

impl Answer {
    /// Whether the request may go on (H-LA-17 to H-LA-19).
    pub fn allows(&self, ask: &Ask<'_>) -> bool {
        match &self.verdict {
            Verdict::Simple(allowed) => *allowed,
            Verdict::Policy(policy) => policy.decide(ask) == Decision::Allow,
        }
    }

    /// `$context.authorizer.<key>` (H-LA-26), `principalId` included.
    pub fn value(&self, key: &str) -> Option<&str> {
        let texts = self.context.as_ref().map(|context| &*context.texts).unwrap_or_default();
        let found = texts.iter().find(|(known, _)| **known == *key).map(|(_, text)| &**text);
        found.or_else(|| self.principal_id.as_deref().filter(|_| key == "principalId"))
    }

    /// Whether the context has this key.
    pub fn has_key(&self, key: &str) -> bool {
        self.context.as_ref().is_some_and(|context| context.texts.iter().any(|(known, _)| **known == *key))
    }

    /// The context as a JSON object, for format 2.0; `None` when there is none (H-EV2-26).
    pub fn context_json(&self) -> Option<&str> {
        self.context.as_ref().map(|context| &*context.json)
    }

    /// The caller's API key, for APIs whose keys come from their authorizers (R-KEY-5).
    pub fn usage_identifier_key(&self) -> Option<&str> {
        self.usage_identifier_key.as_ref().map(Secret::reveal)
    }

    /// The principal of policy mode (H-LA-25).
    pub fn principal_id(&self) -> Option<&str> {
        self.principal_id.as_deref()
    }
}

/// Why there is no answer: what the client gets, and the text for `$context.authorizer.error` (H-LA-40).
type Failed = (Reject, String);

/// Reads what the invocation of the function brought.
///
/// # Errors
/// 401 when the function says so, 500 for everything else that is no answer (H-LA-15, H-LA-16, H-LA-23, H-LA-24).
pub fn answer(shape: Shape, invocation: &Invocation) -> Result<Answer, Failed> {
    let broken = |text: &str| Err((Reject::AuthorizerFailure, text.to_owned()));
    match invocation.status {
        200..=299 => {}
        403 => return broken(PERMISSION_MISSING),
        404 => return broken("The authorizer's function does not exist."),
        429 => return broken("The function service throttled the authorizer."),
        _ => return broken("The function service failed."),
    }
    if invocation.function_error {
        let said = thrown_message(&invocation.payload);
        let reject = if said == UNAUTHORIZED { Reject::Unauthorized } else { Reject::AuthorizerFailure };
        return Err((reject, said[..said.floor_char_boundary(MAX_ERROR_MESSAGE)].to_owned()));
    }
    read(shape, &invocation.payload).or_else(|what| {
        broken(&format!(
            "The response from the Lambda function doesn't match the format that API Gateway expects. {what}"
        ))
    })
}

fn read(shape: Shape, payload: &[u8]) -> Result<Answer, String> {
    let mut answer: Map<String, Value> = serde_json::from_slice(payload).map_err(|_| "It is no JSON object")?;
    let context = context(shape, answer.remove("context"))?;
    let (verdict, principal_id) = match shape {
        Shape::Simple => {
            if answer.contains_key("policyDocument") {
                return Err("It has a policyDocument, but simple responses are on".to_owned());
            }
            let allowed = match answer.get("isAuthorized") {
                Some(Value::Bool(allowed)) => *allowed,
                Some(Value::String(text)) if text == "true" => true,
                Some(Value::String(text)) if text == "false" => false,
                _ => return Err("isAuthorized is neither true nor false".to_owned()),
            };
            (Verdict::Simple(allowed), None)
        }
        Shape::PolicyV1 | Shape::PolicyV2 => {
            if answer.contains_key("isAuthorized") {
                return Err("It has isAuthorized, but simple responses are off".to_owned());
            }
            let principal_id = match answer.get("principalId") {
                Some(Value::String(id)) if !id.is_empty() => id.as_str().into(),
                _ => return Err("principalId is no text or empty".to_owned()),
            };
            let document = answer.get("policyDocument").unwrap_or(&Value::Null);
            let policy = Policy::parse(document, Dialect::Authorizer)
                .map_err(|error| format!("policyDocument is not one that can be followed: {error}"))?;
            (Verdict::Policy(policy), Some(principal_id))
        }
    };
    let usage_identifier_key = match answer.get("usageIdentifierKey") {
        Some(Value::String(key)) if !key.is_empty() => Some(Secret::new(key.as_str())),
        _ => None,
    };
    Ok(Answer { verdict, principal_id, context, usage_identifier_key, size: payload.len() })
}

/// The context without `claims`, which is the JWT authorizers' (H-LA-22).
fn context(shape: Shape, context: Option<Value>) -> Result<Option<Context>, String> {
    let mut context = match context {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(context)) => context,
        Some(_) => return Err("context is no object".to_owned()),
    };
    context.remove("claims");
    if shape == Shape::PolicyV1 {
        for (key, value) in &mut context {
            *value = match &*value {
                Value::Null | Value::Array(_) | Value::Object(_) => {
                    return Err(format!("context.{key} is neither a text nor a number nor a truth value"));
                }
                plain => Value::String(text(plain)),
            };
        }
    }
    let texts = context.iter().map(|(key, value)| (key.as_str().into(), text(value).into())).collect();
    let json = serde_json::to_string(&context).map_err(|_| "context is no JSON")?.into();
    Ok(Some(Context { json, texts }))
}

/// Strings as they are, everything else as JSON (H-LA-26).
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
