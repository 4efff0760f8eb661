//! The access log: entries are bytes that a worker appends to its own buffer; one thread writes them out.
//!
//! A worker never waits: a full queue drops what the buffer holds and counts its entries. Each entry is one line (H-LOG-1); it is the
//! caller's to end it with a line feed.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::mpsc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::metrics::{ControlMetrics, Metrics};

/// A buffer is handed over when it holds this many bytes: large enough that handing over costs nothing per entry.
const FLUSH_BYTES: usize = 64 << 10;
/// Or when its first entry is this old, so that `tail -f` feels alive.
const FLUSH_AFTER: Duration = Duration::from_millis(100);
/// Buffers waiting for the writer: 16 MiB before entries are dropped.
const QUEUE: usize = 256;

/// Where entries go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Standard output, as containers do.
    Stdout,
    /// Appended to a file, created if it is not there.
    File(PathBuf),
    /// Nowhere; nothing is formatted either.
    Off,
}

impl FromStr for Destination {
    type Err = String;

    /// `stdout`, `off`, or a path.
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "stdout" => Ok(Self::Stdout),
            "off" => Ok(Self::Off),
            "" => Err("empty value: use `stdout`, `off` or the path of a file".into()),
            path => Ok(Self::File(path.into())),
        }
    }
}

/// The access log of a process; cloned to each worker's thread.
#[derive(Clone, Debug)]
pub struct AccessLog {
    queue: Option<mpsc::SyncSender<Message>>,
    metrics: ControlMetrics,
}

#[derive(Debug)]
enum Message {
    Entries(Vec<u8>),
    Finish(mpsc::SyncSender<()>),
}

impl AccessLog {
    /// Opens the destination and starts the writer thread. Fails when the file cannot be opened.
    pub fn start(destination: &Destination, metrics: &Metrics) -> io::Result<Self> {
        let out: Box<dyn Write + Send> = match destination {
            Destination::Off => return Ok(Self { queue: None, metrics: metrics.control().clone() }),
            Destination::Stdout => Box::new(io::stdout()),
            Destination::File(path) => Box::new(File::options().create(true).append(true).open(path)?),
        };
        Self::to_writer(out, metrics)
    }

    /// As [`AccessLog::start`], to any writer.
    pub fn to_writer(out: Box<dyn Write + Send>, metrics: &Metrics) -> io::Result<Self> {
        let (queue, messages) = mpsc::sync_channel(QUEUE);
        let counters = metrics.control().clone();
        std::thread::Builder::new().name("access-log".into()).spawn(move || write_all(out, &messages, &counters))?;
        Ok(Self { queue: Some(queue), metrics: metrics.control().clone() })
    }

    /// A buffer for one worker. Run [`WorkerLog::flush_in_time`] beside it.
    pub fn worker(&self) -> WorkerLog {
        WorkerLog { log: self.clone(), buffer: RefCell::default(), first_entry: Notify::new() }
    }

    /// Waits until everything handed over so far is written; for the end of the process, after the workers have flushed.
    pub fn finish(&self) {
        if let Some(queue) = &self.queue {
            let (done, wait) = mpsc::sync_channel(1);
            if queue.send(Message::Finish(done)).is_ok() {
                // An error means that the writer is gone, and then there is nothing to wait for.
                let _ = wait.recv();
            }
        }
    }
}

fn write_all(mut out: Box<dyn Write + Send>, messages: &mpsc::Receiver<Message>, metrics: &ControlMetrics) {
    for message in messages {
        match message {
            Message::Entries(entries) => match out.write_all(&entries).and_then(|()| out.flush()) {
                Ok(()) => metrics.access_log_bytes.inc_by(entries.len() as u64),
                // Logged once: a closed pipe or a full disk would otherwise fill the other log.
                Err(error) => {
                    if metrics.access_log_failures.get() == 0 {
                        tracing::error!(%error, "access log cannot be written");
                    }
                    metrics.access_log_failures.inc();
                }
            },
            Message::Finish(done) => {
                let _ = done.send(());
            }
        }
    }
}

/// One worker's buffer of entries.
#[derive(Debug)]
pub struct WorkerLog {
    log: AccessLog,
    buffer: RefCell<Buffer>,
    first_entry: Notify,
}

#[derive(Debug, Default)]
struct Buffer {
    bytes: Vec<u8>,
    entries: u64,
}

impl WorkerLog {
    /// Whether entries go anywhere; if not, formatting them is wasted.
    pub fn is_on(&self) -> bool {
        self.log.queue.is_some()
    }

