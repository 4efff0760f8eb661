//! Objects of a cluster, written and read as plain JSON: the tests speak to the API as any user does, not through our types.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, anyhow, bail};
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, ValidationDirective};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{ApiResource, GroupVersionKind, Status};
use kube::{Api, Client, Config};
use serde_json::{Value, json};

use crate::{eventually, programs};

/// Who writes what tests apply.
const FIELD_MANAGER: &str = "e2e";

/// Kinds without a namespace, of those that tests and the chart use.
const CLUSTER_SCOPED: &[&str] = &[
    "Namespace",
    "Node",
    "CustomResourceDefinition",
    "ClusterRole",
    "ClusterRoleBinding",
    "PriorityClass",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
];

/// The API of a cluster.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    kubeconfig: PathBuf,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("kubeconfig", &self.kubeconfig).finish_non_exhaustive()
    }
}

/// Why the API server did not take an object.
#[derive(Debug)]
pub struct Refusal(pub Box<Status>);

impl Cluster {
    /// Connects as the kubeconfig says.
    pub async fn connect(kubeconfig: &Path) -> Result<Self> {
        let config = Kubeconfig::read_from(kubeconfig)?;
        let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
        Ok(Self { client: Client::try_from(config)?, kubeconfig: kubeconfig.to_owned() })
    }

    /// The file this was made from.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// An error until the API server is ready and the `default` namespace is there.
    pub(crate) async fn ready(&self) -> Result<()> {
        let request = http::Request::get("/readyz").body(Vec::new())?;
        self.client.request_text(request).await?;
        self.get("v1", "Namespace", "", "default").await?;
        Ok(())
    }

