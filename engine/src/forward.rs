//! Headers on their way to backends and back (sections 3.5, 3.6 and 3.8 of the spec).
//!
//! This is the code that every proxied request runs after it is routed. It goes over the names once, touches only what is there, and makes
//! at most two values: `Forwarded`, when host or chain differ from the connection's previous request, and `X-Amzn-Trace-Id`.

mod chain;
mod hop;
mod seen;

use std::cell::OnceCell;
use std::net::IpAddr;

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, COOKIE, FORWARDED, HOST,
    LOCATION, SET_COOKIE, TE, TRANSFER_ENCODING, VIA, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::ip::IpText;
use crate::request_id::RequestId;
use crate::trace::X_AMZN_TRACE_ID;

pub(crate) use self::hop::{Found, connection_options};
pub use self::seen::{Answered, Asked};

/// `apigw-requestid` (H-ERR-6). On HTTP/1.1 the connection writes it as `Apigw-Requestid`.
pub const APIGW_REQUESTID: HeaderName = HeaderName::from_static("apigw-requestid");
/// `Via` as AWS sends it (H-HTTP-9, H-HTTP-12).
pub static DEFAULT_VIA: HeaderValue = HeaderValue::from_static("HTTP/1.1 AmazonAPIGateway");

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// What is the same for all requests of one client connection. Made when the connection is accepted.
#[derive(Debug)]
pub struct Peer {
    address: IpText,
    address_value: HeaderValue,
    gateway: IpText,
    scheme: &'static str,
    trusted: bool,
    /// `Forwarded` for the host of the connection's first request, one per kind of target.
    forwarded: [OnceCell<(HeaderValue, HeaderValue)>; 2],
}

impl Peer {
    /// `address` is the client's as seen by the socket or told by PROXY protocol, `gateway` the one it called, `scheme` what the client
    /// is told to have used (`https`, H-FLOW-2). A `trusted` peer is a proxy whose own forwarding headers are believed.
    pub fn new(address: IpAddr, gateway: IpAddr, scheme: &'static str, trusted: bool) -> Self {
        let address = IpText::new(address);
        let address_value = HeaderValue::from_bytes(address.as_bytes()).expect("addresses are visible ASCII");
        let forwarded = [OnceCell::new(), OnceCell::new()];
        Self { address, address_value, gateway: IpText::new(gateway), scheme, trusted, forwarded }
    }
}

/// The kinds of HTTP backends (H-HDR-2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A URL: `Forwarded` has `by=`, no `X-Forwarded-*`.
    Http,
    /// Pods of a service: `Forwarded` has no `by=`, and `X-Forwarded-For`, `-Host` and `-Proto` are sent too.
    Service,
}

/// Where a request goes.
#[derive(Clone, Copy, Debug)]
pub struct Onward<'a> {
    /// The client's connection.
    pub peer: &'a Peer,
    /// The kind of backend.
    pub target: Target,
    /// The host that the client called, with its port if one was sent.
    pub api_host: &'a HeaderValue,
    /// `Host` of the request to the backend: the URI's host, or `api_host` for services (H-HTTP-9, H-VPC-7).
    pub backend_host: &'a HeaderValue,
    /// `X-Amzn-Trace-Id`.
    pub trace: &'a HeaderValue,
    /// `Via`, [`DEFAULT_VIA`] unless an operator wants another.
    pub via: &'a HeaderValue,
    /// The request has no body: `Content-Length: 0` is sent (H-HTTP-9).
    pub empty_body: bool,
    /// Client and backend both speak HTTP/2: trailers pass, and with them the client's `TE: trailers`, which gRPC servers ask for.
    pub trailers: bool,
}

