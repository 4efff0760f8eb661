//! What each crate must not know (ARCHITECTURE.md, crates). Asked of `cargo tree` per crate, because the features of
//! the whole workspace together would show edges that no single crate has.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};

use crate::shell;

const KUBE_CLIENT: &[&str] = &["kube-client", "kube-runtime"];
const IO: &[&str] = &["tokio", "hyper", "kube", "kube-core", "kube-client", "kube-runtime"];
const NEVER_SHIPPED: &[&str] = &["tollgate-testkit", "tollgate-e2e", "tollgate-xtask"];
/// One implementation of TLS and of cryptography in what ships.
const OTHER_CRYPTO: &[&str] = &["ring", "openssl", "openssl-sys", "native-tls", "boring", "boring-sys"];
const ONE_VERSION: &[&str] = &["rustls", "aws-lc-rs", "aws-lc-sys", "tokio", "hyper", "http", "k8s-openapi"];
const SHIPPED: &[&str] = &["tollgate-controller", "tollgate-proxy", "tollgate-cli"];

/// Crate, what it must not reach by normal and build dependencies, and why.
const FORBIDDEN: &[(&str, &[&[&str]], &str)] = &[
    (
        "tollgate-engine",
        &[IO, &["tollgate-crds", "tollgate-translate", "tollgate-proxy", "tollgate-controller", "k8s-openapi"]],
        "what a gateway decides is pure",
    ),
    (
        "tollgate-crds",
        &[KUBE_CLIENT, &["tollgate-engine", "tollgate-translate", "tollgate-proxy", "tollgate-controller"]],
        "API types know nothing of ours",
    ),
    (
        "tollgate-openapi",
        &[
            KUBE_CLIENT,
            &["tokio", "hyper", "tollgate-engine", "tollgate-translate", "tollgate-proxy", "tollgate-controller"],
        ],
        "what a document means depends on the document alone",
    ),
    (
        "tollgate-load",
        &[
            KUBE_CLIENT,
            &["tokio", "hyper", "tollgate-engine", "tollgate-translate", "tollgate-proxy", "tollgate-controller"],
        ],
        "what a file says depends on the file alone, and fuzz targets build no gateway for it",
    ),
    (
        "tollgate-translate",
        &[KUBE_CLIENT, &["tokio", "hyper", "tollgate-proxy", "tollgate-controller"]],
        "translation is pure",
    ),
    (
        "tollgate-proxy",
        &[
            &["kube", "kube-core", "kube-client", "k8s-openapi"],
            &["tollgate-crds", "tollgate-translate", "tollgate-controller"],
        ],
        "the snapshot is the proxy's only bond with Kubernetes",
    ),
    ("tollgate-controller", &[&["tollgate-proxy"]], "the snapshot is the controller's only bond with the proxy"),
    ("tollgate-cli", &[KUBE_CLIENT, &["tollgate-controller"]], "the laptop needs no cluster"),
];

pub(super) fn check() -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for (package, forbidden, reason) in FORBIDDEN {
        let tree = tree(package)?;
        let reached = forbidden.iter().copied().flatten().filter(|name| tree.contains_key(**name));
        problems.extend(
            reached.map(|name| format!("{package} depends on {name}: {reason} (cargo tree -p {package} -i {name})")),
        );
    }
    for package in SHIPPED {
        let tree = tree(package)?;
        problems.extend(shipped_tree(package, &tree));
    }
    Ok(problems)
}

fn shipped_tree(package: &str, tree: &Tree) -> Vec<String> {
    let present = |names: &'static [&'static str]| names.iter().filter(|name| tree.contains_key(**name));
    let mut problems: Vec<String> = present(NEVER_SHIPPED)
        .map(|name| format!("{package} ships {name}, which is for tests and tools only"))
        .collect();
    problems.extend(
        present(OTHER_CRYPTO)
            .map(|name| format!("{package} pulls in {name}: TLS and cryptography are rustls with aws-lc-rs")),
    );
    problems.extend(
        present(ONE_VERSION)
            .filter(|name| tree[**name].len() > 1)
            .map(|name| format!("{package} has {name} in several versions: {:?}", tree[*name])),
    );
    problems
}

/// Names and versions of everything a package links or runs while building.
type Tree = BTreeMap<String, BTreeSet<String>>;

fn tree(package: &str) -> Result<Tree> {
    let args = ["tree", "--locked", "-p", package, "-e", "normal,build", "--prefix", "none", "--format", "{p}"];
    parse_tree(&shell::output(&mut shell::cargo(&args))?)
}

fn parse_tree(text: &str) -> Result<Tree> {
    let mut tree = Tree::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let mut words = line.split(' ');
        let (name, version) = words.next().zip(words.next()).with_context(|| format!("cargo tree printed {line:?}"))?;
        tree.entry(name.to_owned()).or_default().insert(version.to_owned());
    }
    Ok(tree)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_tls_stack_and_a_second_version_are_named() {
        let tree =
            parse_tree("tollgate-proxy v0.1.0 (/x)\nrustls v0.23.1\nrustls v0.22.0\nring v0.17.0 (*)\n").unwrap();
        let problems = shipped_tree("tollgate-proxy", &tree);
        assert_eq!(problems.len(), 2);
        assert!(problems[0].contains("ring"), "{problems:?}");
        assert!(problems[1].contains("rustls in several versions"), "{problems:?}");
    }
}
