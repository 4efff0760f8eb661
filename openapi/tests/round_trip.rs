//! A document that is exported and imported is the same API.

#![expect(clippy::unwrap_used, reason = "a test ends where something unexpected happens")]

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use tollgate_crds::validate::validate;
use tollgate_openapi::{Class, ExportOptions, ImportOptions, export, import};

fn options() -> ExportOptions {
    ExportOptions { host: "shop.example".to_owned(), stage: Some("dev".to_owned()), extensions: true }
}

fn object(kind: &str, name: &str, spec: Value) -> Value {
    let metadata = json!({"name": name, "namespace": "n"});
    json!({"apiVersion": "tollgate.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec})
}

/// With the schema's defaults.
fn right(object: &Value) -> Value {
    let (object, violations) = validate(object, None).unwrap();
    assert_eq!(violations, [], "{object}");
    object
}

/// Exports, imports, and compares; returns the document.
fn round_trip(api: &Value, objects: &[Value]) -> Value {
    let exported = export(api, objects, &options());
    let errors: Vec<_> = exported.findings.iter().filter(|finding| finding.class == Class::Error).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    let import_options = ImportOptions {
        name: Some(api["metadata"]["name"].as_str().unwrap().to_owned()),
        namespace: Some("n".to_owned()),
        ..ImportOptions::default()
    };
    let imported = import(&exported.document.to_string(), &import_options);
    assert!(!imported.refused(true), "{:#?}\n{:#}", imported.findings, exported.document);
    let sorted = |mut all: Vec<Value>| {
        all.sort_by_key(|object| format!("{} {}", object["kind"], object["metadata"]["name"]));
        all
    };
    let before = sorted(std::iter::once(api).chain(objects).map(right).collect());
    let after = sorted(imported.objects.into_iter().map(|made| made.object).collect());
    assert_eq!(before, after, "{:#}", exported.document);
    exported.document
}

/// Proves H-OAS-23, H-OAS-24, H-OAS-25, H-OAS-26.
#[test]
fn an_exported_document_looks_like_those_of_aws() {
    let api = object(
        "HttpApi",
        "shop",
        json!({"version": "2", "corsConfiguration": {"allowOrigins": ["*"]}, "disableExecuteApiEndpoint": true}),
    );
    let back = object("Integration", "shop-back", json!({"http": {"uri": "https://b.example/{id}"}, "method": "GET"}));
    let login = object("Authorizer", "shop-login", json!({"jwt": {"issuer": "https://i.example", "audience": ["a"]}}));
    let api_ref = json!({"name": "shop"});
    let routes = [
        json!({"apiRef": api_ref, "routeKey": "GET /pets/{id}", "integrationRef": {"name": "shop-back"},
            "authorizationType": "JWT", "authorizerRef": {"name": "shop-login"}, "authorizationScopes": ["read"], "operationName": "getPet"}),
        json!({"apiRef": api_ref, "routeKey": "$default"}),
        json!({"apiRef": api_ref, "routeKey": "ANY /all/{rest+}", "integration": {"service": {"name": "web", "port": 80}}}),
    ];
    let names = ["shop-get-pets-id", "shop-default", "elsewhere"];
    let mut objects: Vec<Value> =
        routes.into_iter().zip(names).map(|(spec, name)| object("Route", name, spec)).collect();
    objects.extend([back, login]);
    let document = round_trip(&api, &objects);
    assert_eq!(document["openapi"], "3.0.1");
    assert_eq!(document["info"], json!({"title": "shop", "version": "2"}));
    assert_eq!(document["servers"][0]["variables"]["basePath"]["default"], "/dev");
    assert_eq!(document["x-amazon-apigateway-importexport-version"], "1.0");
    let expected = json!({
        "operationId": "getPet",
        "parameters": [{"name": "id", "in": "path", "required": true, "schema": {"type": "string"}}],
        "responses": {"default": {"description": "Default response for GET /pets/{id}"}},
        "security": [{"shop-login": ["read"]}],
        "x-amazon-apigateway-integration": {"$ref": "#/components/x-amazon-apigateway-integrations/shop-back"}
    });
    assert_eq!(document["paths"]["/pets/{id}"]["get"], expected);
    let shared = json!({
        "type": "HTTP_PROXY", "httpMethod": "GET", "uri": "https://b.example/{id}", "payloadFormatVersion": "1.0", "timeoutInMillis": 30000
    });
    let mut written = document["components"]["x-amazon-apigateway-integrations"]["shop-back"].clone();
    // What the import takes from the words and the object does not say.
    written.as_object_mut().unwrap().shift_remove("x-tollgate");
    assert_eq!(written, shared);
    assert_eq!(
        document["paths"]["/all/{rest+}"]["x-amazon-apigateway-any-method"]["x-tollgate"]["metadata"]["name"],
        "elsewhere"
    );
    // Without a stage there is no path.
    let bare = export(&api, &objects, &ExportOptions { stage: None, ..options() }).document;
    assert_eq!(bare["servers"][0]["variables"]["basePath"]["default"], "");
}

#[test]
fn an_api_that_has_a_document_exports_it_with_its_other_routes() {
    let text = json!({
        "openapi": "3.0.1", "info": {"title": "Shop", "version": "3"}, "x-amazon-apigateway-cors": {"maxAge": 5},
        "paths": {"/a": {"get": {}}}
    });
    let own = json!({"apiRef": {"name": "shop"}, "routeKey": "GET /b"});
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "doc", "namespace": "n"}, "data": {"k": text.to_string()}});
    let from = |openapi: Value| object("HttpApi", "shop", json!({"openapi": openapi, "name": "Own"}));
    let both = [map, object("Route", "own", own)];
    let named = from(json!({"configMapKeyRef": {"name": "doc", "key": "k"}}));
    for api in [&named, &from(json!({"inline": text.to_string(), "basepath": "prepend"}))] {
        let document = export(api, &both, &options()).document;
        assert_eq!(document["info"], json!({"title": "Own", "version": "3"}));
        assert_eq!(document["x-amazon-apigateway-cors"]["maxAge"], 5);
        assert!(document["paths"]["/a"]["get"].is_object() && document["paths"]["/b"]["get"].is_object());
    }
    let said = export(&named, &both[1..], &options()).findings;
    assert!(said[0].message.contains("is not among the objects"), "{said:?}");
}

