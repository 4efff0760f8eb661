use std::net::{IpAddr, Ipv4Addr};

use http::HeaderValue;

use super::*;

/// Owns what [`Facts`] borrow; tests change what they are about.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) version: Version,
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    pub(crate) headers: HeaderMap,
    pub(crate) host: String,
    pub(crate) source_ip: IpAddr,
    pub(crate) stage: &'static str,
    pub(crate) stage_variables: BTreeMap<String, String>,
    pub(crate) route: Option<String>,
    pub(crate) parameters: Vec<(&'static str, String)>,
    /// The token, and whether the route has scopes.
    pub(crate) token: Option<(Verified, bool)>,
    /// What an authorizer's function answered.
    pub(crate) answer: Option<Answer>,
}

impl Default for Request {
    /// The request of the example in H-EV2-28, without its details.
    fn default() -> Self {
        Self {
            version: Version::HTTP_11,
            method: "GET",
            path: "/".to_owned(),
            query: None,
            headers: HeaderMap::new(),
            host: "abc123.execute-api.local.example".to_owned(),
            source_ip: Ipv4Addr::new(10, 1, 2, 3).into(),
            stage: "$default",
            stage_variables: BTreeMap::new(),
            route: Some("$default".to_owned()),
            parameters: Vec::new(),
            token: None,
            answer: None,
        }
    }
}

impl Request {
    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        self
    }

    /// The bytes of the id in the examples of the spec: `JCIn6iOMPHcEP2Q=`.
    pub(crate) fn id() -> RequestId {
        RequestId::from_random([0x24, 0x22, 0x27, 0xea, 0x23, 0x8c, 0x3c, 0x77, 0x04, 0x3f, 0x64])
    }

    pub(crate) fn facts(&self) -> Facts<'_> {
        Facts {
            request_id: Self::id(),
            received_ms: 1_783_711_145_000,
            version: self.version,
            method: self.method,
            path: &self.path,
            query: self.query.as_deref(),
            mapped: Mapped::default(),
            headers: &self.headers,
            user_agent: self.headers.get(http::header::USER_AGENT).map(HeaderValue::as_bytes),
            host: &self.host,
            source_ip: self.source_ip,
            trace: "Root=1-6a5145a9-0123456789abcdef01234567",
            account_id: "000000000000",
            api_id: "abc123",
            stage: self.stage,
            stage_variables: &self.stage_variables,
            route: self.route.as_ref().map(|key| RouteFacts { key, parameters: &self.parameters }),
            api_key_id: Some("shop/alice"),
            authorizer: self
                .token
                .as_ref()
                .map(|(token, route_has_scopes)| JwtFacts { token, route_has_scopes: *route_has_scopes })
                .map(CallerFacts::Jwt)
                .or(self.answer.as_ref().map(CallerFacts::Lambda)),
            domain: None,
        }
    }
}

/// Proves H-ERR-7.
#[test]
fn the_example_id_is_the_one_of_the_specification() {
    assert_eq!(Request::id().as_str(), "JCIn6iOMPHcEP2Q=");
}

/// Proves H-EV2-19.
#[test]
fn domain_names() {
    for (host, name, prefix) in [
        ("abc123.execute-api.local.example", "abc123.execute-api.local.example", "abc123"),
        ("localhost:8080", "localhost", "localhost"),
        ("a.localhost:8080", "a.localhost", "a"),
        ("[::1]:8080", "[::1]", "[::1]"),
        ("[::1]", "[::1]", "[::1]"),
        ("", "", ""),
    ] {
        let request = Request { host: host.to_owned(), ..Request::default() };
        assert_eq!((request.facts().domain_name(), request.facts().domain_prefix()), (name, prefix));
    }
}

/// Proves H-EV1-2.
#[test]
fn the_resource_is_the_path_of_the_route_key() {
    for (key, resource) in [("GET /pets/{id}", "/pets/{id}"), ("ANY /{proxy+}", "/{proxy+}"), ("$default", "$default")]
    {
        assert_eq!(RouteFacts { key, parameters: &[] }.resource(), resource);
    }
}
