//! What translation says about an object; the controller makes conditions of it.

use tollgate_engine::snapshot::UnitId;

use crate::{ObjectRef, Reason};

/// Yes or no, with the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The condition is `True`.
    pub ok: bool,
    /// The condition's reason.
    pub reason: Reason,
    /// The condition's message: field path, value, rule and fix. Empty when there is nothing to say.
    pub message: String,
}

impl Verdict {
    pub(crate) fn accepted() -> Self {
        Self { ok: true, reason: Reason::Accepted, message: String::new() }
    }

    pub(crate) fn resolved() -> Self {
        Self { ok: true, reason: Reason::ResolvedRefs, message: String::new() }
    }

    pub(crate) fn no(reason: Reason, message: impl Into<String>) -> Self {
        Self { ok: false, reason, message: message.into() }
    }
}

/// Everything that translation knows about one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectVerdict {
    /// The object.
    pub object: ObjectRef,
    /// Its `metadata.uid`; empty for objects that never were in a cluster.
    pub uid: String,
    /// Its `metadata.generation`; what the conditions' `observedGeneration` has to say.
    pub generation: i64,
    /// For the condition `Accepted`.
    pub accepted: Verdict,
    /// For the condition `ResolvedRefs`.
    pub resolved_refs: Verdict,
    /// For the condition `Programmed`: what proxies have to acknowledge.
    pub serving: Serving,
    /// For `status.apiId`, where the kind belongs to one API and the API is known.
    pub api_id: Option<String>,
    /// For `status.apiEndpoint`, on APIs and stages.
    pub api_endpoint: Option<String>,
    /// For the other fields of an ApiDeployment's status.
    pub capture: Option<Capture>,
}

/// How far this generation of an object got towards the proxies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Serving {
    /// `Programmed=True` when every ready proxy of the units' fleets meets all requirements.
    When(Vec<Requirement>),
    /// `Programmed=True` without asking anyone: there is nothing to serve.
    NotNeeded(Reason),
    /// `Programmed=False`: this generation is in no unit.
    Nowhere(Verdict),
}

/// A proxy meets it when the content that it acknowledged of `unit` was published with `revision` or later.
///
/// Published contents of one unit are told apart by hash: the revision of an acknowledged hash is that of the latest
/// [`crate::Put`] of the unit with this hash. So an object that did not change keeps its requirement, and stays
/// programmed, while other objects of its API change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Requirement {
    /// The unit: a stage, since a stage changes whenever the deployment that it serves does; for a VpcLink its own; for custom domains theirs.
    pub unit: UnitId,
    /// The [`crate::Changes::revision`] that first held this generation of the object.
    pub revision: u64,
}

/// What an ApiDeployment holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Capture {
    /// Not captured yet, or the content is not known yet; why.
    Pending(String),
    /// Captured: `deploymentId`.
    Deployed(String),
    /// Cannot be captured; why.
    Failed(String),
}

/// A fleet of proxies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fleet {
    /// Serves APIs of `endpointType: REGIONAL`.
    Public,
    /// Serves APIs of `endpointType: PRIVATE`.
    Private,
}

impl Fleet {
    /// As in the feed's address and in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Private => "private",
        }
    }
}

/// Which fleets get a unit; at least one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Fleets {
    /// The public one.
    pub public: bool,
    /// The private one.
    pub private: bool,
}

impl Fleets {
    /// Whether `fleet` is one of them.
    pub fn contains(self, fleet: Fleet) -> bool {
        match fleet {
            Fleet::Public => self.public,
            Fleet::Private => self.private,
        }
    }

    pub(crate) fn insert(&mut self, fleet: Fleet) {
        match fleet {
            Fleet::Public => self.public = true,
            Fleet::Private => self.private = true,
        }
    }
}
