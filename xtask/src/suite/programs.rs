//! The workspace's test programs, built in one go and run here, as many at once as there are cores: many of their tests wait
//! more than they compute.
//!
//! One selection of packages is one set of features. `cargo test -p` of a part asks for fewer features of the crates they
//! share, and would build these and all that depends on them once more.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::tally::{self, Tally};
use crate::shell;

/// A built test program.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Program {
    /// The folder of its package, where it expects to be started.
    folder: PathBuf,
    /// Of the target: `process` of `e2e/tests/process.rs`.
    name: String,
    /// `lib`, `bin` or `test`.
    kind: String,
    path: PathBuf,
}

impl Program {
    /// One of `e2e/tests/`, which need more than a compiler.
    pub(super) fn is_a_level(&self) -> bool {
        self.kind == "test" && self.folder == shell::root().join("e2e")
    }

    /// What starts it.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.current_dir(&self.folder).env("CARGO_MANIFEST_DIR", &self.folder).stdin(Stdio::null());
        command
    }

    /// As people know it: `proxy, tests/cors.rs`.
    fn title(&self) -> String {
        let Self { folder, name, kind, .. } = self;
        let folder = folder.strip_prefix(shell::root()).unwrap_or(folder).display();
        if kind == "test" { format!("{folder}, tests/{name}.rs") } else { format!("{folder}, its {kind}") }
    }
}

/// Builds the test programs of all members.
pub(super) fn build() -> Result<Vec<Program>> {
    built(&[])
}

/// Builds the test program of one level.
pub(super) fn build_level(name: &str) -> Result<Program> {
    let programs = built(&["--test", name])?;
    programs.into_iter().find(Program::is_a_level).with_context(|| format!("e2e has no test program {name}"))
}

fn built(only: &[&str]) -> Result<Vec<Program>> {
    let mut args = vec!["test", "--locked", "--workspace", "--no-run", "--message-format", "json-render-diagnostics"];
    args.extend(only);
    let messages = shell::output(&mut shell::cargo(&args))?;
    let messages: Vec<Value> = messages.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    Ok(messages.iter().filter_map(program_of).collect())
}

/// The program that a message of cargo tells of.
fn program_of(message: &Value) -> Option<Program> {
    let is_test = message["reason"] == "compiler-artifact" && message["profile"]["test"] == true;
    let path = message["executable"].as_str().filter(|_| is_test)?.into();
    let folder = Path::new(message["manifest_path"].as_str()?).parent()?.to_owned();
    let target = &message["target"];
    let (name, kind) = (target["name"].as_str()?.to_owned(), target["kind"][0].as_str()?.to_owned());
    Some(Program { folder, name, kind, path })
}

/// Runs the programs and prints what each said once it has ended.
pub(super) fn run(programs: &[Program]) -> Tally {
    tally::of_each(programs, |program| match run_one(program) {
        Ok((said, tally)) => {
            println!("\n--- {}{said}", program.title());
            tally
        }
        Err(error) => {
            eprintln!("\n--- {}: {error:#}", program.title());
            Tally::failure()
        }
    })
}

/// What a program printed, and its tests.
fn run_one(program: &Program) -> Result<(String, Tally)> {
    let output = program.command().output().with_context(|| format!("starting {}", program.path.display()))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    let tally = tally::of(&said);
    if !output.status.success() && tally.failed == 0 {
        bail!("{}\n{said}{complaints}", output.status);
    }
    Ok((format!("{said}{complaints}"), tally))
}

/// What runs the examples in doc comments, where there are any: for each crate without one rustdoc takes seconds to say so.
pub(super) fn doc_tests() -> Result<Option<Command>> {
    for file in shell::tracked_files()?.iter().filter(|file| file.extension().is_some_and(|ending| ending == "rs")) {
        if has_doc_test(&std::fs::read_to_string(shell::root().join(file))?) {
            return Ok(Some(shell::cargo(&["test", "--locked", "--workspace", "--doc", "--no-fail-fast"])));
        }
    }
    Ok(None)
}

/// Whether rustdoc may find one: in doc comments, fences and what is indented by four are code.
fn has_doc_test(source: &str) -> bool {
    source.lines().map(str::trim_start).any(|line| {
        let doc = line.strip_prefix("///").or_else(|| line.strip_prefix("//!")).unwrap_or_default();
        let fenced = ["```", "~~~"].iter().any(|fence| doc.trim_start().starts_with(fence));
        fenced || doc.starts_with("     ") || line.starts_with("#[doc =") || line.starts_with("#![doc =")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_test_programs_are_taken_from_cargos_messages() {
        let artifact = |test: bool, executable: Value| {
            serde_json::json!({
                "reason": "compiler-artifact", "manifest_path": "/w/proxy/Cargo.toml", "profile": {"test": test},
                "target": {"name": "cors", "kind": ["test"]}, "executable": executable,
            })
        };
        let program = program_of(&artifact(true, "/t/cors-1".into())).unwrap();
        assert_eq!((program.folder.as_path(), program.name.as_str()), (Path::new("/w/proxy"), "cors"));
        assert_eq!(program_of(&artifact(false, "/t/tollgate".into())), None);
        assert_eq!(program_of(&artifact(true, Value::Null)), None);
        assert_eq!(program_of(&serde_json::json!({"reason": "build-finished", "success": true})), None);
    }

    #[test]
    fn examples_in_doc_comments_are_seen() {
        assert!(has_doc_test("    /// Adds.\n    ///\n    /// ```\n    /// add(1);\n    /// ```\n"));
        assert!(has_doc_test("//! Adds.\n//!\n//!     add(1);\n"));
        assert!(has_doc_test("#![doc = include_str!(\"../README.md\")]\n"));
        assert!(!has_doc_test("/// Adds.\n// ```\nlet fence = \"```\";\n"));
    }
}
