//! Files that are made from other files of the repository. They are committed and must not differ from what we would write.

mod chart;
mod conditions;
mod marks;
mod promises;
mod resources;

use anyhow::{Result, bail};
use clap::Args;

use crate::{conformance, shell};

/// How to generate.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Writes nothing and fails when a file is not what would be written
    #[arg(long)]
    pub(crate) check: bool,
}

/// A generated file: its path from the root and its content.
type Generated = (String, String);

/// Where the chart keeps the definitions.
const CRDS: &str = "charts/tollgate/files/crds";

fn files() -> Result<Vec<Generated>> {
    let mut files: Vec<Generated> =
        tollgate_crds::yaml().into_iter().map(|(name, yaml)| (format!("{CRDS}/{name}"), yaml)).collect();
    files.push((resources::PAGE.to_owned(), resources::render()));
    files.push((conditions::PAGE.to_owned(), conditions::render()?));
    files.push((chart::PAGE.to_owned(), chart::render()?));
    files.push((promises::PAGE.to_owned(), promises::render()?));
    files.push((conformance::PAGE.to_owned(), conformance::render()?));
    Ok(files)
}

/// Writes every generated file, or compares it.
pub(crate) fn run(options: &Options) -> Result<()> {
    let Options { check } = options;
    let mut stale = Vec::new();
    for (path, content) in files()? {
        let file = shell::root().join(&path);
        if std::fs::read_to_string(&file).is_ok_and(|present| present == content) {
            continue;
        }
        if *check {
            stale.push(path);
        } else {
            std::fs::create_dir_all(file.parent().expect("generated files lie below the root"))?;
            std::fs::write(&file, content)?;
            println!("wrote {path}");
        }
    }
    if !stale.is_empty() {
        bail!("not as generated: {}; run `cargo xtask generate` and commit", stale.join(", "));
    }
    Ok(())
}
