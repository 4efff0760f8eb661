//! A client's socket, and what the worker knows about its connection.
//!
//! Timeouts cost nothing per request: every connection notes the worker's coarse clock as bytes pass, and one sweep a
//! second looks for connections that have been quiet for too long ([`Connections::sweep`]).

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use rustls::pki_types::{CertificateDer, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_rustls::server::TlsStream;

use tollgate_engine::client_cert::ClientCert;
use tollgate_engine::forward::Peer;
use tollgate_engine::strict::Strict;
use tollgate_engine::truststore::Truststore;

use crate::one_piece;
use crate::settings::ConnectionLimits;

/// What the worker knows about one client connection.
#[derive(Debug)]
pub(crate) struct Connection {
    /// What backends are told of it.
    pub(crate) peer: Peer,
    /// The client's address: the TCP peer, or what the PROXY protocol said.
    client: SocketAddr,
    security: Security,
    in_flight: Cell<u32>,
    /// Coarse second since which the rest of a refused request's body is read and thrown away, 0 when none is.
    refused_since: Cell<u32>,
    /// Coarse second of the last byte in either direction.
    last_byte: Cell<u32>,
    /// Coarse second when the head that is being read began, 0 when none is.
    head_since: Cell<u32>,
    /// Set by the sweep or by the drain; the connection's task looks at it when it is woken.
    order: Cell<Order>,
    waker: RefCell<Option<Waker>>,
    clock: Rc<Cell<u32>>,
}

/// What TLS found out about the client.
#[derive(Debug)]
pub(crate) enum Security {
    /// No TLS.
    Plain,
    /// TLS.
    Tls {
        /// The custom domain that the handshake named, as its DomainName has it.
        domain: Option<Box<str>>,
        /// The client's certificate, on domains that ask for one.
        client: Option<ClientIdentity>,
    },
}

/// A client's certificate that a truststore let in.
#[derive(Debug)]
pub(crate) struct ClientIdentity {
    pub(crate) facts: Rc<ClientCert>,
    /// The client's own first.
    chain: Vec<CertificateDer<'static>>,
    /// Who let it in.
    trust: RefCell<Arc<Truststore>>,
}

impl ClientIdentity {
    /// `None` without a certificate that can be read.
    pub(crate) fn new(chain: &[CertificateDer<'_>], trust: &Arc<Truststore>) -> Option<Self> {
        let facts = Rc::new(ClientCert::from_der(chain.first()?)?);
        let chain = chain.iter().map(|certificate| certificate.clone().into_owned()).collect();
        Some(Self { facts, chain, trust: RefCell::new(Arc::clone(trust)) })
    }

    /// Whether the domain's truststore lets it in; asked again when that has changed since.
    pub(crate) fn is_trusted_by(&self, trust: &Arc<Truststore>, now: UnixTime) -> bool {
        if Arc::ptr_eq(trust, &self.trust.borrow()) {
            return true;
        }
        let Some((own, sent)) = self.chain.split_first() else { return false };
        let trusted = trust.verify(own, sent, now).is_ok();
        if trusted {
            *self.trust.borrow_mut() = Arc::clone(trust);
        }
        trusted
    }
}

/// What a connection is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Go on.
    Serve,
    /// Finish what is in flight, take nothing new.
    Finish,
    /// End now.
    Abort,
}

impl Connection {
    /// The client's address without the port.
    pub(crate) fn client_ip(&self) -> IpAddr {
        self.client.ip()
    }

    /// What TLS found out.
    pub(crate) fn security(&self) -> &Security {
        &self.security
    }

    /// Whether the connection has TLS.
    pub(crate) fn is_secure(&self) -> bool {
        matches!(self.security, Security::Tls { .. })
    }

    /// Ends once what is in flight is answered.
    pub(crate) fn finish(&self) {
        self.give(Order::Finish);
    }

    /// Whether it was told to end.
    pub(crate) fn is_finishing(&self) -> bool {
        self.order.get() != Order::Serve
    }

    /// A request head is complete.
    pub(crate) fn request_began(&self) {
        self.head_since.set(0);
        self.in_flight.set(self.in_flight.get() + 1);
    }

    /// A response is complete or given up.
    pub(crate) fn request_ended(&self) {
        self.in_flight.set(self.in_flight.get().saturating_sub(1));
        self.last_byte.set(self.clock.get());
    }

    /// What comes now belongs to a body that nobody wants.
    pub(crate) fn refuse_began(&self) {
        self.refused_since.set(self.clock.get());
    }

    /// The body is over, or given up.
    pub(crate) fn refuse_ended(&self) {
        self.refused_since.set(0);
        self.last_byte.set(self.clock.get());
    }

    /// What to do now; remembers whom to wake when that changes.
    pub(crate) fn order(&self, cx: &Context<'_>) -> Order {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        self.order.get()
    }

    fn give(&self, order: Order) {
        if self.order.get() == order {
            return;
        }
        self.order.set(order);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    fn bytes_read(&self) {
        let now = self.clock.get();
        self.last_byte.set(now);
        if self.in_flight.get() == 0 && self.head_since.get() == 0 && self.refused_since.get() == 0 {
            self.head_since.set(now);
        }
    }

    fn bytes_written(&self) {
        self.last_byte.set(self.clock.get());
    }

    /// What a connection is told that has used up its time; `finishing` when everything ends as soon as it can.
    fn overdue(&self, limits: &ConnectionLimits, finishing: bool) -> Option<Order> {
        let now = u64::from(self.clock.get());
        let quiet = now.saturating_sub(u64::from(self.last_byte.get()));
        if self.in_flight.get() > 0 {
            let late = finishing && self.order.get() == Order::Serve;
            return (quiet > limits.stall_timeout.as_secs())
                .then_some(Order::Abort)
                .or_else(|| late.then_some(Order::Finish));
        }
        let refused_since = u64::from(self.refused_since.get());
        if refused_since > 0 {
            // While draining the client still gets a moment to read why it was refused.
            let most = if finishing { FINISHING_SECONDS } else { limits.refused_body_timeout.as_secs() };
            return (now.saturating_sub(refused_since) > most).then_some(Order::Abort);
        }
        let head_since = u64::from(self.head_since.get());
        if head_since > 0 && now.saturating_sub(head_since) > limits.head_timeout.as_secs() {
            return Some(Order::Abort);
        }
        let most = if finishing { FINISHING_SECONDS } else { limits.idle_timeout.as_secs() };
        (quiet > most).then_some(Order::Finish)
    }
}

/// How long a connection without a request is still waited for once everything ends as soon as it can.
const FINISHING_SECONDS: u64 = 1;

/// All client connections of one worker.
#[derive(Debug)]
pub(crate) struct Connections {
    open: RefCell<slab::Slab<Rc<Connection>>>,
    clock: Rc<Cell<u32>>,
    draining: Cell<bool>,
    finishing: Cell<bool>,
    /// Connections whose first bytes are not complete yet: PROXY protocol, TLS, the beginning of HTTP.
    beginning: Cell<usize>,
    finish: Notify,
}

impl Connections {
    pub(crate) fn new() -> Self {
        // The clock starts at 1, since 0 stands for "no head is being read".
        Self {
            open: RefCell::default(),
            clock: Rc::new(Cell::new(1)),
            draining: Cell::new(false),
            finishing: Cell::new(false),
            beginning: Cell::new(0),
            finish: Notify::new(),
        }
    }

    /// All that are open, whatever they have got to.
    pub(crate) fn len(&self) -> usize {
        self.open.borrow().len() + self.beginning.get()
    }

    /// Counts a connection that begins until the handle is dropped.
    pub(crate) fn begin(self: &Rc<Self>) -> Beginning {
        self.beginning.set(self.beginning.get() + 1);
        Beginning(Rc::clone(self))
    }

    /// Whether connections are to end as soon as nothing is in flight on them.
    pub(crate) fn is_finishing(&self) -> bool {
        self.finishing.get()
    }

    /// Returns when connections are to end as soon as nothing is in flight on them.
    pub(crate) async fn finishing(&self) {
        while !self.finishing.get() {
            self.finish.notified().await;
        }
    }

    /// Adds a connection; it is forgotten when the handle is dropped.
    ///
    /// A `trusted` peer is a proxy whose own forwarding headers are believed.
    pub(crate) fn add(
        self: &Rc<Self>,
        client: SocketAddr,
        gateway: SocketAddr,
        trusted: bool,
        security: Security,
    ) -> Handle {
        let connection = Rc::new(Connection {
            // HTTP APIs speak HTTPS; a plain listener reports the same (H-FLOW-2).
            peer: Peer::new(client.ip(), gateway.ip(), "https", trusted),
            client,
            security,
            in_flight: Cell::new(0),
            refused_since: Cell::new(0),
            last_byte: Cell::new(self.clock.get()),
            head_since: Cell::new(0),
            // One that was accepted and is ready only when everything ends still gets its first answer.
            order: Cell::new(Order::Serve),
            waker: RefCell::new(None),
            clock: Rc::clone(&self.clock),
        });
        let key = self.open.borrow_mut().insert(Rc::clone(&connection));
        Handle { connection, key, connections: Rc::clone(self) }
    }

    /// Called once a second: moves the clock and ends what has been quiet for too long.
    pub(crate) fn sweep(&self, limits: &ConnectionLimits) {
        self.clock.set(self.clock.get().saturating_add(1));
        for (_, connection) in self.open.borrow().iter() {
            if let Some(order) = connection.overdue(limits, self.finishing.get()) {
                connection.give(order);
            }
        }
    }

    /// From now on responses close their connections.
    pub(crate) fn begin_drain(&self) {
        self.draining.set(true);
    }

    /// Whether responses should close their connections.
    pub(crate) fn draining(&self) -> bool {
        self.draining.get()
    }

    /// From now on connections end as soon as nothing is in flight on them.
    pub(crate) fn finish(&self) {
        self.finishing.set(true);
        self.finish.notify_waiters();
        self.order_all(Order::Finish);
    }

    /// Ends every connection now.
    pub(crate) fn abort(&self) {
        self.order_all(Order::Abort);
    }

    fn order_all(&self, order: Order) {
        for (_, connection) in self.open.borrow().iter() {
            connection.give(order);
        }
    }
}

/// Counts a connection while it begins.
#[derive(Debug)]
pub(crate) struct Beginning(Rc<Connections>);

impl Drop for Beginning {
    fn drop(&mut self) {
        self.0.beginning.set(self.0.beginning.get() - 1);
    }
}

/// Keeps a connection listed while its task lives.
#[derive(Debug)]
pub(crate) struct Handle {
    connection: Rc<Connection>,
    key: usize,
    connections: Rc<Connections>,
}

impl Handle {
    pub(crate) fn connection(&self) -> &Rc<Connection> {
        &self.connection
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.connections.open.borrow_mut().remove(self.key);
    }
}

/// The stream hyper reads and writes.
#[derive(Debug)]
pub(crate) struct ClientIo {
    stream: ClientStream,
    connection: Rc<Connection>,
    /// HTTP/1 only: HTTP/2 has no such ambiguities.
    strict: Option<Strict>,
}

/// With or without TLS.
#[derive(Debug)]
pub(crate) enum ClientStream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl ClientIo {
    /// With `http1` requests are looked at on their way to the parser.
    pub(crate) fn new(stream: ClientStream, connection: Rc<Connection>, http1: bool) -> Self {
        Self { stream, connection, strict: http1.then(Strict::default) }
    }
}

impl AsyncRead for ClientIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = match &mut self.stream {
            ClientStream::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            ClientStream::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        };
        if buffer.filled().len() > before {
            self.connection.bytes_read();
            if let Some(strict) = &mut self.strict
                && !strict.check(&mut buffer.filled_mut()[before..])
            {
                // To the parser it looks as if the peer had said nothing and gone.
                buffer.set_filled(before);
            }
        }
        polled
    }
}

impl AsyncWrite for ClientIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = match &mut self.stream {
            ClientStream::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            ClientStream::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        };
        if polled.is_ready() {
            self.connection.bytes_written();
        }
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = match &mut self.stream {
            ClientStream::Plain(stream) => one_piece::poll_write(Pin::new(stream), cx, slices),
            ClientStream::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        };
        if polled.is_ready() {
            self.connection.bytes_written();
        }
        polled
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            ClientStream::Plain(stream) => stream.is_write_vectored(),
            ClientStream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            ClientStream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            ClientStream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            ClientStream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            ClientStream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
