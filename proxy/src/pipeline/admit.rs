//! Whether a request may go on: route, throttle, authorizer, preflight (H-FLOW-1, steps 6 to 9).

use std::sync::Arc;
use std::time::Instant;

use tollgate_engine::cors;
use tollgate_engine::deployment::{Authorization, Check, Deployment, Route};
use tollgate_engine::jwt::{JwtPolicy, SCOPE_MISSING, scope_challenge};
use tollgate_engine::percent::decode_path;
use tollgate_engine::reject::Reject;
use tollgate_engine::route::Method;
use tollgate_engine::throttle::{Bucket, Limit};

use super::locate::StagePath;
use super::{Arrived, Stop, custom, iam};
use crate::authorize;
use crate::gateway::{AuthorizerHandle, Gateway, Served, TokenHandle};
use crate::metrics::Counter;
use crate::record::{Caller, Record};
use crate::usage::Moment;
use crate::worker::{Throttle, Worker};

/// A request whose route is known.
pub(super) struct Matched<'s> {
    pub(super) served: &'s Served,
    pub(super) deployment: &'s Deployment,
    pub(super) number: usize,
    pub(super) path: StagePath,
}

impl<'s> Matched<'s> {
    pub(super) fn route(&self) -> &'s Route {
        &self.deployment.routes[self.number]
    }

    /// The bucket of the route in this proxy.
    fn own_throttle(&self) -> Option<&'s (Limit, Arc<Bucket>)> {
        self.served.stage.policies[self.number].throttle.as_ref()
    }

    /// Whether proxies share throttles.
    fn shares_throttles(&self) -> bool {
        !self.served.throttles.is_empty()
    }

    /// What limits the route then.
    fn shared_throttle(&self) -> Throttle<'s> {
        match (self.served.throttles.get(self.number), self.own_throttle()) {
            (Some(Some(throttle)), _) => Throttle::Shared(throttle),
            (_, Some((limit, bucket))) => Throttle::Own(limit, bucket),
            (_, None) => Throttle::None,
        }
    }
}

/// A request that its route's bucket let through.
pub(super) struct Admitted<'s>(Matched<'s>);

/// A request whose caller may use its route.
pub(super) struct Authorized<'s> {
    pub(super) matched: Matched<'s>,
}

impl Authorized<'_> {
    /// Whether a usage plan has a say.
    pub(super) fn is_metered(&self) -> bool {
        self.matched.route().api_key_required
    }
}

/// Finds the route.
pub(super) fn route<'s>(
    served: &'s Served,
    path: StagePath,
    arrived: &Arrived,
    record: &mut Record,
) -> Result<Matched<'s>, Stop> {
    let deployment = served.stage.deployment.as_deref().ok_or(Reject::NotFound)?;
    let head = &arrived.head;
    let found =
        Method::of(&head.method).and_then(|method| deployment.find(method, path.without_stage(&head.uri), path.shape));
    if let Some(number) = found {
        record.route = Some(number);
        return Ok(Matched { served, deployment, number, path });
    }
    // With CORS on, OPTIONS needs no route (H-CORS-6, H-CORS-8).
    if deployment.cors.is_some() && head.method == http::Method::OPTIONS {
        return Err(Stop::NoContent { preflight: cors::is_preflight(&head.method, &head.headers) });
    }
    Err(Reject::NotFound.into())
}

/// Lets a caller come to the route. Throttling is before authorization, so that nobody makes us verify signatures without limit.
pub(super) async fn caller<'s>(
    matched: Matched<'s>,
    gateway: &Gateway,
    worker: &Worker,
    arrived: &mut Arrived,
    record: &mut Record,
) -> Result<Authorized<'s>, Stop> {
    let admitted = if matched.shares_throttles() {
        // In a box, so that the future of other requests stays small.
        Box::pin(shared_throttle(matched, worker, arrived.moment(worker))).await?
    } else {
        throttle(matched, worker, arrived.started)?
    };
    authorize(admitted, gateway, worker, arrived, record).await
}

/// Takes a token from the route's bucket, and from the account's if there is one.
fn throttle<'s>(matched: Matched<'s>, worker: &Worker, now: Instant) -> Result<Admitted<'s>, Stop> {
    let passes = worker.take(matched.own_throttle(), now);
    admitted(matched, passes, worker)
}

/// The same where proxies share throttles; the store may have to be waited for.
async fn shared_throttle<'s>(matched: Matched<'s>, worker: &Worker, now: Moment) -> Result<Admitted<'s>, Stop> {
    let passes = worker.take_shared(matched.shared_throttle(), now).await;
    admitted(matched, passes, worker)
}

fn admitted<'s>(matched: Matched<'s>, passes: bool, worker: &Worker) -> Result<Admitted<'s>, Stop> {
    if passes {
        return Ok(Admitted(matched));
    }
    worker.metrics.count(Counter::Throttled);
    Err(Stop::of_route(Reject::TooManyRequests, matched.route()))
}

