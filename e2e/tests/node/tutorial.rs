//! AWS users' first tutorial: a function behind `GET /hello`, a stage `prod`, and its access log.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use serde_json::Value;
use tollgate_e2e::{Request, eventually, suite};

use super::release::{NAMESPACE, front, image, installed};
use crate::Shared;

pub(crate) fn tests(shared: &Arc<Shared>) -> Vec<Trial> {
    vec![suite::test("tutorial::a_function_is_called_and_logged", shared, hello)]
}

/// Proves H-LOG-1.
async fn hello(shared: &Shared) -> Result<()> {
    installed(shared).await?;
    let cluster = shared.cluster();
    let namespace = cluster.namespace("tutorial").await?;
    cluster.apply_yaml(&namespace, &include_str!("tutorial.yaml").replace("IMAGE", &image())).await?;
    cluster.kubectl(&["-n", &namespace, "rollout", "status", "deployment/hello", "--timeout=60s"])?;
    cluster.kubectl(&[
        "-n",
        &namespace,
        "wait",
        "--for=condition=Ready",
        "httpapi,route,stage",
        "--all",
        "--timeout=60s",
    ])?;
    let host = format!("http-tutorial-api.{namespace}.localhost");
    let front = front(shared).await?;
    let answer = Request::get("/prod/hello").host(&host).send(front).await?.expect(200)?;
    ensure!(answer.json()? == serde_json::json!({"message": "Hello from GET /hello"}), "{answer:?}");
    let id = answer.headers["apigw-requestid"].to_str()?.to_owned();
    Request::get("/hello").host(&host).send(front).await?.expect(404)?;

    let line = eventually("the request in a proxy's log", async || {
        let proxies = "app.kubernetes.io/component=proxy";
        let log = cluster.kubectl(&["-n", NAMESPACE, "logs", "-l", proxies, "--tail=1000"])?;
        log.lines().find(|line| line.contains(&id)).map(str::to_owned).context("no line has the request's id")
    })
    .await?;
    println!("{line}");
    let told: Value = serde_json::from_str(&line).with_context(|| line.clone())?;
    let text = |name: &str| told[name].as_str().unwrap_or_default();
    ensure!(text("requestId") == id, "{line}");
    ensure!(text("ip").parse::<std::net::IpAddr>().is_ok(), "{line}");
    // dd/MMM/yyyy:HH:mm:ss +0000
    ensure!(text("requestTime").len() == 26 && text("requestTime").ends_with(" +0000"), "{line}");
    ensure!(text("httpMethod") == "GET" && text("routeKey") == "GET /hello", "{line}");
    ensure!(text("status") == "200" && text("protocol") == "HTTP/1.1", "{line}");
    ensure!(text("responseLength") == answer.body.len().to_string(), "{line}");
    ensure!(text("integrationError") == "-", "{line}");
    cluster.delete("v1", "Namespace", "", &namespace).await
}
