//! Custom domains on the real proxy: mappings, certificates, certificates of clients.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[path = "domains/mutual_tls.rs"]
mod mutual_tls;

use http::Request;
use rustls::CipherSuite;
use serde_json::{Value, json};
use tollgate_engine::snapshot::Unit;
use tollgate_testkit::{
    Api, Authority, Gateway, Http2Client, Issued, TlsClient, backend, echo, function, invoked, service,
};

/// Stages `$default` and `prod` of an API with an HTTP backend and functions of both formats.
fn api() -> Api {
    let mut mapped = service("s");
    mapped["requestParameters"] = json!({"append:header.x-client-subject": "$context.identity.clientCert.subjectDN"});
    Api::new(&[
        ("GET /mapped", mapped),
        ("ANY /", service("s")),
        ("GET /pets", service("s")),
        ("ANY /{proxy+}", service("s")),
        ("GET /v2", function(backend(invoked), "2.0")),
        ("GET /v1", function(backend(invoked), "1.0")),
    ])
    .endpoints("s", &[backend(echo)])
    .stage(json!({"stageName": "prod", "accessLogSettings": {"format": LOG}}))
}

const LOG: &str = "$context.domainName $context.domainPrefix $context.customDomain.basePathMatched $context.customDomain.routingRuleIdMatched $context.path $context.identity.clientCert.subjectDN";

fn stage(name: &str) -> Value {
    json!({"type": "stage", "apiId": "abc123", "stageName": name})
}

fn mapping(key: &str, stage_name: &str) -> Value {
    json!({"source": "shop/mapping", "key": key, "target": stage(stage_name)})
}

fn domain(name: &str, mappings: &[Value]) -> Value {
    json!({"kind": "domain", "source": "shop/domain", "domainName": name, "mappings": mappings})
}

fn certificate(name: &str, issued: &Issued) -> Unit {
    unit(json!({"kind": "certificate", "source": "shop/secret", "domainName": name,
        "certificatePem": issued.certificate, "privateKeyPem": issued.key}))
}

fn unit(value: Value) -> Unit {
    serde_json::from_value(value).unwrap()
}

fn secured(mut domain: Value) -> Unit {
    domain["ownCertificate"] = true.into();
    unit(domain)
}

fn publish(gateway: &mut Gateway, api: &Api, more: Vec<Unit>) {
    let reports = gateway.publish(&[api.units(), more].concat());
    assert!(reports.iter().all(|report| report.problems.is_empty()), "{reports:?}");
}

fn gateway() -> Gateway {
    Gateway::with(|settings| settings.tls_listen = Some("127.0.0.1:0".parse().unwrap()))
}

