//! The store's clock, as a proxy knows it from answers: what tells periods apart, so that all proxies of a store begin a period together
//! and a machine whose clock is set has no say in it.

use std::sync::atomic::{AtomicI64, Ordering};

/// Not known yet.
const UNKNOWN: i64 = i64::MIN;
/// An answer that says so much less than expected came late; one that says still less, of a clock that was set back.
const LATE_MS: i64 = 2000;
/// What the clocks may drift apart between two answers.
const DRIFT_MS: i64 = 1;

/// How far the store's clock is ahead of this process's.
#[derive(Debug)]
pub(super) struct StoreClock {
    /// Milliseconds since 1970 at the beginning of the process's clock.
    begin_ms: AtomicI64,
}

impl Default for StoreClock {
    fn default() -> Self {
        Self { begin_ms: AtomicI64::new(UNKNOWN) }
    }
}

impl StoreClock {
    /// Seconds since 1970 in the store at this microsecond of the process's clock; never later than they are, if the store keeps its clock.
    pub(super) fn unix(&self, now_us: f64) -> Option<i64> {
        let begin = self.begin_ms.load(Ordering::Relaxed);
        (begin != UNKNOWN).then(|| begin.saturating_add(whole_ms(now_us)).div_euclid(1000))
    }

    /// An answer came now, and was given when the store's clock showed `store_ms`. Says whether the clock was unknown, or was set.
    pub(super) fn learn(&self, now_us: f64, store_ms: i64) -> bool {
        let begin = store_ms.saturating_sub(whole_ms(now_us));
        let known = self.begin_ms.load(Ordering::Relaxed);
        let (next, is_news) = match known {
            UNKNOWN => (begin, true),
            // The answer that took the shortest time is the nearest to the truth.
            _ if begin >= known => (begin, begin - known > LATE_MS),
            _ if known - begin <= LATE_MS => ((known - DRIFT_MS).max(begin), false),
            _ => (begin, true),
        };
        self.begin_ms.store(next, Ordering::Relaxed);
        is_news
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a process does not run for a century")]
fn whole_ms(us: f64) -> i64 {
    (us / 1000.0) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: i64 = 1_767_268_800_000;

    #[test]
    fn late_answers_do_not_count_and_a_clock_that_is_set_does() {
        let clock = StoreClock::default();
        assert_eq!(clock.unix(5e6), None);
        assert!(clock.learn(5e6, NOON));
        assert_eq!(clock.unix(5e6), Some(NOON / 1000));
        // Took 400 ms to come.
        assert!(!clock.learn(6.4e6, NOON + 1000));
        assert_eq!(clock.unix(6.001e6), Some(NOON / 1000 + 1));
        assert_eq!(clock.unix(5.999e6), Some(NOON / 1000));
        // Came faster than the first.
        assert!(!clock.learn(7e6, NOON + 2100));
        assert_eq!(clock.unix(6.95e6), Some(NOON / 1000 + 2));
        for step in [-86_400_000, 86_400_000, -10_000, 10_000] {
            let store = clock.begin_ms.load(Ordering::Relaxed) + 8000 + step;
            assert!(clock.learn(8e6, store), "{step}");
            assert_eq!(clock.unix(8e6), Some(store / 1000));
        }
    }

    #[test]
    fn a_clock_that_runs_slower_is_followed() {
        let clock = StoreClock::default();
        for second in 0..100_000_i64 {
            #[expect(clippy::cast_precision_loss, reason = "small")]
            let now = second as f64 * 1e6;
            // By a hundred millionths.
            assert_eq!(clock.learn(now, NOON + second * 1000 - second / 10), second == 0);
        }
        assert_eq!(clock.unix(99_999e6), Some((NOON + 99_999_000 - 9_999) / 1000));
    }
}
