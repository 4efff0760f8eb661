//! Documents, the objects that they give, and what is said of them.

#![expect(clippy::unwrap_used, reason = "a test ends where something unexpected happens")]

use serde_json::{Value, json};
use tollgate_openapi::document::Variables;
use tollgate_openapi::{BasePath, Class, Import, ImportOptions, import};

fn options() -> ImportOptions {
    ImportOptions { name: Some("shop".to_owned()), ..ImportOptions::default() }
}

/// A document with these members beside the ones that every document has.
fn document(members: Value) -> Value {
    let mut document = json!({"openapi": "3.0.1", "info": {"title": "Pet Shop", "version": "7"}, "paths": {}});
    for (key, value) in members.as_object().unwrap() {
        document[key] = value.clone();
    }
    document
}

fn read(members: Value) -> Import {
    import(&document(members).to_string(), &options())
}

/// The specs of the objects of a kind.
fn specs<'a>(import: &'a Import, kind: &str) -> Vec<&'a Value> {
    import.objects.iter().filter(|made| made.kind == kind).map(|made| &made.object["spec"]).collect()
}

fn keys(import: &Import) -> Vec<&str> {
    specs(import, "Route").into_iter().map(|spec| spec["routeKey"].as_str().unwrap()).collect()
}

fn said(import: &Import, class: Class) -> Vec<String> {
    import.findings_of(class).map(ToString::to_string).collect()
}

fn http(uri: &str) -> Value {
    json!({"type": "http_proxy", "httpMethod": "ANY", "uri": uri, "payloadFormatVersion": "1.0"})
}

/// Proves H-OAS-1.
#[test]
fn only_openapi_3_0_is_read() {
    let table = [
        ("{}", "openapi is missing"),
        ("swagger: '2.0'\ninfo: {title: x}\npaths: {}", "convert the document to OpenAPI 3.0"),
        ("openapi: 3.1.0\ninfo: {title: x}\npaths: {}", "\"3.1.0\": only OpenAPI 3.0 is read"),
        ("openapi: 3.0.1\ninfo: {title: x}", "paths is missing"),
        ("openapi: 3.0.1\npaths: {}", "info.title is missing"),
        ("openapi: [", "not YAML"),
        ("[]", "an OpenAPI document is a map"),
        ("", "the document is empty"),
        ("a: 1\n---\nb: 2\n", "several documents"),
        ("openapi: 3.0.1\nopenapi: 3.0.2\n", "stands twice"),
    ];
    for (text, expected) in table {
        let read = import(text, &ImportOptions::default());
        assert!(read.refused(false), "{text}");
        assert!(said(&read, Class::Error).iter().any(|said| said.contains(expected)), "{text}: {:?}", read.findings);
    }
    for text in [
        "openapi: 3.0.3\ninfo: {title: x, version: '1'}\npaths: {}",
        "{\n\t\"openapi\": \"3.0.0\",\n\t\"info\": {\"title\": \"x\\ud83d\\ude00\", \"version\": \"1\"},\n\t\"paths\": {}\n}",
    ] {
        let read = import(text, &ImportOptions::default());
        assert_eq!(read.findings, [], "{text}");
        assert_eq!(read.objects[0].name(), "x");
    }
}

/// Proves H-OAS-5, H-OAS-10.
#[test]
fn the_api_gets_its_name_version_description_and_tags() {
    let read = read(json!({
        "info": {"title": "Pet Shop", "version": "7", "description": "All the pets"},
        "tags": [{"name": "team", "x-amazon-apigateway-tag-value": "birds"}, {"name": "public"}],
        "servers": [{
            "url": "https://x.example/{basePath}", "variables": {"basePath": {"default": "dev"}},
            "x-amazon-apigateway-endpoint-configuration": {"disableExecuteApiEndpoint": true}
        }],
        "x-amazon-apigateway-cors": {"allowOrigins": ["https://a.example"], "maxAge": 300}
    }));
    assert_eq!(read.findings, []);
    assert_eq!(read.objects.len(), 1, "no stage is made");
    let expected = json!({
        "name": "Pet Shop", "version": "7", "description": "All the pets",
        "tags": {"team": "birds", "public": ""},
        "disableExecuteApiEndpoint": true,
        "corsConfiguration": {"allowOrigins": ["https://a.example"], "maxAge": 300},
        "endpointType": "REGIONAL"
    });
    assert_eq!(read.objects[0].object["spec"], expected);
}

