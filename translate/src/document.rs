//! APIs whose routes come from an OpenAPI document: the objects that a document gives stand in the world beside those of
//! users, and are translated, kept and told as those are.
//!
//! A document is accepted or refused as a whole. While it is refused or missing, what it gave before stays (promise P1).
//! Its routes come before Route objects of the same key: the API names its document, and a Route only names the API.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;
use tollgate_crds::{
    Authorizer, BasePath, EndpointType, HttpApi, HttpApiSpec, Integration, LocalRef, OpenApi, Route, RouteSpec,
};
use tollgate_engine::snapshot::{ContentHash, Deployment};
use tollgate_openapi::{self as openapi, Class, ImportOptions, Made};

use crate::outcome::Outcome;
use crate::world::Item;
use crate::{Kind, Object, ObjectRef, Reason, Verdict, World};

/// In no name that Kubernetes allows.
const MARK: char = '#';
/// How many findings a condition names.
const MOST_NAMED: usize = 5;

/// Whether an object was made of a document.
pub(crate) fn is_made(name: &str) -> bool {
    name.contains(MARK)
}

/// What is known of the documents of APIs.
#[derive(Debug, Default)]
pub(crate) struct Documents(BTreeMap<ObjectRef, State>);

/// The document of one API.
#[derive(Debug)]
pub(crate) struct State {
    uid: String,
    /// What was read last, well or not.
    read: Option<(OpenApi, Arc<str>)>,
    /// What came of it: what it says of the HttpApi itself.
    pub(crate) outcome: Outcome<Arc<HttpApiSpec>>,
    made: BTreeSet<ObjectRef>,
}

impl Documents {
    /// The document of an API, if it has one.
    pub(crate) fn get(&self, api: &ObjectRef) -> Option<&State> {
        self.0.get(api)
    }

    /// Reads the documents that changed, and puts what they give into the world. `restored`: the last deployments of APIs,
    /// for those whose document cannot be used.
    pub(crate) fn read(
        &mut self,
        world: &mut World,
        changed: &BTreeSet<ObjectRef>,
        restored: &BTreeMap<ObjectRef, Deployment>,
    ) {
        let mut apis = BTreeSet::new();
        for object in changed {
            match object.kind {
                Kind::HttpApi => {
                    apis.insert(object.clone());
                }
                Kind::ConfigMap => apis.extend(world.referrers(object, Kind::HttpApi).cloned()),
                _ => {}
            }
        }
        for api in apis {
            self.read_one(world, &api, restored.get(&api));
        }
    }

    fn read_one(&mut self, world: &mut World, api: &ObjectRef, restored: Option<&Deployment>) {
        let item = world.http_api(api).cloned();
        let wanted = item.as_ref().and_then(|item| item.spec.openapi.as_ref().map(|openapi| (item, openapi)));
        let Some((item, openapi)) = wanted else {
            if let Some(state) = self.0.remove(api) {
                state.made.iter().for_each(|object| {
                    world.delete(object);
                });
            }
            return;
        };
        let same = |state: &State| state.uid == item.uid;
        let before = self.0.remove(api);
        if let Some(other) = before.as_ref().filter(|state| !same(state)) {
            other.made.iter().for_each(|object| {
                world.delete(object);
            });
        }
        let before = before.filter(same);
        let mut state = State {
            uid: item.uid.clone(),
            read: None,
            outcome: Outcome::invalid(""),
            made: before.as_ref().map(|state| state.made.clone()).unwrap_or_default(),
        };
        match text(world, api, openapi) {
            Err((reason, message)) => state.outcome = Outcome::unresolved(reason, message),
            Ok(text) => {
                let now = Some((openapi.clone(), text));
                if let Some(before) = before
                    && before.read == now
                {
                    // Other fields of the API may have changed; those are looked at with it.
                    self.0.insert(api.clone(), before);
                    return;
                }
                state.read = now;
                state.import(world, api, item, openapi);
            }
        }
        if state.outcome.value.is_none() && state.made.is_empty() {
            state.made = stand_ins(world, api, item, restored);
        }
        world.touch(api);
        self.0.insert(api.clone(), state);
    }
}

