//! Signature Version 4 of the requests that the gateway itself sends.
//!
//! Such a request is of a known form: its target is encoded already, its query is ordered, its headers are few. So this is the signing half
//! alone, from AWS's description, and takes the time as an argument.

use std::fmt::Write;

use aws_lc_rs::hmac;
use http::header::{AUTHORIZATION, HeaderName};
use http::{HeaderMap, HeaderValue, Method};
use sha2::{Digest, Sha256};

use crate::percent::push_encoded;
use crate::secret::Secret;
use crate::snapshot::Credentials;
use crate::time::basic;

const X_AMZ_DATE: HeaderName = HeaderName::from_static("x-amz-date");
const X_AMZ_SECURITY_TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

/// What a signature holds for.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// Where the service is.
    pub region: &'a str,
    /// Its name in signatures.
    pub service: &'a str,
    /// Now, in seconds since 1970.
    pub seconds: u64,
}

/// Adds date, session token and signature to `headers`, all of which are signed; `host` must be among them.
pub fn sign(
    headers: &mut HeaderMap,
    method: &Method,
    target: &str,
    body: &[u8],
    credentials: &Credentials,
    scope: &Scope<'_>,
) {
    let time = basic(scope.seconds);
    headers.insert(X_AMZ_DATE, HeaderValue::from_str(&time).expect("digits and letters"));
    if let Some(token) = &credentials.session_token
        && let Ok(mut value) = HeaderValue::from_str(token.reveal())
    {
        value.set_sensitive(true);
        headers.insert(X_AMZ_SECURITY_TOKEN, value);
    }
    let day = &time[..8];
    let within = format!("{day}/{}/{}/aws4_request", scope.region, scope.service);
    let (names, canonical) = canonical(headers, method, target, body);
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{within}\n{}", hex(&Sha256::digest(canonical)));
    let key = key(&credentials.secret_access_key, day, scope);
    let signature = hex(hmac::sign(&key, text.as_bytes()).as_ref());
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={}/{within}, SignedHeaders={names}, Signature={signature}",
        credentials.access_key_id
    );
    // Nobody's access key id has control characters; the service would refuse one that has.
    if let Ok(mut value) = HeaderValue::from_str(&authorization) {
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
}

/// The names of the signed headers, and the canonical request.
fn canonical(headers: &HeaderMap, method: &Method, target: &str, body: &[u8]) -> (String, String) {
    let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut text = format!("{method}\n");
    // The path is encoded once more, as every service but S3 wants it.
    for (index, segment) in path.split('/').enumerate() {
        if index > 0 {
            text.push('/');
        }
        push_encoded(&mut text, segment);
    }
    text.push('\n');
    text.push_str(query);
    text.push('\n');
    for name in &names {
        let values: Vec<&str> = headers.get_all(*name).iter().filter_map(|value| value.to_str().ok()).collect();
        text.push_str(name);
        text.push(':');
        text.push_str(values.join(",").trim());
        text.push('\n');
    }
    let names = names.join(";");
    write!(text, "\n{names}\n{}", hex(&Sha256::digest(body))).expect("writing to a string does not fail");
    (names, text)
}

fn key(secret: &Secret, day: &str, scope: &Scope<'_>) -> hmac::Key {
    let key = |bytes: &[u8]| hmac::Key::new(hmac::HMAC_SHA256, bytes);
    let first = key(format!("AWS4{}", secret.reveal()).as_bytes());
    [day, scope.region, scope.service, "aws4_request"]
        .into_iter()
        .fold(first, |before, part| key(hmac::sign(&before, part.as_bytes()).as_ref()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        write!(out, "{byte:02x}").expect("writing to a string does not fail");
        out
    })
}
