//! An API server that a test plays.

use std::convert::Infallible;

use http::{Method, Request, Response, Uri};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

/// A request that the controller made.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    /// `null` without one.
    pub(crate) body: Value,
}

/// A client of an API server that answers so, with a status and an object.
pub(crate) fn client<F>(answer: impl Fn(Asked) -> F + Clone + Send + 'static) -> Client
where
    F: Future<Output = (u16, Value)> + Send,
{
    let service = tower::service_fn(move |request: Request<Body>| {
        let answer = answer.clone();
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let asked = Asked {
                method: parts.method,
                uri: parts.uri,
                body: if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() },
            };
            let (code, answer) = answer(asked).await;
            let answer = Body::from(answer.to_string().into_bytes());
            Ok::<_, Infallible>(Response::builder().status(code).body(answer).unwrap())
        }
    });
    Client::new(service, "default")
}

/// An answer that says no.
pub(crate) fn failure(code: u16, reason: &str, details: &Value) -> (u16, Value) {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "no", "reason": reason, "code": code, "details": details});
    (code, status)
}
