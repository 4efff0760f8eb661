//! Files as `tollgate check` and `tollgate dev` read them: YAML, schema, rules, and telling what is wrong.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate_load::parse;
use tollgate_load::problem::Source;
use tollgate_load::report;

fuzz_target!(|text: &str| {
    let read = |text: &str| parse(Source { path: "fuzz.yaml".into(), text: text.to_owned() });
    let parsed = read(text);
    for problem in &parsed.problems {
        assert!(!report::human(problem, true).is_empty());
        assert!(!report::human(problem, false).is_empty());
    }
    for object in &parsed.objects {
        // JSON is YAML: an object that was accepted is accepted again in that form, and is the same.
        let json = object.json().to_string();
        let again = read(&json);
        assert_eq!(again.problems, [], "{json}");
        assert_eq!(again.objects.len(), 1, "{json}");
        assert_eq!(again.objects[0].json(), object.json());
    }
});
