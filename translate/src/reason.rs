//! The catalogue of reasons in conditions. Reasons are for programs, so they never change meaning.

use std::fmt;

macro_rules! reasons {
    ($($name:ident: $meaning:literal,)*) => {
        /// Why a condition is what it is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason {
            $(#[doc = $meaning] $name,)*
        }

        impl Reason {
            /// The whole catalogue.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// As in the condition.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }

            /// What it means, for the documentation.
            pub fn meaning(self) -> &'static str {
                match self {
                    $(Self::$name => $meaning,)*
                }
            }
        }
    };
}

reasons! {
    Accepted: "The object is valid and part of the configuration.",
    ResolvedRefs: "Everything that the object refers to was found and can be read.",
    Invalid: "A field has a value that cannot be served; the message names it. The last accepted version keeps serving.",
    RouteKeyConflict: "An older Route of the API has the same route key, perhaps with other variable names. The older one serves.",
    StageNameConflict: "An older Stage of the API has the same stageName. The older one serves.",
    ApiIdConflict: "An older API of the cluster has the same apiId.",
    LimitExceeded: "The API has as many routes, stages or authorizers as spec.limits of the HttpApi allows. Those that were there first serve.",
    RouteSettingsKeyNotFound: "A key of routeSettings is not the routeKey of a Route of the API.",
    NoRoutes: "The API has no routes yet, so there is nothing to capture.",
    ApiNotFound: "The API that apiRef names does not exist in the namespace.",
    ApiNotAccepted: "The API that apiRef names was refused and never had an accepted version, so none of its routes is served.",
    IntegrationNotFound: "The Integration that integrationRef names does not exist in the namespace.",
    IntegrationNotAccepted: "The Integration that integrationRef names was refused and never had an accepted version.",
    AuthorizerNotFound: "The Authorizer that authorizerRef names does not exist in the namespace.",
    AuthorizerNotAccepted: "The Authorizer that authorizerRef names was refused and never had an accepted version.",
    ServiceNotFound: "The Service does not exist in the namespace. The route is served and answers 503 until it does.",
    ServicePortNotFound: "The Service has no such port. The route is served and answers 503 until it has.",
    CredentialsNotFound: "The Secret with the keys for AWS does not exist or lacks them. The route is served and answers 500 until it has them.",
    CertificatesNotFound: "The ConfigMap, the Secret or its key does not exist.",
    CertificatesInvalid: "The key of the ConfigMap or Secret holds no PEM certificate.",
    VpcLinkNotFound: "The VpcLink that vpcLinkRef names does not exist.",
    VpcLinkNotAllowed: "The VpcLink does not open the Service, or not to this namespace. Requests get 503.",
    VpcLinkNotAccepted: "The VpcLink that vpcLinkRef names was refused.",
    DocumentNotFound: "The ConfigMap of an OpenAPI document does not exist, or its key holds none. What the document gave before keeps serving.",
    CertificateNameMismatch: "The certificate is not for the domain's name. The last accepted version keeps serving.",
    CertificateExpired: "The certificate is valid no more, or not yet. The last accepted version keeps serving.",
    TruststoreInvalid: "The truststore holds no certificate that can be used, or breaks a limit. The last accepted version keeps serving.",
    TruststoreWarnings: "Some certificates of the truststore are left out; the message names them.",
    DomainNameConflict: "An older DomainName has the same host. The older one serves.",
    DomainNotFound: "The DomainName that domainNameRef names does not exist.",
    DomainNotAccepted: "The DomainName that domainNameRef names is refused because its host belongs to an older one.",
    NamespaceNotAllowed: "The DomainName does not list the ApiMapping's namespace in allowedNamespaces.",
    MappingKeyConflict: "An older ApiMapping of the domain has the same apiMappingKey. The older one serves.",
    StageNotAccepted: "The Stage that stageRef names was refused and never had an accepted version.",
    SecretNotFound: "The Secret does not exist in the namespace. What it holds is not known until it does.",
    SecretInvalid: "The Secret lacks a key that it needs.",
    AccessKeyConflict: "An older Principal of the namespace has the same access key. The older one keeps it.",
    DeploymentNotFound: "The ApiDeployment that deploymentRef names does not exist in the namespace or belongs to another API.",
    DeploymentPending: "The content of the ApiDeployment is not known yet.",
    StageNotFound: "The Stage that a stageRef names does not exist in the namespace.",
    UsagePlanNotFound: "A UsagePlan that usagePlanRefs names does not exist in the namespace.",
    UsagePlanConflict: "Two plans of the key contain the same stage. The one that usagePlanRefs names first counts there.",
    KeyValueNotFound: "The Secret or the entry that holds the value of the key does not exist. Requests with the key are refused.",
    KeyValuePending: "The key names no value, and there is no Secret yet that one was generated into.",
    KeyValueInvalid: "The value of the key is too short or too long, or could not be sent in a header.",
    KeyValueConflict: "Another ApiKey has the same value. Requests count for that one.",
    NoStage: "No Stage of the API serves it, so nothing reaches it.",
    NotDeployed: "No stage serves this version: none has autoDeploy, and no deployment in use holds it.",
    NotUsed: "Nothing refers to the object, so there is nothing to serve.",
    NotAccepted: "This version was refused, so it is not served; see the condition Accepted or ResolvedRefs.",
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
