//! DomainNames and ApiMappings: what becomes of them, and what is said about wrong ones.

#![expect(clippy::unwrap_used, reason = "a test ends where something unexpected happens")]

use std::collections::BTreeMap;

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};
use serde_json::{Value, json};
use tollgate_engine::snapshot::{Domain, DomainTarget, Unit, UnitId};
use tollgate_translate::{Kind, Object, ObjectRef, ObjectVerdict, Serving, Settings, Translator};

/// 2026-01-01.
const NOW: i64 = 1_767_225_600;

struct World {
    translator: Translator,
    units: BTreeMap<UnitId, Unit>,
    /// Units of the last translation.
    put: Vec<UnitId>,
    verdicts: BTreeMap<ObjectRef, ObjectVerdict>,
    arrivals: i64,
}

impl World {
    /// The API `books` with the stages `prod` and `$default` in the namespace `shop`, and in `other` the same.
    fn new() -> Self {
        let settings = Settings { base_domain: "gw.example".into(), https: true };
        let mut world = Self {
            translator: Translator::new(settings),
            units: BTreeMap::new(),
            put: Vec::new(),
            verdicts: BTreeMap::new(),
            arrivals: 0,
        };
        world.translator.set_time(NOW);
        for namespace in ["shop", "other"] {
            world.ours("HttpApi", namespace, "books", json!({}));
            let route = json!({"apiRef": {"name": "books"}, "routeKey": "$default", "integration": {"http": {"uri": "http://x.example/"}}});
            world.ours("Route", namespace, "all", route);
            for (name, stage) in [("prod", "prod"), ("root", "$default")] {
                world.ours("Stage", namespace, name, json!({"apiRef": {"name": "books"}, "stageName": stage}));
            }
        }
        world.translate();
        world
    }

    fn ours(&mut self, kind: &str, namespace: &str, name: &str, spec: Value) {
        self.arrivals += 1;
        let created = format!("2025-01-01T00:{:02}:{:02}Z", self.arrivals / 60, self.arrivals % 60);
        self.apply(json!({
            "apiVersion": "tollgate.dev/v1alpha1", "kind": kind, "spec": spec,
            "metadata": {"name": name, "namespace": namespace, "creationTimestamp": created}
        }));
    }

    fn apply(&mut self, object: Value) {
        self.translator.world_mut().apply(Object::from_value(object).unwrap().unwrap());
    }

    fn data(&mut self, kind: &str, name: &str, data: &[(&str, &str)]) {
        let field = if kind == "Secret" { "stringData" } else { "data" };
        let data: BTreeMap<&str, &str> = data.iter().copied().collect();
        self.apply(
            json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": "shop"}, field: data}),
        );
    }

    fn delete(&mut self, kind: Kind, name: &str) {
        assert!(self.translator.world_mut().delete(&ObjectRef::new(kind, "shop", name)));
    }

    fn translate(&mut self) {
        let changes = self.translator.translate();
        self.put = changes.puts.iter().map(|put| put.id.clone()).collect();
        self.units.extend(changes.puts.iter().map(|put| (put.id.clone(), put.unit())));
        changes.deletes.iter().for_each(|id| {
            self.units.remove(id);
        });
        self.verdicts.extend(changes.verdicts.into_iter().map(|verdict| (verdict.object.clone(), verdict)));
    }

    fn domain_name(&mut self, name: &str, mut spec: Value) {
        if spec.get("domainName").is_none() {
            spec["domainName"] = "api.example.com".into();
        }
        self.ours("DomainName", "shop", name, spec);
    }

    fn mapping(&mut self, namespace: &str, name: &str, key: &str, stage: &str) {
        let spec = json!({"domainNameRef": {"name": "api", "namespace": "shop"}, "stageRef": {"name": stage}, "apiMappingKey": key});
        self.ours("ApiMapping", namespace, name, spec);
    }

    fn domain(&self, host: &str) -> &Domain {
        match self.units.get(&UnitId::domain(host)) {
            Some(Unit::Domain(domain)) => domain,
            other => panic!("{host}: {other:?}"),
        }
    }

    /// `key → stage` of the domain's mappings.
    fn mappings(&self) -> Vec<String> {
        let target = |target: &DomainTarget| match target {
            DomainTarget::Stage { stage_name, .. } => stage_name.clone(),
            other => format!("{other:?}"),
        };
        let mappings = &self.domain("api.example.com").mappings;
        mappings
            .iter()
            .map(|mapping| format!("{} {} {}", mapping.source, mapping.key, target(&mapping.target)))
            .collect()
    }

