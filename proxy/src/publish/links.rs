//! Services behind links: who may reach which, through what, and which of their endpoints are checked.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

use rustc_hash::FxBuildHasher;
use tollgate_engine::link::Link;
use tollgate_engine::snapshot::{self, BackendProtocol, LinkName, Problem, ServicePort, Unit, UnitId, UnitReport};

use super::{Publication, State};
use crate::health::CheckTarget;
use crate::units::UnitSet;
use crate::upstream::Balancer;

/// A use of a link by the APIs of a namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct LinkUse {
    pub(super) link: LinkName,
    /// Namespace of the APIs.
    pub(super) from: String,
    pub(super) service: ServicePort,
}

/// By the slot of the use.
pub(crate) type Links = HashMap<u64, Arc<Balancer>, FxBuildHasher>;

impl Publication {
    /// What may be reached through links now. A use that no link grants has no balancer, so its requests are refused (promise P3).
    pub(super) fn links(&self, state: &mut State, units: &UnitSet, reports: &mut Vec<UnitReport>) -> Links {
        let mut known: HashMap<&LinkName, (&snapshot::Link, Arc<Link>)> = HashMap::new();
        let mut problems: HashMap<&LinkName, Vec<Problem>> = HashMap::new();
        for wire in units.iter().filter_map(|(_, held)| link_of(&held.unit)) {
            match Link::compile(wire) {
                Ok(link) => drop(known.insert(&wire.link, (wire, Arc::new(link)))),
                Err(problem) => problems.entry(&wire.link).or_default().push(problem),
            }
        }
        let mut links = Links::default();
        let mut checks = Vec::new();
        let mut checked = HashSet::new();
        for (used, slot) in state.links.held() {
            let LinkUse { link: name, from, service } = &used;
            let Some((wire, link)) = known.get(name).filter(|(_, link)| link.allows(from, service)) else { continue };
            let mut found = Vec::new();
            let host = format!("{}.{}.svc", service.name, service.namespace);
            let tls =
                self.client_tls(&format!("{}/{}", name.namespace, name.name), wire.tls.as_ref(), &host, &mut found);
            let list = problems.entry(&wire.link).or_default();
            found.into_iter().map(at_link).for_each(|problem| {
                if !list.contains(&problem) {
                    list.push(problem);
                }
            });
            let endpoints = addresses(units, service).map(|address| self.endpoints.get(name, service, address));
            let before = state.balancers.get(&slot.0).map(Arc::as_ref);
            let mut balancer = Balancer::new(Arc::clone(link), tls, endpoints.collect(), self.epoch, before);
            balancer.http2 = endpoints_of(units, service).is_some_and(|of| of.protocol == Some(BackendProtocol::Http2));
            if let Some(check) = &link.health_check {
                let new = balancer.endpoints().iter().filter(|endpoint| checked.insert(Arc::as_ptr(endpoint)));
                checks.extend(new.map(|endpoint| CheckTarget {
                    endpoint: Arc::clone(endpoint),
                    check: check.clone(),
                    authority: format!("{host}:{}", service.port),
                    tls: balancer.tls.clone(),
                    http2: balancer.http2,
                }));
            }
            links.insert(slot.0, Arc::new(balancer));
        }
        for (name, problems) in problems {
            let id = UnitId::link(name);
            if let Some(held) = units.get(&id).filter(|_| !problems.is_empty()) {
                reports.push(UnitReport { id, hash: held.hash.clone(), problems });
            }
        }
        self.checks.replace(checks);
        self.endpoints.sweep();
        state.balancers.clone_from(&links);
        links
    }
}

fn link_of(unit: &Unit) -> Option<&snapshot::Link> {
    match unit {
        Unit::Link(link) => Some(link),
        _ => None,
    }
}

/// The path tells what kind of object the problem is of.
fn at_link(problem: Problem) -> Problem {
    Problem { path: format!("links.{}", problem.path), ..problem }
}

fn addresses<'u>(units: &'u UnitSet, service: &ServicePort) -> impl Iterator<Item = SocketAddr> + use<'u> {
    let endpoints = endpoints_of(units, service).map(|unit| &unit.endpoints);
    endpoints.into_iter().flatten().map(|end| SocketAddr::new(end.address, end.port))
}

fn endpoints_of<'u>(units: &'u UnitSet, service: &ServicePort) -> Option<&'u snapshot::Endpoints> {
    match &units.get(&UnitId::endpoints(service))?.unit {
        Unit::Endpoints(endpoints) => Some(endpoints),
        _ => None,
    }
}
