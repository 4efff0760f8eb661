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
    problems.extend(fuzz_lock()?);
    for problem in &problems {
        eprintln!("tidy: {problem}");
    }
    if !problems.is_empty() {
        bail!("{} problems", problems.len());
    }
    println!("tidy: edges, licences, reached files, texts and the lock of the fuzz targets are in order");
    Ok(())
}

/// The fuzz targets are a workspace of their own, whose lock file has to follow the dependencies of ours.
fn fuzz_lock() -> Result<Option<String>> {
    let args = ["metadata", "--format-version", "1", "--locked", "--manifest-path", "fuzz/Cargo.toml"];
    let locked = shell::cargo(&args).output()?;
    let problem = || {
        let said = String::from_utf8_lossy(&locked.stderr).trim().to_owned();
        format!("fuzz/Cargo.lock is not what its manifest wants; run `cargo update --workspace` in fuzz/: {said}")
    };
    Ok((!locked.status.success()).then(problem))
}
