//! What runs: deployments and stages compiled from [`crate::snapshot`].
//!
//! Parsed once, with all problems kept and their paths named. What cannot run answers 500 by itself and disturbs nothing
//! else (promises P1 and P3). The controller compiles before it publishes, the proxy before it serves; both by this code.

mod backend;
mod function;
mod stage;

pub(crate) use backend::parse_origin;
pub use backend::{Backend, Destination, HttpCall, Integration, OutgoingPath};
pub use function::{FunctionSigning, LambdaCall};
pub use stage::{Call, RoutePolicy, Stage};

use std::collections::HashMap;

use rustc_hash::FxBuildHasher;

use crate::cors::Cors;
use crate::jwt::JwtPolicy;
use crate::lambda_authorizer::LambdaPolicy;
use crate::reject::Reject;
use crate::route::{Matcher, MatcherBuilder, Method, PathShape, RouteKey};
use crate::snapshot::{self, ApiIdentity, ApiKeySource, ContentHash, Problem};

/// AWS's largest body (H-SIZE-2).
pub const PAYLOAD_BYTES: u64 = 10 * 1024 * 1024;
/// AWS's largest request line with headers (H-SIZE-1).
pub const HEAD_BYTES: usize = 10_240;

/// Names of behaviour in [`snapshot::Route::requires`] that this version knows.
pub const KNOWN_BEHAVIOUR: [&str; 6] = [
    snapshot::PARAMETER_MAPPING,
    snapshot::REQUIRES_API_KEY_SOURCE,
    snapshot::REQUIRES_USAGE_PLANS,
    snapshot::VPC_LINK,
    snapshot::HTTP2_BACKEND,
    snapshot::FUNCTION_LINK,
];

/// An API as it runs. Immutable; stages share it.
#[derive(Debug)]
pub struct Deployment {
    /// Its identity.
    pub hash: ContentHash,
    /// The API.
    pub api: ApiIdentity,
    /// The `execute-api` host is closed (H-ROUTE-34).
    pub disable_execute_api_endpoint: bool,
    /// CORS handling, if on.
    pub cors: Option<Cors>,
    /// Largest body in either direction, bytes.
    pub payload_bytes: u64,
    /// Routes by number.
    pub routes: Vec<Route>,
    /// Authorizers by number.
    pub authorizers: Vec<Authorizer>,
    /// Integrations by number; stage variables are not filled in yet.
    pub integrations: Vec<Integration>,
    matcher: Matcher,
}

/// One authorizer as it runs.
#[derive(Debug)]
pub struct Authorizer {
    /// As it travelled: its identity for what is remembered of it, e.g. verified tokens.
    pub wire: snapshot::Authorizer,
    /// What decides.
    pub check: Check,
}

/// What an authorizer decides by, as it runs.
#[derive(Debug)]
pub enum Check {
    /// What tokens have to satisfy.
    Jwt(JwtPolicy),
    /// A function.
    Lambda(Box<LambdaPolicy>),
}

impl Authorizer {
    /// Compiles what travelled. Paths of problems start at the authorizer.
    ///
    /// # Errors
    /// Whatever keeps it from running.
    pub fn compile(wire: &snapshot::Authorizer) -> Result<Self, Vec<Problem>> {
        let check = match &wire.check {
            snapshot::AuthorizerCheck::Lambda { .. } => Check::Lambda(Box::new(LambdaPolicy::compile(wire)?)),
            snapshot::AuthorizerCheck::Jwt { .. } | snapshot::AuthorizerCheck::Unknown => {
                Check::Jwt(JwtPolicy::compile(wire)?)
            }
        };
        Ok(Self { wire: wire.clone(), check })
    }
}

/// One route as it runs.
#[derive(Debug)]
pub struct Route {
    /// The parsed key.
    pub key: RouteKey,
    /// The key as written, for events, logs and metrics.
    pub key_text: Box<str>,
    /// `namespace/name` of the Route object.
    pub source: Box<str>,
    /// Who may call.
    pub authorization: Authorization,
    /// Callers are metered by a usage plan (R-KEY-6).
    pub api_key_required: bool,
    /// Where their key is.
    pub api_key_source: ApiKeySource,
    /// What answers.
    pub target: Target,
}

/// Who may call a route.
#[derive(Debug)]
pub enum Authorization {
    /// Anyone.
    Open,
    /// Bearers of an accepted token.
    Jwt {
        /// Number of the authorizer.
        authorizer: usize,
        /// The token must have one of these; empty: not checked (H-JWT-14).
        scopes: Box<[String]>,
    },
    /// Callers that a function lets in.
    Custom {
        /// Number of the authorizer.
        authorizer: usize,
    },
    /// Principals of the API's namespace.
    Iam,
}

