//! What routes and authorizers say about access, and what of it is refused (section 6.1 of the spec).

#![expect(clippy::unwrap_used, reason = "a test ends where something unexpected happens")]

use serde_json::{Value, json};
use tollgate_engine::snapshot::{Authorization, AuthorizerCheck, Deployment, RouteTarget, Unit};
use tollgate_translate::{AUTHORIZER_CACHE_ANNOTATION, Kind, Object, ObjectRef, Settings, Translator};

fn object(kind: &str, name: &str, spec: Value) -> Object {
    let value = json!({
        "apiVersion": "tollgate.dev/v1alpha1", "kind": kind, "metadata": {"name": name, "namespace": "n"}, "spec": spec,
    });
    Object::from_value(value).unwrap().unwrap()
}

struct Setup(Translator);

impl Setup {
    fn new() -> Self {
        let mut translator = Translator::new(Settings { base_domain: "localhost".into(), https: false });
        let world = translator.world_mut();
        world.apply(object("HttpApi", "shop", json!({})));
        world.apply(object("Stage", "default", json!({"apiRef": {"name": "shop"}, "stageName": "$default"})));
        let jwt = json!({"jwt": {"issuer": "https://issuer.example", "audience": ["a"]}});
        world.apply(object("Authorizer", "tokens", jwt));
        Self(translator)
    }

    fn apply(&mut self, kind: &str, name: &str, spec: Value) {
        self.0.world_mut().apply(object(kind, name, spec));
    }

    fn authorizer(&mut self, name: &str, more: &[(&str, Value)]) {
        let mut spec = json!({"lambda": {"function": {"endpoint": "http://f.example:9001"}}});
        for (pointer, value) in more {
            let (parent, name) = pointer.rsplit_once('/').unwrap();
            spec.pointer_mut(parent).unwrap()[name] = value.clone();
        }
        self.apply("Authorizer", name, spec);
    }

    fn route(&mut self, access: Value) {
        let mut spec = json!({"apiRef": {"name": "shop"}, "routeKey": "GET /a"});
        spec.as_object_mut().unwrap().extend(access.as_object().unwrap().clone());
        self.apply("Route", "a", spec);
    }

    fn deployment(&mut self) -> Deployment {
        self.0.translate();
        let mut deployments = self.0.units().filter_map(|put| match put.unit() {
            Unit::Deployment(deployment) => Some(deployment),
            _ => None,
        });
        deployments.next().unwrap()
    }

    /// What is said against a Route `a`.
    fn refused(&self) -> String {
        let route = ObjectRef::new(Kind::Route, "n", "a");
        let verdict = self.0.verdicts().find(|verdict| verdict.object == route).unwrap();
        format!("{}{}", verdict.accepted.message, verdict.resolved_refs.message)
    }
}

/// Proves H-AUTH-1.
#[test]
fn a_route_has_one_type() {
    let mut setup = Setup::new();
    setup.authorizer("decide", &[]);
    for (access, expected) in [
        (json!({}), Authorization::None),
        (json!({"authorizationType": "NONE"}), Authorization::None),
        (
            json!({"authorizationType": "JWT", "authorizerRef": {"name": "tokens"}, "authorizationScopes": ["r"]}),
            Authorization::Jwt { authorizer: "tokens".to_owned(), scopes: vec!["r".to_owned()] },
        ),
        (
            json!({"authorizationType": "CUSTOM", "authorizerRef": {"name": "decide"}}),
            Authorization::Custom { authorizer: "decide".to_owned() },
        ),
        (json!({"authorizationType": "AWS_IAM"}), Authorization::Iam),
    ] {
        setup.route(access.clone());
        assert_eq!(setup.deployment().routes[0].authorization, expected, "{access}");
        assert_eq!(setup.refused(), "", "{access}");
    }
}

/// Proves H-AUTH-2, H-AUTH-3.
#[test]
fn an_authorizer_that_does_not_fit_is_refused() {
    let jwt_words = "setting the authorization type to JWT requires a valid JWT authorizer";
    for (access, said) in [
        (json!({"authorizationType": "JWT"}), jwt_words),
        (json!({"authorizationType": "CUSTOM"}), "requires a lambda authorizer"),
        (json!({"authorizationType": "JWT", "authorizerRef": {"name": "decide"}}), "of another type"),
        (json!({"authorizationType": "CUSTOM", "authorizerRef": {"name": "tokens"}}), "of another type"),
        (json!({"authorizationType": "CUSTOM", "authorizerRef": {"name": "nobody"}}), "does not exist"),
        (json!({"authorizerRef": {"name": "tokens"}}), "has no effect"),
        (json!({"authorizationType": "AWS_IAM", "authorizerRef": {"name": "tokens"}}), "has no effect"),
        (json!({"authorizationScopes": ["r"]}), "authorizationScopes"),
        (json!({"authorizationType": "AWS_IAM", "authorizationScopes": ["r"]}), "authorizationScopes"),
        (
            json!({"authorizationType": "CUSTOM", "authorizerRef": {"name": "decide"}, "authorizationScopes": ["r"]}),
            "authorizationScopes",
        ),
    ] {
        let mut setup = Setup::new();
        setup.authorizer("decide", &[]);
        setup.route(access.clone());
        assert_eq!(setup.deployment().routes[0].target, RouteTarget::Refused, "{access}");
        assert!(setup.refused().contains(said), "{access}: {}", setup.refused());
    }
}

/// Proves H-LA-3.
#[test]
fn answers_are_kept_for_five_minutes_unless_told_otherwise() {
    let sources = json!(["$request.header.X-K"]);
    for (more, ttl) in [
        (vec![], 0),
        (vec![("/identitySource", json!([]))], 0),
        (vec![("/identitySource", sources.clone())], 300),
        (vec![("/identitySource", sources.clone()), ("/lambda/resultTtlInSeconds", json!(0))], 0),
        (vec![("/identitySource", sources), ("/lambda/resultTtlInSeconds", json!(3600))], 3600),
    ] {
        let mut setup = Setup::new();
        setup.authorizer("decide", &more);
        setup.route(json!({"authorizationType": "CUSTOM", "authorizerRef": {"name": "decide"}}));
        let deployment = setup.deployment();
        let AuthorizerCheck::Lambda { result_ttl_in_seconds, .. } = &deployment.authorizers["decide"].check else {
            panic!("{deployment:?}")
        };
        assert_eq!(*result_ttl_in_seconds, ttl, "{more:?}");
    }
}

/// Proves H-LA-36.
#[test]
fn an_annotation_of_the_stage_names_what_is_kept() {
    let mut setup = Setup::new();
    let mut named = |value: Option<&str>| {
        let mut stage = json!({
            "apiVersion": "tollgate.dev/v1alpha1", "kind": "Stage", "metadata": {"name": "default", "namespace": "n"},
            "spec": {"apiRef": {"name": "shop"}, "stageName": "$default"},
        });
        if let Some(value) = value {
            stage["metadata"]["annotations"] = json!({AUTHORIZER_CACHE_ANNOTATION: value});
        }
        setup.0.world_mut().apply(Object::from_value(stage).unwrap().unwrap());
        setup.0.translate();
        let mut stages = setup.0.units().filter_map(|put| match put.unit() {
            Unit::Stage(stage) => Some(stage.authorizer_cache),
            _ => None,
        });
        stages.next().unwrap()
    };
    assert_eq!(named(None), None);
    let one = named(Some("one"));
    assert!(one.is_some());
    assert_eq!(named(Some("one")), one);
    assert_ne!(named(Some("two")), one);
}
