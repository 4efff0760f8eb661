//! Files to objects, each knowing where every field of it stands.
//!
//! [`parse`] is pure: one file's text in, its objects and problems out. [`tree::Tree`] joins many files over time and keeps
//! what was accepted last where a file breaks. [`files`] finds and reads files.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use problem::{MAX_PROBLEMS, ObjectKey, Place, Problem, Source};
pub use tollgate_openapi::yaml;
use yaml::{Content, Document, Entry, Node, Span};

pub mod files;
pub mod kinds;
pub mod problem;
pub mod report;
pub mod strict;
pub mod tree;

/// One object of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// Its name.
    pub key: ObjectKey,
    /// Its content.
    pub root: Arc<Node>,
    /// Where it stands.
    pub source: Arc<Source>,
}

/// What one file holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parsed {
    /// Objects that are what their kind's schema asks for.
    pub objects: Vec<Object>,
    /// Objects that could be named but were refused.
    pub refused: Vec<Object>,
    /// Some document could not even be named, so that nobody can say that an object is gone from this file.
    pub unnamed: bool,
    /// Objects of kinds that are not for Tollgate.
    pub skipped: Vec<Skipped>,
    /// Everything that is wrong.
    pub problems: Vec<Problem>,
}

/// An object that was passed over because of its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// `apiVersion` as written.
    pub api_version: String,
    /// `kind` as written.
    pub kind: String,
}

/// Reads the file at `path` if it can be read; a file that cannot is one problem and no object.
pub fn parse_file(path: &Path) -> Parsed {
    match files::read(path) {
        Ok(text) => parse(Source { path: path.to_owned(), text }),
        Err(problem) => {
            let source = Arc::new(Source { path: path.to_owned(), text: String::new() });
            let problem = problem.at(Place { source, span: Span::default(), showable: false });
            Parsed { unnamed: true, problems: vec![problem], ..Parsed::default() }
        }
    }
}

/// Reads every object of a file and checks it against the schema and rules of its kind.
pub fn parse(source: Source) -> Parsed {
    let source = Arc::new(source);
    let mut parsed = Parsed::default();
    for document in yaml::documents(&source.text) {
        match &document.root {
            Ok(root) => parsed.object(&source, root),
            Err(errors) => parsed.unparsable(&source, &document, errors),
        }
        if parsed.problems.len() >= MAX_PROBLEMS {
            parsed.unnamed = true;
            break;
        }
    }
    parsed
}

impl Parsed {
    fn unparsable(&mut self, source: &Arc<Source>, document: &Document, errors: &[yaml::YamlError]) {
        self.unnamed = true;
        let showable = !may_be_secret(&source.text, &document.lines);
        for error in errors {
            let mut problem = Problem::new("InvalidYaml", error.rule.clone()).at(Place {
                source: Arc::clone(source),
                span: error.span,
                showable,
            });
            problem.fix = error.fix.clone();
            self.problems.push(problem);
        }
    }

    fn object(&mut self, source: &Arc<Source>, root: &Arc<Node>) {
        let place = |span| Place { source: Arc::clone(source), span, showable: true };
        let header = match header(root) {
            Ok(header) => header,
            Err((span, problem)) => {
                self.unnamed = true;
                self.problems.push(problem.at(place(span)));
                return;
            }
        };
        if header.api_version == "v1" && header.kind.ends_with("List") {
            return self.list(source, root);
        }
        let kind = match kinds::Kind::of(&header.api_version, &header.kind) {
            Ok(Some(kind)) => kind,
            Ok(None) => {
                let Header { api_version, kind } = header;
                return self.skipped.push(Skipped { api_version, kind });
            }
            Err(problem) => {
                self.unnamed = true;
                self.problems.push(problem.at(place(key_span(root, "kind"))));
                return;
            }
        };
        let key = match key(header, root) {
            Ok(key) => key,
            Err((span, problem)) => {
                self.unnamed = true;
                self.problems.push(problem.at(place(span)));
                return;
            }
        };
        let object = Object { key, root: Arc::clone(root), source: Arc::clone(source) };
        let problems = kind.check(&object);
        let destination = if problems.is_empty() { &mut self.objects } else { &mut self.refused };
        destination.push(object);
        self.problems.extend(problems);
    }

