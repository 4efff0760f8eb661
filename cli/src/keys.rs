//! `tollgate keys import`: API keys of a CSV file, in the format of AWS's ImportApiKeys, to objects (R-KEY-9).
//!
//! [`import`] is pure: text in, objects and warnings out. Values go into Secrets of many entries, since the controller looks each Secret up.

mod csv;

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use std::path::Path;

use serde_json::{Map, Value, json};
use tollgate_engine::meter::digest;

use self::csv::Record;
use crate::args::{KeysImportArgs, is_object_name};
use crate::openapi::{self, Outcome};
use crate::report;

/// Lengths of values that can be imported; other keys may have 20 already.
const VALUE: std::ops::RangeInclusive<usize> = 30..=128;
const LONGEST_NAME: usize = 1024;
const LONGEST_DESCRIPTION: usize = 1024;
/// Plans of a key (R-PLAN-8).
const MOST_PLANS: usize = 10;
/// Entries of one Secret: with the longest values still less than the 256 KiB that `kubectl apply` can remember of an object.
const PER_SECRET: usize = 500;
/// A label of a DNS name, less what tells keys of the same name apart.
const LONGEST_SLUG: usize = 50;

/// What is to be made of a file.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the objects go.
    pub namespace: Option<String>,
    /// What the Secrets are called, but for a number.
    pub secret: String,
    /// `UsagePlan` names for ids of AWS's plans; others are taken for names.
    pub plans: BTreeMap<String, String>,
}

/// What a file has.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Imported {
    /// Secrets, then ApiKeys.
    pub objects: Vec<Value>,
    /// What was left out or overwritten, each with its line.
    pub warnings: Vec<Warning>,
}

/// A row that is not as it could be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong, and what to do.
    pub message: String,
}

/// Where the columns are.
#[derive(Debug)]
struct Columns {
    name: usize,
    key: usize,
    description: Option<usize>,
    enabled: Option<usize>,
    plans: Option<usize>,
}

/// A row that can be a key.
#[derive(Debug)]
struct Row {
    line: usize,
    name: String,
    value: String,
    description: Option<String>,
    enabled: bool,
    plans: Vec<String>,
}

/// `tollgate keys import`.
pub fn run(args: &KeysImportArgs) -> Outcome {
    let KeysImportArgs { file, namespace, secret, plans, fail_on_warnings } = args;
    let shown = if file == Path::new("-") { "standard input".into() } else { file.display().to_string() };
    let text = match openapi::read(file) {
        Ok(text) => text,
        Err(problem) => return Outcome::failed(report::human(&problem, false)),
    };
    let plans = plans.iter().cloned().collect();
    let options = Options { namespace: namespace.clone(), secret: secret.clone(), plans };
    let imported = match import(&text, &options) {
        Ok(imported) => imported,
        Err(Warning { line, message }) => return Outcome::failed(format!("error: {shown}:{line}: {message}\n")),
    };
    let mut report = told(&shown, &imported.warnings);
    if *fail_on_warnings && !imported.warnings.is_empty() {
        report += "nothing is imported, since --fail-on-warnings was given\n";
        return Outcome::failed(report);
    }
    let text = imported.objects.iter().map(|object| format!("---\n{}", openapi::yaml(object))).collect();
    Outcome { report, text: Some(text) }
}

/// Reads a file. Rows that cannot be keys are left out with a warning.
///
/// # Errors
/// Why nothing of it can be used, with the line.
pub fn import(text: &str, options: &Options) -> Result<Imported, Warning> {
    let mut records = csv::records(text)?.into_iter();
    let missing = || Warning {
        line: 1,
        message: "the file is empty: begin it with the names of its columns, Name and Key at least".into(),
    };
    let columns = Columns::of(&records.next().ok_or_else(missing)?)?;
    let mut warnings = Vec::new();
    let mut rows: Vec<Row> = Vec::new();
    let mut by_value: HashMap<String, usize> = HashMap::new();
    for record in records {
        let row = match columns.row(&record, options) {
            Ok(row) => row,
            Err(message) => {
                warnings.push(Warning { line: record.line, message: format!("{message}; the row is left out") });
                continue;
            }
        };
        // The same value is the same key, and the last row about it counts.
        match by_value.get(&row.value) {
            Some(&known) => {
                let message = format!("the key is that of line {}, which is overwritten", rows[known].line);
                warnings.push(Warning { line: row.line, message });
                rows[known] = row;
            }
            None => {
                by_value.insert(row.value.clone(), rows.len());
                rows.push(row);
            }
        }
    }
    Ok(Imported { objects: objects(&rows, options), warnings })
}

/// One line for each warning, as compilers write them.
fn told(source: &str, warnings: &[Warning]) -> String {
    warnings.iter().fold(String::new(), |mut text, Warning { line, message }| {
        let _ = writeln!(text, "warning: {source}:{line}: {message}");
        text
    })
}

impl Columns {
    /// Names have no case and may stand in any order; unknown ones are ignored.
    fn of(head: &Record) -> Result<Self, Warning> {
        let find = |name: &str| -> Result<Option<usize>, Warning> {
            let mut found = head.fields.iter().enumerate().filter(|(_, field)| field.eq_ignore_ascii_case(name));
            let first = found.next().map(|(at, _)| at);
            if found.next().is_some() {
                let message = format!("there are two columns {name}: remove one");
                return Err(Warning { line: head.line, message });
            }
            Ok(first)
        };
        let required = |name: &str| -> Result<usize, Warning> {
            let message =
                || format!("there is no column {name}: the first line names the columns, with Name and Key among them");
            find(name)?.ok_or_else(|| Warning { line: head.line, message: message() })
        };
        Ok(Self {
            name: required("Name")?,
            key: required("Key")?,
            description: find("Description")?,
            enabled: find("Enabled")?,
            plans: find("UsagePlanIds")?,
        })
    }

