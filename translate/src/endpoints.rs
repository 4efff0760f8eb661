//! Endpoints of services: from EndpointSlices and the Service's ports.

use std::collections::BTreeSet;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use tollgate_engine::snapshot::{BackendProtocol, Endpoint, Endpoints, ServicePort};

use crate::{Kind, ObjectRef, World};

/// The label by which slices name their Service.
const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// What translation reads of a Service.
#[derive(Debug, PartialEq)]
pub(crate) struct ServicePorts {
    ports: Vec<Port>,
    /// Stands for a DNS name, so it has no endpoints.
    external_name: bool,
}

/// A TCP port of a Service.
#[derive(Debug, PartialEq)]
struct Port {
    number: u16,
    /// A single port may have none.
    name: String,
    protocol: Option<BackendProtocol>,
}

/// `appProtocol` names that mean HTTP/2: the standard one for HTTP/2 with prior knowledge (KEP-3726), and those that meshes use. With TLS
/// towards the backend it is HTTP/2 by ALPN. Others say nothing that matters here.
fn protocol_of(name: &str) -> Option<BackendProtocol> {
    matches!(name, "kubernetes.io/h2c" | "grpc" | "http2" | "h2c").then_some(BackendProtocol::Http2)
}

impl ServicePorts {
    pub(crate) fn of(service: &Service) -> Self {
        let spec = service.spec.as_ref();
        let ports = spec.and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
        let tcp = ports.iter().filter(|port| port.protocol.as_deref().unwrap_or("TCP") == "TCP");
        let numbered = tcp.filter_map(|port| {
            Some(Port {
                number: u16::try_from(port.port).ok()?,
                name: port.name.clone().unwrap_or_default(),
                protocol: port.app_protocol.as_deref().and_then(protocol_of),
            })
        });
        let external_name = spec.and_then(|spec| spec.type_.as_deref()) == Some("ExternalName");
        Self { ports: numbered.collect(), external_name }
    }

    fn port(&self, number: u16) -> Option<&Port> {
        self.ports.iter().find(|port| port.number == number)
    }
}

/// What translation reads of an EndpointSlice.
#[derive(Debug, PartialEq)]
pub(crate) struct SlicePart {
    /// The Service that it belongs to.
    pub(crate) service: Option<String>,
    ready: BTreeSet<IpAddr>,
    ports: Vec<(String, u16)>,
}

impl SlicePart {
    pub(crate) fn of(slice: &EndpointSlice) -> Self {
        let labels = slice.metadata.labels.as_ref();
        // An absent condition means ready (EndpointConditions in the Kubernetes API reference).
        let ready = slice
            .endpoints
            .iter()
            .filter(|endpoint| endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true));
        let addresses = ready.flat_map(|endpoint| &endpoint.addresses).filter_map(|address| address.parse().ok());
        let ports = slice.ports.iter().flatten().filter(|port| port.protocol.as_deref().unwrap_or("TCP") == "TCP");
        let ports = ports.filter_map(|port| {
            let number = u16::try_from(port.port?).ok()?;
            Some((port.name.clone().unwrap_or_default(), number))
        });
        Self {
            service: labels.and_then(|labels| labels.get(SERVICE_NAME_LABEL)).cloned(),
            ready: addresses.collect(),
            ports: ports.collect(),
        }
    }
}

/// Why a service port has no endpoints and never will as things stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    Service,
    Port,
    ExternalName,
}

/// Whether the Service exists and has the port.
pub(crate) fn look_up(world: &World, port: &ServicePort) -> Result<(), Missing> {
    let service = ObjectRef::new(Kind::Service, &port.namespace, &port.name);
    let ports = &world.service(&service).ok_or(Missing::Service)?.spec;
    match ports.port(port.port) {
        _ if ports.external_name => Err(Missing::ExternalName),
        Some(_) => Ok(()),
        None => Err(Missing::Port),
    }
}

/// The ready endpoints of a service port: sorted, without duplicates, empty when there is no such port.
pub(crate) fn endpoints(world: &World, port: &ServicePort) -> Endpoints {
    let service = ObjectRef::new(Kind::Service, &port.namespace, &port.name);
    let mut found = BTreeSet::new();
    let known = world.service(&service).and_then(|item| item.spec.port(port.port));
    if let Some(Port { name, .. }) = known {
        let slices = world.referrers(&service, Kind::EndpointSlice).filter_map(|slice| world.slice(slice));
        for slice in slices {
            for &(_, number) in slice.spec.ports.iter().filter(|(of, _)| of == name) {
                found.extend(slice.spec.ready.iter().map(|&address| (address, number)));
            }
        }
    }
    Endpoints {
        service: port.clone(),
        endpoints: found.into_iter().map(|(address, port)| Endpoint { address, port }).collect(),
        protocol: known.and_then(|port| port.protocol),
    }
}
