//! Tokens of a Cognito user pool (as moto plays it) and their keys, through the real program to a real function.
//!
//! moto signs with one key that never changes, so keys are rotated with `tollgate backend issuer`, which also serves the
//! discovery document: moto's names AWS's own host as the issuer.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use aws_lambda_events::apigw::{ApiGatewayProxyRequest, ApiGatewayV2httpRequest};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tollgate_e2e::aws::{Dev, Pool, api, unused};
use tollgate_e2e::{Answer, Request, eventually, suite};

use crate::Shared;

pub(crate) fn tests(shared: &Arc<Shared>) -> Vec<Trial> {
    vec![
        suite::test("tokens::of_a_user_pool", shared, pool),
        suite::test("tokens::expired_or_of_the_future", shared, expired),
        suite::test("tokens::a_rotated_key", shared, rotated),
    ]
}

/// An authorizer and the route `GET /{name}` behind it, in payload format `version`.
fn guarded(shared: &Shared, name: &str, jwt: &Value, scopes: &[&str], version: &str) -> String {
    let function = format!("http://{}", shared.function().address);
    let objects = [
        json!({
            "apiVersion": "tollgate.dev/v1alpha1", "kind": "Authorizer", "metadata": {"name": name},
            "spec": {"jwt": jwt},
        }),
        json!({
            "apiVersion": "tollgate.dev/v1alpha1", "kind": "Route", "metadata": {"name": name},
            "spec": {
                "apiRef": {"name": "tokens"}, "routeKey": format!("GET /{name}"), "authorizationType": "JWT",
                "authorizerRef": {"name": name}, "authorizationScopes": scopes,
                "integration": {"lambda": {"endpoint": function}, "payloadFormatVersion": version},
            },
        }),
    ];
    objects.iter().map(|object| format!("---\n{object}\n")).collect()
}

fn jwt(pool: &Pool) -> Value {
    json!({"issuer": pool.issuer(), "audience": [pool.made.client], "jwksUri": pool.keys()})
}

async fn call(gateway: &Dev, path: &str, token: &str) -> Result<Answer> {
    Request::get(path).header("authorization", &format!("Bearer {token}")).send(gateway.address).await
}

fn refused(answer: &Answer, status: u16, message: &str, challenge: &[&str]) -> Result<()> {
    ensure!(answer.status == status && answer.json()? == json!({"message": message}), "{answer:?}");
    let found = answer.headers.get("www-authenticate").context("no www-authenticate")?.to_str()?;
    ensure!(challenge.iter().all(|part| found.contains(part)) && found.starts_with("Bearer"), "{found}");
    Ok(())
}

fn unauthorized(answer: &Answer, description: &str) -> Result<()> {
    let challenge = format!("Bearer scope=\"\" error=\"invalid_token\" error_description=\"{description}");
    refused(answer, 401, "Unauthorized", &[&challenge])
}