/// Proves H-OAS-27.
#[test]
fn without_extensions_there_is_none() {
    let api = object(
        "HttpApi",
        "shop",
        json!({"corsConfiguration": {"allowOrigins": ["*"]}, "limits": {"payloadBytes": 2000}}),
    );
    let route = json!({"apiRef": {"name": "shop"}, "routeKey": "GET /", "integration": {"service": {"name": "web", "port": 80}}});
    let exported = export(&api, &[object("Route", "r", route)], &ExportOptions { extensions: false, ..options() });
    let text = exported.document.to_string();
    assert!(text.contains("Default response for GET /"));
    assert!(!text.contains("x-amazon") && !text.contains("x-tollgate"), "{text}");
}

#[test]
fn what_cannot_be_said_twice_or_is_missing_is_told() {
    let api = object("HttpApi", "shop", json!({}));
    let spec = json!({"apiRef": {"name": "shop"}, "routeKey": "GET /", "authorizationType": "JWT", "authorizerRef": {"name": "none"}});
    let exported = export(&api, &[object("Route", "a", spec.clone()), object("Route", "b", spec)], &options());
    let said: Vec<String> = exported.findings.iter().map(ToString::to_string).collect();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said.iter().any(|said| said.contains("Route b: \"GET /\" is the key of Route a too")), "{said:?}");
    assert!(said.iter().any(|said| said.contains("authorizerRef \"none\" is not among the objects")), "{said:?}");
    let wrong =
        export(&api, &[object("Route", "a", json!({"apiRef": {"name": "shop"}, "routeKey": "get /"}))], &options());
    assert_eq!(wrong.findings[0].class, Class::Error);
}

fn text() -> impl Strategy<Value = String> {
    "[A-Za-z0-9 .,:;$#{}'\"/_é-]{1,20}"
}

