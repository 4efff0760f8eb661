//! Many files over time: which objects are in force, and what changes when files do.
//!
//! Keeps promise P1 for files: an object that was accepted stays as it was until a newer version of it is accepted or
//! it is certain to be gone. A file that cannot be read or has a document that cannot be named makes nothing certain.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Object, Parsed, Skipped, kinds};
use crate::problem::{ObjectKey, Problem};

/// Files and the objects that are in force.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    files: BTreeMap<PathBuf, Parsed>,
    live: BTreeMap<ObjectKey, Object>,
    duplicates: Vec<Problem>,
    /// Changes of fields that cannot change.
    refused_updates: Vec<Problem>,
}

/// What an update of files does to the objects in force.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// New, or new content.
    Apply(Object),
    /// Gone.
    Delete(ObjectKey),
}

impl Tree {
    /// Takes in files that changed (`None`: the file is gone) and says what that does to the objects in force.
    pub fn update(&mut self, files: impl IntoIterator<Item = (PathBuf, Option<Parsed>)>) -> Vec<Change> {
        for (path, parsed) in files {
            match parsed {
                Some(parsed) => self.files.insert(path, parsed),
                None => self.files.remove(&path),
            };
        }
        self.settle()
    }

    /// The objects in force.
    pub fn objects(&self) -> impl Iterator<Item = &Object> {
        self.live.values()
    }

    /// The object in force under this key.
    pub fn object(&self, key: &ObjectKey) -> Option<&Object> {
        self.live.get(key)
    }

    /// Paths of the files that are known.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.keys().map(PathBuf::as_path)
    }

    /// What was read from a file last.
    pub fn file(&self, path: &Path) -> Option<&Parsed> {
        self.files.get(path)
    }

    /// Objects that are refused now and were never accepted.
    pub fn never_accepted(&self) -> impl Iterator<Item = &Object> {
        self.files.values().flat_map(|parsed| &parsed.refused).filter(|object| !self.live.contains_key(&object.key))
    }

    /// Everything that is wrong with the files.
    pub fn problems(&self) -> Vec<Problem> {
        self.files
            .values()
            .flat_map(|parsed| &parsed.problems)
            .chain(&self.duplicates)
            .chain(&self.refused_updates)
            .cloned()
            .collect()
    }

    /// Objects of kinds that are not read.
    pub fn skipped(&self) -> impl Iterator<Item = &Skipped> {
        self.files.values().flat_map(|parsed| &parsed.skipped)
    }

    fn settle(&mut self) -> Vec<Change> {
        let (wanted, duplicates) = self.wanted();
        self.duplicates = duplicates;
        self.refused_updates.clear();
        let mut changes = Vec::new();
        let gone: Vec<ObjectKey> = self
            .live
            .iter()
            .filter(|(key, live)| !wanted.contains_key(*key) && !self.holds(live))
            .map(|(key, _)| key.clone())
            .collect();
        for key in gone {
            self.live.remove(&key);
            changes.push(Change::Delete(key));
        }
        for (key, object) in wanted {
            // A line inserted above an object moves it; that is no change of what it says.
            let same = self.live.get(&key).is_some_and(|live| live.root.says_the_same(&object.root));
            if !same && let Some(live) = self.live.get(&key) {
                let refused = kinds::update(&object, live);
                if !refused.is_empty() {
                    self.refused_updates.extend(refused);
                    continue;
                }
            }
            self.live.insert(key, object.clone());
            if !same {
                changes.push(Change::Apply(object));
            }
        }
        changes
    }

    /// One object for each key: of several, the one whose file is in force already, else the first.
    fn wanted(&self) -> (BTreeMap<ObjectKey, Object>, Vec<Problem>) {
        let mut candidates: BTreeMap<&ObjectKey, Vec<&Object>> = BTreeMap::new();
        for object in self.files.values().flat_map(|parsed| &parsed.objects) {
            candidates.entry(&object.key).or_default().push(object);
        }
        let mut duplicates = Vec::new();
        let mut wanted = BTreeMap::new();
        for (key, objects) in candidates {
            let live = self.live.get(key).map(|live| &live.source.path);
            let chosen = objects.iter().position(|object| Some(&object.source.path) == live).unwrap_or(0);
            let others = objects.iter().enumerate().filter(|(index, _)| *index != chosen).map(|(_, object)| *object);
            duplicates.extend(others.map(|object| duplicate(object, objects[chosen])));
            wanted.insert(key.clone(), objects[chosen].clone());
        }
        (wanted, duplicates)
    }

    /// Whether the absence of an object from its file proves nothing, or its newer version is refused.
    fn holds(&self, live: &Object) -> bool {
        let refused = |parsed: &Parsed| parsed.refused.iter().any(|object| object.key == live.key);
        self.files.get(&live.source.path).is_some_and(|parsed| parsed.unnamed) || self.files.values().any(refused)
    }
}

