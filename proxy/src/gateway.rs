//! What a worker serves: every API with its stages, found by host, and the endpoints of their services.
//!
//! A [`Gateway`] is built on a background thread, never changes, and is handed to the workers by pointer; a request keeps the
//! one it began with (promise P5). What did not change is shared with the one before.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rustc_hash::FxBuildHasher;
use tollgate_engine::deployment::Stage;
use tollgate_engine::principal::Principals;
use tollgate_engine::snapshot::{ApiIdentity, Credentials, SecretName, UnitId};

use crate::authorize::answers::Answers;
use crate::domains::{Domains, ServedDomain};
use crate::jwks::JwksEntry;
use crate::upstream::Balancer;
use crate::usage::{Plans, SharedThrottle};

type FxHashMap<K, V> = HashMap<K, V, FxBuildHasher>;

/// Everything that is served at one moment.
#[derive(Debug, Default)]
pub(crate) struct Gateway {
    pub(crate) apis: Vec<Arc<Api>>,
    /// `{apiId}.execute-api` and `{name}.{namespace}`, without the base domain, to numbers of APIs.
    prefixes: FxHashMap<Box<str>, usize>,
    /// API ids to numbers, for `/_aws/execute-api/{apiId}`.
    ids: FxHashMap<Box<str>, usize>,
    base_domain: Box<str>,
    /// Hosts of their own.
    pub(crate) domains: Domains,
    /// By the slot of [`Target::Service`].
    pub(crate) services: FxHashMap<u64, Service>,
    pub(crate) plans: Plans,
    /// By the slot of [`Target::Linked`]; without an entry no link grants it.
    pub(crate) links: FxHashMap<u64, Arc<Balancer>>,
    /// Keys that sign calls of AWS services, by their units.
    pub(crate) credentials: HashMap<UnitId, Arc<Credentials>>,
    /// Who may sign requests, by namespace.
    pub(crate) principals: FxHashMap<Box<str>, Arc<Principals>>,
}

/// An API with its stages.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) identity: ApiIdentity,
    /// Named stages, ordered by name.
    pub(crate) stages: Vec<Arc<Served>>,
    pub(crate) default: Option<Arc<Served>>,
}

/// A compiled stage with what this proxy needs to serve it.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) stage: Stage,
    /// By the deployment's integration numbers.
    pub(crate) targets: Vec<Target>,
    /// By the deployment's authorizer numbers.
    pub(crate) authorizers: Vec<AuthorizerHandle>,
    /// By the deployment's route numbers, where proxies share throttles; else empty.
    pub(crate) throttles: Vec<Option<SharedThrottle>>,
    /// Stands for this stage of this API in workers' counters.
    pub(crate) slot: Arc<Slot>,
}

/// The ready endpoints of a port of a service.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) addresses: Arc<[SocketAddr]>,
    /// They speak HTTP/2, unless an integration knows better.
    pub(crate) http2: bool,
}

/// Where a call goes, with what this proxy has looked up once.
#[derive(Debug)]
pub(crate) enum Target {
    Service {
        service: Arc<Slot>,
        tls: Option<Tls>,
    },
    /// `tls` is the integration's own, which goes before the link's.
    Linked {
        link: Arc<Slot>,
        tls: Option<Tls>,
    },
    Origin {
        tls: Option<Tls>,
    },
}

/// A client configuration and its identity for pools.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    pub(crate) config: Arc<rustls::ClientConfig>,
    pub(crate) id: usize,
    /// Sent as SNI and verified: what is configured (H-VPC-4), else the URL's host or the service's DNS name.
    pub(crate) server_name: Box<str>,
}

/// What this proxy knows of an authorizer.
#[derive(Debug)]
pub(crate) enum AuthorizerHandle {
    Jwt(TokenHandle),
    Lambda { target: Target, answers: Arc<Answers> },
}

/// Keys of an authorizer, and the identity under which workers remember verified tokens.
#[derive(Clone, Debug)]
pub(crate) struct TokenHandle {
    pub(crate) jwks: Arc<JwksEntry>,
    pub(crate) cache: Arc<Slot>,
}

/// A number that stands for one key as long as anyone holds it, and is never given out again.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Slot(pub(crate) u64);

/// What a request's host names.
#[derive(Debug)]
pub(crate) enum Located<'g> {
    /// The default endpoint of an API.
    Api {
        api: &'g Arc<Api>,
        /// Where the path for its stages begins in the client path: behind `/_aws/execute-api/{apiId}`.
        start: usize,
    },
    /// A custom domain.
    Domain(&'g ServedDomain),
}