/// Puts back what [`throttle`] took, for a request that is refused for another reason.
pub(super) fn give_back(matched: &Matched<'_>, worker: &Worker) {
    if matched.shares_throttles() {
        worker.give_back_shared(matched.shared_throttle());
    } else {
        worker.give_back(matched.own_throttle());
    }
}

/// Asks the route's authorizer.
async fn authorize<'s>(
    admitted: Admitted<'s>,
    gateway: &Gateway,
    worker: &Worker,
    arrived: &mut Arrived,
    record: &mut Record,
) -> Result<Authorized<'s>, Stop> {
    let Admitted(matched) = admitted;
    match &matched.route().authorization {
        Authorization::Open => {}
        Authorization::Jwt { authorizer, scopes } => {
            let authorizer =
                (&matched.deployment.authorizers[*authorizer].check, &matched.served.authorizers[*authorizer]);
            let (Check::Jwt(policy), AuthorizerHandle::Jwt(handle)) = authorizer else {
                return Err(Reject::AuthorizerFailure.into());
            };
            bearer(policy, handle, scopes, worker, arrived, record).await?;
            check_arn(&matched, worker, arrived)?;
        }
        Authorization::Iam => {
            check_arn(&matched, worker, arrived)?;
            let arn = arn(&matched, worker, arrived);
            iam::authorize(&matched, gateway, worker, arrived, &arn, record).await?;
        }
        Authorization::Custom { authorizer } => {
            let authorizer =
                (&matched.deployment.authorizers[*authorizer].check, &matched.served.authorizers[*authorizer]);
            let (Check::Lambda(policy), AuthorizerHandle::Lambda { target, answers }) = authorizer else {
                return Err(Reject::AuthorizerFailure.into());
            };
            let function = custom::Function { policy, target, answers };
            check_arn(&matched, worker, arrived)?;
            let arn = arn(&matched, worker, arrived);
            Box::pin(custom::authorize(&matched, function, gateway, worker, arrived, &arn, record)).await?;
        }
    }
    Ok(Authorized { matched })
}

async fn bearer(
    policy: &JwtPolicy,
    handle: &TokenHandle,
    scopes: &[String],
    worker: &Worker,
    arrived: &Arrived,
    record: &mut Record,
) -> Result<(), Stop> {
    let head = &arrived.head;
    let now = arrived.received_ms / 1000;
    let verified = match authorize::bearer(worker, policy, handle, &head.headers, head.uri.query(), now).await {
        Ok(verified) => verified,
        Err(error) => {
            record.authorizer_error = Some(error.authorizer_error().into());
            return Err(Stop::Reject {
                reject: Reject::Unauthorized,
                challenge: Some(error.challenge(scopes)),
                metered: false,
            });
        }
    };
    let allowed = scopes.is_empty() || verified.allows(scopes);
    record.caller = Some(Caller::Token { verified, route_has_scopes: !scopes.is_empty() });
    if !allowed {
        record.authorizer_error = Some(SCOPE_MISSING.into());
        return Err(Stop::Reject {
            reject: Reject::ScopeMissing,
            challenge: Some(scope_challenge(scopes)),
            metered: false,
        });
    }
    Ok(())
}

/// The ARN of an authorized request is at most 1600 bytes (H-ROUTE-32), reckoned with the path as sent.
fn check_arn(matched: &Matched<'_>, worker: &Worker, arrived: &Arrived) -> Result<(), Stop> {
    const MAX_ARN: usize = 1600;
    let stage = &matched.served.stage;
    let path = matched.path.without_stage(&arrived.head.uri);
    let names = [
        "arn:aws:execute-api:::///",
        &worker.settings.region,
        &worker.settings.account_id,
        &stage.api.api_id,
        &stage.stage_name,
        arrived.head.method.as_str(),
        path.trim_start_matches('/'),
    ];
    if names.iter().map(|name| name.len()).sum::<usize>() > MAX_ARN {
        return Err(Reject::UriTooLong.into());
    }
    Ok(())
}

/// `arn:aws:execute-api:{region}:{account}:{api}/{stage}/{method}/{path}` of a request (H-LA-12, H-IAM-5). The path is decoded as the
/// matcher decodes it, so that nobody gets around a policy by writing `%61` for `a`.
fn arn(matched: &Matched<'_>, worker: &Worker, arrived: &Arrived) -> String {
    let stage = &matched.served.stage;
    let path = matched.path.without_stage(&arrived.head.uri);
    format!(
        "arn:aws:execute-api:{}:{}:{}/{}/{}/{}",
        worker.settings.region,
        worker.settings.account_id,
        stage.api.api_id,
        stage.stage_name,
        arrived.head.method,
        decode_path(path.strip_prefix('/').unwrap_or(path)),
    )
}

/// Answers a preflight; anything else goes on (H-CORS-6).
pub(super) fn answer_preflight<'s>(caller: Authorized<'s>, arrived: &Arrived) -> Result<Authorized<'s>, Stop> {
    let head = &arrived.head;
    if caller.matched.deployment.cors.is_some() && cors::is_preflight(&head.method, &head.headers) {
        return Err(Stop::NoContent { preflight: true });
    }
    Ok(caller)
}
