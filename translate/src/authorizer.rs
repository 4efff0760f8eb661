//! From an Authorizer to the check that travels.

use std::sync::Arc;

use tollgate_crds::{AuthorizerSpec, JwtConfiguration, LambdaConfiguration};
use tollgate_engine::deployment;
use tollgate_engine::snapshot::{Authorization, Authorizer, AuthorizerCheck, Backend, ServicePort};

use crate::backend::{self, Place};
use crate::credentials;
use crate::outcome::Outcome;
use crate::{ObjectRef, Verdict, World};

/// Where clients put tokens unless told otherwise.
const USUAL_SOURCE: &str = "$request.header.Authorization";
/// How long answers are kept unless told otherwise (H-LA-3).
const USUAL_TTL: u32 = 300;

/// The check of an Authorizer (H-JWT-1, H-LA-1).
pub(crate) fn evaluate(world: &World, object: &ObjectRef, spec: &AuthorizerSpec) -> Outcome<Arc<Authorizer>> {
    let (identity_source, check) = match (&spec.jwt, &spec.lambda) {
        (Some(jwt), None) => {
            (spec.identity_source.clone().unwrap_or_else(|| vec![USUAL_SOURCE.to_owned()]), jwt_check(jwt))
        }
        (None, Some(lambda)) => {
            let sources = spec.identity_source.clone().unwrap_or_default();
            match lambda_check(&object.namespace, lambda, &sources) {
                Ok(check) => (sources, check),
                Err(message) => return Outcome::invalid(message),
            }
        }
        _ => return Outcome::invalid("spec has no way to decide or several: set exactly one of jwt and lambda"),
    };
    let field = if spec.jwt.is_some() { "jwt." } else { "lambda." };
    let authorizer = Authorizer { source: object.source(), identity_source, check };
    if let Err(problems) = deployment::Authorizer::compile(&authorizer) {
        let all: Vec<String> = problems
            .iter()
            .map(|problem| format!("spec.{}: {}", problem.path.replace("check.", field), problem.message))
            .collect();
        return Outcome::invalid(all.join("; "));
    }
    let place = Place { namespace: &object.namespace, source: object.source(), path: "spec.lambda.function" };
    let service = service_of(&authorizer)
        .map(|port| backend::missing_service(world, &place, port, "until then routes that use it answer 500"));
    let keys = credentials::of_authorizer(&authorizer)
        .map(|secret| credentials::verdict(world, "spec.lambda.function.credentialsRef", secret));
    let resolved = service.or(keys).unwrap_or_else(Verdict::resolved);
    Outcome { resolved, ..Outcome::good(Arc::new(authorizer)) }
}

fn jwt_check(jwt: &JwtConfiguration) -> AuthorizerCheck {
    let JwtConfiguration { issuer, audience, jwks_uri } = jwt.clone();
    AuthorizerCheck::Jwt { issuer, audience, jwks_uri }
}

fn lambda_check(namespace: &str, lambda: &LambdaConfiguration, sources: &[String]) -> Result<AuthorizerCheck, String> {
    let LambdaConfiguration {
        function,
        type_: _,
        payload_format_version,
        enable_simple_responses,
        result_ttl_in_seconds,
    } = lambda;
    let place = Place { namespace, source: String::new(), path: "spec.lambda.function" };
    let (backend, _) = backend::lambda_backend(&place, function, Some(*payload_format_version))?;
    let Backend::Lambda(function) = backend else { return Err(format!("{}: is no function", place.path)) };
    let ttl = match result_ttl_in_seconds {
        Some(ttl) => u32::try_from(*ttl)
            .map_err(|_| format!("spec.lambda.resultTtlInSeconds: {ttl} is negative: give 0 to 3600"))?,
        None if sources.is_empty() => 0,
        None => USUAL_TTL,
    };
    let enable_simple_responses = *enable_simple_responses;
    Ok(AuthorizerCheck::Lambda { function, enable_simple_responses, result_ttl_in_seconds: ttl })
}

/// The service whose pods decide.
pub(crate) fn service_of(authorizer: &Authorizer) -> Option<&ServicePort> {
    match &authorizer.check {
        AuthorizerCheck::Lambda { function, .. } => backend::function_service(function),
        AuthorizerCheck::Jwt { .. } | AuthorizerCheck::Unknown => None,
    }
}

/// Whether a route's authorization can use the authorizer (H-AUTH-2).
pub(crate) fn fits(authorization: &Authorization, authorizer: &Authorizer) -> bool {
    match authorization {
        Authorization::Jwt { .. } => matches!(authorizer.check, AuthorizerCheck::Jwt { .. }),
        Authorization::Custom { .. } => matches!(authorizer.check, AuthorizerCheck::Lambda { .. }),
        Authorization::None | Authorization::Iam | Authorization::Unknown => false,
    }
}
