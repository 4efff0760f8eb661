//! `cargo xtask`: the project's own chores. `cargo xtask test` is the one test command; CI runs the same.

mod conformance;
mod dist;
mod generate;
mod shell;
mod suite;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The chores of this repository.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Every test that this machine allows, with its own set-up; what CI runs
    Test(suite::Options),
    /// What compilers do not see: forbidden edges between crates, licences, files nobody reaches, machine paths
    Tidy,
    /// Writes the generated files: CRDs and docs/conformance.md
    Generate(generate::Options),
    /// Prints what each file of the specification has proved so far
    Conformance,
    /// Builds the release programs and prints their sizes
    Dist,
}

fn main() -> ExitCode {
    let Args { command } = Args::parse();
    let result = match command {
        Command::Test(options) => return suite::run(&options),
        Command::Tidy => tidy::run(),
        Command::Generate(options) => generate::run(&options),
        Command::Conformance => conformance::print_summary(),
        Command::Dist => dist::run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
