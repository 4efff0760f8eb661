use aws_lambda_events::apigw::{ApiGatewayV2CustomAuthorizerV1Request, ApiGatewayV2CustomAuthorizerV2Request};
use serde_json::{Value, json};

use super::*;
use crate::context::tests::Request;
use crate::lambda::result::Invocation;
use crate::lambda::{write_authorizer_event, write_event};
use crate::policy::Ask;
use crate::reject::Reject;

const ARN: &str = "arn:aws:execute-api:local:000000000000:abc123/dev/GET/pets/5";

fn authorizer(sources: &[&str], changes: &Value) -> Authorizer {
    let mut check = json!({
        "type": "lambda",
        "function": {
            "endpoint": {"type": "url", "url": "http://f.example:9001"}, "functionName": "f", "payloadFormatVersion": "2.0",
        },
    });
    for (name, value) in changes.as_object().unwrap() {
        let place = if name == "payloadFormatVersion" { &mut check["function"] } else { &mut check };
        place[name] = value.clone();
    }
    serde_json::from_value(json!({"source": "n/a", "identitySource": sources, "check": check})).unwrap()
}

fn policy(sources: &[&str], changes: &Value) -> LambdaPolicy {
    LambdaPolicy::compile(&authorizer(sources, changes)).unwrap()
}

/// Proves H-LA-1, H-LA-2, H-LA-4.
#[test]
fn configuration() {
    let good = policy(
        &["$request.header.X-K", "$request.querystring.k", "$context.routeKey", "$stageVariables.v"],
        &json!({"resultTtlInSeconds": 3600, "enableSimpleResponses": true}),
    );
    assert_eq!((good.shape, good.ttl), (Shape::Simple, Some(Duration::from_secs(3600))));
    assert_eq!(policy(&[], &json!({"payloadFormatVersion": "1.0"})).shape, Shape::PolicyV1);
    let eleven = ["$context.path"; 11];
    for (sources, changes, path) in [
        (&["Authorization"][..], json!({}), "identitySource[0]"),
        (&["$request.header.a b"], json!({}), "identitySource[0]"),
        (&["$request.querystring."], json!({}), "identitySource[0]"),
        (&["$stageVariables."], json!({}), "identitySource[0]"),
        (&["$context.path", "$context.nothing"], json!({}), "identitySource[1]"),
        (&["$context.authorizer.claims.sub"], json!({}), "identitySource[0]"),
        (&["$context.integration.status"], json!({}), "identitySource[0]"),
        (&["$context.status"], json!({}), "identitySource[0]"),
        (&eleven, json!({}), "identitySource"),
        (&["$context.path"], json!({"resultTtlInSeconds": 3601}), "check.resultTtlInSeconds"),
        (&[], json!({"resultTtlInSeconds": 1}), "identitySource"),
        (&[], json!({"payloadFormatVersion": "1.0", "enableSimpleResponses": true}), "check.enableSimpleResponses"),
        (
            &[],
            json!({"function": {"endpoint": {"type": "url", "url": "ftp://x"}, "functionName": "f", "payloadFormatVersion": "2.0"}}),
            "check.function",
        ),
    ] {
        let problems = LambdaPolicy::compile(&authorizer(sources, &changes)).unwrap_err();
        let found: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(found, [path], "{sources:?} {changes} {problems:?}");
    }
}

fn values(sources: &[&str], version: &str, request: &Request) -> Option<Vec<String>> {
    let policy = policy(sources, &json!({"payloadFormatVersion": version}));
    let facts = request.facts();
    policy.identity(&facts).map(|identity| identity.values().map(str::to_owned).collect())
}

