//! Who calls: takes the token of a request, checks it, and remembers tokens that were checked.

pub(crate) mod answers;

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::BuildHasher;
use std::rc::Rc;

use http::HeaderMap;
use rustc_hash::FxBuildHasher;
use tollgate_engine::jwt::{self, JwtError, JwtPolicy, Verified};

use crate::gateway::{AuthorizerHandle, Gateway, TokenHandle};
use crate::metrics::Counter;
use crate::worker::Worker;

/// Remembered tokens of one worker, per authorizer.
#[derive(Debug, Default)]
pub(crate) struct TokenCaches {
    by_authorizer: RefCell<HashMap<u64, TokenCache, FxBuildHasher>>,
}

/// Of the end of a token, which is its signature: only tokens that were found good are remembered, and nobody can choose what their
/// signatures look like. Should two collide all the same, the later takes the place of the earlier.
fn hash(token: &str) -> u64 {
    const SIGNATURE: usize = 32;
    let bytes = token.as_bytes();
    FxBuildHasher.hash_one(&bytes[bytes.len().saturating_sub(SIGNATURE)..])
}

/// Tokens that were found good, by their whole text. Two generations bound it without bookkeeping per use.
#[derive(Debug, Default)]
struct TokenCache {
    /// Which keys the tokens were checked with; other keys empty the cache.
    epoch: u64,
    young: Generation,
    old: Generation,
}

type Generation = HashMap<u64, (Box<str>, Rc<Verified>), FxBuildHasher>;

/// Tokens per generation, authorizer and worker: a few megabytes at most.
const GENERATION: usize = 2048;

impl TokenCaches {
    fn find(&self, authorizer: u64, epoch: u64, token: &str, now: u64) -> Option<Rc<Verified>> {
        let mut caches = self.by_authorizer.borrow_mut();
        let cache = caches.get_mut(&authorizer)?;
        if cache.epoch != epoch {
            return None;
        }
        let hash = hash(token);
        let (verified, young) = match (cache.young.get(&hash), cache.old.get(&hash)) {
            (Some((text, verified)), _) if **text == *token => (Rc::clone(verified), true),
            (_, Some((text, verified))) if **text == *token => (Rc::clone(verified), false),
            _ => return None,
        };
        // Never past its expiry, H-JWT-10.
        if verified.expires_at() <= now {
            return None;
        }
        if !young {
            cache.insert(hash, token, Rc::clone(&verified));
        }
        Some(verified)
    }

    fn remember(&self, authorizer: u64, epoch: u64, token: &str, verified: &Rc<Verified>) {
        let mut caches = self.by_authorizer.borrow_mut();
        let cache = caches.entry(authorizer).or_default();
        if cache.epoch != epoch {
            *cache = TokenCache { epoch, ..TokenCache::default() };
        }
        cache.insert(hash(token), token, Rc::clone(verified));
    }

    /// Forgets authorizers that nothing refers to any more.
    pub(crate) fn keep_only(&self, gateway: &Gateway) {
        let mut caches = self.by_authorizer.borrow_mut();
        if caches.is_empty() {
            return;
        }
        let handles = gateway.served().flat_map(|served| &served.authorizers);
        let live: Vec<u64> = handles
            .filter_map(|handle| match handle {
                AuthorizerHandle::Jwt(handle) => Some(handle.cache.0),
                AuthorizerHandle::Lambda { .. } => None,
            })
            .collect();
        caches.retain(|authorizer, _| live.contains(authorizer));
    }
}

impl TokenCache {
    fn insert(&mut self, hash: u64, token: &str, verified: Rc<Verified>) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(hash, (token.into(), verified));
    }
}

/// Checks the token of a request (H-JWT-5 to H-JWT-18). Waits only when keys have to be fetched.
pub(crate) async fn bearer(
    worker: &Worker,
    policy: &JwtPolicy,
    handle: &TokenHandle,
    headers: &HeaderMap,
    query: Option<&str>,
    now: u64,
) -> Result<Rc<Verified>, JwtError> {
    let token = policy.identity_source().token(headers, query)?;
    let authorizer = handle.cache.0;
    if let Some(verified) = worker.tokens.find(authorizer, handle.jwks.epoch(), &token, now) {
        worker.metrics.count(Counter::TokenCached);
        return Ok(verified);
    }
    let mut keys = match handle.jwks.current() {
        Some(keys) => keys,
        None => handle.jwks.fetch().await?,
    };
    let verified = match jwt::verify(&token, policy, &keys.set, now) {
        // The issuer may have new keys (H-JWT-18).
        Err(JwtError::UnknownKey { kid }) => match handle.jwks.look_for(&kid).await {
            Some(fresh) => {
                keys = fresh;
                jwt::verify(&token, policy, &keys.set, now)?
            }
            None => return Err(JwtError::UnknownKey { kid }),
        },
        other => other?,
    };
    worker.metrics.count(Counter::TokenVerified);
    let verified = Rc::new(verified);
    worker.tokens.remember(authorizer, keys.epoch, &token, &verified);
    Ok(verified)
}
