//! What came of looking at one object, before anyone else is asked.

use crate::{Reason, Verdict};

/// The served form of an object, or why there is none.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Outcome<T> {
    /// What the current version would serve; `None` when it is refused.
    pub(crate) value: Option<T>,
    pub(crate) accepted: Verdict,
    pub(crate) resolved: Verdict,
}

impl<T> Outcome<T> {
    pub(crate) fn good(value: T) -> Self {
        Self { value: Some(value), accepted: Verdict::accepted(), resolved: Verdict::resolved() }
    }

    /// A field cannot be served.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::refused(Reason::Invalid, message)
    }

    /// The object itself is refused.
    pub(crate) fn refused(reason: Reason, message: impl Into<String>) -> Self {
        Self { value: None, accepted: Verdict::no(reason, message), resolved: Verdict::resolved() }
    }

    /// Something that it needs is missing, so it cannot be served.
    pub(crate) fn unresolved(reason: Reason, message: impl Into<String>) -> Self {
        Self { value: None, accepted: Verdict::accepted(), resolved: Verdict::no(reason, message) }
    }

    /// Same verdicts, another value.
    pub(crate) fn map<U>(self, change: impl FnOnce(T) -> U) -> Outcome<U> {
        Outcome { value: self.value.map(change), accepted: self.accepted, resolved: self.resolved }
    }
}
