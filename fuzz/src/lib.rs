//! What several fuzz targets share: a request out of text, and the facts that the engine wants to know of it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, HeaderName, HeaderValue, Version};
use tollgate_engine::context::{Facts, RouteFacts};
use tollgate_engine::request_id::RequestId;

/// A request: a line with method and target, header lines, an empty line, the body.
#[derive(Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub query: Option<String>,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Request {
    /// `None` when it is nothing that an HTTP parser would let through.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (head, body) = match bytes.windows(2).position(|pair| pair == b"\n\n") {
            Some(end) => (&bytes[..end], &bytes[end + 2..]),
            None => (bytes, &[][..]),
        };
        let mut lines = head.split(|byte| *byte == b'\n');
        let (method, target) = std::str::from_utf8(lines.next()?).ok()?.split_once(' ')?;
        let target: http::Uri = target.parse().ok()?;
        let mut headers = HeaderMap::new();
        for line in lines.take(64) {
            let colon = line.iter().position(|byte| *byte == b':')?;
            let name = HeaderName::from_bytes(&line[..colon]).ok()?;
            headers.append(name, HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?);
        }
        Some(Self {
            method: http::Method::from_bytes(method.as_bytes()).ok()?.to_string(),
            path: target.path().to_owned(),
            query: target.query().map(str::to_owned),
            headers,
            body: body.to_vec(),
        })
    }

    /// The facts of this request on the route `ANY /{proxy+}`.
    pub fn with_facts<T>(&self, then: impl FnOnce(&Facts<'_>) -> T) -> T {
        let host = self.headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or("a.example:8080");
        let parameters = [("proxy", tollgate_engine::percent::decode_path(&self.path).into_owned())];
        let stage_variables: BTreeMap<String, String> = [("v".to_owned(), "1".to_owned())].into();
        then(&Facts {
            request_id: RequestId::from_random([7; 11]),
            received_ms: 1_700_000_000_123,
            version: Version::HTTP_11,
            method: &self.method,
            path: &self.path,
            query: self.query.as_deref(),
            mapped: tollgate_engine::context::Mapped::default(),
            headers: &self.headers,
            user_agent: self.headers.get("user-agent").map(HeaderValue::as_bytes),
            host,
            source_ip: IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3)),
            trace: "Root=1-6a5145a9-0123456789abcdef01234567",
            account_id: "000000000000",
            api_id: "abcdefghij",
            stage: "$default",
            stage_variables: &stage_variables,
            route: Some(RouteFacts { key: "ANY /{proxy+}", parameters: &parameters }),
            api_key_id: None,
            authorizer: None,
            domain: None,
        })
    }
}
