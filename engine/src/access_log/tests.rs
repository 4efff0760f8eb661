use proptest::prelude::*;

use super::*;
use crate::context::IntegrationOutcome;
use crate::context::tests::Request;
use crate::reject::Reject;

fn entry(format: &str, request: &Request, outcome: &Outcome<'_>) -> String {
    let mut out = b"before".to_vec();
    Format::parse(format).unwrap().append(&mut out, &request.facts(), outcome);
    let text = String::from_utf8(out).unwrap();
    text.strip_prefix("before").unwrap().strip_suffix('\n').unwrap().to_owned()
}

fn plain(format: &str) -> String {
    entry(format, &Request::default(), &Outcome::default())
}

/// Proves H-LOG-4, C96.
#[test]
fn a_variable_without_value_is_a_hyphen() {
    let format = "$context.requestId $context.authorizer.error $context.error.messageString $context.nothing";
    let ok = Outcome { status: 200, ..Outcome::default() };
    assert_eq!(entry(format, &Request::default(), &ok), "JCIn6iOMPHcEP2Q= - \"-\" -");
}

/// Proves H-LOG-7.
#[test]
fn every_variable_has_its_value() {
    let request = Request {
        method: "POST",
        path: "/dev/pets/5".to_owned(),
        stage: "dev",
        route: Some("POST /pets/{id}".to_owned()),
        ..Request::default()
    }
    .header("user-agent", "t/1");
    let outcome = Outcome {
        status: 502,
        integration: Some(IntegrationOutcome {
            status: Some(500),
            call_status: Some(200),
            latency_ms: Some(12),
            error: Some("broken"),
            request_id: Some("r-1"),
            request_id_2: Some("r-2"),
        }),
        authorizer_error: Some("missing: token not provided"),
        response_length: 35,
        response_latency_ms: 17,
        data_processed: 99,
        reject: None,
    };
    for (variable, text) in [
        ("accountId", "000000000000"),
        ("apiId", "abc123"),
        ("authorizer.error", "missing: token not provided"),
        ("authorizer.claims.sub", "-"),
        ("authorizer.claims", "-"),
        ("authorizer.principalId", "-"),
        ("awsEndpointRequestId", "r-1"),
        ("awsEndpointRequestId2", "r-2"),
        ("customDomain.basePathMatched", "-"),
        ("dataProcessed", "99"),
        ("domainName", "abc123.execute-api.local.example"),
        ("domainPrefix", "abc123"),
        ("error.message", "-"),
        ("error.messageString", "\"-\""),
        ("error.responseType", "-"),
        ("extendedRequestId", "JCIn6iOMPHcEP2Q="),
        ("httpMethod", "POST"),
        ("identity.caller", "-"),
        ("identity.sourceIp", "10.1.2.3"),
        ("identity.userAgent", "t/1"),
        ("integration.error", "broken"),
        ("integrationErrorMessage", "broken"),
        ("integration.integrationStatus", "200"),
        ("integrationStatus", "200"),
        ("integration.latency", "12"),
        ("integrationLatency", "12"),
        ("integration.requestId", "r-1"),
        ("integration.status", "500"),
        ("path", "/dev/pets/5"),
        ("protocol", "HTTP/1.1"),
        ("requestId", "JCIn6iOMPHcEP2Q="),
        ("requestTime", "10/Jul/2026:19:19:05 +0000"),
        ("requestTimeEpoch", "1783711145"),
        ("responseLatency", "17"),
        ("responseLength", "35"),
        ("routeKey", "POST /pets/{id}"),
        ("stage", "dev"),
        ("status", "502"),
    ] {
        assert_eq!(entry(&format!("$context.{variable}"), &request, &outcome), text, "{variable}");
    }
}

/// Proves H-LOG-9, H-LOG-10, H-THR-7.
#[test]
fn errors_of_the_gateway() {
    let outcome = Outcome { status: 429, reject: Some(Reject::TooManyRequests), ..Outcome::default() };
    assert_eq!(
        entry(
            "$context.error.message|$context.error.messageString|$context.error.responseType",
            &Request::default(),
            &outcome
        ),
        r#"Too Many Requests|"Too Many Requests"|THROTTLED"#
    );
}

/// Proves H-LOG-6.
#[test]
fn a_request_without_a_route() {
    let request = Request { route: None, ..Request::default() };
    assert_eq!(entry("$context.routeKey", &request, &Outcome::default()), "-");
}

/// Proves H-LOG-5.
#[test]
fn only_variables_are_replaced() {
    for (format, text) in [
        ("plain", "plain"),
        (
            "$contextual $context $context. ${context.status} $stageVariables.x",
            "$contextual $context $context. ${context.status} $stageVariables.x",
        ),
        ("$context.status.", "0."),
        ("$context.status..", "0.."),
        ("$context.status-$context.stage", "0-$default"),
        ("$context.status:$context.status", "0:0"),
        ("[$context.status]", "[0]"),
        ("$context.status$context.status", "00"),
        ("$context.statusx $context.status.x", "- -"),
        ("$$context.status", "$0"),
        ("$context.status,\"$context.stage\"", "0,\"$default\""),
        ("ü $context.stageü", "ü $defaultü"),
        ("$context.authorizer.claims.cognito:groups: x", "-: x"),
        ("a\tb", "a\tb"),
    ] {
        assert_eq!(plain(format), text, "{format}");
    }
    let claim = Format::parse("$context.authorizer.claims.cognito:groups").unwrap();
    assert_eq!(claim.pieces[0], Piece::Variable(Variable::AuthorizerClaim("cognito:groups".into())));
}

