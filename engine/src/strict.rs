//! A second look at HTTP/1 requests, before the parser has them.
//!
//! Parsers of the world disagree on some messages: both kinds of framing, two lengths, line ends without a carriage return, a `#` in the
//! target. Who reads them otherwise than the proxy in front of us did takes the rest of one client's request for the next one's (request
//! smuggling). Such messages are refused as a whole. The parser does not tell of them, so [`Strict`] follows the bytes on their way
//! to it and spoils all from the first byte that must not be: the parser then answers 400 and closes, in its turn after earlier requests.
//!
//! It keeps no bytes but those of a line that has not come whole.

use memchr::{memchr, memmem};

/// What unacceptable bytes are replaced with: no head may hold it, and it ends no line.
const SPOIL: u8 = 0;
/// A line longer than this is refused by the parser's own limits first.
const MAX_LINE: usize = 64 * 1024;

/// Follows the requests of one connection.
#[derive(Debug, Default)]
pub struct Strict {
    at: At,
    /// A request line has come.
    speaks_http: bool,
    /// The beginning of a line whose end has not come.
    begun: Vec<u8>,
    framing: Framing,
}

/// Where in a message the next byte stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    #[default]
    RequestLine,
    Header,
    /// So many bytes of body are to come.
    Body(u64),
    ChunkSize,
    /// So many bytes of a chunk and of the line end behind it.
    Chunk(u64),
    Trailer,
    /// Something was spoiled: the parser goes no further.
    Refused,
    /// The connection began with something that is not HTTP.
    Foreign,
}

/// What the head says of the body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Framing {
    #[default]
    None,
    Length(u64),
    Chunked,
}

/// Why a message is refused.
struct Ambiguous;

impl Strict {
    /// Looks at bytes that the parser gets next, and spoils what it must not accept. False when the peer does not speak HTTP at all: who
    /// speaks something else, a broken HTTP/2 for one, would not understand an answer, so it gets none (RFC 9113 section 3.4).
    #[must_use]
    pub fn check(&mut self, bytes: &mut [u8]) -> bool {
        self.follow(bytes);
        self.at != At::Foreign
    }

    fn follow(&mut self, bytes: &mut [u8]) {
        let mut rest = 0;
        while rest < bytes.len() {
            match self.at {
                At::Refused => return bytes[rest..].fill(SPOIL),
                At::Foreign => return,
                At::Body(left) | At::Chunk(left) => rest += self.skip(left, bytes.len() - rest),
                At::RequestLine | At::Header | At::ChunkSize | At::Trailer => {
                    let Some(end) = memchr(b'\n', &bytes[rest..]) else {
                        if self.keep(&bytes[rest..]).is_err() {
                            self.refuse(&mut bytes[rest..], SPOIL);
                        }
                        return;
                    };
                    let end = rest + end + 1;
                    let before = self.at;
                    let (result, alone) = if self.begun.is_empty() {
                        let line = &bytes[rest..end];
                        (self.line(line), !line.ends_with(b"\r\n"))
                    } else {
                        self.begun.extend_from_slice(&bytes[rest..end]);
                        let line = std::mem::take(&mut self.begun);
                        (self.line(&line), !line.ends_with(b"\r\n"))
                    };
                    if result.is_err() {
                        // The parser looks into heads byte by byte, but takes anything for a chunk's extension except a line feed
                        // alone, and for a trailer except a carriage return alone.
                        let first = match before {
                            At::ChunkSize if alone => b'\n',
                            At::Trailer if alone => b'\r',
                            _ => SPOIL,
                        };
                        return self.refuse(&mut bytes[end - 1..], first);
                    }
                    rest = end;
                }
            }
        }
    }

    /// Spoils all that is left. `first` is what stops the parser.
    fn refuse(&mut self, rest: &mut [u8], first: u8) {
        rest.fill(SPOIL);
        rest[0] = first;
        self.at = At::Refused;
    }

    /// Goes over bytes that have no lines.
    fn skip(&mut self, left: u64, there: usize) -> usize {
        let step = usize::try_from(left).unwrap_or(usize::MAX).min(there);
        let left = left - step as u64;
        self.at = match self.at {
            At::Body(_) if left > 0 => At::Body(left),
            At::Body(_) => At::RequestLine,
            _ if left > 0 => At::Chunk(left),
            _ => At::ChunkSize,
        };
        step
    }

