//! AWS services and a function of the Lambda service, called through the real program with keys of IAM users. moto plays the
//! services: it computes each signature again with botocore, asks the user's policy, and does what the call says.
//!
//! moto has no `AppConfig-GetConfiguration` and no `StepFunctions-StartSyncExecution`; what is sent for these is tested in
//! `proxy/tests/aws_services.rs`.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tollgate_e2e::aws::{Cloud, Dev, api};
use tollgate_e2e::{Answer, Request, suite};

use crate::Shared;

pub(crate) fn tests(shared: &Arc<Shared>) -> Vec<Trial> {
    vec![suite::test("services::signed_and_done", shared, services)]
}

/// A Secret with the keys of the user `from` of the cloud.
fn keys(cloud: &Cloud<'_>, name: &str, from: &str) -> Value {
    let user = &cloud.made[from];
    json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
        "stringData": {"accessKeyId": user["key"], "secretAccessKey": user["secret"]},
    })
}

fn route(key: &str, integration: &Value) -> Value {
    let name = key.to_lowercase().replace(" /", "-").replace(['/', '{', '}'], ".");
    let name = name.trim_end_matches('.').replace("..", ".");
    json!({
        "apiVersion": "tollgate.dev/v1alpha1", "kind": "Route", "metadata": {"name": name},
        "spec": {"apiRef": {"name": "services"}, "routeKey": key, "integration": integration},
    })
}

fn service(cloud: &Cloud<'_>, subtype: &str, user: &str, mut parameters: Value) -> Value {
    parameters["Region"] = json!("us-east-1");
    json!({
        "aws": {"subtype": subtype, "credentialsRef": {"name": user}, "endpoint": cloud.endpoint},
        "requestParameters": parameters,
    })
}

fn objects(cloud: &Cloud<'_>) -> String {
    let queue = &cloud.made["queue"];
    let attributes = json!({"kind": {"DataType": "String", "StringValue": "${request.header.kind}"}}).to_string();
    let send = json!({"QueueUrl": queue, "MessageBody": "$request.body", "MessageAttributes": attributes});
    let forged = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "forged"},
        "stringData": {"accessKeyId": cloud.made["user"]["key"], "secretAccessKey": "not the one"},
    });
    let function = json!({
        "lambda": {"functionArn": cloud.made["function"], "credentialsRef": {"name": "user"}, "endpoint": cloud.endpoint},
        "payloadFormatVersion": "2.0",
    });
    let objects = [
        keys(cloud, "user", "user"),
        keys(cloud, "nobody", "nobody"),
        forged,
        route("POST /messages", &service(cloud, "SQS-SendMessage", "user", send.clone())),
        route("POST /forged", &service(cloud, "SQS-SendMessage", "forged", send.clone())),
        route("POST /denied", &service(cloud, "SQS-SendMessage", "nobody", send)),
        route(
            "GET /messages",
            &service(
                cloud,
                "SQS-ReceiveMessage",
                "user",
                json!({"QueueUrl": queue, "MaxNumberOfMessages": "10", "MessageAttributeNames": "All", "VisibilityTimeout": "600"}),
            ),
        ),
        route(
            "DELETE /messages",
            &service(
                cloud,
                "SQS-DeleteMessage",
                "user",
                json!({"QueueUrl": queue, "ReceiptHandle": "$request.header.receipt"}),
            ),
        ),
        route("POST /purge", &service(cloud, "SQS-PurgeQueue", "user", json!({"QueueUrl": queue}))),
        route(
            "POST /clicks/{page}",
            &service(
                cloud,
                "Kinesis-PutRecord",
                "user",
                json!({"StreamName": "clicks", "Data": "$request.body", "PartitionKey": "$request.path.page"}),
            ),
        ),
        route(
            "POST /events",
            &service(
                cloud,
                "EventBridge-PutEvents",
                "user",
                json!({"EventBusName": "shop", "Source": "shop.orders", "DetailType": "$request.querystring.kind", "Detail": "$request.body"}),
            ),
        ),
        route(
            "POST /shipments/{name}",
            &service(
                cloud,
                "StepFunctions-StartExecution",
                "user",
                json!({"StateMachineArn": cloud.made["machine"], "Name": "$request.path.name", "Input": "$request.body"}),
            ),
        ),
        route(
            "DELETE /shipments",
            &service(
                cloud,
                "StepFunctions-StopExecution",
                "user",
                json!({"ExecutionArn": "$request.header.execution", "Error": "Recalled", "Cause": "$request.querystring.why"}),
            ),
        ),
        route("POST /function", &function),
    ];
    let documents = objects.iter().map(|object| format!("---\n{object}\n"));
    std::iter::once(api("services")).chain(documents).collect()
}

