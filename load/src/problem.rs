//! A mistake in a file: where it stands, what is there, which rule it breaks and how to fix it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use crate::yaml::Span;

/// How many problems are kept of one run; a directory of nonsense must not fill memory or screen.
pub const MAX_PROBLEMS: usize = 1000;

/// A file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// As messages name it.
    pub path: PathBuf,
    /// What it held.
    pub text: String,
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub source: Arc<Source>,
    /// Where in it; line 0 means the file as a whole.
    pub span: Span,
    /// The text of this place may be shown. Not where it can be a Secret's.
    pub showable: bool,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.source.path.display())?;
        let start = self.span.start;
        if start.line > 0 { write!(f, ":{}:{}", start.line, start.column) } else { Ok(()) }
    }
}

/// Names an object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectKey {
    /// `group/version`.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Namespace; `default` where the file names none.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// A mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Names the kind of mistake in JSON output; CamelCase, never changed once released.
    pub code: String,
    /// Where; absent for problems of the whole run.
    pub place: Option<Place>,
    /// The object at fault, when it got that far.
    pub object: Option<ObjectKey>,
    /// Field path, e.g. `spec.integration.service.port`; empty: the object or file as a whole.
    pub field: String,
    /// What stands there, shortened; absent where it may be secret or there is none.
    pub value: Option<String>,
    /// What is wrong, in one sentence that makes sense without the rest.
    pub message: String,
    /// How to fix it.
    pub fix: Option<String>,
    /// Another place that belongs to it, and why.
    pub related: Option<(Place, String)>,
}

impl Problem {
    /// A problem without object, field and value.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            place: None,
            object: None,
            field: String::new(),
            value: None,
            message: message.into(),
            fix: None,
            related: None,
        }
    }

    /// Says how to fix it.
    #[must_use]
    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }

    /// Says where it stands.
    #[must_use]
    pub fn at(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }

    /// What [`crate::report`] sorts by: file, then line.
    pub fn order(&self) -> (Option<PathBuf>, u32, u32) {
        match &self.place {
            Some(place) => (Some(place.source.path.clone()), place.span.start.line, place.span.start.column),
            None => (None, 0, 0),
        }
    }
}

/// The name among `known` that `wrong` was probably meant to be.
pub fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wrong_lower = wrong.to_lowercase();
    let limit = (wrong.chars().count() / 3).clamp(1, 3);
    known
        .into_iter()
        .map(|name| (distance(&wrong_lower, &name.to_lowercase()), name))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, name)| (*distance, *name))
        .map(|(_, name)| name)
}

/// Levenshtein distance where two swapped neighbours count once. Names longer than 64 characters are far from everything.
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().take(65).collect();
    let right: Vec<char> = right.chars().take(65).collect();
    if left.len() > 64 || right.len() > 64 {
        return usize::MAX;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in right.iter().enumerate() {
            let mut cost = (last[j] + usize::from(a != b)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == right[j - 1] && left[i - 1] == *b {
                cost = cost.min(before[j - 1] + 1);
            }
            row.push(cost);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_and_far_ones_are_not() {
        let known = ["service", "http", "lambda", "timeoutInMillis"];
        assert_eq!(nearest("servcie", known), Some("service"));
        assert_eq!(nearest("TimeoutInMilis", known), Some("timeoutInMillis"));
        assert_eq!(nearest("htp", known), Some("http"));
        assert_eq!(nearest("backend", known), None);
        assert_eq!(nearest(&"x".repeat(1000), known), None);
    }
}
