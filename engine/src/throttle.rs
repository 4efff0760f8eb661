//! Token buckets (section 2.3 of the spec): what a limit is, and one bucket in one atomic word.
//!
//! The arithmetic is the generic cell rate algorithm: instead of a level that somebody has to refill, a bucket keeps the moment
//! at which it will be full again. A request is let through when taking its token keeps that moment within reach. This decides
//! exactly as a bucket that is refilled continuously, without a timer and without a second word.
//!
//! [`Meters`] keeps buckets across configurations.

mod meters;

use std::sync::atomic::{AtomicU64, Ordering};

use crate::meter::Rate;
use crate::snapshot::RouteSettings;

pub use self::meters::{MeterKey, Meters};

/// Parts of a nanosecond in which buckets count. 64 bits of them last 36 years.
const TICKS_PER_NANOSECOND: u64 = 16;
const TICKS_PER_SECOND: f64 = 1e9 * TICKS_PER_NANOSECOND as f64;

/// The most ticks from empty to full, about nine years. Rates below `burst` / 9 years count as that.
const MAX_CAPACITY: u64 = 1 << 62;

/// How fast tokens come and how many there may be, ready for arithmetic. A copy of two words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limit {
    /// Ticks until one more token is there; 0: everything is refused.
    interval: u64,
    /// Ticks from empty to full: `burst` intervals.
    capacity: u64,
}

impl Limit {
    /// Refuses everything (H-THR-4).
    pub const REFUSE_ALL: Self = Self { interval: 0, capacity: 0 };

    /// `rate` tokens a second, fractions allowed, into a bucket of `burst` (H-THR-1). If either is 0, everything is refused
    /// (H-THR-4); a rate that is negative or not a number counts as 0.
    ///
    /// The interval between tokens is rounded to 1/16 ns: a rate of 10,000 is kept to one part in a million. No rate above
    /// 16 tokens a nanosecond exists.
    pub fn new(rate: f64, burst: u32) -> Self {
        let burst = u64::from(burst);
        if rate.is_nan() || rate <= 0.0 || burst == 0 {
            return Self::REFUSE_ALL;
        }
        #[expect(clippy::cast_possible_truncation, reason = "casts from floats saturate, and the maximum is next")]
        #[expect(clippy::cast_sign_loss, reason = "the rate is above 0")]
        let interval = (TICKS_PER_SECOND / rate).round() as u64;
        let interval = interval.clamp(1, MAX_CAPACITY / burst);
        Self { interval, capacity: interval * burst }
    }

    /// Whether no request ever passes.
    pub fn refuses_all(&self) -> bool {
        self.interval == 0
    }

    /// The same limit as meters have it that proxies share.
    #[expect(clippy::cast_precision_loss, reason = "an interval of more than 2^53 ticks is known to a part in 2^53")]
    pub fn rate(&self) -> Rate {
        if self.refuses_all() {
            return Rate::new(0.0, 0);
        }
        let burst = u32::try_from(self.capacity / self.interval).unwrap_or(u32::MAX);
        Rate::new(TICKS_PER_SECOND / self.interval as f64, burst)
    }
}

/// What an account may do, and what a route gets where it sets only one of rate and burst (H-THR-3).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AccountLimit {
    /// Requests a second.
    pub rate: f64,
    /// Capacity of the bucket.
    pub burst: u32,
}

impl Default for AccountLimit {
    /// 10,000 a second and 5,000 (H-THR-3).
    fn default() -> Self {
        Self { rate: 10_000.0, burst: 5_000 }
    }
}

impl AccountLimit {
    /// The limit of the bucket that all APIs of the account share.
    pub fn limit(&self) -> Limit {
        Limit::new(self.rate, self.burst)
    }
}

