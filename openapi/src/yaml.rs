//! YAML text to trees whose every node knows its line and column.
//!
//! Keeps what `kubectl apply` would make of the same text: documents are split at `---` lines before they are parsed,
//! so one that does not parse leaves its neighbours alone, and plain scalars are read as kubectl's library reads them
//! (YAML 1.1: `on` is a boolean). Two things are stricter: a key that stands twice in one map and a tag outside the core
//! schema are refused, because kubectl takes or drops one of two meanings without a word.
//!
//! The door is [`documents`]: a pure function of the text, bounded in depth and in what anchors may expand to.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use saphyr_parser::{Event, Parser, ScalarStyle, Tag};
use serde_json::{Number, Value};

mod scalar;

/// How deep maps and lists may nest. The deepest object of ours needs nine levels.
pub const MAX_DEPTH: u32 = 64;

/// How many nodes one document may have once its aliases are expanded.
pub const MAX_NODES: u64 = 200_000;

/// A position in a file; both count from 1, columns in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// Line.
    pub line: u32,
    /// Column.
    pub column: u32,
}

/// From the first character of a thing to just after its last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// First character.
    pub start: Position,
    /// After the last character.
    pub end: Position,
}

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where; a value that an alias repeats keeps the place of its anchor.
    pub span: Span,
    /// What.
    pub content: Content,
    nodes: u64,
    depth: u32,
}

/// What a node holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// `null`, `~` or nothing.
    Null,
    /// A boolean.
    Bool(bool),
    /// An integer or a finite float.
    Number(Number),
    /// Text.
    String(String),
    /// A sequence.
    List(Vec<Arc<Node>>),
    /// A mapping; no key stands twice.
    Map(Vec<Entry>),
}

/// One key of a map.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key; numbers and booleans as text.
    pub key: String,
    /// Where the key stands.
    pub key_span: Span,
    /// The value.
    pub value: Arc<Node>,
}

/// Why a text is not a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct YamlError {
    /// Where.
    pub span: Span,
    /// What is wrong.
    pub rule: String,
    /// What to do.
    pub fix: Option<String>,
}

/// One document of a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// Its lines, for telling what an unparsable document may have held.
    pub lines: std::ops::Range<u32>,
    /// The tree, or everything that is wrong with it.
    pub root: Result<Arc<Node>, Vec<YamlError>>,
}

/// Reads every document of `text`; empty ones are left out.
pub fn documents(text: &str) -> Vec<Document> {
    let mut found = Vec::new();
    for chunk in chunks(text) {
        let lines = chunk.first_line..chunk.first_line + line_count(chunk.text);
        match compose(chunk.text, chunk.first_line - 1) {
            Ok(roots) => {
                let roots = roots.into_iter().filter(|root| root.content != Content::Null);
                found.extend(roots.map(|root| Document { lines: lines.clone(), root: Ok(root) }));
            }
            Err(errors) => found.push(Document { lines, root: Err(errors) }),
        }
    }
    found
}

impl Node {
    fn new(span: Span, content: Content) -> Self {
        let (nodes, depth) = match &content {
            Content::List(items) => measure(items.iter()),
            Content::Map(entries) => measure(entries.iter().map(|entry| &entry.value)),
            _ => (0, 0),
        };
        Self { span, content, nodes: nodes.saturating_add(1), depth: depth + 1 }
    }

