use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;
use tollgate_engine::snapshot::{AuthorizerReport, ContentHash, Problem, Report, UnitId, UnitReport};
use tollgate_translate::{Fleet, Requirement};

use super::*;

fn unit() -> UnitId {
    UnitId::stage("abcdefghij", "prod")
}

fn at(second: i64) -> Time {
    Time(Timestamp::from_second(second).unwrap())
}

fn yes(reason: Reason) -> Verdict {
    Verdict { ok: true, reason, message: String::new() }
}

fn verdict(kind: Kind, revision: u64) -> ObjectVerdict {
    ObjectVerdict {
        object: ObjectRef::new(kind, "a", "x"),
        uid: "uid".into(),
        generation: 3,
        accepted: yes(Reason::Accepted),
        resolved_refs: yes(Reason::ResolvedRefs),
        serving: Serving::When(vec![Requirement { unit: unit(), revision }]),
        api_id: None,
        api_endpoint: None,
        capture: None,
    }
}

/// A feed with the unit at revision 1, and so many proxies of which so many have it.
fn fleet(proxies: u32, acknowledged: u32) -> Proxies {
    let mut all = Proxies::default();
    let hash = ContentHash::of(&1);
    all.published(Fleet::Public, 1, &[(unit(), Some(hash.clone()))]);
    for n in 0..proxies {
        let units = (n < acknowledged).then(|| UnitReport { id: unit(), hash: hash.clone(), problems: vec![] });
        all.report(Fleet::Public, report(n, units.into_iter().collect()), Instant::now());
    }
    all
}

fn report(n: u32, units: Vec<UnitReport>) -> Report {
    Report {
        proxy: format!("p{n}"),
        session: "1".into(),
        fleet: "public".into(),
        ready: true,
        leaving: false,
        full: true,
        units,
        gone: vec![],
        authorizers: vec![],
        usage: None,
    }
}

fn make(verdict: &ObjectVerdict, observed: &Observed, proxies: &Proxies, second: i64) -> ApiDeploymentStatus {
    wanted(verdict, observed, proxies, &Complaints::of(proxies), &at(second))
}

fn says(status: &ApiDeploymentStatus) -> Vec<String> {
    let line = |c: &Condition| format!("{} {} {}", c.type_, c.status, c.reason);
    status.common.conditions.iter().map(line).collect()
}

#[test]
fn all_proxies_make_it_ready() {
    let status = make(&verdict(Kind::Route, 1), &Observed::default(), &fleet(2, 2), 1);
    assert_eq!(
        says(&status),
        ["Accepted True Accepted", "ResolvedRefs True ResolvedRefs", "Programmed True Programmed", "Ready True Ready"]
    );
    assert_eq!(status.common.programmed.as_deref(), Some("2/2"));
    assert_eq!(status.common.observed_generation, Some(3));
    assert!(status.common.conditions.iter().all(|condition| condition.observed_generation == Some(3)));
}

#[test]
fn one_missing_proxy_makes_it_pending() {
    let status = make(&verdict(Kind::Route, 1), &Observed::default(), &fleet(2, 1), 1);
    assert_eq!(says(&status)[2..], ["Programmed False Pending", "Ready False Pending"]);
    assert!(status.common.conditions[2].message.starts_with("1/2 "));
    assert_eq!(difference(&status, &ApiDeploymentStatus::default()), Difference::Pending);
    assert_eq!(news(&status, &ApiDeploymentStatus::default()), None, "waiting is no news");
}

#[test]
fn without_proxies_nothing_is_programmed() {
    let status = make(&verdict(Kind::Route, 1), &Observed::default(), &fleet(0, 0), 1);
    assert_eq!(says(&status)[2..], ["Programmed False NoProxies", "Ready False NoProxies"]);
}

#[test]
fn a_refused_object_says_so_first_and_is_news() {
    let mut refused = verdict(Kind::Route, 1);
    let no = Verdict { ok: false, reason: Reason::Invalid, message: "spec.routeKey: no".into() };
    refused.accepted = no.clone();
    refused.serving = Serving::Nowhere(Verdict { reason: Reason::NotAccepted, ..no });
    let status = make(&refused, &Observed::default(), &fleet(1, 1), 1);
    assert_eq!(says(&status)[3], "Ready False Invalid");
    let before = ApiDeploymentStatus::default();
    assert_eq!(news(&status, &before).map(|news| news.message.as_str()), Some("spec.routeKey: no"));
    assert_eq!(news(&status, &status), None, "told once");
}

#[test]
fn transition_times_stay_while_the_status_stays() {
    let proxies = fleet(1, 1);
    let first = make(&verdict(Kind::Route, 1), &Observed::default(), &proxies, 1);
    let observed = Observed { status: first.clone(), ..Observed::default() };
    let second = make(&verdict(Kind::Route, 1), &observed, &proxies, 2);
    assert_eq!(difference(&second, &first), Difference::None);
    let pending = make(&verdict(Kind::Route, 1), &observed, &fleet(1, 0), 3);
    let times: Vec<_> = pending.common.conditions.iter().map(|c| c.last_transition_time.0.as_second()).collect();
    assert_eq!(times, [1, 1, 3, 3]);
}

