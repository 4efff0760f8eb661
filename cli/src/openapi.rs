//! `tollgate import` and `tollgate export`: OpenAPI documents to objects and back.

use std::fmt::Write as _;
use std::io::Read;
use std::path::Path;

use serde_json::{Value, json};
use tollgate_openapi::document::Variables;
use tollgate_openapi::{self as openapi, Class, ExportOptions, Finding, ImportOptions};

use crate::args::{BasePath, DocumentForm, ExportArgs, ImportArgs};
use crate::check;
use crate::load::files::MAX_FILE_BYTES;
use crate::load::{self, files};
use crate::problem::{Problem, Source};
use crate::report;

/// What came of a command.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What it has to say, for standard error.
    pub report: String,
    /// Its result, for standard output; none when it failed.
    pub text: Option<String>,
}

impl Outcome {
    pub(crate) fn failed(report: impl Into<String>) -> Self {
        Self { report: report.into(), text: None }
    }
}

/// `tollgate import`.
pub fn import(args: &ImportArgs) -> Outcome {
    let shown = if args.file == Path::new("-") { "standard input".into() } else { args.file.display().to_string() };
    let text = match read(&args.file) {
        Ok(text) => text,
        Err(problem) => return Outcome::failed(report::human(&problem, false)),
    };
    let options = ImportOptions {
        name: args.name.clone(),
        namespace: args.namespace.clone(),
        base_path: match args.base_path {
            BasePath::Ignore => openapi::BasePath::Ignore,
            BasePath::Prepend => openapi::BasePath::Prepend,
            BasePath::Split => openapi::BasePath::Split,
        },
        variables: Variables {
            account_id: args.account_id.clone(),
            region: args.region.clone(),
            ..Variables::default()
        },
        function_port: args.function_port,
    };
    let imported = openapi::import(&text, &options);
    let mut report = findings(&shown, &imported.findings);
    if imported.refused(args.fail_on_warnings) {
        report += if imported.refused(false) {
            "the document is refused\n"
        } else {
            "the document is refused, since --fail-on-warnings was given\n"
        };
        return Outcome::failed(report);
    }
    let mut objects: Vec<Value> = imported.objects.iter().map(|made| made.plain.clone()).collect();
    if let (Some(stage), Some(api)) = (&args.stage, imported.objects.first()) {
        match stage_of(stage, &api.plain) {
            Ok(stage) => objects.push(stage),
            Err(message) => return Outcome::failed(report + &message),
        }
    }
    let text = objects.iter().map(|object| format!("---\n{}", yaml(object))).collect();
    Outcome { report, text: Some(text) }
}

/// A Stage for an API.
fn stage_of(name: &str, api: &Value) -> Result<Value, String> {
    let api_name = api["metadata"]["name"].as_str().unwrap_or_default();
    let legal = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let suffix: String = name.chars().map(legal).collect();
    let suffix = suffix.trim_matches('-');
    let mut object = json!({
        "apiVersion": tollgate_crds::API_VERSION, "kind": "Stage", "metadata": {"name": format!("{api_name}-{suffix}")},
        "spec": {"apiRef": {"name": api_name}, "stageName": name},
    });
    if let Some(namespace) = api["metadata"].get("namespace") {
        object["metadata"]["namespace"] = namespace.clone();
    }
    match tollgate_crds::validate::validate(&object, None) {
        Some((_, violations)) if !violations.is_empty() => {
            Err(violations.iter().map(|violation| format!("error: --stage: {violation}\n")).collect())
        }
        _ => Ok(object),
    }
}