    /// The value under `key`, if this is a map that has it.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.content {
            Content::Map(entries) => entries.iter().find(|entry| entry.key == key),
            _ => None,
        }
    }

    /// The value under `key`, if this is a map that has it.
    pub fn child(&self, key: &str) -> Option<&Arc<Node>> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// The text, if this is one.
    pub fn as_str(&self) -> Option<&str> {
        match &self.content {
            Content::String(text) => Some(text),
            _ => None,
        }
    }

    /// Whether both hold the same, wherever it stands.
    pub fn says_the_same(&self, other: &Self) -> bool {
        match (&self.content, &other.content) {
            (Content::List(left), Content::List(right)) => {
                left.len() == right.len() && left.iter().zip(right).all(|(left, right)| left.says_the_same(right))
            }
            (Content::Map(left), Content::Map(right)) => {
                let same =
                    |(left, right): (&Entry, &Entry)| left.key == right.key && left.value.says_the_same(&right.value);
                left.len() == right.len() && left.iter().zip(right).all(same)
            }
            (left, right) => left == right,
        }
    }

    /// The same value as JSON.
    pub fn to_json(&self) -> Value {
        match &self.content {
            Content::Null => Value::Null,
            Content::Bool(value) => Value::Bool(*value),
            Content::Number(value) => Value::Number(value.clone()),
            Content::String(value) => Value::String(value.clone()),
            Content::List(items) => Value::Array(items.iter().map(|item| item.to_json()).collect()),
            Content::Map(entries) => {
                Value::Object(entries.iter().map(|entry| (entry.key.clone(), entry.value.to_json())).collect())
            }
        }
    }

    /// What kind of value this is, as messages name it.
    pub fn type_name(&self) -> &'static str {
        match self.content {
            Content::Null => "null",
            Content::Bool(_) => "a boolean",
            Content::Number(_) => "a number",
            Content::String(_) => "text",
            Content::List(_) => "a list",
            Content::Map(_) => "a map",
        }
    }
}

fn measure<'a>(children: impl Iterator<Item = &'a Arc<Node>>) -> (u64, u32) {
    children.fold((0, 0), |(nodes, depth), child| (child.nodes.saturating_add(nodes), child.depth.max(depth)))
}

struct Chunk<'a> {
    text: &'a str,
    first_line: u32,
}

/// Splits at lines that begin with `---` followed by a space or the end of the line; YAML allows them nowhere else.
fn chunks(text: &str) -> Vec<Chunk<'_>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut chunks = Vec::new();
    let (mut start, mut start_line, mut offset, mut line) = (0, 1, 0, 1);
    for row in text.split_inclusive('\n') {
        if is_separator(row) && offset > start {
            chunks.push(Chunk { text: &text[start..offset], first_line: start_line });
            (start, start_line) = (offset, line);
        }
        offset += row.len();
        line += 1;
    }
    chunks.push(Chunk { text: &text[start..], first_line: start_line });
    chunks.retain(|chunk| chunk.text.lines().any(|row| !is_blank(row)));
    chunks
}

fn is_separator(row: &str) -> bool {
    row.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

fn is_blank(row: &str) -> bool {
    let row = row.strip_prefix("---").unwrap_or(row).trim();
    row.is_empty() || row.starts_with('#') || row.starts_with("%YAML")
}

fn line_count(text: &str) -> u32 {
    u32::try_from(text.lines().count()).unwrap_or(u32::MAX)
}

fn compose(text: &str, line_offset: u32) -> Result<Vec<Arc<Node>>, Vec<YamlError>> {
    let mut composer = Composer { line_offset, ..Composer::default() };
    for event in Parser::new_from_str(text) {
        let outcome = match event {
            Ok((event, span)) => composer.event(event, span),
            Err(error) => {
                let start = composer.position(*error.marker());
                Err(YamlError {
                    span: Span { start, end: start },
                    rule: format!("not YAML: {}", error.info()),
                    fix: Some(hint(text, error.marker().line()).into()),
                })
            }
        };
        if let Err(error) = outcome {
            composer.errors.push(error);
            break;
        }
    }
    if composer.errors.is_empty() { Ok(composer.roots) } else { Err(composer.errors) }
}

/// The scanner's own words rarely name the two mistakes that people make most.
fn hint(text: &str, line: usize) -> &'static str {
    let row = |line: usize| line.checked_sub(1).and_then(|index| text.lines().nth(index)).unwrap_or_default();
    let indented_by_tab = |row: &str| row.trim_start_matches(' ').starts_with('\t');
    if indented_by_tab(row(line)) || indented_by_tab(row(line.saturating_sub(1))) {
        "indent with spaces, YAML allows no tabs there"
    } else {
        "check indentation, a missing space after ':', unclosed quotes or brackets, and text with ': ' or '#' that needs quotes"
    }
}

#[derive(Default)]
struct Composer {
    line_offset: u32,
    stack: Vec<Frame>,
    anchors: HashMap<usize, Arc<Node>>,
    roots: Vec<Arc<Node>>,
    /// Mistakes after which composing goes on, so that one run tells them all.
    errors: Vec<YamlError>,
}

