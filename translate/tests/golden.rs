//! What comes of whole sets of objects: `tests/golden/*/in.yaml` → `out.yaml`.
//!
//! Documents of `in.yaml` are applied in order; one `---` document with only `step:` translates what was applied so far and
//! writes the result, as does the end of the file. `UPDATE_GOLDEN=1 cargo test -p tollgate-translate` writes the expectations
//! anew; review the difference.

#![expect(clippy::unwrap_used, reason = "a test ends where something unexpected happens")]

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};
use tollgate_engine::deployment::Deployment;
use tollgate_engine::snapshot::{ContentHash, Unit};
use tollgate_translate::{
    Capture, Changes, Fleet, Kind, Object, ObjectRef, ObjectVerdict, Put, Record, Serving, Settings, Translator,
    Verdict,
};

fn cases() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut cases: Vec<PathBuf> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    cases
}

#[test]
fn sets_of_objects_give_what_is_written_down() {
    let cases = cases();
    assert!(cases.len() >= 7, "the golden files are not where this test looks");
    let mut different = Vec::new();
    for case in cases {
        let output = run(&fs::read_to_string(case.join("in.yaml")).unwrap());
        let expected = case.join("out.yaml");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&expected, &output).unwrap();
        } else if fs::read_to_string(&expected).unwrap_or_default() != output {
            different.push(format!("{}:\n{output}", case.display()));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

fn run(input: &str) -> String {
    let mut translator = Translator::new(Settings { base_domain: "localhost:8080".into(), https: false });
    let mut output = String::from("# Written by the test golden.rs; see there.\n");
    for document in serde_norway::Deserializer::from_str(input) {
        let document = Value::deserialize(document).unwrap();
        if let Some(step) = document["step"].as_str() {
            write(&mut output, step, translator.translate());
        } else if let Some(text) = document["delete"].as_str() {
            let mut words = text.split(['/', ' ']);
            let kind =
                words.next().and_then(|kind| Kind::ALL.into_iter().find(|known| known.as_str() == kind)).unwrap();
            let object = ObjectRef::new(kind, words.next().unwrap(), words.next().unwrap());
            assert!(translator.world_mut().delete(&object), "{text}");
        } else if !document.is_null() {
            let object = Object::from_value(document.clone()).unwrap();
            translator.world_mut().apply(object.unwrap_or_else(|| panic!("unknown kind: {document}")));
        }
    }
    write(&mut output, "end", translator.translate());
    output
}

/// What is published is what `serde` would write, and runs in a proxy as it is.
fn check(put: &Put) {
    let unit = put.unit();
    assert_eq!(serde_json::to_string(&unit).unwrap(), *put.json);
    assert_eq!(ContentHash::of(&unit), put.hash);
    if let Unit::Deployment(deployment) = &unit {
        let (_, problems) = Deployment::compile(deployment, put.hash.clone());
        assert_eq!(problems, []);
    }
}

fn write(output: &mut String, step: &str, changes: Changes) {
    changes.puts.iter().for_each(check);
    let units: Vec<Value> = changes
        .puts
        .iter()
        .map(|put| {
            let fleets = [Fleet::Public, Fleet::Private].into_iter().filter(|fleet| put.fleets.contains(*fleet));
            json!({
                "id": put.id,
                "fleets": fleets.map(Fleet::as_str).collect::<Vec<_>>(),
                "unit": serde_json::from_str::<Value>(&put.json).unwrap(),
            })
        })
        .collect();
    let document = json!({
        "step": step,
        "revision": changes.revision,
        "units": units,
        "deleted": changes.deletes,
        "verdicts": changes.verdicts.iter().map(verdict).collect::<Vec<_>>(),
        "records": changes.records.iter().map(record).collect::<Vec<_>>(),
    });
    output.push_str("---\n");
    output.push_str(&serde_norway::to_string(&document).unwrap());
}

fn verdict(found: &ObjectVerdict) -> Value {
    let condition = |verdict: &Verdict| {
        let text = format!("{} {}", if verdict.ok { "True" } else { "False" }, verdict.reason);
        if verdict.message.is_empty() { text } else { format!("{text}: {}", verdict.message) }
    };
    let serving = match &found.serving {
        Serving::When(requirements) => {
            let all = requirements.iter().map(|needed| format!("{} of revision {}", needed.unit, needed.revision));
            format!("when {}", all.collect::<Vec<_>>().join(", "))
        }
        Serving::NotNeeded(reason) => format!("not needed {reason}"),
        Serving::Nowhere(verdict) => condition(verdict),
    };
    let mut value = json!({
        "object": found.object.to_string(),
        "generation": found.generation,
        "accepted": condition(&found.accepted),
        "resolvedRefs": condition(&found.resolved_refs),
        "serving": serving,
    });
    let fields = value.as_object_mut().unwrap();
    fields.extend(found.api_id.iter().map(|id| ("apiId".to_owned(), json!(id))));
    fields.extend(found.api_endpoint.iter().map(|at| ("apiEndpoint".to_owned(), json!(at))));
    fields.extend(found.capture.iter().map(|capture| {
        let text = match capture {
            Capture::Pending(why) => format!("pending: {why}"),
            Capture::Deployed(id) => format!("deployed {id}"),
            Capture::Failed(why) => format!("failed: {why}"),
        };
        ("capture".to_owned(), json!(text))
    }));
    value
}

fn record(record: &Record) -> Value {
    match record {
        Record::AutoDeployed { api, hash, .. } => json!(format!("{api} deployed {hash}")),
        Record::Captured { object, hash, .. } => json!(format!("{object} captured {hash}")),
        Record::Stage { object, .. } => json!(format!("{object} accepted")),
    }
}
