//! Custom domains as they run: which stage a request is for (sections 7.2 and 7.5 of the spec).
//!
//! [`Domain::compile`] makes one of a snapshot's [`snapshot::Domain`]; [`Domain::choose`] decides about a request. Who may connect is
//! [`crate::truststore`]'s.

mod glob;
mod key;

use http::{HeaderMap, HeaderName};

use self::glob::Glob;
use crate::reject::Reject;
use crate::snapshot::{self, DomainTarget, Problem, RoutingMode};

/// A custom domain, compiled.
#[derive(Debug)]
pub struct Domain {
    /// `namespace/name` of the DomainName object.
    pub source: Box<str>,
    /// Lower case, maybe with a first label `*`.
    pub name: Box<str>,
    /// A client certificate has to be trusted (H-MTLS-4).
    pub mutual_tls: bool,
    /// Nothing of it can be served: every request gets this.
    closed: Option<Reject>,
    mode: RoutingMode,
    rules: Vec<Rule>,
    mappings: Vec<Mapping>,
    catch_all: Option<usize>,
    multi_level: bool,
    targets: Vec<DomainTarget>,
}

#[derive(Debug)]
struct Rule {
    id: Box<str>,
    headers: Vec<(HeaderName, Glob)>,
    base_path: Option<Box<str>>,
    strip: bool,
    target: usize,
}

#[derive(Debug)]
struct Mapping {
    key: Box<str>,
    target: usize,
}

/// The stage that a request is for, and how that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chosen<'d> {
    /// Number in [`Domain::targets`].
    pub target: usize,
    /// So many bytes at the start of the client's path are not for the routes.
    pub strip: usize,
    /// `$context.customDomain.basePathMatched` (H-APM-11).
    pub base_path: &'d str,
    /// `$context.customDomain.routingRuleIdMatched` (H-RULE-10).
    pub rule: Option<&'d str>,
}

/// What `basePathMatched` says where no key or base path was matched.
const NONE: &str = "(none)";

impl Domain {
    /// Compiles a domain. What cannot be compiled answers 500 itself and is told.
    pub fn compile(wire: &snapshot::Domain) -> (Self, Vec<Problem>) {
        let snapshot::Domain {
            source,
            domain_name,
            own_certificate: _,
            mutual_tls,
            routing_mode,
            mappings,
            rules,
            refused,
            requires,
        } = wire;
        let mut problems = Vec::new();
        let mut problem = |path: String, message: String| {
            problems.push(Problem { source: source.clone(), path, message });
        };
        let mut closed = refused.then_some(Reject::RefusedRoute);
        if let Some(unknown) = requires.first() {
            problem("requires[0]".into(), format!("{unknown:?} is not known to this proxy: update the proxies"));
            closed = Some(Reject::UnknownBehaviour);
        }
        if *routing_mode == RoutingMode::Unknown {
            problem("routingMode".into(), "the mode is not known to this proxy: update the proxies".into());
            closed = Some(Reject::UnknownBehaviour);
        }
        let mut targets = Vec::new();
        let mut target = |to: &DomainTarget| {
            targets.push(to.clone());
            targets.len() - 1
        };
        let mut compiled = Vec::new();
        for (number, rule) in rules.iter().enumerate() {
            let headers = rule.headers.iter().map(|wanted| {
                let name = HeaderName::from_bytes(wanted.header.as_bytes()).ok()?;
                Some((name, Glob::parse(&wanted.value_glob)?))
            });
            let headers = headers.collect::<Option<Vec<_>>>();
            let sound = headers.is_some();
            if !sound {
                problem(format!("rules[{number}].headers"), "a header or its valueGlob cannot be read".into());
            }
            compiled.push(Rule {
                id: rule.id.as_str().into(),
                // A rule that cannot be read might have matched: what its path condition takes gets 500.
                headers: headers.unwrap_or_default(),
                base_path: rule.base_path.as_deref().map(Into::into),
                strip: rule.strip_base_path,
                target: target(if sound { &rule.target } else { &DomainTarget::Unknown }),
            });
        }
        let mut mapped: Vec<Mapping> = mappings
            .iter()
            .map(|mapping| Mapping { key: mapping.key.as_str().into(), target: target(&mapping.target) })
            .collect();
        // The longest key first, so that the first that matches is the one (H-APM-4).
        mapped.sort_by(|a, b| b.key.len().cmp(&a.key.len()).then_with(|| a.key.cmp(&b.key)));
        let multi_level = mapped.iter().any(|mapping| mapping.key.contains('/'));
        let catch_all = mapped.iter().find(|mapping| mapping.key.is_empty()).map(|mapping| mapping.target);
        mapped.retain(|mapping| !mapping.key.is_empty());
        let domain = Self {
            source: source.as_str().into(),
            name: domain_name.as_str().into(),
            mutual_tls: mutual_tls.is_some(),
            closed,
            mode: *routing_mode,
            rules: compiled,
            mappings: mapped,
            catch_all,
            multi_level,
            targets,
        };
        (domain, problems)
    }

    /// Where mappings and rules lead, by number.
    pub fn targets(&self) -> &[DomainTarget] {
        &self.targets
    }

    /// Whether backends get header names in lower case whatever the client sent (H-APM-9).
    pub fn lower_cases_headers(&self) -> bool {
        self.multi_level
    }

    /// The stage for a request. `path` is the client's, still encoded, and passed [`crate::route::inspect_path`].
    ///
    /// # Errors
    /// No rule and no mapping takes it: 403, or 404 where there are rules only (H-APM-8, H-RULE-8).
    pub fn choose(&self, path: &str, headers: &HeaderMap) -> Result<Chosen<'_>, Reject> {
        if let Some(reject) = self.closed {
            return Err(reject);
        }
        if self.mode != RoutingMode::ApiMappingOnly
            && let Some(chosen) = self.rules.iter().find_map(|rule| rule.choose(path, headers))
        {
            return Ok(chosen);
        }
        if self.mode == RoutingMode::RoutingRuleOnly {
            return Err(Reject::NotFound);
        }
        self.map(path).ok_or(Reject::NoMapping)
    }

    /// H-APM-4, H-APM-5.
    fn map(&self, path: &str) -> Option<Chosen<'_>> {
        let whole_segments = !self.multi_level;
        let found = self.mappings.iter().find_map(|mapping| {
            let strip = key::matched(path, &mapping.key, whole_segments)?;
            Some(Chosen { target: mapping.target, strip, base_path: &mapping.key, rule: None })
        });
        found.or_else(|| self.catch_all.map(|target| Chosen { target, strip: 0, base_path: NONE, rule: None }))
    }
}

impl Rule {
    fn choose<'d>(&'d self, path: &str, headers: &HeaderMap) -> Option<Chosen<'d>> {
        let length = match &self.base_path {
            Some(base) => key::matched(path, base, true)?,
            None => 0,
        };
        let holds = |(name, glob): &(HeaderName, Glob)| {
            headers.get_all(name).iter().any(|value| glob.matches(value.as_bytes()))
        };
        self.headers.iter().all(holds).then(|| Chosen {
            target: self.target,
            strip: if self.strip { length } else { 0 },
            base_path: self.base_path.as_deref().unwrap_or(NONE),
            rule: Some(&self.id),
        })
    }
}

#[cfg(test)]
mod tests;