/// `tollgate export`.
pub fn export(args: &ExportArgs) -> Outcome {
    let (objects, problems) = match args.paths.as_slice() {
        [path] if path == Path::new("-") => match read(path) {
            Ok(text) => {
                let parsed = load::parse(Source { path: "standard input".into(), text });
                (parsed.objects.iter().map(load::Object::json).collect(), parsed.problems)
            }
            Err(problem) => (Vec::new(), vec![*problem]),
        },
        paths => {
            let (tree, mut problems) = check::read(paths);
            problems.extend(tree.problems());
            (tree.objects().map(load::Object::json).collect::<Vec<Value>>(), problems)
        }
    };
    let (problems, _) = report::arrange(problems);
    if !problems.is_empty() {
        return Outcome::failed(problems.iter().map(|problem| report::human(problem, false)).collect::<String>());
    }
    let api = match chosen(&objects, args) {
        Ok(api) => api,
        Err(message) => return Outcome::failed(format!("error: {message}\n")),
    };
    let text = |field: &str| api["metadata"][field].as_str();
    let (name, namespace) = (text("name").unwrap_or_default(), text("namespace").unwrap_or("default"));
    let options = ExportOptions {
        host: args.host.clone().unwrap_or_else(|| format!("{name}.{namespace}.localhost")),
        stage: args.stage.clone(),
        extensions: !args.no_extensions,
    };
    let exported = openapi::export(api, &objects, &options);
    let report = findings(name, &exported.findings);
    if exported.document.is_null() {
        return Outcome::failed(report);
    }
    let text = match args.output {
        DocumentForm::Yaml => yaml(&exported.document),
        DocumentForm::Json => format!("{:#}\n", exported.document),
    };
    Outcome { report, text: Some(text) }
}

/// The HttpApi that is meant.
fn chosen<'a>(objects: &'a [Value], args: &ExportArgs) -> Result<&'a Value, String> {
    let meant = |wanted: &Option<String>, object: &Value, field: &str| {
        wanted.as_deref().is_none_or(|wanted| object["metadata"][field].as_str() == Some(wanted))
    };
    let apis = objects.iter().filter(|object| object["kind"] == "HttpApi");
    let found: Vec<&Value> =
        apis.filter(|api| meant(&args.api, api, "name") && meant(&args.namespace, api, "namespace")).collect();
    match found.as_slice() {
        [api] => Ok(api),
        [] => Err("no HttpApi is there: check the path, --api and --namespace".to_owned()),
        several => {
            let name = |api: &&Value| api["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            let names: Vec<String> = several.iter().map(name).collect();
            Err(format!("several HttpApis are there ({}): choose one with --api and --namespace", names.join(", ")))
        }
    }
}

/// The text of a file, or of standard input.
pub(crate) fn read(path: &Path) -> Result<String, Box<Problem>> {
    if path != Path::new("-") {
        return files::read(path);
    }
    let mut text = String::new();
    let unreadable = |message: String| Box::new(Problem::new("Unreadable", message));
    let read = std::io::stdin().lock().take(MAX_FILE_BYTES + 1).read_to_string(&mut text);
    read.map_err(|error| unreadable(format!("standard input: {error}")))?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(unreadable(format!("standard input is larger than {} MiB", MAX_FILE_BYTES >> 20)));
    }
    Ok(text)
}

/// One line for each finding, and how many there are of each class.
fn findings(source: &str, findings: &[Finding]) -> String {
    let mut text = String::new();
    for Finding { class, position, pointer, message } in findings {
        let place = position.map(|at| format!(":{}:{}", at.line, at.column)).unwrap_or_default();
        let pointer = if pointer.is_empty() { String::new() } else { format!("{pointer}: ") };
        let _ = writeln!(text, "{class}: {source}{place}: {pointer}{message}");
    }
    if !findings.is_empty() {
        let count = |class| findings.iter().filter(|finding| finding.class == class).count();
        let (errors, warnings, infos) = (count(Class::Error), count(Class::Warning), count(Class::Info));
        let _ = writeln!(text, "{errors} errors, {warnings} warnings, {infos} notes");
    }
    text
}

pub(crate) fn yaml(value: &Value) -> String {
    serde_norway::to_string(value).expect("JSON is a subset of YAML")
}
