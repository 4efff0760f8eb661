//! The JSON of a deployment, from pieces that are kept with the routes.
//!
//! With thousands of routes most of a translation would go into serialising those that did not change. So each route keeps
//! its piece, and a deployment is put together as text. The tests hold that this is what `serde` would write.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use serde::Serialize;
use tollgate_engine::snapshot::{
    self, ApiIdentity, ApiKeySource, Authorization, Authorizer, ContentHash, Deployment, REQUIRES_API_KEY_SOURCE,
    REQUIRES_USAGE_PLANS, RouteTarget, ServicePort, Unit,
};

use crate::api::ApiPart;
use crate::arrange::Slot;
use crate::backend::Backend;
use crate::content::{Built, Content};
use crate::route::{IntegrationUse, RoutePart};
use crate::{authorizer, credentials};

/// What a route adds to the JSON.
#[derive(Clone, Debug)]
pub(crate) struct Pieces {
    route: String,
    /// Id and `"id":{…}`; shared ones come from several routes.
    integration: Option<(String, String)>,
}

impl Pieces {
    /// The pieces of a version that is current, so that all names it uses mean the same to every route.
    pub(crate) fn of(namespace: &str, name: &str, part: &RoutePart) -> Self {
        let integration = integration_id(name, part).map(|(id, backend)| (id, Arc::clone(backend)));
        Self::named(namespace, name, part, integration, part.authorization.clone())
    }

    fn named(
        namespace: &str,
        name: &str,
        part: &RoutePart,
        integration: Option<(String, Arc<Backend>)>,
        authorization: Authorization,
    ) -> Self {
        let target = match &integration {
            Some((id, _)) => RouteTarget::Integration { id: id.clone() },
            None => RouteTarget::None,
        };
        let mut requires = integration.as_ref().map(|(_, backend)| backend.content.requires()).unwrap_or_default();
        if part.api_key_required {
            requires.push(REQUIRES_USAGE_PLANS.to_owned());
        }
        if part.api_key_source != ApiKeySource::Header {
            requires.push(REQUIRES_API_KEY_SOURCE.to_owned());
        }
        let access = (authorization, part.api_key_required, part.api_key_source);
        let route = route_json(namespace, name, &part.key.text, access, target, requires);
        let integration = integration.map(|(id, backend)| {
            let entry = format!("{}:{}", json(&id), json(&backend.content));
            (id, entry)
        });
        Self { route, integration }
    }
}

/// A route of the API and what it contributes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placed<'a> {
    pub(crate) name: &'a str,
    pub(crate) slot: &'a Slot,
    /// Of current versions.
    pub(crate) pieces: Option<&'a Pieces>,
}

/// The deployment of an API with these routes, which are in order of their names.
pub(crate) fn deployment(identity: &ApiIdentity, api: &ApiPart, routes: &[Placed<'_>]) -> Arc<Built> {
    let namespace = identity.namespace.as_str();
    let mut names = Names::of(routes);
    let mut made: Vec<Pieces> = Vec::new();
    for placed in routes {
        match placed.slot {
            Slot::Last(part) => made.push(names.pieces(namespace, placed.name, part)),
            Slot::Refused(key) => made.push(Pieces {
                route: route_json(
                    namespace,
                    placed.name,
                    &key.text,
                    (Authorization::None, false, ApiKeySource::Header),
                    RouteTarget::Refused,
                    Vec::new(),
                ),
                integration: None,
            }),
            Slot::Current(_) | Slot::Absent => {}
        }
    }
    let mut made = made.iter();
    let pieces: Vec<&Pieces> = routes
        .iter()
        .filter_map(|placed| match placed.slot {
            Slot::Current(_) => placed.pieces,
            Slot::Last(_) | Slot::Refused(_) => made.next(),
            Slot::Absent => None,
        })
        .collect();
    let mut integrations: Vec<&(String, String)> =
        pieces.iter().filter_map(|pieces| pieces.integration.as_ref()).collect();
    integrations.sort_by(|a, b| a.0.cmp(&b.0));
    integrations.dedup_by(|a, b| a.0 == b.0);
    let json = assemble(identity, api, &names.authorizers, &integrations, &pieces);
    let parts = routes.iter().filter_map(|placed| placed.slot.part());
    let secrets = parts
        .clone()
        .flat_map(|part| {
            let deciding = part.authorizer.as_deref().and_then(credentials::of_authorizer);
            part.integration.backend().and_then(|backend| backend.credentials()).into_iter().chain(deciding)
        })
        .cloned()
        .collect();
    let services: HashSet<&ServicePort> = parts
        .flat_map(|part| {
            let deciding = part.authorizer.as_deref().and_then(authorizer::service_of);
            part.integration.backend().and_then(|backend| backend.service()).into_iter().chain(deciding)
        })
        .collect();
    let keys = routes.iter().filter_map(|placed| placed.slot.key()).map(|key| Arc::clone(&key.text)).collect();
    Arc::new(Built::new(Content::of_json(json), services.into_iter().cloned().collect(), secrets, keys))
}

/// What names mean to the current versions of routes; last versions that mean something else get names of their own.
#[derive(Debug)]
struct Names<'a> {
    integrations: HashMap<&'a str, &'a Arc<Backend>>,
    authorizers: BTreeMap<String, Arc<Authorizer>>,
}

