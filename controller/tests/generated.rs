//! Values of API keys against a fake API server: looked up, generated, and with very many names.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod fake;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fake::Asked;
use http::Method;
use kube::Client;
use serde_json::{Value, json};
use tokio::sync::{Barrier, mpsc, watch};
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

/// Long enough for the slowest machine; nothing waits this long unless it fails.
const AMPLE: Duration = Duration::from_secs(60);

/// An API server with Secrets only.
#[derive(Clone, Default)]
struct Fake {
    secrets: Arc<Mutex<BTreeMap<String, Value>>>,
    /// As many requests are answered together, however long the first ones wait.
    together: Option<Arc<Barrier>>,
    /// Requests under way, and the most that there were.
    under_way: Arc<Mutex<(usize, usize)>>,
}

impl Fake {
    fn client(&self) -> Client {
        let fake = self.clone();
        fake::client(move |asked| {
            let fake = fake.clone();
            async move {
                fake.begin();
                if let Some(together) = &fake.together {
                    together.wait().await;
                }
                fake.under_way.lock().unwrap().0 -= 1;
                fake.answer(asked)
            }
        })
    }

    fn begin(&self) {
        let (now, most) = &mut *self.under_way.lock().unwrap();
        *now += 1;
        *most = (*most).max(*now);
    }

    fn answer(&self, asked: Asked) -> (u16, Value) {
        let mut secrets = self.secrets.lock().unwrap();
        match (&asked.method, asked.uri.path().rsplit_once('/').unwrap()) {
            (&Method::GET, (_, name)) => secrets
                .get(name)
                .map_or_else(|| fake::failure(404, "NotFound", &json!({})), |secret| (200, secret.clone())),
            (&Method::POST, (_, "secrets")) => {
                let name = asked.body["metadata"]["name"].as_str().unwrap().to_owned();
                match secrets.entry(name) {
                    Entry::Occupied(_) => fake::failure(409, "AlreadyExists", &json!({})),
                    Entry::Vacant(free) => (201, free.insert(asked.body).clone()),
                }
            }
            _ => panic!("the controller asked for {asked:?}"),
        }
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
    scene_with(Fake::default())
}

fn scene_with(fake: Fake) -> Scene {
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
        tokio::time::timeout(AMPLE, wait).await.unwrap();
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

/// All are there with the first publication, and are asked for sixteen at a time, not one after the other: the API server answers when it
/// has so many requests.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn very_many_secrets_are_read_before_the_first_publication() {
    const KEYS: usize = 94 * AT_ONCE;
    const AT_ONCE: usize = 16;
    let scene = scene_with(Fake { together: Some(Arc::new(Barrier::new(AT_ONCE))), ..Fake::default() });
    for number in 0..KEYS {
        let name = format!("key-{number}");
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "shop"}, "stringData": {"value": format!("value-{number:020}")}});
        scene.fake.secrets.lock().unwrap().insert(name.clone(), secret);
        scene.see(key(&name, Some((&name, "value")))).await;
    }
    scene.listed().await;
    let mut revisions = scene.hub.watch(Fleet::Public);
    tokio::time::timeout(AMPLE, revisions.wait_for(|revision| *revision > 0)).await.unwrap().unwrap();
    assert_eq!(scene.published().len(), KEYS, "published without waiting for all");
    assert_eq!(scene.fake.under_way.lock().unwrap().1, AT_ONCE);
}
