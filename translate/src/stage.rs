//! From a Stage to the unit that makes an API reachable.

use std::collections::BTreeMap;
use std::sync::Arc;

use tollgate_crds::{RouteSettings, StageSpec};
use tollgate_engine::access_log::Format;
use tollgate_engine::snapshot::{self, ApiIdentity};

use crate::content::Built;
use crate::outcome::Outcome;
use crate::world::Item;
use crate::{ObjectRef, Reason};

/// An accepted version of a stage.
#[derive(Clone, Debug)]
pub(crate) struct StagePart {
    /// Without `deployment`, which comes from `follows`.
    pub(crate) settings: snapshot::Stage,
    pub(crate) follows: Follows,
}

/// What a stage serves.
#[derive(Clone, Debug)]
pub(crate) enum Follows {
    /// The API as it is now.
    Live,
    /// One deployment, or nothing yet.
    Pinned(Option<Arc<Built>>),
}

impl Follows {
    pub(crate) fn built<'a>(&'a self, live: Option<&'a Arc<Built>>) -> Option<&'a Arc<Built>> {
        match self {
            Self::Live => live,
            Self::Pinned(built) => built.as_ref(),
        }
    }
}

impl PartialEq for StagePart {
    /// Equal when a proxy could not tell them apart while the API stays as it is.
    fn eq(&self, other: &Self) -> bool {
        let follows = match (&self.follows, &other.follows) {
            (Follows::Live, Follows::Live) => true,
            (Follows::Pinned(a), Follows::Pinned(b)) => a.as_ref().map(|a| a.hash()) == b.as_ref().map(|b| b.hash()),
            _ => false,
        };
        follows && self.settings == other.settings
    }
}

/// The part of a stage that follows `follows`; `live` is what its API is now.
pub(crate) fn evaluate(
    object: &ObjectRef,
    identity: &ApiIdentity,
    item: &Item<StageSpec>,
    follows: Follows,
    live: Option<&Arc<Built>>,
) -> Outcome<StagePart> {
    let spec = &item.spec;
    // H-THR-5, against what the stage is about to serve.
    if let Some(built) = follows.built(live)
        && let Some(key) = spec.route_settings.keys().find(|key| !built.keys.contains(key.as_str()))
    {
        return Outcome::refused(
            Reason::RouteSettingsKeyNotFound,
            format!(
                "spec.routeSettings: unable to find a Route by key {key:?} within the provided RouteSettings: write the routeKey of a Route of {} exactly, or remove the entry",
                identity.name
            ),
        );
    }
    let default_route_settings = spec.default_route_settings.clone().unwrap_or_default();
    let named = spec.route_settings.iter().map(|(key, settings)| (format!("spec.routeSettings[{key}]"), settings));
    let all = std::iter::once(("spec.defaultRouteSettings".to_owned(), &default_route_settings)).chain(named);
    if let Some(message) = all.filter_map(|(path, settings)| check(&path, settings)).next() {
        return Outcome::invalid(message);
    }
    let route_settings: BTreeMap<_, _> =
        spec.route_settings.iter().map(|(key, settings)| (key.clone(), travelling(settings))).collect();
    let access_log_settings = spec.access_log_settings.as_ref().map(|log| snapshot::AccessLogSettings {
        format: log.format.clone(),
        destination_arn: log.destination_arn.clone(),
    });
    if let Some(Err(error)) = access_log_settings.as_ref().map(|log| Format::parse(&log.format)) {
        return Outcome::invalid(format!("spec.accessLogSettings.format: {error}"));
    }
    let settings = snapshot::Stage {
        api: identity.clone(),
        source: object.source(),
        stage_name: spec.stage_name.clone(),
        deployment: None,
        stage_variables: spec.stage_variables.clone(),
        default_route_settings: travelling(&default_route_settings),
        route_settings,
        access_log_settings,
        authorizer_cache: item.authorizer_cache.clone(),
    };
    Outcome::good(StagePart { settings, follows })
}

fn check(path: &str, settings: &RouteSettings) -> Option<String> {
    if let Some(rate) = settings.throttling_rate_limit
        && !(rate.is_finite() && rate >= 0.0)
    {
        return Some(format!("{path}.throttlingRateLimit: {rate} is not a rate: give requests a second, 0 or more"));
    }
    let burst = settings.throttling_burst_limit.filter(|burst| *burst < 0)?;
    Some(format!("{path}.throttlingBurstLimit: {burst} is negative: give 0 or more requests"))
}

fn travelling(settings: &RouteSettings) -> snapshot::RouteSettings {
    snapshot::RouteSettings {
        throttling_rate_limit: settings.throttling_rate_limit,
        throttling_burst_limit: settings.throttling_burst_limit.map(i32::unsigned_abs),
        detailed_metrics_enabled: settings.detailed_metrics_enabled,
    }
}
