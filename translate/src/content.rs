//! Units, serialised and hashed once.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::sync::{Arc, OnceLock};

use tollgate_engine::snapshot::{ContentHash, Deployment, SecretName, ServicePort, Unit};

use crate::backend::service_of;
use crate::{authorizer, credentials};

/// A unit as JSON, and the hash of that. Its `Debug` leaves the content out, which may be secret (promise P7).
#[derive(Clone)]
pub(crate) struct Content {
    pub(crate) hash: ContentHash,
    pub(crate) json: Arc<str>,
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content").field("hash", &self.hash).finish_non_exhaustive()
    }
}

impl Content {
    pub(crate) fn of(unit: &Unit) -> Self {
        let json = serde_json::to_string(unit).expect("snapshot types have string keys and no failing serializer");
        Self::of_json(json)
    }

    pub(crate) fn of_json(json: String) -> Self {
        Self { hash: ContentHash::of_json(json.as_bytes()), json: json.into() }
    }
}

/// A deployment, with what others ask about it.
#[derive(Debug)]
pub(crate) struct Built {
    pub(crate) content: Content,
    /// Whose endpoints it needs.
    pub(crate) services: BTreeSet<ServicePort>,
    /// Whose keys it signs with.
    pub(crate) secrets: BTreeSet<SecretName>,
    /// The keys of its routes.
    pub(crate) keys: HashSet<Arc<str>>,
    parsed: OnceLock<Deployment>,
}

impl Built {
    pub(crate) fn new(
        content: Content,
        services: BTreeSet<ServicePort>,
        secrets: BTreeSet<SecretName>,
        keys: HashSet<Arc<str>>,
    ) -> Self {
        Self { content, services, secrets, keys, parsed: OnceLock::new() }
    }

    /// A deployment that an earlier controller built.
    pub(crate) fn restored(deployment: Deployment) -> Arc<Self> {
        let deciding = deployment.authorizers.values().filter_map(authorizer::service_of);
        let services = deployment.integrations.values().filter_map(service_of).chain(deciding).cloned().collect();
        let signing = deployment.authorizers.values().filter_map(credentials::of_authorizer);
        let secrets =
            deployment.integrations.values().filter_map(credentials::of_integration).chain(signing).cloned().collect();
        let keys = deployment.routes.iter().map(|route| route.key.as_str().into()).collect();
        Arc::new(Self::new(Content::of(&Unit::Deployment(deployment)), services, secrets, keys))
    }

    pub(crate) fn hash(&self) -> &ContentHash {
        &self.content.hash
    }

    /// Read back from the JSON, when someone asks for the first time.
    pub(crate) fn deployment(&self) -> &Deployment {
        self.parsed.get_or_init(|| match Unit::from_json(&self.content.json) {
            Ok(Unit::Deployment(deployment)) => deployment,
            other => unreachable!("the JSON is that of a deployment: {other:?}"),
        })
    }
}
