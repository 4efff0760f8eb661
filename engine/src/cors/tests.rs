use proptest::prelude::*;

use super::*;

fn strings(items: &[&str]) -> Vec<String> {
    items.iter().map(|item| (*item).to_owned()).collect()
}

fn compiled(config: &snapshot::Cors) -> Cors {
    Cors::compile(config).unwrap()
}

/// The configuration of case C60.
fn c60() -> snapshot::Cors {
    snapshot::Cors {
        allow_origins: strings(&["https://a.example"]),
        allow_methods: strings(&["GET", "POST"]),
        allow_headers: strings(&["Content-Type"]),
        max_age: Some(300),
        ..snapshot::Cors::default()
    }
}

fn origins(items: &[&str]) -> snapshot::Cors {
    snapshot::Cors { allow_origins: strings(items), ..snapshot::Cors::default() }
}

fn preflight(cors: &Cors, origin: &str) -> Vec<String> {
    let mut out = HeaderMap::new();
    cors.preflight(Some(&HeaderValue::from_str(origin).unwrap()), &mut out);
    lines(&out)
}

fn actual(cors: &Cors, origin: Option<&str>, mut out: HeaderMap) -> Vec<String> {
    let origin = origin.map(|origin| HeaderValue::from_str(origin).unwrap());
    cors.actual(origin.as_ref(), &mut out);
    lines(&out)
}

fn lines(headers: &HeaderMap) -> Vec<String> {
    let mut lines: Vec<_> =
        headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    lines.sort();
    lines
}

/// Proves H-CORS-9, H-CORS-17.
#[test]
fn preflight_of_an_allowed_origin() {
    assert_eq!(
        preflight(&compiled(&c60()), "https://a.example"),
        [
            "access-control-allow-headers: content-type",
            "access-control-allow-methods: GET,POST",
            "access-control-allow-origin: https://a.example",
            "access-control-max-age: 300",
            "vary: Origin",
        ]
    );
}

/// Proves H-CORS-10.
#[test]
fn preflight_of_another_origin_has_no_header() {
    assert!(preflight(&compiled(&c60()), "https://b.example").is_empty());
}

/// Proves H-CORS-9.
#[test]
fn preflight_with_everything_configured() {
    let cors = snapshot::Cors {
        allow_headers: strings(&["X-One", "*"]),
        allow_methods: strings(&["*"]),
        expose_headers: strings(&["X-A", "x-b"]),
        allow_credentials: true,
        max_age: Some(-1),
        ..c60()
    };
    assert_eq!(
        preflight(&compiled(&cors), "https://a.example"),
        [
            "access-control-allow-credentials: true",
            "access-control-allow-headers: *",
            "access-control-allow-methods: *",
            "access-control-allow-origin: https://a.example",
            "access-control-expose-headers: x-a,x-b",
            "access-control-max-age: -1",
            "vary: Origin",
        ]
    );
    let cors = snapshot::Cors { max_age: Some(0), ..origins(&["*"]) };
    assert_eq!(preflight(&compiled(&cors), "https://a.example"), ["access-control-allow-origin: *"]);
}

/// Proves H-CORS-12, H-CORS-2.
#[test]
fn origins_are_compared_as_sent() {
    let table: [(&[&str], &str, bool); 14] = [
        (&["https://a.example"], "https://a.example", true),
        (&["https://a.example"], "https://A.example", false),
        (&["https://a.example"], "https://a.example:443", false),
        (&["https://a.example"], "http://a.example", false),
        (&["https://a.example:8443"], "https://a.example:8443", true),
        (&["https://*"], "https://whatever.example", true),
        (&["https://*"], "http://whatever.example", false),
        (&["https://*"], "https://", false),
        (&["http://*"], "http://whatever.example:81", true),
        (&["http://*", "https://b.example"], "https://b.example", true),
        (&["https://*", "http://*"], "null", false),
        (&["*"], "null", true),
        (&["capacitor://localhost"], "capacitor://localhost", true),
        (&[], "https://a.example", false),
    ];
    for (list, origin, allowed) in table {
        let cors = compiled(&origins(list));
        let value = HeaderValue::from_str(origin).unwrap();
        assert_eq!(cors.actual(Some(&value), &mut HeaderMap::new()), allowed, "{list:?} {origin}");
    }
}

/// Proves H-CORS-13, H-CORS-15, H-CORS-16.
#[test]
fn other_answers_have_origin_credentials_and_exposed_headers() {
    let cors = compiled(&snapshot::Cors { expose_headers: strings(&["X-A"]), allow_credentials: true, ..c60() });
    assert_eq!(
        actual(&cors, Some("https://a.example"), HeaderMap::new()),
        [
            "access-control-allow-credentials: true",
            "access-control-allow-origin: https://a.example",
            "access-control-expose-headers: x-a",
            "vary: Origin",
        ]
    );
    assert!(actual(&cors, Some("https://b.example"), HeaderMap::new()).is_empty());
    assert!(actual(&cors, None, HeaderMap::new()).is_empty());
}

