//! `x-amazon-apigateway-integration` (H-OAS-16 to H-OAS-18).

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Importer, copy};
use crate::document::{At, not_text};
use crate::names;
use crate::{EXTENSION, patch};

/// The members that say where an integration leads.
const TARGETS: &[&str] = &["service", "http", "lambda", "aws", "mock"];

/// Fields of REST and WebSocket APIs.
const REST_ONLY: &[&str] = &[
    "cacheKeyParameters",
    "cacheNamespace",
    "contentHandling",
    "passthroughBehavior",
    "requestTemplates",
    "responses",
    "responseTransferMode",
];

/// The integrations of `components`, by pointer: the name of the object, or nothing when there is no equivalent.
#[derive(Debug, Default)]
pub(super) struct Shared(BTreeMap<String, Option<String>>);

/// Where a route leads.
#[derive(Debug)]
pub(super) enum Target {
    /// An Integration, by name.
    Shared(String),
    /// An integration of its own.
    Own(Value),
}

impl Importer<'_> {
    pub(super) fn shared_integrations(&mut self, root: &At<'_>) {
        let all = root.get("components").and_then(|all| all.get("x-amazon-apigateway-integrations"));
        for (key, member) in all.iter().flat_map(At::members) {
            let Some(at) = self.document.resolve(member, self.findings) else { continue };
            let spec = self.integration(&at);
            let name = spec.map(|spec| {
                let name = self.integrations.free(key);
                let overlay = at.get(EXTENSION).and_then(|overlay| overlay.get("metadata").map(|_| overlay));
                // The spec has been laid over already.
                let named = overlay.as_ref().and_then(|overlay| overlay.get("metadata"));
                let made = self.make("Integration", &name, spec, &at, None);
                match (named, self.made.last_mut()) {
                    (Some(metadata), Some(last)) => {
                        patch::apply(&mut last.object["metadata"], metadata.value);
                        last.name().to_owned()
                    }
                    _ => made,
                }
            });
            self.shared.0.insert(at.pointer, name);
        }
    }

    /// Where an operation leads; `None` when it has no integration, or one that has no equivalent (which is told).
    pub(super) fn target(&mut self, operation: &At<'_>) -> Option<Target> {
        let at = operation.get("x-amazon-apigateway-integration")?;
        let referred = at.value.get("$ref").is_some();
        let at = self.document.resolve(at, self.findings)?;
        if referred && let Some(shared) = self.shared.0.get(&at.pointer) {
            return shared.clone().map(Target::Shared);
        }
        self.integration(&at).map(Target::Own)
    }

    /// The spec of an integration, with what our own extension says laid over it.
    fn integration(&mut self, at: &At<'_>) -> Option<Value> {
        if !at.value.is_object() {
            self.findings.error(at.pointer.clone(), "an integration is a map");
            return None;
        }
        let overlay = at.get(EXTENSION);
        let over = overlay.as_ref().and_then(|overlay| overlay.get("spec"));
        let names_target = |over: &At<'_>| TARGETS.iter().any(|target| over.get(target).is_some());
        let replaced = over.as_ref().is_some_and(names_target);
        let mut spec = Map::new();
        self.settings(at, &mut spec);
        let target = self.aws_target(at, replaced, &mut spec);
        if !target && !replaced {
            return None;
        }
        let mut spec = Value::Object(spec);
        if let Some(over) = over {
            if replaced && let Some(spec) = spec.as_object_mut() {
                // The subtype of an AWS service stays; our extension adds whose credentials it is called with.
                let aws = over.get("aws").is_some();
                spec.retain(|name, _| !TARGETS.contains(&name.as_str()) || aws && name == "aws");
            }
            patch::apply(&mut spec, over.value);
        }
        for (_, member) in overlay.iter().flat_map(At::members).filter(|(key, _)| !["spec", "metadata"].contains(key)) {
            self.findings.error(member.pointer, format!("{EXTENSION} has the maps metadata and spec only"));
        }
        Some(spec)
    }

    /// What holds for every target.
    fn settings(&mut self, at: &At<'_>, spec: &mut Map<String, Value>) {
        copy(at, &[("timeoutInMillis", "timeoutInMillis")], spec);
        for (key, member) in at.members() {
            match key {
                "type" | "uri" | "httpMethod" | "payloadFormatVersion" | "connectionType" | "connectionId"
                | "integrationSubtype" | "timeoutInMillis" | EXTENSION => {}
                "description" => self.findings.info(member.pointer, "not kept: integrations have no description here"),
                "credentials" => self.findings.warn(
                    member.pointer,
                    "no equivalent: there is no IAM to assume a role of; requests are sent without it, see docs/openapi.md",
                ),
                "tlsConfig" => self.tls(&member, spec),
                "requestParameters" => self.parameters(&member, spec),
                "responseParameters" => {
                    spec.insert(key.to_owned(), member.value.clone());
                }
                _ if REST_ONLY.contains(&key) => self.findings.info(member.pointer, "ignored: a field of REST APIs"),
                _ if key.starts_with("x-") => self.extension(key, &member),
                _ => self.findings.warn(member.pointer, "ignored: not a field of integrations of HTTP APIs"),
            }
        }
    }

    fn tls(&mut self, at: &At<'_>, spec: &mut Map<String, Value>) {
        for (key, member) in at.members() {
            match key {
                "serverNameToVerify" => {
                    spec.insert("tls".to_owned(), json!({"serverNameToVerify": member.value}));
                }
                "insecureSkipVerification" => {
                    self.findings.warn(member.pointer, "ignored: certificates of backends are always verified");
                }
                _ => self.findings.warn(member.pointer, "ignored: not a field of tlsConfig of HTTP APIs"),
            }
        }
    }

    /// The form of REST APIs means nothing here (H-OAS-17).
    fn parameters(&mut self, at: &At<'_>, spec: &mut Map<String, Value>) {
        let mut kept = Map::new();
        for (key, member) in at.members() {
            if key.starts_with("integration.request.") {
                let message =
                    "ignored: the form of REST APIs; write it as append:header.NAME, overwrite:path and so on";
                self.findings.warn(member.pointer, message);
            } else {
                kept.insert(key.to_owned(), member.value.clone());
            }
        }
        if !kept.is_empty() {
            spec.insert("requestParameters".to_owned(), Value::Object(kept));
        }
    }

    /// Adds the target that AWS's fields name; whether there is one. `replaced`: our own extension names it.
    fn aws_target(&mut self, at: &At<'_>, replaced: bool, spec: &mut Map<String, Value>) -> bool {
        let kind = at.text("type", self.findings).unwrap_or_default().to_ascii_lowercase();
        match kind.as_str() {
            "aws_proxy" if at.get("integrationSubtype").is_some() => self.aws_service(at, replaced, spec),
            "aws_proxy" => self.function(at, replaced, spec),
            "http_proxy" => self.http(at, replaced, spec),
            _ if replaced => false,
            "" => {
                let message = "type is missing: write aws_proxy or http_proxy; requests to its routes get 500";
                self.findings.warn(at.pointer.clone(), message);
                false
            }
            _ => {
                let message = format!(
                    "{kind:?}: HTTP APIs have integrations of the types aws_proxy and http_proxy only; requests to its routes get 500"
                );
                self.findings.warn(at.below("type"), message);
                false
            }
        }
    }

    fn aws_service(&mut self, at: &At<'_>, replaced: bool, spec: &mut Map<String, Value>) -> bool {
        let Some(subtype) = at.text("integrationSubtype", self.findings) else { return false };
        if !replaced {
            let message = format!(
                "an AWS service is called with credentials from a Secret here, not with a role: set {EXTENSION}.spec.aws.credentialsRef; until then requests get 500"
            );
            self.findings.warn(at.below("integrationSubtype"), message);
            return false;
        }
        spec.insert("aws".to_owned(), json!({"subtype": subtype}));
        true
    }

    fn format(&mut self, at: &At<'_>) -> Option<String> {
        let said = at.get("payloadFormatVersion")?;
        match said.value {
            Value::String(text) => Some(text.clone()),
            // `1.0` without quotes is a number in YAML.
            Value::Number(number) => number.as_f64().map(|number| format!("{number:.1}")),
            other => {
                self.findings.error(said.pointer, not_text(other));
                None
            }
        }
    }

    fn function(&mut self, at: &At<'_>, replaced: bool, spec: &mut Map<String, Value>) -> bool {
        let format = self.format(at).unwrap_or_else(|| {
            self.findings.warn(at.pointer.clone(), "payloadFormatVersion is missing, which AWS requires: 1.0 is taken");
            "1.0".to_owned()
        });
        spec.insert("payloadFormatVersion".to_owned(), Value::from(format));
        if replaced {
            return false;
        }
        let Some(uri) = at.text("uri", self.findings) else {
            self.findings.warn(at.pointer.clone(), "uri is missing: name a function; requests to its routes get 500");
            return false;
        };
        match self.function_service(uri, at.below("uri")) {
            Some(lambda) => {
                spec.insert("lambda".to_owned(), lambda);
                true
            }
            None => false,
        }
    }

    /// The in-cluster stand-in for the function of an ARN, in either form (H-OAS-18).
    pub(super) fn function_service(&mut self, uri: &str, pointer: String) -> Option<Value> {
        let inner = uri.split_once(":path/2015-03-31/functions/").map_or(uri, |(_, rest)| rest);
        let inner = inner.strip_suffix("/invocations").unwrap_or(inner);
        let Some((_, function)) = inner.split_once(":function:") else {
            self.findings.warn(pointer, format!("{uri:?} is not the ARN of a function; requests to it get 500"));
            return None;
        };
        let (name, qualifier) = function.split_once(':').unwrap_or((function, ""));
        if name.contains('$') {
            let message = format!(
                "{uri:?}: the name of the function comes from a variable, which has no equivalent: set {EXTENSION}.spec.lambda; until then requests get 500"
            );
            self.findings.warn(pointer, message);
            return None;
        }
        let service = names::service(name);
        if !qualifier.is_empty() {
            let message = format!(
                "version or alias {qualifier:?} of the function is not told apart: it is what Service {service} runs"
            );
            self.findings.warn(pointer.clone(), message);
        }
        let port = self.options.function_port;
        let message = format!(
            "the function {name:?} is expected behind Service {service}, port {port}: set {EXTENSION}.spec to use another"
        );
        self.findings.info(pointer, message);
        Some(json!({"service": {"name": service, "port": port}}))
    }

    fn http(&mut self, at: &At<'_>, replaced: bool, spec: &mut Map<String, Value>) -> bool {
        match at.text("httpMethod", self.findings) {
            Some(method) => {
                spec.insert("method".to_owned(), Value::from(method.to_ascii_uppercase()));
            }
            None => self.findings.warn(at.pointer.clone(), "httpMethod is missing, which AWS requires: ANY is taken"),
        }
        if let Some(format) = self.format(at) {
            spec.insert("payloadFormatVersion".to_owned(), Value::from(format));
        }
        if replaced {
            return false;
        }
        let connection = at.text("connectionType", self.findings).unwrap_or("INTERNET");
        if connection.eq_ignore_ascii_case("VPC_LINK") {
            let message = format!(
                "load balancers and Cloud Map have no equivalent: set {EXTENSION}.spec.service to the Service that is meant; until then requests get 500"
            );
            self.findings.warn(at.below("connectionType"), message);
            return false;
        }
        let Some(uri) = at.text("uri", self.findings) else {
            self.findings.warn(at.pointer.clone(), "uri is missing; requests to its routes get 500");
            return false;
        };
        spec.insert("http".to_owned(), json!({"uri": uri}));
        true
    }
}
