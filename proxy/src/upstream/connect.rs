//! Opening connections to backends.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tracing::warn;

use crate::body::UpstreamBody;
use crate::gateway::Tls;
use crate::hosts::Hosts;
use crate::metrics::{Counter, WorkerMetrics};
use crate::one_piece::OnePiece;

/// One address to try, and how.
#[derive(Clone, Debug)]
pub(crate) struct Dial<'a> {
    pub(crate) address: SocketAddr,
    pub(crate) tls: Option<DialTls<'a>>,
}

/// TLS towards one address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DialTls<'a> {
    /// Sent as SNI and verified.
    pub(crate) server_name: &'a str,
    pub(crate) config: &'a Arc<rustls::ClientConfig>,
    /// Identity of `config`, for pools.
    pub(crate) id: usize,
}

impl<'a> DialTls<'a> {
    pub(crate) fn of(tls: &'a Tls) -> Self {
        Self { server_name: &tls.server_name, config: &tls.config, id: tls.id }
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// The name has no address.
    #[error("resolving {name:?} failed")]
    Resolve {
        /// The host.
        name: String,
        /// What the resolver said.
        #[source]
        source: Box<hickory_resolver::net::NetError>,
    },
    /// There is no resolver.
    #[error("resolving {0:?} failed: DNS is not configured")]
    NoResolver(String),
    /// TCP failed.
    #[error("connecting to {address} failed")]
    Tcp {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// TCP or TLS took too long.
    #[error("connecting to {0} took too long")]
    Timeout(SocketAddr),
    /// The certificate was not accepted, or TLS failed otherwise (H-HTTP-14, H-VPC-4).
    #[error("TLS with {address} failed")]
    Tls {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A name that cannot stand in a certificate.
    #[error("{0:?} is not a name that a certificate can hold")]
    ServerName(String),
    /// HTTP/2 was expected.
    #[error("{0} does not speak HTTP/2")]
    NotHttp2(SocketAddr),
    /// HTTP/2 connections take only so many requests at a time.
    #[error("{0} takes no more requests at a time")]
    Busy(SocketAddr),
    /// The connection that several requests waited for.
    #[error(transparent)]
    Shared(Arc<Self>),
    /// The backend closed the new connection before the request.
    #[error("the backend closed the new connection")]
    Closed,
}

impl ConnectError {
    /// What happened, whoever else waited for it.
    pub(crate) fn root(&self) -> &Self {
        match self {
            Self::Shared(error) => error.root(),
            other => other,
        }
    }

    pub(super) fn counter(&self) -> Counter {
        match self {
            Self::Resolve { .. } | Self::NoResolver(_) => Counter::BackendDnsFailed,
            Self::Tcp { .. } | Self::Closed | Self::NotHttp2(_) | Self::Busy(_) => Counter::BackendConnectFailed,
            Self::Shared(error) => error.counter(),
            Self::Timeout(_) => Counter::BackendConnectTimeout,
            Self::Tls { .. } | Self::ServerName(_) => Counter::BackendTlsFailed,
        }
    }
}

/// Resolves and connects for one worker.
#[derive(Debug)]
pub(crate) struct Connector {
    resolver: Option<TokioResolver>,
    /// Names answered from settings.
    hosts: Hosts,
}

/// At most this many addresses of a name are used.
const ADDRESSES: usize = 16;

impl Connector {
    /// Resolves as the machine is configured to (`/etc/resolv.conf`); without a configuration only `hosts` and addresses resolve.
    pub(crate) fn from_system(hosts: Hosts) -> Self {
        let builder = TokioResolver::builder_tokio();
        let resolver = builder.and_then(|builder| builder.build());
        if let Err(error) = &resolver {
            warn!(%error, "no DNS: backends can only be reached by address");
        }
        Self { resolver: resolver.ok(), hosts }
    }

    /// The addresses of `host`; the resolver caches by the records' time to live.
    pub(crate) async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectError> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = bare.parse() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        if let Some(address) = self.hosts.lookup(host, port) {
            return Ok(vec![address]);
        }
        let resolver = self.resolver.as_ref().ok_or_else(|| ConnectError::NoResolver(host.to_owned()))?;
        let found = resolver
            .lookup_ip(host)
            .await
            .map_err(|source| ConnectError::Resolve { name: host.to_owned(), source: Box::new(source) })?;
        Ok(found.iter().take(ADDRESSES).map(|address| SocketAddr::new(address, port)).collect())
    }

    pub(super) async fn open(
        &self,
        dial: &Dial<'_>,
        timeout: Duration,
        metrics: &Rc<WorkerMetrics>,
    ) -> Result<SendRequest<UpstreamBody>, ConnectError> {
        tokio::time::timeout(timeout, Self::connect(dial, metrics))
            .await
            .unwrap_or(Err(ConnectError::Timeout(dial.address)))
    }

    async fn connect(dial: &Dial<'_>, metrics: &Rc<WorkerMetrics>) -> Result<SendRequest<UpstreamBody>, ConnectError> {
        let address = dial.address;
        let stream = TcpStream::connect(address).await.map_err(|source| ConnectError::Tcp { address, source })?;
        // Requests are written whole; waiting to fill a packet only adds latency.
        let _ = stream.set_nodelay(true);
        let Some(tls) = &dial.tls else { return Self::handshake(TokioIo::new(OnePiece(stream)), metrics).await };
        let name = ServerName::try_from(tls.server_name.to_owned())
            .map_err(|_| ConnectError::ServerName(tls.server_name.to_owned()))?;
        let stream = TlsConnector::from(Arc::clone(tls.config))
            .connect(name, stream)
            .await
            .map_err(|source| ConnectError::Tls { address, source })?;
        Self::handshake(TokioIo::new(stream), metrics).await
    }

    async fn handshake<I>(io: I, metrics: &Rc<WorkerMetrics>) -> Result<SendRequest<UpstreamBody>, ConnectError>
    where
        I: hyper::rt::Read + hyper::rt::Write + Unpin + 'static,
    {
        let (sender, connection) =
            http1::Builder::new().max_buf_size(64 * 1024).handshake(io).await.map_err(|_| ConnectError::Closed)?;
        metrics.count(Counter::BackendOpened);
        let metrics = Rc::clone(metrics);
        tokio::task::spawn_local(async move {
            // Whoever waits for a response learns of the error; an idle connection may end as it likes.
            let _ = connection.await;
            metrics.count(Counter::BackendClosed);
        });
        Ok(sender)
    }
}