/// The limit of one route of a stage: the route's own settings over the stage's default, field by field (H-THR-2).
///
/// `None` when neither sets a rate or a burst: then only the account's limit holds (H-THR-4). If just one of the two is set, the
/// other is the account's. Neither can be above the account's (H-THR-3).
pub fn route_limit(default: &RouteSettings, route: Option<&RouteSettings>, account: &AccountLimit) -> Option<Limit> {
    let rate = route.and_then(|route| route.throttling_rate_limit).or(default.throttling_rate_limit);
    let burst = route.and_then(|route| route.throttling_burst_limit).or(default.throttling_burst_limit);
    if rate.is_none() && burst.is_none() {
        return None;
    }
    let rate = rate.map_or(account.rate, |rate| rate.min(account.rate));
    let burst = burst.map_or(account.burst, |burst| burst.min(account.burst));
    Some(Limit::new(rate, burst))
}

/// Whether metrics per route are on: the stage's default wins over a route's `false` (H-MET-8).
pub fn detailed_metrics(default: &RouteSettings, route: Option<&RouteSettings>) -> bool {
    default.detailed_metrics_enabled == Some(true)
        || route.and_then(|route| route.detailed_metrics_enabled) == Some(true)
}

/// One token bucket. Starts full (H-THR-1). Alone on its cache line, because every worker writes to it.
///
/// Times are nanoseconds of one monotonic clock that starts near 0; all callers of a bucket use the same one. Time that goes back
/// only means that no token is added meanwhile.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Bucket {
    /// The tick at which the bucket is full, if nothing is taken before.
    full_at: AtomicU64,
}

impl Bucket {
    /// A full bucket.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a token, or says that there is none.
    pub fn take(&self, limit: &Limit, now_ns: u64) -> bool {
        if limit.refuses_all() {
            return false;
        }
        let now = ticks(now_ns);
        let mut full_at = self.full_at.load(Ordering::Relaxed);
        loop {
            let after = full_at.max(now).saturating_add(limit.interval);
            if after - now > limit.capacity {
                return false;
            }
            // One word, no data behind it: relaxed is enough.
            match self.full_at.compare_exchange_weak(full_at, after, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(other) => full_at = other,
            }
        }
    }

    /// Puts back a token that was taken for a request that was then refused for another reason.
    pub fn give_back(&self, limit: &Limit) {
        let back = |full_at: u64| Some(full_at.saturating_sub(limit.interval));
        // Always `Some`.
        let _ = self.full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, back);
    }

    /// A bucket for another limit with this one's level, which is only cut to the new capacity (promise P6): a change never refills a
    /// bucket. A bucket that refused everything is empty.
    ///
    /// This one stays as it is: requests that began with the old limit must not be measured against a level in the new limit's ticks.
    /// The level is rounded down by less than a tick.
    #[must_use]
    pub fn retuned(&self, old: &Limit, new: &Limit, now_ns: u64) -> Self {
        let now = ticks(now_ns);
        let missing = self.full_at.load(Ordering::Relaxed).saturating_sub(now).min(old.capacity);
        let level = old.capacity - missing;
        // Tokens are ticks by interval: the same tokens have `interval` new over old as many ticks.
        let level =
            if old.refuses_all() { 0 } else { u128::from(level) * u128::from(new.interval) / u128::from(old.interval) };
        let level = u64::try_from(level).unwrap_or(u64::MAX).min(new.capacity);
        Self { full_at: AtomicU64::new(now.saturating_add(new.capacity - level)) }
    }

    /// Whole tokens in the bucket.
    pub fn level(&self, limit: &Limit, now_ns: u64) -> u64 {
        if limit.refuses_all() {
            return 0;
        }
        let missing = self.full_at.load(Ordering::Relaxed).saturating_sub(ticks(now_ns));
        limit.capacity.saturating_sub(missing) / limit.interval
    }
}

fn ticks(nanoseconds: u64) -> u64 {
    nanoseconds.saturating_mul(TICKS_PER_NANOSECOND)
}

#[cfg(test)]
mod tests;
