//! Who may read the feed: bearers of a ServiceAccount token made for it, checked by the API server's TokenReview.
//!
//! Answers are remembered by the token's SHA-256, never by the token. When the API server cannot be reached, a caller that was
//! accepted within [`STALE`] stays accepted, so that proxies can follow and restart while it is away (promise P8).

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::Mutex;
use std::time::Duration;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use kube::api::PostParams;
use kube::{Api, Client};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::Fleet;

/// The audience of tokens for the feed.
pub const AUDIENCE: &str = "tollgate-feed";
/// So long an accepted token is not asked about again.
const FRESH: Duration = Duration::from_secs(60);
/// So long an accepted token stays accepted while the API server does not answer.
pub const STALE: Duration = Duration::from_secs(600);
/// So long a refused token is not asked about again.
const REFUSED: Duration = Duration::from_secs(5);
/// Remembered tokens; several for each proxy of a large fleet, since tokens are renewed.
const REMEMBERED: usize = 4096;
/// Kubernetes' tokens are about 1 KiB; longer ones are refused unseen.
const LONGEST_TOKEN: usize = 16 * 1024;

/// A ServiceAccount that may read the feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedAccount {
    /// Only this fleet's feed; `None`: any.
    pub fleet: Option<Fleet>,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// Who calls, as the API server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    namespace: String,
    name: String,
    /// The pod the token is bound to.
    pod: Option<String>,
}

impl Caller {
    /// A ServiceAccount, and the pod if the token is bound to one.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>, pod: Option<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into(), pod }
    }
}

/// Why a caller is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No bearer token, or none that could be one.
    #[error("send a ServiceAccount token as `authorization: Bearer …`")]
    NoToken,
    /// The API server does not accept the token for our audience.
    #[error("the token is not valid for the audience tollgate-feed")]
    BadToken,
    /// A valid token of somebody else.
    #[error("this ServiceAccount may not read the feed")]
    NotAllowed,
    /// A proxy's token, but it asks for another fleet or speaks for another pod.
    #[error("this token may not speak for that fleet or proxy")]
    NotYours,
    /// TokenReview failed and nothing is remembered.
    #[error("the API server cannot check the token now")]
    CannotCheck,
}

/// Asks for the meaning of a token; `None` says that it is not valid. The API server, except in tests.
pub trait Review: Send + Sync + 'static {
    /// Why the question could not be asked.
    type Error: fmt::Display + Send;

    /// Asks.
    fn review(&self, token: &str) -> impl Future<Output = Result<Option<Caller>, Self::Error>> + Send;
}

/// Checks callers.
#[derive(Debug)]
pub struct Gate<R> {
    reviewer: R,
    allowed: Vec<AllowedAccount>,
    remembered: Mutex<HashMap<[u8; 32], Remembered>>,
}

#[derive(Clone, Debug)]
struct Remembered {
    outcome: Result<Caller, Refusal>,
    fresh_until: Instant,
    stale_until: Instant,
}

impl<R: Review> Gate<R> {
    /// A gate that lets the given accounts in.
    pub fn new(reviewer: R, allowed: Vec<AllowedAccount>) -> Self {
        Self { reviewer, allowed, remembered: Mutex::default() }
    }

    /// Whether the caller may read the fleet's feed, or report, as `proxy`.
    ///
    /// # Errors
    /// A [`Refusal`].
    pub async fn admit(&self, headers: &HeaderMap, fleet: Fleet, proxy: &str, now: Instant) -> Result<(), Refusal> {
        let token = bearer(headers).ok_or(Refusal::NoToken)?;
        let caller = self.caller(token, now).await?;
        self.allows(&caller, fleet, proxy)
    }

    async fn caller(&self, token: &str, now: Instant) -> Result<Caller, Refusal> {
        let key: [u8; 32] = Sha256::digest(token).into();
        let remembered = self.recall(&key);
        if let Some(known) = remembered.as_ref().filter(|known| now < known.fresh_until) {
            return known.outcome.clone();
        }
        match self.reviewer.review(token).await {
            Ok(caller) => {
                let outcome = caller.ok_or(Refusal::BadToken).and_then(|caller| self.known_account(caller));
                self.remember(key, outcome.clone(), now);
                outcome
            }
            Err(error) => {
                tracing::warn!(%error, "token review failed");
                match remembered.filter(|known| now < known.stale_until) {
                    Some(Remembered { outcome: Ok(caller), .. }) => Ok(caller),
                    _ => Err(Refusal::CannotCheck),
                }
            }
        }
    }

