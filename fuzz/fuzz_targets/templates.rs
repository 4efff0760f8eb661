//! Path and URL templates of integrations: parsing, stage variables, splitting a URL, rendering.
//!
//! The first line is the template, the second the value of every variable.

#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use tollgate_engine::template::Template;

fuzz_target!(|text: &str| {
    let (text, value) = text.split_once('\n').unwrap_or((text, "a%2Fb"));
    let Ok(template) = Template::parse(text) else { return };
    let stage: BTreeMap<String, String> = [("v".to_owned(), "/x?y".to_owned())].into();
    let template = template.with_stage(&stage).unwrap_or(template);
    let render = |template: &Template| {
        let mut out = String::new();
        template.render(&mut out, |_| Some(value));
        out
    };
    let whole = render(&template);
    if template.variables().next().is_none() && template.as_text().is_some() {
        assert_eq!(template.as_text(), Some(whole.as_str()));
    }
    let (origin, rest) = template.split_origin();
    assert!(!rest.as_text().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['/', '?'])), "{text:?}");
    // Values are encoded by whether a `?` stands before them, and that is all in the rest.
    if !render(&origin).contains('?') {
        assert_eq!(render(&origin) + &render(&rest), whole, "{text:?}");
    }
});
