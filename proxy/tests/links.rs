//! Services behind links (section 3.6 of the spec): who may reach them, and how requests are spread.

#![expect(clippy::unwrap_used, reason = "a test ends where something unexpected happens")]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use http::Response;
use http_body_util::Full;
use serde_json::{Value, json};
use tollgate_testkit::{Api, Gateway, Identity, Reply, backend, echo, invoked, raw_backend, tls_backend};

/// An API of namespace `shop` whose `GET /x` goes to the service `orders` of `backends` through the link `open`.
fn api(link: Option<Value>, endpoints: &[SocketAddr]) -> Api {
    api_with(&json!({}), link, endpoints)
}

fn api_with(integration: &Value, link: Option<Value>, endpoints: &[SocketAddr]) -> Api {
    let service = json!({"namespace": "backends", "name": "orders", "port": 80});
    let name = json!({"namespace": "backends", "name": "open"});
    let mut target = json!({"type": "service", "service": service, "link": name});
    target.as_object_mut().unwrap().extend(integration.as_object().unwrap().clone());
    let list: Vec<Value> = endpoints.iter().map(|end| json!({"address": end.ip(), "port": end.port()})).collect();
    let api = Api::new(&[("GET /x", json!({"backend": target, "route": {"requires": ["vpcLink"]}}))])
        .unit(json!({"kind": "endpoints", "service": service, "endpoints": list}));
    match link {
        None => api,
        Some(more) => {
            let mut link = json!({"kind": "link", "link": name, "services": ["orders"], "allowedNamespaces": ["shop"]});
            link.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            api.unit(link)
        }
    }
}

fn publish(gateway: &mut Gateway, api: &Api) {
    let reports = gateway.publish(&api.units());
    assert!(reports.iter().all(|report| report.problems.is_empty()), "{reports:?}");
}

fn serving(api: &Api) -> Gateway {
    let mut gateway = Gateway::empty();
    publish(&mut gateway, api);
    gateway
}

fn unavailable(reply: &Reply) {
    assert_eq!((reply.status, reply.text()), (503, r#"{"message":"Service Unavailable"}"#));
}

/// A backend that answers with its name and this status, and counts its requests.
fn named(name: &'static str, status: u16) -> (SocketAddr, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let address = backend(move |_, _| {
        counted.fetch_add(1, Ordering::Relaxed);
        Response::builder().status(status).body(Full::from(name)).unwrap()
    });
    (address, count)
}

/// What a link does not say ends at once, and the API stays as it is (promise P3).
#[test]
fn only_what_a_link_opens_is_reached() {
    let address = backend(echo);
    let mut gateway = serving(&api(Some(json!({})), &[address]));
    let reply = gateway.call("GET /x?a=1\nHost: abc123.execute-api.gw.example");
    assert_eq!(reply.status, 200);
    assert_eq!(reply.json()["target"], "/x?a=1");
    assert_eq!(reply.seen("host").as_deref(), Some("abc123.execute-api.gw.example"));
    let mut connection = gateway.connect();
    for closed in [None, Some(json!({"allowedNamespaces": ["other"]})), Some(json!({"services": ["else"]}))] {
        publish(&mut gateway, &api(closed, &[address]));
        unavailable(&connection.call("GET /x\nHost: abc123.execute-api.gw.example"));
    }
    publish(&mut gateway, &api(Some(json!({"allowedNamespaces": ["*"]})), &[address]));
    assert_eq!(connection.call("GET /x\nHost: abc123.execute-api.gw.example").status, 200);
    publish(&mut gateway, &api(Some(json!({})), &[]));
    unavailable(&connection.call("GET /x\nHost: abc123.execute-api.gw.example"));
}

/// Proves H-VPC-4.
#[test]
fn a_link_says_whom_to_trust() {
    let identity = Identity::of("orders.test");
    let address = tls_backend(&identity, echo);
    let tls = |name: &str| json!({"tls": {"caPem": identity.pem, "serverNameToVerify": name}});
    let status = |api: &Api| serving(api).call("GET /x\nHost: abc123.execute-api.gw.example").status;
    assert_eq!(status(&api(Some(tls("orders.test")), &[address])), 200);
    assert_eq!(status(&api(Some(tls("else.test")), &[address])), 500);
    let own = api_with(&tls("orders.test"), Some(tls("else.test")), &[address]);
    assert_eq!(status(&own), 200, "what the integration says goes first");
    let mut gateway = Gateway::empty();
    let reports = gateway.publish(&api(Some(json!({"tls": {"caPem": "none"}})), &[address]).units());
    let problem = &reports[0].problems[0];
    assert_eq!((problem.source.as_str(), problem.path.as_str()), ("backends/open", "links.tls.caRef"));
    assert_eq!(gateway.call("GET /x\nHost: abc123.execute-api.gw.example").status, 500);
}

