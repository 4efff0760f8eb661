//! Functions behind the invoke protocol (sections 3.2 to 3.4 of the spec), seen from outside.

use std::sync::mpsc;

use serde_json::{Value, json};
use tollgate_testkit::{Api, Gateway, Reply, backend, function, invoked, raw_backend, unused_address};

const INTERNAL: &str = r#"{"message":"Internal Server Error"}"#;

/// Functions that do as the request says: format 2.0 below `/v2`, 1.0 below `/v1`.
fn gateway() -> Gateway {
    let address = backend(invoked);
    let api = Api::new(&[
        ("ANY /v2", function(address, "2.0")),
        ("ANY /v2/{name}", function(address, "2.0")),
        ("ANY /v1", function(address, "1.0")),
        ("ANY /v1/{name}", function(address, "1.0")),
        ("$default", function(address, "1.0")),
    ]);
    serving(&api.stage(json!({"stageName": "dev", "stageVariables": {"colour": "blue"}})))
}

fn serving(api: &Api) -> Gateway {
    let mut gateway = Gateway::empty();
    let reports = gateway.publish(&api.units());
    assert!(reports.iter().all(|report| report.problems.is_empty()), "{reports:?}");
    gateway
}

fn result(gateway: &Gateway, version: &str, result: &str) -> Reply {
    gateway.call(&format!("GET /{version}\nX-Result: {result}"))
}

#[track_caller]
fn assert_internal_error(reply: &Reply) {
    assert_eq!((reply.status, reply.text()), (500, INTERNAL));
    assert_eq!(reply.header("content-type"), Some("application/json"));
}

/// Proves H-EV2-7, H-EV2-8, H-EV1-7, C21, C22.
#[test]
fn queries() {
    let gateway = gateway();
    let query = "a=1&a=2&b=x+y&c=x%2By&d=";
    let event = gateway.call(&format!("GET /v2?{query}")).json();
    assert_eq!(event["rawQueryString"], query);
    assert_eq!(event["queryStringParameters"], json!({"a": "1,2", "b": "x y", "c": "x+y", "d": ""}));
    let event = gateway.call(&format!("GET /v1?{query}")).json();
    assert_eq!(event["queryStringParameters"]["a"], "2");
    assert_eq!(event["multiValueQueryStringParameters"]["a"], json!(["1", "2"]));
}

/// Proves H-EV2-9, H-EV2-10, H-EV1-6, H-EV1-8, C23.
#[test]
fn headers_and_cookies() {
    let gateway = gateway();
    let headers = "Cookie: s=1; t=2\nX-A: 1\nX-A: 2";
    let event = gateway.call(&format!("GET /v2\n{headers}")).json();
    assert_eq!(event["cookies"], json!(["s=1", "t=2"]));
    assert_eq!(event["headers"]["cookie"], Value::Null);
    assert_eq!(event["headers"]["x-a"], "1,2");
    let event = gateway.call(&format!("GET /v1\n{headers}")).json();
    let find = |map: &str, name: &str| {
        let map = event[map].as_object().unwrap();
        map.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone())
    };
    assert_eq!(find("headers", "cookie"), Some(json!("s=1; t=2")));
    assert_eq!(find("headers", "x-a"), Some(json!("2")));
    assert_eq!(find("multiValueHeaders", "x-a"), Some(json!(["1", "2"])));
    assert_eq!(event.get("cookies"), None);
}

