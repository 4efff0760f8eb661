//! The example as a user meets it: `tollgate dev examples/bookstore`, the README's lines, edits under load.

use std::fs;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tollgate_testkit::{Client, Console, Program};

/// Long enough for the slowest machine; nothing waits this long unless it fails.
const AMPLE: Duration = Duration::from_secs(30);

/// A running `tollgate dev` on a copy of the example.
struct Dev {
    program: Program,
    directory: tempfile::TempDir,
    address: SocketAddr,
}

impl Dev {
    fn start() -> Self {
        Self::of(&example())
    }

    /// On a copy of another example.
    fn of(example: &Path) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        for entry in fs::read_dir(example).expect("the example") {
            let path = entry.expect("an entry").path();
            fs::copy(&path, directory.path().join(path.file_name().expect("a name"))).expect("copied");
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        let program = Program::start(command.args(["dev", "--listen", "127.0.0.1:0"]).arg(directory.path()));
        let address = ([127, 0, 0, 1], program.port_after("http://localhost:")).into();
        Self { program, directory, address }
    }

    /// Waits for a line of standard error.
    fn read_until<T>(&self, wanted: impl FnMut(&str) -> Option<T>) -> T {
        self.program.read_until(wanted)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn edit(&self, name: &str, from: &str, to: &str) {
        edit(&self.file(name), from, to);
    }

    /// Status and body of a GET on a new connection.
    fn get(&self, path: &str) -> (u16, String) {
        get(&mut Client::connect(self.address), path)
    }

    /// Asks again until the answer holds `text`.
    fn wait_for(&self, path: &str, text: &str) -> Duration {
        let start = Instant::now();
        loop {
            let (_, body) = self.get(path);
            if body.contains(text) {
                return start.elapsed();
            }
            assert!(start.elapsed() < AMPLE, "{path} still answers {body}");
        }
    }
}

fn edit(file: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(file).expect("the file");
    assert!(text.contains(from), "{} has no {from:?}", file.display());
    fs::write(file, text.replace(from, to)).expect("written");
}

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/bookstore")
}

fn get(client: &mut Client, path: &str) -> (u16, String) {
    let reply = client.call(&format!("GET {path}\nHost: localhost"));
    (reply.status, String::from_utf8(reply.body).expect("UTF-8"))
}

#[test]
fn the_lines_of_the_example_print_what_it_says() {
    prints_what_it_says(&Dev::start(), &example().join("README.md"), 10);
}

#[test]
fn the_lines_of_the_readme_print_what_it_says() {
    prints_what_it_says(&Dev::start(), &example().join("../../README.md"), 3);
}

fn prints_what_it_says(dev: &Dev, readme: &Path, more_than: usize) {
    let console = Console::read(readme);
    assert!(console.len() > more_than, "{console:?}");
    let here = format!("localhost:{}", dev.address.port());
    console.check("", |command| command.replace("localhost:8080", &here)).unwrap_or_else(|wrong| panic!("{wrong}"));
}

/// Promise P5 for edits of files: fifty of them while clients call, and no request fails.
#[test]
fn edits_under_load_fail_no_request() {
    let dev = Dev::start();
    let stop = Arc::new(AtomicBool::new(false));
    let requests = Arc::new(AtomicUsize::new(0));
    let failures = Arc::new(Mutex::new(Vec::new()));
    let client = |keep_alive: bool| {
        let (stop, requests, failures) = (Arc::clone(&stop), Arc::clone(&requests), Arc::clone(&failures));
        let address = dev.address;
        std::thread::spawn(move || {
            let mut client = Client::connect(address);
            while !stop.load(Ordering::Relaxed) {
                if !keep_alive {
                    client = Client::connect(address);
                }
                let path = if keep_alive { "/books" } else { "/catalog/x" };
                let (status, body) = get(&mut client, path);
                requests.fetch_add(1, Ordering::Relaxed);
                if status != 200 {
                    failures.lock().expect("not poisoned").push((path, status, body));
                }
            }
        })
    };
    let clients = [client(true), client(false)];
    // The example's throttle is made for people; raising it refuses nobody either.
    dev.edit("api.yaml", "throttlingRateLimit: 1000\n    throttlingBurstLimit: 2000", "throttlingRateLimit: 1000000");
    let mut seen_after = Vec::new();
    let mut edition = "first".to_owned();
    for turn in 0..50 {
        let next = format!("edition-{turn}");
        let text = fs::read_to_string(dev.file("api.yaml"))
            .expect("the file")
            .replace(&format!("edition: {edition}"), &format!("edition: {next}"));
        // Editors do either: write the file again, or write another and rename it.
        if turn % 2 == 0 {
            fs::write(dev.file("api.yaml"), text).expect("written");
        } else {
            fs::write(dev.file(".api.yaml.swp"), text).expect("written");
            fs::rename(dev.file(".api.yaml.swp"), dev.file("api.yaml")).expect("renamed");
        }
        seen_after.push(dev.wait_for("/books", &format!("\"{next}\"")));
        edition = next;
    }
    stop.store(true, Ordering::Relaxed);
    clients.into_iter().for_each(|client| client.join().expect("no client panics: each request was answered"));
    let failures = failures.lock().expect("not poisoned");
    assert!(
        failures.is_empty(),
        "{} of {} failed: {:?}",
        failures.len(),
        requests.load(Ordering::Relaxed),
        failures[0]
    );
    assert!(requests.load(Ordering::Relaxed) > 50);
    seen_after.sort();
    println!(
        "50 edits, seen after {:?} (median) and {:?} (longest), {} requests",
        seen_after[25],
        seen_after[49],
        requests.load(Ordering::Relaxed)
    );
}