/// Proves H-OAS-6, H-OAS-7, H-OAS-14.
#[test]
fn operations_become_routes() {
    let read = read(json!({"paths": {
        "/pets/{id}": {
            "get": {"operationId": "getPet", "x-amazon-apigateway-integration": http("https://b.example/{id}")},
            "trace": {},
            "x-amazon-apigateway-any-method": {"x-amazon-apigateway-integration": http("https://b.example/any/{id}")}
        },
        "/{rest+}": {"post": {}},
        "/$default": {"x-amazon-apigateway-any-method": {"isDefaultRoute": true}}
    }}));
    assert_eq!(keys(&read), ["GET /pets/{id}", "ANY /pets/{id}", "POST /{rest+}", "$default"]);
    let routes = specs(&read, "Route");
    assert_eq!(routes[0]["operationName"], "getPet");
    assert_eq!(routes[0]["integration"]["http"]["uri"], "https://b.example/{id}");
    assert_eq!((routes[2].get("integration"), routes[2].get("integrationRef")), (None, None), "no target");
    assert_eq!(
        said(&read, Class::Warning),
        ["line 1: /paths/~1pets~1{id}/trace: left out: HTTP APIs have no routes for TRACE"]
    );
    let names: Vec<&str> = read.objects.iter().map(|made| made.name()).collect();
    assert_eq!(names, ["shop", "shop-get-pets-id", "shop-any-pets-id", "shop-post-rest", "shop-default"]);
}

/// Proves H-OAS-8, C95.
#[test]
fn the_base_path_is_ignored_prepended_or_split() {
    let by_variable =
        json!([{"url": "https://x.example/{basePath}", "variables": {"basePath": {"default": "/a/b/c"}}}]);
    let by_url = json!([{"url": "https://x.example/a/b/c/"}]);
    for servers in [by_variable, by_url] {
        let table = [(BasePath::Ignore, "/e"), (BasePath::Prepend, "/a/b/c/e"), (BasePath::Split, "/b/c/e")];
        for (base_path, expected) in table {
            let text = document(json!({"servers": servers, "paths": {"/e": {"get": {}}}})).to_string();
            let read = import(&text, &ImportOptions { base_path, ..options() });
            assert_eq!(keys(&read), [format!("GET {expected}")]);
        }
    }
    let none = document(json!({"servers": [{"url": "/"}], "paths": {"/e": {"get": {}}}})).to_string();
    assert_eq!(keys(&import(&none, &ImportOptions { base_path: BasePath::Split, ..options() })), ["GET /e"]);
}

/// Proves H-OAS-9.
#[test]
fn variables_of_aws_are_replaced() {
    let variables = Variables { account_id: "1".into(), region: "r".into(), partition: "p".into() };
    let uri = "https://${AWS::AccountId}.${AWS::Region}.${AWS::Partition}.example/";
    let text = document(json!({"paths": {"/": {"get": {"x-amazon-apigateway-integration": http(uri)}}}})).to_string();
    let read = import(&text, &ImportOptions { variables, ..options() });
    assert_eq!(specs(&read, "Route")[0]["integration"]["http"]["uri"], "https://1.r.p.example/");
}

