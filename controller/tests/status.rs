//! The status writer against a fake API server, in paused time.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod fake;

use std::collections::VecDeque;
use std::future::ready;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fake::Asked;
use http::Method;
use kube::Client;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;
use tollgate_controller::board::Board;
use tollgate_controller::feed::Fleet;
use tollgate_controller::metrics::{Metrics, StatusMetrics};
use tollgate_controller::shared::Fleets;
use tollgate_controller::status::writer::Writer;
use tollgate_engine::snapshot::{ContentHash, Report, UnitId, UnitReport};
use tollgate_translate::{Kind, Object, ObjectRef, ObjectVerdict, Reason, Requirement, Serving, Verdict};

/// Answers what the script says, then success; keeps what it was asked.
#[derive(Clone, Default)]
struct Fake {
    script: Arc<Mutex<VecDeque<(u16, Value)>>>,
    asked: Arc<Mutex<Vec<(Instant, Asked)>>>,
}

impl Fake {
    fn client(&self) -> Client {
        let fake = self.clone();
        fake::client(move |asked| ready(fake.answer(asked)))
    }

    fn answer(&self, asked: Asked) -> (u16, Value) {
        let body = asked.body.clone();
        self.asked.lock().unwrap().push((Instant::now(), asked));
        self.script.lock().unwrap().pop_front().unwrap_or((200, body))
    }

    fn patches(&self) -> Vec<Asked> {
        self.times_and_patches().into_iter().map(|(_, asked)| asked).collect()
    }

    fn times_and_patches(&self) -> Vec<(Instant, Asked)> {
        self.asked.lock().unwrap().iter().filter(|(_, asked)| asked.method == Method::PATCH).cloned().collect()
    }

    fn events(&self) -> Vec<Asked> {
        let asked = self.asked.lock().unwrap();
        asked
            .iter()
            .filter(|(_, asked)| asked.uri.path().ends_with("/events"))
            .map(|(_, asked)| asked.clone())
            .collect()
    }
}

struct Scene {
    fake: Fake,
    board: Arc<Board>,
    fleets: Arc<Fleets>,
    metrics: StatusMetrics,
    leader: watch::Sender<bool>,
}

fn unit() -> UnitId {
    UnitId::stage("abcdefghij", "prod")
}

fn report(full: bool, revision: u32) -> Report {
    Report {
        proxy: "p0".into(),
        session: "s".into(),
        fleet: "public".into(),
        ready: true,
        leaving: false,
        full,
        units: vec![UnitReport { id: unit(), hash: ContentHash::of(&revision), problems: vec![] }],
        gone: vec![],
        authorizers: vec![],
        usage: None,
    }
}

impl Scene {
    /// A writer, one proxy, and an empty board.
    fn start() -> Self {
        let (fake, board, fleets) = (Fake::default(), Arc::new(Board::default()), Arc::new(Fleets::default()));
        let (leader, leads) = watch::channel(false);
        let metrics = Metrics::new().status;
        let writer = Writer::new(fake.client(), "me".into(), Arc::clone(&board), Arc::clone(&fleets), metrics.clone());
        tokio::spawn(writer.run(leads));
        let scene = Self { fake, board, fleets, metrics, leader };
        scene.publish(1);
        scene.fleets.report(Fleet::Public, report(true, 1), Instant::now());
        scene
    }

    fn publish(&self, revision: u32) {
        self.fleets.published(Fleet::Public, revision.into(), &[(unit(), Some(ContentHash::of(&revision)))]);
    }

    fn object(&self, name: &str, uid: &str) -> ObjectRef {
        let route = json!({
            "apiVersion": "tollgate.dev/v1alpha1", "kind": "Route",
            "metadata": {"name": name, "namespace": "a", "uid": uid, "generation": 1},
            "spec": {"apiRef": {"name": "x"}, "routeKey": "GET /"},
        });
        let object = Object::from_value(route).unwrap().unwrap();
        self.board.see(&object);
        object.reference()
    }

    fn judge(&self, object: &ObjectRef, uid: &str, revision: u64, accepted: Result<(), &str>) {
        let verdict = |ok: bool, reason, message: &str| Verdict { ok, reason, message: message.into() };
        self.board.judge(vec![ObjectVerdict {
            object: object.clone(),
            uid: uid.into(),
            generation: 1,
            accepted: match accepted {
                Ok(()) => verdict(true, Reason::Accepted, ""),
                Err(message) => verdict(false, Reason::Invalid, message),
            },
            resolved_refs: verdict(true, Reason::ResolvedRefs, ""),
            serving: Serving::When(vec![Requirement { unit: unit(), revision }]),
            api_id: None,
            api_endpoint: None,
            capture: None,
        }]);
    }

