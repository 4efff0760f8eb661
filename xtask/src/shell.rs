//! Running other programs, and where the repository is.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use anyhow::{Context, Result, bail};

/// The checkout that this program was started from: as cargo says when it runs us, for checkouts may share a target folder.
pub(crate) fn root() -> &'static Path {
    static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        Path::new(&manifest).parent().expect("xtask/ lies in the workspace root").to_owned()
    });
    &ROOT
}

/// `program args…`, started in the root of the repository.
pub(crate) fn command(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).current_dir(root()).stdin(Stdio::null());
    command
}

/// The cargo that runs us, so that a `+toolchain` carries over.
pub(crate) fn cargo(args: &[&str]) -> Command {
    command(&std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()), args)
}

/// Runs to the end and returns what it printed; its errors go to ours.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.stderr(Stdio::inherit()).output().with_context(|| format!("starting {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} ended with {}", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("{command:?} printed something that is not UTF-8"))
}

/// Runs to the end and lets it print.
pub(crate) fn status(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("starting {command:?}"))?;
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(())
}

/// True when a program of this name is on the `PATH`.
pub(crate) fn on_path(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

/// Files that git tracks or would track, relative to the root.
pub(crate) fn tracked_files() -> Result<Vec<PathBuf>> {
    let list = output(&mut command("git", &["ls-files", "-z", "--cached", "--others", "--exclude-standard"]))?;
    let mut files: Vec<PathBuf> =
        list.split('\0').filter(|name| !name.is_empty() && root().join(name).is_file()).map(PathBuf::from).collect();
    files.sort();
    files.dedup();
    Ok(files)
}

/// Where cargo puts what it builds.
pub(crate) fn target_dir(metadata: &serde_json::Value) -> PathBuf {
    PathBuf::from(metadata["target_directory"].as_str().expect("cargo metadata names its target_directory"))
}

/// `cargo metadata` of the workspace.
pub(crate) fn metadata() -> Result<serde_json::Value> {
    let json = output(&mut cargo(&["metadata", "--format-version", "1", "--locked"]))?;
    serde_json::from_str(&json).context("reading cargo metadata")
}
