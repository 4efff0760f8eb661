//! What a plain scalar means.
//!
//! The same table as kubectl's YAML library (go-yaml v2 behind `sigs.k8s.io/yaml`, file `resolve.go`), because the same
//! file must mean the same on a laptop and on a cluster.

use serde_json::Number;

use super::Content;

/// The value of an unquoted scalar; an error says which one JSON cannot hold.
pub(super) fn plain(text: &str) -> Result<Content, &'static str> {
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Content::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Content::Bool(true),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Content::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Err("not-a-number has no place in JSON"),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" | "-.inf" | "-.Inf" | "-.INF" => {
            return Err("infinity has no place in JSON");
        }
        _ => number(text).map_or_else(|| Content::String(text.to_owned()), Content::Number),
    })
}

fn number(text: &str) -> Option<Number> {
    if !text.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '+' | '-' | '.')) {
        return None;
    }
    let plain = text.replace('_', "");
    integer(&plain).or_else(|| float(if text.starts_with('.') { text } else { &plain }))
}

/// Go's `strconv.ParseInt` with base 0: `0x`, `0o`, `0b` and a leading zero for octal.
fn integer(text: &str) -> Option<Number> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (radix, digits) = match digits.get(..2).map(str::to_ascii_lowercase).as_deref() {
        Some("0x") => (16, &digits[2..]),
        Some("0o") => (8, &digits[2..]),
        Some("0b") => (2, &digits[2..]),
        Some(prefix) if prefix.starts_with('0') => (8, &digits[1..]),
        _ => (10, digits),
    };
    if !digits.starts_with(|first: char| first.is_ascii_alphanumeric()) {
        return None;
    }
    let magnitude = u64::from_str_radix(digits, radix).ok()?;
    if negative { 0_i64.checked_sub_unsigned(magnitude).map(Number::from) } else { Some(Number::from(magnitude)) }
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`; a float without fraction becomes an integer, as it does on its
/// way through Go's JSON.
fn float(text: &str) -> Option<Number> {
    if !is_float(text) {
        return None;
    }
    let value: f64 = text.parse().ok()?;
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() < EXACT {
        #[expect(clippy::cast_possible_truncation, reason = "integral and below 2^53")]
        return Some(Number::from(value as i64));
    }
    Number::from_f64(value)
}

fn is_float(text: &str) -> bool {
    let rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, rest) = digits(rest);
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(rest) => digits(rest),
        None => ("", rest),
    };
    if whole.is_empty() && fraction.is_empty() {
        return false;
    }
    match rest.strip_prefix(['e', 'E']) {
        None => rest.is_empty(),
        Some(rest) => {
            let (exponent, rest) = digits(rest.strip_prefix(['-', '+']).unwrap_or(rest));
            !exponent.is_empty() && rest.is_empty()
        }
    }
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(u8::is_ascii_digit).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> serde_json::Value {
        super::super::Node::new(Default::default(), plain(text).expect("a JSON value")).to_json()
    }

    #[test]
    fn scalars_mean_what_kubectl_reads() {
        let cases = [
            ("on", "true"),
            ("N", "false"),
            ("~", "null"),
            ("80", "80"),
            ("-80", "-80"),
            ("+80", "80"),
            ("1_000", "1000"),
            ("010", "8"),
            ("0o10", "8"),
            ("0x1F", "31"),
            ("0b101", "5"),
            ("0", "0"),
            ("-0", "0"),
            ("1.0", "1"),
            ("0.5", "0.5"),
            (".5", "0.5"),
            ("1e3", "1000"),
            ("18446744073709551615", "18446744073709551615"),
            ("-9223372036854775808", "-9223372036854775808"),
            ("09", "9"),
            ("1.2.3", "\"1.2.3\""),
            ("12:30", "\"12:30\""),
            ("2026-11-21", "\"2026-11-21\""),
            ("-", "\"-\""),
            ("+", "\"+\""),
            ("--1", "\"--1\""),
            ("0x", "\"0x\""),
            ("1e", "\"1e\""),
            (".", "\".\""),
            ("yEs", "\"yEs\""),
        ];
        for (text, expected) in cases {
            assert_eq!(json(text).to_string(), expected, "{text}");
        }
    }

    #[test]
    fn what_json_cannot_hold_is_refused() {
        for text in [".nan", ".inf", "-.Inf"] {
            assert!(plain(text).is_err(), "{text}");
        }
    }
}
