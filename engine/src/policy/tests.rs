use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde_json::json;

use super::*;

const ARN: &str = "arn:aws:execute-api:local:000000000000:abc123/dev/GET/pets/5";

fn ask(resource: &str) -> Ask<'_> {
    Ask {
        resource,
        source_ip: Ipv4Addr::new(10, 1, 2, 3).into(),
        now: 1_783_711_145,
        user_agent: Some("curl/8"),
        referer: None,
        principal: None,
    }
}

fn statement(effect: &str, resource: &str) -> Value {
    json!({"Effect": effect, "Action": "execute-api:Invoke", "Resource": resource})
}

fn policy(statements: &Value) -> Policy {
    Policy::parse(&json!({"Version": "2012-10-17", "Statement": statements}), Dialect::Identity).unwrap()
}

fn decided(statements: &Value) -> Decision {
    policy(statements).decide(&ask(ARN))
}

/// Proves H-LA-18, H-LA-19, H-IAM-5.
#[test]
fn statements_are_weighed() {
    let (allow, deny) = (statement("Allow", ARN), statement("Deny", "arn:*/dev/GET/*"));
    let elsewhere = statement("Allow", "arn:aws:execute-api:local:000000000000:abc123/dev/POST/*");
    assert_eq!(decided(&allow), Decision::Allow);
    assert_eq!(decided(&json!([allow])), Decision::Allow);
    assert_eq!(decided(&json!([allow, deny])), Decision::Deny);
    assert_eq!(decided(&json!([deny, allow])), Decision::Deny);
    assert_eq!(decided(&json!([elsewhere])), Decision::Silent);
    assert_eq!(decided(&json!([])), Decision::Silent);
    for (action, decision) in [
        (json!("execute-api:*"), Decision::Allow),
        (json!("*"), Decision::Allow),
        (json!(["s3:GetObject", "Execute-API:invoke"]), Decision::Allow),
        (json!("execute-api:InvalidateCache"), Decision::Silent),
        (json!("s3:*"), Decision::Silent),
    ] {
        let mut allow = allow.clone();
        allow["Action"] = action;
        assert_eq!(decided(&allow), decision, "{allow}");
    }
    let two = policy(&allow);
    assert_eq!(decide([&two, &policy(&elsewhere)], &ask(ARN)), Decision::Allow);
    assert_eq!(decide([&two, &policy(&deny)], &ask(ARN)), Decision::Deny);
    assert_eq!(decide([], &ask(ARN)), Decision::Silent);
}

fn conditioned(condition: &Value) -> Value {
    let mut statement = statement("Allow", "*");
    statement["Condition"] = condition.clone();
    statement
}

/// Proves H-IAM-5.
#[test]
fn conditions() {
    let tags = BTreeMap::from([("team".to_owned(), "pets".to_owned())]);
    let principal = PrincipalFacts {
        arn: "arn:aws:iam::000000000000:user/anna",
        account: "000000000000",
        user_id: "AIDA1",
        name: "anna",
        tags: &tags,
    };
    for (condition, holds) in [
        (json!({}), true),
        (json!({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}), true),
        (json!({"IpAddress": {"AWS:sourceip": ["192.0.2.0/24", "10.1.2.3"]}}), true),
        (json!({"NotIpAddress": {"aws:SourceIp": ["10.0.0.0/8"]}}), false),
        (json!({"StringEquals": {"aws:PrincipalTag/team": ["shop", "pets"]}}), true),
        (json!({"StringEquals": {"aws:PrincipalTag/Team": "pets"}}), false),
        (json!({"StringNotEquals": {"aws:PrincipalTag/none": "pets"}}), true),
        (json!({"StringEqualsIfExists": {"aws:PrincipalTag/none": "pets"}}), true),
        (json!({"StringEqualsIgnoreCase": {"aws:username": "ANNA"}}), true),
        (json!({"StringLike": {"aws:UserAgent": "curl/*"}}), true),
        (json!({"StringNotLike": {"aws:UserAgent": "curl/*"}}), false),
        (json!({"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:user/anna"}}), true),
        (json!({"Bool": {"aws:SecureTransport": "true"}}), true),
        (json!({"Bool": {"aws:SecureTransport": false}}), false),
        (json!({"DateLessThan": {"aws:CurrentTime": "2026-07-10T19:19:06Z"}}), true),
        (json!({"DateLessThan": {"aws:CurrentTime": "2026-07-10T19:19:05Z"}}), false),
        (json!({"DateLessThanEquals": {"aws:CurrentTime": "2026-07-10T19:19:05Z"}}), true),
        (json!({"DateGreaterThan": {"aws:EpochTime": "1783711144"}}), true),
        (json!({"NumericGreaterThanEquals": {"aws:EpochTime": 1_783_711_145}}), true),
        (json!({"Null": {"aws:Referer": "true"}}), true),
        (json!({"Null": {"aws:UserAgent": true}}), false),
        (json!({"StringEquals": {"aws:username": "anna"}, "Bool": {"aws:SecureTransport": "false"}}), false),
    ] {
        let ask = Ask { principal: Some(principal), ..ask(ARN) };
        let decision = policy(&conditioned(&condition)).decide(&ask);
        assert_eq!(decision == Decision::Allow, holds, "{condition}");
    }
}

