//! `tollgate check` and `tollgate crds` as programs: what they print and how they exit.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const GOOD: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";
const BAD: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\ndatta: {}\n";

fn tollgate(arguments: &[&str], directory: &Path) -> Output {
    let program = env!("CARGO_BIN_EXE_tollgate");
    Command::new(program).args(arguments).current_dir(directory).output().expect("the program starts")
}

fn write(directory: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        let path = directory.join(name);
        fs::create_dir_all(path.parent().expect("a directory")).expect("a directory is made");
        fs::write(path, text).expect("a file is written");
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

#[test]
fn exit_codes_tell_good_bad_and_misuse() {
    let directory = tempfile::tempdir().expect("a directory");
    write(directory.path(), &[("good/a.yaml", GOOD), ("bad/b.yaml", BAD), ("empty/readme.md", "")]);
    let code = |arguments: &[&str]| tollgate(arguments, directory.path()).status.code();
    assert_eq!(code(&["check", "good"]), Some(0));
    assert_eq!(code(&["check", "bad"]), Some(1));
    assert_eq!(code(&["check", "empty"]), Some(1));
    assert_eq!(code(&["check", "missing"]), Some(1));
    assert_eq!(code(&["check"]), Some(64));
    assert_eq!(code(&["chekc"]), Some(64));
    assert_eq!(code(&["--version"]), Some(0));
}

#[test]
fn everything_is_found_once_and_hidden_files_are_passed_over() {
    let directory = tempfile::tempdir().expect("a directory");
    write(
        directory.path(),
        &[("a.yml", GOOD), ("deep/er/b.json", &BAD.replace("datta", "data")), (".hidden/c.yaml", BAD), ("x.txt", BAD)],
    );
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("..", directory.path().join("deep/loop")).expect("a link");
        std::os::unix::fs::symlink("a.yml", directory.path().join("again.yaml")).expect("a link");
    }
    let output = tollgate(&["check", "."], directory.path());
    assert_eq!(stdout(&output), "2 files, 2 objects in force: no problems\n");
}

#[test]
fn json_output_names_place_field_and_fix() {
    let directory = tempfile::tempdir().expect("a directory");
    write(directory.path(), &[("b.yaml", BAD)]);
    let output = tollgate(&["check", "--output", "json", "b.yaml"], directory.path());
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let problem = &report["problems"][0];
    assert_eq!((&problem["file"], &problem["line"]), (&"b.yaml".into(), &4.into()));
    assert_eq!((&problem["field"], &problem["fix"]), (&"datta".into(), &"did you mean \"data\"?".into()));
}

#[test]
fn no_colours_into_a_pipe() {
    let directory = tempfile::tempdir().expect("a directory");
    write(directory.path(), &[("b.yaml", BAD)]);
    let text = stdout(&tollgate(&["check", "b.yaml"], directory.path()));
    assert!(text.starts_with("error[UnknownField]: unknown field \"datta\"\n --> b.yaml:4:1\n"), "{text}");
    assert!(!text.contains('\u{1b}'), "{text:?}");
}

#[test]
fn crds_are_printed_as_they_are_generated() {
    let text = stdout(&tollgate(&["crds"], Path::new(".")));
    assert_eq!(text.matches("kind: CustomResourceDefinition").count(), tollgate_crds::KINDS.len());
}

#[test]
fn the_examples_have_no_problems() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    for example in fs::read_dir(examples).expect("the examples") {
        let example = example.expect("an entry").path();
        // Its certificates are made by whoever runs it; `custom_domain.rs` does.
        if example.ends_with("custom-domain") {
            continue;
        }
        let output = tollgate(&["check", "."], &example);
        assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
    }
}

#[test]
fn a_missing_reference_is_told_at_its_line() {
    let directory = tempfile::tempdir().expect("a directory");
    let route = "apiVersion: tollgate.dev/v1alpha1\nkind: Route\nmetadata: {name: a}\nspec:\n  apiRef: {name: nowhere}\n  \
                 routeKey: GET /\n  integration: {http: {uri: 'http://x/'}}\n";
    write(directory.path(), &[("a.yaml", route)]);
    let output = tollgate(&["check", "--output", "json", "a.yaml"], directory.path());
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let problem = &report["problems"][0];
    assert_eq!((&problem["code"], &problem["line"]), (&"ApiNotFound".into(), &5.into()), "{report}");
}
