//! Files that are made from other files of the repository. They are committed and must not differ from what we would write.

mod chart;
mod conditions;
mod marks;
mod promises;
mod resources;

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Deserialize;
use serde_json::Value;

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

/// What pages are made of, from `translate/examples/definitions.rs`.
#[derive(Debug, Deserialize)]
struct Source {
    /// The definitions of all kinds as files, by name.
    files: BTreeMap<String, String>,
    /// The same as data.
    definitions: Vec<Value>,
    /// Reasons of conditions and what they mean.
    reasons: Vec<[String; 2]>,
}

impl Source {
    fn read() -> Result<Self> {
        // Of no package in particular: what is asked of all of them is built with the features that tests are built with.
        let json = shell::output(&mut shell::cargo(&["run", "--quiet", "--locked", "--example", "definitions"]))?;
        serde_json::from_str(&json).context("reading what the example `definitions` printed")
    }
}

fn files() -> Result<Vec<Generated>> {
    let Source { files, definitions, reasons } = Source::read()?;
    let mut files: Vec<Generated> = files.into_iter().map(|(name, yaml)| (format!("{CRDS}/{name}"), yaml)).collect();
    files.push((resources::PAGE.to_owned(), resources::render(&definitions)));
    files.push((conditions::PAGE.to_owned(), conditions::render(&reasons)?));
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
