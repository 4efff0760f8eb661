//! Small writes in one piece.
//!
//! hyper writes a head and the first bytes of its body as two slices, and most messages are no longer than that. The kernel takes one
//! slice by `send` with less work than several by `writev`: worth the copy while it is short.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use smallvec::SmallVec;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Most bytes that are copied: a head and a body of a few hundred to a thousand bytes.
const MOST: usize = 4096;

/// Writes `slices` to `stream`, which may take less than all.
pub(crate) fn poll_write(
    stream: Pin<&mut TcpStream>,
    cx: &mut Context<'_>,
    slices: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    match slices {
        [only] => stream.poll_write(cx, only),
        _ if slices.iter().map(|slice| slice.len()).sum::<usize>() <= MOST => {
            let mut bytes: SmallVec<[u8; MOST]> = SmallVec::new();
            slices.iter().for_each(|slice| bytes.extend_from_slice(slice));
            stream.poll_write(cx, &bytes)
        }
        _ => stream.poll_write_vectored(cx, slices),
    }
}

/// A socket whose small writes are in one piece.
#[derive(Debug)]
pub(crate) struct OnePiece(pub(crate) TcpStream);

impl AsyncRead for OnePiece {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for OnePiece {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        poll_write(Pin::new(&mut self.0), cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn slices_arrive_in_order_however_many_and_long() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = OnePiece(TcpStream::connect(listener.local_addr().unwrap()).await.unwrap());
        let mut server = listener.accept().await.unwrap().0;
        for parts in
            [&[b"one".to_vec()][..], &[b"a".to_vec(), b"".to_vec(), b"bc".to_vec()], &[vec![1; 4000], vec![2; 4000]]]
        {
            let slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
            let written = poll_fn(|cx| Pin::new(&mut client).poll_write_vectored(cx, &slices)).await.unwrap();
            let whole = parts.concat();
            assert_eq!(written, whole.len());
            let mut read = vec![0; written];
            server.read_exact(&mut read).await.unwrap();
            assert_eq!(read, whole);
        }
    }
}
