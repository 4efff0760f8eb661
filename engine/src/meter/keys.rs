//! API keys as proxies have them: digests, compared in constant time.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use hashbrown::HashTable;
use sha2::{Digest as _, Sha256};

use super::Terms;
use crate::snapshot::{self, Problem};

/// Bytes of a digest.
pub const DIGEST_BYTES: usize = 32;
/// Parts that keys travel in: by the first bits of their digests, so that a change of one key is a small one.
pub const SHARDS: u16 = 1024;

/// SHA-256 of a key's value.
#[derive(Clone, Copy)]
pub struct Digest([u8; DIGEST_BYTES]);

/// The digest of a value as a caller sent it.
pub fn digest(value: &[u8]) -> Digest {
    Digest(Sha256::digest(value).into())
}

/// Which part a digest belongs to, below [`SHARDS`].
pub fn shard_of(digest: &Digest) -> u16 {
    u16::from_be_bytes([digest.0[0], digest.0[1]]) >> 6
}

/// Random bytes that [`generated_value`] needs.
pub const VALUE_RANDOM: usize = 160;

/// A new value for a key: forty letters and digits (R-KEY-1), made of random bytes.
pub fn generated_value(random: &[u8; VALUE_RANDOM]) -> String {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let (numbers, _) = random.as_chunks::<4>();
    // Of four bytes each, so that no character is more likely than another by more than one part in 2^26.
    numbers.iter().map(|number| char::from(ALPHABET[u32::from_le_bytes(*number) as usize % ALPHABET.len()])).collect()
}

impl Digest {
    /// As it travels: 64 lower-case hexadecimal digits.
    pub fn to_hex(&self) -> String {
        use fmt::Write;
        let mut text = String::with_capacity(2 * DIGEST_BYTES);
        for byte in self.0 {
            write!(text, "{byte:02x}").expect("writing to a string does not fail");
        }
        text
    }

    /// Reads what [`Digest::to_hex`] wrote.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; DIGEST_BYTES];
        if text.len() != 2 * DIGEST_BYTES || !text.is_ascii() {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }

    /// Sixteen of its bytes, to name a customer in a store.
    pub fn short(&self) -> u128 {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&self.0[16..]);
        u128::from_be_bytes(bytes)
    }

    /// Bytes that [`shard_of`] does not read.
    fn hash(&self) -> u64 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.0[8..16]);
        u64::from_be_bytes(bytes)
    }

    fn equals(&self, other: &Self) -> bool {
        verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(..)")
    }
}

/// One value of a key.
#[derive(Debug)]
pub struct Key {
    digest: Digest,
    /// `namespace/name` of the ApiKey: its id (R-KEY-8).
    pub source: Box<str>,
    /// Refused when false.
    pub enabled: bool,
    /// Refused from this second since 1970 on.
    pub expires_at: Option<i64>,
    /// Plans that it is in, by their ids.
    pub plans: Box<[Box<str>]>,
    extensions: Box<[snapshot::QuotaExtension]>,
}

impl Key {
    /// What limits the key in a plan at this second: the plan's terms, with what extends the quota in the present period (R-PLAN-12).
    pub fn terms(&self, plan: &str, terms: &Terms, unix_seconds: i64) -> Terms {
        let mut terms = *terms;
        if let Some(quota) = &mut terms.quota {
            let window = quota.period.window(unix_seconds);
            let here = self.extensions.iter().filter(|more| more.plan == plan && window.contains(more.during));
            quota.limit = here.fold(quota.limit, |limit, more| limit.saturating_add(more.requests));
        }
        terms
    }

    /// Whether it opens anything at this second (R-KEY-6).
    pub fn is_live(&self, unix_seconds: i64) -> bool {
        self.enabled && self.expires_at.is_none_or(|end| unix_seconds < end)
    }
}

/// The keys of one part, found by digest.
#[derive(Debug, Default)]
pub struct KeyShard(HashTable<Key>);

impl KeyShard {
    /// Compiles what travelled; a key whose digest is none is left out and told.
    pub fn compile(wire: &snapshot::KeyShard) -> (Self, Vec<Problem>) {
        let snapshot::KeyShard { keys } = wire;
        let mut table = HashTable::with_capacity(keys.len());
        let mut problems = Vec::new();
        for (index, key) in keys.iter().enumerate() {
            let snapshot::ApiKey { digest, source, enabled, expires_at, plans, extensions } = key;
            let Some(digest) = Digest::from_hex(digest) else {
                let message = "a digest is 64 hexadecimal digits".to_owned();
                problems.push(Problem { source: source.clone(), path: format!("keys[{index}].digest"), message });
                continue;
            };
            let key = Key {
                digest,
                source: source.as_str().into(),
                enabled: *enabled,
                expires_at: *expires_at,
                plans: plans.iter().map(|plan| plan.as_str().into()).collect(),
                extensions: extensions.as_slice().into(),
            };
            table.insert_unique(digest.hash(), key, |key| key.digest.hash());
        }
        (Self(table), problems)
    }

    /// The key with this digest.
    pub fn find(&self, digest: &Digest) -> Option<&Key> {
        self.0.find(digest.hash(), |key| key.digest.equals(digest))
    }
}
