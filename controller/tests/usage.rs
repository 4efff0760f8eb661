//! The writer of usage against a fake API server, in paused time.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod fake;

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
use tollgate_controller::shared::Fleets;
use tollgate_controller::usage::{self, EVERY};
use tollgate_engine::snapshot::Report;
use tollgate_translate::Object;

/// An API server with the plan `shop/gold`, and the patches it got.
#[derive(Clone)]
struct Fake {
    plan: Arc<Mutex<Value>>,
    patches: Arc<Mutex<Vec<(Instant, String)>>>,
}

impl Fake {
    fn new() -> Self {
        let plan = json!({"apiVersion": "tollgate.dev/v1alpha1", "kind": "UsagePlan",
            "metadata": {"name": "gold", "namespace": "shop", "uid": "u1"}, "spec": {},
            "status": {"programmed": "1/1"}});
        Self { plan: Arc::new(Mutex::new(plan)), patches: Arc::default() }
    }

    fn client(&self) -> Client {
        let fake = self.clone();
        fake::client(move |asked| ready(fake.answer(&asked)))
    }

    fn answer(&self, asked: &Asked) -> (u16, Value) {
        match (&asked.method, asked.uri.path()) {
            (&Method::GET, "/apis/tollgate.dev/v1alpha1/namespaces/shop/usageplans/gold") => {
                (200, self.plan.lock().unwrap().clone())
            }
            (&Method::PATCH, "/apis/tollgate.dev/v1alpha1/namespaces/shop/usageplans/gold/status") => {
                assert_eq!(asked.body["metadata"]["uid"], json!("u1"));
                assert!(asked.body["status"].as_object().unwrap().keys().all(|key| key == "usage"));
                let mut plan = self.plan.lock().unwrap();
                plan["status"]["usage"] = asked.body["status"]["usage"].clone();
                self.patches.lock().unwrap().push((Instant::now(), asked.uri.query().unwrap().to_owned()));
                (200, plan.clone())
            }
            (&Method::GET, _) => fake::failure(404, "NotFound", &json!({})),
            _ => panic!("the controller asked for {asked:?}"),
        }
    }

    fn patches(&self) -> usize {
        self.patches.lock().unwrap().len()
    }

    fn usage(&self) -> Value {
        self.plan.lock().unwrap()["status"]["usage"].clone()
    }
}

fn report(plan: &str, used: u64) -> Report {
    let usage = json!({"shared": true, "plans": [{"plan": plan, "periodStart": 0, "periodEnd": 4_102_444_800_i64, "limit": 10, "used": used,
        "customers": 1, "keys": [{"key": "shop/alice", "used": used, "limit": 10}]}]});
    let report = json!({"proxy": "p", "session": "1", "fleet": "public", "ready": true, "full": true, "usage": usage});
    serde_json::from_value(report).unwrap()
}

/// However many requests there are and however often proxies report, a plan is written once in half a minute, and not when nothing is new.
#[tokio::test(start_paused = true)]
async fn a_plan_is_written_now_and_then_and_only_when_its_usage_differs() {
    let (fake, fleets) = (Fake::new(), Arc::new(Fleets::default()));
    let tell = |used| fleets.report(Fleet::Public, report("shop/gold", used), Instant::now());
    tell(1);
    let (leads, leader) = watch::channel(true);
    tokio::spawn(usage::run(fake.client(), Arc::clone(&fleets), Arc::default(), leader));
    let begun = Instant::now();
    let wait = async |seconds| tokio::time::sleep_until(begun + Duration::from_secs(seconds)).await;
    wait(1).await;
    assert_eq!((fake.patches(), fake.usage()["keys"][0]["key"].clone()), (1, json!("alice")));
    wait(61).await;
    assert_eq!(fake.patches(), 1, "nothing is new");
    for used in 2..=8 {
        tell(used);
        wait(61 + used).await;
    }
    wait(91).await;
    assert_eq!(fake.patches(), 2);
    let usage = fake.usage();
    let days: u64 = usage["keys"][0]["days"].as_array().unwrap().iter().map(|day| day[0].as_u64().unwrap()).sum();
    assert_eq!((&usage["used"], &usage["keys"][0]["remaining"], days), (&json!(8), &json!(2), 8));
    let patches = fake.patches.lock().unwrap().clone();
    assert!(
        patches[1].0 - patches[0].0 >= EVERY
            && patches.iter().all(|(_, query)| query.contains("fieldManager=tollgate-usage"))
    );
    // Who does not lead writes nothing, and a plan that is gone is no reason to stop.
    leads.send_replace(false);
    tell(9);
    wait(151).await;
    assert_eq!(fake.patches(), 2);
    fleets.report(Fleet::Public, report("shop/gone", 1), Instant::now());
    leads.send_replace(true);
    wait(181).await;
    tell(10);
    wait(211).await;
    assert_eq!((fake.patches(), fake.usage()["used"].clone()), (3, json!(10)));
}

/// A plan that lost its quota tells no usage any more, also when proxies still know of some.
#[tokio::test(start_paused = true)]
async fn without_a_quota_there_is_no_usage() {
    let (fake, fleets, board) = (Fake::new(), Arc::new(Fleets::default()), Arc::new(Board::default()));
    let see = |spec: Value| {
        let mut plan = fake.plan.lock().unwrap().clone();
        plan["spec"] = spec;
        board.see(&Object::UsagePlan(Box::new(serde_json::from_value(plan).unwrap())));
    };
    let tell = |used| fleets.report(Fleet::Public, report("shop/gold", used), Instant::now());
    see(json!({"quota": {"limit": 10, "period": "MONTH"}}));
    tell(1);
    let (_leads, leader) = watch::channel(true);
    tokio::spawn(usage::run(fake.client(), Arc::clone(&fleets), Arc::clone(&board), leader));
    let begun = Instant::now();
    let wait = async |seconds| tokio::time::sleep_until(begun + Duration::from_secs(seconds)).await;
    wait(1).await;
    assert_eq!(fake.usage()["used"], json!(1));
    see(json!({}));
    tell(2);
    wait(31).await;
    assert_eq!((fake.patches(), fake.usage()), (2, Value::Null));
    // As the watch then says.
    see(json!({}));
    tell(3);
    wait(91).await;
    assert_eq!(fake.patches(), 2, "there is nothing to clear");
    see(json!({"quota": {"limit": 10, "period": "MONTH"}}));
    wait(121).await;
    assert_eq!((fake.patches(), fake.usage()["used"].clone()), (3, json!(3)));
}
