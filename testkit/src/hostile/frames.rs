//! HTTP/2 frames of the table, sent with prior knowledge, and what came of them.
//!
//! Frames are separated by ` / `. `H` is HEADERS (of a new stream) with fields `name=value`; `H!` ends the stream; `T` and `T!` are HEADERS of the
//! stream that is open; `D` and `D!` DATA; `R` RST_STREAM; `W n` WINDOW_UPDATE; `S id value` SETTINGS; `P` PING; `C` and `C!` CONTINUATION
//! (`!` ends the header block; a HEADERS written `h` or `h!` leaves it open); `X` a frame in hexadecimal. `n*` before a frame repeats it.
//! `{G}` stands for the pseudo headers of `GET /a`, `{P}` of `POST /a`. `\s` is a space within a value.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::http1::{exchange, judge};
use super::table::unescape;
use super::{HOST, Line, Outcome, Recorder, Step};

const PATIENCE: Duration = Duration::from_secs(5);
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// The frames of a client on a connection of their own, with another request right behind them. The next client comes over `http1`.
pub fn over_http2(http1: SocketAddr, gateway: SocketAddr, recorder: &Recorder, line: &Line) -> Outcome {
    recorder.reset(None);
    let Some(Step::Bytes(text)) = line.steps.first() else { return Outcome::Closed };
    let text = std::str::from_utf8(text).expect("the table is text");
    let mut script = Script::default();
    for frame in text.split(" / ") {
        script.add(frame);
    }
    let asked = script.stream;
    let pseudo = pseudo("GET", "/next");
    script.stream += 2;
    let probe = script.stream;
    script.frame(HEADERS, END_STREAM | END_HEADERS, probe, &block(&pseudo));
    let Some(seen) = converse(gateway, recorder.deadline, &script.bytes, asked, probe) else { return Outcome::Hung };
    let barrier = exchange(
        recorder.deadline,
        http1,
        format!("GET /next HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n").as_bytes(),
        false,
    );
    if !barrier.is_some_and(|answer| answer.ends_with(b"next")) {
        return Outcome::Ambiguous("the next client got no answer".to_owned());
    }
    judge(&recorder.settled(PATIENCE), || seen.status, seen.next, 1)
}

/// What the gateway said.
#[derive(Debug, Default)]
struct Seen {
    status: Option<u16>,
    over: bool,
    next: bool,
}

#[derive(Debug, Default)]
struct Script {
    bytes: Vec<u8>,
    /// The latest stream; 1 is the first.
    stream: u32,
}

impl Script {
    fn add(&mut self, text: &str) {
        let text = text.trim();
        if let Some((times, frame)) = text.split_once('*')
            && let Ok(times) = times.parse::<usize>()
        {
            for _ in 0..times {
                self.add(frame);
            }
            return;
        }
        let (kind, rest) = text.split_once(' ').unwrap_or((text, ""));
        let end = if kind.ends_with('!') { END_STREAM } else { 0 };
        match kind.trim_end_matches('!') {
            "H" | "h" => {
                self.stream = if self.stream == 0 { 1 } else { self.stream + 2 };
                let whole = if kind.starts_with('H') { END_HEADERS } else { 0 };
                self.frame(HEADERS, end | whole, self.stream, &block(&fields(rest)));
            }
            "T" => self.frame(HEADERS, end | END_HEADERS, self.stream, &block(&fields(rest))),
            "C" => self.frame(CONTINUATION, if end > 0 { END_HEADERS } else { 0 }, self.stream, &block(&fields(rest))),
            "D" => self.frame(DATA, end, self.stream, &unescape(rest)),
            "R" => self.frame(RST_STREAM, 0, self.stream, &8_u32.to_be_bytes()),
            "W" => {
                let step: u32 = rest.parse().expect("a window");
                self.frame(WINDOW_UPDATE, 0, self.stream, &step.to_be_bytes());
            }
            "S" => {
                let (id, value) = rest.split_once(' ').expect("an id and a value");
                let mut payload = id.parse::<u16>().expect("an id").to_be_bytes().to_vec();
                payload.extend(value.parse::<u32>().expect("a value").to_be_bytes());
                self.frame(SETTINGS, 0, 0, &payload);
            }
            "P" => self.frame(PING, 0, 0, &[7; 8]),
            "X" => {
                let digits: Vec<u8> = rest.bytes().filter(|byte| byte.is_ascii_hexdigit()).collect();
                let hex = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hex");
                self.bytes.extend(digits.chunks(2).map(hex));
            }
            other => panic!("no such frame: {other}"),
        }
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).expect("a frame is short").to_be_bytes();
        self.bytes.extend_from_slice(&length[1..]);
        self.bytes.extend_from_slice(&[kind, flags]);
        self.bytes.extend_from_slice(&stream.to_be_bytes());
        self.bytes.extend_from_slice(payload);
    }
}

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

fn fields(text: &str) -> Fields {
    let text = text
        .replace("{G}", ":method=GET :scheme=http :path=/a :authority={h}")
        .replace("{P}", ":method=POST :scheme=http :path=/a :authority={h}");
    let field = |word: &str| {
        let at = word.get(1..).and_then(|rest| rest.find('=')).map(|at| at + 1);
        let at = at.unwrap_or_else(|| panic!("a field without `=`: {word}"));
        (unescape(&word[..at]), unescape(&word[at + 1..]))
    };
    text.split(' ').filter(|word| !word.is_empty()).map(field).collect()
}

