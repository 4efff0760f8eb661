//! What the proxies say they run, and what follows for `Programmed n/m` (promise P2).
//!
//! Translation counts revisions. Of each proxy is kept which units it is behind with, and since which revision. An object
//! requires that certain units are at least at the revision that first held its present generation; so a change to one route
//! of a large API leaves the conditions of the others alone, although all are parts of one unit.
//!
//! Another replica may have fed the proxy: it may be ahead of this one and may have skipped revisions. Where a proxy stands is
//! therefore read from the hashes of units, never from another replica's count.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;
use tollgate_engine::snapshot::{
    AuthorizerReport, ContentHash, PlanUsage, Problem, Report, ReportAnswer, UnitId, UsageReport,
};

use tollgate_translate::Requirement;

use crate::feed::{Fleet, index};
use crate::usage;

/// Proxies of one fleet that are kept; more are not counted.
const MAX_PROXIES: usize = 2048;
/// Contents of one unit that are remembered besides the present one.
const MAX_HISTORY: usize = 16;
/// Units of a proxy that this replica does not know.
const MAX_AHEAD: usize = 4096;
/// Problems kept of one proxy.
const MAX_PROBLEMS: usize = 256;

/// `Programmed`'s numbers for one object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DataPlane {
    /// Ready proxies.
    pub ready: u32,
    /// Those of them that have taken the object over.
    pub acknowledged: u32,
}

/// What a report may change in conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// Nothing.
    Nothing,
    /// Objects that were not acknowledged by all may be now.
    Progress,
    /// Any object: proxies came, left, or say that something is wrong.
    Everything,
}

/// All proxies of all fleets.
#[derive(Debug, Default)]
pub struct Proxies {
    fleets: [FleetProxies; 2],
}

impl Proxies {
    /// The feed has a new revision, with these units in it (`None`: deleted).
    pub fn published(&mut self, fleet: Fleet, revision: u64, changes: &[(UnitId, Option<ContentHash>)]) {
        self.fleets[index(fleet)].published(revision, changes);
    }

    /// A proxy reports.
    pub fn report(&mut self, fleet: Fleet, report: Report, now: Instant) -> (ReportAnswer, Effect) {
        self.fleets[index(fleet)].report(report, now)
    }

    /// Forgets proxies that were silent for `timeout`; says whether there were any.
    pub fn expire(&mut self, timeout: Duration, now: Instant) -> bool {
        let expired = self.fleets.each_mut().map(|fleet| fleet.expire(timeout, now));
        expired.contains(&true)
    }

    /// How many proxies of the fleets that have the units are ready, and how many of them meet all requirements.
    pub fn data_plane(&self, requirements: &[Requirement]) -> DataPlane {
        let mut count = DataPlane::default();
        for fleet in &self.fleets {
            fleet.count(requirements, &mut count);
        }
        count
    }

    /// What ready proxies could not put into effect; each once, however many say it.
    pub fn problems(&self, fleet: Fleet) -> BTreeMap<String, BTreeSet<(String, String)>> {
        let mut problems = BTreeMap::<_, BTreeSet<_>>::new();
        for problem in self.fleets[index(fleet)].ready().flat_map(|proxy| proxy.problems.values().flatten()) {
            let of_source = problems.entry(problem.source.clone()).or_default();
            of_source.insert((problem.path.clone(), problem.message.clone()));
        }
        problems
    }

    /// What ready proxies say of authorizers, by `namespace/name`: the first message and how many say so.
    pub fn authorizers(&self) -> BTreeMap<String, (String, u32)> {
        let mut authorizers = BTreeMap::<String, (String, u32)>::new();
        let all = self.fleets.iter().flat_map(FleetProxies::ready).flat_map(|proxy| &proxy.authorizers);
        for AuthorizerReport { source, message } in all {
            authorizers.entry(source.clone()).or_insert_with(|| (message.clone(), 0)).1 += 1;
        }
        authorizers
    }

    /// What customers of plans have used, by plan.
    pub fn usage(&self) -> BTreeMap<String, PlanUsage> {
        let all = self.fleets.iter().flat_map(|fleet| fleet.proxies.values());
        usage::together(all.filter_map(|proxy| proxy.usage.as_ref()))
    }

    /// How many proxies are known, ready or not.
    pub fn known(&self, fleet: Fleet) -> usize {
        self.fleets[index(fleet)].proxies.len()
    }
}

