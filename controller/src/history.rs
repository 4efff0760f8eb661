//! Deployments that outlive this process: each in a ControllerRevision, owned by its ApiDeployment or Stage.
//!
//! A record holds what the proxies run, compressed. A controller that starts reads all records before it publishes, so a
//! refused object keeps its last accepted version across restarts (promise P1).

use std::io::{Read, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use serde::{Deserialize, Serialize};
use tollgate_engine::snapshot::{ContentHash, Deployment, Stage, Unit};
use tollgate_translate::{Kind, ObjectRef};

mod queue;
pub mod restore;
pub mod writer;

pub use queue::Records;

/// On ControllerRevisions that are ours: what they hold, see [`What`].
pub const RECORD_LABEL: &str = "tollgate.dev/record";
/// A larger record does not fit into an object of the API server (1.5 MiB as JSON).
pub const MAX_COMPRESSED: usize = 900 * 1024;
/// What a record may unpack to; 100 times what an API with 5,000 routes needs.
const MAX_CONTENT: u64 = 256 * 1024 * 1024;

/// A record as it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The ControllerRevision's name.
    pub name: String,
    /// Rises with each writing: the latest is what served last.
    pub revision: i64,
    /// `metadata.uid` of the owner.
    pub owner_uid: String,
    /// The owner: an ApiDeployment or a Stage.
    pub owner: ObjectRef,
    /// Hash of the content.
    pub hash: ContentHash,
    /// Why it was made.
    pub what: What,
    /// Of a deployment: the HttpApi's name.
    pub api: Option<String>,
    /// What it holds, packed; see [`Record::content`].
    packed: String,
}

impl Record {
    /// What it holds. Unpacking a large API takes milliseconds, so it is done only for what is needed.
    ///
    /// # Errors
    /// When the content is damaged.
    pub fn content(&self) -> Result<Content, RecordError> {
        match (self.owner.kind, unpack(&self.packed)?) {
            (Kind::ApiDeployment, Unit::Deployment(deployment)) => Ok(Content::Deployment(Box::new(deployment))),
            (Kind::Stage, Unit::Stage(stage)) => Ok(Content::Stage(Box::new(stage))),
            _ => Err(RecordError::Unpack),
        }
    }
}

/// The values of [`RECORD_LABEL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// An ApiDeployment that a stage with autoDeploy made.
    Auto,
    /// An ApiDeployment made by hand.
    Capture,
    /// A Stage.
    Stage,
}

impl What {
    fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Capture => "capture",
            Self::Stage => "stage",
        }
    }
}

/// What a record holds, unpacked.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// Of an ApiDeployment.
    Deployment(Box<Deployment>),
    /// Of a Stage.
    Stage(Box<Stage>),
}

/// Why a record cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// It has no owner, or one of another kind.
    #[error("it is not owned by an ApiDeployment or Stage")]
    Owner,
    /// Its data has another shape.
    #[error("its data cannot be read")]
    Data(#[from] serde_json::Error),
    /// Its data is not what it should be once unpacked.
    #[error("its content cannot be unpacked")]
    Unpack,
    /// The content is too large to be kept.
    #[error("the compressed content has {0} bytes, and an object of the API server has room for {MAX_COMPRESSED}")]
    TooLarge(usize),
}

/// `data` of the ControllerRevision.
#[derive(Serialize, Deserialize)]
struct Data {
    hash: ContentHash,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    api: Option<String>,
    /// JSON, gzip, base64.
    content: String,
}

/// Reads a record.
///
/// # Errors
/// When it is none of ours or damaged.
pub fn read(revision: &ControllerRevision) -> Result<Record, RecordError> {
    let metadata = &revision.metadata;
    let owner =
        metadata.owner_references.iter().flatten().find(|owner| owner.api_version == tollgate_crds::API_VERSION);
    let owner = owner.ok_or(RecordError::Owner)?;
    let namespace = metadata.namespace.clone().unwrap_or_default();
    let label = metadata.labels.as_ref().and_then(|labels| labels.get(RECORD_LABEL)).map(String::as_str);
    let data: Data = serde_json::from_value(revision.data.as_ref().ok_or(RecordError::Unpack)?.0.clone())?;
    let kind = match owner.kind.as_str() {
        "ApiDeployment" => Kind::ApiDeployment,
        "Stage" => Kind::Stage,
        _ => return Err(RecordError::Owner),
    };
    Ok(Record {
        name: metadata.name.clone().unwrap_or_default(),
        revision: revision.revision,
        owner_uid: owner.uid.clone(),
        owner: ObjectRef::new(kind, namespace, &owner.name),
        hash: data.hash,
        what: match (kind, label) {
            (Kind::Stage, _) => What::Stage,
            (_, Some("auto")) => What::Auto,
            _ => What::Capture,
        },
        api: data.api,
        packed: data.content,
    })
}