/// Proves H-LOG-7, H-LOG-8.
#[test]
fn claims_of_the_token() {
    let claims = serde_json::json!({"cognito:groups": ["a", "b"], "a.b": 7, "x": "say \"x\""});
    let request = Request { token: Some((crate::jwt::tests::verified(claims), false)), ..Request::default() };
    for (name, text) in
        [("sub", "u1"), ("cognito:groups", "[a b]"), ("a.b", "7"), ("x", r#"say \"x\""#), ("absent", "-"), ("SUB", "-")]
    {
        let format = format!("$context.authorizer.claims.{name}");
        assert_eq!(entry(&format, &request, &Outcome::default()), text, "{name}");
    }
}

/// Proves H-LOG-1, H-LOG-2.
#[test]
fn formats_that_are_refused() {
    assert_eq!(Format::parse(" \n"), Err(FormatError::Empty));
    assert!(Format::parse(&"x".repeat(3072)).is_ok());
    assert_eq!(Format::parse(&"x".repeat(3073)), Err(FormatError::TooLong { bytes: 3073 }));
    assert_eq!(Format::parse("a\nb"), Err(FormatError::ControlCharacter { offset: 1 }));
    assert_eq!(Format::parse("a\n"), Format::parse("a"));
}

/// A client cannot forge lines or break JSON; a documented difference from H-LOG-5.
#[test]
fn values_stay_in_their_place() {
    let request = Request::default().header("user-agent", "a\"b\\c\td\u{9b}é");
    assert_eq!(entry("\"$context.identity.userAgent\"", &request, &Outcome::default()), r#""a\"b\\c\td\u009bé""#);
    let broken = Outcome {
        integration: Some(IntegrationOutcome { error: Some("one\ntwo\r\n\u{7f}"), ..IntegrationOutcome::default() }),
        ..Outcome::default()
    };
    assert_eq!(entry("$context.integration.error", &Request::default(), &broken), "one\\ntwo\\r\\n\\u007f");
    let mut raw = Request::default();
    raw.headers.insert("user-agent", http::HeaderValue::from_bytes(b"a\xffb\xe2\x82").unwrap());
    assert_eq!(entry("$context.identity.userAgent", &raw, &Outcome::default()), "a\\ufffdb\\ufffd");
}

/// Proves H-LOG-2.
#[test]
fn an_entry_is_cut_at_its_maximum() {
    let error = "é".repeat(MAX_ENTRY_BYTES / 2);
    let outcome = Outcome {
        integration: Some(IntegrationOutcome { error: Some(&error), ..IntegrationOutcome::default() }),
        ..Outcome::default()
    };
    let mut out = Vec::new();
    let format = Format::parse("x$context.integration.error $context.integration.error").unwrap();
    format.append(&mut out, &Request::default().facts(), &outcome);
    assert!(out.len() <= MAX_ENTRY_BYTES && out.len() > MAX_ENTRY_BYTES - 4);
    let text = String::from_utf8(out).unwrap();
    assert!(text.ends_with("é\n"));
    assert_eq!(text.matches('\n').count(), 1);
}

/// Proves H-LOG-1.
#[test]
fn the_documented_json_sample_is_json() {
    let format = r#"{ "requestId":"$context.requestId", "ip": "$context.identity.sourceIp", "requestTime":"$context.requestTime", "httpMethod":"$context.httpMethod","routeKey":"$context.routeKey", "status":"$context.status","protocol":"$context.protocol", "responseLength":"$context.responseLength", "agent":"$context.identity.userAgent" }"#;
    let request = Request::default().header("user-agent", "\"},{\"forged\":\"yes");
    let read: serde_json::Value = serde_json::from_str(&entry(format, &request, &Outcome::default())).unwrap();
    assert_eq!(read["agent"], "\"},{\"forged\":\"yes");
    assert_eq!(read["routeKey"], "$default");
}

proptest! {
    #[test]
    fn any_format_is_read_or_refused(format in "(\\$context\\.[a-zA-Z.:]{0,20}|\\PC{0,5}|[$.]){0,12}") {
        if let Ok(format) = Format::parse(&format) {
            let mut out = Vec::new();
            format.append(&mut out, &Request::default().facts(), &Outcome::default());
            prop_assert!(out.ends_with(b"\n"));
            prop_assert_eq!(out.iter().filter(|&&byte| byte == b'\n').count(), 1);
        }
    }

    /// Whatever bytes a client sends, the entry is one line and, in a JSON format, valid JSON.
    #[test]
    fn no_client_breaks_a_json_line(agent: Vec<u8>) {
        let mut request = Request::default();
        let Ok(value) = http::HeaderValue::from_bytes(&agent) else { return Ok(()) };
        request.headers.insert("user-agent", value);
        let line = entry(r#"{"agent":"$context.identity.userAgent"}"#, &request, &Outcome::default());
        prop_assert!(!line.contains('\n'));
        prop_assert!(serde_json::from_str::<serde_json::Value>(&line).is_ok());
    }
}
