//! The data plane: connections, the request line, integrations, meters.
//!
//! [`Server`] is the door: it starts the workers and takes configuration through a [`units::Publisher`]. Requests run on the workers
//! (`connection` → `pipeline` → `upstream`), everything else on threads beside them.

pub mod access_log;
pub mod admin;
pub mod args;
mod authorize;
mod body;
mod client_io;
mod connection;
mod deadlines;
mod domains;
pub mod feed;
mod gateway;
pub mod health;
pub mod hosts;
pub mod http_client;
pub mod jwks;
pub mod metrics;
mod one_piece;
mod pipeline;
pub mod process;
mod publish;
pub mod readiness;
mod record;
pub mod server;
pub mod settings;
pub mod spans;
pub mod state;
pub mod telemetry;
pub mod tls;
pub mod units;
mod upstream;
pub mod usage;
mod view;
mod worker;

pub use server::{Server, Services, StartError};
pub use settings::Settings;