    fn keep(&mut self, begun: &[u8]) -> Result<(), Ambiguous> {
        if self.begun.len() + begun.len() > MAX_LINE {
            return Err(Ambiguous);
        }
        self.begun.extend_from_slice(begun);
        Ok(())
    }

    /// A whole line with its end.
    fn line(&mut self, line: &[u8]) -> Result<(), Ambiguous> {
        // RFC 9112 section 2.2 lets recipients take a line feed alone; those that do not see another message.
        let line = line.strip_suffix(b"\r\n").ok_or(Ambiguous)?;
        match self.at {
            // Empty lines before a request are skipped (RFC 9112 section 2.2).
            At::RequestLine if line.is_empty() => {}
            At::RequestLine => {
                // A balancer whose PROXY protocol nobody has switched on here is told so by a 400, which operators find.
                let known = || line.starts_with(b"PROXY ") || memmem::find(line, b"HTTP/").is_some();
                if !self.speaks_http && !known() {
                    self.at = At::Foreign;
                    return Ok(());
                }
                self.speaks_http = true;
                request_line(line)?;
                self.framing = Framing::None;
                self.at = At::Header;
            }
            At::Header if line.is_empty() => {
                self.at = match self.framing {
                    Framing::None | Framing::Length(0) => At::RequestLine,
                    Framing::Length(length) => At::Body(length),
                    Framing::Chunked => At::ChunkSize,
                };
            }
            At::Header => self.framing = header(line, self.framing)?,
            At::ChunkSize => {
                self.at = match chunk_size(line)? {
                    0 => At::Trailer,
                    size => At::Chunk(size.checked_add(2).ok_or(Ambiguous)?),
                }
            }
            At::Trailer if line.is_empty() => self.at = At::RequestLine,
            // The parser reads them, and nobody else gets them.
            At::Trailer => {}
            At::Body(_) | At::Chunk(_) | At::Refused | At::Foreign => unreachable!("no lines are looked for there"),
        }
        Ok(())
    }
}

/// `#` never stands in a request target (RFC 9112 section 3.2); parsers cut there, or take it along.
fn request_line(line: &[u8]) -> Result<(), Ambiguous> {
    if memchr(b'#', line).is_some() { Err(Ambiguous) } else { Ok(()) }
}

/// Only what frames a body matters here; all else is the parser's.
fn header(line: &[u8], framing: Framing) -> Result<Framing, Ambiguous> {
    const LENGTH: &[u8] = b"content-length:";
    const CODING: &[u8] = b"transfer-encoding:";
    let is = |name: &[u8]| line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
    let next = match line.first() {
        Some(b'c' | b'C') if is(LENGTH) => Framing::Length(length(line[LENGTH.len()..].trim_ascii())?),
        Some(b't' | b'T') if is(CODING) => {
            if !line[CODING.len()..].trim_ascii().eq_ignore_ascii_case(b"chunked") {
                return Err(Ambiguous);
            }
            Framing::Chunked
        }
        _ => return Ok(framing),
    };
    // One statement on the body is allowed, in one line (RFC 9112 section 6.3 lets us refuse the others).
    if framing == Framing::None { Ok(next) } else { Err(Ambiguous) }
}

fn length(digits: &[u8]) -> Result<u64, Ambiguous> {
    let whole = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(digits).ok().filter(|_| whole).ok_or(Ambiguous)?;
    text.parse().map_err(|_| Ambiguous)
}

/// Hexadecimal digits, and extensions that nobody needs.
fn chunk_size(line: &[u8]) -> Result<u64, Ambiguous> {
    let size = &line[..memchr(b';', line).unwrap_or(line.len())];
    // A space before the `;` is allowed as "bad white space"; one at the end is not (RFC 9112 section 7.1.1).
    let size = if size.len() < line.len() { size.trim_ascii_end() } else { size };
    if size.is_empty() || size.len() > 16 || !size.iter().all(u8::is_ascii_hexdigit) {
        return Err(Ambiguous);
    }
    let text = std::str::from_utf8(size).map_err(|_| Ambiguous)?;
    u64::from_str_radix(text, 16).map_err(|_| Ambiguous)
}

#[cfg(test)]
mod tests;
