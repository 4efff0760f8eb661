//! Signed requests (section 6.11 of the spec) on a running gateway. The signatures are made here by the book, not by the code under test.

#![expect(clippy::unwrap_used, reason = "a test ends where something unexpected happens")]

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::{digest, hmac};
use serde_json::{Value, json};
use tollgate_engine::snapshot::Unit;
use tollgate_testkit::{Api, Gateway, Reply, backend, echo, function, http, invoked};

const FORBIDDEN: &str = r#"{"message":"Forbidden"}"#;
const HOST: &str = "abc123.execute-api.gw.example";

fn signed_route(mut backend: Value) -> Value {
    backend["route"] = json!({"authorization": {"type": "AWS_IAM"}});
    backend
}

fn principals() -> Value {
    let statement =
        |effect: &str, resource: &str| json!({"Effect": effect, "Action": "execute-api:Invoke", "Resource": resource});
    let all = statement("Allow", "arn:aws:execute-api:local:000000000000:abc123/*");
    json!({"kind": "principals", "namespace": "shop", "principals": [
        {
            "name": "anna",
            "userId": "AIDAANNA",
            "accessKeys": [
                {"accessKeyId": "AKIDANNA", "secretAccessKey": "anna's secret"},
                {"accessKeyId": "ASIDANNA", "secretAccessKey": "for a while", "sessionToken": "token+/="},
            ],
            "policies": [{"Version": "2012-10-17", "Statement": [all, statement("Deny", "*/GET/denied*")]}],
        },
        {"name": "berta", "userId": "AIDABERTA", "accessKeys": [{"accessKeyId": "AKIDBERTA", "secretAccessKey": "b"}],
         "policies": [{"Statement": statement("Allow", "*/$default/GET/v2")}]},
    ]})
}

