//! A release in real pods: installed, used, upgraded, rolled back and drained.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Error, Result, ensure};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tollgate_e2e::{Answer, Load, Node, Plan, Request, Targets, eventually, root, suite};
use tollgate_testkit::Console;

use crate::Shared;

/// What the image holds, each at its root.
pub(crate) const PROGRAMS: [&str; 3] = ["tollgate", "tollgate-controller", "tollgate-proxy"];

pub(crate) const NAMESPACE: &str = "tollgate-system";
/// The chart's default; there is no registry here.
const VALKEY: &str = "docker.io/valkey/valkey:8.1";
/// As the example and the chart name it.
const REPOSITORY: &str = "ghcr.io/tollgate/tollgate";
const OURS: &str = "tollgate.dev/v1alpha1";
/// Every kind of ours that has a condition Ready.
const KINDS: &str = "httpapi,route,integration,authorizer,stage,apideployment";
/// The example's API as `tollgate dev` calls it.
const FILE_ID: &str = "zxtuhc3wdr";
/// The host under which the example is reached.
const BOOKSTORE: &str = "bookstore.bookstore.localhost";

pub(crate) fn tests(shared: &Arc<Shared>) -> Vec<Trial> {
    vec![
        suite::test("release::the_example_gets_ready_and_answers", shared, example),
        suite::test("release::the_readmes_lines_print_what_they_say", shared, readmes),
        suite::test("release::kubectl_tells_the_truth", shared, kubectl),
        suite::test("release::proxies_have_no_rights", shared, no_rights),
        suite::test("release::proxies_share_a_quota", shared, shared_quota),
        suite::test("release::upgrade_rollback_and_drain_lose_no_request", shared, no_request_lost),
    ]
}

/// The image of the release.
pub(crate) fn image() -> String {
    format!("{REPOSITORY}:{}", env!("CARGO_PKG_VERSION"))
}

/// Installs the release, unless it is, into a namespace that takes restricted pods only.
pub(crate) async fn installed(shared: &Shared) -> Result<()> {
    let (node, cluster) = (shared.node(), shared.cluster());
    if node.helm(&["status", "tollgate", "-n", NAMESPACE]).is_ok() {
        return Ok(());
    }
    let archive = node.tollgate_image(&image())?;
    node.load(&archive)?;
    node.load(&node.valkey_image(VALKEY)?)?;
    let enforce = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    let namespace =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": enforce}});
    cluster.apply("", namespace).await?;
    helm(shared, "install", &[])
}

/// `helm install` or `upgrade`, waiting for it, with drains that do not hold up the tests.
fn helm(shared: &Shared, command: &str, values: &[&str]) -> Result<()> {
    let chart = root().join("charts/tollgate").display().to_string();
    let mut args = vec![command, "tollgate", &chart, "-n", NAMESPACE, "--wait", "--timeout", "2m"];
    let ours = [
        "proxy.service.type=NodePort",
        "proxy.drain.minSeconds=2",
        "proxy.drain.maxSeconds=10",
        // There is no StorageClass.
        "usageStore.valkey.persistence.enabled=false",
    ];
    for value in ours.iter().chain(values) {
        args.extend(["--set", value]);
    }
    shared.node().helm(&args)?;
    Ok(())
}

/// Where the proxies' Service is reached from here: a port of the node.
pub(crate) async fn front(shared: &Shared) -> Result<SocketAddr> {
    let cluster = shared.cluster();
    let service = cluster.get("v1", "Service", NAMESPACE, "tollgate-proxy").await?;
    let port =
        service.pointer("/spec/ports/0/nodePort").and_then(Value::as_u64).context("the Service has no node port")?;
    let nodes = cluster.list("v1", "Node", "").await?;
    let addresses = nodes.first().and_then(|node| node["status"]["addresses"].as_array()).context("no node")?;
    let internal =
        addresses.iter().find(|address| address["type"] == "InternalIP").context("a node without address")?;
    Ok(SocketAddr::new(internal["address"].as_str().unwrap_or_default().parse()?, u16::try_from(port)?))
}

