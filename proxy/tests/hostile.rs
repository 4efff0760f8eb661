//! Hostile messages from both sides: each is refused, or passed on in one form that nobody can read in two ways.

use std::time::Duration;

use tollgate_testkit::hostile::{Direction, Line, Outcome, Recorder, from_backend, from_client, lines, over_http2};
use tollgate_testkit::{Api, Gateway, service};

/// Runs the lines of one direction against a gateway of their own.
fn run(direction: Direction, play: impl Fn(&Gateway, &Recorder, &Line) -> Outcome) {
    let recorder = Recorder::start();
    let mut gateway = Gateway::with(|settings| settings.limits.head_timeout = Duration::from_secs(1));
    let api = Api::new(&[("$default", service("s"))]).endpoints("s", &[recorder.address]);
    gateway.publish(&api.units());
    let mut failures = Vec::new();
    let only = std::env::var("HOSTILE").ok();
    for line in lines().iter().filter(|line| line.direction == direction) {
        if only.as_ref().is_some_and(|only| !line.name.contains(only)) {
            continue;
        }
        let outcome = play(&gateway, &recorder, line);
        if !outcome.meets(&line.must) {
            failures.push(format!("{}: {}\n   must be {:?}\n   but was {outcome:?}", line.name, line.text, line.must));
        }
    }
    assert!(failures.is_empty(), "{} lines:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn the_table_is_large_and_its_names_are_its_own() {
    let mut names: Vec<_> = lines().into_iter().map(|line| (format!("{:?}", line.direction), line.name)).collect();
    let all = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), all);
    assert!(all >= 300, "{all}");
}

/// Proves H-ROUTE-25.
#[test]
fn clients_over_http_1() {
    run(Direction::Client, |gateway, recorder, line| from_client(gateway.address, recorder, line));
}

#[test]
fn clients_over_http_2() {
    run(Direction::Http2, |gateway, recorder, line| over_http2(gateway.address, gateway.address, recorder, line));
}

#[test]
fn backends() {
    run(Direction::Backend, |gateway, recorder, line| from_backend(gateway.address, recorder, line));
}
