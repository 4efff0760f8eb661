use serde_json::{Value, json};

use super::*;

fn domain(value: Value) -> Domain {
    let mut wire = json!({"source": "shop/api", "domainName": "api.example.com"});
    for (field, content) in value.as_object().unwrap() {
        wire[field] = content.clone();
    }
    let (domain, problems) = Domain::compile(&serde_json::from_value(wire).unwrap());
    assert_eq!(problems, []);
    domain
}

fn stage(number: usize) -> Value {
    json!({"type": "stage", "apiId": format!("api{number}"), "stageName": "$default"})
}

fn mapped(keys: &[&str]) -> Domain {
    let mapping = |(number, key): (usize, &&str)| json!({"source": "shop/m", "key": key, "target": stage(number + 1)});
    domain(json!({"mappings": keys.iter().enumerate().map(mapping).collect::<Vec<_>>()}))
}

/// The API, what of the path is left, the key, and the rule.
fn chosen(domain: &Domain, path: &str, headers: &[(&str, &str)]) -> Result<String, Reject> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
    }
    let chosen = domain.choose(path, &map)?;
    let DomainTarget::Stage { api_id, .. } = &domain.targets()[chosen.target] else { return Ok("refused".to_owned()) };
    let rule = chosen.rule.map(|rule| format!(" by {rule}")).unwrap_or_default();
    Ok(format!("{api_id} {:?} {}{rule}", &path[chosen.strip..], chosen.base_path))
}

#[track_caller]
fn is(domain: &Domain, path: &str, expected: &str) {
    assert_eq!(chosen(domain, path, &[]).as_deref(), Ok(expected), "{path}");
}

/// Proves H-APM-1, H-APM-4, H-APM-6, H-APM-7, H-APM-11, C88.
#[test]
fn the_longest_key_wins() {
    let domain = mapped(&["", "orders/v1/items", "orders/v2/items", "orders/v2/items/categories"]);
    is(&domain, "/orders/v2/items/categories/5", "api4 \"/5\" orders/v2/items/categories");
    is(&domain, "/orders/v2/items/7", "api3 \"/7\" orders/v2/items");
    is(&domain, "/orders/v1/items/123", "api2 \"/123\" orders/v1/items");
    is(&domain, "/orders/v1/items", "api2 \"\" orders/v1/items");
    is(&domain, "/customers", "api1 \"/customers\" (none)");
    is(&domain, "/Orders/v1/items", "api1 \"/Orders/v1/items\" (none)");
    assert!(domain.lower_cases_headers());
}

/// Proves H-APM-5, C89.
#[test]
fn single_level_keys_are_whole_segments() {
    let domain = mapped(&["", "orders"]);
    is(&domain, "/ordersandmore", "api1 \"/ordersandmore\" (none)");
    is(&domain, "/orders/1", "api2 \"/1\" orders");
    assert!(!domain.lower_cases_headers());
}

/// Proves H-APM-5, H-APM-7, C90.
#[test]
fn beside_a_multi_level_key_every_key_is_a_string_prefix() {
    let domain = mapped(&["", "orders", "a/b"]);
    is(&domain, "/ordersandmore", "api2 \"andmore\" orders");
    is(&domain, "/a/bc", "api3 \"c\" a/b");
}

/// Proves H-APM-8.
#[test]
fn what_no_mapping_takes_is_forbidden() {
    assert_eq!(chosen(&mapped(&["orders"]), "/customers", &[]), Err(Reject::NoMapping));
    assert_eq!(chosen(&mapped(&[]), "/", &[]), Err(Reject::NoMapping));
    assert_eq!((Reject::NoMapping.status(), Reject::NoMapping.body()), (403, &b"{\"message\":\"Forbidden\"}"[..]));
}

/// Proves P1.
#[test]
fn what_was_refused_answers_itself_and_does_not_fall_through() {
    let refused = domain(json!({"mappings": [
        {"source": "shop/all", "target": stage(1)},
        {"source": "shop/v1", "key": "v1", "target": {"type": "refused"}},
        {"source": "shop/v2", "key": "v2", "target": {"type": "of a newer controller"}},
    ]}));
    assert_eq!(chosen(&refused, "/v1/x", &[]).as_deref(), Ok("refused"));
    assert_eq!(chosen(&refused, "/v2/x", &[]).as_deref(), Ok("refused"));
    is(&refused, "/v3/x", "api1 \"/v3/x\" (none)");
    let closed = domain(json!({"refused": true, "mappings": [{"source": "shop/all", "target": stage(1)}]}));
    assert_eq!(chosen(&closed, "/", &[]), Err(Reject::RefusedRoute));
}

/// Proves P3.
#[test]
fn what_a_newer_controller_means_is_not_guessed() {
    for field in [json!({"requires": ["something new"]}), json!({"routingMode": "SOMETHING_NEW"})] {
        let mut wire =
            json!({"source": "a/b", "domainName": "x.example", "mappings": [{"source": "a/m", "target": stage(1)}]});
        for (name, value) in field.as_object().unwrap() {
            wire[name] = value.clone();
        }
        let (domain, problems) = Domain::compile(&serde_json::from_value(wire).unwrap());
        assert_eq!(problems.len(), 1);
        assert_eq!(chosen(&domain, "/", &[]), Err(Reject::UnknownBehaviour));
    }
}

fn ruled(mode: &str) -> Domain {
    domain(json!({
        "routingMode": mode,
        "mappings": [{"source": "shop/all", "target": stage(9)}],
        "rules": [
            {"id": "beta", "headers": [{"header": "X-Version", "valueGlob": "v2*"}, {"header": "x-team", "valueGlob": "*blue*"}], "target": stage(1)},
            {"id": "orders", "basePath": "orders/v1", "stripBasePath": true, "target": stage(2)},
            {"id": "kept", "basePath": "kept", "target": stage(3)},
        ],
    }))
}

/// Proves H-RULE-1, H-RULE-2, H-RULE-3, H-RULE-6, H-RULE-7, H-RULE-8, H-RULE-10.
#[test]
fn the_first_rule_whose_conditions_hold_decides() {
    let domain = ruled("ROUTING_RULE_THEN_API_MAPPING");
    let both = [("x-version", "v2.1"), ("X-Team", "deep-blue-sea")];
    assert_eq!(chosen(&domain, "/orders/v1/7", &both).as_deref(), Ok("api1 \"/orders/v1/7\" (none) by beta"));
    assert_eq!(chosen(&domain, "/orders/v1/7", &both[..1]).as_deref(), Ok("api2 \"/7\" orders/v1 by orders"));
    is(&domain, "/orders/v1", "api2 \"\" orders/v1 by orders");
    is(&domain, "/orders/v10", "api9 \"/orders/v10\" (none)");
    is(&domain, "/Orders/v1", "api9 \"/Orders/v1\" (none)");
    is(&domain, "/kept/x", "api3 \"/kept/x\" kept by kept");
    let only = ruled("ROUTING_RULE_ONLY");
    is(&only, "/kept/x", "api3 \"/kept/x\" kept by kept");
    assert_eq!(chosen(&only, "/other", &[]), Err(Reject::NotFound));
    is(&ruled("API_MAPPING_ONLY"), "/kept/x", "api9 \"/kept/x\" (none)");
}

/// Proves H-RULE-3.
#[test]
fn a_rule_without_conditions_takes_everything() {
    let domain = domain(json!({"routingMode": "ROUTING_RULE_ONLY", "rules": [{"id": "all", "target": stage(1)}]}));
    is(&domain, "/any/thing", "api1 \"/any/thing\" (none) by all");
}