#[derive(Debug, Default)]
struct FleetProxies {
    units: HashMap<UnitId, History>,
    proxies: BTreeMap<String, Proxy>,
}

/// The contents that a unit had, oldest first; never empty.
#[derive(Debug)]
struct History {
    /// The revision that first had the unit.
    first: u64,
    contents: VecDeque<(u64, Option<ContentHash>)>,
}

#[derive(Debug)]
struct Proxy {
    session: String,
    ready: bool,
    seen: Instant,
    /// Units of which it does not have the present content, and the first revision that it lacks of them.
    behind: BTreeMap<UnitId, u64>,
    /// Contents it has that this replica has not published (`None`: the unit is gone).
    ahead: HashMap<UnitId, Option<ContentHash>>,
    problems: BTreeMap<UnitId, Vec<Problem>>,
    authorizers: Vec<AuthorizerReport>,
    /// As it said last.
    usage: Option<UsageReport>,
}

impl History {
    fn new(revision: u64, hash: Option<ContentHash>) -> Self {
        Self { first: revision, contents: VecDeque::from([(revision, hash)]) }
    }

    fn push(&mut self, revision: u64, hash: Option<ContentHash>) {
        if self.contents.len() > MAX_HISTORY {
            self.contents.pop_front();
        }
        self.contents.push_back((revision, hash));
    }

    fn present(&self) -> Option<&ContentHash> {
        self.contents.back().and_then(|(_, hash)| hash.as_ref())
    }

    /// Where a proxy stands that holds `held`.
    fn stand(&self, held: Option<&ContentHash>) -> Stand {
        if self.present() == held {
            return Stand::Present;
        }
        match self.contents.iter().rposition(|(_, hash)| hash.as_ref() == held) {
            Some(at) => Stand::Behind(self.contents[at + 1].0),
            // It never had the unit.
            None if held.is_none() => Stand::Behind(self.first),
            None => Stand::Unknown(self.first),
        }
    }
}

/// Where a proxy stands with one unit.
enum Stand {
    /// It has what is published.
    Present,
    /// It lacks what this revision and later ones brought.
    Behind(u64),
    /// It has something that was never published here, or too long ago; with the revision to assume as lacking.
    Unknown(u64),
}

impl FleetProxies {
    fn ready(&self) -> impl Iterator<Item = &Proxy> {
        self.proxies.values().filter(|proxy| proxy.ready)
    }

    fn published(&mut self, revision: u64, changes: &[(UnitId, Option<ContentHash>)]) {
        for (id, hash) in changes {
            match self.units.get_mut(id) {
                Some(history) => history.push(revision, hash.clone()),
                None => drop(self.units.insert(id.clone(), History::new(revision, hash.clone()))),
            }
            for proxy in self.proxies.values_mut() {
                match proxy.ahead.get(id) {
                    Some(ahead) if ahead == hash => {
                        proxy.ahead.remove(id);
                        proxy.behind.remove(id);
                    }
                    _ => drop(proxy.behind.entry(id.clone()).or_insert(revision)),
                }
            }
        }
    }

    fn report(&mut self, mut report: Report, now: Instant) -> (ReportAnswer, Effect) {
        if report.leaving {
            let known = self.proxies.remove(&report.proxy).is_some();
            return (ReportAnswer::default(), if known { Effect::Everything } else { Effect::Nothing });
        }
        let known = self.proxies.get(&report.proxy).is_some_and(|proxy| proxy.session == report.session);
        if !known && (!report.full || self.proxies.len() >= MAX_PROXIES) {
            // Beyond the bound the answer is the same: the report does not count, and the proxy may try again later.
            return (ReportAnswer { resend: !report.full }, Effect::Nothing);
        }
        if !known {
            self.proxies.insert(report.proxy.clone(), Proxy::new(report.session.clone(), now));
        }
        let proxy = self.proxies.get_mut(&report.proxy).expect("it is known or was just inserted");
        let everything = !known || proxy.ready != report.ready || proxy.authorizers != report.authorizers;
        proxy.seen = now;
        proxy.ready = report.ready;
        proxy.authorizers.clone_from(&report.authorizers);
        proxy.authorizers.truncate(MAX_PROBLEMS);
        if let Some(usage) = report.usage.take() {
            proxy.usage = Some(usage::bounded(usage));
        }
        let problems_changed = proxy.take(&report, &self.units);
        let effect = if everything || problems_changed {
            Effect::Everything
        } else if report.units.is_empty() && report.gone.is_empty() && !report.full {
            Effect::Nothing
        } else {
            Effect::Progress
        };
        (ReportAnswer::default(), effect)
    }

