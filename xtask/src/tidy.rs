//! `cargo xtask tidy`: rules that neither compiler nor clippy knows. Each check returns every problem it finds.

mod edges;
mod licences;
mod reach;
mod text;

use anyhow::{Result, bail};

use crate::shell;

/// Runs all checks and fails when one of them found something.
pub(crate) fn run() -> Result<()> {
    let metadata = shell::metadata()?;
    let files = shell::tracked_files()?;
    let mut problems = edges::check()?;
    problems.extend(licences::check(&metadata));
    problems.extend(reach::check(&metadata, &files)?);
    problems.extend(text::check(&files)?);
    for problem in &problems {
        eprintln!("tidy: {problem}");
    }
    if !problems.is_empty() {
        bail!("{} problems", problems.len());
    }
    println!("tidy: edges, licences, reached files and texts are in order");
    Ok(())
}
