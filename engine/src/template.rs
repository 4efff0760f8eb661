//! Path and URL templates of integrations: `https://b.example/base/{proxy}?v=${stageVariables.version}` (H-HTTP-1 to H-HTTP-5).
//!
//! Values of path variables are inserted as they stand in the request, still percent-encoded, so that what was matched is
//! what is forwarded: `%2F` stays `%2F`.

use std::collections::BTreeMap;
use std::fmt::Write;

/// Text with `{variable}` and `${stageVariables.name}` placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Variable(String),
    StageVariable(String),
}

/// Why a text is not a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A brace without its partner.
    #[error("{0:?} has a brace without its partner")]
    Brace(String),
    /// `${…}` that is not a stage variable.
    #[error("${{{0}}} is not known: only ${{stageVariables.name}} can stand in a path or URL")]
    Expression(String),
    /// A variable that the route does not have (H-HTTP-2).
    #[error("{{{0}}} is not a variable of the route")]
    UnknownVariable(String),
}

/// A stage variable that the stage does not have (H-VAR-5).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stage has no variable {0:?}")]
pub struct UndefinedStageVariable(pub String);

impl Template {
    /// Parses `text`.
    ///
    /// # Errors
    /// Braces that do not pair, or a `${…}` other than a stage variable.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(open) = rest.find(['{', '}']) {
            let unpaired = || TemplateError::Brace(text.to_owned());
            let (before, at) = rest.split_at(open);
            let inner = at.strip_prefix('{').ok_or_else(unpaired)?;
            let (name, after) = inner.split_once('}').ok_or_else(unpaired)?;
            let before_dollar = before.strip_suffix('$');
            literal.push_str(before_dollar.unwrap_or(before));
            let piece = if before_dollar.is_some() {
                let variable =
                    name.strip_prefix("stageVariables.").ok_or_else(|| TemplateError::Expression(name.to_owned()))?;
                Piece::StageVariable(variable.to_owned())
            } else if name.is_empty() || name.contains('{') {
                return Err(unpaired());
            } else {
                Piece::Variable(name.to_owned())
            };
            if !literal.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut literal)));
            }
            pieces.push(piece);
            rest = after;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal));
        }
        Ok(Self { pieces })
    }

    /// Names of the path variables in it.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Variable(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// Refuses variables that `known` does not have (H-HTTP-2).
    ///
    /// # Errors
    /// The first unknown variable.
    pub fn check_variables<'a>(&self, known: impl Iterator<Item = &'a str> + Clone) -> Result<(), TemplateError> {
        match self.variables().find(|name| !known.clone().any(|other| other == *name)) {
            Some(name) => Err(TemplateError::UnknownVariable(name.to_owned())),
            None => Ok(()),
        }
    }

    /// Fills in the stage's variables.
    ///
    /// # Errors
    /// The first variable that `variables` does not have.
    pub fn with_stage(&self, variables: &BTreeMap<String, String>) -> Result<Self, UndefinedStageVariable> {
        let mut pieces: Vec<Piece> = Vec::with_capacity(self.pieces.len());
        for piece in &self.pieces {
            let piece = match piece {
                Piece::StageVariable(name) => {
                    Piece::Text(variables.get(name).ok_or_else(|| UndefinedStageVariable(name.clone()))?.clone())
                }
                other => other.clone(),
            };
            match (pieces.last_mut(), piece) {
                (Some(Piece::Text(before)), Piece::Text(text)) => before.push_str(&text),
                (_, piece) => pieces.push(piece),
            }
        }
        Ok(Self { pieces })
    }

    /// The text, when there is nothing to fill in.
    pub fn as_text(&self) -> Option<&str> {
        match self.pieces.as_slice() {
            [] => Some(""),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Splits a URL template into its origin (scheme and authority) and the rest, which starts with `/` or is empty.
    pub fn split_origin(&self) -> (Self, Self) {
        let mut origin = Vec::new();
        let mut pieces = self.pieces.iter();
        let mut slashes = 0;
        for piece in pieces.by_ref() {
            let Piece::Text(text) = piece else {
                origin.push(piece.clone());
                continue;
            };
            // The third slash of `https://host/path` starts the path; so does a query without one.
            let cut = text.char_indices().find(|(_, c)| {
                slashes += usize::from(*c == '/');
                slashes == 3 || (slashes == 2 && *c == '?')
            });
            let Some((cut, _)) = cut else {
                origin.push(piece.clone());
                continue;
            };
            let (before, after) = text.split_at(cut);
            if !before.is_empty() {
                origin.push(Piece::Text(before.to_owned()));
            }
            let rest = std::iter::once(Piece::Text(after.to_owned())).chain(pieces.cloned()).collect();
            return (Self { pieces: origin }, Self { pieces: rest });
        }
        (Self { pieces: origin }, Self { pieces: Vec::new() })
    }

    /// Appends the text to `out` with `value(name)` for each variable, in the encoding of a request path. In the query part
    /// characters that would end a parameter are percent-encoded.
    ///
    /// Variables without a value and stage variables that were not filled in are left out.
    pub fn render<'v>(&self, out: &mut String, value: impl Fn(&str) -> Option<&'v str>) {
        let mut in_query = false;
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => {
                    in_query |= text.contains('?');
                    out.push_str(text);
                }
                Piece::Variable(name) => match value(name) {
                    Some(raw) if in_query => push_for_query(out, raw),
                    Some(raw) => out.push_str(raw),
                    None => {}
                },
                Piece::StageVariable(_) => {}
            }
        }
    }
}

