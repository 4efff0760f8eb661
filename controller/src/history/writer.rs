//! Writes records: ApiDeployments for automatic deployments, ControllerRevisions for contents, and removes what is old. Only
//! the lease holder does.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use k8s_openapi::api::apps::v1::ControllerRevision;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;
use tollgate_crds::ApiDeployment;
use tollgate_engine::snapshot::ContentHash;
use tollgate_translate::{DEPLOYMENT_ID_ANNOTATION, Kind, ObjectRef};
use tracing::{debug, info, warn};

use super::queue::{Known, Subject, Todo};
use super::{RecordError, Records, What, owner_reference, read, write};
use crate::board::Board;

/// Automatic deployments of an API that are kept besides those that stages name or serve.
const KEPT: usize = 10;
/// After an error.
const PAUSE: Duration = Duration::from_secs(2);
/// An API server that does not answer must not hold up the queue.
const PATIENCE: Duration = Duration::from_secs(10);
/// Names of Kubernetes objects have at most 253 characters.
const LONGEST_NAME: usize = 253;

/// Writes while this replica leads, until the sender of leadership is gone.
pub async fn run(client: Client, records: Arc<Records>, board: Arc<Board>, mut leader: watch::Receiver<bool>) {
    let writer = Writer { client, records, board };
    loop {
        if leader.wait_for(|leads| *leads).await.is_err() {
            return;
        }
        match writer.records.due(Instant::now()) {
            Ok((subject, todo)) => writer.step(&subject, &todo).await,
            Err(due) => {
                let due = due.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
                tokio::select! {
                    () = tokio::time::sleep_until(due) => {}
                    () = writer.records.changed.notified() => {}
                    changed = leader.changed() => if changed.is_err() { return },
                }
            }
        }
    }
}

struct Writer {
    client: Client,
    records: Arc<Records>,
    board: Arc<Board>,
}

#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error(transparent)]
    Api(#[from] kube::Error),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("the API server took too long")]
    Slow,
    #[error("the object {0} exists and is not ours")]
    Taken(String),
}

impl Writer {
    async fn step(&self, subject: &Subject, todo: &Todo) {
        let written = tokio::time::timeout(PATIENCE, self.write(subject, todo)).await;
        match written.unwrap_or(Err(WriteError::Slow)) {
            Ok(()) => self.records.done(subject, todo),
            Err(error @ (WriteError::Record(_) | WriteError::Taken(_))) => {
                // It serves all the same; what is lost is the last accepted version after a restart of all controllers.
                warn!(object = %subject, %error, "a deployment cannot be recorded");
                self.records.done(subject, todo);
            }
            Err(error) => {
                warn!(object = %subject, %error, "a record could not be written");
                self.records.postpone(subject, Instant::now() + PAUSE);
            }
        }
    }

    async fn write(&self, subject: &Subject, todo: &Todo) -> Result<(), WriteError> {
        let Some(uid) = self.board.entries().observed.get(subject).map(|observed| observed.uid.clone()) else {
            self.records.drop_subject(subject);
            return Ok(());
        };
        match todo {
            Todo::AutoDeployed(hash, json) => self.write_automatic(subject, &uid, hash, json).await,
            Todo::Captured(hash, json) => self.write_record((What::Capture, subject, &uid), hash, None, json).await,
            Todo::Stage(hash, json) => {
                self.write_record((What::Stage, subject, &uid), hash, None, json).await?;
                self.remove_old_of(subject, hash).await
            }
        }
    }

