//! `docs/conformance.md`: which statement of the specification which test proves.
//!
//! The statements are listed in `docs/spec/*.txt`. A test claims some of them by a doc comment line
//! `/// Proves H-CORS-6, C60.` Where we leave AWS on purpose `docs/differences.md` says so with a `Statements:` line,
//! and what cannot exist here is in `docs/spec/not-applicable.txt` with its reason.

mod claims;
mod list;
mod page;

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};

use crate::shell;
use claims::Claim;
use list::{Id, Spec};

/// The generated page.
pub(crate) const PAGE: &str = "docs/conformance.md";
const DIFFERENCES: &str = "docs/differences.md";
const NOT_APPLICABLE: &str = "docs/spec/not-applicable.txt";

/// Everything the page is made from.
struct Evidence {
    specs: Vec<Spec>,
    proofs: BTreeMap<Id, Vec<Claim>>,
    /// By statement: title of the section in `docs/differences.md`.
    differences: BTreeMap<Id, String>,
    /// By statement: the reason.
    not_applicable: BTreeMap<Id, String>,
}

/// What is known of one statement.
enum Standing<'a> {
    Proved(&'a [Claim]),
    Differs(&'a str, &'a [Claim]),
    NotApplicable(&'a str),
    NotYet,
}

impl Evidence {
    fn standing(&self, id: &Id) -> Standing<'_> {
        let proofs = self.proofs.get(id).map_or(&[][..], Vec::as_slice);
        if let Some(title) = self.differences.get(id) {
            Standing::Differs(title, proofs)
        } else if let Some(reason) = self.not_applicable.get(id) {
            Standing::NotApplicable(reason)
        } else if proofs.is_empty() {
            Standing::NotYet
        } else {
            Standing::Proved(proofs)
        }
    }
}

/// The text of `docs/conformance.md`.
pub(crate) fn render() -> Result<String> {
    Ok(page::render(&collect()?))
}

/// The cell that tells which tests show a promise of `ARCHITECTURE.md`, by its number.
pub(crate) fn promises() -> Result<BTreeMap<u32, String>> {
    let proofs = collect()?.proofs;
    let promises = proofs.iter().filter(|(id, _)| id.is_promise());
    Ok(promises.map(|(id, claims)| (id.number(), page::tests(claims, ""))).collect())
}

/// Prints the table at the head of the page.
pub(crate) fn print_summary() -> Result<()> {
    print!("{}", page::summary(&collect()?));
    Ok(())
}

fn collect() -> Result<Evidence> {
    let specs = list::read(&shell::root().join("docs/spec"))?;
    let mut problems = list::compare_with_source(&specs, &shell::root().join("../shared/spec"))?;
    let claims::Scan { claims, problems: misplaced } = claims::scan(&shell::tracked_files()?)?;
    problems.extend(misplaced);

    let read =
        |name: &str| std::fs::read_to_string(shell::root().join(name)).with_context(|| format!("reading {name}"));
    let differences = list::differences(&read(DIFFERENCES)?);
    let not_applicable = list::reasons(&read(NOT_APPLICABLE)?)?;

    let mut proofs: BTreeMap<Id, Vec<Claim>> = BTreeMap::new();
    for (id, claim) in claims {
        proofs.entry(id).or_default().push(claim);
    }
    let known = |id: &Id| id.is_promise() || specs.iter().any(|spec| spec.contains(id));
    let claimed = proofs.iter().map(|(id, claims)| (id, format!("{}: {}", claims[0].file, claims[0].test)));
    let differing = differences.keys().map(|id| (id, DIFFERENCES.to_owned()));
    let excluded = not_applicable.keys().map(|id| (id, NOT_APPLICABLE.to_owned()));
    for (id, place) in claimed.chain(differing).chain(excluded) {
        if !known(id) {
            problems.push(format!("{place} names {id}, which docs/spec does not list"));
        }
    }
    for problem in &problems {
        eprintln!("conformance: {problem}");
    }
    if !problems.is_empty() {
        bail!("{} problems in what tests and documents say about the specification", problems.len());
    }
    Ok(Evidence { specs, proofs, differences, not_applicable })
}
