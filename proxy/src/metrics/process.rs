//! Counts of a worker that belong to no API: connections, handshakes, backends, retries.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::series::bump;

/// One worker's counts. Aligned as the series are.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct ProcessCells {
    counts: [AtomicU64; Counter::COUNT],
}

impl Default for ProcessCells {
    fn default() -> Self {
        Self { counts: std::array::from_fn(|_| AtomicU64::new(0)) }
    }
}

impl ProcessCells {
    pub(super) fn add(&self, counter: Counter, amount: u64) {
        bump(&self.counts[counter as usize], amount);
    }

    pub(super) fn value(&self, counter: Counter) -> u64 {
        self.counts[counter as usize].load(Relaxed)
    }
}

/// A family of counters, and the label that tells its members apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) family: &'static str,
    pub(super) help: &'static str,
    pub(super) label: Option<(&'static str, &'static str)>,
}

macro_rules! counters {
    ($($family:literal, $help:literal: { $($(#[$doc:meta])* $name:ident $(($label:literal = $value:literal))?,)+ })+) => {
        /// What a worker counts beside requests of stages.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Counter {
            $($($(#[$doc])* $name,)+)+
        }

        impl Counter {
            /// Members of a family stand together.
            pub(super) const ALL: &[(Self, Member)] = &[
                $($((Self::$name, Member {
                    family: $family,
                    help: $help,
                    label: counters!(@label $($label = $value)?),
                }),)+)+
            ];
            const COUNT: usize = Self::ALL.len();
        }
    };
    (@label) => { None };
    (@label $label:literal = $value:literal) => { Some(($label, $value)) };
}

counters! {
    "tollgate_client_connections_opened_total", "Client connections accepted.": {
        /// A connection was accepted.
        ClientOpened,
    }
    "tollgate_client_connections_closed_total", "Client connections ended.": {
        /// An accepted connection ended.
        ClientClosed,
    }
    "tollgate_client_connections_refused_total", "Client connections closed before their first request.": {
        /// The worker was at its bound of connections.
        RefusedAtBound("reason" = "bound"),
        /// PROXY protocol header missing or malformed.
        RefusedProxyProtocol("reason" = "proxy_protocol"),
        /// No complete header or handshake in time.
        RefusedTimeout("reason" = "timeout"),
    }
    "tollgate_tls_handshakes_total", "TLS handshakes with clients.": {
        /// A complete handshake.
        TlsFull("result" = "full"),
        /// A resumed session.
        TlsResumed("result" = "resumed"),
        /// A failed handshake.
        TlsFailed("result" = "failed"),
    }
    "tollgate_client_requests_total", "Request heads read, by protocol.": {
        /// HTTP/1.0 and HTTP/1.1.
        RequestHttp1("protocol" = "http1"),
        /// HTTP/2.
        RequestHttp2("protocol" = "http2"),
    }
    "tollgate_requests_rejected_total", "Requests answered without a stage.": {
        /// Not a well-formed request.
        RejectedMalformed("reason" = "malformed"),
        /// Head larger than the limit.
        RejectedHeadSize("reason" = "head_size"),
        /// Head not complete in time.
        RejectedTimeout("reason" = "timeout"),
        /// Host or stage not known.
        RejectedUnmatched("reason" = "unmatched"),
        /// No configuration yet (promise P4).
        RejectedNotReady("reason" = "not_ready"),
    }
    "tollgate_requests_throttled_total", "Requests answered 429.": {
        /// By a throttle.
        Throttled,
    }
    "tollgate_authorizer_answers_total", "Answers of authorizers' functions, by where they came from.": {
        /// Kept, or asked by another request at the same time.
        AuthorizerCached("source" = "cache"),
        /// The function was asked.
        AuthorizerAsked("source" = "function"),
        /// The function was asked and gave no answer.
        AuthorizerFailed("source" = "failure"),
    }
    "tollgate_api_keys_refused_total", "Requests of routes with apiKeyRequired whose key or claim opens nothing.": {
        /// No key, or one that opens nothing.
        KeyRefused,
    }
    "tollgate_token_checks_total", "Bearer tokens checked, by where the verdict came from.": {
        /// Verified before and cached.
        TokenCached("source" = "cache"),
        /// Verified now.
        TokenVerified("source" = "verification"),
    }
    "tollgate_backend_connections_opened_total", "Connections to backends.": {
        /// A connection to a backend was made.
        BackendOpened,
    }
    "tollgate_backend_connections_closed_total", "Connections to backends ended.": {
        /// A connection to a backend ended.
        BackendClosed,
    }
    "tollgate_backend_connect_failures_total", "Connections to backends that could not be made.": {
        /// Name not resolved.
        BackendDnsFailed("reason" = "dns"),
        /// Refused, unreachable.
        BackendConnectFailed("reason" = "connect"),
        /// Not in time.
        BackendConnectTimeout("reason" = "timeout"),
        /// TLS handshake.
        BackendTlsFailed("reason" = "tls"),
    }
    "tollgate_backend_requests_total", "Requests sent to backends.": {
        /// On a connection made for it.
        BackendOnNew("connection" = "new"),
        /// On a connection kept from an earlier request.
        BackendOnReused("connection" = "reused"),
    }
    "tollgate_backend_retries_total", "Requests tried on another connection because no byte had been sent.": {
        /// One such try.
        BackendRetry,
    }
    "tollgate_backend_timeouts_total", "Requests whose integration did not answer in time.": {
        /// One such request.
        BackendTimeout,
    }
}

/// Gauges that are the difference of two counters.
pub(super) const OPEN: &[(&str, &str, Counter, Counter)] = &[
    ("tollgate_client_connections", "Client connections open now.", Counter::ClientOpened, Counter::ClientClosed),
    (
        "tollgate_backend_connections",
        "Connections to backends open now.",
        Counter::BackendOpened,
        Counter::BackendClosed,
    ),
];
