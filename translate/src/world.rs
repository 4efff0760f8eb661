//! The objects, by kind and name, with an index of who refers to whom, and a list of what changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use tollgate_crds::{
    AccessKeySource, ApiDeploymentSpec, ApiKeySpec, ApiMappingSpec, AuthorizerSpec, CaKind, CaRef, DomainNameSpec,
    HttpApiSpec, IntegrationSpec, LambdaTarget, PrincipalSpec, RouteSpec, SecretKeyRef, StageSpec, UsagePlanSpec,
    VpcLinkRef, VpcLinkSpec,
};
use tollgate_engine::snapshot::PrivateKey;

use crate::credentials::SigningKeys;
use tollgate_engine::snapshot::ContentHash;

use crate::document::is_made;
use crate::endpoints::{ServicePorts, SlicePart};
use crate::plans::KeyValue;
use crate::{AUTHORIZER_CACHE_ANNOTATION, DEPLOYMENT_ID_ANNOTATION, Kind, Object, ObjectRef};

/// The objects. Each change says whether it changed anything that translation reads; status and resource version are
/// not among that.
#[derive(Debug, Default)]
pub struct World {
    http_apis: Table<HttpApiSpec>,
    routes: Table<RouteSpec>,
    integrations: Table<IntegrationSpec>,
    authorizers: Table<AuthorizerSpec>,
    principals: Table<PrincipalSpec>,
    stages: Table<StageSpec>,
    deployments: Table<DeploymentObject>,
    usage_plans: Table<UsagePlanSpec>,
    api_keys: Table<ApiKeySpec>,
    /// What entries of Secrets are as values of API keys.
    key_values: Table<KeyValues>,
    vpc_links: Table<VpcLinkSpec>,
    domain_names: Table<DomainNameSpec>,
    api_mappings: Table<ApiMappingSpec>,
    services: Table<ServicePorts>,
    slices: Table<SlicePart>,
    certificates: Table<Certificates>,
    signing_keys: Table<SigningKeys>,
    documents: Table<Texts>,
    tls_pairs: BTreeMap<ObjectRef, Arc<TlsPair>>,
    targets: BTreeMap<ObjectRef, Vec<ObjectRef>>,
    referrers: BTreeMap<ObjectRef, BTreeSet<ObjectRef>>,
    changed: BTreeSet<ObjectRef>,
    changed_endpoints: BTreeSet<ObjectRef>,
    released: BTreeSet<ObjectRef>,
    /// Counts changes of what is referred to.
    references: u64,
}

type Table<S> = BTreeMap<ObjectRef, Arc<Item<S>>>;

/// What translation reads of an object.
#[derive(Debug, PartialEq)]
pub(crate) struct Item<S> {
    pub(crate) uid: String,
    pub(crate) generation: i64,
    pub(crate) created: Option<Time>,
    /// Of [`AUTHORIZER_CACHE_ANNOTATION`].
    pub(crate) authorizer_cache: Option<ContentHash>,
    pub(crate) spec: S,
}

impl<S> Item<S> {
    fn new(metadata: &ObjectMeta, spec: S) -> Self {
        Self {
            uid: metadata.uid.clone().unwrap_or_default(),
            generation: metadata.generation.unwrap_or_default(),
            created: metadata.creation_timestamp.clone(),
            authorizer_cache: metadata
                .annotations
                .as_ref()
                .and_then(|all| all.get(AUTHORIZER_CACHE_ANNOTATION))
                .map(ContentHash::of),
            spec,
        }
    }
}

/// An ApiDeployment and the content that it says it has.
#[derive(Debug, PartialEq)]
pub(crate) struct DeploymentObject {
    pub(crate) spec: ApiDeploymentSpec,
    pub(crate) id: Option<String>,
}

/// The certificates of a ConfigMap or Secret, by key; `None` for a key that holds something else, which is not kept.
pub(crate) type Certificates = BTreeMap<String, Option<String>>;

