//! Security schemes to Authorizers, and security requirements to who may call a route (H-OAS-4, H-OAS-19 to H-OAS-22).

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Importer, copy};
use crate::EXTENSION;
use crate::document::At;

/// What a security scheme means.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Scheme {
    /// An Authorizer of tokens, by name.
    Jwt(String),
    /// An Authorizer that asks a function.
    Custom(String),
    /// Signatures of AWS.
    Iam,
    /// The gateway does not check it.
    Unchecked,
    /// An authorizer that has no equivalent: routes that need it are left out, since they must not be open.
    Unknown,
}

/// The security schemes of a document, by name.
#[derive(Debug, Default)]
pub(super) struct Schemes(BTreeMap<String, Scheme>);

/// Who may call a route.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Access {
    /// Members of its spec.
    Spec(Map<String, Value>),
    /// Nobody can tell, so there must be no such route.
    Unknown,
}

impl Access {
    fn open() -> Self {
        Self::Spec(Map::new())
    }

    fn of(kind: &str, authorizer: Option<&str>) -> Map<String, Value> {
        let mut spec = Map::from_iter([("authorizationType".to_owned(), Value::from(kind))]);
        if let Some(name) = authorizer {
            spec.insert("authorizerRef".to_owned(), json!({"name": name}));
        }
        spec
    }
}

