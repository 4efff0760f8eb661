//! What a proxy is told at start. Nothing here changes while it runs.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use http::HeaderValue;
use tollgate_engine::throttle::AccountLimit;

use crate::hosts::Hosts;

/// Everything [`Server::start`](crate::Server::start) wants to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Plain HTTP listener.
    pub listen: Option<SocketAddr>,
    /// HTTPS listener; needs certificates.
    pub tls_listen: Option<SocketAddr>,
    /// Worker threads, each with its own listeners, connections and upstream pools.
    pub workers: NonZeroUsize,
    /// The suffix of generated host names: `{apiId}.execute-api.{base_domain}`.
    pub base_domain: String,
    /// Reported as the API's account (H-EV2-20).
    pub account_id: String,
    /// Reported as the region in ARNs.
    pub region: String,
    /// What all APIs of this proxy may do together, and what no stage may exceed (H-THR-3); [`UNLIMITED`]: only stages and routes limit.
    pub account: AccountLimit,
    /// Throttles of the account, of stages and of routes count over all proxies with the same store of usage plans, if there is one.
    pub share_throttles: bool,
    /// The connection tier's bounds.
    pub limits: ConnectionLimits,
    /// Expect a PROXY protocol header (v1 or v2) on every client connection. Off by default: a client could forge it.
    pub proxy_protocol: bool,
    /// How many entries at the end of `X-Forwarded-For` were written by proxies that are trusted. 0: the TCP peer is the client.
    pub trusted_hops: u8,
    /// `Via` of requests to backends (H-HTTP-12); AWS's is [`tollgate_engine::forward::DEFAULT_VIA`].
    pub via: HeaderValue,
    /// Before the first configuration connections wait in the listener's queue. Otherwise they are answered 503 (promise P4), which tells
    /// a balancer to go elsewhere; `tollgate dev`, whose first configuration comes at once, has no elsewhere.
    pub wait_for_configuration: bool,
    /// Names that are answered from here instead of DNS, for `tollgate dev`.
    pub hosts: Hosts,
    /// How a stopping proxy leaves.
    pub drain: Drain,
}

impl Default for Settings {
    /// One worker that listens nowhere and leaves at once, for who says the rest: `tollgate dev`, and tests.
    fn default() -> Self {
        Self {
            listen: None,
            tls_listen: None,
            workers: NonZeroUsize::MIN,
            base_domain: "localhost".to_owned(),
            account_id: "000000000000".to_owned(),
            region: "local".to_owned(),
            account: UNLIMITED,
            share_throttles: false,
            limits: ConnectionLimits::default(),
            proxy_protocol: false,
            trusted_hops: 0,
            via: tollgate_engine::forward::DEFAULT_VIA.clone(),
            wait_for_configuration: false,
            hosts: Hosts::default(),
            drain: Drain { min: Duration::ZERO, max: Duration::from_secs(5) },
        }
    }
}

/// A proxy as a whole does not limit unless it is told to, where AWS does.
pub const UNLIMITED: AccountLimit = AccountLimit { rate: f64::INFINITY, burst: u32::MAX };

/// Bounds of connections (promise P9).
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Open client connections per worker; at the bound the worker stops accepting until one closes.
    pub connections_per_worker: usize,
    /// From the first byte of a request head to its last.
    pub head_timeout: Duration,
    /// A connection without a request in flight is closed after this long, also before its first.
    pub idle_timeout: Duration,
    /// A request in flight without a byte in either direction is ended after this long.
    pub stall_timeout: Duration,
    /// The rest of a refused request's body is read and thrown away for this long, so that the client reads why it was refused.
    pub refused_body_timeout: Duration,
    /// TLS handshake and PROXY protocol header, from the first byte.
    pub handshake_timeout: Duration,
    /// TCP (and TLS) connect to a backend; never longer than the integration's timeout.
    pub connect_timeout: Duration,
    /// How long an authorizer's function may take (H-LA-5).
    pub authorizer_timeout: Duration,
    /// Idle connections kept per backend address and worker.
    pub idle_per_backend: usize,
    /// An idle backend connection older than this is not used again.
    pub backend_idle_timeout: Duration,
    /// Concurrent HTTP/2 streams per client connection.
    pub http2_streams: u32,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            connections_per_worker: 16_384,
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(300),
            stall_timeout: Duration::from_secs(600),
            refused_body_timeout: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(3),
            authorizer_timeout: Duration::from_secs(10),
            idle_per_backend: 256,
            backend_idle_timeout: Duration::from_secs(60),
            http2_streams: 128,
        }
    }
}

/// How a stopping proxy leaves (design, section 6).
#[derive(Clone, Copy, Debug)]
pub struct Drain {
    /// Not ready, but still accepting, for this long: load balancers need time to notice.
    pub min: Duration,
    /// Requests in flight are waited for at most this long after that.
    pub max: Duration,
}

impl Default for Drain {
    fn default() -> Self {
        Self { min: Duration::from_secs(10), max: Duration::from_secs(60) }
    }
}
