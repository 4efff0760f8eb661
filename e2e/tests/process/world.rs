//! What most tests of this level begin with: two controllers, two proxies, and an API with a backend.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tollgate_e2e::backend::Echo;
use tollgate_e2e::network::BACKENDS;
use tollgate_e2e::{Answer, Cluster, Controller, Gateway, Proxy, Request, eventually};

use crate::Shared;
use crate::process::definitions::established;

pub(crate) const VERSION: &str = "tollgate.dev/v1alpha1";

pub(crate) struct World<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) gateway: Gateway<'a>,
    pub(crate) controllers: [Controller; 2],
    pub(crate) proxies: [Proxy; 2],
    /// Of the API and what belongs to it.
    pub(crate) namespace: String,
    pub(crate) backend: Echo,
}

impl<'a> World<'a> {
    /// The API `shop` with the routes `GET /one`, `/two` and `/three`, all to the Service `backend`, served by both proxies.
    pub(crate) async fn start(shared: &'a Shared) -> Result<Self> {
        let cluster = shared.plane().cluster();
        established(cluster).await?;
        let gateway = Gateway::install(shared.plane()).await?;
        let controllers = gateway.controllers().await?;
        let proxies = gateway.proxies().await?;
        let namespace = cluster.namespace("apis").await?;
        let backend = Echo::start("backend", SocketAddr::new(IpAddr::V4(BACKENDS), 0))?;
        let world = Self { cluster, gateway, controllers, proxies, namespace, backend };
        world.service("backend", &[world.backend.address]).await?;
        world.apply("HttpApi", "shop", json!({"limits": {"routes": 20000}})).await?;
        world.apply("Stage", "default", json!({"apiRef": {"name": "shop"}, "stageName": "$default"})).await?;
        for name in ["one", "two", "three"] {
            world.route(name, &format!("GET /{name}"), "backend").await?;
        }
        for name in ["one", "two", "three"] {
            cluster.is_ready("Route", &world.namespace, name).await?;
        }
        Ok(world)
    }

    /// Applies one of our objects.
    pub(crate) async fn apply(&self, kind: &str, name: &str, spec: Value) -> Result<Value> {
        let object = json!({"apiVersion": VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec});
        self.cluster.apply(&self.namespace, object).await
    }

    /// Applies a route of the API to a Service.
    pub(crate) async fn route(&self, name: &str, key: &str, service: &str) -> Result<Value> {
        let integration = json!({"service": {"name": service, "port": 80}});
        self.apply("Route", name, json!({"apiRef": {"name": "shop"}, "routeKey": key, "integration": integration}))
            .await
    }

    /// Applies a Service and its endpoints.
    pub(crate) async fn service(&self, name: &str, endpoints: &[SocketAddr]) -> Result<()> {
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"ports": [{"port": 80, "targetPort": 8080}]},
        });
        self.cluster.apply(&self.namespace, service).await?;
        self.endpoints(name, endpoints).await
    }

    /// Sets the endpoints of a Service; all have one port.
    pub(crate) async fn endpoints(&self, service: &str, endpoints: &[SocketAddr]) -> Result<()> {
        let ready: Vec<Value> =
            endpoints.iter().map(|at| json!({"addresses": [at.ip()], "conditions": {"ready": true}})).collect();
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": service, "labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv4",
            "ports": [{"name": "", "port": endpoints.first().map_or(80, SocketAddr::port)}],
            "endpoints": ready,
        });
        self.cluster.apply(&self.namespace, slice).await?;
        Ok(())
    }

    /// The host of the API on every proxy.
    pub(crate) fn host(&self) -> String {
        format!("shop.{}.localhost", self.namespace)
    }

    pub(crate) fn request(&self, path: &str) -> Request {
        Request::get(path).host(&self.host())
    }

    /// Asks both proxies; their answers must agree in everything but what is new in each answer.
    pub(crate) async fn ask(&self, path: &str) -> Result<Answer> {
        let mut answers = Vec::new();
        for proxy in &self.proxies {
            answers.push(lasting(self.request(path).send(proxy.listen).await?));
        }
        ensure!(answers[0] == answers[1], "the proxies disagree about {path}: {answers:?}");
        Ok(answers.swap_remove(0))
    }

    /// Waits until both proxies answer a path with a status.
    pub(crate) async fn answers(&self, path: &str, status: u16) -> Result<Answer> {
        eventually(&format!("{status} for {path}"), async || self.ask(path).await?.expect(status)).await
    }

    /// What the routes of the start answer.
    pub(crate) async fn answers_of_all(&self) -> Result<Vec<Answer>> {
        Ok(vec![self.ask("/one").await?, self.ask("/two").await?, self.ask("/three").await?])
    }

    /// Removes the objects, so that controllers of later tests do not see them.
    pub(crate) async fn clean(self) -> Result<()> {
        self.cluster.delete_ours(&self.namespace).await
    }
}

/// An answer without what is new in each.
fn lasting(mut answer: Answer) -> Answer {
    answer.headers.remove("date");
    answer.headers.remove("apigw-requestid");
    answer
}
