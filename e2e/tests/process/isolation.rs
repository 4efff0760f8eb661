//! What is broken is told, and changes nobody else's answers.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tollgate_e2e::suite;

use crate::Shared;
use crate::process::world::World;

pub(crate) fn tests(shared: &Arc<Shared>) -> Vec<Trial> {
    vec![suite::test(
        "isolation::what_is_broken_is_told_and_stays_alone",
        shared,
        broken_objects_change_no_other_answer,
    )]
}

/// Something broken: what is applied, which condition of it becomes False with which reason, and what its route answers.
struct Broken {
    kind: &'static str,
    name: &'static str,
    spec: Value,
    condition: &'static str,
    reason: &'static str,
    asked: Option<(&'static str, u16)>,
}

fn cases(backend: SocketAddr) -> Vec<Broken> {
    let api = json!({"name": "shop"});
    let to_backend = json!({"service": {"name": "backend", "port": 80}});
    vec![
        Broken {
            kind: "Route",
            name: "never-right",
            spec: json!({"apiRef": api, "routeKey": "GET /never", "integration": {"http": {"uri": "https://{x}.example/"}}}),
            condition: "Accepted",
            reason: "Invalid",
            asked: Some(("/never", 500)),
        },
        Broken {
            kind: "Route",
            name: "no-service",
            spec: json!({"apiRef": api, "routeKey": "GET /no-service", "integration": {"service": {"name": "gone", "port": 80}}}),
            condition: "ResolvedRefs",
            reason: "ServiceNotFound",
            asked: Some(("/no-service", 503)),
        },
        Broken {
            kind: "Route",
            name: "no-secret",
            spec: json!({"apiRef": api, "routeKey": "GET /no-secret", "integration": {
                "service": {"name": "backend", "port": 80},
                "tls": {"caRef": {"kind": "Secret", "name": "gone", "key": "ca.crt"}},
            }}),
            condition: "ResolvedRefs",
            reason: "CertificatesNotFound",
            asked: Some(("/no-secret", 500)),
        },
        Broken {
            kind: "Route",
            name: "same-key",
            spec: json!({"apiRef": api, "routeKey": "GET /one", "integration": {"service": {"name": "gone", "port": 80}}}),
            condition: "Accepted",
            reason: "RouteKeyConflict",
            asked: None,
        },
        Broken {
            kind: "Authorizer",
            name: "no-keys",
            // Answers, but with an echo instead of keys.
            spec: json!({"identitySource": ["$request.header.Authorization"], "jwt": {
                "issuer": "https://issuer.example", "audience": ["shop"], "jwksUri": format!("http://{backend}/keys"),
            }}),
            condition: "ResolvedRefs",
            reason: "IssuerUnreachable",
            asked: None,
        },
        Broken {
            kind: "Route",
            name: "two",
            // Right before; now it is not, and its last accepted version stays.
            spec: json!({"apiRef": api, "routeKey": "GET /two", "integration": {"http": {"uri": "https://{y}.example/"}}}),
            condition: "Accepted",
            reason: "Invalid",
            asked: Some(("/two", 200)),
        },
        Broken {
            kind: "Route",
            name: "closed",
            spec: json!({"apiRef": api, "routeKey": "GET /closed", "integration": to_backend,
                "authorizationType": "JWT", "authorizerRef": {"name": "not-there"}}),
            condition: "ResolvedRefs",
            reason: "AuthorizerNotFound",
            asked: Some(("/closed", 500)),
        },
    ]
}

/// Proves P1.
async fn broken_objects_change_no_other_answer(shared: &Shared) -> Result<()> {
    let world = World::start(shared).await?;
    let before = world.answers_of_all().await?;
    ensure!(before.iter().all(|answer| answer.status == 200), "{before:?}");

    // An authorizer that no route uses asks for no keys.
    let guarded = json!({
        "apiRef": {"name": "shop"}, "routeKey": "GET /guarded", "integration": {"service": {"name": "backend", "port": 80}},
        "authorizationType": "JWT", "authorizerRef": {"name": "no-keys"},
    });
    world.apply("Route", "guarded", guarded).await?;

    for Broken { kind, name, spec, condition, reason, asked } in cases(world.backend.address) {
        world.apply(kind, name, spec).await?;
        let found = world
            .cluster
            .condition(kind, &world.namespace, name, condition, |found| {
                found["status"] == "False" && found["reason"] == reason
            })
            .await?;
        let message = found["message"].as_str().unwrap_or_default();
        ensure!(message.len() > 20, "{name} is told no more than {message:?}");
        world.cluster.event(kind, &world.namespace, name, reason).await?;
        if let Some((path, status)) = asked {
            world.answers(path, status).await?;
        }
        let now = world.answers_of_all().await?;
        ensure!(now == before, "{name} changed the answers of others: {now:?}");
    }
    world.clean().await
}
