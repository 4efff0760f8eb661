//! JWT authorizers (sections 6.2 to 6.6 of the spec) with an issuer that is really asked.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tollgate_testkit::{Api, Gateway, Issuer, Reply, SigningKey, backend, echo, function, http, invoked, unsigned};

const UNAUTHORIZED: &str = r#"{"message":"Unauthorized"}"#;

/// `GET /v2`, `GET /v1` and `GET /http` need a token; `GET /w` one with scope `w` or `x`.
struct World {
    key: SigningKey,
    issuer: Issuer,
    gateway: Gateway,
}

fn closed(mut backend: Value, scopes: &[&str]) -> Value {
    backend["route"] = json!({"authorization": {"type": "JWT", "authorizer": "jwt", "scopes": scopes}});
    backend
}

fn api(authorizer: &Value) -> Api {
    let address = backend(invoked);
    let url = format!("http://{}/", backend(echo));
    let stage = json!({"stageName": "$default", "accessLogSettings": {"format":
        "$context.status $context.authorizer.claims.sub $context.error.responseType $context.authorizer.error"}});
    Api::new(&[
        ("GET /v2", closed(function(address, "2.0"), &[])),
        ("GET /v1", closed(function(address, "1.0"), &[])),
        ("GET /http", closed(http(&url), &[])),
        ("GET /w", closed(function(address, "2.0"), &["w", "x"])),
        ("GET /open", http(&url)),
    ])
    .set("authorizers", json!({"jwt": authorizer}))
    .only_stage(stage)
}

fn publish(api: &Api) -> Gateway {
    let mut gateway = Gateway::empty();
    let reports = gateway.publish(&api.units());
    assert!(reports.iter().all(|report| report.problems.is_empty()), "{reports:?}");
    gateway
}

impl World {
    fn new() -> Self {
        let key = SigningKey::new("k1");
        let issuer = Issuer::new(&[&key]);
        let gateway = publish(&api(&issuer.authorizer("shop")));
        Self { key, issuer, gateway }
    }

    fn token(&self, changes: &Value) -> String {
        self.key.token(&self.issuer.claims("shop", changes))
    }

    fn call(&self, path: &str, token: &str) -> Reply {
        call(&self.gateway, path, token)
    }

    /// Calls with a token of these claims.
    fn with(&self, path: &str, changes: Value) -> Reply {
        self.call(path, &self.token(&changes))
    }
}

fn call(gateway: &Gateway, path: &str, token: &str) -> Reply {
    gateway.call(&format!("GET {path}\nAuthorization: Bearer {token}"))
}

