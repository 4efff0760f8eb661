//! Route keys and the compiled matcher, against a matcher that is slow and plain to read.
//!
//! The first line is a request (`GET /a/b`), every other line a route key.

#![no_main]

use std::cmp::Ordering;

use libfuzzer_sys::fuzz_target;
use tollgate_engine::route::{MatcherBuilder, Method, MethodKey, RouteKey, Segment, decode_segment, inspect_path};

fuzz_target!(|text: &str| {
    let mut lines = text.lines();
    let request = lines.next().unwrap_or_default();
    let mut builder = MatcherBuilder::default();
    let mut keys = Vec::new();
    for line in lines.take(64) {
        let Ok(key) = line.parse::<RouteKey>() else { continue };
        assert_eq!(key.to_string(), line, "a route key is written as it was read");
        assert_eq!(line.parse::<RouteKey>().as_ref(), Ok(&key));
        let conflict = keys.iter().position(|other: &RouteKey| other.shape() == key.shape());
        let number = u32::try_from(keys.len()).expect("at most 64 keys");
        match builder.insert(&key, number) {
            Ok(()) => assert_eq!(conflict, None, "{key} and {:?} have one shape", keys),
            Err(taken) => {
                assert_eq!(conflict, Some(taken as usize), "{key}: of one shape, {:?}", keys);
                continue;
            }
        }
        keys.push(key);
    }
    let Some((method, path)) = request.split_once(' ') else { return };
    let Ok(method) = http::Method::from_bytes(method.as_bytes()) else { return };
    let Some(method) = Method::of(&method) else { return };
    let Ok(shape) = inspect_path(path) else { return };
    let found = builder.build().find(method, path, shape);
    assert_eq!(found.map(|number| number as usize), slow_find(&keys, method, path), "{request:?} among {keys:?}");
});

/// H-ROUTE-16 to H-ROUTE-22 read aloud: of all keys that match, the first by precedence.
fn slow_find(keys: &[RouteKey], method: Method, path: &str) -> Option<usize> {
    let matching = (0..keys.len()).filter(|&index| matches(&keys[index], method, path));
    matching.min_by(|&a, &b| precedence(&keys[a], &keys[b]))
}

fn matches(key: &RouteKey, method: Method, path: &str) -> bool {
    let RouteKey::Path { method: wanted, path: template } = key else { return true };
    if !matches!(wanted, MethodKey::Any) && *wanted != MethodKey::Exact(method) {
        return false;
    }
    let segments: Vec<&str> = path[1..].split('/').collect();
    let template = template.segments();
    let greedy = matches!(template.last(), Some(Segment::Greedy(_)));
    let fixed = template.len() - usize::from(greedy);
    let long_enough = if greedy { segments.len() > fixed } else { segments.len() == fixed };
    long_enough
        && template[..fixed].iter().zip(&segments).all(|(wanted, segment)| match wanted {
            Segment::Literal(text) => {
                decode_segment(segment.as_bytes()).is_some_and(|decoded| *decoded == *text.as_bytes())
            }
            Segment::Variable(_) => !segment.is_empty(),
            Segment::Greedy(_) => unreachable!("a greedy variable is the last segment"),
        })
}

fn precedence(a: &RouteKey, b: &RouteKey) -> Ordering {
    let class = |key: &RouteKey| match key {
        RouteKey::Default => 2,
        RouteKey::Path { path, .. } => u8::from(matches!(path.segments().last(), Some(Segment::Greedy(_)))),
    };
    let ranks = |key: &RouteKey| -> Vec<u8> {
        let rank = |segment: &Segment| match segment {
            Segment::Literal(_) => 0,
            Segment::Variable(_) => 1,
            Segment::Greedy(_) => 2,
        };
        key.path().map(|path| path.segments().iter().map(rank).collect()).unwrap_or_default()
    };
    let any = |key: &RouteKey| matches!(key, RouteKey::Path { method: MethodKey::Any, .. });
    class(a).cmp(&class(b)).then_with(|| ranks(a).cmp(&ranks(b))).then_with(|| any(a).cmp(&any(b)))
}