    fn expire(&mut self, timeout: Duration, now: Instant) -> bool {
        let before = self.proxies.len();
        self.proxies.retain(|_, proxy| now.saturating_duration_since(proxy.seen) < timeout);
        // A deleted unit is of interest only while somebody may still have it.
        let behind: BTreeSet<&UnitId> = self.proxies.values().flat_map(|proxy| proxy.behind.keys()).collect();
        self.units.retain(|id, history| history.present().is_some() || behind.contains(id));
        before != self.proxies.len()
    }

    fn count(&self, requirements: &[Requirement], count: &mut DataPlane) {
        let ours = |unit| self.units.get(unit).is_some_and(|history| history.present().is_some());
        let ours: Vec<&Requirement> = requirements.iter().filter(|requirement| ours(&requirement.unit)).collect();
        if ours.is_empty() {
            return;
        }
        for proxy in self.ready() {
            count.ready += 1;
            count.acknowledged += u32::from(ours.iter().all(|requirement| proxy.meets(requirement)));
        }
    }
}

impl Proxy {
    fn new(session: String, now: Instant) -> Self {
        Self {
            session,
            ready: false,
            seen: now,
            behind: BTreeMap::new(),
            ahead: HashMap::new(),
            problems: BTreeMap::new(),
            authorizers: Vec::new(),
            usage: None,
        }
    }

    fn meets(&self, requirement: &Requirement) -> bool {
        self.behind.get(&requirement.unit).is_none_or(|lacking| *lacking > requirement.revision)
    }

    /// Takes over what a report says of units; says whether problems changed.
    fn take(&mut self, report: &Report, units: &HashMap<UnitId, History>) -> bool {
        let old_problems = report.full.then(|| std::mem::take(&mut self.problems));
        let mut problems_changed = false;
        if report.full {
            self.behind.clear();
            self.ahead.clear();
            let held: BTreeSet<&UnitId> = report.units.iter().map(|unit| &unit.id).collect();
            for (id, history) in units.iter().filter(|(id, _)| !held.contains(id)) {
                self.place(id, history.stand(None), None, true);
            }
        }
        for unit in &report.units {
            let stand = units.get(&unit.id).map_or(Stand::Unknown(u64::MAX), |history| history.stand(Some(&unit.hash)));
            self.place(&unit.id, stand, Some(&unit.hash), report.full);
            problems_changed |= self.note_problems(&unit.id, &unit.problems);
        }
        for id in &report.gone {
            let stand = units.get(id).map_or(Stand::Present, |history| history.stand(None));
            self.place(id, stand, None, report.full);
            problems_changed |= self.problems.remove(id).is_some();
        }
        match old_problems {
            Some(old) => old != self.problems,
            None => problems_changed,
        }
    }

    fn place(&mut self, id: &UnitId, stand: Stand, held: Option<&ContentHash>, full: bool) {
        self.ahead.remove(id);
        match stand {
            Stand::Present => drop(self.behind.remove(id)),
            Stand::Behind(revision) => {
                self.behind.insert(id.clone(), revision);
                // Gone at the proxy, but not here: perhaps the other replica knows more.
                if held.is_none() && self.ahead.len() < MAX_AHEAD {
                    self.ahead.insert(id.clone(), None);
                }
            }
            Stand::Unknown(revision) => {
                // One that was up to date and now has something unknown was fed by a replica that is faster than this one;
                // it does not lose what it had. Of a full report nothing before is known.
                if full && revision != u64::MAX {
                    self.behind.insert(id.clone(), revision);
                }
                if self.ahead.len() < MAX_AHEAD {
                    self.ahead.insert(id.clone(), held.cloned());
                }
            }
        }
    }

    fn note_problems(&mut self, id: &UnitId, problems: &[Problem]) -> bool {
        if problems.is_empty() {
            return self.problems.remove(id).is_some();
        }
        let room = MAX_PROBLEMS.saturating_sub(self.problems.values().map(Vec::len).sum());
        let kept: Vec<Problem> = problems.iter().take(room.max(1)).cloned().collect();
        let changed = self.problems.get(id) != Some(&kept);
        self.problems.insert(id.clone(), kept);
        changed
    }
}

#[cfg(test)]
mod tests {
    use tollgate_engine::snapshot::UnitReport;

    use super::*;

    const PUBLIC: Fleet = Fleet::Public;

