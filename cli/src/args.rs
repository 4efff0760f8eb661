//! The command line.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use crate::backend::args::BackendArgs;

/// Amazon API Gateway's model on Kubernetes: check and run the same YAML without a cluster
#[derive(Debug, Parser)]
#[command(name = "tollgate", version, about, max_term_width = 120)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Checks files offline: YAML, schema, rules and references, as a cluster would
    ///
    /// Exits with 0 when nothing is wrong, with 1 when there are problems, with 64 when the command line is wrong.
    Check {
        /// Directories, read with everything below them, and files
        #[arg(required = true, value_name = "DIR|FILE")]
        paths: Vec<PathBuf>,
        /// How to print what was found
        #[arg(long, value_enum, default_value_t = Output::Human)]
        output: Output,
    },
    /// Serves a directory of YAML files on this machine, and follows what you change in them
    ///
    /// Reads the same objects as a cluster. Deployments whose container is `tollgate backend …` are run within this
    /// program. Addresses and mistakes are printed to standard error, access logs to standard output.
    Dev {
        /// The directory, read with everything below it
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// Where to serve HTTP
        #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
        listen: SocketAddr,
        /// Where to serve HTTPS, with a certificate made here
        #[arg(long, value_name = "ADDR")]
        tls_listen: Option<SocketAddr>,
        /// Where to serve health, metrics and what runs
        #[arg(long, value_name = "ADDR")]
        admin: Option<SocketAddr>,
        /// Where to keep keys and certificates, so that they are the same after a restart
        #[arg(long, value_name = "DIR")]
        state: Option<PathBuf>,
        /// Worker threads; two unless the machine has one core
        #[arg(long, value_name = "N")]
        workers: Option<NonZeroUsize>,
        /// What the program logs, e.g. info or tollgate_proxy=debug
        #[arg(long, value_name = "FILTER", default_value = "warn")]
        log: String,
    },
    /// Runs a backend for examples and tests: an echo service, a function, a token issuer
    Backend(BackendArgs),
    /// Prints the custom resource definitions, for `kubectl apply --server-side -f -`
    Crds,
}

/// How to print what was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// As compilers do
    Human,
    /// One JSON document, see docs/cli.md
    Json,
}
