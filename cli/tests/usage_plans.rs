//! Usage plans as a user meets them: `tollgate dev examples/usage-plans`, stopped and killed.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tollgate_testkit::{Client, Program};

/// Long enough for the slowest machine; nothing waits this long unless it fails.
const AMPLE: Duration = Duration::from_secs(30);
const FREE: &str = "free-0123456789-abcdef";
const PAID: &str = "paid-0123456789-abcdef";

/// A running `tollgate dev` on the example.
struct Dev {
    program: Program,
    address: SocketAddr,
}

impl Dev {
    fn start(directory: &Path, state: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        let program =
            Program::start(command.args(["dev", "--listen", "127.0.0.1:0", "--state"]).args([state, directory]));
        let address = ([127, 0, 0, 1], program.port_after("http://localhost:")).into();
        Self { program, address }
    }

    fn search(&self, key: &str) -> (u16, String) {
        let reply = Client::connect(self.address).call(&format!("GET /search\nHost: localhost\nx-api-key: {key}"));
        (reply.status, reply.text().to_owned())
    }

    /// `kill -9`.
    fn kill(mut self) {
        self.program.kill();
    }
}

/// A copy of the example with an edit.
fn example(from: &str, to: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/usage-plans");
    for entry in fs::read_dir(example).expect("the example") {
        let path = entry.expect("an entry").path();
        let text = fs::read_to_string(&path).expect("text");
        let name = path.file_name().expect("a name");
        fs::write(directory.path().join(name), text.replace(from, to)).expect("copied");
    }
    directory
}

#[test]
fn the_example_does_what_its_readme_says() {
    let (files, state) = (example("", ""), tempfile::tempdir().expect("a directory"));
    let forbidden = (403, r#"{"message":"Forbidden"}"#.to_owned());
    let exceeded = (429, r#"{"message":"Limit Exceeded"}"#.to_owned());
    let dev = Dev::start(files.path(), state.path());
    assert_eq!(dev.search(""), forbidden);
    for _ in 0..2 {
        let (status, body) = dev.search(FREE);
        assert_eq!(status, 200);
        assert!(body.starts_with(r#"{"service":"search","method":"GET","path":"/search""#), "{body}");
    }
    let reply = Client::connect(dev.address).call(&format!("GET /search\nHost: localhost\nx-api-key: {PAID}"));
    assert_eq!(reply.status, 200);
    assert!(reply.header("ratelimit").is_some_and(|left| left.starts_with("\"quota\";r=99999;t=")));
    dev.kill();
    let dev = Dev::start(files.path(), state.path());
    assert_eq!(dev.search(FREE).0, 200, "the third of the day");
    assert_eq!(dev.search(FREE), exceeded);
    dev.kill();
    assert_eq!(Dev::start(files.path(), state.path()).search(FREE), exceeded);
}

/// Kills the program again and again under load: the quota never starts over and is never exceeded. `TOLLGATE_KILLS=100` for more.
#[test]
fn a_quota_survives_being_killed_under_load() {
    let kills: usize = std::env::var("TOLLGATE_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(6);
    let limit = kills * 150;
    let files = example("quota: {limit: 3,", &format!("quota: {{limit: {limit},"));
    let state = tempfile::tempdir().expect("a directory");
    let admitted = AtomicUsize::new(0);
    for _ in 0..kills {
        let dev = Dev::start(files.path(), state.path());
        let (address, admitted) = (dev.address, &admitted);
        let until = admitted.load(Ordering::Relaxed) + 60;
        std::thread::scope(|scope| {
            let clients = [(); 4].map(|()| scope.spawn(move || load(address, admitted)));
            while admitted.load(Ordering::Relaxed) < until && !clients.iter().all(|client| client.is_finished()) {
                std::thread::yield_now();
            }
            dev.kill();
        });
    }
    let dev = Dev::start(files.path(), state.path());
    load(dev.address, &admitted);
    let admitted = admitted.into_inner();
    println!("{admitted} of {limit} admitted over {kills} kills");
    assert!(admitted <= limit, "{admitted} of {limit}");
    assert!(admitted >= kills * 10, "{admitted} of {limit}: a kill lost more than what was leased");
    dev.kill();
    assert_eq!(Dev::start(files.path(), state.path()).search(FREE).0, 429);
}

/// Calls until the quota is used up or the program is gone.
fn load(address: SocketAddr, admitted: &AtomicUsize) {
    let call = || {
        let mut stream = std::net::TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(AMPLE)).ok()?;
        let request =
            format!("GET /search HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nx-api-key: {FREE}\r\n\r\n");
        std::io::Write::write_all(&mut stream, request.as_bytes()).ok()?;
        let mut head = [0; 12];
        std::io::Read::read_exact(&mut stream, &mut head).ok()?;
        std::str::from_utf8(&head[9..]).ok()?.parse::<u16>().ok()
    };
    loop {
        match call() {
            Some(200) => admitted.fetch_add(1, Ordering::Relaxed),
            _ => return,
        };
    }
}

/// Proves R-KEY-1.
#[test]
fn a_key_that_names_no_value_gets_one_that_stays_with_the_state() {
    let (files, state) = (example("", ""), tempfile::tempdir().expect("a directory"));
    let key = "apiVersion: tollgate.dev/v1alpha1\nkind: ApiKey\nmetadata: {name: generated, namespace: NS}\nspec: {usagePlanRefs: [{name: PLAN}]}\n";
    let api = fs::read_to_string(files.path().join("api.yaml")).expect("text");
    let plan = api.split("kind: UsagePlan").nth(1).expect("the example has a plan");
    let word = |name: &str| {
        let rest = plan.split_once(&format!("{name}: ")).expect("the plan says it").1;
        rest.split([',', '}', '\n']).next().expect("a word").to_owned()
    };
    let key = key.replace("NS", &word("namespace")).replace("PLAN", &word("name"));
    fs::write(files.path().join("key.yaml"), key).expect("written");
    let told = |dev: &Dev| {
        dev.program.read_until(|line| Some(line.split_once("names no Secret; its value here is ")?.1.trim().to_owned()))
    };
    let dev = Dev::start(files.path(), state.path());
    let value = told(&dev);
    assert_eq!((value.len(), dev.search(&value).0), (40, 200));
    dev.kill();
    let dev = Dev::start(files.path(), state.path());
    assert_eq!(told(&dev), value);
}