    fn id(name: &str) -> UnitId {
        serde_json::from_value(format!("endpoints/a/{name}:80").into()).unwrap()
    }

    fn hash(text: &str) -> ContentHash {
        ContentHash::of_json(text.as_bytes())
    }

    fn report(proxy: &str, units: &[(&str, &str)]) -> Report {
        Report {
            proxy: proxy.into(),
            session: "1".into(),
            fleet: "public".into(),
            ready: true,
            leaving: false,
            full: false,
            units: units
                .iter()
                .map(|(name, content)| UnitReport { id: id(name), hash: hash(content), problems: vec![] })
                .collect(),
            gone: vec![],
            authorizers: vec![],
            usage: None,
        }
    }

    fn full(proxy: &str, units: &[(&str, &str)]) -> Report {
        Report { full: true, ..report(proxy, units) }
    }

    /// `n/m` of an object that is part of the units `x` and `y` since `revision`.
    fn counts(proxies: &Proxies, revision: u64) -> (u32, u32) {
        let requirements = ["x", "y"].map(|name| Requirement { unit: id(name), revision });
        let DataPlane { ready, acknowledged } = proxies.data_plane(&requirements);
        (acknowledged, ready)
    }

    fn publish(proxies: &mut Proxies, revision: u64, changes: &[(&str, Option<&str>)]) {
        let changes: Vec<_> = changes.iter().map(|(name, content)| (id(name), content.map(hash))).collect();
        proxies.published(PUBLIC, revision, &changes);
    }

    #[test]
    fn an_unknown_session_has_to_send_everything() {
        let (mut proxies, now) = (Proxies::default(), Instant::now());
        assert!(proxies.report(PUBLIC, report("p", &[]), now).0.resend);
        assert!(!proxies.report(PUBLIC, full("p", &[]), now).0.resend);
        assert!(!proxies.report(PUBLIC, report("p", &[]), now).0.resend);
        let restarted = Report { session: "2".into(), ..report("p", &[]) };
        assert!(proxies.report(PUBLIC, restarted, now).0.resend);
    }

    #[test]
    fn programmed_counts_ready_proxies_that_hold_the_revision() {
        let (mut proxies, now) = (Proxies::default(), Instant::now());
        publish(&mut proxies, 1, &[("x", Some("1")), ("y", Some("1"))]);
        assert_eq!(counts(&proxies, 1), (0, 0));
        proxies.report(PUBLIC, full("p", &[("x", "1"), ("y", "1")]), now);
        proxies.report(PUBLIC, full("q", &[("x", "1")]), now);
        assert_eq!(counts(&proxies, 1), (1, 2));
        proxies.report(PUBLIC, report("q", &[("y", "1")]), now);
        assert_eq!(counts(&proxies, 1), (2, 2));
        let not_ready = Report { ready: false, ..report("q", &[]) };
        proxies.report(PUBLIC, not_ready, now);
        assert_eq!(counts(&proxies, 1), (1, 1));
    }

    #[test]
    fn a_frozen_proxy_holds_up_new_changes_only() {
        let (mut proxies, now) = (Proxies::default(), Instant::now());
        publish(&mut proxies, 1, &[("x", Some("1"))]);
        proxies.report(PUBLIC, full("p", &[("x", "1")]), now);
        proxies.report(PUBLIC, full("frozen", &[("x", "1")]), now);
        publish(&mut proxies, 2, &[("x", Some("2"))]);
        let later = now + Duration::from_secs(30);
        assert_eq!(proxies.report(PUBLIC, report("p", &[("x", "2")]), later).1, Effect::Progress);
        assert_eq!(counts(&proxies, 2), (1, 2), "an object of the new revision is 1/2");
        assert_eq!(counts(&proxies, 1), (2, 2), "one that did not change keeps 2/2");
        assert!(!proxies.expire(Duration::from_secs(60), later));
        assert!(proxies.expire(Duration::from_secs(60), now + Duration::from_secs(60)));
        assert_eq!(counts(&proxies, 2), (1, 1), "forgotten");
    }

    #[test]
    fn a_proxy_fed_by_a_replica_that_skipped_revisions_counts() {
        let (mut proxies, now) = (Proxies::default(), Instant::now());
        publish(&mut proxies, 1, &[("x", Some("1"))]);
        proxies.report(PUBLIC, full("p", &[("x", "1")]), now);
        // The proxy is told of content 3 by the other replica before this one has translated 2 and 3.
        proxies.report(PUBLIC, report("p", &[("x", "3"), ("new", "1")]), now);
        publish(&mut proxies, 2, &[("x", Some("2"))]);
        assert_eq!(counts(&proxies, 2), (0, 1));
        publish(&mut proxies, 3, &[("x", Some("3")), ("new", Some("1"))]);
        assert_eq!(counts(&proxies, 3), (1, 1));
    }

