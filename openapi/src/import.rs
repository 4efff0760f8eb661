//! A document to an HttpApi with its Routes, Integrations and Authorizers (H-OAS-1 to H-OAS-22).

use serde_json::{Map, Value, json};

use crate::document::{At, Document, Variables};
use crate::finding::Findings;
use crate::names::{self, Names};
use crate::{Class, EXTENSION, Finding, patch};

mod api;
mod check;
mod integration;
mod paths;
mod security;

/// What to do with the base path of `servers[0]` (H-OAS-8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BasePath {
    /// `/e` stays `/e`.
    #[default]
    Ignore,
    /// `/a/b/c` and `/e` give `/a/b/c/e`.
    Prepend,
    /// `/a/b/c` and `/e` give `/b/c/e`.
    Split,
}

/// What the document does not say.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// Name of the HttpApi; made of `info.title` when absent.
    pub name: Option<String>,
    /// Namespace of all objects; left out when absent.
    pub namespace: Option<String>,
    /// What to do with the base path.
    pub base_path: BasePath,
    /// What stands for AWS's variables.
    pub variables: Variables,
    /// Port of the Services that functions are expected behind.
    pub function_port: u16,
}

impl Default for ImportOptions {
    fn default() -> Self {
        Self {
            name: None,
            namespace: None,
            base_path: BasePath::default(),
            variables: Variables::default(),
            function_port: 8080,
        }
    }
}

/// An object that a document gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Made {
    /// `HttpApi`, `Authorizer`, `Integration` or `Route`.
    pub kind: &'static str,
    /// The object, with its schema's defaults.
    pub object: Value,
    /// The same without what the document does not say.
    pub plain: Value,
    /// What it was made of.
    pub pointer: String,
}

impl Made {
    /// `metadata.name`.
    pub fn name(&self) -> &str {
        self.object["metadata"]["name"].as_str().unwrap_or_default()
    }
}

/// What became of a document.
#[derive(Clone, Debug, Default)]
pub struct Import {
    /// The HttpApi first, then Authorizers, Integrations and Routes. Incomplete when there are errors.
    pub objects: Vec<Made>,
    /// Worst first.
    pub findings: Vec<Finding>,
}

impl Import {
    /// Whether the document must not be used (H-OAS-3).
    pub fn refused(&self, fail_on_warnings: bool) -> bool {
        let worst = self.findings.iter().map(|finding| finding.class).min();
        worst == Some(Class::Error) || fail_on_warnings && worst == Some(Class::Warning)
    }

    /// The findings of a class.
    pub fn findings_of(&self, class: Class) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(move |finding| finding.class == class)
    }
}

/// Reads a document.
pub fn import(text: &str, options: &ImportOptions) -> Import {
    let mut findings = Findings::default();
    let Some(document) = Document::parse(text, &options.variables, &mut findings) else {
        return Import { objects: Vec::new(), findings: findings.finish(|_| None) };
    };
    let objects = read(&document, options, &mut findings);
    Import { objects, findings: findings.finish(|pointer| document.position(pointer)) }
}

fn read(document: &Document, options: &ImportOptions, findings: &mut Findings) -> Vec<Made> {
    let root = document.root();
    if !version(&root, findings) {
        return Vec::new();
    }
    let Some(name) = api_name(&root, options, findings) else { return Vec::new() };
    let mut import = Importer {
        document,
        options,
        integrations: Names::of(&name),
        authorizers: Names::of(&name),
        routes: Names::of(&name),
        schemes: security::Schemes::default(),
        shared: integration::Shared::default(),
        name: &name,
        made: Vec::new(),
        findings,
    };
    import.api(&root);
    import.schemes(&root);
    import.shared_integrations(&root);
    import.paths(&root);
    check::checked(import.made, findings)
}

/// The parts of an import, and what they share.
struct Importer<'a> {
    document: &'a Document,
    options: &'a ImportOptions,
    name: &'a str,
    integrations: Names<'a>,
    authorizers: Names<'a>,
    routes: Names<'a>,
    schemes: security::Schemes,
    shared: integration::Shared,
    made: Vec<Made>,
    findings: &'a mut Findings,
}

impl Importer<'_> {
    /// Adds an object, with what the extension in `overlay` says of it. Returns its name.
    fn make(&mut self, kind: &'static str, name: &str, spec: Value, at: &At<'_>, overlay: Option<&At<'_>>) -> String {
        let mut metadata = json!({"name": name});
        if let Some(namespace) = &self.options.namespace {
            metadata["namespace"] = json!(namespace);
        }
        let mut object = json!({
            "apiVersion": tollgate_crds::API_VERSION, "kind": kind, "metadata": metadata, "spec": spec,
        });
        if let Some(overlay) = overlay {
            lay_over(&mut object, overlay, self.findings);
        }
        let made = Made { kind, plain: Value::Null, object, pointer: at.pointer.clone() };
        let name = made.name().to_owned();
        self.made.push(made);
        name
    }
}

/// What ties the objects of a document together, which our own extension must not change.
const FIXED: &[(&str, &str, &str)] = &[
    ("HttpApi", "metadata", "name"),
    ("", "metadata", "namespace"),
    ("Route", "spec", "apiRef"),
    ("Route", "spec", "routeKey"),
];

/// Lays `metadata` and `spec` of our own extension over an object.
fn lay_over(object: &mut Value, overlay: &At<'_>, findings: &mut Findings) {
    for (kind, part, field) in FIXED {
        let ours = kind.is_empty() || object["kind"] == *kind;
        if let Some(at) = overlay.get(part).and_then(|part| part.get(field)).filter(|_| ours) {
            findings
                .error(at.pointer, format!("{field} cannot be set here, it follows from the document and the import"));
        }
    }
    for (key, member) in overlay.members() {
        match key {
            "metadata" | "spec" if member.value.is_object() => patch::apply(&mut object[key], member.value),
            _ => findings.error(member.pointer, format!("{EXTENSION} has the maps metadata and spec only")),
        }
    }
}

/// Only OpenAPI 3.0 (H-OAS-1).
fn version(root: &At<'_>, findings: &mut Findings) -> bool {
    let said = root.get("openapi").map(|at| match at.value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    });
    let right = |text: &str| text == "3.0" || text.starts_with("3.0.");
    match said {
        Some(text) if right(&text) => return true,
        Some(text) => findings.error("/openapi", format!("{text:?}: only OpenAPI 3.0 is read: convert the document")),
        None if root.get("swagger").is_some() => {
            findings.error("/swagger", "Swagger 2.0 is not read for HTTP APIs: convert the document to OpenAPI 3.0");
        }
        None => findings.error("", "openapi is missing: an OpenAPI document says openapi: \"3.0.1\""),
    }
    false
}

fn api_name(root: &At<'_>, options: &ImportOptions, findings: &mut Findings) -> Option<String> {
    if let Some(name) = &options.name {
        return Some(name.clone());
    }
    let title = root.get("info").and_then(|info| info.text("title", findings)).unwrap_or_default();
    let name = names::slug(title);
    if name.is_empty() {
        findings.error("/info/title", "info.title is missing, or no name can be made of it: write a title");
        return None;
    }
    Some(name)
}

/// Copies members as they are, by their names there and here.
fn copy(from: &At<'_>, names: &[(&str, &str)], to: &mut Map<String, Value>) {
    for (there, here) in names {
        if let Some(member) = from.get(there) {
            to.insert((*here).to_owned(), member.value.clone());
        }
    }
}
