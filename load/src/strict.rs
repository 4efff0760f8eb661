//! Reads a tree into a Rust type as a strict API server would: no unknown field, and every mistake has its path.
//!
//! A serde deserializer over [`Node`]. The types of k8s-openapi tell their field names to the deserializer, which is
//! where the names for "did you mean" come from.

use std::cell::RefCell;
use std::fmt;

use serde::de::{self, DeserializeSeed, IntoDeserializer, Unexpected, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};

use super::yaml::{Content, Entry, Node, Span};
use crate::problem::nearest;

/// A mistake that decoding found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Field path.
    pub path: String,
    /// Where.
    pub span: Span,
    /// `UnknownField` or `InvalidType`.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// How to fix it.
    pub fix: Option<String>,
}

/// Decodes `node`, which stands at `path`, or tells everything that is unknown in it and the first value that does not fit.
pub fn decode<'de, T: Deserialize<'de>>(node: &'de Node, path: &str) -> Result<T, Vec<Mistake>> {
    let mistakes = RefCell::default();
    let decoded = T::deserialize(Strict { node, path: path.to_owned(), mistakes: &mistakes });
    let mut mistakes: Vec<Mistake> = mistakes.into_inner();
    match decoded {
        Ok(value) if mistakes.is_empty() => Ok(value),
        Ok(_) => Err(mistakes),
        Err(error) => {
            let (path, span) = error.place.unwrap_or_else(|| (path.to_owned(), node.span));
            mistakes.push(Mistake { path, span, code: "InvalidType", message: error.message, fix: error.fix });
            Err(mistakes)
        }
    }
}

#[derive(Debug)]
struct DecodeError {
    place: Option<(String, Span)>,
    message: String,
    fix: Option<String>,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for DecodeError {}

impl de::Error for DecodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { place: None, message: message.to_string(), fix: None }
    }

    /// Names the type and not the value, which may be secret.
    fn invalid_type(found: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let (found, quotable) = match found {
            Unexpected::Bool(_) => ("a boolean", true),
            Unexpected::Unsigned(_) | Unexpected::Signed(_) | Unexpected::Float(_) => ("a number", true),
            Unexpected::Str(_) | Unexpected::Char(_) => ("text", false),
            Unexpected::Seq => ("a list", false),
            Unexpected::Map => ("a map", false),
            _ => ("null", false),
        };
        let expected = expected.to_string();
        let quote = quotable && expected.contains("string");
        let fix = quote.then(|| "quote it; without quotes YAML reads a number or a boolean".to_owned());
        Self { place: None, message: format!("{found} stands where {expected} is expected"), fix }
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::custom(format!("the value is not {expected}"))
    }
}

struct Strict<'de, 'm> {
    node: &'de Node,
    path: String,
    mistakes: &'m RefCell<Vec<Mistake>>,
}

impl<'de, 'm> Strict<'de, 'm> {
    fn placed<T>(&self, outcome: Result<T, DecodeError>) -> Result<T, DecodeError> {
        outcome.map_err(|mut error| {
            error.place.get_or_insert_with(|| (self.path.clone(), self.node.span));
            error
        })
    }

