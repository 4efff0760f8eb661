//! What stands in for pods on a laptop: Deployments whose container is `tollgate backend …`, and the endpoints that they
//! give to Services.
//!
//! Pure: [`wanted`] says what should run, [`endpoints`] what the Services' endpoints are once it does.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::Path;

use clap::Parser;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Container, Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, json};

use crate::backend::args::BackendArgs;
use crate::load::Object;
use crate::problem::{ObjectKey, Problem};

/// How many backends one directory may start.
pub const MAX_BACKENDS: usize = 100;

/// A Deployment that `tollgate dev` runs itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// What its container would be told.
    pub args: BackendArgs,
    /// The labels of its pods.
    pub labels: BTreeMap<String, String>,
    /// The names of its container's ports.
    pub port_names: BTreeMap<String, u16>,
}

/// What should run, and what cannot.
#[derive(Debug, Default, PartialEq)]
pub struct Wanted {
    /// By the Deployment's name.
    pub workloads: BTreeMap<ObjectKey, Workload>,
    /// Deployments whose arguments are wrong.
    pub problems: Vec<Problem>,
    /// Deployments of other programs, which nothing runs here.
    pub foreign: Vec<ObjectKey>,
}

/// Looks through the Deployments among `objects`.
pub fn wanted<'a>(objects: impl Iterator<Item = &'a Object>) -> Wanted {
    let mut wanted = Wanted::default();
    for object in objects.filter(|object| object.key.kind == "Deployment") {
        let Ok(deployment) = serde_json::from_value::<Deployment>(object.json()) else { continue };
        let Some(spec) = deployment.spec.filter(|spec| spec.replicas != Some(0)) else { continue };
        let Some(pod) = spec.template.spec else { continue };
        let Some((index, container, arguments)) = backend_container(&pod.containers) else {
            wanted.foreign.push(object.key.clone());
            continue;
        };
        let path = format!("spec.template.spec.containers[{index}]");
        match BackendArgs::try_parse_from(&arguments) {
            Ok(args) if wanted.workloads.len() < MAX_BACKENDS => {
                let labels = spec.template.metadata.and_then(|metadata| metadata.labels).unwrap_or_default();
                let workload = Workload { args, labels, port_names: port_names(container) };
                wanted.workloads.insert(object.key.clone(), workload);
            }
            Ok(_) => {
                let message = format!("more than {MAX_BACKENDS} backends; {} is not started", object.key);
                wanted.problems.push(object.problem("TooManyBackends", &path, message).fix("run the others elsewhere"));
            }
            Err(error) => {
                let text = error.to_string();
                let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
                let field = if container.args.is_some() { "args" } else { "command" };
                let message = format!("tollgate backend does not take these arguments: {first}");
                let problem = object.problem("InvalidBackend", &format!("{path}.{field}"), message);
                wanted.problems.push(problem.fix("see tollgate backend --help"));
            }
        }
    }
    wanted
}

/// The container that is `tollgate backend …`, and what follows these words.
fn backend_container(containers: &[Container]) -> Option<(usize, &Container, Vec<String>)> {
    containers.iter().enumerate().find_map(|(index, container)| {
        let mut words = container.command.iter().flatten().chain(container.args.iter().flatten());
        let program = Path::new(words.next()?).file_name()?;
        let ours = program == "tollgate" && words.next()? == "backend";
        ours.then(|| (index, container, words.cloned().collect()))
    })
}

fn port_names(container: &Container) -> BTreeMap<String, u16> {
    let ports = container.ports.iter().flatten();
    ports.filter_map(|port| Some((port.name.clone()?, u16::try_from(port.container_port).ok()?))).collect()
}

/// Where Services lead.
#[derive(Debug, Default, PartialEq)]
pub struct Endpoints {
    /// EndpointSlices as a cluster would make them, by name.
    pub slices: BTreeMap<(String, String), Value>,
    /// `host:port` of Services to where they are, for URLs that name them.
    pub hosts: HashMap<(String, u16), SocketAddr>,
    /// Services that lead to a port where nothing listens.
    pub problems: Vec<Problem>,
}

/// The endpoints that running workloads give to the Services among `objects`. `addresses` says where each workload listens.
pub fn endpoints<'a>(
    objects: impl Iterator<Item = &'a Object>,
    workloads: &BTreeMap<ObjectKey, Workload>,
    addresses: &BTreeMap<ObjectKey, SocketAddr>,
) -> Endpoints {
    let mut found = Endpoints::default();
    for object in objects.filter(|object| object.key.kind == "Service") {
        let Ok(service) = serde_json::from_value::<Service>(object.json()) else { continue };
        let Some(spec) = service.spec else { continue };
        let selector = spec.selector.unwrap_or_default();
        for (key, workload) in workloads.iter().filter(|(key, _)| key.namespace == object.key.namespace) {
            let selected =
                !selector.is_empty() && selector.iter().all(|(name, value)| workload.labels.get(name) == Some(value));
            if let (true, Some(address)) = (selected, addresses.get(key)) {
                for (index, port) in spec.ports.iter().flatten().enumerate() {
                    found.add(object, index, port, (key, workload), *address);
                }
            }
        }
    }
    found
}

