//! The table of promises in `ARCHITECTURE.md`, each with the tests that show it: tests under a comment that ends in
//! `(promise P4)`, or that say `Proves P4.`

use std::fmt::Write;

use anyhow::Result;

use super::marks;
use crate::conformance;

/// The page.
pub(super) const PAGE: &str = "ARCHITECTURE.md";

const PROMISES: [&str; 10] = [
    "An object we refuse never changes the traffic of another object. Its own last accepted version stays live; a route that never had one answers 500 itself and does not fall through.",
    "`Programmed=True` means that every ready proxy has acknowledged that generation. The condition says `n/m`.",
    "Security settings that cannot be read or resolved fail closed, for that route only.",
    "A proxy is not ready before a complete snapshot. Without one it answers 503, never 404.",
    "One request sees one configuration. A change never closes an unaffected connection and never fails a request.",
    "Meters outlive configuration: a deployment never refills a bucket or empties a cache it does not concern.",
    "Proxies hold no Kubernetes credentials beyond an audience-bound token for the feed. Secrets are never logged.",
    "Controller gone: running proxies are unaffected, a restarted proxy serves its last good snapshot.",
    "Every buffer, queue, cache, list and label set has a bound.",
    "We never write to a user's `spec`. Defaults live in the CRD schema.",
];

pub(super) fn render() -> Result<String> {
    let shown = conformance::promises()?;
    let mut table = String::from("| | promise | shown by |\n|---|---|---|\n");
    for (number, promise) in (1..).zip(PROMISES) {
        let shown = shown.get(&number).map_or("no test yet", String::as_str);
        writeln!(table, "| P{number} | {promise} | {shown} |").expect("writing to a string does not fail");
    }
    marks::fill(PAGE, &table)
}
