//! Custom domains as a gateway serves them: found by host or SNI, with their TLS settings and the stages that they lead to.

use std::collections::HashMap;
use std::sync::Arc;

use rustc_hash::FxBuildHasher;
use rustls::ServerConfig;
use tollgate_engine::certificate::Pair;
use tollgate_engine::domain::Domain;
use tollgate_engine::reject::Reject;
use tollgate_engine::snapshot::{self, ContentHash, DomainTarget, MutualTls, Problem, Unit, UnitId};
use tollgate_engine::truststore::Truststore;

use crate::gateway::Served;
use crate::tls::DomainConfigs;
use crate::units::{Held, UnitSet};

type FxHashMap<K, V> = HashMap<K, V, FxBuildHasher>;

/// The custom domains of a gateway.
#[derive(Debug, Default)]
pub(crate) struct Domains {
    exact: FxHashMap<Box<str>, ServedDomain>,
    /// By what follows `*.`.
    wildcard: FxHashMap<Box<str>, ServedDomain>,
}

/// A domain with the stages that it leads to at the moment.
#[derive(Debug)]
pub(crate) struct ServedDomain {
    pub(crate) compiled: Arc<CompiledDomain>,
    /// By [`tollgate_engine::domain::Chosen::target`].
    pub(crate) targets: Vec<Result<Arc<Served>, Reject>>,
}

/// What of a domain changes only with its own units.
#[derive(Debug)]
pub(crate) struct CompiledDomain {
    pub(crate) domain: Domain,
    /// For handshakes that name it; `None` on proxies without an HTTPS listener.
    pub(crate) tls: Option<Arc<ServerConfig>>,
    /// Whose clients it lets in.
    pub(crate) trust: Option<Arc<Truststore>>,
    /// End of its own certificate's validity, seconds since 1970.
    pub(crate) not_after: Option<i64>,
}

impl Domains {
    /// The domain of a lower-case host without port: exact before wildcard, and a wildcard stands for one label (H-DOM-1).
    pub(crate) fn find(&self, name: &str) -> Option<&ServedDomain> {
        if self.exact.is_empty() && self.wildcard.is_empty() {
            return None;
        }
        let wildcard = || name.split_once('.').and_then(|(_, parent)| self.wildcard.get(parent));
        self.exact.get(name).or_else(wildcard)
    }

    /// The domain that a client names in its handshake.
    pub(crate) fn of_sni(&self, name: &str) -> Option<&ServedDomain> {
        let name = name.strip_suffix('.').unwrap_or(name);
        if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            self.find(&name.to_ascii_lowercase())
        } else {
            self.find(name)
        }
    }

    fn insert(&mut self, served: ServedDomain) {
        let name = &*served.compiled.domain.name;
        match name.strip_prefix("*.") {
            Some(parent) => self.wildcard.insert(parent.into(), served),
            None => self.exact.insert(name.into(), served),
        };
    }
}

/// What the next compilation can use again.
#[derive(Debug, Default)]
pub(crate) struct KnownDomains(HashMap<UnitId, Known>);

#[derive(Debug)]
struct Known {
    domain: Arc<Held>,
    certificate: Option<ContentHash>,
    mutual_tls: Option<MutualTls>,
    own_certificate: bool,
    compiled: Arc<CompiledDomain>,
    problems: Vec<Problem>,
}

