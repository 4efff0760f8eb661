//! The connection tier: from an accepted socket to requests (PROXY protocol, TLS, HTTP/1.1 and HTTP/2).

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;
use tollgate_engine::proxy_protocol::{self, Malformed, Parsed, V2_MAX};
use tracing::debug;

use crate::body::ReplyBody;
use crate::client_io::{ClientIdentity, ClientIo, ClientStream, Connection, Order, Security};
use crate::metrics::Counter;
use crate::pipeline;
use crate::worker::Worker;

/// How the connections of one listener begin.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Plain,
    Tls(Arc<rustls::ServerConfig>),
}

/// Runs futures on the worker that spawned them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LocalExecutor;

impl<F: Future + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move { drop(future.await) });
    }
}

/// Serves one client connection to its end.
pub(crate) async fn serve(worker: Rc<Worker>, stream: TcpStream, peer: SocketAddr, kind: Kind) {
    connect(&worker, stream, peer, kind).await;
    worker.metrics.count(Counter::ClientClosed);
}

async fn connect(worker: &Rc<Worker>, stream: TcpStream, peer: SocketAddr, kind: Kind) {
    let beginning = worker.connections.begin();
    let begun = match first_byte(worker, &stream).await {
        Ok(()) => {
            let timeout = worker.settings.limits.handshake_timeout;
            let begun = tokio::time::timeout(timeout, begin(worker, stream, peer, kind)).await;
            begun.unwrap_or(Err(BeginError::Timeout))
        }
        Err(error) => Err(error),
    };
    let (stream, addresses, protocol, security) = match begun {
        Ok(begun) => begun,
        Err(error) => {
            // A caller can cause it at will, so it is no more than a debug line and a counter.
            if let Some(counter) = error.counter() {
                worker.metrics.count(counter);
            }
            debug!(client.addr = %peer, %error, "connection refused");
            return;
        }
    };
    let handle =
        worker.connections.add(addresses.client, addresses.gateway, worker.settings.trusted_hops > 0, security);
    drop(beginning);
    let connection = Rc::clone(handle.connection());
    let io = TokioIo::new(ClientIo::new(stream, Rc::clone(&connection), protocol == Protocol::Http1));
    let service = service_fn(|request: Request<Incoming>| {
        let (worker, connection) = (Rc::clone(worker), Rc::clone(&connection));
        async move { Ok::<Response<ReplyBody>, Infallible>(pipeline::serve(&worker, &connection, request).await) }
    });
    let ended = match protocol {
        Protocol::Http1 => serve_http1(io, service, &connection).await,
        Protocol::Http2 => serve_http2(io, service, &connection, worker.settings.limits.http2_streams).await,
    };
    if let Err(error) = ended {
        debug!(client.addr = %peer, %error, "connection ended");
    }
}

/// Both ends of a connection.
#[derive(Clone, Copy, Debug)]
struct Addresses {
    /// The TCP peer, or what the PROXY protocol says.
    client: SocketAddr,
    gateway: SocketAddr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
}

