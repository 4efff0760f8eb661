//! The units that a proxy holds: what the feed brought, what the state file keeps, what a publisher compiles.

use std::collections::BTreeMap;
use std::sync::Arc;

use tollgate_engine::snapshot::{ContentHash, Unit, UnitId, UnitReport};

/// Most units that a set may hold. Ten thousand APIs with three stages each, and as many services, is half of it.
pub const MAX_UNITS: usize = 100_000;
/// Most bytes that the units of a set may have had as JSON.
pub const MAX_TOTAL_BYTES: u64 = 512 << 20;

/// Takes complete sets of units into service.
///
/// Called on a background thread, one call at a time, with every set that a commit made; it may take its time to compile.
pub trait Publisher: Send + Sync + 'static {
    /// Makes `units` what new requests see and says what of them could not be used. Units without a report of their own count as
    /// in effect as a whole.
    fn publish(&self, units: &UnitSet) -> Vec<UnitReport>;
}

/// One unit as it was received.
#[derive(Debug)]
pub struct Held {
    /// Hash as the controller names it.
    pub hash: ContentHash,
    /// The content; of an unknown kind it is [`Unit::Unknown`].
    pub unit: Unit,
    /// Size of its line, for the bound on the whole.
    pub bytes: u64,
}

/// An ordered set of units; a clone is a pointer.
///
/// Units that did not change keep their pointer from one set to the next, so a publisher can compare with [`Arc::ptr_eq`] and
/// compile only what is new.
#[derive(Clone, Debug, Default)]
pub struct UnitSet {
    units: Arc<BTreeMap<UnitId, Arc<Held>>>,
    bytes: u64,
}

impl UnitSet {
    /// The unit with this name.
    pub fn get(&self, id: &UnitId) -> Option<&Arc<Held>> {
        self.units.get(id)
    }

    /// All units in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&UnitId, &Arc<Held>)> {
        self.units.iter()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.units.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.units.is_empty()
    }

    /// Sum of the sizes of the lines they came in.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether both hold the same units with the same hashes.
    pub fn same_content(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.units, &other.units)
            || (self.len() == other.len()
                && self.iter().zip(other.iter()).all(|(left, right)| left.0 == right.0 && left.1.hash == right.1.hash))
    }

    /// This set with a batch applied, or which bound that would break.
    pub fn apply(&self, batch: Batch) -> Result<Self, TooMuch> {
        let mut units = if batch.complete { BTreeMap::new() } else { (*self.units).clone() };
        for (id, change) in batch.changes {
            match change {
                Some(held) => {
                    let kept = self.units.get(&id).filter(|old| old.hash == held.hash);
                    units.insert(id, kept.map_or(held, Arc::clone));
                }
                None => {
                    units.remove(&id);
                }
            }
        }
        if units.len() > MAX_UNITS {
            return Err(TooMuch::Units(units.len()));
        }
        let bytes = units.values().map(|held| held.bytes).sum();
        if bytes > MAX_TOTAL_BYTES {
            return Err(TooMuch::Bytes(bytes));
        }
        Ok(Self { units: Arc::new(units), bytes })
    }
}

/// A snapshot larger than a proxy takes.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooMuch {
    /// Count of units.
    #[error("{0} units, at most {MAX_UNITS} are taken: split the fleet")]
    Units(usize),
    /// Count of bytes.
    #[error("{0} bytes of units, at most {MAX_TOTAL_BYTES} are taken: split the fleet")]
    Bytes(u64),
}

/// Changes that take effect together.
#[derive(Debug, Default)]
pub struct Batch {
    /// What the batch does not name is gone.
    pub complete: bool,
    changes: BTreeMap<UnitId, Option<Arc<Held>>>,
    bytes: u64,
}

impl Batch {
    /// A batch without changes.
    pub fn new(complete: bool) -> Self {
        Self { complete, ..Self::default() }
    }

