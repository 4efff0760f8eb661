//! A real Redis as a process.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::backend::address_for_a_program;

/// Long enough for the slowest machine; nothing waits this long unless it fails.
const AMPLE: Duration = Duration::from_secs(60);

/// The password of every [`Redis`].
pub const REDIS_PASSWORD: &str = "secret";

/// `redis-server` with an append-only file in a directory of its own. It ends with this value.
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
        let (directory, address) = (tempfile::tempdir().unwrap(), address_for_a_program());
        let mut all: Vec<String> = ["--bind", "127.0.0.1", "--appendonly", "yes", "--save", ""].map(Into::into).into();
        all.extend(["--requirepass", REDIS_PASSWORD, "--masterauth", REDIS_PASSWORD].map(Into::into));
        all.extend(
            arguments(directory.path()).into_iter().map(|text| text.replace("PORT", &address.port().to_string())),
        );
        let Ok(program) = run(&all, &directory) else {
            assert!(std::env::var_os("CI").is_none(), "redis-server is not in the path");
            println!("redis-server is not in the path: nothing is proved");
            return None;
        };
        let mut redis = Self { program, arguments: all, address, directory };
        redis.wait();
        Some(redis)
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

fn run(arguments: &[String], directory: &tempfile::TempDir) -> std::io::Result<Child> {
    let mut command = Command::new("redis-server");
    command.args(arguments).arg("--dir").arg(directory.path()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}
