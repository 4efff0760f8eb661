//! Request bodies that can be sent again, as long as no answer has come and little of them has been sent.
//!
//! A backend that is about to leave says which requests it has not begun; by then the first part of their bodies may be on its way.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::Reason;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tollgate_engine::forward;

use super::{BodyError, UpstreamBody};

/// Most bytes that are kept for another try; a call of gRPC is nearly always smaller.
const KEPT_BYTES: usize = 64 * 1024;

/// A body, and what has been read of it.
#[derive(Clone, Debug)]
pub(crate) struct Replay(Rc<RefCell<State>>);

/// The body as one try sends it. It ends with an error when another try begins or nobody wants the answer any more.
#[derive(Debug)]
pub(crate) struct Replayed {
    replay: Replay,
    turn: u32,
}

#[derive(Debug)]
struct State {
    source: UpstreamBody,
    kept: VecDeque<Part>,
    /// Bytes of data in `kept`.
    bytes: usize,
    /// Parts of `kept` that this turn has sent.
    sent: usize,
    keeping: Keeping,
    turn: u32,
    waker: Option<Waker>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keeping {
    /// Everything since the beginning is kept.
    All,
    /// No other try will be needed.
    Nothing,
    /// What is kept would be too much, so that no other try is possible.
    TooMuch,
}

#[derive(Debug)]
enum Part {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl Part {
    fn of(frame: &Frame<Bytes>) -> Option<Self> {
        let data = frame.data_ref().map(|data| Self::Data(data.clone()));
        data.or_else(|| frame.trailers_ref().map(|trailers| Self::Trailers(trailers.clone())))
    }

    fn frame(&self) -> Frame<Bytes> {
        match self {
            Self::Data(data) => Frame::data(data.clone()),
            Self::Trailers(trailers) => Frame::trailers(trailers.clone()),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Data(data) => data.len(),
            Self::Trailers(_) => 0,
        }
    }
}

impl Replay {
    /// Keeps what is read of `body`, or goes on with what was kept when it has been tried before.
    pub(crate) fn of(body: UpstreamBody) -> Self {
        match body {
            UpstreamBody::Replayed(replayed) => replayed.replay,
            source => Self(Rc::new(RefCell::new(State {
                source,
                kept: VecDeque::new(),
                bytes: 0,
                sent: 0,
                keeping: Keeping::All,
                turn: 0,
                waker: None,
            }))),
        }
    }

    /// The body from its beginning, for another try; earlier ones end. `None` when too much of it has been sent.
    pub(crate) fn again(&self) -> Option<UpstreamBody> {
        let mut state = self.0.borrow_mut();
        if state.keeping != Keeping::All {
            return None;
        }
        state.turn = state.turn.wrapping_add(1);
        state.sent = 0;
        let turn = state.turn;
        drop(state);
        Some(UpstreamBody::Replayed(Replayed { replay: self.clone(), turn }))
    }

    /// An answer has come: there is no other try.
    pub(crate) fn settle(&self) {
        let mut state = self.0.borrow_mut();
        state.keeping = Keeping::Nothing;
        let sent = std::mem::take(&mut state.sent);
        state.kept.drain(..sent);
    }

