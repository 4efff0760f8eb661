//! The arguments of `tollgate backend`, which Deployments repeat.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Backends for examples and tests; not for production
#[derive(Clone, Debug, PartialEq, Parser)]
#[command(name = "tollgate backend", no_binary_name = true)]
pub struct BackendArgs {
    /// Where to listen; in a container 0.0.0.0:8080
    #[arg(long, global = true, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Which backend.
    #[command(subcommand)]
    pub which: Which,
}

/// The backends.
#[derive(Clone, Debug, PartialEq, Subcommand)]
pub enum Which {
    /// Answers with the request that it got, as JSON
    Echo(EchoArgs),
    /// Answers the Lambda invoke protocol as a function would
    Function(FunctionArgs),
    /// Gives out signed tokens to anyone who asks, with discovery document and keys
    Issuer(IssuerArgs),
}

/// `tollgate backend echo`
#[derive(Clone, Debug, Default, PartialEq, Args)]
pub struct EchoArgs {
    /// A name to put into each answer
    #[arg(long, default_value = "echo")]
    pub name: String,
    /// Request headers to repeat, separated by commas; without it all
    #[arg(long, value_delimiter = ',')]
    pub headers: Option<Vec<String>>,
}

/// `tollgate backend function`
#[derive(Clone, Debug, Default, PartialEq, Args)]
pub struct FunctionArgs {
    /// The result as JSON; `${/pointer}` in its texts is replaced by that part of the event. Without it the event itself
    #[arg(long, value_name = "JSON")]
    pub respond: Option<String>,
}

/// `tollgate backend issuer`
#[derive(Clone, Debug, Default, PartialEq, Args)]
pub struct IssuerArgs {
    /// The `iss` of the tokens: the URL by which the gateway reaches this issuer
    #[arg(long, value_name = "URL")]
    pub issuer: String,
    /// The `aud` of tokens that ask for none
    #[arg(long, default_value = "tollgate")]
    pub audience: String,
    /// Keeps the signing key in this file, so that tokens outlive a restart
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
}
