//! The document of an API (H-OAS-23 to H-OAS-27).
//!
//! First AWS's words are written for every object. Then the document is imported, and what comes out other than it went
//! in is added under [`crate::EXTENSION`]: so what has no words of AWS is kept as well, whatever fields objects get.

use serde_json::{Map, Value, json};
use tollgate_crds::validate::validate;

use crate::finding::Findings;
use crate::import::{BasePath, ImportOptions, Made, import};
use crate::{Class, EXTENSION, Finding, patch};

mod words;

/// What the objects do not say.
#[derive(Clone, Debug)]
pub struct ExportOptions {
    /// Host of the API, for `servers`.
    pub host: String,
    /// Stage whose path `servers` names; `$default` has none.
    pub stage: Option<String>,
    /// AWS's extensions and ours; without them the document says what clients need only.
    pub extensions: bool,
}

/// What became of an API.
#[derive(Clone, Debug, Default)]
pub struct Export {
    /// The document; null when there are errors.
    pub document: Value,
    /// Worst first.
    pub findings: Vec<Finding>,
}

/// An object and where its words stand.
#[derive(Debug)]
struct Written {
    kind: &'static str,
    pointer: String,
    object: Value,
}

/// Writes the document of an HttpApi. `objects` are its Routes, and the Authorizers and Integrations that they name;
/// others are left alone.
pub fn export(api: &Value, objects: &[Value], options: &ExportOptions) -> Export {
    let mut findings = Findings::default();
    let export =
        Exporter::read(api, objects, &mut findings).and_then(|exporter| exporter.write(options, &mut findings));
    Export { document: export.unwrap_or_default(), findings: findings.finish(|_| None) }
}

/// The objects of an API, with their schema's defaults.
struct Exporter {
    name: String,
    namespace: Option<String>,
    api: Value,
    routes: Vec<Value>,
    authorizers: Vec<Value>,
    integrations: Vec<Value>,
}

impl Exporter {
    fn read(api: &Value, objects: &[Value], findings: &mut Findings) -> Option<Self> {
        let api = normal(api, findings)?;
        let (api, made) = with_document(api, objects, findings)?;
        let objects: Vec<&Value> = objects.iter().chain(&made).collect();
        let name = name_of(&api).to_owned();
        let namespace = api["metadata"]["namespace"].as_str().map(str::to_owned);
        let of = |kind: &str, findings: &mut Findings| -> Vec<Value> {
            let ours = objects.iter().filter(|object| object["kind"] == kind);
            let same = ours.copied().filter(|object| object["metadata"]["namespace"].as_str() == namespace.as_deref());
            let mut all: Vec<Value> = same.filter_map(|object| normal(object, findings)).collect();
            all.sort_by(|a, b| name_of(a).cmp(name_of(b)));
            all
        };
        let mut routes = of("Route", findings);
        routes.retain(|route| route["spec"]["apiRef"]["name"] == name.as_str());
        let used = |field: &str, object: &Value| {
            routes.iter().any(|route| route["spec"][field]["name"] == object["metadata"]["name"])
        };
        let mut authorizers = of("Authorizer", findings);
        authorizers.retain(|authorizer| used("authorizerRef", authorizer));
        let mut integrations = of("Integration", findings);
        integrations.retain(|integration| used("integrationRef", integration));
        Some(Self { name, namespace, api, routes, authorizers, integrations })
    }

    fn write(self, options: &ExportOptions, findings: &mut Findings) -> Option<Value> {
        let mut document = words::document(&self.api, &self.name, options);
        let mut written = vec![Written { kind: "HttpApi", pointer: String::new(), object: self.api }];
        for authorizer in self.authorizers {
            let pointer = format!("/components/securitySchemes/{}", name_of(&authorizer));
            put(&mut document, &pointer, words::scheme(&authorizer["spec"]));
            let pointer = format!("{pointer}/x-amazon-apigateway-authorizer");
            written.push(Written { kind: "Authorizer", pointer, object: authorizer });
        }
        for integration in self.integrations {
            let pointer = format!("/components/x-amazon-apigateway-integrations/{}", name_of(&integration));
            put(&mut document, &pointer, words::integration(&integration["spec"]));
            written.push(Written { kind: "Integration", pointer, object: integration });
        }
        for route in self.routes {
            let key = route["spec"]["routeKey"].as_str().unwrap_or_default().to_owned();
            let pointer = words::pointer(&key);
            if let Some(first) = written.iter().find(|written| written.pointer == pointer) {
                let message = format!(
                    "Route {}: {key:?} is the key of Route {} too, so it is left out",
                    name_of(&route),
                    name_of(&first.object)
                );
                findings.warn("", message);
                continue;
            }
            let known = |kind: &str, field: &str| {
                let name = &route["spec"][field]["name"];
                written.iter().any(|written| written.kind == kind && written.object["metadata"]["name"] == *name)
            };
            let (authorizer, integration) =
                (known("Authorizer", "authorizerRef"), known("Integration", "integrationRef"));
            for (field, known) in [("authorizerRef", authorizer), ("integrationRef", integration)] {
                if let Some(name) = route["spec"][field]["name"].as_str().filter(|_| !known) {
                    let message = format!("Route {}: {field} {name:?} is not among the objects", name_of(&route));
                    findings.warn("", format!("{message}: only {EXTENSION} says it in the document"));
                }
            }
            put(&mut document, &pointer, words::operation(&route["spec"], &key, authorizer, integration));
            written.push(Written { kind: "Route", pointer, object: route });
        }
        if !options.extensions {
            strip(&mut document);
            return Some(document);
        }
        let import_options =
            ImportOptions { name: Some(self.name), namespace: self.namespace, ..ImportOptions::default() };
        complete(&mut document, &written, &import_options, findings).then_some(document)
    }
}

