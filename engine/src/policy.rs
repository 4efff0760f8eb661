//! Policy documents of IAM's language: what lambda authorizers answer and what principals carry.
//!
//! [`Policy::parse`] refuses what it does not know instead of skipping it, so that no statement is ever understood in part;
//! [`Policy::decide`] says what a policy has to say about one request. Explicit deny beats allow, and what nothing allows is denied
//! (H-LA-18, H-IAM-5).

mod condition;
mod glob;
mod network;

use std::net::IpAddr;

use serde_json::{Map, Value};

use self::condition::Condition;
pub use self::glob::matches as matches_pattern;

/// The action of every request to an API.
pub const INVOKE: &str = "execute-api:Invoke";

/// Most statements of a policy, and most entries of one list; what AWS's size limits for policies leave room for.
const MAX_ENTRIES: usize = 512;

/// Which conditions a policy may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Answers of lambda authorizers: `aws:SourceIp` only (H-LA-18).
    Authorizer,
    /// Identity policies: the keys and operators that `docs/authorizers.md` lists.
    Identity,
}

/// A policy that runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    statements: Box<[Statement]>,
}

#[derive(Clone, Debug, PartialEq)]
struct Statement {
    effect: Effect,
    actions: Box<[Box<str>]>,
    resources: Box<[Box<str>]>,
    conditions: Box<[Condition]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Allow,
    Deny,
}

/// What a policy is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The ARN of the request: API, stage, method and actual path (H-LA-12, H-IAM-5).
    pub resource: &'a str,
    /// The client.
    pub source_ip: IpAddr,
    /// Seconds since 1970.
    pub now: u64,
    /// The client's `User-Agent`.
    pub user_agent: Option<&'a str>,
    /// The client's `Referer`.
    pub referer: Option<&'a str>,
    /// Who signed the request; `None` while an authorizer decides.
    pub principal: Option<PrincipalFacts<'a>>,
}

/// What conditions can ask of a principal.
#[derive(Clone, Copy, Debug)]
pub struct PrincipalFacts<'a> {
    /// `aws:PrincipalArn`.
    pub arn: &'a str,
    /// `aws:PrincipalAccount`.
    pub account: &'a str,
    /// `aws:userid`.
    pub user_id: &'a str,
    /// `aws:username`.
    pub name: &'a str,
    /// `aws:PrincipalTag/<key>`.
    pub tags: &'a std::collections::BTreeMap<String, String>,
}

/// What a policy says about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// A statement allows it and none denies it.
    Allow,
    /// A statement denies it.
    Deny,
    /// No statement is about it.
    Silent,
}

/// Why a document is no policy that this gateway can follow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct PolicyError {
    /// Where, e.g. `Statement[0].Effect`.
    pub path: String,
    /// Value, rule and fix.
    pub message: String,
}

fn wrong(path: impl Into<String>, message: impl Into<String>) -> PolicyError {
    PolicyError { path: path.into(), message: message.into() }
}

impl Policy {
    /// Reads a document.
    ///
    /// # Errors
    /// Anything that is not understood in full: unknown members, `NotAction`, `NotResource`, `Principal`, policy variables, and
    /// conditions that the dialect does not have.
    pub fn parse(document: &Value, dialect: Dialect) -> Result<Self, PolicyError> {
        let document = document.as_object().ok_or_else(|| wrong("policy", "a policy is a JSON object"))?;
        for (name, value) in document {
            match name.as_str() {
                "Version" if matches!(value.as_str(), Some("2012-10-17" | "2008-10-17")) => {}
                "Version" => return Err(wrong("Version", format!("{value} is not known; write \"2012-10-17\""))),
                "Id" | "Statement" => {}
                other => return Err(wrong(other, "a policy has Version, Id and Statement only: remove it")),
            }
        }
        let statements = match document.get("Statement") {
            Some(Value::Array(list)) if list.len() <= MAX_ENTRIES => list
                .iter()
                .enumerate()
                .map(|(number, statement)| Statement::parse(&format!("Statement[{number}]"), statement, dialect))
                .collect::<Result<_, _>>()?,
            Some(Value::Array(list)) => {
                return Err(wrong("Statement", format!("{} statements; at most {MAX_ENTRIES} are taken", list.len())));
            }
            Some(one) => Box::from([Statement::parse("Statement", one, dialect)?]),
            None => return Err(wrong("Statement", "a policy needs statements: add them")),
        };
        Ok(Self { statements })
    }

