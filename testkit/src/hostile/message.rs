//! A reader that takes HTTP/1 in its one strict form only.

/// A message as somebody got it, without what frames it and without what gateways add by themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Method and target, or the status.
    pub start: String,
    /// Names in lower case, in the order of the message.
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
}

/// How far bytes are a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// A message, its host, and how many bytes it has.
    Whole { message: Message, host: Option<String>, length: usize },
    /// The beginning of one.
    Part,
    /// Not in the strict form: what is wrong.
    Wrong(String),
}

/// What a reader knows of an answer's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Request,
    /// `bare`: an answer to HEAD, which has no body. `ended`: nothing more comes, so a body without length is whole.
    Answer {
        bare: bool,
        ended: bool,
    },
}

/// Headers that gateways add.
const ADDED: &[&str] = &[
    "forwarded",
    "via",
    "x-amzn-trace-id",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "apigw-requestid",
    "date",
    "server",
    "connection",
    "keep-alive",
];

/// Reads one message off the beginning of `bytes`.
pub(super) fn read(bytes: &[u8], kind: Kind) -> Read {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Read::Part };
    let wrong =
        |why: &str| Read::Wrong(format!("{why}: {:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(300)])));
    let mut lines = bytes[..end].split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    if bytes[..end + 2].iter().filter(|&&byte| byte == b'\n').count()
        != bytes[..end + 2].windows(2).filter(|window| window == b"\r\n").count()
        || bytes[..end].contains(&0)
    {
        return wrong("a line without its end");
    }
    let Some(start) = start_line(lines.next().unwrap_or_default(), kind) else { return wrong("start line") };
    let (mut headers, mut lengths, mut codings, mut hosts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for line in lines {
        let Some(colon) = line.iter().position(|&byte| byte == b':') else { return wrong("a line without colon") };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii().to_vec());
        if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
            return wrong("a name");
        }
        if value.iter().any(|&byte| byte < b' ' && byte != b'\t' || byte == 127) {
            return wrong("a value");
        }
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        match name.as_str() {
            "content-length" => lengths.push(value),
            "transfer-encoding" => codings.push(value),
            "host" => hosts.push(String::from_utf8_lossy(&value).into_owned()),
            added if ADDED.contains(&added) => {}
            _ => headers.push((name, value)),
        }
    }
    if lengths.len() + codings.len() > 1 || kind == Kind::Request && hosts.len() != 1 {
        return wrong("more or less than one length or host");
    }
    let rest = &bytes[end + 4..];
    let status: u16 = start.parse().unwrap_or(0);
    let bare = matches!(kind, Kind::Answer { bare: true, .. }) || matches!(status, 100..=199 | 204 | 304);
    let body = if bare {
        Some((Vec::new(), 0))
    } else if codings.len() == 1 {
        if !codings[0].eq_ignore_ascii_case(b"chunked") {
            return wrong("a coding");
        }
        match chunks(rest) {
            Ok(body) => body,
            Err(()) => return wrong("chunks"),
        }
    } else if let Some(length) = lengths.first() {
        let length = std::str::from_utf8(length).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let Some(length) = length.and_then(|text| text.parse::<usize>().ok()) else { return wrong("a length") };
        (rest.len() >= length).then(|| (rest[..length].to_vec(), length))
    } else if let Kind::Answer { ended, .. } = kind {
        ended.then(|| (rest.to_vec(), rest.len()))
    } else {
        Some((Vec::new(), 0))
    };
    match body {
        None => Read::Part,
        Some((body, used)) => {
            Read::Whole { message: Message { start, headers, body }, host: hosts.pop(), length: end + 4 + used }
        }
    }
}

fn start_line(line: &[u8], kind: Kind) -> Option<String> {
    let line = std::str::from_utf8(line).ok()?;
    match kind {
        Kind::Request => {
            let start = line.strip_suffix(" HTTP/1.1").or_else(|| line.strip_suffix(" HTTP/1.0"))?;
            let (method, target) = start.split_once(' ')?;
            let clear = !target.is_empty() && target.bytes().all(|byte| byte > b' ' && byte != 127 && byte != b'#');
            (method.bytes().all(is_token) && clear).then(|| start.to_owned())
        }
        Kind::Answer { .. } => {
            let rest = line.strip_prefix("HTTP/1.1 ").or_else(|| line.strip_prefix("HTTP/1.0 "))?;
            let status = rest.get(..3)?;
            (status.bytes().all(|byte| byte.is_ascii_digit()) && matches!(rest.as_bytes().get(3), None | Some(b' ')))
                .then(|| status.to_owned())
        }
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// A body and how many bytes it took; `None` when more is to come.
fn chunks(mut rest: &[u8]) -> Result<Option<(Vec<u8>, usize)>, ()> {
    let before = rest.len();
    let mut body = Vec::new();
    loop {
        let Some(end) = rest.windows(2).position(|window| window == b"\r\n") else { return Ok(None) };
        let digits = std::str::from_utf8(&rest[..end]).map_err(|_| ())?;
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(());
        }
        let size = usize::from_str_radix(digits, 16).map_err(|_| ())?;
        rest = &rest[end + 2..];
        if rest.len() < size + 2 {
            return Ok(None);
        }
        if &rest[size..size + 2] != b"\r\n" {
            return Err(());
        }
        body.extend_from_slice(&rest[..size]);
        rest = &rest[size + 2..];
        if size == 0 {
            return Ok(Some((body, before - rest.len())));
        }
    }
}