/// What answers a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The integration with this number.
    Integration(usize),
    /// The gateway itself, always the same way.
    Reject(Reject),
}

impl Deployment {
    /// Compiles what travelled. The problems name what of it answers 500 instead of running; an empty list means that all runs.
    pub fn compile(wire: &snapshot::Deployment, hash: ContentHash) -> (Self, Vec<Problem>) {
        Self::compile_after(wire, hash, None)
    }

    /// The same, with what can be used again of another version of the API: of thousands of routes a change concerns one, and the keys
    /// of the others are parsed already.
    pub fn compile_after(
        wire: &snapshot::Deployment,
        hash: ContentHash,
        before: Option<&Self>,
    ) -> (Self, Vec<Problem>) {
        // A new field stops compiling here.
        let snapshot::Deployment {
            api,
            disable_execute_api_endpoint,
            cors,
            limits: snapshot::Limits { payload_bytes },
            authorizers,
            integrations,
            routes,
        } = wire;
        let mut problems = Vec::new();
        let cors = cors.as_ref().and_then(|cors| match Cors::compile(cors) {
            Ok(cors) => Some(cors),
            Err(found) => {
                // Without CORS headers browsers refuse the answers: closed, not open.
                problems.extend(found.into_iter().map(|problem| at("cors.", problem, "")));
                None
            }
        });
        let authorizers = Compiled::of(
            authorizers,
            |name, wire| {
                let named = |p| at(&format!("authorizers[{name}]."), p, &wire.source);
                Authorizer::compile(wire).map_err(|found| found.into_iter().map(named).collect())
            },
            &mut problems,
        );
        let integrations = Compiled::of(
            integrations,
            |id, integration| {
                Integration::compile(integration).map_err(|message| {
                    vec![Problem { source: integration.source.clone(), path: format!("integrations[{id}]"), message }]
                })
            },
            &mut problems,
        );

        let parsed = before.iter().flat_map(|before| &before.routes);
        let parsed: HashMap<&str, &RouteKey, FxBuildHasher> =
            parsed.map(|route| (&*route.key_text, &route.key)).collect();
        let mut builder = MatcherBuilder::default();
        let mut compiled = Vec::with_capacity(routes.len());
        for (index, route) in routes.iter().enumerate() {
            let problem = |field: &str, message: String| Problem {
                source: route.source.clone(),
                path: format!("routes[{index}].{field}"),
                message,
            };
            let key = match parsed.get(route.key.as_str()) {
                Some(&known) => known.clone(),
                None => match route.key.parse::<RouteKey>() {
                    Ok(key) => key,
                    Err(error) => {
                        problems.push(problem("key", format!("{error}")));
                        continue;
                    }
                },
            };
            let number = u32::try_from(compiled.len()).expect("a snapshot line is shorter than 4 GiB");
            if builder.insert(&key, number).is_err() {
                problems.push(problem("key", format!("{:?} is taken by another route", route.key)));
                continue;
            }
            let (authorization, target) = match resolve(route, &authorizers, &integrations, &key) {
                Ok(resolved) => resolved,
                Err((reject, field, message)) => {
                    if let Some(message) = message {
                        problems.push(problem(field, message));
                    }
                    (Authorization::Open, Target::Reject(reject))
                }
            };
            compiled.push(Route {
                key,
                key_text: route.key.as_str().into(),
                source: route.source.as_str().into(),
                authorization,
                api_key_required: route.api_key_required,
                api_key_source: route.api_key_source,
                target,
            });
        }
        let deployment = Self {
            hash,
            api: api.clone(),
            disable_execute_api_endpoint: *disable_execute_api_endpoint,
            cors,
            payload_bytes: payload_bytes.unwrap_or(PAYLOAD_BYTES),
            routes: compiled,
            authorizers: authorizers.items,
            integrations: integrations.items,
            matcher: builder.build(),
        };
        (deployment, problems)
    }

    /// The number of the route for a request to this API (H-ROUTE-16); `None` is 404. `path` is the stage path.
    pub fn find(&self, method: Method, path: &str, shape: PathShape) -> Option<usize> {
        self.matcher.find(method, path, shape).map(|number| number as usize)
    }
}

/// Items compiled from a map, found by their key while routes are resolved and by number afterwards.
struct Compiled<'w, T> {
    items: Vec<T>,
    /// In key order, as maps of snapshots are.
    names: Vec<(&'w str, Option<usize>)>,
}

