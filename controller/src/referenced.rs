//! ConfigMaps and Secrets that some object refers to, looked up by name.
//!
//! They are read with `get` alone. A watch, even one of metadata, needs `list` and `watch`, and with these the controller's
//! credentials could read every Secret of the cluster in one call; `get` needs the name. It also costs the API server no
//! stream for each name, and this process no memory for what nobody refers to. The price is that a change is seen after
//! [`AGAIN`] and not at once, which is soon enough for certificates of backends.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tollgate_translate::{Kind, Object, ObjectRef};
use tracing::warn;

use crate::watch::Message;

/// A known object is looked at again after this time.
pub const AGAIN: Duration = Duration::from_secs(10);
/// An absent one is.
const AGAIN_ABSENT: Duration = Duration::from_secs(2);
/// Pause between two requests; with very many names each is looked at less often.
const PAUSE: Duration = Duration::from_millis(20);
/// An API server that does not answer must not hold up the other names for ever.
const PATIENCE: Duration = Duration::from_secs(5);

/// When each name is to be looked at.
#[derive(Debug, Default)]
struct Schedule(BTreeMap<ObjectRef, Instant>);

impl Schedule {
    /// New names are due at once; what is no longer wanted is dropped.
    fn want(&mut self, wanted: &BTreeSet<ObjectRef>, now: Instant) {
        self.0.retain(|object, _| wanted.contains(object));
        for object in wanted {
            self.0.entry(object.clone()).or_insert(now);
        }
    }

    /// The name that is due first, and when.
    fn first(&self) -> Option<(&ObjectRef, Instant)> {
        self.0.iter().min_by_key(|(_, due)| **due).map(|(object, due)| (object, *due))
    }

    fn looked(&mut self, object: &ObjectRef, exists: bool, now: Instant) {
        if let Some(due) = self.0.get_mut(object) {
            *due = now + if exists { AGAIN } else { AGAIN_ABSENT };
        }
    }
}

/// Looks up what is wanted, again and again, until the receiver of messages is dropped.
pub async fn run(client: Client, mut wanted: watch::Receiver<BTreeSet<ObjectRef>>, to: mpsc::Sender<Message>) {
    let mut schedule = Schedule::default();
    loop {
        schedule.want(&wanted.borrow_and_update(), Instant::now());
        let due = schedule.first().map(|(object, due)| (object.clone(), due));
        let Some((object, due)) = due else {
            if wanted.changed().await.is_err() {
                return;
            }
            continue;
        };
        tokio::select! {
            () = tokio::time::sleep_until(due) => {}
            changed = wanted.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            }
        }
        let found = tokio::time::timeout(PATIENCE, get(&client, &object)).await;
        let found = match found {
            Ok(Ok(found)) => found,
            // Forbidden is as good as absent: the route fails closed, and the log says why.
            Ok(Err(error)) if matches!(&error, kube::Error::Api(status) if status.code == 403) => {
                warn!(%object, %error, "may not be read");
                None
            }
            Ok(Err(error)) => {
                warn!(%object, %error, "could not be read");
                schedule.looked(&object, false, Instant::now());
                continue; // what was known stays
            }
            Err(_) => {
                schedule.looked(&object, false, Instant::now());
                continue;
            }
        };
        schedule.looked(&object, found.is_some(), Instant::now());
        if to.send(Message::Fetched(object, found.map(Box::new))).await.is_err() {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn get(client: &Client, object: &ObjectRef) -> Result<Option<Object>, kube::Error> {
    let client = client.clone();
    Ok(match object.kind {
        Kind::Secret => {
            Api::<Secret>::namespaced(client, &object.namespace).get_opt(&object.name).await?.map(Object::from)
        }
        _ => Api::<ConfigMap>::namespaced(client, &object.namespace).get_opt(&object.name).await?.map(Object::from),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_names_first_and_absent_ones_more_often() {
        let (mut schedule, now) = (Schedule::default(), Instant::now());
        let [a, b] = ["a", "b"].map(|name| ObjectRef::new(Kind::Secret, "ns", name));
        schedule.want(&BTreeSet::from([a.clone()]), now);
        schedule.looked(&a, true, now);
        assert_eq!(schedule.first(), Some((&a, now + AGAIN)));
        schedule.want(&BTreeSet::from([a.clone(), b.clone()]), now);
        assert_eq!(schedule.first(), Some((&b, now)));
        schedule.looked(&b, false, now);
        assert_eq!(schedule.first(), Some((&b, now + AGAIN_ABSENT)));
        schedule.want(&BTreeSet::from([a.clone()]), now);
        assert_eq!(schedule.first(), Some((&a, now + AGAIN)), "b is no longer wanted");
    }
}