/// Turns a client's headers into those of the request to an HTTP backend (H-HTTP-9, H-HTTP-10, H-HTTP-17, H-VPC-7).
///
/// `Forwarded` and `X-Forwarded-*` of a client are not believed unless its connection is trusted, with one exception that AWS makes
/// too: the addresses of `X-Forwarded-For` stand in `Forwarded`, before the true peer.
pub fn request_headers(headers: &mut HeaderMap, onward: &Onward<'_>) {
    let found = Found::scan(headers);
    let peer = onward.peer;
    let forwarded = if found.any(Found::FORWARDED | Found::X_FORWARDED_FOR) {
        chain::forwarded_after(headers, onward)
    } else {
        direct_forwarded(onward)
    };
    if found.any(Found::HOP_BY_HOP) {
        let te = onward.trailers && found.any(Found::TE) && hop::takes_trailers(headers);
        hop::remove_hop_by_hop(headers, found);
        if te {
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
    }
    if found.any(Found::COOKIE) {
        join_cookies(headers);
    }
    match onward.target {
        Target::Http => hop::remove_x_forwarded(headers, found),
        Target::Service if peer.trusted => extend_x_forwarded(headers, onward),
        Target::Service => {
            hop::remove_x_forwarded(headers, found);
            headers.insert(X_FORWARDED_FOR, peer.address_value.clone());
            headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(peer.scheme));
            headers.insert(X_FORWARDED_HOST, onward.api_host.clone());
        }
    }
    headers.insert(FORWARDED, forwarded);
    headers.insert(HOST, onward.backend_host.clone());
    headers.insert(X_AMZN_TRACE_ID, onward.trace.clone());
    headers.append(VIA, onward.via.clone());
    if onward.empty_body {
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
}

/// Turns a backend's headers into those of the answer to the client (H-HDR-3, H-HDR-4): hop-by-hop and `apigw-*` headers go.
pub fn response_headers(headers: &mut HeaderMap) {
    Answered::of(headers).strip(headers);
}

/// Takes out of trailers what may not stand there (RFC 9110 section 6.5.1), and what a backend or client could take for the gateway's word:
/// readers may merge trailers into the headers.
pub fn trailers(headers: &mut HeaderMap) {
    let found = Found::scan(headers);
    if found.any(Found::HOP_BY_HOP) {
        hop::remove_hop_by_hop(headers, found);
    }
    if found.any(Found::APIGW) {
        hop::remove_prefixed(headers, "apigw-");
    }
    hop::remove_x_forwarded(headers, found);
    for name in NO_TRAILERS {
        headers.remove(name);
    }
}

/// What frames, routes, authorizes or describes the message (RFC 9110 section 6.5.1), and what the gateway says about it.
const NO_TRAILERS: [HeaderName; 14] = [
    AUTHORIZATION,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    CONTENT_RANGE,
    COOKIE,
    FORWARDED,
    HOST,
    LOCATION,
    SET_COOKIE,
    VIA,
    WWW_AUTHENTICATE,
    X_AMZN_TRACE_ID,
    crate::trace::TRACEPARENT,
];

/// Takes out what concerns one connection only, so that what is added afterwards stays.
pub fn strip_connection(headers: &mut HeaderMap) {
    let found = Found::scan(headers);
    if found.any(Found::HOP_BY_HOP) {
        hop::remove_hop_by_hop(headers, found);
    }
}

/// Whether a body has a transfer coding beside `chunked`. Forwarding takes `Transfer-Encoding` off and we undo no other coding (RFC 9112
/// section 6.1), so coded bytes would be taken for the body.
pub fn is_coded(headers: &HeaderMap) -> bool {
    headers.get_all(TRANSFER_ENCODING).iter().any(|value| !value.as_bytes().eq_ignore_ascii_case(b"chunked"))
}

/// Whether a `Connection` header says that its sender closes the connection after this message (RFC 9112 section 9.6).
pub fn lists_close(connection: &HeaderValue) -> bool {
    connection.as_bytes().split(|&byte| byte == b',').any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
}

/// Adds what every answer has (H-ERR-6, H-ERR-9). `keep_alive` is for HTTP/1.1 connections that stay open.
pub fn finish_response(headers: &mut HeaderMap, request_id: &RequestId, keep_alive: bool) {
    headers.insert(APIGW_REQUESTID, request_id.header_value());
    if keep_alive {
        headers.insert(CONNECTION, HeaderValue::from_static("keep-alive"));
    }
}

/// `Forwarded` of a request that came without a chain of its own: remembered for the connection.
fn direct_forwarded(onward: &Onward<'_>) -> HeaderValue {
    let remembered = &onward.peer.forwarded[onward.target as usize];
    match remembered.get() {
        Some((host, value)) if host == onward.api_host => value.clone(),
        Some(_) => chain::forwarded(onward),
        None => {
            let value = chain::forwarded(onward);
            // Another request of the connection may have been first; then its value stays.
            let _ = remembered.set((onward.api_host.clone(), value.clone()));
            value
        }
    }
}

/// What services in clusters read, after a trusted hop: its chain, ended by the hop itself; host and scheme if it has not said them.
fn extend_x_forwarded(headers: &mut HeaderMap, onward: &Onward<'_>) {
    let peer = onward.peer;
    match chain::joined(headers, &X_FORWARDED_FOR, ", ") {
        None => headers.insert(X_FORWARDED_FOR, peer.address_value.clone()),
        Some(mut chain) => {
            chain.extend_from_slice(b", ");
            chain.extend_from_slice(peer.address.as_bytes());
            headers.insert(X_FORWARDED_FOR, HeaderValue::from_bytes(&chain).expect("header values, joined with text"))
        }
    };
    if !headers.contains_key(X_FORWARDED_PROTO) {
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(peer.scheme));
    }
    if !headers.contains_key(X_FORWARDED_HOST) {
        headers.insert(X_FORWARDED_HOST, onward.api_host.clone());
    }
}

/// HTTP/2 clients may send each cookie in a field of its own; HTTP/1.1 has one (RFC 9113 section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    if let Some(cookies) = chain::joined(headers, &COOKIE, "; ") {
        headers.insert(COOKIE, HeaderValue::from_bytes(&cookies).expect("header values, joined with text"));
    }
}

#[cfg(test)]
mod tests;