fn gateway() -> Gateway {
    let address = backend(invoked);
    let url = format!("http://{}/", backend(echo));
    let stage = json!({"stageName": "$default", "accessLogSettings": {"format":
        "$context.status $context.identity.userArn $context.identity.caller $context.error.responseType $context.authorizer.error"}});
    let api = Api::new(&[
        ("ANY /v2", signed_route(function(address, "2.0"))),
        ("GET /v1", signed_route(function(address, "1.0"))),
        ("ANY /http/{proxy+}", signed_route(http(&url))),
        ("GET /denied", signed_route(http(&url))),
        ("GET /open", http(&url)),
    ])
    .only_stage(stage);
    let mut units = api.units();
    units.push(serde_json::from_value::<Unit>(principals()).unwrap());
    let mut gateway = Gateway::empty();
    let reports = gateway.publish(&units);
    assert!(reports.is_empty(), "{reports:?}");
    gateway
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sha256(text: &str) -> String {
    hex(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

/// Seconds since 1970 as `20260710T191905Z`.
fn amz_date(seconds: i64) -> String {
    tollgate_engine::time::compact_date(seconds).unwrap()
}

fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

/// What signs.
struct Signer {
    id: &'static str,
    secret: &'static str,
    token: Option<&'static str>,
    region: &'static str,
    service: &'static str,
    at: i64,
}

const ANNA: Signer =
    Signer { id: "AKIDANNA", secret: "anna's secret", token: None, region: "local", service: "execute-api", at: 0 };

impl Signer {
    fn date(&self) -> String {
        amz_date(now() + self.at)
    }

    fn scope(&self, date: &str) -> String {
        format!("{}/{}/{}/aws4_request", &date[..8], self.region, self.service)
    }

    fn signature(&self, date: &str, canonical: &str) -> String {
        let scope = self.scope(date);
        let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", sha256(canonical));
        let key = scope.split('/').fold(format!("AWS4{}", self.secret).into_bytes(), |key, part| hmac(&key, part));
        hex(&hmac(&key, &text))
    }

    /// A request for [`Gateway::call`], signed in its header. `target` has canonical form and `path` is what is signed for it.
    fn header(&self, method: &str, path: &str, target: &str, body: &str) -> String {
        let date = self.date();
        let query = target.split_once('?').map_or("", |(_, query)| query);
        let (mut headers, mut names) = (format!("host:{HOST}\nx-amz-date:{date}\n"), "host;x-amz-date".to_owned());
        let mut sent = format!("X-Amz-Date: {date}");
        if let Some(token) = self.token {
            headers += &format!("x-amz-security-token:{token}\n");
            names += ";x-amz-security-token";
            sent += &format!("\nX-Amz-Security-Token: {token}");
        }
        let canonical = format!("{method}\n{path}\n{query}\n{headers}\n{names}\n{}", sha256(body));
        let signature = self.signature(&date, &canonical);
        let credential = format!("{}/{}", self.id, self.scope(&date));
        let tail = if body.is_empty() { String::new() } else { format!("\n\n{body}") };
        format!(
            "{method} {target}\n{sent}\nAuthorization: AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={signature}{tail}"
        )
    }

    /// A target that is signed in its query.
    fn query(&self, path: &str, expires: u32) -> String {
        let date = self.date();
        let credential = format!("{}/{}", self.id, self.scope(&date)).replace('/', "%2F");
        let token = self.token.map_or(String::new(), |token| {
            let token = token.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
            format!("&X-Amz-Security-Token={token}")
        });
        let query = format!(
            "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={credential}&X-Amz-Date={date}&X-Amz-Expires={expires}{token}&X-Amz-SignedHeaders=host"
        );
        let canonical = format!("GET\n{path}\n{query}\nhost:{HOST}\n\nhost\n{}", sha256(""));
        format!("{path}?{query}&X-Amz-Signature={}", self.signature(&date, &canonical))
    }

    fn get(&self, gateway: &Gateway, path: &str) -> Reply {
        gateway.call(&self.header("GET", path, path, ""))
    }
}

#[track_caller]
fn assert_forbidden(reply: &Reply) {
    assert_eq!((reply.status, reply.text()), (403, FORBIDDEN));
    assert_eq!(reply.header("www-authenticate"), None);
}

/// Proves H-IAM-1, H-IAM-2, H-IAM-7, H-IAM-9, H-EV2-26, H-EV1-11, H-EV1-12, C87.
#[test]
fn functions_know_who_signed() {
    let gateway = gateway();
    let event = ANNA.get(&gateway, "/v2").json();
    let arn = "arn:aws:iam::000000000000:user/shop/anna";
    let iam = json!({
        "accessKey": "AKIDANNA", "accountId": "000000000000", "callerId": "AIDAANNA", "cognitoIdentity": null,
        "principalOrgId": null, "userArn": arn, "userId": "AIDAANNA",
    });
    assert_eq!(event["requestContext"]["authorizer"], json!({"iam": iam}));
    let event = ANNA.get(&gateway, "/v1").json();
    let context = &event["requestContext"];
    assert_eq!(context.get("authorizer"), None);
    for (key, value) in [
        ("accessKey", "AKIDANNA"),
        ("accountId", "000000000000"),
        ("caller", "AIDAANNA"),
        ("user", "AIDAANNA"),
        ("userArn", arn),
    ] {
        assert_eq!(context["identity"][key], value, "{key}");
    }
    assert_eq!(gateway.stop(), format!("200 {arn} AIDAANNA - -\n").repeat(2));
}

/// Proves H-IAM-3, H-IAM-4, H-LOG-10, C86.
#[test]
fn unsigned_requests() {
    let gateway = gateway();
    assert_forbidden(&gateway.call("GET /v2"));
    assert_forbidden(&gateway.call("GET /v2\nAuthorization: Bearer a.b.c"));
    assert_eq!(gateway.call("GET /open").status, 200);
    assert_eq!(gateway.call("GET /none").status, 404);
    let line =
        "403 - - ACCESS_DENIED The request for the IAM Authorizer doesn't match the format that API Gateway expects.\n";
    assert!(gateway.stop().starts_with(&line.repeat(2)));
}

/// Proves H-IAM-1, H-IAM-2, H-IAM-3.
#[test]
fn keys_times_and_scopes() {
    let gateway = gateway();
    for (signer, status) in [
        (Signer { ..ANNA }, 200),
        (Signer { at: -240, ..ANNA }, 200),
        (Signer { at: 240, ..ANNA }, 200),
        (Signer { at: -360, ..ANNA }, 403),
        (Signer { at: 360, ..ANNA }, 403),
        (Signer { secret: "guess", ..ANNA }, 403),
        (Signer { id: "AKIDNOBODY", ..ANNA }, 403),
        (Signer { region: "us-east-1", ..ANNA }, 403),
        (Signer { service: "s3", ..ANNA }, 403),
        (Signer { id: "ASIDANNA", secret: "for a while", token: Some("token+/="), ..ANNA }, 200),
        (Signer { id: "ASIDANNA", secret: "for a while", token: Some("other"), ..ANNA }, 403),
        (Signer { id: "ASIDANNA", secret: "for a while", ..ANNA }, 403),
        (Signer { token: Some("token+/="), ..ANNA }, 403),
    ] {
        let Signer { id, at, token, region, service, .. } = signer;
        let reply = signer.get(&gateway, "/http/a");
        assert_eq!(reply.status, status, "{id} {at} {token:?} {region} {service}");
    }
}

/// Proves H-IAM-2.
#[test]
fn signatures_in_queries() {
    let gateway = gateway();
    let temporary = Signer { id: "ASIDANNA", secret: "for a while", token: Some("token+/="), ..ANNA };
    let old = Signer { at: -3000, ..ANNA };
    for (target, status) in [
        (ANNA.query("/http/a", 60), 200),
        (temporary.query("/http/a", 60), 200),
        (old.query("/http/a", 3600), 200),
        (old.query("/http/a", 2900), 403),
        (ANNA.query("/http/a", 60).replace("/http/a", "/http/b"), 403),
        (format!("{}&more=1", ANNA.query("/http/a", 60)), 403),
    ] {
        assert_eq!(gateway.call(&format!("GET {target}")).status, status, "{target}");
    }
}

/// Proves H-IAM-6.
#[test]
fn bodies_paths_and_queries_are_signed() {
    let gateway = gateway();
    let reply = gateway.call(&ANNA.header("POST", "/http/a", "/http/a?k=1", "some text"));
    assert_eq!((reply.status, &reply.json()["body"]), (200, &json!("some text")));
    let changed = ANNA.header("POST", "/http/a", "/http/a", "some text").replace("some text", "other text");
    assert_forbidden(&gateway.call(&changed));
    assert_forbidden(&gateway.call(&ANNA.header("GET", "/http/a", "/http/a?k=1", "").replace("k=1", "k=2")));
    assert_forbidden(&gateway.call(&ANNA.header("GET", "/http/a", "/http/b", "")));
    let digest = format!("x-amz-content-sha256: {}", sha256(""));
    let header = |line: &str| format!("{}\n{line}", ANNA.header("GET", "/http/a", "/http/a", ""));
    assert_eq!(gateway.call(&header(&digest)).status, 200);
    assert_forbidden(&gateway.call(&header("x-amz-content-sha256: UNSIGNED-PAYLOAD")));
    // What is sent encoded is encoded once more before it is signed.
    assert_eq!(gateway.call(&ANNA.header("GET", "/http/a%2520b", "/http/a%20b", "")).status, 200);
    assert_forbidden(&gateway.call(&ANNA.header("GET", "/http/a%20b", "/http/a%20b", "")));
    let chunked = ANNA.header("POST", "/http/a", "/http/a", "some text");
    let head = chunked.split("\n\n").next().unwrap().replace('\n', "\r\n").replacen("/http/a", "/http/a HTTP/1.1", 1);
    let mut client = gateway.connect();
    client.send(
        format!("{head}\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nsome \r\n4\r\ntext\r\n0\r\n\r\n")
            .as_bytes(),
    );
    let reply = client.read(false);
    assert_eq!((reply.status, &reply.json()["body"]), (200, &json!("some text")));
}

/// Proves H-IAM-5, H-IAM-3.
#[test]
fn policies_decide() {
    let gateway = gateway();
    let berta = Signer { id: "AKIDBERTA", secret: "b", ..ANNA };
    assert_eq!(berta.get(&gateway, "/v2").status, 200);
    assert_forbidden(&berta.get(&gateway, "/v1"));
    assert_forbidden(&gateway.call(&berta.header("POST", "/v2", "/v2", "")));
    assert_forbidden(&ANNA.get(&gateway, "/denied"));
    // A letter that is written otherwise is the same letter.
    assert_forbidden(&gateway.call(&ANNA.header("GET", "/den%2569ed", "/den%69ed", "")));
    let log = gateway.stop();
    let lines: Vec<&str> = log.lines().collect();
    assert!(
        lines[1].starts_with("403 arn:aws:iam::000000000000:user/shop/berta AIDABERTA ACCESS_DENIED User: "),
        "{log}"
    );
    assert!(lines[1].ends_with("because no identity-based policy allows the execute-api:Invoke action"), "{log}");
    assert!(lines[3].ends_with("with an explicit deny in an identity-based policy"), "{log}");
}

/// The principals of another namespace are nobody here, and those who are gone are nobody at once.
///
/// Proves H-IAM-8, H-IAM-9.
#[test]
fn principals_belong_to_their_namespace_and_come_and_go() {
    let mut gateway = gateway();
    assert_eq!(ANNA.get(&gateway, "/http/a").status, 200);
    let api = Api::new(&[("ANY /http/{proxy+}", signed_route(http(&format!("http://{}/", backend(echo)))))]);
    let publish = |gateway: &mut Gateway, principals: Option<Value>| {
        let mut units = api.units();
        units.extend(principals.map(|unit| serde_json::from_value::<Unit>(unit).unwrap()));
        gateway.publish(&units)
    };
    let mut elsewhere = principals();
    elsewhere["namespace"] = "other".into();
    assert!(publish(&mut gateway, Some(elsewhere)).is_empty());
    assert_forbidden(&ANNA.get(&gateway, "/http/a"));
    assert!(publish(&mut gateway, Some(principals())).is_empty());
    assert_eq!(ANNA.get(&gateway, "/http/a").status, 200);
    // A policy that this version cannot follow leaves its principal without rights, and nobody else.
    let mut odd = principals();
    odd["principals"][1]["policies"][0]["Statement"]["NotAction"] = "*".into();
    let reports = publish(&mut gateway, Some(odd));
    assert_eq!(reports[0].problems[0].source, "Principal/shop/berta");
    assert_eq!(ANNA.get(&gateway, "/http/a").status, 200);
    assert!(publish(&mut gateway, None).is_empty());
    assert_forbidden(&ANNA.get(&gateway, "/http/a"));
}
