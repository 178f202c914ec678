//! `alexnet certs`: a run's authority, and a certificate for each role.
//!
//! The authority's name is made from its key, so that the key alone is enough to make further
//! certificates, and no two authorities share a name.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use clap::Args;
use net::{AUTHORITY, Role, Trust, certificate_file, key_file};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};

use crate::args::CERTS_EXAMPLES;
use crate::devices::Environment;
use crate::say;

/// Stands for `--certs`.
pub(crate) const CERTS_VARIABLE: &str = "ALEXNET_CERTS";
const AUTHORITY_KEY: &str = "authority-key.pem";
const DAY: Duration = Duration::from_secs(24 * 3600);
/// The authority outlives every certificate it may make.
const AUTHORITY_DAYS: u32 = 7300;
/// Clocks that differ by less are no trouble.
const EARLIER: Duration = Duration::from_secs(3600);

/// Whom a process trusts, as typed.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct CertsArgs {
    /// Folder of the run's certificates (`alexnet certs`), for TLS on every connection
    #[arg(long, value_name = "DIR")]
    pub certs: Option<PathBuf>,
}

impl CertsArgs {
    /// Fills in what the environment says.
    pub(crate) fn settle(&mut self, environment: &Environment) {
        self.certs = self.certs.take().or_else(|| environment.certs.clone());
    }

    /// Reads them, as `role`.
    pub(crate) fn trust(&self, role: Role) -> Result<Trust> {
        let read = |folder: &PathBuf| Trust::read(folder, role);
        let trust = self.certs.as_ref().map(read).transpose();
        Ok(trust.context("the certificates of --certs can't be used")?.unwrap_or_default())
    }

    /// The same for a child's command line.
    pub(crate) fn typed(&self) -> Vec<OsString> {
        self.certs.iter().flat_map(|folder| ["--certs".into(), folder.into()]).collect()
    }
}

/// `alexnet certs`.
#[derive(Debug, Args)]
#[command(after_help = CERTS_EXAMPLES)]
pub(crate) struct CertsToMake {
    /// The folder to make them in; kept for its owner's eyes
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// How long they are valid
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub days: u32,
    /// Only these: coordinator, worker, loader, operator (who asks for `alexnet status`)
    #[arg(long, value_delimiter = ',', value_name = "ROLE,…")]
    pub roles: Vec<Role>,
    /// Replace those that are there, from the same authority
    #[arg(long)]
    pub renew: bool,
}

/// Makes them and says until when they are valid.
pub(crate) fn run(args: &CertsToMake) -> Result<()> {
    let now = SystemTime::now();
    let roles = if args.roles.is_empty() { Role::ALL.to_vec() } else { args.roles.clone() };
    let order = Order {
        folder: args.folder.clone(),
        roles,
        renew: args.renew,
        from: now - EARLIER,
        until: now + DAY * args.days,
    };
    let new_authority = order.make()?;
    let folder = args.folder.display();
    if new_authority {
        say::line(format_args!("{folder}/{AUTHORITY}: a new authority, for one run"));
        say::line(format_args!(
            "{folder}/{AUTHORITY_KEY}: makes further certificates; keep it here, copy it nowhere"
        ));
    }
    for role in &order.roles {
        // Read as the role will read it: what was made can be used.
        let until = Trust::read(&args.folder, *role)?.valid_until().unwrap_or_default();
        say::line(format_args!("{folder}/{role}.pem and {role}-key.pem: valid until {until}"));
    }
    if args.renew {
        say::line("copy them to where they are used, and start those processes again");
    } else {
        say::line(format_args!(
            "each machine needs {AUTHORITY} and the two files of its roles; then add --certs \
             {folder} to each command"
        ));
    }
    Ok(())
}

/// What to make.
#[derive(Debug, Clone)]
pub struct Order {
    /// Where.
    pub folder: PathBuf,
    /// For whom.
    pub roles: Vec<Role>,
    /// Whether certificates that are there may be replaced.
    pub renew: bool,
    /// First moment of their validity.
    pub from: SystemTime,
    /// Last moment of it.
    pub until: SystemTime,
}