/// What is not understood is refused, so that it can neither allow nor fail to deny.
///
/// Proves H-LA-18.
#[test]
fn what_is_not_known_is_refused() {
    let whole = |document: Value| Policy::parse(&document, Dialect::Identity).unwrap_err().to_string();
    assert!(whole(json!([])).starts_with("policy: "));
    assert!(whole(json!({})).starts_with("Statement: "));
    assert!(whole(json!({"Version": "2020-01-01", "Statement": []})).starts_with("Version: \"2020-01-01\""));
    assert!(whole(json!({"statement": []})).starts_with("statement: "));
    let allow = statement("Allow", "*");
    for (name, value, path) in [
        ("Effect", json!("allow"), "Statement.Effect: "),
        ("Action", json!([]), "Statement.Action: "),
        ("Resource", json!(1), "Statement.Resource: "),
        ("Resource", json!("arn:${aws:username}"), "Statement.Resource: \"arn:${aws:username}\": policy variables"),
        ("NotAction", json!("*"), "Statement.NotAction: not supported"),
        ("NotResource", json!("*"), "Statement.NotResource: not supported"),
        ("Principal", json!("*"), "Statement.Principal: "),
        ("Else", json!("*"), "Statement.Else: is not known"),
        ("Condition", json!([]), "Statement.Condition: "),
        ("Condition", json!({"StringEquals": {"aws:Unknown": "a"}}), "Statement.Condition.StringEquals.aws:Unknown: "),
        ("Condition", json!({"ForAnyValue:StringLike": {"aws:username": "a"}}), "Statement.Condition.ForAnyValue:"),
        ("Condition", json!({"IpAddress": {"aws:SourceIp": "10.0.0.0/99"}}), "Statement.Condition.IpAddress."),
        ("Condition", json!({"IpAddress": {"aws:username": "10.0.0.0/8"}}), "Statement.Condition.IpAddress."),
        ("Condition", json!({"Bool": {"aws:SecureTransport": "yes"}}), "Statement.Condition.Bool."),
        ("Condition", json!({"DateLessThan": {"aws:CurrentTime": "soon"}}), "Statement.Condition.DateLessThan."),
        ("Condition", json!({"StringEquals": {"aws:CurrentTime": "2026"}}), "Statement.Condition.StringEquals."),
        ("Condition", json!({"StringEquals": {"aws:username": []}}), "Statement.Condition.StringEquals."),
        ("Condition", json!({"StringEquals": {"aws:PrincipalTag/": "a"}}), "Statement.Condition.StringEquals."),
    ] {
        let mut statement = allow.clone();
        statement[name] = value;
        let text = whole(json!({"Statement": statement}));
        assert!(text.starts_with(path), "{statement}: {text}");
    }
    let tagged = json!({"Statement": conditioned(&json!({"StringEquals": {"aws:username": "a"}}))});
    assert!(
        Policy::parse(&tagged, Dialect::Authorizer).is_err(),
        "an authorizer's policy knows the source address only"
    );
    let address = json!({"Statement": conditioned(&json!({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}))});
    assert!(Policy::parse(&address, Dialect::Authorizer).is_ok());
}
