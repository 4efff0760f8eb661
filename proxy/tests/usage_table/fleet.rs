//! Proxies as processes, and the load on them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use tollgate_testkit::{Client, Feed, Program, STORE_PASSWORD, Store};

use super::AMPLE;

/// Connections to each proxy.
pub(crate) const CONNECTIONS: usize = 2;

/// A `tollgate-proxy`.
pub(crate) struct Proxy {
    program: Program,
    pub(crate) address: SocketAddr,
    admin: SocketAddr,
}

impl Proxy {
    /// Starts one and waits until it is ready and has found the store.
    pub(crate) fn start(feed: &Feed, store: &Store) -> Self {
        let program = Program::start(
            Command::new(env!("CARGO_BIN_EXE_tollgate-proxy"))
                .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--workers", "1", "--access-log", "off"])
                .args(["--base-domain", "gw.example", "--min-drain", "0ms", "--feed", &feed.url()])
                .arg("--usage-store")
                .arg(format!("redis://:{STORE_PASSWORD}@{}", store.address))
                .env("NO_COLOR", "1"),
        );
        let told = |before: &str| SocketAddr::from(([127, 0, 0, 1], program.port_after(before)));
        let (admin, address) = (told("address=127.0.0.1:"), told("listen=Some(127.0.0.1:"));
        let proxy = Self { program, address, admin };
        let begun = Instant::now();
        while proxy.ask_admin("/readyz").0 != 200 || proxy.metric("tollgate_usage_store_up") < 1.0 {
            assert!(begun.elapsed() < AMPLE, "the proxy is not ready");
            std::thread::sleep(Duration::from_millis(5));
        }
        proxy
    }

    fn ask_admin(&self, path: &str) -> (u16, String) {
        let reply = Client::connect(self.admin).call(&format!("GET {path}\nHost: localhost\nConnection: close"));
        (reply.status, reply.text().to_owned())
    }

    /// The value of a series, 0 when there is none.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let (_, text) = self.ask_admin("/metrics");
        let line = text.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')));
        line.map_or(0.0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    }

    /// Calls of the store that it answered.
    pub(crate) fn calls(&self) -> f64 {
        self.metric("tollgate_usage_store_calls_total{result=\"ok\"}")
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.program.kill();
    }
}

/// What a request got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Admitted,
    Throttled,
    QuotaExceeded,
    Unavailable,
}

/// A connection on which requests follow each other.
pub(crate) struct Connection(TcpStream);

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(AMPLE))?;
        Ok(Self(stream))
    }

    /// An error means that the proxy is gone.
    pub(crate) fn call(&mut self, key: &str) -> std::io::Result<Verdict> {
        let head = "GET /a HTTP/1.1\r\nHost: abc123.execute-api.gw.example\r\nx-api-key: ";
        self.0.write_all(format!("{head}{key}\r\n\r\n").as_bytes())?;
        let mut answer = Vec::new();
        loop {
            let mut bytes = [0; 2048];
            let read = self.0.read(&mut bytes)?;
            if read == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            answer.extend_from_slice(&bytes[..read]);
            if let Some(verdict) = verdict(&answer) {
                return Ok(verdict);
            }
        }
    }
}

/// `None` while the answer is not complete.
fn verdict(answer: &[u8]) -> Option<Verdict> {
    let text = std::str::from_utf8(answer).unwrap();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let head = head.to_ascii_lowercase();
    let (_, length) = head.split_once("content-length: ").unwrap();
    let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
    if body.len() < length {
        return None;
    }
    Some(match (&head[9..12], body) {
        ("200", _) => Verdict::Admitted,
        ("429", "{\"message\":\"Too Many Requests\"}") => Verdict::Throttled,
        ("429", "{\"message\":\"Limit Exceeded\"}") => Verdict::QuotaExceeded,
        ("503", _) => Verdict::Unavailable,
        _ => panic!("{text}"),
    })
}
