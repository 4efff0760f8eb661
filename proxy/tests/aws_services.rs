//! AWS services and functions of the Lambda service (section 3.7 of the spec, H-INT-12), against a backend that shows what it got.

use serde_json::{Value, json};
use tollgate_testkit::{Api, Gateway, Reply, backend, echo, invoked};

fn serving(api: &Api) -> Gateway {
    let mut gateway = Gateway::empty();
    let reports = gateway.publish(&api.units());
    assert!(reports.iter().all(|report| report.problems.is_empty()), "{reports:?}");
    gateway
}

fn keys() -> Value {
    json!({"namespace": "shop", "name": "aws"})
}

/// A route to an action of a service that answers with what it got.
fn one(subtype: &str, parameters: Value, responses: Value) -> Api {
    let address = backend(echo);
    let target =
        json!({"type": "aws", "subtype": subtype, "credentials": keys(), "endpoint": format!("http://{address}")});
    let backend = json!({"backend": target, "requestParameters": parameters, "responseParameters": responses});
    Api::new(&[("POST /x/{id}", backend)]).credentials("aws", "AKIDEXAMPLE")
}

/// The signed headers and the scope of a request that the backend got.
#[track_caller]
fn assert_signed(reply: &Reply, region: &str, service: &str, headers: &str) {
    let authorization = reply.seen("authorization").expect("signed");
    let date = reply.seen("x-amz-date").expect("signed");
    let scope = format!("Credential=AKIDEXAMPLE/{}/{region}/{service}/aws4_request, ", &date[..8]);
    assert!(
        authorization.contains(&scope) && authorization.contains(&format!("SignedHeaders={headers}, ")),
        "{authorization}"
    );
    assert_eq!(reply.seen("x-amz-security-token").as_deref(), Some("t0ken"));
}

/// Proves H-AWS-1, H-AWS-2, H-AWS-4, H-AWS-8, H-AWS-10.
#[test]
fn a_message_goes_into_a_queue() {
    let gateway = serving(&one(
        "SQS-SendMessage",
        json!({"QueueUrl": "https://q.example/1/orders", "MessageBody": "$request.body", "MessageGroupId": "$request.path.id"}),
        json!({"200": {"append:header.x-kind": "$response.header.content-type"}}),
    ));
    let reply = gateway.call("POST /x/7?a=b\nX-Secret: s\nAuthorization: Bearer mine\n\nhello & bye");
    let seen = reply.json();
    assert_eq!((&seen["method"], &seen["target"]), (&json!("POST"), &json!("/")));
    assert_eq!(
        seen["body"],
        "Action=SendMessage&Version=2012-11-05&MessageBody=hello+%26+bye&MessageGroupId=7&QueueUrl=https%3A%2F%2Fq.example%2F1%2Forders"
    );
    assert_signed(&reply, "local", "sqs", "content-type;host;x-amz-date;x-amz-security-token");
    // Nothing of the client's own head goes along.
    assert_eq!((reply.seen("x-secret"), reply.seen("via")), (None, None));
    // What the service answers is passed on, and mapped.
    assert_eq!((reply.status, reply.header("x-kind")), (200, Some("application/json")));
}

/// Proves H-AWS-7.
#[test]
fn the_region_may_be_asked_for() {
    let parameters = json!({"StateMachineArn": "arn:m", "Input": "$request.body", "Region": "$request.querystring.r"});
    let gateway = serving(&one("StepFunctions-StartExecution", parameters, json!({})));
    let signed = "content-type;host;x-amz-date;x-amz-security-token;x-amz-target";
    let reply = gateway.call("POST /x/7?r=eu-central-1\n\n{}");
    assert_signed(&reply, "eu-central-1", "states", signed);
    assert_eq!(reply.seen("x-amz-target").as_deref(), Some("AWSStepFunctions.StartExecution"));
    assert_signed(&gateway.call("POST /x/7\n\n{}"), "local", "states", signed);
    assert_eq!(gateway.call("POST /x/7?r=a.example/\n\n{}").status, 400);
}

