//! Requests that botocore signs, through the real program.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tollgate_e2e::suite;

use crate::Shared;

pub(crate) fn tests(shared: &Arc<Shared>) -> Vec<Trial> {
    vec![suite::test("signed::by_botocore", shared, signed)]
}

const FORBIDDEN: &str = r#"{"message":"Forbidden"}"#;

fn principal(name: &str, key: &str, secret: &str, token: Option<&str>, action: &str) -> [Value; 2] {
    let mut data = json!({"accessKeyId": key, "secretAccessKey": secret});
    if let Some(token) = token {
        data["sessionToken"] = json!(token);
    }
    let policy = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "execute-api:Invoke", "Resource": action},
    ]});
    [
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}),
        json!({
            "apiVersion": "tollgate.dev/v1alpha1", "kind": "Principal", "metadata": {"name": name},
            "spec": {"accessKeys": [{"secretRef": {"name": name}}], "policies": [policy.to_string()]},
        }),
    ]
}

fn objects(shared: &Shared) -> String {
    let tollgate = "tollgate.dev/v1alpha1";
    let function = json!({"endpoint": format!("http://{}", shared.function().address)});
    let [ada, ada_may] =
        principal("ada", "AKIDADA", "adas-own-secret/with+signs=", None, "arn:aws:execute-api:*:*:*/*/*/things/*");
    let token = Some("the/guest's+token==");
    let [guest, guest_may] =
        principal("guest", "ASIAGUEST", "guests-secret", token, "arn:aws:execute-api:*:*:*/*/GET/things/*");
    let objects = [
        json!({"apiVersion": tollgate, "kind": "HttpApi", "metadata": {"name": "signed"}, "spec": {}}),
        json!({
            "apiVersion": tollgate, "kind": "Stage", "metadata": {"name": "default"},
            "spec": {"apiRef": {"name": "signed"}, "stageName": "$default"},
        }),
        json!({
            "apiVersion": tollgate, "kind": "Route", "metadata": {"name": "things"},
            "spec": {
                "apiRef": {"name": "signed"}, "routeKey": "ANY /things/{id}", "authorizationType": "AWS_IAM",
                "integration": {"lambda": function, "payloadFormatVersion": "2.0"},
            },
        }),
        ada,
        ada_may,
        guest,
        guest_may,
    ];
    objects.iter().map(|object| format!("---\n{object}\n")).collect()
}

/// Proves H-IAM-1, H-IAM-2, H-IAM-3, H-IAM-5, H-IAM-6, H-IAM-7, C87.
async fn signed(shared: &Shared) -> Result<()> {
    let gateway = shared.parts().gateway("signed", &objects(shared)).await?;
    let ada = "arn:aws:iam::000000000000:user/default/ada";
    let guest = "arn:aws:iam::000000000000:user/default/guest";
    let mut expected = vec![
        ("header", Some(ada)),
        ("body", Some(ada)),
        ("unsigned body", None),
        ("token", Some(guest)),
        ("query", Some(ada)),
        ("query with a body", Some(ada)),
        ("token in the query", Some(guest)),
        ("parameters", Some(ada)),
        ("parameters in the query", Some(ada)),
        ("path", Some(ada)),
        ("headers", Some(ada)),
        ("four minutes ago", Some(ada)),
    ];
    expected.extend(
        [
            "six minutes ago",
            "in six minutes",
            "another secret",
            "another secret in the query",
            "another region",
            "another service",
            "not allowed",
            "another path than signed",
            "another method than signed",
            "a parameter more than signed",
            "another body than signed",
            "the token left out",
            "longer than signed",
        ]
        .map(|refused| (refused, None)),
    );
    let got = shared.parts().signed(gateway.address)?;
    ensure!(got.len() == expected.len(), "{got:?}");
    for ((what, status, body), (label, caller)) in got.iter().zip(expected) {
        ensure!(what == label, "{what} stands where {label} is expected");
        let Some(caller) = caller else {
            ensure!(*status == 403 && body == FORBIDDEN, "{what}: {status} {body}");
            continue;
        };
        ensure!(*status == 200, "{what}: {status} {body}");
        let event: Value = serde_json::from_str(body).with_context(|| format!("{what}: {body}"))?;
        ensure!(event["requestContext"]["authorizer"]["iam"]["userArn"] == caller, "{what}: {event}");
    }
    Ok(())
}