/// Proves H-EV2-2, H-EV2-11, H-EV1-1, H-EV1-11, H-EV1-12, C25, C26.
#[test]
fn bare_requests() {
    let gateway = gateway();
    let event = gateway.call("GET /v2").json();
    for name in ["cookies", "queryStringParameters", "pathParameters", "stageVariables", "body"] {
        assert_eq!(event.get(name), None, "{name}");
    }
    assert_eq!(event["isBase64Encoded"], false);
    assert_eq!(event["headers"]["content-length"], "0");
    assert_eq!(event["headers"]["host"], "abc123.execute-api.gw.example");
    assert_eq!(event["headers"]["x-forwarded-for"], "127.0.0.1");
    assert_eq!(event["headers"]["x-forwarded-port"], "443");
    assert_eq!(event["headers"]["x-forwarded-proto"], "https");
    assert_eq!(event["headers"].get("content-type"), None);
    let event = gateway.call("GET /v1").json();
    for name in ["queryStringParameters", "pathParameters", "stageVariables", "body"] {
        assert_eq!(event.get(name), Some(&Value::Null), "{name}");
    }
    assert_eq!(event["requestContext"].get("authorizer"), None);
    assert_eq!(event["requestContext"]["identity"].get("cognitoAmr"), Some(&Value::Null));
}

/// Proves H-EV2-4, H-EV1-2, H-EV1-3, H-EV1-10, H-VAR-6, C27, C28, C29, C30.
#[test]
fn paths_and_stages() {
    let gateway = gateway();
    let event = gateway.call("GET /dev/v2/space%20value").json();
    assert_eq!(event["rawPath"], "/dev/v2/space value");
    assert_eq!(event["pathParameters"]["name"], "space value");
    assert_eq!(event["stageVariables"], json!({"colour": "blue"}));
    let event = gateway.call("GET /dev/v1/space%20value").json();
    assert_eq!(event["path"], "/dev/v1/space%20value");
    assert_eq!(event["requestContext"]["path"], "/dev/v1/space value");
    assert_eq!(event["resource"], "/v1/{name}");
    assert_eq!(event["requestContext"]["resourceId"], "ANY /v1/{name}");
    let event = gateway.call("GET /question").json();
    let context = &event["requestContext"];
    for value in [&event["resource"], &context["resourcePath"], &context["resourceId"]] {
        assert_eq!(value, "$default");
    }
}