/// Proves H-OAS-3, H-OAS-13, H-OAS-15, H-OAS-16, H-OAS-17, H-INT-1, C94.
#[test]
fn findings_have_their_class_and_warnings_can_refuse() {
    let read = read(json!({
        "components": {"schemas": {"Pet": {"type": "object"}}},
        "x-amazon-apigateway-policy": {"Statement": []},
        "x-amazon-apigateway-binary-media-types": ["*/*"],
        "x-other-vendor": {"a": 1},
        "paths": {"/pets": {
            "get": {
                "parameters": [{"name": "limit", "in": "query", "schema": {"type": "integer"}}],
                "requestBody": {"content": {}},
                "responses": {"200": {"description": "x", "content": {"application/json": {}}}},
                "x-amazon-apigateway-integration": {
                    "type": "aws", "uri": "arn:aws:apigateway:us-east-1:sqs:path/queue", "passthroughBehavior": "never"
                }
            },
            "post": {"x-amazon-apigateway-integration": {
                "type": "HTTP_PROXY", "httpMethod": "post", "uri": "https://b.example/", "payloadFormatVersion": 1.0,
                "requestParameters": {"integration.request.header.x": "'1'"}, "credentials": "arn:aws:iam::1:role/r"
            }}
        }}
    }));
    assert!(!read.refused(false));
    assert!(read.refused(true));
    assert_eq!(said(&read, Class::Error), [""; 0]);
    let warnings = said(&read, Class::Warning).join("\n");
    for expected in [
        "/x-amazon-apigateway-policy: ignored: HTTP APIs have no resource policy",
        "/paths/~1pets/get/x-amazon-apigateway-integration/type: \"aws\": HTTP APIs have integrations of the types aws_proxy and http_proxy only",
        "/requestParameters/integration.request.header.x: ignored: the form of REST APIs",
        "/credentials: no equivalent",
    ] {
        assert!(warnings.contains(expected), "{expected} in\n{warnings}");
    }
    assert_eq!(said(&read, Class::Warning).len(), 4, "{warnings}");
    let infos = said(&read, Class::Info).join("\n");
    for expected in [
        "/components/schemas",
        "binary-media-types",
        "/parameters/0",
        "/requestBody",
        "/responses/200",
        "passthroughBehavior: ignored: a field of REST APIs",
    ] {
        assert!(infos.contains(expected), "{expected} in\n{infos}");
    }
    assert!(!infos.contains("x-other-vendor") && !warnings.contains("x-other-vendor"), "H-OAS-13");
    // The route of the integration that has no equivalent stays, without a target: it answers 500.
    assert_eq!(keys(&read), ["GET /pets", "POST /pets"]);
    assert_eq!(specs(&read, "Route")[0].get("integration"), None);
    assert_eq!(specs(&read, "Route")[1]["integration"]["method"], "POST");
}

