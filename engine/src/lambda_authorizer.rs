//! Lambda authorizers (sections 6.7 to 6.10 of the spec): what identifies a caller, and what a function's answer allows.
//!
//! [`LambdaPolicy`] is an authorizer made ready, [`Identity`] the values of one request, [`Answer`] what the function said. The event is
//! written by [`crate::lambda::write_authorizer_event`]. Calling functions and keeping answers is the proxy's part.

mod answer;
mod identity;

use std::time::Duration;

use crate::deployment::LambdaCall;
use crate::snapshot::{Authorizer, AuthorizerCheck, PayloadFormatVersion, Problem};

pub use self::answer::{Answer, Shape, UNAUTHORIZED, answer};
pub use self::identity::{Identity, Source, SourceError};

/// AWS's longest time to keep answers (H-LA-1).
const MAX_TTL_SECONDS: u32 = 3600;
const MAX_SOURCES: usize = 10;

/// An authorizer that asks a function.
#[derive(Clone, Debug)]
pub struct LambdaPolicy {
    /// The function.
    pub call: LambdaCall,
    /// What its answers look like.
    pub shape: Shape,
    /// How long answers are kept; `None`: not at all.
    pub ttl: Option<Duration>,
    sources: Box<[Source]>,
}

impl LambdaPolicy {
    /// Checks an authorizer (H-LA-1 to H-LA-4) and makes it ready. Paths of problems start at the authorizer.
    ///
    /// # Errors
    /// Whatever keeps it from running. An authorizer of another type is one problem.
    pub fn compile(authorizer: &Authorizer) -> Result<Self, Vec<Problem>> {
        let Authorizer { source, identity_source, check } = authorizer;
        let mut problems = Vec::new();
        let mut problem = |path: &str, message: String| {
            problems.push(Problem { source: source.clone(), path: path.to_owned(), message });
        };
        let AuthorizerCheck::Lambda { function, enable_simple_responses, result_ttl_in_seconds } = check else {
            problem("check.type", "this version knows no authorizer of this type; use jwt or lambda".to_owned());
            return Err(problems);
        };
        let mut sources = Vec::with_capacity(identity_source.len());
        for (number, expression) in identity_source.iter().enumerate() {
            match Source::parse(expression) {
                Ok(source) => sources.push(source),
                Err(error) => problem(&format!("identitySource[{number}]"), error.to_string()),
            }
        }
        if identity_source.len() > MAX_SOURCES {
            problem("identitySource", format!("{} expressions; give at most {MAX_SOURCES}", identity_source.len()));
        }
        let ttl = *result_ttl_in_seconds;
        if ttl > MAX_TTL_SECONDS {
            problem("check.resultTtlInSeconds", format!("{ttl} is too long; give 0 to {MAX_TTL_SECONDS} seconds"));
        }
        if ttl > 0 && identity_source.is_empty() {
            problem("identitySource", "is empty, and answers are kept by it; give one, or a time of 0".to_owned());
        }
        let shape = match (function.payload_format_version, enable_simple_responses) {
            (PayloadFormatVersion::V1, false) => Shape::PolicyV1,
            (PayloadFormatVersion::V2, false) => Shape::PolicyV2,
            (PayloadFormatVersion::V2, true) => Shape::Simple,
            (PayloadFormatVersion::V1, true) => {
                problem("check.enableSimpleResponses", "needs format 2.0; set payloadFormatVersion to 2.0".to_owned());
                Shape::PolicyV1
            }
        };
        let call = match LambdaCall::compile(function) {
            Ok(call) => Some(call),
            Err(message) => {
                problem("check.function", message);
                None
            }
        };
        match call {
            Some(call) if problems.is_empty() => {
                let ttl = (ttl > 0).then(|| Duration::from_secs(u64::from(ttl)));
                Ok(Self { call, shape, ttl, sources: sources.into() })
            }
            _ => Err(problems),
        }
    }

    /// Whether requests have to carry anything.
    pub fn has_sources(&self) -> bool {
        !self.sources.is_empty()
    }
}

#[cfg(test)]
mod tests;