    fn visit<V: Visitor<'de>>(&self, visitor: V, fields: Option<&[&'static str]>) -> Result<V::Value, DecodeError> {
        match &self.node.content {
            Content::Null => visitor.visit_unit(),
            Content::Bool(value) => visitor.visit_bool(*value),
            Content::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(value), _) => visitor.visit_u64(value),
                (None, Some(value)) => visitor.visit_i64(value),
                (None, None) => visitor.visit_f64(number.as_f64().unwrap_or_default()),
            },
            Content::String(text) => visitor.visit_borrowed_str(text),
            Content::List(items) => {
                let items = items.iter().enumerate().map(|(index, item)| Strict {
                    node: item,
                    path: format!("{}[{index}]", self.path),
                    mistakes: self.mistakes,
                });
                visitor.visit_seq(de::value::SeqDeserializer::new(items))
            }
            Content::Map(entries) => {
                if let Some(fields) = fields {
                    self.unknown(entries, fields);
                }
                let known = |entry: &&Entry| fields.is_none_or(|fields| fields.contains(&entry.key.as_str()));
                let entries = entries.iter().filter(known);
                visitor.visit_map(Fields { parent: self, entries, value: None })
            }
        }
    }

    fn unknown(&self, entries: &[Entry], fields: &[&'static str]) {
        for entry in entries.iter().filter(|entry| !fields.contains(&entry.key.as_str())) {
            let message = format!("unknown field {:?}", entry.key);
            let fix = match nearest(&entry.key, fields.iter().copied()) {
                Some(name) => format!("did you mean {name:?}?"),
                None => format!("known here: {}", fields.join(", ")),
            };
            self.mistakes.borrow_mut().push(Mistake {
                path: join(&self.path, &entry.key),
                span: entry.key_span,
                code: "UnknownField",
                message,
                fix: Some(fix),
            });
        }
    }
}

/// Appends a map key to a field path; a key that is not a plain name is quoted in brackets.
pub fn join(path: &str, key: &str) -> String {
    let plain = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '$'));
    match (plain, path.is_empty()) {
        (true, true) => key.to_owned(),
        (true, false) => format!("{path}.{key}"),
        (false, _) => format!("{path}[{key:?}]"),
    }
}

struct Fields<'de, 'm, 'p, I> {
    parent: &'p Strict<'de, 'm>,
    entries: I,
    value: Option<&'de Entry>,
}

impl<'de, I: Iterator<Item = &'de Entry>> de::MapAccess<'de> for Fields<'de, '_, '_, I> {
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, DecodeError> {
        self.value = self.entries.next();
        self.value.map(|entry| seed.deserialize(entry.key.as_str().into_deserializer())).transpose()
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, DecodeError> {
        let entry = self.value.take().expect("serde asks for a value after its key");
        let path = join(&self.parent.path, &entry.key);
        seed.deserialize(Strict { node: &entry.value, path, mistakes: self.parent.mistakes })
    }
}

impl<'de, 'm> IntoDeserializer<'de, DecodeError> for Strict<'de, 'm> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> de::Deserializer<'de> for Strict<'de, '_> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.placed(self.visit(visitor, None))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        if self.node.content == Content::Null { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.placed(self.visit(visitor, Some(fields)))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match self.node.as_str() {
            Some(text) => self.placed(visitor.visit_enum(text.into_deserializer())),
            None => self.placed(Err(de::Error::custom(format!("expected text, found {}", self.node.type_name())))),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Service;

    use super::super::yaml::documents;
    use super::*;

    fn service(text: &str) -> Result<Service, Vec<Mistake>> {
        let documents = documents(text);
        decode(documents[0].root.as_ref().expect("parses"), "")
    }

    #[test]
    fn a_service_is_read() {
        let text = "apiVersion: v1\nkind: Service\nmetadata: {name: orders}\nspec:\n  ports:\n  - {port: 80, targetPort: http}\n";
        let service = service(text).expect("a valid service");
        assert_eq!(service.spec.expect("spec").ports.expect("ports")[0].port, 80);
    }

    #[test]
    fn unknown_fields_and_wrong_types_have_path_line_and_fix() {
        let text =
            "apiVersion: v1\nkind: Service\nmetadata: {name: orders}\nspec:\n  prots: []\n  ports:\n  - port: eighty\n";
        let mistakes = service(text).expect_err("two mistakes");
        let told: Vec<_> = mistakes.iter().map(|m| (m.path.as_str(), m.span.start.line, m.fix.as_deref())).collect();
        assert_eq!(told, [("spec.prots", 5, Some("did you mean \"ports\"?")), ("spec.ports[0].port", 7, None)]);
    }

    #[test]
    fn paths_quote_keys_that_are_no_names() {
        assert_eq!(join("metadata.annotations", "a.b/c"), "metadata.annotations[\"a.b/c\"]");
        assert_eq!(join("", "spec"), "spec");
    }
}
