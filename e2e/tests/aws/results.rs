//! What clients get of what a function in AWS's runtime returns.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tollgate_e2e::{Answer, Request, suite};

use crate::Shared;

pub(crate) fn tests(shared: &Arc<Shared>) -> Vec<Trial> {
    vec![
        suite::test("results::any_value_in_format_2", shared, inferred),
        suite::test("results::format_1_infers_nothing", shared, not_inferred),
        suite::test("results::envelopes", shared, envelopes),
        suite::test("results::cookies_and_repeated_headers", shared, repeated),
        suite::test("results::base64", shared, base64),
        suite::test("results::bad_envelopes", shared, bad),
    ]
}

/// What the client gets when the function returns `result`.
async fn returned(shared: &Shared, path: &str, result: &Value) -> Result<Answer> {
    let todo = json!({"return": result}).to_string();
    shared.send(Request::get(path).header("x-do", &todo)).await.with_context(|| format!("{path} {result}"))
}

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.headers.get(name)?.to_str().ok()
}

fn is_internal_error(answer: &Answer) -> Result<()> {
    ensure!(answer.status == 500 && answer.body == r#"{"message":"Internal Server Error"}"#, "{answer:?}");
    Ok(())
}

/// Proves H-RES-3, H-RES-4, H-RES-5, C33, C34.
async fn inferred(shared: &Shared) -> Result<()> {
    // Python writes a space after each colon and comma, so a result that is written anew would show.
    for (result, body) in [
        (json!("Hello"), "Hello"),
        (json!("\u{e9}\u{1f600} \"x\"\n"), "\u{e9}\u{1f600} \"x\"\n"),
        (json!({"message": "hi", "n": 1.50}), r#"{"message": "hi", "n": 1.5}"#),
        (json!({"body": "x", "headers": {"a": "b"}}), r#"{"body": "x", "headers": {"a": "b"}}"#),
        (json!([1, 2]), "[1, 2]"),
        (json!(7), "7"),
        (json!(true), "true"),
        (json!(null), "null"),
    ] {
        let answer = returned(shared, "/v2", &result).await?;
        ensure!(answer.status == 200 && answer.body == body, "{result}: {answer:?}");
        ensure!(header(&answer, "content-type") == Some("application/json"), "{answer:?}");
    }
    Ok(())
}

/// Proves H-RES-7, C35.
async fn not_inferred(shared: &Shared) -> Result<()> {
    for result in [json!("Hello"), json!({"message": "hi"}), json!([1]), json!(null)] {
        is_internal_error(&returned(shared, "/v1", &result).await?).with_context(|| result.to_string())?;
    }
    Ok(())
}

/// Proves H-RES-2, H-RES-8, H-RES-9, H-RES-10, H-RES-12, H-RES-18, C36, C41.
async fn envelopes(shared: &Shared) -> Result<()> {
    for path in ["/v1", "/v2"] {
        let answer = returned(shared, path, &json!({"statusCode": 201, "body": "ok", "unknown": [1]})).await?;
        ensure!(answer.status == 201 && answer.body == "ok", "{answer:?}");
        ensure!(header(&answer, "content-type") == Some("text/plain; charset=utf-8"), "{answer:?}");

        let answer = returned(shared, path, &json!({"statusCode": "418"})).await?;
        ensure!(answer.status == 418 && answer.body.is_empty(), "{answer:?}");
        ensure!(header(&answer, "content-type").is_none(), "{answer:?}");
        ensure!(header(&answer, "content-length") == Some("0"), "{answer:?}");

        let headers = json!({"content-type": "text/html", "x-n": 1, "x-b": true});
        let answer = returned(shared, path, &json!({"statusCode": 200, "headers": headers, "body": "<p>"})).await?;
        ensure!(header(&answer, "content-type") == Some("text/html"), "{answer:?}");
        ensure!((header(&answer, "x-n"), header(&answer, "x-b")) == (Some("1"), Some("true")), "{answer:?}");

        let answer = returned(shared, path, &json!({"statusCode": 204, "body": "x"})).await?;
        ensure!(answer.status == 204 && answer.body.is_empty(), "{answer:?}");
    }
    Ok(())
}

/// Proves H-RES-13, H-RES-14, H-RES-15, H-RES-16, C37, C38.
async fn repeated(shared: &Shared) -> Result<()> {
    let all = |answer: &Answer, name: &str| {
        let values = answer.headers.get_all(name).iter();
        values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect::<Vec<_>>()
    };
    let result = json!({
        "statusCode": 200, "headers": {"x-m": "1, one"}, "multiValueHeaders": {"x-m": ["2", "3"]},
        "cookies": ["a=1; Path=/", "b=2"], "body": "",
    });
    let two = returned(shared, "/v2", &result).await?.expect(200)?;
    ensure!(all(&two, "set-cookie") == ["a=1; Path=/", "b=2"], "{two:?}");
    ensure!(all(&two, "x-m") == ["1, one"], "{two:?}");
    let one = returned(shared, "/v1", &result).await?.expect(200)?;
    ensure!(all(&one, "set-cookie").is_empty(), "{one:?}");
    ensure!(all(&one, "x-m") == ["1, one", "2", "3"], "{one:?}");
    Ok(())
}

/// Proves H-RES-11, C39.
async fn base64(shared: &Shared) -> Result<()> {
    for path in ["/v1", "/v2"] {
        let mut result = json!({
            "statusCode": 200, "headers": {"content-type": "image/png"}, "isBase64Encoded": true, "body": "AP8=",
        });
        let answer = returned(shared, path, &result).await?.expect(200)?;
        ensure!(*answer.body == [0, 255] && header(&answer, "content-type") == Some("image/png"), "{answer:?}");
        result["body"] = json!("no base64!");
        is_internal_error(&returned(shared, path, &result).await?)?;
    }
    Ok(())
}

/// Proves H-RES-8, H-RES-10, H-RES-12, C40.
async fn bad(shared: &Shared) -> Result<()> {
    for path in ["/v1", "/v2"] {
        for result in [
            json!({"statusCode": 0}),
            json!({"statusCode": 200.5}),
            json!({"statusCode": "abc"}),
            json!({"statusCode": 600}),
            json!({"statusCode": 200, "body": {"a": 1}}),
            json!({"statusCode": 200, "headers": {"x": ["a"]}}),
        ] {
            is_internal_error(&returned(shared, path, &result).await?).with_context(|| format!("{path} {result}"))?;
        }
    }
    Ok(())
}
