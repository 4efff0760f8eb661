use proptest::prelude::*;

use super::*;
use crate::route::inspect_path;

fn matcher(keys: &[&str]) -> Matcher {
    let mut builder = MatcherBuilder::default();
    for (index, key) in (0..).zip(keys) {
        builder.insert(&key.parse().unwrap(), index).unwrap();
    }
    builder.build()
}

fn find<'k>(keys: &[&'k str], method: Method, path: &str) -> Option<&'k str> {
    let shape = inspect_path(path).unwrap();
    matcher(keys).find(method, path, shape).map(|route| keys[route as usize])
}

const PETS: [&str; 5] = ["GET /pets/dog/1", "GET /pets/dog/{id}", "GET /pets/{proxy+}", "ANY /{proxy+}", "$default"];

/// Proves H-ROUTE-16, H-ROUTE-17, H-ROUTE-18, C1, C2, C3, C4.
#[test]
fn the_documented_example() {
    assert_eq!(find(&PETS, Method::Get, "/pets/dog/1"), Some(PETS[0]));
    assert_eq!(find(&PETS, Method::Get, "/pets/dog/2"), Some(PETS[1]));
    assert_eq!(find(&PETS, Method::Get, "/pets/cat/1"), Some(PETS[2]));
    assert_eq!(find(&PETS, Method::Post, "/test/5"), Some(PETS[3]));
    assert_eq!(find(&["GET /pets", "$default"], Method::Get, "/x"), Some("$default"));
}

/// Proves H-ROUTE-18, H-ROUTE-19, C5, C6.
#[test]
fn method_is_looked_at_after_the_path() {
    assert_eq!(find(&["ANY /pets/{id}", "GET /{proxy+}"], Method::Get, "/pets/5"), Some("ANY /pets/{id}"));
    assert_eq!(find(&["GET /pets", "ANY /{proxy+}"], Method::Post, "/pets"), Some("ANY /{proxy+}"));
    assert_eq!(find(&["GET /pets", "ANY /pets"], Method::Get, "/pets"), Some("GET /pets"));
    assert_eq!(find(&["GET /pets"], Method::Post, "/pets"), None);
    // A literal whose method does not match gives way to a variable of the same class.
    assert_eq!(find(&["GET /pets/dog", "POST /pets/{id}"], Method::Post, "/pets/dog"), Some("POST /pets/{id}"));
    assert_eq!(find(&["GET /a/{x+}", "POST /{y+}"], Method::Post, "/a/b"), Some("POST /{y+}"));
}

/// Proves H-ROUTE-7, H-ROUTE-20, H-ROUTE-21, H-ROUTE-22, H-ROUTE-23, C7, C8, C9, C11.
#[test]
fn segments_are_whole_and_slashes_count() {
    assert_eq!(find(&["GET /pets"], Method::Get, "/pets/"), None);
    assert_eq!(find(&["GET /pets/"], Method::Get, "/pets/"), Some("GET /pets/"));
    assert_eq!(find(&["GET /pets/{proxy+}"], Method::Get, "/pets"), None);
    assert_eq!(find(&["GET /pets/{proxy+}"], Method::Get, "/pets/"), Some("GET /pets/{proxy+}"));
    assert_eq!(find(&["ANY /{proxy+}"], Method::Get, "/"), Some("ANY /{proxy+}"));
    assert_eq!(find(&["GET /pets"], Method::Get, "/Pets"), None);
    assert_eq!(find(&["GET /pets/{id}"], Method::Get, "/pets/"), None);
    assert_eq!(find(&["GET /pets/{id}"], Method::Get, "/pets/1/2"), None);
    assert_eq!(find(&["GET /"], Method::Get, "/"), Some("GET /"));
}

/// Proves H-ROUTE-24, H-ROUTE-25.
#[test]
fn matching_is_on_decoded_segments() {
    assert_eq!(find(&["GET /pets"], Method::Get, "/p%65ts"), Some("GET /pets"));
    assert_eq!(find(&["GET /a/b", "GET /{x}"], Method::Get, "/a%2Fb"), Some("GET /{x}"));
    assert_eq!(find(&["GET /a%2Fb"], Method::Get, "/a%2fb"), Some("GET /a%2Fb"));
    assert_eq!(find(&["GET /a/{x}/b"], Method::Get, "/a//b"), None);
    assert_eq!(find(&["GET /a/{x+}"], Method::Get, "/a//b"), Some("GET /a/{x+}"));
}

