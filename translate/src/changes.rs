//! What goes into translation beside the objects, and what comes out.

use std::fmt;
use std::sync::Arc;

use tollgate_engine::snapshot::{ContentHash, Stage, Unit, UnitId};

use crate::{Fleets, ObjectRef, ObjectVerdict};

/// What translation needs to know about the installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What default endpoints end with, with a port where clients need one: `localhost:8080`, `gateway.example.com`.
    pub base_domain: String,
    /// Addresses start with `https://`, else with `http://`.
    pub https: bool,
}

impl Settings {
    /// The address of an API, or of one of its stages.
    pub(crate) fn endpoint(&self, api_id: &str, stage: Option<&str>) -> String {
        let scheme = if self.https { "https" } else { "http" };
        let path = match stage {
            Some(name) if name != "$default" => format!("/{name}"),
            _ => String::new(),
        };
        format!("{scheme}://{api_id}.execute-api.{}{path}", self.base_domain)
    }
}

impl Settings {
    /// The address of a custom domain, or of one of its mappings. Its port is that of the base domain.
    pub(crate) fn custom_endpoint(&self, host: &str, key: &str) -> String {
        let scheme = if self.https { "https" } else { "http" };
        let port = self.base_domain.rsplit_once(':').map(|(_, port)| format!(":{port}")).unwrap_or_default();
        let path = if key.is_empty() { String::new() } else { format!("/{key}") };
        format!("{scheme}://{host}{port}{path}")
    }
}

/// What a call of [`crate::Translator::translate`] found to do, in this order: units, verdicts, records.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// Counts the calls of [`crate::Translator::translate`]; see [`crate::Requirement`].
    pub revision: u64,
    /// Units with new content or other fleets. Publish them, and `deletes`, as one batch.
    pub puts: Vec<Put>,
    /// Units that are gone.
    pub deletes: Vec<UnitId>,
    /// Objects whose verdict is new or differs from the last one.
    pub verdicts: Vec<ObjectVerdict>,
    /// What has to survive a restart of the controller. `tollgate dev` may drop it.
    pub records: Vec<Record>,
}

impl Changes {
    /// Nothing to publish, report or keep.
    pub fn is_empty(&self) -> bool {
        self.puts.is_empty() && self.deletes.is_empty() && self.verdicts.is_empty() && self.records.is_empty()
    }
}

/// A unit as it is published. Its `Debug` leaves the content out, which may be secret (promise P7).
#[derive(Clone, PartialEq)]
pub struct Put {
    /// Which unit.
    pub id: UnitId,
    /// Hash of `json`.
    pub hash: ContentHash,
    /// The content as it travels, serialised once for all subscribers.
    pub json: Arc<str>,
    /// Who gets it. A fleet that is no longer named has to drop it.
    pub fleets: Fleets,
    /// The [`Changes::revision`] that published this content.
    pub revision: u64,
}

impl fmt::Debug for Put {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, hash, json: _, fleets, revision } = self;
        let mut text = f.debug_struct("Put");
        text.field("id", id).field("hash", hash).field("fleets", fleets).field("revision", revision);
        text.finish_non_exhaustive()
    }
}

impl Put {
    /// The content, read from `json`.
    pub fn unit(&self) -> Unit {
        Unit::from_json(&self.json).expect("translation wrote it")
    }
}

/// Something to keep beyond the life of the controller, and to give back to a new one before its first
/// [`crate::Translator::translate`].
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A stage with `autoDeploy` serves a new deployment: make an ApiDeployment of it, with
    /// [`crate::DEPLOYMENT_ID_ANNOTATION`] saying `hash`. Give the latest of each API back with
    /// [`crate::Translator::restore_api`], and all of them with [`crate::Translator::restore_deployment`].
    AutoDeployed {
        /// The HttpApi.
        api: ObjectRef,
        /// `deploymentId`.
        hash: ContentHash,
        /// The content: a [`tollgate_engine::snapshot::Unit`] as JSON.
        json: Arc<str>,
    },
    /// An ApiDeployment made by hand was captured. Give it back with [`crate::Translator::restore_deployment`].
    Captured {
        /// The ApiDeployment.
        object: ObjectRef,
        /// `deploymentId`.
        hash: ContentHash,
        /// The content: a [`tollgate_engine::snapshot::Unit`] as JSON.
        json: Arc<str>,
    },
    /// The accepted version of a stage. Keep the latest; give it back with [`crate::Translator::restore_stage`].
    Stage {
        /// The Stage.
        object: ObjectRef,
        /// The content. The ApiDeployment with its `deployment` must not be deleted.
        stage: Arc<Stage>,
    },
}
