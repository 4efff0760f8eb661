//! The table of reasons in `docs/conditions.md`.

use std::fmt::Write;

use anyhow::Result;

use super::marks;

/// The page.
pub(super) const PAGE: &str = "docs/conditions.md";

pub(super) fn render(reasons: &[[String; 2]]) -> Result<String> {
    marks::fill(PAGE, &table(reasons))
}

fn table(reasons: &[[String; 2]]) -> String {
    let mut out = String::from("| reason | meaning |\n|---|---|\n");
    for [reason, meaning] in reasons {
        writeln!(out, "| `{reason}` | {meaning} |").expect("writing to a string does not fail");
    }
    out
}
