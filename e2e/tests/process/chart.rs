//! The chart against a real API server: what it renders is taken, restricted, and gives the proxies nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tollgate_e2e::{chart, eventually, suite};

use crate::Shared;

/// Everything that is off by default, on, as far as the API server knows the kinds.
const EVERYTHING: &[&str] = &[
    "proxy.tls.certificates={shop,wildcard}",
    "proxy.autoscaling.enabled=true",
    "proxy.otlpEndpoint=http://collector:4318",
    "proxy.service.type=LoadBalancer",
    "proxy.service.externalTrafficPolicy=Local",
    "proxy.proxyProtocol=true",
    "proxy.trustedHops=1",
    "proxy.accountThrottle.rateLimit=10000",
    "proxy.accountThrottle.burstLimit=5000",
    "proxy.workers=2",
    "controller.watchNamespaces={default,kube-public}",
    "imagePullSecrets={registry}",
    "crds.keep=false",
    "usageStore.passwordSecret.name=store",
    "usageStore.sharedThrottles=true",
    "usageStore.valkey.appendfsync=everysec",
    "usageStore.valkey.persistence.storageClass=fast",
    "usageStore.valkey.from[0].podSelector.matchLabels.app=backup",
];
/// Another store than the chart's own.
const EXTERNAL: &[&str] = &[
    "usageStore.mode=external",
    "usageStore.external.urls={rediss://a.example:6379,rediss://b.example:6379}",
    "usageStore.external.topology=cluster",
    "usageStore.external.caSecret.name=store-ca",
    "usageStore.passwordSecret.name=store",
];

pub(crate) fn tests(shared: &Arc<Shared>) -> Vec<Trial> {
    vec![
        suite::test("chart::lints_strictly", shared, async |_: &Shared| {
            chart::helm(&["lint", "--strict"], &[])?;
            chart::helm(&["lint", "--strict"], EVERYTHING)?;
            chart::helm(&["lint", "--strict"], EXTERNAL)?;
            Ok(())
        }),
        suite::test("chart::unknown_and_wrong_values_are_refused", shared, refusals),
        suite::test("chart::the_api_server_takes_what_is_rendered", shared, applied),
        suite::test("chart::pods_are_restricted", shared, restricted),
        suite::test("chart::a_proxy_may_do_nothing", shared, proxies_may_do_nothing),
        suite::test("chart::a_controller_may_no_more_than_it_does", shared, controllers_may_no_more_than_they_do),
        suite::test("chart::a_controller_creates_secrets_of_keys_only", shared, only_secrets_of_keys),
        suite::test("chart::proxies_find_the_store_of_usage_plans", shared, usage_stores),
        suite::test("chart::alerts_are_of_the_namespace", shared, alerts),
        suite::test("chart::addresses_say_https_where_tls_is_served", shared, schemes),
    ]
}

async fn refusals(_: &Shared) -> Result<()> {
    let without_a_store = chart::render("refused", &["usageStore.mode=none", "usageStore.sharedThrottles=true"]);
    let text = without_a_store.err().context("shared throttles were taken without a store")?.to_string();
    ensure!(text.contains("usageStore.sharedThrottles needs a store"), "{text}");
    for wrong in [
        "proxy.servce.type=NodePort",
        "accountId=12",
        "proxy.service.type=Gateway",
        "controller.replicas=0",
        "proxy.accountThrottle.rateLimit=10",
        "usageStore.mode=redis",
        "usageStore.mode=external",
        "usageStore.external.urls={redis://:password@store}",
        "usageStore.valkey.appendfsync=no",
    ] {
        let refused = chart::render("refused", &[wrong]);
        ensure!(refused.is_err(), "{wrong} was taken");
    }
    Ok(())
}

async fn applied(shared: &Shared) -> Result<()> {
    let cluster = shared.plane().cluster();
    for (values, stores) in [(&[][..], true), (EVERYTHING, true), (EXTERNAL, false)] {
        let namespace = cluster.namespace("chart").await?;
        let applied = cluster.apply_yaml(&namespace, &chart::render(&namespace, values)?).await?;
        let kinds: BTreeSet<&str> = applied.iter().filter_map(|object| object["kind"].as_str()).collect();
        for kind in ["CustomResourceDefinition", "Deployment", "Service", "NetworkPolicy", "PodDisruptionBudget"] {
            ensure!(kinds.contains(kind), "no {kind} among {kinds:?}");
        }
        ensure!(kinds.contains("StatefulSet") == stores, "{values:?} make {kinds:?}");
    }
    Ok(())
}