/// Proves H-CORS-14.
#[test]
fn headers_of_the_backend_are_removed_first() {
    let backend = || {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("access-control-allow-origin", "*"),
            ("access-control-allow-origin", "https://z.example"),
            ("access-control-allow-private-network", "true"),
            ("content-type", "text/plain"),
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        strip(&mut headers);
        headers
    };
    let cors = compiled(&c60());
    assert_eq!(
        actual(&cors, Some("https://a.example"), backend()),
        ["access-control-allow-origin: https://a.example", "content-type: text/plain", "vary: Origin"]
    );
    assert_eq!(actual(&cors, None, backend()), ["content-type: text/plain"]);
}

/// Proves H-CORS-17.
#[test]
fn vary_is_added_once_and_not_for_a_star() {
    let cors = compiled(&c60());
    for (backend, expected) in [
        ("Accept-Encoding", vec!["vary: Accept-Encoding", "vary: Origin"]),
        ("accept, ORIGIN", vec!["vary: accept, ORIGIN"]),
        ("*", vec!["vary: *"]),
    ] {
        let headers = HeaderMap::from_iter([(VARY, HeaderValue::from_static(backend))]);
        assert_eq!(actual(&cors, Some("https://a.example"), headers)[1..], expected);
    }
    assert_eq!(
        actual(&compiled(&origins(&["*"])), Some("https://a.example"), HeaderMap::new()),
        ["access-control-allow-origin: *"]
    );
}

/// Proves H-CORS-6.
#[test]
fn what_a_preflight_is() {
    let both = HeaderMap::from_iter([
        (ORIGIN, HeaderValue::from_static("https://a.example")),
        (ACCESS_CONTROL_REQUEST_METHOD, HeaderValue::from_static("GET")),
    ]);
    assert!(is_preflight(&Method::OPTIONS, &both));
    assert!(!is_preflight(&Method::GET, &both));
    for name in [ORIGIN, ACCESS_CONTROL_REQUEST_METHOD] {
        let mut one = both.clone();
        one.remove(name);
        assert!(!is_preflight(&Method::OPTIONS, &one));
    }
}

fn problem_paths(config: &snapshot::Cors) -> Vec<String> {
    Cors::compile(config).err().unwrap_or_default().into_iter().map(|problem| problem.path).collect()
}

/// Proves H-CORS-1, H-CORS-2, H-CORS-3, H-CORS-4.
#[test]
fn bad_configurations_name_the_field() {
    for bad in [
        "a.example",
        "https://a.example/",
        "https://a.example/x",
        "https://*.example.com",
        "https://",
        "https://a.example:x",
        "https://a.example:70000",
        "https://a.example:1:2",
        "https://a b",
        "https://[::1",
        "https://[zz]",
        "1https://a.example",
        "null",
        "",
    ] {
        assert_eq!(problem_paths(&origins(&["*", bad])), ["allowOrigins[1]"], "{bad}");
    }
    for good in ["https://[::1]:8080", "http://localhost:3000", "https://xn--a.example", "chrome-extension://abcdef"] {
        assert!(problem_paths(&origins(&[good])).is_empty(), "{good}");
    }
    let bad = snapshot::Cors {
        allow_origins: strings(&["*"]),
        allow_methods: strings(&["GET", "get", "TRACE"]),
        allow_headers: strings(&["x y", "X-Fine"]),
        expose_headers: strings(&[""]),
        allow_credentials: true,
        max_age: Some(86_401),
    };
    assert_eq!(
        problem_paths(&bad),
        ["allowOrigins[0]", "allowMethods[1]", "allowMethods[2]", "allowHeaders[0]", "exposeHeaders[0]", "maxAge"]
    );
    assert_eq!(problem_paths(&snapshot::Cors { max_age: Some(-2), ..c60() }), ["maxAge"]);
    let many = snapshot::Cors { allow_methods: vec!["GET".to_owned(); MAX_ITEMS + 1], ..c60() };
    assert_eq!(problem_paths(&many), ["allowMethods"]);
}

/// Proves H-CORS-4.
#[test]
fn a_star_for_methods_and_headers_goes_with_credentials() {
    let config = snapshot::Cors {
        allow_methods: strings(&["*"]),
        allow_headers: strings(&["*"]),
        allow_credentials: true,
        ..c60()
    };
    assert!(problem_paths(&config).is_empty());
}

proptest! {
    #[test]
    fn any_configuration_compiles_or_is_refused(
        lists in prop::collection::vec(prop::collection::vec(any::<String>(), 0..4), 4), credentials: bool, max_age: Option<i32>
    ) {
        let config = snapshot::Cors {
            allow_origins: lists[0].clone(),
            allow_methods: lists[1].clone(),
            allow_headers: lists[2].clone(),
            expose_headers: lists[3].clone(),
            allow_credentials: credentials,
            max_age,
        };
        let _ = Cors::compile(&config);
    }

    /// Proves H-CORS-12.
    #[test]
    fn an_exact_origin_allows_only_itself(origin in "https?://[a-z]{1,5}(:[1-9][0-9]{0,3})?", sent in "https?://[a-z]{1,5}(:[1-9][0-9]{0,3})?") {
        let cors = compiled(&origins(&[&origin]));
        let value = HeaderValue::from_str(&sent).unwrap();
        prop_assert_eq!(cors.actual(Some(&value), &mut HeaderMap::new()), origin == sent);
    }
}
