//! Promise P1: an object that is refused never changes the traffic of another, and keeps its own last accepted version.

#![expect(clippy::unwrap_used, reason = "a test ends where something unexpected happens")]

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};
use tollgate_engine::snapshot::{Authorization, Deployment, RouteTarget, Unit};
use tollgate_translate::{Kind, Object, ObjectRef, Settings, Translator};

const API_VERSION: &str = "tollgate.dev/v1alpha1";

fn object(kind: &str, name: &str, age: u32, spec: &Value) -> Value {
    let created = format!("2026-01-01T00:{:02}:{:02}Z", age / 60, age % 60);
    let metadata = json!({"name": name, "namespace": "n", "uid": name, "creationTimestamp": created});
    json!({"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec})
}

/// A valid route of some kind.
#[derive(Clone, Debug)]
struct Plan {
    path: u8,
    method: usize,
    backend: u8,
    jwt: bool,
    age: u32,
}

impl Plan {
    fn key(&self) -> String {
        format!("{} /part-{}/{{id}}", ["GET", "POST", "ANY"][self.method], self.path)
    }

    fn route(&self, name: &str) -> Value {
        let mut spec = json!({"apiRef": {"name": "shop"}, "routeKey": self.key()});
        match self.backend % 4 {
            0 => spec["integration"] = json!({"http": {"uri": format!("https://b{}.example/{{id}}", self.backend)}}),
            1 => spec["integrationRef"] = json!({"name": "orders"}),
            2 => spec["integration"] = json!({"service": {"name": "web", "port": 80}}),
            _ => {}
        }
        if self.jwt {
            spec["authorizationType"] = json!("JWT");
            spec["authorizerRef"] = json!({"name": "login"});
        }
        object("Route", name, self.age, &spec)
    }
}

fn plan() -> impl Strategy<Value = Plan> {
    (0..20_u8, 0..3_usize, any::<u8>(), any::<bool>(), 0..3000_u32).prop_map(|(path, method, backend, jwt, age)| Plan {
        path,
        method,
        backend,
        jwt,
        age,
    })
}

/// A change that is refused.
#[derive(Clone, Copy, Debug)]
enum Broken {
    NewRoute,
    Key,
    Variable,
    Reference,
    Authorizer,
    OpenWithAuthorizer,
    LaterTwin,
    Cors,
    StageKey,
    SharedIntegration,
    SharedAuthorizer,
    LostAuthorizer,
    LostIntegration,
}

fn broken() -> impl Strategy<Value = Broken> {
    use Broken::*;
    prop::sample::select(vec![
        NewRoute,
        Key,
        Variable,
        Reference,
        Authorizer,
        OpenWithAuthorizer,
        LaterTwin,
        Cors,
        StageKey,
        SharedIntegration,
        SharedAuthorizer,
        LostAuthorizer,
        LostIntegration,
    ])
}

/// Breaks `victim`, a route of the set, or something that it uses.
fn breaks(broken: Broken, victim: &str, plan: &Plan, age: u32) -> Result<Value, ObjectRef> {
    let key = plan.key();
    let route = |name: &str, age: u32, mut more: Value| {
        let fields = more.as_object_mut().unwrap();
        fields.entry("apiRef").or_insert(json!({"name": "shop"}));
        fields.entry("routeKey").or_insert(json!(key));
        object("Route", name, age, &more)
    };
    Ok(match broken {
        // Older than all, with the key of another, and without what it needs.
        Broken::NewRoute => route("a-new", 0, json!({"integrationRef": {"name": "nowhere"}})),
        Broken::Key => route(victim, age, json!({"routeKey": "GET part"})),
        Broken::Variable => route(victim, age, json!({"integration": {"http": {"uri": "https://b.example/{other}"}}})),
        Broken::Reference => route(victim, age, json!({"integrationRef": {"name": "nowhere"}})),
        Broken::Authorizer => {
            route(victim, age, json!({"authorizationType": "JWT", "authorizerRef": {"name": "nobody"}}))
        }
        Broken::OpenWithAuthorizer => route(victim, age, json!({"authorizerRef": {"name": "login"}})),
        Broken::LaterTwin => route("z-twin", 3599, json!({"routeKey": key.replace("{id}", "{other}")})),
        Broken::Cors => object("HttpApi", "shop", 0, &json!({"corsConfiguration": {"allowOrigins": ["https://*.x"]}})),
        Broken::StageKey => {
            let settings = json!({"GET /nowhere": {"throttlingRateLimit": 0}});
            let spec = json!({"apiRef": {"name": "shop"}, "stageName": "$default", "routeSettings": settings});
            object("Stage", "default", 0, &spec)
        }
        Broken::SharedIntegration => object("Integration", "orders", 0, &json!({"http": {"uri": "https://{host}/"}})),
        Broken::SharedAuthorizer => {
            object("Authorizer", "login", 0, &json!({"jwt": {"issuer": "not a url", "audience": ["a"]}}))
        }
        Broken::LostAuthorizer => return Err(ObjectRef::new(Kind::Authorizer, "n", "login")),
        Broken::LostIntegration => return Err(ObjectRef::new(Kind::Integration, "n", "orders")),
    })
}

/// A translator, and what a new one would find in the cluster.
struct Cluster {
    translator: Translator,
    objects: BTreeMap<ObjectRef, Value>,
}

impl Cluster {
    fn new() -> Self {
        let settings = Settings { base_domain: "localhost".into(), https: false };
        Self { translator: Translator::new(settings), objects: BTreeMap::new() }
    }

    fn apply(&mut self, value: Value) {
        let object = Object::from_value(value.clone()).unwrap().unwrap();
        self.objects.insert(object.reference(), value);
        self.translator.world_mut().apply(object);
    }

    fn delete(&mut self, object: &ObjectRef) {
        self.objects.remove(object);
        self.translator.world_mut().delete(object);
    }
}

/// Each route with all that it needs, as it is published.
fn served(translator: &Translator) -> BTreeMap<String, String> {
    let units: Vec<Unit> = translator.units().map(|put| put.unit()).collect();
    let deployments = units.iter().filter_map(|unit| match unit {
        Unit::Deployment(deployment) => Some(deployment),
        _ => None,
    });
    let mut routes = BTreeMap::new();
    for deployment in deployments {
        let Deployment { api, disable_execute_api_endpoint, cors, limits, authorizers, integrations, routes: all } =
            deployment;
        for route in all {
            let integration = match &route.target {
                RouteTarget::Integration { id } => Some(&integrations[id]),
                _ => None,
            };
            let (authorizer, scopes) = match &route.authorization {
                Authorization::Jwt { authorizer, scopes } => (Some(&authorizers[authorizer]), Some(scopes)),
                other => (other.authorizer().map(|name| &authorizers[name]), None),
            };
            let text =
                json!([api, disable_execute_api_endpoint, cors, limits, route.key, integration, authorizer, scopes]);
            routes.insert(route.source.clone(), format!("{text} {:?}", matches!(route.target, RouteTarget::Refused)));
        }
    }
    routes
}

/// Everything but which deployment it is.
fn stage_settings(translator: &Translator) -> Vec<String> {
    let units = translator.units().map(|put| put.unit());
    units
        .filter_map(|unit| match unit {
            Unit::Stage(mut stage) => {
                stage.deployment = None;
                Some(serde_json::to_string(&stage).unwrap())
            }
            _ => None,
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_refused_changes_nothing_else(
        plans in prop::collection::vec(plan(), 1..12),
        broken in prop::collection::vec((broken(), any::<prop::sample::Index>()), 1..4),
    ) {
        let plans: BTreeMap<String, Plan> = plans.into_iter().map(|plan| (plan.key(), plan)).collect();
        let plans: Vec<Plan> = plans.into_values().collect();
        let mut cluster = Cluster::new();
        cluster.apply(object("HttpApi", "shop", 0, &json!({})));
        cluster.apply(object("Stage", "default", 0, &json!({"apiRef": {"name": "shop"}, "stageName": "$default"})));
        cluster.apply(object("Integration", "orders", 0, &json!({"http": {"uri": "https://orders.example/{id}"}})));
        let jwt = json!({"jwt": {"issuer": "https://issuer.example", "audience": ["a"]}});
        cluster.apply(object("Authorizer", "login", 0, &jwt));
        for (index, plan) in plans.iter().enumerate() {
            cluster.apply(plan.route(&format!("r{index}")));
        }
        cluster.translator.translate();
        let (before, stages) = (served(&cluster.translator), stage_settings(&cluster.translator));
        prop_assert_eq!(before.len(), plans.len());

        for (broken, victim) in broken {
            let index = victim.index(plans.len());
            match breaks(broken, &format!("r{index}"), &plans[index], plans[index].age) {
                Ok(value) => cluster.apply(value),
                Err(lost) => cluster.delete(&lost),
            }
            cluster.translator.translate();
            prop_assert_eq!(&served(&cluster.translator), &before, "after {:?}", broken);
            prop_assert_eq!(&stage_settings(&cluster.translator), &stages, "after {:?}", broken);
        }

        // A new controller that was given what the old one recorded says the same.
        let recorded: Vec<Unit> = cluster.translator.units().map(|put| put.unit()).collect();
        let mut second = Cluster::new();
        for unit in recorded {
            match unit {
                Unit::Deployment(deployment) => second.translator.restore_api(deployment),
                Unit::Stage(stage) => {
                    second.translator.restore_stage(&ObjectRef::new(Kind::Stage, "n", "default"), stage);
                }
                _ => {}
            }
        }
        for value in cluster.objects.into_values() {
            second.apply(value);
        }
        second.translator.translate();
        prop_assert_eq!(&served(&second.translator), &before, "after a restart");
        prop_assert_eq!(&stage_settings(&second.translator), &stages, "after a restart");
    }
}
