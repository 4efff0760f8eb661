//! Comma-separated values as AWS's import of keys reads them: fields may be quoted with `"` or with `'` (common readers know one kind of
//! quote), a doubled quote stands for itself, and blanks around fields do not count.

use super::Warning;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// Where it begins, counted from 1.
    pub(super) line: usize,
    pub(super) fields: Vec<String>,
}

/// The rows of a file; empty lines are none.
///
/// # Errors
/// A quote that does not end, or text behind one.
pub(super) fn records(text: &str) -> Result<Vec<Record>, Warning> {
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (mut records, mut line) = (Vec::new(), 1);
    while !rest.is_empty() {
        let mut record = Record { line, fields: Vec::new() };
        loop {
            let (field, behind) = field(rest, line)?;
            line += rest[..rest.len() - behind.len()].matches('\n').count();
            record.fields.push(field);
            rest = behind;
            match rest.strip_prefix(',') {
                Some(next) => rest = next,
                None => break,
            }
        }
        if let Some(next) = rest.strip_prefix("\r\n").or_else(|| rest.strip_prefix(['\n', '\r'])) {
            rest = next;
            line += 1;
        }
        if record.fields.iter().any(|field| !field.is_empty()) {
            records.push(record);
        }
    }
    Ok(records)
}

/// A field, and what comes behind it: a comma, the end of a line, or nothing.
fn field(text: &str, line: usize) -> Result<(String, &str), Warning> {
    const ENDS: [char; 3] = [',', '\n', '\r'];
    let start = text.trim_start_matches([' ', '\t']);
    let quote = start.chars().next().filter(|c| ['"', '\''].contains(c));
    let Some(quote) = quote else {
        let end = start.find(ENDS).unwrap_or(start.len());
        return Ok((start[..end].trim_end().to_owned(), &start[end..]));
    };
    let mut value = String::new();
    let mut rest = &start[1..];
    loop {
        let Some(end) = rest.find(quote) else {
            return Err(Warning { line, message: format!("the quote {quote} is not closed") });
        };
        value.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        if let Some(more) = rest.strip_prefix(quote) {
            value.push(quote);
            rest = more;
        } else {
            break;
        }
    }
    let behind = rest.trim_start_matches([' ', '\t']);
    if !behind.is_empty() && !behind.starts_with(ENDS) {
        return Err(Warning {
            line,
            message: format!("there is text behind the closing {quote}: double quotes inside of fields"),
        });
    }
    Ok((value.trim().to_owned(), behind))
}
