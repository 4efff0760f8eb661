//! From an Authorizer to the check that travels.

use std::sync::Arc;

use tollgate_crds::AuthorizerSpec;
use tollgate_engine::jwt::JwtPolicy;
use tollgate_engine::snapshot::{Authorizer, AuthorizerCheck};

use crate::ObjectRef;
use crate::outcome::Outcome;

/// The check of an Authorizer (H-JWT-1).
pub(crate) fn evaluate(object: &ObjectRef, spec: &AuthorizerSpec) -> Outcome<Arc<Authorizer>> {
    let Some(jwt) = &spec.jwt else {
        return Outcome::invalid("spec has no way to decide: set jwt");
    };
    let check = AuthorizerCheck::Jwt {
        issuer: jwt.issuer.clone(),
        audience: jwt.audience.clone(),
        jwks_uri: jwt.jwks_uri.clone(),
    };
    let authorizer = Authorizer { source: object.source(), identity_source: spec.identity_source.clone(), check };
    match JwtPolicy::compile(&authorizer) {
        Ok(_) => Outcome::good(Arc::new(authorizer)),
        Err(problems) => {
            let all: Vec<String> = problems
                .iter()
                .map(|problem| format!("spec.{}: {}", problem.path.replace("check.", "jwt."), problem.message))
                .collect();
            Outcome::invalid(all.join("; "))
        }
    }
}
