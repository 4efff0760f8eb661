//! Events as a function in AWS's runtime receives them.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use aws_lambda_events::apigw::{ApiGatewayProxyRequest, ApiGatewayV2httpRequest};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tollgate_e2e::{Request, suite};

use crate::Shared;

pub(crate) fn tests(shared: &Arc<Shared>) -> Vec<Trial> {
    vec![
        suite::test("events::format_2", shared, format_2),
        suite::test("events::format_2_of_a_bare_request", shared, bare_format_2),
        suite::test("events::format_1", shared, format_1),
        suite::test("events::format_1_of_a_bare_request", shared, bare_format_1),
        suite::test("events::bodies", shared, bodies),
    ]
}

/// The event that the function got, which is what it answers with. The types of Rust's functions can read it as well.
async fn event(shared: &Shared, request: Request) -> Result<Value> {
    let answer = shared.send(request).await?.expect(200)?;
    let event = answer.json()?;
    if event["version"] == "1.0" {
        let typed: ApiGatewayProxyRequest = serde_json::from_slice(&answer.body)?;
        ensure!(typed.request_context.request_id.is_some(), "{typed:?}");
        same("path", &json!(typed.path), &event["path"])?;
        same("body", &json!(typed.body), &event["body"])?;
    } else {
        let typed: ApiGatewayV2httpRequest = serde_json::from_slice(&answer.body)?;
        same("rawPath", &json!(typed.raw_path), &event["rawPath"])?;
        same("timeEpoch", &json!(typed.request_context.time_epoch), &event["requestContext"]["timeEpoch"])?;
        same("body", &json!(typed.body), event.get("body").unwrap_or(&Value::Null))?;
    }
    Ok(event)
}

fn same(what: &str, found: &Value, expected: &Value) -> Result<()> {
    ensure!(found == expected, "{what}: expected {expected}, got {found}");
    Ok(())
}

/// Compares what stands at these JSON pointers.
fn holds(event: &Value, expected: &[(&str, Value)]) -> Result<()> {
    for (pointer, expected) in expected {
        let found = event.pointer(pointer).with_context(|| format!("{pointer} is not in {event}"))?;
        same(pointer, found, expected)?;
    }
    Ok(())
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect()
}