/// The OpenAPI documents of a ConfigMap, by key.
pub(crate) type Texts = BTreeMap<String, Arc<str>>;

/// The digests of a Secret's entries. The values themselves are not kept (promise P7).
pub(crate) type KeyValues = BTreeMap<String, KeyValue>;

/// What a Secret of type `kubernetes.io/tls` holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TlsPair {
    pub(crate) certificate: String,
    pub(crate) key: PrivateKey,
}

impl World {
    /// The object is new or has changed.
    pub fn apply(&mut self, object: Object) -> bool {
        let reference = object.reference();
        match object {
            Object::HttpApi(o) => {
                let targets = http_api_targets(&reference, &o.spec);
                put(&mut self.http_apis, reference.clone(), Item::new(&o.metadata, o.spec))
                    .then(|| self.moved(reference, targets))
            }
            Object::Route(o) => {
                let targets = route_targets(&reference, &o.spec);
                put(&mut self.routes, reference.clone(), Item::new(&o.metadata, o.spec))
                    .then(|| self.moved(reference, targets))
            }
            Object::Integration(o) => {
                let targets = integration_targets(&reference.namespace, &o.spec);
                put(&mut self.integrations, reference.clone(), Item::new(&o.metadata, o.spec))
                    .then(|| self.moved(reference, targets))
            }
            Object::Authorizer(o) => {
                let function = o.spec.lambda.iter().map(|lambda| &lambda.function);
                let targets = function
                    .flat_map(|function| function_targets(&reference.namespace, &reference.namespace, function))
                    .collect();
                put(&mut self.authorizers, reference.clone(), Item::new(&o.metadata, o.spec))
                    .then(|| self.moved(reference, targets))
            }
            Object::Principal(o) => {
                let secret = |key: &AccessKeySource| named_secret(&reference.namespace, &key.secret_ref.name);
                let targets = o.spec.access_keys.iter().map(secret).collect();
                put(&mut self.principals, reference.clone(), Item::new(&o.metadata, o.spec))
                    .then(|| self.moved(reference, targets))
            }
            Object::Stage(o) => {
                let targets = stage_targets(&reference, &o.spec);
                put(&mut self.stages, reference.clone(), Item::new(&o.metadata, o.spec))
                    .then(|| self.moved(reference, targets))
            }
            Object::ApiDeployment(o) => {
                let targets = vec![ObjectRef::new(Kind::HttpApi, &reference.namespace, &o.spec.api_ref.name)];
                let annotation = o.metadata.annotations.as_ref().and_then(|all| all.get(DEPLOYMENT_ID_ANNOTATION));
                let status = o.status.as_ref().and_then(|status| status.deployment_id.as_ref());
                let id = status.or(annotation).cloned();
                let object = DeploymentObject { spec: o.spec, id };
                put(&mut self.deployments, reference.clone(), Item::new(&o.metadata, object))
                    .then(|| self.moved(reference, targets))
            }
            Object::UsagePlan(o) => {
                let stages = o.spec.api_stages.iter().map(|stage| &stage.stage_ref.name);
                let targets = stages.map(|name| ObjectRef::new(Kind::Stage, &reference.namespace, name)).collect();
                put(&mut self.usage_plans, reference.clone(), Item::new(&o.metadata, o.spec))
                    .then(|| self.moved(reference, targets))
            }
            Object::ApiKey(o) => {
                let targets = api_key_targets(&reference, &o.spec);
                put(&mut self.api_keys, reference.clone(), Item::new(&o.metadata, o.spec))
                    .then(|| self.moved(reference, targets))
            }
            Object::VpcLink(o) => {
                let ca = o.spec.tls.as_ref().and_then(|tls| tls.ca_ref.as_ref());
                let targets = ca.map(|ca| certificates_object(&reference.namespace, ca)).into_iter().collect();
                put(&mut self.vpc_links, reference.clone(), Item::new(&o.metadata, o.spec))
                    .then(|| self.moved(reference, targets))
            }
            Object::DomainName(o) => {
                let targets = domain_name_targets(&reference.namespace, &o.spec);
                put(&mut self.domain_names, reference.clone(), Item::new(&o.metadata, o.spec))
                    .then(|| self.moved(reference, targets))
            }
            Object::ApiMapping(o) => {
                let domain = &o.spec.domain_name_ref;
                let namespace = domain.namespace.as_ref().unwrap_or(&reference.namespace);
                let targets = vec![
                    ObjectRef::new(Kind::DomainName, namespace, &domain.name),
                    ObjectRef::new(Kind::Stage, &reference.namespace, &o.spec.stage_ref.name),
                ];
                put(&mut self.api_mappings, reference.clone(), Item::new(&o.metadata, o.spec))
                    .then(|| self.moved(reference, targets))
            }
            Object::Service(o) => {
                put(&mut self.services, reference.clone(), Item::new(&o.metadata, ServicePorts::of(&o)))
                    .then(|| self.moved(reference, Vec::new()))
            }
            Object::EndpointSlice(o) => {
                let part = SlicePart::of(&o);
                let targets = part.service.iter().map(|name| ObjectRef::new(Kind::Service, &reference.namespace, name));
                let targets = targets.collect();
                let item = Item { generation: 0, ..Item::new(&o.metadata, part) };
                put(&mut self.slices, reference.clone(), item).then(|| self.moved(reference, targets))
            }
            Object::ConfigMap(o) => {
                let data = o.data.unwrap_or_default();
                let texts = data.iter().filter_map(|(key, text)| Some((key.clone(), document(text)?))).collect();
                let changed = put(&mut self.documents, reference.clone(), Item::new(&o.metadata, texts));
                let data = data.into_iter().map(|(key, text)| (key, certificates(text)));
                let certificates =
                    put(&mut self.certificates, reference.clone(), Item::new(&o.metadata, data.collect()));
                (changed || certificates).then(|| self.moved(reference, Vec::new()))
            }
            Object::Secret(o) => {
                let pair = put_pair(&mut self.tls_pairs, &reference, &o);
                let binary = o.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0));
                let strings = o.string_data.unwrap_or_default().into_iter().map(|(key, text)| (key, text.into_bytes()));
                let entries: BTreeMap<String, Vec<u8>> = binary.chain(strings).collect();
                let values = entries.iter().map(|(key, value)| (key.clone(), KeyValue::of(value))).collect();
                let keys_changed = match SigningKeys::of(&entries) {
                    Some(keys) => {
                        let item = Item { generation: 0, ..Item::new(&o.metadata, keys) };
                        put(&mut self.signing_keys, reference.clone(), item)
                    }
                    None => self.signing_keys.remove(&reference).is_some(),
                };
                let text = |bytes: Vec<u8>| String::from_utf8(bytes).ok().and_then(certificates);
                let certificates = entries.into_iter().map(|(key, value)| (key, text(value))).collect();
                let values = put(&mut self.key_values, reference.clone(), Item::new(&o.metadata, values));
                let certificates = put(&mut self.certificates, reference.clone(), Item::new(&o.metadata, certificates));
                (pair || values || keys_changed || certificates).then(|| self.moved(reference, Vec::new()))
            }
        }
        .is_some()
    }

    /// The object is gone.
    pub fn delete(&mut self, object: &ObjectRef) -> bool {
        let gone = match object.kind {
            Kind::HttpApi => self.http_apis.remove(object).is_some(),
            Kind::Route => self.routes.remove(object).is_some(),
            Kind::Integration => self.integrations.remove(object).is_some(),
            Kind::Authorizer => self.authorizers.remove(object).is_some(),
            Kind::Principal => self.principals.remove(object).is_some(),
            Kind::Stage => self.stages.remove(object).is_some(),
            Kind::ApiDeployment => self.deployments.remove(object).is_some(),
            Kind::VpcLink => self.vpc_links.remove(object).is_some(),
            Kind::Service => self.services.remove(object).is_some(),
            Kind::EndpointSlice => self.slices.remove(object).is_some(),
            Kind::UsagePlan => self.usage_plans.remove(object).is_some(),
            Kind::ApiKey => self.api_keys.remove(object).is_some(),
            Kind::DomainName => self.domain_names.remove(object).is_some(),
            Kind::ApiMapping => self.api_mappings.remove(object).is_some(),
            Kind::ConfigMap | Kind::Secret => {
                self.tls_pairs.remove(object);
                self.key_values.remove(object);
                self.documents.remove(object);
                self.signing_keys.remove(object);
                self.certificates.remove(object).is_some()
            }
        };
        if gone {
            self.moved(object.clone(), Vec::new());
        }
        gone
    }

    /// These are all objects of the kind.
    ///
    /// # Panics
    ///
    /// When an object is of another kind.
    pub fn replace(&mut self, kind: Kind, objects: Vec<Object>) -> bool {
        let kept: BTreeSet<ObjectRef> = objects.iter().map(Object::reference).collect();
        assert!(kept.iter().all(|object| object.kind == kind), "an object is not a {}", kind.as_str());
        let mut changed = false;
        for object in self.names(kind) {
            changed |= !kept.contains(&object) && self.delete(&object);
        }
        for object in objects {
            changed |= self.apply(object);
        }
        changed
    }

    /// The names of all objects of a kind, without those that were made of an OpenAPI document.
    pub fn names(&self, kind: Kind) -> Vec<ObjectRef> {
        fn of<S>(table: &Table<S>) -> Vec<ObjectRef> {
            table.keys().filter(|object| !is_made(&object.name)).cloned().collect()
        }
        match kind {
            Kind::HttpApi => of(&self.http_apis),
            Kind::Route => of(&self.routes),
            Kind::Integration => of(&self.integrations),
            Kind::Authorizer => of(&self.authorizers),
            Kind::Principal => of(&self.principals),
            Kind::Stage => of(&self.stages),
            Kind::ApiDeployment => of(&self.deployments),
            Kind::UsagePlan => of(&self.usage_plans),
            Kind::ApiKey => of(&self.api_keys),
            Kind::VpcLink => of(&self.vpc_links),
            Kind::DomainName => of(&self.domain_names),
            Kind::ApiMapping => of(&self.api_mappings),
            Kind::Service => of(&self.services),
            Kind::EndpointSlice => of(&self.slices),
            Kind::ConfigMap | Kind::Secret => {
                self.certificates.keys().filter(|object| object.kind == kind).cloned().collect()
            }
        }
    }

    /// Whether any object refers to this one, existing or not. A controller need not hold ConfigMaps and Secrets that
    /// nobody names.
    pub fn is_referenced(&self, object: &ObjectRef) -> bool {
        self.referrers.contains_key(object)
    }

    /// The objects of a kind that some object refers to, existing or not.
    pub fn referenced(&self, kind: Kind) -> impl Iterator<Item = &ObjectRef> {
        let all = self.referrers.range(ObjectRef::new(kind, "", "")..).map(|(object, _)| object);
        all.take_while(move |object| object.kind == kind)
    }

    /// Counts changes of who refers to what: with the same number, [`World::referenced`] and [`World::is_referenced`] say the same.
    pub fn references(&self) -> u64 {
        self.references
    }

    /// The ApiKey that names no value, so that this Secret is made for it when there is none, and its uid.
    pub fn generated_for(&self, secret: &ObjectRef) -> Option<(ObjectRef, &str)> {
        let name = SecretKeyRef::generated_for(&secret.name)?;
        let key = ObjectRef::new(Kind::ApiKey, &secret.namespace, name);
        let item = self.api_keys.get(&key).filter(|item| item.spec.value_from.is_none())?;
        (secret.kind == Kind::Secret).then_some((key, &item.uid))
    }

    pub(crate) fn http_api(&self, object: &ObjectRef) -> Option<&Arc<Item<HttpApiSpec>>> {
        self.http_apis.get(object)
    }

    pub(crate) fn route(&self, object: &ObjectRef) -> Option<&Arc<Item<RouteSpec>>> {
        self.routes.get(object)
    }

    pub(crate) fn integration(&self, object: &ObjectRef) -> Option<&Arc<Item<IntegrationSpec>>> {
        self.integrations.get(object)
    }

    pub(crate) fn authorizer(&self, object: &ObjectRef) -> Option<&Arc<Item<AuthorizerSpec>>> {
        self.authorizers.get(object)
    }

    pub(crate) fn principal(&self, object: &ObjectRef) -> Option<&Arc<Item<PrincipalSpec>>> {
        self.principals.get(object)
    }

    pub(crate) fn stage(&self, object: &ObjectRef) -> Option<&Arc<Item<StageSpec>>> {
        self.stages.get(object)
    }

    pub(crate) fn deployment(&self, object: &ObjectRef) -> Option<&Arc<Item<DeploymentObject>>> {
        self.deployments.get(object)
    }

    pub(crate) fn usage_plan(&self, object: &ObjectRef) -> Option<&Arc<Item<UsagePlanSpec>>> {
        self.usage_plans.get(object)
    }

    pub(crate) fn api_key(&self, object: &ObjectRef) -> Option<&Arc<Item<ApiKeySpec>>> {
        self.api_keys.get(object)
    }

    pub(crate) fn key_values(&self, secret: &ObjectRef) -> Option<&Arc<Item<KeyValues>>> {
        self.key_values.get(secret)
    }

    pub(crate) fn vpc_link(&self, object: &ObjectRef) -> Option<&Arc<Item<VpcLinkSpec>>> {
        self.vpc_links.get(object)
    }

    pub(crate) fn domain_name(&self, object: &ObjectRef) -> Option<&Arc<Item<DomainNameSpec>>> {
        self.domain_names.get(object)
    }

    pub(crate) fn api_mapping(&self, object: &ObjectRef) -> Option<&Arc<Item<ApiMappingSpec>>> {
        self.api_mappings.get(object)
    }

    /// The certificate and key of a Secret that has both.
    pub(crate) fn tls_pair(&self, object: &ObjectRef) -> Option<&Arc<TlsPair>> {
        self.tls_pairs.get(object)
    }

    pub(crate) fn service(&self, object: &ObjectRef) -> Option<&Arc<Item<ServicePorts>>> {
        self.services.get(object)
    }

    pub(crate) fn slice(&self, object: &ObjectRef) -> Option<&Arc<Item<SlicePart>>> {
        self.slices.get(object)
    }

    pub(crate) fn documents(&self, object: &ObjectRef) -> Option<&Arc<Item<Texts>>> {
        self.documents.get(object)
    }

    pub(crate) fn signing_keys(&self, secret: &ObjectRef) -> Option<&Arc<Item<SigningKeys>>> {
        self.signing_keys.get(secret)
    }

    pub(crate) fn certificates(&self, object: &ObjectRef) -> Option<&Arc<Item<Certificates>>> {
        self.certificates.get(object)
    }

    /// The objects of a kind that refer to `target`, in order of their names.
    pub(crate) fn referrers(&self, target: &ObjectRef, kind: Kind) -> impl Iterator<Item = &ObjectRef> {
        let from = ObjectRef::new(kind, "", "");
        let all = self.referrers.get(target).into_iter().flat_map(move |all| all.range(from.clone()..));
        all.take_while(move |object| object.kind == kind)
    }

    /// Whether the object exists.
    pub fn contains(&self, object: &ObjectRef) -> bool {
        match object.kind {
            Kind::HttpApi => self.http_apis.contains_key(object),
            Kind::Route => self.routes.contains_key(object),
            Kind::Integration => self.integrations.contains_key(object),
            Kind::Authorizer => self.authorizers.contains_key(object),
            Kind::Principal => self.principals.contains_key(object),
            Kind::Stage => self.stages.contains_key(object),
            Kind::ApiDeployment => self.deployments.contains_key(object),
            Kind::UsagePlan => self.usage_plans.contains_key(object),
            Kind::ApiKey => self.api_keys.contains_key(object),
            Kind::VpcLink => self.vpc_links.contains_key(object),
            Kind::DomainName => self.domain_names.contains_key(object),
            Kind::ApiMapping => self.api_mappings.contains_key(object),
            Kind::Service => self.services.contains_key(object),
            Kind::EndpointSlice => self.slices.contains_key(object),
            Kind::ConfigMap | Kind::Secret => self.certificates.contains_key(object),
        }
    }

    /// Something outside the world that the object depends on has changed.
    pub(crate) fn touch(&mut self, object: &ObjectRef) {
        self.changed.insert(object.clone());
    }

    /// What changed since the last call.
    pub(crate) fn take_changed(&mut self) -> BTreeSet<ObjectRef> {
        std::mem::take(&mut self.changed)
    }

    /// The Services whose pods may have changed since the last call.
    pub(crate) fn take_changed_endpoints(&mut self) -> BTreeSet<ObjectRef> {
        std::mem::take(&mut self.changed_endpoints)
    }

    /// What objects no longer refer to since the last call.
    pub(crate) fn take_released(&mut self) -> BTreeSet<ObjectRef> {
        std::mem::take(&mut self.released)
    }

    /// Marks `object` as changed, and replaces what it refers to. A slice tells about its Service's pods only, those
    /// that it belonged to included.
    fn moved(&mut self, object: ObjectRef, targets: Vec<ObjectRef>) {
        let before = self.targets.remove(&object).unwrap_or_default();
        match object.kind {
            Kind::EndpointSlice => self.changed_endpoints.extend(before.iter().chain(&targets).cloned()),
            Kind::Service => {
                self.changed_endpoints.insert(object.clone());
                self.changed.insert(object.clone());
            }
            _ => {
                self.changed.insert(object.clone());
            }
        }
        self.references += u64::from(before != targets);
        self.released.extend(before.iter().filter(|target| !targets.contains(target)).cloned());
        for target in before {
            if let Some(all) = self.referrers.get_mut(&target) {
                all.remove(&object);
                if all.is_empty() {
                    self.referrers.remove(&target);
                }
            }
        }
        for target in &targets {
            self.referrers.entry(target.clone()).or_default().insert(object.clone());
        }
        if !targets.is_empty() {
            self.targets.insert(object, targets);
        }
    }
}