/// Proves H-JWT-5, H-JWT-6, H-JWT-12, H-JWT-13, H-JWT-14, H-JWT-22, H-JWT-28, H-JWT-29, H-JWT-30, C66, C67, C68, C69, C72, C75.
async fn pool(shared: &Shared) -> Result<()> {
    let pool = shared.parts().pool("moto", 0).await?;
    let good = jwt(&pool);
    let mut audience = good.clone();
    audience["audience"] = json!(["another-client"]);
    let mut issuer = good.clone();
    issuer["issuer"] = json!(format!("{}x", pool.issuer()));
    let signed_in = "aws.cognito.signin.user.admin";
    let yaml = [
        api("tokens"),
        guarded(shared, "v1", &good, &[], "1.0"),
        guarded(shared, "v2", &good, &[], "2.0"),
        guarded(shared, "audience", &audience, &[], "2.0"),
        guarded(shared, "issuer", &issuer, &[], "2.0"),
        guarded(shared, "scope", &good, &[signed_in, "books/read"], "2.0"),
        guarded(shared, "other-scope", &good, &["books/write"], "2.0"),
    ]
    .concat();
    let gateway = shared.parts().gateway("tokens", &yaml).await?;
    let (access, id) = (&pool.made.access, &pool.made.id);

    let event = call(&gateway, "/v2", access).await?.expect(200)?;
    serde_json::from_slice::<ApiGatewayV2httpRequest>(&event.body)?;
    let seen = &event.json()?["requestContext"]["authorizer"]["jwt"];
    ensure!(seen["scopes"].is_null() && seen["claims"].get("aud").is_none(), "{seen}");
    ensure!(seen["claims"]["client_id"] == pool.made.client.as_str(), "{seen}");
    // moto keeps groups in a set.
    let groups = &seen["claims"]["cognito:groups"];
    ensure!(groups == "[readers writers]" || groups == "[writers readers]", "{seen}");
    let claims = seen["claims"].as_object().context("no claims")?;
    ensure!(claims.values().all(Value::is_string) && claims["exp"].as_str().is_some_and(is_decimal), "{seen}");

    let event = call(&gateway, "/v1", id).await?.expect(200)?;
    serde_json::from_slice::<ApiGatewayProxyRequest>(&event.body)?;
    let seen = &event.json()?["requestContext"]["authorizer"];
    ensure!(seen["scopes"].is_null() && seen["claims"]["aud"] == pool.made.client.as_str(), "{seen}");
    ensure!(seen["claims"].get("client_id").is_none() && seen["claims"]["cognito:username"] == "ada", "{seen}");

    let bare = Request::get("/v2").header("authorization", id).send(gateway.address).await?;
    bare.expect(200)?;
    let event = call(&gateway, "/scope", access).await?.expect(200)?.json()?;
    ensure!(event["requestContext"]["authorizer"]["jwt"]["scopes"] == json!([signed_in]), "{event}");

    let none = Request::get("/v2").send(gateway.address).await?;
    refused(&none, 401, "Unauthorized", &[])?;
    ensure!(none.headers["www-authenticate"] == "Bearer", "{none:?}");
    unauthorized(&call(&gateway, "/v2", "token").await?, "token contains an invalid number of segments")?;
    for token in [access, id] {
        unauthorized(&call(&gateway, "/audience", token).await?, "the token does not have a valid audience")?;
        unauthorized(&call(&gateway, "/issuer", token).await?, "")?;
        unauthorized(&call(&gateway, "/v2", &forged(token)?).await?, "")?;
        // An identity token has no scopes at all.
        let answer = call(&gateway, "/other-scope", token).await?;
        refused(&answer, 403, "Forbidden", &["scope=\"books/write\"", "error=\"insufficient_scope\""])?;
    }
    Ok(())
}

fn is_decimal(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The same token with the first byte of its signature changed.
fn forged(token: &str) -> Result<String> {
    let (signed, signature) = token.rsplit_once('.').context("a token has three parts")?;
    let other = if signature.starts_with('A') { 'B' } else { 'A' };
    Ok(format!("{signed}.{other}{}", &signature[1..]))
}

/// Pools whose clock is elsewhere hand out tokens that were good two hours ago, or will be in two hours.
///
/// Proves H-JWT-10, H-JWT-11.
async fn expired(shared: &Shared) -> Result<()> {
    let past = shared.parts().pool("moto-past", -7200).await?;
    let future = shared.parts().pool("moto-future", 7200).await?;
    let yaml = [
        api("tokens"),
        guarded(shared, "past", &jwt(&past), &[], "2.0"),
        guarded(shared, "future", &jwt(&future), &[], "2.0"),
    ]
    .concat();
    let gateway = shared.parts().gateway("expired", &yaml).await?;
    for token in [&past.made.access, &past.made.id] {
        unauthorized(&call(&gateway, "/past", token).await?, "the token has expired")?;
    }
    for token in [&future.made.access, &future.made.id] {
        unauthorized(&call(&gateway, "/future", token).await?, "the token is not valid yet")?;
    }
    Ok(())
}

/// Proves H-JWT-18.
async fn rotated(shared: &Shared) -> Result<()> {
    let address = unused()?;
    let issuer = shared.parts().issuer("issuer", address).await?;
    let jwt = json!({"issuer": format!("http://{address}"), "audience": ["shop"]});
    let yaml = [api("tokens"), guarded(shared, "v2", &jwt, &[], "2.0")].concat();
    let gateway = shared.parts().gateway("rotated", &yaml).await?;
    let token = async || -> Result<String> {
        let answer = Request::post("/token", "sub=ada").send(address).await?.expect(200)?.json()?;
        Ok(answer["access_token"].as_str().context("no token")?.to_owned())
    };
    let old = token().await?;
    call(&gateway, "/v2", &old).await?.expect(200)?;

    // The same issuer with another key.
    drop(issuer);
    let _issuer = shared.parts().issuer("issuer-again", address).await?;
    let new = token().await?;
    // Unknown keys make the gateway look again, though not more than once in a few seconds.
    eventually("the new key to be known", async || call(&gateway, "/v2", &new).await?.expect(200)).await?;
    Ok(())
}
