//! Keys for AWS: from a Secret to the unit that signing proxies get. No deployment and no record ever holds one.

use std::collections::BTreeMap;

use tollgate_engine::secret::Secret;
use tollgate_engine::snapshot::{
    AccessKey, Authorizer, AuthorizerCheck, Backend, Credentials, Integration, LambdaBackend, LambdaEndpoint,
    SecretName, Unit,
};

use crate::{Kind, ObjectRef, Reason, Verdict, World};

/// The entries of a Secret that are keys for AWS; nothing else of it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SigningKeys {
    access_key_id: String,
    secret_access_key: Secret,
    session_token: Option<Secret>,
}

impl SigningKeys {
    /// The same, to check signatures with.
    pub(crate) fn access_key(&self) -> AccessKey {
        AccessKey {
            access_key_id: self.access_key_id.clone(),
            secret_access_key: self.secret_access_key.clone(),
            session_token: self.session_token.clone(),
        }
    }

    /// `None` when the Secret does not hold both `accessKeyId` and `secretAccessKey`.
    pub(crate) fn of(entries: &BTreeMap<String, Vec<u8>>) -> Option<Self> {
        let text = |key: &str| {
            let text = std::str::from_utf8(entries.get(key)?).ok()?;
            // A line break at the end comes from an editor, not from AWS.
            Some(text.trim_end()).filter(|text| !text.is_empty())
        };
        Some(Self {
            access_key_id: text("accessKeyId")?.to_owned(),
            secret_access_key: Secret::new(text("secretAccessKey")?),
            session_token: text("sessionToken").map(Secret::new),
        })
    }
}

/// The Secret whose keys sign calls of an integration.
pub(crate) fn of_integration(integration: &Integration) -> Option<&SecretName> {
    match &integration.backend {
        Backend::Aws(aws) => Some(&aws.credentials),
        Backend::Lambda(function) => of_function(function),
        Backend::Service(_) | Backend::Http(_) | Backend::Unknown => None,
    }
}

/// The Secret whose keys sign calls of an authorizer's function.
pub(crate) fn of_authorizer(authorizer: &Authorizer) -> Option<&SecretName> {
    match &authorizer.check {
        AuthorizerCheck::Lambda { function, .. } => of_function(function),
        _ => None,
    }
}

fn of_function(function: &LambdaBackend) -> Option<&SecretName> {
    match &function.endpoint {
        LambdaEndpoint::Aws { credentials, .. } => Some(credentials),
        LambdaEndpoint::Service { .. } | LambdaEndpoint::Url { .. } | LambdaEndpoint::Unknown => None,
    }
}

fn object(secret: &SecretName) -> ObjectRef {
    ObjectRef::new(Kind::Secret, &secret.namespace, &secret.name)
}

/// Whether the keys are there. A call without them answers 500; it is not refused, so that keys can come later and change.
pub(crate) fn verdict(world: &World, path: &str, secret: &SecretName) -> Verdict {
    let object = object(secret);
    if world.signing_keys(&object).is_some() {
        return Verdict::resolved();
    }
    let wrong = if world.contains(&object) {
        "does not hold accessKeyId and secretAccessKey: add them"
    } else {
        "does not exist: create it with accessKeyId and secretAccessKey, or correct the name"
    };
    Verdict::no(Reason::CredentialsNotFound, format!("{path}: {object} {wrong}; until then requests get 500"))
}

/// What a proxy needs to sign for an API; `None` while the keys are not there.
pub(crate) fn unit(world: &World, api_id: &str, secret: &SecretName) -> Option<Unit> {
    let keys = &world.signing_keys(&object(secret))?.spec;
    let SigningKeys { access_key_id, secret_access_key, session_token } = keys.clone();
    let (api_id, secret) = (api_id.to_owned(), secret.clone());
    Some(Unit::Credentials(Credentials { api_id, secret, access_key_id, secret_access_key, session_token }))
}
