//! The nearest of some known names.

/// The name of `known` that is nearest to `name`, when it is near enough to be what was meant.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_ascii_lowercase();
    let near = known.map(|candidate| {
        let other = candidate.to_ascii_lowercase();
        // A name cut short is as near as one with a wrong letter.
        let shortened = lower.len() >= 4 && (other.starts_with(&lower) || lower.starts_with(&other));
        (if shortened { 1 } else { distance(&lower, &other) }, candidate)
    });
    let (distance, candidate) = near.min_by_key(|(distance, _)| *distance)?;
    (distance <= 2.max(name.len() / 3)).then_some(candidate)
}

/// Levenshtein's distance; names are short.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let cost = usize::from(from != *to);
            let next = (diagonal + cost).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = row[j + 1];
            row[j + 1] = next;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant() {
        let known = || ["routeKey", "apiRef", "authorizerRef", "integration", "integrationRef"].into_iter();
        assert_eq!(nearest("routekey", known()), Some("routeKey"));
        assert_eq!(nearest("route_key", known()), Some("routeKey"));
        assert_eq!(nearest("authoriserRef", known()), Some("authorizerRef"));
        assert_eq!(nearest("Integration", known()), Some("integration"));
        assert_eq!(nearest("authorizer", known()), Some("authorizerRef"));
        assert_eq!(nearest("colour", known()), None);
        assert_eq!(nearest("x", std::iter::empty()), None);
    }
}
