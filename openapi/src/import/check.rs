//! What the API server would say of the objects. A field that it does not know is told and left out; anything else is an
//! error of the document.

use std::collections::BTreeSet;

use serde_json::Value;
use tollgate_crds::validate::{Violation, validate};

use super::Made;
use crate::finding::Findings;

/// AWS's own words that this version may not know; other unknown fields are mistakes in our own extension.
const OPTIONAL: &[&str] = &[".requestParameters", ".responseParameters"];

/// Objects with their defaults.
pub(super) fn checked(made: Vec<Made>, findings: &mut Findings) -> Vec<Made> {
    let mut names = BTreeSet::new();
    for made in &made {
        if !names.insert((made.kind, made.name().to_owned())) {
            findings.error(
                made.pointer.clone(),
                format!("{} {:?} stands twice: give one another name", made.kind, made.name()),
            );
        }
    }
    made.into_iter().map(|made| check(made, findings)).collect()
}

fn check(mut made: Made, findings: &mut Findings) -> Made {
    let pointer = made.pointer.clone();
    let Some((mut object, mut violations)) = validate(&made.object, None) else {
        findings.error(pointer, format!("{} is not a kind of this version", made.kind));
        return made;
    };
    let words_of_aws = |path: &str| OPTIONAL.iter().any(|name| path.ends_with(name));
    let unknown = |violation: &Violation| violation.rule == "unknown field" && words_of_aws(&violation.path);
    if violations.iter().any(unknown) {
        for violation in violations.iter().filter(|violation| unknown(violation)) {
            let field = &violation.path;
            let message = format!("no equivalent in this version: {} has no field {field}; it is left out", made.kind);
            findings.warn(pointer.clone(), message);
            remove(&mut made.object, field);
        }
        if let Some(again) = validate(&made.object, None) {
            (object, violations) = again;
        }
    }
    for violation in violations {
        findings.error(pointer.clone(), format!("{}: {violation}", made.kind));
    }
    made.plain = std::mem::replace(&mut made.object, object);
    made
}

/// Removes the value at a path such as `spec.list[0].name`.
fn remove(object: &mut Value, path: &str) {
    let (parent, last) = path.rsplit_once('.').unwrap_or(("", path));
    let mut value = object;
    for part in parent.split('.').filter(|part| !part.is_empty()) {
        let (name, index) = part.split_once('[').unwrap_or((part, ""));
        let Some(below) = value.get_mut(name) else { return };
        value = below;
        if let Some(index) = index.strip_suffix(']').and_then(|index| index.parse::<usize>().ok()) {
            let Some(below) = value.get_mut(index) else { return };
            value = below;
        }
    }
    if let Some(members) = value.as_object_mut() {
        members.shift_remove(last);
    }
}