/// Promise P1 for files: what breaks keeps its last version, everything else answers byte for byte as before.
#[test]
fn a_broken_edit_changes_no_answer() {
    let dev = Dev::start();
    let paths = ["/books", "/books/7", "/catalog/a/b", "/orders", "/beta/catalog/x", "/nothing"];
    let answers = || paths.map(|path| dev.get(path));
    let before = answers();

    dev.edit("routes.yaml", "  routeKey: GET /books\n", "  routeKye: GET /books\n");
    let place = dev.read_until(|line| line.contains("routes.yaml:").then(|| line.to_owned()));
    assert!(place.ends_with("routes.yaml:19:3") || place.ends_with("routes.yaml:17:1"), "{place}");
    dev.read_until(|line| line.contains("did you mean").then_some(()));
    assert_eq!(answers(), before);

    dev.edit("routes.yaml", "  routeKye: GET /books\n", "  routeKey: [GET /books\n");
    dev.read_until(|line| line.contains("error[InvalidYaml]").then_some(()));
    assert_eq!(answers(), before);

    fs::write(dev.file("copy.yaml"), fs::read_to_string(dev.file("api.yaml")).expect("the file")).expect("written");
    dev.read_until(|line| line.contains("is defined twice").then_some(()));
    assert_eq!(answers(), before);

    fs::remove_file(dev.file("copy.yaml")).expect("removed");
    dev.edit("routes.yaml", "  routeKey: [GET /books\n", "  routeKey: GET /books\n");
    dev.read_until(|line| (line == "no problems any more").then_some(()));
    assert_eq!(answers(), before);
}

#[test]
fn a_refused_new_route_answers_500_and_does_not_fall_through() {
    let dev = Dev::start();
    assert_eq!(dev.get("/catalog/new").0, 200);
    let route = "apiVersion: tollgate.dev/v1alpha1\nkind: Route\nmetadata: {name: new, namespace: bookstore}\n\
                 spec: {apiRef: {name: bookstore}, routeKey: GET /catalog/new, authorizationType: JTW}\n";
    fs::write(dev.file("new.yaml"), route).expect("written");
    dev.read_until(|line| line.contains("did you mean JWT").then_some(()));
    assert_eq!(dev.get("/catalog/new"), (500, "{\"message\":\"Internal Server Error\"}".to_owned()));
    assert_eq!(dev.get("/catalog/old").0, 200);
    fs::remove_file(dev.file("new.yaml")).expect("removed");
    dev.wait_for("/catalog/new", "\"service\":\"catalog\"");
}

#[test]
fn what_cannot_start_says_why_and_what_to_do() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let empty = tempfile::tempdir().expect("a directory");
    let run = |arguments: &[&str]| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        let mut program = program
            .arg("dev")
            .args(arguments)
            .current_dir(empty.path())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut text = String::new();
        program.stderr.take().expect("piped").read_to_string(&mut text).expect("UTF-8");
        (program.wait().expect("it ends").code(), text)
    };
    let (code, text) = run(&[".", "--listen", &address]);
    assert_eq!(code, Some(1));
    assert!(text.contains(&address) && text.contains("--listen"), "{text}");
    let (code, text) = run(&["nowhere"]);
    assert_eq!(code, Some(1));
    assert!(text.contains("cannot read nowhere; name the directory"), "{text}");
    assert_eq!(run(&[]).0, Some(64));
}

/// A link belongs to whom it leads to: closing it ends what it opened, at once and without a new deployment.
#[test]
fn a_link_opens_and_closes_a_service_of_another_namespace() {
    let folder = example().join("../vpc-link");
    let dev = Dev::of(&folder);
    prints_what_it_says(&dev, &folder.join("README.md"), 0);
    dev.edit("api.yaml", "name: orders, port", "name: payments, port");
    dev.read_until(|line| line.contains("does not open Service payments").then_some(()));
    assert_eq!(dev.get("/orders/7").0, 200, "the last accepted version goes on");
    dev.edit("api.yaml", "name: payments, port", "name: orders, port");
    dev.read_until(|line| (line == "no problems any more").then_some(()));
    dev.edit("link.yaml", "allowedNamespaces: [shop]", "allowedNamespaces: [else]");
    dev.wait_for("/orders/7", "Service Unavailable");
    dev.edit("link.yaml", "allowedNamespaces: [else]", "allowedNamespaces: [shop]");
    dev.wait_for("/orders/7", "\"service\":\"orders\"");
}