    fn known_account(&self, caller: Caller) -> Result<Caller, Refusal> {
        let known = self.accounts_of(&caller).next().is_some();
        if known { Ok(caller) } else { Err(Refusal::NotAllowed) }
    }

    fn accounts_of(&self, caller: &Caller) -> impl Iterator<Item = &AllowedAccount> {
        self.allowed.iter().filter(move |account| account.namespace == caller.namespace && account.name == caller.name)
    }

    fn allows(&self, caller: &Caller, fleet: Fleet, proxy: &str) -> Result<(), Refusal> {
        let fleet_is_theirs = self.accounts_of(caller).any(|account| account.fleet.is_none_or(|own| own == fleet));
        // A token bound to a pod speaks for that pod: one proxy cannot acknowledge for another.
        let name_is_theirs = caller.pod.as_deref().is_none_or(|pod| pod == proxy);
        if fleet_is_theirs && name_is_theirs { Ok(()) } else { Err(Refusal::NotYours) }
    }

    fn recall(&self, key: &[u8; 32]) -> Option<Remembered> {
        self.remembered.lock().expect("no code panics while it holds the map").get(key).cloned()
    }

    fn remember(&self, key: [u8; 32], outcome: Result<Caller, Refusal>, now: Instant) {
        let (fresh, stale) = if outcome.is_ok() { (FRESH, STALE) } else { (REFUSED, REFUSED) };
        let mut remembered = self.remembered.lock().expect("no code panics while it holds the map");
        if remembered.len() >= REMEMBERED && !remembered.contains_key(&key) {
            remembered.retain(|_, known| now < known.stale_until);
            if remembered.len() >= REMEMBERED {
                // Refused ones go first: whoever sends many wrong tokens must not push out the right ones.
                let victim = remembered
                    .iter()
                    .min_by_key(|(_, known)| (known.outcome.is_ok(), known.stale_until))
                    .map(|(key, _)| *key);
                victim.and_then(|victim| remembered.remove(&victim));
            }
        }
        remembered.insert(key, Remembered { outcome, fresh_until: now + fresh, stale_until: now + stale });
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let plausible = scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() && token.len() <= LONGEST_TOKEN;
    plausible.then_some(token)
}

/// Asks the API server.
#[derive(Clone)]
pub struct ApiServer(pub Client);

impl fmt::Debug for ApiServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiServer")
    }
}

/// Why a TokenReview gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ReviewFailed {
    /// The API server refused the request or is away.
    #[error(transparent)]
    Api(#[from] kube::Error),
    /// It did not answer in time.
    #[error("no answer within five seconds")]
    Timeout,
}

impl Review for ApiServer {
    type Error = ReviewFailed;

    async fn review(&self, token: &str) -> Result<Option<Caller>, ReviewFailed> {
        let spec = TokenReviewSpec { token: Some(token.to_owned()), audiences: Some(vec![AUDIENCE.to_owned()]) };
        let question = TokenReview { spec, ..TokenReview::default() };
        let reviews: Api<TokenReview> = Api::all(self.0.clone());
        let parameters = PostParams::default();
        let answer = tokio::time::timeout(Duration::from_secs(5), reviews.create(&parameters, &question));
        let answer = answer.await.map_err(|_| ReviewFailed::Timeout)??;
        Ok(answer.status.and_then(read_review))
    }
}

