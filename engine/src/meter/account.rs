//! The truth about one customer of a plan, and what proxies ask of it.

use super::{Rate, Window};

/// What a store keeps of one customer: a bucket and a count. Starts full and unused.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Account {
    /// When the bucket is full again, in the store's time.
    full_at_us: f64,
    /// What `full_at_us` is tuned to; 0: nothing was taken yet.
    interval_us: f64,
    burst: u32,
    /// Start of the window that `used` counts in.
    window: i64,
    used: u64,
}

/// What a proxy asks of an account in one go.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ask {
    /// Tokens.
    pub rate: Option<RateAsk>,
    /// Quota.
    pub quota: Option<QuotaAsk>,
}

/// Tokens wanted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateAsk {
    /// The bucket's limit, which may differ from the last one asked with: the level stays (promise P6).
    pub rate: Rate,
    /// Leased before and not used.
    pub give_back: u32,
    /// At most so many.
    pub want: u32,
    /// Tokens that come within this time may be leased already.
    pub ahead_us: f64,
}

/// Quota wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaAsk {
    /// The window that it is for.
    pub window: Window,
    /// Requests that the window allows.
    pub limit: u64,
    /// Leased before in this window and not used.
    pub give_back: u64,
    /// Admitted in this window without a lease, while the store was away.
    pub owed: u64,
    /// At most so much. The last eighth of a quota is given out in ever smaller parts, so that no proxy sits on what another needs.
    pub want: u64,
}

/// The answer to an [`Ask`], member by member.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Grant {
    /// Tokens.
    pub rate: Option<RateGrant>,
    /// Quota.
    pub quota: Option<QuotaGrant>,
}

/// Tokens given.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RateGrant {
    /// May be used at once.
    pub ready: u32,
    /// May be used one by one, the first after `next_in_us`.
    pub coming: u32,
    /// Until the next token, which is the first of `coming` or, if that is 0, one that could not be leased.
    pub next_in_us: f64,
}

/// Quota given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuotaGrant {
    /// May be used in the window.
    pub granted: u64,
    /// Everything that is leased or used in the window by all proxies, this grant included.
    pub used: u64,
}

impl Account {
    /// An account whose quota was used before: what a store on disk has read.
    pub fn restored(window_start: i64, used: u64) -> Self {
        Self { window: window_start, used, ..Self::default() }
    }

    /// Another store says that so much of a window is used.
    pub fn learn(&mut self, window_start: i64, used: u64) {
        if self.window < window_start {
            (self.window, self.used) = (window_start, used);
        } else if self.window == window_start {
            self.used = self.used.max(used);
        }
    }

    /// Start of the window that is counted in, and the count.
    pub fn quota(&self) -> (i64, u64) {
        (self.window, self.used)
    }

    /// Whether the bucket misses no token: it need not be remembered.
    pub fn is_full(&self, now_us: f64) -> bool {
        self.full_at_us <= now_us
    }

    /// Answers, and books what it gives.
    pub fn serve(&mut self, ask: &Ask, now_us: f64) -> Grant {
        Grant {
            rate: ask.rate.as_ref().map(|ask| self.tokens(ask, now_us)),
            quota: ask.quota.as_ref().map(|ask| self.quota_units(ask)),
        }
    }

    fn tokens(&mut self, ask: &RateAsk, now_us: f64) -> RateGrant {
        let interval = ask.rate.interval_us();
        if ask.rate.refuses_all() {
            return RateGrant { next_in_us: f64::INFINITY, ..RateGrant::default() };
        }
        let burst = ask.rate.burst();
        let mut full_at = self.full_at_us.max(now_us);
        if self.interval_us > 0.0 && (self.interval_us != interval || self.burst != burst) {
            // Another limit: as many tokens are there as before, cut to what the bucket holds now (promise P6).
            let missing = (full_at - now_us) / self.interval_us;
            let level = (f64::from(self.burst) - missing).min(f64::from(burst));
            full_at = now_us + (f64::from(burst) - level) * interval;
        }
        full_at = (full_at - f64::from(ask.give_back) * interval).max(now_us);
        // Token j is there when taking it leaves the bucket's debt within its size: full_at + j * interval - capacity.
        let empty_at = full_at - f64::from(burst) * interval;
        let ready = whole((now_us - empty_at) / interval).min(ask.want);
        let total = whole((now_us + ask.ahead_us - empty_at) / interval).clamp(ready, ask.want.max(ready));
        self.full_at_us = full_at + f64::from(total) * interval;
        (self.interval_us, self.burst) = (interval, burst);
        let next = if total > ready { f64::from(ready) + 1.0 } else { f64::from(total) + 1.0 };
        RateGrant { ready, coming: total - ready, next_in_us: (empty_at + next * interval - now_us).max(0.0) }
    }

    fn quota_units(&mut self, ask: &QuotaAsk) -> QuotaGrant {
        if self.window < ask.window.start {
            (self.window, self.used) = (ask.window.start, 0);
        } else if self.window > ask.window.start {
            // A proxy whose clock is behind: that window is over.
            return QuotaGrant { granted: 0, used: ask.limit };
        }
        self.used = self.used.saturating_add(ask.owed).saturating_sub(ask.give_back);
        let left = ask.limit.saturating_sub(self.used);
        let granted = ask.want.min((left / 8).max(1)).min(left);
        self.used += granted;
        QuotaGrant { granted, used: self.used }
    }
}

/// Whole tokens, none when negative.
fn whole(tokens: f64) -> u32 {
    // A millionth of a token is what rounding may have lost.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "casts from floats saturate")]
    let whole = (tokens + 1e-6).floor() as u32;
    whole
}
