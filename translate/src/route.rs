//! From a Route to its part of a deployment.

use std::collections::BTreeMap;
use std::sync::Arc;

use tollgate_crds::{AuthorizationType, RouteSpec};
use tollgate_engine::route::RouteKey;
use tollgate_engine::snapshot::{self, ApiKeySource, Authorization, Deployment, RouteTarget};

use crate::backend::{self, Backend, Place};
use crate::outcome::Outcome;
use crate::{Kind, ObjectRef, Reason, Verdict, World, authorizer};

/// Everything that one route puts into a deployment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RoutePart {
    pub(crate) key: Key,
    pub(crate) authorization: Authorization,
    pub(crate) api_key_required: bool,
    /// Matters only when one is required.
    pub(crate) api_key_source: ApiKeySource,
    pub(crate) integration: IntegrationUse,
    /// What `authorization` names.
    pub(crate) authorizer: Option<Arc<snapshot::Authorizer>>,
}

/// A route key that parses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    /// As written.
    pub(crate) text: Arc<str>,
    /// Equal for keys that conflict (H-ROUTE-6).
    pub(crate) shape: Arc<str>,
}

/// Where the backend of a route comes from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum IntegrationUse {
    /// The route has none (H-ROUTE-8).
    None,
    /// Of this route alone.
    Own(Arc<Backend>),
    /// An Integration, by name.
    Shared(String, Arc<Backend>),
}

impl IntegrationUse {
    pub(crate) fn backend(&self) -> Option<&Arc<Backend>> {
        match self {
            Self::None => None,
            Self::Own(backend) | Self::Shared(_, backend) => Some(backend),
        }
    }
}

/// The accepted versions of what routes share, by object.
pub(crate) trait Shared {
    /// The accepted version of an Integration, the current one or the last; `None` when there never was one.
    fn integration(&self, object: &ObjectRef) -> Option<Arc<Backend>>;
    /// The same for an Authorizer.
    fn authorizer(&self, object: &ObjectRef) -> Option<Arc<snapshot::Authorizer>>;
}

/// What came of a route.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RouteOutcome {
    /// The key that it asks for, when it is one.
    pub(crate) wanted: Option<Key>,
    pub(crate) outcome: Outcome<Arc<RoutePart>>,
}

/// The part of a route, looked at alone: conflicts with other routes come later.
pub(crate) fn evaluate(world: &World, shared: &impl Shared, object: &ObjectRef, spec: &RouteSpec) -> RouteOutcome {
    let parsed: RouteKey = match spec.route_key.parse() {
        Ok(parsed) => parsed,
        Err(error) => {
            let message = format!("spec.routeKey: {error}");
            return RouteOutcome { wanted: None, outcome: Outcome::invalid(message) };
        }
    };
    let key = Key { text: spec.route_key.as_str().into(), shape: parsed.shape().into() };
    let integration = integration(world, shared, object, spec, &parsed);
    let authorizer = access(world, shared, object, spec);
    let accepted = first_no(&authorizer.accepted, &integration.accepted);
    let resolved = first_no(&authorizer.resolved, &integration.resolved);
    let value = match (integration.value, authorizer.value) {
        (Some(integration), Some((authorization, authorizer))) => {
            let (api_key_required, key) = (spec.api_key_required, key.clone());
            let api = ObjectRef::new(Kind::HttpApi, &object.namespace, &spec.api_ref.name);
            let api_key_source = if api_key_required { key_source(world, &api) } else { ApiKeySource::Header };
            let part = RoutePart { key, authorization, api_key_required, api_key_source, integration, authorizer };
            Some(Arc::new(part))
        }
        _ => None,
    };
    RouteOutcome { wanted: Some(key), outcome: Outcome { value, accepted, resolved } }
}

/// What is said about access comes first, since it matters more.
fn first_no(first: &Verdict, second: &Verdict) -> Verdict {
    if first.ok { second.clone() } else { first.clone() }
}

