//! The socket of an HTTP/2 connection: it notices what the backend says.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// What has come from a backend.
#[derive(Debug, Default)]
pub(super) struct Heard {
    bytes: Cell<u64>,
    first: Cell<First>,
    waker: RefCell<Option<Waker>>,
}

/// What the backend said first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum First {
    /// Nothing yet.
    #[default]
    Nothing,
    /// SETTINGS, as RFC 9113 section 3.4 asks.
    Settings,
    /// Something that is not HTTP/2, or the end of the connection.
    Other,
}

/// Where the type stands in a frame's header (RFC 9113 section 4.1), and that of SETTINGS.
const TYPE_AT: u64 = 3;
const SETTINGS: u8 = 4;

impl Heard {
    /// Bytes so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// Waits for what the backend says first.
    pub(super) async fn first(&self) -> First {
        poll_fn(|cx| match self.first.get() {
            First::Nothing => {
                self.waker.replace(Some(cx.waker().clone()));
                Poll::Pending
            }
            first => Poll::Ready(first),
        })
        .await
    }

    /// Takes notice of `new` bytes; none are the end.
    fn note(&self, new: &[u8]) {
        let before = self.bytes.get();
        self.bytes.set(before + new.len() as u64);
        if self.first.get() != First::Nothing {
            return;
        }
        let kind = TYPE_AT.checked_sub(before).and_then(|at| new.get(usize::try_from(at).ok()?));
        self.first.set(match kind {
            Some(&SETTINGS) => First::Settings,
            Some(_) => First::Other,
            None if new.is_empty() => First::Other,
            None => return,
        });
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// A connection to a backend.
#[derive(Debug)]
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A [`Stream`] that is listened to.
#[derive(Debug)]
pub(super) struct BackendIo {
    stream: Stream,
    heard: Rc<Heard>,
}

impl BackendIo {
    pub(super) fn new(stream: Stream, heard: Rc<Heard>) -> Self {
        Self { stream, heard }
    }
}

/// Many requests share a connection, so one whose other end has vanished must not live on until TCP gives up by itself, which takes a
/// quarter of an hour. HTTP/2's own pings are no way: servers of gRPC take frequent ones for an attack.
const SILENCE: Duration = Duration::from_secs(20);

/// Tells the kernel to notice soon when the other end has vanished. What it cannot be told is not missed.
pub(super) fn watch(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    let _ = socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(SILENCE).with_interval(SILENCE / 4));
    #[cfg(target_os = "linux")]
    let _ = socket.set_tcp_user_timeout(Some(SILENCE));
}

impl AsyncRead for BackendIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        };
        match &polled {
            Poll::Ready(Ok(())) => self.heard.note(&buf.filled()[before..]),
            Poll::Ready(Err(_)) => self.heard.note(&[]),
            Poll::Pending => {}
        }
        polled
    }
}

impl AsyncWrite for BackendIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_come_first_or_it_is_not_http_2() {
        for (pieces, first) in [
            (&[&b"\0\0\x06\x04\0\0\0\0\0"[..]][..], First::Settings),
            (&[b"\0", b"\0\x06", b"\x04\0"], First::Settings),
            (&[b"\0\0\x06"], First::Nothing),
            (&[b"HTTP/1.1 400 Bad Request\r\n"], First::Other),
            (&[b"\0\0\x08\x07\0\0\0\0\0"], First::Other),
            (&[b""], First::Other),
            (&[b"\0\0", b""], First::Other),
        ] {
            let heard = Heard::default();
            for piece in pieces {
                heard.note(piece);
            }
            assert_eq!(heard.first.get(), first, "{pieces:?}");
        }
    }
}
