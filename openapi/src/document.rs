//! The text of a document: JSON or YAML, its references, its AWS variables, and where its parts stand.

use std::sync::Arc;

use serde_json::Value;

use crate::finding::Findings;
use crate::yaml::{self, Content, Node, Position};

/// AWS takes documents of 6 MB.
pub const MAX_BYTES: usize = 6 * 1024 * 1024;

/// How many references may lead to one another.
const MOST_HOPS: usize = 16;

/// What stands for `${AWS::AccountId}` and the like (H-OAS-9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variables {
    /// `${AWS::AccountId}`.
    pub account_id: String,
    /// `${AWS::Region}`.
    pub region: String,
    /// `${AWS::Partition}`.
    pub partition: String,
}

impl Default for Variables {
    fn default() -> Self {
        Self { account_id: "000000000000".to_owned(), region: "local".to_owned(), partition: "aws".to_owned() }
    }
}

/// A document that could be read.
#[derive(Debug)]
pub(crate) struct Document {
    value: Value,
    root: Option<Arc<Node>>,
}

/// A part of a document and the JSON pointer to it.
#[derive(Clone, Debug)]
pub(crate) struct At<'a> {
    pub(crate) value: &'a Value,
    pub(crate) pointer: String,
}

impl<'a> At<'a> {
    /// The member `key`, unless it is missing or null.
    pub(crate) fn get(&self, key: &str) -> Option<At<'a>> {
        let value = self.value.get(key).filter(|value| !value.is_null())?;
        Some(At { value, pointer: self.below(key) })
    }

    /// The pointer to a member.
    pub(crate) fn below(&self, key: &str) -> String {
        format!("{}/{}", self.pointer, escape(key))
    }

    /// The members of an object.
    pub(crate) fn members(&self) -> impl Iterator<Item = (&'a str, At<'a>)> + use<'a> {
        let pointer = self.pointer.clone();
        let members = self.value.as_object().into_iter().flatten();
        members.map(move |(key, value)| (key.as_str(), At { value, pointer: format!("{pointer}/{}", escape(key)) }))
    }

    /// The items of a list.
    pub(crate) fn items(&self) -> impl Iterator<Item = At<'a>> + use<'a> {
        let pointer = self.pointer.clone();
        let items = self.value.as_array().into_iter().flatten().enumerate();
        items.map(move |(index, value)| At { value, pointer: format!("{pointer}/{index}") })
    }

    /// The text of a string member. Anything else is told.
    pub(crate) fn text(&self, key: &str, findings: &mut Findings) -> Option<&'a str> {
        let member = self.get(key)?;
        let text = member.value.as_str();
        if text.is_none() {
            findings.error(member.pointer, not_text(member.value));
        }
        text
    }
}

/// Why a value that is no text cannot be used where text is expected.
pub(crate) fn not_text(value: &Value) -> String {
    let intrinsic = |map: &serde_json::Map<String, Value>| {
        map.len() == 1 && map.keys().all(|key| key.starts_with("Fn::") || key == "Ref")
    };
    match value {
        Value::Object(map) if intrinsic(map) => {
            let name = map.keys().next().map_or("", String::as_str);
            format!(
                "{name} is a function of CloudFormation, which only CloudFormation resolves: write the value itself"
            )
        }
        _ => "text is expected here".to_owned(),
    }
}

/// As in RFC 6901.
fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