fn integration(
    world: &World,
    shared: &impl Shared,
    route: &ObjectRef,
    spec: &RouteSpec,
    key: &RouteKey,
) -> Outcome<IntegrationUse> {
    let (field, mut outcome) = match (&spec.integration, &spec.integration_ref) {
        (Some(_), Some(_)) => {
            return Outcome::invalid("spec.integration and spec.integrationRef are both set: remove one of them");
        }
        (None, None) => return Outcome::good(IntegrationUse::None),
        (Some(own), None) => {
            let place = Place {
                namespace: &route.namespace,
                source: format!("Route/{}", route.source()),
                path: "spec.integration",
            };
            ("spec.integration", backend::evaluate(world, &place, own).map(IntegrationUse::Own))
        }
        (None, Some(to)) => {
            let object = ObjectRef::new(Kind::Integration, &route.namespace, &to.name);
            ("spec.integrationRef", shared_integration(world, shared, &object))
        }
    };
    let backend = outcome.value.as_ref().and_then(IntegrationUse::backend);
    let timeout = backend.map_or(0, |backend| backend.content.timeout_in_millis);
    let most = most_timeout(world, &ObjectRef::new(Kind::HttpApi, &route.namespace, &spec.api_ref.name));
    if timeout > most {
        outcome = Outcome::invalid(format!(
            "{field}: timeoutInMillis: {timeout} is more than the {most} that the API allows: lower it, or raise spec.limits.timeoutInMillis of HttpApi {}",
            spec.api_ref.name
        ));
    } else if let Some(Err(message)) = backend.map(|backend| backend.fits(variables(key))) {
        outcome = Outcome::invalid(format!("{field}: {message}"));
    }
    outcome
}

/// AWS's longest timeout (H-INT-3).
const AWS_TIMEOUT: u32 = 30_000;

/// The longest timeout that an API allows, in milliseconds.
pub(crate) fn most_timeout(world: &World, api: &ObjectRef) -> u32 {
    let limits = world.http_api(api).and_then(|item| item.spec.limits);
    limits.and_then(|limits| limits.timeout_in_millis).map_or(AWS_TIMEOUT, i32::unsigned_abs)
}

/// Where callers of an API have their keys (R-KEY-5).
pub(crate) fn key_source(world: &World, api: &ObjectRef) -> ApiKeySource {
    match world.http_api(api).map(|item| item.spec.api_key_source) {
        Some(tollgate_crds::ApiKeySource::Authorizer) => ApiKeySource::Authorizer,
        Some(tollgate_crds::ApiKeySource::Header) | None => ApiKeySource::Header,
    }
}

/// Names of the key's variables.
pub(crate) fn variables(key: &RouteKey) -> impl Iterator<Item = &str> + Clone {
    let names: Vec<&str> = key.path().into_iter().flat_map(|path| path.variables()).collect();
    names.into_iter()
}

fn shared_integration(world: &World, shared: &impl Shared, object: &ObjectRef) -> Outcome<IntegrationUse> {
    let name = &object.name;
    if world.integration(object).is_none() {
        return Outcome::unresolved(
            Reason::IntegrationNotFound,
            format!("spec.integrationRef: {object} does not exist: create it or correct the name"),
        );
    }
    match shared.integration(object) {
        Some(backend) => {
            let mut outcome = Outcome::good(IntegrationUse::Shared(name.clone(), Arc::clone(&backend)));
            let place = Place { namespace: &object.namespace, source: String::new(), path: "spec.integrationRef" };
            outcome.resolved = backend.resolved(world, &place, "");
            outcome
        }
        None => Outcome::unresolved(
            Reason::IntegrationNotAccepted,
            format!("spec.integrationRef: {object} is refused: see its conditions"),
        ),
    }
}

type Access = (Authorization, Option<Arc<snapshot::Authorizer>>);

