//! The watches: each kind is listed, then followed, and goes as [`Message`]s to the one task that owns the world.
//!
//! An object that cannot be read as its kind goes along as [`Item::Unreadable`] and stops nothing. What breaks is tried
//! again with growing pauses; a list after a break names what is gone meanwhile.
//!
//! ConfigMaps and Secrets are not watched, see [`crate::referenced`].

use std::collections::BTreeSet;
use std::fmt::Debug;

use futures::StreamExt;
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::core::DeserializeGuard;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tollgate_crds::{
    ApiDeployment, ApiKey, ApiMapping, Authorizer, DomainName, HttpApi, Integration, Principal, Route, Stage,
    UsagePlan, VpcLink,
};
use tollgate_translate::{Kind, Object, ObjectRef};
use tracing::{Instrument, info_span, warn};

use crate::history::RECORD_LABEL;
use crate::metrics::WatchMetrics;

/// What is watched: a kind of the world, or our own records of deployments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Watched {
    /// Objects that are translated.
    Objects(Kind),
    /// ControllerRevisions with [`RECORD_LABEL`].
    Records,
}

impl Watched {
    /// A label for metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Objects(kind) => kind.as_str(),
            Self::Records => "ControllerRevision",
        }
    }
}

/// One thing that a watch saw.
#[derive(Debug)]
pub enum Item {
    /// An object.
    Object(Object),
    /// A record.
    Record(Box<ControllerRevision>),
    /// An object that does not have the shape of its kind.
    Unreadable(Unreadable),
}

/// What is known of an object that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Which.
    pub object: ObjectRef,
    /// Its uid.
    pub uid: String,
    /// Its generation.
    pub generation: i64,
    /// What is wrong.
    pub error: String,
}

/// Names an item without its content.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ItemName {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}

/// What a watch tells.
#[derive(Debug)]
pub enum Message {
    /// New or changed.
    Seen(Box<Item>),
    /// Gone.
    Gone(Watched, ItemName),
    /// A list is complete: what of the kind, in the namespace if one is given, was not seen in it is gone.
    Listed(Watched, Option<String>, BTreeSet<ItemName>),
    /// A referenced ConfigMap or Secret was looked up; `None`: it does not exist or may not be read.
    Fetched(ObjectRef, Option<Box<Object>>),
}

/// Starts all watches; one for each kind, or one for each kind and namespace. Returns how many there are: so many
/// [`Message::Listed`] make the world complete. They end when the receiver is dropped.
pub fn start(client: &Client, namespaces: &[String], metrics: &WatchMetrics, to: &mpsc::Sender<Message>) -> usize {
    let scopes: Vec<Option<String>> = match namespaces {
        [] => vec![None],
        some => some.iter().cloned().map(Some).collect(),
    };
    let count = scopes.len() * 15;
    for scope in scopes {
        let starter = Starter { client, scope, metrics, to };
        starter.objects::<HttpApi>(Kind::HttpApi);
        starter.objects::<Route>(Kind::Route);
        starter.objects::<Integration>(Kind::Integration);
        starter.objects::<Authorizer>(Kind::Authorizer);
        starter.objects::<Principal>(Kind::Principal);
        starter.objects::<Stage>(Kind::Stage);
        starter.objects::<ApiDeployment>(Kind::ApiDeployment);
        starter.objects::<UsagePlan>(Kind::UsagePlan);
        starter.objects::<ApiKey>(Kind::ApiKey);
        starter.objects::<VpcLink>(Kind::VpcLink);
        starter.objects::<DomainName>(Kind::DomainName);
        starter.objects::<ApiMapping>(Kind::ApiMapping);
        starter.objects::<Service>(Kind::Service);
        starter.objects::<EndpointSlice>(Kind::EndpointSlice);
        let records = watcher::Config::default().labels(RECORD_LABEL);
        starter.watch::<ControllerRevision>(Watched::Records, records, |record| Item::Record(Box::new(record)));
    }
    count
}