/// Proves H-LA-2, H-LA-6, H-LA-7, H-LA-13.
#[test]
fn identities() {
    let mut request = Request::default().header("x-k", "1").header("x-k", "2").header("x-empty", "");
    request.query = Some("k=a&K=c&k=b&e=".to_owned());
    request.stage_variables.insert("v".to_owned(), "blue".to_owned());
    let some = |values: &[&str]| Some(values.iter().map(|&value| value.to_owned()).collect::<Vec<_>>());
    for (sources, version, found) in [
        (&["$request.header.X-K"][..], "2.0", some(&["1,2"])),
        (&["$request.header.x-k"], "1.0", some(&["1,2"])),
        (&["$request.header.X-Empty", "$request.querystring.e"], "2.0", some(&["", ""])),
        (&["$request.querystring.k"], "2.0", some(&["a,b"])),
        (&["$request.querystring.k"], "1.0", some(&["b"])),
        (&["$request.querystring.K"], "2.0", some(&["c"])),
        (&["$request.querystring.none"], "2.0", None),
        (&["$request.header.X-K", "$request.header.X-None"], "2.0", None),
        (&["$request.header.Host"], "2.0", some(&["abc123.execute-api.local.example"])),
        (&["$stageVariables.v", "$context.routeKey"], "2.0", some(&["blue", "$default"])),
        (&["$stageVariables.V"], "2.0", None),
        (&["$context.identity.sourceIp", "$context.requestId"], "2.0", some(&["10.1.2.3", "JCIn6iOMPHcEP2Q="])),
        (&["$context.identity.userAgent"], "2.0", None),
        (&[], "2.0", some(&[])),
    ] {
        assert_eq!(values(sources, version, &request), found, "{sources:?} {version}");
    }
    let split = Request::default().header("cookie", "a=1").header("cookie", "b=2");
    assert_eq!(values(&["$request.header.Cookie"], "2.0", &split), some(&["a=1; b=2"]));
}

/// Proves H-LA-30.
#[test]
fn an_identity_is_its_values_in_their_order() {
    let digest = |values: &[(&str, &str)]| {
        let sources: Vec<String> = values.iter().map(|(name, _)| format!("$request.querystring.{name}")).collect();
        let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
        let query: Vec<String> = values.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = Request { query: Some(query.join("&")), ..Request::default() };
        let policy = policy(&sources, &json!({}));
        policy.identity(&request.facts()).unwrap().digest()
    };
    let first = digest(&[("a", "1"), ("b", "2")]);
    assert_eq!(first, digest(&[("c", "1"), ("d", "2")]));
    for other in [&[("a", "2"), ("b", "1")][..], &[("a", "12"), ("b", "")], &[("a", ""), ("b", "12")], &[("a", "1")]] {
        assert_ne!(first, digest(other), "{other:?}");
    }
}

fn event(version: PayloadFormatVersion, request: &Request, sources: &[&str]) -> String {
    let name = if version == PayloadFormatVersion::V1 { "1.0" } else { "2.0" };
    let policy = policy(sources, &json!({"payloadFormatVersion": name}));
    let facts = request.facts();
    let identity = policy.identity(&facts).filter(|_| policy.has_sources());
    let mut out = Vec::new();
    write_authorizer_event(version, &facts, identity.as_ref(), ARN, &mut out);
    String::from_utf8(out).unwrap()
}

