//! Finding `/// Proves …` above test functions.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::list::Id;
use crate::shell;

/// A test that proves a statement.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Claim {
    /// Relative to the root of the repository.
    pub(super) file: String,
    /// The test function.
    pub(super) test: String,
}

/// What the comments above tests say.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub(super) claims: Vec<(Id, Claim)>,
    /// Claims that do not stand above a test, or cannot be read.
    pub(super) problems: Vec<String>,
}

/// All claims in Rust files.
pub(super) fn scan(files: &[PathBuf]) -> Result<Scan> {
    let mut scan = Scan::default();
    // The examples in this program's own tests are no claims.
    let rust = files
        .iter()
        .filter(|file| file.extension().is_some_and(|extension| extension == "rs") && !file.starts_with("xtask"));
    for file in rust {
        let name = file.display().to_string();
        let text = std::fs::read_to_string(shell::root().join(file)).with_context(|| format!("reading {name}"))?;
        scan.read(&name, &text);
    }
    Ok(scan)
}

impl Scan {
    fn read(&mut self, file: &str, text: &str) {
        let mut lines = text.lines().map(str::trim).enumerate();
        while let Some((index, line)) = lines.next() {
            let Some(comment) = line.strip_prefix("/// ") else { continue };
            if let Some(promise) = promise(comment) {
                // The comment may as well explain something that is no test.
                if let Some(test) = test_function(&mut lines.clone(), runs_its_own_tests(file)) {
                    self.claims.push((promise, Claim { file: file.to_owned(), test }));
                }
            }
            let Some(rest) = comment.strip_prefix("Proves ") else { continue };
            if let Err(problem) = self.claim(file, rest, &mut lines) {
                self.problems.push(format!("{file}:{}: {problem}", index + 1));
            }
        }
    }

    fn claim<'a>(&mut self, file: &str, first: &str, lines: &mut impl Iterator<Item = (usize, &'a str)>) -> Result<()> {
        let mut sentence = first.to_owned();
        while !sentence.ends_with('.') {
            let more = lines.next().and_then(|(_, line)| line.strip_prefix("///"));
            sentence.push_str(more.context("a `Proves` line lists ids and ends with a full stop")?);
        }
        let ids = sentence.trim_end_matches('.').split(',').map(str::trim);
        let ids: Vec<Id> = ids
            .map(|word| Id::parse(word).with_context(|| format!("{word:?} is no statement id")))
            .collect::<Result<_>>()?;
        let test = test_function(lines, runs_its_own_tests(file))
            .context("`Proves` stands only directly above the attributes of a test function")?;
        self.claims.extend(ids.into_iter().map(|id| (id, Claim { file: file.to_owned(), test: test.clone() })));
        Ok(())
    }
}

/// `(promise P4)` in a comment: one of the promises of `ARCHITECTURE.md`.
fn promise(comment: &str) -> Option<Id> {
    let (_, rest) = comment.split_once("(promise P")?;
    Id::parse(&format!("P{}", rest.split_once(')')?.0))
}

/// Tests there have a runner of their own and so no attribute; one that is not handed to it is dead code to rustc.
fn runs_its_own_tests(file: &str) -> bool {
    file.starts_with("e2e/tests/")
}

/// Reads on to the function that the comment belongs to; its name when an attribute makes it a test.
fn test_function<'a>(lines: &mut impl Iterator<Item = (usize, &'a str)>, own_runner: bool) -> Option<String> {
    let mut is_test = own_runner;
    let mut in_attribute = false;
    for (_, line) in lines {
        if in_attribute {
            in_attribute = !line.ends_with(']');
        } else if let Some(attribute) = line.strip_prefix("#[") {
            let path = attribute.split(['(', ']', ' ']).next().unwrap_or_default();
            is_test |= path.rsplit("::").next() == Some("test");
            in_attribute = !line.ends_with(']');
        } else if !line.starts_with("//") {
            let (_, after) = line.split_once("fn ")?;
            let name = after.split(|c: char| !(c.is_alphanumeric() || c == '_')).next()?;
            return is_test.then(|| name.to_owned());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> (Vec<String>, usize) {
        let mut scan = Scan::default();
        scan.read("a.rs", text);
        (scan.claims.iter().map(|(id, claim)| format!("{id} {}", claim.test)).collect(), scan.problems.len())
    }

    #[test]
    fn claims_above_tests_count() {
        let text = "/// Proves H-A-1,\n/// C60.\n#[tokio::test(\n    start_paused = true\n)]\nasync fn one() {}\n/// Proves H-A-2.\n/// More words.\n#[test]\nfn two() {}\n";
        assert_eq!(found(text), (vec!["H-A-1 one".to_owned(), "C60 one".to_owned(), "H-A-2 two".to_owned()], 0));
    }

    #[test]
    fn promises_count_above_tests_and_are_ignored_elsewhere() {
        let text = "/// Closed, not open (promise P3).\n#[test]\nfn one() {}\n/// See (promise P4).\nfn helper() {}\n";
        assert_eq!(found(text), (vec!["P3 one".to_owned()], 0));
    }

    #[test]
    fn claims_elsewhere_are_problems() {
        for text in [
            "/// Proves H-A-1.\nfn helper() {}\n",
            "/// Proves H-A-1\n#[test]\nfn t() {}\n",
            "/// Proves H-A-1.\n",
            "/// Proves 6.\n#[test]\nfn t() {}\n",
        ] {
            assert_eq!(found(text), (Vec::new(), 1), "{text}");
        }
    }
}