impl Endpoints {
    fn add(
        &mut self,
        service: &Object,
        index: usize,
        port: &ServicePort,
        (key, workload): (&ObjectKey, &Workload),
        address: SocketAddr,
    ) {
        let listens = workload.args.listen.port();
        let target = match &port.target_port {
            None => u16::try_from(port.port).ok(),
            Some(IntOrString::Int(number)) => u16::try_from(*number).ok(),
            Some(IntOrString::String(name)) => workload.port_names.get(name).copied(),
        };
        if target != Some(listens) {
            let message =
                format!("{} leads to a port of {key} where nothing listens; it listens on {listens}", service.key);
            let field = if port.target_port.is_some() { "targetPort" } else { "port" };
            let problem = service.problem("NoListener", &format!("spec.ports[{index}].{field}"), message);
            return self.problems.push(problem.fix(format!("write targetPort: {listens}")));
        }
        let ObjectKey { namespace, name, .. } = &service.key;
        let slice_name = format!("{name}-{}", key.name);
        let slice = self.slices.entry((namespace.clone(), slice_name.clone())).or_insert_with(|| {
            json!({
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {"namespace": namespace, "name": slice_name, "labels": {"kubernetes.io/service-name": name}},
                "addressType": if address.is_ipv4() { "IPv4" } else { "IPv6" },
                "endpoints": [{"addresses": [address.ip()], "conditions": {"ready": true}}],
                "ports": [],
            })
        });
        let entry = json!({"name": port.name.clone().unwrap_or_default(), "port": address.port(), "protocol": "TCP"});
        slice["ports"].as_array_mut().expect("made above").push(entry);
        if let Ok(number) = u16::try_from(port.port) {
            for host in host_names(namespace, name) {
                self.hosts.entry((host, number)).or_insert(address);
            }
        }
    }
}

/// The names by which cluster DNS knows a Service from any namespace.
fn host_names(namespace: &str, name: &str) -> [String; 3] {
    [format!("{name}.{namespace}"), format!("{name}.{namespace}.svc"), format!("{name}.{namespace}.svc.cluster.local")]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::parse;
    use crate::problem::Source;

    fn objects(text: &str) -> Vec<Object> {
        let parsed = parse(Source { path: "x.yaml".into(), text: text.to_owned() });
        assert_eq!(parsed.problems, []);
        parsed.objects
    }

    fn deployment(command: &str) -> String {
        format!(
            "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: catalog, namespace: shop}}\nspec:\n  selector: {{}}\n  \
             template:\n    metadata: {{labels: {{app: catalog, tier: back}}}}\n    spec:\n      containers:\n      - name: main\n        \
             image: x\n        command: {command}\n        ports: [{{name: http, containerPort: 8080}}]\n"
        )
    }

    fn service(target: &str) -> String {
        format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: books, namespace: shop}}\nspec:\n  selector: {{app: catalog}}\n  \
             ports: [{{port: 80, targetPort: {target}}}]\n"
        )
    }

    const ECHO: &str = "[/usr/bin/tollgate, backend, echo, --listen, '0.0.0.0:8080', --name, catalog]";

    fn joined(target: &str) -> Endpoints {
        let objects = objects(&(deployment(ECHO) + &service(target)));
        let wanted = wanted(objects.iter());
        let address = "127.0.0.1:4000".parse().expect("an address");
        let addresses = wanted.workloads.keys().map(|key| (key.clone(), address)).collect();
        endpoints(objects.iter(), &wanted.workloads, &addresses)
    }

    #[test]
    fn a_service_gets_the_endpoints_of_the_backends_that_it_selects() {
        for target in ["8080", "http"] {
            let found = joined(target);
            let slice = &found.slices[&("shop".to_owned(), "books-catalog".to_owned())];
            assert_eq!(slice["ports"], json!([{"name": "", "port": 4000, "protocol": "TCP"}]));
            assert_eq!(slice["endpoints"][0]["addresses"], json!(["127.0.0.1"]));
            assert!(found.hosts.contains_key(&("books.shop.svc.cluster.local".to_owned(), 80)));
            assert_eq!(found.problems, []);
        }
    }

    #[test]
    fn a_wrong_target_port_is_told() {
        let problem = &joined("8081").problems[0];
        assert_eq!(problem.field, "spec.ports[0].targetPort");
        assert_eq!(problem.fix.as_deref(), Some("write targetPort: 8080"));
    }

    #[test]
    fn foreign_and_wrong_containers_are_told_apart() {
        let foreign = wanted(objects(&deployment("[nginx]")).iter());
        assert_eq!((foreign.foreign.len(), foreign.problems.len()), (1, 0));
        let wrong = wanted(objects(&deployment("[tollgate, backend, ehco]")).iter());
        assert_eq!(wrong.problems[0].field, "spec.template.spec.containers[0].command");
        assert!(wrong.problems[0].message.contains("ehco"), "{}", wrong.problems[0].message);
    }
}
