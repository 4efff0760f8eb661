//! Answers of authorizers' functions, kept for their time (section 6.10 of the spec).
//!
//! One cache for each stage and authorizer, shared by all workers: a function is asked once, however many connections a caller has. It is
//! kept beside the configuration and outlives changes that do not concern it (promise P6). Two generations bound it (promise P9).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tollgate_engine::lambda_authorizer::Answer;
use tollgate_engine::reject::Reject;

/// What identifies a caller ([`tollgate_engine::lambda_authorizer::Identity::digest`]).
pub(crate) type Key = [u8; 32];

/// An answer, or why there is none.
pub(crate) type Asked = Result<Arc<Answer>, Failed>;

/// What the client gets and the log says when a function gave no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failed {
    pub(crate) reject: Reject,
    pub(crate) error: Arc<str>,
}

/// Where an answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    /// It was kept, or another request had just asked.
    Cache,
    /// The function was asked.
    Function,
}

/// Answers of one authorizer in one stage.
#[derive(Debug, Default)]
pub(crate) struct Answers(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    young: Generation,
    old: Generation,
    /// Requests that are asking now. As many as there are requests at most.
    asking: HashMap<Key, watch::Receiver<Option<Asked>>>,
}

#[derive(Debug, Default)]
struct Generation {
    kept: HashMap<Key, (Arc<Answer>, Instant)>,
    bytes: usize,
}

/// Bounds of one generation.
const MAX_ANSWERS: usize = 8_192;
const MAX_BYTES: usize = 8 * 1024 * 1024;
/// What an entry costs beside the function's answer.
const ENTRY_BYTES: usize = 256;

/// What a request finds.
enum Found {
    Kept(Arc<Answer>),
    Asked(watch::Receiver<Option<Asked>>),
    Mine(watch::Sender<Option<Asked>>),
}

impl Answers {
    /// The answer for `key`: kept, or by `ask`. Requests that come while one asks wait for its answer and share it, failures too; failures
    /// are not kept (H-LA-34). A request that goes away while it asks leaves the asking to the next.
    pub(crate) async fn get(&self, key: Key, ttl: Duration, ask: impl AsyncFn() -> Asked) -> (Asked, From) {
        loop {
            let mine = match self.find(key) {
                Found::Kept(answer) => return (Ok(answer), From::Cache),
                Found::Asked(mut other) => {
                    let asked = other.wait_for(Option::is_some).await.ok().and_then(|asked| asked.clone());
                    match asked {
                        Some(asked) => return (asked, From::Cache),
                        None => {
                            self.forget(key, &other);
                            continue;
                        }
                    }
                }
                Found::Mine(sender) => sender,
            };
            let asked = ask().await;
            self.keep(key, ttl, &asked);
            mine.send_replace(Some(asked.clone()));
            return (asked, From::Function);
        }
    }

    fn find(&self, key: Key) -> Found {
        let mut state = self.lock();
        if let Some(answer) = state.kept(&key) {
            return Found::Kept(answer);
        }
        if let Some(asking) = state.asking.get(&key) {
            return Found::Asked(asking.clone());
        }
        let (sender, receiver) = watch::channel(None);
        state.asking.insert(key, receiver);
        Found::Mine(sender)
    }

    /// The time counts from the answer (H-LA-35).
    fn keep(&self, key: Key, ttl: Duration, asked: &Asked) {
        let mut state = self.lock();
        state.asking.remove(&key);
        if let Ok(answer) = asked {
            state.insert(key, Arc::clone(answer), Instant::now() + ttl);
        }
    }

    /// Whoever asked is gone.
    fn forget(&self, key: Key, other: &watch::Receiver<Option<Asked>>) {
        let mut state = self.lock();
        if state.asking.get(&key).is_some_and(|asking| asking.same_channel(other)) {
            state.asking.remove(&key);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// A hit does not make an answer live longer (H-LA-35).
    fn kept(&mut self, key: &Key) -> Option<Arc<Answer>> {
        if let Some((answer, until)) = self.young.kept.get(key) {
            return (*until > Instant::now()).then(|| Arc::clone(answer));
        }
        let (answer, until) = self.old.kept.get(key).cloned()?;
        if until <= Instant::now() {
            return None;
        }
        self.insert(*key, Arc::clone(&answer), until);
        Some(answer)
    }

    fn insert(&mut self, key: Key, answer: Arc<Answer>, until: Instant) {
        let bytes = answer.size + ENTRY_BYTES;
        if self.young.kept.len() >= MAX_ANSWERS || self.young.bytes + bytes > MAX_BYTES {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.bytes += bytes;
        if let Some((before, _)) = self.young.kept.insert(key, (answer, until)) {
            self.young.bytes -= before.size + ENTRY_BYTES;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tollgate_engine::lambda::result::Invocation;
    use tollgate_engine::lambda_authorizer::{Shape, answer};

    use super::*;

    const TTL: Duration = Duration::from_secs(60);

    fn yes() -> Arc<Answer> {
        let payload = r#"{"isAuthorized":true}"#.into();
        Arc::new(answer(Shape::Simple, &Invocation { status: 200, function_error: false, payload }).unwrap())
    }

    fn failed() -> Failed {
        Failed { reject: Reject::AuthorizerFailure, error: "no".into() }
    }

    /// Proves H-LA-35.
    #[tokio::test(start_paused = true)]
    async fn answers_are_kept_for_their_time_from_the_answer_on() {
        let answers = Answers::default();
        let asked = Cell::new(0);
        let get = async || {
            answers
                .get([1; 32], TTL, async || {
                    asked.set(asked.get() + 1);
                    tokio::time::sleep(Duration::from_secs(5)).await;
                    Ok(yes())
                })
                .await
                .1
        };
        assert_eq!(get().await, From::Function);
        for _ in 0..2 {
            tokio::time::advance(Duration::from_secs(29)).await;
            assert_eq!(get().await, From::Cache);
        }
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!((get().await, asked.get()), (From::Function, 2));
    }

    /// Proves H-LA-34.
    #[tokio::test(start_paused = true)]
    async fn failures_are_shared_but_not_kept() {
        let answers = Answers::default();
        let ask = async || {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Err(failed())
        };
        let (one, two) = tokio::join!(answers.get([1; 32], TTL, ask), answers.get([1; 32], TTL, ask));
        assert_eq!((one.0, one.1), (Err(failed()), From::Function));
        assert_eq!((two.0, two.1), (Err(failed()), From::Cache));
        assert_eq!(answers.get([1; 32], TTL, ask).await.1, From::Function);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_goes_away_leaves_the_asking_to_the_next() {
        let answers = Answers::default();
        let never = async || std::future::pending().await;
        let first = answers.get([1; 32], TTL, never);
        let second = answers.get([1; 32], TTL, async || Ok(yes()));
        let gone = async { drop(tokio::time::timeout(Duration::from_secs(1), first).await) };
        let ((), second) = tokio::join!(gone, second);
        assert_eq!(second.1, From::Function);
        assert_eq!(answers.get([2; 32], TTL, async || Ok(yes())).await.1, From::Function);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cache_has_bounds() {
        let answers = Answers::default();
        for number in 0..3 * MAX_ANSWERS as u64 {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&number.to_be_bytes());
            assert!(answers.get(key, TTL, async || Ok(yes())).await.0.is_ok());
        }
        let state = answers.lock();
        assert!(state.young.kept.len() + state.old.kept.len() <= 2 * MAX_ANSWERS);
        assert!(state.young.bytes <= MAX_BYTES && state.asking.is_empty());
    }
}
