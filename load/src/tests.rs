use super::*;

fn load(text: &str) -> Parsed {
    parse(Source { path: "x.yaml".into(), text: text.to_owned() })
}

fn only_problem(text: &str) -> Problem {
    let parsed = load(text);
    assert_eq!(parsed.problems.len(), 1, "{:?}", parsed.problems);
    parsed.problems.into_iter().next().expect("one")
}

#[test]
fn lists_are_unfolded_and_foreign_kinds_skipped() {
    let parsed = load(
        "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: shop}}\n\
         - {apiVersion: v1, kind: Namespace, metadata: {name: shop}}\n",
    );
    assert_eq!(parsed.objects[0].key.to_string(), "ConfigMap shop/a");
    assert_eq!(parsed.skipped[0].kind, "Namespace");
    assert_eq!(parsed.problems, []);
}

#[test]
fn objects_that_cannot_be_named_are_problems() {
    let cases = [
        ("- a\n", "a document is an object"),
        ("kind: Route\n", "no apiVersion"),
        ("apiVersion: v1\nkind: on\n", "kind is a boolean"),
        ("apiVersion: tollgate.dev/v1\nkind: Route\n", "has no kind Route"),
        ("apiVersion: tollgate.dev/v1alpha1\nkind: Rotue\n", "unknown kind \"Rotue\""),
        ("apiVersion: tolgate.dev/v1alpha1\nkind: Route\n", "unknown group"),
        ("apiVersion: v1\nkind: Secret\nmetadata: {}\n", "no metadata.name"),
        ("apiVersion: v1\nkind: Secret\nmetadata: {name: no}\n", "metadata.name false is not a name"),
        ("apiVersion: v1\nkind: Secret\nmetadata: {name: Upper}\n", "is not a name"),
        ("apiVersion: v1\nkind: List\nitems: {}\n", "no list of items"),
    ];
    for (text, message) in cases {
        let problem = only_problem(text);
        assert!(problem.message.contains(message), "{text}: {}", problem.message);
        assert!(problem.fix.is_some(), "{text}");
        assert!(load(text).unnamed, "{text}");
    }
}

#[test]
fn fields_are_found_by_path() {
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  GET /a.b: x\n  list: z\n";
    let object = &load(text).objects[0];
    let line = |path: &str| object.place(path).span.start.line;
    assert_eq!(line("data.GET /a.b"), 5);
    assert_eq!(line("data[\"GET /a.b\"]"), 5);
    assert_eq!(line("data[GET /a.b]"), 5);
    assert_eq!(line("data.missing.deeper"), 4);
    assert_eq!(line("missing"), 2);
    assert_eq!(line(""), 2);
    assert_eq!(object.place("data.list").to_string(), "x.yaml:6:9");
    assert_eq!(object.shown_value("data.list").as_deref(), Some("\"z\""));
}

#[test]
fn secrets_are_not_shown() {
    let problem = only_problem("apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: {password: 12345}\n");
    assert_eq!(problem.value.as_deref(), Some("a number"));
    assert!(!problem.message.contains("12345"), "{}", problem.message);
    assert!(!problem.place.expect("a place").showable);
    let broken = only_problem("apiVersion: v1\nkind: Secret\nstringData: {password: \"hunter2\n");
    assert!(!broken.place.expect("a place").showable);
}
