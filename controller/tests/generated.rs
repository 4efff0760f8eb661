//! Values of API keys against a fake API server: looked up, generated, and with very many names.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Method, Request, Response};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tollgate_controller::board::Board;
use tollgate_controller::feed::Fleet;
use tollgate_controller::feed::hub::Hub;
use tollgate_controller::history::Records;
use tollgate_controller::history::restore::{self, Restorer};
use tollgate_controller::metrics::Metrics;
use tollgate_controller::publisher::Publisher;
use tollgate_controller::shared::Fleets;
use tollgate_controller::watch::{Item, Message, Watched};
use tollgate_controller::{generated, referenced};
use tollgate_translate::{Kind, Object, ObjectRef, Translator};

/// An API server with Secrets only.
#[derive(Clone, Default)]
struct Fake {
    secrets: Arc<Mutex<BTreeMap<String, Value>>>,
}

impl Fake {
    fn client(&self) -> Client {
        let fake = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let fake = fake.clone();
            async move { Ok::<_, Infallible>(fake.answer(request).await) }
        });
        Client::new(service, "default")
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        // As long as a real one takes.
        tokio::time::sleep(Duration::from_millis(2)).await;
        let (parts, body) = request.into_parts();
        let failure = |code: u16| {
            let reason = if code == 404 { "NotFound" } else { "AlreadyExists" };
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "no", "reason": reason, "code": code});
            (code, status)
        };
        let (code, answer) = match (parts.method, parts.uri.path().rsplit_once('/').unwrap()) {
            (Method::GET, (_, name)) => {
                let found = self.secrets.lock().unwrap().get(name).cloned();
                found.map_or_else(|| failure(404), |secret| (200, secret))
            }
            (Method::POST, (_, "secrets")) => {
                let secret: Value = serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap();
                let name = secret["metadata"]["name"].as_str().unwrap().to_owned();
                let mut secrets = self.secrets.lock().unwrap();
                match secrets.entry(name) {
                    Entry::Occupied(_) => failure(409),
                    Entry::Vacant(free) => {
                        free.insert(secret.clone());
                        (201, secret)
                    }
                }
            }
            other => panic!("the controller asked for {other:?}"),
        };
        Response::builder().status(code).body(Body::from(answer.to_string().into_bytes())).unwrap()
    }
}

/// Everything between the watches and the feed, with one watch that the test plays.
struct Scene {
    fake: Fake,
    hub: Arc<Hub>,
    to: mpsc::Sender<Message>,
    leader: watch::Sender<bool>,
    news: mpsc::Receiver<tollgate_controller::status::events::News>,
}

fn scene() -> Scene {
    let fake = Fake::default();
    let (hub, board) = (Arc::new(Hub::default()), Arc::new(Board::default()));
    let (to, messages) = mpsc::channel(1024);
    let (wanted, names) = watch::channel(BTreeSet::new());
    let (load, _) = mpsc::channel(restore::WAITING);
    let (generate, generating) = mpsc::channel(generated::WAITING);
    let (leader, leads) = watch::channel(true);
    let (told, news) = mpsc::channel(16);
    tokio::spawn(referenced::run(fake.client(), names, to.clone()));
    tokio::spawn(generated::run(fake.client(), generating, leads, to.clone(), told));
    let publisher = Publisher {
        translator: Translator::new(tollgate_translate::Settings { base_domain: "test".into(), https: false }),
        hub: Arc::clone(&hub),
        fleets: Arc::new(Fleets::default()),
        board,
        records: Arc::new(Records::default()),
        wanted,
        published: Arc::new(AtomicBool::new(false)),
        metrics: Metrics::new(),
        restorer: Restorer::default(),
        load,
        generate,
    };
    tokio::spawn(publisher.run(1, messages));
    Scene { fake, hub, to, leader, news }
}

fn key(name: &str, secret: Option<(&str, &str)>) -> Object {
    let spec = match secret {
        Some((secret, entry)) => json!({"valueFrom": {"secretKeyRef": {"name": secret, "key": entry}}}),
        None => json!({}),
    };
    let metadata = json!({"name": name, "namespace": "shop", "uid": format!("uid-{name}"), "generation": 1});
    let object = json!({"apiVersion": "tollgate.dev/v1alpha1", "kind": "ApiKey", "metadata": metadata, "spec": spec});
    Object::from_value(object).unwrap().unwrap()
}

impl Scene {
    async fn see(&self, object: Object) {
        self.to.send(Message::Seen(Box::new(Item::Object(object)))).await.unwrap();
    }

