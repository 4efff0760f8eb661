//! Throttling, access logs and metrics of stages (sections 2.3 to 2.5 of the spec).

use serde_json::{Value, json};
use tollgate_engine::throttle::AccountLimit;
use tollgate_testkit::{
    Api, Gateway, Issuer, Reply, SigningKey, backend, echo, function, http, invoked, raw_backend, unused_address,
};

const TOO_MANY: (u16, &str) = (429, r#"{"message":"Too Many Requests"}"#);

/// Tokens come so slowly that none comes during a test.
fn burst(burst: u32) -> Value {
    json!({"throttlingRateLimit": 0.0001, "throttlingBurstLimit": burst})
}

fn serving(api: &Api) -> Gateway {
    let mut gateway = Gateway::empty();
    let reports = gateway.publish(&api.units());
    assert!(reports.iter().all(|report| report.problems.is_empty()), "{reports:?}");
    gateway
}

fn api(routes: &[&str]) -> Api {
    let url = format!("http://{}/", backend(echo));
    let routes: Vec<(&str, Value)> = routes.iter().map(|key| (*key, http(&url))).collect();
    Api::new(&routes)
}

fn statuses(gateway: &Gateway, request: &str, count: usize) -> Vec<u16> {
    (0..count).map(|_| gateway.call(request).status).collect()
}

fn answer(reply: &Reply) -> (u16, &str) {
    (reply.status, reply.text())
}

/// Proves H-THR-1, C18.
#[test]
fn a_bucket_lets_its_burst_through() {
    let stage = json!({"stageName": "$default", "routeSettings": {"GET /a": burst(2)}});
    let gateway = serving(&api(&["GET /a", "GET /b"]).only_stage(stage));
    assert_eq!(statuses(&gateway, "GET /a", 2), [200, 200]);
    for _ in 0..2 {
        let reply = gateway.call("GET /a");
        assert_eq!(answer(&reply), TOO_MANY);
        assert_eq!((reply.header("retry-after"), reply.header("content-length")), (None, Some("31")));
    }
    assert_eq!(statuses(&gateway, "GET /b", 4), [200; 4]);
    assert!((gateway.metric("tollgate_requests_throttled_total") - 2.0).abs() < 0.1);
}

/// Proves H-THR-2, H-THR-8.
#[test]
fn the_default_is_a_template_and_routes_override_it_by_field() {
    let stage = json!({"stageName": "$default", "defaultRouteSettings": burst(1),
        "routeSettings": {"GET /more": {"throttlingBurstLimit": 3}}});
    let gateway = serving(&api(&["GET /a", "GET /b", "GET /more"]).only_stage(stage));
    assert_eq!(statuses(&gateway, "GET /none", 4), [404; 4]);
    assert_eq!(statuses(&gateway, "GET /a", 2), [200, 429]);
    assert_eq!(statuses(&gateway, "GET /b", 2), [200, 429]);
    assert_eq!(statuses(&gateway, "GET /more", 4), [200, 200, 200, 429]);
}

/// The account's bucket is one for all APIs of a proxy. What it refuses takes nothing from the route, and what the route refuses takes nothing
/// from it; a stage's limit cannot be above it.
///
/// Proves H-THR-3, R-THR-2, R-THR-5, R-THR-6.
#[test]
fn an_account_may_have_a_limit_for_all_its_apis() {
    let mut gateway = Gateway::with(|settings| settings.account = AccountLimit { rate: 0.0001, burst: 5 });
    let stage = json!({"stageName": "$default", "routeSettings": {"GET /a": burst(2), "GET /c": burst(100)}});
    let reports = gateway.publish(&api(&["GET /a", "GET /b", "GET /c"]).only_stage(stage).units());
    assert!(reports.iter().all(|report| report.problems.is_empty()), "{reports:?}");
    assert_eq!(statuses(&gateway, "GET /a", 4), [200, 200, 429, 429]);
    assert_eq!(statuses(&gateway, "GET /none", 4), [404; 4]);
    assert_eq!(statuses(&gateway, "GET /b", 1), [200]);
    assert_eq!(statuses(&gateway, "GET /c", 3), [200, 200, 429]);
    assert_eq!(answer(&gateway.call("GET /b")), TOO_MANY);
    assert!((gateway.metric("tollgate_requests_throttled_total") - 4.0).abs() < 0.1);
}

/// Two proxies that share nothing: each admits a burst.
///
/// Proves H-THR-6.
#[test]
fn limits_are_kept_by_each_proxy() {
    let stage = || json!({"stageName": "$default", "routeSettings": {"GET /a": burst(2)}});
    let proxies = [(); 2].map(|()| serving(&api(&["GET /a"]).only_stage(stage())));
    for proxy in &proxies {
        assert_eq!(statuses(proxy, "GET /a", 4), [200, 200, 429, 429]);
    }
}

/// Proves H-THR-4, C19.
#[test]
fn zeros_refuse_everything() {
    for settings in [
        json!({"throttlingRateLimit": 0, "throttlingBurstLimit": 0}),
        json!({"throttlingRateLimit": 0}),
        json!({"throttlingBurstLimit": 0}),
    ] {
        let stage = json!({"stageName": "$default", "defaultRouteSettings": settings});
        let gateway = serving(&api(&["GET /a"]).only_stage(stage));
        assert_eq!(answer(&gateway.call("GET /a")), TOO_MANY);
    }
}

/// The same stage and route keep their level, whatever else a publish changes; another stage has its own.
///
/// Proves P6, H-STAGE-6.
#[test]
fn meters_keep_their_level_over_a_publish() {
    let stage = |name: &str, limit: u32| json!({"stageName": name, "defaultRouteSettings": burst(limit)});
    let mut gateway = serving(&api(&["GET /a"]).only_stage(stage("$default", 2)));
    assert_eq!(statuses(&gateway, "GET /a", 1), [200]);
    gateway.publish(&api(&["GET /a", "GET /new"]).only_stage(stage("$default", 2)).stage(stage("dev", 2)).units());
    assert_eq!(statuses(&gateway, "GET /a", 2), [200, 429]);
    assert_eq!(statuses(&gateway, "GET /dev/a", 3), [200, 200, 429]);
    gateway.publish(&api(&["GET /a"]).units());
    assert_eq!(statuses(&gateway, "GET /a", 5), [200; 5]);
}

/// Proves H-FLOW-1.
#[test]
fn throttling_comes_before_authorization() {
    let key = SigningKey::new("k1");
    let issuer = Issuer::new(&[&key]);
    let mut route = http(&format!("http://{}/", backend(echo)));
    route["route"] = json!({"authorization": {"type": "JWT", "authorizer": "jwt"}});
    let api = Api::new(&[("GET /a", route)])
        .set("authorizers", json!({"jwt": issuer.authorizer("shop")}))
        .only_stage(json!({"stageName": "$default", "defaultRouteSettings": burst(1)}));
    let gateway = serving(&api);
    assert_eq!(statuses(&gateway, "GET /a", 2), [401, 429]);
}

fn logged(api: Api, format: &str) -> Gateway {
    serving(&api.only_stage(json!({"stageName": "$default", "accessLogSettings": {"format": format}})))
}

/// Proves H-LOG-4, C20, C96.
#[test]
fn values_that_are_not_there() {
    let format = "$context.requestId $context.authorizer.error $context.error.messageString $context.nothing";
    let gateway = logged(api(&["GET /a"]), format);
    let reply = gateway.call("GET /a");
    let id = reply.header("apigw-requestid").unwrap();
    assert!(id.len() == 16 && id.ends_with('='), "{id}");
    assert!(id[..15].bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')), "{id}");
    assert_eq!(gateway.stop(), format!("{id} - \"-\" -\n"));
}

/// Proves H-LOG-6, H-LOG-9, H-LOG-10, H-THR-7.
#[test]
fn errors_have_a_kind_and_a_message() {
    let mut slow = http(&format!("http://{}/", raw_backend(|_, mut client| while !client.is_closed() {})));
    slow["timeout"] = json!(50);
    let garbage = raw_backend(|_, mut client| {
        client.until("\r\n\r\n");
        client.send(b"what?\r\n\r\n");
    });
    let api = Api::new(&[
        ("GET /ok", http(&format!("http://{}/", backend(echo)))),
        ("GET /none", json!({"route": {"target": {"type": "none"}}})),
        ("GET /gone", http(&format!("http://{}/", unused_address()))),
        ("GET /slow", slow),
        ("GET /garbage", http(&format!("http://{garbage}/"))),
        ("GET /throttled", http("http://127.0.0.1:1/")),
    ])
    .only_stage(json!({"stageName": "$default", "routeSettings": {"GET /throttled": {"throttlingRateLimit": 0}},
        "accessLogSettings":
            {"format": "$context.status|$context.routeKey|$context.error.responseType|$context.error.message|$context.error.messageString"}}));
    let gateway = serving(&api);
    let mut expected = String::new();
    for (path, line) in [
        ("/ok", "200|GET /ok|-|-|\"-\""),
        ("/unknown", "404|-|DEFAULT_4XX|Not Found|\"Not Found\""),
        ("/none", "500|GET /none|DEFAULT_5XX|Internal Server Error|\"Internal Server Error\""),
        ("/gone", "503|GET /gone|INTEGRATION_FAILURE|Service Unavailable|\"Service Unavailable\""),
        ("/slow", "503|GET /slow|INTEGRATION_TIMEOUT|Service Unavailable|\"Service Unavailable\""),
        ("/garbage", "500|GET /garbage|INTEGRATION_FAILURE|Internal Server Error|\"Internal Server Error\""),
        ("/throttled", "429|GET /throttled|THROTTLED|Too Many Requests|\"Too Many Requests\""),
    ] {
        gateway.call(&format!("GET {path}"));
        expected.push_str(line);
        expected.push('\n');
    }
    assert_eq!(gateway.call("GET /ok\nHost: other.example").status, 403);
    assert_eq!(gateway.stop(), expected);
}

/// Proves H-LOG-1, H-LOG-5, H-LOG-7, H-MET-5.
#[test]
fn facts_of_a_request() {
    let gateway = logged(
        api(&["POST /a/{id}"]).stage(json!({"stageName": "unused"})),
        "{\"host\":\"$context.domainName\",\"prefix\":\"$context.domainPrefix\",\"api\":\"$context.apiId\",\"account\":\"$context.accountId\",\
         \"stage\":\"$context.stage\",\"method\":\"$context.httpMethod\",\"path\":\"$context.path\",\"protocol\":\"$context.protocol\",\
         \"ip\":\"$context.identity.sourceIp\",\"agent\":\"$context.identity.userAgent\",\"status\":$context.status,\
         \"length\":$context.responseLength,\"processed\":$context.dataProcessed,\"integration\":$context.integration.status,\
         \"same\":\"$context.extendedRequestId\",\"id\":\"$context.requestId\",\"epoch\":$context.requestTimeEpoch}",
    );
    let reply = gateway.call("POST /a/1?x=y\nUser-Agent: t/1\nX-Answer: {\"status\":201,\"body\":\"12345\"}\n\nabc");
    let id = reply.header("apigw-requestid").unwrap();
    let log: Value = serde_json::from_str(&gateway.stop()).unwrap();
    let mut expected = json!({"host": "abc123.execute-api.gw.example", "prefix": "abc123", "api": "abc123",
        "account": "000000000000", "stage": "$default", "method": "POST", "path": "/a/1", "protocol": "HTTP/1.1",
        "ip": "127.0.0.1", "agent": "t/1", "status": 201, "length": 5, "processed": 8, "integration": 201,
        "same": id, "id": id});
    let epoch = log["epoch"].as_u64().unwrap();
    assert!((1_700_000_000..10_000_000_000).contains(&epoch), "seconds: {epoch}");
    expected["epoch"] = json!(epoch);
    assert_eq!(log, expected);
}

/// Values of a client cannot make a second line.
#[test]
fn one_request_is_one_line() {
    let gateway = logged(api(&["GET /{proxy+}"]), "$context.path $context.identity.userAgent");
    gateway.call("GET /a%0Ab%0D\nUser-Agent: a\tb\"");
    let log = gateway.stop();
    assert_eq!(log.lines().count(), 1, "{log}");
}

/// Proves H-MET-1, H-MET-3, H-MET-4, H-MET-7, C97, C98.
#[test]
fn samples_of_a_request() {
    let stage = json!({"stageName": "$default", "defaultRouteSettings": {"detailedMetricsEnabled": true}});
    let gateway = serving(&api(&["GET /pets/{id}", "$default"]).only_stage(stage));
    assert_eq!(gateway.call("GET /pets/5").status, 200);
    assert_eq!(gateway.call("GET /pets/6").status, 200);
    let labels = r#"api="shop/books",api_id="abc123",method="GET",resource="/pets/{id}",stage="$default""#;
    let text = gateway.metrics.encode();
    for line in [
        format!(r#"tollgate_route_count_total{{{labels},status="2xx"}} 2"#),
        format!("tollgate_route_4xx_total{{{labels}}} 0"),
        format!("tollgate_route_5xx_total{{{labels}}} 0"),
        format!("tollgate_route_latency_seconds_count{{{labels}}} 2"),
        format!("tollgate_route_integration_latency_seconds_count{{{labels}}} 2"),
        r#"tollgate_4xx_total{api="shop/books",api_id="abc123",method="GET",stage="$default"} 0"#.to_owned(),
    ] {
        assert!(text.lines().any(|known| known == line), "{line}\n{text}");
    }

    let gateway = serving(&api(&["GET /pets/{id}"]));
    assert_eq!(gateway.call("GET /none").status, 404);
    let text = gateway.metrics.encode();
    assert!(!text.contains("abc123"), "{text}");
}

/// Proves H-MET-6, H-THR-7.
#[test]
fn requests_that_are_stopped_have_no_integration_latency() {
    let key = SigningKey::new("k1");
    let issuer = Issuer::new(&[&key]);
    let mut closed = http(&format!("http://{}/", backend(echo)));
    let open = closed.clone();
    closed["route"] = json!({"authorization": {"type": "JWT", "authorizer": "jwt"}});
    let api = Api::new(&[("GET /closed", closed), ("GET /full", open)])
        .set("authorizers", json!({"jwt": issuer.authorizer("shop")}))
        .only_stage(json!({"stageName": "$default", "routeSettings": {"GET /full": {"throttlingRateLimit": 0}}}));
    let gateway = serving(&api);
    assert_eq!((gateway.call("GET /closed").status, gateway.call("GET /full").status), (401, 429));
    let labels = r#"api="shop/books",api_id="abc123""#;
    let metric = |name: &str, more: &str| gateway.metric(&format!("{name}{{{labels},{more}stage=\"$default\"}}"));
    assert!((metric("tollgate_4xx_total", "method=\"GET\",") - 2.0).abs() < 0.1);
    assert!((metric("tollgate_latency_seconds_count", "") - 2.0).abs() < 0.1);
    assert!(metric("tollgate_integration_latency_seconds_count", "") < 0.1);
}

/// Proves H-MET-5.
#[test]
fn bytes_of_functions_count_with_their_envelope() {
    let result = r#"{"statusCode":200,"body":"1234"}"#;
    let gateway = logged(
        Api::new(&[("POST /a", function(backend(invoked), "2.0"))]),
        "$context.responseLength $context.dataProcessed",
    );
    assert_eq!(gateway.call(&format!("POST /a\nX-Result: {result}\n\nabc")).text(), "1234");
    assert_eq!(gateway.stop(), format!("4 {}\n", 3 + result.len()));
}
