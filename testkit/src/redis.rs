//! A real Redis as a process.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::backend::address_for_a_program;

/// Long enough for the slowest machine; nothing waits this long unless it fails.
const AMPLE: Duration = Duration::from_secs(60);

/// The password of every [`Redis`].
pub const REDIS_PASSWORD: &str = "secret";

/// `redis-server` with an append-only file in a directory of its own, which has every change before its answer is sent: with
/// `everysec` a killed server may have put off writing for two seconds. It ends with this value.
#[derive(Debug)]
pub struct Redis {
    program: Child,
    arguments: Vec<String>,
    /// Where it listens.
    pub address: SocketAddr,
    directory: tempfile::TempDir,
}

impl Redis {
    /// One server for itself. `None`: this machine has none, and nothing can be proved; with `CI` set that fails.
    pub fn start() -> Option<Self> {
        Self::with(|_| vec!["--port".into(), "PORT".into()])
    }

    /// With these arguments beside the usual ones, in which `PORT` is the port of [`Redis::address`] and the closure gets the server's directory.
    pub fn with(arguments: impl FnOnce(&std::path::Path) -> Vec<String>) -> Option<Self> {
        Self::launch(|directory, port| {
            let mut all: Vec<String> =
                ["--bind", "127.0.0.1", "--appendonly", "yes", "--appendfsync", "always", "--save", ""]
                    .map(Into::into)
                    .into();
            all.extend(["--requirepass", REDIS_PASSWORD, "--masterauth", REDIS_PASSWORD].map(Into::into));
            all.extend(arguments(directory).into_iter().map(|text| text.replace("PORT", &port.to_string())));
            all.extend(["--dir".to_owned(), directory.display().to_string()]);
            all
        })
    }

    /// A sentinel with these lines as its configuration.
    pub fn sentinel(lines: &[String]) -> Option<Self> {
        Self::launch(|directory, port| {
            let path = directory.join("sentinel.conf");
            std::fs::write(&path, format!("port {port}\nbind 127.0.0.1\n{}\n", lines.join("\n"))).unwrap();
            vec![path.display().to_string(), "--sentinel".to_owned()]
        })
    }

    fn launch(arguments: impl FnOnce(&std::path::Path, u16) -> Vec<String>) -> Option<Self> {
        let (directory, address) = (directory(), address_for_a_program());
        let all = arguments(directory.path(), address.port());
        let Ok(program) = run(&all, &directory) else {
            assert!(std::env::var_os("CI").is_none(), "redis-server is not in the path");
            println!("redis-server is not in the path: nothing is proved");
            return None;
        };
        let mut redis = Self { program, arguments: all, address, directory };
        redis.wait();
        Some(redis)
    }

    /// The answer to a command of words, as the protocol has it but for the end of its last line. Without TLS.
    pub fn command(&self, words: &str) -> String {
        // A server that becomes a primary cuts its clients off; then the command is sent again.
        (0..100).find_map(|_| self.try_command(words).ok()).expect("the server answers")
    }

    fn try_command(&self, words: &str) -> std::io::Result<String> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(AMPLE))?;
        // A server without a password minds.
        write!(&stream, "AUTH {REDIS_PASSWORD}\r\n{words}\r\n")?;
        let mut reader = BufReader::new(&stream);
        answer(&mut reader)?;
        Ok(answer(&mut reader)?.trim_end().to_owned())
    }

    fn wait(&mut self) {
        let begun = Instant::now();
        while std::net::TcpStream::connect(self.address).is_err() {
            let ended = self.program.try_wait().unwrap();
            assert!(ended.is_none() && begun.elapsed() < AMPLE, "redis-server does not start: {ended:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.program.kill().unwrap();
        self.program.wait().unwrap();
    }

    /// Starts again from its file after [`Redis::kill`].
    pub fn resume(&mut self) {
        self.program = run(&self.arguments, &self.directory).unwrap();
        self.wait();
    }

    /// Its directory.
    pub fn directory(&self) -> &std::path::Path {
        self.directory.path()
    }
}

/// In memory where there is such a place: a disk that is busy with other things would hold up every answer.
fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// One answer of the protocol RESP2, whole.
fn answer(from: &mut impl BufRead) -> std::io::Result<String> {
    let mut text = String::new();
    if from.read_line(&mut text)? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    let length = text[1..].trim_end().parse::<i64>().unwrap_or(-1);
    match text.as_bytes()[0] {
        b'$' if length >= 0 => {
            let mut bytes = vec![0; usize::try_from(length).unwrap() + 2];
            from.read_exact(&mut bytes)?;
            text.push_str(std::str::from_utf8(&bytes).unwrap());
        }
        b'*' => {
            for _ in 0..length {
                text.push_str(&answer(from)?);
            }
        }
        _ => {}
    }
    Ok(text)
}

fn run(arguments: &[String], directory: &tempfile::TempDir) -> std::io::Result<Child> {
    let mut command = Command::new("redis-server");
    command.args(arguments).current_dir(directory.path()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}
