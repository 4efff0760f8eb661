//! API keys, usage plans, throttles and quotas on a running gateway (sections 14 and 15 of the REST specification).

#![expect(clippy::unwrap_used, reason = "a test ends where something unexpected happens")]

use serde_json::{Value, json};
use tollgate_proxy::usage::StoreKind;
use tollgate_testkit::{Api, Gateway, Reply, backend, echo, http, invoked};

const ALICE: &str = "alice-0123456789abcdef";
const BOB: &str = "bob-0123456789abcdef-bob";
/// Status, body and `x-amzn-ErrorType`.
type Refusal = (u16, &'static str, Option<&'static str>);
const FORBIDDEN: Refusal = (403, r#"{"message":"Forbidden"}"#, Some("ForbiddenException"));
const THROTTLED: Refusal = (429, r#"{"message":"Too Many Requests"}"#, Some("TooManyRequestsException"));
const EXCEEDED: Refusal = (429, r#"{"message":"Limit Exceeded"}"#, Some("LimitExceededException"));

/// Tokens come so slowly that none comes during a test.
fn burst(burst: u32) -> Value {
    json!({"rateLimit": 0.0001, "burstLimit": burst})
}

fn quota(limit: u64) -> Value {
    json!({"limit": limit, "period": "MONTH"})
}

/// Routes that need a key, and `GET /open` that does not.
fn api(routes: &[&str]) -> Api {
    let url = format!("http://{}/", backend(echo));
    let mut metered = http(&url);
    metered["route"] = json!({"apiKeyRequired": true, "requires": ["usagePlans"]});
    let mut routes: Vec<(&str, Value)> = routes.iter().map(|key| (*key, metered.clone())).collect();
    routes.push(("GET /open", http(&url)));
    Api::new(&routes)
}

fn serving(api: &Api) -> Gateway {
    let mut gateway = Gateway::empty();
    publish(&mut gateway, api);
    gateway
}

fn publish(gateway: &mut Gateway, api: &Api) {
    let reports = gateway.publish(&api.units());
    assert!(reports.iter().all(|report| report.problems.is_empty()), "{reports:?}");
}

fn call(gateway: &Gateway, request: &str, key: &str) -> Reply {
    gateway.call(&format!("{request}\nx-api-key: {key}"))
}

fn refusal(reply: &Reply) -> (u16, &str, Option<&str>) {
    (reply.status, reply.text(), reply.header("x-amzn-errortype"))
}

fn status(gateway: &Gateway, request: &str, key: &str) -> u16 {
    call(gateway, request, key).status
}

fn statuses(gateway: &Gateway, request: &str, key: &str, count: usize) -> Vec<u16> {
    (0..count).map(|_| status(gateway, request, key)).collect()
}

/// Proves R-KEY-6, R-METH-1, C-087.
#[test]
fn only_a_live_key_of_a_plan_of_the_stage_opens_a_route_that_needs_one() {
    let api = api(&["GET /a"])
        .stage(json!({"stageName": "other"}))
        .plan("gold", &["$default"], json!({}))
        .plan("elsewhere", &["other"], json!({}))
        .key("alice", ALICE, &["gold"], &json!({}))
        .key("off", "disabled-0123456789abcdef", &["gold"], &json!({"enabled": false}))
        .key("ended", "expired-0123456789abcdef", &["gold"], &json!({"expiresAt": 1_000_000}))
        .key("ends", "expires-0123456789abcdef", &["gold"], &json!({"expiresAt": 99_999_999_999_i64}))
        .key("planless", "planless-0123456789abcdef", &[], &json!({}))
        .key("stray", "stray-0123456789abcdefgh", &["elsewhere", "gone"], &json!({}));
    let gateway = serving(&api);
    assert_eq!(status(&gateway, "GET /a", ALICE), 200);
    assert_eq!(status(&gateway, "GET /a", "expires-0123456789abcdef"), 200);
    for key in [
        "alice-0123456789abcdeF",
        "disabled-0123456789abcdef",
        "expired-0123456789abcdef",
        "planless-0123456789abcdef",
        "stray-0123456789abcdefgh",
        "",
        &"k".repeat(200),
    ] {
        assert_eq!(refusal(&call(&gateway, "GET /a", key)), FORBIDDEN, "{key}");
    }
    assert_eq!(refusal(&gateway.call("GET /a")), FORBIDDEN);
    let reply = gateway.call(&format!("GET /a\nX-API-Key: {ALICE}"));
    assert_eq!(reply.status, 200, "the header's name has no case");
    let reply = gateway.call(&format!("GET /a\nx-api-key: {ALICE}\nx-api-key: {ALICE}"));
    assert_eq!(reply.status, 403, "which of two is meant nobody knows");
    assert_eq!(gateway.call("GET /open").status, 200);
    assert_eq!(status(&gateway, "GET /other/a", "stray-0123456789abcdefgh"), 200);
    assert_eq!(status(&gateway, "GET /other/a", ALICE), 403);
}

/// Proves R-PLAN-2, R-PLAN-6, R-THR-1.
#[test]
fn a_plan_throttles_each_key_over_all_its_stages() {
    let api = api(&["GET /a", "GET /b"])
        .stage(json!({"stageName": "other"}))
        .plan("gold", &["$default", "other"], json!({"throttle": burst(3)}))
        .key("alice", ALICE, &["gold"], &json!({}))
        .key("bob", BOB, &["gold"], &json!({}));
    let gateway = serving(&api);
    assert_eq!(statuses(&gateway, "GET /a", ALICE, 1), [200]);
    assert_eq!(statuses(&gateway, "GET /b", ALICE, 1), [200]);
    assert_eq!(statuses(&gateway, "GET /other/a", ALICE, 1), [200]);
    assert_eq!(refusal(&call(&gateway, "GET /b", ALICE)), THROTTLED);
    assert_eq!(statuses(&gateway, "GET /a", BOB, 4), [200, 200, 200, 429]);
    let counted = |result: &str| {
        gateway.metric(&format!("tollgate_usage_plan_requests_total{{plan=\"shop/gold\",result=\"{result}\"}}"))
    };
    assert!((counted("throttled") - 2.0).abs() < 0.1 && (counted("allowed") - 6.0).abs() < 0.1);
}

/// Proves R-PLAN-5, R-PLAN-7.
#[test]
fn a_quota_ends_and_throttled_requests_do_not_count() {
    let api = api(&["GET /a"])
        .plan("gold", &["$default"], json!({"quota": quota(3)}))
        .plan("slow", &["$default"], json!({"quota": quota(2), "throttle": burst(1)}))
        .key("alice", ALICE, &["gold"], &json!({}))
        .key("bob", BOB, &["slow"], &json!({}));
    let mut gateway = serving(&api);
    assert_eq!(statuses(&gateway, "GET /a", ALICE, 3), [200; 3]);
    for _ in 0..2 {
        assert_eq!(refusal(&call(&gateway, "GET /a", ALICE)), EXCEEDED);
    }
    assert_eq!(gateway.call("GET /open").status, 200);
    assert_eq!(statuses(&gateway, "GET /a", BOB, 3), [200, 429, 429]);
    // With a bigger bucket one more may pass, since the refused ones used no quota.
    let mut changed = api;
    changed.plans[1]["throttle"] = json!({"rateLimit": 1000.0, "burstLimit": 100});
    publish(&mut gateway, &changed);
    let mut seen = Vec::new();
    while seen.last() != Some(&EXCEEDED.1.to_owned()) {
        let reply = call(&gateway, "GET /a", BOB);
        seen.push(if reply.status == 200 { "200".to_owned() } else { reply.text().to_owned() });
        assert!(seen.iter().filter(|text| *text == "200").count() <= 1, "{seen:?}");
    }
    assert!(seen.contains(&"200".to_owned()), "{seen:?}");
}

/// The day may change between two requests, but not three times.
///
/// Proves C-088.
#[test]
fn the_third_of_two_requests_a_day_is_refused() {
    let api = api(&["GET /a"]).plan("gold", &["$default"], json!({"quota": {"limit": 2, "period": "DAY"}})).key(
        "alice",
        ALICE,
        &["gold"],
        &json!({}),
    );
    let seen = [(); 3].map(|()| {
        let gateway = serving(&api);
        let passed = statuses(&gateway, "GET /a", ALICE, 2);
        let third = call(&gateway, "GET /a", ALICE);
        (passed, third)
    });
    assert!(seen.iter().any(|(passed, third)| passed == &[200, 200] && refusal(third) == EXCEEDED), "{seen:?}");
}

/// Where a key is needed, the stage's own throttle refuses as that of a REST API does; elsewhere as that of an HTTP API.
///
/// Proves C-089.
#[test]
fn the_throttle_of_a_stage_names_its_error_on_routes_that_need_a_key() {
    let settings = json!({"throttlingRateLimit": 0.0001, "throttlingBurstLimit": 1});
    let api = api(&["GET /a"])
        .only_stage(json!({"stageName": "$default", "routeSettings": {"GET /a": settings, "GET /open": settings}}))
        .plan("gold", &["$default"], json!({}))
        .key("alice", ALICE, &["gold"], &json!({}));
    let gateway = serving(&api);
    assert_eq!(status(&gateway, "GET /a", ALICE), 200);
    assert_eq!(refusal(&call(&gateway, "GET /a", ALICE)), THROTTLED);
    assert_eq!(status(&gateway, "GET /open", ALICE), 200);
    assert_eq!(refusal(&call(&gateway, "GET /open", ALICE)), (THROTTLED.0, THROTTLED.1, None));
}

/// Proves R-METH-1, C-090.
#[test]
fn a_key_counts_nothing_where_none_is_needed() {
    let api = api(&["GET /a"]).plan("gold", &["$default"], json!({"quota": quota(1), "rateLimitHeaders": true})).key(
        "alice",
        ALICE,
        &["gold"],
        &json!({}),
    );
    let gateway = serving(&api);
    for _ in 0..3 {
        let reply = call(&gateway, "GET /open", ALICE);
        assert_eq!((reply.status, reply.header("ratelimit")), (200, None));
    }
    assert_eq!(statuses(&gateway, "GET /a", ALICE, 2), [200, 429]);
}

/// Proves R-PLAN-3.
#[test]
fn a_route_of_a_plan_can_have_a_throttle_of_its_own() {
    let stages = json!([{"apiId": "abc123", "stageName": "$default", "throttle": {"GET /a": burst(1)}}]);
    let api = api(&["GET /a", "GET /b"])
        .plan("gold", &[], json!({"throttle": burst(2), "quota": quota(4), "stages": stages}))
        .key("alice", ALICE, &["gold"], &json!({}))
        .key("bob", BOB, &["gold"], &json!({}));
    let gateway = serving(&api);
    assert_eq!(statuses(&gateway, "GET /a", ALICE, 2), [200, 429]);
    assert_eq!(statuses(&gateway, "GET /b", ALICE, 3), [200, 200, 429], "the plan's own bucket was not touched");
    assert_eq!(statuses(&gateway, "GET /a", BOB, 2), [200, 429], "each key has a bucket");
}

/// Proves R-THR-2.
#[test]
fn what_a_plan_refuses_takes_nothing_from_the_stage() {
    let stage = json!({"stageName": "$default",
        "defaultRouteSettings": {"throttlingRateLimit": 0.0001, "throttlingBurstLimit": 4}});
    let api = api(&["GET /a"])
        .only_stage(stage)
        .plan("gold", &["$default"], json!({"throttle": burst(1)}))
        .plan("free", &["$default"], json!({}))
        .key("alice", ALICE, &["gold"], &json!({}))
        .key("bob", BOB, &["free"], &json!({}));
    let gateway = serving(&api);
    assert_eq!(statuses(&gateway, "GET /a", ALICE, 9), [200, 429, 429, 429, 429, 429, 429, 429, 429]);
    assert_eq!(statuses(&gateway, "GET /a", "nobody-0123456789abcdef", 9), [403; 9]);
    assert_eq!(statuses(&gateway, "GET /a", BOB, 4), [200, 200, 200, 429]);
}

/// A change of a plan or of keys refills nothing (promise P6).
#[test]
fn levels_stay_when_plans_change() {
    let plan = json!({"throttle": burst(2), "quota": quota(3)});
    let api = api(&["GET /a"]).plan("gold", &["$default"], plan).key("alice", ALICE, &["gold"], &json!({}));
    let mut gateway = serving(&api);
    assert_eq!(statuses(&gateway, "GET /a", ALICE, 3), [200, 200, 429]);
    publish(&mut gateway, &api.clone().key("bob", BOB, &["gold"], &json!({})));
    assert_eq!(status(&gateway, "GET /a", ALICE), 429);
    let mut raised = api.clone();
    raised.plans[0]["throttle"] = burst(100);
    publish(&mut gateway, &raised);
    assert_eq!(status(&gateway, "GET /a", ALICE), 429);
    let mut unthrottled = api;
    unthrottled.plans[0].as_object_mut().unwrap().remove("throttle");
    publish(&mut gateway, &unthrottled);
    assert_eq!(statuses(&gateway, "GET /a", ALICE, 3), [200, 429, 429], "the quota was used twice before");
}

/// Proves R-KEY-8.
#[test]
fn the_access_log_names_the_key_and_never_its_value() {
    let stage = json!({"stageName": "$default",
        "accessLogSettings": {"format": "$context.status $context.identity.apiKeyId $context.error.responseType"}});
    let api = api(&["GET /a"]).only_stage(stage).plan("gold", &["$default"], json!({"quota": quota(1)})).key(
        "alice",
        ALICE,
        &["gold"],
        &json!({}),
    );
    let gateway = serving(&api);
    statuses(&gateway, "GET /a", ALICE, 2);
    status(&gateway, "GET /a", "nobody-0123456789abcdef");
    let log = gateway.stop();
    assert_eq!(log, "200 shop/alice -\n429 shop/alice QUOTA_EXCEEDED\n403 - INVALID_API_KEY\n");
}

#[test]
fn headers_tell_what_is_left_if_the_plan_says_so() {
    let api = api(&["GET /a"])
        .plan("gold", &["$default"], json!({"quota": quota(2), "throttle": burst(9), "rateLimitHeaders": true}))
        .plan("silent", &["$default"], json!({"quota": quota(2)}))
        .key("alice", ALICE, &["gold"], &json!({}))
        .key("bob", BOB, &["silent"], &json!({}));
    let gateway = serving(&api);
    for (status, left) in [(200, 1), (200, 0), (429, 0)] {
        let reply = gateway.call(&format!("GET /a\nx-api-key: {ALICE}"));
        let state = reply.header("ratelimit").unwrap();
        assert!(reply.status == status && state.starts_with(&format!("\"quota\";r={left};t=")), "{state}");
        let policy = reply.header("ratelimit-policy").unwrap();
        assert!(policy.starts_with("\"quota\";q=2;w=2") && policy.ends_with("\"throttle\";q=9;w=90000"), "{policy}");
    }
    let reply = gateway.call(&format!("GET /a\nx-api-key: {BOB}"));
    assert_eq!((reply.header("ratelimit"), reply.header("ratelimit-policy")), (None, None));
}

/// Quotas survive the process: what was admitted before a crash and after it never passes the limit, and an orderly end loses nothing.
#[test]
fn a_quota_in_a_directory_survives_crashes_and_restarts() {
    let directory = tempfile::tempdir().unwrap();
    let start = || {
        let mut gateway = Gateway::with_store(StoreKind::in_directory(directory.path()).unwrap(), |_| {});
        publish(
            &mut gateway,
            &api(&["GET /a"]).plan("gold", &["$default"], json!({"quota": quota(50)})).key(
                "alice",
                ALICE,
                &["gold"],
                &json!({}),
            ),
        );
        gateway
    };
    let mut admitted = 0;
    for _ in 0..4 {
        // Dropped without settling: as if killed.
        let gateway = start();
        admitted += statuses(&gateway, "GET /a", ALICE, 9).iter().filter(|status| **status == 200).count();
    }
    assert!(admitted >= 20, "{admitted}");
    let gateway = start();
    admitted += statuses(&gateway, "GET /a", ALICE, 60).iter().filter(|status| **status == 200).count();
    assert!((20..=50).contains(&admitted), "{admitted}");
    assert_eq!(refusal(&call(&gateway, "GET /a", ALICE)), EXCEEDED);
    assert_eq!(refusal(&call(&start(), "GET /a", ALICE)), EXCEEDED);
}

/// A function that lets everybody in, and says who it is by the header `x-who`.
fn naming() -> Value {
    let address = backend(|head, body| {
        let event: Value = serde_json::from_slice(body).unwrap();
        let who = event["headers"].as_object().unwrap().iter().find(|(name, _)| name.eq_ignore_ascii_case("x-who"));
        let mut answer = json!({"isAuthorized": true});
        if let Some((_, who)) = who {
            answer["usageIdentifierKey"] = serde_json::from_str(who.as_str().unwrap()).unwrap();
        }
        invoked(head, &json!({"headers": {"x-result": answer.to_string()}}).to_string().into())
    });
    json!({
        "source": "shop/decide",
        "identitySource": ["$request.header.x-who"],
        "check": {"type": "lambda", "enableSimpleResponses": true, "resultTtlInSeconds": 300, "function": {
            "endpoint": {"type": "url", "url": format!("http://{address}")}, "functionName": "function", "payloadFormatVersion": "2.0",
        }},
    })
}

/// Proves R-KEY-5, R-KEY-7.
#[test]
fn the_key_may_come_from_the_authorizers_answer() {
    let mut api = api(&["GET /a", "GET /b"])
        .set("authorizers", json!({"decide": naming()}))
        .plan("gold", &["$default"], json!({"quota": quota(2)}))
        .key("alice", ALICE, &["gold"], &json!({}))
        .key("bob", BOB, &["gold"], &json!({}));
    let routes = api.deployment["routes"].as_array_mut().unwrap();
    for route in &mut routes[..2] {
        route["apiKeySource"] = "AUTHORIZER".into();
        route["requires"] = json!(["usagePlans", "apiKeySource"]);
    }
    routes[0]["authorization"] = json!({"type": "CUSTOM", "authorizer": "decide"});
    let gateway = serving(&api);
    let call =
        |path: &str, who: &str, header: &str| gateway.call(&format!("GET {path}\nx-who: {who}\nx-api-key: {header}"));
    let alice = format!("\"{ALICE}\"");
    assert_eq!(call("/a", &alice, BOB).status, 200);
    // From the answer that was kept, and still Alice's.
    assert_eq!(call("/a", &alice, BOB).status, 200);
    assert_eq!(refusal(&call("/a", &alice, BOB)), EXCEEDED);
    for who in ["\"\"", "null", "7", "\"nobody-0123456789abcdef\""] {
        assert_eq!(refusal(&call("/a", who, BOB)), FORBIDDEN, "the header counts nothing: {who}");
    }
    assert_eq!(refusal(&call("/b", &alice, BOB)), FORBIDDEN, "a route without an authorizer has no key");
}

/// A quota is extended in the period that holds a day, for one key in one plan.
#[test]
fn a_quota_can_be_extended_for_the_present_period() {
    let now = i64::try_from(std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap();
    let served = |extensions: &Value| {
        api(&["GET /a"])
            .plan("gold", &["$default"], json!({"quota": quota(2), "rateLimitHeaders": true}))
            .key("alice", ALICE, &["gold"], &json!({"extensions": extensions}))
            .key("bob", BOB, &["gold"], &json!({}))
    };
    let mut gateway = serving(&served(&json!([])));
    assert_eq!(statuses(&gateway, "GET /a", ALICE, 3), [200, 200, 429]);
    // Of another period, and of another plan.
    let elsewhere =
        json!([{"plan": "shop/gold", "requests": 9, "during": 0}, {"plan": "shop/tin", "requests": 9, "during": now}]);
    publish(&mut gateway, &served(&elsewhere));
    assert_eq!(status(&gateway, "GET /a", ALICE), 429);
    publish(&mut gateway, &served(&json!([{"plan": "shop/gold", "requests": 2, "during": now}])));
    let reply = gateway.call(&format!("GET /a\nx-api-key: {ALICE}"));
    assert_eq!(reply.status, 200);
    assert!(reply.header("ratelimit").unwrap().starts_with("\"quota\";r=1;t="), "{:?}", reply.header("ratelimit"));
    assert_eq!(statuses(&gateway, "GET /a", ALICE, 2), [200, 429]);
    assert_eq!(statuses(&gateway, "GET /a", BOB, 3), [200, 200, 429]);
}
