//! `tollgate check`: everything that is wrong with some files, without a cluster and without running anything.

use std::path::PathBuf;

use tollgate_translate::Settings;

use crate::load::tree::{Change, Tree};
use crate::load::{Skipped, files, parse_file};
use crate::problem::Problem;
use crate::report::{self, Counts};
use crate::verdicts::Judge;

/// What a check found.
#[derive(Debug)]
pub struct Outcome {
    /// What was read.
    pub counts: Counts,
    /// In order of file and line.
    pub problems: Vec<Problem>,
    /// How many problems were left out because there are too many.
    pub omitted: usize,
    /// What was passed over.
    pub skipped: Vec<Skipped>,
}

/// Reads and checks every file under `roots`.
pub fn check(roots: &[PathBuf]) -> Outcome {
    let (tree, mut problems) = read(roots);
    problems.extend(tree.problems());
    problems.extend(judge(&tree));
    let counts = Counts { files: tree.paths().count(), objects: tree.objects().count() };
    let (problems, omitted) = report::arrange(problems);
    Outcome { counts, problems, omitted, skipped: tree.skipped().cloned().collect() }
}

/// Reads every file under `roots`, within the bounds of [`files`]; the problems are those with files and directories.
pub fn read(roots: &[PathBuf]) -> (Tree, Vec<Problem>) {
    let files::Found { files, mut problems, .. } = files::find(roots);
    let mut tree = Tree::default();
    let mut bytes = 0;
    let mut parsed = Vec::new();
    for path in files {
        bytes += path.metadata().map_or(0, |metadata| metadata.len());
        if bytes > files::MAX_TOTAL_BYTES {
            let message = format!(
                "more than {} MiB in all; {} and what follows are left out",
                files::MAX_TOTAL_BYTES >> 20,
                path.display()
            );
            problems.push(Problem::new("TooLarge", message).fix("name a smaller directory"));
            break;
        }
        parsed.push((path.clone(), Some(parse_file(&path))));
    }
    tree.update(parsed);
    if tree.paths().next().is_none() && problems.is_empty() {
        let roots: Vec<String> = roots.iter().map(|root| root.display().to_string()).collect();
        let message = format!("no .yaml, .yml or .json file in {}", roots.join(", "));
        problems.push(
            Problem::new("NothingFound", message)
                .fix("check the path; files whose names begin with a dot are passed over"),
        );
    }
    (tree, problems)
}

/// What translation says about the objects.
fn judge(tree: &Tree) -> Vec<Problem> {
    let mut judge = Judge::new(Settings { base_domain: "localhost".into(), https: true });
    let changes: Vec<Change> = tree.objects().cloned().map(Change::Apply).collect();
    judge.apply(&changes, tree);
    judge.translate();
    judge.problems(tree)
}

/// The outcome as it is printed for people.
pub fn human(outcome: &Outcome, colours: bool) -> String {
    let Outcome { counts, problems, omitted, skipped } = outcome;
    let mut text = String::new();
    for problem in problems {
        text += &report::human(problem, colours);
        text.push('\n');
    }
    text + &report::summary(counts, problems.len(), *omitted, skipped)
}

/// The outcome as programs read it, see [`crate::report`].
pub fn json(outcome: &Outcome) -> String {
    let Outcome { counts, problems, omitted, skipped } = outcome;
    report::json(counts, problems, *omitted, skipped) + "\n"
}
