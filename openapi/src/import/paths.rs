//! Paths and operations to Routes (H-OAS-6 to H-OAS-8, H-OAS-14).

use serde_json::{Map, Value, json};

use super::integration::Target;
use super::security::Access;
use super::{BasePath, Importer, copy};
use crate::EXTENSION;
use crate::document::At;

const METHODS: &[&str] = &["get", "head", "post", "put", "patch", "delete", "options"];
const ANY: &str = "x-amazon-apigateway-any-method";

impl Importer<'_> {
    pub(super) fn paths(&mut self, root: &At<'_>) {
        let Some(paths) = root.get("paths") else {
            self.findings.error("", "paths is missing: an OpenAPI document has it, if only as an empty map");
            return;
        };
        let base = match self.options.base_path {
            BasePath::Ignore => String::new(),
            BasePath::Prepend => base_path(root),
            BasePath::Split => without_first(&base_path(root)),
        };
        for (path, item) in paths.members() {
            if path.starts_with("x-") {
                self.extension(path, &item);
            } else if path.starts_with('/') {
                let Some(item) = self.document.resolve(item, self.findings) else { continue };
                self.path(&base, path, &item, root);
            } else {
                self.findings.error(item.pointer, format!("{path:?}: a path starts with /"));
            }
        }
    }

    fn path(&mut self, base: &str, path: &str, item: &At<'_>, root: &At<'_>) {
        let full = format!("{base}{path}");
        for (key, member) in item.members() {
            match key {
                _ if METHODS.contains(&key) => {
                    self.operation(&format!("{} {full}", key.to_ascii_uppercase()), &member, root);
                }
                ANY => self.any_method(path, &full, &member, root),
                "trace" => self.findings.warn(member.pointer, "left out: HTTP APIs have no routes for TRACE"),
                "summary" | "description" => {}
                "parameters" => self.parameters_of(&member),
                "servers" => self.findings.info(member.pointer, "not used: integrations say where requests go"),
                "$ref" => {}
                _ => self.extension(key, &member),
            }
        }
    }

    fn any_method(&mut self, path: &str, full: &str, at: &At<'_>, root: &At<'_>) {
        let default = at.get("isDefaultRoute");
        let wanted = default.as_ref().is_some_and(|at| at.value == &Value::Bool(true));
        if wanted && path == "/$default" {
            self.operation("$default", at, root);
            return;
        }
        if wanted && let Some(default) = default {
            self.findings.warn(default.pointer, "ignored: the $default route stands at the path /$default");
        }
        self.operation(&format!("ANY {full}"), at, root);
    }

    fn operation(&mut self, key: &str, at: &At<'_>, root: &At<'_>) {
        if !at.value.is_object() {
            self.findings.error(at.pointer.clone(), "an operation is a map");
            return;
        }
        self.operation_members(at);
        let access = self.access(at, root);
        let target = self.target(at);
        let Access::Spec(access) = access else { return };
        let mut spec = Map::from_iter([
            ("apiRef".to_owned(), json!({"name": self.name})),
            ("routeKey".to_owned(), Value::from(key)),
        ]);
        copy(at, &[("operationId", "operationName")], &mut spec);
        spec.extend(access);
        match target {
            Some(Target::Own(integration)) => {
                spec.insert("integration".to_owned(), integration);
            }
            Some(Target::Shared(name)) => {
                spec.insert("integrationRef".to_owned(), json!({"name": name}));
            }
            None => {}
        }
        let name = self.routes.free(&named_after(key));
        self.make("Route", &name, Value::Object(spec), at, at.get(EXTENSION).as_ref());
    }

    fn operation_members(&mut self, at: &At<'_>) {
        for (key, member) in at.members() {
            match key {
                "operationId"
                | "security"
                | "isDefaultRoute"
                | "x-amazon-apigateway-integration"
                | "x-amazon-apigateway-auth"
                | EXTENSION => {}
                "summary" | "description" | "tags" | "externalDocs" | "deprecated" => {}
                "parameters" => self.parameters_of(&member),
                "requestBody" => self.findings.info(member.pointer, "not used: HTTP APIs do not check bodies"),
                "responses" => self.responses(&member),
                "callbacks" | "servers" => self.findings.info(member.pointer, "not used by HTTP APIs"),
                _ => self.extension(key, &member),
            }
        }
    }

    /// A path variable that is text says no more than the path itself.
    fn parameters_of(&mut self, at: &At<'_>) {
        let plain = |at: &At<'_>| {
            let schema = at.get("schema").map(|schema| schema.value.clone());
            at.value.get("in") == Some(&json!("path"))
                && schema.is_none_or(|schema| schema == json!({"type": "string"}))
        };
        if let Some(first) = at.items().find(|at| !plain(at)) {
            self.findings.info(first.pointer, "not used: HTTP APIs do not check parameters");
        }
    }

    fn responses(&mut self, at: &At<'_>) {
        let says = |response: &At<'_>| response.get("content").is_some() || response.get("headers").is_some();
        if let Some((_, first)) = at.members().find(|(_, response)| says(response)) {
            self.findings.info(first.pointer, "not used: HTTP APIs do not check responses");
        }
    }
}

/// `GET /pets/{id}` as text for a name; the root has one too.
fn named_after(key: &str) -> String {
    match key.split_once(' ') {
        Some((method, "/")) => format!("{method} root"),
        _ => key.to_owned(),
    }
}

/// The base path of the first server: its variable `basePath`, else the path of its URL.
fn base_path(root: &At<'_>) -> String {
    let servers = root.get("servers");
    let variable = servers.iter().flat_map(At::items).find_map(|server| {
        let variable = server.get("variables")?.get("basePath")?.get("default")?;
        Some(variable.value.as_str()?.to_owned())
    });
    let path = variable.or_else(|| {
        let url = servers.as_ref()?.items().next()?.get("url")?.value.as_str()?.to_owned();
        let rest = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
        rest.find('/').map(|start| rest[start..].to_owned())
    });
    let path = path.unwrap_or_default();
    match path.trim_matches('/') {
        "" => String::new(),
        path => format!("/{path}"),
    }
}

fn without_first(path: &str) -> String {
    let rest = path.trim_start_matches('/');
    rest.find('/').map_or_else(String::new, |end| rest[end..].to_owned())
}