/// An API whose routes come from a document itself: what the document gives stands beside the other objects.
fn with_document(mut api: Value, objects: &[Value], findings: &mut Findings) -> Option<(Value, Vec<Value>)> {
    let Some(openapi) = api["spec"].as_object_mut().and_then(|spec| spec.shift_remove("openapi")) else {
        return Some((api, Vec::new()));
    };
    let from = &openapi["configMapKeyRef"];
    let map = objects.iter().find(|object| {
        let (object, api) = (&object["metadata"], &api["metadata"]);
        object["name"] == from["name"] && object["namespace"] == api["namespace"]
    });
    let key = from["key"].as_str().unwrap_or_default();
    let text = openapi["inline"].as_str().or_else(|| map.and_then(|map| map["data"].get(key)?.as_str()));
    let Some(text) = text else {
        let message = format!("spec.openapi: ConfigMap {} with the key {key:?} is not among the objects", from["name"]);
        findings.error("", message);
        return None;
    };
    let options = ImportOptions {
        name: Some(name_of(&api).to_owned()),
        namespace: api["metadata"]["namespace"].as_str().map(str::to_owned),
        base_path: match openapi["basepath"].as_str() {
            Some("prepend") => BasePath::Prepend,
            Some("split") => BasePath::Split,
            _ => BasePath::Ignore,
        },
        ..ImportOptions::default()
    };
    let read = import(text, &options);
    if read.refused(openapi["failOnWarnings"] == true) {
        let said: Vec<String> = read.findings.iter().take(5).map(ToString::to_string).collect();
        findings.error("", format!("spec.openapi: the document is refused: {}", said.join("; ")));
        return None;
    }
    let mut made = read.objects.into_iter().map(|made| made.object);
    if let Some(document) = made.next() {
        // The object's own words win over those of its document.
        let mut spec = document["spec"].clone();
        patch::apply(&mut spec, &api["spec"]);
        let disabled = |object: &Value| object["spec"]["disableExecuteApiEndpoint"] == true;
        if disabled(&document) || disabled(&api) {
            spec["disableExecuteApiEndpoint"] = json!(true);
        }
        api["spec"] = spec;
    }
    Some((api, made.collect()))
}

/// Adds to the document what its words do not say.
fn complete(document: &mut Value, written: &[Written], options: &ImportOptions, findings: &mut Findings) -> bool {
    let read = import(&document.to_string(), options);
    for Written { kind, pointer, object } in written {
        let found = read.objects.iter().find(|made: &&Made| made.kind == *kind && made.pointer == *pointer);
        let Some(found) = found else { continue };
        let Some(patch) = patch::between(&found.object, object) else { continue };
        if let Some(Value::Object(words)) = document.pointer_mut(pointer) {
            let mut over = words.get(EXTENSION).cloned().unwrap_or_else(|| json!({}));
            join(&mut over, &patch);
            words.insert(EXTENSION.to_owned(), over);
        }
    }
    let again = import(&document.to_string(), options);
    for Written { kind, pointer, object } in written {
        let same = again.objects.iter().any(|made| made.kind == *kind && made.object == *object);
        if !same {
            let said: Vec<String> = again.findings_of(Class::Error).map(|finding| finding.message.clone()).collect();
            let name = name_of(object);
            findings.error(pointer.clone(), format!("{kind} {name} cannot be written as OpenAPI: {}", said.join("; ")));
            return false;
        }
    }
    true
}

/// Joins two patches; the second one's nulls have to stay.
fn join(first: &mut Value, second: &Value) {
    match (first, second) {
        (Value::Object(first), Value::Object(second)) => {
            for (key, value) in second {
                join(first.entry(key).or_insert(Value::Null), value);
            }
        }
        (first, second) => first.clone_from(second),
    }
}

/// An object as it is compared: with defaults, and with the metadata that people write.
fn normal(object: &Value, findings: &mut Findings) -> Option<Value> {
    let kind = object["kind"].as_str().unwrap_or_default();
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let Some((mut object, violations)) = validate(object, None) else {
        findings.error("", format!("{kind} {name} is not an object of this version"));
        return None;
    };
    if !violations.is_empty() {
        for violation in violations {
            findings.error("", format!("{kind} {name}: {violation}"));
        }
        return None;
    }
    let mut metadata = object["metadata"].as_object().cloned().unwrap_or_default();
    metadata.retain(|key, _| ["name", "namespace", "labels", "annotations"].contains(&key.as_str()));
    if let Some(Value::Object(annotations)) = metadata.get_mut("annotations") {
        annotations.retain(|key, _| key != "kubectl.kubernetes.io/last-applied-configuration");
        if annotations.is_empty() {
            metadata.shift_remove("annotations");
        }
    }
    object["metadata"] = Value::Object(metadata);
    Some(object)
}

fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// Sets the value at a pointer, with the maps on the way.
fn put(document: &mut Value, pointer: &str, value: Value) {
    let mut place = document;
    for part in pointer.split('/').skip(1) {
        let key = part.replace("~1", "/").replace("~0", "~");
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        let Value::Object(members) = place else { return };
        place = members.entry(key).or_insert(Value::Null);
    }
    *place = value;
}

/// Without extensions no key of them appears (H-OAS-27).
fn strip(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|key, _| !key.starts_with("x-amazon-apigateway-") && key != EXTENSION);
            members.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}