async fn restricted(shared: &Shared) -> Result<()> {
    let cluster = shared.plane().cluster();
    let namespace = cluster.namespace("restricted").await?;
    let enforce = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    cluster
        .apply("", json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": enforce}}))
        .await?;
    let applied = cluster.apply_yaml(&namespace, &chart::render(&namespace, EVERYTHING)?).await?;
    let deployments = applied.iter().filter(|object| object["kind"] == "Deployment" || object["kind"] == "StatefulSet");
    for deployment in deployments {
        let template = &deployment["spec"]["template"];
        let mut pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "as-deployed"}, "spec": template["spec"],
        });
        if deployment["kind"] == "StatefulSet" {
            // Its controller would put the claim here.
            pod["spec"]["volumes"] = json!([{"name": "data", "emptyDir": {}}]);
        }
        cluster.accepted(&namespace, pod.clone()).await?;
        // The level is enforced, or the line above would prove nothing.
        pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = json!(true);
        let refusal = cluster.refused(&namespace, pod).await?;
        ensure!(refusal.0.message.contains("restricted"), "{}", refusal.0.message);
    }
    Ok(())
}

/// Proves P7.
async fn proxies_may_do_nothing(shared: &Shared) -> Result<()> {
    let cluster = shared.plane().cluster();
    let namespace = cluster.namespace("rights").await?;
    let applied = cluster.apply_yaml(&namespace, &chart::render(&namespace, &[])?).await?;
    let named = |object: &&Value| {
        object["kind"] == "ServiceAccount"
            && object["metadata"]["name"].as_str().is_some_and(|name| name.ends_with("-proxy"))
    };
    let account = applied.iter().find(named).context("the chart has no account for proxies")?;
    ensure!(account["automountServiceAccountToken"] == false, "{account}");
    let name = account["metadata"]["name"].as_str().unwrap_or_default();
    let rights = cluster.rights(&namespace, name).await?;
    let anybody = cluster.rights(&namespace, "an-account-that-nobody-mentions").await?;
    ensure!(rights == anybody, "a proxy may do more than any account: {rights:?}");
    ensure!(rights.iter().all(|right| !right.contains("secrets") && !right.contains("tollgate.dev")), "{rights:?}");
    Ok(())
}

/// The other tests of this level run controllers with these rights, so none is missing; here, none is too many. Without rights
/// on specs nobody writes to them (promise P10), and Secrets are read by name alone (promise P7).
async fn controllers_may_no_more_than_they_do(shared: &Shared) -> Result<()> {
    let cluster = shared.plane().cluster();
    let namespace = cluster.namespace("rights").await?;
    cluster.apply_yaml(&namespace, &chart::render(&namespace, &[])?).await?;
    let account = format!("system:serviceaccount:{namespace}:{namespace}-controller");
    let may = |verb: &str, resource: &str| {
        let (resource, part) = resource.split_once('/').unwrap_or((resource, ""));
        let part = format!("--subresource={part}");
        let asked = cluster.kubectl(&["auth", "can-i", verb, resource, &part, "--all-namespaces", "--as", &account]);
        // `can-i` fails when the answer is no.
        asked.is_ok_and(|answer| answer.trim() == "yes")
    };
    for (verb, resource) in [
        ("get", "secrets"),
        ("watch", "routes.tollgate.dev"),
        ("patch", "routes.tollgate.dev/status"),
        ("create", "apideployments.tollgate.dev"),
        ("patch", "controllerrevisions.apps"),
        ("create", "events.events.k8s.io"),
        ("create", "secrets"),
    ] {
        ensure!(may(verb, resource), "a controller needs {verb} {resource}");
    }
    for (verb, resource) in [
        ("list", "secrets"),
        ("watch", "secrets"),
        ("list", "configmaps"),
        ("update", "secrets"),
        ("update", "routes.tollgate.dev"),
        ("patch", "routes.tollgate.dev"),
        ("patch", "httpapis.tollgate.dev"),
        ("update", "apideployments.tollgate.dev"),
        ("update", "apideployments.tollgate.dev/finalizers"),
        ("update", "controllerrevisions.apps"),
        ("update", "services"),
        ("get", "pods"),
    ] {
        ensure!(!may(verb, resource), "a controller does not need {verb} {resource}");
    }
    Ok(())
}