    async fn listed(&self) {
        let names = Message::Listed(Watched::Objects(Kind::HttpApi), None, BTreeSet::new());
        self.to.send(names).await.unwrap();
    }

    /// Digests of the keys that proxies are told of.
    fn published(&self) -> BTreeSet<String> {
        let (chunks, _) = self.hub.complete(Fleet::Public);
        let text: String = chunks.iter().map(|chunk| String::from_utf8_lossy(chunk).into_owned()).collect();
        let digests = text.split("\"digest\":\"").skip(1);
        digests.map(|rest| rest[..64].to_owned()).collect()
    }

    /// Waits until so many keys are published.
    async fn keys(&self, count: usize) -> BTreeSet<String> {
        let mut revisions = self.hub.watch(Fleet::Public);
        let wait = async {
            while self.published().len() != count {
                revisions.changed().await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap();
        self.published()
    }

    fn value(&self, secret: &str) -> Option<String> {
        let secret = self.fake.secrets.lock().unwrap().get(secret).cloned()?;
        let object = Object::from_value(secret).unwrap().unwrap();
        let Object::Secret(secret) = object else { panic!("a Secret") };
        Some(String::from_utf8(secret.data.unwrap()["value"].0.clone()).unwrap())
    }
}

fn digest(value: &str) -> String {
    tollgate_engine::meter::digest(value.as_bytes()).to_hex()
}

/// Proves R-KEY-1.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_without_a_value_gets_one_in_a_secret() {
    let mut scene = scene();
    scene.see(key("alice", None)).await;
    scene.listed().await;
    let published = scene.keys(1).await;
    let value = scene.value("alice-api-key").unwrap();
    assert_eq!((value.len(), published), (40, BTreeSet::from([digest(&value)])));
    let told = scene.news.recv().await.unwrap();
    assert_eq!((told.object, told.uid.as_str()), (ObjectRef::new(Kind::ApiKey, "shop", "alice"), "uid-alice"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_that_are_there_or_named_elsewhere_are_not_generated() {
    let scene = scene();
    let mine = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "alice-api-key", "namespace": "shop"}, "stringData": {"value": "mine-0123456789-abcdef"}});
    scene.fake.secrets.lock().unwrap().insert("alice-api-key".into(), mine.clone());
    scene.see(key("alice", None)).await;
    scene.see(key("bob", Some(("bob-api-key", "value")))).await;
    scene.listed().await;
    assert_eq!(scene.keys(1).await, BTreeSet::from([digest("mine-0123456789-abcdef")]));
    // Carol's value comes after anything that was generated for Bob would have.
    scene.see(key("carol", None)).await;
    scene.keys(2).await;
    let secrets = scene.fake.secrets.lock().unwrap();
    assert_eq!(secrets.keys().collect::<Vec<_>>(), ["alice-api-key", "carol-api-key"]);
    assert_eq!(secrets["alice-api-key"], mine, "it was not touched");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_who_leads_generates() {
    let scene = scene();
    scene.leader.send_replace(false);
    scene.see(key("alice", None)).await;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "zoe", "namespace": "shop"}, "stringData": {"value": "zoes-0123456789-abcdef"}});
    scene.fake.secrets.lock().unwrap().insert("zoe".into(), secret);
    scene.see(key("zoe", Some(("zoe", "value")))).await;
    scene.listed().await;
    // Published when both names were looked up, and nothing made.
    scene.keys(1).await;
    assert_eq!(scene.value("alice-api-key"), None);
    scene.leader.send_replace(true);
    scene.keys(2).await;
}

/// What a start costs with 1,500 Secrets: all are there with the first publication, and it takes no longer than the API server needs
/// for sixteen at once. One after the other with pauses took half a minute.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn very_many_secrets_are_read_before_the_first_publication() {
    const KEYS: usize = 1_500;
    let scene = scene();
    for number in 0..KEYS {
        let name = format!("key-{number}");
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "shop"}, "stringData": {"value": format!("value-{number:020}")}});
        scene.fake.secrets.lock().unwrap().insert(name.clone(), secret);
        scene.see(key(&name, Some((&name, "value")))).await;
    }
    scene.listed().await;
    let mut revisions = scene.hub.watch(Fleet::Public);
    tokio::time::timeout(Duration::from_secs(30), revisions.wait_for(|revision| *revision > 0)).await.unwrap().unwrap();
    assert_eq!(scene.published().len(), KEYS, "published without waiting for all");
}
