use aws_lambda_events::apigw::{ApiGatewayProxyRequest, ApiGatewayV2httpRequest};
use http::Version;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::context::tests::Request;

const V1: PayloadFormatVersion = PayloadFormatVersion::V1;
const V2: PayloadFormatVersion = PayloadFormatVersion::V2;

fn text(version: PayloadFormatVersion, request: &Request, body: &[u8]) -> String {
    let mut out = Vec::new();
    write_event(version, &request.facts(), body, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn event(version: PayloadFormatVersion, request: &Request, body: &[u8]) -> Value {
    let text = text(version, request, body);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// The request of the example in H-EV2-28.
fn example() -> Request {
    Request {
        path: "/dev/pets/a%20b".to_owned(),
        query: Some("x=1&x=2&y=a+b".to_owned()),
        stage: "dev",
        route: Some("GET /pets/{id}".to_owned()),
        parameters: vec![("id", "a b".to_owned())],
        ..Request::default()
    }
    .header("cookie", "s=1; t=2")
    .header("user-agent", "t/1")
}

/// Proves H-EV2-1, H-EV2-2, H-EV2-3, H-EV2-4, H-EV2-7, H-EV2-8, H-EV2-10, H-EV2-11, H-EV2-16, H-EV2-17, H-EV2-18, H-EV2-20, H-EV2-28.
#[test]
fn the_documented_example() {
    let expected = json!({
        "version": "2.0", "routeKey": "GET /pets/{id}", "rawPath": "/dev/pets/a b", "rawQueryString": "x=1&x=2&y=a+b",
        "cookies": ["s=1", "t=2"],
        "headers": {
            "content-length": "0", "host": "abc123.execute-api.local.example", "user-agent": "t/1",
            "x-amzn-trace-id": "Root=1-6a5145a9-0123456789abcdef01234567", "x-forwarded-for": "10.1.2.3",
            "x-forwarded-port": "443", "x-forwarded-proto": "https"
        },
        "queryStringParameters": {"x": "1,2", "y": "a b"},
        "requestContext": {
            "accountId": "000000000000", "apiId": "abc123", "domainName": "abc123.execute-api.local.example",
            "domainPrefix": "abc123",
            "http": {
                "method": "GET", "path": "/dev/pets/a b", "protocol": "HTTP/1.1", "sourceIp": "10.1.2.3", "userAgent": "t/1"
            },
            "requestId": "JCIn6iOMPHcEP2Q=", "routeKey": "GET /pets/{id}", "stage": "dev",
            "time": "10/Jul/2026:19:19:05 +0000", "timeEpoch": 1_783_711_145_000_u64
        },
        "pathParameters": {"id": "a b"}, "isBase64Encoded": false
    });
    let event = event(V2, &example(), b"");
    assert_eq!(event, expected);
    assert_eq!(keys(&event), keys(&expected));
    assert_eq!(keys(&event["requestContext"]), keys(&expected["requestContext"]));
    assert_eq!(keys(&event["requestContext"]["http"]), keys(&expected["requestContext"]["http"]));
}

/// Proves H-EV2-1.
#[test]
fn keys_of_format_2_in_their_order() {
    let mut request = example().header("content-type", "text/plain");
    request.stage_variables.insert("fn".to_owned(), "two".to_owned());
    assert_eq!(
        keys(&event(V2, &request, b"hi")),
        [
            "version",
            "routeKey",
            "rawPath",
            "rawQueryString",
            "cookies",
            "headers",
            "queryStringParameters",
            "requestContext",
            "body",
            "pathParameters",
            "isBase64Encoded",
            "stageVariables"
        ]
    );
}

/// Proves H-EV2-2, H-EV2-11, H-EV2-18, C25.
#[test]
fn a_bare_request_in_format_2() {
    let request = Request { path: "/bare".to_owned(), route: Some("GET /bare".to_owned()), ..Request::default() };
    let event = event(V2, &request, b"");
    assert_eq!(
        keys(&event),
        ["version", "routeKey", "rawPath", "rawQueryString", "headers", "requestContext", "isBase64Encoded"]
    );
    assert_eq!((&event["rawQueryString"], &event["isBase64Encoded"]), (&json!(""), &json!(false)));
    assert_eq!(event["headers"]["content-length"], "0");
    assert_eq!(event["requestContext"]["http"]["userAgent"], "");
    assert!(event["headers"].get("content-type").is_none());
    assert!(event["requestContext"].get("authorizer").is_none());
    assert!(event["requestContext"].get("authentication").is_none());
}

/// Proves H-EV1-1, H-EV1-9, H-EV1-11, H-EV1-12, C26.
#[test]
fn a_bare_request_in_format_1() {
    let request = Request { path: "/bare".to_owned(), route: Some("GET /bare".to_owned()), ..Request::default() };
    let event = event(V1, &request, b"");
    assert_eq!(
        event,
        json!({
            "version": "1.0", "resource": "/bare", "path": "/bare", "httpMethod": "GET",
            "headers": {
                "Content-Length": "0", "Host": "abc123.execute-api.local.example",
                "X-Amzn-Trace-Id": "Root=1-6a5145a9-0123456789abcdef01234567", "X-Forwarded-For": "10.1.2.3",
                "X-Forwarded-Port": "443", "X-Forwarded-Proto": "https"
            },
            "multiValueHeaders": {
                "Content-Length": ["0"], "Host": ["abc123.execute-api.local.example"],
                "X-Amzn-Trace-Id": ["Root=1-6a5145a9-0123456789abcdef01234567"], "X-Forwarded-For": ["10.1.2.3"],
                "X-Forwarded-Port": ["443"], "X-Forwarded-Proto": ["https"]
            },
            "queryStringParameters": null, "multiValueQueryStringParameters": null,
            "requestContext": {
                "accountId": "000000000000", "apiId": "abc123", "domainName": "abc123.execute-api.local.example",
                "domainPrefix": "abc123", "extendedRequestId": "JCIn6iOMPHcEP2Q=", "httpMethod": "GET",
                "identity": {
                    "accessKey": null, "accountId": null, "caller": null, "cognitoAmr": null,
                    "cognitoAuthenticationProvider": null, "cognitoAuthenticationType": null, "cognitoIdentityId": null,
                    "cognitoIdentityPoolId": null, "principalOrgId": null, "sourceIp": "10.1.2.3", "user": null,
                    "userAgent": null, "userArn": null
                },
                "path": "/bare", "protocol": "HTTP/1.1", "requestId": "JCIn6iOMPHcEP2Q=",
                "requestTime": "10/Jul/2026:19:19:05 +0000", "requestTimeEpoch": 1_783_711_145_000_u64,
                "resourceId": "GET /bare", "resourcePath": "/bare", "stage": "$default"
            },
            "pathParameters": null, "stageVariables": null, "body": null, "isBase64Encoded": false
        })
    );
    assert_eq!(
        keys(&event),
        [
            "version",
            "resource",
            "path",
            "httpMethod",
            "headers",
            "multiValueHeaders",
            "queryStringParameters",
            "multiValueQueryStringParameters",
            "requestContext",
            "pathParameters",
            "stageVariables",
            "body",
            "isBase64Encoded"
        ]
    );
}

/// Proves H-EV2-7, H-EV2-8, H-EV1-7, C21, C22.
#[test]
fn query_parameters() {
    let query = "a=1&a=2&b=x+y&c=x%2By&d=";
    let request = Request { query: Some(query.to_owned()), ..Request::default() };
    let two = event(V2, &request, b"");
    assert_eq!(two["rawQueryString"], query);
    assert_eq!(two["queryStringParameters"], json!({"a": "1,2", "b": "x y", "c": "x+y", "d": ""}));
    let one = event(V1, &request, b"");
    assert_eq!(one["queryStringParameters"], json!({"a": "2", "b": "x y", "c": "x+y", "d": ""}));
    assert_eq!(one["multiValueQueryStringParameters"], json!({"a": ["1", "2"], "b": ["x y"], "c": ["x+y"], "d": [""]}));
}

/// Proves H-EV2-9, H-EV2-10, H-EV1-6, H-EV1-8, C23, C24.
#[test]
fn cookies_and_repeated_headers() {
    let request =
        Request::default().header("cookie", "s=1; t=2").header("x-a", "1").header("x-a", "2").header("x-b", "1, 2");
    let two = event(V2, &request, b"");
    assert_eq!(two["cookies"], json!(["s=1", "t=2"]));
    assert!(two["headers"].get("cookie").is_none());
    assert_eq!((&two["headers"]["x-a"], &two["headers"]["x-b"]), (&json!("1,2"), &json!("1, 2")));
    let one = event(V1, &request, b"");
    assert_eq!((&one["headers"]["Cookie"], &one["headers"]["X-A"]), (&json!("s=1; t=2"), &json!("2")));
    assert_eq!(one["multiValueHeaders"]["X-A"], json!(["1", "2"]));
    assert!(one.get("cookies").is_none());
}

/// Proves H-EV2-10.
#[test]
fn cookies_in_several_fields() {
    let request = Request { version: Version::HTTP_2, ..Request::default() }
        .header("cookie", "a=1")
        .header("cookie", " b=2;; c ")
        .header("cookie", ";");
    assert_eq!(event(V2, &request, b"")["cookies"], json!(["a=1", "b=2", "c"]));
    assert_eq!(event(V1, &request, b"")["headers"]["cookie"], "a=1;  b=2;; c ; ;");
    assert!(event(V2, &Request::default().header("cookie", " ; "), b"").get("cookies").is_none());
}

/// Proves H-EV1-5, H-EV1-14.
#[test]
fn spelling_of_header_names_in_format_1() {
    let request =
        || Request::default().header("content-type", "text/plain").header("user-agent", "u").header("x-my-header", "1");
    let one = event(V1, &request(), b"");
    for name in ["Content-Type", "User-Agent", "X-My-Header", "Host"] {
        assert!(one["headers"].get(name).is_some() && one["multiValueHeaders"].get(name).is_some(), "{name}");
    }
    let two = event(V1, &Request { version: Version::HTTP_2, ..request() }, b"");
    for name in ["Content-Type", "User-Agent", "x-my-header", "Host", "X-Forwarded-For"] {
        assert!(two["headers"].get(name).is_some() && two["multiValueHeaders"].get(name).is_some(), "{name}");
    }
}

/// Proves H-EV2-11, H-EV2-12, H-EV2-14, H-EV2-15, H-EV2-18, H-HDR-1.
#[test]
fn what_the_front_end_says_goes_over_what_the_client_says() {
    let request = Request::default()
        .header("x-forwarded-for", "1.1.1.1, 2.2.2.2")
        .header("x-forwarded-port", "80")
        .header("x-forwarded-proto", "http")
        .header("content-length", "999")
        .header("host", "other")
        .header("x-amzn-trace-id", "Root=other")
        .header("forwarded", "for=7.7.7.7")
        .header("authorization", "Bearer x")
        .header("connection", "keep-alive, X-Hop")
        .header("x-hop", "1")
        .header("keep-alive", "timeout=1")
        .header("proxy-connection", "x")
        .header("te", "trailers")
        .header("trailer", "x")
        .header("transfer-encoding", "chunked")
        .header("upgrade", "websocket");
    let expected = json!({
        "content-length": "2", "host": "abc123.execute-api.local.example",
        "x-amzn-trace-id": "Root=1-6a5145a9-0123456789abcdef01234567",
        "x-forwarded-for": "1.1.1.1, 2.2.2.2, 10.1.2.3", "x-forwarded-port": "443", "x-forwarded-proto": "https",
        "forwarded": "for=7.7.7.7", "authorization": "Bearer x"
    });
    let two = event(V2, &request, b"hi");
    assert_eq!(two["headers"], expected);
    assert_eq!(two["requestContext"]["http"]["sourceIp"], "10.1.2.3");
    let one = event(V1, &request, b"hi");
    let lower =
        one["headers"].as_object().unwrap().iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone()));
    assert_eq!(Value::Object(lower.collect()), expected);
}

/// Proves H-EV2-4, H-EV1-3, H-EV1-13, C28.
#[test]
fn paths() {
    let request = Request {
        path: "/dev/c/space%20value".to_owned(),
        stage: "dev",
        route: Some("GET /c/{name}".to_owned()),
        parameters: vec![("name", "space value".to_owned())],
        ..Request::default()
    };
    let two = event(V2, &request, b"");
    assert_eq!(two["rawPath"], "/dev/c/space value");
    assert_eq!(two["requestContext"]["http"]["path"], "/dev/c/space value");
    assert_eq!(two["pathParameters"], json!({"name": "space value"}));
    let one = event(V1, &request, b"");
    assert_eq!(one["path"], "/dev/c/space%20value");
    assert_eq!(one["requestContext"]["path"], "/dev/c/space value");
    assert_eq!(one["pathParameters"], json!({"name": "space value"}));
    let slash = Request { path: "/beta/foo/".to_owned(), ..Request::default() };
    assert_eq!(event(V2, &slash, b"")["rawPath"], "/beta/foo/");
}

/// Proves H-EV2-5.
#[test]
fn an_encoded_slash_stays_in_the_raw_path() {
    let request = Request { path: "/x/a%2Fb%20c".to_owned(), ..Request::default() };
    assert_eq!(event(V2, &request, b"")["rawPath"], "/x/a%2Fb c");
}

/// Proves H-EV1-2, H-EV1-10, C29, C30.
#[test]
fn resources_of_format_1() {
    let default = event(V1, &Request { path: "/question".to_owned(), ..Request::default() }, b"");
    assert_eq!(default["resource"], "$default");
    assert_eq!(default["requestContext"]["resourcePath"], "$default");
    assert_eq!(default["requestContext"]["resourceId"], "$default");
    let one = Request { route: Some("POST /x/{id}".to_owned()), ..Request::default() };
    let one = event(V1, &one, b"");
    assert_eq!(one["resource"], "/x/{id}");
    assert_eq!(one["requestContext"]["resourcePath"], "/x/{id}");
    assert_eq!(one["requestContext"]["resourceId"], "POST /x/{id}");
}

/// Proves H-JWT-28, H-JWT-29, H-JWT-30, H-EV2-26, H-EV1-12.
#[test]
fn tokens() {
    let claims = json!({"n": 1_515_973_296, "b": true, "l": ["a", "b"], "scope": "r w", "q\"": "x"});
    let token = crate::jwt::tests::verified(claims);
    let mut request = Request { token: Some((token, false)), ..Request::default() };
    let shown = |event: &Value| -> Value {
        let claims = &event["claims"];
        json!([claims["n"], claims["b"], claims["l"], claims["sub"], claims["q\""], event["scopes"]])
    };
    let without_scopes = json!(["1515973296", "true", "[a b]", "u1", "x", null]);
    assert_eq!(shown(&event(V2, &request, b"")["requestContext"]["authorizer"]["jwt"]), without_scopes);
    assert_eq!(shown(&event(V1, &request, b"")["requestContext"]["authorizer"]), without_scopes);
    request.token.as_mut().unwrap().1 = true;
    for (version, pointer) in [(V2, "/requestContext/authorizer/jwt"), (V1, "/requestContext/authorizer")] {
        let event = event(version, &request, b"");
        let authorizer = event.pointer(pointer).unwrap();
        assert_eq!(authorizer["scopes"], json!(["r", "w"]));
        assert_eq!(keys(authorizer), ["claims", "scopes"]);
    }
    let text = text(V2, &request, b"");
    assert!(serde_json::from_str::<ApiGatewayV2httpRequest>(&text).unwrap().request_context.authorizer.is_some());
}

/// Proves H-VAR-6.
#[test]
fn stage_variables() {
    let mut request = Request::default();
    request.stage_variables.insert("fn".to_owned(), "two".to_owned());
    for version in [V1, V2] {
        assert_eq!(event(version, &request, b"")["stageVariables"], json!({"fn": "two"}));
    }
}

/// Headers, body, and how the body stands in the event.
type Case<'c> = (&'c [(&'static str, &'c str)], &'c [u8], &'c str, bool);