/// Applies the example as it is in the repository and waits until all of it is Ready.
async fn example_applied(shared: &Shared) -> Result<()> {
    installed(shared).await?;
    let cluster = shared.cluster();
    cluster.kubectl(&["apply", "-f", &root().join("examples/bookstore").display().to_string()])?;
    cluster.kubectl(&[
        "-n",
        "bookstore",
        "wait",
        "--for=condition=Available",
        "deployment",
        "--all",
        "--timeout=60s",
    ])?;
    cluster.kubectl(&["-n", "bookstore", "wait", "--for=condition=Ready", KINDS, "--all", "--timeout=60s"])?;
    Ok(())
}

/// The commands of the READMEs, through the proxies' Service instead of `tollgate dev`.
async fn readmes(shared: &Shared) -> Result<()> {
    example_applied(shared).await?;
    let api = shared.cluster().get(OURS, "HttpApi", "bookstore", "bookstore").await?;
    let id = api.pointer("/status/apiId").and_then(Value::as_str).context("no apiId")?.to_owned();
    // They name the laptop's address; the host in it stays as it is, since the base domain is localhost here too.
    let here = format!("--connect-to localhost:8080:{}", front(shared).await?);
    Console::read(&root().join("README.md")).check(&here, str::to_owned).map_err(Error::msg)?;
    // The id of an API that comes from a file is another one than the cluster's, and each proxy throttles for itself.
    let example = Console::read(&root().join("examples/bookstore/README.md"));
    let example = example.only(|command| !command.ends_with("/beta/books"));
    eventually("the example's lines, once every proxy has the issuer's keys", async || {
        example.check(&here, |command| command.replace(FILE_ID, &id)).map_err(Error::msg)
    })
    .await
}

/// What `kubectl get` prints is what is served, and `kubectl explain` says what a field is for.
async fn kubectl(shared: &Shared) -> Result<()> {
    example_applied(shared).await?;
    let cluster = shared.cluster();
    let table = cluster.kubectl(&["-n", "bookstore", "get", "httpapi,route,stage"])?;
    println!("{table}");
    let rows: Vec<&str> = table.lines().filter(|line| line.contains(".tollgate.dev/")).collect();
    ensure!(rows.len() > 6, "{table}");
    ensure!(rows.iter().all(|row| row.contains(" True ") && row.contains(" 2/2 ")), "{table}");
    ensure!(table.contains(BOOKSTORE) || table.contains(".execute-api.localhost"), "{table}");
    let api = cluster.get(OURS, "HttpApi", "bookstore", "bookstore").await?;
    let endpoint = api.pointer("/status/apiEndpoint").and_then(Value::as_str).context("no apiEndpoint")?;
    let host = endpoint.strip_prefix("http://").context("no TLS is configured")?;
    Request::get("/books").host(host).send(front(shared).await?).await?.expect(200)?;

    // A route to nothing says so, and is no longer Ready once nothing can be served for it.
    let lost = json!({"apiVersion": OURS, "kind": "Route", "metadata": {"name": "lost", "namespace": "bookstore"},
        "spec": {"apiRef": {"name": "bookstore"}, "routeKey": "GET /lost", "integrationRef": {"name": "nobody"}}});
    cluster.apply("bookstore", lost).await?;
    eventually("the route to tell what is wrong", async || {
        let row = cluster.kubectl(&["-n", "bookstore", "get", "route", "lost", "--no-headers"])?;
        ensure!(row.contains(" False ") && row.contains("IntegrationNotFound"), "{row}");
        Ok(())
    })
    .await?;
    Request::get("/lost").host(BOOKSTORE).send(front(shared).await?).await?.expect(500)?;
    cluster.kubectl(&["-n", "bookstore", "delete", "route", "lost"])?;

    let explained = cluster.kubectl(&["explain", "httpapi.spec"])?;
    ensure!(explained.contains("corsConfiguration") && !explained.contains("<no description>"), "{explained}");
    Ok(())
}