#[track_caller]
fn assert_refused(reply: &Reply, description: &str) {
    assert_eq!((reply.status, reply.text()), (401, UNAUTHORIZED));
    assert_eq!(reply.header("content-type"), Some("application/json"));
    let challenge = format!(r#"Bearer scope="" error="invalid_token" error_description="{description}""#);
    assert_eq!(reply.header("www-authenticate"), Some(challenge.as_str()));
}

/// Proves H-JWT-6, H-JWT-26, H-JWT-27, C66.
#[test]
fn a_missing_token() {
    let World { gateway, .. } = World::new();
    for request in ["GET /v2", "GET /v2\nAuthorization:", "GET /v2\nX-Token: a.b.c"] {
        let mut client = gateway.connect();
        let reply = client.call(request);
        assert_eq!((reply.status, reply.text()), (401, UNAUTHORIZED), "{request}");
        assert_eq!(reply.header("www-authenticate"), Some("Bearer"), "{request}");
    }
    let mut client = gateway.connect();
    client.send(b"GET /v2 HTTP/1.1\r\nHost: abc123.execute-api.gw.example\r\n\r\n");
    assert!(client.until("\r\n\r\n").unwrap().contains("\r\nwww-authenticate: Bearer\r\n"));
    drop(client);
    let line = "401 - UNAUTHORIZED missing: token not provided\n";
    assert_eq!(gateway.stop(), line.repeat(4));
}

/// Proves H-ERR-5, H-JWT-7, H-JWT-16, H-JWT-22, H-JWT-24, C67.
#[test]
fn what_is_no_token() {
    let World { gateway, .. } = World::new();
    for token in ["token", "a.b", "a.b.c.d", "a.b.c.d.e"] {
        let reply = gateway.call(&format!("GET /v2\nAuthorization: {token}"));
        assert_refused(&reply, "token contains an invalid number of segments");
    }
    let odd = gateway.call("GET /v2\nAuthorization: ?.?.?");
    assert_eq!(odd.status, 401);
    assert!(odd.header("www-authenticate").unwrap().contains(r#"error="invalid_token""#));
    let log = gateway.stop();
    let first = log.lines().next().unwrap();
    assert_eq!(first, "401 - UNAUTHORIZED invalid_token: token contains an invalid number of segments");
}

/// Proves H-JWT-13, H-JWT-24, C68, C69, C70.
#[test]
fn audiences() {
    let world = World::new();
    let wrong = "the token does not have a valid audience";
    assert_refused(&world.with("/v2", json!({"aud": "other"})), wrong);
    assert_refused(&world.with("/v2", json!({"aud": ["other", "another"]})), wrong);
    assert_refused(&world.with("/v2", json!({"aud": "other", "client_id": "shop"})), wrong);
    assert_refused(&world.with("/v2", json!({"aud": null})), wrong);
    assert_refused(&world.with("/v2", json!({"aud": null, "client_id": "other"})), wrong);
    assert_eq!(world.with("/v2", json!({"aud": null, "client_id": "shop"})).status, 200);
    assert_eq!(world.with("/v2", json!({"aud": ["other", "shop"]})).status, 200);
}

/// Proves H-JWT-8, H-JWT-9, H-JWT-24, H-JWT-25, C71.
#[test]
fn algorithms_and_signatures() {
    let world = World::new();
    let claims = world.issuer.claims("shop", &json!({}));
    for alg in ["RS256", "RS384", "RS512"] {
        assert_eq!(world.call("/v2", &world.key.token_as(alg, &claims)).status, 200, "{alg}");
    }
    assert_refused(&world.call("/v2", &world.key.token_as("ES256", &claims)), "signing method ES256 is invalid");
    assert_refused(&world.call("/v2", &unsigned("k1", &claims)), "signing method none is invalid");
    let forged = SigningKey::new("k1").token(&claims);
    assert_refused(&world.call("/v2", &forged), "crypto/rsa: verification error");
    let good = world.key.token(&claims);
    let (head, signature) = good.rsplit_once('.').unwrap();
    let other = world.key.token(&world.issuer.claims("shop", &json!({"sub": "admin"})));
    let (other_head, _) = other.rsplit_once('.').unwrap();
    assert_refused(&world.call("/v2", &format!("{other_head}.{signature}")), "crypto/rsa: verification error");
    assert_eq!(world.call("/v2", &format!("{head}.")).status, 401);
    // A refused token does not spoil the good one, nor the other way round.
    assert_eq!(world.call("/v2", &good).status, 200);
}

/// Proves H-JWT-10, H-JWT-11, H-JWT-12, H-JWT-25.
#[test]
fn times_and_issuers() {
    let world = World::new();
    let now = world.issuer.claims("shop", &json!({}))["iat"].as_u64().unwrap();
    for changes in [
        json!({"exp": now - 1}),
        json!({"exp": null}),
        json!({"exp": "soon"}),
        json!({"nbf": now + 1000}),
        json!({"iat": now + 1000}),
        json!({"iss": "https://else.example"}),
        json!({"iss": format!("{}/", world.issuer.url())}),
        json!({"iss": null}),
    ] {
        let reply = world.with("/v2", changes.clone());
        assert_eq!((reply.status, reply.text()), (401, UNAUTHORIZED), "{changes}");
        assert!(reply.header("www-authenticate").unwrap().contains(r#"error="invalid_token""#));
    }
    assert_eq!(world.with("/v2", json!({"nbf": now - 1, "iat": null})).status, 200);
}

/// Proves H-JWT-14, H-JWT-15, H-JWT-23, H-LOG-10, C72, C73.
#[test]
fn scopes() {
    let world = World::new();
    for changes in [json!({"scope": "r"}), json!({}), json!({"scope": "W"}), json!({"scope": "r", "scp": ["w"]})] {
        let reply = world.with("/w", changes.clone());
        assert_eq!((reply.status, reply.text()), (403, r#"{"message":"Forbidden"}"#), "{changes}");
        assert_eq!(
            reply.header("www-authenticate"),
            Some(
                r#"Bearer scope="w x" error="insufficient_scope" error_description="the token does not have a valid scope""#
            )
        );
    }
    for (changes, scopes) in [
        (json!({"scp": ["w"]}), json!(["w"])),
        (json!({"scp": "w"}), json!(["w"])),
        (json!({"scope": "r  x"}), json!(["r", "x"])),
    ] {
        let reply = world.with("/w", changes);
        assert_eq!(reply.status, 200);
        assert_eq!(reply.json()["requestContext"]["authorizer"]["jwt"]["scopes"], scopes);
    }
    let refused = world.call("/w", "token");
    assert!(refused.header("www-authenticate").unwrap().starts_with(r#"Bearer scope="w x" error="invalid_token""#));
    let log = world.gateway.stop();
    assert!(
        log.starts_with("403 u1 ACCESS_DENIED insufficient_scope: the token does not have a valid scope\n"),
        "{log}"
    );
}

/// Proves H-JWT-28, H-JWT-29, H-JWT-30, H-EV2-26, H-EV1-12, C74.
#[test]
fn functions_see_claims_as_text() {
    let world = World::new();
    let changes = json!({"n": 1_515_973_296, "b": true, "l": ["a", "b"], "none": null});
    let token = world.token(&changes);
    for _ in 0..2 {
        let event = world.call("/v2", &token).json();
        let jwt = &event["requestContext"]["authorizer"]["jwt"];
        assert_eq!((&jwt["claims"]["n"], &jwt["claims"]["b"]), (&json!("1515973296"), &json!("true")));
        assert_eq!((&jwt["claims"]["l"], &jwt["claims"]["sub"]), (&json!("[a b]"), &json!("u1")));
        assert_eq!(jwt.get("scopes"), Some(&Value::Null));
        let event = world.call("/v1", &token).json();
        let authorizer = &event["requestContext"]["authorizer"];
        assert_eq!((&authorizer["claims"]["l"], &authorizer["scopes"]), (&json!("[a b]"), &Value::Null));
    }
}

/// Proves H-JWT-5, H-JWT-31, C75.
#[test]
fn prefixes_of_the_token() {
    let world = World::new();
    let token = world.token(&json!({}));
    for prefix in ["", "Bearer ", "bearer ", "BEARER "] {
        let reply = world.gateway.call(&format!("GET /http\nAuthorization: {prefix}{token}"));
        assert_eq!(reply.status, 200, "{prefix}");
        assert_eq!(reply.seen("authorization"), Some(format!("{prefix}{token}")));
    }
}

/// Proves H-JWT-1.
#[test]
fn tokens_in_the_query() {
    let key = SigningKey::new("k1");
    let issuer = Issuer::new(&[&key]);
    let mut authorizer = issuer.authorizer("shop");
    authorizer["identitySource"] = json!(["$request.querystring.token"]);
    let gateway = publish(&api(&authorizer));
    let token = key.token(&issuer.claims("shop", &json!({})));
    assert_eq!(gateway.call(&format!("GET /v2?a=b&token={token}")).status, 200);
    assert_eq!(gateway.call(&format!("GET /v2?Token={token}")).status, 401);
    assert_eq!(call(&gateway, "/v2", &token).status, 401);
}

/// Proves H-AUTH-6, C76.
#[test]
fn unknown_paths_are_404_without_a_token() {
    let world = World::new();
    assert_eq!(world.gateway.call("GET /none").status, 404);
    assert_eq!(world.gateway.call("POST /v2").status, 404);
    assert_eq!(world.gateway.call("GET /open").status, 200);
}

/// Proves H-JWT-17, H-JWT-18.
#[test]
fn keys_are_fetched_once() {
    let world = World::new();
    for number in 0..20 {
        assert_eq!(world.with("/v2", json!({"jti": number.to_string()})).status, 200);
    }
    assert_eq!(world.issuer.key_fetches(), 1);
}

/// Proves H-JWT-18, H-JWT-21, H-JWT-24.
#[test]
fn keys_rotate() {
    let world = World::new();
    let old = world.token(&json!({}));
    assert_eq!(world.call("/v2", &old).status, 200);
    let next = SigningKey::new("k2");
    let new = next.token(&world.issuer.claims("shop", &json!({})));
    world.issuer.rotate(&[&world.key, &next]);
    // Asking for unknown keys again and again asks the issuer only every five seconds.
    let asked = Instant::now();
    let mut attempts = 0;
    loop {
        let reply = world.call("/v2", &new);
        if reply.status == 200 {
            break;
        }
        assert_refused(&reply, "unable to find a signing key that matches 'k2'");
        assert!(asked.elapsed() < Duration::from_secs(30), "the new key is never found");
        attempts += 1;
    }
    assert!(attempts > 0);
    assert_eq!(world.issuer.key_fetches(), 2);
    assert_eq!(world.call("/v2", &old).status, 200);
    // A removed key stays usable until the keys are fetched again (H-JWT-21).
    world.issuer.rotate(&[&next]);
    assert_eq!(world.call("/v2", &world.token(&json!({"jti": "later"}))).status, 200);
    assert_eq!(world.issuer.key_fetches(), 2);
}

/// Proves H-JWT-2, H-JWT-19.
#[test]
fn an_issuer_that_is_down_lets_nobody_in() {
    let key = SigningKey::new("k1");
    let issuer = Issuer::new(&[&key]);
    let token = key.token(&issuer.claims("shop", &json!({})));
    issuer.discovery_fails(true);
    let gateway = publish(&api(&issuer.authorizer("shop")));
    assert_refused(&call(&gateway, "/v2", &token), "OIDC discovery endpoint communication error");
    assert_eq!(gateway.call("GET /open").status, 200);
    issuer.discovery_fails(false);
    issuer.keys_fail(true);
    let gateway = publish(&api(&issuer.authorizer("shop")));
    assert_refused(&call(&gateway, "/v2", &token), "JWKS communication error");
    issuer.keys_fail(false);
    let asked = Instant::now();
    while call(&gateway, "/v2", &token).status != 200 {
        assert!(asked.elapsed() < Duration::from_secs(30), "the keys are never found");
    }
}

/// Keys that are here go on being used while the issuer is down, also over a publish that changes nothing about the authorizer.
///
/// Proves H-JWT-18.
#[test]
fn keys_outlive_their_issuer() {
    let mut world = World::new();
    assert_eq!(world.with("/v2", json!({})).status, 200);
    world.issuer.discovery_fails(true);
    world.issuer.keys_fail(true);
    let api = api(&world.issuer.authorizer("shop")).set("disableExecuteApiEndpoint", json!(false));
    world.gateway.publish(&api.units());
    assert_eq!(world.with("/v2", json!({"jti": "2"})).status, 200);
    assert_eq!(world.issuer.key_fetches(), 1);
}

/// Proves H-JWT-32.
#[test]
fn a_verified_token_is_not_good_for_another_authorizer() {
    let world = World::new();
    let token = world.token(&json!({}));
    assert_eq!(world.call("/v2", &token).status, 200);
    assert_eq!(world.call("/v2", &token).status, 200);
    let mut gateway = world.gateway;
    gateway.publish(&api(&world.issuer.authorizer("other-audience")).units());
    assert_refused(&call(&gateway, "/v2", &token), "the token does not have a valid audience");
}
