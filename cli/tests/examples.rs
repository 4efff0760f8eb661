//! The smaller examples: each is served by `tollgate dev`, and the lines of its README are run.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use tollgate_testkit::{Client, Console};

/// Long enough for the slowest machine; nothing waits this long unless it fails.
const AMPLE: Duration = Duration::from_secs(30);

struct Dev {
    program: Child,
    address: SocketAddr,
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name)
}

fn tollgate() -> Command {
    Command::new(env!("CARGO_BIN_EXE_tollgate"))
}

/// Serves an example; its backends answer once the addresses are printed.
fn serve(name: &str) -> Dev {
    let mut command = tollgate();
    command.args(["dev", "--listen", "127.0.0.1:0"]).arg(example(name)).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut program = command.spawn().expect("the program starts");
    let (sender, lines) = channel();
    let stderr = BufReader::new(program.stderr.take().expect("piped"));
    std::thread::spawn(move || {
        for line in stderr.lines() {
            // The test may have ended.
            let _ = sender.send(line.expect("UTF-8"));
        }
    });
    let mut dev = Dev { program, address: ([127, 0, 0, 1], 0).into() };
    let mut seen = Vec::new();
    loop {
        let line = lines.recv_timeout(AMPLE).unwrap_or_else(|error| panic!("{error} after {seen:#?}"));
        let port = line.split_once("http://localhost:").and_then(|(_, rest)| rest.split_once('/')?.0.parse().ok());
        if let Some(port) = port {
            dev.address.set_port(port);
            return dev;
        }
        seen.push(line);
    }
}

/// The commands of a README's ```console blocks, and what they print.
fn console(readme: &str) -> Vec<(&str, &str)> {
    let blocks = readme.split("```console\n").skip(1).filter_map(|block| block.split_once("```\n"));
    let commands = blocks.flat_map(|(block, _)| block.split("$ ").skip(1));
    commands.filter_map(|command| command.split_once('\n')).collect()
}

/// Runs `curl [-X METHOD] URL` against the example.
fn curl(dev: &Dev, command: &str) -> String {
    let words: Vec<&str> = command.split_whitespace().collect();
    let (method, url) = match words.as_slice() {
        ["curl", url] => ("GET", *url),
        ["curl", "-X", method, url] => (*method, *url),
        other => panic!("{other:?} is not understood here"),
    };
    let path = url.strip_prefix("http://localhost:8080").expect("a URL of the example");
    let reply = Client::connect(dev.address).call(&format!("{method} {path}\nHost: localhost"));
    String::from_utf8(reply.body).expect("UTF-8")
}

#[test]
fn the_openapi_example_does_what_its_readme_says() {
    let dev = serve("openapi");
    let readme = std::fs::read_to_string(example("openapi").join("README.md")).expect("the README");
    let commands = console(&readme);
    assert_eq!(commands.len(), 3);
    for (command, expected) in commands {
        assert_eq!(curl(&dev, command).trim_end(), expected.trim_end(), "{command}");
    }
    let checked = tollgate().arg("check").arg(example("openapi")).output().expect("the program starts");
    assert_eq!(checked.status.code(), Some(0), "{}", String::from_utf8_lossy(&checked.stdout));
    let exported = tollgate().arg("export").arg(example("openapi")).output().expect("the program starts");
    assert_eq!(exported.status.code(), Some(0), "{}", String::from_utf8_lossy(&exported.stderr));
    let document = String::from_utf8(exported.stdout).expect("UTF-8");
    for path in ["/hello:", "/pets/{id}:", "/health:"] {
        assert!(document.contains(path), "{path} in {document}");
    }
}

/// Every line of these READMEs prints what it says, and `check` finds nothing wrong.
#[test]
fn smaller_examples_do_what_their_readmes_say() {
    for name in ["lambda", "aws-services"] {
        let dev = serve(name);
        let readme = std::fs::read_to_string(example(name).join("README.md")).expect("the README");
        let commands = console(&readme);
        assert!(!commands.is_empty(), "{name}");
        for (command, expected) in commands {
            assert_eq!(curl(&dev, command).trim_end(), expected.trim_end(), "{command}");
        }
        let checked = tollgate().arg("check").arg(example(name)).output().expect("the program starts");
        assert_eq!(checked.status.code(), Some(0), "{}", String::from_utf8_lossy(&checked.stdout));
    }
}

/// The lines of an example's README, run by a shell, print what it says; `check` finds nothing wrong.
fn does_what_its_readme_says(name: &str, more_than: usize) {
    let console = Console::read(&example(name).join("README.md"));
    assert!(console.len() > more_than, "{console:?}");
    let dev = serve(name);
    let here = format!("localhost:{}", dev.address.port());
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
