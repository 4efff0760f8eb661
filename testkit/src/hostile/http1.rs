//! Sends a line of the table over HTTP/1, as a client or as a backend, and looks at what came of it.

use std::io::{ErrorKind, Read as _, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use super::message::{self, Kind, Read};
use super::{HOST, Line, Message, Outcome, Recorded, Recorder, Step};

/// A backend's connection that has only a part is given so long to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// The message of a client, with another request right behind it.
pub fn from_client(gateway: SocketAddr, recorder: &Recorder, line: &Line) -> Outcome {
    recorder.reset(None);
    let mut send = Vec::new();
    let mut finish = false;
    for step in &line.steps {
        match step {
            Step::Bytes(bytes) => send.extend_from_slice(bytes),
            Step::Finish => finish = true,
        }
    }
    if !finish {
        send.extend_from_slice(next().as_bytes());
    }
    let answer = exchange(recorder.deadline, gateway, &send, finish);
    let barrier = exchange(recorder.deadline, gateway, next().as_bytes(), false);
    if !is_next(&barrier) {
        return Outcome::Ambiguous(format!("the next client got {}", shown(barrier.as_deref().unwrap_or_default())));
    }
    let Some(answer) = answer else {
        // A backend that cannot read what it got says nothing, and so nobody does.
        return match judge(&recorder.settled(PATIENCE), || None, false, 1) {
            Outcome::Ambiguous(why) => Outcome::Ambiguous(why),
            _ => Outcome::Hung,
        };
    };
    let bare = send.starts_with(b"HEAD ");
    judge(&recorder.settled(PATIENCE), || status_of(&answer, bare), answers_next(&answer), 1)
}

/// What a gateway did, from what the backend saw of it. `others` requests for `/next` were made beside the message.
pub(super) fn judge(
    recorded: &[Recorded],
    status: impl FnOnce() -> Option<u16>,
    next_answered: bool,
    others: usize,
) -> Outcome {
    let (mut whole, mut part, mut nexts) = (Vec::new(), false, 0);
    for Recorded { bytes, .. } in recorded {
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            match message::read(rest, Kind::Request) {
                Read::Whole { message, host, length } => {
                    rest = &rest[length..];
                    if message.start == "GET /next" && message.body.is_empty() {
                        nexts += 1;
                    } else if host.as_deref().is_none_or(|host| !host.eq_ignore_ascii_case(HOST)) {
                        return Outcome::Ambiguous(format!("the backend was told of the host {host:?}"));
                    } else {
                        whole.push(message);
                    }
                }
                Read::Part => {
                    part = true;
                    break;
                }
                Read::Wrong(why) => return Outcome::Ambiguous(why),
            }
        }
    }
    let goes_on = nexts > others;
    if goes_on != next_answered {
        return Outcome::Ambiguous(format!("{nexts} further requests, answered: {next_answered}"));
    }
    match (whole.pop(), part, status()) {
        (Some(message), false, _) if whole.is_empty() => Outcome::Forwarded { message, goes_on },
        (Some(last), ..) => Outcome::Ambiguous(format!("more than one message: {whole:?}, {last:?}, a part: {part}")),
        (None, true, _) => Outcome::Cut,
        (None, false, None) => Outcome::Closed,
        (None, false, Some(status)) => Outcome::Refused { status, goes_on },
    }
}

/// The message of a backend, and another request of the same client behind it.
pub fn from_backend(gateway: SocketAddr, recorder: &Recorder, line: &Line) -> Outcome {
    const TRIES: usize = 20;
    // A backend that closes behind its answer may do so just as the next request goes to it; nobody may send that twice (RFC 9112,
    // section 9.3.1), so 503 is its right answer, and the line says nothing about it.
    let closes = line.steps.contains(&Step::Finish);
    let raced = |outcome: &Outcome| matches!(outcome, Outcome::Ambiguous(why) if why.starts_with("the next ") && why.contains(" got \"HTTP/1.1 503 "));
    (0..TRIES)
        .map(|_| answered(gateway, recorder, line))
        .find(|outcome| !(closes && raced(outcome)))
        .unwrap_or(Outcome::Hung)
}

