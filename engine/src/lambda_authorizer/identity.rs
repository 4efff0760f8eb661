//! What identifies a caller to a lambda authorizer (H-LA-2, H-LA-6, H-LA-7, H-LA-13).

use std::borrow::Cow;

use http::HeaderName;
use http::header::{COOKIE, HOST};
use sha2::{Digest, Sha256};

use super::LambdaPolicy;
use crate::context::{Facts, Outcome, Value, Variable};
use crate::percent::query_parameters;
use crate::snapshot::PayloadFormatVersion;

/// One expression of `identitySource`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// `$request.header.<name>`.
    Header(HeaderName),
    /// `$request.querystring.<name>`, case-sensitive.
    Querystring(Box<str>),
    /// `$context.<variable>`.
    Context(Variable),
    /// `$stageVariables.<name>`.
    StageVariable(Box<str>),
}

/// An expression that identifies nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{expression}\" {why}; write $request.header.<name>, $request.querystring.<name>, $context.<variable> or $stageVariables.<name>"
)]
pub struct SourceError {
    expression: String,
    why: &'static str,
}

/// Starts of names that have no value before the authorizer has decided (H-LOG-7, column P).
const KNOWN_LATER: [&str; 7] =
    ["authorizer", "awsEndpoint", "dataProcessed", "error", "integration", "response", "status"];

impl Source {
    /// Reads an expression (H-LA-2).
    ///
    /// # Errors
    /// When it is none, or names a variable that never has a value here.
    pub fn parse(expression: &str) -> Result<Self, SourceError> {
        let refused = |why| SourceError { expression: expression.to_owned(), why };
        if let Some(name) = expression.strip_prefix("$request.header.") {
            return HeaderName::try_from(name).map(Self::Header).map_err(|_| refused("does not end in a header name"));
        }
        if let Some(name) = expression.strip_prefix("$request.querystring.") {
            let named = (!name.is_empty()).then(|| Self::Querystring(name.into()));
            return named.ok_or_else(|| refused("does not end in the name of a parameter"));
        }
        if let Some(name) = expression.strip_prefix("$stageVariables.") {
            let named = (!name.is_empty()).then(|| Self::StageVariable(name.into()));
            return named.ok_or_else(|| refused("does not end in the name of a stage variable"));
        }
        let name = expression.strip_prefix("$context.").ok_or_else(|| refused("is no identity source"))?;
        let early = !KNOWN_LATER.iter().any(|start| name.starts_with(start));
        let variable = Variable::parse(name).filter(|_| early);
        variable.map(Self::Context).ok_or_else(|| refused("names no variable that has a value before authorization"))
    }

    /// The value in a request; `None` when it is missing.
    fn value<'r>(&'r self, facts: &Facts<'r>, version: PayloadFormatVersion) -> Option<Cow<'r, str>> {
        match self {
            Self::Header(HOST) => (!facts.host.is_empty()).then_some(Cow::Borrowed(facts.host)),
            Self::Header(name) => {
                let separator = if *name == COOKIE { "; " } else { "," };
                joined(facts.headers.get_all(name).iter().map(|value| text(value.as_bytes())), separator)
            }
            Self::Querystring(name) => {
                let all = query_parameters(facts.query.unwrap_or_default());
                let mut values = all.filter(|(sent, _)| **sent == **name).map(|(_, value)| value);
                match version {
                    PayloadFormatVersion::V1 => values.last(),
                    PayloadFormatVersion::V2 => joined(values.by_ref(), ","),
                }
            }
            Self::Context(variable) => written(&variable.value(facts, &Outcome::default())),
            Self::StageVariable(name) => facts.stage_variables.get(&**name).map(|value| Cow::Borrowed(value.as_str())),
        }
    }
}

/// The values that identify a caller, in configured order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity<'r>(Vec<Cow<'r, str>>);

impl Identity<'_> {
    /// The values.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.iter().map(|value| &**value)
    }

    /// Stands for the values (H-LA-30); their text need not be kept.
    pub fn digest(&self) -> [u8; 32] {
        let mut hasher = Sha256::new();
        for value in &self.0 {
            hasher.update((value.len() as u64).to_be_bytes());
            hasher.update(value.as_bytes());
        }
        hasher.finalize().into()
    }
}

impl LambdaPolicy {
    /// What identifies the caller of a request. `None` when something is missing: 401, and no function is asked (H-LA-6). Present but
    /// empty is present (H-LA-7).
    pub fn identity<'r>(&'r self, facts: &Facts<'r>) -> Option<Identity<'r>> {
        let version = self.call.version;
        self.sources.iter().map(|source| source.value(facts, version)).collect::<Option<_>>().map(Identity)
    }
}

fn joined<'v>(mut values: impl Iterator<Item = Cow<'v, str>>, separator: &str) -> Option<Cow<'v, str>> {
    let mut all = values.next()?;
    for value in values {
        let text = all.to_mut();
        text.push_str(separator);
        text.push_str(&value);
    }
    Some(all)
}

/// As events show bytes: what is not UTF-8 is read as ISO-8859-1, so that different bytes stay different.
fn text(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => bytes.iter().map(|&byte| char::from(byte)).collect::<String>().into(),
    }
}

fn written<'v>(value: &Value<'v>) -> Option<Cow<'v, str>> {
    Some(match value {
        Value::Absent => return None,
        Value::Text(value) => Cow::Borrowed(*value),
        Value::Quoted(value) => Cow::Borrowed(*value),
        Value::Bytes(bytes) => text(bytes),
        Value::Number(number) => number.to_string().into(),
        Value::Id(id) => id.as_str().to_owned().into(),
        Value::Ip(address) => address.as_str().to_owned().into(),
        Value::Time(time) => time.as_str().to_owned().into(),
    })
}
