//! The one task that owns the world: takes what watches tell, translates after a few milliseconds of quiet, publishes, and
//! hands verdicts and records to those who write. It waits for nobody but the watches.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tollgate_engine::snapshot::{ContentHash, UnitId};
use tollgate_translate::{Changes, Kind, ObjectRef, Translator};
use tracing::{debug, info, warn};

use crate::board::Board;
use crate::debounce::Debounce;
use crate::feed::hub::{self, Hub};
use crate::feed::{FLEETS, index};
use crate::generated::Wanted;
use crate::history::restore::{self, Place, Restorer};
use crate::history::{self, Content, Record, Records, What};
use crate::metrics::Metrics;
use crate::shared::Fleets;
use crate::watch::{Item, ItemName, Message, Watched};

/// One apply of several objects comes as events a millisecond or two apart.
const QUIET: Duration = Duration::from_millis(3);
/// The longest that a stream of changes puts off publishing.
const AT_MOST: Duration = Duration::from_millis(20);
/// Messages taken in one go before looking at the clock again.
const BURST: usize = 4096;
/// On start, referenced Secrets and ConfigMaps are waited for, but not for ever: they fail closed for their own routes only.
const FETCH_PATIENCE: Duration = Duration::from_secs(10);

/// The owner of the world.
#[derive(Debug)]
pub struct Publisher {
    /// The world and what was made of it.
    pub translator: Translator,
    /// Where units go.
    pub hub: Arc<Hub>,
    /// Told of revisions before proxies are.
    pub fleets: Arc<Fleets>,
    /// Where verdicts go.
    pub board: Arc<Board>,
    /// Where records go.
    pub records: Arc<Records>,
    /// Names that have to be looked up.
    pub wanted: watch::Sender<BTreeSet<ObjectRef>>,
    /// Set once the first complete set is in the hub.
    pub published: Arc<AtomicBool>,
    /// Counters.
    pub metrics: Metrics,
    /// Records from before this process started.
    pub restorer: Restorer,
    /// Records to look up.
    pub load: mpsc::Sender<Place>,
    /// Keys that want a value.
    pub generate: mpsc::Sender<Wanted>,
}

/// What is still missing before the first publication.
#[derive(Debug)]
struct Start {
    lists: usize,
    /// Names that were wanted when the last list was complete, and are not looked up yet.
    fetches: Option<BTreeSet<ObjectRef>>,
    /// Put off by each name that was looked up: with very many it takes a while, and who publishes too early refuses customers.
    give_up: Option<Instant>,
    /// [`World::references`](tollgate_translate::World::references) when names were last gathered.
    references: Option<u64>,
}

impl Publisher {
    /// Runs until all senders of messages are gone. `lists` is how many lists make the world complete.
    pub async fn run(mut self, lists: usize, mut messages: mpsc::Receiver<Message>) {
        let mut start = Start { lists, fetches: None, give_up: None, references: None };
        let mut debounce = Debounce::new(QUIET, AT_MOST);
        loop {
            let ready = start.is_over(Instant::now());
            let due = if ready { debounce.due() } else { start.give_up };
            tokio::select! {
                message = messages.recv() => {
                    let Some(message) = message else { return };
                    let mut changed = self.take(message, &mut start);
                    for _ in 0..BURST {
                        let Ok(message) = messages.try_recv() else { break };
                        changed |= self.take(message, &mut start);
                    }
                    self.start_fetches(&mut start);
                    self.load_needed(&mut start);
                    if changed || (!self.published.load(Ordering::Relaxed) && start.is_over(Instant::now())) {
                        debounce.touch(Instant::now());
                    }
                }
                () = until(due) => {
                    if !ready {
                        warn!("some ConfigMaps or Secrets were not read in time; publishing without them");
                        debounce.touch(Instant::now());
                        continue;
                    }
                    let began = debounce.take().unwrap_or_else(Instant::now);
                    // Translation of a large API takes milliseconds of pure computing.
                    tokio::task::block_in_place(|| self.publish(began));
                }
            }
        }
    }

