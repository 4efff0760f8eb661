//! From an Authorizer to the check that travels.

use std::sync::Arc;

use tollgate_crds::AuthorizerSpec;
use tollgate_engine::snapshot::{Authorizer, AuthorizerCheck};

use crate::ObjectRef;
use crate::outcome::Outcome;

/// The check of an Authorizer (H-JWT-1).
pub(crate) fn evaluate(object: &ObjectRef, spec: &AuthorizerSpec) -> Outcome<Arc<Authorizer>> {
    let Some(jwt) = &spec.jwt else {
        return Outcome::invalid("spec has no way to decide: set jwt");
    };
    if let [_] = spec.identity_source[..] {
    } else {
        return Outcome::invalid(format!(
            "spec.identitySource has {} items: a jwt authorizer takes exactly one, e.g. $request.header.Authorization",
            spec.identity_source.len()
        ));
    }
    let check = AuthorizerCheck::Jwt {
        issuer: jwt.issuer.clone(),
        audience: jwt.audience.clone(),
        jwks_uri: jwt.jwks_uri.clone(),
    };
    Outcome::good(Arc::new(Authorizer {
        source: object.source(),
        identity_source: spec.identity_source.clone(),
        check,
    }))
}
