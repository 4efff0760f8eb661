//! What one proxy holds of an account.

use super::account::{Life, STEP_S};
use super::{Ask, Grant, Period, QuotaAsk, RateAsk, Terms, Window};

/// Demand is reckoned over at least this long.
const RECKONED_US: f64 = 1e6;

/// How much is leased at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Batching {
    /// A lease of tokens is for about this long.
    pub tokens_us: f64,
    /// A lease of quota is for about this long: what a crash can lose.
    pub quota_us: f64,
    /// After the store had no quota or no token left, it is asked again after this long at the latest, since others may have returned some.
    /// 0: others do not exist.
    pub dry_us: f64,
}

impl Batching {
    /// One at a time: for stores that answer at once and lose nothing.
    pub const NONE: Self = Self { tokens_us: 0.0, quota_us: 0.0, dry_us: 0.0 };
}

/// Leases of one customer on one proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Meter {
    ready: u32,
    coming: u32,
    /// When the first of `coming` may be used; without any, when the store has tokens again.
    next_at_us: f64,
    interval_us: f64,
    /// Of the lease after that one: others may have leased what lies between.
    later: Coming,
    /// A bucket that is full takes no more.
    burst: u32,
    window: i64,
    /// The calendar is asked once a period.
    calendar: Option<(Period, Window)>,
    left: u64,
    /// The store had no quota; not asked before.
    dry_until_us: f64,
    /// As the store said last, for this window.
    used: u64,
    /// Of that count.
    life: Life,
    /// Admissions since `counted_from_us`, of which the demand is reckoned.
    count: u32,
    counted_from_us: f64,
    demand_per_us: f64,
    last_use_us: f64,
    token_lease: u32,
    quota_lease: u64,
    /// The store had fewer tokens than were asked for.
    short: bool,
}

/// Tokens that come one by one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Coming {
    tokens: u32,
    at_us: f64,
    interval_us: f64,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It passes; a token and a unit of quota are gone.
    Admit,
    /// No token is there (R-PLAN-6). Nothing was taken.
    Throttled,
    /// The quota is used up (R-PLAN-5). Nothing was taken.
    QuotaExceeded,
    /// The leases are used up: ask the store with [`Meter::ask`] and try again.
    AskStore,
}

/// What a meter holds without using it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Tokens, those that come included.
    pub tokens: u32,
    /// Quota of the current window.
    pub quota: u64,
}

impl Meter {
    /// Lets a request through or not: throttle first, then quota (R-PLAN-7). `unix_seconds` is the wall clock, for the window.
    pub fn admit(&mut self, terms: &Terms, now_us: f64, unix_seconds: i64) -> Outcome {
        let mut ask = false;
        if let Some(rate) = &terms.rate {
            if rate.refuses_all() {
                return Outcome::Throttled;
            }
            self.burst = rate.burst();
            self.mature(now_us);
            if self.interval_us != rate.interval_us() && self.coming == 0 {
                // Another limit: what the store said about the next token holds no more.
                (self.next_at_us, self.interval_us) = (0.0, rate.interval_us());
            }
            if self.ready == 0 {
                if self.coming > 0 || now_us < self.next_at_us {
                    return Outcome::Throttled;
                }
                ask = true;
            }
        }
        if let Some(quota) = &terms.quota {
            let window = self.enter(quota.period, unix_seconds);
            if quota.limit_in(window) == 0 {
                return Outcome::QuotaExceeded;
            }
            if self.left == 0 {
                if now_us < self.dry_until_us {
                    return Outcome::QuotaExceeded;
                }
                ask = true;
            }
        }
        if ask {
            return Outcome::AskStore;
        }
        if terms.rate.is_some() {
            self.ready -= 1;
        }
        if terms.quota.is_some() {
            self.left -= 1;
        }
        self.count = self.count.saturating_add(1);
        self.last_use_us = now_us;
        Outcome::Admit
    }

    /// A request that was admitted and then refused elsewhere: nothing was consumed. That may have taken time in which the bucket filled up, so a
    /// token beyond its size is lost.
    pub fn undo(&mut self, terms: &Terms) {
        if let Some(rate) = &terms.rate {
            self.ready = self.ready.saturating_add(1).min(rate.burst().max(self.ready));
        }
        if terms.quota.is_some() {
            self.left += 1;
        }
        self.count = self.count.saturating_sub(1);
    }

