//! Which records a starting controller gives to translation, and which it leaves in the API server.
//!
//! Ten old deployments of a large API would take a hundred megabytes. Needed are the latest of each API, those made by hand,
//! and those that a Stage names; the others are looked up by name when a Stage names them.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::apps::v1::ControllerRevision;
use kube::{Api, Client};
use tokio::sync::mpsc;
use tollgate_translate::{Kind, ObjectRef, Translator, World};
use tracing::warn;

use super::{Content, Record, What};
use crate::board::Board;
use crate::watch::{Item, Message};

/// Records that wait to be looked up; more are asked for again when their Stage is seen again.
pub const WAITING: usize = 256;
/// An API server that does not answer must not hold up the others for ever.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where a record is: namespace and name of the ControllerRevision.
pub type Place = (String, String);

/// The records that were seen.
#[derive(Debug, Default)]
pub struct Restorer {
    /// Before the first translation: the latest automatic deployment, by HttpApi.
    latest: BTreeMap<ObjectRef, Record>,
    /// Before the first translation: the latest of each Stage, and contents that are needed, by owner.
    others: BTreeMap<ObjectRef, Record>,
    /// Contents that were left out, by ApiDeployment.
    left_out: BTreeMap<ObjectRef, Place>,
}

impl Restorer {
    /// Takes a record before the first translation. `named`: a Stage is known that names its ApiDeployment.
    pub fn offer(&mut self, record: Record, named: bool) {
        if record.what != What::Auto || named {
            let newer = self.others.get(&record.owner).is_none_or(|known| known.revision < record.revision);
            if newer {
                self.others.insert(record.owner.clone(), record);
            }
            return;
        }
        let Some(api) = &record.api else { return };
        let api = ObjectRef::new(Kind::HttpApi, &record.owner.namespace, api);
        let newer = self.latest.get(&api).is_none_or(|known| known.revision < record.revision);
        let old = if newer { self.latest.insert(api, record) } else { Some(record) };
        old.iter().for_each(|old| self.leave_out(old));
    }

    /// The content is not needed now.
    pub fn leave_out(&mut self, record: &Record) {
        self.left_out.insert(record.owner.clone(), (record.owner.namespace.clone(), record.name.clone()));
    }

    /// The ApiDeployment is gone.
    pub fn forget(&mut self, deployment: &ObjectRef) {
        self.left_out.remove(deployment);
    }

    /// Contents that were left out and that a Stage names by now; each is returned once.
    pub fn needed(&mut self, world: &World) -> Vec<(ObjectRef, Place)> {
        let needed = self.left_out.extract_if(.., |deployment, _| world.is_referenced(deployment));
        needed.collect()
    }

    /// Gives everything to the translator, before it translates for the first time. Records of an owner that was deleted,
    /// and perhaps made again, do not count.
    pub fn restore(&mut self, board: &Board, translator: &mut Translator) {
        let entries = board.entries();
        let current = |record: &Record| {
            entries.observed.get(&record.owner).is_some_and(|observed| observed.uid == record.owner_uid)
        };
        for record in std::mem::take(&mut self.latest).into_values().filter(current) {
            let named = translator.world().is_referenced(&record.owner);
            if !named {
                self.leave_out(&record);
            }
            if let Some(Content::Deployment(deployment)) = content(&record) {
                if named {
                    translator.restore_deployment(&record.owner, deployment.as_ref().clone());
                }
                translator.restore_api(*deployment);
            }
        }
        for record in std::mem::take(&mut self.others).into_values().filter(current) {
            match content(&record) {
                Some(Content::Deployment(deployment)) => translator.restore_deployment(&record.owner, *deployment),
                Some(Content::Stage(stage)) => translator.restore_stage(&record.owner, *stage),
                None => {}
            }
        }
    }
}

/// The content; a damaged one is reported and as good as absent.
pub fn content(record: &Record) -> Option<Content> {
    let content = record.content();
    content.map_err(|error| warn!(owner = %record.owner, name = record.name, %error, "a record cannot be read")).ok()
}

/// Looks records up until the sender of places is gone.
pub async fn load(client: Client, mut places: mpsc::Receiver<Place>, to: mpsc::Sender<Message>) {
    while let Some((namespace, name)) = places.recv().await {
        let records: Api<ControllerRevision> = Api::namespaced(client.clone(), &namespace);
        for pause in [1, 2, 4, 8] {
            match tokio::time::timeout(PATIENCE, records.get_opt(&name)).await {
                Ok(Ok(None)) => break,
                Ok(Ok(Some(record))) => {
                    if to.send(Message::Seen(Box::new(Item::Record(Box::new(record))))).await.is_err() {
                        return;
                    }
                    break;
                }
                Ok(Err(error)) => warn!(namespace, name, %error, "a record could not be read"),
                Err(_) => warn!(namespace, name, "a record was not answered in time"),
            }
            tokio::time::sleep(Duration::from_secs(pause)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use tollgate_engine::snapshot::ContentHash;
    use tollgate_translate::Object;

    use super::*;

    fn record(name: &str, what: What, revision: i64) -> Record {
        Record {
            name: format!("tollgate-{name}"),
            revision,
            owner_uid: "uid".into(),
            owner: ObjectRef::new(Kind::ApiDeployment, "a", name),
            hash: ContentHash::of(&name),
            what,
            api: Some("x".into()),
            packed: String::new(),
        }
    }

    #[test]
    fn only_the_latest_automatic_deployment_is_held() {
        let mut restorer = Restorer::default();
        for (name, revision) in [("d2", 2), ("d3", 3), ("d1", 1)] {
            restorer.offer(record(name, What::Auto, revision), false);
        }
        restorer.offer(record("by-hand", What::Capture, 1), false);
        restorer.offer(record("named", What::Auto, 0), true);
        let held: Vec<&str> = restorer.latest.values().map(|held| held.owner.name.as_str()).collect();
        let others: Vec<&str> = restorer.others.values().map(|held| held.owner.name.as_str()).collect();
        assert_eq!((held, others), (vec!["d3"], vec!["by-hand", "named"]));
        assert_eq!(restorer.left_out.len(), 2);
    }

    #[test]
    fn what_a_stage_names_is_looked_up_once() {
        let mut restorer = Restorer::default();
        restorer.offer(record("d1", What::Auto, 1), false);
        restorer.offer(record("d2", What::Auto, 2), false);
        let mut world = World::default();
        assert!(restorer.needed(&world).is_empty());
        let stage = serde_json::json!({
            "apiVersion": "tollgate.dev/v1alpha1", "kind": "Stage", "metadata": {"name": "s", "namespace": "a"},
            "spec": {"apiRef": {"name": "x"}, "stageName": "s", "autoDeploy": false, "deploymentRef": {"name": "d1"}},
        });
        world.apply(Object::from_value(stage).unwrap().unwrap());
        let place = ("a".to_owned(), "tollgate-d1".to_owned());
        assert_eq!(restorer.needed(&world), [(ObjectRef::new(Kind::ApiDeployment, "a", "d1"), place)]);
        assert!(restorer.needed(&world).is_empty());
    }
}
