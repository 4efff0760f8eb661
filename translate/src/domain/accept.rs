//! What a DomainName says, and whether it can be served.

use tollgate_crds::{DomainNameSpec, RoutingMode, RoutingRule, SecurityPolicy};
use tollgate_engine::certificate::Pair;
use tollgate_engine::snapshot::{self, Certificate, DomainTarget, HeaderMatch, MutualTls, PrivateKey};
use tollgate_engine::time::LogTime;
use tollgate_engine::truststore::Truststore;

use super::{Scope, target};
use crate::outcome::Outcome;
use crate::world::certificates_object;
use crate::{Fleet, Kind, ObjectRef, Reason, Verdict};

/// A DomainName as it is served, without its mappings.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DomainPart {
    pub(super) domain: snapshot::Domain,
    pub(super) certificate: Option<Certificate>,
    /// Of the stages that its rules lead to.
    pub(super) fleets: Vec<Fleet>,
}

/// What looking at a DomainName found.
pub(super) struct Looked {
    pub(super) outcome: Outcome<DomainPart>,
    /// Of the certificate that it names, if that can be read.
    pub(super) validity: Option<(i64, i64)>,
}

type Unresolved = (Reason, String);

pub(super) fn look_at(object: &ObjectRef, spec: &DomainNameSpec, scope: &Scope<'_>, now: Option<i64>) -> Looked {
    let mut validity = None;
    let outcome = evaluate(object, spec, scope, now, &mut validity);
    Looked { outcome, validity }
}

fn evaluate(
    object: &ObjectRef,
    spec: &DomainNameSpec,
    scope: &Scope<'_>,
    now: Option<i64>,
    validity: &mut Option<(i64, i64)>,
) -> Outcome<DomainPart> {
    let host = spec.domain_name.to_ascii_lowercase();
    if let Some(why) = reserved(&host, &scope.settings.base_domain) {
        return Outcome::invalid(format!("spec.domainName: {host:?} {why}: choose another host"));
    }
    if spec.security_policy == SecurityPolicy::Tls10 {
        return Outcome::invalid("spec.securityPolicy: TLS_1_0 is not served: set TLS_1_2");
    }
    let certificate = match certificate(object, &host, spec, scope, now, validity) {
        Ok(certificate) => certificate,
        Err((reason, message)) => return Outcome::unresolved(reason, message),
    };
    let mut warnings = Vec::new();
    let mutual_tls = match mutual_tls(object, spec, scope, &mut warnings) {
        Ok(mutual_tls) => mutual_tls,
        Err((reason, message)) => return Outcome::unresolved(reason, message),
    };
    let mut fleets = Vec::new();
    let mut missing = None;
    let rules = rules(object, &spec.routing_rules, scope, &mut fleets, &mut missing);
    let domain = snapshot::Domain {
        source: object.source(),
        domain_name: host,
        own_certificate: certificate.is_some(),
        mutual_tls,
        routing_mode: match spec.routing_mode {
            RoutingMode::ApiMappingOnly => snapshot::RoutingMode::ApiMappingOnly,
            RoutingMode::RoutingRuleOnly => snapshot::RoutingMode::RoutingRuleOnly,
            RoutingMode::RoutingRuleThenApiMapping => snapshot::RoutingMode::RoutingRuleThenApiMapping,
        },
        mappings: Vec::new(),
        rules,
        refused: false,
        requires: Vec::new(),
    };
    let mut outcome = Outcome::good(DomainPart { domain, certificate, fleets });
    if let Some((reason, message)) = missing {
        outcome.resolved = Verdict::no(reason, message);
    } else if !warnings.is_empty() {
        let message = format!("spec.mutualTlsAuthentication.truststoreRef: {}", warnings.join("; "));
        outcome.resolved = Verdict { ok: true, reason: Reason::TruststoreWarnings, message };
    }
    outcome
}

/// Default endpoints are nobody's to take.
fn reserved(host: &str, base_domain: &str) -> Option<&'static str> {
    let base = base_domain.rsplit_once(':').map_or(base_domain, |(base, _)| base);
    for base in [base, "localhost"] {
        if host == base {
            return Some("is the gateway's own address");
        }
        let below = host.strip_suffix(base).and_then(|rest| rest.strip_suffix('.'));
        if below.is_some_and(|labels| labels.split('.').count() == 2 || labels == "execute-api") {
            return Some("is the address of an API's default endpoint");
        }
    }
    None
}