impl Order {
    /// Makes certificates, and the authority if there is none; true if it was made.
    ///
    /// # Errors
    /// If something would be overwritten, the authority's key is not here, or a file can't be
    /// written.
    pub fn make(&self) -> Result<bool> {
        let (folder, shown) = (&self.folder, self.folder.display());
        let there = |name: &str| folder.join(name).exists();
        let mut kept: Vec<_> = self.roles.iter().map(|role| format!("{role}.pem")).collect();
        kept.retain(|name| there(name));
        if !self.renew && !kept.is_empty() {
            bail!(
                "{shown} has {} already: add --renew to replace {}, or choose another folder for \
                 another run",
                kept.join(", "),
                if kept.len() == 1 { "it" } else { "them (--roles for some of them)" }
            );
        }
        let is_new = match (there(AUTHORITY), there(AUTHORITY_KEY)) {
            (true, true) => false,
            (true, false) => bail!(
                "{shown} has {AUTHORITY} but not {AUTHORITY_KEY}: run this on the machine where \
                 the authority was made, then copy the new files here"
            ),
            (false, true) => {
                bail!("{shown} has {AUTHORITY_KEY} but lost {AUTHORITY}: copy it back")
            }
            (false, false) if self.renew => {
                bail!("{shown} has no authority to renew certificates from; leave --renew out")
            }
            (false, false) => true,
        };
        if is_new {
            private_folder(folder)?;
            self.new_authority()?;
        }
        let key = folder.join(AUTHORITY_KEY);
        let text =
            fs::read_to_string(&key).with_context(|| format!("{} can't be read", key.display()))?;
        let key_pair = KeyPair::from_pem(&text)
            .with_context(|| format!("{} is not a private key in PEM", key.display()))?;
        let issuer = Issuer::new(self.authority(&key_pair)?, key_pair);
        self.roles.iter().try_for_each(|role| self.certificate(*role, &issuer))?;
        Ok(is_new)
    }

    fn new_authority(&self) -> Result<()> {
        let key = KeyPair::generate()?;
        let certificate = self.authority(&key)?.self_signed(&key)?;
        write(&self.folder.join(AUTHORITY_KEY), &key.serialize_pem(), 0o600)?;
        write(&self.folder.join(AUTHORITY), &certificate.pem(), 0o644)
    }

    fn authority(&self, key: &KeyPair) -> Result<CertificateParams> {
        let mut params = CertificateParams::new(Vec::new())?;
        let key = key.public_key_raw();
        let id: String = key[key.len() - 8..].iter().map(|byte| format!("{byte:02x}")).collect();
        params.distinguished_name = named(&format!("alexnet authority {id}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.not_before = self.from.into();
        params.not_after = (self.from + DAY * AUTHORITY_DAYS).into();
        Ok(params)
    }

    fn certificate(&self, role: Role, issuer: &Issuer<'_, KeyPair>) -> Result<()> {
        let mut params = CertificateParams::new([role.name().to_owned()])?;
        params.distinguished_name = named(role.name());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        params.not_before = self.from.into();
        params.not_after = self.until.into();
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, issuer)?;
        write(&key_file(&self.folder, role), &key.serialize_pem(), 0o600)?;
        write(&certificate_file(&self.folder, role), &certificate.pem(), 0o644)
    }
}

fn named(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

fn private_folder(folder: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("the folder {} can't be made", folder.display()))
}

/// Writes a file beside its place, then puts it there: whoever reads it finds the old or the new.
fn write(path: &Path, text: &str, mode: u32) -> Result<()> {
    let beside = path.with_extension("pem.new");
    let written = fs::remove_file(&beside).or_else(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    });
    written
        .and_then(|()| OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside))
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&beside, path))
        .with_context(|| format!("{} can't be written", path.display()))
}

#[cfg(test)]
mod tests;
