//! The complete set of units of each fleet, and what changed in it since any recent revision.
//!
//! Subscribers have no queue. Each remembers the revision it was sent last and asks for the difference when it has written
//! that; one that is slow skips what was overtaken. So a subscriber costs no more than the lines it is writing, and those
//! are shared. One that falls behind the [`LOG_REVISIONS`] newest revisions is disconnected and starts again with the whole set.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard};

use bytes::{Bytes, BytesMut};
use tokio::sync::watch;
use tollgate_engine::snapshot::{ContentHash, FORMAT, Line, UnitId};

use super::{Fleet, index};

/// So many revisions back a subscriber can be brought up to date with a difference.
pub const LOG_REVISIONS: usize = 1024;
/// No log entry is kept beyond so many unit names in the whole log.
const LOG_UNITS: usize = 100_000;
/// Lines are gathered into chunks of about this many bytes; a longer line is a chunk of its own.
const CHUNK: usize = 32 * 1024;

/// The feed's content, one set for each fleet.
#[derive(Debug)]
pub struct Hub {
    sets: [Mutex<Set>; 2],
    revisions: [watch::Sender<u64>; 2],
}

/// A unit as it travels: serialised once, shared by all subscribers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// What acknowledgements name.
    pub hash: ContentHash,
    /// The `Put` line with its newline.
    pub line: Bytes,
}

/// One unit's change; `None` deletes.
pub type Change = (UnitId, Option<Published>);

/// What a subscriber gets next.
#[derive(Debug)]
pub enum Difference {
    /// Nothing new.
    Nothing,
    /// Chunks to write, and the revision the subscriber then has.
    Chunks(Vec<Bytes>, u64),
    /// The subscriber is too far behind: it has to reconnect.
    TooOld,
}

/// The `Put` line of a unit whose content is serialised already.
pub fn publish(id: &UnitId, hash: &ContentHash, json: &str) -> Published {
    let id = serde_json::to_string(id).expect("a name is a string");
    let mut line = String::with_capacity(json.len() + 256); // one copy, of what may be megabytes
    line.push_str(&format!("{{\"op\":\"put\",\"id\":{id},\"hash\":\"{hash}\",\"unit\":"));
    line.push_str(json);
    line.push_str("}\n");
    Published { hash: hash.clone(), line: line.into() }
}

/// One line of the feed, with its newline.
pub fn encode(line: &Line) -> Bytes {
    let mut json = serde_json::to_vec(line).expect("snapshot types have string keys and no failing serializer");
    json.push(b'\n');
    json.into()
}

impl Default for Hub {
    fn default() -> Self {
        Self { sets: Default::default(), revisions: [watch::channel(0).0, watch::channel(0).0] }
    }
}

impl Hub {
    /// Puts changes into effect together as `revision`, which must be above those before. Those that change nothing are
    /// dropped; when nothing is left, subscribers are told nothing. Returns how many did change.
    pub fn publish(&self, fleet: Fleet, revision: u64, changes: Vec<Change>) -> usize {
        let changed = self.set(fleet).publish(revision, changes);
        if changed > 0 {
            self.revisions[index(fleet)].send_replace(revision);
        }
        changed
    }

    /// Tells of new revisions.
    pub fn watch(&self, fleet: Fleet) -> watch::Receiver<u64> {
        self.revisions[index(fleet)].subscribe()
    }

    /// The whole set as the first batch of a stream, and its revision.
    pub fn complete(&self, fleet: Fleet) -> (Vec<Bytes>, u64) {
        self.set(fleet).complete()
    }

    /// What changed after revision `seen`.
    pub fn since(&self, fleet: Fleet, seen: u64) -> Difference {
        self.set(fleet).since(seen)
    }

    /// How many units a fleet has.
    pub fn len(&self, fleet: Fleet) -> usize {
        self.set(fleet).units.len()
    }

    /// Whether a fleet has no unit.
    pub fn is_empty(&self, fleet: Fleet) -> bool {
        self.len(fleet) == 0
    }

    fn set(&self, fleet: Fleet) -> MutexGuard<'_, Set> {
        self.sets[index(fleet)].lock().expect("no code panics while it holds the set")
    }
}

/// One fleet's units and the log of their changes.
#[derive(Debug, Default)]
struct Set {
    revision: u64,
    units: BTreeMap<UnitId, Published>,
    log: VecDeque<(u64, Vec<UnitId>)>,
    logged: usize,
    /// The newest revision that is no longer in the log.
    forgotten: u64,
}

