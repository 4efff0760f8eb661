//! A program of ours in a process of its own.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// Long enough for the slowest machine; nothing waits this long unless it fails.
const AMPLE: Duration = Duration::from_secs(120);

/// A running program, whose lines on standard error can be waited for. It is killed with this value.
#[derive(Debug)]
pub struct Program {
    child: Child,
    lines: Mutex<Receiver<String>>,
}

impl Program {
    /// Starts it; what it prints on standard output is thrown away.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                // The test may have ended, or nobody reads on.
                let _ = sender.send(line);
            }
        });
        Self { child, lines: Mutex::new(lines) }
    }

    /// Waits for a line that `wanted` takes, after those that were read before.
    pub fn read_until<T>(&self, mut wanted: impl FnMut(&str) -> Option<T>) -> T {
        let lines = self.lines.lock().unwrap();
        let mut seen = Vec::new();
        loop {
            let line = lines.recv_timeout(AMPLE).unwrap_or_else(|error| panic!("{error} after {seen:#?}"));
            if let Some(found) = wanted(&line) {
                return found;
            }
            seen.push(line);
        }
    }

    /// Waits for a line with `before`, and reads the port that stands behind it.
    pub fn port_after(&self, before: &str) -> u16 {
        self.read_until(|line| {
            let rest = line.split_once(before)?.1;
            rest.split(|digit: char| !digit.is_ascii_digit()).next()?.parse().ok()
        })
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
