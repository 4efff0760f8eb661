//! The feed against scripted controllers, in paused time.

use std::sync::Mutex;

use futures::channel::mpsc;
use tokio::time::Instant as Clock;
use tollgate_engine::snapshot::{Problem, Report};

use super::*;

/// One controller whose feed the test writes. It can be away, and it can ask for a full report.
#[derive(Clone, Default)]
struct Fake {
    state: Arc<Mutex<FakeState>>,
}

#[derive(Default)]
struct FakeState {
    away: bool,
    opened: Vec<(Clock, mpsc::UnboundedSender<Result<Bytes, String>>)>,
    tries: usize,
    reports: Vec<Report>,
    resend: bool,
}

impl Transport for Fake {
    async fn controllers(&self) -> Vec<Controller> {
        vec![Controller { url: Uri::from_static("https://controller"), address: ([192, 0, 2, 1], 443).into() }]
    }

    async fn open(&self, _: &Controller) -> Result<Chunks, String> {
        let mut state = self.state.lock().unwrap();
        state.tries += 1;
        if state.away {
            return Err("connection refused".into());
        }
        let (sender, receiver) = mpsc::unbounded();
        state.opened.push((Clock::now(), sender));
        Ok(receiver.boxed())
    }

    async fn report(&self, _: &Controller, report: Bytes) -> Result<ReportAnswer, String> {
        let mut state = self.state.lock().unwrap();
        if state.away {
            return Err("connection refused".into());
        }
        let report: Report = serde_json::from_slice(&report).unwrap();
        let resend = std::mem::take(&mut state.resend) && !report.full;
        state.reports.push(report);
        Ok(ReportAnswer { resend })
    }
}

impl Fake {
    fn say(&self, lines: &str) {
        let state = self.state.lock().unwrap();
        state.opened.last().unwrap().1.unbounded_send(Ok(Bytes::copy_from_slice(lines.as_bytes()))).unwrap();
    }

    fn hang_up(&self) {
        self.state.lock().unwrap().opened.last().unwrap().1.close_channel();
    }

    fn streams(&self) -> usize {
        self.state.lock().unwrap().opened.len()
    }

    fn take_reports(&self) -> Vec<Report> {
        std::mem::take(&mut self.state.lock().unwrap().reports)
    }

    fn with<R>(&self, change: impl FnOnce(&mut FakeState) -> R) -> R {
        change(&mut self.state.lock().unwrap())
    }
}

/// Remembers what it was given, and refuses units whose name has `bad` in it.
#[derive(Default)]
struct Recorder {
    sets: Mutex<Vec<Vec<String>>>,
}

impl Publisher for Recorder {
    fn publish(&self, units: &UnitSet) -> Vec<UnitReport> {
        self.sets.lock().unwrap().push(units.iter().map(|(id, held)| format!("{id}={}", held.hash)).collect());
        let bad = units.iter().filter(|(id, _)| id.as_str().contains("bad"));
        bad.map(|(id, held)| {
            let problem = Problem { source: "shop/bad".into(), path: "routes[0].key".into(), message: "why".into() };
            UnitReport { id: id.clone(), hash: held.hash.clone(), problems: vec![problem] }
        })
        .collect()
    }
}

struct Bench {
    fake: Fake,
    recorder: Arc<Recorder>,
    readiness: Readiness,
    metrics: Metrics,
    feed: Feed<Fake>,
}

fn bench(store: Option<Store>) -> Bench {
    let (fake, recorder, readiness, metrics) =
        (Fake::default(), Arc::new(Recorder::default()), Readiness::default(), Metrics::new());
    let settings = FeedSettings {
        controllers: Vec::new(),
        ca_file: None,
        token_file: None,
        fleet: "public".into(),
        proxy: "proxy-0".into(),
        session: "s1".into(),
    };
    let parts = FeedParts {
        publisher: Arc::clone(&recorder) as Arc<dyn Publisher>,
        readiness: readiness.clone(),
        jwks: Jwks::new(&metrics).0,
        usage: UsageMeters::new(crate::usage::StoreKind::Memory),
        store,
        metrics: metrics.clone(),
    };
    let feed = Feed::with(fake.clone(), &settings, parts);
    Bench { fake, recorder, readiness, metrics, feed }
}

impl Bench {
    fn start(self) -> Self {
        tokio::spawn(self.feed.clone().run());
        self
    }

    fn last_set(&self) -> Vec<String> {
        self.recorder.sets.lock().unwrap().last().cloned().unwrap_or_default()
    }

