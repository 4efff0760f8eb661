//! Watches the cluster, translates, publishes the feed and tells the truth in status.
//!
//! What runs, and what it waits for:
//!
//! * [`watch`] and [`referenced`] read the API server and send messages to
//! * [`publisher`], the one owner of the world. It fills the [`feed`] and the [`board`], and waits for no writer.
//! * [`status`] and [`history`] write what the board and the translation say, while [`lease`] says that this replica leads.
//! * [`ca`] keeps the feed's certificates; [`admin`] answers probes and scrapers.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

pub mod admin;
pub mod args;
pub mod board;
pub mod ca;
mod debounce;
pub mod feed;
pub mod generated;
pub mod history;
pub mod lease;
pub mod metrics;
pub mod proxies;
pub mod publisher;
pub mod referenced;
mod run;
pub mod shared;
pub mod status;
pub mod telemetry;
pub mod usage;
pub mod watch;

pub use args::{Args, Settings};
pub use run::run;

/// The field manager of everything that the controller writes.
pub const FIELD_MANAGER: &str = "tollgate-controller";

/// The program: reads arguments and environment, runs until it is told to stop. Exits with 64 when a setting is wrong, with
/// 1 when it cannot start.
pub fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(64) } else { ExitCode::SUCCESS };
        }
    };
    let settings = match Settings::try_from(args) {
        Ok(settings) => settings,
        Err(bad) => {
            let _ = writeln!(std::io::stderr(), "{bad}");
            return ExitCode::from(64);
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(run(settings))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "cannot go on");
            ExitCode::FAILURE
        }
    }
}