impl Document {
    /// Reads a document. What is wrong is told; then there is none.
    pub(crate) fn parse(text: &str, variables: &Variables, findings: &mut Findings) -> Option<Self> {
        if text.len() > MAX_BYTES {
            findings.error("", format!("the document has {} bytes, AWS takes {MAX_BYTES}: split the API", text.len()));
            return None;
        }
        // JSON allows tabs where YAML does not, and pairs of \u escapes; its strings hold no tab of their own.
        let json = text.trim_start_matches('\u{feff}').trim_start().starts_with('{');
        let strict: Option<Value> = json.then(|| serde_json::from_str(text).ok()).flatten();
        let spaced = if strict.is_some() { text.replace('\t', " ") } else { text.to_owned() };
        let mut documents = yaml::documents(&spaced);
        let root = match documents.pop().map(|document| document.root) {
            Some(Ok(root)) if documents.is_empty() => Some(root),
            _ if strict.is_some() => None,
            Some(Ok(_)) => {
                findings.error("", "the text holds several documents: keep one");
                return None;
            }
            Some(Err(errors)) => {
                for error in errors {
                    let fix = error.fix.map(|fix| format!(": {fix}")).unwrap_or_default();
                    let line = error.span.start.line;
                    findings.error("", format!("line {line}: {}{fix}", error.rule));
                }
                return None;
            }
            None => {
                findings.error("", "the document is empty");
                return None;
            }
        };
        let mut value = strict.or_else(|| root.as_ref().map(|root| root.to_json()))?;
        if !value.is_object() {
            findings.error("", "an OpenAPI document is a map with openapi, info and paths");
            return None;
        }
        substitute(&mut value, variables);
        let document = Self { value, root };
        document.external_references(&document.root(), findings);
        Some(document)
    }

    /// The whole of it.
    pub(crate) fn root(&self) -> At<'_> {
        At { value: &self.value, pointer: String::new() }
    }

    /// Where the value of a pointer starts; of one that does not exist, where the innermost part that does.
    pub(crate) fn position(&self, pointer: &str) -> Option<Position> {
        let mut node = self.root.as_ref()?;
        let mut position = node.span.start;
        for part in pointer.split('/').skip(1) {
            let key = part.replace("~1", "/").replace("~0", "~");
            match &node.content {
                Content::Map(entries) => {
                    let Some(entry) = entries.iter().find(|entry| entry.key == key) else { break };
                    position = entry.key_span.start;
                    node = &entry.value;
                }
                Content::List(items) => {
                    let Some(item) = key.parse::<usize>().ok().and_then(|index| items.get(index)) else { break };
                    position = item.span.start;
                    node = item;
                }
                _ => break,
            }
        }
        Some(position)
    }

    /// Follows `$ref` to a part of this document (H-OAS-12). What leads nowhere is told.
    pub(crate) fn resolve<'a>(&'a self, at: At<'a>, findings: &mut Findings) -> Option<At<'a>> {
        let mut at = at;
        for _ in 0..MOST_HOPS {
            let Some(reference) = at.value.get("$ref").and_then(Value::as_str) else { return Some(at) };
            let target = reference.strip_prefix('#').and_then(|pointer| {
                let value = self.value.pointer(pointer)?;
                Some(At { value, pointer: pointer.to_owned() })
            });
            match target {
                Some(target) => at = target,
                None => {
                    // That it leads outside was told when the document was read.
                    if reference.starts_with('#') {
                        let message = format!("{reference:?} leads nowhere: correct the reference");
                        findings.error(at.below("$ref"), message);
                    }
                    return None;
                }
            }
        }
        findings.error(at.below("$ref"), format!("more than {MOST_HOPS} references lead to one another"));
        None
    }

    fn external_references(&self, at: &At<'_>, findings: &mut Findings) {
        for (key, member) in at.members() {
            match key {
                "example" | "examples" | "default" | "enum" => {}
                "$ref" => {
                    if let Some(reference) = member.value.as_str().filter(|reference| !reference.starts_with('#')) {
                        let message = format!(
                            "{reference:?} leads outside the document, which AWS does not follow either: write the part in"
                        );
                        findings.error(member.pointer, message);
                    }
                }
                _ => self.external_references(&member, findings),
            }
        }
        for item in at.items() {
            self.external_references(&item, findings);
        }
    }
}

fn substitute(value: &mut Value, variables: &Variables) {
    match value {
        Value::String(text) if text.contains("${AWS::") => {
            *text = text
                .replace("${AWS::AccountId}", &variables.account_id)
                .replace("${AWS::Region}", &variables.region)
                .replace("${AWS::Partition}", &variables.partition);
        }
        Value::Array(items) => items.iter_mut().for_each(|item| substitute(item, variables)),
        Value::Object(map) => map.values_mut().for_each(|item| substitute(item, variables)),
        _ => {}
    }
}
