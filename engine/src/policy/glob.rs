//! Patterns of policies: `*` stands for any run of characters, `/` included, and `?` for one (H-LA-18).

/// Whether `pattern` matches all of `text`.
pub fn matches(pattern: &str, text: &str) -> bool {
    glob(pattern.as_bytes(), text.as_bytes(), |a, b| a == b)
}

/// As [`matches`], for names of actions.
pub(super) fn matches_ignoring_case(pattern: &str, text: &str) -> bool {
    glob(pattern.as_bytes(), text.as_bytes(), |a, b| a.eq_ignore_ascii_case(&b))
}

/// Goes back to the last `*` only, so that time grows with the product of both lengths at worst. A `?` takes a whole character.
fn glob(pattern: &[u8], text: &[u8], same: impl Fn(u8, u8) -> bool) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(b'?') => {
                p += 1;
                t += 1;
                while text.get(t).is_some_and(|&byte| byte & 0b1100_0000 == 0b1000_0000) {
                    t += 1;
                }
            }
            Some(&byte) if same(byte, text[t]) => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((star_p, star_t)) => {
                    p = star_p + 1;
                    t = star_t + 1;
                    star = Some((star_p, t));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves H-LA-18.
    #[test]
    fn wildcards() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("*", "", true),
            ("*", "a/b", true),
            ("a*", "a/b/c", true),
            ("a*c", "a/b/c", true),
            ("a*b*c", "axbxxbxc", true),
            ("a*b*c", "axxc", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("a?c", "aéc", true),
            ("a??c", "aéc", false),
            ("a", "A", false),
            ("a", "ab", false),
            ("ab", "a", false),
            ("**a**", "a", true),
            ("arn:*:execute-api:*/GET/*", "arn:aws:execute-api:local:0:abc/dev/GET/pets/5", true),
            ("arn:*:execute-api:*/POST/*", "arn:aws:execute-api:local:0:abc/dev/GET/pets/5", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern:?} {text:?}");
        }
        assert!(matches_ignoring_case("EXECUTE-API:inv*", "execute-api:Invoke"));
    }

    proptest::proptest! {
        /// The same answer as trying every way to split the text.
        #[test]
        fn agrees_with_the_plain_definition(pattern in "[ab*?]{0,8}", text in "[ab]{0,8}") {
            fn plain(pattern: &[u8], text: &[u8]) -> bool {
                match pattern {
                    [] => text.is_empty(),
                    [b'*', rest @ ..] => (0..=text.len()).any(|taken| plain(rest, &text[taken..])),
                    [b'?', rest @ ..] => !text.is_empty() && plain(rest, &text[1..]),
                    [byte, rest @ ..] => text.first() == Some(byte) && plain(rest, &text[1..]),
                }
            }
            proptest::prop_assert_eq!(matches(&pattern, &text), plain(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
