use super::*;

fn json(text: &str) -> Vec<Value> {
    documents(text).into_iter().map(|document| document.root.expect("parses").to_json()).collect()
}

fn errors(text: &str) -> Vec<(u32, u32, String)> {
    let failed = documents(text).into_iter().filter_map(|document| document.root.err()).flatten();
    failed.map(|error| (error.span.start.line, error.span.start.column, error.rule)).collect()
}

#[test]
fn documents_are_split_and_empty_ones_left_out() {
    let text = "\u{feff}# head\n---\na: 1\n---\n# nothing\n---\nb: [x, {c: d}]\n...\n---\n{\"e\": null}\n";
    assert_eq!(
        json(text),
        [serde_json::json!({"a": 1}), serde_json::json!({"b": ["x", {"c": "d"}]}), serde_json::json!({"e": null})]
    );
}

#[test]
fn nodes_know_their_place() {
    let documents = documents("---\nx: 1\n---\na:\n  - b: \"ä\"\n    c: 2\n");
    let root = documents[1].root.as_ref().expect("parses");
    let Content::List(items) = &root.child("a").expect("a").content else { panic!("a list") };
    let c = items[0].entry("c").expect("c");
    assert_eq!(c.key_span.start, Position { line: 6, column: 5 });
    assert_eq!(c.value.span.start, Position { line: 6, column: 8 });
    assert_eq!(documents[1].lines, 3..7);
}

#[test]
fn a_document_that_does_not_parse_leaves_its_neighbours() {
    let documents = documents("a: 1\n---\nb: [\n---\nc: 3\n");
    let parsed: Vec<_> = documents.iter().map(|document| document.root.is_ok()).collect();
    assert_eq!(parsed, [true, false, true]);
}

#[test]
fn a_key_that_stands_twice_is_refused_and_all_are_named() {
    assert_eq!(
        errors("a: 1\nb: 2\na: 3\nb: 4\n"),
        [
            (3, 1, "key \"a\" stands twice in this map, first in line 1".to_owned()),
            (4, 1, "key \"b\" stands twice in this map, first in line 2".to_owned()),
        ]
    );
}

#[test]
fn merge_keys_fill_what_a_map_lacks() {
    let text = "base: &b {p: 1, q: 2}\nmore: &m {q: 3, r: 4}\none: {<<: *b, p: 9}\ntwo: {<<: [*b, *m]}\n";
    let root = &json(text)[0];
    assert_eq!(root["one"], serde_json::json!({"p": 9, "q": 2}));
    assert_eq!(root["two"], serde_json::json!({"p": 1, "q": 2, "r": 4}));
    assert_eq!(errors("a: {<<: 5}\n")[0].2, "'<<' merges maps, this is a number");
    assert_eq!(json("a: '<<'\n\"<<\": 1\n")[0], serde_json::json!({"a": "<<", "<<": 1}));
}

#[test]
fn a_billion_laughs_are_refused() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..20 {
        let alias = format!("*a{}", level - 1);
        text += &format!("a{level}: &a{level} [{}]\n", vec![alias; 9].join(", "));
    }
    assert!(errors(&text)[0].2.contains("more than 200000 nodes"), "{:?}", errors(&text));
}

#[test]
fn depth_is_bounded_also_through_aliases() {
    assert!(errors(&("[".repeat(100) + &"]".repeat(100)))[0].2.contains("deeper than 64"));
    let mut text = "a0: &a0 x\n".to_owned();
    for level in 1..80 {
        text += &format!("a{level}: &a{level} {{k: *a{}}}\n", level - 1);
    }
    assert!(errors(&text)[0].2.contains("deeper than 64"));
}

#[test]
fn tags_and_odd_keys_are_refused() {
    assert!(errors("a: !secret x\n")[0].2.contains("!secret"));
    assert!(errors("{[a]: b}\n")[0].2.contains("a key is a list or a map"));
    assert!(errors("~: b\n")[0].2.contains("a key is null"));
    assert!(errors("a: &x [*x]\n")[0].2.contains("alias"));
    assert!(errors("a: *nowhere\n")[0].2.contains("not YAML"));
    assert_eq!(json("a: !!str 5\nb: !!int \"5\"\n1: c\n"), [serde_json::json!({"a": "5", "b": 5, "1": "c"})]);
}

#[test]
fn a_tab_is_named() {
    let documents = documents("a:\n\tb: 1\n");
    let errors = documents[0].root.as_ref().expect_err("a tab is no indentation");
    assert_eq!(errors[0].fix.as_deref(), Some("indent with spaces, YAML allows no tabs there"));
}
