use serde_json::json;

use super::*;

const A: &str = "aaaaaaaaaabbbbbbbbbbcccccccccc";
const B: &str = "bbbbbbbbbbccccccccccdddddddddd";

fn options() -> Options {
    Options { namespace: Some("shop".into()), secret: "imported".into(), plans: BTreeMap::new() }
}

fn read(text: &str) -> Imported {
    import(text, &options()).expect("the file can be used")
}

fn keys(imported: &Imported) -> Vec<&Value> {
    imported.objects.iter().filter(|object| object["kind"] == "ApiKey").collect()
}

fn warnings(imported: &Imported) -> Vec<String> {
    imported.warnings.iter().map(|warning| format!("{}: {}", warning.line, warning.message)).collect()
}

/// AWS's own example, with columns in another order, in other cases, and one that nobody knows.
///
/// Proves R-KEY-9.
#[test]
fn columns_have_no_case_and_no_order() {
    let text = format!(
        "Color, KEY ,name,description,Enabled,usageplanIds\r\nred,{A}, First key ,An imported key,TRUE,'c7y23b, glvrsr'\r\n,{B},second,\"two, or \"\"more\"\"\",fAlSe,\"gold\"\r\n"
    );
    let imported = read(&text);
    assert_eq!(imported.warnings, []);
    assert_eq!(
        imported.objects,
        [
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "imported-1", "namespace": "shop"}, "type": "Opaque",
                "stringData": {"first-key": A, "second": B}}),
            json!({"apiVersion": "tollgate.dev/v1alpha1", "kind": "ApiKey", "metadata": {"name": "first-key", "namespace": "shop"},
                "spec": {"name": "First key", "description": "An imported key", "enabled": true,
                    "valueFrom": {"secretKeyRef": {"name": "imported-1", "key": "first-key"}},
                    "usagePlanRefs": [{"name": "c7y23b"}, {"name": "glvrsr"}]}}),
            json!({"apiVersion": "tollgate.dev/v1alpha1", "kind": "ApiKey", "metadata": {"name": "second", "namespace": "shop"},
                "spec": {"description": "two, or \"more\"", "enabled": false,
                    "valueFrom": {"secretKeyRef": {"name": "imported-1", "key": "second"}}, "usagePlanRefs": [{"name": "gold"}]}}),
        ]
    );
    for object in keys(&imported) {
        let (_, violations) = tollgate_crds::validate::validate(object, None).expect("a kind of ours");
        assert!(violations.is_empty(), "{violations:?}");
    }
}

/// Proves R-KEY-9.
#[test]
fn rows_that_cannot_be_keys_are_told_with_their_line_and_left_out() {
    let (short, long, name) = ("k".repeat(29), "k".repeat(129), "n".repeat(1025));
    let text = format!(
        "Name,Key,Enabled,UsagePlanIds\nshort,{short}\nlong,{long}\n{name},{A}\n\nblank,{A} {B}\nodd,{A},yes\nplan,{A},,Gold_1\ngood,{B}\n"
    );
    let imported = read(&text);
    assert_eq!(
        warnings(&imported),
        [
            "2: Key has 29 characters: a key that is imported has 30 to 128; the row is left out",
            "3: Key has 129 characters: a key that is imported has 30 to 128; the row is left out",
            "4: Name has 1025 characters: give at most 1024; the row is left out",
            "6: Key has spaces or characters outside ASCII, which headers do not carry: replace it; the row is left out",
            "7: Enabled is \"yes\": write true or false; the row is left out",
            "8: UsagePlanIds has \"Gold_1\", which is no name of an object: say which plan it is with --plan Gold_1=NAME; the row is left out",
        ]
    );
    let names: Vec<&Value> = keys(&imported).into_iter().map(|key| &key["metadata"]["name"]).collect();
    assert_eq!(names, ["good"]);
    let longest = format!("Name,Key\n{},{}\n", "n".repeat(1024), "k".repeat(128));
    assert_eq!((read(&longest).warnings.len(), keys(&read(&longest)).len()), (0, 1));
}

