//! The service with a scripted identity provider and paused time.

use std::collections::HashMap;

use bytes::Bytes;

use super::*;

/// Documents by URL; each fetch takes 100 ms and is remembered.
#[derive(Clone, Default)]
struct Provider {
    documents: Arc<Mutex<HashMap<String, Result<Bytes, String>>>>,
    fetched: Arc<Mutex<Vec<String>>>,
}

impl Fetch for Provider {
    async fn get(&self, url: &str) -> Result<Bytes, String> {
        lock(&self.fetched).push(url.to_owned());
        tokio::time::sleep(Duration::from_millis(100)).await;
        lock(&self.documents).get(url).cloned().unwrap_or_else(|| Err("it answered with status 404".into()))
    }
}

const ISSUER: &str = "https://id.test/";
const DISCOVERY: &str = "https://id.test/.well-known/openid-configuration";
const KEYS: &str = "https://id.test/keys";

impl Provider {
    fn serve(&self, url: &str, document: &str) {
        lock(&self.documents).insert(url.to_owned(), Ok(Bytes::copy_from_slice(document.as_bytes())));
    }

    fn fail(&self, url: &str, why: &str) {
        lock(&self.documents).insert(url.to_owned(), Err(why.to_owned()));
    }

    fn healthy() -> Self {
        let provider = Self::default();
        provider.serve(DISCOVERY, &format!(r#"{{"issuer":"{ISSUER}","jwks_uri":"{KEYS}"}}"#));
        provider.serve(KEYS, &key_set(&["one"]));
        provider
    }

    fn fetches(&self) -> usize {
        lock(&self.fetched).len()
    }
}

/// A key set with one RSA key under each of the ids.
fn key_set(ids: &[&str]) -> String {
    let n = format!("w{}", "A".repeat(341));
    let keys: Vec<_> =
        ids.iter().map(|id| serde_json::json!({"kty": "RSA", "use": "sig", "kid": id, "n": n, "e": "AQAB"})).collect();
    serde_json::json!({ "keys": keys }).to_string()
}

fn start(provider: &Provider) -> Jwks {
    let (jwks, service) = Jwks::new(&Metrics::new());
    tokio::spawn(service.run(provider.clone()));
    jwks
}

async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

const SECOND: Duration = Duration::from_secs(1);

/// Proves H-JWT-3, H-JWT-17.
#[tokio::test(start_paused = true)]
async fn keys_come_by_discovery_once_for_all_who_wait() {
    let provider = Provider::healthy();
    let jwks = start(&provider);
    let entry = jwks.handle("shop/login", ISSUER, None);
    assert!(entry.current().is_none());
    let (first, second) = tokio::join!(entry.fetch(), entry.fetch());
    let (first, second) = (first.unwrap(), second.unwrap());
    assert!(first.set.contains("one"));
    assert!(Arc::ptr_eq(&first, &second));
    assert_eq!(first.epoch, entry.epoch());
    assert_eq!(*lock(&provider.fetched), [DISCOVERY, KEYS]);
    assert_eq!(jwks.reports(), []);
}

#[tokio::test(start_paused = true)]
async fn keys_are_there_before_a_request_asks_and_outlive_their_configuration() {
    let provider = Provider::healthy();
    let jwks = start(&provider);
    let entry = jwks.handle("shop/login", ISSUER, Some(KEYS));
    pass(SECOND).await;
    let epoch = entry.epoch();
    assert_ne!(epoch, 0);
    let after_a_deploy = jwks.handle("shop/login", ISSUER, Some(KEYS));
    assert!(Arc::ptr_eq(&entry, &after_a_deploy));
    let of_another = jwks.handle("other/login", ISSUER, Some(KEYS));
    assert_eq!(of_another.epoch(), epoch, "authorizers share their issuer's keys");
    pass(SECOND).await;
    assert_eq!(*lock(&provider.fetched), [KEYS]);
    drop((entry, after_a_deploy, of_another));
    pass(3 * 3600 * SECOND).await;
    assert_eq!(provider.fetches(), 1, "nobody refers to them, so nobody renews them");
    assert!(jwks.handle("shop/login", ISSUER, Some(KEYS)).current().is_none());
}

/// Proves H-JWT-19.
#[tokio::test(start_paused = true)]
async fn failures_are_told_apart_reported_and_remembered_for_a_while() {
    let provider = Provider::default();
    let jwks = start(&provider);
    let entry = jwks.handle("shop/login", ISSUER, None);
    assert_eq!(entry.fetch().await.unwrap_err(), JwtError::Discovery);
    assert_eq!(entry.fetch().await.unwrap_err(), JwtError::Discovery);
    assert_eq!(provider.fetches(), 1, "the failure is remembered");
    let message = format!("the issuer's discovery document cannot be used: {DISCOVERY}: it answered with status 404");
    assert_eq!(jwks.reports(), [AuthorizerReport { source: "shop/login".into(), message }]);

    provider.serve(DISCOVERY, r#"{"jwks_uri": 7}"#);
    pass(6 * SECOND).await;
    assert!(jwks.reports()[0].message.contains("must be a JSON object with a text jwks_uri"), "{:?}", jwks.reports());

    provider.serve(DISCOVERY, &format!(r#"{{"jwks_uri":"{KEYS}"}}"#));
    pass(11 * SECOND).await;
    assert_eq!(entry.fetch().await.unwrap_err(), JwtError::Keys);
    provider.serve(KEYS, "<html>");
    pass(21 * SECOND).await;
    assert_eq!(entry.fetch().await.unwrap_err(), JwtError::Keys);
    assert!(jwks.reports()[0].message.contains("not a JSON Web Key Set"), "{:?}", jwks.reports());

    provider.serve(KEYS, &key_set(&["one"]));
    pass(6 * SECOND).await;
    assert!(entry.fetch().await.is_ok(), "a request may ask sooner than the background does");
    assert_eq!(jwks.reports(), []);
}

/// Proves H-JWT-18.
#[tokio::test(start_paused = true)]
async fn an_unknown_key_id_renews_the_keys_but_not_more_often_than_every_five_seconds() {
    let provider = Provider::healthy();
    let jwks = start(&provider);
    let entry = jwks.handle("shop/login", ISSUER, Some(KEYS));
    let old = entry.fetch().await.unwrap();
    assert!(entry.look_for("two").await.is_none());
    assert_eq!(provider.fetches(), 1, "they are fresh");
    provider.serve(KEYS, &key_set(&["one", "two"]));
    pass(5 * SECOND).await;
    let (first, second) = tokio::join!(entry.look_for("two"), entry.look_for("two"));
    assert!(first.unwrap().set.contains("one") && second.unwrap().set.contains("two"));
    assert_eq!(provider.fetches(), 2);
    assert_ne!(entry.epoch(), old.epoch);
    let epoch = entry.epoch();
    pass(6 * SECOND).await;
    assert!(entry.look_for("three").await.is_none());
    assert_eq!(provider.fetches(), 3);
    assert_eq!(entry.epoch(), epoch, "the same keys keep their epoch");
}

/// Proves H-JWT-18, H-JWT-21.
#[tokio::test(start_paused = true)]
async fn keys_are_renewed_every_hour_and_gone_after_two() {
    let provider = Provider::healthy();
    let jwks = start(&provider);
    let entry = jwks.handle("shop/login", ISSUER, Some(KEYS));
    let first = entry.fetch().await.unwrap();
    provider.serve(KEYS, &key_set(&["two"]));
    pass(3590 * SECOND).await;
    assert!(entry.current().unwrap().set.contains("one"), "a removed key works until the keys are renewed");
    pass(20 * SECOND).await;
    assert!(!entry.current().unwrap().set.contains("one"));
    assert_ne!(entry.epoch(), first.epoch);
    provider.fail(KEYS, "connection refused");
    pass(3620 * SECOND).await;
    assert!(entry.current().unwrap().set.contains("two"), "still good for an hour");
    assert!(jwks.reports()[0].message.ends_with("stay in use for up to two hours"), "{:?}", jwks.reports());
    let before = entry.epoch();
    pass(3600 * SECOND).await;
    assert!(entry.current().is_none());
    assert_ne!(entry.epoch(), before);
    assert_eq!(entry.fetch().await.unwrap_err(), JwtError::Keys);
}

#[tokio::test(start_paused = true)]
async fn keys_that_cannot_be_used_are_reported() {
    let provider = Provider::default();
    provider.serve(KEYS, r#"{"keys":[{"kty":"EC","kid":"x"}]}"#);
    let jwks = start(&provider);
    let entry = jwks.handle("shop/login", ISSUER, Some(KEYS));
    assert!(entry.fetch().await.unwrap().set.is_empty());
    for _ in 0..2 {
        let reports = jwks.reports();
        assert!(reports[0].message.contains("none of its 1 keys"), "{reports:?}");
        pass(3700 * SECOND).await;
    }
}

#[tokio::test(start_paused = true)]
async fn sources_past_the_bound_refuse_and_say_so() {
    let provider = Provider::default();
    let jwks = start(&provider);
    let held: Vec<_> = (0..MAX_SOURCES).map(|n| jwks.handle("a/b", &format!("https://{n}.test"), Some(KEYS))).collect();
    let late = jwks.handle("late/one", "https://late.test", Some(KEYS));
    assert_eq!(late.fetch().await.unwrap_err(), JwtError::Keys);
    let reports = jwks.reports();
    assert!(reports.iter().any(|report| report.source == "late/one" && report.message.contains("more than 1000")));
    drop((held, late));
    provider.serve(KEYS, &key_set(&["one"]));
    assert!(jwks.handle("late/one", "https://late.test", Some(KEYS)).fetch().await.is_ok());
}
