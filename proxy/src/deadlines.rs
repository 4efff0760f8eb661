//! Deadlines of calls that nearly always end long before theirs.
//!
//! A timer of the runtime is put into its wheel and taken out again for every request, under a lock. Here a call leaves a note, and one
//! task of the worker sleeps until the earliest deadline that was noted: a note that is gone by then costs nothing more.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use slab::Slab;
use tokio::sync::Notify;
use tokio::time::Instant;

/// The deadline came before the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Elapsed;

/// Deadlines of one worker.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    notes: RefCell<Slab<Note>>,
    /// When [`Self::keep`] looks at the notes next; none is due before.
    next: Cell<Option<Instant>>,
    earlier: Notify,
}

#[derive(Debug)]
struct Note {
    at: Instant,
    waker: Waker,
    passed: bool,
}

impl Deadlines {
    /// Runs `future` until `at` at the longest. Needs [`Self::keep`] to run beside it.
    pub(crate) fn until<F: Future + Unpin>(&self, at: Instant, future: F) -> Until<'_, F> {
        Until { deadlines: self, at, note: None, future }
    }

    /// Wakes whose time is over, for as long as the worker lives.
    pub(crate) async fn keep(&self) {
        loop {
            let Some(next) = self.next.get() else {
                self.earlier.notified().await;
                continue;
            };
            tokio::select! {
                () = tokio::time::sleep_until(next) => self.pass(Instant::now()),
                () = self.earlier.notified() => {}
            }
        }
    }

    fn pass(&self, now: Instant) {
        let mut next = None::<Instant>;
        for (_, note) in self.notes.borrow_mut().iter_mut().filter(|(_, note)| !note.passed) {
            if note.at <= now {
                note.passed = true;
                note.waker.wake_by_ref();
            } else {
                next = Some(next.map_or(note.at, |next| next.min(note.at)));
            }
        }
        self.next.set(next);
    }

    fn note(&self, at: Instant, waker: &Waker) -> usize {
        if self.next.get().is_none_or(|next| at < next) {
            self.next.set(Some(at));
            self.earlier.notify_one();
        }
        self.notes.borrow_mut().insert(Note { at, waker: waker.clone(), passed: false })
    }
}

/// See [`Deadlines::until`].
#[derive(Debug)]
pub(crate) struct Until<'d, F> {
    deadlines: &'d Deadlines,
    at: Instant,
    note: Option<usize>,
    future: F,
}

impl<F: Future + Unpin> Future for Until<'_, F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let Poll::Ready(output) = Pin::new(&mut this.future).poll(cx) {
            return Poll::Ready(Ok(output));
        }
        match this.note {
            None => this.note = Some(this.deadlines.note(this.at, cx.waker())),
            Some(key) => {
                let note = &mut this.deadlines.notes.borrow_mut()[key];
                if note.passed {
                    return Poll::Ready(Err(Elapsed));
                }
                note.waker.clone_from(cx.waker());
            }
        }
        Poll::Pending
    }
}

impl<F> Drop for Until<'_, F> {
    fn drop(&mut self) {
        if let Some(key) = self.note {
            self.deadlines.notes.borrow_mut().remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn, ready};
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Runs `test` beside the task that wakes.
    async fn kept<T>(deadlines: &Deadlines, test: impl Future<Output = T>) -> T {
        tokio::select! {
            done = test => done,
            () = deadlines.keep() => unreachable!("it runs for ever"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_ends_at_its_own_deadline() {
        let (deadlines, start) = (Deadlines::default(), Instant::now());
        let ends = |seconds: u32| {
            let deadlines = &deadlines;
            async move {
                let result = deadlines.until(start + SECOND * seconds, pending::<()>()).await;
                (result, start.elapsed().as_secs())
            }
        };
        // The later first, so that the earlier ones have to be noticed.
        let ended = kept(&deadlines, async { tokio::join!(ends(30), ends(5), ends(7), ends(5)) }).await;
        let late = |seconds| (Err(Elapsed), seconds);
        assert_eq!(ended, (late(30), late(5), late(7), late(5)));
        assert!(deadlines.notes.borrow().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_ends_in_time_leaves_no_note() {
        let (deadlines, start) = (Deadlines::default(), Instant::now());
        let at = start + SECOND;
        let ended = kept(&deadlines, async {
            let at_once = deadlines.until(at, ready(1)).await;
            let soon = Box::pin(async {
                tokio::time::sleep(SECOND / 2).await;
                2
            });
            (at_once, deadlines.until(at, soon).await)
        });
        assert_eq!(ended.await, (Ok(1), Ok(2)));
        assert!(deadlines.notes.borrow().is_empty());
        // Dropped while it waits.
        let mut waiting = deadlines.until(at, pending::<()>());
        poll_fn(|cx| {
            assert!(Pin::new(&mut waiting).poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        assert_eq!(deadlines.notes.borrow().len(), 1);
        drop(waiting);
        assert!(deadlines.notes.borrow().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_at_the_deadline_counts() {
        let (deadlines, at) = (Deadlines::default(), Instant::now() + SECOND);
        let future = Box::pin(async {
            tokio::time::sleep_until(at).await;
            1
        });
        assert_eq!(kept(&deadlines, deadlines.until(at, future)).await, Ok(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_is_over_ends_a_call_that_waits() {
        let (deadlines, at) = (Deadlines::default(), Instant::now());
        tokio::time::advance(SECOND).await;
        assert_eq!(kept(&deadlines, deadlines.until(at, pending::<()>())).await, Err(Elapsed));
    }
}