    /// Appends one entry, which `format` writes at the end of the buffer with its line feed. `format` must not log itself.
    pub fn append(&self, format: impl FnOnce(&mut Vec<u8>)) {
        if !self.is_on() {
            return;
        }
        let mut buffer = self.buffer.borrow_mut();
        let first = buffer.entries == 0;
        if buffer.bytes.capacity() == 0 {
            buffer.bytes.reserve(FLUSH_BYTES + FLUSH_BYTES / 8);
        }
        format(&mut buffer.bytes);
        buffer.entries += 1;
        let full = buffer.bytes.len() >= FLUSH_BYTES;
        drop(buffer);
        if full {
            self.flush();
        } else if first {
            self.first_entry.notify_one();
        }
    }

    /// Hands the buffer over.
    pub fn flush(&self) {
        let Buffer { bytes, entries } = self.buffer.take();
        let Some(queue) = &self.log.queue else { return };
        if entries > 0 && queue.try_send(Message::Entries(bytes)).is_err() {
            self.log.metrics.access_log_dropped.inc_by(entries);
        }
    }

    /// Hands entries over that wait for more of them; runs on the worker for as long as it lives.
    pub async fn flush_in_time(&self) {
        loop {
            self.first_entry.notified().await;
            tokio::time::sleep(FLUSH_AFTER).await;
            self.flush();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Blocks its writer thread until the test lets go.
    struct Stuck(mpsc::Receiver<()>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn entry(log: &WorkerLog, text: &str) {
        log.append(|bytes| {
            bytes.extend_from_slice(text.as_bytes());
            bytes.push(b'\n');
        });
    }

    /// Proves H-LOG-3.
    #[test]
    fn destinations_are_read() {
        assert_eq!("stdout".parse(), Ok(Destination::Stdout));
        assert_eq!("off".parse(), Ok(Destination::Off));
        assert_eq!("/var/log/a".parse(), Ok(Destination::File("/var/log/a".into())));
        assert!("".parse::<Destination>().is_err());
    }

    #[test]
    fn a_file_is_appended_to() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        std::fs::write(&path, "before\n").unwrap();
        let log = AccessLog::start(&Destination::File(path.clone()), &Metrics::new()).unwrap();
        let worker = log.worker();
        entry(&worker, "one");
        entry(&worker, "two");
        worker.flush();
        log.finish();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "before\none\ntwo\n");
        assert!(AccessLog::start(&Destination::File(dir.path().join("no/such")), &Metrics::new()).is_err());
    }

    #[test]
    fn off_formats_nothing() {
        let log = AccessLog::start(&Destination::Off, &Metrics::new()).unwrap();
        log.worker().append(|_| panic!("formatted"));
        log.finish();
    }

    #[tokio::test(start_paused = true)]
    async fn entries_leave_in_time_or_when_the_buffer_is_full() {
        let (sink, metrics) = (Sink::default(), Metrics::new());
        let log = AccessLog::to_writer(Box::new(sink.clone()), &metrics).unwrap();
        let worker = log.worker();
        entry(&worker, "late");
        tokio::select! {
            () = worker.flush_in_time() => unreachable!("it runs for ever"),
            () = tokio::time::sleep(FLUSH_AFTER - Duration::from_millis(1)) => log.finish(),
        }
        assert!(sink.0.lock().unwrap().is_empty(), "entries wait for company");
        entry(&worker, "later");
        worker.first_entry.notify_one();
        tokio::select! {
            () = worker.flush_in_time() => unreachable!("it runs for ever"),
            () = tokio::time::sleep(FLUSH_AFTER + Duration::from_millis(1)) => log.finish(),
        }
        assert_eq!(*sink.0.lock().unwrap(), b"late\nlater\n");
        entry(&worker, &"x".repeat(FLUSH_BYTES));
        log.finish();
        assert_eq!(metrics.control().access_log_bytes.get(), 11 + FLUSH_BYTES as u64 + 1);
    }

    #[test]
    fn a_stuck_destination_drops_and_counts_and_never_blocks() {
        let (release, gate) = mpsc::channel();
        let metrics = Metrics::new();
        let log = AccessLog::to_writer(Box::new(Stuck(gate)), &metrics).unwrap();
        let worker = log.worker();
        // One buffer is with the writer or in the queue; the queue holds the rest; then entries are dropped.
        for _ in 0..QUEUE + 10 {
            entry(&worker, "a");
            entry(&worker, "b");
            worker.flush();
        }
        let dropped = metrics.control().access_log_dropped.get();
        assert!((18..=20).contains(&dropped), "{dropped}");
        drop(release);
    }
}
