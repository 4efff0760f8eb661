//! Files that are made from other files of the repository. They are committed and must not differ from what we would write.

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

fn files() -> Result<Vec<Generated>> {
    Ok(vec![(conformance::PAGE.to_owned(), conformance::render()?)])
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