/// Proves R-KEY-4, R-KEY-9.
#[test]
fn the_same_value_again_overwrites() {
    let imported = read(&format!("Name,Key,Enabled\nold,{A}\nother,{B}\nnew,{A},false\n"));
    assert_eq!(warnings(&imported), ["4: the key is that of line 2, which is overwritten"]);
    let said: Vec<_> =
        keys(&imported).iter().map(|key| (key["metadata"]["name"].clone(), key["spec"]["enabled"].clone())).collect();
    assert_eq!(said, [(json!("new"), json!(false)), (json!("other"), json!(true))]);
}

#[test]
fn names_of_objects_are_told_apart_by_value() {
    let imported = read(&format!("Name,Key\nSame Name,{A}\nsame-name,{B}\n"));
    let names: Vec<&str> = keys(&imported).iter().filter_map(|key| key["metadata"]["name"].as_str()).collect();
    let expected: Vec<String> =
        [A, B].map(|value| format!("same-name-{}", &digest(value.as_bytes()).to_hex()[..12])).into();
    assert_eq!(names, expected);
}

/// What kubectl would refuse in every object is told at once.
#[test]
fn names_of_objects_are_checked() {
    use clap::Parser as _;
    let parsed = |arguments: [&str; 2]| {
        let all = ["tollgate", "keys", "import", "-"].into_iter().chain(arguments);
        crate::args::Args::try_parse_from(all).map(drop).map_err(|error| error.to_string())
    };
    for good in [["--namespace", "shop"], ["--secret", "my.keys"], ["--plan", "a1B2=gold"]] {
        assert_eq!(parsed(good), Ok(()), "{good:?}");
    }
    for wrong in [["--namespace", "Shop"], ["--secret", "my_keys"], ["--plan", "a1B2=Gold_1"], ["--plan", "a1B2="]] {
        assert!(parsed(wrong).is_err_and(|message| message.contains("is no name of an object")), "{wrong:?}");
    }
}

#[test]
fn plans_can_be_named() {
    let options = Options { plans: BTreeMap::from([("a1B2".into(), "gold".into())]), ..options() };
    let imported = import(&format!("Name,Key,UsagePlanIds\nx,{A},\"a1B2,gold\"\n"), &options).expect("it can be used");
    assert_eq!(keys(&imported)[0]["spec"]["usagePlanRefs"], json!([{"name": "gold"}]));
}

#[test]
fn many_keys_share_secrets_that_kubectl_can_apply() {
    let mut text = "Name,Key\n".to_owned();
    for number in 0..1001 {
        let _ = writeln!(text, "{},{number:0128}", "n".repeat(60));
    }
    let imported = read(&text);
    let secrets: Vec<&Value> = imported.objects.iter().filter(|object| object["kind"] == "Secret").collect();
    let sizes: Vec<usize> =
        secrets.iter().filter_map(|secret| secret["stringData"].as_object().map(Map::len)).collect();
    assert_eq!(sizes, [500, 500, 1]);
    assert!(secrets.iter().all(|secret| secret.to_string().len() < 256 << 10));
}

#[test]
fn files_that_cannot_be_read_say_where() {
    let said = |text: &str| import(text, &options()).map_err(|error| format!("{}: {}", error.line, error.message));
    let no_key = "1: there is no column Key: the first line names the columns, with Name and Key among them";
    for (text, expected) in [
        ("", "1: the file is empty: begin it with the names of its columns, Name and Key at least"),
        ("Name,Value\n", no_key),
        ("Name,Key,name\n", "1: there are two columns Name: remove one"),
        ("Name,Key\n\"a\nb,c\n", "2: the quote \" is not closed"),
        ("Name,Key\n\"a\nb\",'c' d\n", "3: there is text behind the closing ': double quotes inside of fields"),
    ] {
        assert_eq!(said(text), Err(expected.to_owned()), "{text:?}");
    }
    assert_eq!(read("\u{feff}Name,Key\n").objects, Vec::<Value>::new());
}
