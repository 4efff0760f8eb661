//! The table of reasons in `docs/conditions.md`.

use std::fmt::Write;

use anyhow::Result;
use tollgate_translate::Reason;

use super::marks;

/// The page.
pub(super) const PAGE: &str = "docs/conditions.md";

pub(super) fn render() -> Result<String> {
    marks::fill(PAGE, &table())
}

fn table() -> String {
    let mut out = String::from("| reason | meaning |\n|---|---|\n");
    for reason in Reason::ALL {
        writeln!(out, "| `{reason}` | {} |", reason.meaning()).expect("writing to a string does not fail");
    }
    out
}