fn duplicate(object: &Object, chosen: &Object) -> Problem {
    let place = chosen.place("metadata.name");
    let message = format!("{} is defined twice; the definition at {place} is the one in force", object.key);
    let mut problem =
        object.problem("DuplicateObject", "metadata.name", message).fix("remove or rename one of the two");
    problem.related = Some((place, "the definition in force".into()));
    problem
}

#[cfg(test)]
mod tests {
    use super::super::{Source, parse};
    use super::*;

    fn file(name: &str, text: &str) -> (PathBuf, Option<Parsed>) {
        (name.into(), Some(parse(Source { path: name.into(), text: text.to_owned() })))
    }

    fn map(name: &str, value: &str) -> String {
        format!("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{value: {value:?}}}\n")
    }

    fn told(changes: &[Change]) -> Vec<String> {
        let tell = |change: &Change| match change {
            Change::Apply(object) => format!("+{}={}", object.key.name, object.json()["data"]["value"]),
            Change::Delete(key) => format!("-{}", key.name),
        };
        changes.iter().map(tell).collect()
    }

    #[test]
    fn objects_come_change_and_go() {
        let mut tree = Tree::default();
        let both = map("a", "1") + &map("b", "1");
        assert_eq!(told(&tree.update([file("x.yaml", &both)])), ["+a=\"1\"", "+b=\"1\""]);
        assert_eq!(told(&tree.update([file("x.yaml", &format!("# moved\n{both}"))])), [""; 0]);
        assert_eq!(told(&tree.update([file("x.yaml", &map("b", "2"))])), ["-a", "+b=\"2\""]);
        assert_eq!(told(&tree.update([("x.yaml".into(), None)])), ["-b"]);
    }

    #[test]
    fn an_object_whose_document_breaks_keeps_its_last_version() {
        let mut tree = Tree::default();
        tree.update([file("x.yaml", &(map("a", "1") + &map("b", "1")))]);
        let broken = map("a", "2") + "---\nkind: [\n";
        assert_eq!(told(&tree.update([file("x.yaml", &broken)])), ["+a=\"2\""]);
        assert_eq!(tree.objects().count(), 2);
        assert_eq!(tree.problems().len(), 1);
        assert_eq!(told(&tree.update([file("x.yaml", &map("a", "2"))])), ["-b"]);
    }

    #[test]
    fn a_refused_object_keeps_its_last_version() {
        let mut tree = Tree::default();
        tree.update([file("x.yaml", &map("a", "1"))]);
        let refused = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndta: {}\n";
        assert_eq!(told(&tree.update([file("x.yaml", refused)])), [""; 0]);
        assert_eq!(tree.objects().count(), 1);
        assert_eq!(tree.problems()[0].message, "unknown field \"dta\"");
        assert_eq!(tree.never_accepted().count(), 0);
    }

    #[test]
    fn a_field_that_cannot_change_keeps_the_last_version() {
        let route = |api: &str| {
            let spec = format!(
                "spec: {{apiRef: {{name: {api}}}, routeKey: GET /, integration: {{http: {{uri: 'http://x/'}}}}}}"
            );
            format!("apiVersion: tollgate.dev/v1alpha1\nkind: Route\nmetadata: {{name: a}}\n{spec}\n")
        };
        let mut tree = Tree::default();
        assert_eq!(tree.update([file("x.yaml", &route("one"))]).len(), 1);
        assert_eq!(tree.update([file("x.yaml", &route("two"))]), []);
        let problems = tree.problems();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].field, "spec.apiRef");
        tree.update([file("x.yaml", &route("one"))]);
        assert!(tree.problems().is_empty());
    }

    #[test]
    fn of_two_definitions_the_one_in_force_stays_and_both_are_named() {
        let mut tree = Tree::default();
        tree.update([file("b.yaml", &map("a", "1"))]);
        assert_eq!(told(&tree.update([file("a.yaml", &map("a", "2"))])), [""; 0]);
        let problem = &tree.problems()[0];
        assert_eq!(problem.place.as_ref().expect("a place").to_string(), "a.yaml:4:18");
        assert!(problem.message.contains("b.yaml:4:18"), "{}", problem.message);
        assert_eq!(told(&tree.update([("b.yaml".into(), None)])), ["+a=\"2\""]);
        assert!(tree.problems().is_empty());
    }
}