    fn list(&mut self, source: &Arc<Source>, root: &Arc<Node>) {
        match root.child("items").map(|items| &items.content) {
            Some(Content::List(items)) => items.iter().for_each(|item| self.object(source, item)),
            _ => {
                self.unnamed = true;
                let place = Place { source: Arc::clone(source), span: key_span(root, "items"), showable: true };
                let problem = Problem::new("InvalidObject", "a List has no list of items");
                self.problems
                    .push(problem.fix("put the objects under 'items', or into documents of their own").at(place));
            }
        }
    }
}

impl Object {
    /// The object as JSON.
    pub fn json(&self) -> Value {
        self.root.to_json()
    }

    /// Where a field stands; of a field that is missing, where the innermost part of its path that exists does.
    pub fn place(&self, path: &str) -> Place {
        let span = if path.is_empty() { key_span(&self.root, "kind") } else { locate(&self.root, path, true) };
        Place { source: Arc::clone(&self.source), span, showable: !self.is_secret() }
    }

    /// Where the key of a field stands, for fields that should not be there.
    pub fn key_place(&self, path: &str) -> Place {
        Place { span: locate(&self.root, path, false), ..self.place(path) }
    }

    /// The value at a path, shortened for messages; of a Secret nothing but its type.
    pub fn shown_value(&self, path: &str) -> Option<String> {
        let node = find(&self.root, path)?;
        Some(if self.is_secret() { node.type_name().to_owned() } else { shorten(&node.to_json().to_string()) })
    }

    /// A problem with a field of this object.
    pub fn problem(&self, code: &str, path: &str, message: impl Into<String>) -> Problem {
        Problem {
            object: Some(self.key.clone()),
            field: path.to_owned(),
            value: self.shown_value(path),
            ..Problem::new(code, message).at(self.place(path))
        }
    }

    fn is_secret(&self) -> bool {
        self.key.kind == "Secret"
    }
}

