//! One attempt to get keys: discovery, then the key set (H-JWT-17).

use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use serde::Deserialize;
use tollgate_engine::jwt::{JwtError, MAX_KEY_SET_BYTES};

use super::Failure;
use crate::http_client::HttpClient;

/// Each of the two fetches (H-JWT-17).
const TIME_LIMIT: Duration = Duration::from_millis(1_500);

/// Gets documents from identity providers.
pub trait Fetch: Clone + Send + 'static {
    /// The document at `url`, of at most 150,000 bytes and within 1500 ms, or what went wrong.
    fn get(&self, url: &str) -> impl Future<Output = Result<Bytes, String>> + Send;
}

impl Fetch for HttpClient {
    async fn get(&self, url: &str) -> Result<Bytes, String> {
        let uri: Uri = url.parse().map_err(|_| "it is not a URL".to_owned())?;
        let answer =
            HttpClient::get(self, &uri, MAX_KEY_SET_BYTES, TIME_LIMIT).await.map_err(|error| error.full_text())?;
        if answer.status == http::StatusCode::OK {
            Ok(answer.body)
        } else {
            Err(format!("it answered with status {}", answer.status.as_u16()))
        }
    }
}

#[derive(Deserialize)]
struct Discovery {
    jwks_uri: String,
}

/// The key set document of an issuer.
pub(super) async fn document(
    fetch: &impl Fetch,
    issuer: &str,
    jwks_uri: Option<&str>,
) -> Result<(String, Bytes), Failure> {
    let url = match jwks_uri {
        Some(url) => url.to_owned(),
        None => discover(fetch, issuer).await?,
    };
    let body = fetch.get(&url).await.map_err(|why| keys_failure(&url, &why))?;
    Ok((url, body))
}

pub(super) fn keys_failure(url: &str, why: &str) -> Failure {
    Failure { error: JwtError::Keys, message: format!("signing keys cannot be fetched from {url}: {why}") }
}

/// H-JWT-2, H-JWT-3.
async fn discover(fetch: &impl Fetch, issuer: &str) -> Result<String, Failure> {
    let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
    let failure = |why: String| Failure {
        error: JwtError::Discovery,
        message: format!("the issuer's discovery document cannot be used: {url}: {why}"),
    };
    let body = fetch.get(&url).await.map_err(failure)?;
    let discovery: Discovery = serde_json::from_slice(&body)
        .map_err(|error| failure(format!("it must be a JSON object with a text jwks_uri: {error}")))?;
    Ok(discovery.jwks_uri)
}