fn pets() -> Request {
    let mut request = Request::default().header("x-k", "1").header("cookie", "s=1; t=2").header("content-length", "12");
    request.path = "/dev/pets/a%20b".to_owned();
    request.query = Some("x=1&x=2".to_owned());
    request.stage = "dev";
    request.stage_variables.insert("v".to_owned(), "blue".to_owned());
    request.route = Some("GET /pets/{id}".to_owned());
    request.parameters = vec![("id", "a b".to_owned())];
    request
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// Proves H-LA-8, H-LA-12, H-LA-14.
#[test]
fn events_of_format_2() {
    let text = event(PayloadFormatVersion::V2, &pets(), &["$request.header.X-K", "$request.querystring.x"]);
    let event: Value = serde_json::from_str(&text).unwrap();
    for (name, value) in [
        ("version", json!("2.0")),
        ("type", json!("REQUEST")),
        ("routeArn", json!(ARN)),
        ("identitySource", json!(["1", "1,2"])),
        ("routeKey", json!("GET /pets/{id}")),
        ("rawPath", json!("/dev/pets/a b")),
        ("rawQueryString", json!("x=1&x=2")),
        ("cookies", json!(["s=1", "t=2"])),
        ("queryStringParameters", json!({"x": "1,2"})),
        ("pathParameters", json!({"id": "a b"})),
        ("stageVariables", json!({"v": "blue"})),
    ] {
        assert_eq!(event[name], value, "{name}");
    }
    assert_eq!(event["headers"]["x-k"], "1");
    assert_eq!(event["headers"]["content-length"], "12");
    assert_eq!(event["requestContext"]["http"]["path"], "/dev/pets/a b");
    assert_eq!((event.get("body"), event.get("isBase64Encoded")), (None, None));
    let parsed: ApiGatewayV2CustomAuthorizerV2Request = serde_json::from_str(&text).unwrap();
    assert_eq!(parsed.identity_source.unwrap(), ["1", "1,2"]);

    let bare: Value = serde_json::from_str(&self::event(PayloadFormatVersion::V2, &Request::default(), &[])).unwrap();
    assert_eq!(bare["identitySource"], Value::Null);
    let expected = [
        "version",
        "type",
        "routeArn",
        "identitySource",
        "routeKey",
        "rawPath",
        "rawQueryString",
        "headers",
        "requestContext",
    ];
    let mut found = keys(&bare);
    found.sort_unstable();
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(found, expected);
}

/// Proves H-LA-9, H-LA-10, H-LA-11, H-LA-12, H-LA-14.
#[test]
fn events_of_format_1() {
    let text = event(PayloadFormatVersion::V1, &pets(), &["$request.header.X-K", "$request.querystring.x"]);
    let event: Value = serde_json::from_str(&text).unwrap();
    for (name, value) in [
        ("version", json!("1.0")),
        ("type", json!("REQUEST")),
        ("methodArn", json!(ARN)),
        ("identitySource", json!("1,2")),
        ("authorizationToken", json!("1,2")),
        ("resource", json!("/pets/{id}")),
        ("path", json!("/dev/pets/a%20b")),
        ("httpMethod", json!("GET")),
        ("queryStringParameters", json!({"x": "2"})),
        ("pathParameters", json!({"id": "a b"})),
        ("stageVariables", json!({"v": "blue"})),
    ] {
        assert_eq!(event[name], value, "{name}");
    }
    assert_eq!(event["headers"]["X-K"], "1");
    let context = &event["requestContext"];
    assert_eq!((&context["resourceId"], &context["resourcePath"]), (&json!("GET /pets/{id}"), &json!("/pets/{id}")));
    assert_eq!((&context["stage"], &context["apiId"]), (&json!("dev"), &json!("abc123")));
    assert_eq!(context["identity"]["sourceIp"], "10.1.2.3");
    for name in ["body", "isBase64Encoded", "multiValueHeaders", "multiValueQueryStringParameters"] {
        assert_eq!(event.get(name), None, "{name}");
    }
    let parsed: ApiGatewayV2CustomAuthorizerV1Request = serde_json::from_str(&text).unwrap();
    assert_eq!(parsed.method_arn.as_deref(), Some(ARN));
    let bare: Value = serde_json::from_str(&self::event(PayloadFormatVersion::V1, &Request::default(), &[])).unwrap();
    for name in ["queryStringParameters", "pathParameters", "stageVariables"] {
        assert_eq!(bare[name], json!({}), "{name}");
    }
}

fn said(shape: Shape, payload: &Value) -> Result<Answer, (Reject, String)> {
    let payload = payload.to_string().into();
    answer(shape, &Invocation { status: 200, function_error: false, payload })
}

fn allowed(answer: &Answer, arn: &str) -> bool {
    let source_ip = std::net::Ipv4Addr::new(10, 1, 2, 3).into();
    answer.allows(&Ask { resource: arn, source_ip, now: 0, user_agent: None, referer: None, principal: None })
}

/// Proves H-LA-15, H-LA-17, C79.
#[test]
fn simple_answers() {
    for (payload, allows) in [
        (json!({"isAuthorized": true}), Some(true)),
        (json!({"isAuthorized": "true"}), Some(true)),
        (json!({"isAuthorized": false, "context": {"a": 1}}), Some(false)),
        (json!({"isAuthorized": "false"}), Some(false)),
        (json!({"isAuthorized": "yes"}), None),
        (json!({"isAuthorized": null}), None),
        (json!({"isAuthorized": 1}), None),
        (json!({}), None),
        (json!({"isAuthorized": true, "policyDocument": {}}), None),
        (json!({"isAuthorized": true, "context": "text"}), None),
        (json!([true]), None),
        (json!(true), None),
    ] {
        match said(Shape::Simple, &payload) {
            Ok(answer) => assert_eq!(Some(allowed(&answer, ARN)), allows, "{payload}"),
            Err((reject, _)) => assert_eq!((reject, allows), (Reject::AuthorizerFailure, None), "{payload}"),
        }
    }
}

fn policy_answer(changes: &Value) -> Value {
    let statement = json!({"Effect": "Allow", "Action": "execute-api:Invoke", "Resource": ARN});
    let mut answer = json!({
        "principalId": "anna", "policyDocument": {"Version": "2012-10-17", "Statement": [statement]},
    });
    for (name, value) in changes.as_object().unwrap() {
        answer[name] = value.clone();
    }
    answer
}

/// Proves H-LA-16, H-LA-17, H-LA-19.
#[test]
fn policy_answers() {
    for shape in [Shape::PolicyV1, Shape::PolicyV2] {
        let answer = said(shape, &policy_answer(&json!({}))).unwrap();
        assert!(allowed(&answer, ARN));
        assert!(!allowed(&answer, &ARN.replace("pets", "cats")));
        assert_eq!(answer.principal_id(), Some("anna"));
        for changes in [
            json!({"principalId": ""}),
            json!({"principalId": null}),
            json!({"principalId": 7}),
            json!({"isAuthorized": true}),
            json!({"policyDocument": null}),
            json!({"policyDocument": {}}),
            json!({"policyDocument": {"Statement": [{"Effect": "Allow", "NotAction": "*", "Resource": "*"}]}}),
        ] {
            let (reject, _) = said(shape, &policy_answer(&changes)).unwrap_err();
            assert_eq!(reject, Reject::AuthorizerFailure, "{changes}");
        }
    }
}

/// Proves H-LA-20, H-LA-21, H-LA-22, H-LA-26, C81.
#[test]
fn contexts() {
    let context = json!({"n": 1, "f": 1.5, "b": true, "s": "x\"y", "claims": {"sub": "me"}});
    let one = said(Shape::PolicyV1, &policy_answer(&json!({"context": context}))).unwrap();
    let json: Value = serde_json::from_str(one.context_json().unwrap()).unwrap();
    assert_eq!(json, json!({"n": "1", "f": "1.5", "b": "true", "s": "x\"y"}));
    let two = said(Shape::PolicyV2, &policy_answer(&json!({"context": context}))).unwrap();
    let json: Value = serde_json::from_str(two.context_json().unwrap()).unwrap();
    assert_eq!(json, json!({"n": 1, "f": 1.5, "b": true, "s": "x\"y"}));
    for value in [json!(null), json!(["x"]), json!({"k": "v"})] {
        let context = json!({"a": value});
        assert!(said(Shape::PolicyV1, &policy_answer(&json!({"context": context}))).is_err(), "{context}");
        assert!(said(Shape::PolicyV2, &policy_answer(&json!({"context": context}))).is_ok(), "{context}");
    }
    let rich = json!({"isAuthorized": true, "context": {"n": 1, "a": ["x", 2], "m": {"k": "v"}, "s": "text"}});
    let rich = said(Shape::Simple, &rich).unwrap();
    for (key, text) in [
        ("n", Some("1")),
        ("a", Some(r#"["x",2]"#)),
        ("m", Some(r#"{"k":"v"}"#)),
        ("s", Some("text")),
        ("none", None),
        ("principalId", None),
    ] {
        assert_eq!(rich.value(key), text, "{key}");
    }
    assert_eq!(two.value("principalId"), Some("anna"));
}

/// Proves H-LA-23, H-LA-24, H-LA-40.
#[test]
fn failures() {
    let invoked = |status: u16, function_error: bool, payload: &str| {
        let payload = payload.to_owned().into();
        answer(Shape::Simple, &Invocation { status, function_error, payload }).unwrap_err()
    };
    let thrown = |message: &str| json!({"errorMessage": message, "errorType": "Error"}).to_string();
    assert_eq!(invoked(200, true, &thrown("Unauthorized")), (Reject::Unauthorized, "Unauthorized".to_owned()));
    for message in ["boom", "unauthorized", "Unauthorized.", "Error: Unauthorized", ""] {
        assert_eq!(invoked(200, true, &thrown(message)), (Reject::AuthorizerFailure, message.to_owned()));
    }
    for (status, error, payload, text) in [
        (
            403,
            false,
            "{}",
            "The IAM role configured on the authorizer or API Gateway doesn't have permissions to call the authorizer. Check the permissions and try again.",
        ),
        (404, false, "{}", "does not exist"),
        (429, false, "{}", "throttled"),
        (500, false, "{}", "failed"),
        (200, true, "Task timed out after 3.00 seconds", "Task timed out"),
        (200, false, "no json", "doesn't match the format"),
        (200, false, "", "doesn't match the format"),
    ] {
        let (reject, said) = invoked(status, error, payload);
        assert_eq!(reject, Reject::AuthorizerFailure, "{status} {payload}");
        assert!(said.contains(text), "{said}");
    }
}

/// Proves H-LA-25, H-EV2-26, H-EV1-12.
#[test]
fn what_integrations_see() {
    let seen = |version, answer: Answer| -> Value {
        let request = Request { answer: Some(answer), ..Request::default() };
        let mut out = Vec::new();
        write_event(version, &request.facts(), b"", &mut out).unwrap();
        let event: Value = serde_json::from_slice(&out).unwrap();
        event["requestContext"]["authorizer"].clone()
    };
    let (v1, v2) = (PayloadFormatVersion::V1, PayloadFormatVersion::V2);
    let simple = || said(Shape::Simple, &json!({"isAuthorized": true, "context": {"n": 1, "a": ["x"]}})).unwrap();
    assert_eq!(seen(v2, simple()), json!({"lambda": {"n": 1, "a": ["x"]}}));
    assert_eq!(seen(v1, simple()), json!({"n": 1, "a": ["x"]}));
    let bare = || said(Shape::Simple, &json!({"isAuthorized": true})).unwrap();
    assert_eq!(seen(v2, bare()), json!({"lambda": null}));
    assert_eq!(seen(v1, bare()), json!({}));
    let policy = |context: &Value| said(Shape::PolicyV1, &policy_answer(&json!({"context": context}))).unwrap();
    assert_eq!(seen(v2, policy(&json!({"n": 1}))), json!({"lambda": {"n": "1"}}));
    assert_eq!(seen(v1, policy(&json!({"n": 1}))), json!({"principalId": "anna", "n": "1"}));
    assert_eq!(seen(v1, policy(&json!({"principalId": "own"}))), json!({"principalId": "own"}));
    assert_eq!(seen(v1, policy(&json!(null))), json!({"principalId": "anna"}));
    assert_eq!(seen(v1, policy(&json!({}))), json!({"principalId": "anna"}));
}
