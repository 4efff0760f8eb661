//! Writing JSON straight into a byte buffer.

/// Appends `text` as a JSON string with its quotes.
pub(crate) fn push_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    push_escaped(out, text.as_bytes());
    out.push(b'"');
}

/// Appends the value of a header as a JSON string. A value that is not UTF-8 is read as ISO-8859-1, what HTTP once meant
/// by such bytes (RFC 9110 section 5.5), so that nothing is lost.
pub(crate) fn push_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    push_value(out, bytes);
    out.push(b'"');
}

/// As [`push_bytes`] without the quotes.
pub(crate) fn push_value(out: &mut Vec<u8>, bytes: &[u8]) {
    if std::str::from_utf8(bytes).is_ok() {
        push_escaped(out, bytes);
    } else {
        let latin: String = bytes.iter().map(|&byte| char::from(byte)).collect();
        push_escaped(out, latin.as_bytes());
    }
}

/// Appends UTF-8 with the escapes that a JSON string needs.
pub(crate) fn push_escaped(out: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text;
    loop {
        let (clean, dirty) = rest.split_at(clean_prefix(rest));
        out.extend_from_slice(clean);
        let [byte, after @ ..] = dirty else { return };
        push_escape(out, *byte);
        rest = after;
    }
}

/// How many bytes at the start need no escape. Looks at sixteen at a time, which the compiler turns into vector instructions.
fn clean_prefix(text: &[u8]) -> usize {
    const AT_ONCE: usize = 16;
    let dirty = |chunk: &[u8]| chunk.iter().fold(false, |dirty, &byte| dirty | needs_escape(byte));
    let clean = AT_ONCE * text.chunks_exact(AT_ONCE).take_while(|chunk| !dirty(chunk)).count();
    let rest = &text[clean..];
    clean + rest.iter().position(|&byte| needs_escape(byte)).unwrap_or(rest.len())
}

fn needs_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// Appends the escape of one byte below 0x80: the short one where JSON has one, else `\u00XX`.
pub(crate) fn push_escape(out: &mut Vec<u8>, byte: u8) {
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        _ => {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// Appends a number.
pub(crate) fn push_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn strings_read_back_equal(text: String) {
            let mut out = Vec::new();
            push_string(&mut out, &text);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }

        #[test]
        fn header_values_are_never_broken_json(bytes: Vec<u8>) {
            let mut out = Vec::new();
            push_bytes(&mut out, &bytes);
            let read: String = serde_json::from_slice(&out).unwrap();
            match std::str::from_utf8(&bytes) {
                Ok(text) => prop_assert_eq!(read, text),
                Err(_) => prop_assert_eq!(read.chars().count(), bytes.len()),
            }
        }
    }
}
