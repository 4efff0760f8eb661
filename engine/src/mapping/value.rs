//! Values of mappings: static text, expressions, and text with expressions in it (H-MAP-12).

use super::source::{Source, Sources, Use};

/// Which message is mapped: it decides what can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// `$request.…`, `$context.…`, `$stageVariables.…`.
    Request,
    /// `$response.…`, `$context.…`, `$stageVariables.…`.
    Response,
}

/// A value that parses. The default is the empty text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Value {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Source(Source),
}

const ROOTS: [&str; 4] = ["request", "response", "context", "stageVariables"];

impl Value {
    /// Parses `text`. `$` followed by anything but a known source is text.
    ///
    /// # Errors
    /// Something that starts as an expression and is none.
    pub fn parse(text: &str, side: Side) -> Result<Self, String> {
        let mut value = Self::default();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            let after = &rest[at + 1..];
            let (braced, expression) = after.strip_prefix('{').map_or((false, after), |inner| (true, inner));
            if !is_expression(expression) {
                value.text(&rest[..=at]);
                rest = after;
                continue;
            }
            value.text(&rest[..at]);
            let (expression, tail) = if braced {
                expression.split_once('}').ok_or_else(|| format!("{text:?} has a ${{ without its }}"))?
            } else {
                (expression, "")
            };
            value.parts.push(Part::Source(Source::parse(expression, side)?));
            rest = tail;
        }
        value.text(rest);
        Ok(value)
    }

    fn text(&mut self, text: &str) {
        match self.parts.last_mut() {
            _ if text.is_empty() => {}
            Some(Part::Text(before)) => before.push_str(text),
            _ => self.parts.push(Part::Text(text.to_owned())),
        }
    }

    /// The text, when there is nothing to look up.
    pub fn as_text(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Whether it is the same for all requests of a stage.
    pub(super) fn is_constant(&self) -> bool {
        self.parts.iter().all(|part| matches!(part, Part::Text(_) | Part::Source(Source::StageVariable(_))))
    }

    /// Whether it reads the body.
    pub fn needs_body(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Source(source) if source.needs_body()))
    }

    /// The value for a message; `None` when it is a single expression that finds nothing (H-MAP-17).
    pub fn resolve(&self, from: &Sources<'_>) -> Option<Vec<u8>> {
        self.resolve_for(from, Use::Text)
    }

    pub(super) fn resolve_for(&self, from: &Sources<'_>, to: Use) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        if let [Part::Source(source)] = self.parts.as_slice() {
            return source.push(from, to, &mut out).then_some(out);
        }
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text.as_bytes()),
                Part::Source(source) => {
                    source.push(from, to, &mut out);
                }
            }
        }
        Some(out)
    }
}

fn is_expression(text: &str) -> bool {
    ROOTS.iter().any(|root| text.strip_prefix(root).is_some_and(|rest| rest.starts_with('.')))
}
