//! How long to wait before the next try.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(200);
const MAX: Duration = Duration::from_secs(5);

/// Doubles from 0.2 to 5 seconds, each wait shortened at random so that a fleet does not come back all at once.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Backoff {
    tries: u32,
}

impl Backoff {
    /// The next wait; `random` is between 0 and 1.
    pub(super) fn next(&mut self, random: f64) -> Duration {
        let full = FIRST.saturating_mul(1 << self.tries.min(10)).min(MAX);
        self.tries = self.tries.saturating_add(1);
        full.mul_f64(0.5 + random / 2.0).max(FIRST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_five_seconds() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..7).map(|_| backoff.next(1.0).as_millis()).collect();
        assert_eq!(waits, [200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(backoff.next(0.0).as_millis(), 2500);
        assert_eq!(Backoff::default().next(0.0).as_millis(), 200);
        let mut worn = Backoff { tries: u32::MAX };
        assert_eq!(worn.next(1.0), MAX);
    }
}
