//! What `tollgate check` and `tollgate dev` print for every wrong object of `crds/tests/refusals`, whole, in `refusals.txt`.
//!
//! `UPDATE_GOLDEN=1 cargo test -p tollgate-cli --test refusals` writes it anew; review the difference.

#![expect(clippy::unwrap_used, reason = "a test ends where something unexpected happens")]

#[path = "../../crds/tests/schema/cases.rs"]
#[expect(dead_code, reason = "which words are expected is written down here")]
mod cases;

use std::fs;
use std::path::Path;

use cases::Case;
use serde_json::Value;
use tollgate_cli::load::{Parsed, kinds, parse};
use tollgate_cli::problem::Source;
use tollgate_cli::report;

fn read(case: &Case, object: &Value) -> Parsed {
    let path = format!("{}.yaml", case.name).into();
    parse(Source { path, text: serde_norway::to_string(object).unwrap() })
}

fn printed(case: &Case) -> String {
    let new = read(case, &case.object);
    let problems = match &case.old {
        None => new.problems,
        Some(old) => kinds::update(&new.objects[0], &read(case, old).objects[0]),
    };
    problems.iter().map(|problem| report::human(problem, false) + "\n").collect()
}

#[test]
fn every_refusal_is_printed_as_it_is_written_down() {
    let printed: String = cases::all().iter().map(printed).collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/refusals.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &printed).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap();
    let difference = expected.lines().zip(printed.lines()).find(|(expected, printed)| expected != printed);
    assert!(
        expected == printed,
        "cli/tests/refusals.txt has {:?}, printed is {:?}",
        difference.unzip().0,
        difference.unzip().1
    );
}