impl State {
    /// Tells what was read last from what was read before.
    pub(crate) fn hash(&self) -> Option<ContentHash> {
        self.read.as_ref().map(|(openapi, text)| ContentHash::of(&(openapi, &**text)))
    }

    fn import(&mut self, world: &mut World, api: &ObjectRef, item: &Item<HttpApiSpec>, openapi: &OpenApi) {
        let Some((_, text)) = &self.read else { return };
        let options = ImportOptions {
            name: Some(api.name.clone()),
            namespace: Some(api.namespace.clone()),
            base_path: match openapi.basepath {
                BasePath::Ignore => openapi::BasePath::Ignore,
                BasePath::Prepend => openapi::BasePath::Prepend,
                BasePath::Split => openapi::BasePath::Split,
            },
            ..ImportOptions::default()
        };
        let import = openapi::import(text, &options);
        if import.refused(openapi.fail_on_warnings) {
            let class = if import.refused(false) { Class::Error } else { Class::Warning };
            self.outcome = Outcome::invalid(format!("spec.openapi: the document is refused: {}", told(&import, class)));
            return;
        }
        let objects: Result<Vec<_>, _> = import.objects.iter().map(|made| object(made, api, &item.uid)).collect();
        let (spec, objects) = match objects.map(|all| {
            let (apis, others): (Vec<_>, Vec<_>) =
                all.into_iter().partition(|object| matches!(object, Object::HttpApi(_)));
            let spec = apis.into_iter().find_map(|object| match object {
                Object::HttpApi(api) => Some(api.spec),
                _ => None,
            });
            (spec.unwrap_or_default(), others)
        }) {
            Ok(all) => all,
            // The same schema was asked before, so only a type that no longer fits it comes here.
            Err(error) => {
                self.outcome = Outcome::invalid(format!("spec.openapi: the document is refused: {error}"));
                return;
            }
        };
        let made: BTreeSet<ObjectRef> = objects.iter().map(Object::reference).collect();
        for gone in self.made.difference(&made) {
            world.delete(gone);
        }
        for object in objects {
            world.apply(object);
        }
        self.made = made;
        self.outcome = Outcome::good(Arc::new(spec));
        if import.findings_of(Class::Warning).next().is_some() {
            self.outcome.accepted.message = format!("spec.openapi: left out: {}", told(&import, Class::Warning));
        }
    }
}

/// The findings of a class, as a condition tells them.
fn told(import: &openapi::Import, class: Class) -> String {
    let all: Vec<String> = import.findings_of(class).map(ToString::to_string).collect();
    let mut text = all.iter().take(MOST_NAMED).map(String::as_str).collect::<Vec<_>>().join("; ");
    if all.len() > MOST_NAMED {
        text += &format!("; and {} more, see tollgate import", all.len() - MOST_NAMED);
    }
    text
}

fn text(world: &World, api: &ObjectRef, openapi: &OpenApi) -> Result<Arc<str>, (Reason, String)> {
    if let Some(inline) = &openapi.inline {
        return Ok(inline.as_str().into());
    }
    let Some(from) = &openapi.config_map_key_ref else {
        let message = "spec.openapi: set exactly one of inline and configMapKeyRef".to_owned();
        return Err((Reason::DocumentNotFound, message));
    };
    let map = ObjectRef::new(Kind::ConfigMap, &api.namespace, &from.name);
    let at = "spec.openapi.configMapKeyRef";
    match world.documents(&map) {
        None => {
            Err((Reason::DocumentNotFound, format!("{at}: {map} does not exist: create it or correct the name")))
        }
        Some(item) => item.spec.get(&from.key).cloned().ok_or_else(|| {
            let key = &from.key;
            let message = format!(
                "{at}: {map} has no OpenAPI document under the key {key:?}: add it, or name another in configMapKeyRef.key"
            );
            (Reason::DocumentNotFound, message)
        }),
    }
}