    /// Nobody wants the answer any more: the rest is not sent.
    pub(crate) fn stop(&self) {
        let mut state = self.0.borrow_mut();
        state.keeping = Keeping::Nothing;
        state.turn = state.turn.wrapping_add(1);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl State {
    fn next(&mut self) -> Option<Frame<Bytes>> {
        if self.keeping == Keeping::Nothing {
            return self.kept.pop_front().map(|part| part.frame());
        }
        let frame = self.kept.get(self.sent)?.frame();
        self.sent += 1;
        Some(frame)
    }

    fn keep(&mut self, frame: &Frame<Bytes>) {
        if self.keeping != Keeping::All {
            return;
        }
        let Some(part) = Part::of(frame) else { return };
        self.bytes += part.len();
        if self.bytes > KEPT_BYTES {
            self.keeping = Keeping::TooMuch;
            // What this turn has sent was all of it.
            self.kept.clear();
            self.sent = 0;
            return;
        }
        self.kept.push_back(part);
        self.sent += 1;
    }

    /// Parts that were read before and are still to be sent.
    fn ahead(&self) -> impl Iterator<Item = &Part> {
        self.kept.iter().skip(self.sent)
    }
}

impl Body for Replayed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let state = &mut *self.replay.0.borrow_mut();
        if state.turn != self.turn {
            return Poll::Ready(Some(Err(BodyError::GivenUp(Reason::CANCEL.into()))));
        }
        if let Some(frame) = state.next() {
            return Poll::Ready(Some(Ok(frame)));
        }
        let polled = Pin::new(&mut state.source).poll_frame(cx);
        match polled {
            Poll::Pending => {
                match &mut state.waker {
                    Some(waker) => waker.clone_from(cx.waker()),
                    None => state.waker = Some(cx.waker().clone()),
                }
                Poll::Pending
            }
            Poll::Ready(Some(Ok(mut frame))) => {
                if let Some(trailers) = frame.trailers_mut() {
                    forward::trailers(trailers);
                }
                state.keep(&frame);
                Poll::Ready(Some(Ok(frame)))
            }
            ended => ended,
        }
    }

    fn is_end_stream(&self) -> bool {
        let state = self.replay.0.borrow();
        state.turn == self.turn && state.ahead().next().is_none() && state.source.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let state = self.replay.0.borrow();
        let ahead: u64 = state.ahead().map(|part| part.len() as u64).sum();
        let source = state.source.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(source.lower() + ahead);
        if let Some(upper) = source.upper() {
            hint.set_upper(upper + ahead);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::ready;

    use http_body_util::BodyExt;

    /// Reads one frame of data; `None` at the end.
    async fn read(body: &mut UpstreamBody) -> Option<Result<Bytes, BodyError>> {
        Some(body.frame().await?.map(|frame| frame.into_data().unwrap()))
    }

    #[tokio::test]
    async fn another_try_begins_anew_and_ends_the_one_before() {
        let replay = Replay::of(UpstreamBody::Full(Some(Bytes::from_static(b"hello"))));
        let mut first = replay.again().unwrap();
        assert_eq!(first.size_hint().exact(), Some(5));
        assert_eq!(read(&mut first).await.unwrap().unwrap(), "hello");
        assert!(first.is_end_stream());
        let mut second = replay.again().unwrap();
        assert!(!second.is_end_stream() && second.size_hint().exact() == Some(5));
        assert!(matches!(read(&mut first).await, Some(Err(BodyError::GivenUp(_)))));
        replay.settle();
        assert_eq!(read(&mut second).await.unwrap().unwrap(), "hello", "what was kept is still to be sent");
        assert!(read(&mut second).await.is_none());
        assert!(replay.again().is_none());
    }

    #[tokio::test]
    async fn a_body_goes_on_as_what_it_was_for_the_next_endpoint() {
        let replay = Replay::of(UpstreamBody::Full(Some(Bytes::from_static(b"hello"))));
        read(&mut replay.again().unwrap()).await.unwrap().unwrap();
        let moved = Replay::of(replay.again().unwrap());
        assert_eq!(read(&mut moved.again().unwrap()).await.unwrap().unwrap(), "hello");
    }

    #[tokio::test]
    async fn a_long_body_is_sent_once() {
        let long = Bytes::from(vec![0; KEPT_BYTES + 1]);
        let replay = Replay::of(UpstreamBody::Full(Some(long.clone())));
        let mut body = replay.again().unwrap();
        assert_eq!(read(&mut body).await.unwrap().unwrap(), long);
        assert!(replay.again().is_none());
        assert!(read(&mut body).await.is_none());
    }

    #[tokio::test]
    async fn a_body_that_nobody_wants_ends_at_once() {
        let replay = Replay::of(UpstreamBody::Full(Some(Bytes::from_static(b"hello"))));
        let mut body = replay.again().unwrap();
        replay.stop();
        let ended = std::future::poll_fn(|cx| {
            let frame = ready!(Pin::new(&mut body).poll_frame(cx));
            Poll::Ready(matches!(frame, Some(Err(BodyError::GivenUp(_)))))
        });
        assert!(ended.await);
    }
}
