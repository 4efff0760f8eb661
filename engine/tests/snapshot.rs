//! Skew: a newer controller beside an older proxy, and the reverse.
//!
//! `snapshot/` holds lines as each release wrote them, every field set at least once. A file of a release is never changed; a
//! new field is added to the file of the release that is being made.

#![expect(clippy::unwrap_used, reason = "a test ends where something unexpected happens")]

use std::fmt::Debug;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tollgate_engine::deployment::{Deployment, Stage};
use tollgate_engine::snapshot::{
    Authorization, AuthorizerCheck, Backend, ContentHash, Line, Report, RouteTarget, Unit,
};
use tollgate_engine::throttle::{AccountLimit, Meters};

/// The lines of every release, with the file's name.
fn lines(reports: bool) -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshot");
    let mut lines = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.ends_with("-reports.jsonl") == reports {
            let text = std::fs::read_to_string(&path).unwrap();
            lines.extend(text.lines().map(|line| (name.clone(), serde_json::from_str(line).unwrap())));
        }
    }
    assert!(!lines.is_empty());
    lines
}

fn read<T: DeserializeOwned>(file: &str, line: &Value) -> T {
    serde_json::from_value(line.clone()).unwrap_or_else(|error| panic!("{file}: {error} in {line}"))
}

/// The same line as a newer release could write it: with a field more in every object whose fields are ours.
fn with_more_fields(value: &Value) -> Value {
    // By names that users or the snapshot choose.
    const MAPS: [&str; 4] = ["authorizers", "integrations", "stageVariables", "routeSettings"];
    match value {
        Value::Object(fields) => {
            let mut more: serde_json::Map<String, Value> = fields
                .iter()
                .map(|(name, value)| match value {
                    Value::Object(entries) if MAPS.contains(&name.as_str()) => {
                        let entries = entries.iter().map(|(key, value)| (key.clone(), with_more_fields(value)));
                        (name.clone(), Value::Object(entries.collect()))
                    }
                    other => (name.clone(), with_more_fields(other)),
                })
                .collect();
            more.insert("aFieldOfTomorrow".to_owned(), json!({"with": ["content"]}));
            Value::Object(more)
        }
        Value::Array(items) => Value::Array(items.iter().map(with_more_fields).collect()),
        other => other.clone(),
    }
}

/// Whether a line means the same to us as to who wrote it, and nothing is lost or added on the way.
fn unharmed<T: DeserializeOwned + Serialize + PartialEq + Debug>(reports: bool) {
    for (file, line) in lines(reports) {
        let known: T = read(&file, &line);
        assert_eq!(serde_json::to_value(&known).unwrap(), line, "{file}: written again it is another line");
        assert_eq!(read::<T>(&file, &with_more_fields(&line)), known, "{file}: a new field changed the old ones");
    }
}

#[test]
fn lines_of_every_release_mean_what_they_meant() {
    unharmed::<Line>(false);
    unharmed::<Report>(true);
}

/// The same with the tags of enums behind their content: nobody writes them so, but JSON's objects have no order.
fn tags_last(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let is_tag = |name: &str| matches!(name, "op" | "kind" | "type");
            let (tags, others): (Vec<_>, Vec<_>) = fields.iter().partition(|(name, _)| is_tag(name));
            let all = others.into_iter().chain(tags);
            Value::Object(all.map(|(name, value)| (name.clone(), tags_last(value))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(tags_last).collect()),
        other => other.clone(),
    }
}

