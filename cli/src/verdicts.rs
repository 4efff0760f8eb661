//! What translation says about objects, as problems with file and line.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tollgate_translate::{Changes, Kind, Object as Translated, ObjectRef, ObjectVerdict, Reason, Translator};

use crate::load::Object;
use crate::load::tree::{Change, Tree};
use crate::problem::{ObjectKey, Problem};

/// A directory of objects in front of a translator: gives it what changes and remembers what it says.
#[derive(Debug)]
pub struct Judge {
    translator: Translator,
    verdicts: BTreeMap<ObjectRef, ObjectVerdict>,
    /// Counts accepted objects, for the order in which they came.
    arrivals: i64,
    arrived: BTreeMap<ObjectKey, i64>,
    stand_ins: BTreeMap<ObjectKey, Value>,
}

impl Judge {
    /// An empty world.
    pub fn new(settings: tollgate_translate::Settings) -> Self {
        Self {
            translator: Translator::new(settings),
            verdicts: BTreeMap::new(),
            arrivals: 0,
            arrived: BTreeMap::new(),
            stand_ins: BTreeMap::new(),
        }
    }

    /// Takes in what changed. `tree` is the tree after these changes.
    pub fn apply(&mut self, changes: &[Change], tree: &Tree) {
        self.arrivals += 1;
        for change in changes {
            match change {
                Change::Apply(object) => {
                    let arrival = *self.arrived.entry(object.key.clone()).or_insert(self.arrivals);
                    self.put(dated(object.json(), arrival));
                }
                Change::Delete(key) => {
                    self.arrived.remove(key);
                    self.delete(key);
                }
            }
        }
        self.stand_in(tree);
    }

    /// Adds or replaces an object that stands in no file.
    pub fn put(&mut self, object: Value) {
        // The loader checked the shape; what still does not fit was told there.
        if let Ok(Some(object)) = Translated::from_value(object) {
            self.translator.world_mut().apply(object);
        }
    }

    /// Removes an object.
    pub fn delete(&mut self, key: &ObjectKey) {
        if let Some(object) = reference(key) {
            self.translator.world_mut().delete(&object);
        }
    }

    /// ApiKeys that have no value because nobody made a Secret: `namespace/name` of the key, and the Secret.
    pub fn without_value(&self) -> Vec<(String, ObjectRef)> {
        let world = self.translator.world();
        let absent = world.referenced(Kind::Secret).filter(|secret| !world.contains(secret));
        absent.filter_map(|secret| Some((world.generated_for(secret)?.0.source(), secret.clone()))).collect()
    }

    /// Translates what changed.
    pub fn translate(&mut self) -> Changes {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.translator.set_time(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
        let changes = self.translator.translate();
        for verdict in &changes.verdicts {
            self.verdicts.insert(verdict.object.clone(), verdict.clone());
        }
        let world = self.translator.world();
        let exists: Vec<ObjectRef> = Kind::ALL.into_iter().flat_map(|kind| world.names(kind)).collect();
        self.verdicts.retain(|object, _| exists.binary_search(object).is_ok());
        changes
    }

    /// Everything that translation refuses or cannot resolve among the objects of `tree`.
    pub fn problems(&self, tree: &Tree) -> Vec<Problem> {
        let by_reference: BTreeMap<ObjectRef, &Object> =
            tree.objects().filter_map(|object| Some((reference(&object.key)?, object))).collect();
        let mut problems = Vec::new();
        for (name, verdict) in &self.verdicts {
            let Some(object) = by_reference.get(name) else { continue };
            let refused = [&verdict.accepted, &verdict.resolved_refs].into_iter().find(|verdict| !verdict.ok);
            // A value that is generated where the files are used is missing nowhere.
            if let Some(refused) = refused.filter(|refused| refused.reason != Reason::KeyValuePending) {
                let (path, message) = split_path(&refused.message);
                problems.push(object.problem(refused.reason.as_str(), path, message));
            }
        }
        problems
    }

    /// A Route that was refused and never accepted answers 500 itself; without anything in its place its requests would
    /// fall through to another route (promise P1). What stands in is a route without integration.
    fn stand_in(&mut self, tree: &Tree) {
        let wanted: BTreeMap<ObjectKey, Value> =
            tree.never_accepted().filter_map(|object| Some((object.key.clone(), bare_route(object)?))).collect();
        let before = std::mem::replace(&mut self.stand_ins, wanted.clone());
        for key in before.keys().filter(|key| !wanted.contains_key(key) && tree.object(key).is_none()) {
            self.delete(key);
        }
        for (key, route) in wanted {
            if before.get(&key) != Some(&route) {
                self.put(dated(route, self.arrivals));
            }
        }
    }
}

fn bare_route(object: &Object) -> Option<Value> {
    let json = object.json();
    let text = |pointer: &str| json.pointer(pointer).and_then(Value::as_str);
    if object.key.kind != "Route" {
        return None;
    }
    let (api, key) = (text("/spec/apiRef/name")?, text("/spec/routeKey")?);
    Some(json!({
        "apiVersion": object.key.api_version,
        "kind": "Route",
        "metadata": {"name": object.key.name, "namespace": object.key.namespace},
        "spec": {"apiRef": {"name": api}, "routeKey": key},
    }))
}

/// Gives an object the time of its arrival: of two that want the same thing the older one has it, as in a cluster.
fn dated(mut object: Value, arrival: i64) -> Value {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        let (minutes, seconds) = (arrival / 60, arrival % 60);
        let (days, hours) = (minutes / 1440, minutes / 60 % 24);
        let (year, day) = (2000 + days / 28, days % 28 + 1);
        let time = format!("{year:04}-01-{day:02}T{hours:02}:{:02}:{seconds:02}Z", minutes % 60);
        metadata.insert("creationTimestamp".into(), time.into());
    }
    object
}

/// The name that translation has for an object; none for kinds that it does not know.
pub fn reference(key: &ObjectKey) -> Option<ObjectRef> {
    let kind = Kind::ALL.into_iter().find(|kind| kind.as_str() == key.kind && kind.api_version() == key.api_version)?;
    Some(ObjectRef::new(kind, &key.namespace, &key.name))
}

/// Messages begin with the field path, `spec.a.b: what is wrong`.
fn split_path(message: &str) -> (&str, &str) {
    match message.split_once(": ") {
        Some((path, rest)) if path == "spec" || path.starts_with("spec.") || path.starts_with("metadata.") => {
            (path, rest)
        }
        _ => ("", message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_off_messages() {
        assert_eq!(split_path("spec.routeKey: \"GET\" has no path"), ("spec.routeKey", "\"GET\" has no path"));
        assert_eq!(split_path("no stage: nothing serves it"), ("", "no stage: nothing serves it"));
    }

    #[test]
    fn later_arrivals_have_later_times() {
        let time = |arrival| dated(json!({"metadata": {}}), arrival)["metadata"]["creationTimestamp"].to_string();
        let times: Vec<String> = [0, 1, 59, 60, 3599, 3600, 86_400, 28 * 86_400].into_iter().map(time).collect();
        assert!(times.is_sorted(), "{times:?}");
        assert_eq!(times[4], "\"2000-01-01T00:59:59Z\"");
    }
}
