//! API keys from their objects and Secrets to the answers of proxies.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tollgate_e2e::{eventually, suite, within};

use crate::Shared;
use crate::process::world::{VERSION, World};

/// Usage is told every fifteen seconds and written every thirty.
const LONG: Duration = Duration::from_secs(120);
const OLD: &str = "old-value-0123456789-abcdef";
const NEW: &str = "new-value-0123456789-abcdef";

pub(crate) fn tests(shared: &Arc<Shared>) -> Vec<Trial> {
    vec![
        suite::test("keys::values_rotate_without_a_gap_and_keys_close", shared, life),
        suite::test("keys::usage_is_told_and_a_quota_extended", shared, usage),
    ]
}

/// Generated, rotated through two live values, disabled, expired, and closed with its plan.
async fn life(shared: &Shared) -> Result<()> {
    let world = World::start(shared).await?;
    world.apply("UsagePlan", "gold", json!({"apiStages": [{"stageRef": {"name": "default"}}]})).await?;
    let integration = json!({"service": {"name": "backend", "port": 80}});
    let metered = json!({"apiRef": {"name": "shop"}, "routeKey": "GET /metered", "apiKeyRequired": true, "integration": integration});
    world.apply("Route", "metered", metered).await?;
    key(&world, json!({})).await?;
    let generated = eventually("a generated value", async || {
        let secret = world.cluster.get("v1", "Secret", &world.namespace, "alice-api-key").await?;
        let value = secret["data"]["value"].as_str().context("no entry value")?.to_owned();
        let owner = &secret["metadata"]["ownerReferences"][0];
        ensure!(owner["kind"] == "ApiKey" && owner["name"] == "alice", "it belongs to {owner}");
        Ok(value)
    })
    .await?;
    let generated = String::from_utf8(base64(&generated)?)?;
    ensure!(generated.len() == 40, "{} characters", generated.len());
    answers(&world, &generated, 200).await?;
    world.cluster.is_ready("ApiKey", &world.namespace, "alice").await?;

    secret(&world, json!({"old": OLD, "new": NEW})).await?;
    let from = |entry: &str| json!({"secretKeyRef": {"name": "values", "key": entry}});
    key(&world, json!({"valueFrom": from("old")})).await?;
    answers(&world, OLD, 200).await?;
    answers(&world, &generated, 403).await?;

    // Callers of the old value are served before, while and after the new one comes.
    key(&world, json!({"valueFrom": from("new"), "previousValueFrom": from("old")})).await?;
    eventually("the new value to be good", async || {
        status(&world, OLD, 200).await?;
        status(&world, NEW, 200).await
    })
    .await?;
    key(&world, json!({"valueFrom": from("new")})).await?;
    eventually("the old value to be closed", async || {
        status(&world, NEW, 200).await?;
        status(&world, OLD, 403).await
    })
    .await?;

    key(&world, json!({"valueFrom": from("new"), "enabled": false})).await?;
    answers(&world, NEW, 403).await?;
    key(&world, json!({"valueFrom": from("new"), "expiresAt": "2099-01-01T00:00:00Z"})).await?;
    answers(&world, NEW, 200).await?;
    key(&world, json!({"valueFrom": from("new"), "expiresAt": "2020-01-01T00:00:00Z"})).await?;
    answers(&world, NEW, 403).await?;
    key(&world, json!({"valueFrom": from("new")})).await?;
    answers(&world, NEW, 200).await?;

    // Another key with the same value opens nothing more, and says why.
    world.apply("ApiKey", "mallory", json!({"valueFrom": from("new"), "usagePlanRefs": [{"name": "gold"}]})).await?;
    let conflict = |condition: &Value| condition["reason"] == "KeyValueConflict";
    world.cluster.condition("ApiKey", &world.namespace, "mallory", "ResolvedRefs", conflict).await?;
    answers(&world, NEW, 200).await?;

    world.cluster.delete(VERSION, "UsagePlan", &world.namespace, "gold").await?;
    answers(&world, NEW, 403).await?;
    world.clean().await
}

