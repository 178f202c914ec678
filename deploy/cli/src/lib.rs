//! The one binary: train, evaluate, predict and export AlexNet in two halves.

mod args; // what people type
mod devices; // which device each half gets
mod up; // all roles on this machine: start here
mod children; // its processes: start, restart, end
mod progress; // the live line
mod report; // what a run reached, and what to type next
mod patience; // how long whoever says nothing is waited for
mod memory; // what `up` remembers in a run directory
mod recipe; // what is trained, on what, where
mod roles; // one role in this process
pub mod certs; // a run's authority and certificates; public for tests that need expired ones
mod status;
mod prepare;
mod network; // a trained network in this process
mod eval;
mod confusion;
mod predict;
mod export;
mod preview;
mod metrics;
mod plot;
mod timing; // where a run's steps went, layer by layer
mod bench;
mod doctor; // what this machine has, and what a run would miss
mod canvas;
mod say;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow};
use clap::Parser;
use net::{LogFormat, start_tracing};

use args::{Cli, Command};

pub use devices::Environment;

/// A worker's exit code after its device failed in mid-work (`EX_TEMPFAIL`): start it again.
const DEVICE_FAILED: u8 = 75;
/// A worker's exit code where a new process would fail in the same way (`EX_CONFIG`): don't.
const FOR_GOOD: u8 = 78;

/// Runs one command line.
///
/// The exit code is 0, 1 after an error (which was printed), 2 for a command line that means
/// nothing, 75 for a worker whose device failed in mid-work, so that a new process can go on, or 78
/// where the device can't be used with this driver or NVRTC, so that a new process can't either.
pub fn run(args: impl IntoIterator<Item = OsString>, environment: &Environment) -> ExitCode {
    let mut cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(refused) => {
            let _ = refused.print();
            return u8::try_from(refused.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from);
        }
    };
    match &mut cli.command {
        Command::Up(args) => {
            args.recipe.settle();
            args.gpu.settle(environment);
        }
        Command::Bench(args) => args.gpu.settle(environment),
        Command::Doctor(args) => args.gpu.settle(environment),
        Command::Worker(args) => {
            args.gpu.settle(environment);
            args.listen.certs.settle(environment);
        }
        Command::Loader(args) => args.listen.certs.settle(environment),
        // A run that `up` began here has none, unless they were typed.
        Command::Status(args) if args.run.as_deref().is_some_and(status::is_address) => {
            args.certs.settle(environment);
        }
        Command::ProductRate(args) => args.gpu.settle(environment),
        Command::Coordinator(args) => {
            args.recipe.settle();
            args.listen.certs.settle(environment);
        }
        _ => {}
    }
    match start_logging(&cli, environment.rust_log.clone()).and_then(|()| run_command(&cli)) {
        Ok(code) => code,
        Err(error) => {
            say::error(&error);
            match error.downcast_ref() {
                Some(gpu_worker::Error::DeviceFault { .. }) => ExitCode::from(DEVICE_FAILED),
                Some(error) if error.is_for_good() => ExitCode::from(FOR_GOOD),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

/// Roles log what they do; the commands of people only what is wrong, so that lines of results
/// stay readable.
fn start_logging(cli: &Cli, rust_log: Option<String>) -> Result<()> {
    let is_role =
        matches!(cli.command, Command::Coordinator(_) | Command::Worker(_) | Command::Loader(_));
    let filter = rust_log.unwrap_or_else(|| if is_role { "info" } else { "warn" }.to_owned());
    let format = match cli.log_format {
        args::LogFormat::Pretty => LogFormat::Pretty,
        args::LogFormat::Compact => LogFormat::Compact,
        args::LogFormat::Json => LogFormat::Json,
    };
    start_tracing(format, &filter).map_err(|why| anyhow!(why)).context("logs can't be written")
}

fn run_command(cli: &Cli) -> Result<ExitCode> {
    match &cli.command {
        Command::Doctor(args) => return doctor::run(args),
        Command::Up(args) => up::run(args, cli.log_format),
        Command::Prepare(args) => prepare::run(args),
        Command::Eval(args) => eval::run(args),
        Command::Predict(args) => predict::run(args),
        Command::Export(args) => export::run(args),
        Command::Preview(args) => preview::run(args),
        Command::Plot(args) => plot::run(args),
        Command::Timing(args) => timing::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Status(args) => status::run(args),
        Command::Certs(args) => certs::run(args),
        Command::Coordinator(args) => roles::coordinator(args),
        Command::Worker(args) => roles::worker(args),
        Command::Loader(args) => roles::loader(args),
        Command::ProductRate(args) => bench::product_rate(args),
    }
    .map(|()| ExitCode::SUCCESS)
}