struct Frame {
    start: Position,
    anchor: usize,
    kind: FrameKind,
}

enum FrameKind {
    List(Vec<Arc<Node>>),
    Map(MapFrame),
}

#[derive(Default)]
struct MapFrame {
    entries: Vec<Entry>,
    seen: HashMap<String, Position>,
    merged: Vec<Arc<Node>>,
    pending: Option<Key>,
}

enum Key {
    Merge,
    Name(String, Span),
}

impl Composer {
    fn event(&mut self, event: Event<'_>, span: saphyr_parser::Span) -> Result<(), YamlError> {
        let span = Span { start: self.position(span.start), end: self.position(span.end) };
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain_merge = style == ScalarStyle::Plain && text == "<<" && tag.is_none();
                if plain_merge && let Some(pending) = self.expected_key() {
                    *pending = Some(Key::Merge);
                    return Ok(());
                }
                let node = Arc::new(Node::new(span, scalar_content(&text, style, tag.as_ref(), span)?));
                self.remember(anchor, &node)?;
                self.value(node)
            }
            Event::SequenceStart(anchor, tag) => {
                collection_tag(tag.as_ref(), "seq", span)?;
                self.open(span, anchor, FrameKind::List(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                collection_tag(tag.as_ref(), "map", span)?;
                self.open(span, anchor, FrameKind::Map(MapFrame::default()))
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span.end),
            Event::Alias(anchor) => {
                let node = self.anchors.get(&anchor).cloned().ok_or_else(|| YamlError {
                    span,
                    rule: "an alias stands inside the value that its anchor names".into(),
                    fix: Some("write the value out".into()),
                })?;
                self.value(node)
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) => Ok(()),
            Event::DocumentEnd => {
                self.anchors.clear();
                Ok(())
            }
        }
    }

    /// The place for a key, if a key is what comes next.
    fn expected_key(&mut self) -> Option<&mut Option<Key>> {
        match self.stack.last_mut() {
            Some(Frame { kind: FrameKind::Map(map), .. }) if map.pending.is_none() => Some(&mut map.pending),
            _ => None,
        }
    }

    fn open(&mut self, span: Span, anchor: usize, kind: FrameKind) -> Result<(), YamlError> {
        if self.expected_key().is_some() {
            return Err(YamlError {
                span,
                rule: "a key is a list or a map; keys are text".into(),
                fix: Some("quote text that begins with '{' or '['".into()),
            });
        }
        if self.stack.len() >= MAX_DEPTH as usize {
            return Err(too_deep(span));
        }
        self.stack.push(Frame { start: span.start, anchor, kind });
        Ok(())
    }

    fn close(&mut self, end: Position) -> Result<(), YamlError> {
        let frame = self.stack.pop().expect("the parser closes only what it opened");
        let span = Span { start: frame.start, end };
        let content = match frame.kind {
            FrameKind::List(items) => Content::List(items),
            FrameKind::Map(map) => Content::Map(merge(map, &mut self.errors)),
        };
        let node = Arc::new(Node::new(span, content));
        self.remember(frame.anchor, &node)?;
        self.value(node)
    }

    /// Bounds are checked here and not at the end: an alias of an alias of an alias is cheap until it is walked.
    fn remember(&mut self, anchor: usize, node: &Arc<Node>) -> Result<(), YamlError> {
        if node.nodes > MAX_NODES {
            return Err(YamlError {
                span: node.span,
                rule: format!("the document has more than {MAX_NODES} nodes once its aliases are expanded"),
                fix: Some("use fewer aliases, or split the document".into()),
            });
        }
        if node.depth > MAX_DEPTH {
            return Err(too_deep(node.span));
        }
        if anchor != 0 {
            self.anchors.insert(anchor, Arc::clone(node));
        }
        Ok(())
    }