impl Set {
    fn publish(&mut self, revision: u64, changes: Vec<Change>) -> usize {
        let mut changed = Vec::new();
        for (id, unit) in changes {
            let differs = match unit {
                Some(unit) if self.units.get(&id).is_some_and(|old| old.hash == unit.hash) => false,
                Some(unit) => {
                    self.units.insert(id.clone(), unit);
                    true
                }
                None => self.units.remove(&id).is_some(),
            };
            if differs {
                changed.push(id);
            }
        }
        let count = changed.len();
        if count > 0 {
            debug_assert!(revision > self.revision, "revisions rise");
            self.revision = revision;
            self.logged += count;
            self.log.push_back((revision, changed));
            // A single revision with more units than the bound stays: without it nobody could be told of it.
            while self.log.len() > LOG_REVISIONS || (self.logged > LOG_UNITS && self.log.len() > 1) {
                let (revision, ids) = self.log.pop_front().expect("it has more than one entry");
                self.logged -= ids.len();
                self.forgotten = revision;
            }
        }
        count
    }

    fn complete(&self) -> (Vec<Bytes>, u64) {
        let hello = encode(&Line::Hello { format: FORMAT });
        (chunks(std::iter::once(hello).chain(self.batch(self.units.keys()))), self.revision)
    }

    fn since(&self, seen: u64) -> Difference {
        if seen >= self.revision {
            return Difference::Nothing;
        }
        if seen < self.forgotten {
            return Difference::TooOld;
        }
        let ids: BTreeSet<&UnitId> =
            self.log.iter().filter(|(revision, _)| *revision > seen).flat_map(|(_, ids)| ids).collect();
        Difference::Chunks(chunks(self.batch(ids)), self.revision)
    }

    /// Put and delete lines in the order that never leaves a stage without its deployment, closed by a commit.
    fn batch<'a>(&'a self, ids: impl IntoIterator<Item = &'a UnitId>) -> impl Iterator<Item = Bytes> {
        let mut lines: Vec<(u8, Bytes)> = ids
            .into_iter()
            .map(|id| match self.units.get(id) {
                Some(unit) => (put_rank(id), unit.line.clone()),
                None => (delete_rank(id), encode(&Line::Delete { id: id.clone() })),
            })
            .collect();
        lines.sort_by_key(|(rank, _)| *rank); // stable: equal ranks stay ordered by id
        let commit = encode(&Line::Commit { revision: self.revision });
        lines.into_iter().map(|(_, line)| line).chain(std::iter::once(commit))
    }
}

/// What others point at goes first, pointers after it.
fn put_rank(id: &UnitId) -> u8 {
    u8::from(is_stage(id))
}

/// Deletes go last, pointers before what they point at.
fn delete_rank(id: &UnitId) -> u8 {
    if is_stage(id) { 2 } else { 3 }
}

fn is_stage(id: &UnitId) -> bool {
    id.as_str().starts_with("stage/")
}

