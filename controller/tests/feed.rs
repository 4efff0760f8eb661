//! The feed as a proxy meets it: real TLS and HTTP/2 over loopback, a fake TokenReview.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tollgate_controller::ca::Authority;
use tollgate_controller::feed::Fleet;
use tollgate_controller::feed::auth::{AllowedAccount, Caller, Gate, Review};
use tollgate_controller::feed::hub::{self, Hub};
use tollgate_controller::feed::server::{Feed, serve};
use tollgate_controller::feed::tls::{Certificate, server_config};
use tollgate_controller::metrics::Metrics;
use tollgate_controller::shared::Fleets;
use tollgate_engine::snapshot::{
    ContentHash, Endpoints, FORMAT, Line, Report, ReportAnswer, ServicePort, Unit, UnitId, UnitReport,
};
use tollgate_translate::Requirement;

/// A test that hangs says so.
const PATIENCE: Duration = Duration::from_secs(20);

struct KnowsOneToken;

impl Review for KnowsOneToken {
    type Error = Infallible;

    async fn review(&self, token: &str) -> Result<Option<Caller>, Infallible> {
        Ok((token == "good").then(|| Caller::new("tg", "proxy", None)))
    }
}

struct Server {
    hub: Arc<Hub>,
    fleets: Arc<Fleets>,
    published: Arc<AtomicBool>,
    stop: watch::Sender<bool>,
    address: std::net::SocketAddr,
    authority: Authority,
    certificate: Arc<Certificate>,
    ended: tokio::task::JoinHandle<()>,
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

async fn start() -> Server {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let authority = Authority::new(now()).unwrap();
    let certificate = Arc::new(Certificate::default());
    certificate.replace(authority.issue(&["feed.test".to_owned()], now()).unwrap().certified);
    let (stop, stopped) = watch::channel(false);
    let (hub, fleets) = (Arc::new(Hub::default()), Arc::new(Fleets::default()));
    let published = Arc::new(AtomicBool::new(true));
    let account = AllowedAccount { fleet: Some(Fleet::Public), namespace: "tg".into(), name: "proxy".into() };
    let feed = Feed {
        hub: Arc::clone(&hub),
        gate: Gate::new(KnowsOneToken, vec![account]),
        fleets: Arc::clone(&fleets),
        published: Arc::clone(&published),
        metrics: Metrics::new().feed,
        stop: stopped,
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let ended = tokio::spawn(serve(listener, server_config(Arc::clone(&certificate)), Arc::new(feed)));
    Server { hub, fleets, published, stop, address, authority, certificate, ended }
}

impl Server {
    async fn connect(&self) -> SendRequest<Full<Bytes>> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(self.authority.bundle().as_bytes()) {
            roots.add(certificate.unwrap()).unwrap();
        }
        let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let socket = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("feed.test").unwrap();
        let tls = TlsConnector::from(Arc::new(config)).connect(name, socket).await.unwrap();
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(tls)).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    fn put(&self, revision: u64, name: &str) -> (UnitId, ContentHash) {
        let service = ServicePort { namespace: "a".into(), name: name.into(), port: 80 };
        let id = UnitId::endpoints(&service);
        let json =
            serde_json::to_string(&Unit::Endpoints(Endpoints { service, endpoints: vec![], protocol: None })).unwrap();
        let hash = ContentHash::of_json(json.as_bytes());
        self.fleets.published(Fleet::Public, revision, &[(id.clone(), Some(hash.clone()))]);
        self.hub.publish(Fleet::Public, revision, vec![(id.clone(), Some(hub::publish(&id, &hash, &json)))]);
        (id, hash)
    }
}

fn get(path: &str, token: &str) -> Request<Full<Bytes>> {
    let request = Request::get(format!("https://feed.test{path}"));
    request.header("authorization", format!("Bearer {token}")).body(Full::default()).unwrap()
}

async fn status(sender: &mut SendRequest<Full<Bytes>>, request: Request<Full<Bytes>>) -> StatusCode {
    tokio::time::timeout(PATIENCE, sender.send_request(request)).await.unwrap().unwrap().status()
}

/// A feed stream, line by line.
struct Stream {
    body: Incoming,
    rest: Vec<u8>,
}

impl Stream {
    async fn open(sender: &mut SendRequest<Full<Bytes>>) -> Self {
        let response: Response<Incoming> =
            sender.send_request(get("/v1/feed?fleet=public&proxy=p0", "good")).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        Self { body: response.into_body(), rest: Vec::new() }
    }

