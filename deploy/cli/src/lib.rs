//! The one binary: train, evaluate, predict and export AlexNet in two halves.

mod commands; // a file per verb, with its arguments: start here
mod options; // groups of options that several commands share
mod environment; // every environment variable that is read
mod exit; // exit codes
mod signals; // Ctrl-C, SIGTERM and SIGHUP
mod up; // a whole run on this machine: its processes, started, watched and ended
mod role; // one role in this process: coordinator, worker or loader
mod client; // calls to a coordinator
mod recipe; // a recipe by name or file, and names of runs
mod devices; // one device per half
mod threads; // how many threads a loader has
mod loopback; // how fast TCP is on this machine
mod confusion; // pictures by true and predicted class
mod network; // a trained network in this process
mod rows; // numbers per picture, written to safetensors as they come
mod metrics; // a run's steps and evaluations, read
mod draw; // SVG and PNG
mod print; // lines and errors
mod files; // whether a file is there
mod runtime; // the event loop

use std::ffi::OsString;
use std::process::ExitCode;

/// Name of this build: the version, and a digest of the sources on which messages and bits depend.
pub const BUILD: &str = env!("BUILD");

pub use commands::CertificateRequest;
pub use environment::Environment;

/// Runs one command line.
///
/// The exit code is 0, or:
/// - 1 after an error, which was printed;
/// - 2 for a command line that can't be understood;
/// - 69 for a worker or loader that the coordinator refused, or whose run it ended with an error;
/// - 75 for a worker whose device failed in the middle of its work, so that a new process can
///   continue;
/// - 78 if a new process would fail in the same way, as with a device that can't be used with this
///   driver or NVRTC, a run directory of another run or in use by another coordinator, or
///   certificates that are missing;
/// - 129, 130 or 143 if SIGHUP, Ctrl-C or SIGTERM ended a command that does not end itself in its
///   own way.
pub fn run(args: impl IntoIterator<Item = OsString>, environment: &Environment) -> ExitCode {
    match commands::parse(args) {
        Ok((cli, typed)) => commands::run(&cli, &typed, environment).unwrap_or_else(|error| {
            signals::code().unwrap_or_else(|| {
                print::error(&error);
                exit::code(&error)
            })
        }),
        Err(refused) => {
            let _ = refused.print();
            u8::try_from(refused.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
        }
    }
}
