//! The custom resources of `tollgate.dev/v1alpha1`: their Rust types, their definitions, and the checks of the API server.
//!
//! * The types ([`HttpApi`], [`Route`], …) are the only source; the YAML in the chart is generated from them ([`yaml`]).
//! * [`validate`] refuses offline what the API server refuses: schema, unknown fields and CEL rules.
//!
//! Defaults live in the schema (promise P10): the API server fills them in, and `serde` does the same for objects that
//! never saw one.

mod api_deployment;
mod api_key;
mod authorizer;
mod definitions;
mod domain_name;
mod form;
mod http_api;
mod integration;
mod principal;
mod reference;
mod route;
mod schema;
mod stage;
mod status;
mod usage_plan;
mod usage_status;
pub mod validate;
mod vpc_link;

pub use api_deployment::{ApiDeployment, ApiDeploymentSpec, ApiDeploymentStatus, DeploymentStatusCode};
pub use api_key::{ApiKey, ApiKeySpec, KeyValueSource, QuotaExtension, SecretKeyRef};
pub use authorizer::{Authorizer, AuthorizerSpec, JwtConfiguration, LambdaAuthorizerType, LambdaConfiguration};
pub use definitions::{all, yaml};
pub use domain_name::{
    ApiMapping, ApiMappingSpec, DomainName, DomainNameRef, DomainNameSpec, InvokeApi, MatchBasePaths, MatchHeader,
    MatchHeaders, MutualTlsAuthentication, RoutingAction, RoutingCondition, RoutingMode, RoutingRule, SecurityPolicy,
};
pub use http_api::{
    ApiKeySource, BasePath, ConfigMapKeyRef, Cors, EndpointType, HttpApi, HttpApiSpec, Limits, OpenApi,
};
pub use integration::{
    AwsSubtype, AwsTarget, CaKind, CaRef, HttpTarget, Integration, IntegrationSpec, IntegrationType, LambdaService,
    LambdaTarget, Method, PayloadFormatVersion, ProtocolVersion, ServiceTarget, Tls,
};
pub use principal::{AccessKeySource, Principal, PrincipalSpec};
pub use reference::{ApiKind, ApiRef, LocalRef};
pub use route::{AuthorizationType, Route, RouteSpec};
pub use stage::{AccessLogSettings, RouteSettings, Stage, StageSpec};
pub use status::{DataPlane, Status};
pub use usage_plan::{FailureMode, PlanQuota, PlanStage, PlanThrottle, QuotaPeriod, UsagePlan, UsagePlanSpec};
pub use usage_status::{CustomerUsage, PlanUsageStatus, UsagePlanStatus};
pub use vpc_link::{
    Algorithm, HealthCheck, LinkLimits, LinkedService, LoadBalancing, OutlierDetection, VpcLink, VpcLinkRef,
    VpcLinkSpec,
};

/// The group of all kinds.
pub const GROUP: &str = "tollgate.dev";
/// The version of all kinds.
pub const VERSION: &str = "v1alpha1";
/// `apiVersion` of all kinds.
pub const API_VERSION: &str = "tollgate.dev/v1alpha1";
/// The kinds, as in `kind:`.
pub const KINDS: [&str; 12] = [
    "HttpApi",
    "Route",
    "Integration",
    "Authorizer",
    "Principal",
    "Stage",
    "ApiDeployment",
    "UsagePlan",
    "ApiKey",
    "VpcLink",
    "DomainName",
    "ApiMapping",
];
