//! What an import has to say about a document.

use std::fmt;

use crate::yaml::Position;

/// How many findings of one document are kept.
pub const MOST_FINDINGS: usize = 1000;

/// How bad it is (H-OAS-3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// The document is refused.
    Error,
    /// Something is wrong or has no equivalent, and is left out.
    Warning,
    /// Valid, and of no effect here.
    Info,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        })
    }
}

/// One thing that an import has to say.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// How bad it is.
    pub class: Class,
    /// Where in the text, when that is known.
    pub position: Option<Position>,
    /// JSON pointer (RFC 6901) into the document; empty for the whole of it.
    pub pointer: String,
    /// What, why, and what to do.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(position) = self.position {
            write!(f, "line {}: ", position.line)?;
        }
        if !self.pointer.is_empty() {
            write!(f, "{}: ", self.pointer)?;
        }
        f.write_str(&self.message)
    }
}

/// Collects findings, a bounded number of them; an error always finds room.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    list: Vec<Finding>,
    left_out: usize,
}

impl Findings {
    pub(crate) fn add(&mut self, class: Class, pointer: impl Into<String>, message: impl Into<String>) {
        if self.list.len() < MOST_FINDINGS {
            self.list.push(Finding { class, position: None, pointer: pointer.into(), message: message.into() });
        } else {
            self.left_out += 1;
            // Whether the document is refused must not depend on how much else is said of it.
            if class < Class::Info && self.list.iter().all(|finding| finding.class > class) {
                self.list.pop();
                self.list.push(Finding { class, position: None, pointer: pointer.into(), message: message.into() });
            }
        }
    }

    pub(crate) fn error(&mut self, pointer: impl Into<String>, message: impl Into<String>) {
        self.add(Class::Error, pointer, message);
    }

    pub(crate) fn warn(&mut self, pointer: impl Into<String>, message: impl Into<String>) {
        self.add(Class::Warning, pointer, message);
    }

    pub(crate) fn info(&mut self, pointer: impl Into<String>, message: impl Into<String>) {
        self.add(Class::Info, pointer, message);
    }

    /// The findings, worst first, then in order of the text.
    pub(crate) fn finish(mut self, position: impl Fn(&str) -> Option<Position>) -> Vec<Finding> {
        for finding in &mut self.list {
            finding.position = finding.position.or_else(|| position(&finding.pointer));
        }
        self.list.sort();
        self.list.dedup();
        if self.left_out > 0 {
            let message = format!("{} more findings are not listed", self.left_out);
            self.list.push(Finding { class: Class::Info, position: None, pointer: String::new(), message });
        }
        self.list
    }
}