fn maybe<T: Strategy>(inner: T) -> prop::option::OptionStrategy<T> {
    prop::option::of(inner)
}

/// A map of the members that are there.
fn map<const N: usize>(members: [(&str, Option<Value>); N]) -> Value {
    Value::Object(members.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect::<Map<_, _>>())
}

fn integration() -> impl Strategy<Value = Value> {
    let name = || "[a-z][a-z0-9-]{0,10}[a-z0-9]";
    let tls = (maybe("[a-z]{1,9}[.]example"), any::<bool>()).prop_map(|(server, ca)| {
        map([
            ("serverNameToVerify", server.map(Value::from)),
            ("caRef", ca.then(|| json!({"kind": "Secret", "name": "ca", "key": "x.crt"}))),
        ])
    });
    let tls = tls.boxed();
    let method = prop::sample::select(vec!["ANY", "GET", "POST", "DELETE"]);
    let service = (name(), 1..65_535_u16, maybe("/[a-z]{0,5}(/[{]id[}])?"), maybe(tls.clone()), method.clone())
        .prop_map(|(name, port, path, tls, method)| {
            let service =
                map([("name", Some(json!(name))), ("port", Some(json!(port))), ("path", path.map(Value::from))]);
            map([("service", Some(service)), ("tls", tls), ("method", Some(json!(method)))])
        });
    let http = ("https://[a-z]{1,8}[.]example(/[a-z]{1,4}){0,2}([?]a=b)?", maybe(tls), maybe(method), any::<bool>())
        .prop_map(|(uri, tls, method, version)| {
            map([
                ("http", Some(json!({"uri": uri}))),
                ("tls", tls),
                ("method", method.map(Value::from)),
                ("payloadFormatVersion", version.then(|| json!("1.0"))),
                ("type", version.then(|| json!("HTTP_PROXY"))),
            ])
        });
    let lambda = (maybe((name(), 1..65_535_u16)), maybe("[A-Za-z0-9_:$-]{1,20}"), maybe(prop::bool::ANY)).prop_map(
        |(service, function, version)| {
            let target = match service {
                Some((name, port)) => json!({"service": {"name": name, "port": port}}),
                None => json!({"endpoint": "http://localhost:9001/x"}),
            };
            let mut target = target;
            if let Some(function) = function {
                target["functionName"] = json!(function);
            }
            map([
                ("lambda", Some(target)),
                ("payloadFormatVersion", version.map(|second| json!(if second { "2.0" } else { "1.0" }))),
            ])
        },
    );
    (prop_oneof![service, http, lambda], maybe(50..=30_000_i32)).prop_map(|(mut spec, timeout)| {
        if let Some(timeout) = timeout {
            spec["timeoutInMillis"] = json!(timeout);
        }
        spec
    })
}

fn api() -> impl Strategy<Value = Value> {
    let cors = (any::<bool>(), maybe(-1..=86_400_i32), maybe(any::<bool>())).prop_map(|(any, age, credentials)| {
        let origins = if any && credentials != Some(true) {
            json!(["*"])
        } else {
            json!(["https://a.example", "http://localhost:3000"])
        };
        map([
            ("allowOrigins", Some(origins)),
            ("allowMethods", Some(json!(["GET", "POST"]))),
            ("allowHeaders", Some(json!(["X-A", "content-type"]))),
            ("allowCredentials", credentials.map(Value::from)),
            ("maxAge", age.map(Value::from)),
        ])
    });
    let texts = (maybe(text()), maybe(text()), maybe(text()), prop::collection::btree_map(text(), text(), 0..3));
    (texts, maybe(cors), any::<bool>(), any::<bool>(), maybe(1024..1_000_000_i64), any::<bool>()).prop_map(
        |((name, description, version, tags), cors, disable, private, limit, id)| {
            map([
                ("name", name.map(Value::from)),
                ("description", description.map(Value::from)),
                ("version", version.map(Value::from)),
                ("tags", (!tags.is_empty()).then(|| json!(tags))),
                ("corsConfiguration", cors),
                ("disableExecuteApiEndpoint", disable.then(|| json!(true))),
                ("endpointType", private.then(|| json!("PRIVATE"))),
                ("limits", limit.map(|limit| json!({"payloadBytes": limit}))),
                ("apiId", id.then(|| json!("abcdefghi0"))),
            ])
        },
    )
}