/// What two proxies count comes together in the plan's status; an extension lets the key make more requests.
async fn usage(shared: &Shared) -> Result<()> {
    let world = World::start(shared).await?;
    let quota = json!({"limit": 2, "period": "MONTH"});
    let stages = json!([{"stageRef": {"name": "default"}}]);
    world.apply("UsagePlan", "gold", json!({"quota": quota, "apiStages": stages})).await?;
    let integration = json!({"service": {"name": "backend", "port": 80}});
    let metered = json!({"apiRef": {"name": "shop"}, "routeKey": "GET /metered", "apiKeyRequired": true, "integration": integration});
    world.apply("Route", "metered", metered).await?;
    secret(&world, json!({"new": NEW})).await?;
    let from = json!({"secretKeyRef": {"name": "values", "key": "new"}});
    key(&world, json!({"valueFrom": from})).await?;
    // Each proxy counts for itself without a shared store: two requests each.
    let used_up = || eventually("the quota to be used up", async || status(&world, NEW, 429).await);
    used_up().await?;
    let told = |used: u64, remaining: u64| {
        let world = &world;
        within(LONG, "the usage of the plan", async move || {
            let plan = world.cluster.get(VERSION, "UsagePlan", &world.namespace, "gold").await?;
            let usage = &plan["status"]["usage"];
            let alice = &usage["keys"][0];
            let as_told = alice["key"] == "alice" && usage["used"] == used && alice["remaining"] == remaining;
            ensure!(as_told && usage["customers"] == 1, "it is {usage}");
            let ready = plan["status"]["conditions"].as_array().is_some_and(|all| all.len() == 4);
            ensure!(ready, "the conditions are gone: {}", plan["status"]);
            Ok(plan)
        })
    };
    let plan = told(4, 0).await?;
    let day = plan["status"]["usage"]["observedAt"].as_str().and_then(|time| time.get(..10)).context("a time")?;
    let more = json!([{"usagePlanRef": {"name": "gold"}, "requests": 1, "during": day}]);
    key(&world, json!({"valueFrom": from, "quotaExtensions": more})).await?;
    for proxy in &world.proxies {
        let request = || world.request("/metered").header("x-api-key", NEW);
        eventually("one request more", async || request().send(proxy.listen).await?.expect(200)).await?;
    }
    used_up().await?;
    told(6, 0).await?;

    // Without a quota there is no usage to tell, whatever proxies remember.
    world.apply("UsagePlan", "gold", json!({"apiStages": stages})).await?;
    within(LONG, "the usage to be gone", async || {
        let plan = world.cluster.get(VERSION, "UsagePlan", &world.namespace, "gold").await?;
        ensure!(plan["status"]["usage"].is_null() && plan["status"]["conditions"].is_array(), "{}", plan["status"]);
        Ok(())
    })
    .await?;
    world.clean().await
}

/// Applies the key `alice` of plan `gold`.
async fn key(world: &World<'_>, mut spec: Value) -> Result<()> {
    spec["usagePlanRefs"] = json!([{"name": "gold"}]);
    world.apply("ApiKey", "alice", spec).await?;
    Ok(())
}

async fn secret(world: &World<'_>, values: Value) -> Result<()> {
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "values"}, "stringData": values});
    world.cluster.apply(&world.namespace, secret).await?;
    Ok(())
}

/// Both proxies answer a key so.
async fn status(world: &World<'_>, key: &str, expected: u16) -> Result<()> {
    for proxy in &world.proxies {
        world.request("/metered").header("x-api-key", key).send(proxy.listen).await?.expect(expected)?;
    }
    Ok(())
}

async fn answers(world: &World<'_>, key: &str, expected: u16) -> Result<()> {
    eventually(&format!("{expected} for a key"), async || status(world, key, expected).await).await
}

/// Values are letters and digits.
fn base64(text: &str) -> Result<Vec<u8>> {
    let bytes: k8s_openapi::ByteString = serde_json::from_value(json!(text))?;
    Ok(bytes.0)
}