struct Starter<'a> {
    client: &'a Client,
    scope: Option<String>,
    metrics: &'a WatchMetrics,
    to: &'a mpsc::Sender<Message>,
}

/// What the watched types have in common.
trait Readable:
    Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
    + DeserializeOwned
    + Clone
    + Debug
    + Send
    + 'static
{
}

impl<K> Readable for K where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + DeserializeOwned
        + Clone
        + Debug
        + Send
        + 'static
{
}

impl Starter<'_> {
    fn objects<K: Readable>(&self, kind: Kind)
    where
        Object: From<K>,
    {
        self.watch::<K>(Watched::Objects(kind), watcher::Config::default(), |object| Item::Object(object.into()));
    }

    fn watch<K: Readable>(&self, watched: Watched, config: watcher::Config, item: fn(K) -> Item) {
        let api: Api<DeserializeGuard<K>> = match &self.scope {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        };
        let follow = follow(api, config, watched, self.scope.clone(), item, self.metrics.clone(), self.to.clone());
        tokio::spawn(follow.instrument(info_span!("watch", kind = watched.as_str(), namespace = self.scope)));
    }
}

async fn follow<K: Readable>(
    api: Api<DeserializeGuard<K>>,
    config: watcher::Config,
    watched: Watched,
    scope: Option<String>,
    item: fn(K) -> Item,
    metrics: WatchMetrics,
    to: mpsc::Sender<Message>,
) {
    let events = metrics.events.with_label_values(&[watched.as_str()]);
    let errors = metrics.errors.with_label_values(&[watched.as_str()]);
    let unreadable = metrics.unreadable.with_label_values(&[watched.as_str()]);
    let mut listed = BTreeSet::new();
    let mut stream = std::pin::pin!(watcher(api, config).default_backoff());
    while let Some(event) = stream.next().await {
        events.inc();
        let message = match event {
            Ok(watcher::Event::Init) => {
                listed.clear();
                continue;
            }
            Ok(watcher::Event::InitApply(object)) => {
                listed.insert(name(&object));
                Message::Seen(Box::new(read(object, watched, item)))
            }
            Ok(watcher::Event::InitDone) => Message::Listed(watched, scope.clone(), std::mem::take(&mut listed)),
            Ok(watcher::Event::Apply(object)) => Message::Seen(Box::new(read(object, watched, item))),
            Ok(watcher::Event::Delete(object)) => Message::Gone(watched, name(&object)),
            Err(error) => {
                errors.inc();
                warn!(%error, "watch broke and is started again");
                continue;
            }
        };
        if matches!(&message, Message::Seen(item) if matches!(**item, Item::Unreadable(_))) {
            unreadable.inc();
        }
        if to.send(message).await.is_err() {
            return;
        }
    }
}

fn name<K: Readable>(object: &DeserializeGuard<K>) -> ItemName {
    let metadata = object.meta();
    ItemName {
        namespace: metadata.namespace.clone().unwrap_or_default(),
        name: metadata.name.clone().unwrap_or_default(),
    }
}

fn read<K: Readable>(DeserializeGuard(object): DeserializeGuard<K>, watched: Watched, item: fn(K) -> Item) -> Item {
    match (object, watched) {
        (Ok(object), _) => item(object),
        (Err(invalid), Watched::Objects(kind)) => Item::Unreadable(Unreadable {
            object: ObjectRef::new(
                kind,
                invalid.metadata.namespace.unwrap_or_default(),
                invalid.metadata.name.unwrap_or_default(),
            ),
            uid: invalid.metadata.uid.unwrap_or_default(),
            generation: invalid.metadata.generation.unwrap_or_default(),
            error: invalid.error,
        }),
        // A record that is none is as good as absent.
        (Err(invalid), Watched::Records) => {
            Item::Record(Box::new(ControllerRevision { metadata: invalid.metadata, ..ControllerRevision::default() }))
        }
    }
}