/// Proves H-OAS-4, H-OAS-12.
#[test]
fn errors_stop_an_import() {
    let scheme = json!({"type": "oauth2", "flows": {}, "x-amazon-apigateway-authorizer": {
        "type": "jwt", "jwtConfiguration": {"issuer": "https://i.example", "audience": "a"}
    }});
    let components = json!({"securitySchemes": {"one": scheme, "two": scheme}});
    let operation = |operation: Value| json!({"components": components, "paths": {"/": {"get": operation}}});
    let integration = |integration: Value| operation(json!({"x-amazon-apigateway-integration": integration}));
    let table = [
        (operation(json!({"security": [{"one": []}, {"two": []}]})), "/security: several security requirements"),
        (operation(json!({"security": [{"one": [], "two": []}]})), "/security: several security requirements"),
        (operation(json!({"security": [{"three": []}]})), "\"three\" is not in components.securitySchemes"),
        (operation(json!({"security": {"one": []}})), "security is a list of maps"),
        (operation(json!({"x-amazon-apigateway-auth": {"type": "token"}})), "the types are NONE and AWS_IAM"),
        (operation(json!({"x-tollgate": {"specs": {}}})), "x-tollgate has the maps metadata and spec only"),
        (operation(json!({"x-tollgate": {"spec": {"operationNme": "x"}}})), "unknown field"),
        (operation(json!({"x-tollgate": {"spec": {"routeKey": "GET /b"}}})), "routeKey cannot be set here"),
        (json!({"x-tollgate": {"metadata": {"name": "x"}}}), "name cannot be set here"),
        (
            json!({"paths": {"/": {"x-tollgate": {}, "get": {"x-tollgate": {"metadata": {"name": "shop-get-b"}}}}, "/b": {"get": {}}}}),
            "Route \"shop-get-b\" stands twice",
        ),
        (operation(json!({"x-tollgate-route": {}})), "our own extension is x-tollgate"),
        (integration(json!({"$ref": "#/components/none"})), "leads nowhere"),
        (integration(json!({"$ref": "other.yaml#/x"})), "leads outside the document"),
        (
            integration(json!({"type": "http_proxy", "httpMethod": "GET", "uri": {"Fn::Sub": "x"}})),
            "/uri: Fn::Sub is a function of CloudFormation",
        ),
        (
            integration(
                json!({"type": "http_proxy", "httpMethod": "GET", "uri": "https://b.example", "timeoutInMillis": 6_000_000}),
            ),
            "spec.integration.timeoutInMillis: 6000000",
        ),
        (json!({"paths": {"pets": {"get": {}}}}), "a path starts with /"),
        (json!({"paths": {"/a{b}": {"get": {}}}}), "spec.routeKey"),
        (json!({"x-amazon-apigateway-cors": {"maxAge": "1"}}), "spec.corsConfiguration.maxAge"),
    ];
    for (members, expected) in table {
        let read = read(members.clone());
        let errors = said(&read, Class::Error);
        assert!(errors.iter().any(|said| said.contains(expected)), "{members}: {errors:#?}");
    }
}

/// Proves H-OAS-12.
#[test]
fn references_inside_the_document_are_followed() {
    let read = read(json!({
        "paths": {"/a": {"$ref": "#/components/pathItems/one"}, "/b": {"get": {
            "x-amazon-apigateway-integration": {"$ref": "#/components/x-amazon-apigateway-integrations/back"}
        }}, "/c": {"get": {
            "x-amazon-apigateway-integration": {"$ref": "#/components/x-amazon-apigateway-integrations/back"}
        }}},
        "components": {
            "pathItems": {"one": {"put": {}}},
            "x-amazon-apigateway-integrations": {"back": http("https://b.example/")}
        }
    }));
    assert_eq!(said(&read, Class::Error), [""; 0]);
    assert_eq!(keys(&read), ["PUT /a", "GET /b", "GET /c"]);
    // One Integration, shared by its users.
    assert_eq!(specs(&read, "Integration").len(), 1);
    for route in &specs(&read, "Route")[1..] {
        assert_eq!(route["integrationRef"]["name"], "shop-back");
    }
    let text = document(json!({"paths": {"/a": {"$ref": "#/paths/~1b"}, "/b": {"$ref": "#/paths/~1a"}}})).to_string();
    assert!(import(&text, &options()).refused(false), "a circle ends");
}

/// Proves H-OAS-18.
#[test]
fn functions_are_expected_behind_services() {
    let arn = "arn:aws:lambda:us-east-1:123456789012:function:Get_Pets";
    let long = format!("arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/{arn}/invocations");
    for uri in [arn, &long] {
        let function = json!({"type": "AWS_PROXY", "uri": uri, "payloadFormatVersion": 2.0});
        let read = read(json!({"paths": {"/": {"get": {"x-amazon-apigateway-integration": function}}}}));
        let integration = &specs(&read, "Route")[0]["integration"];
        assert_eq!(integration["lambda"]["service"], json!({"name": "get-pets", "port": 8080}));
        assert_eq!(integration["payloadFormatVersion"], "2.0");
        assert!(said(&read, Class::Info)[0].contains("is expected behind Service get-pets, port 8080"));
        assert_eq!(said(&read, Class::Warning), [""; 0]);
    }
    let table = [
        (
            json!({"type": "aws_proxy", "uri": format!("{arn}:live"), "payloadFormatVersion": "2.0"}),
            "version or alias \"live\"",
        ),
        (
            json!({"type": "aws_proxy", "integrationSubtype": "SQS-SendMessage", "payloadFormatVersion": "1.0", "requestParameters": {"QueueUrl": "q"}}),
            "set x-tollgate.spec.aws.credentialsRef",
        ),
        (json!({"type": "aws_proxy", "uri": "${fn}", "payloadFormatVersion": "2.0"}), "is not the ARN of a function"),
        (json!({"type": "aws_proxy", "uri": arn}), "payloadFormatVersion is missing"),
        (
            json!({"type": "http_proxy", "httpMethod": "ANY", "connectionType": "VPC_LINK", "connectionId": "x", "uri": "arn:x"}),
            "set x-tollgate.spec.service",
        ),
    ];
    for (integration, expected) in table {
        let read = read(json!({"paths": {"/": {"get": {"x-amazon-apigateway-integration": integration}}}}));
        let warnings = said(&read, Class::Warning);
        assert!(warnings.len() == 1 && warnings[0].contains(expected), "{warnings:?}");
    }
}