/// Proves H-ROUTE-27, H-ROUTE-28, H-ROUTE-29.
#[test]
fn methods_stand_for_themselves() {
    assert_eq!(find(&["GET /pets"], Method::Head, "/pets"), None);
    assert_eq!(find(&["ANY /pets"], Method::Head, "/pets"), Some("ANY /pets"));
    assert_eq!(find(&["GET /pets"], Method::Options, "/pets"), None);
    for name in ["TRACE", "PROPFIND", "get", "CONNECT"] {
        assert_eq!(Method::of(&http::Method::from_bytes(name.as_bytes()).unwrap()), None);
    }
}

/// Proves H-ROUTE-6.
#[test]
fn a_key_is_taken_once() {
    let mut builder = MatcherBuilder::default();
    assert_eq!(builder.insert(&"GET /pets/{id}".parse().unwrap(), 7), Ok(()));
    assert_eq!(builder.insert(&"GET /pets/{petId}".parse().unwrap(), 8), Err(7));
    assert_eq!(builder.insert(&"GET /pets/{id+}".parse().unwrap(), 8), Ok(()));
}

/// The precedence as the specification words it, by comparing every pair of candidates.
fn reference<'k>(keys: &[&'k str], method: Method, path: &str) -> Option<&'k str> {
    let parts: Vec<&str> = path[1..].split('/').collect();
    let rank = |key: &RouteKey| -> Option<(u8, Vec<u8>, u8)> {
        let RouteKey::Path { method: wanted, path } = key else { return Some((2, vec![], 0)) };
        let exactness = match wanted {
            MethodKey::Any => 1,
            MethodKey::Exact(exact) if *exact == method => 0,
            MethodKey::Exact(_) => return None,
        };
        let mut ranks = Vec::new();
        for (index, segment) in path.segments().iter().enumerate() {
            let part = parts.get(index)?;
            match segment {
                Segment::Literal(text) if text == part => ranks.push(0),
                Segment::Variable(_) if !part.is_empty() => ranks.push(1),
                Segment::Greedy(_) => {
                    ranks.push(2);
                    return Some((1, ranks, exactness));
                }
                _ => return None,
            }
        }
        (parts.len() == ranks.len()).then_some((0, ranks, exactness))
    };
    keys.iter()
        .filter_map(|key| rank(&key.parse().unwrap()).map(|rank| (rank, *key)))
        .min_by(|a, b| a.0.cmp(&b.0))
        .map(|(_, key)| key)
}

fn segment() -> impl Strategy<Value = String> {
    prop_oneof![3 => "[ab]", 2 => Just("{v}".to_owned())]
}

fn route_key() -> impl Strategy<Value = String> {
    let method = prop_oneof![Just("GET"), Just("POST"), Just("ANY")];
    let tail = prop_oneof![4 => Just(""), 2 => Just("/{rest+}"), 1 => Just("/")];
    (method, prop::collection::vec(segment(), 0..4), tail).prop_map(|(method, segments, tail)| {
        let mut path = String::new();
        for (index, segment) in segments.iter().enumerate() {
            path.push('/');
            path.push_str(&segment.replace("{v}", &format!("{{v{index}}}")));
        }
        path.push_str(tail);
        if path.is_empty() {
            path.push('/');
        }
        format!("{method} {path}")
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    /// Proves H-ROUTE-16, H-ROUTE-17, H-ROUTE-18, H-ROUTE-19.
    #[test]
    fn agrees_with_the_comparison_of_all_candidates(
        mut keys in prop::collection::vec(route_key(), 1..12),
        with_default in any::<bool>(),
        path in prop::collection::vec("[abc]?", 0..5),
        post in any::<bool>(),
    ) {
        keys.sort();
        keys.dedup();
        let mut keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        if with_default {
            keys.push("$default");
        }
        let path = format!("/{}", path.join("/"));
        let method = if post { Method::Post } else { Method::Get };
        prop_assert_eq!(find(&keys, method, &path), reference(&keys, method, &path));
    }

    /// Proves H-ROUTE-17.
    #[test]
    fn literal_routes_find_themselves(names in prop::collection::hash_set("[a-z]{1,6}(/[a-z]{1,6}){0,4}", 1..200)) {
        let names: Vec<String> = names.into_iter().map(|name| format!("GET /{name}")).collect();
        let keys: Vec<&str> = names.iter().map(String::as_str).collect();
        let matcher = matcher(&keys);
        for (index, key) in (0..).zip(&keys) {
            prop_assert_eq!(matcher.find(Method::Get, &key[4..], PathShape { encoded: false }), Some(index));
        }
    }
}
