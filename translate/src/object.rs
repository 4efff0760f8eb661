//! Objects as they come from the API server or from files, and the names they have.

use std::fmt;

use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tollgate_crds::{
    ApiDeployment, ApiKey, ApiMapping, Authorizer, DomainName, HttpApi, Integration, Principal, Route, Stage,
    UsagePlan, VpcLink,
};

/// On an ApiDeployment that the controller made for a stage with `autoDeploy`: the hash of the content that it captures.
pub const DEPLOYMENT_ID_ANNOTATION: &str = "tollgate.dev/deployment-id";

/// On a Stage: with every new value the answers of authorizers' functions that are kept for the stage are forgotten (H-LA-36).
pub const AUTHORIZER_CACHE_ANNOTATION: &str = "tollgate.dev/authorizer-cache";

/// The kinds of objects that are translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    HttpApi,
    Route,
    Integration,
    Authorizer,
    Principal,
    Stage,
    ApiDeployment,
    UsagePlan,
    ApiKey,
    VpcLink,
    DomainName,
    ApiMapping,
    Service,
    EndpointSlice,
    ConfigMap,
    Secret,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 16] = [
        Self::HttpApi,
        Self::Route,
        Self::Integration,
        Self::Authorizer,
        Self::Principal,
        Self::Stage,
        Self::ApiDeployment,
        Self::UsagePlan,
        Self::ApiKey,
        Self::VpcLink,
        Self::DomainName,
        Self::ApiMapping,
        Self::Service,
        Self::EndpointSlice,
        Self::ConfigMap,
        Self::Secret,
    ];

    /// As in `kind:`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HttpApi => "HttpApi",
            Self::Route => "Route",
            Self::Integration => "Integration",
            Self::Authorizer => "Authorizer",
            Self::Principal => "Principal",
            Self::Stage => "Stage",
            Self::ApiDeployment => "ApiDeployment",
            Self::UsagePlan => "UsagePlan",
            Self::ApiKey => "ApiKey",
            Self::VpcLink => "VpcLink",
            Self::DomainName => "DomainName",
            Self::ApiMapping => "ApiMapping",
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
        }
    }

    /// As in `apiVersion:`.
    pub fn api_version(self) -> &'static str {
        match self {
            Self::Service | Self::ConfigMap | Self::Secret => "v1",
            Self::EndpointSlice => "discovery.k8s.io/v1",
            _ => tollgate_crds::API_VERSION,
        }
    }

    /// One of ours, which has a status.
    pub fn is_ours(self) -> bool {
        self.api_version() == tollgate_crds::API_VERSION
    }

    fn of(api_version: &str, kind: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == kind && known.api_version() == api_version)
    }
}

/// Names one object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectRef {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl ObjectRef {
    /// Names an object.
    pub fn new(kind: Kind, namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { kind, namespace: namespace.into(), name: name.into() }
    }

    /// `namespace/name`, as in the `source` of snapshot types.
    pub fn source(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind.as_str(), self.namespace, self.name)
    }
}

/// An object of one of the translated kinds.
#[derive(Clone, Debug)]
pub enum Object {
    HttpApi(Box<HttpApi>),
    Route(Box<Route>),
    Integration(Box<Integration>),
    Authorizer(Box<Authorizer>),
    Principal(Box<Principal>),
    Stage(Box<Stage>),
    ApiDeployment(Box<ApiDeployment>),
    UsagePlan(Box<UsagePlan>),
    ApiKey(Box<ApiKey>),
    VpcLink(Box<VpcLink>),
    DomainName(Box<DomainName>),
    ApiMapping(Box<ApiMapping>),
    Service(Box<Service>),
    EndpointSlice(Box<EndpointSlice>),
    ConfigMap(Box<ConfigMap>),
    Secret(Box<Secret>),
}

