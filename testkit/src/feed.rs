//! A controller's feed whose content a test chooses, for proxies that are processes of their own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use serde_json::json;
use tollgate_engine::snapshot::{FORMAT, Unit};

use crate::gateway::named;

/// Serves the same units to every proxy, without TLS. It ends with the test program.
#[derive(Clone, Debug)]
pub struct Feed(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    address: SocketAddr,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// Of the content; also what the commit says.
    revision: u64,
    /// Lines that put all units and commit.
    lines: String,
    /// Reports that named no problem, and that named some.
    reports: (u64, u64),
}

impl Feed {
    /// A feed of these units.
    pub fn of(units: &[Unit]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let state = Mutex::new(State { revision: 1, lines: lines(units, 1), reports: (0, 0) });
        let inner = Inner { address: listener.local_addr().unwrap(), state, changed: Condvar::new() };
        let feed = Self(Arc::new(inner));
        let serving = feed.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let feed = serving.clone();
                // A proxy that is gone has no use for the rest.
                std::thread::spawn(move || feed.serve(stream.unwrap()));
            }
        });
        feed
    }

    /// For `--feed`.
    pub fn url(&self) -> String {
        format!("http://{}", self.0.address)
    }

    /// Puts these units into effect at all proxies. Units of before that are not among them stay.
    pub fn publish(&self, units: &[Unit]) {
        let mut state = self.0.state.lock().unwrap();
        state.revision += 1;
        state.lines = lines(units, state.revision);
        self.0.changed.notify_all();
    }

    /// How many reports of proxies named no problem, and how many did.
    pub fn reports(&self) -> (u64, u64) {
        self.0.state.lock().unwrap().reports
    }

    fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut stream = stream;
        loop {
            let (mut first, mut length) = (String::new(), 0);
            if reader.read_line(&mut first)? == 0 {
                return Ok(());
            }
            loop {
                let mut line = String::new();
                reader.read_line(&mut line)?;
                if line.trim().is_empty() {
                    break;
                }
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
            }
            if first.starts_with("GET /v1/feed") {
                return self.stream(&mut stream);
            }
            let mut report = vec![0; length];
            reader.read_exact(&mut report)?;
            let clean = !String::from_utf8_lossy(&report).contains("\"message\"");
            let reports = &mut self.0.state.lock().unwrap().reports;
            if clean {
                reports.0 += 1;
            } else {
                reports.1 += 1;
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 16\r\n\r\n{\"resend\":false}")?;
        }
    }

    fn stream(&self, stream: &mut TcpStream) -> std::io::Result<()> {
        write!(stream, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
        chunk(stream, &format!("{}\n", json!({"op": "hello", "format": FORMAT})))?;
        let mut sent = 0;
        loop {
            let state = self.0.state.lock().unwrap();
            let patience = Duration::from_secs(5);
            let wait = self.0.changed.wait_timeout_while(state, patience, |state| state.revision == sent);
            let (state, silent) = wait.unwrap();
            let text = if silent.timed_out() { "{\"op\":\"ping\"}\n".to_owned() } else { state.lines.clone() };
            sent = state.revision;
            drop(state);
            chunk(stream, &text)?;
        }
    }
}

fn chunk(stream: &mut TcpStream, text: &str) -> std::io::Result<()> {
    write!(stream, "{:x}\r\n{text}\r\n", text.len())
}

fn lines(units: &[Unit], revision: u64) -> String {
    let mut lines = String::new();
    for unit in units {
        let (id, hash) = named(unit);
        lines.push_str(&format!("{}\n", json!({"op": "put", "id": id, "hash": hash, "unit": unit})));
    }
    lines + &format!("{}\n", json!({"op": "commit", "revision": revision}))
}