fn pseudo(method: &str, path: &str) -> Fields {
    let field = |name: &str, value: &str| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
    vec![field(":method", method), field(":scheme", "http"), field(":path", path), field(":authority", HOST)]
}

/// Literals that are never indexed and not compressed (RFC 7541 section 6.2.3).
fn block(fields: &Fields) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0x10);
        for text in [name, value] {
            length(text.len(), &mut out);
            out.extend_from_slice(text);
        }
    }
    out
}

/// An integer with a prefix of seven bits.
fn length(mut value: usize, out: &mut Vec<u8>) {
    const MOST: usize = 127;
    let byte = |value: usize| u8::try_from(value).expect("it is below 256");
    if value < MOST {
        return out.push(byte(value));
    }
    out.push(byte(MOST));
    value -= MOST;
    while value >= 128 {
        out.push(byte(value % 128 + 128));
        value /= 128;
    }
    out.push(byte(value));
}

/// Sends everything and reads until both streams are over, or the connection is.
fn converse(gateway: SocketAddr, deadline: Duration, script: &[u8], asked: u32, probe: u32) -> Option<Seen> {
    let mut stream = TcpStream::connect(gateway).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut writer = stream.try_clone().unwrap();
    writer.set_write_timeout(Some(deadline)).unwrap();
    let bytes = [PREFACE, &[0, 0, 0, SETTINGS, 0, 0, 0, 0, 0], script].concat();
    // A flood is written while answers are read, or both sides would wait.
    let writing = std::thread::spawn(move || {
        let _ = writer.write_all(&bytes);
    });
    let begun = Instant::now();
    let (mut seen, mut all, mut buffer) = (Seen::default(), Vec::new(), [0; 16 * 1024]);
    let mut next_over = false;
    let ended = loop {
        match stream.read(&mut buffer) {
            Ok(0) => break true,
            Ok(read) => all.extend_from_slice(&buffer[..read]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                // A stream that the frames left open has no answer; when the one behind it has one, that is all.
                if next_over && begun.elapsed() > Duration::from_millis(400) {
                    break true;
                }
                if begun.elapsed() > deadline {
                    break false;
                }
            }
            Err(_) => break true,
        }
        while let Some((kind, flags, id, payload)) = frame(&mut all) {
            match kind {
                HEADERS if id == asked => {
                    seen.status = seen.status.or_else(|| status(&payload));
                    seen.over |= flags & END_STREAM > 0;
                }
                HEADERS if id == probe => seen.next = status(&payload) == Some(200),
                DATA | RST_STREAM if kind == RST_STREAM || flags & END_STREAM > 0 => {
                    seen.over |= id == asked;
                    next_over |= id == probe;
                }
                SETTINGS if flags & 1 == 0 => {
                    let _ = stream.write_all(&[0, 0, 0, SETTINGS, 1, 0, 0, 0, 0]);
                }
                GOAWAY => {}
                _ => {}
            }
        }
        if seen.over && next_over {
            break true;
        }
    };
    drop(stream);
    let _ = writing.join();
    ended.then_some(seen)
}

fn frame(all: &mut Vec<u8>) -> Option<(u8, u8, u32, Vec<u8>)> {
    let head = all.first_chunk::<9>()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
    let (kind, flags) = (head[3], head[4]);
    let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
    if all.len() < 9 + length {
        return None;
    }
    let payload = all[9..9 + length].to_vec();
    all.drain(..9 + length);
    Some((kind, flags, id, payload))
}

/// `:status`, which every answer begins with (RFC 7541, appendix A).
fn status(block: &[u8]) -> Option<u16> {
    // A change of the table's size may stand before it.
    let start = block.iter().position(|byte| byte & 0xe0 != 0x20)?;
    let block = &block[start..];
    match block {
        [indexed @ 0x88..=0x8e, ..] => [200, 204, 206, 304, 400, 404, 500].get(usize::from(indexed - 0x88)).copied(),
        [0x48 | 0x08 | 0x18, 3, digits @ ..] => std::str::from_utf8(digits.get(..3)?).ok()?.parse().ok(),
        [0x48 | 0x08 | 0x18, length, digits @ ..] if length & 0x80 > 0 => {
            digits_of(digits.get(..usize::from(length & 0x7f))?)
        }
        _ => None,
    }
}

/// Three digits in the code of RFC 7541, appendix B.
fn digits_of(bytes: &[u8]) -> Option<u16> {
    let bits: Vec<u8> = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
    let number = |bits: &[u8]| bits.iter().fold(0_u16, |number, bit| number * 2 + u16::from(*bit));
    let (mut at, mut value) = (0, 0);
    for _ in 0..3 {
        let short = number(bits.get(at..at + 5)?);
        let digit = if short < 3 {
            at += 5;
            short
        } else {
            let long = number(bits.get(at..at + 6)?);
            at += 6;
            long.checked_sub(0b01_1001)? + 3
        };
        value = value * 10 + digit;
    }
    Some(value)
}