/// At most 80 characters of a value.
pub fn shorten(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

struct Header {
    api_version: String,
    kind: String,
}

fn header(root: &Node) -> Result<Header, (Span, Box<Problem>)> {
    if !matches!(root.content, Content::Map(_)) {
        let message =
            format!("a document is an object with apiVersion, kind and metadata, this is {}", root.type_name());
        let problem = Problem::new("InvalidObject", message);
        return Err((
            first_line(root.span),
            Box::new(problem.fix("move the file elsewhere if it is no Kubernetes object")),
        ));
    }
    let text = |name: &str, example: &str| match root.child(name) {
        Some(node) => node.as_str().filter(|text| !text.is_empty()).map(str::to_owned).ok_or_else(|| {
            let message = format!("{name} is {}, it has to be text", node.type_name());
            let problem = Problem::new("InvalidObject", message).fix(format!("write for example {name}: {example}"));
            (node.span, Box::new(problem))
        }),
        None => {
            let problem = Problem::new("InvalidObject", format!("the object has no {name}"));
            Err((first_line(root.span), Box::new(problem.fix(format!("write for example {name}: {example}")))))
        }
    };
    Ok(Header { api_version: text("apiVersion", tollgate_crds::API_VERSION)?, kind: text("kind", "HttpApi")? })
}

fn key(header: Header, root: &Node) -> Result<ObjectKey, (Span, Box<Problem>)> {
    let metadata = |name: &str| root.child("metadata").and_then(|metadata| metadata.child(name));
    let text = |name: &str| match metadata(name) {
        None => Ok(None),
        Some(node) => match node.as_str() {
            Some(text) if is_dns_name(text) => Ok(Some(text.to_owned())),
            _ => Err((node.span, bad_name(name, node))),
        },
    };
    let Some(name) = text("name")? else {
        let problem = Problem::new("InvalidName", "the object has no metadata.name");
        let problem = problem.fix("name it; generateName works only in a cluster");
        return Err((key_span(root, "metadata"), Box::new(problem)));
    };
    let namespace = text("namespace")?.unwrap_or_else(|| "default".to_owned());
    Ok(ObjectKey { api_version: header.api_version, kind: header.kind, namespace, name })
}

fn bad_name(field: &str, node: &Node) -> Box<Problem> {
    let message = format!(
        "metadata.{field} {} is not a name: up to 253 characters of a-z, 0-9, '-' and '.', beginning and ending with a letter or digit",
        shorten(&node.to_json().to_string())
    );
    let quote = "use lower case; quote a name that is a number or one of YAML's words for true and false (on, off, y, n, yes, no)";
    Box::new(Problem::new("InvalidName", message).fix(quote))
}

/// RFC 1123 subdomain, as Kubernetes asks of names.
fn is_dns_name(text: &str) -> bool {
    let label = |label: &str| {
        let alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let bytes = label.as_bytes();
        bytes.first().is_some_and(alphanumeric)
            && bytes.last().is_some_and(alphanumeric)
            && bytes.iter().all(|byte| alphanumeric(byte) || *byte == b'-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

fn key_span(root: &Node, key: &str) -> Span {
    root.entry(key).map_or(first_line(root.span), |entry| entry.key_span)
}

/// A span that reaches over lines shows only its beginning.
fn first_line(span: Span) -> Span {
    if span.start.line == span.end.line { span } else { Span { start: span.start, end: span.start } }
}

/// A document that does not parse still must not have a password printed.
fn may_be_secret(text: &str, lines: &std::ops::Range<u32>) -> bool {
    let (skip, take) = (lines.start.saturating_sub(1) as usize, lines.len());
    text.lines().skip(skip).take(take).any(|row| row.contains("Secret"))
}

/// One step along a path, and what is left of it.
fn step<'n, 'p>(node: &'n Node, path: &'p str) -> Option<(Span, &'n Arc<Node>, &'p str)> {
    let path = path.strip_prefix('.').unwrap_or(path);
    match &node.content {
        Content::List(items) => {
            let (index, rest) = path.strip_prefix('[')?.split_once(']')?;
            let item = items.get(index.parse::<usize>().ok()?)?;
            Some((first_line(item.span), item, rest))
        }
        Content::Map(entries) => {
            // Route keys and annotation names hold dots and blanks, so the entries say where a name ends.
            let named = |entry: &'n Entry| Some((entry.key_span, &entry.value, after_key(path, &entry.key)?));
            entries.iter().filter_map(named).min_by_key(|(_, _, rest)| rest.len())
        }
        _ => None,
    }
}

fn after_key<'p>(path: &'p str, key: &str) -> Option<&'p str> {
    let plain = |path: &'p str| path.strip_prefix(key).filter(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
    let bracketed = |path: &'p str| {
        let inner = path.strip_prefix('[')?;
        let quoted = inner.strip_prefix(['"', '\'']).unwrap_or(inner);
        let rest = quoted.strip_prefix(key)?;
        rest.strip_prefix(['"', '\'']).unwrap_or(rest).strip_prefix(']')
    };
    plain(path).or_else(|| bracketed(path))
}

fn find<'n>(root: &'n Arc<Node>, path: &str) -> Option<&'n Arc<Node>> {
    let (mut node, mut rest) = (root, path);
    while !rest.is_empty() {
        (_, node, rest) = step(node, rest)?;
    }
    Some(node)
}

fn locate(root: &Arc<Node>, path: &str, value: bool) -> Span {
    let (mut node, mut rest) = (root, path);
    let mut span = key_span(root, "kind");
    while let Some((key_span, child, left)) = step(node, rest).filter(|_| !rest.is_empty()) {
        let scalar = value && !matches!(child.content, Content::Map(_) | Content::List(_) | Content::Null);
        span = if scalar && left.is_empty() { first_line(child.span) } else { key_span };
        (node, rest) = (child, left);
    }
    span
}

#[cfg(test)]
mod tests;