    async fn line(&mut self) -> Option<Line> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await.expect("a line in time")?;
            self.rest.extend_from_slice(frame.unwrap().data_ref().unwrap());
        }
    }

    /// The names put up to the next commit, and its revision.
    async fn batch(&mut self) -> (Vec<UnitId>, u64) {
        let mut ids = Vec::new();
        loop {
            match self.line().await.expect("the stream goes on") {
                Line::Put { id, .. } => ids.push(id),
                Line::Commit { revision } => return (ids, revision),
                Line::Hello { format } => assert_eq!(format, FORMAT),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_has_everything_and_then_what_changes() {
    let server = start().await;
    let (a, _) = server.put(1, "a");
    let mut sender = server.connect().await;
    let mut stream = Stream::open(&mut sender).await;
    assert_eq!(stream.batch().await, (vec![a], 1));
    let (b, _) = server.put(2, "b");
    assert_eq!(stream.batch().await, (vec![b], 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_are_told_why_they_are_turned_away() {
    let server = start().await;
    let mut sender = server.connect().await;
    for (path, token, expected) in [
        ("/v1/feed?fleet=public&proxy=p0", "bad", StatusCode::UNAUTHORIZED),
        ("/v1/feed?fleet=private&proxy=p0", "good", StatusCode::FORBIDDEN),
        ("/v1/feed?fleet=nosuch&proxy=p0", "good", StatusCode::BAD_REQUEST),
        ("/v1/feed?fleet=public", "good", StatusCode::BAD_REQUEST),
        ("/v1/reports", "good", StatusCode::METHOD_NOT_ALLOWED),
        ("/", "good", StatusCode::NOT_FOUND),
    ] {
        assert_eq!(status(&mut sender, get(path, token)).await, expected, "{path} {token}");
    }
    server.published.store(false, Ordering::Release);
    let early = get("/v1/feed?fleet=public&proxy=p0", "good");
    assert_eq!(
        status(&mut sender, early).await,
        StatusCode::SERVICE_UNAVAILABLE,
        "nothing before everything is listed"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_are_counted() {
    let server = start().await;
    let (id, hash) = server.put(1, "a");
    let mut sender = server.connect().await;
    let mut report = Report {
        proxy: "p0".into(),
        session: "s".into(),
        fleet: "public".into(),
        ready: true,
        leaving: false,
        full: false,
        units: vec![UnitReport { id: id.clone(), hash, problems: vec![] }],
        gone: vec![],
        authorizers: vec![],
        usage: None,
    };
    for (full, resend) in [(false, true), (true, false)] {
        report.full = full;
        let body = Full::new(serde_json::to_vec(&report).unwrap().into());
        let request = Request::post("https://feed.test/v1/reports").header("authorization", "Bearer good");
        let response = sender.send_request(request.body(body).unwrap()).await.unwrap();
        let answer = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(serde_json::from_slice::<ReportAnswer>(&answer).unwrap(), ReportAnswer { resend });
    }
    let plane = server.fleets.proxies().data_plane(&[Requirement { unit: id, revision: 1 }]);
    assert_eq!((plane.acknowledged, plane.ready), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_graceful_stop_ends_streams_between_batches() {
    let server = start().await;
    server.put(1, "a");
    let mut sender = server.connect().await;
    let mut stream = Stream::open(&mut sender).await;
    stream.batch().await;
    server.stop.send_replace(true);
    assert_eq!(stream.line().await, None, "the stream ends without an error");
    tokio::time::timeout(PATIENCE, server.ended).await.expect("the server ends").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_used_without_closing_streams() {
    let mut server = start().await;
    server.put(1, "a");
    let mut old = server.connect().await;
    let mut stream = Stream::open(&mut old).await;
    stream.batch().await;
    server.authority = Authority::new(now() + 1).unwrap();
    let certified = server.authority.issue(&["feed.test".to_owned()], now()).unwrap().certified;
    server.certificate.replace(certified);
    let mut new = server.connect().await; // trusts the new CA only
    assert_eq!(status(&mut new, get("/", "good")).await, StatusCode::NOT_FOUND);
    let (b, _) = server.put(2, "b");
    assert_eq!(stream.batch().await, (vec![b], 2));
}