impl Object {
    /// The object that a JSON document describes; `None` for kinds that are not translated.
    ///
    /// # Errors
    ///
    /// When the document does not have the shape of its kind. For our own kinds, `tollgate_crds::validate` says more.
    pub fn from_value(value: Value) -> Result<Option<Self>, serde_json::Error> {
        fn read<T: DeserializeOwned>(value: Value) -> Result<Box<T>, serde_json::Error> {
            serde_json::from_value(value).map(Box::new)
        }
        let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default();
        let Some(kind) = Kind::of(text("apiVersion"), text("kind")) else { return Ok(None) };
        Ok(Some(match kind {
            Kind::HttpApi => Self::HttpApi(read(value)?),
            Kind::Route => Self::Route(read(value)?),
            Kind::Integration => Self::Integration(read(value)?),
            Kind::Authorizer => Self::Authorizer(read(value)?),
            Kind::Principal => Self::Principal(read(value)?),
            Kind::Stage => Self::Stage(read(value)?),
            Kind::ApiDeployment => Self::ApiDeployment(read(value)?),
            Kind::UsagePlan => Self::UsagePlan(read(value)?),
            Kind::ApiKey => Self::ApiKey(read(value)?),
            Kind::VpcLink => Self::VpcLink(read(value)?),
            Kind::DomainName => Self::DomainName(read(value)?),
            Kind::ApiMapping => Self::ApiMapping(read(value)?),
            Kind::Service => Self::Service(read(value)?),
            Kind::EndpointSlice => Self::EndpointSlice(read(value)?),
            Kind::ConfigMap => Self::ConfigMap(read(value)?),
            Kind::Secret => Self::Secret(read(value)?),
        }))
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::HttpApi(_) => Kind::HttpApi,
            Self::Route(_) => Kind::Route,
            Self::Integration(_) => Kind::Integration,
            Self::Authorizer(_) => Kind::Authorizer,
            Self::Principal(_) => Kind::Principal,
            Self::Stage(_) => Kind::Stage,
            Self::ApiDeployment(_) => Kind::ApiDeployment,
            Self::UsagePlan(_) => Kind::UsagePlan,
            Self::ApiKey(_) => Kind::ApiKey,
            Self::VpcLink(_) => Kind::VpcLink,
            Self::DomainName(_) => Kind::DomainName,
            Self::ApiMapping(_) => Kind::ApiMapping,
            Self::Service(_) => Kind::Service,
            Self::EndpointSlice(_) => Kind::EndpointSlice,
            Self::ConfigMap(_) => Kind::ConfigMap,
            Self::Secret(_) => Kind::Secret,
        }
    }

    /// Its metadata.
    pub fn metadata(&self) -> &ObjectMeta {
        match self {
            Self::HttpApi(object) => &object.metadata,
            Self::Route(object) => &object.metadata,
            Self::Integration(object) => &object.metadata,
            Self::Authorizer(object) => &object.metadata,
            Self::Principal(object) => &object.metadata,
            Self::Stage(object) => &object.metadata,
            Self::ApiDeployment(object) => &object.metadata,
            Self::UsagePlan(object) => &object.metadata,
            Self::ApiKey(object) => &object.metadata,
            Self::VpcLink(object) => &object.metadata,
            Self::DomainName(object) => &object.metadata,
            Self::ApiMapping(object) => &object.metadata,
            Self::Service(object) => &object.metadata,
            Self::EndpointSlice(object) => &object.metadata,
            Self::ConfigMap(object) => &object.metadata,
            Self::Secret(object) => &object.metadata,
        }
    }

    /// Its name. A missing namespace is `default`, as kubectl has it.
    pub fn reference(&self) -> ObjectRef {
        let metadata = self.metadata();
        ObjectRef {
            kind: self.kind(),
            namespace: metadata.namespace.clone().unwrap_or_else(|| "default".to_owned()),
            name: metadata.name.clone().unwrap_or_default(),
        }
    }
}

macro_rules! from_objects {
    ($($kind:ident),*) => {$(
        impl From<$kind> for Object {
            fn from(object: $kind) -> Self {
                Self::$kind(Box::new(object))
            }
        }
    )*};
}

from_objects!(
    HttpApi,
    Route,
    Integration,
    Authorizer,
    Principal,
    Stage,
    ApiDeployment,
    UsagePlan,
    ApiKey,
    VpcLink,
    DomainName,
    ApiMapping,
    Service,
    EndpointSlice,
    ConfigMap,
    Secret
);
