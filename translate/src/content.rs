//! Units, serialised and hashed once.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use tollgate_engine::snapshot::{ContentHash, Deployment, ServicePort, Unit};

use crate::backend::service_of;

/// A unit with its JSON and the hash of that.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    pub(crate) hash: ContentHash,
    pub(crate) unit: Arc<Unit>,
    pub(crate) json: Arc<str>,
}

impl Content {
    pub(crate) fn of(unit: Unit) -> Self {
        let json = serde_json::to_string(&unit).expect("snapshot types have string keys and no failing serializer");
        Self { hash: ContentHash::of_json(json.as_bytes()), unit: Arc::new(unit), json: json.into() }
    }
}

/// A deployment, with what others ask about it.
#[derive(Clone, Debug)]
pub(crate) struct Built {
    pub(crate) content: Content,
    /// Whose endpoints it needs.
    pub(crate) services: BTreeSet<ServicePort>,
    /// The keys of its routes.
    pub(crate) keys: HashSet<String>,
}

impl Built {
    pub(crate) fn of(deployment: Deployment) -> Arc<Self> {
        let services = deployment.integrations.values().filter_map(service_of).cloned().collect();
        let keys = deployment.routes.iter().map(|route| route.key.clone()).collect();
        Arc::new(Self { content: Content::of(Unit::Deployment(deployment)), services, keys })
    }

    pub(crate) fn hash(&self) -> &ContentHash {
        &self.content.hash
    }

    pub(crate) fn deployment(&self) -> &Deployment {
        match &*self.content.unit {
            Unit::Deployment(deployment) => deployment,
            _ => unreachable!("made of a deployment in `of`, the only maker"),
        }
    }
}