#[derive(Debug, thiserror::Error)]
enum BeginError {
    #[error("socket failed")]
    Socket(#[from] std::io::Error),
    #[error("PROXY protocol header refused")]
    ProxyProtocol(#[from] Malformed),
    #[error("the connection has no PROXY protocol header")]
    NoProxyHeader,
    #[error("the connection ended before its first request")]
    Ended,
    #[error("TLS handshake failed")]
    Tls(#[source] std::io::Error),
    #[error("nothing was sent in time")]
    Silent,
    #[error("no header or handshake in time")]
    Timeout,
}

impl BeginError {
    fn counter(&self) -> Option<Counter> {
        match self {
            Self::ProxyProtocol(_) | Self::NoProxyHeader => Some(Counter::RefusedProxyProtocol),
            Self::Tls(_) => Some(Counter::TlsFailed),
            Self::Silent | Self::Timeout => Some(Counter::RefusedTimeout),
            Self::Socket(_) | Self::Ended => None,
        }
    }
}

/// When everything ends, a connection that has said nothing is waited for no longer.
const LAST_BYTES: Duration = Duration::from_millis(100);

/// Waits for a client to say anything: clients open connections in advance, and those live like idle ones.
async fn first_byte(worker: &Worker, stream: &TcpStream) -> Result<(), BeginError> {
    let mut byte = [0];
    let finished = async {
        worker.connections.finishing().await;
        // What was accepted last has its first bytes here already.
        tokio::time::sleep(LAST_BYTES).await;
    };
    tokio::select! {
        biased;
        // A look at one byte, since `readable` may return without any.
        peeked = tokio::time::timeout(worker.settings.limits.idle_timeout, stream.peek(&mut byte)) => match peeked {
            Ok(peeked) => Ok(peeked.map(|_| ())?),
            Err(_) => Err(BeginError::Silent),
        },
        () = finished => Err(BeginError::Ended),
    }
}

/// Pauses between looks at what has come: the readiness of a peeked socket stays, so it cannot be awaited. What is looked for nearly
/// always comes whole.
#[derive(Debug)]
struct Pauses(Duration);

impl Pauses {
    fn new() -> Self {
        Self(Duration::from_millis(1))
    }

    async fn next(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(Duration::from_millis(64));
    }
}

/// PROXY protocol, TLS, and which HTTP it will be.
async fn begin(
    worker: &Worker,
    mut stream: TcpStream,
    peer: SocketAddr,
    kind: Kind,
) -> Result<(ClientStream, Addresses, Protocol, Security), BeginError> {
    // Responses are written whole; waiting to fill a packet only adds latency.
    stream.set_nodelay(true)?;
    let gateway = stream.local_addr()?;
    let client = if worker.settings.proxy_protocol { proxy_header(&mut stream).await?.unwrap_or(peer) } else { peer };
    let addresses = Addresses { client, gateway };
    match kind {
        Kind::Plain => {
            let protocol = if speaks_http2(&stream).await? { Protocol::Http2 } else { Protocol::Http1 };
            Ok((ClientStream::Plain(stream), addresses, protocol, Security::Plain))
        }
        Kind::Tls(config) => {
            let (stream, security) = shake_hands(worker, stream, config).await?;
            let session = stream.get_ref().1;
            let resumed = session.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
            worker.metrics.count(if resumed { Counter::TlsResumed } else { Counter::TlsFull });
            let protocol = match session.alpn_protocol() {
                Some(b"h2") => Protocol::Http2,
                _ => Protocol::Http1,
            };
            Ok((ClientStream::Tls(Box::new(stream)), addresses, protocol, security))
        }
    }
}

/// The handshake, with the settings of the custom domain that the client names, else with the listener's.
async fn shake_hands(
    worker: &Worker,
    stream: TcpStream,
    listener: Arc<rustls::ServerConfig>,
) -> Result<(TlsStream<TcpStream>, Security), BeginError> {
    let acceptor = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream);
    let start = acceptor.await.map_err(BeginError::Tls)?;
    let gateway = worker.gateway();
    let domain = gateway.as_ref().and_then(|gateway| {
        let domain = gateway.domains.of_sni(start.client_hello().server_name()?)?;
        Some(Arc::clone(&domain.compiled))
    });
    let config = domain.as_ref().and_then(|domain| domain.tls.clone()).unwrap_or(listener);
    let stream = start.into_stream(config).await.map_err(BeginError::Tls)?;
    let trust = domain.as_ref().and_then(|domain| domain.trust.as_ref());
    let chain = stream.get_ref().1.peer_certificates();
    let client = trust.zip(chain).and_then(|(trust, chain)| ClientIdentity::new(chain, trust));
    let domain = domain.map(|domain| domain.domain.name.clone());
    Ok((stream, Security::Tls { domain, client }))
}

/// Reads the PROXY protocol header off the stream; the address it names, if any.
async fn proxy_header(stream: &mut TcpStream) -> Result<Option<SocketAddr>, BeginError> {
    let mut buffer = [0; V2_MAX];
    let mut pauses = Pauses::new();
    loop {
        let peeked = stream.peek(&mut buffer).await?;
        if peeked == 0 {
            return Err(BeginError::Ended);
        }
        match proxy_protocol::parse(&buffer[..peeked]) {
            Parsed::Incomplete => pauses.next().await,
            Parsed::NotProxy => return Err(BeginError::NoProxyHeader),
            Parsed::Invalid(why) => return Err(why.into()),
            Parsed::Header { source, consumed } => {
                stream.read_exact(&mut buffer[..consumed]).await?;
                return Ok(source);
            }
        }
    }
}

/// Whether the client speaks HTTP/2 with prior knowledge (RFC 9113 section 3.3). No HTTP/1 method starts like its preface.
async fn speaks_http2(stream: &TcpStream) -> Result<bool, BeginError> {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let mut start = [0; 4];
    let mut pauses = Pauses::new();
    loop {
        let peeked = stream.peek(&mut start).await?;
        if peeked == 0 {
            return Err(BeginError::Ended);
        }
        if start[..peeked] != PREFACE[..peeked] {
            return Ok(false);
        }
        if peeked == start.len() {
            return Ok(true);
        }
        pauses.next().await;
    }
}

/// Largest request head that hyper reads; above AWS's limit, so that our own 431 is the answer up to here.
const MAX_HEAD: usize = 64 * 1024;

async fn serve_http1<S>(io: TokioIo<ClientIo>, service: S, connection: &Connection) -> hyper::Result<()>
where
    S: hyper::service::HttpService<Incoming, ResBody = ReplyBody>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut builder = http1::Builder::new();
    // Timeouts are the sweep's work (`client_io`), so hyper needs no timer.
    builder.max_buf_size(MAX_HEAD).header_read_timeout(None);
    let serving = pin!(builder.serve_connection(io, service));
    drive(serving, connection, http1::Connection::graceful_shutdown).await
}

async fn serve_http2<S>(io: TokioIo<ClientIo>, service: S, connection: &Connection, streams: u32) -> hyper::Result<()>
where
    S: hyper::service::HttpService<Incoming, ResBody = ReplyBody>,
    S::Future: 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut builder = http2::Builder::new(LocalExecutor);
    builder
        .max_concurrent_streams(streams)
        .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX))
        .initial_stream_window_size(256 * 1024)
        .initial_connection_window_size(1024 * 1024)
        .max_send_buf_size(256 * 1024);
    let serving = pin!(builder.serve_connection(io, service));
    drive(serving, connection, http2::Connection::graceful_shutdown).await
}

/// Runs a connection to its end, or as the worker orders.
async fn drive<C>(mut serving: Pin<&mut C>, connection: &Connection, finish: impl Fn(Pin<&mut C>)) -> hyper::Result<()>
where
    C: Future<Output = hyper::Result<()>>,
{
    let mut finishing = false;
    poll_fn(|cx| {
        match connection.order(cx) {
            Order::Serve => {}
            Order::Finish if finishing => {}
            Order::Finish => {
                finishing = true;
                finish(serving.as_mut());
            }
            Order::Abort => return Poll::Ready(Ok(())),
        }
        serving.as_mut().poll(cx)
    })
    .await
}