    /// Reason and message of the first condition that is not good.
    fn said(&self, kind: Kind, namespace: &str, name: &str) -> String {
        let verdict = &self.verdicts[&ObjectRef::new(kind, namespace, name)];
        let bad = [&verdict.accepted, &verdict.resolved_refs].into_iter().find(|verdict| !verdict.ok);
        bad.map_or("good".to_owned(), |verdict| format!("{}: {}", verdict.reason, verdict.message))
    }

    fn is_served(&self, kind: Kind, name: &str) -> bool {
        matches!(self.verdicts[&ObjectRef::new(kind, "shop", name)].serving, Serving::When(_))
    }
}

struct Made {
    certificate: String,
    key: String,
}

fn certificate(names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Made {
    let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
    params.not_before = date_time_ymd(2025, 1, 1);
    params.not_after = date_time_ymd(2027, 1, 1);
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    Made { certificate: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
}

fn root() -> String {
    certificate(&[], |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)).certificate
}

fn with_certificate() -> Value {
    json!({"certificateSecretRef": {"name": "tls"}})
}

#[test]
fn a_domain_its_certificate_and_its_apis_change_apart() {
    let mut world = World::new();
    let made = certificate(&["api.example.com"], |_| {});
    world.data("Secret", "tls", &[("tls.crt", &made.certificate), ("tls.key", &made.key)]);
    world.domain_name("api", with_certificate());
    world.mapping("shop", "all", "", "root");
    world.mapping("shop", "v1", "v1", "prod");
    world.translate();
    assert_eq!(world.mappings(), ["shop/all  $default", "shop/v1 v1 prod"]);
    let ids = [UnitId::certificate("api.example.com"), UnitId::domain("api.example.com")];
    let mut put = world.put.clone();
    put.sort();
    assert_eq!(put, ids);
    for (kind, name, endpoint) in [
        (Kind::DomainName, "api", "https://api.example.com"),
        (Kind::ApiMapping, "all", "https://api.example.com"),
        (Kind::ApiMapping, "v1", "https://api.example.com/v1"),
    ] {
        assert_eq!(world.said(kind, "shop", name), "good");
        assert!(world.is_served(kind, name));
        assert_eq!(world.verdicts[&ObjectRef::new(kind, "shop", name)].api_endpoint.as_deref(), Some(endpoint));
    }

    let renewed = certificate(&["*.example.com"], |_| {});
    world.data("Secret", "tls", &[("tls.crt", &renewed.certificate), ("tls.key", &renewed.key)]);
    world.translate();
    assert_eq!(world.put, ids[..1], "a certificate alone");

    world.ours("Route", "shop", "more", json!({"apiRef": {"name": "books"}, "routeKey": "GET /more", "integration": {"http": {"uri": "http://x.example/"}}}));
    world.translate();
    assert!(world.put.iter().all(|id| !ids.contains(id)), "an API alone");

    world.delete(Kind::DomainName, "api");
    world.translate();
    assert!(ids.iter().all(|id| !world.units.contains_key(id)));
    assert!(
        world
            .said(Kind::ApiMapping, "shop", "v1")
            .starts_with("DomainNotFound: spec.domainNameRef: DomainName shop/api does not exist")
    );
    world.domain_name("api", with_certificate());
    world.translate();
    assert_eq!(world.mappings().len(), 2, "the mappings come back with their domain");
}

/// Proves P7.
#[test]
fn nobody_prints_a_private_key() {
    let mut world = World::new();
    let made = certificate(&["api.example.com"], |_| {});
    world.data("Secret", "tls", &[("tls.crt", &made.certificate), ("tls.key", &made.key)]);
    world.domain_name("api", with_certificate());
    let changes = world.translator.translate();
    let secret = made.key.lines().nth(1).unwrap();
    assert!(changes.puts.iter().any(|put| put.json.contains(secret)), "it does travel");
    assert!(!format!("{changes:?}").contains(secret));
    assert!(
        !format!("{:?}", changes.puts.iter().map(tollgate_translate::Put::unit).collect::<Vec<_>>()).contains(secret)
    );
    assert!(!format!("{:?}", world.translator).contains(secret));
}

/// Proves P1, P3.
#[test]
fn a_certificate_that_does_not_fit_is_told_and_the_last_stays() {
    let mut world = World::new();
    world.domain_name("api", with_certificate());
    world.mapping("shop", "all", "", "root");
    world.translate();
    assert!(
        world.domain("api.example.com").refused && world.domain("api.example.com").own_certificate,
        "closed, not open"
    );
    let good = certificate(&["api.example.com"], |_| {});
    let other = certificate(&["api.example.com"], |_| {});
    let wrong_name = certificate(&["www.example.com"], |_| {});
    let ended = certificate(&["api.example.com"], |params| params.not_after = date_time_ymd(2025, 6, 1));
    let early = certificate(&["api.example.com"], |params| params.not_before = date_time_ymd(2026, 6, 1));
    let said = |world: &World| world.said(Kind::DomainName, "shop", "api");
    assert_eq!(
        said(&world),
        "CertificatesNotFound: spec.certificateSecretRef: Secret shop/tls does not exist: create it or correct the name"
    );

    world.data("Secret", "tls", &[("tls.crt", &good.certificate), ("tls.key", &good.key)]);
    world.translate();
    assert_eq!(said(&world), "good");
    let served = world.units[&UnitId::certificate("api.example.com")].clone();
    for (certificate, key, expected) in [
        (
            &good.certificate,
            "",
            "CertificatesInvalid: spec.certificateSecretRef: Secret shop/tls: tls.key holds no private key: put the PEM key (PKCS#8, PKCS#1 or SEC1) there",
        ),
        (
            &good.certificate,
            other.key.as_str(),
            "CertificatesInvalid: spec.certificateSecretRef: Secret shop/tls: tls.key does not fit tls.crt: ",
        ),
        (
            &"rubbish".to_owned(),
            &good.key,
            "CertificatesInvalid: spec.certificateSecretRef: Secret shop/tls: tls.crt holds no certificate: put the PEM chain there, the server's own certificate first",
        ),
        (
            &wrong_name.certificate,
            &wrong_name.key,
            "CertificateNameMismatch: spec.certificateSecretRef: the certificate in Secret shop/tls is for www.example.com and not for api.example.com: have it issued with this name",
        ),
        (
            &ended.certificate,
            &ended.key,
            "CertificateExpired: spec.certificateSecretRef: the certificate in Secret shop/tls ended 01/Jun/2025:00:00:00 +0000: renew it",
        ),
        (
            &early.certificate,
            &early.key,
            "CertificateExpired: spec.certificateSecretRef: the certificate in Secret shop/tls begins 01/Jun/2026:00:00:00 +0000: wait until then, or use one that is valid now",
        ),
    ] {
        world.data("Secret", "tls", &[("tls.crt", certificate), ("tls.key", key)]);
        world.translate();
        assert!(said(&world).starts_with(expected), "{}", said(&world));
        assert_eq!(world.units[&UnitId::certificate("api.example.com")], served, "the last accepted one stays");
        assert_eq!(world.mappings(), ["shop/all  $default"]);
    }
    world.data("Secret", "tls", &[("ca.crt", &good.certificate)]);
    world.translate();
    assert_eq!(
        said(&world),
        "CertificatesInvalid: spec.certificateSecretRef: Secret shop/tls has no tls.crt and tls.key: a Secret of type kubernetes.io/tls has both"
    );
    world.delete(Kind::Secret, "tls");
    world.translate();
    assert!(said(&world).starts_with("CertificatesNotFound"));
    assert_eq!(world.units[&UnitId::certificate("api.example.com")], served);
}

#[test]
fn the_end_of_a_certificate_is_told_when_it_comes() {
    let mut world = World::new();
    let made = certificate(&["api.example.com"], |_| {});
    world.data("Secret", "tls", &[("tls.crt", &made.certificate), ("tls.key", &made.key)]);
    world.domain_name("api", with_certificate());
    world.translate();
    assert!(!world.translator.set_time(NOW + 60), "nothing to do");
    assert!(world.translator.set_time(NOW + 366 * 86_400));
    world.translate();
    assert!(world.said(Kind::DomainName, "shop", "api").starts_with("CertificateExpired"));
    assert!(world.units.contains_key(&UnitId::certificate("api.example.com")), "it is still shown: clients decide");
}

/// Proves H-APM-1, H-APM-3, P1.
#[test]
fn wrong_mappings_are_told_and_take_nothing_from_others() {
    let mut world = World::new();
    world.domain_name("api", json!({"allowedNamespaces": ["friends"]}));
    world.mapping("shop", "all", "", "root");
    world.mapping("shop", "v1", "v1", "prod");
    world.mapping("shop", "again", "v1", "root");
    world.mapping("shop", "lost", "lost", "missing");
    world.mapping("other", "foreign", "foreign", "prod");
    world.mapping("other", "grab", "", "prod");
    world.translate();
    assert_eq!(world.mappings(), ["shop/all  $default", "shop/lost lost Refused", "shop/v1 v1 prod"]);
    let said = |world: &World, namespace: &str, name: &str| world.said(Kind::ApiMapping, namespace, name);
    assert_eq!(
        said(&world, "shop", "again"),
        "MappingKeyConflict: spec.apiMappingKey: \"v1\" is the key of the older ApiMapping shop/v1 on this domain (ApiMapping key already exists for this domain name): choose another"
    );
    assert_eq!(
        said(&world, "shop", "lost"),
        "StageNotFound: spec.stageRef: Stage shop/missing does not exist: create it or correct the name"
    );
    let not_allowed = "NamespaceNotAllowed: spec.domainNameRef: DomainName shop/api does not take ApiMappings of namespace \"other\": add the namespace to its allowedNamespaces";
    assert_eq!(said(&world, "other", "foreign"), not_allowed);
    assert_eq!(said(&world, "other", "grab"), not_allowed);

    // Allowed, then no more: permissions are not kept.
    world.domain_name("api", json!({"allowedNamespaces": ["*"]}));
    world.translate();
    assert_eq!(world.mappings().len(), 4);
    assert_eq!(said(&world, "other", "foreign"), "good");
    assert!(said(&world, "other", "grab").starts_with("MappingKeyConflict"));
    world.domain_name("api", json!({}));
    world.translate();
    assert_eq!(world.mappings().len(), 3);
    assert_eq!(said(&world, "other", "foreign"), not_allowed);

    // A mapping whose stage goes keeps where it led.
    world.delete(Kind::Stage, "prod");
    world.translate();
    assert_eq!(world.mappings()[2], "shop/v1 v1 prod");
    assert!(said(&world, "shop", "v1").starts_with("StageNotFound"));
    // The younger one gets a key that is free again.
    world.delete(Kind::ApiMapping, "v1");
    world.translate();
    assert_eq!(world.mappings()[2], "shop/again v1 $default");
    assert_eq!(said(&world, "shop", "again"), "good");
}

#[test]
fn of_two_domain_names_with_one_host_the_older_serves() {
    let mut world = World::new();
    world.domain_name("api", json!({}));
    world.mapping("shop", "all", "", "root");
    world.ours("DomainName", "other", "thief", json!({"domainName": "api.example.com"}));
    let mine = json!({"domainNameRef": {"name": "thief"}, "stageRef": {"name": "root"}});
    world.ours("ApiMapping", "other", "mine", mine);
    world.translate();
    assert_eq!(world.mappings(), ["shop/all  $default"]);
    assert_eq!(
        world.said(Kind::DomainName, "other", "thief"),
        "DomainNameConflict: spec.domainName: \"api.example.com\" is the host of the older DomainName shop/api: choose another, or delete one of the two"
    );
    assert!(
        world
            .said(Kind::ApiMapping, "other", "mine")
            .starts_with("DomainNotAccepted: spec.domainNameRef: DomainName other/thief is refused")
    );
    world.delete(Kind::DomainName, "api");
    world.translate();
    assert_eq!(world.mappings(), ["other/mine  $default"]);
    assert_eq!(world.said(Kind::DomainName, "other", "thief"), "good");
}

#[test]
fn addresses_of_the_gateway_are_nobodys() {
    let mut world = World::new();
    for (host, why) in [
        ("abc123.execute-api.gw.example", "is the address of an API's default endpoint"),
        ("gw.example", "is the gateway's own address"),
    ] {
        world.ours("DomainName", "shop", "grab", json!({"domainName": host}));
        world.translate();
        assert_eq!(
            world.said(Kind::DomainName, "shop", "grab"),
            format!("Invalid: spec.domainName: {host:?} {why}: choose another host")
        );
        world.delete(Kind::DomainName, "grab");
    }
}

/// Proves H-MTLS-1, H-MTLS-8, H-MTLS-9, H-MTLS-10, P3.
#[test]
fn truststores_come_from_config_maps_and_secrets() {
    let mut world = World::new();
    let (first, second) = (root(), root());
    let spec = |kind: &str| json!({"mutualTlsAuthentication": {"truststoreRef": {"kind": kind, "name": "trust", "key": "ca.crt"}}});
    let said = |world: &World| world.said(Kind::DomainName, "shop", "api");
    world.domain_name("api", spec("ConfigMap"));
    world.translate();
    assert!(world.domain("api.example.com").refused, "closed, not open");
    assert_eq!(
        said(&world),
        "CertificatesNotFound: spec.mutualTlsAuthentication.truststoreRef: ConfigMap shop/trust does not exist: create it or correct the name"
    );
    world.data("ConfigMap", "trust", &[("ca.crt", &first)]);
    world.data("Secret", "trust", &[("ca.crt", &second)]);
    world.translate();
    let trusted = |world: &World| world.domain("api.example.com").mutual_tls.clone().map(|tls| tls.truststore_pem);
    assert_eq!((said(&world).as_str(), trusted(&world).as_ref()), ("good", Some(&first)));

    let with_rubbish = format!("{first}-----BEGIN CERTIFICATE-----\nYWJj\n-----END CERTIFICATE-----\n");
    world.data("ConfigMap", "trust", &[("ca.crt", &with_rubbish)]);
    world.translate();
    assert_eq!(trusted(&world).as_ref(), Some(&with_rubbish));
    let verdict = &world.verdicts[&ObjectRef::new(Kind::DomainName, "shop", "api")].resolved_refs;
    assert!(verdict.ok);
    assert_eq!(
        verdict.message,
        "spec.mutualTlsAuthentication.truststoreRef: certificate 2 of the truststore is left out: it is malformed"
    );
    for (data, expected) in [
        (
            ("other", first.as_str()),
            "CertificatesNotFound: spec.mutualTlsAuthentication.truststoreRef: ConfigMap shop/trust has no key \"ca.crt\": add it, or name another in truststoreRef.key",
        ),
        (
            ("ca.crt", "rubbish"),
            "TruststoreInvalid: spec.mutualTlsAuthentication.truststoreRef: key \"ca.crt\" of ConfigMap shop/trust has to hold PEM certificates and nothing else",
        ),
        (
            ("ca.crt", "-----BEGIN CERTIFICATE-----\nYWJj\n-----END CERTIFICATE-----"),
            "TruststoreInvalid: spec.mutualTlsAuthentication.truststoreRef: key \"ca.crt\" of ConfigMap shop/trust: the truststore holds no self-signed root certificate",
        ),
    ] {
        world.data("ConfigMap", "trust", &[data]);
        world.translate();
        assert!(said(&world).starts_with(expected), "{}", said(&world));
        assert_eq!(trusted(&world).as_ref(), Some(&with_rubbish), "the last accepted one stays");
    }
    world.domain_name("api", spec("Secret"));
    world.translate();
    assert_eq!((said(&world).as_str(), trusted(&world).as_ref()), ("good", Some(&second)));
    world.domain_name("api", json!({}));
    world.translate();
    assert_eq!(trusted(&world), None);
}

/// Proves H-RULE-2, P1.
#[test]
fn rules_come_in_the_order_of_their_priority() {
    let mut world = World::new();
    let rule = |name: &str, priority: i32, stage: &str, conditions: Value| json!({"name": name, "priority": priority, "conditions": conditions, "actions": [{"invokeApi": {"stageRef": {"name": stage}}}]});
    world.domain_name(
        "api",
        json!({
            "routingMode": "ROUTING_RULE_ONLY",
            "routingRules": [
                rule("last", 900, "root", json!([])),
                rule("first", 10, "prod", json!([
                    {"matchHeaders": {"anyOf": [{"header": "X-A", "valueGlob": "1*"}]}},
                    {"matchBasePaths": {"anyOf": ["in/here"]}},
                ])),
                rule("lost", 20, "missing", json!([])),
            ]
        }),
    );
    world.translate();
    let rules = &world.domain("api.example.com").rules;
    let ids: Vec<&str> = rules.iter().map(|rule| rule.id.as_str()).collect();
    assert_eq!(ids, ["first", "lost", "last"]);
    assert_eq!((rules[0].headers[0].header.as_str(), rules[0].base_path.as_deref()), ("X-A", Some("in/here")));
    assert_eq!(rules[1].target, DomainTarget::Refused);
    assert_eq!(
        world.said(Kind::DomainName, "shop", "api"),
        "StageNotFound: spec.routingRules[2].actions[0].invokeApi.stageRef: Stage shop/missing does not exist: create it or correct the name"
    );
}