/// The caller that an authenticated review names; `None` when it is not valid for our audience or no ServiceAccount.
fn read_review(status: TokenReviewStatus) -> Option<Caller> {
    let for_us = status.audiences.is_some_and(|audiences| audiences.iter().any(|audience| audience == AUDIENCE));
    if status.authenticated != Some(true) || !for_us {
        return None;
    }
    let user = status.user?;
    let username = user.username?;
    let (namespace, name) = username.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    let pod = user.extra.and_then(|mut extra| extra.remove("authentication.kubernetes.io/pod-name")?.pop());
    Some(Caller::new(namespace, name, pod))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use k8s_openapi::api::authentication::v1::UserInfo;

    use super::*;

    #[derive(Default)]
    struct Fake {
        asked: AtomicUsize,
        away: AtomicBool,
    }

    impl Review for Fake {
        type Error = &'static str;

        async fn review(&self, token: &str) -> Result<Option<Caller>, &'static str> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            if self.away.load(Ordering::Relaxed) {
                return Err("away");
            }
            let caller = |name: &str, pod: Option<&str>| {
                Some(Caller { namespace: "tg".into(), name: name.into(), pod: pod.map(Into::into) })
            };
            Ok(match token {
                "proxy" => caller("proxy", None),
                "pod-0" => caller("proxy", Some("pod-0")),
                "inner" => caller("inner", None),
                "stranger" => caller("stranger", None),
                _ => None,
            })
        }
    }

    fn gate() -> Gate<Fake> {
        let account = |fleet, name: &str| AllowedAccount { fleet, namespace: "tg".into(), name: name.into() };
        Gate::new(Fake::default(), vec![account(None, "proxy"), account(Some(Fleet::Private), "inner")])
    }

    async fn admit(gate: &Gate<Fake>, token: &str, fleet: Fleet, proxy: &str, now: Instant) -> Result<(), Refusal> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
        gate.admit(&headers, fleet, proxy, now).await
    }

    #[tokio::test]
    async fn only_the_named_accounts_are_let_in() {
        let (gate, now) = (gate(), Instant::now());
        assert_eq!(admit(&gate, "proxy", Fleet::Public, "p", now).await, Ok(()));
        assert_eq!(admit(&gate, "inner", Fleet::Private, "p", now).await, Ok(()));
        assert_eq!(admit(&gate, "inner", Fleet::Public, "p", now).await, Err(Refusal::NotYours));
        assert_eq!(admit(&gate, "stranger", Fleet::Public, "p", now).await, Err(Refusal::NotAllowed));
        assert_eq!(admit(&gate, "nonsense", Fleet::Public, "p", now).await, Err(Refusal::BadToken));
        assert_eq!(gate.admit(&HeaderMap::new(), Fleet::Public, "p", now).await, Err(Refusal::NoToken));
    }

    #[tokio::test]
    async fn a_pods_token_speaks_for_that_pod_only() {
        let (gate, now) = (gate(), Instant::now());
        assert_eq!(admit(&gate, "pod-0", Fleet::Public, "pod-0", now).await, Ok(()));
        assert_eq!(admit(&gate, "pod-0", Fleet::Public, "pod-1", now).await, Err(Refusal::NotYours));
    }

    #[tokio::test]
    async fn answers_are_remembered_for_a_while() {
        let (gate, now) = (gate(), Instant::now());
        for _ in 0..3 {
            admit(&gate, "proxy", Fleet::Public, "p", now).await.unwrap();
        }
        assert_eq!(gate.reviewer.asked.load(Ordering::Relaxed), 1);
        admit(&gate, "proxy", Fleet::Public, "p", now + FRESH).await.unwrap();
        assert_eq!(gate.reviewer.asked.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn known_callers_stay_while_the_api_server_is_away() {
        let (gate, now) = (gate(), Instant::now());
        admit(&gate, "proxy", Fleet::Public, "p", now).await.unwrap();
        gate.reviewer.away.store(true, Ordering::Relaxed);
        assert_eq!(admit(&gate, "proxy", Fleet::Public, "p", now + FRESH).await, Ok(()));
        assert_eq!(admit(&gate, "inner", Fleet::Private, "p", now).await, Err(Refusal::CannotCheck));
        assert_eq!(admit(&gate, "proxy", Fleet::Public, "p", now + STALE).await, Err(Refusal::CannotCheck));
    }

    #[tokio::test]
    async fn wrong_tokens_do_not_push_out_right_ones() {
        let (gate, now) = (gate(), Instant::now());
        admit(&gate, "proxy", Fleet::Public, "p", now).await.unwrap();
        for n in 0..REMEMBERED + 50 {
            admit(&gate, &format!("wrong-{n}"), Fleet::Public, "p", now).await.unwrap_err();
        }
        let asked = gate.reviewer.asked.load(Ordering::Relaxed);
        admit(&gate, "proxy", Fleet::Public, "p", now).await.unwrap();
        assert_eq!(gate.reviewer.asked.load(Ordering::Relaxed), asked);
        assert_eq!(gate.remembered.lock().unwrap().len(), REMEMBERED);
    }

    #[test]
    fn a_review_counts_only_for_our_audience() {
        let status = |audience: &str, authenticated| TokenReviewStatus {
            audiences: Some(vec![audience.into()]),
            authenticated: Some(authenticated),
            error: None,
            user: Some(UserInfo {
                username: Some("system:serviceaccount:tg:proxy".into()),
                extra: Some(BTreeMap::from([(
                    "authentication.kubernetes.io/pod-name".to_owned(),
                    vec!["pod-0".to_owned()],
                )])),
                ..UserInfo::default()
            }),
        };
        let caller = Caller { namespace: "tg".into(), name: "proxy".into(), pod: Some("pod-0".into()) };
        assert_eq!(read_review(status(AUDIENCE, true)), Some(caller));
        assert_eq!(read_review(status("https://kubernetes.default.svc", true)), None);
        assert_eq!(read_review(status(AUDIENCE, false)), None);
    }
}
