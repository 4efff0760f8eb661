//! ConfigMaps and Secrets that some object refers to, looked up by name.
//!
//! They are read with `get` alone. A watch, even one of metadata, needs `list` and `watch`, and with these the controller's
//! credentials could read every Secret of the cluster in one call; `get` needs the name. It also costs the API server no
//! stream for each name, and this process no memory for what nobody refers to. The price is that a change is seen after
//! [`AGAIN`] and not at once, which is soon enough for certificates of backends and values of API keys.
//!
//! A watch restricted to a label would not help: rights cannot be restricted to labels, so it needs the right to list all Secrets. With
//! very many names, new ones are looked up as fast as the API server answers, and known ones again at a pace of [`PAUSE`]; hundreds of
//! thousands of API keys belong into shared Secrets of many entries.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;

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
/// Pause before a known name is looked at again; with more than 2,000 names each is looked at less often than [`AGAIN`] says.
const PAUSE: Duration = Duration::from_millis(5);
/// Requests under way at once.
const AT_ONCE: usize = 16;
/// An API server that does not answer must not hold up the other names for ever.
const PATIENCE: Duration = Duration::from_secs(5);

/// When each name is to be looked at.
#[derive(Debug, Default)]
struct Schedule {
    /// Of every wanted name; names that are being looked at have no time.
    names: BTreeMap<ObjectRef, Option<Instant>>,
    by_time: BTreeSet<(Instant, ObjectRef)>,
    /// Never looked at, which is urgent.
    fresh: BTreeSet<ObjectRef>,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// Look at this name, which nobody has looked at yet.
    Fresh(ObjectRef),
    /// Look at a name again at this time.
    At(Instant),
    Nothing,
}

impl Schedule {
    /// New names are due at once; what is no longer wanted is dropped.
    fn want(&mut self, wanted: &BTreeSet<ObjectRef>) {
        let gone: Vec<ObjectRef> = self.names.keys().filter(|object| !wanted.contains(*object)).cloned().collect();
        for object in gone {
            if let Some(Some(due)) = self.names.remove(&object) {
                self.by_time.remove(&(due, object.clone()));
            }
            self.fresh.remove(&object);
        }
        for object in wanted {
            if !self.names.contains_key(object) {
                self.names.insert(object.clone(), None);
                self.fresh.insert(object.clone());
            }
        }
    }

    fn next(&self) -> Next {
        match (self.fresh.first(), self.by_time.first()) {
            (Some(object), _) => Next::Fresh(object.clone()),
            (None, Some((due, _))) => Next::At(*due),
            (None, None) => Next::Nothing,
        }
    }

    /// Takes the most urgent name that is due.
    fn pop(&mut self, now: Instant) -> Option<ObjectRef> {
        if let Some(object) = self.fresh.pop_first() {
            return Some(object);
        }
        let (due, object) = self.by_time.pop_first()?;
        if due > now {
            self.by_time.insert((due, object));
            return None;
        }
        self.names.insert(object.clone(), None);
        Some(object)
    }

    /// A name was looked at.
    fn looked(&mut self, object: &ObjectRef, exists: bool, now: Instant) {
        if let Some(due) = self.names.get_mut(object) {
            let again = now + if exists { AGAIN } else { AGAIN_ABSENT };
            // Wanted again while it was looked at: then it was looked at twice.
            if let Some(before) = due.replace(again) {
                self.by_time.remove(&(before, object.clone()));
            }
            self.by_time.insert((again, object.clone()));
        }
    }
}

/// What came of a look.
enum Looked {
    Found(Option<Box<Object>>),
    /// Nobody can say: what was known stays.
    Failed,
}

/// Looks up what is wanted, again and again, until the receiver of messages is dropped.
pub async fn run(client: Client, mut wanted: watch::Receiver<BTreeSet<ObjectRef>>, to: mpsc::Sender<Message>) {
    let mut schedule = Schedule::default();
    let mut looks = FuturesUnordered::new();
    schedule.want(&wanted.borrow_and_update());
    // Known names are looked at again at a pace of their own.
    let mut paced = Instant::now();
    loop {
        let room = looks.len() < AT_ONCE;
        let next = if room { schedule.next() } else { Next::Nothing };
        let due = match &next {
            Next::Fresh(_) => Some(Instant::now()),
            Next::At(due) => Some((*due).max(paced)),
            Next::Nothing => None,
        };
        tokio::select! {
            biased;
            Some((object, looked)) = looks.next() => {
                let found = match looked {
                    Looked::Found(found) => found,
                    Looked::Failed => {
                        schedule.looked(&object, false, Instant::now());
                        continue;
                    }
                };
                schedule.looked(&object, found.is_some(), Instant::now());
                if to.send(Message::Fetched(object, found)).await.is_err() {
                    return;
                }
            }
            changed = wanted.changed() => match changed {
                Ok(()) => schedule.want(&wanted.borrow_and_update()),
                Err(_) => return,
            },
            () = until(due) => {
                if let Some(object) = schedule.pop(Instant::now()) {
                    if matches!(next, Next::At(_)) {
                        paced = Instant::now() + PAUSE;
                    }
                    looks.push(look(client.clone(), object));
                }
            }
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

async fn look(client: Client, object: ObjectRef) -> (ObjectRef, Looked) {
    let looked = match tokio::time::timeout(PATIENCE, get(&client, &object)).await {
        Ok(Ok(found)) => Looked::Found(found.map(Box::new)),
        // Forbidden is as good as absent: the route fails closed, and the log says why.
        Ok(Err(error)) if matches!(&error, kube::Error::Api(status) if status.code == 403) => {
            warn!(%object, %error, "may not be read");
            Looked::Found(None)
        }
        Ok(Err(error)) => {
            warn!(%object, %error, "could not be read");
            Looked::Failed
        }
        Err(_) => Looked::Failed,
    };
    (object, looked)
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
        schedule.want(&BTreeSet::from([a.clone()]));
        assert_eq!(schedule.pop(now), Some(a.clone()));
        assert_eq!(schedule.next(), Next::Nothing, "it is being looked at");
        schedule.looked(&a, true, now);
        assert_eq!(schedule.next(), Next::At(now + AGAIN));
        schedule.want(&BTreeSet::from([a.clone(), b.clone()]));
        assert_eq!(schedule.next(), Next::Fresh(b.clone()));
        assert_eq!(schedule.pop(now), Some(b.clone()));
        schedule.looked(&b, false, now);
        assert_eq!(schedule.next(), Next::At(now + AGAIN_ABSENT));
        assert_eq!((schedule.pop(now), schedule.pop(now + AGAIN_ABSENT)), (None, Some(b.clone())));
        schedule.want(&BTreeSet::from([a.clone()]));
        schedule.looked(&b, true, now);
        assert_eq!(schedule.next(), Next::At(now + AGAIN), "b is no longer wanted");
        assert_eq!(schedule.pop(now + AGAIN), Some(a));
    }
}
