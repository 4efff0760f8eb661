//! What a link decides: who may use it, which endpoint a request goes to, and when an endpoint is left alone.
//!
//! The counts that these decisions need are the caller's to keep; nothing here has state.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName};

use crate::snapshot::{self, HealthCheck, OutlierDetection, Problem, ServicePort};

/// An endpoint is left alone at most so many times its base time.
const MOST_EJECTIONS: u32 = 10;

/// A link as it runs.
#[derive(Clone, Debug)]
pub struct Link {
    services: Box<[Box<str>]>,
    allowed_namespaces: Box<[Box<str>]>,
    namespace: Box<str>,
    /// Which endpoint gets a request.
    pub balance: Balance,
    /// Active checks.
    pub health_check: Option<HealthCheck>,
    /// Passive checks.
    pub outlier_detection: Option<OutlierDetection>,
    /// Connections in use to one endpoint at a time; without a limit the largest number there is.
    pub most_connections: u32,
}

/// Which endpoint gets a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Balance {
    /// In turn.
    RoundRobin,
    /// The one with the fewest requests in flight.
    LeastRequest,
    /// The same one for the same key.
    ConsistentHash(HashKey),
}

/// What is the same for requests that belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashKey {
    /// The client's address.
    SourceIp,
    /// A header; requests without it are spread in turn.
    Header(HeaderName),
}

impl Link {
    /// Compiles what travelled.
    ///
    /// # Errors
    /// A field has a value that cannot run; the path is the field's in the unit.
    pub fn compile(wire: &snapshot::Link) -> Result<Self, Problem> {
        // A new field stops compiling here. TLS is compiled where certificates are.
        let snapshot::Link {
            link,
            services,
            allowed_namespaces,
            balance,
            health_check,
            outlier_detection,
            most_connections,
            tls: _,
        } = wire;
        let problem = |path: &str, message: String| Problem {
            source: format!("{}/{}", link.namespace, link.name),
            path: path.to_owned(),
            message,
        };
        let balance = match balance {
            snapshot::Balance::LeastRequest => Balance::LeastRequest,
            snapshot::Balance::ConsistentHash { key } => {
                Balance::ConsistentHash(key.parse().map_err(|message| problem("links.balance.key", message))?)
            }
            snapshot::Balance::RoundRobin | snapshot::Balance::Unknown => Balance::RoundRobin,
        };
        if let Some(check) = health_check
            && check.path.parse::<http::uri::PathAndQuery>().is_err()
        {
            let message = format!("{:?} cannot stand in a request: write a path such as /healthz", check.path);
            return Err(problem("links.healthCheck.path", message));
        }
        Ok(Self {
            services: services.iter().map(|name| name.as_str().into()).collect(),
            allowed_namespaces: allowed_namespaces.iter().map(|name| name.as_str().into()).collect(),
            namespace: link.namespace.as_str().into(),
            balance,
            health_check: health_check.clone(),
            outlier_detection: *outlier_detection,
            most_connections: most_connections.unwrap_or(u32::MAX),
        })
    }

    /// Whether an API of `namespace` may reach `service` (H-VPC-9).
    pub fn allows(&self, namespace: &str, service: &ServicePort) -> bool {
        allows(&self.namespace, &self.allowed_namespaces, namespace) && opens(&self.namespace, &self.services, service)
    }
}

/// Whether a link of namespace `link` may be used by an API of `namespace`.
pub fn allows(link: &str, allowed: &[impl AsRef<str>], namespace: &str) -> bool {
    link == namespace || allowed.iter().any(|name| matches!(name.as_ref(), "*") || name.as_ref() == namespace)
}

/// Whether a link of namespace `link` opens this service.
pub fn opens(link: &str, services: &[impl AsRef<str>], service: &ServicePort) -> bool {
    service.namespace == link && services.iter().any(|name| name.as_ref() == service.name)
}

impl std::str::FromStr for HashKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "$context.identity.sourceIp" {
            return Ok(Self::SourceIp);
        }
        let name = text.strip_prefix("$request.header.").and_then(|name| name.parse().ok());
        name.map(Self::Header)
            .ok_or_else(|| format!("{text:?} is no hash key: write $context.identity.sourceIp or $request.header.NAME"))
    }
}

impl HashKey {
    /// The number of the key of a request; `None` when it has none.
    pub fn of(&self, source: IpAddr, headers: &HeaderMap) -> Option<u64> {
        match self {
            Self::SourceIp => Some(match source.to_canonical() {
                IpAddr::V4(address) => hash(&address.octets()),
                IpAddr::V6(address) => hash(&address.octets()),
            }),
            Self::Header(name) => headers.get(name).map(|value| hash(value.as_bytes())),
        }
    }
}

/// How well an endpoint suits a key; the one that suits best gets the request (rendezvous hashing). An endpoint that comes or goes
/// moves only the keys that it gets or had.
pub fn rank(key: u64, endpoint: SocketAddr) -> u64 {
    let address = match endpoint.ip() {
        IpAddr::V4(address) => hash(&address.octets()),
        IpAddr::V6(address) => hash(&address.octets()),
    };
    mix(key ^ mix(address ^ u64::from(endpoint.port())))
}

