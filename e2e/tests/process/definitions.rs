//! The definitions on a real API server: they are taken, explain themselves, and refuse what they should.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use serde_json::Value;
use tollgate_e2e::{Cluster, Refusal, eventually, suite};

use self::cases::Case;
use crate::Shared;

#[path = "../../../crds/tests/schema/cases.rs"]
#[expect(
    dead_code,
    clippy::unwrap_used,
    reason = "a case that cannot be read ends the test; the offline words are not asked for"
)]
mod cases;

pub(crate) fn tests(shared: &Arc<Shared>) -> Vec<Trial> {
    vec![
        suite::test("definitions::every_kind_is_established", shared, async |shared: &Shared| {
            established(shared.plane().cluster()).await
        }),
        suite::test("definitions::explain_reads_well", shared, explain),
        suite::test("definitions::wrong_objects_are_refused_with_their_reason", shared, refusals),
    ]
}

/// Applies the definitions and waits until the API server serves them.
pub(crate) async fn established(cluster: &Cluster) -> Result<()> {
    for (_, yaml) in tollgate_crds::yaml() {
        for applied in cluster.apply_yaml("", &yaml).await? {
            let name = applied["metadata"]["name"].as_str().context("a definition has a name")?.to_owned();
            eventually(&format!("{name} to be established"), async || {
                let definition = cluster.get("apiextensions.k8s.io/v1", "CustomResourceDefinition", "", &name).await?;
                let conditions = definition.pointer("/status/conditions").and_then(Value::as_array);
                let established =
                    conditions.into_iter().flatten().any(|it| it["type"] == "Established" && it["status"] == "True");
                ensure!(established, "{:?}", definition["status"]);
                Ok(())
            })
            .await?;
        }
    }
    Ok(())
}

async fn explain(shared: &Shared) -> Result<()> {
    let cluster = shared.plane().cluster();
    established(cluster).await?;
    let text = eventually("the published schema", async || cluster.kubectl(&["explain", "httpapi.spec"])).await?;
    ensure!(text.contains("corsConfiguration"), "{text}");
    ensure!(!text.contains("<no description>") && !text.contains("<empty>"), "{text}");
    Ok(())
}

/// Every case of `crds/tests/refusals`, on the real API server: refused, and for the reason that the case gives.
async fn refusals(shared: &Shared) -> Result<()> {
    let cluster = shared.plane().cluster();
    established(cluster).await?;
    let namespace = cluster.namespace("refusals").await?;
    let mut kinds = BTreeSet::new();
    let mut failures = Vec::new();
    for case in cases::all() {
        let name = &case.name;
        kinds.insert(case.object["kind"].as_str().unwrap_or_default().to_owned());
        match refusal(cluster, &namespace, &case).await {
            Ok(Refusal(status)) if status.message.contains(&case.says) => {}
            Ok(Refusal(status)) => failures.push(format!("{name}: expected {:?}, got {:?}", case.says, status.message)),
            Err(error) => failures.push(format!("{name}: {error:#}")),
        }
    }
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    let missing: Vec<&&str> = tollgate_crds::KINDS.iter().filter(|kind| !kinds.contains(**kind)).collect();
    ensure!(missing.is_empty(), "no refusal is tried for {missing:?}");
    Ok(())
}

/// What the API server says about a case's object, as a new one or as an update of `old`.
async fn refusal(cluster: &Cluster, namespace: &str, case: &Case) -> Result<Refusal> {
    let placed = |object: &Value| {
        let mut object = object.clone();
        object["metadata"]["namespace"] = namespace.into();
        object
    };
    let object = placed(&case.object);
    let Some(old) = &case.old else { return cluster.refused(namespace, object).await };
    let old = cluster.apply(namespace, placed(old)).await?;
    let refusal = cluster.update_refused(namespace, object).await;
    let text = |pointer: &str| old.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    cluster.delete(text("/apiVersion"), text("/kind"), namespace, text("/metadata/name")).await?;
    refusal
}