    #[test]
    fn a_proxy_one_step_behind_has_what_came_before() {
        let (mut proxies, now) = (Proxies::default(), Instant::now());
        publish(&mut proxies, 1, &[("x", Some("1"))]);
        publish(&mut proxies, 2, &[("x", Some("2"))]);
        publish(&mut proxies, 3, &[("x", Some("3"))]);
        proxies.report(PUBLIC, full("p", &[("x", "2")]), now);
        assert_eq!((counts(&proxies, 2), counts(&proxies, 3)), ((1, 1), (0, 1)));
    }

    #[test]
    fn a_deleted_unit_must_be_gone() {
        let (mut proxies, now) = (Proxies::default(), Instant::now());
        publish(&mut proxies, 1, &[("x", Some("1")), ("y", Some("1"))]);
        proxies.report(PUBLIC, full("p", &[("x", "1"), ("y", "1")]), now);
        publish(&mut proxies, 2, &[("x", None)]);
        assert!(!proxies.fleets[0].proxies["p"].behind.is_empty());
        let gone = Report { gone: vec![id("x")], ..report("p", &[]) };
        assert_eq!(proxies.report(PUBLIC, gone, now).1, Effect::Progress);
        assert!(proxies.fleets[0].proxies["p"].behind.is_empty());
        proxies.expire(Duration::from_secs(60), now);
        assert_eq!(proxies.fleets[0].units.len(), 1, "nobody has it: it is forgotten");
    }

    #[test]
    fn a_new_proxy_must_hold_the_whole_set() {
        let (mut proxies, now) = (Proxies::default(), Instant::now());
        publish(&mut proxies, 1, &[("x", Some("1"))]);
        publish(&mut proxies, 2, &[("y", Some("1"))]);
        proxies.report(PUBLIC, full("p", &[("y", "1")]), now);
        assert_eq!(counts(&proxies, 1), (0, 1), "x is missing");
        proxies.report(PUBLIC, full("p", &[("x", "1"), ("y", "1")]), now);
        assert_eq!(counts(&proxies, 2), (1, 1));
    }

    #[test]
    fn leaving_is_the_end() {
        let (mut proxies, now) = (Proxies::default(), Instant::now());
        proxies.report(PUBLIC, full("p", &[]), now);
        let leaving = Report { ready: false, leaving: true, ..report("p", &[]) };
        assert_eq!(proxies.report(PUBLIC, leaving, now).1, Effect::Everything);
        assert_eq!(proxies.known(PUBLIC), 0);
    }

    #[test]
    fn problems_come_and_go_with_their_unit() {
        let (mut proxies, now) = (Proxies::default(), Instant::now());
        publish(&mut proxies, 1, &[("x", Some("1"))]);
        let problem = Problem { source: "a/r".into(), path: "routes[0].key".into(), message: "not known here".into() };
        let mut bad = full("p", &[("x", "1")]);
        bad.units[0].problems.push(problem);
        assert_eq!(proxies.report(PUBLIC, bad.clone(), now).1, Effect::Everything);
        assert_eq!(proxies.report(PUBLIC, bad, now).1, Effect::Progress, "nothing new");
        assert_eq!(proxies.problems(PUBLIC)["a/r"].len(), 1);
        assert_eq!(proxies.report(PUBLIC, report("p", &[("x", "1")]), now).1, Effect::Everything);
        assert!(proxies.problems(PUBLIC).is_empty());
    }

    #[test]
    fn authorizers_are_counted_by_proxy() {
        let (mut proxies, now) = (Proxies::default(), Instant::now());
        for name in ["p", "q"] {
            let mut unreachable = full(name, &[]);
            unreachable.authorizers.push(AuthorizerReport { source: "a/jwt".into(), message: "404".into() });
            proxies.report(PUBLIC, unreachable, now);
        }
        assert_eq!(proxies.authorizers()["a/jwt"], ("404".to_owned(), 2));
        proxies.report(PUBLIC, report("p", &[]), now);
        assert_eq!(proxies.authorizers()["a/jwt"].1, 1);
    }
}
