//! The pattern of a header's value (H-RULE-4).

/// `abc`, `*abc`, `abc*` or `*abc*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Glob {
    text: Box<str>,
    open_start: bool,
    open_end: bool,
}

impl Glob {
    /// `None` when an asterisk stands inside or there is nothing but asterisks.
    pub(super) fn parse(pattern: &str) -> Option<Self> {
        let (open_start, rest) = pattern.strip_prefix('*').map_or((false, pattern), |rest| (true, rest));
        let (open_end, text) = rest.strip_suffix('*').map_or((false, rest), |text| (true, text));
        (!text.is_empty() && !text.contains('*')).then(|| Self { text: text.into(), open_start, open_end })
    }

    /// Upper and lower case differ; `?` stands for itself.
    pub(super) fn matches(&self, value: &[u8]) -> bool {
        let text = self.text.as_bytes();
        match (self.open_start, self.open_end) {
            (false, false) => value == text,
            (true, false) => value.ends_with(text),
            (false, true) => value.starts_with(text),
            (true, true) => memchr::memmem::find(value, text).is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves H-RULE-4.
    #[test]
    fn four_forms_and_no_more() {
        let matches = |pattern: &str, value: &str| Glob::parse(pattern).unwrap().matches(value.as_bytes());
        for (pattern, yes, no) in [
            ("abc", &["abc"][..], &["ABC", "abcd", "xabc", ""][..]),
            ("*abc", &["abc", "xabc", "abcabc"], &["abcx", "ABC"]),
            ("abc*", &["abc", "abcx"], &["xabc"]),
            ("*abc*", &["abc", "xabcx", "xabc"], &["ab", "aBc"]),
            ("a?c", &["a?c"], &["abc"]),
        ] {
            for value in yes {
                assert!(matches(pattern, value), "{pattern} {value}");
            }
            for value in no {
                assert!(!matches(pattern, value), "{pattern} {value}");
            }
        }
        for wrong in ["", "*", "**", "a*b", "*a*b*", "**a"] {
            assert_eq!(Glob::parse(wrong), None, "{wrong}");
        }
    }
}