/// Who may create any Secret and read it gets the token of any account. A controller may create values of API keys only.
async fn only_secrets_of_keys(shared: &Shared) -> Result<()> {
    let cluster = shared.plane().cluster();
    let namespace = cluster.namespace("generated").await?;
    cluster.apply_yaml(&namespace, &chart::render(&namespace, &[])?).await?;
    let other = cluster.namespace("keys").await?;
    let account = format!("system:serviceaccount:{namespace}:{namespace}-controller");
    let create = |secret: Value| {
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), secret.to_string())?;
        let path = file.path().to_string_lossy().into_owned();
        cluster.kubectl(&["create", "--dry-run=server", "-f", &path, "-n", &other, "--as", &account])
    };
    let of_key = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {"name": "alice-api-key", "ownerReferences": [
            {"apiVersion": "tollgate.dev/v1alpha1", "kind": "ApiKey", "name": "alice", "uid": "u", "controller": true},
        ]},
        "data": {"value": "c29tZXRoaW5nLW9mLXR3ZW50eS1jaGFyYWN0ZXJz"},
    });
    // The policy takes effect a moment after it was made.
    let token = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token",
        "metadata": {"name": "alice-api-key", "annotations": {"kubernetes.io/service-account.name": "default"},
            "ownerReferences": of_key["metadata"]["ownerReferences"]},
    });
    eventually("the policy is in force", async || match create(token.clone()) {
        Ok(_) => anyhow::bail!("a token was made"),
        Err(error) if error.to_string().contains("values of API keys only") => Ok(()),
        Err(error) => Err(error),
    })
    .await?;
    create(of_key.clone()).context("the Secret of a key")?;
    for (path, wrong) in [
        ("/metadata/name", json!("something")),
        ("/metadata/ownerReferences", json!([])),
        ("/metadata/ownerReferences/0/kind", json!("Route")),
        ("/data", json!({"value": "eA==", "more": "eA=="})),
    ] {
        let mut secret = of_key.clone();
        *secret.pointer_mut(path).context("the path exists")? = wrong;
        ensure!(create(secret).is_err(), "{path} was not checked");
    }
    Ok(())
}

async fn usage_stores(_: &Shared) -> Result<()> {
    let own = chart::render("stores", &[])?;
    ensure!(
        own.contains("--usage-store=redis://stores-valkey.stores.svc:6379"),
        "proxies do not know the chart's own store"
    );
    let external = chart::render("stores", EXTERNAL)?;
    for argument in [
        "--usage-store=rediss://a.example:6379,rediss://b.example:6379",
        "--usage-store-topology=cluster",
        "--usage-store-ca=/etc/tollgate/usage-store/ca/ca.crt",
        "--usage-store-password-file=/etc/tollgate/usage-store/password/password",
    ] {
        ensure!(external.contains(argument), "{argument} is missing");
    }
    let none = chart::render("stores", &["usageStore.mode=none", "usageStore.passwordSecret.name=store"])?;
    ensure!(!none.contains("usage-store") && !none.contains("valkey"), "proxies are told of a store that there is not");
    Ok(())
}

/// The kind is unknown to the API server; `proxy/tests/alerts.rs` has promtool check the rules themselves.
async fn alerts(_: &Shared) -> Result<()> {
    let rules = chart::render("alerts", &["metrics.prometheusRule.enabled=true"])?;
    ensure!(rules.contains(r#"expr: tollgate_usage_store_up{namespace="alerts"} == 0"#), "{rules}");
    ensure!(!rules.contains(r#"namespace="NAMESPACE""#), "the namespace is not put in");
    Ok(())
}

async fn schemes(_: &Shared) -> Result<()> {
    let https = "--endpoint-scheme=https";
    ensure!(!chart::render("schemes", &[])?.contains(https), "no certificate is configured");
    ensure!(chart::render("schemes", &["proxy.tls.certificates={shop}"])?.contains(https), "the proxies serve TLS");
    ensure!(chart::render("schemes", &["endpointScheme=https"])?.contains(https), "TLS ends in front of the proxies");
    let both = &["endpointScheme=http", "proxy.tls.certificates={shop}"];
    ensure!(!chart::render("schemes", both)?.contains(https), "what is said counts");
    Ok(())
}
