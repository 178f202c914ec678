//! The address of a role: where it listens, and where others reach it.

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
    /// Address at which others reach this process, if it differs from --listen (NAT, 0.0.0.0);
    /// without a port, that of --listen
    #[arg(long, value_name = "HOST[:PORT]")]
    pub advertise: Option<String>,
}
