//! Buckets that outlive configurations.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Bucket, Limit};

/// Buckets that may be remembered. Above it new ones work but are not remembered across configurations.
const MAX_BUCKETS: usize = 200_000;
/// A bucket that nobody holds is forgotten after an hour.
const FORGET_AFTER_NS: u64 = 3_600_000_000_000;

/// Which bucket: identities that stay when the configuration changes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MeterKey {
    /// The API's id.
    pub api_id: Box<str>,
    /// The stage's name.
    pub stage: Box<str>,
    /// The route's key.
    pub route_key: Box<str>,
}

#[derive(Debug)]
struct Remembered {
    bucket: Arc<Bucket>,
    /// What the bucket's word is tuned for.
    limit: Limit,
    /// When a sweep first found that nobody else holds the bucket.
    unused_since: Option<u64>,
}

/// The buckets of all routes by stable keys (promise P6): a new configuration finds the bucket that the old one used, with its
/// level.
///
/// Asked when a configuration is made ready, not per request: compiled routes hold their [`Bucket`]. Times are those of
/// [`Bucket`].
#[derive(Debug, Default)]
pub struct Meters {
    buckets: Mutex<HashMap<MeterKey, Remembered>>,
    #[cfg(test)]
    max: Option<usize>,
}

impl Meters {
    /// No buckets yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The bucket of a route. If its limit has changed it is a new one with the level of the old.
    ///
    /// Requests that still run on the old configuration take from the old bucket for the moment until it is gone; that is within what
    /// H-THR-6 allows.
    pub fn bucket(&self, key: MeterKey, limit: Limit, now_ns: u64) -> Arc<Bucket> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = buckets.get_mut(&key) {
            if known.limit != limit {
                known.bucket = Arc::new(known.bucket.retuned(&known.limit, &limit, now_ns));
                known.limit = limit;
            }
            known.unused_since = None;
            return Arc::clone(&known.bucket);
        }
        if buckets.len() >= self.max() {
            buckets.retain(|_, known| Arc::strong_count(&known.bucket) > 1);
        }
        let bucket = Arc::new(Bucket::new());
        if buckets.len() < self.max() {
            buckets.insert(key, Remembered { bucket: Arc::clone(&bucket), limit, unused_since: None });
        }
        bucket
    }

    /// Forgets buckets that nobody has held for an hour. To be called every few minutes.
    pub fn sweep(&self, now_ns: u64) {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.retain(|_, known| {
            if Arc::strong_count(&known.bucket) > 1 {
                known.unused_since = None;
                return true;
            }
            let since = *known.unused_since.get_or_insert(now_ns);
            now_ns.saturating_sub(since) < FORGET_AFTER_NS
        });
    }

    /// How many buckets are remembered.
    pub fn len(&self) -> usize {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether none is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "tests set a smaller maximum")]
    fn max(&self) -> usize {
        MAX_BUCKETS
    }

    #[cfg(test)]
    fn max(&self) -> usize {
        self.max.unwrap_or(MAX_BUCKETS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const HOUR: u64 = 3600 * SECOND;

    fn key(route_key: &str) -> MeterKey {
        MeterKey { api_id: "abc123".into(), stage: "$default".into(), route_key: route_key.into() }
    }

    /// A deploy never refills a bucket (promise P6).
    #[test]
    fn a_new_configuration_finds_the_level_of_the_old_one() {
        let meters = Meters::new();
        let limit = Limit::new(1.0, 2);
        let old = meters.bucket(key("GET /a"), limit, 0);
        assert!(old.take(&limit, 0) && old.take(&limit, 0) && !old.take(&limit, 0));
        drop(old);
        let new = meters.bucket(key("GET /a"), limit, 0);
        assert!(!new.take(&limit, 0));
        let raised = Limit::new(1.0, 100);
        let new = meters.bucket(key("GET /a"), raised, 0);
        assert!(!new.take(&raised, 0));
        assert!(new.take(&raised, SECOND));
    }

    /// Proves H-THR-2, R-THR-4.
    #[test]
    fn each_route_stage_and_api_has_its_own_bucket() {
        let meters = Meters::new();
        let limit = Limit::new(1.0, 1);
        let keys = [
            key("GET /a"),
            key("GET /b"),
            MeterKey { stage: "dev".into(), ..key("GET /a") },
            MeterKey { api_id: "other".into(), ..key("GET /a") },
        ];
        for key in keys {
            assert!(meters.bucket(key, limit, 0).take(&limit, 0));
        }
    }

    #[test]
    fn a_bucket_is_forgotten_an_hour_after_nobody_held_it() {
        let meters = Meters::new();
        let limit = Limit::new(1.0, 1);
        let held = meters.bucket(key("GET /a"), limit, 0);
        meters.sweep(0);
        meters.sweep(2 * HOUR);
        assert_eq!(meters.len(), 1);
        drop(held);
        meters.sweep(3 * HOUR);
        meters.sweep(4 * HOUR - 1);
        assert_eq!(meters.len(), 1);
        let again = meters.bucket(key("GET /a"), limit, 4 * HOUR - 1);
        meters.sweep(4 * HOUR);
        drop(again);
        meters.sweep(5 * HOUR);
        assert_eq!(meters.len(), 1);
        meters.sweep(6 * HOUR);
        assert!(meters.is_empty());
    }

    #[test]
    fn the_number_of_remembered_buckets_is_bounded() {
        let meters = Meters { max: Some(3), ..Meters::new() };
        let limit = Limit::new(1.0, 1);
        let held: Vec<_> = (0..10).map(|n| meters.bucket(key(&n.to_string()), limit, 0)).collect();
        assert_eq!(meters.len(), 3);
        assert!(held.iter().all(|bucket| bucket.take(&limit, 0)), "what is not remembered still limits");
        assert!(held.iter().all(|bucket| !bucket.take(&limit, 0)));
        drop(held);
        let _new = meters.bucket(key("new"), limit, 0);
        assert_eq!(meters.len(), 1, "buckets that nobody holds make room");
    }
}