impl<'a> Names<'a> {
    fn of(routes: &[Placed<'a>]) -> Self {
        let mut integrations = HashMap::new();
        let mut authorizers: BTreeMap<String, Arc<Authorizer>> = BTreeMap::new();
        for placed in routes {
            let Slot::Current(part) = placed.slot else { continue };
            if let IntegrationUse::Shared(name, backend) = &part.integration {
                integrations.insert(name.as_str(), backend);
            }
            if let (Some(authorizer), Some(check)) = (part.authorization.authorizer(), &part.authorizer)
                && !authorizers.contains_key(authorizer)
            {
                authorizers.insert(authorizer.to_owned(), Arc::clone(check));
            }
        }
        Self { integrations, authorizers }
    }

    /// The pieces of a last accepted version.
    fn pieces(&mut self, namespace: &str, name: &str, part: &'a RoutePart) -> Pieces {
        let integration = integration_id(name, part).map(|(id, backend)| {
            let id = match &part.integration {
                IntegrationUse::Shared(name, _) => {
                    let known = *self.integrations.entry(name).or_insert(backend);
                    if known.content == backend.content { id } else { other_name(&id, &backend.content) }
                }
                _ => id,
            };
            (id, Arc::clone(backend))
        });
        let authorization = match (part.authorization.authorizer(), &part.authorizer) {
            (Some(authorizer), Some(check)) => {
                let known = self.authorizers.entry(authorizer.to_owned()).or_insert_with(|| Arc::clone(check));
                let authorizer = if known == check { authorizer.to_owned() } else { other_name(authorizer, &**check) };
                self.authorizers.entry(authorizer.clone()).or_insert_with(|| Arc::clone(check));
                part.authorization.naming(&authorizer)
            }
            _ => part.authorization.clone(),
        };
        Pieces::named(namespace, name, part, integration, authorization)
    }
}

fn integration_id<'p>(route: &str, part: &'p RoutePart) -> Option<(String, &'p Arc<Backend>)> {
    match &part.integration {
        IntegrationUse::None => None,
        // A slash is in no object's name, so these never meet those of Integrations.
        IntegrationUse::Own(backend) => Some((format!("route/{route}"), backend)),
        IntegrationUse::Shared(name, backend) => Some((name.clone(), backend)),
    }
}

/// Neither is an at sign.
fn other_name(name: &str, content: &impl Serialize) -> String {
    format!("{name}@{}", ContentHash::of(content))
}

/// `access`: who may call, whether callers are metered, and where their keys are.
fn route_json(
    namespace: &str,
    name: &str,
    key: &str,
    access: (Authorization, bool, ApiKeySource),
    target: RouteTarget,
    requires: Vec<String>,
) -> String {
    let source = format!("{namespace}/{name}");
    let (authorization, api_key_required, api_key_source) = access;
    let key = key.to_owned();
    json(&snapshot::Route { key, source, authorization, api_key_required, api_key_source, target, requires })
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("snapshot types have string keys and no failing serializer")
}

fn assemble(
    identity: &ApiIdentity,
    api: &ApiPart,
    authorizers: &BTreeMap<String, Arc<Authorizer>>,
    integrations: &[&(String, String)],
    pieces: &[&Pieces],
) -> String {
    let head = json(&Unit::Deployment(Deployment {
        api: identity.clone(),
        disable_execute_api_endpoint: api.disable_execute_api_endpoint,
        cors: api.cors.clone(),
        limits: api.limits.clone(),
        authorizers: authorizers.iter().map(|(name, check)| (name.clone(), Authorizer::clone(check))).collect(),
        integrations: BTreeMap::new(),
        routes: Vec::new(),
    }));
    let head = head.strip_suffix("\"routes\":[]}").expect("routes are the last field and never left out");
    let integrations_len: usize = integrations.iter().map(|(_, entry)| entry.len() + 1).sum();
    let routes_len: usize = pieces.iter().map(|pieces| pieces.route.len() + 1).sum();
    let mut text = String::with_capacity(head.len() + integrations_len + routes_len + 64);
    text.push_str(head);
    if !integrations.is_empty() {
        text.push_str("\"integrations\":{");
        join(&mut text, integrations.iter().map(|(_, entry)| entry.as_str()));
        text.push_str("},");
    }
    text.push_str("\"routes\":[");
    join(&mut text, pieces.iter().map(|pieces| pieces.route.as_str()));
    text.push_str("]}");
    text
}

fn join<'t>(text: &mut String, items: impl Iterator<Item = &'t str>) {
    for (index, item) in items.enumerate() {
        if index > 0 {
            text.push(',');
        }
        text.push_str(item);
    }
}