/// Name, target, authorizer with scopes, operation name; the key comes from the index.
type Plan = (Option<String>, Option<Result<Value, usize>>, Option<(usize, Vec<String>)>, Option<String>, usize);

fn route() -> impl Strategy<Value = Plan> {
    let target = prop_oneof![integration().prop_map(Ok), (0..2_usize).prop_map(Err)];
    let access = (0..2_usize, prop::collection::vec("[a-z:/.]{1,9}", 0..3));
    (maybe("[a-z]{3,8}"), maybe(target), maybe(access), maybe("[A-Za-z]{1,9}"), 0..6_usize)
}

fn key(index: usize, kind: usize) -> String {
    match (kind, index) {
        (0, 0) => "$default".to_owned(),
        (1, _) => format!("ANY /p{index}/{{id}}"),
        (2, _) => format!("GET /p{index}/{{id}}/{{rest+}}"),
        (3, _) => format!("OPTIONS /p~{index}/x.y/"),
        _ => format!("POST /p{index}/{{id}}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Proves H-OAS-26.
    #[test]
    fn importing_what_was_exported_gives_the_same_objects(
        spec in api(),
        routes in prop::collection::vec(route(), 0..7),
        shared in [integration(), integration()],
        function in maybe(("[a-z]{1,8}", any::<bool>(), maybe(0..3600_i32))),
        issuers in [("https://[a-z]{1,8}[.]example", "[$]request[.]header[.][A-Z][a-z-]{1,8}"), ("https://[a-z]{1,8}[.]example", "[$]request[.]querystring[.][a-z,]{1,8}")],
    ) {
        let api = object("HttpApi", "shop", spec);
        let mut objects = Vec::new();
        let (mut integrations, mut authorizers) = ([false; 2], [false; 2]);
        for (index, (name, target, access, operation, kind)) in routes.into_iter().enumerate() {
            let mut spec = json!({"apiRef": {"name": "shop"}, "routeKey": key(index, kind)});
            match target {
                Some(Ok(own)) => spec["integration"] = own,
                Some(Err(which)) => {
                    integrations[which] = true;
                    spec["integrationRef"] = json!({"name": format!("back-{which}")});
                }
                None => {}
            }
            if let Some((which, scopes)) = access {
                authorizers[which] = true;
                let custom = which == 1 && function.is_some();
                spec["authorizationType"] = json!(if custom { "CUSTOM" } else { "JWT" });
                spec["authorizerRef"] = json!({"name": format!("shop-{which}")});
                if !custom && !scopes.is_empty() {
                    spec["authorizationScopes"] = json!(scopes);
                }
            }
            if let Some(operation) = operation {
                spec["operationName"] = json!(operation);
            }
            objects.push(object("Route", format!("{}-{index}", name.unwrap_or_default()).trim_start_matches('-'), spec));
        }
        for (which, _) in integrations.iter().enumerate().filter(|(_, used)| **used) {
            objects.push(object("Integration", &format!("back-{which}"), shared[which].clone()));
        }
        for (which, _) in authorizers.iter().enumerate().filter(|(_, used)| **used) {
            let (issuer, source) = &issuers[which];
            let mut spec = json!({"jwt": {"issuer": issuer, "audience": ["a"], "jwksUri": "https://k.example/"}, "identitySource": [source]});
            if let Some((name, simple, ttl)) = function.as_ref().filter(|_| which == 1) {
                let mut lambda = json!({
                    "function": {"service": {"name": name, "port": 8081}}, "enableSimpleResponses": simple,
                    "payloadFormatVersion": if *simple { "2.0" } else { "1.0" }
                });
                if let Some(ttl) = ttl {
                    lambda["resultTtlInSeconds"] = json!(ttl);
                }
                spec = json!({"lambda": lambda, "identitySource": [source, "$context.routeKey"]});
            }
            objects.push(object("Authorizer", &format!("shop-{which}"), spec));
        }
        round_trip(&api, &objects);
    }
}