    fn published(&self) -> usize {
        self.recorder.sets.lock().unwrap().len()
    }
}

fn put(name: &str, hash: &str) -> String {
    format!("{{\"op\":\"put\",\"id\":\"{name}\",\"hash\":\"{hash}\",\"unit\":{{\"kind\":\"later\"}}}}\n")
}

const HELLO: &str = "{\"op\":\"hello\",\"format\":1}\n";
const COMMIT: &str = "{\"op\":\"commit\",\"revision\":1}\n";
const MOMENT: Duration = Duration::from_millis(10);

async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

fn acknowledged(report: &Report) -> Vec<(String, bool)> {
    report.units.iter().map(|unit| (format!("{}={}", unit.id, unit.hash), unit.problems.is_empty())).collect()
}

#[tokio::test(start_paused = true)]
async fn a_commit_takes_effect_as_a_whole_and_is_acknowledged() {
    let bench = bench(None).start();
    pass(MOMENT).await;
    bench.fake.say(&[HELLO, &put("a", "1"), &put("bad", "2")].concat());
    pass(MOMENT).await;
    assert_eq!(bench.published(), 0);
    assert_eq!(bench.readiness.reason(), Some("no complete configuration yet"));
    assert!(bench.fake.take_reports().iter().all(|report| !report.ready && report.units.is_empty()));
    bench.fake.say(COMMIT);
    pass(MOMENT).await;
    assert_eq!(bench.last_set(), ["a=1", "bad=2"]);
    assert!(bench.readiness.is_ready());
    let reports = bench.fake.take_reports();
    assert_eq!(reports.len(), 1);
    assert!(reports[0].ready && !reports[0].full);
    assert_eq!(acknowledged(&reports[0]), [("a=1".into(), true), ("bad=2".into(), false)]);

    bench.fake.say(&[&put("a", "3"), "{\"op\":\"delete\",\"id\":\"bad\"}\n", COMMIT].concat());
    pass(MOMENT).await;
    let reports = bench.fake.take_reports();
    assert_eq!(acknowledged(&reports[0]), [("a=3".into(), true)], "only what changed");
    assert_eq!(reports[0].gone.iter().map(UnitId::as_str).collect::<Vec<_>>(), ["bad"]);
    assert_eq!(bench.metrics.control().config_units.get(), 1);

    bench.fake.say("{\"op\":\"ping\"}\n");
    pass(Duration::from_secs(11)).await;
    let quiet = bench.fake.take_reports();
    assert_eq!(quiet.len(), 2, "every five seconds");
    assert!(quiet.iter().all(|report| report.units.is_empty() && report.gone.is_empty() && !report.full));
}

#[tokio::test(start_paused = true)]
async fn a_lost_stream_disturbs_nothing_and_an_equal_set_is_not_published_again() {
    let bench = bench(None).start();
    pass(MOMENT).await;
    bench.fake.say(&[HELLO, &put("a", "1"), &put("b", "1"), COMMIT, &put("c", "half a batch")].concat());
    pass(MOMENT).await;
    bench.fake.with(|state| state.away = true);
    bench.fake.hang_up();
    pass(Duration::from_secs(60)).await;
    assert_eq!((bench.published(), bench.fake.streams()), (1, 1));
    assert!(bench.readiness.is_ready());
    let tries = bench.fake.with(|state| state.tries);
    assert!((12..30).contains(&tries), "{tries} tries in a minute");

    bench.fake.with(|state| state.away = false);
    pass(Duration::from_secs(6)).await;
    bench.fake.say(&[HELLO, &put("a", "1"), &put("b", "1"), COMMIT].concat());
    pass(MOMENT).await;
    assert_eq!(bench.published(), 1);
    bench.fake.say(&[&put("b", "2"), COMMIT].concat());
    pass(MOMENT).await;
    assert_eq!(bench.last_set(), ["a=1", "b=2"]);
    bench.fake.hang_up();
    pass(Duration::from_secs(1)).await;
    bench.fake.say(&[HELLO, &put("b", "2"), COMMIT].concat());
    pass(MOMENT).await;
    assert_eq!(bench.last_set(), ["b=2"], "what a complete set does not name is gone");
}