    /// What to ask the store for. Tokens and quota are asked for together; what is there already is not asked for again.
    pub fn ask(&mut self, terms: &Terms, batching: &Batching, now_us: f64, unix_seconds: i64) -> Ask {
        self.reckon(now_us);
        let rate = terms.rate.filter(|rate| !rate.refuses_all()).map(|rate| {
            self.burst = rate.burst();
            self.mature(now_us);
            let want = if self.held_tokens() > 0 && !self.tokens_low() { 0 } else { self.share(batching.tokens_us) };
            // So many fit into the bucket or come meanwhile.
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "casts from floats saturate")]
            let most = rate.burst().saturating_add((batching.tokens_us / rate.interval_us()).ceil() as u32);
            let want = u32::try_from(want).unwrap_or(u32::MAX).min(most);
            RateAsk { rate, give_back: 0, want, ahead_us: if self.later.tokens > 0 { 0.0 } else { batching.tokens_us } }
        });
        let quota = terms.quota.map(|quota| {
            let window = self.enter(quota.period, unix_seconds);
            let want = if self.left > 0 && !self.quota_low() { 0 } else { self.share(batching.quota_us) };
            QuotaAsk {
                window,
                limit: quota.limit_in(window),
                give_back: 0,
                owed: 0,
                known: (self.life, self.used),
                want,
            }
        });
        Ask { rate, quota }
    }

    /// What to tell the store to take back everything that is held. The meter is empty afterwards.
    pub fn give_back(&mut self, terms: &Terms, unix_seconds: i64) -> Ask {
        let rate = terms.rate.filter(|rate| !rate.refuses_all()).map(|rate| RateAsk {
            rate,
            give_back: self.held_tokens(),
            want: 0,
            ahead_us: 0.0,
        });
        let quota = terms.quota.map(|quota| {
            let window = self.enter(quota.period, unix_seconds);
            let (limit, known) = (quota.limit_in(window), (self.life, self.used));
            QuotaAsk { window, limit, give_back: self.left, owed: 0, known, want: 0 }
        });
        (self.ready, self.coming, self.left, self.later) = (0, 0, 0, Coming::default());
        (self.token_lease, self.quota_lease, self.next_at_us, self.dry_until_us) = (0, 0, 0.0, 0.0);
        Ask { rate, quota }
    }

    /// Takes the store's answer to `ask`.
    pub fn credit(&mut self, ask: &Ask, grant: &Grant, batching: &Batching, now_us: f64) {
        if let (Some(ask), Some(grant)) = (&ask.rate, &grant.rate)
            && ask.want > 0
        {
            self.ready += grant.ready;
            let at_us = now_us + grant.next_in_us;
            if self.coming > 0 {
                self.later = Coming { tokens: grant.coming, at_us, interval_us: ask.rate.interval_us() };
            } else {
                self.coming = grant.coming;
                // Others may give tokens back before the next one comes.
                let returned = grant.coming == 0 && batching.dry_us > 0.0;
                let at_us = if returned { at_us.min(now_us + batching.dry_us) } else { at_us };
                // Who came before this answer and is decided after it must not take "now" for "later".
                self.next_at_us = if grant.next_in_us > 0.0 { at_us } else { 0.0 };
                self.interval_us = ask.rate.interval_us();
            }
            self.token_lease = grant.ready + grant.coming;
            self.short = grant.ready < ask.want;
        }
        if let (Some(ask), Some(grant)) = (&ask.quota, &grant.quota)
            && ask.window.start == self.window
        {
            self.left += grant.granted;
            (self.used, self.life) = (grant.used, grant.life);
            if ask.want > 0 {
                self.quota_lease = grant.granted;
                self.dry_until_us = if grant.granted == 0 { now_us + batching.dry_us } else { 0.0 };
            }
        }
    }

    /// Whether more should be leased now, before anybody has to wait for it.
    pub fn is_low(&self, terms: &Terms, now_us: f64) -> bool {
        let next = self.later.tokens == 0 && (self.coming > 0 || now_us >= self.next_at_us);
        let tokens = terms.rate.is_some() && next && self.tokens_low();
        let quota = terms.quota.is_some() && now_us >= self.dry_until_us && self.quota_low();
        (tokens || quota) && (self.token_lease > 1 || self.quota_lease > 1)
    }

    /// Whether the store had too little when it was asked last: asking at once again would bring nothing or few.
    pub fn is_short(&self, terms: &Terms) -> bool {
        let tokens = terms.rate.is_some() && self.ready == 0 && self.short;
        let quota = terms.quota.is_some() && self.left == 0 && self.dry_until_us > 0.0;
        tokens || quota
    }

    /// What it holds.
    pub fn held(&self) -> Held {
        Held { tokens: self.held_tokens(), quota: self.left }
    }

    /// When a request was last admitted.
    pub fn last_use_us(&self) -> f64 {
        self.last_use_us
    }

    /// Requests of the window that this proxy knows to be used by all, without what it holds itself.
    pub fn used_in(&self, window: Window) -> u64 {
        if self.window == window.start { self.used.saturating_sub(self.left) } else { 0 }
    }

    /// Tokens that may be used now.
    pub fn ready(&self) -> u32 {
        self.ready
    }

    fn held_tokens(&self) -> u32 {
        self.ready + self.coming + self.later.tokens
    }

    fn tokens_low(&self) -> bool {
        self.held_tokens() <= self.token_lease / 2
    }

    fn quota_low(&self) -> bool {
        self.left <= self.quota_lease / 2
    }

    /// Moves tokens whose time has come. What finds the bucket full is lost, as in any bucket.
    fn mature(&mut self, now_us: f64) {
        while self.coming > 0 && now_us >= self.next_at_us {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "casts from floats saturate")]
            let come = ((now_us - self.next_at_us) / self.interval_us + 1.0) as u32;
            let come = come.min(self.coming);
            self.ready = self.ready.saturating_add(come).min(self.burst.max(self.ready));
            self.coming -= come;
            self.next_at_us += f64::from(come) * self.interval_us;
            if self.coming == 0 {
                let Coming { tokens, at_us, interval_us } = std::mem::take(&mut self.later);
                if tokens == 0 {
                    // Behind the last token of the lease the store may have more at once.
                    self.next_at_us = 0.0;
                } else {
                    (self.coming, self.next_at_us, self.interval_us) = (tokens, at_us, interval_us);
                }
            }
        }
    }

    /// The window to use now. A new one begins with nothing: leases of the last one lapse. Also backwards, when the clock was set back or
    /// the period is a longer one; not for a clock that is behind another by an instant.
    fn enter(&mut self, period: Period, unix_seconds: i64) -> Window {
        let known = self.calendar.filter(|(of, window)| *of == period && window.contains(unix_seconds));
        let (_, window) = *self.calendar.insert(known.unwrap_or_else(|| (period, period.window(unix_seconds))));
        if self.window == window.start {
            return window;
        }
        let back = window.end > self.window || unix_seconds + STEP_S < self.window;
        if self.window > window.start && !back {
            return period.window(self.window);
        }
        self.window = window.start;
        (self.left, self.used, self.life) = (0, 0, Life::default());
        (self.quota_lease, self.dry_until_us) = (0, 0.0);
        window
    }

    fn reckon(&mut self, now_us: f64) {
        let time = now_us - self.counted_from_us;
        if time >= RECKONED_US {
            self.demand_per_us = if self.counted_from_us > 0.0 { f64::from(self.count) / time } else { 0.0 };
            (self.count, self.counted_from_us) = (0, now_us);
        }
    }

    /// How much is used in this time, at least one: at the pace of the last second, or, when the pace picks up, as much again as was
    /// used since. So no lease is for more than what the customer used within some second here.
    fn share(&self, time_us: f64) -> u64 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "casts from floats saturate")]
        let share = (self.demand_per_us * time_us).ceil() as u64;
        let growing = if time_us > 0.0 { u64::from(self.count) } else { 0 };
        share.max(growing).max(1)
    }
}
