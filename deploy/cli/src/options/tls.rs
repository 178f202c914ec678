//! Certificates for TLS between the processes of a run.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use net::{Role, Trust};

/// The folder of a run's certificates.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct TlsArgs {
    /// Folder of the run's certificates (see `alexnet certs`); with it, every connection uses TLS
    #[arg(long, value_name = "DIR")]
    certs: Option<PathBuf>,
}

impl TlsArgs {
    /// The folder that was typed.
    pub(crate) fn folder(&self) -> Option<&Path> {
        self.certs.as_deref()
    }

    /// Reads the certificates of `role` from the folder that was typed, or from `fallback`, such as
    /// the folder that the environment names; without either, connections are plain.
    ///
    /// # Errors
    /// If the folder's certificates can't be used.
    pub(crate) fn trust(&self, role: Role, fallback: Option<&Path>) -> Result<Trust> {
        let folder = self.certs.as_deref().or(fallback);
        let trust = folder.map(|folder| Trust::read(folder, role)).transpose();
        Ok(trust.context("the certificates of --certs can't be used")?.unwrap_or_default())
    }
}
