//! What stages serve, what ApiDeployments hold, and what is said of names that mean nothing.

#![expect(clippy::unwrap_used, reason = "a test ends where something unexpected happens")]

use serde_json::{Value, json};
use tollgate_engine::snapshot::{Stage, Unit};
use tollgate_translate::{Capture, Kind, Object, ObjectRef, ObjectVerdict, Settings, Translator};

struct Cluster(Translator);

impl Cluster {
    /// The API `shop` with the route `GET /a`.
    fn new() -> Self {
        let mut cluster = Self(Translator::new(Settings { base_domain: "localhost".into(), https: false }));
        cluster.apply("HttpApi", "shop", json!({}));
        cluster.route("a");
        cluster
    }

    fn apply(&mut self, kind: &str, name: &str, spec: Value) {
        let metadata = json!({"name": name, "namespace": "n", "uid": name});
        let value = json!({"apiVersion": "tollgate.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec});
        self.0.world_mut().apply(Object::from_value(value).unwrap().unwrap());
        self.0.translate();
    }

    fn route(&mut self, name: &str) {
        self.apply("Route", name, json!({"apiRef": {"name": "shop"}, "routeKey": format!("GET /{name}")}));
    }

    fn verdict(&self, kind: Kind, name: &str) -> ObjectVerdict {
        let object = ObjectRef::new(kind, "n", name);
        self.0.verdicts().find(|verdict| verdict.object == object).unwrap().clone()
    }

    fn stage(&self) -> Stage {
        self.any_stage().unwrap()
    }

    fn any_stage(&self) -> Option<Stage> {
        let stages = self.0.units().filter_map(|put| match put.unit() {
            Unit::Stage(stage) => Some(stage),
            _ => None,
        });
        stages.last()
    }

    /// Keys of the routes that the stage serves.
    fn served(&self) -> Vec<String> {
        let Some(hash) = self.any_stage().and_then(|stage| stage.deployment) else { return Vec::new() };
        let deployments = self.0.units().filter_map(|put| match put.unit() {
            Unit::Deployment(deployment) if put.hash == hash => Some(deployment),
            _ => None,
        });
        deployments.last().unwrap().routes.into_iter().map(|route| route.key).collect()
    }
}

fn dev(more: &Value) -> Value {
    let mut spec = json!({"apiRef": {"name": "shop"}, "stageName": "dev"});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    spec
}

/// Proves H-STAGE-2, H-STAGE-4.
#[test]
fn a_stage_follows_its_api_unless_told_otherwise() {
    let mut cluster = Cluster::new();
    cluster.apply("Stage", "dev", dev(&json!({})));
    cluster.route("b");
    assert_eq!(cluster.served(), ["GET /a", "GET /b"]);
    cluster.apply("Stage", "dev", dev(&json!({"autoDeploy": false})));
    cluster.route("c");
    assert_eq!(cluster.served(), ["GET /a", "GET /b"], "turned off, it keeps what it has");
    cluster.apply("ApiDeployment", "one", json!({"apiRef": {"name": "shop"}}));
    assert_eq!(cluster.served(), ["GET /a", "GET /b"], "made, not attached");
    cluster.apply("Stage", "dev", dev(&json!({"autoDeploy": false, "deploymentRef": {"name": "one"}})));
    cluster.route("d");
    assert_eq!(cluster.served(), ["GET /a", "GET /b", "GET /c"]);
}

/// Proves H-STAGE-5, H-STAGE-10.
#[test]
fn a_deployment_is_captured_or_says_why_not() {
    let mut cluster = Cluster(Translator::new(Settings { base_domain: "localhost".into(), https: false }));
    let capture = |cluster: &Cluster| cluster.verdict(Kind::ApiDeployment, "one").capture;
    cluster.apply("HttpApi", "shop", json!({"corsConfiguration": {"allowOrigins": ["https://*.x"]}}));
    cluster.apply("ApiDeployment", "one", json!({"apiRef": {"name": "shop"}}));
    assert!(matches!(capture(&cluster), Some(Capture::Pending(_))), "{:?}", capture(&cluster));
    cluster.apply("HttpApi", "shop", json!({}));
    let none = "Unable to deploy API because no routes exist in this API".to_owned();
    assert_eq!(capture(&cluster), Some(Capture::Failed(none)));
    cluster.apply("Stage", "dev", dev(&json!({"autoDeploy": false, "deploymentRef": {"name": "one"}})));
    assert_eq!(cluster.served(), [""; 0]);
    cluster.route("a");
    assert!(matches!(capture(&cluster), Some(Capture::Deployed(_))), "{:?}", capture(&cluster));
    assert_eq!(cluster.served(), ["GET /a"]);
    // What cannot be deployed by itself leaves what is in service (promise P1).
    cluster.apply("Stage", "dev", dev(&json!({})));
    cluster.apply("Route", "b", json!({"apiRef": {"name": "shop"}, "routeKey": "GET b"}));
    assert_eq!(cluster.served(), ["GET /a"]);
    assert!(!cluster.verdict(Kind::Route, "b").accepted.ok);
}

/// Proves H-THR-5.
#[test]
fn settings_of_a_route_that_is_not_there_are_refused() {
    let mut cluster = Cluster::new();
    cluster.apply("Stage", "dev", dev(&json!({"routeSettings": {"GET /a": {"throttlingBurstLimit": 1}}})));
    let wrong = json!({"routeSettings": {"GET /A": {"throttlingBurstLimit": 2}}});
    cluster.apply("Stage", "dev", dev(&wrong));
    let said = cluster.verdict(Kind::Stage, "dev").accepted;
    assert_eq!(said.reason.as_str(), "RouteSettingsKeyNotFound");
    assert!(
        said.message.contains("unable to find a Route by key \"GET /A\" within the provided RouteSettings"),
        "{}",
        said.message
    );
    assert_eq!(cluster.stage().route_settings.keys().collect::<Vec<_>>(), ["GET /a"], "the last accepted ones stay");
}
