//! Every Rust file of a member belongs to one of its targets: a test file that no `mod` reaches never runs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::shell;

pub(super) fn check(metadata: &Value, files: &[PathBuf]) -> Result<Vec<String>> {
    let members: BTreeSet<&str> =
        metadata["workspace_members"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let packages = metadata["packages"].as_array().expect("cargo metadata lists packages");
    let mut problems = Vec::new();
    for package in packages.iter().filter(|package| members.contains(package["id"].as_str().unwrap_or_default())) {
        let manifest = Path::new(package["manifest_path"].as_str().context("a package without manifest_path")?);
        let folder = manifest.parent().context("a manifest without a folder")?;
        let mut reached = BTreeSet::new();
        for target in package["targets"].as_array().into_iter().flatten() {
            follow(Path::new(target["src_path"].as_str().context("a target without src_path")?), true, &mut reached);
        }
        let sources = files.iter().map(|file| shell::root().join(file));
        let sources = sources
            .filter(|file| file.starts_with(folder) && file.extension().is_some_and(|extension| extension == "rs"));
        problems.extend(sources.filter(|file| !reached.contains(file)).map(|file| {
            let file = file.strip_prefix(shell::root()).unwrap_or(&file).display().to_string();
            format!("{file}: no target and no `mod` reaches it")
        }));
        let text = std::fs::read_to_string(manifest)?;
        if !text.contains("[lints]\nworkspace = true") {
            problems.push(format!("{}: does not inherit the workspace's lints", manifest.display()));
        }
    }
    Ok(problems)
}

fn follow(file: &Path, is_root: bool, reached: &mut BTreeSet<PathBuf>) {
    let Ok(text) = std::fs::read_to_string(file) else { return };
    if !reached.insert(file.to_owned()) {
        return;
    }
    let folder = file.parent().expect("a file lies in a folder");
    let below = if is_root || file.ends_with("mod.rs") { folder.to_owned() } else { file.with_extension("") };
    for module in modules(&text) {
        match module {
            Module::Path(path) => follow(&folder.join(path), true, reached),
            Module::Named(path) => {
                let module = below.join(path);
                follow(&module.with_extension("rs"), false, reached);
                follow(&module.join("mod.rs"), false, reached);
            }
        }
    }
}

#[derive(Debug, PartialEq)]
enum Module<'a> {
    /// By its name, below those of the inline modules around it.
    Named(PathBuf),
    /// By the file that an attribute or `include!` names.
    Path(&'a str),
}

/// `mod name;` declarations, with the `#[path]` before them, and included files. Inline modules end, as rustfmt writes
/// them, with a brace under their first letter.
fn modules(text: &str) -> Vec<Module<'_>> {
    let mut found = Vec::new();
    let mut path = None;
    let mut inline: Vec<(usize, &str)> = Vec::new();
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        let line = line.trim();
        if let Some(rest) = line.strip_prefix("#[path = \"") {
            path = rest.split('"').next();
        } else if let Some(rest) = line.strip_prefix("include!(\"") {
            found.extend(rest.split('"').next().map(Module::Path));
        } else if let Some(name) = declaration(line, ";") {
            let named = || Module::Named(inline.iter().map(|(_, outer)| *outer).chain([name]).collect());
            found.push(path.take().map_or_else(named, Module::Path));
        } else if let Some(name) = declaration(line, " {") {
            inline.push((indent, name));
        } else if line == "}" && inline.last().is_some_and(|(outer, _)| *outer == indent) {
            inline.pop();
        }
    }
    found
}

fn declaration<'a>(line: &'a str, end: &str) -> Option<&'a str> {
    let line = match line.strip_prefix("pub") {
        Some(rest) if rest.starts_with('(') => rest.split_once(')')?.1.trim_start(),
        Some(rest) => rest.trim_start(),
        None => line,
    };
    line.strip_prefix("mod ")?.strip_suffix(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declarations_are_seen_with_visibility_and_path() {
        let text = "mod a;\npub mod b;\npub(crate) mod c;\n#[path = \"odd/d.rs\"]\nmod d;\nmod inline {\n    mod nested;\n}\n// mod not;\nmod e;\n";
        let named = |name: &str| Module::Named(PathBuf::from(name));
        let expected =
            [named("a"), named("b"), named("c"), Module::Path("odd/d.rs"), named("inline/nested"), named("e")];
        assert_eq!(modules(text), expected);
    }
}