    fn value(&mut self, node: Arc<Node>) -> Result<(), YamlError> {
        match self.stack.last_mut() {
            None => self.roots.push(node),
            Some(Frame { kind: FrameKind::List(items), .. }) => items.push(node),
            Some(Frame { kind: FrameKind::Map(map), .. }) => match map.pending.take() {
                None => map.pending = Some(Key::Name(key_text(&node)?, node.span)),
                Some(Key::Merge) => map.merged.push(node),
                Some(Key::Name(key, key_span)) => {
                    if let Some(first) = map.seen.insert(key.clone(), key_span.start) {
                        self.errors.push(YamlError {
                            span: key_span,
                            rule: format!("key {key:?} stands twice in this map, first in line {}", first.line),
                            fix: Some("remove one of the two".into()),
                        });
                    } else {
                        map.entries.push(Entry { key, key_span, value: node });
                    }
                }
            },
        }
        Ok(())
    }

    fn position(&self, marker: saphyr_parser::Marker) -> Position {
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        Position {
            line: number(marker.line()).saturating_add(self.line_offset),
            column: number(marker.col()).saturating_add(1),
        }
    }
}

fn too_deep(span: Span) -> YamlError {
    YamlError { span, rule: format!("nested deeper than {MAX_DEPTH} levels"), fix: Some("flatten the document".into()) }
}

/// What `<<` brings in; keys that the map has itself win, then earlier merges.
fn merge(map: MapFrame, errors: &mut Vec<YamlError>) -> Vec<Entry> {
    let MapFrame { mut entries, mut seen, merged, pending: _ } = map;
    let mut take = |node: &Node| match &node.content {
        Content::Map(more) => {
            for entry in more {
                if !seen.contains_key(&entry.key) {
                    seen.insert(entry.key.clone(), entry.key_span.start);
                    entries.push(entry.clone());
                }
            }
        }
        _ => errors.push(YamlError {
            span: node.span,
            rule: format!("'<<' merges maps, this is {}", node.type_name()),
            fix: Some("name an anchor of a map, or quote the key".into()),
        }),
    };
    for node in &merged {
        match &node.content {
            Content::List(items) => items.iter().for_each(|item| take(item)),
            _ => take(node),
        }
    }
    entries
}

fn key_text(node: &Node) -> Result<String, YamlError> {
    match &node.content {
        Content::String(text) => Ok(text.clone()),
        Content::Number(number) => Ok(number.to_string()),
        Content::Bool(value) => Ok(value.to_string()),
        _ => Err(YamlError {
            span: node.span,
            rule: format!("a key is {}; keys are text", node.type_name()),
            fix: Some("quote the key".into()),
        }),
    }
}

fn collection_tag(tag: Option<&Cow<'_, Tag>>, expected: &str, span: Span) -> Result<(), YamlError> {
    match tag {
        Some(tag) if !(tag.is_yaml_core_schema() && tag.suffix == expected) => Err(foreign_tag(tag, span)),
        _ => Ok(()),
    }
}

fn scalar_content(
    text: &str,
    style: ScalarStyle,
    tag: Option<&Cow<'_, Tag>>,
    span: Span,
) -> Result<Content, YamlError> {
    let Some(tag) = tag else {
        return match style {
            ScalarStyle::Plain => scalar::plain(text).map_err(|rule| YamlError {
                span,
                rule: rule.into(),
                fix: Some("quote it if it is meant as text".into()),
            }),
            _ => Ok(Content::String(text.to_owned())),
        };
    };
    // `!` alone says "not resolved", which is text.
    if tag.is_yaml_core_schema() && tag.suffix == "str" || (tag.handle.is_empty() && tag.suffix == "!") {
        return Ok(Content::String(text.to_owned()));
    }
    if !tag.is_yaml_core_schema() {
        return Err(foreign_tag(tag, span));
    }
    let content = scalar::plain(text).ok();
    let fits = match (&content, tag.suffix.as_str()) {
        (Some(Content::Null), "null") | (Some(Content::Bool(_)), "bool") => true,
        (Some(Content::Number(number)), "int") => !number.is_f64(),
        (Some(Content::Number(_)), "float") => true,
        _ => false,
    };
    match content {
        Some(content) if fits => Ok(content),
        _ => Err(foreign_tag(tag, span)),
    }
}

fn foreign_tag(tag: &Tag, span: Span) -> YamlError {
    YamlError {
        span,
        rule: format!("tag {tag} does not fit here"),
        fix: Some("remove the tag; only !!str, !!int, !!float, !!bool, !!null, !!seq and !!map are known".into()),
    }
}

#[cfg(test)]
mod tests;