/// An object as it stands in the world: under a name that no user's object can have.
fn object(made: &Made, api: &ObjectRef, uid: &str) -> Result<Object, serde_json::Error> {
    let named = |name: &str| format!("{}{MARK}{name}", api.name);
    let mut value = made.object.clone();
    value["metadata"]["uid"] = Value::from(uid);
    if made.kind != "HttpApi" {
        value["metadata"]["name"] = Value::from(named(made.name()));
    }
    for field in ["integrationRef", "authorizerRef"] {
        if let Some(name) = value["spec"][field]["name"].as_str().map(named) {
            value["spec"][field]["name"] = Value::from(name);
        }
    }
    Ok(match made.kind {
        "HttpApi" => Object::from(serde_json::from_value::<HttpApi>(value)?),
        "Authorizer" => Object::from(serde_json::from_value::<Authorizer>(value)?),
        "Integration" => Object::from(serde_json::from_value::<Integration>(value)?),
        _ => Object::from(serde_json::from_value::<Route>(value)?),
    })
}

/// Routes of the last deployment that came from a document which cannot be used now: each takes its place, is refused
/// itself, and so serves what it served.
fn stand_ins(
    world: &mut World,
    api: &ObjectRef,
    item: &Item<HttpApiSpec>,
    restored: Option<&Deployment>,
) -> BTreeSet<ObjectRef> {
    let prefix = format!("{}/{}{MARK}", api.namespace, api.name);
    let routes = restored.iter().flat_map(|deployment| &deployment.routes);
    let made: Vec<Route> = routes
        .filter_map(|route| {
            let name = route.source.strip_prefix(&prefix)?;
            let spec = RouteSpec {
                integration_ref: Some(LocalRef::new(format!("{}{MARK}", api.name))),
                ..RouteSpec::new(&api.name, &route.key)
            };
            let mut object = Route::new(&format!("{}{MARK}{name}", api.name), spec);
            object.metadata.namespace = Some(api.namespace.clone());
            object.metadata.uid = Some(item.uid.clone());
            Some(object)
        })
        .collect();
    made.into_iter()
        .map(|route| {
            let object = Object::from(route);
            let name = object.reference();
            world.apply(object);
            name
        })
        .collect()
}

/// The API's fields with those of its document; `Err` when both say something else about one.
pub(crate) fn merged(spec: &HttpApiSpec, document: &HttpApiSpec) -> Result<HttpApiSpec, String> {
    let mut merged = spec.clone();
    if document.cors_configuration.is_some() {
        if spec.cors_configuration.is_some() {
            return Err(both("corsConfiguration"));
        }
        merged.cors_configuration.clone_from(&document.cors_configuration);
    }
    if document.limits.is_some_and(|limits| limits.timeout_in_millis.is_some()) {
        let message = "spec.openapi: limits.timeoutInMillis of an API cannot come from its document: set spec.limits.timeoutInMillis instead";
        return Err(message.to_owned());
    }
    if document.limits.is_some() {
        if spec.limits.is_some() {
            return Err(both("limits"));
        }
        merged.limits.clone_from(&document.limits);
    }
    merged.disable_execute_api_endpoint |= document.disable_execute_api_endpoint;
    let elsewhere = [
        ("apiId", document.api_id.is_some()),
        ("endpointType", document.endpoint_type != EndpointType::default()),
        ("openapi", document.openapi.is_some()),
    ];
    match elsewhere.into_iter().find(|(_, set)| *set) {
        Some((field, _)) => {
            Err(format!("spec.openapi: {field} of an API cannot come from its document: set spec.{field} instead"))
        }
        None => Ok(merged),
    }
}

fn both(field: &str) -> String {
    format!("spec.{field}: the document of spec.openapi sets it too: remove one of the two")
}

/// What is wrong with the routes of a document, for the conditions of their API.
pub(crate) fn about_routes(routes: impl Iterator<Item = (String, Verdict)>) -> Option<Verdict> {
    let refused: Vec<(String, Verdict)> = routes.filter(|(_, verdict)| !verdict.ok).collect();
    let reason = refused.first()?.1.reason;
    let told = |(key, verdict): &(String, Verdict)| format!("{key}: {}", verdict.message);
    let mut message = refused.iter().take(MOST_NAMED).map(told).collect::<Vec<_>>().join("; ");
    if refused.len() > MOST_NAMED {
        message += &format!("; and {} more routes", refused.len() - MOST_NAMED);
    }
    Some(Verdict::no(reason, format!("spec.openapi: {message}")))
}