/// Whether the table changed.
fn put<S: PartialEq>(table: &mut Table<S>, object: ObjectRef, item: Item<S>) -> bool {
    match table.get_mut(&object) {
        Some(known) if **known == item => false,
        Some(known) => {
            *known = Arc::new(item);
            true
        }
        None => {
            table.insert(object, Arc::new(item));
            true
        }
    }
}

fn http_api_targets(api: &ObjectRef, spec: &HttpApiSpec) -> Vec<ObjectRef> {
    let document = spec.openapi.as_ref().and_then(|openapi| openapi.config_map_key_ref.as_ref());
    document.map(|from| ObjectRef::new(Kind::ConfigMap, &api.namespace, &from.name)).into_iter().collect()
}

/// Keeps what the Secret's `tls.crt` and `tls.key` hold; whether that is new.
fn put_pair(
    pairs: &mut BTreeMap<ObjectRef, Arc<TlsPair>>,
    object: &ObjectRef,
    secret: &k8s_openapi::api::core::v1::Secret,
) -> bool {
    let text = |key: &str| {
        let plain = secret.string_data.as_ref().and_then(|all| all.get(key).cloned());
        let binary = || String::from_utf8(secret.data.as_ref()?.get(key)?.0.clone()).ok();
        plain.or_else(binary)
    };
    let pair = text("tls.crt").zip(text("tls.key"));
    let pair = pair.map(|(certificate, key)| Arc::new(TlsPair { certificate, key: PrivateKey::new(key) }));
    if pairs.get(object) == pair.as_ref() {
        return false;
    }
    match pair {
        Some(pair) => pairs.insert(object.clone(), pair),
        None => pairs.remove(object),
    };
    true
}

