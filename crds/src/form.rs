//! Patterns of texts, each with words for people: the API server shows the pattern alone.

/// Name of a Kubernetes object.
pub(crate) const OBJECT_NAME: &str = "^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$";
/// Name of a namespace or Service, which has no dots.
pub(crate) const LABEL: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
/// Name of a namespace, or all of them.
pub(crate) const NAMESPACE_OR_ALL: &str = "^([*]|[a-z0-9]([-a-z0-9]*[a-z0-9])?)$";
/// Key of a ConfigMap or Secret.
pub(crate) const DATA_KEY: &str = "^[-._a-zA-Z0-9]+$";
/// Id of an API in its host name.
pub(crate) const API_ID: &str = "^[a-z0-9]{10}$";
/// Name of a function, stage variables in it included.
pub(crate) const FUNCTION_NAME: &str = "^[A-Za-z0-9_.:${}-]+$";
/// A day, as ISO 8601 has it.
pub(crate) const DAY: &str = "^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$";

/// A pattern, what it asks for, and what to do.
type Form = (&'static str, &'static str, &'static str);

const FORMS: [Form; 7] = [
    (
        OBJECT_NAME,
        "has to be a name of lower-case letters, digits, - and . that begins and ends with a letter or digit",
        "write the name as kubectl shows it",
    ),
    (
        LABEL,
        "has to be a name of lower-case letters, digits and - that begins and ends with a letter or digit",
        "write the name as kubectl shows it",
    ),
    (
        NAMESPACE_OR_ALL,
        "has to be the name of a namespace, or '*' for all",
        "write each name in full, as kubectl shows it",
    ),
    (
        DATA_KEY,
        "has to be a key of letters, digits, -, _ and . only",
        "write the key as it stands in the ConfigMap or Secret",
    ),
    (API_ID, "has to be ten lower-case letters and digits", "e.g. a1b2c3d4e5, or remove apiId and one is made"),
    (
        FUNCTION_NAME,
        "has to be a name of letters, digits and -_.: with stage variables as ${stageVariables.NAME}",
        "write the function's name; AWS's base images expect 'function'",
    ),
    (DAY, "has to be a day", "write it as in 2026-11-21"),
];

/// What a pattern of ours asks for, and what to do about a text that does not match it.
pub(crate) fn words(pattern: &str, text: &str) -> (String, String) {
    let Some((_, rule, fix)) = FORMS.iter().find(|(known, ..)| *known == pattern) else {
        return (format!("has to match {pattern}"), "write it in this form".to_owned());
    };
    let near = (pattern == OBJECT_NAME || pattern == LABEL).then(|| as_name(text)).flatten();
    ((*rule).to_owned(), near.map_or_else(|| (*fix).to_owned(), |name| format!("did you mean {name}?")))
}

/// The name that was meant, if the text has anything of a name.
fn as_name(text: &str) -> Option<String> {
    let name: String =
        text.to_ascii_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let name = name.trim_matches('-');
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn patterns(schema: &Value, visit: &mut dyn FnMut(&str)) {
        match schema {
            Value::Object(fields) => {
                if let Some(pattern) = fields.get("pattern").and_then(Value::as_str) {
                    visit(pattern);
                }
                fields.values().for_each(|value| patterns(value, visit));
            }
            Value::Array(items) => items.iter().for_each(|value| patterns(value, visit)),
            _ => {}
        }
    }

    #[test]
    fn every_pattern_has_words_and_every_form_a_field() {
        let mut unused: Vec<&str> = FORMS.iter().map(|(pattern, ..)| *pattern).collect();
        for crd in crate::all() {
            let schema = crd.spec.versions[0].schema.clone().unwrap().open_api_v3_schema.unwrap();
            let spec = serde_json::to_value(&schema.properties.unwrap()["spec"]).unwrap();
            patterns(&spec, &mut |pattern| {
                assert!(FORMS.iter().any(|(known, ..)| *known == pattern), "{pattern}");
                unused.retain(|known| *known != pattern);
            });
        }
        assert!(unused.is_empty(), "{unused:?}");
    }

    #[test]
    fn a_name_is_guessed_from_what_looks_like_one() {
        let fix = |text| words(OBJECT_NAME, text).1;
        assert_eq!(fix("Team_A"), "did you mean team-a?");
        assert_eq!(fix("-"), "write the name as kubectl shows it");
        assert_eq!(words(DATA_KEY, "a/b").1, "write the key as it stands in the ConfigMap or Secret");
    }
}
