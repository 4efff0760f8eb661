//! A small HTTP client for the proxy's own errands: feed, reports, keys, spans. Requests of clients never pass here.
//!
//! One request or a kept connection; HTTP/1.1 or HTTP/2 as TLS agrees on; no redirects, no cookies, no proxies; everything has
//! a time limit and a size limit.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, HeaderValue};
use http::{Request, Response, StatusCode, Uri, Version};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use crate::hosts::Hosts;

/// Most addresses of one name that are tried or used.
const MAX_ADDRESSES: usize = 32;

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Not `http://host…` or `https://host…`.
    #[error("{0} is not an absolute http or https URL")]
    Url(Uri),
    /// The name has no address.
    #[error("no address for {0}")]
    Resolve(String, #[source] Option<io::Error>),
    /// TCP, or the TLS handshake.
    #[error("connection to {0} failed")]
    Connect(SocketAddr, #[source] io::Error),
    /// HTTP.
    #[error("HTTP exchange failed")]
    Exchange(#[from] hyper::Error),
    /// The body broke off.
    #[error("the answer broke off")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The body is larger than taken.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    /// Not in time.
    #[error("no complete answer within {} ms", .0.as_millis())]
    Timeout(Duration),
}

impl HttpError {
    /// The text with its causes, for messages to people.
    pub fn full_text(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        text
    }
}

/// A complete answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its body.
    pub body: Bytes,
}

/// Makes connections and single requests; a clone is two pointers.
#[derive(Clone, Debug)]
pub struct HttpClient {
    tls: Arc<ClientConfig>,
    hosts: Hosts,
    http2_only: bool,
}

impl HttpClient {
    /// A client that trusts as `tls` says. `hosts` answers names instead of DNS.
    pub fn new(tls: Arc<ClientConfig>, hosts: Hosts) -> Self {
        Self { tls, hosts, http2_only: false }
    }

    /// The same for servers that speak HTTP/2 only: without TLS it is not asked for, but assumed.
    #[must_use]
    pub fn http2_only(self) -> Self {
        let mut tls = ClientConfig::clone(&self.tls);
        tls.alpn_protocols = vec![b"h2".to_vec()];
        Self { tls: Arc::new(tls), http2_only: true, ..self }
    }

    /// Fetches `uri`, its body of at most `max_bytes` included, within `time_limit` from name resolution to the last byte.
    pub async fn get(&self, uri: &Uri, max_bytes: usize, time_limit: Duration) -> Result<Answer, HttpError> {
        self.send(uri, Request::get(uri.clone()), Bytes::new(), max_bytes, time_limit).await
    }

    /// Sends one request on a connection of its own; limits as for [`HttpClient::get`].
    pub async fn send(
        &self,
        uri: &Uri,
        request: http::request::Builder,
        body: Bytes,
        max_bytes: usize,
        time_limit: Duration,
    ) -> Result<Answer, HttpError> {
        let exchange = async {
            let request = request.body(Full::new(body)).map_err(|_| HttpError::Url(uri.clone()))?;
            let mut connection = self.connect_any(uri).await?;
            complete(connection.send(request).await?, max_bytes).await
        };
        tokio::time::timeout(time_limit, exchange).await.map_err(|_| HttpError::Timeout(time_limit))?
    }

    /// All addresses of the host of `uri`.
    pub async fn resolve(&self, uri: &Uri) -> Result<Vec<SocketAddr>, HttpError> {
        let (host, port) = host_and_port(uri)?;
        if let Some(address) = self.hosts.lookup(host, port) {
            return Ok(vec![address]);
        }
        let found = tokio::net::lookup_host((host, port)).await;
        let mut addresses: Vec<_> =
            found.map_err(|error| HttpError::Resolve(host.to_owned(), Some(error)))?.take(MAX_ADDRESSES).collect();
        addresses.sort_unstable();
        addresses.dedup();
        if addresses.is_empty() { Err(HttpError::Resolve(host.to_owned(), None)) } else { Ok(addresses) }
    }

    /// A connection to the first address that answers.
    async fn connect_any(&self, uri: &Uri) -> Result<Connection, HttpError> {
        let mut last = None;
        for address in self.resolve(uri).await? {
            match self.connect(uri, address).await {
                Ok(connection) => return Ok(connection),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| HttpError::Url(uri.clone())))
    }

    /// A connection to `address`, which must prove to be the host of `uri` when that is `https`.
    pub async fn connect(&self, uri: &Uri, address: SocketAddr) -> Result<Connection, HttpError> {
        let (host, _) = host_and_port(uri)?;
        let failed = |error| HttpError::Connect(address, error);
        let stream = TcpStream::connect(address).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        if uri.scheme_str() == Some("http") {
            let io = TokioIo::new(stream);
            return if self.http2_only { Connection::http2(io).await } else { Connection::http1(io).await };
        }
        let name = ServerName::try_from(host.to_owned()).map_err(|_| HttpError::Url(uri.clone()))?;
        let stream = TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream).await.map_err(failed)?;
        let two = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let io = TokioIo::new(stream);
        if two { Connection::http2(io).await } else { Connection::http1(io).await }
    }
}

