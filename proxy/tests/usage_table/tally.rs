//! What was counted, and what of it is allowed.

use std::fmt;
use std::time::{Duration, Instant};

use super::fleet::{CONNECTIONS, Verdict};
use super::{PROXIES, Phase};

/// What one customer asked and got.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) asked: u64,
    pub(crate) throttled: u64,
    pub(crate) over_quota: u64,
    /// When requests passed, by proxy.
    passed: [Vec<Instant>; PROXIES],
    last_pass: Option<Instant>,
    /// When each proxy last said that the quota is used up.
    refused: [Option<Instant>; PROXIES],
}

impl Counts {
    pub(crate) fn add(&mut self, proxy: usize, verdict: Verdict) {
        let now = Instant::now();
        self.asked += 1;
        match verdict {
            Verdict::Admitted => {
                self.passed[proxy].push(now);
                self.last_pass = Some(now);
            }
            Verdict::Throttled => self.throttled += 1,
            Verdict::QuotaExceeded => {
                self.over_quota += 1;
                self.refused[proxy] = Some(now);
            }
            Verdict::Unavailable => {}
        }
    }

    /// Whether this proxy refused three seconds after the last request that passed anywhere.
    pub(crate) fn is_used_up(&self, proxy: usize) -> bool {
        let (Some(pass), Some(refused)) = (self.last_pass, self.refused[proxy]) else { return false };
        refused > pass + Duration::from_secs(3)
    }

    pub(crate) fn admitted(&self) -> u64 {
        self.passed.iter().map(|passed| passed.len() as u64).sum()
    }

    /// The most that a proxy can have leased: twice what passed in its busiest second. On each connection one more may have
    /// passed within it than was seen here.
    fn leased(&self, proxy: usize) -> f64 {
        let passed = &self.passed[proxy];
        let second = |from: usize| {
            let end = passed[from] + Duration::from_secs(1);
            passed[from..].partition_point(|at| *at <= end)
        };
        let busiest = (0..passed.len()).map(second).max().unwrap_or(0) + CONNECTIONS;
        2.0 * busiest as f64 + 1.0
    }
}

/// One line of the table.
#[derive(Debug)]
pub(crate) struct Row {
    phase: Phase,
    plan: String,
    keys: usize,
    asked: u64,
    pub(crate) admitted: u64,
    at_most: f64,
    note: String,
    /// What is wrong with it.
    pub(crate) broken: Option<String>,
}

pub(crate) const HEAD: &str = "\
| phase | plan | keys | asked | admitted | at most | below | of single customers |
|---|---|---|---|---|---|---|---|";

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { phase, plan, keys, asked, admitted, at_most, note, broken } = self;
        let below = 100.0 * (1.0 - *admitted as f64 / at_most);
        let broken = broken.as_ref().map_or(String::new(), |text| format!(" **BROKEN: {text}**"));
        write!(
            f,
            "| {phase:?} | {plan} | {keys} | {asked} | {admitted} | {at_most:.0} | {below:.2} % | {note}{broken} |"
        )
    }
}

fn row(phase: Phase, plan: String, counts: &[Counts], at_most: f64, note: String, broken: Vec<String>) -> Row {
    Row {
        phase,
        plan,
        keys: counts.len(),
        asked: counts.iter().map(|counts| counts.asked).sum(),
        admitted: counts.iter().map(Counts::admitted).sum(),
        at_most: at_most * counts.len() as f64,
        note,
        broken: (!broken.is_empty()).then(|| broken.join("; ")),
    }
}

/// No customer got more than `bound`.
pub(crate) fn rate_row(phase: Phase, plan: &str, counts: &[Counts], bound: f64) -> Row {
    let over = counts.iter().filter(|counts| counts.admitted() as f64 > bound);
    let broken = over.map(|counts| format!("{} of {bound:.1}", counts.admitted())).collect();
    let throttled: u64 = counts.iter().map(|counts| counts.throttled).sum();
    let shares = counts.iter().map(|counts| 100.0 * counts.admitted() as f64 / bound);
    let (least, most) = shares.fold((f64::MAX, 0.0_f64), |(least, most), share| (least.min(share), most.max(share)));
    let note = format!("{least:.1} to {most:.1} % of the bound; {throttled} throttled");
    row(phase, format!("{plan}, rate"), counts, bound, note, broken)
}

/// Every customer got exactly `limit`, but for what was lost; one that does not use its quota up got no more.
pub(crate) fn quota_row(phase: Phase, plan: &str, counts: &[Counts], limit: u64, exact: bool, lost: &[usize]) -> Row {
    let mut broken = Vec::new();
    let (mut missing, mut may_miss) = (0, 0.0_f64);
    for counts in counts {
        let admitted = counts.admitted();
        let allowance = lost.iter().map(|proxy| counts.leased(*proxy)).sum::<f64>();
        let miss = limit.saturating_sub(admitted);
        if admitted > limit {
            broken.push(format!("{admitted} of {limit}"));
        } else if exact && miss as f64 > allowance {
            broken.push(format!("{admitted} of {limit}, of which {allowance:.0} may be lost"));
        }
        missing = missing.max(miss);
        may_miss = may_miss.max(allowance);
    }
    let over_quota: u64 = counts.iter().map(|counts| counts.over_quota).sum();
    let note = if !exact {
        "not used up".to_owned()
    } else if lost.is_empty() {
        format!("each exactly {limit}; {over_quota} refused")
    } else {
        format!("at most {missing} of {limit} lost, up to {may_miss:.0} allowed; {over_quota} refused")
    };
    row(phase, format!("{plan}, quota"), counts, limit as f64, note, broken)
}
