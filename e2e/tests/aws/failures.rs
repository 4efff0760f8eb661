//! A function in AWS's runtime that throws, takes too long or dies. Nothing of it reaches the client.

use std::sync::Arc;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tollgate_e2e::aws::api;
use tollgate_e2e::{Answer, Request, suite};

use crate::Shared;

pub(crate) fn tests(shared: &Arc<Shared>) -> Vec<Trial> {
    vec![
        suite::test("failures::a_function_that_throws_runs_out_of_time_or_dies", shared, failed),
        suite::test("failures::the_gateways_own_limit", shared, late),
        suite::test("failures::payloads_over_6_mb", shared, large),
    ]
}

const INTERNAL: &str = r#"{"message":"Internal Server Error"}"#;

/// An API of one function with `ANY /v1` and `ANY /v2`, whose access log tells what went wrong.
fn yaml(endpoint: &str, timeout: u32) -> String {
    let mut yaml = api("failing")
        + "  accessLogSettings:\n    format: 'told $context.path $context.status $context.integration.status \
           $context.integrationStatus $context.integrationErrorMessage $context.requestId'\n";
    for version in [1, 2] {
        yaml += &format!(
            r#"---
apiVersion: tollgate.dev/v1alpha1
kind: Route
metadata: {{name: v{version}}}
spec:
  apiRef: {{name: failing}}
  routeKey: ANY /v{version}
  integration:
    lambda: {{endpoint: "{endpoint}"}}
    payloadFormatVersion: "{version}.0"
    timeoutInMillis: {timeout}
"#
        );
    }
    yaml
}

fn todo(path: &str, todo: &Value) -> Request {
    Request::get(path).header("x-do", &todo.to_string())
}

fn is_plain(answer: &Answer, status: u16, body: &str) -> Result<()> {
    ensure!(answer.status == status && answer.body == body, "{answer:?}");
    let names = answer.headers.keys().map(http::HeaderName::as_str);
    let mut names: Vec<&str> = names.filter(|name| *name != "connection").collect();
    names.sort_unstable();
    ensure!(names == ["apigw-requestid", "content-length", "content-type", "date"], "{answer:?}");
    Ok(())
}

/// Proves H-RES-1, H-RES-22, H-LOG-11, C42.
async fn failed(shared: &Shared) -> Result<()> {
    let function = shared.parts().function("limited", 1).await?;
    let gateway = shared.parts().gateway("failing", &yaml(&format!("http://{}", function.address), 20_000)).await?;
    for path in ["/v1", "/v2"] {
        for (what, log) in [
            (
                json!({"throw": "boom"}),
                "500 200 The Lambda function returned the following error: boom. Check your Lambda function code",
            ),
            (
                json!({"sleep": 10}),
                "500 200 The Lambda function returned the following error: Task timed out after 1.00",
            ),
            // The service answers 200 and marks the error; the emulator itself answers 502.
            (json!({"exit": 3}), "- 502 The function service failed."),
        ] {
            let answer = todo(path, &what).send(gateway.address).await?;
            is_plain(&answer, 500, INTERNAL)?;
            let id = answer.headers["apigw-requestid"].to_str()?;
            let line = gateway.logged(id).await?;
            ensure!(line.starts_with(&format!("told {path} 500 {log}")), "{what}: {line}");
            // The next one is answered by a new process of the function if need be.
            todo(path, &json!({"return": {"statusCode": 200}})).send(gateway.address).await?.expect(200)?;
        }
    }
    Ok(())
}

/// Proves H-INT-4, C43.
async fn late(shared: &Shared) -> Result<()> {
    for (name, path) in [("late-1", "/v1"), ("late-2", "/v2")] {
        // An emulator each: it is busy for as long as the function sleeps.
        let function = shared.parts().function(name, 30).await?;
        let api = yaml(&format!("http://{}", function.address), 50);
        let gateway = shared.parts().gateway(&format!("gateway-{name}"), &api).await?;
        let answer = todo(path, &json!({"sleep": 5})).send(gateway.address).await?;
        is_plain(&answer, 503, r#"{"message":"Service Unavailable"}"#)?;
    }
    Ok(())
}

/// Proves H-RES-19.
async fn large(shared: &Shared) -> Result<()> {
    let endpoint = format!("http://{}", shared.function().address);
    let gateway = shared.parts().gateway("large", &yaml(&endpoint, 20_000)).await?;
    for path in ["/v1", "/v2"] {
        let result = |length: u32| todo(path, &json!({"length": length}));
        let answer = result(5 << 20).send(gateway.address).await?.expect(200)?;
        ensure!(answer.body.len() == 5 << 20, "{}", answer.body.len());
        is_plain(&result(7 << 20).send(gateway.address).await?, 500, INTERNAL)?;
        // As base64 it is over the limit.
        let answer = Request::post(path, vec![0; 5 << 20]).send(gateway.address).await?;
        is_plain(&answer, 413, r#"{"message":"Request Entity Too Large"}"#)?;
    }
    Ok(())
}