fn chunks(lines: impl Iterator<Item = Bytes>) -> Vec<Bytes> {
    let mut chunks = Vec::new();
    let mut gathered = BytesMut::new();
    for line in lines {
        if !gathered.is_empty() && gathered.len() + line.len() > CHUNK {
            chunks.push(gathered.split().freeze());
        }
        if line.len() > CHUNK {
            chunks.push(line);
        } else {
            gathered.extend_from_slice(&line);
        }
    }
    if !gathered.is_empty() {
        chunks.push(gathered.freeze());
    }
    chunks
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use tollgate_engine::snapshot::{ApiIdentity, Endpoint, Endpoints, ServicePort, Stage, Unit};

    use super::*;

    const PUBLIC: Fleet = Fleet::Public;

    fn put(id: UnitId, unit: &Unit) -> Change {
        let json = serde_json::to_string(unit).unwrap();
        let published = publish(&id, &ContentHash::of_json(json.as_bytes()), &json);
        (id, Some(published))
    }

    fn endpoints(name: &str, last: u8) -> Change {
        let service = ServicePort { namespace: "a".into(), name: name.into(), port: 80 };
        let unit = Endpoints {
            service: service.clone(),
            endpoints: vec![Endpoint { address: IpAddr::from([10, 0, 0, last]), port: 80 }],
            protocol: None,
        };
        put(UnitId::endpoints(&service), &Unit::Endpoints(unit))
    }

    fn stage(name: &str) -> Change {
        let unit = Unit::Stage(Stage {
            api: ApiIdentity { api_id: "abcdefghij".into(), namespace: "a".into(), name: "x".into() },
            source: format!("a/{name}"),
            stage_name: name.into(),
            deployment: None,
            stage_variables: BTreeMap::new(),
            default_route_settings: Default::default(),
            route_settings: BTreeMap::new(),
            access_log_settings: None,
            authorizer_cache: None,
        });
        put(UnitId::stage("abcdefghij", name), &unit)
    }

    fn lines(chunks: &[Bytes]) -> Vec<Line> {
        let all: Vec<u8> = chunks.concat();
        all.split(|b| *b == b'\n').filter(|l| !l.is_empty()).map(|l| serde_json::from_slice(l).unwrap()).collect()
    }

    fn names(chunks: &[Bytes]) -> Vec<String> {
        lines(chunks)
            .into_iter()
            .map(|line| match line {
                Line::Hello { format } => format!("hello {format}"),
                Line::Put { id, .. } => format!("put {id}"),
                Line::Delete { id } => format!("delete {id}"),
                Line::Commit { revision } => format!("commit {revision}"),
                other => format!("{other:?}"),
            })
            .collect()
    }

    fn difference(hub: &Hub, seen: u64) -> Vec<String> {
        match hub.since(PUBLIC, seen) {
            Difference::Chunks(chunks, _) => names(&chunks),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_stream_begins_with_the_whole_set_pointers_last() {
        let hub = Hub::default();
        hub.publish(PUBLIC, 1, vec![stage("prod"), endpoints("z", 1), endpoints("b", 1)]);
        let (chunks, revision) = hub.complete(PUBLIC);
        assert_eq!(revision, 1);
        assert_eq!(
            names(&chunks),
            ["hello 1", "put endpoints/a/b:80", "put endpoints/a/z:80", "put stage/abcdefghij/prod", "commit 1"]
        );
        assert_eq!(hub.complete(Fleet::Private).1, 0, "the other fleet has nothing");
    }

    #[test]
    fn a_difference_has_only_what_changed_and_deletes_last() {
        let hub = Hub::default();
        hub.publish(PUBLIC, 1, vec![stage("old"), endpoints("a", 1), endpoints("b", 1)]);
        hub.publish(
            PUBLIC,
            2,
            vec![(stage("old").0, None), (endpoints("a", 1).0, None), stage("new"), endpoints("c", 1)],
        );
        assert_eq!(
            difference(&hub, 1),
            [
                "put endpoints/a/c:80",
                "put stage/abcdefghij/new",
                "delete stage/abcdefghij/old",
                "delete endpoints/a/a:80",
                "commit 2"
            ]
        );
    }

    #[test]
    fn what_was_overtaken_is_skipped() {
        let hub = Hub::default();
        hub.publish(PUBLIC, 1, vec![endpoints("a", 1)]);
        hub.publish(PUBLIC, 2, vec![endpoints("b", 1)]);
        hub.publish(PUBLIC, 3, vec![endpoints("b", 2)]);
        hub.publish(PUBLIC, 4, vec![(endpoints("b", 1).0, None), endpoints("c", 1)]);
        assert_eq!(difference(&hub, 1), ["put endpoints/a/c:80", "delete endpoints/a/b:80", "commit 4"]);
        assert!(matches!(hub.since(PUBLIC, 4), Difference::Nothing));
    }

    #[test]
    fn equal_content_makes_no_revision() {
        let hub = Hub::default();
        assert_eq!(hub.publish(PUBLIC, 1, vec![endpoints("a", 1)]), 1);
        assert_eq!(hub.publish(PUBLIC, 2, vec![endpoints("a", 1), (endpoints("b", 1).0, None)]), 0);
        assert!(matches!(hub.since(PUBLIC, 1), Difference::Nothing));
    }

    #[test]
    fn a_subscriber_behind_the_log_starts_again() {
        let hub = Hub::default();
        for n in 0..=LOG_REVISIONS {
            hub.publish(PUBLIC, n as u64 + 1, vec![endpoints("a", u8::try_from(n % 250).unwrap())]);
        }
        assert!(matches!(hub.since(PUBLIC, 0), Difference::TooOld));
        assert_eq!(difference(&hub, 1).len(), 2);
    }

    #[test]
    fn small_lines_share_a_chunk_and_long_ones_are_not_copied() {
        let long = Bytes::from(vec![b'x'; CHUNK + 1]);
        let out = chunks([Bytes::from_static(b"a\n"), Bytes::from_static(b"b\n"), long.clone()].into_iter());
        assert_eq!(out, [Bytes::from_static(b"a\nb\n"), long]);
    }

    #[test]
    fn a_line_put_together_is_the_line_that_serde_writes() {
        let (id, published) = stage("prod");
        let line = &published.unwrap().line;
        let read: Line = serde_json::from_slice(line).unwrap();
        assert!(matches!(&read, Line::Put { id: read, .. } if *read == id));
        assert_eq!(encode(&read), line);
    }
}
