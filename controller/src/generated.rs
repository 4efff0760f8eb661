//! Values of API keys that name none: generated into a Secret that the ApiKey owns.
//!
//! A Secret is only ever created, never changed: what lies there is left alone, so that a value that somebody put there first
//! wins, whichever replica or person it was. Deleting the Secret gives a new value.

use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, OwnerReference, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tollgate_crds::{API_VERSION, SecretKeyRef};
use tollgate_engine::meter::{VALUE_RANDOM, generated_value};
use tollgate_translate::{Object, ObjectRef};
use tracing::{debug, info, warn};

use crate::status::events::News;
use crate::watch::Message;

/// Keys that wait for a value; the others are told of again when their Secret is looked up the next time.
pub const WAITING: usize = 4096;
/// An API server that does not answer must not hold up the others for ever.
const PATIENCE: Duration = Duration::from_secs(5);
/// After an error, such as a missing right, nothing is tried for so long.
const PAUSE: Duration = Duration::from_secs(30);

/// A key without a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The ApiKey.
    pub key: ObjectRef,
    /// Its uid.
    pub uid: String,
    /// The Secret that does not exist.
    pub secret: ObjectRef,
}

/// Makes values while `leader` says so, until the sender of `wanted` is gone. What was made is told `to` the owner of the world
/// at once.
pub async fn run(
    client: Client,
    mut wanted: mpsc::Receiver<Wanted>,
    leader: watch::Receiver<bool>,
    to: mpsc::Sender<Message>,
    news: mpsc::Sender<News>,
) {
    let mut paused_until = Instant::now();
    while let Some(one) = wanted.recv().await {
        // Whoever leads is told of it too.
        if !*leader.borrow() || Instant::now() < paused_until {
            continue;
        }
        let secret = secret(&one);
        let api = Api::<Secret>::namespaced(client.clone(), &one.secret.namespace);
        match tokio::time::timeout(PATIENCE, api.create(&PostParams::default(), &secret)).await {
            Ok(Ok(made)) => {
                info!(key = %one.key, secret = %one.secret, "a value was generated");
                // Left out when too many wait: the Secret says the same.
                let _ = news.try_send(told(&one));
                if to.send(Message::Fetched(one.secret, Some(Box::new(Object::from(made))))).await.is_err() {
                    return;
                }
            }
            // It is there by now, or the namespace is going: the next look tells.
            Ok(Err(kube::Error::Api(status))) if status.code == 409 || status.code == 404 => {
                debug!(secret = %one.secret, reason = status.reason, "not generated");
            }
            Ok(Err(error)) => {
                warn!(key = %one.key, secret = %one.secret, %error, "no value could be generated: create the Secret, or give the right");
                paused_until = Instant::now() + PAUSE;
            }
            Err(_) => paused_until = Instant::now() + PAUSE,
        }
    }
}

/// The Secret of a key. It goes with the key.
fn secret(wanted: &Wanted) -> Secret {
    let mut random = [0; VALUE_RANDOM];
    aws_lc_rs::rand::fill(&mut random).expect("the system has random numbers");
    let SecretKeyRef { key, .. } = SecretKeyRef::by_name(&wanted.key.name);
    let owner = OwnerReference {
        api_version: API_VERSION.to_owned(),
        kind: wanted.key.kind.as_str().to_owned(),
        name: wanted.key.name.clone(),
        uid: wanted.uid.clone(),
        controller: Some(true),
        block_owner_deletion: None,
    };
    Secret {
        metadata: ObjectMeta {
            name: Some(wanted.secret.name.clone()),
            namespace: Some(wanted.secret.namespace.clone()),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        type_: Some("Opaque".into()),
        data: Some([(key, ByteString(generated_value(&random).into_bytes()))].into()),
        ..Secret::default()
    }
}

fn told(wanted: &Wanted) -> News {
    News {
        object: wanted.key.clone(),
        uid: wanted.uid.clone(),
        condition: Condition {
            last_transition_time: Time(Timestamp::now()),
            message: format!("a value was generated into Secret {}, entry value", wanted.secret.name),
            observed_generation: None,
            reason: "ValueGenerated".into(),
            status: "True".into(),
            type_: "ValueGenerated".into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use tollgate_translate::Kind;

    use super::*;

    /// Proves R-KEY-1.
    #[test]
    fn the_secret_has_forty_characters_and_belongs_to_the_key() {
        let wanted = Wanted {
            key: ObjectRef::new(Kind::ApiKey, "shop", "alice"),
            uid: "u1".into(),
            secret: ObjectRef::new(Kind::Secret, "shop", "alice-api-key"),
        };
        let made = [secret(&wanted), secret(&wanted)];
        let values = made.clone().map(|secret| String::from_utf8(secret.data.unwrap()["value"].0.clone()).unwrap());
        assert!(values.iter().all(|value| value.len() == 40 && value.bytes().all(|b| b.is_ascii_alphanumeric())));
        assert_ne!(values[0], values[1]);
        let owner = &made[0].metadata.owner_references.as_ref().unwrap()[0];
        assert_eq!((owner.kind.as_str(), owner.name.as_str(), owner.uid.as_str()), ("ApiKey", "alice", "u1"));
        assert!(!format!("{:?}", told(&wanted)).contains(&values[0]), "events carry no value");
    }
}
