//! The image: what the Dockerfile puts into it, made from the release programs.

use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tollgate_e2e::suite;

use crate::Shared;
use crate::node::release::PROGRAMS;

/// Of the compressed image.
const MOST_BYTES: usize = 40 << 20;

pub(crate) fn tests(shared: &Arc<Shared>) -> Vec<Trial> {
    vec![
        suite::test("image::every_program_runs_in_it_as_nobody", shared, programs_run),
        suite::test("image::it_is_small", shared, small),
    ]
}

async fn programs_run(shared: &Shared) -> Result<()> {
    let node = shared.node();
    let image = "docker.io/local/programs:1";
    node.load(&node.tollgate_image(image)?)?;
    for program in PROGRAMS {
        let path = format!("/{program}");
        let id = format!("version-of-{program}");
        let printed = node.ctr(&["run", "--rm", "--runc-binary=runc", image, &id, &path, "--version"])?;
        ensure!(printed.contains(env!("CARGO_PKG_VERSION")), "{program} --version printed {printed:?}");
    }
    Ok(())
}

async fn small(shared: &Shared) -> Result<()> {
    let archive = shared.node().tollgate_image("docker.io/local/size:1")?;
    let compressed = Command::new("gzip").arg("--stdout").arg(&archive).output().context("starting gzip")?;
    ensure!(compressed.status.success(), "gzip failed");
    let bytes = compressed.stdout.len();
    println!("the image has {:.1} MiB compressed", bytes as f64 / f64::from(1 << 20));
    ensure!(bytes < MOST_BYTES, "the compressed image has {bytes} bytes");
    Ok(())
}
