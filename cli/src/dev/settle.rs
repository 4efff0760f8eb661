//! When a changed file may be read: editors truncate, write in pieces, rename and delete on the way to one saved file.
//!
//! Pure: events and the time go in, "read now" comes out.

use std::time::{Duration, Instant};

/// After an event that ends a change: the file was closed, or another was renamed to its name.
const AFTER_END: Duration = Duration::from_millis(4);

/// After an event that may be followed by more: bytes were written, a file was made.
const AFTER_PART: Duration = Duration::from_millis(30);

/// A file that disappeared or is empty is looked at again after this long before anyone believes it.
const AFTER_DOUBT: Duration = Duration::from_millis(50);

/// However busy the directory is, it is read this often.
const LATEST: Duration = Duration::from_millis(400);

/// What happened to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The change is over as far as anyone can tell.
    End,
    /// More may follow.
    Part,
    /// What was read looks as if more follows: nothing is there.
    Doubt,
}

/// Waits until a burst of events is over.
#[derive(Debug, Default)]
pub struct Settle {
    burst: Option<Burst>,
}

#[derive(Debug)]
struct Burst {
    first: Instant,
    due: Instant,
}

impl Settle {
    /// Something happened.
    pub fn event(&mut self, step: Step, now: Instant) {
        let wait = match step {
            Step::End => AFTER_END,
            Step::Part => AFTER_PART,
            Step::Doubt => AFTER_DOUBT,
        };
        let first = self.burst.as_ref().map_or(now, |burst| burst.first);
        // The end of one file's change ends the wait for its parts; what is written meanwhile makes new events.
        self.burst = Some(Burst { first, due: (now + wait).min(first + LATEST) });
    }

    /// When to read, if there is anything to read.
    pub fn due(&self) -> Option<Instant> {
        self.burst.as_ref().map(|burst| burst.due)
    }

    /// Whether it is time to read; the burst is then over.
    pub fn take(&mut self, now: Instant) -> bool {
        let due = self.burst.as_ref().is_some_and(|burst| burst.due <= now);
        if due {
            self.burst = None;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(value: u64) -> Duration {
        Duration::from_millis(value)
    }

    #[test]
    fn a_closed_file_is_read_at_once_and_an_open_one_later() {
        let start = Instant::now();
        let mut settle = Settle::default();
        settle.event(Step::Part, start);
        assert!(!settle.take(start + ms(10)));
        settle.event(Step::End, start + ms(10));
        assert!(!settle.take(start + ms(12)));
        assert!(settle.take(start + ms(14)));
        assert!(!settle.take(start + ms(1000)));
    }

    #[test]
    fn parts_put_reading_off_but_not_forever() {
        let start = Instant::now();
        let mut settle = Settle::default();
        for step in 0..100 {
            settle.event(Step::Part, start + ms(step * 10));
        }
        assert_eq!(settle.due(), Some(start + LATEST));
    }

    #[test]
    fn doubt_waits_longest() {
        let start = Instant::now();
        let mut settle = Settle::default();
        settle.event(Step::Doubt, start);
        assert!(!settle.take(start + ms(49)));
        assert!(settle.take(start + ms(50)));
    }
}
