//! Routes of authorization type `AWS_IAM`: the request is signed by a principal whose policies allow it (section 6.11 of the spec).

use std::sync::Arc;

use hyper::body::Body;
use tollgate_engine::policy::Ask;
use tollgate_engine::reject::Reject;
use tollgate_engine::sigv4::{Claim, Request, SERVICE, SignatureError, payload_digest};

use super::admit::Matched;
use super::{Arrived, Stop, integrate};
use crate::body::ClientBody;
use crate::gateway::Gateway;
use crate::record::{Caller, Record};
use crate::worker::Worker;

/// Checks signature and policies. What costs more comes later: the body is read only when a key is known and the time is right.
pub(super) async fn authorize(
    matched: &Matched<'_>,
    gateway: &Gateway,
    worker: &Worker,
    arrived: &mut Arrived,
    arn: &str,
    record: &mut Record,
) -> Result<(), Stop> {
    match decide(matched, gateway, worker, arrived, arn, record).await {
        Ok(caller) => {
            record.caller = Some(caller);
            Ok(())
        }
        Err(No::Body(reject)) => Err(reject.into()),
        Err(No::Unproved(error)) => refuse(error.to_string(), record),
        Err(No::Denied(caller, why)) => {
            record.caller = Some(caller);
            refuse(why, record)
        }
    }
}

/// Always the same answer (H-IAM-3); the log knows why.
fn refuse(why: String, record: &mut Record) -> Result<(), Stop> {
    record.authorizer_error = Some(why.into());
    Err(Reject::Forbidden.into())
}

/// Why a request may not go on.
enum No {
    Body(Reject),
    Unproved(SignatureError),
    Denied(Caller, String),
}

async fn decide(
    matched: &Matched<'_>,
    gateway: &Gateway,
    worker: &Worker,
    arrived: &mut Arrived,
    arn: &str,
    record: &Record,
) -> Result<Caller, No> {
    let now = arrived.received_ms / 1000;
    let Arrived { head, body, .. } = arrived;
    let request = Request {
        method: head.method.as_str(),
        path: head.uri.path(),
        query: head.uri.query(),
        headers: &head.headers,
        host: record.host.to_str().unwrap_or(""),
    };
    let claim = Claim::of(&request).map_err(No::Unproved)?;
    let seconds = i64::try_from(now).unwrap_or(i64::MAX);
    claim.check(&worker.settings.region, SERVICE, seconds).map_err(No::Unproved)?;
    let principals = gateway.principals.get(matched.served.stage.api.namespace.as_str());
    let key = principals.ok_or(SignatureError::UnknownKey).and_then(|principals| principals.key(&claim));
    let key = key.map_err(No::Unproved)?;
    let digest = read(body, matched.deployment.payload_bytes).await.map_err(No::Body)?;
    claim.verify(&request, &digest, &key.secret).map_err(No::Unproved)?;
    let text = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
    let ask = Ask {
        resource: arn,
        source_ip: record.source_ip,
        now,
        user_agent: text(http::header::USER_AGENT),
        referer: text(http::header::REFERER),
        principal: None,
    };
    let caller = Caller::Principal { access_key: (*claim.access_key_id).into(), principal: Arc::clone(&key.principal) };
    match key.principal.may(&ask) {
        Ok(()) => Ok(caller),
        Err(why) => Err(No::Denied(caller, why)),
    }
}

/// Reads the body, which is signed too (H-IAM-6), and puts it back. Gives its digest.
async fn read(body: &mut ClientBody, limit: u64) -> Result<[u8; 32], Reject> {
    if body.is_end_stream() {
        return Ok(payload_digest(b""));
    }
    let whole = integrate::collect(body.take(), limit).await?;
    let digest = payload_digest(&whole);
    body.set_whole(whole);
    Ok(digest)
}
