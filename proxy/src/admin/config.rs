//! What runs, without what may be secret.

use serde_json::{Value, json};
use tollgate_engine::snapshot::{Unit, UnitId};

use crate::feed::View;
use crate::units::Held;

/// Every unit in short: its name, its hash, what it is for, what of it cannot run.
pub(super) fn overview(view: &View, not_ready: Option<&str>) -> Value {
    let units: Vec<Value> = view.units.iter().map(|(id, held)| in_short(view, id, held)).collect();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "ready": not_ready.is_none(),
        "notReadyReason": not_ready,
        "bytes": view.units.bytes(),
        "units": units,
    })
}

fn in_short(view: &View, id: &UnitId, held: &Held) -> Value {
    let about = match &held.unit {
        Unit::Deployment(deployment) => json!({
            "api": format!("{}/{}", deployment.api.namespace, deployment.api.name),
            "apiId": deployment.api.api_id,
            "routes": deployment.routes.iter().map(|route| json!({"key": route.key, "source": route.source})).collect::<Vec<_>>(),
        }),
        Unit::Stage(stage) => json!({
            "api": format!("{}/{}", stage.api.namespace, stage.api.name),
            "apiId": stage.api.api_id,
            "source": stage.source,
            "deployment": stage.deployment,
        }),
        Unit::Credentials(credentials) => json!({ "accessKeyId": credentials.access_key_id }),
        Unit::Endpoints(endpoints) => json!({ "endpoints": endpoints.endpoints.len() }),
        Unit::Plan(plan) => json!({ "quota": plan.quota, "throttle": plan.throttle, "stages": plan.stages.len() }),
        Unit::Keys(keys) => json!({ "keys": keys.keys.len() }),
        Unit::Link(link) => json!({ "services": link.services, "allowedNamespaces": link.allowed_namespaces }),
        Unit::Domain(domain) => json!({
            "domainName": domain.domain_name,
            "source": domain.source,
            "mutualTls": domain.mutual_tls.is_some(),
            "mappings": domain.mappings.iter().map(|mapping| json!({"key": mapping.key, "source": mapping.source})).collect::<Vec<_>>(),
        }),
        Unit::Certificate(certificate) => {
            json!({ "domainName": certificate.domain_name, "source": certificate.source })
        }
        Unit::Principals(principals) => json!({ "principals": principals.principals.len() }),
        Unit::Unknown => json!({ "unknown": "of a newer controller; ignored" }),
    };
    let problems = view.reports.get(id).map(|report| report.problems.as_slice()).unwrap_or_default();
    json!({ "id": id, "hash": held.hash, "about": about, "problems": problems })
}

/// The whole of one unit, redacted.
pub(super) fn unit(view: &View, name: &str) -> Option<Value> {
    let (id, held) = view.units.iter().find(|(id, _)| id.as_str() == name)?;
    let mut content = match &held.unit {
        // Nothing of it is for other eyes but who may call.
        Unit::Principals(unit) => {
            let names: Vec<&str> = unit.principals.iter().map(|principal| principal.name.as_str()).collect();
            json!({ "namespace": unit.namespace, "principals": names })
        }
        other => serde_json::to_value(other).ok()?,
    };
    redact(&mut content);
    let mut json = in_short(view, id, held);
    json.as_object_mut()?.insert("unit".into(), content);
    Some(json)
}

/// Stage variables may be anybody's passwords, URLs may carry credentials in front of the host or behind the question mark.
fn redact(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match (name.as_str(), &mut *member) {
                    ("secretAccessKey" | "sessionToken", secret) => *secret = "(redacted)".into(),
                    ("stageVariables", Value::Object(variables)) => {
                        for (_, variable) in variables {
                            *variable = "(redacted)".into();
                        }
                    }
                    ("caPem" | "certificatePem" | "truststorePem", Value::String(pem)) => {
                        *member = format!("({} bytes)", pem.len()).into();
                    }
                    ("privateKeyPem", key) => *key = "(redacted)".into(),
                    ("uri" | "url" | "jwksUri" | "issuer", Value::String(url)) => {
                        *member = without_credentials(url).into();
                    }
                    _ => redact(member),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(redact),
        _ => {}
    }
}

