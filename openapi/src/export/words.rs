//! AWS's words for objects, as far as there are any.

use serde_json::{Map, Value, json};

use super::ExportOptions;
use crate::EXTENSION;

/// The document without its operations.
pub(super) fn document(api: &Value, name: &str, options: &ExportOptions) -> Value {
    let spec = &api["spec"];
    let mut info = json!({"title": spec["name"].as_str().unwrap_or(name)});
    if let Some(description) = spec.get("description") {
        info["description"] = description.clone();
    }
    info["version"] = json!(spec["version"].as_str().unwrap_or_default());
    let base = match options.stage.as_deref() {
        None | Some("$default") => String::new(),
        Some(stage) => format!("/{stage}"),
    };
    let mut server = json!({
        "url": format!("https://{}/{{basePath}}", options.host),
        "variables": {"basePath": {"default": base}},
    });
    if spec["disableExecuteApiEndpoint"] == true {
        server["x-amazon-apigateway-endpoint-configuration"] = json!({"disableExecuteApiEndpoint": true});
    }
    let mut document = json!({"openapi": "3.0.1", "info": info, "servers": [server]});
    if let Some(tags) = spec["tags"].as_object().filter(|tags| !tags.is_empty()) {
        let tag = |(name, value): (&String, &Value)| json!({"name": name, "x-amazon-apigateway-tag-value": value});
        document["tags"] = tags.iter().map(tag).collect();
    }
    document["paths"] = json!({});
    if let Some(cors) = spec.get("corsConfiguration") {
        document["x-amazon-apigateway-cors"] = cors.clone();
    }
    document["x-amazon-apigateway-importexport-version"] = json!("1.0");
    document
}

/// Where the operation of a route key stands.
pub(super) fn pointer(key: &str) -> String {
    let (method, path) = key.split_once(' ').unwrap_or(("ANY", "/$default"));
    let path = path.replace('~', "~0").replace('/', "~1");
    match method {
        "ANY" => format!("/paths/{path}/x-amazon-apigateway-any-method"),
        method => format!("/paths/{path}/{}", method.to_ascii_lowercase()),
    }
}

/// An operation. `authorizer` and `integration`: the objects that the route names are in the document.
pub(super) fn operation(spec: &Value, key: &str, authorizer: bool, integration: bool) -> Value {
    let mut operation = Map::new();
    if key == "$default" {
        operation.insert("isDefaultRoute".to_owned(), json!(true));
    }
    if let Some(name) = spec.get("operationName") {
        operation.insert("operationId".to_owned(), name.clone());
    }
    let variables: Vec<Value> = variables(key)
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
        .collect();
    if !variables.is_empty() {
        operation.insert("parameters".to_owned(), Value::Array(variables));
    }
    let description = format!("Default response for {key}");
    operation.insert("responses".to_owned(), json!({"default": {"description": description}}));
    if spec["authorizationType"] == "AWS_IAM" {
        operation.insert("x-amazon-apigateway-auth".to_owned(), json!({"type": "AWS_IAM"}));
    } else if let Some(name) = spec["authorizerRef"]["name"].as_str().filter(|_| authorizer) {
        let scopes = spec.get("authorizationScopes").cloned().unwrap_or_else(|| json!([]));
        operation.insert("security".to_owned(), Value::Array(vec![Value::from_iter([(name, scopes)])]));
    }
    let words = match spec["integrationRef"]["name"].as_str() {
        Some(name) if integration => {
            Some(json!({"$ref": format!("#/components/x-amazon-apigateway-integrations/{name}")}))
        }
        Some(_) => None,
        None => spec.get("integration").map(self::integration),
    };
    if let Some(words) = words {
        operation.insert("x-amazon-apigateway-integration".to_owned(), words);
    }
    Value::Object(operation)
}

fn variables(key: &str) -> impl Iterator<Item = &str> {
    key.split('/')
        .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| name.trim_end_matches('+'))
}