#[test]
fn counts_alone_are_not_urgent() {
    let two = make(&verdict(Kind::Route, 1), &Observed::default(), &fleet(2, 2), 1);
    let observed = Observed { status: two.clone(), ..Observed::default() };
    let three = make(&verdict(Kind::Route, 1), &observed, &fleet(3, 3), 2);
    assert_eq!(difference(&three, &two), Difference::Counts);
}

#[test]
fn conditions_of_others_are_left_alone() {
    let proxies = fleet(1, 1);
    let mut status = make(&verdict(Kind::Route, 1), &Observed::default(), &proxies, 1);
    let mut foreign = status.common.conditions[0].clone();
    foreign.type_ = "example.com/Audited".into();
    status.common.conditions.push(foreign);
    let observed = Observed { status: status.clone(), ..Observed::default() };
    assert_eq!(difference(&make(&verdict(Kind::Route, 1), &observed, &proxies, 2), &status), Difference::None);
}

#[test]
fn what_a_proxy_refuses_stands_in_the_condition_of_the_object_at_fault() {
    let mut proxies = fleet(1, 1);
    let problem = |source: &str, path: &str| Problem { source: source.into(), path: path.into(), message: "no".into() };
    let problems = vec![problem("a/x", "routes[0].target"), problem("Integration/a/x", "integrations.x")];
    let units = vec![UnitReport { id: unit(), hash: ContentHash::of(&1), problems }];
    proxies.report(Fleet::Public, report(0, units), Instant::now());
    for (kind, reason) in [
        (Kind::Route, "RefusedByProxy"),
        (Kind::Integration, "RefusedByProxy"),
        (Kind::Authorizer, "Programmed"),
        (Kind::Stage, "Programmed"),
    ] {
        let status = make(&verdict(kind, 1), &Observed::default(), &proxies, 1);
        assert_eq!(status.common.conditions[2].reason, reason, "{kind:?}");
    }
}

#[test]
fn unreachable_keys_are_the_authorizers_condition() {
    let mut proxies = fleet(1, 1);
    let mut unreachable = report(0, vec![UnitReport { id: unit(), hash: ContentHash::of(&1), problems: vec![] }]);
    unreachable.authorizers.push(AuthorizerReport { source: "a/x".into(), message: "https://idp: 503".into() });
    proxies.report(Fleet::Public, unreachable, Instant::now());
    let status = make(&verdict(Kind::Authorizer, 1), &Observed::default(), &proxies, 1);
    assert_eq!(says(&status)[1], "ResolvedRefs False IssuerUnreachable");
    assert_eq!(says(&status)[3], "Ready False IssuerUnreachable");
    let route = make(&verdict(Kind::Route, 1), &Observed::default(), &proxies, 1);
    assert_eq!(says(&route)[1], "ResolvedRefs True ResolvedRefs");
}

#[test]
fn an_unreadable_object_keeps_what_was_said_of_the_version_that_serves() {
    let observed = Observed {
        status: make(&verdict(Kind::Route, 1), &Observed::default(), &fleet(1, 1), 1),
        ..Observed::default()
    };
    let unreadable = Unreadable {
        object: ObjectRef::new(Kind::Route, "a", "x"),
        uid: "uid".into(),
        generation: 4,
        error: "missing field `routeKey`".into(),
    };
    let status = wanted_unreadable(&unreadable, &observed, &at(2));
    let mut lines = says(&status);
    lines.sort();
    assert_eq!(
        lines,
        [
            "Accepted False Invalid",
            "Programmed True Programmed",
            "Ready False Invalid",
            "ResolvedRefs True ResolvedRefs"
        ]
    );
    assert_eq!(status.common.observed_generation, Some(4));
}

#[test]
fn captures_fill_the_fields_of_a_deployment() {
    let mut captured = verdict(Kind::ApiDeployment, 1);
    captured.capture = Some(Capture::Deployed("abc".into()));
    let made = Observed { made_for: Some("abc".into()), ..Observed::default() };
    let status = make(&captured, &made, &fleet(1, 1), 1);
    assert_eq!(status.deployment_id.as_deref(), Some("abc"));
    assert_eq!((status.deployment_status, status.auto_deployed), (Some(DeploymentStatusCode::Deployed), Some(true)));
    captured.capture = Some(Capture::Failed("no routes".into()));
    let status = make(&captured, &Observed::default(), &fleet(1, 1), 1);
    assert_eq!(status.deployment_status_message.as_deref(), Some("no routes"));
    assert_eq!(status.auto_deployed, Some(false));
}

#[test]
fn long_messages_are_cut_at_a_character() {
    assert_eq!(truncated("äöü".repeat(10), 8).len(), 7);
    assert_eq!(truncated("short".into(), 8), "short");
}
