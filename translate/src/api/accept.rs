//! What an HttpApi itself says: its id and its own fields.

use tollgate_crds::{EndpointType, HttpApiSpec};
use tollgate_engine::cors;
use tollgate_engine::snapshot::{self, ApiIdentity};

use super::{ApiState, Scope};
use crate::api_id::ApiIds;
use crate::content::Built;
use crate::document;
use crate::outcome::Outcome;
use crate::route;
use crate::world::Item;
use crate::{ObjectRef, Reason, Verdict};
/// What an HttpApi itself puts into its deployment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ApiPart {
    pub(crate) disable_execute_api_endpoint: bool,
    pub(crate) cors: Option<snapshot::Cors>,
    pub(crate) limits: snapshot::Limits,
    pub(crate) private: bool,
    /// Tells versions of its document apart: a new one has to be acknowledged.
    pub(crate) document: Option<snapshot::ContentHash>,
}

impl ApiState {
    /// Finds the API's id and looks at its own fields.
    pub(super) fn accept<S>(
        &mut self,
        api: &ObjectRef,
        item: &Item<HttpApiSpec>,
        scope: &mut Scope<'_, S>,
    ) -> (Outcome<()>, bool) {
        if let Some(deployment) = scope.restored.take()
            && self.part.is_none()
        {
            self.part = Some(ApiPart {
                disable_execute_api_endpoint: deployment.disable_execute_api_endpoint,
                cors: deployment.cors.clone(),
                limits: deployment.limits.clone(),
                private: item.spec.endpoint_type == EndpointType::Private,
                document: None,
            });
            let parts = route::restored(&deployment);
            self.recorded.push_back(Built::restored(deployment));
            for (name, part) in parts {
                if let Some(state) = self.routes.get_mut(&name) {
                    state.last = Some(part);
                }
            }
        }
        let (outcome, id) = match claim(api, item, scope.ids) {
            Ok(id) => (with_document(&item.spec, scope.document), Some(id)),
            Err(verdict) => (Outcome::refused(verdict.reason, verdict.message), None),
        };
        let identity =
            id.map(|api_id| ApiIdentity { api_id, namespace: api.namespace.clone(), name: api.name.clone() });
        // Refused for its id, the API stays where it was.
        let identity = identity.or_else(|| self.identity.clone());
        let moved = identity != self.identity;
        self.identity = identity;
        let good = outcome.value.as_ref().map(|_| ());
        let outcome_value = outcome.value.map(|part| ApiPart { document: document_hash(scope.document), ..part });
        if let Some(part) = outcome_value
            && (moved || self.part.as_ref() != Some(&part))
        {
            self.part = Some(part);
            self.since = scope.revision;
        }
        (Outcome { value: good, accepted: outcome.accepted, resolved: outcome.resolved }, moved)
    }
}

/// What an API and its document say together.
fn with_document(spec: &HttpApiSpec, document: Option<&document::State>) -> Outcome<ApiPart> {
    let Some(document) = document else { return api_part(spec) };
    let Some(says) = &document.outcome.value else { return document.outcome.clone().map(|_| ApiPart::default()) };
    match document::merged(spec, says) {
        Err(message) => Outcome::invalid(message),
        Ok(merged) => {
            let mut outcome = api_part(&merged);
            if outcome.accepted.ok {
                outcome.accepted.message.clone_from(&document.outcome.accepted.message);
            }
            outcome
        }
    }
}

fn claim(api: &ObjectRef, item: &Item<HttpApiSpec>, ids: &mut ApiIds) -> Result<String, Verdict> {
    let Some(id) = &item.spec.api_id else {
        // Objects from files have no uid.
        let name = api.source();
        return Ok(ids.derive(api, if item.uid.is_empty() { &name } else { &item.uid }));
    };
    match ids.claim(api, id) {
        Ok(()) => Ok(id.clone()),
        Err(owner) => Err(Verdict::no(
            Reason::ApiIdConflict,
            format!("spec.apiId: {id:?} is the id of {owner}: create the API with another apiId, or without one"),
        )),
    }
}

fn api_part(spec: &HttpApiSpec) -> Outcome<ApiPart> {
    let cors = spec.cors_configuration.as_ref().map(|cors| snapshot::Cors {
        allow_origins: cors.allow_origins.clone(),
        allow_methods: cors.allow_methods.clone(),
        allow_headers: cors.allow_headers.clone(),
        expose_headers: cors.expose_headers.clone(),
        allow_credentials: cors.allow_credentials.unwrap_or_default(),
        max_age: cors.max_age,
    });
    if let Some(Err(problems)) = cors.as_ref().map(cors::Cors::compile) {
        let all: Vec<String> = problems
            .iter()
            .map(|problem| format!("spec.corsConfiguration.{}: {}", problem.path, problem.message))
            .collect();
        return Outcome::invalid(all.join("; "));
    }
    Outcome::good(ApiPart {
        disable_execute_api_endpoint: spec.disable_execute_api_endpoint,
        cors,
        limits: snapshot::Limits {
            payload_bytes: spec.limits.and_then(|limits| limits.payload_bytes).map(i64::unsigned_abs),
        },
        private: spec.endpoint_type == EndpointType::Private,
        document: None,
    })
}

fn document_hash(document: Option<&document::State>) -> Option<snapshot::ContentHash> {
    document.and_then(document::State::hash)
}
