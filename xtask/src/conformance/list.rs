//! The lists of statements, and reading them out of the specification and our documents.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Identifies a statement (`H-CORS-6`) or a case (`C60`, `C-001`, `VC-18a`, `W-T3`). Orders by group, then by number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id {
    group: String,
    number: u32,
    suffix: String,
}

impl Id {
    /// None when the text has not the form of an identifier.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let letters = text.trim_end_matches(|c: char| c.is_ascii_lowercase());
        let suffix = &text[letters.len()..];
        let group = letters.trim_end_matches(|c: char| c.is_ascii_digit());
        let number = letters[group.len()..].parse().ok()?;
        let fits = group.starts_with(|c: char| c.is_ascii_uppercase())
            && group.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '-')
            && suffix.len() <= 1;
        fits.then(|| Self { group: group.to_owned(), number, suffix: suffix.to_owned() })
    }

    /// `P1` to `P10`, which are ours and not the specification's.
    pub(super) fn is_promise(&self) -> bool {
        self.group == "P" && (1..=10).contains(&self.number) && self.suffix.is_empty()
    }

    pub(super) fn number(&self) -> u32 {
        self.number
    }

    /// The part before the number: `H-CORS-`, `C`.
    pub(super) fn group(&self) -> &str {
        &self.group
    }

    /// The part after the group.
    pub(super) fn short(&self) -> String {
        let text = self.to_string();
        text[self.group.len()..].to_owned()
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Two families are written with leading zeros.
        match self.group.as_str() {
            "C-" => write!(f, "C-{:03}{}", self.number, self.suffix),
            "VC-" => write!(f, "VC-{:02}{}", self.number, self.suffix),
            group => write!(f, "{group}{}{}", self.number, self.suffix),
        }
    }
}

/// One file of the specification.
#[derive(Debug)]
pub(super) struct Spec {
    /// `http-api`, as in `docs/spec/http-api.txt`.
    pub(super) file: String,
    /// `HTTP APIs`.
    pub(super) title: String,
    pub(super) groups: Vec<Group>,
}

/// Statements about one subject.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) title: String,
    pub(super) ids: Vec<Id>,
}

impl Group {
    /// Cases are requests with the expected answer; the rest are rules.
    pub(super) fn is_cases(&self) -> bool {
        self.title == "Cases"
    }
}

impl Spec {
    pub(super) fn contains(&self, id: &Id) -> bool {
        self.ids().any(|known| known == id)
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = &Id> {
        self.groups.iter().flat_map(|group| &group.ids)
    }

    fn parse(file: &str, text: &str) -> Result<Self> {
        let mut spec = Self { file: file.to_owned(), title: String::new(), groups: Vec::new() };
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(title) = line.strip_prefix("# ") {
                title.clone_into(&mut spec.title);
            } else if let Some(title) = line.strip_prefix("## ") {
                spec.groups.push(Group { title: title.to_owned(), ids: Vec::new() });
            } else {
                let id =
                    Id::parse(line).with_context(|| format!("docs/spec/{file}.txt: {line:?} is no statement id"))?;
                spec.groups
                    .last_mut()
                    .with_context(|| format!("docs/spec/{file}.txt: {id} stands before the first group"))?
                    .ids
                    .push(id);
            }
        }
        Ok(spec)
    }
}

/// The files of the specification, in the order in which they are presented.
const FILES: &[&str] = &["http-api", "rest-api", "websocket-api", "vtl", "management-api"];

pub(super) fn read(folder: &Path) -> Result<Vec<Spec>> {
    FILES
        .iter()
        .map(|file| {
            let path = folder.join(format!("{file}.txt"));
            let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
            Spec::parse(file, &text)
        })
        .collect()
}

/// Where the specification itself is at hand, our lists must agree with it; a clone has only the lists.
pub(super) fn compare_with_source(specs: &[Spec], folder: &Path) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for spec in specs {
        let Ok(text) = std::fs::read_to_string(folder.join(format!("{}.md", spec.file))) else { continue };
        let source = statements(&text, family(spec)?);
        let listed: BTreeSet<Id> = spec.ids().cloned().collect();
        problems.extend(source.difference(&listed).map(|id| format!("docs/spec/{}.txt misses {id}", spec.file)));
        problems.extend(
            listed
                .difference(&source)
                .map(|id| format!("docs/spec/{}.txt lists {id}, which the specification has not", spec.file)),
        );
    }
    Ok(problems)
}