/// Proves H-EV2-21, H-EV2-22, H-EV2-23, H-EV2-24, H-EV2-25, C31, C32.
#[test]
fn bodies() {
    let table: [Case<'_>; 18] = [
        (&[("content-type", "application/octet-stream")], b"\x00\xff", "AP8=", true),
        (&[("content-type", "application/json")], br#"{"a":1}"#, r#"{"a":1}"#, false),
        (&[("content-type", "text/plain; charset=utf-8")], "é\n".as_bytes(), "é\n", false),
        (&[("content-type", "TEXT/csv")], b"a", "a", false),
        (&[("content-type", "Application/JSON;x=y")], b"1", "1", false),
        (&[("content-type", "application/xml")], b"<a/>", "<a/>", false),
        (&[("content-type", "application/javascript")], b"x", "x", false),
        (&[("content-type", "application/ld+json")], b"{}", "{}", false),
        (&[("content-type", "image/svg+xml")], b"<a/>", "<a/>", false),
        (&[("content-type", "application/jsonx")], b"{}", "e30=", true),
        (&[("content-type", "application/x-www-form-urlencoded")], b"a=1", "YT0x", true),
        (&[("content-type", "multipart/form-data; boundary=x")], b"a", "YQ==", true),
        (&[("content-type", "")], b"a", "YQ==", true),
        (&[], b"a", "YQ==", true),
        (&[("content-type", "text/plain"), ("content-encoding", "gzip")], b"a", "YQ==", true),
        (&[("content-type", "text/plain"), ("content-encoding", "identity")], b"a", "a", false),
        (&[("content-type", "text/plain")], b"\xff", "/w==", true),
        (&[("content-type", "text/plain")], b"\"\\\x01", "\"\\\u{1}", false),
    ];
    for (headers, body, text, base64) in table {
        let request = headers.iter().fold(Request::default(), |request, (name, value)| request.header(name, value));
        for version in [V1, V2] {
            let event = event(version, &request, body);
            assert_eq!(
                (&event["body"], &event["isBase64Encoded"]),
                (&json!(text), &json!(base64)),
                "{headers:?} {body:?}"
            );
            let length =
                if version == V1 { &event["headers"]["Content-Length"] } else { &event["headers"]["content-length"] };
            assert_eq!(*length, body.len().to_string());
        }
    }
}

/// Proves H-RES-19, H-SIZE-3.
#[test]
fn an_event_over_six_megabytes_is_refused() {
    let text = Request::default().header("content-type", "text/plain");
    let binary = Request::default();
    let room = MAX_PAYLOAD_BYTES - 4096;
    for version in [V1, V2] {
        let write = |request: &Request, body: &[u8]| write_event(version, &request.facts(), body, &mut Vec::new());
        assert_eq!(write(&text, &vec![b'x'; room]), Ok(()));
        assert_eq!(write(&text, &vec![b'"'; room / 2 + 8192]), Err(Reject::PayloadTooLarge), "escapes count");
        assert_eq!(write(&binary, &vec![0; room]), Err(Reject::PayloadTooLarge), "base64 counts");
        assert_eq!(write(&binary, &vec![0; room / 4 * 3]), Ok(()));
        assert_eq!(write(&text, &vec![b'x'; MAX_PAYLOAD_BYTES + 1]), Err(Reject::PayloadTooLarge));
    }
}

#[test]
fn thousands_of_parameters_are_no_trouble() {
    let query: String = (0..5000).map(|n| format!("{n}&")).collect();
    let request = Request { query: Some(query), ..Request::default() };
    assert_eq!(event(V2, &request, b"")["queryStringParameters"].as_object().unwrap().len(), 5000);
}

fn any_request() -> impl Strategy<Value = (Request, Vec<u8>)> {
    let name = prop::sample::select(
        &[
            "accept",
            "content-type",
            "content-encoding",
            "cookie",
            "x-a",
            "x-b",
            "connection",
            "user-agent",
            "x-forwarded-for",
            "host",
        ][..],
    );
    let value = prop_oneof![
        prop::collection::vec(0x20_u8..=0x7e, 0..20),
        Just(b"application/json".to_vec()),
        Just(b"text/plain".to_vec()),
        any::<Vec<u8>>(),
    ];
    let headers = prop::collection::vec((name, value), 0..12);
    let method = prop::sample::select(&["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"][..]);
    let path = "/(%[0-9a-fA-F]{2}|%|[a-z0-9+/._~-]){0,30}";
    let query = prop::option::of("([a-c]|%[0-9a-f]{2}|[=&+%]){0,30}");
    let parameters = prop::collection::vec((prop::sample::select(&["id", "proxy"][..]), any::<String>()), 0..2);
    let body = prop_oneof![any::<Vec<u8>>(), any::<String>().prop_map(String::into_bytes)];
    (headers, method, path, query, parameters, body, any::<bool>(), any::<u128>()).prop_map(
        |(headers, method, path, query, parameters, body, http2, address)| {
            let mut request = Request {
                version: if http2 { Version::HTTP_2 } else { Version::HTTP_11 },
                method,
                path,
                query,
                source_ip: std::net::Ipv6Addr::from_bits(address).into(),
                parameters,
                ..Request::default()
            };
            for (name, value) in headers {
                if let Ok(value) = http::HeaderValue::from_bytes(&value) {
                    request.headers.append(name, value);
                }
            }
            (request, body)
        },
    )
}

fn body_of(body: Option<String>, base64: bool) -> Vec<u8> {
    match body {
        None => Vec::new(),
        Some(text) if base64 => STANDARD.decode(text).unwrap(),
        Some(text) => text.into_bytes(),
    }
}

proptest! {
    #[test]
    fn every_event_parses_with_the_types_of_the_lambda_runtime((request, body) in any_request()) {
        let two: ApiGatewayV2httpRequest = serde_json::from_str(&text(V2, &request, &body)).unwrap();
        prop_assert_eq!(body_of(two.body, two.is_base64_encoded), body.as_slice());
        prop_assert_eq!(two.request_context.http.method.as_str(), request.method);
        prop_assert_eq!(two.raw_query_string, Some(request.query.clone().unwrap_or_default()));
        prop_assert_eq!(two.request_context.time_epoch, 1_783_711_145_000);

        let one: ApiGatewayProxyRequest = serde_json::from_str(&text(V1, &request, &body)).unwrap();
        prop_assert_eq!(body_of(one.body, one.is_base64_encoded), body);
        prop_assert_eq!(one.http_method.as_str(), request.method);
        prop_assert_eq!(one.path.as_deref(), Some(request.path.as_str()));
    }

    /// No name appears twice in an object: a parser that takes the first and one that takes the last agree.
    #[test]
    fn no_object_has_a_key_twice((request, body) in any_request()) {
        for version in [V1, V2] {
            let text = text(version, &request, &body);
            let value: Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(value.to_string().len(), serde_json::from_str::<Unique>(&text).unwrap().0);
        }
    }
}

/// Length of the compact text of JSON that keeps what occurs twice.
struct Unique(usize);

impl<'de> serde::Deserialize<'de> for Unique {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<serde_json::value::RawValue>::deserialize(deserializer)?;
        Ok(Self(raw.get().len()))
    }
}