    /// Lets a time pass in which everything that is due is done.
    async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

const MOMENT: Duration = Duration::from_millis(50);

#[tokio::test(start_paused = true)]
async fn only_the_holder_of_the_lease_writes_and_only_once() {
    let scene = Scene::start();
    let route = scene.object("r", "u1");
    scene.judge(&route, "u1", 1, Ok(()));
    scene.pass(Duration::from_secs(300)).await;
    assert!(scene.fake.patches().is_empty(), "another replica holds the lease");
    scene.leader.send_replace(true);
    scene.pass(MOMENT).await;
    let patches = scene.fake.patches();
    assert_eq!(patches.len(), 1);
    assert_eq!(patches[0].uri.path(), "/apis/tollgate.dev/v1alpha1/namespaces/a/routes/r/status");
    assert_eq!(patches[0].body["metadata"]["uid"], "u1");
    assert_eq!(patches[0].body["status"]["programmed"], "1/1");
    scene.pass(Duration::from_secs(300)).await;
    assert_eq!(scene.fake.patches().len(), 1, "full passes write nothing that is there");
}

#[tokio::test(start_paused = true)]
async fn one_patch_says_how_it_went_when_proxies_are_quick() {
    let scene = Scene::start();
    scene.leader.send_replace(true);
    let route = scene.object("r", "u1");
    scene.publish(2);
    scene.judge(&route, "u1", 2, Ok(()));
    scene.pass(MOMENT).await;
    assert!(scene.fake.patches().is_empty(), "it waits a moment for the proxy");
    scene.fleets.report(Fleet::Public, report(false, 2), Instant::now());
    scene.pass(MOMENT).await;
    let patches = scene.fake.patches();
    assert_eq!((patches.len(), &patches[0].body["status"]["programmed"]), (1, &json!("1/1")));
}

#[tokio::test(start_paused = true)]
async fn a_proxy_that_does_not_answer_shows() {
    let scene = Scene::start();
    scene.leader.send_replace(true);
    let route = scene.object("r", "u1");
    scene.publish(2);
    scene.judge(&route, "u1", 2, Ok(()));
    scene.pass(Duration::from_secs(1)).await;
    let patches = scene.fake.patches();
    assert_eq!((patches.len(), &patches[0].body["status"]["programmed"]), (1, &json!("0/1")));
    assert_eq!(patches[0].body["status"]["conditions"][2]["reason"], "Pending");
}

#[tokio::test(start_paused = true)]
async fn a_busy_api_server_is_given_the_time_that_it_asks_for() {
    let scene = Scene::start();
    scene.fake.script.lock().unwrap().push_back(fake::failure(429, "", &json!({"retryAfterSeconds": 3})));
    scene.fake.script.lock().unwrap().push_back(fake::failure(409, "", &json!({})));
    let route = scene.object("r", "u1");
    scene.judge(&route, "u1", 1, Ok(()));
    scene.leader.send_replace(true);
    scene.pass(Duration::from_secs(10)).await;
    let times: Vec<Instant> = scene.fake.times_and_patches().into_iter().map(|(at, _)| at).collect();
    assert_eq!(times.len(), 3, "too busy, conflict, written");
    assert!(times[1] - times[0] >= Duration::from_secs(3));
    assert!(times[2] - times[1] < Duration::from_secs(1), "a conflict is tried again soon");
    assert_eq!(scene.metrics.patches.with_label_values(&["ok"]).get(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_object_made_again_is_not_written_with_old_news() {
    let scene = Scene::start();
    scene.leader.send_replace(true);
    let route = scene.object("r", "u2");
    scene.judge(&route, "u1", 1, Ok(()));
    scene.pass(Duration::from_secs(1)).await;
    assert!(scene.fake.patches().is_empty());
    scene.judge(&route, "u2", 1, Ok(()));
    scene.pass(MOMENT).await;
    assert_eq!(scene.fake.patches().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_told_once_as_an_event() {
    let scene = Scene::start();
    scene.leader.send_replace(true);
    let route = scene.object("r", "u1");
    scene.judge(&route, "u1", 1, Err("spec.routeKey: \"GET\" has no path"));
    scene.pass(Duration::from_secs(300)).await;
    let events = scene.fake.events();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].body["note"], "spec.routeKey: \"GET\" has no path");
    assert_eq!(events[0].body["reason"], "Invalid");
    assert_eq!(events[0].body["regarding"]["name"], route.name);
    assert_eq!(route.kind, Kind::Route);
}

#[tokio::test(start_paused = true)]
async fn proxies_that_come_and_go_do_not_hurry_anybody() {
    let scene = Scene::start();
    scene.leader.send_replace(true);
    let routes: Vec<ObjectRef> = (0..1000).map(|n| scene.object(&format!("r{n}"), "u")).collect();
    routes.iter().for_each(|route| scene.judge(route, "u", 1, Ok(())));
    scene.pass(Duration::from_secs(1)).await;
    assert_eq!(scene.fake.patches().len(), 1000);
    let another = Report { proxy: "p1".into(), ..report(true, 1) };
    scene.fleets.report(Fleet::Public, another, Instant::now());
    scene.pass(Duration::from_secs(1)).await;
    assert_eq!(scene.fake.patches().len(), 1000);
    scene.pass(Duration::from_secs(2)).await;
    assert_eq!(scene.fake.patches().len(), 2000);
}
