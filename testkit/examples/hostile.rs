//! Runs the table of hostile messages on nginx, HAProxy and Tollgate, and writes how they differ to `docs/hostile.md`.
//!
//! `bench/hostile` installs what it needs and calls it.

#![expect(clippy::unwrap_used, reason = "a tool that cannot go on panics")]

use std::fmt::Write as _;
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tollgate_testkit::hostile::{
    Direction, HOST, Line, Must, Outcome, Recorder, from_backend, from_client, lines, over_http2,
};
use tollgate_testkit::{Api, Gateway, service};

/// Somebody who is sent the table.
struct Contender {
    name: String,
    http1: SocketAddr,
    /// Where HTTP/2 is spoken with prior knowledge.
    http2: SocketAddr,
    recorder: Recorder,
    _running: Running,
}

/// Some lines leave the others waiting for more.
const DEADLINE: Duration = Duration::from_secs(2);

/// Ends with the program.
enum Running {
    Process(Child),
    Gateway { _gateway: Box<Gateway> },
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Self::Process(child) = self {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn main() {
    let folder = std::env::temp_dir().join(format!("tollgate-hostile-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let contenders = [tollgate(), nginx(&folder), haproxy(&folder)];
    let lines = lines();
    let played: Vec<Vec<Outcome>> =
        contenders.iter().map(|who| lines.iter().map(|line| play(who, line)).collect()).collect();
    let page = page(&contenders, &lines, &played);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/hostile.md");
    fs::write(&path, page).unwrap();
    let _ = fs::remove_dir_all(&folder);
    println!("wrote docs/hostile.md");
}

fn play(who: &Contender, line: &Line) -> Outcome {
    let begun = Instant::now();
    let outcome = match line.direction {
        Direction::Client => from_client(who.http1, &who.recorder, line),
        Direction::Backend => from_backend(who.http1, &who.recorder, line),
        Direction::Http2 => over_http2(who.http1, who.http2, &who.recorder, line),
    };
    if begun.elapsed() > DEADLINE {
        eprintln!("{}: {} took {:?}", who.name, line.name, begun.elapsed());
    }
    outcome
}

fn tollgate() -> Contender {
    let mut recorder = Recorder::start();
    recorder.deadline = DEADLINE;
    let mut gateway = Gateway::with(|settings| settings.limits.head_timeout = Duration::from_secs(1));
    gateway.publish(&Api::new(&[("$default", service("s"))]).endpoints("s", &[recorder.address]).units());
    let address = gateway.address;
    let running = Running::Gateway { _gateway: Box::new(gateway) };
    Contender { name: "Tollgate".to_owned(), http1: address, http2: address, recorder, _running: running }
}

fn nginx(folder: &Path) -> Contender {
    let mut recorder = Recorder::start();
    recorder.deadline = DEADLINE;
    let (http1, http2) = (unused(), unused());
    let here = folder.display();
    let config = format!(
        "daemon off; master_process off; pid {here}/nginx.pid; error_log {here}/nginx.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; client_header_timeout 1s; client_body_timeout 2s; client_max_body_size 10m;
  client_body_temp_path {here}/b; proxy_temp_path {here}/p; fastcgi_temp_path {here}/f; uwsgi_temp_path {here}/u; scgi_temp_path {here}/s;
  upstream backend {{ server {}; keepalive 8; }}
  server {{
    listen {http1}; listen {http2} http2; server_name {HOST};
    location / {{ proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $http_host;
      proxy_request_buffering off; proxy_buffering off; proxy_next_upstream off; }}
  }}
}}
",
        recorder.address
    );
    let file = folder.join("nginx.conf");
    fs::write(&file, config).unwrap();
    let child = start(Command::new("nginx").arg("-c").arg(&file).arg("-p").arg(folder), http1);
    let name = version(Command::new("nginx").arg("-v"), "nginx/");
    Contender { name: format!("nginx {name}"), http1, http2, recorder, _running: child }
}

fn haproxy(folder: &Path) -> Contender {
    let mut recorder = Recorder::start();
    recorder.deadline = DEADLINE;
    let (http1, http2) = (unused(), unused());
    let config = format!(
        "global
  nbthread 1
defaults
  mode http
  timeout connect 3s
  timeout client 5s
  timeout server 5s
  timeout http-request 1s
frontend plain
  bind {http1}
  default_backend backend
frontend two
  bind {http2} proto h2
  default_backend backend
backend backend
  server b {}
",
        recorder.address
    );
    let file = folder.join("haproxy.cfg");
    fs::write(&file, config).unwrap();
    let child = start(Command::new("haproxy").arg("-db").arg("-f").arg(&file), http1);
    let name = version(Command::new("haproxy").arg("-v"), "version ");
    Contender { name: format!("HAProxy {name}"), http1, http2, recorder, _running: child }
}

fn unused() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn start(command: &mut Command, address: SocketAddr) -> Running {
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let running = Running::Process(child);
    let begun = Instant::now();
    while TcpStream::connect(address).is_err() {
        assert!(begun.elapsed() < Duration::from_secs(10), "{command:?} does not listen");
    }
    running
}

/// The number behind `mark` in what the command says.
fn version(command: &mut Command, mark: &str) -> String {
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    let rest = text.split_once(mark).map_or("", |(_, rest)| rest);
    rest.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect()
}

/// What a line comes to, for counting.
fn class(outcome: &Outcome) -> usize {
    match outcome {
        Outcome::Refused { .. } | Outcome::Closed => 0,
        Outcome::Cut => 1,
        Outcome::Forwarded { .. } => 2,
        Outcome::Ambiguous(_) => 3,
        Outcome::Hung => 4,
    }
}

fn page(contenders: &[Contender], lines: &[Line], played: &[Vec<Outcome>]) -> String {
    let mut out = String::from(
        "# Hostile messages on three proxies\n\n\
        Written by `bench/hostile`, which runs the table in `testkit/hostile/` on Tollgate and on Debian's nginx and HAProxy, both as plain\n\
        reverse proxies with their defaults. What Tollgate must do stands in the table; the others may have good reasons to differ.\n\n\
        *Refused*: answered with an error, or closed, and nobody behind saw anything. *Cut off*: the other side got a part and knows it.\n\
        *Forwarded*: it got one message in the one strict form. *Otherwise*: it got a form that our strict reader does not take, or more\n\
        than one message, or another host, or the next request was not served as usual; some of these are harmless.\n\n",
    );
    for (title, direction) in [
        ("Requests over HTTP/1", Direction::Client),
        ("Answers of backends", Direction::Backend),
        ("Requests over HTTP/2", Direction::Http2),
    ] {
        let count = lines.iter().filter(|line| line.direction == direction).count();
        let _ = writeln!(
            out,
            "## {title}: {count} lines\n\n| | refused | cut off | forwarded | otherwise | no end |\n|---|---|---|---|---|---|"
        );
        for (who, outcomes) in contenders.iter().zip(played) {
            let mut counts = [0; 5];
            for (line, outcome) in lines.iter().zip(outcomes) {
                counts[class(outcome)] += usize::from(line.direction == direction);
            }
            let [refused, cut, forwarded, otherwise, hung] = counts;
            let _ = writeln!(out, "| {} | {refused} | {cut} | {forwarded} | {otherwise} | {hung} |", who.name);
        }
        let names: Vec<&str> = contenders.iter().map(|who| who.name.as_str()).collect();
        let _ = writeln!(
            out,
            "\nLines that they do not all treat alike:\n\n| line | {} |\n|---|{}",
            names.join(" | "),
            "---|".repeat(names.len())
        );
        for (number, line) in lines.iter().enumerate().filter(|(_, line)| line.direction == direction) {
            // What floods come to is a matter of taste as long as the next client is served.
            let first = class(&played[0][number]);
            if line.must == Must::Survive || played.iter().all(|outcomes| class(&outcomes[number]) == first) {
                continue;
            }
            let words: Vec<String> = played.iter().map(|outcomes| word(&outcomes[number])).collect();
            let _ = writeln!(out, "| {} | {} |", line.name, words.join(" | "));
        }
        out.push('\n');
    }
    out
}

fn word(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Ambiguous(_) => "otherwise".to_owned(),
        other => other.word(),
    }
}