    /// Makes a namespace with a name of its own.
    pub async fn namespace(&self, prefix: &str) -> Result<String> {
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"generateName": format!("{prefix}-")}});
        let created =
            self.api(&namespace, "")?.create(&PostParams::default(), &serde_json::from_value(namespace)?).await?;
        created.metadata.name.context("a created namespace has a name")
    }

    /// Applies every object of a YAML text; those that name no namespace go into `namespace`.
    pub async fn apply_yaml(&self, namespace: &str, yaml: &str) -> Result<Vec<Value>> {
        let mut applied = Vec::new();
        for object in documents(yaml)? {
            applied.push(self.apply(namespace, object).await?);
        }
        Ok(applied)
    }

    /// Applies an object (server-side apply), strictly: an unknown field is an error.
    pub async fn apply(&self, namespace: &str, object: Value) -> Result<Value> {
        let name = text(&object, "/metadata/name").with_context(|| format!("no name in {object}"))?.to_owned();
        let kind = text(&object, "/kind").unwrap_or_default().to_owned();
        let applied = self.api(&object, namespace)?.patch(&name, &strict(), &Patch::Apply(object)).await;
        Ok(serde_json::to_value(applied.with_context(|| format!("applying {kind} {name}"))?)?)
    }

    /// Offers an object that is to be taken, and does not keep it.
    pub async fn accepted(&self, namespace: &str, object: Value) -> Result<()> {
        self.offer(namespace, object).await?;
        Ok(())
    }

    /// Offers an object that is to be refused; an error when it is taken.
    pub async fn refused(&self, namespace: &str, object: Value) -> Result<Refusal> {
        match self.offer(namespace, object).await {
            Ok(taken) => bail!("the API server took {}", serde_json::to_string(&taken)?),
            Err(kube::Error::Api(status)) => Ok(Refusal(status)),
            Err(other) => Err(other.into()),
        }
    }

    /// Offers a change of an existing object that is to be refused; an error when it is taken.
    pub async fn update_refused(&self, namespace: &str, object: Value) -> Result<Refusal> {
        let name = text(&object, "/metadata/name").with_context(|| format!("no name in {object}"))?.to_owned();
        let parameters = PatchParams { dry_run: true, ..strict() };
        match self.api(&object, namespace)?.patch(&name, &parameters, &Patch::Apply(object)).await {
            Ok(taken) => bail!("the API server took {}", serde_json::to_string(&taken)?),
            Err(kube::Error::Api(status)) => Ok(Refusal(status)),
            Err(other) => Err(other.into()),
        }
    }

    /// Creates an object without keeping it. An unknown field is an error, as with kubectl.
    async fn offer(&self, namespace: &str, object: Value) -> Result<Value, kube::Error> {
        let path =
            self.api(&object, namespace).map_err(|error| kube::Error::Service(error.into()))?.resource_url().to_owned();
        let uri = format!("{path}?dryRun=All&fieldValidation=Strict&fieldManager={FIELD_MANAGER}");
        let body = serde_json::to_vec(&object).map_err(kube::Error::SerdeError)?;
        let request = http::Request::post(uri).header("content-type", "application/json").body(body);
        self.client.request(request.map_err(kube::Error::HttpError)?).await
    }

    /// What a ServiceAccount may do in a namespace, one right a line, as `kubectl auth can-i --list` tells it.
    pub async fn rights(&self, namespace: &str, service_account: &str) -> Result<Vec<String>> {
        let account = format!("--as=system:serviceaccount:{namespace}:{service_account}");
        let groups = ["system:serviceaccounts", &format!("system:serviceaccounts:{namespace}"), "system:authenticated"];
        let mut args = vec!["auth", "can-i", "--list", "--no-headers", "-n", namespace, &account];
        let groups: Vec<String> = groups.iter().map(|group| format!("--as-group={group}")).collect();
        args.extend(groups.iter().map(String::as_str));
        let mut rights: Vec<String> = self.kubectl(&args)?.lines().map(str::to_owned).collect();
        rights.sort_unstable();
        Ok(rights)
    }

    /// Reads an object.
    pub async fn get(&self, version: &str, kind: &str, namespace: &str, name: &str) -> Result<Value> {
        let object = self.api(&json!({"apiVersion": version, "kind": kind}), namespace)?.get(name).await?;
        Ok(serde_json::to_value(object)?)
    }

    /// Reads all objects of a kind in a namespace.
    pub async fn list(&self, version: &str, kind: &str, namespace: &str) -> Result<Vec<Value>> {
        let objects =
            self.api(&json!({"apiVersion": version, "kind": kind}), namespace)?.list(&ListParams::default()).await?;
        objects.items.into_iter().map(|object| Ok(serde_json::to_value(object)?)).collect()
    }

    /// Deletes an object; one that is gone is as good.
    pub async fn delete(&self, version: &str, kind: &str, namespace: &str, name: &str) -> Result<()> {
        let api = self.api(&json!({"apiVersion": version, "kind": kind}), namespace)?;
        match api.delete(name, &DeleteParams::default()).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(other) => Err(other.into()),
        }
    }

    /// Deletes all objects of our kinds in a namespace, by pages: the API server gives up a request that takes a minute.
    pub async fn delete_ours(&self, namespace: &str) -> Result<()> {
        let page = ListParams::default().limit(500);
        for kind in tollgate_crds::KINDS {
            let api = self.api(&json!({"apiVersion": tollgate_crds::API_VERSION, "kind": kind}), namespace)?;
            while !api.list_metadata(&page).await?.items.is_empty() {
                api.delete_collection(&DeleteParams::default(), &page).await?;
            }
        }
        Ok(())
    }

    /// Waits until a condition of one of our objects is as `expected` says, and returns the condition.
    pub async fn condition(
        &self,
        kind: &str,
        namespace: &str,
        name: &str,
        condition: &str,
        expected: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        eventually(&format!("condition {condition} of {kind} {namespace}/{name}"), async || {
            let object = self.get(tollgate_crds::API_VERSION, kind, namespace, name).await?;
            let conditions =
                object.pointer("/status/conditions").and_then(Value::as_array).cloned().unwrap_or_default();
            let found = conditions.iter().find(|found| found["type"] == condition).context("no such condition")?;
            let current = found["observedGeneration"] == object["metadata"]["generation"];
            if current && expected(found) { Ok(found.clone()) } else { Err(anyhow!("it is {found}")) }
        })
        .await
    }

    /// Waits until an object is `Ready=True`.
    pub async fn is_ready(&self, kind: &str, namespace: &str, name: &str) -> Result<()> {
        self.condition(kind, namespace, name, "Ready", |condition| condition["status"] == "True").await?;
        Ok(())
    }

    /// Waits until there is an Event about an object with this reason, and returns its text.
    pub async fn event(&self, kind: &str, namespace: &str, name: &str, reason: &str) -> Result<String> {
        eventually(&format!("event {reason} about {kind} {namespace}/{name}"), async || {
            let events = self.list("events.k8s.io/v1", "Event", namespace).await?;
            let about = |event: &&Value| {
                event["regarding"]["kind"] == kind && event["regarding"]["name"] == name && event["reason"] == reason
            };
            let event = events.iter().find(about).context("no such event")?;
            Ok(event["note"].as_str().unwrap_or_default().to_owned())
        })
        .await
    }

    /// A token of a ServiceAccount, as a pod's projected volume would hold it.
    pub async fn token(&self, namespace: &str, service_account: &str, audience: Option<&str>) -> Result<String> {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{service_account}/token");
        let audiences: Vec<&str> = audience.into_iter().collect();
        let body = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {"audiences": audiences, "expirationSeconds": 3600},
        });
        let request =
            http::Request::post(path).header("content-type", "application/json").body(serde_json::to_vec(&body)?)?;
        let answer: Value = self.client.request(request).await?;
        Ok(text(&answer, "/status/token").context("the answer holds no token")?.to_owned())
    }

    /// Runs kubectl against this cluster and returns its output; an error holds what it printed.
    pub fn kubectl(&self, args: &[&str]) -> Result<String> {
        let mut kubectl = programs::cluster("kubectl")?;
        kubectl.args(args).env("KUBECONFIG", &self.kubeconfig);
        output(&mut kubectl)
    }

    fn api(&self, object: &Value, namespace: &str) -> Result<Api<DynamicObject>> {
        let version = text(object, "/apiVersion").with_context(|| format!("no apiVersion in {object}"))?;
        let kind = text(object, "/kind").with_context(|| format!("no kind in {object}"))?;
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        if CLUSTER_SCOPED.contains(&kind) {
            return Ok(Api::all_with(self.client.clone(), &resource));
        }
        let namespace = text(object, "/metadata/namespace").unwrap_or(namespace);
        Ok(Api::namespaced_with(self.client.clone(), namespace, &resource))
    }
}

/// Server-side apply as these tests do it.
fn strict() -> PatchParams {
    PatchParams { field_validation: Some(ValidationDirective::Strict), ..PatchParams::apply(FIELD_MANAGER).force() }
}

/// The objects of a YAML text; empty documents are left out.
pub(crate) fn documents(yaml: &str) -> Result<Vec<Value>> {
    use serde::Deserialize;
    let documents = serde_norway::Deserializer::from_str(yaml);
    let values: Vec<Value> = documents.map(Value::deserialize).collect::<Result<_, _>>().context("reading YAML")?;
    Ok(values.into_iter().filter(|value| !value.is_null()).collect())
}

/// What a command printed; an error with its words when it failed.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let Output { status, stdout, stderr } = command.output().with_context(|| format!("starting {command:?}"))?;
    let stdout = String::from_utf8_lossy(&stdout).into_owned();
    if !status.success() {
        bail!("{command:?} ended with {status}:\n{stdout}{}", String::from_utf8_lossy(&stderr));
    }
    Ok(stdout)
}

fn text<'a>(object: &'a Value, pointer: &str) -> Option<&'a str> {
    object.pointer(pointer)?.as_str()
}
