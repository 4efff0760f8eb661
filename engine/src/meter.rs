//! Usage plans at work: token buckets and quotas that several proxies share without talking about each request.
//!
//! An [`Account`] is the truth about one customer of a plan; it lies in the store (in memory, in a file, or in Valkey, where a script
//! does the same arithmetic). A [`Meter`] is what one proxy holds of it: tokens and quota that it has **leased** and may give out
//! without asking. What is leased counts as used, so the sum of what all proxies admit never passes a limit, however leases, crashes
//! and returns interleave; what a crash loses is the lease.
//!
//! Tokens can be leased shortly before they exist: the lease then says when each may be given out.
//!
//! Times are microseconds of whichever clock the caller keeps, as floating point like in Valkey's scripts: a proxy's clock for a
//! [`Meter`], the store's for an [`Account`]. Only differences travel between them.

mod account;
mod keys;
mod local;
mod window;

pub use account::{Account, Ask, Grant, Life, QuotaAsk, QuotaGrant, RateAsk, RateGrant};
pub use keys::{DIGEST_BYTES, Digest, Key, KeyShard, SHARDS, VALUE_RANDOM, digest, generated_value, shard_of};
pub use local::{Batching, Held, Meter, Outcome};
pub use window::{Period, Window};

/// A token bucket as a plan has it (R-THR-1). Copy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Microseconds between tokens; infinite: no token ever comes.
    interval_us: f64,
    /// Tokens in a full bucket.
    burst: u32,
}

impl Rate {
    /// `per_second` tokens a second into a bucket of `burst`. If either is 0, or the rate is negative or not a number, everything is
    /// refused (H-THR-4).
    pub fn new(per_second: f64, burst: u32) -> Self {
        let refuse = per_second.is_nan() || per_second <= 0.0 || burst == 0;
        Self { interval_us: if refuse { f64::INFINITY } else { 1e6 / per_second }, burst }
    }

    /// Whether no request ever passes.
    pub fn refuses_all(&self) -> bool {
        self.interval_us.is_infinite()
    }

    /// Microseconds between tokens.
    pub fn interval_us(&self) -> f64 {
        self.interval_us
    }

    /// Tokens in a full bucket.
    pub fn burst(&self) -> u32 {
        self.burst
    }
}

/// A quota as a plan has it (R-PLAN-5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Requests in a period.
    pub limit: u64,
    /// How long a period is.
    pub period: Period,
    /// Subtracted from the limit in the period that holds `created`.
    pub offset: u64,
    /// When the plan was made, seconds since 1970.
    pub created: Option<i64>,
}

impl Quota {
    /// Requests that `window` allows.
    pub fn limit_in(&self, window: Window) -> u64 {
        let first = self.created.is_some_and(|created| window.contains(created));
        self.limit.saturating_sub(if first { self.offset } else { 0 })
    }
}

/// What limits one customer of a plan.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Terms {
    /// How fast.
    pub rate: Option<Rate>,
    /// How often.
    pub quota: Option<Quota>,
}

#[cfg(test)]
mod tests;