fn domain_name_targets(namespace: &str, spec: &DomainNameSpec) -> Vec<ObjectRef> {
    let secret = spec.certificate_secret_ref.iter().map(|to| ObjectRef::new(Kind::Secret, namespace, &to.name));
    let trust = spec.mutual_tls_authentication.iter().map(|to| certificates_object(namespace, &to.truststore_ref));
    let actions = spec.routing_rules.iter().flat_map(|rule| &rule.actions);
    let stages = actions.map(|action| ObjectRef::new(Kind::Stage, namespace, &action.invoke_api.stage_ref.name));
    secret.chain(trust).chain(stages).collect()
}

fn route_targets(route: &ObjectRef, spec: &RouteSpec) -> Vec<ObjectRef> {
    let named = |kind, name: &str| ObjectRef::new(kind, &route.namespace, name);
    let mut targets = vec![named(Kind::HttpApi, &spec.api_ref.name)];
    targets.extend(spec.integration_ref.iter().map(|to| named(Kind::Integration, &to.name)));
    targets.extend(spec.authorizer_ref.iter().map(|to| named(Kind::Authorizer, &to.name)));
    targets.extend(spec.integration.iter().flat_map(|spec| integration_targets(&route.namespace, spec)));
    targets
}

fn integration_targets(namespace: &str, spec: &IntegrationSpec) -> Vec<ObjectRef> {
    let named = |kind, name: &str| ObjectRef::new(kind, namespace, name);
    let link = spec.vpc_link_ref.as_ref().map(|to| link_object(namespace, to));
    let of_service = link.as_ref().map_or(namespace, |link| &link.namespace);
    let service = spec.service.iter().map(|service| ObjectRef::new(Kind::Service, of_service, &service.name));
    let function = spec.lambda.iter().flat_map(|lambda| function_targets(namespace, of_service, lambda));
    let keys = spec.aws.iter().map(|aws| named(Kind::Secret, &aws.credentials_ref.name));
    let certificates = spec.tls.as_ref().and_then(|tls| tls.ca_ref.as_ref());
    let certificates = certificates.map(|ca| certificates_object(namespace, ca));
    let mut targets: Vec<ObjectRef> = service.chain(function).chain(keys).chain(certificates).collect();
    targets.extend(link);
    targets
}