/// Proves H-AWS-5, H-AWS-9.
#[test]
fn errors_of_the_service_pass() {
    let address = backend(|_, _| {
        let body = r#"{"__type":"ValidationException"}"#;
        http::Response::builder().status(400).header("x-amzn-requestid", "r-1").body(body.to_owned().into()).unwrap()
    });
    let target = json!({"type": "aws", "subtype": "Kinesis-PutRecord", "credentials": keys(), "endpoint": format!("http://{address}")});
    let parameters = json!({"StreamName": "s", "Data": "$request.body.none", "PartitionKey": "p"});
    let api = Api::new(&[("POST /x", json!({"backend": target, "requestParameters": parameters}))]);
    let log = json!({"stageName": "dev", "accessLogSettings": {"format": "$context.integration.status $context.integration.requestId"}});
    let gateway = serving(&api.only_stage(log).credentials("aws", "AKIDEXAMPLE"));
    let reply = gateway.call("POST /dev/x\n\n{}");
    assert_eq!((reply.status, reply.text()), (400, r#"{"__type":"ValidationException"}"#));
    assert_eq!(gateway.stop(), "400 r-1\n");
}

/// Without keys the call fails, alone; with new ones it works again, with the same deployment.
///
/// Proves H-AWS-9.
#[test]
fn keys_come_and_change() {
    let api = one("SQS-PurgeQueue", json!({"QueueUrl": "q"}), json!({}));
    let mut without = api.clone();
    without.credentials.clear();
    let mut gateway = serving(&without);
    let reply = gateway.call("POST /x/1");
    assert_eq!((reply.status, reply.text()), (500, r#"{"message":"Internal Server Error"}"#));
    gateway.publish(&api.units());
    assert_eq!(gateway.call("POST /x/1").status, 200);
    gateway.publish(&without.credentials("aws", "AKIDOTHER").units());
    assert!(gateway.call("POST /x/1").seen("authorization").unwrap().contains("Credential=AKIDOTHER/"));
}

fn function(endpoint: &str) -> Value {
    let arn = "arn:aws:lambda:eu-west-1:123456789012:function:${stageVariables.fn}";
    let endpoint = json!({"type": "aws", "functionArn": arn, "credentials": keys(), "endpoint": endpoint});
    json!({"backend": {"type": "lambda", "functionName": "function", "payloadFormatVersion": "2.0", "endpoint": endpoint}})
}

/// Proves H-INT-12, H-VAR-3, H-VAR-6, C45.
#[test]
fn a_function_of_the_lambda_service() {
    let address = backend(|request, body| {
        let mut named = request.clone();
        named.uri = "/2015-03-31/functions/function/invocations".parse().unwrap();
        let (parts, mut answer) = invoked(&named, body).into_parts();
        let mut response = http::Response::from_parts(parts, std::mem::take(&mut answer));
        if request.headers["authorization"].is_empty() {
            *response.status_mut() = http::StatusCode::FORBIDDEN;
        }
        let event: Value = serde_json::from_slice(body).unwrap();
        let seen = json!({
            "target": request.uri.to_string(),
            "authorization": request.headers["authorization"].to_str().unwrap(),
            "variables": event["stageVariables"],
        });
        *response.body_mut() = seen.to_string().into();
        response
    });
    let api = Api::new(&[("GET /f", function(&format!("http://{address}")))]);
    let stage = |name: &str, function: &str| json!({"stageName": name, "stageVariables": {"fn": function}});
    let api = api.only_stage(stage("one", "one")).stage(stage("two", "two:live")).credentials("aws", "AKIDEXAMPLE");
    let gateway = serving(&api);
    let path = "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aeu-west-1%3A123456789012%3Afunction%3A";
    let one = gateway.call("GET /one/f").json();
    assert_eq!(one["target"], format!("{path}one/invocations"));
    assert_eq!(one["variables"], json!({"fn": "one"}));
    assert!(
        one["authorization"]
            .as_str()
            .unwrap()
            .contains("/eu-west-1/lambda/aws4_request, SignedHeaders=content-type;host;")
    );
    assert_eq!(gateway.call("GET /two/f").json()["target"], format!("{path}two/invocations?Qualifier=live"));
}

#[test]
fn a_function_without_its_variable_or_its_keys_is_500() {
    let api = Api::new(&[("GET /f", function("http://127.0.0.1:1"))]);
    let mut gateway = Gateway::empty();
    let reports = gateway.publish(&api.units());
    assert_eq!(reports[0].problems[0].message, "the stage has no variable \"fn\"");
    assert_eq!(gateway.call("GET /f").status, 500);
    let log = json!({"stageName": "dev", "stageVariables": {"fn": "f"}, "accessLogSettings": {"format": "$context.integrationErrorMessage"}});
    let gateway = serving(&api.only_stage(log));
    assert_eq!(gateway.call("GET /dev/f").status, 500);
    assert_eq!(gateway.stop(), "Secret shop/aws has no keys to sign the call with\n");
}

/// Proves H-VAR-3, C45.
#[test]
fn a_stage_variable_names_the_function() {
    let address = backend(|request, _| http::Response::new(json!(request.uri.path()).to_string().into()));
    let endpoint = json!({"type": "url", "url": format!("http://{address}")});
    let target = json!({"type": "lambda", "functionName": "${stageVariables.fn}", "payloadFormatVersion": "2.0", "endpoint": endpoint});
    let api = Api::new(&[("GET /f", json!({"backend": target}))]);
    let gateway = serving(&api.only_stage(json!({"stageName": "dev", "stageVariables": {"fn": "two"}})));
    assert_eq!(gateway.call("GET /dev/f").text(), "/2015-03-31/functions/two/invocations");
}