const FORBIDDEN: (u16, &str) = (403, r#"{"message":"Forbidden"}"#);

/// Proves H-APM-7, H-APM-11, H-APM-13, H-EV2-6, H-EV2-19, H-EV1-4, H-VPC-6, H-ROUTE-14, C91.
#[test]
fn a_mapping_leads_to_its_stage() {
    let mut gateway = gateway();
    let mappings = [mapping("v1", "prod"), mapping("plain", "$default")];
    publish(&mut gateway, &api(), vec![unit(domain("api.example.com", &mappings))]);
    let call = |path: &str| gateway.call(&format!("GET {path}\nHost: API.example.com:8443"));

    assert_eq!(call("/v1/pets?x=1").json()["target"], "/prod/pets?x=1");
    assert_eq!(call("/v1").json()["target"], "/prod");
    assert_eq!(call("/plain/pets?").json()["target"], "/pets?");
    assert_eq!(call("/plain").json()["target"], "/");

    let event = call("/v1/v2?a=b").json();
    assert_eq!((&event["rawPath"], &event["rawQueryString"]), (&json!("/prod/v2"), &json!("a=b")));
    let context = &event["requestContext"];
    assert_eq!((&context["stage"], &context["http"]["path"]), (&json!("prod"), &json!("/prod/v2")));
    assert_eq!((&context["domainName"], &context["domainPrefix"]), (&json!("API.example.com"), &json!("API")));
    assert_eq!(context.get("authentication"), None);
    let event = call("/plain/v2").json();
    assert_eq!(event["rawPath"], "/v2");

    let event = call("/v1/v1").json();
    assert_eq!((&event["path"], &event["requestContext"]["path"]), (&json!("/v1/v1"), &json!("/v1/v1")));
    assert_eq!(event["requestContext"]["stage"], "prod");
    assert_eq!(event["requestContext"]["identity"].get("clientCert"), None);

    let log = gateway.stop();
    assert_eq!(log.lines().next(), Some("API.example.com API v1 - /v1/pets -"));
}

/// Proves H-DOM-3, H-DOM-4, H-APM-8.
#[test]
fn the_host_selects_the_domain() {
    let mut gateway = gateway();
    let wild = unit(domain("*.example.com", &[mapping("wild", "$default")]));
    let exact = unit(domain("api.example.com", &[mapping("exact", "$default")]));
    publish(&mut gateway, &api(), vec![wild, exact]);
    let status = |host: &str, path: &str| {
        let reply = gateway.call(&format!("GET {path}\nHost: {host}"));
        (reply.status, reply.text().to_owned())
    };
    assert_eq!(status("api.example.com", "/exact/pets").0, 200);
    assert_eq!(status("other.EXAMPLE.com:443", "/wild/pets").0, 200);
    for (host, path) in [
        ("api.example.com", "/wild/pets"),
        ("api.example.com", "/pets"),
        ("a.b.example.com", "/wild/pets"),
        ("example.com", "/wild/pets"),
        ("api.example.org", "/exact/pets"),
    ] {
        let (code, body) = status(host, path);
        assert_eq!((code, body.as_str()), FORBIDDEN, "{host}{path}");
    }
    assert_eq!(status("abc123.execute-api.gw.example", "/pets").0, 200);
}

/// Proves H-DOM-1.
#[test]
fn an_exact_domain_beats_a_wildcard() {
    let mut gateway = gateway();
    let wild = unit(domain("*.example.com", &[mapping("", "$default")]));
    publish(&mut gateway, &api(), vec![wild.clone(), unit(domain("api.example.com", &[]))]);
    assert_eq!(gateway.call("GET /pets\nHost: api.example.com").status, 403);
    assert_eq!(gateway.call("GET /pets\nHost: other.example.com").status, 200);
    publish(&mut gateway, &api(), vec![wild]);
    assert_eq!(gateway.call("GET /pets\nHost: api.example.com").status, 200);
}

/// Proves H-ROUTE-34, H-ROUTE-35, C16.
#[test]
fn a_closed_default_endpoint_leaves_custom_domains_open() {
    let mut gateway = gateway();
    let closed = api().set("disableExecuteApiEndpoint", json!(true));
    publish(&mut gateway, &closed, vec![unit(domain("api.example.com", &[mapping("", "prod")]))]);
    for (host, path) in [
        ("abc123.execute-api.gw.example", "/pets"),
        ("abc123.execute-api.gw.example", "/prod/pets"),
        ("books.shop.gw.example", "/pets"),
        ("gw.example", "/_aws/execute-api/abc123/pets"),
        ("gw.example", "/pets"),
    ] {
        let reply = gateway.call(&format!("GET {path}\nHost: {host}"));
        assert_eq!((reply.status, reply.text()), (404, r#"{"message":"Not Found"}"#), "{host}{path}");
    }
    assert_eq!(gateway.call("GET /pets\nHost: api.example.com").json()["target"], "/prod/pets");
}

/// Proves H-APM-5, H-APM-7, H-APM-9, C90.
#[test]
fn beside_multi_level_keys_names_of_headers_are_lower_case() {
    let mut gateway = gateway();
    let mappings = [mapping("v", "$default"), mapping("a/b", "prod"), mapping("orders", "$default")];
    publish(&mut gateway, &api(), vec![unit(domain("api.example.com", &mappings))]);
    let call = |path: &str| gateway.call(&format!("GET {path}\nHost: api.example.com\nX-Mixed-Case: 1"));
    assert_eq!(call("/ordersandmore?q").json()["target"], "/andmore?q");
    assert_eq!(call("/a/b/c").json()["target"], "/prod/c");
    let event = call("/vv1").json();
    assert_eq!(event["path"], "/vv1");
    for (name, _) in event["headers"].as_object().unwrap() {
        assert_eq!(*name, name.to_ascii_lowercase());
    }
    assert_eq!(event["multiValueHeaders"]["x-mixed-case"], json!(["1"]));
    // What is left where a key ends inside a segment is looked at again.
    for path in ["/orders../pets", "/orders%2e%2e/pets", "/a/b../x"] {
        assert_eq!(call(path).status, 400, "{path}");
    }
}

/// Proves H-APM-12, P1, P6.
#[test]
fn a_mapping_names_a_stage_whatever_that_serves() {
    let mut gateway = gateway();
    let refused = json!({"source": "shop/m", "key": "refused", "target": {"type": "refused"}});
    let mappings = [mapping("", "$default"), mapping("gone", "gone"), refused];
    let units = vec![unit(domain("api.example.com", &mappings))];
    publish(&mut gateway, &api(), units.clone());
    let status = |gateway: &Gateway, path: &str| gateway.call(&format!("GET {path}\nHost: api.example.com")).status;
    assert_eq!(status(&gateway, "/pets"), 200);
    assert_eq!(status(&gateway, "/gone/pets"), 404);
    assert_eq!(status(&gateway, "/refused/pets"), 500);
    let other = Api::new(&[("GET /other", service("s"))]).endpoints("s", &[backend(echo)]);
    publish(&mut gateway, &other, units);
    assert_eq!((status(&gateway, "/pets"), status(&gateway, "/other")), (404, 200));
}

/// Proves H-RULE-8, H-RULE-9, H-RULE-10, H-RULE-11, H-APM-11.
#[test]
fn rules_come_before_mappings() {
    let mut gateway = gateway();
    let ruled = |value_glob: &str| {
        let mut domain = domain("api.example.com", &[mapping("", "$default")]);
        domain["routingMode"] = "ROUTING_RULE_THEN_API_MAPPING".into();
        domain["rules"] = json!([
            {"id": "beta", "headers": [{"header": "X-Beta", "valueGlob": value_glob}], "target": stage("prod")},
            {"id": "stripped", "basePath": "in", "stripBasePath": true, "target": stage("prod")},
        ]);
        vec![unit(domain)]
    };
    publish(&mut gateway, &api(), ruled("yes*"));
    let target = |gateway: &Gateway, path: &str, beta: &str| {
        gateway.call(&format!("GET {path}\nHost: api.example.com\nx-beta: {beta}")).json()["target"].clone()
    };
    assert_eq!(target(&gateway, "/pets", "yes, please"), "/prod/pets");
    assert_eq!(target(&gateway, "/in/pets", "no"), "/prod/pets");
    assert_eq!(target(&gateway, "/pets", "no"), "/pets");
    publish(&mut gateway, &api(), ruled("no"));
    assert_eq!(target(&gateway, "/pets", "no"), "/prod/pets");
    let log = gateway.stop();
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(lines[..2], ["api.example.com api (none) beta /pets -", "api.example.com api in stripped /in/pets -"]);
}

/// Proves P5.
#[test]
fn a_new_certificate_is_shown_without_closing_a_connection() {
    let root = Authority::new("root");
    let (first, second) = (root.server(&["api.example.com"]), root.server(&["api.example.com"]));
    let mut gateway = gateway();
    let serve = |gateway: &mut Gateway, issued: &Issued| {
        let units = vec![
            secured(domain("api.example.com", &[mapping("", "$default")])),
            certificate("api.example.com", issued),
        ];
        publish(gateway, &api(), units);
    };
    serve(&mut gateway, &first);
    let client = TlsClient::new(&root.pem, None);
    let address = gateway.tls_address.unwrap();
    let mut open = client.connect(address, "api.example.com").unwrap();
    let shown = open.shown();
    assert_eq!(open.call("GET /pets\nHost: api.example.com").unwrap().status, 200);
    serve(&mut gateway, &second);
    // One worker, so that this request comes after the change.
    assert_eq!(gateway.call("GET /pets\nHost: api.example.com").status, 200);
    let renewed = TlsClient::new(&root.pem, None).connect(address, "api.example.com").unwrap();
    assert_ne!(renewed.shown(), shown);
    assert_eq!(open.call("GET /pets\nHost: api.example.com").unwrap().status, 200, "the old connection goes on");
    assert!(client.connect(address, "api.example.com").unwrap().is_resumed(), "sessions outlive the certificate");
}

/// Proves P3, H-DOM-1, H-TLS-2.
#[test]
fn each_name_is_shown_its_own_certificate_or_none() {
    let root = Authority::new("root");
    let mut gateway = gateway();
    let units = vec![
        secured(domain("api.example.com", &[mapping("", "$default")])),
        certificate("api.example.com", &root.server(&["api.example.com"])),
        secured(domain("*.example.com", &[mapping("", "$default")])),
        certificate("*.example.com", &root.server(&["*.example.com"])),
        secured(domain("bare.example.com", &[mapping("", "$default")])),
        unit(domain("abc.example.org", &[mapping("", "$default")])),
    ];
    publish(&mut gateway, &api(), units);
    let address = gateway.tls_address.unwrap();
    let client = TlsClient::new(&root.pem, None);
    for name in ["api.example.com", "API.example.com", "other.example.com"] {
        assert_eq!(client.call(address, name, "GET /pets").unwrap().status, 200, "{name}");
    }
    assert!(client.connect(address, "bare.example.com").is_err(), "without a certificate nothing is shown");
    assert!(client.connect(address, "abc.example.org").is_err(), "the listener's own is for another name");
    let default = TlsClient::new(&gateway.certificate, None);
    assert_eq!(default.call(address, "abc123.execute-api.gw.example", "GET /pets").unwrap().status, 200);
}

/// Proves H-TLS-3.
#[test]
fn suites_of_tls_1_2_agree_on_a_key_of_their_own_and_use_gcm() {
    let root = Authority::new("root");
    let mut gateway = gateway();
    let units = vec![
        secured(domain("api.example.com", &[mapping("", "$default")])),
        certificate("api.example.com", &root.server(&["api.example.com"])),
    ];
    publish(&mut gateway, &api(), units);
    let (own, listeners) = ("api.example.com", "abc123.execute-api.gw.example");
    for suite in
        [CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]
    {
        for (trust, name) in [(&root.pem, own), (&gateway.certificate, listeners)] {
            let mut connection = TlsClient::only(trust, suite).connect(gateway.tls_address.unwrap(), name).unwrap();
            assert_eq!(connection.suite(), suite);
            assert_eq!(connection.call(&format!("GET /pets\nHost: {name}")).unwrap().status, 200);
        }
    }
}

/// Proves H-DOM-5.
#[test]
fn a_connection_for_one_domain_is_not_one_for_another() {
    let root = Authority::new("root");
    let issued = root.server(&["*.example.com"]);
    let mut gateway = gateway();
    let mut units = Vec::new();
    for name in ["a.example.com", "b.example.com"] {
        units.extend([secured(domain(name, &[mapping("", "$default")])), certificate(name, &issued)]);
    }
    publish(&mut gateway, &api(), units);
    let address = gateway.tls_address.unwrap();
    let mut connection = TlsClient::new(&root.pem, None).connect(address, "a.example.com").unwrap();
    let reply = connection.call("GET /pets\nHost: b.example.com").unwrap();
    assert_eq!((reply.status, reply.text()), FORBIDDEN);
    assert_eq!(connection.call("GET /pets\nHost: a.example.com").unwrap().status, 200);
    assert_eq!(connection.call("GET /pets\nHost: abc123.execute-api.gw.example").unwrap().status, 200);
    // Browsers share HTTP/2 connections among the names of a certificate; 421 makes them open another.
    let mut http2 = Http2Client::connect_tls(address, "a.example.com", &root.pem);
    let reply = http2.call(Request::get("https://b.example.com/pets"), "");
    assert_eq!((reply.status, reply.text()), (421, r#"{"message":"Misdirected Request"}"#));
    assert_eq!(http2.call(Request::get("https://a.example.com/pets"), "").status, 200);
}