fn certificate(
    object: &ObjectRef,
    host: &str,
    spec: &DomainNameSpec,
    scope: &Scope<'_>,
    now: Option<i64>,
    validity: &mut Option<(i64, i64)>,
) -> Result<Option<Certificate>, Unresolved> {
    const AT: &str = "spec.certificateSecretRef";
    let Some(name) = &spec.certificate_secret_ref else { return Ok(None) };
    let secret = ObjectRef::new(Kind::Secret, &object.namespace, &name.name);
    if scope.world.certificates(&secret).is_none() {
        let message = format!("{AT}: {secret} does not exist: create it or correct the name");
        return Err((Reason::CertificatesNotFound, message));
    }
    let Some(stored) = scope.world.tls_pair(&secret) else {
        let message = format!("{AT}: {secret} has no tls.crt and tls.key: a Secret of type kubernetes.io/tls has both");
        return Err((Reason::CertificatesInvalid, message));
    };
    let pair = Pair::from_pem(stored.certificate.as_bytes(), stored.key.reveal().as_bytes())
        .map_err(|error| (Reason::CertificatesInvalid, format!("{AT}: {secret}: {error}")))?;
    *validity = Some((pair.not_before, pair.not_after));
    if !pair.covers(host) {
        let message = format!(
            "{AT}: the certificate in {secret} is for {pair} and not for {host}: have it issued with this name"
        );
        return Err((Reason::CertificateNameMismatch, message));
    }
    if now.is_some_and(|now| now > pair.not_after) {
        let message = format!("{AT}: the certificate in {secret} ended {}: renew it", date(pair.not_after));
        return Err((Reason::CertificateExpired, message));
    }
    if now.is_some_and(|now| now < pair.not_before) {
        let message = format!(
            "{AT}: the certificate in {secret} begins {}: wait until then, or use one that is valid now",
            date(pair.not_before)
        );
        return Err((Reason::CertificateExpired, message));
    }
    Ok(Some(Certificate {
        source: secret.source(),
        domain_name: host.to_owned(),
        certificate_pem: stored.certificate.clone(),
        private_key_pem: PrivateKey::new(stored.key.reveal()),
    }))
}

fn date(seconds: i64) -> String {
    LogTime::from_epoch_seconds(u64::try_from(seconds).unwrap_or_default()).as_str().to_owned()
}

fn mutual_tls(
    object: &ObjectRef,
    spec: &DomainNameSpec,
    scope: &Scope<'_>,
    warnings: &mut Vec<String>,
) -> Result<Option<MutualTls>, Unresolved> {
    const AT: &str = "spec.mutualTlsAuthentication.truststoreRef";
    let Some(mutual) = &spec.mutual_tls_authentication else { return Ok(None) };
    let reference = &mutual.truststore_ref;
    let source = certificates_object(&object.namespace, reference);
    let key = &reference.key;
    let Some(item) = scope.world.certificates(&source) else {
        let message = format!("{AT}: {source} does not exist: create it or correct the name");
        return Err((Reason::CertificatesNotFound, message));
    };
    let pem = match item.spec.get(key) {
        Some(Some(pem)) => pem.clone(),
        Some(None) => {
            let message = format!("{AT}: key {key:?} of {source} has to hold PEM certificates and nothing else");
            return Err((Reason::TruststoreInvalid, message));
        }
        None => {
            let message = format!("{AT}: {source} has no key {key:?}: add it, or name another in truststoreRef.key");
            return Err((Reason::CertificatesNotFound, message));
        }
    };
    match Truststore::from_pem(&pem) {
        Ok((_, found)) => {
            warnings.extend(found);
            Ok(Some(MutualTls { truststore_pem: pem }))
        }
        Err(error) => Err((Reason::TruststoreInvalid, format!("{AT}: key {key:?} of {source}: {error}"))),
    }
}

/// The rules by priority. One whose stage is missing answers 500 itself, and the first such is told.
fn rules(
    object: &ObjectRef,
    rules: &[RoutingRule],
    scope: &Scope<'_>,
    fleets: &mut Vec<Fleet>,
    missing: &mut Option<Unresolved>,
) -> Vec<snapshot::RoutingRule> {
    let mut ordered: Vec<(usize, &RoutingRule)> = rules.iter().enumerate().collect();
    ordered.sort_by_key(|(_, rule)| rule.priority);
    let mut rule = |(number, rule): (usize, &RoutingRule)| {
        let action = &rule.actions.first()?.invoke_api;
        let stage = ObjectRef::new(Kind::Stage, &object.namespace, &action.stage_ref.name);
        let target = match (scope.stage)(&stage) {
            Some(found) => {
                fleets.push(found.fleet);
                target(found)
            }
            None => {
                let at = format!("spec.routingRules[{number}].actions[0].invokeApi.stageRef");
                missing.get_or_insert_with(|| super::mapping::missing_stage(&at, &stage, scope.world));
                DomainTarget::Refused
            }
        };
        let headers = rule.conditions.iter().filter_map(|condition| condition.match_headers.as_ref());
        let headers = headers
            .flat_map(|headers| &headers.any_of)
            .map(|header| HeaderMatch { header: header.header.clone(), value_glob: header.value_glob.clone() });
        let base_paths = rule.conditions.iter().filter_map(|condition| condition.match_base_paths.as_ref());
        let base_path = base_paths.flat_map(|paths| &paths.any_of).next().cloned();
        Some(snapshot::RoutingRule {
            id: rule.name.clone(),
            headers: headers.collect(),
            base_path,
            strip_base_path: action.strip_base_path,
            target,
        })
    };
    ordered.into_iter().filter_map(&mut rule).collect()
}

#[cfg(test)]
mod tests {
    use super::reserved;

    #[test]
    fn default_endpoints_are_reserved() {
        for (host, taken) in [
            ("gw.example", true),
            ("abc.execute-api.gw.example", true),
            ("books.shop.gw.example", true),
            ("*.shop.gw.example", true),
            ("execute-api.gw.example", true),
            ("localhost", true),
            ("a.b.localhost", true),
            ("api.gw.example", false),
            ("*.gw.example", false),
            ("api.localhost", false),
            ("x.books.shop.gw.example", false),
            ("evilgw.example", false),
            ("a.b.evilgw.example", false),
        ] {
            assert_eq!(reserved(host, "gw.example:8080").is_some(), taken, "{host}");
        }
    }
}