impl Importer<'_> {
    pub(super) fn schemes(&mut self, root: &At<'_>) {
        let all = root.get("components").and_then(|components| components.get("securitySchemes"));
        for (name, member) in all.iter().flat_map(At::members) {
            let Some(at) = self.document.resolve(member, self.findings) else { continue };
            let scheme = self.scheme(name, &at);
            self.schemes.0.insert(name.to_owned(), scheme);
        }
    }

    fn scheme(&mut self, name: &str, at: &At<'_>) -> Scheme {
        for (key, member) in at.members().filter(|(key, _)| key.starts_with("x-")) {
            if !["x-amazon-apigateway-authtype", "x-amazon-apigateway-authorizer"].contains(&key) {
                self.extension(key, &member);
            }
        }
        let authtype = at.text("x-amazon-apigateway-authtype", self.findings).unwrap_or_default();
        if authtype.eq_ignore_ascii_case("awsSigv4") {
            return Scheme::Iam;
        }
        let Some(authorizer) = at.get("x-amazon-apigateway-authorizer") else { return Scheme::Unchecked };
        let kind = authorizer.text("type", self.findings).unwrap_or_default().to_ascii_lowercase();
        match kind.as_str() {
            "jwt" => self.jwt(name, at, &authorizer),
            "request" => self.lambda(name, at, &authorizer),
            _ => {
                let message = format!(
                    "{kind:?}: authorizers of HTTP APIs are of the types jwt and request; routes that need this one are left out"
                );
                self.findings.warn(authorizer.below("type"), message);
                Scheme::Unknown
            }
        }
    }

    fn jwt(&mut self, name: &str, scheme: &At<'_>, at: &At<'_>) -> Scheme {
        let mut jwt = Map::new();
        let configuration = at.get("jwtConfiguration");
        if let Some(configuration) = &configuration {
            copy(configuration, &[("issuer", "issuer"), ("audience", "audience")], &mut jwt);
            for (key, member) in configuration.members().filter(|(key, _)| !["issuer", "audience"].contains(key)) {
                self.findings.warn(member.pointer, format!("ignored: {key} is not a field of jwtConfiguration"));
            }
        }
        // One audience may stand without its list.
        if let Some(Value::String(one)) = jwt.get("audience").cloned() {
            jwt.insert("audience".to_owned(), json!([one]));
        }
        if !jwt.contains_key("issuer") {
            let url = scheme.text("openIdConnectUrl", self.findings);
            if let Some(issuer) = url.and_then(|url| url.strip_suffix("/.well-known/openid-configuration")) {
                jwt.insert("issuer".to_owned(), Value::from(issuer));
            }
        }
        let mut spec = Map::from_iter([("jwt".to_owned(), Value::Object(jwt))]);
        self.identity_source(at, &mut spec);
        self.authorizer_members(at, &["jwtConfiguration"]);
        Scheme::Jwt(self.authorizer(name, spec, at))
    }

    fn lambda(&mut self, name: &str, _: &At<'_>, at: &At<'_>) -> Scheme {
        let mut lambda = Map::new();
        let over = at.value.pointer(&format!("/{EXTENSION}/spec/lambda/function"));
        // A part of it, such as another port, changes what the ARN means; a whole one stands instead of it.
        let whole = ["/service/name", "/endpoint", "/functionArn"];
        let replaced = over.is_some_and(|over| whole.iter().any(|field| over.pointer(field).is_some()));
        if !replaced {
            let Some(uri) = at.text("authorizerUri", self.findings) else {
                self.findings.error(at.pointer.clone(), "authorizerUri is missing: name the function that decides");
                return Scheme::Unknown;
            };
            let Some(function) = self.function_service(uri, at.below("authorizerUri")) else { return Scheme::Unknown };
            lambda.insert("function".to_owned(), function);
        }
        match self.version(at) {
            Some(version) => {
                lambda.insert("payloadFormatVersion".to_owned(), Value::from(version));
            }
            None => self.findings.error(
                at.pointer.clone(),
                "authorizerPayloadFormatVersion is missing, which AWS requires: write \"2.0\", or \"1.0\" for a function of REST APIs",
            ),
        }
        let names = [
            ("enableSimpleResponses", "enableSimpleResponses"),
            ("authorizerResultTtlInSeconds", "resultTtlInSeconds"),
        ];
        copy(at, &names, &mut lambda);
        let mut spec = Map::from_iter([("lambda".to_owned(), Value::Object(lambda))]);
        self.identity_source(at, &mut spec);
        self.authorizer_members(
            at,
            &[
                "authorizerUri",
                "authorizerPayloadFormatVersion",
                "enableSimpleResponses",
                "authorizerResultTtlInSeconds",
            ],
        );
        Scheme::Custom(self.authorizer(name, spec, at))
    }

    fn version(&mut self, at: &At<'_>) -> Option<String> {
        match at.get("authorizerPayloadFormatVersion")?.value {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => number.as_f64().map(|number| format!("{number:.1}")),
            _ => None,
        }
    }

    fn authorizer_members(&mut self, at: &At<'_>, own: &[&str]) {
        for (key, member) in at.members() {
            match key {
                "type" | "identitySource" | EXTENSION => {}
                "authorizerCredentials" => self.findings.warn(
                    member.pointer,
                    "no equivalent: there is no IAM to assume a role of; the function is called without it",
                ),
                "identityValidationExpression" => self.findings.info(member.pointer, "ignored: unused by HTTP APIs"),
                _ if own.contains(&key) => {}
                _ => self.findings.warn(member.pointer, "ignored: not a field of this type of authorizer"),
            }
        }
    }

    /// A comma-separated text, or a list.
    fn identity_source(&mut self, at: &At<'_>, spec: &mut Map<String, Value>) {
        let Some(source) = at.get("identitySource") else { return };
        let list = match source.value {
            Value::String(text) => {
                let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                parts.map(Value::from).collect()
            }
            Value::Array(list) => list.clone(),
            other => {
                self.findings.error(source.pointer, crate::document::not_text(other));
                return;
            }
        };
        spec.insert("identitySource".to_owned(), Value::Array(list));
    }

    fn authorizer(&mut self, name: &str, spec: Map<String, Value>, at: &At<'_>) -> String {
        let name = self.authorizers.free(name);
        self.make("Authorizer", &name, Value::Object(spec), at, at.get(EXTENSION).as_ref())
    }

    /// Who may call an operation.
    pub(super) fn access(&mut self, operation: &At<'_>, root: &At<'_>) -> Access {
        if let Some(at) = operation.get("x-amazon-apigateway-auth") {
            let kind = at.text("type", self.findings).unwrap_or_default().to_ascii_uppercase();
            match kind.as_str() {
                "NONE" => return Access::open(),
                "AWS_IAM" => return Access::Spec(Access::of("AWS_IAM", None)),
                _ => {
                    self.findings.error(at.below("type"), format!("{kind:?}: the types are NONE and AWS_IAM"));
                    return Access::Unknown;
                }
            }
        }
        // An empty list of the operation means none, also where the document has requirements for all (H-OAS-21).
        let Some(security) = operation.get("security").or_else(|| root.get("security")) else { return Access::open() };
        let requirements: Vec<_> = security.items().collect();
        let named: Vec<_> = requirements.iter().flat_map(At::members).collect();
        if !security.value.is_array() || requirements.iter().any(|requirement| !requirement.value.is_object()) {
            self.findings.error(security.pointer, "security is a list of maps from a scheme to its scopes");
            return Access::Unknown;
        }
        if requirements.len() > 1 || named.len() > 1 {
            let message = "several security requirements: an operation of an HTTP API has one, so keep one";
            self.findings.error(security.pointer, message);
            return Access::Unknown;
        }
        match named.into_iter().next() {
            None => Access::open(),
            Some((name, at)) => self.requirement(name, &at),
        }
    }

    fn requirement(&mut self, name: &str, at: &At<'_>) -> Access {
        let scopes: Vec<Value> = at.items().map(|scope| scope.value.clone()).collect();
        let mut spec = match self.schemes.0.get(name) {
            None => {
                self.findings.error(at.pointer.clone(), format!("{name:?} is not in components.securitySchemes"));
                return Access::Unknown;
            }
            Some(Scheme::Unknown) => {
                let message =
                    format!("{name:?} has no equivalent here: the route is left out, since it must not be open");
                self.findings.warn(at.pointer.clone(), message);
                return Access::Unknown;
            }
            Some(Scheme::Unchecked) => {
                let message = format!(
                    "the gateway does not check {name:?}, which has neither x-amazon-apigateway-authorizer nor -authtype: the route is open, as on AWS"
                );
                self.findings.warn(at.pointer.clone(), message);
                return Access::open();
            }
            Some(Scheme::Iam) => Access::of("AWS_IAM", None),
            Some(Scheme::Custom(authorizer)) => Access::of("CUSTOM", Some(authorizer)),
            Some(Scheme::Jwt(authorizer)) => {
                let mut spec = Access::of("JWT", Some(authorizer));
                if !scopes.is_empty() {
                    spec.insert("authorizationScopes".to_owned(), Value::Array(scopes));
                }
                return Access::Spec(spec);
            }
        };
        if !scopes.is_empty() {
            self.findings.warn(at.pointer.clone(), "the scopes are ignored: only JWT authorizers check scopes");
            spec.remove("authorizationScopes");
        }
        Access::Spec(spec)
    }
}
