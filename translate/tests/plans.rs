//! API keys and usage plans: what travels of them, and what is said about wrong ones.

#![expect(clippy::unwrap_used, reason = "a test ends where something unexpected happens")]

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tollgate_engine::meter::digest;
use tollgate_engine::snapshot::{ApiKey, ApiKeySource, Deployment, Plan, QuotaExtension, Unit, UnitId};
use tollgate_translate::{Kind, Object, ObjectRef, ObjectVerdict, Settings, Translator};

const ALICE: &str = "alice-0123456789abcdef";

struct World {
    translator: Translator,
    units: BTreeMap<UnitId, Unit>,
    verdicts: BTreeMap<ObjectRef, ObjectVerdict>,
    arrivals: i64,
}

impl World {
    /// The API `books` with a metered route, the stages `prod` and `dev`, and a Secret with Alice's value.
    fn new() -> Self {
        let translator = Translator::new(Settings { base_domain: "gw.example".into(), https: true });
        let mut world = Self { translator, units: BTreeMap::new(), verdicts: BTreeMap::new(), arrivals: 0 };
        world.ours("HttpApi", "books", json!({}));
        let integration = json!({"http": {"uri": "http://x.example/"}});
        let route = json!({"apiRef": {"name": "books"}, "routeKey": "GET /a", "apiKeyRequired": true, "integration": integration});
        world.ours("Route", "a", route);
        for name in ["prod", "dev"] {
            world.ours("Stage", name, json!({"apiRef": {"name": "books"}, "stageName": name}));
        }
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "values", "namespace": "shop"}, "stringData": {"alice": ALICE}});
        world.apply(secret);
        world
    }

    fn ours(&mut self, kind: &str, name: &str, spec: Value) {
        self.arrivals += 1;
        let metadata = json!({"name": name, "namespace": "shop", "creationTimestamp": format!("2025-01-01T00:00:{:02}Z", self.arrivals)});
        self.apply(json!({"apiVersion": "tollgate.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}));
    }

    fn plan(&mut self, name: &str, stages: &[&str]) {
        let stages: Value = stages.iter().map(|stage| json!({"stageRef": {"name": stage}})).collect();
        self.ours("UsagePlan", name, json!({"apiStages": stages}));
    }

    fn key(&mut self, name: &str, plans: &[&str]) {
        let plans: Value = plans.iter().map(|plan| json!({"name": plan})).collect();
        self.ours(
            "ApiKey",
            name,
            json!({"valueFrom": {"secretKeyRef": {"name": "values", "key": "alice"}}, "usagePlanRefs": plans}),
        );
    }

    fn apply(&mut self, object: Value) {
        self.translator.world_mut().apply(Object::from_value(object).unwrap().unwrap());
    }

    fn delete(&mut self, kind: Kind, name: &str) {
        assert!(self.translator.world_mut().delete(&ObjectRef::new(kind, "shop", name)));
    }

    fn translate(&mut self) {
        let changes = self.translator.translate();
        self.units.extend(changes.puts.iter().map(|put| (put.id.clone(), put.unit())));
        changes.deletes.iter().for_each(|id| drop(self.units.remove(id)));
        self.verdicts.extend(changes.verdicts.into_iter().map(|verdict| (verdict.object.clone(), verdict)));
    }

    /// The reason of `ResolvedRefs`.
    fn resolved(&self, kind: Kind, name: &str) -> &'static str {
        self.verdicts[&ObjectRef::new(kind, "shop", name)].resolved_refs.reason.as_str()
    }

    fn stages(&self, plan: &str) -> Vec<String> {
        match self.units.get(&UnitId::plan(&format!("shop/{plan}"))) {
            Some(Unit::Plan(Plan { stages, .. })) => stages.iter().map(|stage| stage.stage_name.clone()).collect(),
            other => panic!("{plan}: {other:?}"),
        }
    }

    fn keys(&self) -> Vec<&ApiKey> {
        let all = self.units.values();
        all.filter_map(|unit| if let Unit::Keys(shard) = unit { Some(&shard.keys) } else { None }).flatten().collect()
    }

    fn deployment(&self) -> &Deployment {
        self.units
            .values()
            .find_map(|unit| if let Unit::Deployment(found) = unit { Some(found) } else { None })
            .unwrap()
    }
}

/// Proves R-KEY-4.
#[test]
fn a_value_belongs_to_one_key() {
    let mut world = World::new();
    world.plan("gold", &["prod"]);
    world.key("alice", &["gold"]);
    world.key("mallory", &["gold"]);
    world.translate();
    let keys = world.keys();
    assert_eq!((keys.len(), keys[0].source.as_str()), (1, "shop/alice"));
    assert_eq!(keys[0].digest, digest(ALICE.as_bytes()).to_hex());
    assert_eq!(world.resolved(Kind::ApiKey, "mallory"), "KeyValueConflict");
    world.delete(Kind::ApiKey, "alice");
    world.translate();
    assert_eq!(world.keys()[0].source, "shop/mallory");
    assert_eq!(world.resolved(Kind::ApiKey, "mallory"), "ResolvedRefs");
}

/// Proves R-PLAN-8.
#[test]
fn of_the_plans_of_a_stage_a_key_has_one() {
    let mut world = World::new();
    world.plan("both", &["prod", "dev"]);
    world.plan("prod-only", &["prod"]);
    world.plan("dev-only", &["dev"]);
    world.key("alice", &["prod-only", "dev-only"]);
    world.translate();
    assert_eq!(world.stages("both"), ["prod", "dev"]);
    assert_eq!(world.resolved(Kind::ApiKey, "alice"), "ResolvedRefs");
    assert_eq!(world.keys()[0].plans, ["shop/prod-only", "shop/dev-only"]);
    world.key("alice", &["prod-only", "both"]);
    world.translate();
    assert_eq!(world.resolved(Kind::ApiKey, "alice"), "UsagePlanConflict");
    world.plan("both", &["dev"]);
    world.translate();
    assert_eq!(world.resolved(Kind::ApiKey, "alice"), "ResolvedRefs");
}

/// A deleted stage leaves its plans, and comes back into them with its object.
#[test]
fn a_deleted_stage_is_no_part_of_plans() {
    let mut world = World::new();
    world.plan("both", &["prod", "dev"]);
    world.translate();
    world.delete(Kind::Stage, "dev");
    world.translate();
    assert_eq!((world.stages("both"), world.resolved(Kind::UsagePlan, "both")), (vec!["prod".into()], "StageNotFound"));
    world.ours("Stage", "dev", json!({"apiRef": {"name": "books"}, "stageName": "dev"}));
    world.translate();
    assert_eq!((world.stages("both").len(), world.resolved(Kind::UsagePlan, "both")), (2, "ResolvedRefs"));
}

/// Proves R-KEY-5.
#[test]
fn the_api_says_where_its_keys_come_from() {
    let mut world = World::new();
    world.translate();
    let source = |world: &World| {
        let route = &world.deployment().routes[0];
        (route.api_key_source, route.requires.clone())
    };
    assert_eq!(source(&world), (ApiKeySource::Header, vec!["usagePlans".into()]));
    world.units.clear();
    world.ours("HttpApi", "books", json!({"apiKeySource": "AUTHORIZER"}));
    world.translate();
    assert_eq!(source(&world), (ApiKeySource::Authorizer, vec!["usagePlans".into(), "apiKeySource".into()]));
}

#[test]
fn extensions_are_of_plans_of_the_key_and_of_days_that_exist() {
    let mut world = World::new();
    world.plan("gold", &["prod"]);
    let mut key = |plan: &str, during: &str| {
        let more = json!({"usagePlanRef": {"name": plan}, "requests": 5, "during": during});
        let source = json!({"secretKeyRef": {"name": "values", "key": "alice"}});
        world.ours(
            "ApiKey",
            "alice",
            json!({"valueFrom": source, "usagePlanRefs": [{"name": "gold"}], "quotaExtensions": [more]}),
        );
        world.translate();
        let extensions = world.keys()[0].extensions.clone();
        (world.resolved(Kind::ApiKey, "alice"), extensions)
    };
    let extension = |plan: &str| QuotaExtension { plan: format!("shop/{plan}"), requests: 5, during: 1_767_225_600 };
    assert_eq!(key("gold", "2026-01-01"), ("ResolvedRefs", vec![extension("gold")]));
    assert_eq!(key("silver", "2026-01-01"), ("UsagePlanNotFound", vec![extension("silver")]));
    assert_eq!(key("gold", "2026-06-31"), ("Invalid", vec![]));
}
