//! Where the programs are: Kubernetes' own, built once by `cluster/build`, and ours.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("e2e/ lies in the repository")
}

/// One of our programs: `tollgate-controller`, `tollgate-proxy` or `tollgate`.
///
/// From the folder that `TOLLGATE_PROGRAMS` names; without it the release programs, which are built first.
pub fn ours(name: &str) -> Result<PathBuf> {
    let folder = match std::env::var_os("TOLLGATE_PROGRAMS") {
        Some(folder) => PathBuf::from(folder),
        None => release_programs()?.to_owned(),
    };
    let path = folder.join(name);
    if !path.is_file() {
        bail!("{} is not there", path.display());
    }
    Ok(path)
}

fn release_programs() -> Result<&'static Path> {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    if let Some(built) = BUILT.get() {
        return Ok(built);
    }
    let status = Command::new("cargo")
        .current_dir(root())
        .args([
            "build",
            "--release",
            "--locked",
            "-p",
            "tollgate-controller",
            "-p",
            "tollgate-proxy",
            "-p",
            "tollgate-cli",
        ])
        .status()
        .context("starting cargo")?;
    if !status.success() {
        bail!("building the release programs failed with {status}");
    }
    // {target}/debug/deps/{test}
    let test = std::env::current_exe()?;
    let target = test.ancestors().nth(3).context("the test program lies in no target folder")?;
    Ok(BUILT.get_or_init(|| target.join("release")))
}

/// A command that runs one of the cluster's programs: `etcd`, a Kubernetes component, `kubectl` or `helm`.
///
/// `etcd`, `kube-apiserver` and `kubectl` come from `KUBEBUILDER_ASSETS` when that is set and holds them.
pub fn cluster(name: &str) -> Result<Command> {
    if let Some(assets) = std::env::var_os("KUBEBUILDER_ASSETS") {
        let path = Path::new(&assets).join(name);
        if path.is_file() {
            return Ok(Command::new(path));
        }
    }
    if name == "helm" {
        return Ok(Command::new(built("helm")?));
    }
    let mut command = Command::new(built("kubebox")?);
    command.arg(name);
    Ok(command)
}

/// `valkey-server` or `valkey-cli`, fetched when it is missing.
pub fn valkey(name: &str) -> Result<PathBuf> {
    Ok(folder_of("e2e/valkey/fetch", &[])?.join(name))
}

/// Builds all of the cluster's programs that are missing.
pub fn build_cluster() -> Result<PathBuf> {
    build(&[])
}

/// A program of `cluster/build`, built when it is missing.
fn built(name: &str) -> Result<PathBuf> {
    Ok(build(&[name])?.join(name))
}

fn build(names: &[&str]) -> Result<PathBuf> {
    folder_of("e2e/cluster/build", names)
}

/// What a script prints, which makes programs and says where they lie.
fn folder_of(script: &str, args: &[&str]) -> Result<PathBuf> {
    let output = Command::new(root().join(script))
        .args(args)
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("starting {script}"))?;
    if !output.status.success() {
        bail!("{script} failed with {}", output.status);
    }
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim()))
}
