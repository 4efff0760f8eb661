//! Stages as they run: a deployment with the stage's variables, limits and log format.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::backend::{Backend, BackendTemplate, HttpCall, Integration, OutgoingPath, parse_origin};
use super::{Deployment, Destination};
use crate::access_log::Format;
use crate::mapping::Mapping;
use crate::reject::Reject;
use crate::snapshot::{self, ApiIdentity, Problem};
use crate::throttle::{AccountLimit, Bucket, Limit, MeterKey, Meters, detailed_metrics, route_limit};

/// A stage as it runs.
#[derive(Debug)]
pub struct Stage {
    /// The API.
    pub api: ApiIdentity,
    /// `$default` or the first path segment.
    pub stage_name: Box<str>,
    /// What it serves; `None`: never deployed (H-ROUTE-15).
    pub deployment: Option<Arc<Deployment>>,
    /// `stageVariables`.
    pub stage_variables: BTreeMap<String, String>,
    /// Access log, if on.
    pub access_log: Option<Format>,
    /// By the deployment's integration numbers.
    pub calls: Vec<Result<Call, Reject>>,
    /// By the deployment's route numbers.
    pub policies: Vec<RoutePolicy>,
}

/// A backend with the stage's variables filled in.
#[derive(Clone, Debug)]
pub struct Call {
    /// From sending the request to the complete response (H-INT-4).
    pub timeout: Duration,
    /// What to call.
    pub backend: Backend,
    /// What is changed on the way there and back.
    pub mapping: Option<Arc<Mapping>>,
}

/// What a stage says about one route.
#[derive(Clone, Debug, Default)]
pub struct RoutePolicy {
    /// Throttle; `None`: only the account's.
    pub throttle: Option<(Limit, Arc<Bucket>)>,
    /// Metrics per route (H-MET-8).
    pub detailed_metrics: bool,
}

impl Stage {
    /// Whether its name never stands in a URL (H-ROUTE-12).
    pub fn is_default(&self) -> bool {
        &*self.stage_name == "$default"
    }

    /// Compiles what travelled over `deployment`, the one that `wire` names. Buckets are those that `meters` already has
    /// (promise P6). Problems name what answers 500 or is not logged.
    pub fn compile(
        wire: &snapshot::Stage,
        deployment: Option<Arc<Deployment>>,
        account: &AccountLimit,
        meters: &Meters,
        now_ns: u64,
    ) -> (Self, Vec<Problem>) {
        let snapshot::Stage {
            api,
            source,
            stage_name,
            deployment: _,
            stage_variables,
            default_route_settings,
            route_settings,
            access_log_settings,
            authorizer_cache: _,
        } = wire;
        let mut problems = Vec::new();
        let problem = |path: String, message: String| Problem { source: source.clone(), path, message };
        let access_log = access_log_settings.as_ref().and_then(|settings| match Format::parse(&settings.format) {
            Ok(format) => Some(format),
            Err(error) => {
                problems.push(problem("accessLogSettings.format".to_owned(), error.to_string()));
                None
            }
        });
        let calls = deployment.iter().flat_map(|deployment| &deployment.integrations);
        let calls = calls
            .map(|integration| {
                call(integration, stage_variables).map_err(|message| {
                    problems.push(problem("stageVariables".to_owned(), message));
                    Reject::UndefinedVariable
                })
            })
            .collect();
        let routes = deployment.iter().flat_map(|deployment| &deployment.routes);
        let policies = routes
            .map(|route| {
                let settings = route_settings.get(&*route.key_text);
                let throttle = route_limit(default_route_settings, settings, account).map(|limit| {
                    let key = MeterKey {
                        api_id: api.api_id.as_str().into(),
                        stage: stage_name.as_str().into(),
                        route_key: route.key_text.clone(),
                    };
                    (limit, meters.bucket(key, limit, now_ns))
                });
                RoutePolicy { throttle, detailed_metrics: detailed_metrics(default_route_settings, settings) }
            })
            .collect();
        let stage = Self {
            api: api.clone(),
            stage_name: stage_name.as_str().into(),
            deployment,
            stage_variables: stage_variables.clone(),
            access_log,
            calls,
            policies,
        };
        (stage, problems)
    }
}

fn call(integration: &Integration, variables: &BTreeMap<String, String>) -> Result<Call, String> {
    let backend = match &integration.backend {
        BackendTemplate::Service { service, path, method, tls, link, protocol } => Backend::Http(HttpCall {
            destination: Destination::Service { service: service.clone(), tls: tls.clone(), link: link.clone() },
            method: method.clone(),
            path: match path {
                None => OutgoingPath::AsReceived,
                Some(path) => OutgoingPath::Template(path.with_stage(variables).map_err(|error| error.to_string())?),
            },
            protocol: *protocol,
        }),
        BackendTemplate::Http { origin, path, method, tls, protocol } => {
            let origin = origin.with_stage(variables).map_err(|error| error.to_string())?;
            let text = origin.as_text().expect("the host holds no path variables, and stage variables are filled in");
            Backend::Http(HttpCall {
                destination: parse_origin(text, tls.as_ref())?,
                method: method.clone(),
                path: OutgoingPath::Template(path.with_stage(variables).map_err(|error| error.to_string())?),
                protocol: *protocol,
            })
        }
        BackendTemplate::Lambda(lambda) => Backend::Lambda(lambda.with_stage(variables)?),
        BackendTemplate::Aws(aws) => Backend::Aws(Arc::clone(aws)),
    };
    Ok(Call { timeout: integration.timeout, backend, mapping: integration.mapping.clone() })
}