    /// What the policy says about invoking an API.
    pub fn decide(&self, ask: &Ask<'_>) -> Decision {
        let mut decision = Decision::Silent;
        for statement in &self.statements {
            if statement.is_about(ask) {
                match statement.effect {
                    Effect::Deny => return Decision::Deny,
                    Effect::Allow => decision = Decision::Allow,
                }
            }
        }
        decision
    }
}

/// What several policies of one identity say together.
pub fn decide<'p>(policies: impl IntoIterator<Item = &'p Policy>, ask: &Ask<'_>) -> Decision {
    let mut decision = Decision::Silent;
    for policy in policies {
        match policy.decide(ask) {
            Decision::Deny => return Decision::Deny,
            Decision::Allow => decision = Decision::Allow,
            Decision::Silent => {}
        }
    }
    decision
}

impl Statement {
    fn parse(path: &str, statement: &Value, dialect: Dialect) -> Result<Self, PolicyError> {
        let statement = statement.as_object().ok_or_else(|| wrong(path, "a statement is a JSON object"))?;
        let at = |name: &str| format!("{path}.{name}");
        for name in statement.keys() {
            match name.as_str() {
                "Sid" | "Effect" | "Action" | "Resource" | "Condition" => {}
                "NotAction" | "NotResource" => {
                    return Err(wrong(
                        at(name),
                        "not supported: write Action and Resource, and a statement that denies",
                    ));
                }
                "Principal" | "NotPrincipal" => {
                    return Err(wrong(at(name), "has no place here, the policy belongs to its principal: remove it"));
                }
                _ => {
                    return Err(wrong(
                        at(name),
                        "is not known: a statement has Sid, Effect, Action, Resource and Condition",
                    ));
                }
            }
        }
        let effect = match statement.get("Effect").and_then(Value::as_str) {
            Some("Allow") => Effect::Allow,
            Some("Deny") => Effect::Deny,
            _ => return Err(wrong(at("Effect"), "write \"Allow\" or \"Deny\"")),
        };
        let conditions = match statement.get("Condition") {
            None => Box::default(),
            Some(conditions) => condition::parse(&at("Condition"), conditions, dialect)?,
        };
        Ok(Self {
            effect,
            actions: patterns(&at("Action"), statement, "Action")?,
            resources: patterns(&at("Resource"), statement, "Resource")?,
            conditions,
        })
    }

    fn is_about(&self, ask: &Ask<'_>) -> bool {
        self.actions.iter().any(|pattern| glob::matches_ignoring_case(pattern, INVOKE))
            && self.resources.iter().any(|pattern| glob::matches(pattern, ask.resource))
            && self.conditions.iter().all(|condition| condition.holds(ask))
    }
}

/// The patterns of `Action` or `Resource`.
fn patterns(path: &str, statement: &Map<String, Value>, name: &str) -> Result<Box<[Box<str>]>, PolicyError> {
    let texts = statement.get(name).and_then(texts).filter(|texts| !texts.is_empty());
    let texts = texts.ok_or_else(|| wrong(path, "write a string or a list of strings"))?;
    if let Some(text) = texts.iter().find(|text| has_variable(text)) {
        return Err(wrong(path, format!("{text:?}: policy variables are not supported: write the value itself")));
    }
    Ok(texts.into_iter().map(Into::into).collect())
}

/// `${…}` but not `${*}`, `${?}` and `${$}`, which nobody writes.
fn has_variable(text: &str) -> bool {
    text.contains("${")
}

/// A string or a short list of strings.
fn texts(value: &Value) -> Option<Vec<&str>> {
    match value {
        Value::String(text) => Some(vec![text]),
        Value::Array(list) if list.len() <= MAX_ENTRIES => list.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