fn answered(gateway: SocketAddr, recorder: &Recorder, line: &Line) -> Outcome {
    recorder.reset(Some(&line.steps));
    let head = line.name.starts_with("head-");
    let request = if head {
        format!("HEAD /a HTTP/1.1\r\nHost: {HOST}\r\n\r\n")
    } else if line.name.starts_with("post-") {
        format!("POST /a HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 3\r\n\r\nabc")
    } else {
        format!("GET /a HTTP/1.1\r\nHost: {HOST}\r\n\r\n")
    };
    let answer = exchange(recorder.deadline, gateway, format!("{request}{}", next()).as_bytes(), false);
    let barrier = exchange(recorder.deadline, gateway, next().as_bytes(), false);
    if !is_next(&barrier) {
        return Outcome::Ambiguous(format!("the next client got {}", shown(barrier.as_deref().unwrap_or_default())));
    }
    let Some(answer) = answer else { return Outcome::Hung };
    if answer.is_empty() {
        return Outcome::Closed;
    }
    match message::read(&answer, Kind::Answer { bare: head, ended: true }) {
        Read::Wrong(why) => Outcome::Ambiguous(why),
        Read::Part => Outcome::Cut,
        Read::Whole { message, length, .. } => {
            let rest = &answer[length..];
            let goes_on = is_next(&Some(rest.to_vec()));
            let status = message.start.parse().unwrap_or(0);
            if !goes_on && !rest.is_empty() {
                Outcome::Ambiguous(format!("the next request got {}", shown(rest)))
            } else if status >= 500 {
                Outcome::Refused { status, goes_on }
            } else {
                Outcome::Forwarded { message: without_type(message), goes_on }
            }
        }
    }
}

/// Types that some gateways add to answers without one.
fn without_type(mut message: Message) -> Message {
    message.headers.retain(|(name, _)| name != "content-type");
    message
}

fn next() -> String {
    format!("GET /next HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n")
}

/// Everything that comes back until the gateway closes; `None` when it does not.
pub(super) fn exchange(deadline: Duration, gateway: SocketAddr, send: &[u8], finish: bool) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect(gateway).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(deadline)).unwrap();
    stream.set_write_timeout(Some(deadline)).unwrap();
    // The gateway may close before it has all.
    let _ = stream.write_all(send);
    if finish {
        let _ = stream.shutdown(Shutdown::Write);
    }
    read_all(&mut stream)
}

pub(super) fn read_all(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Some(all),
            Ok(read) => all.extend_from_slice(&buffer[..read]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return None,
            // A reset ends it too.
            Err(_) => return Some(all),
        }
    }
}

/// The status of the first final answer.
fn status_of(answer: &[u8], bare: bool) -> Option<u16> {
    answers(answer, bare).into_iter().map(|(status, _)| status).find(|status| *status >= 200)
}

fn answers_next(answer: &[u8]) -> bool {
    answer.windows(8).any(|window| window == b"\r\n\r\nnext") || answer.ends_with(b"\r\nnext\r\n0\r\n\r\n")
}

fn answers(mut rest: &[u8], mut bare: bool) -> Vec<(u16, Vec<u8>)> {
    let mut all = Vec::new();
    while let Read::Whole { message, length, .. } = message::read(rest, Kind::Answer { bare, ended: true }) {
        let status = message.start.parse().unwrap_or(0);
        bare &= status < 200;
        all.push((status, message.body));
        rest = &rest[length..];
    }
    // An answer that a strict reader does not take still has a status.
    if all.is_empty()
        && let Some(status) = rest.strip_prefix(b"HTTP/1.1 ").or_else(|| rest.strip_prefix(b"HTTP/1.0 "))
        && let Some(status) = status.get(..3).and_then(|status| std::str::from_utf8(status).ok()?.parse().ok())
    {
        all.push((status, Vec::new()));
    }
    all
}

fn is_next(answer: &Option<Vec<u8>>) -> bool {
    answer.as_ref().is_some_and(|answer| matches!(&answers(answer, false)[..], [(200, body)] if body == b"next"))
}

fn shown(bytes: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(300)]))
}