    /// Puts a message into the world; says whether translation has something to do.
    fn take(&mut self, message: Message, start: &mut Start) -> bool {
        match message {
            Message::Seen(item) => self.see(*item, start),
            Message::Gone(watched, name) => self.forget(watched, name),
            Message::Listed(watched, scope, names) => {
                start.lists = start.lists.saturating_sub(1);
                debug!(kind = watched.as_str(), count = names.len(), missing = start.lists, "listed");
                let Watched::Objects(kind) = watched else {
                    self.records.keep(scope.as_deref(), &names);
                    return false;
                };
                let in_scope = |object: &ObjectRef| scope.as_ref().is_none_or(|scope| *scope == object.namespace);
                let known = self.known(kind).into_iter().filter(in_scope);
                let gone = known.map(|object| ItemName { namespace: object.namespace, name: object.name });
                let gone: Vec<ItemName> = gone.filter(|name| !names.contains(name)).collect();
                let changed: Vec<bool> = gone.into_iter().map(|name| self.forget(watched, name)).collect();
                changed.contains(&true)
            }
            Message::Fetched(object, found) => {
                if start.fetches.as_mut().is_some_and(|fetches| fetches.remove(&object)) {
                    start.give_up = Some(Instant::now() + FETCH_PATIENCE);
                }
                if found.is_none() {
                    self.generate(&object);
                }
                // Names are looked up every few seconds, so here the end of a certificate is noticed in time.
                let aged = self.translator.set_time(unix_seconds());
                let changed = match found {
                    // It may have become unwanted while it was looked up.
                    Some(found) if self.translator.world().is_referenced(&object) => {
                        self.translator.world_mut().apply(*found)
                    }
                    _ => self.translator.world_mut().delete(&object),
                };
                changed || aged
            }
        }
    }

    /// There is no such Secret; an ApiKey without a value may want it.
    fn generate(&self, secret: &ObjectRef) {
        if let Some((key, uid)) = self.translator.world().generated_for(secret) {
            // When too many wait, the next look tells again.
            let _ = self.generate.try_send(Wanted { key, uid: uid.to_owned(), secret: secret.clone() });
        }
    }

    fn see(&mut self, item: Item, start: &mut Start) -> bool {
        match item {
            Item::Object(object) => {
                self.board.see(&object);
                self.translator.world_mut().apply(object)
            }
            Item::Unreadable(unreadable) => {
                warn!(object = %unreadable.object, error = unreadable.error, "an object cannot be read");
                // The world keeps the version that it has (promise P1).
                self.board.see_unreadable(unreadable);
                false
            }
            Item::Record(record) => match history::read(&record) {
                Ok(record) => self.see_record(record, start),
                Err(error) => {
                    warn!(name = record.metadata.name, namespace = record.metadata.namespace, %error, "a record cannot be read");
                    false
                }
            },
        }
    }

    fn see_record(&mut self, record: Record, start: &mut Start) -> bool {
        self.records.known(&record);
        if let Some(fetches) = &mut start.fetches {
            fetches.remove(&record.owner);
        }
        let named = self.translator.world().is_referenced(&record.owner);
        if !self.published.load(Ordering::Relaxed) {
            self.restorer.offer(record, named);
            return false;
        }
        // What is served now is newer than any record of it; only what a stage names may come from another replica.
        if record.what == What::Auto && !named {
            self.restorer.leave_out(&record);
            return false;
        }
        if record.what == What::Stage {
            return false;
        }
        let owner = self.board.entries().observed.get(&record.owner).map(|observed| observed.uid.clone());
        if owner.is_some_and(|uid| uid != record.owner_uid) {
            return false;
        }
        let Some(Content::Deployment(deployment)) = restore::content(&record) else { return false };
        self.translator.restore_deployment(&record.owner, *deployment);
        true
    }

    /// Asks for the contents that stages name and that were left out. On start, publication waits for them.
    fn load_needed(&mut self, start: &mut Start) {
        if start.lists > 0 {
            return; // the stages are not all known
        }
        for (deployment, place) in self.restorer.needed(self.translator.world()) {
            match (self.load.try_send(place), &mut start.fetches) {
                (Ok(()), Some(fetches)) if !self.published.load(Ordering::Relaxed) => {
                    fetches.insert(deployment);
                }
                (Ok(()), _) => {}
                (Err(_), _) => {
                    warn!(%deployment, "too many deployments are asked for at once; touch the stage to try again");
                }
            }
        }
    }