/// The whole of an answer, within a size limit.
pub async fn complete(answer: Response<Incoming>, max_bytes: usize) -> Result<Answer, HttpError> {
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, max_bytes).collect().await.map_err(|error| {
        if error.is::<http_body_util::LengthLimitError>() {
            HttpError::TooLarge(max_bytes)
        } else {
            HttpError::Body(error)
        }
    })?;
    Ok(Answer { status: head.status, body: body.to_bytes() })
}

fn host_and_port(uri: &Uri) -> Result<(&str, u16), HttpError> {
    let bad = || HttpError::Url(uri.clone());
    let default = match uri.scheme_str() {
        Some("http") => 80,
        Some("https") => 443,
        _ => return Err(bad()),
    };
    let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(bad)?;
    // An IPv6 address stands in brackets in a URL, but nowhere else.
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Ok((host, uri.port_u16().unwrap_or(default)))
}

/// An open connection. Dropping it closes it, also under an answer that is still being read.
#[derive(Debug)]
pub struct Connection {
    sender: Sender,
    driver: JoinHandle<()>,
}

#[derive(Debug)]
enum Sender {
    One(http1::SendRequest<Full<Bytes>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

impl Connection {
    async fn http1<I>(io: I) -> Result<Self, HttpError>
    where
        I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::handshake(io).await?;
        Ok(Self { sender: Sender::One(sender), driver: drive(connection) })
    }

    async fn http2<I>(io: I) -> Result<Self, HttpError>
    where
        I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        // A peer that vanished is noticed between two requests, not only by the next one.
        builder
            .timer(TokioTimer::new())
            .keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(10));
        let (sender, connection) = builder.handshake(io).await?;
        Ok(Self { sender: Sender::Two(sender), driver: drive(connection) })
    }

    /// Sends a request whose URI is absolute and gives the head of the answer.
    pub async fn send(&mut self, mut request: Request<Full<Bytes>>) -> Result<Response<Incoming>, HttpError> {
        match &mut self.sender {
            Sender::One(sender) => {
                let host =
                    request.uri().authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
                let host = host.ok_or_else(|| HttpError::Url(request.uri().clone()))?;
                request.headers_mut().insert(HOST, host);
                let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
                *request.uri_mut() = path.parse().map_err(|_| HttpError::Url(request.uri().clone()))?;
                sender.ready().await?;
                Ok(sender.send_request(request).await?)
            }
            Sender::Two(sender) => {
                *request.version_mut() = Version::HTTP_2;
                sender.ready().await?;
                Ok(sender.send_request(request).await?)
            }
        }
    }

    /// Whether it can take no more requests.
    pub fn is_closed(&self) -> bool {
        match &self.sender {
            Sender::One(sender) => sender.is_closed(),
            Sender::Two(sender) => sender.is_closed(),
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

fn drive(connection: impl Future<Output = Result<(), hyper::Error>> + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(async move {
        // Whoever waits for an answer gets the same error.
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection ended");
        }
    })
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use hyper::service::service_fn;
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::metrics::Metrics;
    use crate::tls::{Certificates, Pair, control_config};

    const SECOND: Duration = Duration::from_secs(1);
    const AMPLE: Duration = Duration::from_secs(30);

    async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let head = format!("{:?} {} {}", request.version(), request.uri().path(), request.method());
        match request.uri().path() {
            "/moved" => Ok(Response::builder().status(302).header("location", "/").body(Full::default()).unwrap()),
            "/never" => std::future::pending().await,
            _ => Ok(Response::new(Full::from(head))),
        }
    }

    async fn plain() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = hyper::server::conn::http1::Builder::new();
                tokio::spawn(async move { server.serve_connection(TokioIo::new(stream), service_fn(answer)).await });
            }
        });
        address
    }

    /// A server for the name `tower.test`, and a client that trusts it.
    async fn secure() -> (SocketAddr, Arc<ClientConfig>) {
        let made = rcgen::generate_simple_self_signed(["tower.test".to_owned()]).unwrap();
        let pair = Pair::from_pem(made.cert.pem().as_bytes(), made.signing_key.serialize_pem().as_bytes()).unwrap();
        let config = Certificates::new(Vec::new(), Some(pair), &Metrics::new()).server_config().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = TlsAcceptor::from(Arc::clone(&config));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    let _ = server.serve_connection(TokioIo::new(stream), service_fn(answer)).await;
                });
            }
        });
        (address, control_config(Some(&made.cert.pem())).unwrap())
    }

    fn client(tls: Arc<ClientConfig>, hosts: &[(&str, SocketAddr)]) -> HttpClient {
        let table = Hosts::default();
        table.replace(hosts.iter().map(|(name, address)| (((*name).to_owned(), 443), *address)).collect());
        HttpClient::new(tls, table)
    }

    #[tokio::test]
    async fn plain_requests_are_answered_and_redirects_are_not_followed() {
        let client = client(control_config(None).unwrap(), &[]);
        let base = format!("http://{}", plain().await);
        let answer = client.get(&format!("{base}/a?b=c").parse().unwrap(), 100, AMPLE).await.unwrap();
        assert_eq!(answer.body, "HTTP/1.1 /a GET");
        let moved = client.get(&format!("{base}/moved").parse().unwrap(), 100, AMPLE).await.unwrap();
        assert_eq!(moved.status, 302);
    }

    #[tokio::test]
    async fn limits_hold() {
        let client = client(control_config(None).unwrap(), &[]);
        let base = format!("http://{}", plain().await);
        let large = client.get(&base.parse().unwrap(), 5, AMPLE).await.unwrap_err();
        assert!(matches!(large, HttpError::TooLarge(5)), "{large}");
        let late =
            client.get(&format!("{base}/never").parse().unwrap(), 5, Duration::from_millis(50)).await.unwrap_err();
        assert!(matches!(late, HttpError::Timeout(_)), "{late}");
        let odd = client.get(&"ftp://x/".parse().unwrap(), 5, SECOND).await.unwrap_err();
        assert!(matches!(odd, HttpError::Url(_)), "{odd}");
    }

    #[tokio::test]
    async fn https_speaks_http2_to_whoever_proves_the_name() {
        let (address, trust) = secure().await;
        let hosts = [("tower.test", address), ("other.test", address)];
        let answer =
            client(Arc::clone(&trust), &hosts).get(&"https://tower.test/x".parse().unwrap(), 100, AMPLE).await.unwrap();
        assert_eq!(answer.body, "HTTP/2.0 /x GET");
        let wrong = client(trust, &hosts).get(&"https://other.test/x".parse().unwrap(), 100, AMPLE).await.unwrap_err();
        assert!(wrong.full_text().contains("not valid for name"), "{}", wrong.full_text());
        let stranger = client(control_config(None).unwrap(), &hosts);
        let unknown = stranger.get(&"https://tower.test/x".parse().unwrap(), 100, AMPLE).await.unwrap_err();
        assert!(unknown.full_text().contains("invalid peer certificate"), "{}", unknown.full_text());
    }

    #[tokio::test]
    async fn a_connection_takes_several_requests_and_knows_when_it_is_closed() {
        let uri: Uri = format!("http://{}/", plain().await).parse().unwrap();
        let client = client(control_config(None).unwrap(), &[]);
        let address = client.resolve(&uri).await.unwrap()[0];
        let mut connection = client.connect(&uri, address).await.unwrap();
        for _ in 0..3 {
            let request = Request::post(uri.clone()).body(Full::from("x")).unwrap();
            let answer = complete(connection.send(request).await.unwrap(), 100).await.unwrap();
            assert_eq!(answer.body, "HTTP/1.1 / POST");
        }
        assert!(!connection.is_closed());
        connection.driver.abort();
        let request = Request::get(uri).body(Full::default()).unwrap();
        assert!(connection.send(request).await.is_err());
        assert!(connection.is_closed());
    }
}
