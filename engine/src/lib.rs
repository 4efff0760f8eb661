//! What a gateway decides, as plain functions of their arguments: no I/O, no clock, no environment.
//!
//! * [`snapshot`] is what travels from controller to proxy.
//! * [`cors`], [`jwt`], [`throttle`], [`mapping`], [`forward`] and [`lambda`] decide the steps of a request in that order.
//! * [`meter`] counts what customers of usage plans use, over all proxies.
//! * [`aws`] writes and signs the requests to AWS services.
//! * [`reject`] is every error that the gateway itself answers, [`grpc`] how callers of gRPC hear of it.
//! * [`route`], [`template`] and [`deployment`] are what a snapshot is compiled into.
//! * [`context`] holds the facts of a request and its outcome, [`access_log`] writes them.
//! * [`domain`] finds the stage on a custom domain; [`certificate`], [`truststore`] and [`client_cert`] are about who is shown what and let in.
//! * [`proxy_protocol`] and [`strict`] read the first bytes of connections and of requests, before their parsers do.
//! * [`request_id`], [`trace`], [`time`], [`ip`] and [`percent`] are small forms that many parts share.

pub mod access_log;
pub mod aws;
pub mod certificate;
pub mod client_cert;
pub mod context;
pub mod cors;
pub mod deployment;
pub mod domain;
pub mod forward;
pub mod grpc;
pub mod ip;
mod json;
pub mod jwt;
pub mod lambda;
pub mod lambda_authorizer;
pub mod link;
pub mod mapping;
pub mod meter;
pub mod percent;
pub mod policy;
pub mod principal;
pub mod proxy_protocol;
pub mod reject;
pub mod request_id;
pub mod route;
pub mod secret;
pub mod sigv4;
pub mod snapshot;
pub mod strict;
pub mod template;
mod text;
pub mod throttle;
pub mod time;
pub mod trace;
pub mod truststore;
