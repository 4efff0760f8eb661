//! Parameter mapping (section 4 of the spec), seen from outside.

use serde_json::{Value, json};
use tollgate_testkit::{Api, Gateway, backend, echo, function, http, invoked, service};

fn mapped(mut integration: Value, request: Value, responses: Value) -> Value {
    integration["requestParameters"] = request;
    integration["responseParameters"] = responses;
    integration
}

fn serving(api: &Api) -> Gateway {
    let mut gateway = Gateway::empty();
    let reports = gateway.publish(&api.units());
    assert!(reports.iter().all(|report| report.problems.is_empty()), "{reports:?}");
    gateway
}

/// A gateway with one route to an echo backend at a URL.
fn one(route: &str, request: Value, responses: Value) -> Gateway {
    let address = backend(echo);
    let uri = if route.contains("{id}") {
        format!("http://{address}/base/{{id}}?v=1")
    } else {
        format!("http://{address}/base")
    };
    serving(&Api::new(&[(route, mapped(http(&uri), request, responses))]))
}

/// Proves H-MAP-8, H-MAP-16, H-MAP-19, C55.
#[test]
fn headers_of_requests() {
    let gateway = one(
        "GET /x",
        json!({
            "append:header.header2": "$request.header.header1",
            "remove:header.header1": "''",
            "append:header.x-list": "b",
            "overwrite:header.x-tenant": "${context.apiId}:${context.stage}",
            "overwrite:header.Host": "internal.example",
        }),
        json!({}),
    );
    let reply =
        gateway.call("GET /x\nheader1: v\nX-List: a\nX-Tenant: mine\nX-Tenant: too\nConnection: x-tenant, x-list");
    let seen = |name| reply.seen(name);
    assert_eq!((seen("header2").as_deref(), seen("header1")), (Some("v"), None));
    // A client cannot have a mapped header taken out as one of the connection's.
    assert_eq!(seen("x-tenant").as_deref(), Some("abc123:$default"));
    assert_eq!(seen("x-list").as_deref(), Some("b"));
    assert_eq!(seen("host").as_deref(), Some("internal.example"));
}

/// Proves H-MAP-10, H-MAP-12, H-MAP-19, H-MAP-20, C58.
#[test]
fn queries_and_paths_of_requests() {
    let gateway =
        one("GET /x/{id}", json!({"append:querystring.who": "${request.header.a}-${context.stage}"}), json!({}));
    let target = |gateway: &Gateway, request: &str| gateway.call(request).json()["target"].clone();
    assert_eq!(target(&gateway, "GET /x/1?y=2\na: x"), "/base/1?v=1&y=2&who=x-%24default");
    let gateway = one(
        "GET /x/{id}",
        json!({"overwrite:path": "/other/$request.path.id", "remove:querystring.v": "", "overwrite:querystring.y": "$request.path.id"}),
        json!({}),
    );
    assert_eq!(target(&gateway, "GET /x/a%2Fb?y=2&z=3"), "/other/a%2Fb?z=3&y=a%2Fb");
    let gateway = one("GET /x", json!({"overwrite:path": "$request.querystring.p"}), json!({}));
    assert_eq!(target(&gateway, "GET /x?p=y"), "/y?p=y");
    assert_eq!(target(&gateway, "GET /x"), "/base");
    assert_eq!(gateway.call("GET /x?p=/a/../b").status, 400);
}

/// Proves H-MAP-20, H-MAP-21, H-VPC-6, C53.
#[test]
fn the_stage_goes_from_the_path_of_a_service() {
    let address = backend(echo);
    let mapping = json!({"overwrite:path": "$request.path"});
    let api = Api::new(&[
        ("GET /echo", mapped(service("web"), mapping, json!({}))),
        ("GET /p/{proxy+}", mapped(service("web"), json!({"overwrite:path": "/$request.path.proxy"}), json!({}))),
    ]);
    let gateway = serving(&api.stage(json!({"stageName": "dev"})).endpoints("web", &[address]));
    assert_eq!(gateway.call("GET /dev/echo?a=1").json()["target"], "/echo?a=1");
    assert_eq!(gateway.call("GET /dev/p/a/b").json()["target"], "/a/b");
}

