//! Changes under constant load, and how soon they arrive.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use libtest_mimic::Trial;
use serde_json::json;
use tollgate_e2e::backend::Echo;
use tollgate_e2e::{Load, Plan, Request, Targets, eventually, suite};

use crate::Shared;
use crate::process::world::{VERSION, World};

/// From the issue: the ninety-ninth percentile over the changes below.
const BOUND: Duration = Duration::from_millis(250);
const CHANGES: usize = 50;

pub(crate) fn tests(shared: &Arc<Shared>) -> Vec<Trial> {
    vec![
        suite::test("changes::no_request_fails_and_no_connection_closes", shared, under_load),
        suite::test("changes::a_new_route_answers_soon", shared, async |shared: &Shared| {
            let last = latency(shared, 0).await?;
            ensure!(last < BOUND, "p99 is {last:?}, the bound {BOUND:?}");
            Ok(())
        }),
        // Tells the figure, which depends on the machine more than the other; its aim is 100 ms.
        suite::test("changes::a_new_route_answers_among_5000", shared, async |shared: &Shared| {
            latency(shared, 5000).await?;
            Ok(())
        }),
    ]
}

/// 200 changes of routes and endpoints, a rolling restart of the controllers, and the drain of a proxy (promise P5).
async fn under_load(shared: &Shared) -> Result<()> {
    let mut world = World::start(shared).await?;
    let more: Vec<Echo> = (2..5)
        .map(|host| {
            Echo::start(
                "backend",
                SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 203, 1, host)), world.backend.address.port()),
            )
        })
        .collect::<Result<_>>()?;
    let all: Vec<SocketAddr> = std::iter::once(&world.backend).chain(&more).map(|echo| echo.address).collect();
    let fronts = world.proxies.each_ref().map(|proxy| proxy.listen);
    let targets = Targets::new(&fronts);
    let load = Load::start(Plan {
        targets: targets.clone(),
        requests: ["/one", "/two", "/three"].map(|path| world.request(path)).to_vec(),
        connections: 8,
        pause: Duration::from_millis(5),
    });

    for change in 0..100 {
        world.route("turning", &format!("GET /turning-{change}"), "backend").await?;
        // Never the same set twice in a row, and never one without the endpoints that stay.
        let some = 1 + change % all.len();
        world.endpoints("backend", &all[..some]).await?;
    }
    world.answers("/turning-99", 200).await?;
    load.no_failure_yet().context("by changes")?;

    for replica in 0..world.controllers.len() {
        world.controllers[replica].stop()?;
        world.controllers[replica] = world.gateway.controller(replica).await?;
    }
    world.route("after", "GET /after-the-restart", "backend").await?;
    world.answers("/after-the-restart", 200).await?;
    load.no_failure_yet().context("by a rolling restart of the controllers")?;

    // As a load balancer does: what is not ready gets no new connections.
    world.proxies[0].drain()?;
    eventually("the proxy to say that it drains", async || {
        world.proxies[0].readiness().await?.expect(503)?;
        Ok(())
    })
    .await?;
    targets.set(&fronts[1..]);
    world.proxies[0].drained()?;

    let tally = load.stop()?;
    println!("{tally:?}");
    tally.flawless(true)?;
    ensure!(tally.answered > 500, "hardly any load: {tally:?}");
    world.clean().await
}

/// From the apply of a route to the first 200 through both proxies, with so many other routes present; the ninety-ninth
/// percentile.
async fn latency(shared: &Shared, others: usize) -> Result<Duration> {
    let world = World::start(shared).await?;
    let numbers: Vec<usize> = (0..others).collect();
    for some in numbers.chunks(50) {
        let names: Vec<(String, String)> =
            some.iter().map(|n| (format!("other-{n}"), format!("GET /other/{n}"))).collect();
        try_join_all(names.iter().map(|(name, key)| world.route(name, key, "backend"))).await?;
    }
    if others > 0 {
        world.answers(&format!("/other/{}", others - 1), 200).await?;
        world.cluster.is_ready("Route", &world.namespace, &format!("other-{}", others - 1)).await?;
    }

    let mut taken = Vec::new();
    for change in 0..CHANGES {
        let path = format!("/new-{change}");
        let route = json!({
            "apiVersion": VERSION, "kind": "Route", "metadata": {"name": format!("new-{change}")},
            "spec": {"apiRef": {"name": "shop"}, "routeKey": format!("GET {path}"),
                "integration": {"service": {"name": "backend", "port": 80}}},
        });
        let start = Instant::now();
        world.cluster.apply(&world.namespace, route).await?;
        let request = world.request(&path);
        try_join_all(world.proxies.iter().map(|proxy| first_200(&request, proxy.listen))).await?;
        taken.push(start.elapsed());
    }
    taken.sort_unstable();
    let (median, last) = (taken[taken.len() / 2], taken[taken.len() * 99 / 100]);
    println!("apply to first 200 through both proxies with {others} other routes: median {median:.1?}, p99 {last:.1?}");
    world.clean().await?;
    Ok(last)
}

async fn first_200(request: &Request, proxy: SocketAddr) -> Result<()> {
    let start = Instant::now();
    while request.send(proxy).await?.status != 200 {
        ensure!(start.elapsed() < Duration::from_secs(30), "no 200 for {request:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}