/// Makes a record of a unit that is serialised already.
///
/// # Errors
/// When it is too large.
pub fn write(
    name: String,
    revision: i64,
    (what, owner, owner_uid): (What, &ObjectRef, &str),
    (hash, api): (&ContentHash, Option<&str>),
    json: &str,
) -> Result<ControllerRevision, RecordError> {
    let data = Data { hash: hash.clone(), api: api.map(str::to_owned), content: pack(json)? };
    Ok(ControllerRevision {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(owner.namespace.clone()),
            labels: Some([(RECORD_LABEL.to_owned(), what.as_str().to_owned())].into()),
            owner_references: Some(vec![owner_reference(owner, owner_uid)]),
            ..ObjectMeta::default()
        },
        data: Some(RawExtension(serde_json::to_value(data)?)),
        revision,
    })
}

/// Points at an object of ours as the one that owns another.
pub fn owner_reference(owner: &ObjectRef, uid: &str) -> OwnerReference {
    OwnerReference {
        api_version: owner.kind.api_version().to_owned(),
        kind: owner.kind.as_str().to_owned(),
        name: owner.name.clone(),
        uid: uid.to_owned(),
        controller: Some(true),
        // The owner may go first; without this it would need rights on its finalizers.
        block_owner_deletion: Some(false),
    }
}

fn pack(json: &str) -> Result<String, RecordError> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(json.as_bytes()).and_then(|()| encoder.finish()).map_err(|_| RecordError::Unpack).and_then(
        |packed| {
            if packed.len() > MAX_COMPRESSED {
                Err(RecordError::TooLarge(packed.len()))
            } else {
                Ok(STANDARD.encode(packed))
            }
        },
    )
}

fn unpack(content: &str) -> Result<Unit, RecordError> {
    let packed = STANDARD.decode(content).map_err(|_| RecordError::Unpack)?;
    let mut json = Vec::new();
    GzDecoder::new(packed.as_slice()).take(MAX_CONTENT).read_to_end(&mut json).map_err(|_| RecordError::Unpack)?;
    Ok(serde_json::from_slice(&json)?)
}

#[cfg(test)]
mod tests {
    use tollgate_engine::snapshot::ApiIdentity;

    use super::*;

    fn deployment(routes: usize) -> Deployment {
        let route = |n: usize| serde_json::json!({"key": format!("GET /r{n}"), "source": format!("a/r{n}"), "target": {"type": "none"}});
        serde_json::from_value(serde_json::json!({
            "api": ApiIdentity { api_id: "abcdefghij".into(), namespace: "a".into(), name: "x".into() },
            "routes": (0..routes).map(route).collect::<Vec<_>>(),
        }))
        .unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        let deployment = deployment(5000);
        let owner = ObjectRef::new(Kind::ApiDeployment, "a", "x-1");
        let json = serde_json::to_string(&Unit::Deployment(deployment.clone())).unwrap();
        let hash = ContentHash::of_json(json.as_bytes());
        let revision = write("tollgate-x-1".into(), 7, (What::Auto, &owner, "uid"), (&hash, Some("x")), &json).unwrap();
        let size = serde_json::to_vec(&revision).unwrap().len();
        assert!(size < 100_000, "5,000 routes take {size} bytes");
        let record = read(&revision).unwrap();
        assert_eq!((&record.owner, record.owner_uid.as_str(), record.revision), (&owner, "uid", 7));
        assert_eq!(record.what, What::Auto);
        assert_eq!(record.content().unwrap(), Content::Deployment(Box::new(deployment)));
    }

    #[test]
    fn what_is_not_ours_is_refused() {
        let owner = ObjectRef::new(Kind::ApiDeployment, "a", "x-1");
        let deployment = deployment(1);
        let mut revision =
            write("n".into(), 1, (What::Auto, &owner, "uid"), (&ContentHash::of(&deployment), None), "{}").unwrap();
        revision.data = Some(RawExtension(serde_json::json!({"hash": "0", "content": "!"})));
        assert!(matches!(read(&revision).unwrap().content(), Err(RecordError::Unpack)));
        revision.metadata.owner_references = None;
        assert!(matches!(read(&revision), Err(RecordError::Owner)));
    }
}
