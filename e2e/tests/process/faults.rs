//! What goes on while something has failed: controllers, a proxy, the API server.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tollgate_e2e::{Gateway, eventually, suite};

use crate::Shared;
use crate::process::world::World;

pub(crate) fn tests(shared: &Arc<Shared>) -> Vec<Trial> {
    vec![
        suite::test("faults::without_controllers_a_restarted_proxy_serves_its_last_good_set", shared, last_good),
        suite::test("faults::a_proxy_that_never_had_a_snapshot_is_not_ready_and_answers_503", shared, no_snapshot),
        suite::test("faults::a_frozen_proxy_is_told_in_programmed", shared, frozen_proxy),
        suite::test("faults::a_silent_api_server_changes_nothing_for_traffic", shared, silent_api_server),
    ]
}

/// Proves P8.
async fn last_good(shared: &Shared) -> Result<()> {
    let mut world = World::start(shared).await?;
    let before = world.answers_of_all().await?;
    // A proxy writes what it got a moment later.
    world.proxies[0].saved("GET /three").await?;
    for controller in &mut world.controllers {
        controller.process.kill()?;
    }
    let now = world.answers_of_all().await?;
    ensure!(now == before, "running proxies noticed: {now:?}");
    world.proxies[0].restart()?;
    world.proxies[0].ready().await?;
    let now = world.answers_of_all().await?;
    ensure!(now == before, "the restarted proxy answers otherwise: {now:?}");

    // They come back, and changes arrive again.
    world.controllers = world.gateway.controllers().await?;
    world.route("four", "GET /four", "backend").await?;
    world.answers("/four", 200).await?;
    world.clean().await
}

/// Proves P4.
async fn no_snapshot(shared: &Shared) -> Result<()> {
    crate::process::definitions::established(shared.plane().cluster()).await?;
    let gateway = Gateway::install(shared.plane()).await?;
    // Once, for the feed's CA.
    drop(gateway.controller(0).await?);
    let mut proxy = gateway.proxy("proxy-0").await?;
    let answer = eventually("the proxy to listen", async || {
        proxy.process.alive()?;
        tollgate_e2e::Request::get("/one").send(proxy.listen).await
    })
    .await?;
    answer.expect(503)?;
    proxy.readiness().await?.expect(503)?;
    Ok(())
}

/// Proves P2.
async fn frozen_proxy(shared: &Shared) -> Result<()> {
    let world = World::start(shared).await?;
    world.proxies[1].process.freeze()?;
    world.route("four", "GET /four", "backend").await?;
    let told = world
        .cluster
        .condition("Route", &world.namespace, "four", "Programmed", |condition| {
            condition["status"] == "False" && condition["message"].as_str().is_some_and(|text| text.contains("1/2"))
        })
        .await?;
    ensure!(told["reason"] == "Pending", "{told}");
    world.request("/four").send(world.proxies[0].listen).await?.expect(200)?;
    world.proxies[1].process.thaw()?;
    world.cluster.is_ready("Route", &world.namespace, "four").await?;
    world.answers("/four", 200).await?;
    world.clean().await
}

async fn silent_api_server(shared: &Shared) -> Result<()> {
    let mut world = World::start(shared).await?;
    let before = world.answers_of_all().await?;
    // What it restarts with; nobody can check its token meanwhile.
    world.proxies[0].saved("GET /three").await?;
    shared.plane().freeze_api_server()?;
    let during = async {
        world.proxies[0].restart()?;
        world.proxies[0].ready().await.context("while the API server is silent")?;
        world.answers_of_all().await
    }
    .await;
    shared.plane().thaw_api_server()?;
    let during = during?;
    ensure!(during == before, "{during:?}");
    world.route("four", "GET /four", "backend").await?;
    world.answers("/four", 200).await?;
    world.clean().await
}
