//! How long a change of one route takes to translate: `cargo run --release -p tollgate-translate --example change_one_route`.

use std::time::Instant;

use serde_json::json;
use tollgate_translate::{Object, Settings, Translator};

fn main() {
    for count in [10, 1_000, 5_000] {
        let mut translator = Translator::new(Settings { base_domain: "localhost".into(), https: false });
        let mut apply = |value| {
            let object = Object::from_value(value).expect("the objects below fit their kinds");
            translator.world_mut().apply(object.expect("a known kind"));
        };
        let meta = |name: &str| json!({"name": name, "namespace": "n", "uid": name, "generation": 1});
        apply(json!({"apiVersion": "tollgate.dev/v1alpha1", "kind": "HttpApi", "metadata": meta("shop"), "spec": {}}));
        apply(json!({"apiVersion": "tollgate.dev/v1alpha1", "kind": "Stage", "metadata": meta("default"),
            "spec": {"apiRef": {"name": "shop"}, "stageName": "$default"}}));
        let route = |number: usize, port: usize| {
            json!({"apiVersion": "tollgate.dev/v1alpha1", "kind": "Route", "metadata": meta(&format!("route-{number}")),
                "spec": {"apiRef": {"name": "shop"}, "routeKey": format!("GET /part-{number}/{{id}}"),
                    "integration": {"service": {"name": format!("backend-{}", number % 50), "port": port, "path": "/v2/{id}"}}}})
        };
        for number in 0..count {
            apply(route(number, 80));
        }
        let start = Instant::now();
        let all = translator.translate();
        let first = start.elapsed();
        let mut times = Vec::new();
        for round in 0..50 {
            let object = Object::from_value(route(round % count, 8000 + round)).expect("fits").expect("known");
            translator.world_mut().apply(object);
            let start = Instant::now();
            let changes = translator.translate();
            times.push(start.elapsed());
            assert!(changes.verdicts.len() <= 1 && changes.puts.len() >= 2, "one route changed");
        }
        times.sort();
        let bytes = all.puts.iter().map(|put| put.json.len()).max().unwrap_or_default();
        println!(
            "{count:>6} routes, {bytes:>8} bytes: all {first:>10.2?}, one changed {:>10.2?} (median), {:>10.2?} (worst)",
            times[25], times[49]
        );
    }
}
