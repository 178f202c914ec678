//! Groups of options that several commands share, and the one way in which `up` hands them on to
//! the processes that it starts.
//!
//! A shared option is declared once, in its group. [`forward`] reads names and values of a group
//! from what was typed, so nothing else has to know them. A default stands in the configuration of
//! the crate that uses it.

mod tls; // certificates
mod checkpoint; // which trained network, and how many views
mod devices; // the devices of a network in this process
mod deadlines; // how long processes wait for each other
mod gpu; // NVRTC and its cache
mod listen; // the address of a role
mod training; // changes of the recipe, how long, how many checkpoints

use std::ffi::OsString;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, ValueEnum};

use crate::environment::Environment;

pub(crate) use checkpoint::{CheckpointArgs, TrainedArgs, WhichCheckpoint};
pub(crate) use deadlines::{FailureArgs, GraceArgs, WorkerDeadlineArgs};
pub(crate) use devices::DeviceArgs;
pub(crate) use gpu::GpuArgs;
pub(crate) use listen::{AdvertiseArgs, LingerArgs, ListenArgs, RejoinArgs, StoppedArgs};
pub(crate) use tls::TlsArgs;
pub(crate) use training::{DEFAULT_SEED, TrainingArgs};

/// A command's call: everything that is not in its own arguments.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    /// Options as typed, for [`forward`].
    pub typed: &'a ArgMatches,
    /// Values of environment variables.
    pub environment: &'a Environment,
}

/// The options of one group as they were typed, for the command line of a child process.
///
/// Options that were not typed are left out: the child has the same defaults.
pub(crate) fn forward<Group: Args>(typed: &ArgMatches) -> Vec<OsString> {
    let group = Group::augment_args(clap::Command::new("child"));
    let mut forwarded = Vec::new();
    for option in group.get_arguments() {
        let (id, name) = (option.get_id().as_str(), option.get_long().unwrap_or_default());
        let Ok(Some(values)) = typed.try_get_raw(id) else { continue };
        if typed.value_source(id) == Some(ValueSource::CommandLine) {
            // A switch is typed without a value.
            let is_switch = typed.try_get_one::<bool>(id).is_ok();
            for value in values {
                forwarded.push(format!("--{name}").into());
                forwarded.extend((!is_switch).then(|| value.into()));
            }
        }
    }
    forwarded
}

/// Log options of every command.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct LogArgs {
    /// Choose how log lines look
    #[arg(long, global = true, value_enum, default_value = "compact")]
    pub log_format: LogFormat,
}

/// Formats of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Several lines per event, for reading
    Pretty,
    /// One short line per event
    Compact,
    /// One JSON object per line
    Json,
}

impl From<LogFormat> for net::LogFormat {
    fn from(format: LogFormat) -> Self {
        match format {
            LogFormat::Pretty => Self::Pretty,
            LogFormat::Compact => Self::Compact,
            LogFormat::Json => Self::Json,
        }
    }
}

/// Metrics of a run over HTTP: shared by `up` and `coordinator`.
#[derive(Debug, Clone, Args)]
pub(crate) struct MetricsArgs {
    /// Serve metrics for Prometheus at http://HOST:PORT/metrics [default: off]
    ///
    /// Without HOST, listen on 127.0.0.1. With port 0, take a free port; the line
    /// `metrics http://…` on standard output names it.
    #[arg(long, value_name = "[HOST:]PORT")]
    pub metrics: Option<String>,
}

#[cfg(test)]
mod tests {
    use crate::commands::parse;

    use super::*;

    fn forwarded<Group: Args>(line: &str) -> Vec<OsString> {
        let (_, typed) = parse(line.split_whitespace().map(Into::into)).unwrap();
        forward::<Group>(typed.subcommand().unwrap().1)
    }

    #[test]
    fn options_are_forwarded_as_typed_and_defaults_are_not() {
        let line = "alexnet up --set a=1 --silence 4.5 --steps 7 --from-start --set lrn=none \
                    --loaders 2";
        assert_eq!(
            forwarded::<TrainingArgs>(line),
            ["--set", "a=1", "--set", "lrn=none", "--from-start", "--steps", "7"]
        );
        assert_eq!(forwarded::<FailureArgs>(line), ["--silence", "4.5"]);
        assert!(forwarded::<WorkerDeadlineArgs>(line).is_empty());
        assert!(forwarded::<LogArgs>(line).is_empty());
    }

    #[test]
    fn a_global_option_is_forwarded_from_before_and_after_the_command() {
        for line in ["alexnet --log-format json up", "alexnet up --log-format json"] {
            assert_eq!(forwarded::<LogArgs>(line), ["--log-format", "json"]);
        }
    }

    #[test]
    fn each_option_of_a_group_has_a_name_so_that_it_can_be_forwarded() {
        let groups = [
            TrainingArgs::augment_args,
            FailureArgs::augment_args,
            WorkerDeadlineArgs::augment_args,
            GraceArgs::augment_args,
            GpuArgs::augment_args,
            TlsArgs::augment_args,
            LogArgs::augment_args,
        ];
        for group in groups {
            for option in group(clap::Command::new("child")).get_arguments() {
                assert!(option.get_long().is_some(), "{}", option.get_id());
            }
        }
    }
}
