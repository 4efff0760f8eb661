//! Bodies on their way through: from the client to a backend, and back.
//!
//! Bodies stream (design, section 1). What passes is counted; beyond the API's limit the exchange is cut off, so that nobody
//! takes a part for the whole.

mod replay;

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http::Version;
use http::header::EXPECT;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tollgate_engine::forward;

use crate::client_io::Connection;
use crate::record::Record;
use crate::upstream::Lease;
pub(crate) use replay::{Replay, Replayed};

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// More bytes than the API takes.
    #[error("body is over the limit of {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// The other side broke off.
    #[error("body broke off")]
    Broken(#[source] hyper::Error),
    /// Nobody waits for the answer any more; the source says to an HTTP/2 backend why the stream ends.
    #[error("the request was given up")]
    GivenUp(#[source] h2::Error),
}

/// The body of a client's request.
///
/// Given up before its end, it is read on and thrown away: closing a connection with bytes unread resets it, and a reset may overtake
/// the answer that says why nobody wanted them.
#[derive(Debug)]
pub(crate) struct ClientBody {
    incoming: Option<Incoming>,
    /// In place of `incoming`, once it has been read whole.
    whole: Option<Bytes>,
    /// Absent when there is nothing to read on.
    read_on: Option<Rc<Connection>>,
}

/// More than AWS would take (H-SIZE-2); a client that goes on beyond it is cut off.
const READ_ON_BYTES: usize = 16 * 1024 * 1024;

impl ClientBody {
    /// HTTP/2 ends a stream without closing its connection, and a client that waits for leave to send (`Expect`) is not to be given it.
    pub(crate) fn new(incoming: Incoming, head: &http::request::Parts, connection: &Rc<Connection>) -> Self {
        let read_on =
            !incoming.is_end_stream() && head.version != Version::HTTP_2 && !head.headers.contains_key(EXPECT);
        Self { incoming: Some(incoming), whole: None, read_on: read_on.then(|| Rc::clone(connection)) }
    }

    /// The body, leaving none.
    pub(crate) fn take(&mut self) -> Self {
        std::mem::replace(self, Self { incoming: None, whole: None, read_on: None })
    }

    /// Puts a body that is known whole in place of this one.
    pub(crate) fn set_whole(&mut self, bytes: Bytes) {
        self.whole = Some(bytes);
    }

    /// The body, when it is known whole.
    pub(crate) fn whole(&self) -> Option<&Bytes> {
        self.whole.as_ref()
    }
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        match &mut this.incoming {
            Some(incoming) => Pin::new(incoming).poll_frame(cx),
            None => {
                Poll::Ready(this.whole.take().filter(|bytes| !bytes.is_empty()).map(|bytes| Ok(Frame::data(bytes))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.incoming {
            Some(incoming) => incoming.is_end_stream(),
            None => self.whole.as_ref().is_none_or(Bytes::is_empty),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.incoming {
            Some(incoming) => incoming.size_hint(),
            None => SizeHint::with_exact(self.whole.as_ref().map_or(0, |bytes| bytes.len() as u64)),
        }
    }
}

impl Drop for ClientBody {
    fn drop(&mut self) {
        if let Some(connection) = self.read_on.take()
            && let Some(incoming) = self.incoming.take()
            && !incoming.is_end_stream()
        {
            tokio::task::spawn_local(read_on(incoming, ReadingOn::begin(connection)));
        }
    }
}

/// Reads what a client still sends. The sweep ends the connection if that takes long (`refused_body_timeout`).
async fn read_on(mut incoming: Incoming, _reading_on: ReadingOn) {
    let mut bytes = 0;
    while let Some(Ok(frame)) = incoming.frame().await {
        bytes += frame.data_ref().map_or(0, Bytes::len);
        if bytes > READ_ON_BYTES {
            return;
        }
    }
}

/// Tells the connection that a body is being thrown away.
#[derive(Debug)]
struct ReadingOn(Rc<Connection>);

impl ReadingOn {
    fn begin(connection: Rc<Connection>) -> Self {
        connection.refuse_began();
        Self(connection)
    }
}

impl Drop for ReadingOn {
    fn drop(&mut self) {
        self.0.refuse_ended();
    }
}

/// What a request body has done so far, seen by the pipeline while hyper owns the body.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    /// Bytes.
    pub(crate) bytes: Cell<u64>,
    /// It went over the limit.
    pub(crate) too_large: Cell<bool>,
    /// The client broke it off.
    pub(crate) broken: Cell<bool>,
    /// It has been passed on whole.
    pub(crate) complete: Cell<bool>,
}

/// A body on its way to a backend.
#[derive(Debug)]
pub(crate) enum UpstreamBody {
    /// No body.
    Empty,
    /// A body that is known whole, e.g. a function's event.
    Full(Option<Bytes>),
    /// The client's body as it comes in.
    Client { incoming: ClientBody, limit: u64, passed: Rc<Passed> },
    /// One of the above that may be sent again, over HTTP/2.
    Replayed(Replayed),
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Client { incoming, limit, passed } => {
                let polled = Pin::new(&mut *incoming).poll_frame(cx);
                let result = match std::task::ready!(polled) {
                    Some(Ok(frame)) => count(frame, *limit, passed).map(Some),
                    Some(Err(error)) => {
                        passed.broken.set(true);
                        Err(BodyError::Broken(error))
                    }
                    None => Ok(None),
                };
                if incoming.is_end_stream() {
                    passed.complete.set(true);
                }
                Poll::Ready(result.transpose())
            }
            Self::Replayed(replayed) => Pin::new(replayed).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_none(),
            Self::Client { incoming, .. } => incoming.is_end_stream(),
            Self::Replayed(replayed) => replayed.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Client { incoming, .. } => incoming.size_hint(),
            Self::Replayed(replayed) => replayed.size_hint(),
        }
    }
}

fn count(frame: Frame<Bytes>, limit: u64, passed: &Passed) -> Result<Frame<Bytes>, BodyError> {
    let Some(data) = frame.data_ref() else { return Ok(frame) };
    let bytes = passed.bytes.get() + data.remaining() as u64;
    passed.bytes.set(bytes);
    if bytes > limit {
        passed.too_large.set(true);
        return Err(BodyError::TooLarge { limit });
    }
    Ok(frame)
}

/// Counts a request of a connection until its response has been passed on or given up.
#[derive(Debug)]
pub(crate) struct InFlight(Rc<Connection>);

impl InFlight {
    pub(crate) fn begin(connection: &Rc<Connection>) -> Self {
        connection.request_began();
        Self(Rc::clone(connection))
    }

    /// Whether the connection takes no request after this one.
    pub(crate) fn is_last(&self) -> bool {
        self.0.is_finishing()
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.request_ended();
    }
}

/// A response body on its way to the client. Owns what has to happen when it ends: the record is finished, the backend's
/// connection goes back to its pool, the client's connection is idle again.
#[derive(Debug)]
pub(crate) struct ReplyBody {
    source: Source,
    record: Option<Box<Record>>,
    _in_flight: InFlight,
}

#[derive(Debug)]
enum Source {
    Full(Bytes),
    Backend { incoming: Incoming, lease: Option<Lease>, limit: u64, bytes: u64 },
}

impl ReplyBody {
    /// A body that is known whole.
    pub(crate) fn full(bytes: Bytes, in_flight: InFlight) -> Self {
        Self { source: Source::Full(bytes), record: None, _in_flight: in_flight }
    }

    /// A backend's body as it comes in.
    pub(crate) fn backend(incoming: Incoming, lease: Lease, limit: u64, in_flight: InFlight) -> Self {
        let source = Source::Backend { incoming, lease: Some(lease), limit, bytes: 0 };
        Self { source, record: None, _in_flight: in_flight }
    }

    /// Finishes `record` when the last byte has been handed to the connection, or when the client has gone.
    pub(crate) fn finish_later(&mut self, record: Box<Record>) {
        self.record = Some(record);
    }

    /// Bytes, when they are known before the body has been passed on.
    pub(crate) fn known_length(&self) -> Option<u64> {
        match &self.source {
            Source::Full(bytes) => Some(bytes.len() as u64),
            Source::Backend { incoming, .. } => incoming.is_end_stream().then_some(0),
        }
    }

    fn ended(&mut self) {
        if let Source::Backend { lease, bytes, .. } = &mut self.source {
            if let Some(lease) = lease.take() {
                lease.give_back();
            }
            if let Some(record) = self.record.take() {
                record.finish(*bytes);
            }
        }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        match &mut this.source {
            Source::Full(bytes) => {
                if bytes.is_empty() {
                    return Poll::Ready(None);
                }
                Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes)))))
            }
            Source::Backend { incoming, limit, bytes, .. } => {
                let result = match std::task::ready!(Pin::new(&mut *incoming).poll_frame(cx)) {
                    Some(Ok(mut frame)) => {
                        if let Some(trailers) = frame.trailers_mut() {
                            forward::trailers(trailers);
                        }
                        *bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                        if *bytes > *limit {
                            return Poll::Ready(Some(Err(BodyError::TooLarge { limit: *limit })));
                        }
                        Some(Ok(frame))
                    }
                    Some(Err(error)) => return Poll::Ready(Some(Err(BodyError::Broken(error)))),
                    None => None,
                };
                if result.is_none() || incoming.is_end_stream() {
                    this.ended();
                }
                Poll::Ready(result)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Full(bytes) => bytes.is_empty(),
            Source::Backend { incoming, .. } => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Backend { incoming, .. } => incoming.size_hint(),
        }
    }
}

impl Drop for ReplyBody {
    fn drop(&mut self) {
        // A body that hyper found at its end without polling it (HEAD, 204) ends here; one that was given up leaves its
        // record with the bytes that passed, and its backend connection is dropped.
        if let Source::Backend { incoming, bytes, .. } = &self.source {
            let bytes = *bytes;
            if incoming.is_end_stream() {
                self.ended();
            } else if let Some(record) = self.record.take() {
                record.broken_off(bytes);
            }
        }
    }
}
