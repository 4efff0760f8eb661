use http::{HeaderMap, HeaderName, HeaderValue};

use super::*;
use crate::context::tests::Request as Sent;
use crate::reject::Reject;
use crate::route::RouteKey;

fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn request(entries: &[(&str, &str)]) -> RequestMapping {
    let mapping = Mapping::compile(&map(entries), &BTreeMap::new()).unwrap().unwrap();
    mapping.request.unwrap()
}

fn refusal(key: &str, value: &str) -> String {
    Mapping::compile(&map(&[(key, value)]), &BTreeMap::new()).unwrap_err().to_string()
}

fn response(status: &str, entries: &[(&str, &str)]) -> Result<Mapping, String> {
    let responses = BTreeMap::from([(status.to_owned(), map(entries))]);
    Mapping::compile(&BTreeMap::new(), &responses).map(Option::unwrap_or_default).map_err(|error| error.to_string())
}

/// `GET /dev/pets/a%2Fb+c?…` on `GET /pets/{id}`.
struct Case {
    sent: Sent,
    query: &'static str,
    body: &'static [u8],
}

impl Case {
    fn new() -> Self {
        let sent = Sent { stage: "dev", ..Sent::default() };
        Self {
            sent: sent.header("header1", "v").header("x-a", "1").header("x-a", "2").header("authorization", "Bearer t"),
            query: "q=1&q=2&Q=3&e=x+y%26",
            body: br#"{"items":[{"id":7},{"id":"s","on":true,"o":{"a": 1}}],"n":null}"#,
        }
    }

