//! The JSON paths of body sources: members and array indexes, `items[0].id` (H-MAP-13).

use serde_json::Value;

/// Bytes of a body that a JSON path looks at (H-MAP-14).
pub(super) const WINDOW: usize = 102_400;
/// Longest path; bodies nest no deeper either (`serde_json`'s own bound is 128).
const MAX_STEPS: usize = 128;

/// A path into a JSON document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct JsonPath(Box<[Step]>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Member(Box<str>),
    Index(usize),
}

impl JsonPath {
    /// Parses what follows `body`: `.items[0].id` or `[0]`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is not a path of members and array indexes such as .items[0].id: wildcards, slices, filters and .. are not supported"
            )
        };
        let mut steps = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            if steps.len() == MAX_STEPS {
                return Err(format!("the path has more than {MAX_STEPS} steps"));
            }
            if let Some(after) = rest.strip_prefix('[') {
                let (index, after) = after.split_once(']').ok_or_else(wrong)?;
                if !index.bytes().all(|byte| byte.is_ascii_digit()) {
                    return Err(wrong());
                }
                steps.push(Step::Index(index.parse().map_err(|_| wrong())?));
                rest = after;
            } else {
                let after = rest.strip_prefix('.').ok_or_else(wrong)?;
                let end = after.find(['.', '[']).unwrap_or(after.len());
                let name = &after[..end];
                if name.is_empty() || name.contains(['*', ']', '?', '(', ')', '$', '{', '}']) {
                    return Err(wrong());
                }
                steps.push(Step::Member(name.into()));
                rest = &after[end..];
            }
        }
        Ok(Self(steps.into()))
    }

    /// Appends the text of what the path selects (H-MAP-15); `false` when there is nothing or null.
    pub(super) fn push(&self, document: &Value, out: &mut Vec<u8>) -> bool {
        let found = self.0.iter().try_fold(document, |value, step| match step {
            Step::Member(name) => value.as_object()?.get(&**name),
            Step::Index(index) => value.as_array()?.get(*index),
        });
        match found {
            None | Some(Value::Null) => false,
            Some(Value::String(text)) => {
                out.extend_from_slice(text.as_bytes());
                true
            }
            Some(other) => {
                out.extend_from_slice(other.to_string().as_bytes());
                true
            }
        }
    }
}
