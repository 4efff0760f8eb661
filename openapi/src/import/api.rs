//! The parts of a document that belong to the HttpApi itself.

use serde_json::{Map, Value};

use super::{Importer, copy};
use crate::document::At;
use crate::{Class, EXTENSION};

/// Extensions of REST APIs at the root: what is lost without them decides how loud that is told (H-OAS-15).
const REST_ONLY: &[(&str, Class, &str)] = &[
    ("api-key-source", Class::Warning, "HTTP APIs have no API keys"),
    ("binary-media-types", Class::Info, "HTTP APIs tell binary bodies by their content type"),
    ("documentation", Class::Info, "HTTP APIs keep no documentation parts"),
    ("gateway-responses", Class::Warning, "the gateway's answers cannot be changed on HTTP APIs"),
    ("minimum-compression-size", Class::Info, "HTTP APIs do not compress"),
    ("policy", Class::Warning, "HTTP APIs have no resource policy, so nobody is kept out by it: use authorizers"),
    ("request-validator", Class::Warning, "HTTP APIs do not validate requests"),
    ("request-validators", Class::Warning, "HTTP APIs do not validate requests"),
    ("security-policy", Class::Warning, "the TLS versions are those of the domain"),
];

const CORS: &[&str] = &["allowOrigins", "allowMethods", "allowHeaders", "exposeHeaders", "allowCredentials", "maxAge"];

impl Importer<'_> {
    pub(super) fn api(&mut self, root: &At<'_>) {
        let mut spec = Map::new();
        if let Some(info) = root.get("info") {
            copy(&info, &[("title", "name"), ("version", "version"), ("description", "description")], &mut spec);
            // The object's name stands for a missing one, and OpenAPI wants a version where there is none.
            spec.retain(|key, value| !(key == "name" && value == self.name || key == "version" && value == ""));
            for name in ["termsOfService", "contact", "license"] {
                if info.get(name).is_some() {
                    self.findings.info(info.below(name), "not kept: HTTP APIs have no such field");
                }
            }
        }
        if let Some(tags) = root.get("tags").map(|tags| self.tags(&tags)).filter(|tags| !tags.is_empty()) {
            spec.insert("tags".to_owned(), Value::Object(tags));
        }
        let overlay = root.get(EXTENSION);
        self.root_members(root, &mut spec);
        self.servers(root, &mut spec);
        self.components(root);
        let name = self.name;
        self.make("HttpApi", name, Value::Object(spec), root, overlay.as_ref());
    }

    fn root_members(&mut self, root: &At<'_>, spec: &mut Map<String, Value>) {
        for (key, member) in root.members() {
            match key {
                "openapi" | "info" | "servers" | "paths" | "components" | "security" | "tags" | EXTENSION => {}
                "externalDocs" => self.findings.info(member.pointer, "not kept: HTTP APIs have no such field"),
                "x-amazon-apigateway-cors" => self.cors(&member, spec),
                "x-amazon-apigateway-endpoint-configuration" => self.endpoint(&member, spec),
                "x-amazon-apigateway-importexport-version" => {
                    if member.value != "1.0" && member.value.as_f64() != Some(1.0) {
                        self.findings.warn(member.pointer, format!("{}: the only version is \"1.0\"", member.value));
                    }
                }
                _ => self.extension(key, &member),
            }
        }
    }

    /// An extension that is not known where it stands. Those of other vendors are nobody's business (H-OAS-13).
    pub(super) fn extension(&mut self, key: &str, at: &At<'_>) {
        if let Some(name) = key.strip_prefix("x-amazon-apigateway-") {
            let known = REST_ONLY.iter().find(|(known, ..)| *known == name);
            let (class, reason) =
                known.map_or((Class::Warning, "not known here for HTTP APIs"), |(_, class, reason)| (*class, *reason));
            self.findings.add(class, at.pointer.clone(), format!("ignored: {reason}"));
        } else if key.starts_with("x-tollgate") {
            let message = format!("not known: our own extension is {EXTENSION} with metadata and spec");
            self.findings.error(at.pointer.clone(), message);
        } else if !key.starts_with("x-") {
            self.findings.warn(at.pointer.clone(), "ignored: not a field of OpenAPI 3.0 here");
        }
    }

    fn cors(&mut self, at: &At<'_>, spec: &mut Map<String, Value>) {
        if !at.value.is_object() {
            self.findings.error(at.pointer.clone(), "x-amazon-apigateway-cors is a map");
            return;
        }
        let mut cors = Map::new();
        for (key, member) in at.members() {
            if CORS.contains(&key) {
                cors.insert(key.to_owned(), member.value.clone());
            } else {
                self.findings.warn(member.pointer, format!("ignored: not one of {}", CORS.join(", ")));
            }
        }
        spec.insert("corsConfiguration".to_owned(), Value::Object(cors));
    }

    fn servers(&mut self, root: &At<'_>, spec: &mut Map<String, Value>) {
        let servers = root.get("servers");
        for server in servers.iter().flat_map(At::items) {
            for (key, member) in server.members() {
                match key {
                    "url" | "description" | "variables" => {}
                    "x-amazon-apigateway-endpoint-configuration" => self.endpoint(&member, spec),
                    _ => self.extension(key, &member),
                }
            }
        }
    }

    fn endpoint(&mut self, at: &At<'_>, spec: &mut Map<String, Value>) {
        for (key, member) in at.members() {
            match (key, member.value) {
                ("disableExecuteApiEndpoint", Value::Bool(_)) => {
                    spec.insert(key.to_owned(), member.value.clone());
                }
                ("disableExecuteApiEndpoint", _) => {
                    self.findings.error(member.pointer, "true or false is expected here");
                }
                _ => self.findings.warn(member.pointer, "ignored: HTTP APIs have disableExecuteApiEndpoint only"),
            }
        }
    }

    /// A tag without a value has an empty one (H-OAS-5).
    fn tags(&mut self, at: &At<'_>) -> Map<String, Value> {
        let mut tags = Map::new();
        for tag in at.items() {
            let Some(name) = tag.text("name", self.findings) else {
                self.findings.error(tag.pointer, "a tag has a name");
                continue;
            };
            let value = tag.text("x-amazon-apigateway-tag-value", self.findings).unwrap_or_default();
            tags.insert(name.to_owned(), Value::from(value));
            for (key, member) in tag.members() {
                match key {
                    "name" | "x-amazon-apigateway-tag-value" => {}
                    "description" | "externalDocs" => self.findings.info(member.pointer, "not kept"),
                    _ => self.extension(key, &member),
                }
            }
        }
        tags
    }

    fn components(&mut self, root: &At<'_>) {
        let components = root.get("components");
        for (key, member) in components.iter().flat_map(At::members) {
            match key {
                "securitySchemes" | "x-amazon-apigateway-integrations" | "pathItems" => {}
                "schemas" | "responses" | "parameters" | "examples" | "requestBodies" | "headers" | "links"
                | "callbacks" => {
                    if member.members().next().is_some() {
                        self.findings.info(member.pointer, "not used: HTTP APIs have no models");
                    }
                }
                _ => self.extension(key, &member),
            }
        }
    }
}