#[tokio::test(start_paused = true)]
async fn bad_streams_are_dropped_and_what_runs_stays() {
    for (line, reason) in [("<html>\n", "malformed"), ("{\"op\":\"hello\",\"format\":2}\n", "format")] {
        let bench = bench(None).start();
        pass(MOMENT).await;
        bench.fake.say(&[HELLO, &put("a", "1"), COMMIT].concat());
        pass(MOMENT).await;
        bench.fake.hang_up();
        pass(Duration::from_secs(1)).await;
        assert_eq!(bench.fake.streams(), 2);
        bench.fake.say(line);
        pass(Duration::from_secs(1)).await;
        assert_eq!(bench.fake.streams(), 3, "{reason}");
        assert_eq!(bench.metrics.control().feed_ends.with_label_values(&[reason]).get(), 1);
        assert_eq!(bench.last_set(), ["a=1"]);
        assert!(bench.readiness.is_ready());
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_is_left_after_thirty_seconds() {
    let bench = bench(None).start();
    pass(MOMENT).await;
    bench.fake.say(HELLO);
    pass(Duration::from_secs(29)).await;
    bench.fake.say("{\"op\":\"ping\"}\n");
    pass(Duration::from_secs(29)).await;
    assert_eq!(bench.fake.streams(), 1);
    pass(Duration::from_secs(2)).await;
    assert_eq!(bench.fake.streams(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_controller_that_forgot_us_gets_everything() {
    let bench = bench(None).start();
    pass(MOMENT).await;
    bench.fake.say(&[HELLO, &put("a", "1"), COMMIT].concat());
    pass(MOMENT).await;
    bench.fake.take_reports();
    bench.fake.with(|state| state.resend = true);
    pass(Duration::from_secs(5)).await;
    let reports = bench.fake.take_reports();
    assert_eq!(reports.iter().map(|report| report.full).collect::<Vec<_>>(), [false, true]);
    assert_eq!(acknowledged(&reports[1]), [("a=1".into(), true)]);

    bench.fake.with(|state| state.away = true);
    bench.fake.say(&[&put("a", "2"), COMMIT].concat());
    pass(Duration::from_secs(12)).await;
    bench.fake.with(|state| state.away = false);
    pass(Duration::from_secs(5)).await;
    let missed = bench.fake.take_reports();
    assert_eq!(acknowledged(&missed[0]), [("a=2".into(), true)], "a report that failed is made up for");
}

#[tokio::test(start_paused = true)]
async fn leaving_is_the_last_report() {
    let bench = bench(None).start();
    pass(MOMENT).await;
    bench.fake.say(&[HELLO, &put("a", "1"), COMMIT].concat());
    pass(MOMENT).await;
    bench.readiness.set_leaving();
    bench.feed.leave().await;
    pass(Duration::from_secs(20)).await;
    let reports = bench.fake.take_reports();
    assert!(reports[..reports.len() - 1].iter().all(|report| !report.leaving));
    let last = reports.last().unwrap();
    assert!(last.leaving && !last.ready);
}

/// Proves P8.
#[tokio::test(start_paused = true)]
async fn the_last_good_set_is_served_before_any_controller_answers() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let first = bench(Some(store.clone())).start();
    pass(MOMENT).await;
    let writes = first.metrics.control().state_writes.with_label_values(&["ok"]);
    first.fake.say(&[HELLO, &put("a", "1"), COMMIT].concat());
    pass(MOMENT).await;
    assert_eq!(writes.get(), 1, "the first set is kept at once");
    assert!(store.load().unwrap().is_some());
    for hash in ["1", "2", "3"] {
        first.fake.say(&[&put("b", hash), COMMIT].concat());
        pass(MOMENT).await;
    }
    pass(Duration::from_secs(2)).await;
    assert_eq!(writes.get(), 2, "quick changes are written together");

    let second = bench(Some(store));
    second.fake.with(|state| state.away = true);
    let second = second.start();
    pass(Duration::from_secs(1)).await;
    assert_eq!(second.last_set(), ["a=1", "b=3"]);
    assert!(second.readiness.is_ready());

    std::fs::write(directory.path().join("units.ndjson"), "damaged").unwrap();
    let third = bench(Some(Store::open(directory.path()).unwrap()));
    third.fake.with(|state| state.away = true);
    let third = third.start();
    pass(Duration::from_secs(1)).await;
    assert_eq!(third.published(), 0);
    assert!(!third.readiness.is_ready());
    third.fake.with(|state| state.away = false);
    pass(Duration::from_secs(5)).await;
    third.fake.say(&[HELLO, COMMIT].concat());
    pass(MOMENT).await;
    assert!(third.readiness.is_ready(), "an empty set is a complete one");
}