    fn forget(&mut self, watched: Watched, name: ItemName) -> bool {
        let Watched::Objects(kind) = watched else {
            // What was restored from it stays while this process runs.
            self.records.forget(&name.namespace, &name.name);
            return false;
        };
        let object = ObjectRef::new(kind, name.namespace, name.name);
        self.records.drop_subject(&object);
        self.restorer.forget(&object);
        self.board.forget(&object);
        self.translator.world_mut().delete(&object)
    }

    /// Names of a kind in the world, and those that were never readable.
    fn known(&self, kind: Kind) -> BTreeSet<ObjectRef> {
        let mut known: BTreeSet<ObjectRef> = self.translator.world().names(kind).into_iter().collect();
        known.extend(self.board.entries().observed.keys().filter(|object| object.kind == kind).cloned());
        known
    }

    /// Tells who is to be looked up; after the last list, remembers whom the first publication waits for.
    fn start_fetches(&mut self, start: &mut Start) {
        let world = self.translator.world();
        let known = start.references.replace(world.references()) == start.references;
        if known && start.fetches.is_some() == (start.lists == 0) {
            return;
        }
        let wanted: BTreeSet<ObjectRef> =
            [Kind::ConfigMap, Kind::Secret].into_iter().flat_map(|kind| world.referenced(kind).cloned()).collect();
        if start.lists == 0 && start.fetches.is_none() {
            let have = |object: &ObjectRef| world.names(object.kind).contains(object);
            start.fetches = Some(wanted.iter().filter(|object| !have(object)).cloned().collect());
            start.give_up = Some(Instant::now() + FETCH_PATIENCE);
        }
        self.wanted.send_if_modified(|old| {
            let differs = *old != wanted;
            if differs {
                *old = wanted;
            }
            differs
        });
        // What nobody names any more is not kept.
        for kind in [Kind::ConfigMap, Kind::Secret] {
            for object in self.translator.world().names(kind) {
                if !self.translator.world().is_referenced(&object) {
                    self.translator.world_mut().delete(&object);
                }
            }
        }
    }

    fn publish(&mut self, began: Instant) {
        if !self.published.load(Ordering::Relaxed) {
            self.restorer.restore(&self.board, &mut self.translator);
        }
        self.translator.set_time(unix_seconds());
        let timer = self.metrics.translate.seconds.start_timer();
        let changes = self.translator.translate();
        timer.observe_duration();
        let Changes { revision, puts, deletes, verdicts, records } = changes;
        let units = puts.len() + deletes.len();
        let mut batches: [Vec<hub::Change>; 2] = Default::default();
        for put in puts {
            let published = hub::publish(&put.id, &put.hash, &put.json);
            for fleet in FLEETS {
                let content = put.fleets.contains(fleet).then(|| published.clone());
                batches[index(fleet)].push((put.id.clone(), content));
            }
        }
        for fleet in FLEETS {
            let mut batch = std::mem::take(&mut batches[index(fleet)]);
            batch.extend(deletes.iter().map(|id| (id.clone(), None)));
            let hashes: Vec<(UnitId, Option<ContentHash>)> =
                batch.iter().map(|(id, unit)| (id.clone(), unit.as_ref().map(|unit| unit.hash.clone()))).collect();
            self.fleets.published(fleet, revision, &hashes);
            self.hub.publish(fleet, revision, batch);
            let gauge = self.metrics.feed.revision.with_label_values(&[fleet.as_str()]);
            gauge.set(i64::try_from(revision).unwrap_or(i64::MAX));
        }
        if !self.published.swap(true, Ordering::Release) {
            info!(units, objects = verdicts.len(), "first complete set published");
        }
        self.metrics.translate.units.inc_by(units as u64);
        self.metrics.translate.publish_seconds.observe(began.elapsed().as_secs_f64());
        debug!(revision, units, verdicts = verdicts.len(), "published");
        self.board.judge(verdicts);
        self.records.add(records, Instant::now());
    }
}

impl Start {
    /// Whether everything that the first publication needs is there.
    fn is_over(&self, now: Instant) -> bool {
        let fetched = self.fetches.as_ref().is_some_and(BTreeSet::is_empty);
        self.lists == 0 && (fetched || self.give_up.is_some_and(|give_up| now >= give_up))
    }
}

fn unix_seconds() -> i64 {
    k8s_openapi::jiff::Timestamp::now().as_second()
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