    async fn write_automatic(
        &self,
        api: &ObjectRef,
        api_uid: &str,
        hash: &ContentHash,
        json: &str,
    ) -> Result<(), WriteError> {
        let name = name(&[&api.name], hash);
        let owner = ObjectRef::new(Kind::ApiDeployment, &api.namespace, &name);
        // Whether it can be recorded at all is known before anything is made.
        write(String::new(), 0, (What::Auto, &owner, ""), (hash, None), json)?;
        let deployments: Api<ApiDeployment> = Api::namespaced(self.client.clone(), &api.namespace);
        let wanted = serde_json::from_value(json!({
            "apiVersion": tollgate_crds::API_VERSION,
            "kind": "ApiDeployment",
            "metadata": {
                "name": name,
                "annotations": {DEPLOYMENT_ID_ANNOTATION: hash},
                "ownerReferences": [owner_reference(api, api_uid)],
            },
            "spec": {"apiRef": {"kind": "HttpApi", "name": api.name}, "description": "Automatic deployment"},
        }));
        let wanted: ApiDeployment = wanted.map_err(RecordError::from)?;
        let made = match deployments.create(&PostParams::default(), &wanted).await {
            Ok(made) => made,
            Err(kube::Error::Api(status)) if status.code == 409 => deployments.get(&name).await?,
            // The API is being deleted with its namespace.
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        if made.annotations().get(DEPLOYMENT_ID_ANNOTATION).map(String::as_str) != Some(hash.as_str()) {
            return Err(WriteError::Taken(owner.to_string()));
        }
        let uid = made.uid().unwrap_or_default();
        self.write_record((What::Auto, &owner, &uid), hash, Some(&api.name), json).await?;
        self.remove_old_deployments(api).await
    }

    async fn write_record(
        &self,
        (what, owner, uid): (What, &ObjectRef, &str),
        hash: &ContentHash,
        api: Option<&str>,
        json: &str,
    ) -> Result<(), WriteError> {
        let name = match what {
            What::Auto => format!("tollgate-{}", owner.name), // which ends with the hash already
            What::Capture => name(&["tollgate", &owner.name], hash),
            What::Stage => name(&["tollgate-stage", &owner.name], hash),
        };
        let revision = unix_millis();
        let wanted = write(name.clone(), revision, (what, owner, uid), (hash, api), json)?;
        let revisions: Api<ControllerRevision> = Api::namespaced(self.client.clone(), &owner.namespace);
        match revisions.create(&PostParams::default(), &wanted).await {
            Ok(_) => info!(%owner, %hash, "recorded"),
            Err(kube::Error::Api(status)) if status.code == 409 => {
                // The same content served before: it becomes the latest again. The data of a ControllerRevision cannot change.
                let existing = revisions.get(&name).await?;
                if read(&existing).is_ok_and(|record| record.owner_uid != uid) {
                    // Left behind by an owner of the same name that is gone.
                    revisions.delete(&name, &DeleteParams::default()).await?;
                    revisions.create(&PostParams::default(), &wanted).await?;
                } else {
                    let patch = Patch::Merge(json!({"revision": revision}));
                    revisions.patch(&name, &PatchParams::default(), &patch).await?;
                }
            }
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        // Known at once, and not only when the watch tells.
        self.records.know(Known {
            id: (owner.namespace.clone(), name),
            revision,
            owner: owner.clone(),
            hash: hash.clone(),
            api: api.map(str::to_owned),
        });
        Ok(())
    }

    async fn remove_old_deployments(&self, api: &ObjectRef) -> Result<(), WriteError> {
        let of_api = |known: &Known| known.id.0 == api.namespace && known.api.as_ref() == Some(&api.name);
        let named: BTreeSet<String> = {
            let entries = self.board.entries();
            let stages = entries
                .observed
                .iter()
                .filter(|(object, _)| object.kind == Kind::Stage && object.namespace == api.namespace);
            stages.filter_map(|(_, stage)| stage.deployment.clone()).collect()
        };
        let deployments: Api<ApiDeployment> = Api::namespaced(self.client.clone(), &api.namespace);
        let revisions: Api<ControllerRevision> = Api::namespaced(self.client.clone(), &api.namespace);
        for old in surplus(self.records.all(of_api), &self.records.served(), &named) {
            debug!(deployment = %old.owner, "removing an old deployment");
            gone(deployments.delete(&old.owner.name, &DeleteParams::default()).await)?;
            gone(revisions.delete(&old.id.1, &DeleteParams::default()).await)?;
            self.records.forget(&old.id.0, &old.id.1);
        }
        Ok(())
    }

    async fn remove_old_of(&self, owner: &ObjectRef, latest: &ContentHash) -> Result<(), WriteError> {
        let revisions: Api<ControllerRevision> = Api::namespaced(self.client.clone(), &owner.namespace);
        for old in self.records.all(|known| known.owner == *owner && known.hash != *latest) {
            gone(revisions.delete(&old.id.1, &DeleteParams::default()).await)?;
            self.records.forget(&old.id.0, &old.id.1);
        }
        Ok(())
    }
}

/// What may be removed: all but the newest [`KEPT`], and never what a stage serves or names.
fn surplus(mut known: Vec<Known>, served: &BTreeSet<ContentHash>, named: &BTreeSet<String>) -> Vec<Known> {
    known.sort_by_key(|known| std::cmp::Reverse(known.revision));
    known.into_iter().skip(KEPT).filter(|old| !served.contains(&old.hash) && !named.contains(&old.owner.name)).collect()
}

/// Deleting what is gone is success.
fn gone<T>(deleted: Result<T, kube::Error>) -> Result<(), kube::Error> {
    match deleted {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other.map(drop),
    }
}

/// The parts and the beginning of the hash, cut to a name's length.
fn name(parts: &[&str], hash: &ContentHash) -> String {
    let mut name = parts.join("-");
    let hash = &hash.as_str()[..10];
    // Names are ASCII; the record's name is that of the ApiDeployment with a prefix.
    name.truncate(LONGEST_NAME - "tollgate-".len() - hash.len() - 1);
    format!("{}-{hash}", name.trim_end_matches(['-', '.']))
}

fn unix_millis() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_ten_are_kept_and_whatever_stages_need() {
        let hash = |n: i64| ContentHash::of(&n);
        let known = |n: i64| Known {
            id: ("a".into(), format!("r{n}")),
            revision: n,
            owner: ObjectRef::new(Kind::ApiDeployment, "a", format!("d{n}")),
            hash: hash(n),
            api: Some("x".into()),
        };
        let served = BTreeSet::from([hash(2), hash(15)]);
        let named = BTreeSet::from(["d4".to_owned()]);
        let removed: Vec<i64> =
            surplus((1..=15).map(known).collect(), &served, &named).iter().map(|k| k.revision).collect();
        assert_eq!(removed, [5, 3, 1]);
        assert!(surplus((1..=10).map(known).collect(), &served, &named).is_empty());
    }

    #[test]
    fn names_fit() {
        let hash = ContentHash::of(&1);
        assert_eq!(name(&["tollgate", "x"], &hash), format!("tollgate-x-{}", &hash.as_str()[..10]));
        assert_eq!(name(&[&"x".repeat(300)], &hash).len(), 244);
    }
}
