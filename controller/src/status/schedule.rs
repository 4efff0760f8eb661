//! Objects to look at, each at its time.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;
use tollgate_translate::ObjectRef;

/// Holds each object once, at the earliest time that anybody asked for.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    by_object: BTreeMap<ObjectRef, Instant>,
    by_time: BTreeSet<(Instant, ObjectRef)>,
}

impl Schedule {
    /// Look at the object at `when`, unless that is to happen earlier already.
    pub(super) fn at(&mut self, object: ObjectRef, when: Instant) {
        if let Some(known) = self.by_object.get(&object) {
            if *known <= when {
                return;
            }
            self.by_time.remove(&(*known, object.clone()));
        }
        self.by_object.insert(object.clone(), when);
        self.by_time.insert((when, object));
    }

    /// One that is due.
    pub(super) fn pop(&mut self, now: Instant) -> Option<ObjectRef> {
        if self.next()? > now {
            return None;
        }
        let (_, object) = self.by_time.pop_first()?;
        self.by_object.remove(&object);
        Some(object)
    }

    /// When the first is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(when, _)| *when)
    }

    pub(super) fn len(&self) -> usize {
        self.by_object.len()
    }

    pub(super) fn clear(&mut self) {
        self.by_object.clear();
        self.by_time.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tollgate_translate::Kind;

    use super::*;

    #[test]
    fn the_earliest_time_wins() {
        let (mut schedule, now) = (Schedule::default(), Instant::now());
        let second = Duration::from_secs(1);
        let [a, b] = ["a", "b"].map(|name| ObjectRef::new(Kind::Route, "ns", name));
        schedule.at(a.clone(), now + 5 * second);
        schedule.at(b.clone(), now + 2 * second);
        schedule.at(a.clone(), now + second);
        schedule.at(a.clone(), now + 9 * second);
        assert_eq!((schedule.len(), schedule.next()), (2, Some(now + second)));
        assert_eq!(schedule.pop(now), None);
        assert_eq!(schedule.pop(now + 3 * second), Some(a));
        assert_eq!(schedule.pop(now + 3 * second), Some(b));
        assert_eq!(schedule.next(), None);
    }
}