const DIRECT: &str = "/_aws/execute-api/";

impl Gateway {
    pub(crate) fn new(
        base_domain: &str,
        apis: Vec<Arc<Api>>,
        services: impl IntoIterator<Item = (u64, Service)>,
    ) -> Self {
        let mut prefixes = FxHashMap::default();
        let mut ids = FxHashMap::default();
        for (number, api) in apis.iter().enumerate() {
            let ApiIdentity { api_id, namespace, name } = &api.identity;
            prefixes.insert(format!("{api_id}.execute-api").into(), number);
            prefixes.insert(format!("{name}.{namespace}").into(), number);
            ids.insert(api_id.as_str().into(), number);
        }
        let services = services.into_iter().collect();
        let base_domain = base_domain.to_ascii_lowercase().into();
        let (plans, links, credentials) = (Plans::default(), FxHashMap::default(), HashMap::new());
        let (domains, principals) = (Domains::default(), FxHashMap::default());
        Self { apis, prefixes, ids, base_domain, services, domains, plans, links, credentials, principals }
    }

    /// The keys that an integration of an API signs with.
    pub(crate) fn credentials(&self, api_id: &str, secret: &SecretName) -> Option<&Arc<Credentials>> {
        self.credentials.get(&UnitId::credentials(api_id, secret))
    }

    /// The API for a host and path, or the custom domain (H-DOM-3); `None` is 403 (H-DOM-4). No custom domain hides a default endpoint.
    ///
    /// `host` may carry a port. A host that names no API but this gateway itself (the base domain, `localhost`, an address) reaches
    /// the only API there is, and any API under `/_aws/execute-api/{apiId}`.
    pub(crate) fn locate(&self, host: &str, path: &str) -> Option<Located<'_>> {
        let name = without_port(host);
        let lower;
        let name = if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            lower = name.to_ascii_lowercase();
            lower.as_str()
        } else {
            name
        };
        for domain in [&*self.base_domain, "localhost"] {
            let prefix = name.strip_suffix(domain).and_then(|rest| rest.strip_suffix('.'));
            if let Some(number) = prefix.and_then(|prefix| self.prefixes.get(prefix)) {
                return Some(Located::Api { api: &self.apis[*number], start: 0 });
            }
        }
        if let Some(domain) = self.domains.find(name) {
            return Some(Located::Domain(domain));
        }
        if !self.is_own(name) {
            return None;
        }
        if let Some(rest) = path.strip_prefix(DIRECT) {
            let (id, _) = rest.split_once('/').unwrap_or((rest, ""));
            let number = self.ids.get(id)?;
            return Some(Located::Api { api: &self.apis[*number], start: DIRECT.len() + id.len() });
        }
        match self.apis.as_slice() {
            [only] => Some(Located::Api { api: only, start: 0 }),
            _ => None,
        }
    }

    fn is_own(&self, name: &str) -> bool {
        name == &*self.base_domain
            || name == "localhost"
            || name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok()
    }
}

/// `host:port` and `[address]:port` without the port.
pub(crate) fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) && !is_bare_ipv6(host) => {
            name
        }
        _ => host,
    }
}

fn is_bare_ipv6(host: &str) -> bool {
    !host.starts_with('[') && host.bytes().filter(|&byte| byte == b':').count() > 1
}

impl Gateway {
    /// All stages of all APIs.
    pub(crate) fn served(&self) -> impl Iterator<Item = &Arc<Served>> {
        self.apis.iter().flat_map(|api| api.stages.iter().chain(&api.default))
    }
}

