//! When to act on changes that come in bursts: soon after the last, and never long after the first.

use std::time::Duration;

use tokio::time::Instant;

/// A burst of changes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Debounce {
    quiet: Duration,
    at_most: Duration,
    burst: Option<(Instant, Instant)>,
}

impl Debounce {
    /// Acts when nothing came for `quiet`, at the latest `at_most` after the first.
    pub(crate) fn new(quiet: Duration, at_most: Duration) -> Self {
        Self { quiet, at_most, burst: None }
    }

    /// A change came.
    pub(crate) fn touch(&mut self, now: Instant) {
        let (first, _) = self.burst.unwrap_or((now, now));
        self.burst = Some((first, now));
    }

    /// When to act; `None`: nothing came.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.burst.map(|(first, last)| (last + self.quiet).min(first + self.at_most))
    }

    /// Ends the burst; says when it began.
    pub(crate) fn take(&mut self) -> Option<Instant> {
        self.burst.take().map(|(first, _)| first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn one_change_waits_for_quiet_only() {
        let (mut debounce, now) = (Debounce::new(3 * MS, 20 * MS), Instant::now());
        assert_eq!(debounce.due(), None);
        debounce.touch(now);
        assert_eq!(debounce.due(), Some(now + 3 * MS));
        assert_eq!(debounce.take(), Some(now));
        assert_eq!(debounce.due(), None);
    }

    #[test]
    fn a_stream_of_changes_does_not_put_it_off_for_ever() {
        let (mut debounce, now) = (Debounce::new(3 * MS, 20 * MS), Instant::now());
        for ms in 0..19 {
            debounce.touch(now + ms * MS);
        }
        assert_eq!(debounce.due(), Some(now + 20 * MS));
    }
}
