//! `cargo xtask dist`: the programs as they ship.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::shell;

/// Package and program.
const PROGRAMS: &[(&str, &str)] = &[
    ("tollgate-controller", "tollgate-controller"),
    ("tollgate-proxy", "tollgate-proxy"),
    ("tollgate-cli", "tollgate"),
];

/// Builds the release programs and prints their sizes.
pub(crate) fn run() -> Result<()> {
    for program in build()? {
        let bytes = std::fs::metadata(&program).with_context(|| format!("{} was not built", program.display()))?.len();
        println!("{:>7.1} MiB  {}", bytes as f64 / f64::from(1 << 20), program.display());
    }
    Ok(())
}

/// Builds the release programs and returns where they are.
fn build() -> Result<Vec<PathBuf>> {
    let mut args = vec!["build", "--release", "--locked"];
    args.extend(PROGRAMS.iter().flat_map(|(package, _)| ["-p", package]));
    shell::status(&mut shell::cargo(&args))?;
    let folder = folder()?;
    Ok(PROGRAMS.iter().map(|(_, program)| folder.join(program)).collect())
}

/// Where cargo puts release programs.
pub(crate) fn folder() -> Result<PathBuf> {
    Ok(shell::target_dir(&shell::metadata()?).join("release"))
}