/// `of_service` is the namespace of its Service.
fn function_targets(namespace: &str, of_service: &str, function: &LambdaTarget) -> Vec<ObjectRef> {
    let service = function.service.iter().map(|service| ObjectRef::new(Kind::Service, of_service, &service.name));
    let keys = function.credentials_ref.iter().map(|secret| ObjectRef::new(Kind::Secret, namespace, &secret.name));
    service.chain(keys).collect()
}

/// The object that a `vpcLinkRef` names.
pub(crate) fn link_object(namespace: &str, to: &VpcLinkRef) -> ObjectRef {
    ObjectRef::new(Kind::VpcLink, to.namespace.as_deref().unwrap_or(namespace), &to.name)
}

/// The object that a `caRef` names.
pub(crate) fn certificates_object(namespace: &str, ca: &CaRef) -> ObjectRef {
    let kind = match ca.kind {
        CaKind::ConfigMap => Kind::ConfigMap,
        CaKind::Secret => Kind::Secret,
    };
    ObjectRef::new(kind, namespace, &ca.name)
}

fn stage_targets(stage: &ObjectRef, spec: &StageSpec) -> Vec<ObjectRef> {
    let api = ObjectRef::new(Kind::HttpApi, &stage.namespace, &spec.api_ref.name);
    let deployment = spec.deployment_ref.as_ref();
    let deployment = deployment.map(|to| ObjectRef::new(Kind::ApiDeployment, &stage.namespace, &to.name));
    std::iter::once(api).chain(deployment).collect()
}

