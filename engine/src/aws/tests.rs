use http::HeaderMap;

use super::*;
use crate::context::tests::Request as Sent;
use crate::mapping::Request;
use crate::secret::Secret;
use crate::snapshot::{AwsBackend, Credentials};

fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn backend(subtype: &str, endpoint: Option<&str>) -> AwsBackend {
    let credentials = SecretName { namespace: "n".to_owned(), name: "aws".to_owned() };
    AwsBackend { subtype: subtype.to_owned(), credentials, endpoint: endpoint.map(str::to_owned) }
}

fn compile(subtype: &str, parameters: &[(&str, &str)]) -> Result<AwsCall, String> {
    AwsCall::compile(&backend(subtype, None), &map(parameters))
}

/// The request for `POST /x?q=v` with the header `a: 1` and this body.
fn request(subtype: &str, parameters: &[(&str, &str)], body: &str) -> Result<AwsRequest, Reject> {
    let call = compile(subtype, parameters).unwrap();
    let sent = Sent::default().header("a", "1");
    let facts = sent.facts();
    let sources = Request {
        facts: &facts,
        headers: facts.headers,
        path: "/x",
        query: Some("q=v"),
        template: None,
        body: Some(body.as_bytes()),
    };
    call.request(&sources.into())
}

#[track_caller]
fn assert_json(subtype: &str, parameters: &[(&str, &str)], target: &str, version: &str, body: &Json) {
    let request = request(subtype, parameters, r#"{"text":"hi","n":7}"#).unwrap();
    assert_eq!((request.method, request.target.as_str()), (Method::POST, "/"));
    assert_eq!(request.headers["x-amz-target"], target);
    assert_eq!(request.headers["content-type"], format!("application/x-amz-json-{version}"));
    assert_eq!(&serde_json::from_slice::<Json>(&request.body).unwrap(), body);
}

use serde_json::{Value as Json, json};

/// Proves H-AWS-2, H-AWS-4, H-AWS-6.
#[test]
fn json_services() {
    assert_json(
        "EventBridge-PutEvents",
        &[
            ("Detail", "$request.body"),
            ("DetailType", "order-${request.querystring.q}"),
            ("Source", "$context.apiId"),
            ("Time", "1700000000"),
            ("EventBusName", "bus"),
            ("Resources", r#"["arn:1","arn:2"]"#),
            ("TraceHeader", "$request.header.none"),
        ],
        "AWSEvents.PutEvents",
        "1.1",
        &json!({"Entries": [{"Detail": r#"{"text":"hi","n":7}"#, "DetailType": "order-v", "Source": "abc123",
            "Time": 1_700_000_000, "EventBusName": "bus", "Resources": ["arn:1", "arn:2"]}]}),
    );
    assert_json(
        "Kinesis-PutRecord",
        &[
            ("StreamName", "s"),
            ("Data", "$request.body.text"),
            ("PartitionKey", "$request.header.a"),
            ("SequenceNumberForOrdering", "1"),
            ("ExplicitHashKey", "2"),
        ],
        "Kinesis_20131202.PutRecord",
        "1.1",
        &json!({"StreamName": "s", "Data": "aGk=", "PartitionKey": "1", "SequenceNumberForOrdering": "1", "ExplicitHashKey": "2"}),
    );
    let machine = ("StateMachineArn", "arn:aws:states:eu-west-1:123456789012:stateMachine:m");
    let started = json!({"stateMachineArn": machine.1, "name": "run-7", "input": r#"{"text":"hi","n":7}"#});
    let start = [machine, ("Name", "run-${request.body.n}"), ("Input", "$request.body")];
    assert_json("StepFunctions-StartExecution", &start, "AWSStepFunctions.StartExecution", "1.0", &started);
    let mut traced = started;
    traced["traceHeader"] = json!("Root=1");
    let sync = [machine, start[1], start[2], ("TraceHeader", "Root=1")];
    assert_json("StepFunctions-StartSyncExecution", &sync, "AWSStepFunctions.StartSyncExecution", "1.0", &traced);
    assert_json(
        "StepFunctions-StopExecution",
        &[("ExecutionArn", "arn:e"), ("Cause", "because"), ("Error", "E")],
        "AWSStepFunctions.StopExecution",
        "1.0",
        &json!({"executionArn": "arn:e", "cause": "because", "error": "E"}),
    );
}

/// Proves H-AWS-2.
#[test]
fn forms_of_sqs() {
    let queue = ("QueueUrl", "https://sqs.eu-west-1.amazonaws.com/123456789012/q");
    let encoded = "QueueUrl=https%3A%2F%2Fsqs.eu-west-1.amazonaws.com%2F123456789012%2Fq";
    let body = |subtype: &str, parameters: &[(&str, &str)]| {
        let all: Vec<_> = parameters.iter().copied().chain([queue]).collect();
        let request = request(subtype, &all, "a b&c").unwrap();
        assert_eq!((request.method, request.target.as_str()), (Method::POST, "/"));
        assert_eq!(request.headers["content-type"], "application/x-www-form-urlencoded");
        String::from_utf8(request.body).unwrap()
    };
    let attributes =
        r#"{"kind":{"DataType":"String","StringValue":"new"},"n":{"DataType":"Number","StringValue":"1"}}"#;
    assert_eq!(
        body(
            "SQS-SendMessage",
            &[
                ("MessageBody", "$request.body"),
                ("DelaySeconds", "5"),
                ("MessageAttributes", attributes),
                ("MessageDeduplicationId", "$context.requestId"),
                ("MessageGroupId", "g"),
                ("MessageSystemAttributes", r#"{"AWSTraceHeader":{"DataType":"String","StringValue":"r"}}"#),
            ]
        ),
        "Action=SendMessage&Version=2012-11-05&DelaySeconds=5\
         &MessageAttribute.1.Name=kind&MessageAttribute.1.Value.DataType=String&MessageAttribute.1.Value.StringValue=new\
         &MessageAttribute.2.Name=n&MessageAttribute.2.Value.DataType=Number&MessageAttribute.2.Value.StringValue=1\
         &MessageBody=a+b%26c&MessageDeduplicationId=JCIn6iOMPHcEP2Q%3D&MessageGroupId=g\
         &MessageSystemAttribute.1.Name=AWSTraceHeader&MessageSystemAttribute.1.Value.DataType=String\
         &MessageSystemAttribute.1.Value.StringValue=r&"
            .to_owned()
            + encoded
    );
    assert_eq!(
        body(
            "SQS-ReceiveMessage",
            &[
                ("AttributeNames", "All, SentTimestamp"),
                ("MaxNumberOfMessages", "10"),
                ("MessageAttributeNames", r#"["kind"]"#),
                ("ReceiveRequestAttemptId", "r"),
                ("VisibilityTimeout", "30"),
                ("WaitTimeSeconds", "1"),
            ]
        ),
        format!(
            "Action=ReceiveMessage&Version=2012-11-05&AttributeName.1=All&AttributeName.2=SentTimestamp\
             &MaxNumberOfMessages=10&MessageAttributeName.1=kind&{encoded}&ReceiveRequestAttemptId=r&VisibilityTimeout=30&WaitTimeSeconds=1"
        )
    );
    assert_eq!(
        body("SQS-DeleteMessage", &[("ReceiptHandle", "h/1")]),
        format!("Action=DeleteMessage&Version=2012-11-05&{encoded}&ReceiptHandle=h%2F1")
    );
    assert_eq!(body("SQS-PurgeQueue", &[]), format!("Action=PurgeQueue&Version=2012-11-05&{encoded}"));
}

/// Proves H-AWS-2.
#[test]
fn a_configuration() {
    let parameters = [
        ("Application", "my app"),
        ("Environment", "prod"),
        ("Configuration", "c"),
        ("ClientId", "$request.querystring.q"),
        ("ClientConfigurationVersion", "2"),
    ];
    let request = request("AppConfig-GetConfiguration", &parameters, "").unwrap();
    assert_eq!(request.method, Method::GET);
    assert_eq!(
        request.target,
        "/applications/my%20app/environments/prod/configurations/c?client_configuration_version=2&client_id=v"
    );
    assert!(request.body.is_empty() && request.headers.is_empty());
}

/// Proves H-AWS-1, H-AWS-2, H-AWS-3, H-AWS-5.
#[test]
fn what_is_refused() {
    let queue = ("QueueUrl", "https://q.example/1/q");
    for (subtype, parameters, message) in [
        (
            "SQS-SendMessageBatch",
            &[queue][..],
            "aws.subtype: \"SQS-SendMessageBatch\" is not known: use one of EventBridge-PutEvents, SQS-SendMessage, ",
        ),
        ("SQS-SendMessage", &[queue], "requestParameters: SQS-SendMessage needs the parameter MessageBody: add it"),
        (
            "SQS-PurgeQueue",
            &[queue, ("MessageBody", "x")],
            "requestParameters[\"MessageBody\"]: SQS-PurgeQueue has no such parameter: it has QueueUrl and Region",
        ),
        (
            "SQS-PurgeQueue",
            &[queue, ("append:header.x", "1")],
            "requestParameters[\"append:header.x\"]: SQS-PurgeQueue has no such parameter",
        ),
        ("SQS-PurgeQueue", &[("QueueUrl", "")], "requestParameters[\"QueueUrl\"]: the value is empty"),
        (
            "SQS-PurgeQueue",
            &[("QueueUrl", "$request.nothing")],
            "requestParameters[\"QueueUrl\"]: \"request.nothing\" is not a source",
        ),
        (
            "SQS-PurgeQueue",
            &[queue, ("Region", "evil.example/")],
            "requestParameters[\"Region\"]: \"evil.example/\" is no region",
        ),
    ] {
        let refused = compile(subtype, parameters).unwrap_err();
        assert!(refused.starts_with(message), "{refused}");
    }
    let refused = AwsCall::compile(&backend("SQS-PurgeQueue", Some("https://h/path")), &map(&[queue])).unwrap_err();
    assert!(refused.starts_with("aws.endpoint: "), "{refused}");
    // Every required parameter of every action is asked for.
    for action in Action::ALL {
        let all: Vec<(&str, &str)> =
            action.parameters().iter().filter(|known| known.required).map(|known| (known.name, "x")).collect();
        assert!(compile(action.name(), &all).is_ok() && !all.is_empty(), "{action:?}");
        for (index, (name, _)) in all.iter().enumerate() {
            let mut fewer = all.clone();
            fewer.remove(index);
            assert!(compile(action.name(), &fewer).unwrap_err().contains(&format!("needs the parameter {name}")));
        }
    }
}

/// Proves H-AWS-5, H-AWS-7.
#[test]
fn what_a_request_lacks_is_left_out() {
    let parameters =
        [("QueueUrl", "$request.header.none"), ("MessageBody", "x"), ("DelaySeconds", "$request.querystring.none")];
    let sent = request("SQS-SendMessage", &parameters, "").unwrap();
    assert_eq!(sent.body, b"Action=SendMessage&Version=2012-11-05&MessageBody=x");
    assert_eq!(sent.region, None);
    let region = |value: &str| {
        request("SQS-PurgeQueue", &[("QueueUrl", "q"), ("Region", value)], r#"{"r":"us-west-2","bad":"a.b/"}"#)
            .map(|request| request.region)
    };
    assert_eq!(region("eu-central-1"), Ok(Some("eu-central-1".to_owned())));
    assert_eq!(region("$request.body.r"), Ok(Some("us-west-2".to_owned())));
    assert_eq!(region("$request.body.bad"), Err(Reject::BadRequest));
    assert_eq!(region("$request.body.none"), Ok(None));
    let attributes = [("QueueUrl", "q"), ("MessageBody", "x"), ("MessageAttributes", "$request.body")];
    for body in ["no json", "[]", r#"{"a":1}"#, r#"{"a":{"DataType":1}}"#] {
        assert_eq!(request("SQS-SendMessage", &attributes, body), Err(Reject::BadRequest), "{body}");
    }
}

#[test]
fn hosts_of_services() {
    assert_eq!(host("sqs", "eu-central-1"), "sqs.eu-central-1.amazonaws.com");
    assert_eq!(
        host(Action::StepFunctionsStartSyncExecution.host_prefix(), "us-east-1"),
        "sync-states.us-east-1.amazonaws.com"
    );
    assert_eq!(host("lambda", "cn-north-1"), "lambda.cn-north-1.amazonaws.com.cn");
}

fn signed(target: &str, content_type: Option<&'static str>, host: &'static str, scope: &Scope<'_>) -> HeaderMap {
    let credentials = Credentials {
        api_id: "a".to_owned(),
        secret: SecretName { namespace: "n".to_owned(), name: "s".to_owned() },
        access_key_id: "AKIDEXAMPLE".to_owned(),
        secret_access_key: Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
        session_token: None,
    };
    let mut headers = HeaderMap::new();
    headers.insert("host", HeaderValue::from_static(host));
    if let Some(content_type) = content_type {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    sign(&mut headers, &Method::GET, target, b"", &credentials, scope);
    headers
}

/// The example of AWS's documentation, and `get-vanilla` of its test suite.
#[test]
fn signatures_are_those_that_aws_has_published() {
    let seconds = 1_440_938_160; // 2015-08-30T12:36:00Z
    let headers = signed(
        "/?Action=ListUsers&Version=2010-05-08",
        Some("application/x-www-form-urlencoded; charset=utf-8"),
        "iam.amazonaws.com",
        &Scope { region: "us-east-1", service: "iam", seconds },
    );
    assert_eq!(headers["x-amz-date"], "20150830T123600Z");
    assert_eq!(
        headers["authorization"],
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, SignedHeaders=content-type;host;x-amz-date, Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
    );
    let scope = Scope { region: "us-east-1", service: "service", seconds };
    let headers = signed("/", None, "example.amazonaws.com", &scope);
    assert_eq!(
        headers["authorization"],
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=host;x-amz-date, Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
    );
    assert!(headers["authorization"].is_sensitive());
}
