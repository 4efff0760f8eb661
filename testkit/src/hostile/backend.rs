//! The backend of hostile messages: it keeps every byte that it got, and says whatever it is told to.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use super::message::{self, Kind};
use super::{Message, Step};

/// Every connection of the gateway to it, byte by byte.
#[derive(Debug)]
pub struct Recorder {
    pub address: SocketAddr,
    /// A gateway that says nothing for so long hangs.
    pub deadline: Duration,
    state: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Debug, Default)]
struct State {
    recorded: Vec<Recorded>,
    /// Another handle of each connection, in the same order.
    streams: Vec<TcpStream>,
    /// What is answered to the next requests that are not for `/next`; absent: a plain 200.
    answer: Option<Vec<Step>>,
}

/// What one connection brought.
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    pub bytes: Vec<u8>,
    /// The gateway has closed it.
    pub ended: bool,
}

/// Answers that are meant to be told from others.
const PLAIN: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nplain";
pub(super) const NEXT: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext";

impl Recorder {
    /// Starts it on a thread that ends with the program.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state: Arc<(Mutex<State>, Condvar)> = Arc::default();
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let number = {
                    let mut state = shared.0.lock().unwrap();
                    state.recorded.push(Recorded::default());
                    state.streams.push(stream.try_clone().unwrap());
                    state.recorded.len() - 1
                };
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || serve(stream, number, &shared));
            }
        });
        Self { address, deadline: Duration::from_secs(10), state }
    }

    /// Forgets what was recorded; from now on this is answered.
    pub fn reset(&self, answer: Option<&[Step]>) {
        let mut state = self.state.0.lock().unwrap();
        // Connections that are still open go on at their old numbers, which nobody looks at any more.
        for recorded in &mut state.recorded {
            recorded.bytes.clear();
        }
        state.answer = answer.map(<[Step]>::to_vec);
    }

    /// What came since the reset, when every connection that brought a part of something is over.
    pub fn settled(&self, within: Duration) -> Vec<Recorded> {
        let until = Instant::now() + within;
        let (lock, changed) = &*self.state;
        let mut state = lock.lock().unwrap();
        loop {
            // What has arrived and is not read yet counts too.
            let arriving = state
                .recorded
                .iter()
                .zip(&state.streams)
                .any(|(recorded, stream)| !recorded.ended && has_bytes(stream));
            let open =
                |recorded: &&Recorded| !recorded.ended && !recorded.bytes.is_empty() && !is_whole(&recorded.bytes);
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || !arriving && !state.recorded.iter().any(|recorded| open(&recorded)) {
                return state.recorded.iter().filter(|recorded| !recorded.bytes.is_empty()).cloned().collect();
            }
            state = changed.wait_timeout(state, left.min(Duration::from_millis(1))).unwrap().0;
        }
    }
}

/// Whether bytes, or the end, wait to be read.
fn has_bytes(stream: &TcpStream) -> bool {
    const PEEK: i32 = 2;
    const DO_NOT_WAIT: i32 = 0x40;
    let mut byte = [std::mem::MaybeUninit::uninit()];
    match socket2::SockRef::from(stream).recv_with_flags(&mut byte, PEEK | DO_NOT_WAIT) {
        Ok(_) => true,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    }
}

fn is_whole(mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        match message::read(bytes, Kind::Request) {
            message::Read::Whole { length, .. } => bytes = &bytes[length..],
            _ => return false,
        }
    }
    true
}

fn serve(mut stream: TcpStream, number: usize, shared: &(Mutex<State>, Condvar)) {
    let (lock, changed) = shared;
    let mut all = Vec::new();
    let mut done = 0;
    let mut buffer = [0; 16 * 1024];
    loop {
        // Waits here, so that under the lock bytes are either in the socket or recorded.
        let _ = stream.peek(&mut [0]);
        let (answer, read) = {
            let mut state = lock.lock().unwrap();
            let read = stream.read(&mut buffer).unwrap_or(0);
            all.extend_from_slice(&buffer[..read]);
            state.recorded[number].bytes.extend_from_slice(&buffer[..read]);
            state.recorded[number].ended = read == 0;
            changed.notify_all();
            (state.answer.clone(), read)
        };
        if read == 0 {
            return;
        }
        while let message::Read::Whole { message: Message { start, .. }, length, .. } =
            message::read(&all[done..], Kind::Request)
        {
            done += length;
            let ended = match (&answer, start.ends_with(" /next")) {
                (_, true) => stream.write_all(NEXT).is_err(),
                (None, false) => stream.write_all(PLAIN).is_err(),
                (Some(steps), false) => say(&mut stream, steps),
            };
            if ended {
                break;
            }
        }
    }
}

fn say(stream: &mut TcpStream, steps: &[Step]) -> bool {
    for step in steps {
        match step {
            Step::Bytes(bytes) => {
                if stream.write_all(bytes).is_err() {
                    return true;
                }
            }
            Step::Finish => {
                let _ = stream.shutdown(Shutdown::Write);
            }
        }
    }
    false
}
