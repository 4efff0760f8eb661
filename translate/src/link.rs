//! From a VpcLink to the unit that travels.

use std::sync::Arc;

use tollgate_crds::{Algorithm, VpcLinkSpec};
use tollgate_engine::link;
use tollgate_engine::snapshot::{self, Balance, LinkName, ServicePort};

use crate::backend::{self, Place};
use crate::outcome::Outcome;
use crate::{ObjectRef, Reason, World};

/// What the key of a consistent hash is unless told otherwise.
const USUAL_KEY: &str = "$context.identity.sourceIp";

/// What proxies have to know of a VpcLink (H-VPC-9). A Service that does not exist yet does not refuse it.
pub(crate) fn evaluate(world: &World, object: &ObjectRef, spec: &VpcLinkSpec) -> Outcome<Arc<snapshot::Link>> {
    let place = Place { namespace: &object.namespace, source: object.source(), path: "spec" };
    let tls = match spec.tls.as_ref().map(|tls| backend::backend_tls(world, &place, tls)).transpose() {
        Ok(tls) => tls,
        Err((reason, message)) => return Outcome::unresolved(reason, message),
    };
    let number = |value: i32| u32::try_from(value).unwrap_or_default();
    let wire = snapshot::Link {
        link: name(object),
        services: spec.services.iter().map(|service| service.name.clone()).collect(),
        allowed_namespaces: spec.allowed_namespaces.clone(),
        balance: match spec.load_balancing.algorithm {
            Algorithm::RoundRobin => Balance::RoundRobin,
            Algorithm::LeastRequest => Balance::LeastRequest,
            Algorithm::ConsistentHash => Balance::ConsistentHash {
                key: spec.load_balancing.hash_key.clone().unwrap_or_else(|| USUAL_KEY.to_owned()),
            },
        },
        health_check: spec.health_check.as_ref().map(|check| snapshot::HealthCheck {
            path: check.path.clone(),
            interval_seconds: number(check.interval_seconds),
            timeout_in_millis: number(check.timeout_in_millis),
            healthy_threshold: number(check.healthy_threshold),
            unhealthy_threshold: number(check.unhealthy_threshold),
        }),
        outlier_detection: spec.outlier_detection.as_ref().map(|outliers| snapshot::OutlierDetection {
            consecutive_errors: number(outliers.consecutive_errors),
            base_ejection_seconds: number(outliers.base_ejection_seconds),
            max_ejection_percent: number(outliers.max_ejection_percent),
        }),
        most_connections: spec.connection_limits.as_ref().map(|limits| number(limits.max_connections_per_endpoint)),
        tls,
    };
    match link::Link::compile(&wire) {
        Ok(_) => Outcome::good(Arc::new(wire)),
        Err(problem) => {
            let field = problem.path.replace("links.", "").replace("balance.key", "loadBalancing.hashKey");
            Outcome::invalid(format!("spec.{field}: {}", problem.message))
        }
    }
}

/// As it travels.
pub(crate) fn name(object: &ObjectRef) -> LinkName {
    LinkName { namespace: object.namespace.clone(), name: object.name.clone() }
}

/// Whether a link opens `service` to what is at `place`, and if not, why and what to do.
pub(crate) fn granted(
    world: &World,
    place: &Place<'_>,
    object: &ObjectRef,
    service: &ServicePort,
) -> Result<LinkName, (Reason, String)> {
    let at = format!("{}.vpcLinkRef", place.path);
    let Some(item) = world.vpc_link(object) else {
        return Err((
            Reason::VpcLinkNotFound,
            format!(
                "{at}: {object} does not exist: create it or correct the name; until then its requests are refused"
            ),
        ));
    };
    let namespace = place.namespace;
    if !link::allows(&object.namespace, &item.spec.allowed_namespaces, namespace) {
        let message = format!(
            "{at}: {object} may not be used from namespace {namespace}: add {namespace} to its spec.allowedNamespaces; until then its requests are refused"
        );
        return Err((Reason::VpcLinkNotAllowed, message));
    }
    let opened: Vec<&str> = item.spec.services.iter().map(|service| service.name.as_str()).collect();
    if !link::opens(&object.namespace, &opened, service) {
        let message = format!(
            "{at}: {object} does not open Service {}: add it to the link's spec.services, or use one of {}; until then its requests are refused",
            service.name,
            opened.join(", ")
        );
        return Err((Reason::VpcLinkNotAllowed, message));
    }
    if evaluate(world, object, &item.spec).value.is_none() {
        return Err((Reason::VpcLinkNotAccepted, format!("{at}: {object} is refused: see its conditions")));
    }
    Ok(name(object))
}