    fn with<T>(&self, then: impl FnOnce(&Sources<'_>) -> T) -> T {
        let facts = self.sent.facts();
        let key: RouteKey = "GET /pets/{id}".parse().unwrap();
        let sources = Request {
            facts: &facts,
            headers: facts.headers,
            path: "/pets/a%2Fb+c",
            query: Some(self.query),
            template: key.path(),
            body: Some(self.body),
        };
        then(&sources.into())
    }

    fn value(&self, text: &str) -> Option<String> {
        let value = Value::parse(text, Side::Request).unwrap_or_else(|error| panic!("{text}: {error}"));
        self.with(|sources| value.resolve(sources)).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    fn change(&self, entries: &[(&str, &str)]) -> Result<RequestChange, Reject> {
        self.with(|sources| request(entries).resolve(sources))
    }

    /// The headers of the request after the mapping, `name: value` each.
    fn headers(&self, entries: &[(&str, &str)]) -> Vec<String> {
        let mut headers = self.sent.headers.clone();
        self.change(entries).unwrap().apply_to_headers(&mut headers);
        lines(&headers)
    }
}

fn lines(headers: &HeaderMap) -> Vec<String> {
    headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect()
}

/// Proves H-MAP-5, H-MAP-10, H-MAP-12, H-MAP-13, H-MAP-15, H-MAP-17.
#[test]
fn sources_of_a_request() {
    let mut case = Case::new();
    case.sent.stage_variables.insert("v".to_owned(), "blue".to_owned());
    for (text, value) in [
        ("static $5 ${x} $request", Some("static $5 ${x} $request")),
        ("$request.header.X-A", Some("1,2")),
        ("$request.header.authorization", Some("Bearer t")),
        ("$request.header.host", Some("abc123.execute-api.local.example")),
        ("$request.header.none", None),
        ("x${request.header.none}y", Some("xy")),
        ("$request.querystring.q", Some("1,2")),
        ("$request.querystring.Q", Some("3")),
        ("$request.querystring.e", Some("x y&")),
        ("$request.querystring.none", None),
        ("$request.path", Some("/pets/a%2Fb+c")),
        ("$request.path.id", Some("a/b+c")),
        ("$request.path.none", None),
        ("/$request.path.id", Some("/a/b+c")),
        ("${request.path.id}-${context.stage}", Some("a/b+c-dev")),
        ("$request.body.items[0].id", Some("7")),
        ("$request.body.items[1].id", Some("s")),
        ("$request.body.items[1].on", Some("true")),
        ("$request.body.items[1].o", Some(r#"{"a":1}"#)),
        ("$request.body.items[2].id", None),
        ("$request.body.n", None),
        ("$request.body[0]", None),
        ("$context.requestId", Some("JCIn6iOMPHcEP2Q=")),
        ("$context.identity.sourceIp", Some("10.1.2.3")),
        ("$context.authorizer.claims.sub", None),
        ("$context.identity.userArn", None),
        ("$stageVariables.v", Some("blue")),
        ("${stageVariables.v}!", Some("blue!")),
        ("$stageVariables.V", None),
    ] {
        assert_eq!(case.value(text).as_deref(), value, "{text}");
    }
    assert_eq!(case.value("$request.body").unwrap().as_bytes(), case.body);
}

/// Proves H-MAP-14, H-MAP-15.
#[test]
fn a_json_path_sees_the_first_100_kilobytes() {
    let body = |length: usize| {
        let text = format!(r#"{{"id":7,"pad":"{}"}}"#, "x".repeat(length - 17));
        assert_eq!(text.len(), length);
        &*text.into_bytes().leak()
    };
    for (length, found) in [(102_400, Some("7")), (102_401, None)] {
        let case = Case { body: body(length), ..Case::new() };
        assert_eq!(case.value("$request.body.id").as_deref(), found, "{length}");
        assert_eq!(case.value("$request.body").map(|text| text.len()), Some(length));
    }
    let case = Case { body: b"not json", ..Case::new() };
    assert_eq!((case.value("$request.body.id"), case.value("$request.body").is_some()), (None, true));
}

/// Proves H-MAP-1, H-MAP-3, H-MAP-4, H-MAP-5, H-MAP-11, H-MAP-12, H-MAP-13, H-MAP-26, H-VPC-8, C56.
#[test]
fn what_is_refused() {
    let rule = "a key is append:, overwrite: or remove:, then header.NAME or querystring.NAME, or overwrite:path";
    for (key, value, message) in [
        ("header.x", "1", rule),
        ("set:header.x", "1", rule),
        ("append:cookie.x", "1", rule),
        ("append:querystring.", "1", rule),
        ("append:path", "/x", "a path can only be replaced: use overwrite:path"),
        ("remove:path", "", "a path can only be replaced: use overwrite:path"),
        ("overwrite:statuscode", "200", rule),
        ("append:header.a b", "1", "\"a b\" is not the name of a header"),
        ("append:header.x", "", "the value is empty: write one, or take the key away"),
        (
            "append:header.x",
            "$request.nothing",
            "\"request.nothing\" is not a source of values: of a request there are",
        ),
        ("append:header.x", "$response.header.x", "\"response.header.x\" is not known when a request is mapped"),
        ("append:header.x", "${request.header.x", "has a ${ without its }"),
        ("append:header.x", "$request.header.a-$context.stage", "to combine expressions, write each as ${…}"),
        ("append:header.x", "$request.header.apigw-requestid", "Operations on header apigw-requestid are restricted"),
        ("append:header.x", "$context.integration.status", "has no value while requests and responses are mapped"),
        ("append:header.x", "$context.nonsense", "has no value while requests and responses are mapped"),
        ("append:header.x", "$stageVariables.a-b", "is not the name of a stage variable"),
        ("append:header.x", "$request.body..id", "wildcards, slices, filters and .. are not supported"),
        ("append:header.x", "$request.body.items[*]", "wildcards, slices, filters and .. are not supported"),
        ("append:header.x", "$request.body.items[0:2]", "wildcards, slices, filters and .. are not supported"),
        ("append:header.x", "$request.body.items[?(@.a)]", "wildcards, slices, filters and .. are not supported"),
        (
            "overwrite:header.Host",
            "$context.domainName",
            "Host is overwritten by constant text or stage variables only",
        ),
        ("append:header.host", "x", "Host is always sent once: use overwrite:header.Host"),
        ("remove:header.host", "", "Host is always sent once: use overwrite:header.Host"),
    ] {
        let refused = refusal(key, value);
        assert!(
            refused.starts_with(&format!("requestParameters[{key:?}]: ")) && refused.contains(message),
            "{refused}"
        );
    }
    for name in [
        "Access-Control-Allow-Origin",
        "apigw-x",
        "Authorization",
        "Connection",
        "Content-Encoding",
        "Content-Length",
        "Content-Location",
        "Forwarded",
        "Keep-Alive",
        "Origin",
        "Proxy-Authenticate",
        "Proxy-Authorization",
        "TE",
        "Trailers",
        "Transfer-Encoding",
        "Upgrade",
        "X-Amz-Date",
        "X-Amzn-Trace-Id",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "Via",
    ] {
        for action in ["append", "overwrite", "remove"] {
            let key = format!("{action}:header.{name}");
            let said = format!("Operations on header {name} are restricted");
            assert!(refusal(&key, "x").contains(&said), "{key}");
            assert!(response("200", &[(&key, "x")]).unwrap_err().contains(&said), "{key}");
        }
    }
}

/// Proves H-MAP-2, H-MAP-3, H-MAP-11, H-MAP-24, H-MAP-26.
#[test]
fn what_is_refused_of_responses() {
    for (status, key, value, message) in [
        ("2xx", "append:header.x", "1", "the key is the exact status of the backend's response"),
        ("199", "append:header.x", "1", "the key is the exact status of the backend's response"),
        ("600", "append:header.x", "1", "the key is the exact status of the backend's response"),
        ("200", "append:statuscode", "201", "a status can only be replaced: use overwrite:statuscode"),
        ("200", "remove:statuscode", "", "a status can only be replaced: use overwrite:statuscode"),
        (
            "200",
            "overwrite:path",
            "/",
            "a key is append:, overwrite: or remove:, then header.NAME, or overwrite:statuscode",
        ),
        ("200", "append:querystring.x", "1", "a key is append:, overwrite: or remove:, then header.NAME"),
        ("200", "overwrite:statuscode", "700", "is no status: give a number from 200 to 599"),
        ("200", "append:header.x", "$request.header.x", "is not known when a response is mapped"),
        (
            "200",
            "append:header.x",
            "$response.querystring.x",
            "of a response there are header.NAME, body and body.PATH",
        ),
    ] {
        let refused = response(status, &[(key, value)]).unwrap_err();
        assert!(refused.starts_with("responseParameters[") && refused.contains(message), "{refused}");
    }
    assert!(response("200", &[]).unwrap().response(200).is_none());
}

/// Proves H-MAP-6, H-MAP-16, H-MAP-18, H-MAP-19, H-MAP-22, C55.
#[test]
fn headers() {
    let case = Case::new();
    let rest = ["x-a: 1", "x-a: 2", "authorization: Bearer t"];
    let renamed =
        case.headers(&[("append:header.header2", "$request.header.header1"), ("remove:header.HEADER1", "ignored")]);
    assert_eq!(renamed.len(), 4);
    assert!(rest.iter().chain(&["header2: v"]).all(|line| renamed.contains(&(*line).to_owned())), "{renamed:?}");
    let of_a = |entries: &[(&str, &str)]| {
        let mut lines = case.headers(entries);
        lines.retain(|line| line.starts_with("x-a:"));
        lines
    };
    assert_eq!(of_a(&[("append:header.x-a", "3")]), ["x-a: 1", "x-a: 2", "x-a: 3"]);
    assert_eq!(of_a(&[("overwrite:header.X-A", "3")]), ["x-a: 3"]);
    assert_eq!(of_a(&[("remove:header.x-a", "''")]), [""; 0]);
    // Whatever their order here: remove, overwrite, append; and all read what the client sent.
    let all = [
        ("append:header.x-a", "$request.header.x-a"),
        ("overwrite:header.x-a", "${request.header.header1}!"),
        ("remove:header.x-a", ""),
    ];
    assert_eq!(of_a(&all), ["x-a: v!", "x-a: 1,2"]);
    // A source that finds nothing changes nothing.
    assert_eq!(of_a(&[("overwrite:header.x-a", "$request.header.none")]), ["x-a: 1", "x-a: 2"]);
}

#[test]
fn values_stay_in_their_line_and_have_a_bound() {
    let case = Case { query: "v=a%0d%0aset-cookie%3a%20x%00", ..Case::new() };
    let headers = case.headers(&[("overwrite:header.x-a", "$request.querystring.v")]);
    assert!(headers.contains(&"x-a: a  set-cookie: x".to_owned()), "{headers:?}");
    let case = Case { body: "x".repeat(10_241).leak().as_bytes(), ..Case::new() };
    assert_eq!(case.change(&[("append:header.x", "$request.body")]), Err(Reject::HeaderFieldsTooLarge));
}

/// Proves H-MAP-12, H-MAP-18, H-MAP-19, C58.
#[test]
fn queries() {
    let case = Case::new();
    let query = |entries: &[(&str, &str)]| case.change(entries).unwrap().query(Some(case.query));
    let named = ("append:querystring.who", "${request.header.header1}-${context.stage}&=");
    assert_eq!(query(&[named]).unwrap(), "q=1&q=2&Q=3&e=x+y%26&who=v-dev%26%3D");
    assert_eq!(query(&[("overwrite:querystring.q", "9")]).unwrap(), "Q=3&e=x+y%26&q=9");
    assert_eq!(query(&[("remove:querystring.Q", "")]).unwrap(), "q=1&q=2&e=x+y%26");
    assert_eq!(query(&[("append:header.x", "1")]), None);
    assert_eq!(case.change(&[("append:querystring.a b", "é")]).unwrap().query(None).unwrap(), "a%20b=%C3%A9");
}

/// Proves H-MAP-20, H-MAP-21, C53.
#[test]
fn paths() {
    let case = Case::new();
    let target = |value: &str, target: &str| {
        case.change(&[("overwrite:path", value)]).map(|change| change.target(target).unwrap())
    };
    let text = |text: &str| Ok(text.to_owned());
    assert_eq!(target("$request.path", "/dev/pets/a%2Fb+c?x=1"), text("/pets/a%2Fb+c?x=1"));
    assert_eq!(target("/$request.path.id", "/base"), text("/a%2Fb+c"));
    assert_eq!(target("$request.path.id", "/base"), text("/a%2Fb+c"));
    assert_eq!(target("/x y?z#é%2f%zz", "/"), text("/x%20y%3Fz%23%C3%A9%2f%25zz"));
    // What backends may read in another way than it is meant (H-ROUTE-25).
    for dots in ["/../x", "/a/%2e%2e/b", "/a/..%2Fb"] {
        assert_eq!(target(dots, "/"), Err(Reject::BadRequest), "{dots}");
    }
    let change = case.change(&[("overwrite:path", "/p"), ("remove:querystring.q", "")]).unwrap();
    assert_eq!(change.target("/base?v=1&q=2").unwrap(), "/p?v=1");
    assert_eq!(change.path(), Some("/p"));
}

/// Proves H-VPC-8.
#[test]
fn the_host_is_a_constant() {
    let mut case = Case::new();
    case.sent.stage_variables.insert("h".to_owned(), "b.example".to_owned());
    for (value, host) in [("a.example", "a.example"), ("${stageVariables.h}:8080", "b.example:8080")] {
        let change = case.change(&[("overwrite:header.Host", value)]).unwrap();
        assert_eq!(change.host(), Some(&HeaderValue::from_static(host)));
    }
}

/// Proves H-MAP-2, H-MAP-11, H-MAP-16, H-MAP-23, H-MAP-24.
#[test]
fn responses() {
    let mut sent = Sent::default();
    sent.stage_variables.insert("v".to_owned(), "blue".to_owned());
    let facts = sent.facts();
    let mut headers = HeaderMap::new();
    headers.insert(HeaderName::from_static("x-status"), HeaderValue::from_static("404"));
    headers.insert(HeaderName::from_static("x-bad"), HeaderValue::from_static("700"));
    let resolve = |entries: &[(&str, &str)]| {
        let mapping = response("500", entries).unwrap();
        assert!(mapping.response(501).is_none() && mapping.response(200).is_none());
        let body = Some(&br#"{"error":{"code":"E1"}}"#[..]);
        let sources = Response { facts: &facts, headers: &headers, body };
        let change = mapping.response(500).unwrap().resolve(&sources.into()).unwrap();
        let mut headers = headers.clone();
        change.apply_to_headers(&mut headers);
        (change.status(), lines(&headers))
    };
    let (status, headers) = resolve(&[
        ("overwrite:statuscode", "403"),
        ("append:header.h1", "$context.requestId"),
        ("append:header.h2", "$response.body.error.code"),
        ("append:header.h3", "$stageVariables.v"),
        ("overwrite:header.x-bad", "$response.header.x-status"),
        ("remove:header.x-status", "''"),
    ]);
    assert_eq!(status, Some(403));
    for line in ["h1: JCIn6iOMPHcEP2Q=", "h2: E1", "h3: blue", "x-bad: 404"] {
        assert!(headers.contains(&line.to_owned()), "{line}: {headers:?}");
    }
    assert!(!headers.iter().any(|line| line.starts_with("x-status")));
    assert_eq!(resolve(&[("overwrite:statuscode", "$response.header.x-status")]).0, Some(404));
    for invalid in ["$response.header.x-bad", "$response.header.none", "$response.body"] {
        assert_eq!(resolve(&[("overwrite:statuscode", invalid)]).0, None, "{invalid}");
    }
}

#[test]
fn only_what_reads_a_body_needs_one() {
    let needs = |value: &str| {
        Mapping::compile(&map(&[("append:header.x", value)]), &BTreeMap::new()).unwrap().unwrap().needs_request_body()
    };
    assert!(needs("$request.body") && needs("a${request.body.x}b"));
    assert!(!needs("$request.header.body"));
    assert_eq!(Mapping::compile(&BTreeMap::new(), &BTreeMap::new()), Ok(None));
}
