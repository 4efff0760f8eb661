//! The node level: the chart on a real one-node Kubernetes.

fn main() {}
