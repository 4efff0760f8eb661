//! The definitions on a real API server: they are taken, explain themselves, and refuse what they should.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use serde_json::Value;
use tollgate_e2e::{Cluster, eventually, suite};

use crate::Shared;

pub(crate) fn tests(shared: &Arc<Shared>) -> Vec<Trial> {
    vec![
        suite::test("definitions::every_kind_is_established", shared, async |shared: &Shared| {
            established(shared.plane().cluster()).await
        }),
        suite::test("definitions::explain_reads_well", shared, explain),
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