/// Proves H-MAP-10, H-MAP-13, H-MAP-15, C59.
#[test]
fn bodies_of_requests() {
    let gateway = one(
        "POST /x",
        json!({"append:header.n": "$request.body.items[0].id", "append:header.whole": "$request.body"}),
        json!({}),
    );
    let body = r#"{"items":[{"id":7}]}"#;
    let reply = gateway.call(&format!("POST /x\nContent-Type: application/json\n\n{body}"));
    assert_eq!(reply.seen("n").as_deref(), Some("7"));
    assert_eq!(reply.seen("whole").as_deref(), Some(body));
    assert_eq!(reply.json()["body"], body);
    assert_eq!(reply.seen("content-length"), Some(body.len().to_string()));
    let mut client = gateway.connect();
    client.send(
        b"POST /x HTTP/1.1\r\nHost: abc123.execute-api.gw.example\r\nTransfer-Encoding: chunked\r\n\r\n\
          a\r\n{\"items\":[\r\nb\r\n{\"id\":\"a\"}]\r\n1\r\n}\r\n0\r\n\r\n",
    );
    let reply = client.read(false);
    assert_eq!((reply.seen("n").as_deref(), reply.seen("content-length").as_deref()), (Some("a"), Some("22")));
    assert_eq!(reply.seen("transfer-encoding"), None);
    let reply = client.call("POST /x");
    assert_eq!((reply.seen("n"), reply.seen("content-length").as_deref()), (None, Some("0")));
}

#[test]
fn a_body_that_is_mapped_has_the_limit_of_the_api() {
    let address = backend(echo);
    let mapping = json!({"append:header.n": "$request.body.id"});
    let api = Api::new(&[("POST /x", mapped(http(&format!("http://{address}")), mapping, json!({})))]);
    let gateway = serving(&api.set("limits", json!({"payloadBytes": 4000})));
    let body = |length: usize| format!("{{\"id\":123{}}}", " ".repeat(length - 10));
    assert_eq!(gateway.call(&format!("POST /x\n\n{}", body(2000))).seen("n").as_deref(), Some("123"));
    assert_eq!(gateway.call(&format!("POST /x\n\n{}", body(4001))).status, 413);
    let mut client = gateway.connect();
    let head = "POST /x HTTP/1.1\r\nHost: abc123.execute-api.gw.example\r\nTransfer-Encoding: chunked\r\n\r\n";
    client.send(format!("{head}fa1\r\n{}\r\n0\r\n\r\n", body(4001)).as_bytes());
    assert_eq!(client.read(false).status, 413);
}

/// Proves H-MAP-2, H-MAP-23, H-MAP-25, C57.
#[test]
fn responses() {
    let gateway = one(
        "GET /x",
        json!({}),
        json!({
            "500": {"overwrite:statuscode": "403", "append:header.h1": "$context.requestId", "remove:header.server": ""},
            "200": {"overwrite:header.cache-control": "no-store", "append:header.id": "$response.body.id"},
            "202": {"overwrite:statuscode": "$response.header.x-status"},
        }),
    );
    let answer = |answer: Value| gateway.call(&format!("GET /x\nX-Answer: {answer}"));
    let reply = answer(json!({"status": 500, "body": "broken", "headers": {"server": "s"}}));
    assert_eq!((reply.status, reply.text()), (403, "broken"));
    assert_eq!(reply.header("h1"), reply.header("apigw-requestid"));
    assert_eq!(reply.header("server"), None);
    let reply = answer(json!({"body": "{\"id\":7}", "headers": {"cache-control": "public"}}));
    assert_eq!(
        (reply.header("cache-control"), reply.header("id"), reply.text()),
        (Some("no-store"), Some("7"), "{\"id\":7}")
    );
    let reply = answer(json!({"status": 501, "body": "as is"}));
    assert_eq!((reply.status, reply.header("h1"), reply.text()), (501, None, "as is"));
    for (status, becomes) in [("204", 204), ("418", 418), ("99", 202), ("x", 202)] {
        let reply = answer(json!({"status": 202, "body": "text", "headers": {"x-status": status}}));
        assert_eq!(reply.status, becomes);
        assert_eq!(reply.text(), if becomes == 204 { "" } else { "text" });
    }
}

