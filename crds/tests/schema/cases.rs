//! The wrong objects of `tests/refusals`. Each document of a file is one of two:
//!
//! * one wrong object: `object`, and what is said about it; for refusals of an update also `old`;
//! * a table: an object that is `right`, and a list of what is `wrong` with it, each row a change of one place: `at` a JSON pointer there is
//!   a `value`, or nothing more (`remove`), or a `text` padded with letters to `length` characters, or a `list` or `map` that repeats its
//!   one entry as many `times`, with its number from 1 in place of `#`.
//!
//! `says` is a part of what the API server answers, `offline` the same of the offline check where it has other words.

use std::path::Path;
use std::{fs, iter};

use serde::Deserialize;
use serde_json::{Map, Value};

/// A wrong object.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    /// The name of its file, and of its row in a table.
    #[serde(skip)]
    pub(crate) name: String,
    pub(crate) says: String,
    pub(crate) offline: Option<String>,
    pub(crate) object: Value,
    pub(crate) old: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    right: Value,
    wrong: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
struct Row {
    name: String,
    at: String,
    says: String,
    offline: Option<String>,
    #[serde(flatten)]
    becomes: Becomes,
}

#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Becomes {
    Nothing { remove: Nothing },
    Text { text: String, length: usize },
    List { list: Value, times: usize },
    Map { map: Value, times: usize },
    Value { value: Value },
}

/// `true`.
#[derive(Deserialize)]
#[serde(try_from = "bool")]
struct Nothing;

impl TryFrom<bool> for Nothing {
    type Error = &'static str;

    fn try_from(remove: bool) -> Result<Self, Self::Error> {
        if remove { Ok(Self) } else { Err("remove is true, or left out") }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Document {
    Case(Box<Case>),
    Table(Table),
}

/// All of them, by name.
pub(crate) fn all() -> Vec<Case> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds/tests/refusals");
    let mut cases: Vec<Case> = fs::read_dir(root).unwrap().flat_map(|entry| read(&entry.unwrap().path())).collect();
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases
}

fn read(path: &Path) -> Vec<Case> {
    let name = path.file_stem().unwrap().to_string_lossy().into_owned();
    let text = fs::read_to_string(path).unwrap();
    let documents = serde_norway::Deserializer::from_str(&text);
    let documents =
        documents.map(|document| Document::deserialize(document).unwrap_or_else(|error| panic!("{name}: {error}")));
    documents
        .flat_map(|document| match document {
            Document::Case(case) => vec![Case { name: name.clone(), ..*case }],
            Document::Table(Table { right, wrong }) => wrong.into_iter().map(|row| case(&name, &right, row)).collect(),
        })
        .collect()
}

fn case(file: &str, right: &Value, row: Row) -> Case {
    let Row { name, at, says, offline, becomes } = row;
    let name = format!("{file}/{name}");
    let mut object = right.clone();
    let (parent, last) = at.rsplit_once('/').unwrap();
    let place = parent.split('/').skip(1).fold(&mut object, |value, part| step(value, part));
    match becomes.value() {
        Some(value) => *step(place, last) = value,
        None => assert!(place.as_object_mut().unwrap().remove(last).is_some(), "{name}: {at} is not there"),
    }
    Case { name, says, offline, object, old: None }
}

/// A field that is not there yet is made.
fn step<'a>(value: &'a mut Value, part: &str) -> &'a mut Value {
    match value {
        Value::Array(items) => &mut items[part.parse::<usize>().unwrap()],
        fields => &mut fields[part.replace("~1", "/").as_str()],
    }
}

impl Becomes {
    fn value(self) -> Option<Value> {
        let repeated = |entry: Value, times: usize| {
            let entry = entry.to_string();
            let numbered =
                move |number: usize| entry.replace("\"#\"", &number.to_string()).replace('#', &number.to_string());
            (1..=times).map(move |number| serde_json::from_str(&numbered(number)).unwrap())
        };
        match self {
            Self::Nothing { remove: Nothing } => None,
            Self::Value { value } => Some(value),
            Self::Text { text, length } => {
                Some(text.chars().chain(iter::repeat('a')).take(length).collect::<String>().into())
            }
            Self::List { list, times } => Some(repeated(list, times).collect()),
            Self::Map { map, times } => {
                let entries = repeated(map, times).flat_map(|entry: Value| match entry {
                    Value::Object(fields) => fields,
                    other => panic!("{other} is no entry of a map"),
                });
                Some(entries.collect::<Map<_, _>>().into())
            }
        }
    }
}