/// An integration.
pub(super) fn integration(spec: &Value) -> Value {
    let mut words = Map::new();
    let mut over = Map::new();
    target(spec, &mut words, &mut over);
    if let Some(version) = spec.get("protocolVersion") {
        over.insert("protocolVersion".to_owned(), version.clone());
    }
    if let Some(timeout) = spec.get("timeoutInMillis") {
        words.insert("timeoutInMillis".to_owned(), timeout.clone());
    }
    if let Some(name) = spec["tls"].get("serverNameToVerify") {
        words.insert("tlsConfig".to_owned(), json!({"serverNameToVerify": name}));
    }
    for name in ["requestParameters", "responseParameters"] {
        if let Some(parameters) = spec.get(name) {
            words.insert(name.to_owned(), parameters.clone());
        }
    }
    if !over.is_empty() {
        words.insert(EXTENSION.to_owned(), json!({"spec": over}));
    }
    Value::Object(words)
}

fn target(spec: &Value, words: &mut Map<String, Value>, over: &mut Map<String, Value>) {
    let mut say = |name: &str, value: Value| words.insert(name.to_owned(), value);
    let method = spec.get("method").cloned().unwrap_or_else(|| json!("ANY"));
    if let Some(lambda) = spec.get("lambda") {
        say("type", json!("AWS_PROXY"));
        say("httpMethod", json!("POST"));
        say("uri", function(lambda));
        say("payloadFormatVersion", spec.get("payloadFormatVersion").cloned().unwrap_or_else(|| json!("2.0")));
        // The port that an import supposes is not known here, so the function is told in full.
        over.insert("lambda".to_owned(), lambda.clone());
        if let Some(link) = spec.get("vpcLinkRef") {
            over.insert("vpcLinkRef".to_owned(), link.clone());
        }
    } else if let Some(aws) = spec.get("aws") {
        say("type", json!("AWS_PROXY"));
        say("payloadFormatVersion", json!("1.0"));
        match aws.get("subtype") {
            Some(subtype) => say("integrationSubtype", subtype.clone()),
            None => None,
        };
        let rest = aws.as_object().into_iter().flatten().filter(|(name, _)| *name != "subtype");
        over.insert("aws".to_owned(), rest.map(|(name, value)| (name.clone(), value.clone())).collect());
    } else if let Some(http) = spec.get("http") {
        say("type", json!("HTTP_PROXY"));
        say("httpMethod", method);
        say("uri", http["uri"].clone());
        say("payloadFormatVersion", json!("1.0"));
    } else {
        say("type", json!("HTTP_PROXY"));
        say("httpMethod", method);
        say("connectionType", json!("VPC_LINK"));
        say("payloadFormatVersion", json!("1.0"));
        for name in ["service", "vpcLinkRef"] {
            if let Some(value) = spec.get(name) {
                over.insert(name.to_owned(), value.clone());
            }
        }
    }
}

/// A name in the form of AWS, for the function of a target.
fn function(lambda: &Value) -> Value {
    let name = lambda["service"]["name"].as_str().or_else(|| lambda["functionName"].as_str()).unwrap_or("function");
    match lambda.get("functionArn") {
        Some(arn) => arn.clone(),
        None => json!(format!("arn:aws:lambda:local:000000000000:function:{name}")),
    }
}

/// A security scheme.
pub(super) fn scheme(spec: &Value) -> Value {
    let mut words = Map::new();
    let sources: Vec<&str> =
        spec["identitySource"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if let Some(jwt) = spec.get("jwt") {
        words.insert("type".to_owned(), json!("jwt"));
        words.insert("jwtConfiguration".to_owned(), json!({"issuer": jwt["issuer"], "audience": jwt["audience"]}));
    } else if let Some(lambda) = spec.get("lambda") {
        words.insert("type".to_owned(), json!("request"));
        words.insert("authorizerUri".to_owned(), function(&lambda["function"]));
        let names = [
            ("authorizerPayloadFormatVersion", "payloadFormatVersion"),
            ("enableSimpleResponses", "enableSimpleResponses"),
            ("authorizerResultTtlInSeconds", "resultTtlInSeconds"),
        ];
        for (word, name) in names {
            if let Some(value) = lambda.get(name) {
                words.insert(word.to_owned(), value.clone());
            }
        }
    }
    if !sources.is_empty() {
        words.insert("identitySource".to_owned(), json!(sources.join(",")));
    }
    if spec.get("jwt").is_some() {
        return json!({"type": "oauth2", "flows": {}, "x-amazon-apigateway-authorizer": words});
    }
    let header = sources.iter().find_map(|source| source.strip_prefix("$request.header.")).unwrap_or("Unused");
    json!({"type": "apiKey", "name": header, "in": "header", "x-amazon-apigateway-authorizer": words})
}
