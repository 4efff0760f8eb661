//! The data plane: connections, the request line, integrations, meters

pub mod access_log;
pub mod http_client;
pub mod jwks;
pub mod metrics;
pub mod proxy_protocol;
pub mod spans;
pub mod tls;
pub mod units;