/// Lines are read without the copies that `serde` makes, and mean the same.
#[test]
fn lines_read_from_text_are_those_that_serde_reads() {
    let mut direct = 0;
    for (file, line) in lines(false) {
        for line in [with_more_fields(&line), line] {
            let text = line.to_string();
            let known: Line = read(&file, &line);
            assert_eq!(Line::from_json(text.as_bytes()).unwrap(), known, "{file}: {text}");
            direct +=
                usize::from(text.starts_with(r#"{"op":"put","#) && text.contains(r#""unit":{"kind":"deployment","#));
            for end in 0..text.len() {
                assert!(Line::from_json(&text.as_bytes()[..end]).is_err(), "{file}: cut to {end} bytes of {text}");
            }
            assert_eq!(Line::from_json(tags_last(&line).to_string().as_bytes()).unwrap(), known, "{file}: {text}");
        }
    }
    assert!(direct > 0);
}

/// What older releases sent runs, whole.
#[test]
fn lines_of_every_release_run() {
    let (mut deployments, mut stages) = (0, 0);
    for (file, line) in lines(false) {
        let Line::Put { hash, unit, .. } = read(&file, &line) else { continue };
        let problems = match *unit {
            Unit::Deployment(deployment) => {
                deployments += 1;
                let (compiled, problems) = Deployment::compile(&deployment, hash);
                assert_eq!(compiled.routes.len(), deployment.routes.len(), "{file}");
                problems
            }
            Unit::Stage(stage) => {
                stages += 1;
                Stage::compile(&stage, None, &AccountLimit::default(), &Meters::new(), 0).1
            }
            Unit::Unknown => panic!("{file}: a unit is not known any more: {line}"),
            _ => continue,
        };
        assert_eq!(problems, [], "{file}");
    }
    assert!(deployments > 0 && stages > 0);
}

/// What a newer release could send closes what it concerns and nothing else (promises P1 and P3).
#[test]
fn what_is_not_known_closes_one_route_alone() {
    assert_eq!(read::<Line>("new op", &json!({"op": "sing", "song": 1})), Line::Unknown);
    assert_eq!(read::<Unit>("new unit", &json!({"kind": "palmistry", "rate": 1})), Unit::Unknown);
    assert_eq!(read::<Authorization>("new type", &json!({"type": "PALM", "reader": "left"})), Authorization::Unknown);
    assert_eq!(read::<RouteTarget>("new target", &json!({"type": "mock", "status": 200})), RouteTarget::Unknown);
    assert_eq!(read::<Backend>("new backend", &json!({"type": "queue", "url": "q"})), Backend::Unknown);
    assert_eq!(
        read::<AuthorizerCheck>("new check", &json!({"type": "palm", "hand": "left"})),
        AuthorizerCheck::Unknown
    );

    let (_, line) = lines(false).into_iter().find(|(_, line)| line["unit"]["kind"] == "deployment").unwrap();
    let mut unit = line["unit"].clone();
    unit["integrations"]["route/fn"]["backend"] = json!({"type": "queue", "url": "q"});
    unit["routes"][0]["requires"] = json!(["palmReading"]);
    let Unit::Deployment(deployment) = read("newer", &unit) else { panic!("it is a deployment") };
    let (compiled, problems) = Deployment::compile(&deployment, ContentHash::of(&0));
    assert_eq!(compiled.routes.len(), deployment.routes.len());
    let sources: Vec<&str> = problems.iter().map(|problem| problem.source.as_str()).collect();
    assert!(sources.contains(&"Route/shop/fn") && sources.contains(&"shop/orders"), "{problems:?}");
    let open = |key: &str| {
        let route = compiled.routes.iter().find(|route| &*route.key_text == key).unwrap();
        matches!(route.target, tollgate_engine::deployment::Target::Integration(_))
    };
    assert!(!open("POST /orders/{proxy+}") && !open("ANY /fn") && !open("$default"));
    assert!(open("GET /old") && open("GET /web/{proxy+}"), "neighbours are served as before");
}

/// Tags are read by hand: none is forgotten.
#[test]
fn every_kind_of_backend_and_target_is_read() {
    let service = json!({"namespace": "a", "name": "b", "port": 80});
    let secret = json!({"namespace": "a", "name": "b"});
    let function = json!({"type": "service", "service": service});
    for backend in [
        json!({"type": "service", "service": service, "path": "/x"}),
        json!({"type": "http", "uri": "https://a.example/"}),
        json!({"type": "lambda", "endpoint": function, "functionName": "f", "payloadFormatVersion": "2.0"}),
        json!({"type": "aws", "subtype": "SQS-SendMessage", "credentials": secret}),
    ] {
        let known: Backend = serde_json::from_str(&backend.to_string()).unwrap();
        assert_ne!(known, Backend::Unknown, "{backend}");
        assert_eq!(serde_json::to_value(&known).unwrap(), backend);
        assert_eq!(read::<Backend>("tags last", &tags_last(&backend)), known);
    }
    assert!(serde_json::from_str::<Backend>(r#"{"type": "http"}"#).is_err(), "a field is missing");
    for target in [json!({"type": "integration", "id": "a"}), json!({"type": "none"}), json!({"type": "refused"})] {
        let known: RouteTarget = serde_json::from_str(&target.to_string()).unwrap();
        assert_ne!(known, RouteTarget::Unknown, "{target}");
        assert_eq!(serde_json::to_value(&known).unwrap(), target);
        assert_eq!(read::<RouteTarget>("tags last", &tags_last(&target)), known);
    }
    let unknown = json!({"type": "palm", "id": 7});
    assert_eq!(serde_json::from_str::<RouteTarget>(&unknown.to_string()).unwrap(), RouteTarget::Unknown);
    assert_eq!(serde_json::from_str::<Backend>(&unknown.to_string()).unwrap(), Backend::Unknown);
    assert!(serde_json::from_str::<RouteTarget>("{}").is_err(), "without a tag it is nothing");
}