/// The first letter of a file's rules: `H-`, `R-`.
fn family(spec: &Spec) -> Result<&str> {
    let rules = spec.groups.iter().find(|group| !group.is_cases()).and_then(|group| group.ids.first());
    match rules {
        Some(id) => Ok(&id.group()[..2]),
        None => bail!("docs/spec/{}.txt lists no rules", spec.file),
    }
}

/// Every rule a text names, and the cases it defines at the start of a line.
fn statements(text: &str, family: &str) -> BTreeSet<Id> {
    let mut found = BTreeSet::new();
    for line in text.lines() {
        let words = line.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
        found.extend(words.filter(|word| word.starts_with(family)).filter_map(Id::parse));
        let defined =
            line.strip_prefix("- ").or_else(|| line.strip_prefix("| ")).and_then(|rest| rest.split(' ').next());
        found.extend(defined.and_then(Id::parse).filter(|id| matches!(id.group(), "C" | "C-" | "VC-" | "M-T" | "W-T")));
    }
    found
}

/// `docs/differences.md`: the ids of each section's `Statements:` line, with the section's title.
pub(super) fn differences(text: &str) -> BTreeMap<Id, String> {
    let mut title = "";
    let mut found = BTreeMap::new();
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            title = heading;
        } else if let Some(ids) = line.strip_prefix("Statements: ") {
            let ids = ids.trim_end_matches('.').split(", ");
            found.extend(ids.filter_map(Id::parse).map(|id| (id, title.to_owned())));
        }
    }
    found
}

/// Lines `ID[, ID…]: reason`; `#` starts a comment.
pub(super) fn reasons(text: &str) -> Result<BTreeMap<Id, String>> {
    let mut found = BTreeMap::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (ids, reason) = line.split_once(": ").with_context(|| format!("{line:?} is not `ID, ID: reason`"))?;
        for id in ids.split(", ") {
            let id = Id::parse(id).with_context(|| format!("{id:?} is no statement id"))?;
            found.insert(id, reason.to_owned());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(list: &[&str]) -> BTreeSet<Id> {
        list.iter().map(|id| Id::parse(id).expect(id)).collect()
    }

    #[test]
    fn identifiers_of_every_family_are_read_and_written_alike() {
        for id in ["H-CORS-6", "H-EV2-11", "C60", "C-001", "VC-01", "VC-18a", "V-LEX-4a", "M-T60", "W-T3"] {
            assert_eq!(Id::parse(id).expect(id).to_string(), id);
        }
        for text in ["", "H-CORS-", "60", "h-cors-6", "H-CORS-6.", "CORS", "C6ab"] {
            assert_eq!(Id::parse(text), None, "{text}");
        }
    }

    #[test]
    fn rules_are_found_wherever_named_and_cases_where_defined() {
        let text = "- **H-A-1** as in H-B-2.\n| C7 | x | H-A-1, 2 |\nsee C8 and R-A-1\n- VC-18a x\n";
        assert_eq!(statements(text, "H-"), ids(&["H-A-1", "H-B-2", "C7", "VC-18a"]));
    }

    #[test]
    fn differences_carry_their_title_and_exclusions_their_reason() {
        let found = differences("## Bodies stream\ntext\n\nStatements: H-ERR-9, H-HTTP-8.\n");
        assert_eq!(found.keys().cloned().collect::<BTreeSet<_>>(), ids(&["H-ERR-9", "H-HTTP-8"]));
        assert!(found.values().all(|title| title == "Bodies stream"));
        let found = reasons("# why\nH-A-1, H-A-2: there is no such thing here\n").unwrap();
        assert_eq!(found.len(), 2);
        assert!(reasons("H-A-1 no colon\n").is_err());
    }
}
