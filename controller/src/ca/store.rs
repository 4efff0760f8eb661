//! Where the CA is kept and published: the Secret and the ConfigMap [`NAME`] in the controller's own namespace.
//!
//! The lease holder makes, replaces and publishes; the others read. All of them sign their own serving certificates.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use tokio::sync::watch;
use tracing::{info, warn};

use super::{Authority, CaError, Serving, UnixTime};
use crate::feed::tls::Certificate;

/// Name of the Secret and of the ConfigMap.
pub const NAME: &str = "tollgate-feed-ca";
/// Time between two looks when there is a CA.
const LOOK: Duration = Duration::from_secs(60);
/// Time between two looks when there is none yet, or something failed.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// An API server that does not answer must not hold up the next look.
const PATIENCE: Duration = Duration::from_secs(10);

/// Keeps the CA and this replica's serving certificate, until the task is dropped.
#[expect(missing_debug_implementations, reason = "an Api has none, and the rest are keys")]
pub struct Keeper {
    secrets: Api<Secret>,
    config_maps: Api<ConfigMap>,
    names: Vec<String>,
    certificate: Arc<Certificate>,
    known: Option<Authority>,
    serving: Option<Serving>,
}

/// Why a look failed; the next one tries again.
#[derive(Debug, thiserror::Error)]
enum StoreError {
    #[error(transparent)]
    Api(#[from] kube::Error),
    #[error(transparent)]
    Ca(#[from] CaError),
    #[error("the API server took too long")]
    Slow,
}

impl Keeper {
    /// For serving certificates with `names`, put into `certificate`.
    pub fn new(client: Client, namespace: &str, names: Vec<String>, certificate: Arc<Certificate>) -> Self {
        Self {
            secrets: Api::namespaced(client.clone(), namespace),
            config_maps: Api::namespaced(client, namespace),
            names,
            certificate,
            known: None,
            serving: None,
        }
    }

    /// Looks at once, when leadership changes, and every minute.
    pub async fn run(mut self, mut leader: watch::Receiver<bool>) {
        loop {
            let leads = *leader.borrow_and_update();
            let look = tokio::time::timeout(PATIENCE, self.look(leads, now()));
            let wait = match look.await.map_err(|_| StoreError::Slow).and_then(|done| done) {
                Ok(true) => LOOK,
                Ok(false) => LOOK_AGAIN,
                Err(error) => {
                    warn!(%error, "the feed's CA could not be read or written");
                    LOOK_AGAIN
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                changed = leader.changed() => if changed.is_err() { return },
            }
        }
    }

    /// One look; says whether there is a CA.
    async fn look(&mut self, leads: bool, now: UnixTime) -> Result<bool, StoreError> {
        let stored = self.secrets.get_opt(NAME).await?;
        let authority = match (leads, &stored) {
            (false, None) => return Ok(self.known.is_some()),
            (false, Some(secret)) => read(secret)?,
            (true, _) => self.lead(stored, now).await?,
        };
        if self.serving.as_ref().is_none_or(|serving| serving.is_due(&authority, now)) {
            let serving = authority.issue(&self.names, now)?;
            self.certificate.replace(serving.certified.clone());
            self.serving = Some(serving);
            info!("a new serving certificate is in use");
        }
        self.known = Some(authority);
        Ok(true)
    }

    /// Makes, replaces and publishes as needed.
    async fn lead(&self, stored: Option<Secret>, now: UnixTime) -> Result<Authority, StoreError> {
        let existing = match &stored {
            Some(secret) => Some(read(secret)?),
            // Somebody deleted the Secret. Proxies trust the old one: write it again, do not make another.
            None => self.known.clone(),
        };
        let wanted = match &existing {
            None => Authority::new(now)?,
            Some(authority) => authority.step(now)?.unwrap_or_else(|| authority.clone()),
        };
        if stored.is_none() || existing.as_ref() != Some(&wanted) {
            self.store(stored, &wanted).await?;
            info!("the feed's CA was written");
        }
        self.publish(&wanted).await?;
        Ok(wanted)
    }

    /// A conflict is an error like others: the next look sees what another replica wrote.
    async fn store(&self, stored: Option<Secret>, authority: &Authority) -> Result<(), StoreError> {
        let bytes = |(name, pem): (String, String)| (name, ByteString(pem.into_bytes()));
        let data: BTreeMap<_, _> = authority.to_entries().into_iter().map(bytes).collect();
        match stored {
            None => {
                let metadata = ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() };
                let secret = Secret { metadata, data: Some(data), ..Secret::default() };
                self.secrets.create(&PostParams::default(), &secret).await?;
            }
            Some(secret) => {
                let secret = Secret { data: Some(data), ..secret };
                self.secrets.replace(NAME, &PostParams::default(), &secret).await?;
            }
        }
        Ok(())
    }

    async fn publish(&self, authority: &Authority) -> Result<(), StoreError> {
        let bundle = authority.bundle();
        let published = self.config_maps.get_opt(NAME).await?;
        let entry = published.as_ref().and_then(|map| map.data.as_ref()?.get("ca.crt"));
        if entry == Some(&bundle) {
            return Ok(());
        }
        let config_map = serde_json::json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": NAME},
            "data": {"ca.crt": bundle},
        });
        let parameters = PatchParams::apply(crate::FIELD_MANAGER).force();
        self.config_maps.patch(NAME, &parameters, &Patch::Apply(config_map)).await?;
        info!("the feed's trust bundle was published");
        Ok(())
    }
}

fn read(secret: &Secret) -> Result<Authority, CaError> {
    Authority::from_entries(|name| String::from_utf8(secret.data.as_ref()?.get(name)?.0.clone()).ok())
}

fn now() -> UnixTime {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
