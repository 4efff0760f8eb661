//! Helpers that tests share; never shipped.
//!
//! [`Gateway`] is a proxy in this process, configured with the units of an [`Api`], with [`backend`]s behind it and a [`Client`] that
//! shows bytes as they come.

#![expect(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a test that cannot go on panics")]

mod api;
mod backend;
mod client;
mod feed;
mod gateway;
pub mod hostile;
mod http2;
mod http2_backend;
mod issuer;
mod metered;
mod program;
mod readme;
mod store;
mod tls;

pub use api::{Api, function, http, service};
pub use backend::{Identity, address_for_a_program, backend, echo, invoked, raw_backend, tls_backend, unused_address};
pub use client::{Client, Reply};
pub use feed::Feed;
pub use gateway::{Gateway, settings, unit_set};
pub use http2::Http2Client;
pub use http2_backend::{Http2Backend, Http2Call};
pub use issuer::{Issuer, SigningKey, unsigned};
pub use metered::{Metered, customer_key, metered_api, store_settings};
pub use program::Program;
pub use readme::Console;
pub use store::{STORE_PASSWORD, Server, Store};
pub use tls::{Authority, Issued, TlsClient, TlsConnection};