    /// The unit is new or has new content. Refused when the batch alone passes the bounds of a set, so that a stream cannot pile up
    /// without ever committing.
    pub fn put(&mut self, id: UnitId, held: Held) -> Result<(), TooMuch> {
        self.bytes = self.bytes.saturating_add(held.bytes);
        if self.bytes > MAX_TOTAL_BYTES {
            return Err(TooMuch::Bytes(self.bytes));
        }
        self.change(id, Some(Arc::new(held)))
    }

    /// The unit is gone.
    pub fn delete(&mut self, id: UnitId) -> Result<(), TooMuch> {
        self.change(id, None)
    }

    /// Whether nothing would change.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    fn change(&mut self, id: UnitId, change: Option<Arc<Held>>) -> Result<(), TooMuch> {
        self.changes.insert(id, change);
        if self.changes.len() > MAX_UNITS { Err(TooMuch::Units(self.changes.len())) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollgate_engine::snapshot::ServicePort;

    fn id(name: &str) -> UnitId {
        UnitId::endpoints(&ServicePort { namespace: "shop".into(), name: name.into(), port: 80 })
    }

    fn held(content: &str) -> Held {
        Held { hash: ContentHash::of_json(content.as_bytes()), unit: Unit::Unknown, bytes: content.len() as u64 }
    }

    fn set(units: &[(&str, &str)]) -> UnitSet {
        let mut batch = Batch::new(true);
        for (name, content) in units {
            batch.put(id(name), held(content)).unwrap();
        }
        UnitSet::default().apply(batch).unwrap()
    }

    fn names(set: &UnitSet) -> Vec<&str> {
        set.iter().map(|(id, _)| id.as_str()).collect()
    }

    #[test]
    fn a_complete_batch_replaces_everything_but_keeps_pointers_of_equal_units() {
        let before = set(&[("a", "1"), ("b", "2")]);
        let mut batch = Batch::new(true);
        batch.put(id("b"), held("2")).unwrap();
        batch.put(id("c"), held("3")).unwrap();
        let after = before.apply(batch).unwrap();
        assert_eq!(names(&after), ["endpoints/shop/b:80", "endpoints/shop/c:80"]);
        assert!(Arc::ptr_eq(before.get(&id("b")).unwrap(), after.get(&id("b")).unwrap()));
        assert_eq!(after.bytes(), 2);
    }

    #[test]
    fn a_difference_changes_only_what_it_names() {
        let before = set(&[("a", "1"), ("b", "2")]);
        let mut batch = Batch::new(false);
        batch.delete(id("a")).unwrap();
        batch.put(id("b"), held("22")).unwrap();
        let after = before.apply(batch).unwrap();
        assert_eq!(names(&after), ["endpoints/shop/b:80"]);
        assert_eq!(after.bytes(), 2);
        assert_eq!(names(&before).len(), 2, "the set before is untouched");
        assert!(!before.same_content(&after));
        assert!(after.same_content(&set(&[("b", "22")])));
    }

    /// Proves P9.
    #[test]
    fn bounds_hold_for_batches_and_sets() {
        let mut batch = Batch::new(false);
        let big = |bytes| Held { hash: ContentHash::of_json(b""), unit: Unit::Unknown, bytes };
        batch.put(id("a"), big(MAX_TOTAL_BYTES)).unwrap();
        assert_eq!(batch.put(id("b"), big(1)), Err(TooMuch::Bytes(MAX_TOTAL_BYTES + 1)));
        let mut other = Batch::new(false);
        other.put(id("c"), big(MAX_TOTAL_BYTES)).unwrap();
        let full = UnitSet::default().apply(other).unwrap();
        let mut more = Batch::new(false);
        more.put(id("d"), big(1)).unwrap();
        assert_eq!(full.apply(more).unwrap_err(), TooMuch::Bytes(MAX_TOTAL_BYTES + 1));
    }
}