impl<'w, T> Compiled<'w, T> {
    fn of<W>(
        wire: &'w std::collections::BTreeMap<String, W>,
        compile: impl Fn(&str, &W) -> Result<T, Vec<Problem>>,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let mut compiled = Self { items: Vec::with_capacity(wire.len()), names: Vec::with_capacity(wire.len()) };
        for (name, item) in wire {
            let number = match compile(name, item) {
                Ok(item) => {
                    compiled.items.push(item);
                    Some(compiled.items.len() - 1)
                }
                Err(found) => {
                    problems.extend(found);
                    None
                }
            };
            compiled.names.push((name, number));
        }
        compiled
    }

    /// `None`: there is no such name. `Some(None)`: it could not be compiled, which is reported already.
    fn number(&self, name: &str) -> Option<Option<usize>> {
        let index = self.names.binary_search_by(|(known, _)| (*known).cmp(name)).ok()?;
        Some(self.names[index].1)
    }
}

type Unresolved = (Reject, &'static str, Option<String>);

/// Authorization comes first: a route whose authorizer cannot be used never reaches its backend (promise P3).
fn resolve(
    route: &snapshot::Route,
    authorizers: &Compiled<'_, Authorizer>,
    integrations: &Compiled<'_, Integration>,
    key: &RouteKey,
) -> Result<(Authorization, Target), Unresolved> {
    if let Some(unknown) = route.requires.iter().find(|name| !KNOWN_BEHAVIOUR.contains(&name.as_str())) {
        let message = format!("{unknown:?} is not known to this version of the proxy: upgrade it");
        return Err((Reject::UnknownBehaviour, "requires", Some(message)));
    }
    let authorization = authorization(&route.authorization, authorizers)?;
    let target = match &route.target {
        snapshot::RouteTarget::Integration { id } => match integrations.number(id) {
            Some(Some(number)) => {
                integrations.items[number]
                    .check_variables(key)
                    .map_err(|error| (Reject::UnknownBehaviour, "target", Some(error.to_string())))?;
                Target::Integration(number)
            }
            Some(None) => Target::Reject(Reject::UnknownBehaviour),
            None => {
                let message = format!("there is no integration {id:?}");
                return Err((Reject::UnknownBehaviour, "target.id", Some(message)));
            }
        },
        snapshot::RouteTarget::None => Target::Reject(Reject::NoIntegration),
        snapshot::RouteTarget::Refused => Target::Reject(Reject::RefusedRoute),
        snapshot::RouteTarget::Unknown => {
            let message = "the kind of target is not known to this version of the proxy: upgrade it".to_owned();
            return Err((Reject::UnknownBehaviour, "target.type", Some(message)));
        }
    };
    Ok((authorization, target))
}

fn authorization(
    wire: &snapshot::Authorization,
    authorizers: &Compiled<'_, Authorizer>,
) -> Result<Authorization, Unresolved> {
    let number = |name: &str| match authorizers.number(name) {
        Some(Some(number)) => Ok(number),
        Some(None) => Err((Reject::AuthorizerFailure, "authorization", None)),
        None => {
            let message = format!("there is no authorizer {name:?}");
            Err((Reject::AuthorizerFailure, "authorization.authorizer", Some(message)))
        }
    };
    let misfit = |name: &str| {
        let message = format!("authorizer {name:?} is of another type than the route's authorization");
        (Reject::AuthorizerFailure, "authorization.authorizer", Some(message))
    };
    match wire {
        snapshot::Authorization::None => Ok(Authorization::Open),
        snapshot::Authorization::Iam => Ok(Authorization::Iam),
        snapshot::Authorization::Jwt { authorizer, scopes } => {
            let number = number(authorizer)?;
            match authorizers.items[number].check {
                Check::Jwt(_) => Ok(Authorization::Jwt { authorizer: number, scopes: scopes.clone().into() }),
                Check::Lambda(_) => Err(misfit(authorizer)),
            }
        }
        snapshot::Authorization::Custom { authorizer } => {
            let number = number(authorizer)?;
            match authorizers.items[number].check {
                Check::Lambda(_) => Ok(Authorization::Custom { authorizer: number }),
                Check::Jwt(_) => Err(misfit(authorizer)),
            }
        }
        snapshot::Authorization::Unknown => {
            let message = "the authorization type is not known to this version of the proxy: upgrade it".to_owned();
            Err((Reject::UnknownBehaviour, "authorization.type", Some(message)))
        }
    }
}

fn at(prefix: &str, mut problem: Problem, source: &str) -> Problem {
    problem.path.insert_str(0, prefix);
    if problem.source.is_empty() {
        source.clone_into(&mut problem.source);
    }
    problem
}

#[cfg(test)]
mod tests;