/// A path may hold these raw, a query value may not.
fn push_for_query(out: &mut String, raw: &str) {
    for character in raw.chars() {
        if matches!(character, '&' | '=' | '+' | ';' | '?' | '/' | '#') {
            write!(out, "%{:02X}", u32::from(character)).expect("writing to a string does not fail");
        } else {
            out.push(character);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(template: &str, values: &[(&str, &str)]) -> String {
        let mut out = String::new();
        Template::parse(template)
            .unwrap()
            .render(&mut out, |name| values.iter().find(|(known, _)| *known == name).map(|(_, value)| *value));
        out
    }

    /// Proves H-HTTP-1, H-HTTP-2.
    #[test]
    fn inserts_raw_values() {
        assert_eq!(render("/base/{proxy}", &[("proxy", "a/b%2Fc/")]), "/base/a/b%2Fc/");
        assert_eq!(render("/v1/animals", &[]), "/v1/animals");
        assert_eq!(render("/x?id={id}&v=1", &[("id", "a&b+c/d")]), "/x?id=a%26b%2Bc%2Fd&v=1");
        assert_eq!(render("/{a}-{b}", &[("a", "1"), ("b", "2")]), "/1-2");
    }

    #[test]
    fn refuses_what_cannot_be_meant() {
        assert_eq!(Template::parse("/a{b"), Err(TemplateError::Brace("/a{b".to_owned())));
        assert_eq!(Template::parse("/a}b"), Err(TemplateError::Brace("/a}b".to_owned())));
        assert_eq!(Template::parse("/{}"), Err(TemplateError::Brace("/{}".to_owned())));
        assert_eq!(Template::parse("/${context.x}"), Err(TemplateError::Expression("context.x".to_owned())));
        let template = Template::parse("/{id}/{x}").unwrap();
        assert_eq!(template.check_variables(["id"].into_iter()), Err(TemplateError::UnknownVariable("x".to_owned())));
        assert_eq!(template.check_variables(["id", "x"].into_iter()), Ok(()));
    }

    /// Proves H-VAR-3, H-VAR-5.
    #[test]
    fn stage_variables_come_first() {
        let template = Template::parse("http://${stageVariables.host}:80/${stageVariables.base}/{id}").unwrap();
        let variables: BTreeMap<String, String> =
            [("host", "b.example"), ("base", "v2")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let filled = template.with_stage(&variables).unwrap();
        let (origin, path) = filled.split_origin();
        assert_eq!(origin.as_text(), Some("http://b.example:80"));
        let mut out = String::new();
        path.render(&mut out, |_| Some("7"));
        assert_eq!(out, "/v2/7");
        assert_eq!(template.with_stage(&BTreeMap::new()), Err(UndefinedStageVariable("host".to_owned())));
    }

    #[test]
    fn splits_the_origin() {
        let split = |text: &str| {
            let (origin, path) = Template::parse(text).unwrap().split_origin();
            (origin.as_text().map(str::to_owned), path.as_text().map(str::to_owned))
        };
        let pair = |a: &str, b: &str| (Some(a.to_owned()), Some(b.to_owned()));
        assert_eq!(split("https://b.example"), pair("https://b.example", ""));
        assert_eq!(split("https://b.example/"), pair("https://b.example", "/"));
        assert_eq!(split("https://b.example/a/b?c=d"), pair("https://b.example", "/a/b?c=d"));
        assert_eq!(split("https://b.example?c=d"), pair("https://b.example", "?c=d"));
    }
}
