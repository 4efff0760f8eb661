//! The truth about one customer of a plan, and what proxies ask of it.

use super::{Rate, Window};

/// A clock that says so much less than before, or that somebody's window begins so much later, was set; less is what clocks differ by.
pub(super) const STEP_S: i64 = 2;
#[expect(clippy::cast_precision_loss, reason = "some seconds")]
const STEP_US: f64 = STEP_S as f64 * 1e6;

/// What a store keeps of one customer: a bucket and a count. Starts full and unused.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Account {
    /// When the bucket is full again, in the store's time.
    full_at_us: f64,
    /// When that was reckoned.
    at_us: f64,
    /// What `full_at_us` is tuned to; 0: nothing was taken yet.
    interval_us: f64,
    burst: u32,
    /// Start of the window that `used` counts in.
    window: i64,
    used: u64,
    /// The window before that one and its count, in case that the clock is set back.
    before: Option<(i64, u64)>,
    life: Life,
    /// What was recovered of the window from what proxies know.
    recovered: u64,
}

/// How far a count has come, by which a proxy notices that its store forgot something: the store began anew, or an older copy of it was
/// brought back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Life {
    /// When it began, microseconds of the store's time.
    pub epoch: i64,
    /// Changes since; 0: none, so nothing is known.
    pub version: u64,
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
    /// What the proxy knows of the window: the count and how far that had come.
    pub known: (Life, u64),
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
    /// Of that count; none when the window is not the present one.
    pub life: Life,
}

impl Account {
    /// An account whose quota was used before: what a store on disk has read.
    /// `before` is the window before that one and its count.
    pub fn restored(window_start: i64, used: u64, before: Option<(i64, u64)>) -> Self {
        Self { window: window_start, used, before, ..Self::default() }
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

    /// Answers, and books what it gives. `now_us` is the clock of buckets, `unix_seconds` that of windows.
    pub fn serve(&mut self, ask: &Ask, now_us: f64, unix_seconds: i64) -> Grant {
        Grant {
            rate: ask.rate.as_ref().map(|ask| self.tokens(ask, now_us)),
            quota: ask.quota.as_ref().map(|ask| self.quota_units(ask, now_us, unix_seconds)),
        }
    }

    fn tokens(&mut self, ask: &RateAsk, now_us: f64) -> RateGrant {
        let interval = ask.rate.interval_us();
        if ask.rate.refuses_all() {
            return RateGrant { next_in_us: f64::INFINITY, ..RateGrant::default() };
        }
        let burst = ask.rate.burst();
        if self.at_us - now_us > STEP_US {
            // The clock was set back. What is missing of the bucket is missing still, and no more.
            self.full_at_us -= self.at_us - now_us;
            self.at_us = now_us;
        }
        self.at_us = self.at_us.max(now_us);
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

    fn quota_units(&mut self, ask: &QuotaAsk, now_us: f64, unix_seconds: i64) -> QuotaGrant {
        if !self.turn_to(ask.window, unix_seconds) {
            return QuotaGrant { granted: 0, used: ask.limit, life: Life::default() };
        }
        self.recover(ask.known, now_us);
        self.used = self.used.saturating_add(ask.owed).saturating_sub(ask.give_back);
        let left = ask.limit.saturating_sub(self.used);
        let granted = ask.want.min((left / 8).max(1)).min(left);
        self.used += granted;
        self.life.version += 1;
        QuotaGrant { granted, used: self.used, life: self.life }
    }

    /// Counts in this window from now on, unless it is over or did not begin yet: then somebody's clock is wrong, or will be right
    /// in a moment.
    fn turn_to(&mut self, window: Window, unix_seconds: i64) -> bool {
        let present = unix_seconds.saturating_add(STEP_S);
        if window.start > present {
            return false;
        }
        if self.window < window.start {
            (self.before, self.window, self.used, self.recovered) =
                (Some((self.window, self.used)), window.start, 0, 0);
        } else if self.window > present {
            // The clock was ahead and was set back: everything that was used meanwhile was used in this window.
            let used = self.before.filter(|before| before.0 == window.start).map_or(0, |before| before.1);
            (self.before, self.window, self.used, self.recovered) = (None, window.start, self.used + used, 0);
        } else if self.window > window.start {
            if window.end <= self.window {
                // A proxy whose clock is behind: that window is over.
                return false;
            }
            // Another period, which holds the one that was counted in.
            (self.before, self.window, self.used, self.recovered) = (None, window.start, 0, 0);
        }
        true
    }

    /// Takes what a proxy knows of a count that is no longer the one it knew. Of several proxies the highest count holds, and what was
    /// given since comes on top.
    #[expect(clippy::cast_possible_truncation, reason = "microseconds since 1970 are below 2^53")]
    fn recover(&mut self, (life, used): (Life, u64), now_us: f64) {
        if self.life.version == 0 {
            self.life.epoch = now_us as i64;
        }
        if life.version == 0 || (life.epoch == self.life.epoch && life.version <= self.life.version) {
            return;
        }
        if life.epoch == self.life.epoch {
            // An older copy. For who comes next it is another life.
            (self.life.epoch, self.recovered) = (now_us as i64, self.used);
        }
        if used > self.recovered {
            (self.used, self.recovered) = (self.used + used - self.recovered, used);
        }
    }
}

/// Whole tokens, none when negative.
fn whole(tokens: f64) -> u32 {
    // A millionth of a token is what rounding may have lost.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "casts from floats saturate")]
    let whole = (tokens + 1e-6).floor() as u32;
    whole
}
