//! Names of objects, made of what documents call things.

use std::collections::BTreeSet;

/// Kubernetes allows 253; what people read should be shorter.
const LONGEST: usize = 120;

/// Letters, digits and dashes: a name of an object. Empty when nothing of the text is left.
pub(crate) fn slug(text: &str) -> String {
    let mut slug = String::new();
    for c in text.chars() {
        if c.is_ascii_alphanumeric() {
            slug.push(c.to_ascii_lowercase());
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
        if slug.len() >= LONGEST {
            break;
        }
    }
    slug.truncate(slug.trim_end_matches('-').len());
    slug
}

/// The name of a Service for a function: it starts with a letter, and has 63 characters at most.
pub(crate) fn service(function: &str) -> String {
    let mut name = slug(function);
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        name.insert_str(0, "fn-");
    }
    name.truncate(63);
    name.truncate(name.trim_end_matches('-').len());
    name
}

/// Names that are taken, for the objects of one kind of one API.
#[derive(Debug)]
pub(crate) struct Names<'a> {
    api: &'a str,
    taken: BTreeSet<String>,
}

impl<'a> Names<'a> {
    pub(crate) fn of(api: &'a str) -> Self {
        Self { api, taken: BTreeSet::new() }
    }

    /// A free name for `text` that starts with the name of the API, so that two documents can share a namespace.
    pub(crate) fn free(&mut self, text: &str) -> String {
        let slug = slug(text);
        let own = slug.strip_prefix(self.api).is_some_and(|rest| rest.starts_with('-'));
        let wanted = match slug.as_str() {
            _ if own => slug,
            "" => self.api.to_owned(),
            _ => format!("{}-{slug}", self.api),
        };
        let mut name = wanted.clone();
        let mut count = 1_u32;
        while !self.taken.insert(name.clone()) {
            count += 1;
            name = format!("{wanted}-{count}");
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_legal_and_of_their_api() {
        let mut names = Names::of("shop");
        let table = [
            ("GET /pets/{petId}", "shop-get-pets-petid"),
            ("get /pets-{petid}", "shop-get-pets-petid-2"),
            ("shop-jwt", "shop-jwt"),
            ("Shop", "shop-shop"),
            ("Ünï/__", "shop-n"),
            ("$", "shop"),
        ];
        for (text, expected) in table {
            assert_eq!(names.free(text), expected);
        }
        assert_eq!(service("1_Function"), "fn-1-function");
        assert_eq!(service(&"x-".repeat(40)).len(), 63);
    }
}
