//! Access-log formats (section 2.4 of the spec): text with `$context` variables, compiled to byte appends.
//!
//! **Difference from AWS.** AWS inserts values as they are (H-LOG-5). Here a value cannot leave its place: control characters, `"`
//! and `\` are written as JSON escapes, bytes that are not UTF-8 as `\ufffd`. A client that puts a line break or a quote into its
//! `User-Agent` can then neither forge a log line nor break a JSON one. Values without such characters are the same as in AWS.

use crate::context::{Facts, Outcome, Value, Variable};
use crate::json::{push_escape, push_number};
use crate::text;

/// Longest format in bytes (H-LOG-2).
pub const MAX_FORMAT_BYTES: usize = 3072;
/// Longest entry in bytes, its line break included (H-LOG-2); what is longer is cut.
pub const MAX_ENTRY_BYTES: usize = 1_048_576;

const PREFIX: &str = "$context.";

/// A format that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(Box<[u8]>),
    Variable(Variable),
}

/// Why a text is no format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// H-LOG-2.
    #[error("the format has {bytes} bytes; at most {MAX_FORMAT_BYTES} are allowed")]
    TooLong {
        /// Length of the text.
        bytes: usize,
    },
    /// There is nothing to log.
    #[error("the format is empty; write a line with $context variables, e.g. $context.requestId $context.status")]
    Empty,
    /// H-LOG-1.
    #[error("the format has a control character at byte {offset}; an entry is a single line: remove line breaks")]
    ControlCharacter {
        /// Where.
        offset: usize,
    },
}

impl Format {
    /// Reads a format. White space around it, such as the line break of a YAML block, is no part of it. Names without meaning are
    /// not refused; they print `-` (H-LOG-4).
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(FormatError::Empty);
        }
        if text.len() > MAX_FORMAT_BYTES {
            return Err(FormatError::TooLong { bytes: text.len() });
        }
        if let Some((offset, _)) =
            text.char_indices().find(|(_, character)| character.is_control() && *character != '\t')
        {
            return Err(FormatError::ControlCharacter { offset });
        }
        let mut pieces = Pieces::default();
        let mut rest = text;
        while let Some(start) = rest.find(PREFIX) {
            let name = variable_name(&rest[start + PREFIX.len()..]);
            let end = start + PREFIX.len() + name.len();
            if name.is_empty() {
                pieces.literal(&rest[..end]);
            } else {
                pieces.literal(&rest[..start]);
                pieces.variable(name);
            }
            rest = &rest[end..];
        }
        pieces.literal(rest);
        pieces.literal("\n");
        Ok(Self { pieces: pieces.finished() })
    }

    /// Appends the entry of one request and its line break.
    pub fn append(&self, out: &mut Vec<u8>, facts: &Facts<'_>, outcome: &Outcome<'_>) {
        let start = out.len();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => out.extend_from_slice(text),
                Piece::Variable(variable) => write_value(&variable.value(facts, outcome), out),
            }
            if out.len() - start > MAX_ENTRY_BYTES {
                return cut(out, start + MAX_ENTRY_BYTES - 1);
            }
        }
    }
}

/// Appends a value as it stands in a log.
fn write_value(value: &Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Absent => out.push(b'-'),
        Value::Text(text) => push_harmless(out, text.as_bytes()),
        Value::Bytes(bytes) => push_harmless(out, bytes),
        Value::Quoted(text) => {
            out.push(b'"');
            out.extend_from_slice(text.as_bytes());
            out.push(b'"');
        }
        Value::Number(number) => push_number(out, *number),
        Value::Id(id) => out.extend_from_slice(id.as_bytes()),
        Value::Ip(address) => out.extend_from_slice(address.as_bytes()),
        Value::Time(time) => out.extend_from_slice(time.as_str().as_bytes()),
    }
}

/// Appends text so that it stays inside a quoted string and a line.
fn push_harmless(out: &mut Vec<u8>, text: &[u8]) {
    if text::all(text, |byte| matches!(byte, b' '..=b'~') & (byte != b'"') & (byte != b'\\')) {
        out.extend_from_slice(text);
        return;
    }
    for chunk in text.utf8_chunks() {
        for character in chunk.valid().chars() {
            push_character(out, character);
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
}

fn push_character(out: &mut Vec<u8>, character: char) {
    match u8::try_from(character) {
        Ok(byte) if character.is_control() || byte == b'"' || byte == b'\\' => push_escape(out, byte),
        _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

/// Shortens an entry to `length` bytes of the buffer, not inside a character, and ends the line.
fn cut(out: &mut Vec<u8>, length: usize) {
    let continuation = |byte: u8| byte & 0b1100_0000 == 0b1000_0000;
    let end = (0..=length).rev().find(|&end| !continuation(out[end])).unwrap_or(0);
    out.truncate(end);
    out.push(b'\n');
}

/// The longest name at the start of `text`: words of letters, digits and `_` joined with dots; in the names of claims also with
/// colons (H-LOG-8).
fn variable_name(text: &str) -> &str {
    let word = |from: usize| {
        let letters = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        text.bytes().skip(from).take_while(|&byte| letters(byte)).count()
    };
    let mut end = word(0);
    while end > 0 {
        let joint = match text.as_bytes().get(end) {
            Some(b'.') => true,
            Some(b':') => text[..end].starts_with("authorizer.claims."),
            _ => false,
        };
        match word(end + 1) {
            length @ 1.. if joint => end += 1 + length,
            _ => break,
        }
    }
    &text[..end]
}

#[derive(Default)]
struct Pieces {
    done: Vec<Piece>,
    literal: Vec<u8>,
}

impl Pieces {
    fn literal(&mut self, text: &str) {
        self.literal.extend_from_slice(text.as_bytes());
    }

    fn variable(&mut self, name: &str) {
        match Variable::parse(name) {
            Some(variable) => {
                self.flush();
                self.done.push(Piece::Variable(variable));
            }
            None => self.literal("-"),
        }
    }

    fn flush(&mut self) {
        if !self.literal.is_empty() {
            self.done.push(Piece::Literal(std::mem::take(&mut self.literal).into()));
        }
    }

    fn finished(mut self) -> Vec<Piece> {
        self.flush();
        self.done
    }
}

#[cfg(test)]
mod tests;
