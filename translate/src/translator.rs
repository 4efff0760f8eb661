//! The door: what changed in the world goes in, what has to change elsewhere comes out.

use std::collections::BTreeMap;
use std::sync::Arc;

use tollgate_engine::snapshot::{ContentHash, Deployment, Stage, Unit, UnitId};

use crate::{Fleets, Kind, ObjectRef, ObjectVerdict, World};

/// What translation needs to know about the installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What default endpoints end with, with a port where clients need one: `localhost:8080`, `gateway.example.com`.
    pub base_domain: String,
    /// Addresses start with `https://`, else with `http://`.
    pub https: bool,
}

/// What a call of [`Translator::translate`] found to do, in this order: units, verdicts, records.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// Counts the calls of [`Translator::translate`]; see [`crate::Requirement`].
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

/// A unit as it is published.
#[derive(Clone, Debug, PartialEq)]
pub struct Put {
    /// Which unit.
    pub id: UnitId,
    /// Hash of `json`.
    pub hash: ContentHash,
    /// The content.
    pub unit: Arc<Unit>,
    /// The content as it travels, serialised once for all subscribers.
    pub json: Arc<str>,
    /// Who gets it. A fleet that is no longer named has to drop it.
    pub fleets: Fleets,
    /// The [`Changes::revision`] that published this content.
    pub revision: u64,
}

/// Something to keep beyond the life of the controller, and to give back to a new one before its first
/// [`Translator::translate`].
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A stage with `autoDeploy` serves a new deployment: make an ApiDeployment of it, with
    /// [`crate::DEPLOYMENT_ID_ANNOTATION`] saying `hash`. Give the latest of each API back with
    /// [`Translator::restore_api`], and all of them with [`Translator::restore_deployment`].
    AutoDeployed {
        /// The HttpApi.
        api: ObjectRef,
        /// `deploymentId`.
        hash: ContentHash,
        /// The content.
        deployment: Arc<Deployment>,
    },
    /// An ApiDeployment made by hand was captured. Give it back with [`Translator::restore_deployment`].
    Captured {
        /// The ApiDeployment.
        object: ObjectRef,
        /// `deploymentId`.
        hash: ContentHash,
        /// The content.
        deployment: Arc<Deployment>,
    },
    /// The accepted version of a stage. Keep the latest; give it back with [`Translator::restore_stage`].
    Stage {
        /// The Stage.
        object: ObjectRef,
        /// The content. The ApiDeployment with its `deployment` must not be deleted.
        stage: Arc<Stage>,
    },
}

/// Translates a world, and remembers what it published.
#[derive(Debug)]
pub struct Translator {
    settings: Settings,
    world: World,
    revision: u64,
    published: BTreeMap<UnitId, Put>,
    restored_apis: BTreeMap<ObjectRef, Deployment>,
    restored_deployments: BTreeMap<ObjectRef, Arc<Deployment>>,
    restored_stages: BTreeMap<ObjectRef, Stage>,
}

impl Translator {
    /// An empty world and nothing published.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            world: World::default(),
            revision: 0,
            published: BTreeMap::new(),
            restored_apis: BTreeMap::new(),
            restored_deployments: BTreeMap::new(),
            restored_stages: BTreeMap::new(),
        }
    }

    /// The last deployment of an API that was recorded: for the parts of objects that are refused now.
    pub fn restore_api(&mut self, deployment: Deployment) {
        let api = ObjectRef::new(Kind::HttpApi, &deployment.api.namespace, &deployment.api.name);
        self.restored_apis.insert(api, deployment);
    }

    /// The recorded content of an ApiDeployment.
    pub fn restore_deployment(&mut self, object: &ObjectRef, deployment: Arc<Deployment>) {
        self.restored_deployments.insert(object.clone(), deployment);
    }

    /// The recorded version of a Stage: what it serves and how, in case it is refused now.
    pub fn restore_stage(&mut self, object: &ObjectRef, stage: Stage) {
        self.restored_stages.insert(object.clone(), stage);
    }

    /// The objects.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// The objects, to change them.
    pub fn world_mut(&mut self) -> &mut World {
        &mut self.world
    }

    /// Everything that is published, for a new subscriber.
    pub fn units(&self) -> impl Iterator<Item = &Put> {
        self.published.values()
    }

    /// Translates what changed since the last call.
    pub fn translate(&mut self) -> Changes {
        self.revision += 1;
        self.world.take_changed();
        self.world.take_changed_endpoints();
        Changes { revision: self.revision, ..Changes::default() }
    }
}
