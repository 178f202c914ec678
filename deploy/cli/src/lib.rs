//! The one binary: train, evaluate, predict and export AlexNet in two halves.

mod args;
mod metrics;
mod plot;
mod font;
mod say;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

/// Runs one command line; `rust_log` is the value of `RUST_LOG`.
pub fn run(args: impl IntoIterator<Item = OsString>, _rust_log: Option<String>) -> ExitCode {
    let cli = args::Cli::parse_from(args);
    let done = match &cli.command {
        args::Command::Plot(a) => plot::run(a),
        _ => Ok(()),
    };
    match done { Ok(()) => ExitCode::SUCCESS, Err(e) => { say::error(&e); ExitCode::FAILURE } }
}
