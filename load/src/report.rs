//! Problems as people and programs read them.
//!
//! The JSON of `tollgate check --output json` is a contract: fields are only added, `formatVersion` is raised otherwise.

use std::collections::BTreeMap;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use serde::Serialize;

use crate::Skipped;
use crate::problem::{MAX_PROBLEMS, ObjectKey, Place, Problem};
use crate::yaml::Position;

/// Sorted by file and line, without repetitions, at most [`MAX_PROBLEMS`]; the number says how many were cut off.
pub fn arrange(mut problems: Vec<Problem>) -> (Vec<Problem>, usize) {
    problems.sort_by_cached_key(|problem| (problem.order(), problem.field.clone(), problem.message.clone()));
    problems.dedup();
    let cut = problems.len().saturating_sub(MAX_PROBLEMS);
    problems.truncate(MAX_PROBLEMS);
    (problems, cut)
}

/// One problem the way compilers print them, with a line break at the end.
pub fn human(problem: &Problem, colours: bool) -> String {
    let renderer = if colours { Renderer::styled() } else { Renderer::plain() };
    let line = problem.place.as_ref().and_then(shown_line);
    let title = Level::ERROR.primary_title(problem.message.as_str()).id(problem.code.as_str());
    let mut group = Group::with_title(title);
    match (&problem.place, &line) {
        (Some(place), Some(line)) => {
            let mut annotation = AnnotationKind::Primary.span(line.range.clone());
            if !problem.field.is_empty() {
                annotation = annotation.label(problem.field.as_str());
            }
            let snippet = Snippet::source(line.text.as_str()).path(place.source.path.to_string_lossy());
            group = group.element(snippet.line_start(line.number).annotation(annotation));
        }
        (Some(place), None) => {
            let Position { line, column } = place.span.start;
            let mut origin = Origin::path(place.source.path.to_string_lossy());
            if line > 0 {
                origin = origin.line(line as usize).char_column(column as usize);
            }
            group = group.element(origin);
            if !problem.field.is_empty() {
                group = group.element(Level::NOTE.message(format!("field {}", problem.field)));
            }
        }
        (None, _) => {}
    }
    if let Some(object) = &problem.object {
        group = group.element(Level::NOTE.message(format!("in {object}")));
    }
    // The snippet shows the value where it stands, unless that is not its line; a map or list says little in one line.
    let visible = |value: &str| {
        value.starts_with(['{', '['])
            || line.as_ref().is_some_and(|line| line.text.contains(value.trim_end_matches('…').trim_matches('"')))
    };
    if let Some(value) = problem.value.as_deref().filter(|value| !visible(value)) {
        group = group.element(Level::NOTE.message(format!("the value is {value}")));
    }
    if let Some((place, why)) = &problem.related {
        group = group.element(Level::NOTE.message(format!("{place}: {why}")));
    }
    if let Some(fix) = &problem.fix {
        group = group.element(Level::HELP.message(fix.as_str()));
    }
    format!("{}\n", renderer.render(&[group]))
}

struct ShownLine {
    text: String,
    number: usize,
    range: std::ops::Range<usize>,
}

/// The line of a place, if it may be shown and is still what it was.
fn shown_line(place: &Place) -> Option<ShownLine> {
    let number = place.span.start.line as usize;
    let text = place.source.text.lines().nth(number.checked_sub(1)?).filter(|_| place.showable)?;
    let byte = |column: u32| {
        let characters = (column as usize).saturating_sub(1);
        text.char_indices().nth(characters).map_or(text.len(), |(offset, _)| offset)
    };
    let start = byte(place.span.start.column);
    let same_line = place.span.end.line == place.span.start.line;
    let end = if same_line { byte(place.span.end.column) } else { text.trim_end().len() };
    Some(ShownLine { text: text.to_owned(), number, range: start..end.max(start) })
}

/// What was read, as both outputs count it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Files.
    pub files: usize,
    /// Objects that are in force.
    pub objects: usize,
}

/// The document that `--output json` prints.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JsonReport<'a> {
    format_version: u32,
    ok: bool,
    files: usize,
    objects: usize,
    /// How many problems `problems` leaves out.
    omitted_problems: usize,
    problems: Vec<JsonProblem<'a>>,
    skipped: Vec<JsonSkipped<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct JsonProblem<'a> {
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<&'a ObjectKey>,
    #[serde(skip_serializing_if = "str::is_empty")]
    field: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<&'a str>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct JsonSkipped<'a> {
    api_version: &'a str,
    kind: &'a str,
    count: usize,
}