async fn example(shared: &Shared) -> Result<()> {
    example_applied(shared).await?;
    let front = front(shared).await?;
    let ask = async |request: Request| request.host(BOOKSTORE).send(front).await;

    let book = ask(Request::get("/books/7")).await?.expect(200)?.json()?;
    ensure!(book == json!({"route": "GET /books/{id}", "book": "7", "edition": "first"}), "{book}");
    let book = ask(Request::get("/beta/books/7")).await?.expect(200)?.json()?;
    ensure!(book["edition"] == "second", "{book}");
    let catalog = ask(Request::get("/catalog/shelves?floor=2")).await?.expect(200)?.json()?;
    ensure!(catalog["path"] == "/shelves" && catalog["query"] == "floor=2", "{catalog}");

    let order = || Request::post("/orders", r#"{"isbn":"7"}"#).header("content-type", "application/json");
    ask(order()).await?.expect(401)?;
    let token = ask(Request::post("/token", "sub=alice&scope=orders%2Fwrite")).await?.expect(200)?.json()?;
    let token = token["access_token"].as_str().context("no access_token")?.to_owned();
    // The proxy that answers may not have fetched the issuer's keys yet.
    let order = eventually("an order with a token", async || {
        ask(order().header("authorization", &format!("Bearer {token}"))).await?.expect(201)
    })
    .await?;
    ensure!(text(&order).contains("isbn"), "{order:?}");

    let preflight = Request::options("/books")
        .header("origin", "https://shop.example.com")
        .header("access-control-request-method", "GET");
    let preflight = ask(preflight).await?.expect(204)?;
    ensure!(preflight.headers["access-control-allow-origin"] == "https://shop.example.com", "{preflight:?}");
    ask(Request::get("/nowhere")).await?.expect(404)?;
    Ok(())
}

async fn no_rights(shared: &Shared) -> Result<()> {
    installed(shared).await?;
    let cluster = shared.cluster();
    let rights = cluster.rights(NAMESPACE, "tollgate-proxy").await?;
    let anybody = cluster.rights(NAMESPACE, "an-account-that-nobody-mentions").await?;
    ensure!(rights == anybody, "a proxy may do more than any account: {rights:?}");
    let pods = cluster.list("v1", "Pod", NAMESPACE).await?;
    for pod in pods.iter().filter(|pod| pod["spec"]["serviceAccountName"] == "tollgate-proxy") {
        let mounts = pod.pointer("/spec/containers/0/volumeMounts").and_then(Value::as_array);
        let api_token = |mount: &Value| mount["mountPath"] == "/var/run/secrets/kubernetes.io/serviceaccount";
        ensure!(!mounts.into_iter().flatten().any(api_token), "a proxy holds a token for the API: {pod}");
    }
    Ok(())
}

/// Both proxies together never admit more than the quota, also when the store is killed meanwhile, and go on when it is back. A call of
/// the store that goes unanswered may have leased, so they may admit less; how exact they are else is shown in `proxy/tests/usage_table.rs`.
async fn shared_quota(shared: &Shared) -> Result<()> {
    const LIMIT: usize = 40;
    example_applied(shared).await?;
    let cluster = shared.cluster();
    let bookstore = |kind: &str, name: &str, spec: Value| json!({"apiVersion": OURS, "kind": kind, "metadata": {"name": name}, "spec": spec});
    let plan = json!({"failureMode": "Closed", "apiStages": [{"stageRef": {"name": "default"}}],
        "quota": {"limit": LIMIT, "period": "MONTH"}});
    let value = "a-customer-of-the-bookstore";
    let secret =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "customer"}, "stringData": {"key": value}});
    cluster.apply("bookstore", secret).await?;
    cluster.apply("bookstore", bookstore("UsagePlan", "metered", plan)).await?;
    let key = json!({"usagePlanRefs": [{"name": "metered"}], "valueFrom": {"secretKeyRef": {"name": "customer", "key": "key"}}});
    cluster.apply("bookstore", bookstore("ApiKey", "customer", key)).await?;
    let route = json!({"apiRef": {"name": "bookstore"}, "routeKey": "GET /metered", "apiKeyRequired": true,
        "integration": {"service": {"name": "catalog", "port": 80, "path": "/shelves"}}});
    cluster.apply("bookstore", bookstore("Route", "metered", route)).await?;
    cluster.kubectl(&[
        "-n",
        "bookstore",
        "wait",
        "--for=condition=Ready",
        "route/metered",
        "usageplan/metered",
        "apikey/customer",
        "--timeout=60s",
    ])?;

    let front = front(shared).await?;
    let ask = async || Request::get("/metered").host(BOOKSTORE).header("x-api-key", value).send(front).await;
    let mut admitted = 0;
    for _ in 0..LIMIT / 2 {
        admitted += usize::from(ask().await?.status == 200);
    }
    ensure!(admitted > 0, "nothing passes");
    // The container starts again on the volume of its pod.
    let pod = cluster.get("v1", "Pod", NAMESPACE, "tollgate-valkey-0").await?;
    let restarts = |pod: &Value| pod.pointer("/status/containerStatuses/0/restartCount").and_then(Value::as_u64);
    let started = restarts(&pod).context("the store's pod has no container")?;
    let id = pod.pointer("/status/containerStatuses/0/containerID").and_then(Value::as_str).context("no id")?;
    if Node::is_own() {
        let id = id.trim_start_matches("containerd://");
        shared.node().ctr(&["task", "kill", "-s", "SIGKILL", id])?;
        eventually("the store to be started again", async || {
            let pod = cluster.get("v1", "Pod", NAMESPACE, "tollgate-valkey-0").await?;
            ensure!(restarts(&pod) > Some(started), "{}", pod["status"]);
            Ok(())
        })
        .await?;
    }
    let before = admitted;
    eventually("both proxies to know that the quota is used up", async || {
        for _ in 0..LIMIT {
            let answer = ask().await?;
            admitted += usize::from(answer.status == 200);
            answer.expect(429)?;
        }
        Ok(())
    })
    .await?;
    ensure!(
        before < admitted && admitted <= LIMIT,
        "{admitted} of {LIMIT}, {before} of them before the store was killed"
    );
    cluster.kubectl(&["-n", "bookstore", "delete", "route/metered", "apikey/customer", "usageplan/metered"])?;
    Ok(())
}