/// Compiles the domains among `units`. `stages` gives what stage units were compiled to; `report` is told what cannot be used.
pub(crate) fn compile(
    known: &mut KnownDomains,
    units: &UnitSet,
    configs: Option<&DomainConfigs>,
    stage: impl Fn(&UnitId) -> Option<Arc<Served>>,
    mut report: impl FnMut(&UnitId, &Held, &[Problem]),
) -> Domains {
    let mut domains = Domains::default();
    let mut now = HashMap::new();
    for (id, held) in units.iter() {
        let Unit::Domain(wire) = &held.unit else { continue };
        let certificate_id = UnitId::certificate(&wire.domain_name);
        let certificate = units.get(&certificate_id).filter(|_| wire.own_certificate);
        let entry = look_at(known.0.remove(id), held, wire, certificate, configs);
        let (own, certificates): (Vec<&Problem>, Vec<&Problem>) =
            entry.problems.iter().partition(|problem| problem.path != CERTIFICATE);
        report(id, held, &own.into_iter().cloned().collect::<Vec<_>>());
        if let Some(certificate) = certificate {
            report(&certificate_id, certificate, &certificates.into_iter().cloned().collect::<Vec<_>>());
        }
        let target = |target: &DomainTarget| match target {
            // A stage that is gone or was never deployed (H-ROUTE-15).
            DomainTarget::Stage { api_id, stage_name } => {
                stage(&UnitId::stage(api_id, stage_name)).ok_or(Reject::NotFound)
            }
            DomainTarget::Refused => Err(Reject::RefusedRoute),
            DomainTarget::Unknown => Err(Reject::UnknownBehaviour),
        };
        let targets = entry.compiled.domain.targets().iter().map(target).collect();
        domains.insert(ServedDomain { compiled: Arc::clone(&entry.compiled), targets });
        now.insert(id.clone(), entry);
    }
    known.0 = now;
    domains
}

/// The field path of problems with the certificate unit.
const CERTIFICATE: &str = "certificatePem";

fn look_at(
    known: Option<Known>,
    held: &Arc<Held>,
    wire: &snapshot::Domain,
    certificate: Option<&Arc<Held>>,
    configs: Option<&DomainConfigs>,
) -> Known {
    let hash = certificate.map(|held| held.hash.clone());
    let known = match known {
        Some(known) if known.domain.hash == held.hash && known.certificate == hash => return known,
        known => known,
    };
    let (domain, mut problems) = Domain::compile(wire);
    // What did not change keeps its identity, so that open connections need not be looked at again.
    let same_trust = known.as_ref().filter(|known| known.mutual_tls == wire.mutual_tls);
    let trust = match same_trust {
        Some(known) => known.compiled.trust.clone(),
        None => wire.mutual_tls.as_ref().map(|wanted| Arc::new(truststore(wire, wanted, &mut problems))),
    };
    let same_tls =
        same_trust.filter(|known| known.certificate == hash && known.own_certificate == wire.own_certificate);
    let (tls, not_after) = match (same_tls, configs) {
        (Some(known), _) => (known.compiled.tls.clone(), known.compiled.not_after),
        (None, None) => (None, None),
        (None, Some(configs)) => {
            let pair = certificate.and_then(|held| pair(held, &mut problems));
            let not_after = pair.as_ref().map(|pair| pair.not_after);
            let tls = match (pair, wire.own_certificate) {
                (None, true) => configs.without_certificate(),
                (pair, _) => configs.make(pair.as_ref(), trust.as_ref()),
            };
            (tls.ok(), not_after)
        }
    };
    Known {
        domain: Arc::clone(held),
        certificate: hash,
        mutual_tls: wire.mutual_tls.clone(),
        own_certificate: wire.own_certificate,
        compiled: Arc::new(CompiledDomain { domain, tls, trust, not_after }),
        problems,
    }
}

fn truststore(wire: &snapshot::Domain, wanted: &MutualTls, problems: &mut Vec<Problem>) -> Truststore {
    match Truststore::from_pem(&wanted.truststore_pem) {
        Ok((store, _)) => store,
        Err(error) => {
            problems.push(Problem {
                source: wire.source.clone(),
                path: "mutualTls.truststorePem".to_owned(),
                message: error.to_string(),
            });
            // Nobody is let in: closed, not open (promise P3).
            Truststore::trusting_nobody()
        }
    }
}

fn pair(held: &Held, problems: &mut Vec<Problem>) -> Option<Pair> {
    let Unit::Certificate(certificate) = &held.unit else { return None };
    let pair = Pair::from_pem(certificate.certificate_pem.as_bytes(), certificate.private_key_pem.reveal().as_bytes());
    pair.map_err(|error| {
        problems.push(Problem {
            source: certificate.source.clone(),
            path: CERTIFICATE.to_owned(),
            message: error.to_string(),
        });
    })
    .ok()
}
