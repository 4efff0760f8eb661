//! Events (events.k8s.io/v1) about objects. One event for each object, reason and text, also across restarts: its name is made
//! of these, and a repetition raises its count.

use std::collections::HashMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::{Event, EventSeries};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use prometheus::IntCounterVec;
use tokio::sync::mpsc;
use tollgate_engine::snapshot::ContentHash;
use tollgate_translate::ObjectRef;
use tracing::debug;

/// Events that wait to be sent; more are dropped, since the condition says the same.
pub const WAITING: usize = 512;
/// At most so many a second: Events are for people.
const PAUSE: Duration = Duration::from_millis(20);
/// An API server that does not answer must not hold up the others for ever.
const PATIENCE: Duration = Duration::from_secs(5);
/// Events whose repetitions are counted.
const COUNTED: usize = 4096;
/// The API server refuses longer notes.
const LONGEST_NOTE: usize = 1024;

/// An event to send.
#[derive(Clone, Debug, PartialEq)]
pub struct News {
    /// About whom.
    pub object: ObjectRef,
    /// Its uid.
    pub uid: String,
    /// What it says. One that is True is good news.
    pub condition: Condition,
}

/// Sends events until the sender is gone.
pub async fn run(client: Client, identity: String, counter: IntCounterVec, mut news: mpsc::Receiver<News>) {
    let mut counts = Counts::default();
    while let Some(one) = news.recv().await {
        let sent = tokio::time::timeout(PATIENCE, send(&client, &identity, &one, &mut counts)).await;
        let result = match sent {
            Ok(Ok(())) => "ok",
            Ok(Err(error)) => {
                debug!(object = %one.object, %error, "an event could not be sent");
                "error"
            }
            Err(_) => "error",
        };
        counter.with_label_values(&[result]).inc();
        tokio::time::sleep(PAUSE).await;
    }
}

/// How often each event was sent, by name. Events are not read back, so that no right to read them is needed: after a restart
/// a count begins again at two.
#[derive(Debug, Default)]
struct Counts(HashMap<String, i32>);

impl Counts {
    fn next(&mut self, name: &str) -> i32 {
        if self.0.len() >= COUNTED && !self.0.contains_key(name) {
            self.0.clear();
        }
        let count = self.0.entry(name.to_owned()).or_insert(1);
        *count = count.saturating_add(1);
        *count
    }
}

async fn send(client: &Client, identity: &str, news: &News, counts: &mut Counts) -> Result<(), kube::Error> {
    let events: Api<Event> = Api::namespaced(client.clone(), &news.object.namespace);
    let event = event(identity, news, Timestamp::now());
    match events.create(&PostParams::default(), &event).await {
        Err(kube::Error::Api(status)) if status.code == 409 => {
            let name = event.metadata.name.unwrap_or_default();
            let series = EventSeries { count: counts.next(&name), last_observed_time: MicroTime(Timestamp::now()) };
            let patch = Patch::Merge(serde_json::json!({"series": series}));
            events.patch(&name, &PatchParams::default(), &patch).await.map(drop)
        }
        other => other.map(drop),
    }
}

fn event(identity: &str, news: &News, now: Timestamp) -> Event {
    let News { object, uid, condition } = news;
    let key = (uid, &condition.type_, &condition.reason, &condition.message);
    let hash = ContentHash::of(&key);
    let mut name = object.name.clone();
    name.truncate(220);
    let mut note = condition.message.clone();
    if note.len() > LONGEST_NOTE {
        let end = (0..=LONGEST_NOTE).rev().find(|end| note.is_char_boundary(*end)).unwrap_or(0);
        note.truncate(end);
    }
    Event {
        action: Some("Reconcile".into()),
        event_time: Some(MicroTime(now)),
        metadata: ObjectMeta {
            name: Some(format!("{}.{}", name.trim_end_matches(['-', '.']), &hash.as_str()[..16])),
            namespace: Some(object.namespace.clone()),
            ..ObjectMeta::default()
        },
        note: Some(note),
        reason: Some(condition.reason.clone()),
        regarding: Some(ObjectReference {
            api_version: Some(object.kind.api_version().to_owned()),
            kind: Some(object.kind.as_str().to_owned()),
            name: Some(object.name.clone()),
            namespace: Some(object.namespace.clone()),
            uid: Some(uid.clone()),
            ..ObjectReference::default()
        }),
        reporting_controller: Some("tollgate.dev/controller".into()),
        reporting_instance: Some(identity.chars().take(128).collect()),
        type_: Some(if condition.status == "True" { "Normal" } else { "Warning" }.into()),
        ..Event::default()
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use tollgate_translate::Kind;

    use super::*;

    #[test]
    fn repetitions_are_counted() {
        let mut counts = Counts::default();
        assert_eq!(["a", "a", "b", "a"].map(|name| counts.next(name)), [2, 3, 2, 4]);
    }

    #[test]
    fn the_same_news_has_the_same_name() {
        let news = |message: &str| News {
            object: ObjectRef::new(Kind::Route, "a", "r"),
            uid: "uid".into(),
            condition: Condition {
                last_transition_time: Time(Timestamp::UNIX_EPOCH),
                message: message.into(),
                observed_generation: Some(1),
                reason: "Invalid".into(),
                status: "False".into(),
                type_: "Accepted".into(),
            },
        };
        let name = |message| event("me", &news(message), Timestamp::now()).metadata.name.unwrap();
        assert_eq!(name("x"), name("x"));
        assert_ne!(name("x"), name("y"));
        let long = event("me", &news(&"ü".repeat(1000)), Timestamp::now());
        assert!(long.note.unwrap().len() <= LONGEST_NOTE);
    }
}
