//! The chart, rendered by helm without a cluster.

use anyhow::Result;

use crate::objects::output;
use crate::{programs, root};

/// What `helm template` makes of the chart for a release in `namespace`, with these `--set` values.
///
/// Every name begins with the namespace, so that the cluster-wide objects of several tests do not meet.
pub fn render(namespace: &str, values: &[&str]) -> Result<String> {
    let name = format!("fullnameOverride={namespace}");
    let args = ["template", "tollgate", "--namespace", namespace, "--set", name.as_str()];
    helm(&args, values)
}

/// Runs a helm command on the chart.
pub fn helm(args: &[&str], values: &[&str]) -> Result<String> {
    let mut helm = programs::cluster("helm")?;
    helm.args(args).arg(root().join("charts/tollgate"));
    for value in values {
        helm.args(["--set", value]);
    }
    output(&mut helm)
}
