//! Parameter mapping (section 4 of the spec): what an integration adds to, replaces in and takes out of requests and responses.
//!
//! Parsed once, when a deployment is compiled; a route without mappings has none. [`RequestMapping::resolve`] and
//! [`ResponseMapping::resolve`] read their sources from the message as it came and give the changes as values, so that no mapping sees
//! what another has done (H-MAP-16).

mod change;
mod json_path;
mod key;
mod source;
mod value;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use change::{RequestChange, ResponseChange};
pub use key::Action;
pub use source::{Request, Response, Sources};
pub use value::{Side, Value};

use self::key::{RequestTarget, ResponseTarget};

/// Most entries of one map of parameters.
pub const MAX_PARAMETERS: usize = 100;

/// The mappings of one integration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mapping {
    /// Of requests.
    pub request: Option<RequestMapping>,
    /// Of responses, by the status that the backend returned (H-MAP-23), ordered.
    responses: Vec<(u16, ResponseMapping)>,
}

/// `requestParameters` (H-MAP-1). Entries are in the order in which they act: remove, overwrite, append (H-MAP-22).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestMapping {
    entries: Vec<(Action, RequestTarget, Value)>,
    needs_body: bool,
}

/// `responseParameters` of one status (H-MAP-2), in the order in which they act.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseMapping {
    entries: Vec<(Action, ResponseTarget, Value)>,
    needs_body: bool,
}

/// Why a mapping is refused (H-MAP-26).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct MappingError {
    /// Which entry, e.g. `requestParameters["append:header.via"]`.
    pub path: String,
    /// Value, rule and fix.
    pub message: String,
}

impl Mapping {
    /// Parses both maps; `None` when both are empty.
    ///
    /// # Errors
    /// The first entry whose key or value is not allowed.
    pub fn compile(
        request: &BTreeMap<String, String>,
        responses: &BTreeMap<String, BTreeMap<String, String>>,
    ) -> Result<Option<Self>, MappingError> {
        let request = RequestMapping::compile(request)?;
        let responses = compile_responses(responses)?;
        Ok((request.is_some() || !responses.is_empty()).then_some(Self { request, responses }))
    }

    /// The mapping for a backend's status.
    pub fn response(&self, status: u16) -> Option<&ResponseMapping> {
        let index = self.responses.binary_search_by_key(&status, |(known, _)| *known).ok()?;
        Some(&self.responses[index].1)
    }

    /// Whether the request's body has to be whole before the backend is called.
    pub fn needs_request_body(&self) -> bool {
        self.request.as_ref().is_some_and(|request| request.needs_body)
    }
}

impl RequestMapping {
    fn compile(entries: &BTreeMap<String, String>) -> Result<Option<Self>, MappingError> {
        check_count("requestParameters", entries.len())?;
        let mut compiled = Self::default();
        for (key, text) in entries {
            let at = |message| MappingError { path: format!("requestParameters[{key:?}]"), message };
            let (action, target) = key::request(key).map_err(at)?;
            let value = parse_value(action, text, Side::Request).map_err(at)?;
            if target.is_host() && !value.is_constant() {
                return Err(at(format!(
                    "{text:?} depends on the request: Host is overwritten by constant text or stage variables only"
                )));
            }
            compiled.needs_body |= value.needs_body();
            compiled.entries.push((action, target, value));
        }
        compiled.entries.sort_by_key(|(action, ..)| *action);
        Ok((!compiled.entries.is_empty()).then_some(compiled))
    }
}

impl ResponseMapping {
    /// Whether the response's body has to be whole before its head is sent.
    pub fn needs_body(&self) -> bool {
        self.needs_body
    }

    fn compile(status: &str, entries: &BTreeMap<String, String>) -> Result<Self, MappingError> {
        check_count(&format!("responseParameters[{status:?}]"), entries.len())?;
        let mut compiled = Self::default();
        for (key, text) in entries {
            let at = |message| MappingError { path: format!("responseParameters[{status:?}][{key:?}]"), message };
            let (action, target) = key::response(key).map_err(at)?;
            let value = parse_value(action, text, Side::Response).map_err(at)?;
            if let (ResponseTarget::Status, Some(text)) = (&target, value.as_text())
                && change::status(text.as_bytes()).is_none()
            {
                return Err(at(format!("{text:?} is no status: give a number from 200 to 599, or an expression")));
            }
            compiled.needs_body |= value.needs_body();
            compiled.entries.push((action, target, value));
        }
        compiled.entries.sort_by_key(|(action, ..)| *action);
        Ok(compiled)
    }
}

fn compile_responses(
    responses: &BTreeMap<String, BTreeMap<String, String>>,
) -> Result<Vec<(u16, ResponseMapping)>, MappingError> {
    check_count("responseParameters", responses.len())?;
    let mut compiled = Vec::with_capacity(responses.len());
    for (text, entries) in responses {
        let Some(status) = change::status(text.as_bytes()) else {
            return Err(MappingError {
                path: format!("responseParameters[{text:?}]"),
                message: "the key is the exact status of the backend's response: write a number from 200 to 599"
                    .to_owned(),
            });
        };
        let mapping = ResponseMapping::compile(text, entries)?;
        if !mapping.entries.is_empty() {
            compiled.push((status, mapping));
        }
    }
    compiled.sort_by_key(|(status, _)| *status);
    Ok(compiled)
}

/// The value of a `remove:` entry is ignored (H-MAP-6).
fn parse_value(action: Action, text: &str, side: Side) -> Result<Value, String> {
    match action {
        Action::Remove => Ok(Value::default()),
        Action::Overwrite | Action::Append if text.is_empty() => {
            Err("the value is empty: write one, or take the key away".to_owned())
        }
        Action::Overwrite | Action::Append => Value::parse(text, side),
    }
}

fn check_count(path: &str, count: usize) -> Result<(), MappingError> {
    if count > MAX_PARAMETERS {
        let message = format!("{count} entries are too many: at most {MAX_PARAMETERS} are allowed");
        return Err(MappingError { path: path.to_owned(), message });
    }
    Ok(())
}