#[test]
fn connections_are_bounded() {
    let (held, requests) = mpsc::channel();
    let address = raw_backend(move |_, mut connection| {
        while connection.until("\r\n\r\n").is_some() {
            let (answer, told) = mpsc::channel::<()>();
            held.send(answer).unwrap();
            let _ = told.recv();
            connection.try_send(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        }
    });
    let gateway = serving(&api(Some(json!({"mostConnections": 1})), &[address]));
    let mut first = gateway.connect();
    first.send(b"GET /x HTTP/1.1\r\nHost: abc123.execute-api.gw.example\r\n\r\n");
    let answer = requests.recv().unwrap();
    unavailable(&gateway.call("GET /x\nHost: abc123.execute-api.gw.example"));
    drop(answer);
    assert_eq!(first.read(false).status, 200);
    let second = std::thread::spawn(move || drop(requests.recv().unwrap()));
    assert_eq!(gateway.call("GET /x\nHost: abc123.execute-api.gw.example").status, 200);
    second.join().unwrap();
}

/// Failures are counted beside the configuration: a change of the link forgets none (promise P6).
#[test]
fn an_endpoint_that_keeps_failing_is_left_alone() {
    let ((bad, failures), (good, _)) = (named("bad", 500), named("good", 200));
    let outliers = |most: u32| {
        json!({
            "outlierDetection": {"consecutiveErrors": 2, "baseEjectionSeconds": 3600, "maxEjectionPercent": 50},
            "mostConnections": most,
        })
    };
    let mut gateway = serving(&api(Some(outliers(10)), &[bad, good]));
    let mut statuses = Vec::new();
    for turn in 0..12 {
        if turn == 8 {
            publish(&mut gateway, &api(Some(outliers(20)), &[bad, good]));
        }
        statuses.push(gateway.call("GET /x\nHost: abc123.execute-api.gw.example").status);
    }
    assert_eq!(failures.load(Ordering::Relaxed), 2, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 10, "{statuses:?}");
}

#[test]
fn an_endpoint_that_fails_its_check_gets_no_requests() {
    let well = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&well);
    let sick = backend(move |request, _| {
        let status = match request.uri.path() {
            "/healthz" if !told.load(Ordering::Relaxed) => 500,
            _ => 200,
        };
        Response::builder().status(status).body(Full::from("sick")).unwrap()
    });
    let (good, _) = named("good", 200);
    let check = json!({"path": "/healthz", "intervalSeconds": 1, "timeoutInMillis": 5000, "healthyThreshold": 1, "unhealthyThreshold": 1});
    let gateway = serving(&api(Some(json!({"healthCheck": check})), &[sick, good]));
    let wait = |both: bool| {
        let begun = Instant::now();
        loop {
            let asked = [(); 4].map(|()| gateway.call("GET /x\nHost: abc123.execute-api.gw.example").text().to_owned());
            if asked.contains(&"sick".to_owned()) == both {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "{asked:?}");
            std::thread::yield_now();
        }
    };
    wait(false);
    well.store(true, Ordering::Relaxed);
    wait(true);
}

#[test]
fn what_belongs_together_goes_to_one_endpoint() {
    let ((one, _), (two, _)) = (named("one", 200), named("two", 200));
    let hash = json!({"balance": {"algorithm": "consistentHash", "key": "$request.header.x-user"}});
    let gateway = serving(&api(Some(hash), &[one, two]));
    let ask = |user: &str| {
        let reply = gateway.call(&format!("GET /x\nHost: abc123.execute-api.gw.example\nX-User: {user}"));
        reply.text().to_owned()
    };
    let users: Vec<String> = (0..16).map(|user| format!("user-{user}")).collect();
    let first: Vec<String> = users.iter().map(|user| ask(user)).collect();
    let again: Vec<String> = users.iter().rev().map(|user| ask(user)).collect();
    assert!(first.iter().eq(again.iter().rev()), "{first:?} {again:?}");
    assert!(first.iter().any(|name| name == "one") && first.iter().any(|name| name == "two"), "{first:?}");
}

/// A function's pods in another namespace, which only a link opens.
#[test]
fn functions_are_reached_through_links() {
    let pods = [backend(invoked)];
    let endpoint = json!({"type": "service", "service": {"namespace": "backends", "name": "orders", "port": 80},
        "link": {"namespace": "backends", "name": "open"}});
    let function = json!({"type": "lambda", "functionName": "function", "payloadFormatVersion": "2.0", "endpoint": endpoint,
        "service": null, "link": null});
    let with = |link| {
        let mut api = api_with(&function, link, &pods);
        api.deployment["routes"][0]["requires"] = json!(["functionLink"]);
        api
    };
    let mut gateway = serving(&with(Some(json!({}))));
    assert_eq!(gateway.call("GET /x?a=1").json()["rawQueryString"], "a=1");
    publish(&mut gateway, &with(Some(json!({"allowedNamespaces": []}))));
    unavailable(&gateway.call("GET /x"));
    publish(&mut gateway, &with(None));
    unavailable(&gateway.call("GET /x"));
}