#[test]
fn our_own_extension_says_what_aws_has_no_words_for() {
    let service = json!({"service": {"name": "web", "port": 80, "path": "/v2"}});
    let read = read(json!({
        "x-tollgate": {"spec": {"limits": {"payloadBytes": 20_000_000}}},
        "paths": {"/": {"get": {
            "x-tollgate": {"metadata": {"name": "home"}},
            "x-amazon-apigateway-integration": {
                "type": "http_proxy", "httpMethod": "GET", "connectionType": "VPC_LINK", "connectionId": "x", "uri": "arn:x",
                "x-tollgate": {"spec": service}
            }
        }}}
    }));
    assert_eq!(read.findings, []);
    assert_eq!(specs(&read, "HttpApi")[0]["limits"]["payloadBytes"], 20_000_000);
    assert_eq!(read.objects[1].name(), "home");
    assert_eq!(specs(&read, "Route")[0]["integration"]["service"], service["service"]);
}

/// Proves H-OAS-19, H-OAS-20, H-OAS-21, H-OAS-22.
#[test]
fn security_schemes_become_authorizers() {
    let jwt = |configuration: Value| json!({"type": "jwt", "jwtConfiguration": configuration, "identitySource": "$request.header.Authorization"});
    let read = read(json!({
        "components": {"securitySchemes": {
            "login": {"type": "oauth2", "flows": {}, "x-amazon-apigateway-authorizer": jwt(json!({"issuer": "https://i.example", "audience": ["a", "b"]}))},
            "oidc": {
                "type": "openIdConnect", "openIdConnectUrl": "https://o.example/.well-known/openid-configuration",
                "x-amazon-apigateway-authorizer": jwt(json!({"audience": ["a"]}))
            },
            "old": {"type": "apiKey", "name": "x", "in": "header", "x-amazon-apigateway-authorizer": {"type": "token"}},
            "plain": {"type": "http", "scheme": "basic"}
        }},
        "security": [{"login": ["read"]}],
        "paths": {
            "/all": {"get": {}},
            "/own": {"get": {"security": [{"oidc": ["a", "b"]}]}},
            "/open": {"get": {"security": []}, "put": {"x-amazon-apigateway-auth": {"type": "none"}}},
            "/old": {"get": {"security": [{"old": []}]}},
            "/plain": {"get": {"security": [{"plain": []}]}}
        }
    }));
    let authorizers = specs(&read, "Authorizer");
    assert_eq!(authorizers[0]["jwt"], json!({"issuer": "https://i.example", "audience": ["a", "b"]}));
    assert_eq!(authorizers[0]["identitySource"], json!(["$request.header.Authorization"]));
    assert_eq!(authorizers[1]["jwt"]["issuer"], "https://o.example");
    let access: Vec<_> = specs(&read, "Route")
        .into_iter()
        .map(|spec| {
            let authorizer = spec["authorizerRef"]["name"].as_str().unwrap_or("-");
            let scopes = spec["authorizationScopes"].as_array().map_or(0, Vec::len);
            format!(
                "{} {} {authorizer} {scopes}",
                spec["routeKey"].as_str().unwrap(),
                spec["authorizationType"].as_str().unwrap()
            )
        })
        .collect();
    // The route whose authorizer is not known must not be open, so it is not there at all.
    assert_eq!(
        access,
        [
            "GET /all JWT shop-login 1",
            "GET /own JWT shop-oidc 2",
            "GET /open NONE - 0",
            "PUT /open NONE - 0",
            "GET /plain NONE - 0",
        ]
    );
    let warnings = said(&read, Class::Warning).join("\n");
    for expected in [
        "\"token\": authorizers of HTTP APIs",
        "\"old\" has no equivalent here",
        "the gateway does not check \"plain\"",
    ] {
        assert!(warnings.contains(expected), "{warnings}");
    }
}