fn without_credentials(url: &str) -> String {
    let (base, query) = url.split_once('?').map_or((url, ""), |(base, _)| (base, "?(redacted)"));
    let (scheme, rest) = base.split_once("://").map_or(("", base), |(scheme, rest)| (scheme, rest));
    let authority = rest.split('/').next().unwrap_or_default();
    let user = authority.rfind('@').map_or(0, |at| at + 1);
    let separator = if scheme.is_empty() { "" } else { "://" };
    let hidden = if user > 0 { "(redacted)@" } else { "" };
    format!("{scheme}{separator}{hidden}{}{query}", &rest[user..])
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tollgate_engine::snapshot::{ContentHash, Problem, UnitReport};

    use super::*;
    use crate::units::{Batch, UnitSet};

    fn view(units: &[(UnitId, Value)]) -> View {
        let mut batch = Batch::new(true);
        for (id, unit) in units {
            let held =
                Held { hash: ContentHash::of(unit), unit: serde_json::from_value(unit.clone()).unwrap(), bytes: 1 };
            batch.put(id.clone(), held).unwrap();
        }
        let units = UnitSet::default().apply(batch).unwrap();
        let problem = Problem { source: "shop/prod".into(), path: "x".into(), message: "why".into() };
        let report = |(id, held): (&UnitId, &Arc<Held>)| {
            (id.clone(), UnitReport { id: id.clone(), hash: held.hash.clone(), problems: vec![problem.clone()] })
        };
        let reports = Arc::new(units.iter().map(report).collect());
        View { units, reports }
    }

    fn stage() -> (UnitId, Value) {
        let stage = json!({
            "kind": "stage", "api": {"apiId": "a1", "namespace": "shop", "name": "orders"}, "source": "shop/prod",
            "stageName": "prod", "stageVariables": {"password": "hunter2"},
        });
        (UnitId::stage("a1", "prod"), stage)
    }

    #[test]
    fn units_are_listed_with_their_problems() {
        let overview = overview(&view(&[stage()]), Some("draining"));
        assert_eq!(overview["ready"], false);
        assert_eq!(overview["units"][0]["id"], "stage/a1/prod");
        assert_eq!(overview["units"][0]["about"]["api"], "shop/orders");
        assert_eq!(overview["units"][0]["problems"][0]["message"], "why");
        assert!(!overview.to_string().contains("hunter2"));
    }

    #[test]
    fn one_unit_is_shown_whole_without_its_secrets() {
        let shown = unit(&view(&[stage()]), "stage/a1/prod").unwrap();
        assert_eq!(shown["unit"]["stageVariables"], json!({"password": "(redacted)"}));
        assert_eq!(shown["unit"]["stageName"], "prod");
        assert!(unit(&view(&[stage()]), "stage/a1/test").is_none());
    }

    #[test]
    fn credentials_in_urls_are_hidden() {
        for (url, shown) in [
            ("https://h/p", "https://h/p"),
            ("https://u:p@h/p?token=1", "https://(redacted)@h/p?(redacted)"),
            ("http://h?x", "http://h?(redacted)"),
            ("http://h/a@b", "http://h/a@b"),
            ("${stageVariables.url}/x", "${stageVariables.url}/x"),
        ] {
            assert_eq!(without_credentials(url), shown);
        }
        let mut value =
            json!({"backend": {"uri": "http://u@h", "tls": {"caPem": "abc"}}, "list": [{"url": "http://h?x"}]});
        redact(&mut value);
        let expected = json!({"backend": {"uri": "http://(redacted)@h", "tls": {"caPem": "(3 bytes)"}}, "list": [{"url": "http://h?(redacted)"}]});
        assert_eq!(value, expected);
    }
}