/// The gateway's own errors are not mapped.
///
/// Proves H-MAP-23.
#[test]
fn errors_of_the_gateway_stay_as_they_are() {
    let address = tollgate_testkit::unused_address();
    let responses = json!({"503": {"overwrite:statuscode": "200", "append:header.h1": "x"}});
    let gateway = serving(&Api::new(&[("GET /x", mapped(http(&format!("http://{address}")), json!({}), responses))]));
    let reply = gateway.call("GET /x");
    assert_eq!((reply.status, reply.header("h1"), reply.text()), (503, None, r#"{"message":"Service Unavailable"}"#));
}

/// Proves H-MAP-8, H-MAP-9, H-MAP-23.
#[test]
fn events_and_results_of_functions() {
    let address = backend(invoked);
    let request = json!({
        "append:header.x-id": "$request.path.id",
        "remove:header.x-secret": "",
        "overwrite:header.host": "fn.example",
        "overwrite:querystring.a": "$request.body.a",
        "overwrite:path": "/mapped/$request.path.id",
    });
    let responses =
        json!({"200": {"overwrite:statuscode": "201", "append:header.x-len": "$response.header.content-type"}});
    let gateway = serving(&Api::new(&[
        ("POST /v2/{id}", mapped(function(address, "2.0"), request.clone(), json!({}))),
        ("POST /v1/{id}", mapped(function(address, "1.0"), request, responses)),
    ]));
    let headers = "X-Secret: s\nX-Id: own\nConnection: x-id\nContent-Type: application/json";
    let event = gateway.call(&format!("POST /v2/a%20b?a=1&b=2\n{headers}\n\n{{\"a\":\"new\"}}")).json();
    assert_eq!(event["headers"]["x-id"], "a b");
    assert_eq!(event["headers"].get("x-secret"), None);
    assert_eq!(event["headers"]["host"], "fn.example");
    assert_eq!(event["rawQueryString"], "b=2&a=new");
    assert_eq!(event["queryStringParameters"], json!({"a": "new", "b": "2"}));
    assert_eq!(
        (&event["rawPath"], &event["requestContext"]["http"]["path"]),
        (&json!("/mapped/a b"), &json!("/v2/a b"))
    );
    assert_eq!(event["requestContext"]["domainName"], "abc123.execute-api.gw.example");
    assert_eq!(event["pathParameters"]["id"], "a b");
    let reply = gateway.call(&format!("POST /v1/a%20b?a=1\n{headers}\n\n{{\"a\":\"new\"}}"));
    assert_eq!((reply.status, reply.header("x-len")), (201, Some("application/json")));
    let event = reply.json();
    assert_eq!((&event["path"], &event["requestContext"]["path"]), (&json!("/mapped/a%20b"), &json!("/v1/a b")));
    assert_eq!(event["queryStringParameters"], json!({"a": "new"}));
}

/// A mapping that cannot be compiled closes its own routes and no others.
#[test]
fn a_broken_mapping_is_500_alone() {
    let address = backend(echo);
    let target = http(&format!("http://{address}"));
    let broken = mapped(target.clone(), json!({"append:header.via": "x"}), json!({}));
    let mut gateway = Gateway::empty();
    let reports = gateway.publish(&Api::new(&[("GET /broken", broken), ("GET /fine", target)]).units());
    let problem = &reports[0].problems[0];
    assert_eq!((problem.path.as_str(), problem.source.as_str()), ("integrations[i0]", "Route/shop/r0"));
    assert!(problem.message.contains("Operations on header via are restricted"), "{}", problem.message);
    assert_eq!(gateway.call("GET /broken").status, 500);
    assert_eq!(gateway.call("GET /fine").status, 200);
}
