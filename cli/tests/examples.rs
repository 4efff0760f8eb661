//! The smaller examples: each is served by `tollgate dev`, and the lines of its README are run.

use std::path::{Path, PathBuf};
use std::process::Command;

use tollgate_testkit::{Console, Program};

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name)
}

fn tollgate() -> Command {
    Command::new(env!("CARGO_BIN_EXE_tollgate"))
}

/// Serves an example; its backends answer once the addresses are printed, and the port is given.
fn serve(name: &str) -> (Program, u16) {
    let program = Program::start(tollgate().args(["dev", "--listen", "127.0.0.1:0"]).arg(example(name)));
    let port = program.port_after("http://localhost:");
    (program, port)
}

#[test]
fn the_openapi_example_does_what_its_readme_says() {
    does_what_its_readme_says("openapi", 2);
    let exported = tollgate().arg("export").arg(example("openapi")).output().expect("the program starts");
    assert_eq!(exported.status.code(), Some(0), "{}", String::from_utf8_lossy(&exported.stderr));
    let document = String::from_utf8(exported.stdout).expect("UTF-8");
    for path in ["/hello:", "/pets/{id}:", "/health:"] {
        assert!(document.contains(path), "{path} in {document}");
    }
}

#[test]
fn smaller_examples_do_what_their_readmes_say() {
    does_what_its_readme_says("lambda", 0);
    does_what_its_readme_says("aws-services", 0);
}

/// The lines of an example's README, run by a shell, print what it says; `check` finds nothing wrong.
fn does_what_its_readme_says(name: &str, more_than: usize) {
    let console = Console::read(&example(name).join("README.md"));
    assert!(console.len() > more_than, "{console:?}");
    let (_program, port) = serve(name);
    let here = format!("localhost:{port}");
    console.check("", |command| command.replace("localhost:8080", &here)).unwrap_or_else(|wrong| panic!("{wrong}"));
    let checked = tollgate().arg("check").arg(example(name)).output().expect("the program starts");
    assert_eq!(checked.status.code(), Some(0), "{}", String::from_utf8_lossy(&checked.stdout));
}

#[test]
fn the_lambda_authorizer_example_does_what_its_readme_says() {
    does_what_its_readme_says("lambda-authorizer", 5);
}

#[test]
fn the_iam_example_does_what_its_readme_says() {
    does_what_its_readme_says("iam", 6);
}

#[test]
fn the_jwt_example_does_what_its_readme_says() {
    does_what_its_readme_says("jwt", 9);
}

/// An example that no test runs would rot: a new folder belongs into a test.
#[test]
fn every_example_is_run_by_a_test() {
    let here = [
        include_str!("bookstore.rs"),
        include_str!("custom_domain.rs"),
        include_str!("examples.rs"),
        include_str!("usage_plans.rs"),
    ]
    .concat();
    for entry in example("").read_dir().expect("the examples") {
        let name = entry.expect("a folder").file_name().into_string().expect("UTF-8");
        let named = [format!("\"{name}\""), format!("/{name}\"")].iter().any(|text| here.contains(text));
        assert!(named, "examples/{name} is run by no test");
    }
}
