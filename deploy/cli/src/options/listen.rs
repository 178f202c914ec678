//! The address of a role: where it listens, and where others reach it.

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use net::{Role, Trust};

use super::TlsArgs;
use crate::environment::Environment;

/// Listening, shared by all roles.
#[derive(Debug, Clone, Args)]
pub(crate) struct ListenArgs {
    /// Listen on this address; with port 0, take a free port and print it as `ready HOST:PORT`
    ///
    /// Without HOST, listen on 127.0.0.1.
    #[arg(long, default_value = "127.0.0.1:0", value_name = "[HOST:]PORT")]
    pub listen: String,

    /// Listen beyond this machine without --certs: everyone on that network can read and steer the
    /// run
    #[arg(long)]
    pub insecure: bool,

    /// Answer at http://HOST:PORT/livez and /readyz, for an engine that runs this process, such as
    /// Kubernetes [default: off]
    ///
    /// Without HOST, listen on 127.0.0.1. With port 0, take a free port; the line `health http://…`
    /// on standard output names it. /readyz has status 200 while the process serves its part of the
    /// run, /livez until a restart would help; otherwise both have status 503, with the reason.
    #[arg(long, value_name = "[HOST:]PORT")]
    pub health: Option<String>,

    /// Certificates for TLS.
    #[command(flatten)]
    tls: TlsArgs,

    /// End when standard input closes; set by `up`, so that its children never outlive it
    #[arg(long, hide = true)]
    pub with_parent: bool,
}

impl ListenArgs {
    /// Reads the certificates of `role`, from the folder that was typed or that the environment
    /// names.
    ///
    /// # Errors
    /// If the folder's certificates can't be used.
    pub(crate) fn trust(&self, role: Role, environment: &Environment) -> Result<Trust> {
        self.tls.trust(role, environment.certs.as_deref())
    }
}

/// The address that others are given, shared by worker and loader.
#[derive(Debug, Clone, Args)]
pub(crate) struct AdvertiseArgs {
    /// Address at which others reach this process, if it differs from --listen (NAT); without a
    /// port, that of --listen [default: the address of --listen, or, with 0.0.0.0 or [::], that
    /// from which this process reaches the coordinator]
    #[arg(long, value_name = "HOST[:PORT]")]
    pub advertise: Option<String>,
}

/// The end of a run, shared by all roles.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct StoppedArgs {
    /// Exit code after a request to stop (SIGTERM, Ctrl-C) that came before the end of the run
    ///
    /// An engine that counts code 0 as the end of the work, such as a Job of Kubernetes, then
    /// starts the process again elsewhere.
    #[arg(long, default_value_t = 0, value_name = "CODE")]
    pub stopped_code: u8,
}

/// The end of a run for its members: shared by worker and loader.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct RejoinArgs {
    /// Look for the coordinator again after the end of the run, instead of ending: for an engine
    /// that starts every process again, also a coordinator that was asked to stop
    #[arg(long)]
    pub rejoin: bool,

    /// Exit code.
    #[command(flatten)]
    pub stopped: StoppedArgs,
}

/// The time after the end of the run.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct LingerArgs {
    /// Keep answering for this long after the end of the run, or `forever`: until asked to stop
    ///
    /// Workers and loaders that something else restarts, such as Docker, then learn that the run
    /// has ended, instead of looking for its coordinator.
    #[arg(long, default_value = "0", value_name = "SECONDS|forever", value_parser = linger)]
    pub linger: Duration,

    /// Exit code.
    #[command(flatten)]
    pub stopped: StoppedArgs,
}

fn linger(text: &str) -> Result<Duration, String> {
    match text.parse() {
        _ if text == "forever" => Ok(Duration::MAX),
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
        Err(_) => Err("expected a number of whole seconds, such as 10, or `forever`".into()),
    }
}
