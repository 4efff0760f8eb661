//! Real stores of usage plans as processes: Redis and Valkey.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use crate::backend::address_for_a_program;

/// Long enough for the slowest machine; nothing waits this long unless it fails.
const AMPLE: Duration = Duration::from_secs(60);

/// The password of every [`Store`].
pub const STORE_PASSWORD: &str = "secret";

/// Which program a [`Store`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// `redis-server` of the path.
    Redis,
    /// The `valkey-server` that `e2e/valkey/fetch` knows.
    Valkey,
}

impl Server {
    /// The program, or what to do to have it.
    fn program(self) -> Result<PathBuf, String> {
        static VALKEY: LazyLock<Result<PathBuf, String>> = LazyLock::new(|| {
            // Only looked for: tests of a crate call nobody outside.
            let fetch = Path::new(env!("CARGO_MANIFEST_DIR")).join("../e2e/valkey/fetch");
            let found = Command::new(fetch).arg("--cached").stdin(Stdio::null()).output();
            let found = found.map_err(|error| format!("e2e/valkey/fetch does not start: {error}"))?;
            if found.status.success() {
                Ok(Path::new(String::from_utf8_lossy(&found.stdout).trim()).join("valkey-server"))
            } else {
                Err(String::from_utf8_lossy(&found.stderr).trim().to_owned())
            }
        });
        match self {
            Self::Redis => {
                let path = std::env::var_os("PATH").unwrap_or_default();
                let programs = std::env::split_paths(&path).map(|folder| folder.join("redis-server"));
                programs.into_iter().find(|program| program.is_file()).ok_or("redis-server is not in the path".into())
            }
            Self::Valkey => VALKEY.clone(),
        }
    }
}

/// Makes two tests, `redis` and `valkey`, of each of these functions, which take a [`Server`].
#[macro_export]
macro_rules! each_server {
    ($($test:ident),+ $(,)?) => {$(
        mod $test {
            #[test]
            fn redis() {
                super::$test($crate::Server::Redis);
            }

            #[test]
            fn valkey() {
                super::$test($crate::Server::Valkey);
            }
        }
    )+};
}

/// A server with an append-only file in a directory of its own, which has every change before its answer is sent: with
/// `everysec` a killed server may have put off writing for two seconds. It ends with this value.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    program: Child,
    arguments: Vec<String>,
    /// Where it listens.
    pub address: SocketAddr,
    directory: tempfile::TempDir,
}

impl Store {
    /// One server for itself. `None`: this machine has none, and nothing can be proved; with `CI` set that fails.
    pub fn start(server: Server) -> Option<Self> {
        Self::with(server, |_| vec!["--port".into(), "PORT".into()])
    }

    /// With these arguments beside the usual ones, in which `PORT` is the port of [`Store::address`] and the closure gets the server's directory.
    pub fn with(server: Server, arguments: impl FnOnce(&Path) -> Vec<String>) -> Option<Self> {
        Self::launch(server, |directory, port| {
            let mut all: Vec<String> =
                ["--bind", "127.0.0.1", "--appendonly", "yes", "--appendfsync", "always", "--save", ""]
                    .map(Into::into)
                    .into();
            all.extend(["--requirepass", STORE_PASSWORD, "--masterauth", STORE_PASSWORD].map(Into::into));
            all.extend(arguments(directory).into_iter().map(|text| text.replace("PORT", &port.to_string())));
            all.extend(["--dir".to_owned(), directory.display().to_string()]);
            all
        })
    }

    /// A sentinel with these lines as its configuration.
    pub fn sentinel(server: Server, lines: impl FnOnce(&Path) -> Vec<String>) -> Option<Self> {
        Self::launch(server, |directory, port| {
            let path = directory.join("sentinel.conf");
            let lines = lines(directory).join("\n");
            std::fs::write(&path, format!("port {port}\nbind 127.0.0.1\n{lines}\n")).unwrap();
            vec![path.display().to_string(), "--sentinel".to_owned()]
        })
    }

    fn launch(server: Server, arguments: impl FnOnce(&Path, u16) -> Vec<String>) -> Option<Self> {
        let path = match server.program() {
            Ok(path) => path,
            Err(lacking) => {
                assert!(std::env::var_os("CI").is_none(), "{lacking}");
                println!("nothing is proved: {lacking}");
                return None;
            }
        };
        let (directory, address) = (directory(), address_for_a_program());
        let arguments = arguments(directory.path(), address.port());
        let program = run(&path, &arguments, directory.path());
        let mut store = Self { path, program, arguments, address, directory };
        store.wait();
        Some(store)
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
        write!(&stream, "AUTH {STORE_PASSWORD}\r\n{words}\r\n")?;
        let mut reader = BufReader::new(&stream);
        answer(&mut reader)?;
        Ok(answer(&mut reader)?.trim_end().to_owned())
    }

    fn wait(&mut self) {
        let begun = Instant::now();
        while std::net::TcpStream::connect(self.address).is_err() {
            let ended = self.program.try_wait().unwrap();
            assert!(ended.is_none() && begun.elapsed() < AMPLE, "{} does not start: {ended:?}", self.path.display());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.program.kill().unwrap();
        self.program.wait().unwrap();
    }

    /// Starts again from its file after [`Store::kill`].
    pub fn resume(&mut self) {
        self.program = run(&self.path, &self.arguments, self.directory.path());
        self.wait();
    }

    /// Its directory.
    pub fn directory(&self) -> &Path {
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

fn run(program: &Path, arguments: &[String], directory: &Path) -> Child {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(directory).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

impl Drop for Store {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}