fn rich(path: &str) -> Request {
    Request::post(path, r#"{"a":1}"#)
        .header("content-type", "application/json")
        .header("cookie", "s=1; t=2")
        .header("x-a", "1, one")
        .header("x-a", "2")
        .header("authorization", "Basic eDp5")
        .header("te", "trailers")
        .header("x-forwarded-for", "10.9.8.7")
        .header("x-amzn-trace-id", "Root=1-6a5145a9-0123456789abcdef01234567")
}

/// Proves H-EV2-1, H-EV2-3, H-EV2-4, H-EV2-7, H-EV2-8, H-EV2-9, H-EV2-10, H-EV2-12, H-EV2-15, H-EV2-16, H-EV2-18, H-EV2-19, H-EV2-20, H-EV2-22.
async fn format_2(shared: &Shared) -> Result<()> {
    let path = "/dev/v2/pets/a%20b+c?x=1&x=2&y=a+b&z=a%2Bb&e=";
    let request = rich(path).host("abcde12345.execute-api.localhost");
    let event = event(shared, request).await?;
    ensure!(
        keys(&event)
            == [
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
            ],
        "{event}"
    );
    let context = &event["requestContext"];
    ensure!(
        keys(context)
            == [
                "accountId",
                "apiId",
                "domainName",
                "domainPrefix",
                "http",
                "requestId",
                "routeKey",
                "stage",
                "time",
                "timeEpoch"
            ],
        "{context}"
    );
    ensure!(context["time"].as_str().is_some_and(|time| time.ends_with(" +0000") && time.len() == 26), "{context}");
    ensure!(event["headers"].get("te").is_none() && event["headers"].get("cookie").is_none(), "{event}");
    holds(
        &event,
        &[
            ("/version", json!("2.0")),
            ("/routeKey", json!("POST /v2/pets/{id}")),
            ("/rawPath", json!("/dev/v2/pets/a b+c")),
            ("/rawQueryString", json!("x=1&x=2&y=a+b&z=a%2Bb&e=")),
            ("/cookies", json!(["s=1", "t=2"])),
            ("/headers/x-a", json!("1, one,2")),
            ("/headers/authorization", json!("Basic eDp5")),
            ("/headers/x-forwarded-for", json!("10.9.8.7, 127.0.0.1")),
            ("/headers/x-forwarded-port", json!("443")),
            ("/headers/x-forwarded-proto", json!("https")),
            ("/headers/content-length", json!("7")),
            ("/queryStringParameters", json!({"x": "1,2", "y": "a b", "z": "a+b", "e": ""})),
            ("/requestContext/accountId", json!("000000000000")),
            ("/requestContext/apiId", json!("abcde12345")),
            ("/requestContext/domainName", json!("abcde12345.execute-api.localhost")),
            ("/requestContext/domainPrefix", json!("abcde12345")),
            (
                "/requestContext/http",
                json!({
                    "method": "POST", "path": "/dev/v2/pets/a b+c", "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1",
                    "userAgent": "t/1",
                }),
            ),
            ("/requestContext/stage", json!("dev")),
            ("/pathParameters", json!({"id": "a b+c"})),
            ("/stageVariables", json!({"edition": "second"})),
            ("/body", json!(r#"{"a":1}"#)),
            ("/isBase64Encoded", json!(false)),
        ],
    )?;
    let trace = event["headers"]["x-amzn-trace-id"].as_str().unwrap_or_default();
    ensure!(trace.contains("Root=1-6a5145a9-0123456789abcdef01234567"), "{trace}");
    Ok(())
}

/// Proves H-EV2-2, H-EV2-11, C25.
async fn bare_format_2(shared: &Shared) -> Result<()> {
    let event = event(shared, Request::get("/v2")).await?;
    ensure!(
        keys(&event)
            == ["version", "routeKey", "rawPath", "rawQueryString", "headers", "requestContext", "isBase64Encoded"],
        "{event}"
    );
    ensure!(
        keys(&event["requestContext"]).iter().all(|key| !["authorizer", "authentication"].contains(key)),
        "{event}"
    );
    ensure!(event["headers"].get("content-type").is_none(), "{event}");
    let trace = event["headers"]["x-amzn-trace-id"].as_str().unwrap_or_default();
    ensure!(trace.starts_with("Root=1-") && trace.len() == 40, "{trace}");
    holds(
        &event,
        &[
            ("/routeKey", json!("ANY /v2")),
            ("/rawPath", json!("/v2")),
            ("/rawQueryString", json!("")),
            ("/headers/content-length", json!("0")),
            ("/headers/host", json!("localhost")),
            ("/headers/x-forwarded-for", json!("127.0.0.1")),
            ("/requestContext/stage", json!("$default")),
            ("/isBase64Encoded", json!(false)),
        ],
    )
}

/// Proves H-EV1-2, H-EV1-3, H-EV1-6, H-EV1-7, H-EV1-8, H-EV1-10, H-EV1-12, H-EV1-13.
async fn format_1(shared: &Shared) -> Result<()> {
    let path = "/dev/v1/pets/a%20b?x=1&x=2&y=a+b";
    let request = rich(path).host("abcde12345.execute-api.localhost");
    let event = event(shared, request).await?;
    ensure!(event.get("cookies").is_none() && event["headers"].get("Te").is_none(), "{event}");
    let context = &event["requestContext"];
    ensure!(context.get("authorizer").is_none(), "{context}");
    same("extendedRequestId", &context["extendedRequestId"], &context["requestId"])?;
    holds(
        &event,
        &[
            ("/version", json!("1.0")),
            ("/resource", json!("/v1/pets/{id}")),
            ("/path", json!("/dev/v1/pets/a%20b")),
            ("/httpMethod", json!("POST")),
            ("/headers/Cookie", json!("s=1; t=2")),
            ("/headers/X-A", json!("2")),
            ("/multiValueHeaders/X-A", json!(["1, one", "2"])),
            ("/headers/X-Forwarded-For", json!("10.9.8.7, 127.0.0.1")),
            ("/headers/X-Forwarded-Port", json!("443")),
            ("/queryStringParameters", json!({"x": "2", "y": "a b"})),
            ("/multiValueQueryStringParameters", json!({"x": ["1", "2"], "y": ["a b"]})),
            ("/requestContext/path", json!("/dev/v1/pets/a b")),
            ("/requestContext/resourceId", json!("POST /v1/pets/{id}")),
            ("/requestContext/resourcePath", json!("/v1/pets/{id}")),
            ("/requestContext/stage", json!("dev")),
            ("/requestContext/identity/sourceIp", json!("127.0.0.1")),
            ("/requestContext/identity/userAgent", json!("t/1")),
            ("/pathParameters", json!({"id": "a b"})),
            ("/stageVariables", json!({"edition": "second"})),
            ("/body", json!(r#"{"a":1}"#)),
            ("/isBase64Encoded", json!(false)),
        ],
    )
}

/// Proves H-EV1-1, H-EV1-11, C26.
async fn bare_format_1(shared: &Shared) -> Result<()> {
    let event = event(shared, Request::get("/v1")).await?;
    ensure!(
        keys(&event)
            == [
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
            ],
        "{event}"
    );
    for name in ["queryStringParameters", "multiValueQueryStringParameters", "pathParameters", "stageVariables", "body"]
    {
        same(name, &event[name], &Value::Null)?;
    }
    let context = &event["requestContext"];
    ensure!(context.get("authorizer").is_none(), "{context}");
    let known: Vec<&str> = context["identity"]
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| (!value.is_null()).then_some(name.as_str()))
        .collect();
    ensure!(known == ["sourceIp", "userAgent"] && keys(&context["identity"]).len() == 13, "{context}");
    Ok(())
}

/// Proves H-EV2-21, H-EV2-22, H-EV2-23, H-EV2-25, C31, C32.
async fn bodies(shared: &Shared) -> Result<()> {
    let bytes: &[u8] = &[0, 255];
    for (content_type, body, expected, encoded) in [
        (Some("application/json"), b"{\"a\":1}".as_slice(), "{\"a\":1}", false),
        (Some("text/plain; charset=utf-8"), "é😀".as_bytes(), "é😀", false),
        (Some("text/plain"), bytes, "AP8=", true),
        (Some("application/octet-stream"), bytes, "AP8=", true),
        (Some("application/x-www-form-urlencoded"), b"a=1".as_slice(), "YT0x", true),
        (None, b"hi".as_slice(), "aGk=", true),
    ] {
        for path in ["/v1", "/v2"] {
            let mut request = Request::post(path, body.to_vec());
            if let Some(content_type) = content_type {
                request = request.header("content-type", content_type);
            }
            let event = event(shared, request).await.with_context(|| format!("{path} {content_type:?}"))?;
            holds(&event, &[("/body", json!(expected)), ("/isBase64Encoded", json!(encoded))])?;
        }
    }
    Ok(())
}
