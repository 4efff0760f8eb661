//! Reading the table.

use super::Message;

/// The host of the API that the messages are for.
pub const HOST: &str = "abc123.execute-api.gw.example";

/// One message and what must come of it.
#[derive(Clone, Debug)]
pub struct Line {
    pub direction: Direction,
    pub name: String,
    pub steps: Vec<Step>,
    pub must: Must,
    /// What has been escaped in the file.
    pub text: String,
}

/// Who sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// A client, over HTTP/1.
    Client,
    /// A backend, as its answer to `GET /a`, or what the line's name begins with (`head-`, `post-`).
    Backend,
    /// A client, as HTTP/2 frames.
    Http2,
}

/// A piece of what is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Bytes(Vec<u8>),
    /// Nothing more is sent.
    Finish,
}

/// What must come of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Must {
    /// `400`: this answer, then the connection ends. `400+`: the connection goes on.
    Refuse { status: u16, goes_on: bool },
    /// `400?`: this answer, and then either.
    Answer(u16),
    /// `refuse`: any answer of the gateway's own, or none, and nobody else sees anything of it.
    RefuseSomehow,
    /// `close`
    Close,
    /// `cut`: the other side gets a part and knows that it is one.
    Cut,
    /// `not-whole`: refused or cut, depending on how much had come when it was found out.
    NotWhole,
    /// `survive`: the gateway serves the next client, and nobody got anything ambiguous.
    Survive,
    /// `= start-line-without-version [name=value…] ["body"]`, then ` .` if the connection ends with it.
    Forward { wanted: Wanted, goes_on: bool },
}

/// A message as it must arrive; headers that the gateway adds by itself are left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted(pub Message);

impl Wanted {
    /// Whether `message` is the wanted one.
    pub fn is(&self, message: &Message) -> bool {
        let mut message = message.clone();
        message.headers.sort();
        let mut wanted = self.0.clone();
        wanted.headers.sort();
        wanted == message
    }
}

const CLIENT: &[&str] = &[
    include_str!("../../hostile/framing.txt"),
    include_str!("../../hostile/heads.txt"),
    include_str!("../../hostile/targets.txt"),
];
const BACKEND: &[&str] = &[include_str!("../../hostile/backends.txt")];
const HTTP2: &[&str] = &[include_str!("../../hostile/http2.txt")];

/// All lines of the table.
pub fn lines() -> Vec<Line> {
    let of = |files: &[&str], direction| files.iter().flat_map(move |file| read(file, direction)).collect::<Vec<_>>();
    [of(CLIENT, Direction::Client), of(BACKEND, Direction::Backend), of(HTTP2, Direction::Http2)].concat()
}

fn read(file: &str, direction: Direction) -> Vec<Line> {
    let lines = file.lines().filter(|line| !line.is_empty() && !line.starts_with("# "));
    lines.map(|line| one(line, direction)).collect()
}

fn one(line: &str, direction: Direction) -> Line {
    let mut fields = line.split(" | ");
    let mut field = || fields.next().unwrap_or_else(|| panic!("a field is missing: {line}"));
    let (name, send, must) = (field().trim(), field(), field().trim());
    assert!(fields.next().is_none(), "too many fields: {line}");
    let (bytes, finish) = match send.trim_end().strip_suffix("{fin}") {
        Some(bytes) => (bytes, true),
        None => (send.trim_end(), false),
    };
    // Frames are read by `frames`, which knows what is to be escaped in them.
    let bytes = if direction == Direction::Http2 { bytes.as_bytes().to_vec() } else { unescape(bytes) };
    let mut steps = vec![Step::Bytes(bytes)];
    steps.extend(finish.then_some(Step::Finish));
    Line { direction, name: name.to_owned(), steps, must: read_must(must), text: send.trim_end().to_owned() }
}

fn read_must(must: &str) -> Must {
    if let Some(forward) = must.strip_prefix("= ") {
        let (forward, goes_on) = forward.strip_suffix(" .").map_or((forward, true), |forward| (forward, false));
        return Must::Forward { wanted: Wanted(read_wanted(forward)), goes_on };
    }
    match must {
        "refuse" => Must::RefuseSomehow,
        "close" => Must::Close,
        "cut" => Must::Cut,
        "not-whole" => Must::NotWhole,
        "survive" => Must::Survive,
        status if status.ends_with('?') => Must::Answer(status.trim_end_matches('?').parse().expect("a status")),
        status => {
            let (status, goes_on) = status.strip_suffix('+').map_or((status, false), |status| (status, true));
            Must::Refuse { status: status.parse().unwrap_or_else(|_| panic!("no such outcome: {must}")), goes_on }
        }
    }
}

/// `POST /a x-a=b "body"`, or `200 x-a=b "body"`.
fn read_wanted(text: &str) -> Message {
    let (text, body) = match text.split_once(" \"") {
        Some((text, body)) => (text, unescape(body.strip_suffix('"').expect("a body ends with a quote"))),
        None => (text, Vec::new()),
    };
    let mut start = Vec::new();
    let mut headers = Vec::new();
    for (number, word) in text.split(' ').enumerate() {
        match word.split_once('=') {
            Some((name, value)) if number > 0 && !word.starts_with('/') && !word.starts_with("http:") => {
                headers.push((name.to_owned(), unescape(value)));
            }
            _ => start.push(word),
        }
    }
    Message { start: start.join(" "), headers, body }
}

/// `\r`, `\n`, `\t`, `\xNN`, `\\`; `{H}` is the Host line, `{h}` the host, `{C}` a Transfer-Encoding line, `{a*9}` nine of `a`.
pub(super) fn unescape(text: &str) -> Vec<u8> {
    let text = text
        .replace("{H}", &format!("Host: {HOST}\\r\\n"))
        .replace("{h}", HOST)
        .replace("{C}", "Transfer-Encoding: chunked\\r\\n");
    let mut out = Vec::new();
    let mut rest = &text[..];
    while let Some(next) = rest.chars().next() {
        if let Some((what, times, after)) = repetition(rest) {
            out.extend(unescape(what).repeat(times));
            rest = after;
            continue;
        }
        let (bytes, used): (Vec<u8>, usize) = match rest.as_bytes() {
            [b'\\', b'r', ..] => (vec![b'\r'], 2),
            [b'\\', b'n', ..] => (vec![b'\n'], 2),
            [b'\\', b't', ..] => (vec![b'\t'], 2),
            [b'\\', b's', ..] => (vec![b' '], 2),
            [b'\\', b'\\', ..] => (vec![b'\\'], 2),
            [b'\\', b'x', ..] => (vec![u8::from_str_radix(&rest[2..4], 16).expect("two hexadecimal digits")], 4),
            _ => (next.to_string().into_bytes(), next.len_utf8()),
        };
        out.extend(bytes);
        rest = &rest[used..];
    }
    out
}

fn repetition(text: &str) -> Option<(&str, usize, &str)> {
    let (inner, after) = text.strip_prefix('{')?.split_once('}')?;
    let (what, times) = inner.rsplit_once('*')?;
    Some((what, times.parse().ok()?, after))
}
