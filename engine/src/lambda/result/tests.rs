use proptest::prelude::*;

use super::*;

const V1: PayloadFormatVersion = PayloadFormatVersion::V1;
const V2: PayloadFormatVersion = PayloadFormatVersion::V2;

fn result_of(version: PayloadFormatVersion, payload: &str) -> Result<FunctionResponse, FunctionFailure> {
    let payload = Bytes::copy_from_slice(payload.as_bytes());
    parse(version, Invocation { status: 200, function_error: false, payload })
}

fn response(version: PayloadFormatVersion, payload: &str) -> FunctionResponse {
    result_of(version, payload).unwrap_or_else(|failure| panic!("{payload}: {failure:?}"))
}

fn is_bad(version: PayloadFormatVersion, payload: &str) -> bool {
    result_of(version, payload).is_err_and(|failure| failure.reject == Reject::BadFunctionResponse)
}

fn values(response: &FunctionResponse, name: &str) -> Vec<String> {
    response.headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
}

/// Proves H-RES-3, H-RES-4, H-RES-5, H-RES-6, C33, C34.
#[test]
fn a_result_without_status_is_the_body_in_format_2() {
    for (payload, body) in [
        (r#""Hello""#, "Hello"),
        (r#" "a\"b\né" "#, "a\"b\né"),
        (r#"{"message":"hi"}"#, r#"{"message":"hi"}"#),
        ("{ \"a\" : 1.0,\n \"b\": [ ] }", "{ \"a\" : 1.0,\n \"b\": [ ] }"),
        (r#"{"body":"x","headers":{"a":[1]}}"#, r#"{"body":"x","headers":{"a":[1]}}"#),
        ("[200]", "[200]"),
        ("7", "7"),
        ("true", "true"),
        ("null", "null"),
        ("not json", "not json"),
        ("\"open", "\"open"),
        ("{\"statusCode\":200", "{\"statusCode\":200"),
        ("", ""),
    ] {
        let response = response(V2, payload);
        assert_eq!((response.status, &*response.body), (200, body.as_bytes()), "{payload}");
        assert_eq!(values(&response, "content-type"), ["application/json"]);
        assert_eq!(response.headers.len(), 1);
    }
}

/// Proves H-RES-7, C35.
#[test]
fn nothing_is_inferred_in_format_1() {
    for payload in [r#"{"message":"hi"}"#, r#""Hello""#, "null", "[200]", "", "not json", "{}"] {
        assert!(is_bad(V1, payload), "{payload}");
    }
}

/// Proves H-RES-9, H-RES-10, C36.
#[test]
fn the_default_content_type() {
    for version in [V1, V2] {
        let ok = response(version, r#"{"statusCode":201,"body":"ok"}"#);
        assert_eq!((ok.status, &*ok.body), (201, &b"ok"[..]));
        assert_eq!(values(&ok, "content-type"), ["text/plain; charset=utf-8"]);
        let typed = response(version, r#"{"statusCode":200,"body":"ok","headers":{"Content-Type":"text/html"}}"#);
        assert_eq!(values(&typed, "content-type"), ["text/html"]);
        for empty in [r#"{"statusCode":200}"#, r#"{"statusCode":200,"body":null}"#, r#"{"statusCode":200,"body":""}"#] {
            let response = response(version, empty);
            assert!(response.body.is_empty() && response.headers.is_empty(), "{empty}");
        }
    }
}

/// Proves H-RES-8, C40, C41.
#[test]
fn status_codes() {
    for (json, status) in [("200", 200), ("599", 599), (r#""418""#, 418), ("200.0", 200), ("2e2", 200), ("304", 304)] {
        for version in [V1, V2] {
            assert_eq!(response(version, &format!(r#"{{"statusCode":{json}}}"#)).status, status);
        }
    }
    for json in [
        "0",
        "200.5",
        r#""abc""#,
        "199",
        "600",
        "100",
        "-200",
        r#""200.5""#,
        r#"" 200""#,
        r#""+20""#,
        r#""""#,
        "null",
        "true",
        "[200]",
        "{}",
        "1e999",
        "99999999999999999999",
    ] {
        for version in [V1, V2] {
            assert!(is_bad(version, &format!(r#"{{"statusCode":{json}}}"#)), "{json}");
        }
    }
}

/// Proves H-RES-10.
#[test]
fn a_body_has_to_be_a_string() {
    for json in ["{}", "[]", "7", "true"] {
        for version in [V1, V2] {
            assert!(is_bad(version, &format!(r#"{{"statusCode":200,"body":{json}}}"#)), "{json}");
        }
    }
}

/// Proves H-RES-11, C39.
#[test]
fn base64_bodies() {
    let with = |body: &str, flag: &str| {
        format!(
            r#"{{"statusCode":200,"headers":{{"content-type":"image/png"}},"body":"{body}","isBase64Encoded":{flag}}}"#
        )
    };
    for version in [V1, V2] {
        assert_eq!(&*response(version, &with("AP8=", "true")).body, [0, 0xff]);
        assert_eq!(&*response(version, &with("AP8", "true")).body, [0, 0xff]);
        assert_eq!(&*response(version, &with("\\u0041P8=", "true")).body, [0, 0xff]);
        assert_eq!(&*response(version, &with("AP8=", "false")).body, b"AP8=");
        assert_eq!(&*response(version, &with("AP8=", "null")).body, b"AP8=");
        for (body, flag) in [("*", "true"), ("AP8=", "\"true\""), ("AP8=", "1"), ("AP8==", "true")] {
            assert!(is_bad(version, &with(body, flag)), "{body} {flag}");
        }
    }
}

/// Proves H-RES-12, H-RES-14.
#[test]
fn header_values() {
    let headers = |json: &str| format!(r#"{{"statusCode":200,"headers":{json}}}"#);
    for version in [V1, V2] {
        let typed = response(version, &headers(r#"{"a":"x, y","b":7,"c":true,"d":null,"e":1.5,"f":"","G":"é"}"#));
        for (name, expected) in [("a", "x, y"), ("b", "7"), ("c", "true"), ("e", "1.5"), ("f", ""), ("g", "é")] {
            assert_eq!(values(&typed, name), [expected]);
        }
        assert!(!typed.headers.contains_key("d"));
        for bad in [r#"{"a":[]}"#, r#"{"a":{}}"#, r#"{"a":"x\r\ny: z"}"#, r#"{"a b":"x"}"#, r#"{"":"x"}"#, "[]", "7"] {
            assert!(is_bad(version, &headers(bad)), "{bad}");
        }
        assert!(response(version, &headers("null")).headers.is_empty());
    }
}

/// Proves H-RES-13, C38.
#[test]
fn multi_value_headers_come_after_the_single_one() {
    let response = response(
        V1,
        r#"{"statusCode":200,"multiValueHeaders":{"X-M":["2",3,null],"x-n":["a"],"x-o":null},"headers":{"x-m":"1"}}"#,
    );
    assert_eq!(values(&response, "x-m"), ["1", "2", "3"]);
    assert_eq!(values(&response, "x-n"), ["a"]);
    for bad in [r#"{"a":"x"}"#, r#"{"a":[[]]}"#, "[]"] {
        assert!(is_bad(V1, &format!(r#"{{"statusCode":200,"multiValueHeaders":{bad}}}"#)), "{bad}");
    }
}

/// Proves H-RES-14, H-RES-15, C37.
#[test]
fn cookies_of_format_2() {
    let two =
        response(V2, r#"{"statusCode":200,"cookies":["a=1; Path=/","b=2"],"headers":{"set-cookie":"c=3"},"body":""}"#);
    assert_eq!(values(&two, "set-cookie"), ["c=3", "a=1; Path=/", "b=2"]);
    let ignored = response(V2, r#"{"statusCode":200,"multiValueHeaders":{"a":["x"]}}"#);
    assert!(ignored.headers.is_empty());
    for bad in [r#""a=1""#, "[1]", r#"["a\n"]"#, "{}"] {
        assert!(is_bad(V2, &format!(r#"{{"statusCode":200,"cookies":{bad}}}"#)), "{bad}");
    }
}

/// Proves H-RES-16, H-RES-2.
#[test]
fn format_1_ignores_cookies_and_unknown_keys() {
    let one = response(
        V1,
        r#"{"statusCode":200,"cookies":7,"what":{"ever":1},"multiValueHeaders":{"Set-Cookie":["a=1","b=2"]}}"#,
    );
    assert_eq!(values(&one, "set-cookie"), ["a=1", "b=2"]);
    assert_eq!(one.headers.len(), 2);
}

/// Proves H-RES-17, H-HDR-4.
#[test]
fn headers_that_are_the_gateways_own_are_dropped() {
    let response = response(
        V2,
        r#"{"statusCode":200,"headers":{"Content-Length":"9","Connection":"close","Transfer-Encoding":"chunked","Keep-Alive":"1",
        "Upgrade":"x","TE":"x","Trailer":"x","Date":"x","apigw-requestid":"x","x-fine":"1","access-control-allow-origin":"*"}}"#,
    );
    let mut names: Vec<_> = response.headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["access-control-allow-origin", "x-fine"]);
}

/// Proves H-RES-18.
#[test]
fn no_body_for_204_and_304() {
    for status in [204, 304] {
        let response = response(V2, &format!(r#"{{"statusCode":{status},"body":"x","headers":{{"a":"b"}}}}"#));
        assert!(response.body.is_empty());
        assert_eq!(values(&response, "a"), ["b"]);
    }
}

/// Proves H-RES-1, H-RES-22, H-LOG-11.
#[test]
fn a_function_that_throws() {
    let thrown = |version, payload: &str| {
        let payload = Bytes::copy_from_slice(payload.as_bytes());
        parse(version, Invocation { status: 200, function_error: true, payload }).unwrap_err()
    };
    for version in [V1, V2] {
        let failure = thrown(version, r#"{"errorMessage":"boom","errorType":"Error","stackTrace":["secret"]}"#);
        assert_eq!(failure.reject, Reject::FunctionError);
        assert_eq!(failure.integration_status, Some(500));
        assert_eq!(
            failure.message,
            "The Lambda function returned the following error: boom. Check your Lambda function code and try again."
        );
        let other = thrown(version, r#"{"statusCode":200,"body":"x"}"#);
        assert_eq!(other.reject, Reject::FunctionError);
        for character in ["é", "😀", "x"] {
            let long = thrown(version, &format!(r#"{{"errorMessage":"{}"}}"#, character.repeat(100_000)));
            assert_eq!(long.message.matches(character).count(), MAX_ERROR_MESSAGE / character.len());
        }
    }
}

/// Proves H-RES-1, H-RES-22.
#[test]
fn errors_of_the_emulator_have_no_header() {
    let is_error = |headers: &[&'static str], payload: &str| {
        let headers =
            headers.iter().map(|name| (HeaderName::from_static(name), HeaderValue::from_static("x"))).collect();
        Invocation::of(200, &headers, Bytes::copy_from_slice(payload.as_bytes())).function_error
    };
    let thrown = r#"{"errorType":"Error","errorMessage":"boom","trace":["Error: boom"]}"#;
    let timeout = "Task timed out after 3.00 seconds";
    for payload in [thrown, timeout, ""] {
        assert!(is_error(&[], payload), "{payload}");
        assert!(!is_error(&["x-amzn-requestid"], payload), "the real service would say so: {payload}");
    }
    for payload in [
        "null",
        r#"{"statusCode":200,"body":"\"errorMessage\""}"#,
        r#"{"statusCode":500,"errorType":"a","errorMessage":"b"}"#,
        r#"{"errorMessage":"a"}"#,
        r#"["errorMessage","errorType"]"#,
        r#""Task timed out after all""#,
    ] {
        assert!(!is_error(&[], payload), "{payload}");
        assert!(
            is_error(&["x-amz-function-error"], payload)
                && is_error(&["x-amz-function-error", "x-amzn-requestid"], payload)
        );
    }
    for (payload, said) in [(thrown, "boom"), (timeout, timeout), ("", "Unhandled")] {
        let invocation = Invocation::of(200, &HeaderMap::new(), Bytes::copy_from_slice(payload.as_bytes()));
        let failure = parse(V2, invocation).unwrap_err();
        assert!(failure.message.contains(&format!("error: {said}. Check")), "{}", failure.message);
    }
}

/// Proves H-RES-19, H-RES-20, H-LOG-12.
#[test]
fn calls_that_the_function_service_refuses() {
    for (status, reject) in [
        (429, Reject::FunctionThrottled),
        (413, Reject::PayloadTooLarge),
        (403, Reject::FunctionError),
        (404, Reject::FunctionError),
        (500, Reject::FunctionError),
        (302, Reject::FunctionError),
    ] {
        let invocation =
            Invocation { status, function_error: false, payload: Bytes::from_static(br#"{"statusCode":200}"#) };
        let failure = parse(V2, invocation).unwrap_err();
        assert_eq!((failure.reject, failure.integration_status), (reject, None));
        assert_eq!(failure.message == PERMISSION_MISSING, status == 403);
    }
}

/// Proves H-RES-19.
#[test]
fn a_result_over_six_megabytes() {
    let sized = |length: usize| format!("\"{}\"", "x".repeat(length - 2));
    assert_eq!(response(V2, &sized(MAX_PAYLOAD_BYTES)).body.len(), MAX_PAYLOAD_BYTES - 2);
    assert!(is_bad(V2, &sized(MAX_PAYLOAD_BYTES + 1)));
}

/// A body without escapes is a part of the result, not a copy of it.
#[test]
fn bodies_share_the_results_memory() {
    let payload = Bytes::from_static(br#"{"statusCode":200,"body":"hello"}"#);
    let range = payload.as_ptr_range();
    let response = parse(V2, Invocation { status: 200, function_error: false, payload }).unwrap();
    assert!(range.contains(&response.body.as_ptr()));
    assert_eq!(&*response.body, b"hello");
}

proptest! {
    #[test]
    fn any_result_makes_a_response_or_a_failure(payload: Vec<u8>, one: bool) {
        let version = if one { V1 } else { V2 };
        let parsed = parse(version, Invocation { status: 200, function_error: false, payload: payload.clone().into() });
        if let Ok(response) = parsed {
            prop_assert!((200..600).contains(&response.status));
        } else {
            prop_assert!(one, "format 2.0 sends anything that is no envelope: {:?}", payload);
        }
    }

    /// Proves H-RES-11.
    #[test]
    fn text_and_binary_bodies_arrive_as_they_are(text: String, bytes: Vec<u8>) {
        let envelope = serde_json::json!({"statusCode": 200, "body": text}).to_string();
        prop_assert_eq!(response(V2, &envelope).body, text.as_bytes());
        let encoded = base64::engine::general_purpose::STANDARD.encode(&bytes);
        let envelope = serde_json::json!({"statusCode": 200, "body": encoded, "isBase64Encoded": true}).to_string();
        prop_assert_eq!(response(V1, &envelope).body, bytes);
    }
}