/// Proves H-OAS-19, H-OAS-20, H-OAS-21.
#[test]
fn lambda_authorizers_and_iam_are_understood() {
    let arn = "arn:aws:apigateway:r:lambda:path/2015-03-31/functions/arn:aws:lambda:r:1:function:decide/invocations";
    let read = read(json!({
        "components": {"securitySchemes": {
            "ask": {"type": "apiKey", "name": "x-k", "in": "header", "x-amazon-apigateway-authorizer": {
                "type": "request", "authorizerUri": arn, "authorizerPayloadFormatVersion": "2.0",
                "identitySource": "$request.header.x-k, $context.routeKey", "authorizerResultTtlInSeconds": 60,
                "enableSimpleResponses": true, "authorizerCredentials": "arn:aws:iam::1:role/r"
            }},
            "signed": {"type": "apiKey", "name": "Authorization", "in": "header", "x-amazon-apigateway-authtype": "awsSigv4"}
        }},
        "paths": {"/a": {"get": {"security": [{"ask": ["ignored"]}]}}}
    }));
    assert_eq!(said(&read, Class::Error), [""; 0]);
    let expected = json!({
        "function": {"service": {"name": "decide", "port": 8080}, "functionName": "function"},
        "type": "REQUEST", "payloadFormatVersion": "2.0", "enableSimpleResponses": true, "resultTtlInSeconds": 60
    });
    let authorizer = specs(&read, "Authorizer")[0];
    assert_eq!(authorizer["lambda"], expected);
    assert_eq!(authorizer["identitySource"], json!(["$request.header.x-k", "$context.routeKey"]));
    let route = specs(&read, "Route")[0];
    assert_eq!((&route["authorizationType"], &route["authorizerRef"]["name"]), (&json!("CUSTOM"), &json!("shop-ask")));
    let warnings = said(&read, Class::Warning);
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    let all = warnings.join("\n");
    assert!(all.contains("authorizerCredentials: no equivalent"), "{all}");
    assert!(all.contains("only JWT authorizers check scopes"), "{all}");
}

#[test]
fn findings_know_their_line() {
    let text = "openapi: 3.0.1\ninfo: {title: Shop, version: '1'}\npaths:\n  /a:\n    get:\n      x-amazon-apigateway-integration:\n        type: mock\n";
    let read = import(text, &ImportOptions::default());
    let said = said(&read, Class::Warning);
    assert!(said[0].starts_with("line 7: /paths/~1a/get/x-amazon-apigateway-integration/type: \"mock\""), "{said:?}");
}

#[test]
fn findings_are_bounded_and_an_error_is_never_lost() {
    let mut paths = serde_json::Map::new();
    for index in 0..3000 {
        paths.insert(format!("/p{index}"), json!({"trace": {}}));
    }
    paths.insert("no-slash".to_owned(), json!({}));
    let read = read(json!({"paths": paths}));
    assert!(read.findings.len() <= 1002, "{}", read.findings.len());
    assert!(read.refused(false));
    assert!(read.findings.last().unwrap().message.contains("more findings are not listed"));
}
