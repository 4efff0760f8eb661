//! Requests on one connection: what the gateway takes in, two lenient readers of other makes read as the same requests with the same
//! bodies. Where they would not, nothing may be taken in (request smuggling).

#![no_main]

use std::cell::RefCell;
use std::convert::Infallible;
use std::io::Error;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use libfuzzer_sys::fuzz_target;
use tollgate_engine::strict::Strict;

fuzz_target!(|bytes: &[u8]| {
    let [piece, stream @ ..] = bytes else { return };
    let taken = taken_in(stream, usize::from(*piece).max(1));
    for lengths_first in [false, true] {
        let mut rest = stream;
        for (number, request) in taken.iter().enumerate() {
            let Some((read, after)) = lenient(rest, lengths_first) else {
                panic!("request {number}, {request:?}, is none for a reader that prefers lengths: {lengths_first}");
            };
            assert_eq!(request, &read, "request {number} for a reader that prefers lengths: {lengths_first}");
            rest = after;
        }
    }
});

/// Target and body.
type Seen = (String, Vec<u8>);

/// The requests that come whole through the strict reader and hyper.
fn taken_in(stream: &[u8], piece: usize) -> Vec<Seen> {
    let seen = RefCell::new(Vec::new());
    let wire = Wire { rest: stream, piece, strict: Strict::default() };
    let service = service_fn(|request: Request<Incoming>| async {
        let target = request.uri().to_string();
        if let Ok(body) = request.into_body().collect().await {
            seen.borrow_mut().push((target, body.to_bytes().to_vec()));
        }
        Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
    });
    let mut builder = http1::Builder::new();
    builder.header_read_timeout(None);
    let mut serving = pin!(builder.serve_connection(wire, service));
    let mut context = Context::from_waker(Waker::noop());
    // Nothing ever waits: a turn that ends early has asked for another.
    for _ in 0..100_000 {
        if serving.as_mut().poll(&mut context).is_ready() {
            return seen.take();
        }
    }
    panic!("the connection does not end");
}

/// A connection on which all has been sent.
struct Wire<'a> {
    rest: &'a [u8],
    piece: usize,
    strict: Strict,
}

impl Read for Wire<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, mut buffer: ReadBufCursor<'_>) -> Poll<Result<(), Error>> {
        let length = self.rest.len().min(self.piece).min(buffer.remaining());
        let (now, later) = self.rest.split_at(length);
        self.rest = later;
        let mut now = now.to_vec();
        if self.strict.check(&mut now) {
            buffer.put_slice(&now);
        } else {
            self.rest = &[];
        }
        Poll::Ready(Ok(()))
    }
}

impl Write for Wire<'_> {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize, Error>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }
}

/// A line up to a line feed, without the carriage return that may stand before it.
fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|&byte| byte == b'\n')?;
    let text = &bytes[..end];
    Some((text.strip_suffix(b"\r").unwrap_or(text), &bytes[end + 1..]))
}

/// Reads one request as a careless program would: any line end, the last of several lengths or the first, and of a length and a
/// coding the one that it prefers.
fn lenient(mut rest: &[u8], lengths_first: bool) -> Option<(Seen, &[u8])> {
    let mut start = line(rest)?;
    while start.0.is_empty() {
        start = line(start.1)?;
    }
    let target = String::from_utf8(start.0.split(|&byte| byte == b' ').nth(1)?.to_vec()).ok()?;
    rest = start.1;
    let (mut length, mut chunked) = (None, false);
    loop {
        let (header, after) = line(rest)?;
        rest = after;
        if header.is_empty() {
            break;
        }
        let Some(colon) = header.iter().position(|&byte| byte == b':') else { continue };
        let (name, value) = (header[..colon].trim_ascii().to_ascii_lowercase(), header[colon + 1..].trim_ascii());
        match name.as_slice() {
            b"content-length" if lengths_first && length.is_some() => {}
            b"content-length" => length = Some(leading(value, 10)),
            b"transfer-encoding" => chunked |= value.to_ascii_lowercase().windows(7).any(|part| part == b"chunked"),
            _ => {}
        }
    }
    if chunked && !(lengths_first && length.is_some()) {
        let mut body = Vec::new();
        loop {
            let (size, after) = line(rest)?;
            rest = after;
            let size = leading(size, 16);
            if size == 0 {
                break;
            }
            body.extend_from_slice(rest.get(..size)?);
            (_, rest) = line(&rest[size..])?;
        }
        while !line(rest)?.0.is_empty() {
            rest = line(rest)?.1;
        }
        return Some(((target, body), line(rest)?.1));
    }
    let length = length.unwrap_or(0);
    Some(((target, rest.get(..length)?.to_vec()), &rest[length..]))
}

/// The number that a text begins with, whatever follows it.
fn leading(text: &[u8], radix: u32) -> usize {
    let digits = text.iter().map_while(|&byte| char::from(byte).to_digit(radix));
    digits.fold(0, |number: usize, digit| number.saturating_mul(radix as usize).saturating_add(digit as usize))
}