    fn row(&self, record: &Record, options: &Options) -> Result<Row, String> {
        let field = |at: usize| record.fields.get(at).map(String::as_str).unwrap_or_default();
        let optional = |at: Option<usize>| at.map(field).filter(|text| !text.is_empty());
        let (name, value) = (field(self.name), field(self.key));
        if name.chars().count() > LONGEST_NAME {
            return Err(format!("Name has {} characters: give at most {LONGEST_NAME}", name.chars().count()));
        }
        let length = value.chars().count();
        if !VALUE.contains(&length) {
            return Err(format!(
                "Key has {length} characters: a key that is imported has {} to {}",
                VALUE.start(),
                VALUE.end()
            ));
        }
        if !value.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("Key has spaces or characters outside ASCII, which headers do not carry: replace it".to_owned());
        }
        let description = optional(self.description);
        if let Some(length) =
            description.map(|text| text.chars().count()).filter(|length| *length > LONGEST_DESCRIPTION)
        {
            return Err(format!("Description has {length} characters: give at most {LONGEST_DESCRIPTION}"));
        }
        let enabled = match optional(self.enabled) {
            None => true,
            Some(text) if text.eq_ignore_ascii_case("true") => true,
            Some(text) if text.eq_ignore_ascii_case("false") => false,
            Some(text) => return Err(format!("Enabled is {text:?}: write true or false")),
        };
        let mut plans: Vec<String> = Vec::new();
        let ids = optional(self.plans).unwrap_or_default().split(',').map(str::trim).filter(|id| !id.is_empty());
        for id in ids {
            let plan = options.plans.get(id).map_or(id, String::as_str);
            if !is_object_name(plan) {
                return Err(format!(
                    "UsagePlanIds has {id:?}, which is no name of an object: say which plan it is with --plan {id}=NAME"
                ));
            }
            if !plans.iter().any(|known| known == plan) {
                plans.push(plan.to_owned());
            }
        }
        if plans.len() > MOST_PLANS {
            return Err(format!("UsagePlanIds has {} plans: a key may be in {MOST_PLANS}", plans.len()));
        }
        let (name, value, description) = (name.to_owned(), value.to_owned(), description.map(str::to_owned));
        Ok(Row { line: record.line, name, value, description, enabled, plans })
    }
}

fn objects(rows: &[Row], options: &Options) -> Vec<Value> {
    let metadata = |name: &str| match &options.namespace {
        Some(namespace) => json!({"name": name, "namespace": namespace}),
        None => json!({"name": name}),
    };
    let names = names(rows);
    let (mut secrets, mut keys) = (Vec::new(), Vec::new());
    for (number, (rows, names)) in rows.chunks(PER_SECRET).zip(names.chunks(PER_SECRET)).enumerate() {
        let secret = format!("{}-{}", options.secret, number + 1);
        let mut values = Map::new();
        for (row, name) in rows.iter().zip(names) {
            values.insert(name.clone(), row.value.as_str().into());
            let mut spec =
                json!({"valueFrom": {"secretKeyRef": {"name": secret, "key": name}}, "enabled": row.enabled});
            if !row.name.is_empty() && row.name != *name {
                spec["name"] = row.name.as_str().into();
            }
            if let Some(description) = &row.description {
                spec["description"] = description.as_str().into();
            }
            if !row.plans.is_empty() {
                spec["usagePlanRefs"] = row.plans.iter().map(|plan| json!({"name": plan})).collect();
            }
            keys.push(json!({"apiVersion": tollgate_crds::API_VERSION, "kind": "ApiKey", "metadata": metadata(name), "spec": spec}));
        }
        secrets.push(json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata(&secret), "type": "Opaque", "stringData": values}));
    }
    secrets.append(&mut keys);
    secrets
}

/// Names of objects, the same whenever the file is imported. Keys of the same name are told apart by the digests of their values.
fn names(rows: &[Row]) -> Vec<String> {
    let slugs: Vec<String> = rows.iter().map(|row| slug(&row.name)).collect();
    let mut count: HashMap<&str, usize> = HashMap::new();
    for slug in &slugs {
        *count.entry(slug).or_default() += 1;
    }
    let named = rows.iter().zip(&slugs).map(|(row, slug)| {
        if slug.is_empty() || count[slug.as_str()] > 1 {
            let slug = if slug.is_empty() { "key" } else { slug };
            format!("{slug}-{}", &digest(row.value.as_bytes()).to_hex()[..12])
        } else {
            slug.clone()
        }
    });
    named.collect()
}

fn slug(name: &str) -> String {
    let mut slug = String::new();
    for c in name.chars() {
        if slug.len() >= LONGEST_SLUG {
            break;
        }
        if c.is_ascii_alphanumeric() {
            slug.push(c.to_ascii_lowercase());
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    slug.truncate(slug.trim_end_matches('-').len());
    slug
}

#[cfg(test)]
mod tests;