impl Api {
    /// The stage for a path, and how many bytes of the path name it (H-ROUTE-10 to H-ROUTE-13). An empty path stands for `/`.
    pub(crate) fn stage(&self, path: &str) -> Option<(&Arc<Served>, usize)> {
        if !self.stages.is_empty() {
            let first = path.strip_prefix('/').and_then(|rest| rest.split('/').next()).unwrap_or("");
            if let Ok(index) = self.stages.binary_search_by(|served| (*served.stage.stage_name).cmp(first)) {
                return Some((&self.stages[index], 1 + first.len()));
            }
        }
        self.default.as_ref().map(|served| (served, 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api(id: &str, name: &str, stages: &[&str]) -> Arc<Api> {
        let identity = ApiIdentity { api_id: id.to_owned(), namespace: "shop".to_owned(), name: name.to_owned() };
        let served = |stage_name: &str| {
            let stage = Stage {
                api: identity.clone(),
                stage_name: stage_name.into(),
                deployment: None,
                stage_variables: std::collections::BTreeMap::new(),
                access_log: None,
                calls: Vec::new(),
                policies: Vec::new(),
            };
            Arc::new(Served {
                stage,
                targets: Vec::new(),
                authorizers: Vec::new(),
                throttles: Vec::new(),
                slot: Arc::new(Slot(0)),
            })
        };
        let mut named: Vec<&str> = stages.iter().copied().filter(|name| *name != "$default").collect();
        named.sort_unstable();
        Arc::new(Api {
            stages: named.into_iter().map(served).collect(),
            default: stages.contains(&"$default").then(|| served("$default")),
            identity,
        })
    }

    fn located(gateway: &Gateway, host: &str, path: &str) -> Option<String> {
        gateway.locate(host, path).map(|found| match found {
            Located::Api { api, start } => format!("{} {}", api.identity.name, &path[start..]),
            Located::Domain(domain) => domain.compiled.domain.name.to_string(),
        })
    }

    /// Proves H-DOM-3, H-DOM-4.
    #[test]
    fn hosts_name_apis() {
        let two = Gateway::new("gw.example", vec![api("abc", "books", &[]), api("def", "pets", &[])], []);
        let books = |path: &str| Some(format!("books {path}"));
        assert_eq!(located(&two, "abc.execute-api.gw.example", "/x"), books("/x"));
        assert_eq!(located(&two, "ABC.execute-api.GW.example:8080", "/x"), books("/x"));
        assert_eq!(located(&two, "books.shop.gw.example", "/x"), books("/x"));
        assert_eq!(located(&two, "books.shop.localhost:8080", "/x"), books("/x"));
        assert_eq!(located(&two, "localhost:8080", "/_aws/execute-api/abc/dev/x"), books("/dev/x"));
        assert_eq!(located(&two, "127.0.0.1", "/_aws/execute-api/abc"), books(""));
        assert_eq!(located(&two, "[::1]:80", "/_aws/execute-api/abc/"), books("/"));
        for (host, path) in [
            ("localhost", "/x"),
            ("other.example", "/x"),
            ("xabc.execute-api.gw.example", "/x"),
            ("abc.execute-api.gw.example.evil", "/x"),
            ("localhost", "/_aws/execute-api/nope/x"),
            ("other.example", "/_aws/execute-api/abc/x"),
            ("", "/x"),
        ] {
            assert_eq!(located(&two, host, path), None, "{host} {path}");
        }
        let one = Gateway::new("gw.example", vec![api("abc", "books", &[])], []);
        for host in ["localhost:8080", "gw.example", "127.0.0.1:80", "[::1]"] {
            assert_eq!(located(&one, host, "/x"), books("/x"), "{host}");
        }
        assert_eq!(located(&one, "other.example", "/x"), None);
    }

    /// Proves H-ROUTE-10, H-ROUTE-11, H-ROUTE-12, H-ROUTE-13.
    #[test]
    fn the_first_segment_may_name_a_stage() {
        let stage = |stages: &[&str], path: &str| {
            let api = api("abc", "books", stages);
            api.stage(path).map(|(served, named)| format!("{} {}", served.stage.stage_name, &path[named..]))
        };
        let found = |text: &str| Some(text.to_owned());
        assert_eq!(stage(&["dev", "$default"], "/dev/ok"), found("dev /ok"));
        assert_eq!(stage(&["dev", "$default"], "/dev"), found("dev "));
        assert_eq!(stage(&["dev", "$default"], "/dev/"), found("dev /"));
        assert_eq!(stage(&["dev", "$default"], "/Dev/ok"), found("$default /Dev/ok"));
        assert_eq!(stage(&["dev", "$default"], "/development"), found("$default /development"));
        assert_eq!(stage(&["dev", "$default"], "/$default/x"), found("$default /$default/x"));
        assert_eq!(stage(&["dev", "$default"], ""), found("$default "));
        assert_eq!(stage(&["dev"], "/ok"), None);
    }

    #[test]
    fn ports_are_cut() {
        for (host, name) in
            [("a:80", "a"), ("a", "a"), ("[::1]:80", "[::1]"), ("::1", "::1"), ("a:", "a:"), ("a:b", "a:b")]
        {
            assert_eq!(without_port(host), name);
        }
    }
}