/// What may be an OpenAPI document, or what people take for one.
fn document(text: &str) -> Option<Arc<str>> {
    (text.contains("openapi") || text.contains("swagger")).then(|| text.into())
}

fn api_key_targets(key: &ObjectRef, spec: &ApiKeySpec) -> Vec<ObjectRef> {
    let previous = spec.previous_value_from.as_ref().map(|from| from.secret_key_ref.name.clone());
    let secrets = std::iter::once(spec.value_ref(&key.name).name).chain(previous);
    let mut targets: Vec<ObjectRef> = secrets.map(|name| ObjectRef::new(Kind::Secret, &key.namespace, name)).collect();
    targets.dedup();
    let plans = spec.usage_plan_refs.iter();
    targets.extend(plans.map(|plan| ObjectRef::new(Kind::UsagePlan, &key.namespace, &plan.name)));
    targets
}

fn named_secret(namespace: &str, name: &str) -> ObjectRef {
    ObjectRef::new(Kind::Secret, namespace, name)
}

/// Beside access keys only certificates are kept: other secrets have no business here (promise P7), and the keys of custom domains
/// stand apart.
fn certificates(text: String) -> Option<String> {
    (text.contains("-----BEGIN CERTIFICATE-----") && !text.contains("PRIVATE KEY")).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(value: serde_json::Value) -> Object {
        Object::from_value(value).unwrap().unwrap()
    }

    fn route(port: u16, version: &str) -> Object {
        object(json!({
            "apiVersion": "tollgate.dev/v1alpha1",
            "kind": "Route",
            "metadata": {"name": "r", "namespace": "n", "resourceVersion": version},
            "spec": {
                "apiRef": {"name": "shop"},
                "routeKey": "GET /",
                "integration": {"service": {"name": "web", "port": port}}
            }
        }))
    }

    #[test]
    fn only_what_is_translated_counts_as_a_change() {
        let mut world = World::default();
        assert!(world.apply(route(80, "1")));
        assert!(!world.apply(route(80, "2")), "another resource version alone");
        assert!(world.apply(route(81, "3")));
        let name = ObjectRef::new(Kind::Route, "n", "r");
        assert!(world.delete(&name));
        assert!(!world.delete(&name));
        assert!(world.take_changed().contains(&name));
    }

    #[test]
    fn a_list_replaces_all_objects_of_its_kind() {
        let mut world = World::default();
        world.apply(route(80, "1"));
        assert!(!world.replace(Kind::Route, vec![route(80, "1")]));
        assert!(world.replace(Kind::Route, Vec::new()));
        assert!(world.names(Kind::Route).is_empty());
    }

    #[test]
    fn references_follow_the_objects() {
        let mut world = World::default();
        let service = ObjectRef::new(Kind::Service, "n", "web");
        world.apply(route(80, "1"));
        assert!(world.is_referenced(&service));
        world.delete(&ObjectRef::new(Kind::Route, "n", "r"));
        assert!(!world.is_referenced(&service));
    }

    /// Proves P7.
    #[test]
    fn private_keys_are_not_kept() {
        let mut world = World::default();
        let secret = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "s", "namespace": "n"},
            "stringData": {
                "ca.crt": "-----BEGIN CERTIFICATE-----",
                "tls.key": "-----BEGIN PRIVATE KEY-----",
                "both": "-----BEGIN CERTIFICATE----- -----BEGIN PRIVATE KEY-----"
            }
        });
        world.apply(object(secret));
        let kept = &world.certificates(&ObjectRef::new(Kind::Secret, "n", "s")).unwrap().spec;
        assert!(kept["ca.crt"].is_some());
        assert_eq!((&kept["tls.key"], &kept["both"]), (&None, &None));
    }
}
