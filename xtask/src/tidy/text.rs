//! Rules for the text of tracked files: size, and nothing of one developer's machine.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::shell;

/// Beyond this a file hides a missing module.
const MOST_LINES: usize = 1000;
/// Absolute folders of build machines; in pieces, so that this file does not contain them.
const MACHINE_PATHS: &[&str] = &[concat!("/wo", "rk/"), concat!("/ro", "ot/")];

pub(super) fn check(files: &[PathBuf]) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for file in files {
        let Ok(text) = std::fs::read_to_string(shell::root().join(file)) else { continue };
        problems.extend(problems_of(file, &text));
    }
    Ok(problems)
}

fn problems_of(file: &Path, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let lines = text.lines().count();
    if file.extension().is_some_and(|extension| extension == "rs") && lines > MOST_LINES {
        problems.push(format!("{}: {lines} lines, at most {MOST_LINES}; which module is missing?", file.display()));
    }
    for (index, line) in text.lines().enumerate() {
        if let Some(path) = MACHINE_PATHS.iter().find(|path| line.contains(**path)) {
            problems.push(format!("{}:{}: {path} is a folder of one machine", file.display(), index + 1));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_sources_and_machine_paths_are_found() {
        let long = "x\n".repeat(MOST_LINES + 1);
        assert_eq!(problems_of(Path::new("a.rs"), &long).len(), 1);
        assert_eq!(problems_of(Path::new("a.md"), &long).len(), 0);
        let path = format!("fine\nsee {}main\n", MACHINE_PATHS[0]);
        assert!(problems_of(Path::new("a.md"), &path)[0].starts_with("a.md:2:"));
    }
}
