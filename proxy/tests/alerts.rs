//! The chart's alerts, as promtool reads them: each fires when it has to and not before (`alerts.yaml`), and asks only for metrics that
//! there are.

#![expect(clippy::unwrap_used, reason = "a test ends where something unexpected happens")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use tollgate_proxy::metrics::Metrics;

fn rules() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/tollgate/files/alerts.yaml");
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn alerts_fire_when_they_have_to() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("rules.yaml"), rules().replace("NAMESPACE", "gw")).unwrap();
    let cases = include_str!("alerts.yaml");
    std::fs::write(directory.path().join("cases.yaml"), cases).unwrap();
    for name in rules().lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(cases.contains(&format!("alertname: {name}\n        exp_alerts")), "no case says when {name} fires");
        assert!(cases.contains(&format!("alertname: {name}}}")), "no case says when {name} does not fire");
    }
    for command in [["check", "rules", "rules.yaml"], ["test", "rules", "cases.yaml"]] {
        let Ok(output) = Command::new("promtool").args(command).current_dir(directory.path()).output() else {
            assert!(std::env::var_os("CI").is_none(), "promtool is not in the path");
            println!("promtool is not in the path: nothing is proved");
            return;
        };
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
    }
}

#[test]
fn alerts_ask_for_metrics_that_there_are() {
    let metrics = Metrics::new();
    metrics.usage_store();
    let shown = metrics.encode();
    let rules = rules();
    let word = |text: &str| text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap().to_owned();
    let asked: BTreeSet<String> = rules.match_indices("tollgate_").map(|(at, _)| word(&rules[at..])).collect();
    assert!(asked.len() >= 8, "{asked:?}");
    for name in asked {
        let family = name.strip_suffix("_bucket").unwrap_or(&name);
        assert!(shown.contains(&format!("# TYPE {family} ")), "there is no {name}");
    }
}
