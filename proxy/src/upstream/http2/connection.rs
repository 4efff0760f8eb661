//! One HTTP/2 connection to a backend.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::io::{self, BackendIo, First, Heard, Stream};
use crate::body::UpstreamBody;
use crate::connection::LocalExecutor;
use crate::metrics::{Counter, WorkerMetrics};
use crate::upstream::ConnectError;
use crate::upstream::connect::{Dial, DialTls};

/// Requests that share a connection, at most; a backend may allow fewer.
const MOST_STREAMS: u32 = 100;
/// What a backend may send of one response before its client has taken it.
const STREAM_WINDOW: u32 = 256 * 1024;
/// As much for each of them: slow clients must not hold up those of others.
const CONNECTION_WINDOW: u32 = MOST_STREAMS * STREAM_WINDOW;
/// Of a request body, waiting for the backend to take it.
const SEND_BUFFER: usize = 64 * 1024;
/// Largest response head, as over HTTP/1.1.
const MAX_HEAD: u32 = 64 * 1024;

type Driver = http2::Connection<TokioIo<BackendIo>, UpstreamBody, LocalExecutor>;

/// Where to connect, owned: several requests wait for the same connection.
#[derive(Debug)]
pub(super) struct Address {
    address: std::net::SocketAddr,
    /// Name and configuration, which here asks for HTTP/2.
    tls: Option<(Box<str>, Arc<rustls::ClientConfig>)>,
}

impl Address {
    pub(super) fn of(dial: &Dial<'_>) -> Self {
        let tls = dial.tls.map(|DialTls { server_name, config, .. }| {
            let mut config = rustls::ClientConfig::clone(config);
            config.alpn_protocols = vec![b"h2".to_vec()];
            (server_name.into(), Arc::new(config))
        });
        Self { address: dial.address, tls }
    }
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) sender: SendRequest<UpstreamBody>,
    driver: Rc<RefCell<Option<Driver>>>,
    pub(super) heard: Rc<Heard>,
    /// Requests in flight.
    pub(super) streams: Cell<u32>,
    /// It has carried a request.
    pub(super) used: Cell<bool>,
    /// Coarse second at which its last request ended.
    pub(super) idle_since: Cell<u32>,
}

impl Connection {
    /// Connects and waits for the backend's first frame, which says how many requests it takes, and that it speaks HTTP/2 at all.
    pub(super) async fn open(to: &Address, metrics: &Rc<WorkerMetrics>, now: u32) -> Result<Self, ConnectError> {
        let address = to.address;
        let heard = Rc::new(Heard::default());
        let io = BackendIo::new(connect(to).await?, Rc::clone(&heard));
        let mut builder = http2::Builder::new(LocalExecutor);
        builder
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .max_header_list_size(MAX_HEAD);
        let (sender, driver) =
            builder.handshake(TokioIo::new(io)).await.map_err(|_| ConnectError::NotHttp2(address))?;
        let driver = Rc::new(RefCell::new(Some(driver)));
        metrics.count(Counter::BackendOpened);
        tokio::task::spawn_local(drive(Rc::clone(&driver), Rc::clone(metrics)));
        match heard.first().await {
            First::Settings => {}
            First::Nothing | First::Other => return Err(ConnectError::NotHttp2(address)),
        }
        let (streams, used, idle_since) = (Cell::new(0), Cell::new(false), Cell::new(now));
        Ok(Self { sender, driver, heard, streams, used, idle_since })
    }

    /// Requests that it takes at a time.
    pub(super) fn capacity(&self) -> u32 {
        let driver = self.driver.borrow();
        let allowed = driver.as_ref().map_or(0, Driver::current_max_send_streams);
        u32::try_from(allowed).unwrap_or(u32::MAX).min(MOST_STREAMS)
    }

    pub(super) fn has_room(&self) -> bool {
        self.streams.get() < self.capacity()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}

/// Runs a connection's requests. The driver is dropped at its end: with it come back those that it has not begun.
async fn drive(driver: Rc<RefCell<Option<Driver>>>, metrics: Rc<WorkerMetrics>) {
    let ended = poll_fn(|cx| {
        let mut running = driver.borrow_mut();
        let Some(connection) = running.as_mut() else { return Poll::Ready(None) };
        match Pin::new(connection).poll(cx) {
            Poll::Ready(_) => Poll::Ready(running.take()),
            Poll::Pending => Poll::Pending,
        }
    });
    drop(ended.await);
    metrics.count(Counter::BackendClosed);
}

async fn connect(to: &Address) -> Result<Stream, ConnectError> {
    let address = to.address;
    let stream = TcpStream::connect(address).await.map_err(|source| ConnectError::Tcp { address, source })?;
    // Frames are written whole; waiting to fill a packet only adds latency.
    let _ = stream.set_nodelay(true);
    io::watch(&stream);
    let Some((server_name, config)) = &to.tls else { return Ok(Stream::Plain(stream)) };
    let name =
        ServerName::try_from(server_name.to_string()).map_err(|_| ConnectError::ServerName(server_name.to_string()))?;
    let stream = TlsConnector::from(Arc::clone(config))
        .connect(name, stream)
        .await
        .map_err(|source| ConnectError::Tls { address, source })?;
    if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
        return Err(ConnectError::NotHttp2(address));
    }
    Ok(Stream::Tls(Box::new(stream)))
}