/// FNV-1a, then mixed: proxies of all versions and machines have to agree, so no hasher of a library that may change.
fn hash(bytes: &[u8]) -> u64 {
    let folded = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    mix(folded)
}

/// The finalizer of SplitMix64.
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// For how many seconds an endpoint is left alone after a failure; `None`: it is not. `failures` in a row count this one; `ejections` are
/// the earlier ones without a success since; `away` of its service's `endpoints` are left alone already.
pub fn ejection(
    policy: &OutlierDetection,
    failures: u32,
    ejections: u32,
    away: usize,
    endpoints: usize,
) -> Option<u32> {
    let most = (endpoints * policy.max_ejection_percent as usize / 100).max(1);
    (failures >= policy.consecutive_errors && away < most)
        .then(|| policy.base_ejection_seconds.saturating_mul((ejections + 1).min(MOST_EJECTIONS)))
}

/// Whether an endpoint is well after a check, and the checks in a row that speak against what it is taken for.
pub fn checked(check: &HealthCheck, healthy: bool, against: u32, good: bool) -> (bool, u32) {
    let needed = if healthy { check.unhealthy_threshold } else { check.healthy_threshold };
    match against + 1 {
        _ if good == healthy => (healthy, 0),
        enough if enough >= needed => (good, 0),
        more => (healthy, more),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 8080))
    }

    /// The endpoint for a key among the first `count`.
    fn chosen(key: u64, count: u8) -> SocketAddr {
        (0..count).map(at).max_by_key(|endpoint| rank(key, *endpoint)).unwrap()
    }

    #[test]
    fn a_namespace_needs_to_be_named() {
        let service =
            |namespace: &str, name: &str| ServicePort { namespace: namespace.into(), name: name.into(), port: 80 };
        let link: snapshot::Link = serde_json::from_value(serde_json::json!({
            "link": {"namespace": "backends", "name": "l"}, "services": ["orders"], "allowedNamespaces": ["shop"],
        }))
        .unwrap();
        let compiled = Link::compile(&link).unwrap();
        assert!(compiled.allows("shop", &service("backends", "orders")));
        assert!(compiled.allows("backends", &service("backends", "orders")));
        assert!(!compiled.allows("other", &service("backends", "orders")));
        assert!(!compiled.allows("shop", &service("backends", "secrets")));
        assert!(
            !compiled.allows("shop", &service("shop", "orders")),
            "a link opens Services of its own namespace only"
        );
        let all = Link::compile(&snapshot::Link { allowed_namespaces: vec!["*".into()], ..link }).unwrap();
        assert!(all.allows("anyone", &service("backends", "orders")));
    }

    #[test]
    fn keys_stay_where_they_are_when_endpoints_change() {
        let mut moved = 0;
        let mut counts = [0_u32; 5];
        for key in 0..1000 {
            let key = mix(key);
            let (four, five) = (chosen(key, 4), chosen(key, 5));
            assert!(five == four || five == at(4), "a key moves to the new endpoint or not at all");
            moved += u32::from(five != four);
            counts[(0..5).position(|last| at(last) == five).unwrap()] += 1;
        }
        assert!((150..250).contains(&moved), "{moved} of 1000 moved");
        assert!(counts.iter().all(|count| (140..260).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_key_is_the_clients_address_or_a_header() {
        let key: HashKey = "$request.header.X-User".parse().unwrap();
        let mut headers = HeaderMap::new();
        let client = IpAddr::from([192, 0, 2, 1]);
        assert_eq!(key.of(client, &headers), None);
        headers.insert("x-user", "alice".parse().unwrap());
        let alice = key.of(client, &headers);
        assert!(alice.is_some() && alice == key.of(IpAddr::from([192, 0, 2, 2]), &headers));
        let mapped: IpAddr = "::ffff:192.0.2.1".parse().unwrap();
        assert_eq!(HashKey::SourceIp.of(client, &headers), HashKey::SourceIp.of(mapped, &headers));
        assert!("$request.body.user".parse::<HashKey>().is_err());
    }

    #[test]
    fn failures_in_a_row_eject_but_never_most() {
        let policy = OutlierDetection { consecutive_errors: 3, base_ejection_seconds: 30, max_ejection_percent: 50 };
        assert_eq!(ejection(&policy, 2, 0, 0, 4), None);
        assert_eq!(ejection(&policy, 3, 0, 0, 4), Some(30));
        assert_eq!(ejection(&policy, 3, 2, 0, 4), Some(90));
        assert_eq!(ejection(&policy, 3, 99, 0, 4), Some(300));
        assert_eq!(ejection(&policy, 3, 0, 2, 4), None, "half of them are away");
        assert_eq!(ejection(&policy, 3, 0, 0, 1), Some(30), "one always may be");
    }

    #[test]
    fn one_check_alone_decides_nothing() {
        let check = HealthCheck {
            path: "/".into(),
            interval_seconds: 1,
            timeout_in_millis: 100,
            healthy_threshold: 2,
            unhealthy_threshold: 3,
        };
        let mut state = (true, 0);
        let mut seen = Vec::new();
        for good in [false, false, true, false, false, false, true, false, true, true] {
            state = checked(&check, state.0, state.1, good);
            seen.push(state.0);
        }
        assert_eq!(seen, [true, true, true, true, true, false, false, false, false, true]);
    }
}