async fn post(gateway: &Dev, path: &str, body: &str) -> Result<Answer> {
    Request::post(path, body.to_owned()).send(gateway.address).await
}

/// What stands between a start and an end tag.
fn tagged<'a>(answer: &'a str, tag: &str) -> Result<&'a str> {
    let inner = answer.split_once(&format!("<{tag}>")).and_then(|(_, rest)| rest.split_once(&format!("</{tag}>")));
    inner.map(|(inner, _)| inner).with_context(|| format!("no {tag} in {answer}"))
}

/// Proves H-AWS-2, H-AWS-4, H-AWS-6, H-AWS-7, H-AWS-8, H-AWS-9, H-AWS-10, H-INT-12.
async fn services(shared: &Shared) -> Result<()> {
    let cloud = shared.parts().cloud("cloud").await?;
    let gateway = shared.parts().gateway("services", &objects(&cloud)).await?;

    // A queue: what was sent is received with its attribute, and once deleted is gone.
    let order = "{\"book\": \"d\u{fc}ne & more\"}";
    let request = Request::post("/messages", order).header("kind", "gift card");
    let sent = request.send(gateway.address).await?.expect(200)?.text();
    tagged(&sent, "MessageId")?;
    let received = Request::get("/messages").send(gateway.address).await?.expect(200)?.text();
    ensure!(tagged(&received, "Body")?.contains("d\u{fc}ne &amp; more"), "{received}");
    ensure!(tagged(&received, "StringValue")? == "gift card", "{received}");
    let receipt = tagged(&received, "ReceiptHandle")?;
    Request::delete("/messages").header("receipt", receipt).send(gateway.address).await?.expect(200)?;
    post(&gateway, "/messages", "to be purged").await?.expect(200)?;
    post(&gateway, "/purge", "").await?.expect(200)?;
    let none = Request::get("/messages").send(gateway.address).await?.expect(200)?.text();
    ensure!(!none.contains("<Message>"), "{none}");

    // Errors of the service pass as they are: a signature that is wrong, and a user that may not.
    let forged = post(&gateway, "/forged", "x").await?;
    ensure!(forged.status == 403 && forged.text().contains("SignatureDoesNotMatch"), "{forged:?}");
    let denied = post(&gateway, "/denied", "x").await?;
    ensure!(denied.status == 403 && denied.text().contains("not authorized to perform: sqs:SendMessage"), "{denied:?}");

    // A stream and an event bus.
    let put = post(&gateway, "/clicks/home", "click \u{2713}").await?.expect(200)?.json()?;
    ensure!(put["ShardId"] == "shardId-000000000000", "{put}");
    let events = post(&gateway, "/events?kind=sold", r#"{"book":"dune"}"#).await?.expect(200)?.json()?;
    ensure!(events["FailedEntryCount"] == 0 && events["Entries"][0]["EventId"].is_string(), "{events}");

    // A state machine.
    let started = post(&gateway, "/shipments/first", r#"{"to":"Arrakis"}"#).await?.expect(200)?.json()?;
    let execution = started["executionArn"].as_str().with_context(|| format!("no executionArn in {started}"))?;
    let twice = post(&gateway, "/shipments/first", r#"{"to":"Caladan"}"#).await?;
    ensure!(twice.status == 400 && twice.text().contains("ExecutionAlreadyExists"), "{twice:?}");
    let stop = Request::delete("/shipments?why=lost").header("execution", execution);
    let stopped = stop.send(gateway.address).await?.expect(200)?.json()?;
    ensure!(stopped["stopDate"].is_number(), "{stopped}");

    // What the services themselves say.
    let seen = cloud.seen(execution)?;
    ensure!(seen["records"] == json!([["home", "click \u{2713}"]]), "{seen}");
    let event = &seen["events"][0];
    ensure!(event["detail"] == json!({"book": "dune"}) && event["detail-type"] == "sold", "{seen}");
    let expected = json!({"name": "first", "input": r#"{"to":"Arrakis"}"#, "status": "ABORTED"});
    ensure!(seen["execution"] == expected, "{seen}");

    // A function of the Lambda service, which answers with its event.
    let call = Request::post("/function?a=b", "hello").header("content-type", "text/plain");
    let event = call.send(gateway.address).await?.expect(200)?.json()?;
    ensure!(event["rawQueryString"] == "a=b" && event["body"] == "hello", "{event}");
    Ok(())
}
