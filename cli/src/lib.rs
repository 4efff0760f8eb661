//! tollgate: check and run the same YAML without a cluster
//!
//! [`run`] is the program; everything it does can be called by tests. [`tollgate_load`] reads files, [`check`] is `tollgate check`.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;

pub mod args;
pub mod backend;
pub mod check;
pub mod dev;
pub mod keys;
pub mod openapi;
pub mod usage;
pub mod verdicts;

pub use tollgate_load as load;
pub use tollgate_load::{problem, report};

use args::{Args, Command, KeysCommand, Output};

/// A wrong command line, as in `sysexits.h`.
const USAGE: u8 = 64;

/// Runs the program with these arguments, the program's name first.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let Args { command } = match Args::try_parse_from(arguments) {
        Ok(args) => args,
        Err(error) => {
            // Nothing is left to do when even the help cannot be printed.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    match command {
        Command::Check { paths, output } => {
            let outcome = check::check(&paths);
            print(&match output {
                Output::Human => check::human(&outcome, colours(&io::stdout())),
                Output::Json => check::json(&outcome),
            });
            if outcome.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Command::Dev { directory, listen, tls_listen, admin, state, workers, log } => {
            let log = tollgate_proxy::telemetry::start(&log, false);
            exit(dev::run(&dev::Options { directory, listen, tls_listen, admin, state, workers }, log))
        }
        Command::Import(args) => finish(&openapi::import(&args)),
        Command::Export(args) => finish(&openapi::export(&args)),
        Command::Keys(KeysCommand::Import(args)) => finish(&keys::run(&args)),
        Command::Usage(args) => finish(&usage::run(&args)),
        Command::Backend(args) => exit(backend::run(&args)),
        Command::Crds => {
            print(&crds());
            ExitCode::SUCCESS
        }
    }
}

/// Prints what a command has to say, and its result.
fn finish(outcome: &openapi::Outcome) -> ExitCode {
    eprint!("{}", outcome.report);
    match &outcome.text {
        Some(text) => {
            print(text);
            ExitCode::SUCCESS
        }
        None => ExitCode::FAILURE,
    }
}

/// Prints why something failed, causes included.
fn exit(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", with_causes(&error));
            ExitCode::FAILURE
        }
    }
}

/// An error and its causes, but not what the text before says already.
fn with_causes(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |text, cause| match text.is_empty() {
        true => cause,
        false if text.contains(&cause) => text,
        false => format!("{text}: {cause}"),
    })
}

/// Returns when the user or the system asks the program to stop.
async fn stop_signal() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = terminate.recv() => return,
                _ = tokio::signal::ctrl_c() => return,
            }
        }
    }
    // Without a handler the system's own way of ending a program is left, so waiting forever is right.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// The definitions of all kinds as one YAML stream.
fn crds() -> String {
    tollgate_crds::yaml().into_iter().map(|(_, yaml)| format!("---\n{yaml}")).collect()
}

/// Colours only where a person looks, and not where they asked for none (<https://no-color.org>).
fn colours(out: &impl IsTerminal) -> bool {
    out.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A reader that went away (`tollgate crds | head`) is no failure.
fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