fn access(world: &World, shared: &impl Shared, route: &ObjectRef, spec: &RouteSpec) -> Outcome<Access> {
    let scopes = spec.authorization_scopes.clone();
    if spec.authorization_type != AuthorizationType::Jwt && !scopes.is_empty() {
        return Outcome::invalid(
            "spec.authorizationScopes are checked for authorizationType JWT only: set authorizationType, or remove them",
        );
    }
    let (wanted, kind) = match (spec.authorization_type, &spec.authorizer_ref) {
        (AuthorizationType::None, None) => return Outcome::good((Authorization::None, None)),
        (AuthorizationType::AwsIam, None) => return Outcome::good((Authorization::Iam, None)),
        (AuthorizationType::None | AuthorizationType::AwsIam, Some(_)) => {
            return Outcome::invalid(
                "spec.authorizerRef has no effect while authorizationType is NONE or AWS_IAM: set authorizationType to JWT or CUSTOM, or remove authorizerRef",
            );
        }
        // The words of AWS (H-AUTH-2), and the field.
        (AuthorizationType::Jwt, None) => {
            return Outcome::invalid(
                "spec.authorizerRef is missing: setting the authorization type to JWT requires a valid JWT authorizer",
            );
        }
        (AuthorizationType::Custom, None) => {
            return Outcome::invalid(
                "spec.authorizerRef is missing: setting the authorization type to CUSTOM requires a lambda authorizer",
            );
        }
        (AuthorizationType::Jwt, Some(to)) => (Authorization::Jwt { authorizer: to.name.clone(), scopes }, "JWT"),
        (AuthorizationType::Custom, Some(to)) => (Authorization::Custom { authorizer: to.name.clone() }, "CUSTOM"),
    };
    let object = ObjectRef::new(Kind::Authorizer, &route.namespace, wanted.authorizer().unwrap_or_default());
    if world.authorizer(&object).is_none() {
        return Outcome::unresolved(
            Reason::AuthorizerNotFound,
            format!("spec.authorizerRef: {object} does not exist: create it or correct the name"),
        );
    }
    match shared.authorizer(&object) {
        Some(check) if authorizer::fits(&wanted, &check) => Outcome::good((wanted, Some(check))),
        Some(_) => Outcome::invalid(format!(
            "spec.authorizerRef: {object} is of another type than authorizationType {kind} needs: JWT goes with jwt, CUSTOM with lambda"
        )),
        None => Outcome::unresolved(
            Reason::AuthorizerNotAccepted,
            format!("spec.authorizerRef: {object} is refused: see its conditions"),
        ),
    }
}

/// The last accepted version of a route with what the objects that it shares say now: their own changes hold for it too.
/// A shared object that is gone, or that no longer fits the route, stays as the route knew it.
pub(crate) fn refreshed(shared: &impl Shared, namespace: &str, part: &Arc<RoutePart>) -> Arc<RoutePart> {
    let mut fresh = RoutePart::clone(part);
    if let IntegrationUse::Shared(name, backend) = &mut fresh.integration
        && let Some(now) = shared.integration(&ObjectRef::new(Kind::Integration, namespace, name.as_str()))
        && let Ok(key) = part.key.text.parse::<RouteKey>()
        && now.fits(variables(&key)).is_ok()
        // A longer timeout than the API was seen to allow waits until the route itself is accepted with it.
        && now.content.timeout_in_millis <= backend.content.timeout_in_millis.max(AWS_TIMEOUT)
    {
        *backend = now;
    }
    if let Some(name) = fresh.authorization.authorizer()
        && let Some(now) = shared.authorizer(&ObjectRef::new(Kind::Authorizer, namespace, name))
        && authorizer::fits(&fresh.authorization, &now)
    {
        fresh.authorizer = Some(now);
    }
    if fresh == **part { Arc::clone(part) } else { Arc::new(fresh) }
}

/// The parts of the routes of a recorded deployment, by name of the Route. Routes that answered 500 for being refused have
/// none.
pub(crate) fn restored(deployment: &Deployment) -> BTreeMap<String, Arc<RoutePart>> {
    let backends: BTreeMap<&str, Arc<Backend>> =
        deployment.integrations.iter().map(|(id, content)| (id.as_str(), Backend::restored(content.clone()))).collect();
    let part = |route: &snapshot::Route| {
        let name = route.source.split_once('/')?.1.to_owned();
        let shape = route.key.parse::<RouteKey>().ok()?.shape();
        let integration = match &route.target {
            RouteTarget::Integration { id } => {
                let backend = Arc::clone(backends.get(id.as_str())?);
                match backend.content.source.strip_prefix("Integration/").and_then(|source| source.split_once('/')) {
                    Some((_, shared)) => IntegrationUse::Shared(shared.to_owned(), backend),
                    None => IntegrationUse::Own(backend),
                }
            }
            RouteTarget::None => IntegrationUse::None,
            RouteTarget::Refused | RouteTarget::Unknown => return None,
        };
        let (authorization, authorizer) = match (&route.authorization, route.authorization.authorizer()) {
            (Authorization::Unknown, _) => return None,
            (open, None) => (open.clone(), None),
            (closed, Some(name)) => {
                let check = deployment.authorizers.get(name)?.clone();
                (closed.naming(check.source.split_once('/')?.1), Some(Arc::new(check)))
            }
        };
        let key = Key { text: route.key.as_str().into(), shape: shape.into() };
        let (api_key_required, api_key_source) = (route.api_key_required, route.api_key_source);
        let part = RoutePart { key, authorization, api_key_required, api_key_source, integration, authorizer };
        Some((name, Arc::new(part)))
    };
    deployment.routes.iter().filter_map(part).collect()
}
