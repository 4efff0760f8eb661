//! The command line.

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