/// The report as JSON; `problems` as [`arrange`] gives them.
pub fn json(counts: &Counts, problems: &[Problem], omitted: usize, skipped: &[Skipped]) -> String {
    let report = JsonReport {
        format_version: 1,
        ok: problems.is_empty(),
        files: counts.files,
        objects: counts.objects,
        omitted_problems: omitted,
        problems: problems.iter().map(json_problem).collect(),
        skipped: by_kind(skipped)
            .into_iter()
            .map(|((api_version, kind), count)| JsonSkipped { api_version, kind, count })
            .collect(),
    };
    serde_json::to_string_pretty(&report).expect("text, numbers and lists are JSON")
}

fn json_problem(problem: &Problem) -> JsonProblem<'_> {
    let start = problem.place.as_ref().map(|place| place.span.start).filter(|start| start.line > 0);
    JsonProblem {
        code: &problem.code,
        file: problem.place.as_ref().map(|place| place.source.path.display().to_string()),
        line: start.map(|start| start.line),
        column: start.map(|start| start.column),
        object: problem.object.as_ref(),
        field: &problem.field,
        value: problem.value.as_deref(),
        message: &problem.message,
        fix: problem.fix.as_deref(),
    }
}

/// `4 files, 12 objects: no problems` and what was passed over.
pub fn summary(counts: &Counts, problems: usize, omitted: usize, skipped: &[Skipped]) -> String {
    let files = plural(counts.files, "file");
    let objects = plural(counts.objects, "object");
    let outcome = match problems + omitted {
        0 => "no problems".to_owned(),
        count => plural(count, "problem"),
    };
    let mut text = format!("{files}, {objects} in force: {outcome}\n");
    if omitted > 0 {
        text += &format!("the last {omitted} are not shown\n");
    }
    let kinds: Vec<String> =
        by_kind(skipped).into_iter().map(|((version, kind), count)| format!("{kind} ({version}) × {count}")).collect();
    if !kinds.is_empty() {
        text += &format!("passed over, not for Tollgate: {}\n", kinds.join(", "));
    }
    text
}

/// `1 file`, `2 files`.
pub fn plural(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

fn by_kind(skipped: &[Skipped]) -> BTreeMap<(&str, &str), usize> {
    let mut kinds = BTreeMap::new();
    for Skipped { api_version, kind } in skipped {
        *kinds.entry((api_version.as_str(), kind.as_str())).or_default() += 1;
    }
    kinds
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;
    use crate::problem::Source;

    fn problems(text: &str) -> Vec<Problem> {
        arrange(parse(Source { path: "dir/x.yaml".into(), text: text.to_owned() }).problems).0
    }

    #[test]
    fn a_problem_is_printed_with_its_line() {
        let text = "apiVersion: v1\nkind: Service\nmetadata: {name: orders}\nspec:\n  prots: []\n";
        let expected = "\
error[UnknownField]: unknown field \"prots\"
 --> dir/x.yaml:5:3
  |
5 |   prots: []
  |   ^^^^^ spec.prots
  |
  = note: in Service default/orders
  = help: did you mean \"ports\"?
";
        assert_eq!(human(&problems(text)[0], false), expected);
    }

    #[test]
    fn a_secret_is_not_printed() {
        let text = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {password: 12345}\n";
        let shown = human(&problems(text)[0], false);
        assert!(shown.contains("dir/x.yaml:4:24"), "{shown}");
        assert!(shown.contains("stringData.password"), "{shown}");
        assert!(!shown.contains("12345"), "{shown}");
    }

    #[test]
    fn the_json_report_has_the_documented_shape() {
        let text = "apiVersion: v1\nkind: Service\nmetadata: {name: orders}\nspec: {prots: []}\n---\nkind: [\n";
        let problems = problems(text);
        let skipped = [Skipped { api_version: "v1".into(), kind: "Namespace".into() }];
        let json = json(&Counts { files: 1, objects: 0 }, &problems, 0, &skipped);
        let report: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(report["formatVersion"], 1);
        assert_eq!(report["ok"], false);
        assert_eq!(
            report["problems"][0],
            serde_json::json!({
                "code": "UnknownField", "file": "dir/x.yaml", "line": 4, "column": 8,
                "object": {"apiVersion": "v1", "kind": "Service", "namespace": "default", "name": "orders"},
                "field": "spec.prots", "value": "[]", "message": "unknown field \"prots\"", "fix": "did you mean \"ports\"?"
            })
        );
        assert_eq!(report["problems"][1]["code"], "InvalidYaml");
        assert_eq!(report["skipped"], serde_json::json!([{"apiVersion": "v1", "kind": "Namespace", "count": 1}]));
    }
}