async fn no_request_lost(shared: &Shared) -> Result<()> {
    example_applied(shared).await?;
    let (node, cluster) = (shared.node(), shared.cluster());
    let next = format!("{REPOSITORY}:next");
    node.load(&node.tollgate_image(&next)?)?;
    let load = Load::start(Plan {
        targets: Targets::new(&[front(shared).await?]),
        requests: ["/books/1", "/catalog/2"].map(|path| Request::get(path).host(BOOKSTORE)).to_vec(),
        connections: 8,
        pause: Duration::from_millis(10),
    });

    helm(
        shared,
        "upgrade",
        &["proxy.log=info\\,tollgate_proxy=debug", "controller.log=info\\,tollgate_controller=debug"],
    )?;
    load.no_failure_yet().context("a change of values")?;
    helm(shared, "upgrade", &["image.tag=next"])?;
    load.no_failure_yet().context("a new image")?;
    node.helm(&["rollback", "tollgate", "1", "-n", NAMESPACE, "--wait", "--timeout", "2m"])?;
    load.no_failure_yet().context("a rollback")?;

    let pods = cluster.list("v1", "Pod", NAMESPACE).await?;
    let proxies = pods.iter().filter(|pod| pod["spec"]["serviceAccountName"] == "tollgate-proxy");
    let one = proxies.filter_map(|pod| pod["metadata"]["name"].as_str()).next().context("no proxy runs")?;
    // Waits until the pod is gone, so until it has drained.
    cluster.kubectl(&["-n", NAMESPACE, "delete", "pod", one, "--timeout=60s"])?;
    cluster.kubectl(&["-n", NAMESPACE, "rollout", "status", "deployment/tollgate-proxy", "--timeout=60s"])?;

    let tally = load.stop()?;
    println!("{tally:?}");
    tally.flawless(true)
}

fn text(answer: &Answer) -> String {
    String::from_utf8_lossy(&answer.body).into_owned()
}
