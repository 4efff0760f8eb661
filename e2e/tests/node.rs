//! The node level: the chart on a real one-node Kubernetes, with pods, Services and cluster DNS.

mod node {
    pub(crate) mod image;
    pub(crate) mod release;
    pub(crate) mod tutorial;
}

use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use anyhow::Result;
use tollgate_e2e::{Cluster, Node, programs, suite};

/// What the tests of this level share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    started: OnceLock<(Node, Cluster)>,
}

impl Shared {
    pub(crate) fn node(&self) -> &Node {
        &self.started.get().expect("the node is started before the tests").0
    }

    pub(crate) fn cluster(&self) -> &Cluster {
        &self.started.get().expect("the node is started before the tests").1
    }

    fn start(&self) -> Result<()> {
        Node::obstacle()?;
        // Building needs the network that is about to be left.
        programs::ours("tollgate-proxy")?;
        let node = Node::start()?;
        node.enter()?;
        let cluster = suite::block_on(node.cluster())?;
        self.started.set((node, cluster)).expect("nobody else starts it");
        Ok(())
    }
}

fn main() -> ExitCode {
    let shared = Arc::new(Shared::default());
    // What a given cluster runs containers with is its own business.
    let image = if Node::is_own() { node::image::tests(&shared) } else { Vec::new() };
    let tests = image.into_iter().chain(node::release::tests(&shared)).chain(node::tutorial::tests(&shared)).collect();
    let start = shared.clone();
    suite::run(
        "node",
        move || start.start(),
        tests,
        |well| {
            let started = Arc::into_inner(shared).and_then(|shared| shared.started.into_inner());
            if let (false, Some((node, _))) = (well, &started) {
                println!("{}", node.story());
            }
        },
    )
}