/// Proves H-EV2-21, H-EV2-22, H-EV2-23, H-EV2-24, C31, C32.
#[test]
fn bodies() {
    let gateway = gateway();
    let mut client = gateway.connect();
    client.send(
        b"POST /v2 HTTP/1.1\r\nHost: abc123.execute-api.gw.example\r\nContent-Type: application/octet-stream\r\n\
          Content-Length: 2\r\n\r\n\x00\xff",
    );
    let event = client.read(false).json();
    assert_eq!((&event["isBase64Encoded"], &event["body"]), (&json!(true), &json!("AP8=")));
    for (content_type, text) in [
        ("Content-Type: application/json", true),
        ("Content-Type: text/plain; charset=utf-8", true),
        ("Content-Type: application/x-www-form-urlencoded", false),
        ("Content-Type: application/json\nContent-Encoding: gzip", false),
        ("X-None: 1", false),
    ] {
        let event = client.call(&format!("POST /v2\n{content_type}\n\n{{\"a\":1}}")).json();
        let body = if text { r#"{"a":1}"# } else { "eyJhIjoxfQ==" };
        assert_eq!((&event["isBase64Encoded"], &event["body"]), (&json!(!text), &json!(body)), "{content_type}");
    }
}

/// A chunked body reaches the function whole, with its true length.
///
/// Proves H-HDR-1, H-EV2-14.
#[test]
fn a_chunked_body_is_one_body() {
    let gateway = gateway();
    let mut client = gateway.connect();
    client.send(
        b"POST /v2 HTTP/1.1\r\nHost: abc123.execute-api.gw.example\r\nContent-Type: text/plain\r\n\
          Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n",
    );
    let event = client.read(false).json();
    assert_eq!(event["body"], "abcdefg");
    assert_eq!(event["headers"]["content-length"], "7");
    assert_eq!(event["headers"].get("transfer-encoding"), None);
}

/// Proves H-RES-3, H-RES-4, H-RES-5, H-RES-6, C33, C34.
#[test]
fn results_without_a_status_are_bodies() {
    let gateway = gateway();
    for (text, body) in [
        (r#""Hello""#, "Hello"),
        (r#"{"message":"hi"}"#, r#"{"message":"hi"}"#),
        (r#"{ "a" : [1,  2] }"#, r#"{ "a" : [1,  2] }"#),
        (r#"{"body":"x","headers":{"a":"b"}}"#, r#"{"body":"x","headers":{"a":"b"}}"#),
        ("17", "17"),
        ("null", "null"),
        ("not json", "not json"),
    ] {
        let reply = result(&gateway, "v2", text);
        assert_eq!((reply.status, reply.text()), (200, body));
        assert_eq!(reply.header("content-type"), Some("application/json"));
        assert_eq!(reply.header("content-length"), Some(body.len().to_string().as_str()));
    }
}

/// Proves H-RES-7, H-RES-8, H-RES-10, H-RES-11, H-RES-12, C35, C40.
#[test]
fn results_that_make_no_response_are_500() {
    let gateway = gateway();
    for (version, text) in [
        ("v1", r#"{"message":"hi"}"#),
        ("v1", r#""Hello""#),
        ("v1", "not json"),
        ("v2", r#"{"statusCode":0}"#),
        ("v2", r#"{"statusCode":200.5}"#),
        ("v2", r#"{"statusCode":"abc"}"#),
        ("v2", r#"{"statusCode":101}"#),
        ("v2", r#"{"statusCode":600}"#),
        ("v1", r#"{"statusCode":200,"body":{"a":1}}"#),
        ("v2", r#"{"statusCode":200,"body":17}"#),
        ("v2", r#"{"statusCode":200,"isBase64Encoded":true,"body":"?"}"#),
        ("v2", r#"{"statusCode":200,"headers":{"a":["b"]}}"#),
    ] {
        assert_internal_error(&result(&gateway, version, text));
    }
}

/// Proves H-RES-2, H-RES-8, H-RES-9, H-RES-10, H-RES-11, H-RES-12, H-RES-14, H-RES-15, H-RES-16, C36, C37, C39, C41.
#[test]
fn envelopes() {
    let gateway = gateway();
    let reply = result(&gateway, "v2", r#"{"statusCode":201,"body":"ok"}"#);
    assert_eq!((reply.status, reply.text()), (201, "ok"));
    assert_eq!(reply.header("content-type"), Some("text/plain; charset=utf-8"));
    let reply = result(&gateway, "v2", r#"{"statusCode":200,"cookies":["a=1; Path=/","b=2"],"body":""}"#);
    assert_eq!(reply.all("set-cookie"), ["a=1; Path=/", "b=2"]);
    assert_eq!((reply.header("content-type"), reply.header("content-length")), (None, Some("0")));
    let png =
        r#"{"statusCode":200,"headers":{"content-type":"image/png"},"isBase64Encoded":true,"body":"AP8=","extra":1}"#;
    let reply = result(&gateway, "v2", png);
    assert_eq!(reply.body, [0, 255]);
    assert_eq!(reply.header("content-type"), Some("image/png"));
    assert_eq!(result(&gateway, "v2", r#"{"statusCode":"418"}"#).status, 418);
    let reply = result(&gateway, "v2", r#"{"statusCode":200,"headers":{"x-n":7,"x-b":true,"x-l":"a, b"},"body":null}"#);
    assert_eq!((reply.header("x-n"), reply.header("x-b")), (Some("7"), Some("true")));
    assert_eq!(reply.header("x-l"), Some("a, b"));
    let ignored = r#"{"statusCode":200,"multiValueHeaders":{"x-m":["1"]},"body":"a"}"#;
    assert_eq!(result(&gateway, "v2", ignored).header("x-m"), None);
    let ignored = r#"{"statusCode":200,"cookies":["a=1"],"body":"a"}"#;
    assert_eq!(result(&gateway, "v1", ignored).header("set-cookie"), None);
}

/// Proves H-RES-13, C38.
#[test]
fn single_and_multiple_values_are_merged() {
    let text = r#"{"statusCode":200,"headers":{"x-m":"1"},"multiValueHeaders":{"x-m":["2","3"]},"body":"a"}"#;
    assert_eq!(result(&gateway(), "v1", text).all("x-m"), ["1", "2", "3"]);
}

/// Proves H-RES-17, H-RES-18, H-ERR-8, H-HDR-4.
#[test]
fn connection_headers_of_functions_are_the_gateways() {
    let gateway = gateway();
    let headers = r#"{"content-length":"99","connection":"close","transfer-encoding":"chunked","keep-alive":"x","upgrade":"h2c","te":"x","trailer":"x","date":"never","apigw-requestid":"mine"}"#;
    let mut client = gateway.connect();
    let reply =
        client.call(&format!("GET /v2\nX-Result: {{\"statusCode\":200,\"headers\":{headers},\"body\":\"abc\"}}"));
    assert_eq!(reply.text(), "abc");
    assert_eq!(reply.header("content-length"), Some("3"));
    assert_eq!(reply.header("connection"), Some("keep-alive"));
    for name in ["transfer-encoding", "keep-alive", "upgrade", "te", "trailer"] {
        assert_eq!(reply.header(name), None, "{name}");
    }
    assert!(reply.header("date").unwrap().ends_with(" GMT"));
    assert_ne!(reply.header("apigw-requestid"), Some("mine"));
    for name in ["x-amzn-requestid", "x-amz-apigw-id", "x-amzn-trace-id"] {
        assert_eq!(reply.header(name), None, "{name}");
    }
    for status in [204, 304] {
        let reply = client.call(&format!("GET /v2\nX-Result: {{\"statusCode\":{status},\"body\":\"abc\"}}"));
        assert_eq!((reply.status, reply.header("transfer-encoding")), (status, None));
    }
    // Bytes of a body would be taken for the start of this response.
    assert_eq!(client.call("GET /v2").status, 200);
}

/// Proves H-RES-1, H-RES-22, H-LOG-11, C42.
#[test]
fn a_function_that_fails_is_500_and_only_the_log_knows_why() {
    let format = "$context.status $context.integration.status $context.integrationStatus $context.integration.requestId \
                  $context.error.responseType $context.integrationErrorMessage";
    let api = Api::new(&[("GET /v2", function(backend(invoked), "2.0"))])
        .only_stage(json!({"stageName": "$default", "accessLogSettings": {"format": format}}));
    let gateway = serving(&api);
    let reply = gateway.call(
        "GET /v2\nX-Function-Error: 1\nX-Result: {\"errorMessage\":\"boom\",\"errorType\":\"Error\",\"stackTrace\":[\"at x\"]}",
    );
    assert_internal_error(&reply);
    assert!(reply.header("x-amz-function-error").is_none());
    assert_eq!(
        gateway.stop(),
        "500 500 200 invoke-1 INTEGRATION_FAILURE The Lambda function returned the following error: boom. Check your Lambda \
         function code and try again.\n"
    );
}

/// Proves H-ERR-10.
#[test]
fn head_has_the_headers_and_no_body() {
    let gateway = gateway();
    let mut client = gateway.connect();
    let reply = client.call("HEAD /v2\nX-Result: {\"statusCode\":200,\"headers\":{\"x-a\":\"b\"},\"body\":\"hello\"}");
    assert_eq!((reply.status, reply.header("content-length"), reply.header("x-a")), (200, Some("5"), Some("b")));
    assert_eq!(client.call("GET /v2").status, 200);
}

/// Proves H-RES-20, H-RES-1.
#[test]
fn the_invocation_itself_may_fail() {
    let gateway = gateway();
    let reply = gateway.call("GET /v2\nX-Invoke-Status: 429\nX-Result: {}");
    assert_eq!((reply.status, reply.text()), (503, r#"{"message":"Service Unavailable"}"#));
    assert_internal_error(&gateway.call("GET /v2\nX-Invoke-Status: 500\nX-Result: {}"));
}

/// Proves H-INT-4, H-ERR-4, C43.
#[test]
fn a_function_that_is_too_slow_is_503() {
    let silent = raw_backend(|_, mut client| while !client.is_closed() {});
    let mut slow = function(silent, "2.0");
    slow["timeout"] = json!(50);
    let api = Api::new(&[("GET /slow", slow)]).only_stage(json!({"stageName": "$default",
        "accessLogSettings": {"format": "$context.status $context.error.responseType"}}));
    let gateway = serving(&api);
    let reply = gateway.call("GET /slow");
    assert_eq!((reply.status, reply.text()), (503, r#"{"message":"Service Unavailable"}"#));
    assert_eq!(gateway.stop(), "503 INTEGRATION_TIMEOUT\n");
}

/// A function's answer is passed on whole or not at all.
///
/// Proves H-RES-21.
#[test]
fn functions_do_not_stream() {
    // What a backend's thread asserts fails no test.
    let (heard, asked) = mpsc::channel();
    let half = raw_backend(move |_, mut client| {
        heard.send(client.until("\r\n\r\n").unwrap()).unwrap();
        client.send(b"HTTP/1.1 200 OK\r\nx-amzn-requestid: 1\r\ntransfer-encoding: chunked\r\n\r\n5\r\n\"half\r\n");
        while !client.is_closed() {}
    });
    let mut slow = function(half, "2.0");
    slow["timeout"] = json!(1000);
    let reply = serving(&Api::new(&[("GET /half", slow)])).call("GET /half");
    assert_eq!((reply.status, reply.text()), (503, r#"{"message":"Service Unavailable"}"#));
    let asked = asked.recv().unwrap();
    assert!(asked.starts_with("POST /2015-03-31/functions/function/invocations HTTP/1.1\r\n"), "{asked}");
}

/// Proves H-HTTP-15, H-ERR-4.
#[test]
fn a_function_that_cannot_be_reached_is_503() {
    let gateway = serving(&Api::new(&[("GET /a", function(unused_address(), "2.0"))]));
    assert_eq!(gateway.call("GET /a").status, 503);
}

/// Proves H-RES-19, H-SIZE-3.
#[test]
fn events_and_results_over_6_mb() {
    let large = 6 * 1024 * 1024 + 1;
    let address = backend(move |_, _| http::Response::new(http_body_util::Full::from(vec![b'7'; large])));
    let gateway = serving(&Api::new(&[
        ("GET /large", function(address, "2.0")),
        ("POST /echo", function(backend(invoked), "2.0")),
    ]));
    assert_internal_error(&gateway.call("GET /large"));
    // As base64, 4.5 MB are over 6 MB.
    let reply = gateway.call(&format!("POST /echo\n\n{}", "x".repeat(4_800_000)));
    assert_eq!((reply.status, reply.text()), (413, r#"{"message":"Request Entity Too Large"}"#));
    let reply = gateway.call(&format!("POST /echo\nContent-Type: text/plain\n\n{}", "x".repeat(4_800_000)));
    assert_eq!(reply.status, 200);
}

/// Proves H-EV2-12, H-EV2-18, H-EV2-13.
#[test]
fn a_clients_own_forwarding_headers() {
    let gateway = gateway();
    let root = "Root=1-6a5145a9-0123456789abcdef01234567";
    let event = gateway
        .call(&format!(
            "GET /v2\nX-Forwarded-For: 1.1.1.1, 2.2.2.2\nX-Forwarded-Proto: http\nX-Forwarded-Port: 80\nX-Amzn-Trace-Id: {root}"
        ))
        .json();
    assert_eq!(event["headers"]["x-forwarded-for"], "1.1.1.1, 2.2.2.2, 127.0.0.1");
    assert_eq!(event["headers"]["x-forwarded-proto"], "https");
    assert_eq!(event["headers"]["x-forwarded-port"], "443");
    assert!(event["headers"]["x-amzn-trace-id"].as_str().unwrap().starts_with(root));
    assert_eq!(event["requestContext"]["http"]["sourceIp"], "127.0.0.1");
}
