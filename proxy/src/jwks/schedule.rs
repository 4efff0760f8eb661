//! When keys are fetched: plain arithmetic on times.

use std::time::Duration;

use tokio::time::Instant;

/// Keys older than this are not used any more (H-JWT-18).
const KEEP: Duration = Duration::from_secs(2 * 3600);
/// They are fetched anew in the background at half of that, and have the other half to succeed.
const RENEW: Duration = Duration::from_secs(3600);
/// Between two attempts that requests ask for (H-JWT-18).
const COOL_DOWN: Duration = Duration::from_secs(5);
/// Between two attempts in the background while they fail: doubled each time up to this.
const RETRY_MAX: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(super) struct Schedule {
    attempted: Option<Instant>,
    succeeded: Option<Instant>,
    failures: u32,
    closed: bool,
}

impl Schedule {
    /// No attempt will ever be made.
    pub(super) fn never(&mut self) {
        self.closed = true;
    }

    pub(super) fn ended(&mut self, now: Instant, success: bool) {
        self.attempted = Some(now);
        if success {
            self.succeeded = Some(now);
            self.failures = 0;
        } else {
            self.failures = self.failures.saturating_add(1);
        }
    }

    /// Whether a request may cause an attempt now.
    pub(super) fn may_ask(&self, now: Instant) -> bool {
        !self.closed && self.attempted.is_none_or(|attempted| now >= attempted + COOL_DOWN)
    }

    /// When the next attempt happens by itself; `None`: at once.
    pub(super) fn due(&self) -> Option<Instant> {
        let attempted = self.attempted?;
        if self.failures == 0 {
            return Some(attempted + RENEW);
        }
        let wait = COOL_DOWN.saturating_mul(1 << (self.failures - 1).min(4));
        Some(attempted + wait.min(RETRY_MAX))
    }

    /// When the keys become too old; `None` without keys.
    pub(super) fn expires(&self) -> Option<Instant> {
        self.succeeded.map(|succeeded| succeeded + KEEP)
    }

    /// The keys are gone.
    pub(super) fn expired(&mut self) {
        self.succeeded = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_spaced() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut schedule = Schedule::default();
        assert_eq!(schedule.due(), None);
        assert!(schedule.may_ask(start));
        for (failures, wait) in [(1, 5), (2, 10), (3, 20), (4, 40), (5, 60), (6, 60)] {
            schedule.ended(start, false);
            assert_eq!(schedule.due(), Some(at(wait)), "after {failures} failures");
        }
        assert!(!schedule.may_ask(at(4)));
        assert!(schedule.may_ask(at(5)));
        assert_eq!(schedule.expires(), None);
        schedule.ended(at(100), true);
        assert_eq!(schedule.due(), Some(at(3_700)));
        assert_eq!(schedule.expires(), Some(at(7_300)));
        schedule.ended(at(3_700), false);
        assert_eq!(schedule.due(), Some(at(3_705)));
        assert_eq!(schedule.expires(), Some(at(7_300)), "a failure does not prolong");
    }
}
