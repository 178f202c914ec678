//! `alexnet certs`: a run's authority, and a certificate for each role.
//!
//! The authority's name is made from its key, so that the key alone is enough to make further
//! certificates, and no two authorities share a name.

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

use crate::files::is_there;
use crate::print;

const EXAMPLES: &str = "\
Examples:
  alexnet certs certs                          make an authority, and a certificate per role
  alexnet certs certs --renew --roles worker   make a new one for workers, from that authority

Copy authority.pem and the .pem and -key.pem of its roles to each machine; authority-key.pem stays.
Certificates name roles, not addresses: one worker.pem serves all workers of a run.";

/// File name of the authority's private key.
pub(crate) const AUTHORITY_KEY: &str = "authority-key.pem";
const DAY: Duration = Duration::from_secs(24 * 3600);
/// The authority outlives every certificate it may make.
const AUTHORITY_DAYS: u32 = 7300;
/// Certificates are valid from this much earlier, so that clocks may differ by as much.
const EARLIER: Duration = Duration::from_secs(3600);

/// Arguments of `alexnet certs`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct CertsArgs {
    /// Folder to write; only its owner may read it
    #[arg(value_name = "DIR")]
    folder: PathBuf,

    /// Days until the certificates expire
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,

    /// Make only these certificates: coordinator, worker, loader, operator (for `alexnet status`)
    #[arg(long, value_delimiter = ',', value_name = "ROLE,…")]
    roles: Vec<Role>,

    /// Replace existing certificates, from the same authority
    #[arg(long)]
    renew: bool,
}

/// Makes certificates and prints until when they are valid.
pub(super) fn run(args: &CertsArgs) -> Result<()> {
    let now = SystemTime::now();
    let roles = if args.roles.is_empty() { Role::ALL.to_vec() } else { args.roles.clone() };
    let request = CertificateRequest {
        folder: args.folder.clone(),
        roles,
        renew: args.renew,
        from: now - EARLIER,
        until: now + DAY * args.days,
    };
    let new_authority = request.make()?;
    let folder = args.folder.display();
    if new_authority {
        print::line(format_args!("{folder}/{AUTHORITY}: a new authority, for one run"));
        print::line(format_args!(
            "{folder}/{AUTHORITY_KEY}: makes further certificates; keep it here, never copy it"
        ));
    }
    for role in &request.roles {
        // Read as the role will read it: what was made can be used.
        let until = Trust::read(&args.folder, *role)?.valid_until().unwrap_or_default();
        print::line(format_args!("{folder}/{role}.pem and {role}-key.pem: valid until {until}"));
    }
    if args.renew {
        print::line(
            "copy them to the machines that use them; processes there read them within a second",
        );
    } else {
        print::line(format_args!(
            "copy {AUTHORITY} and the two files of its roles to each machine, then add --certs \
             {folder} to each command"
        ));
    }
    Ok(())
}

/// Certificates to make, with the authority that signs them.
#[derive(Debug, Clone)]
pub struct CertificateRequest {
    /// Folder of the certificates.
    pub folder: PathBuf,
    /// One certificate for each of these roles.
    pub roles: Vec<Role>,
    /// Whether existing certificates may be replaced.
    pub renew: bool,
    /// First moment at which they are valid.
    pub from: SystemTime,
    /// Last moment at which they are valid.
    pub until: SystemTime,
}

impl CertificateRequest {
    /// Makes the certificates, and the authority if there is none; true if the authority is new.
    ///
    /// # Errors
    /// If a file would be overwritten, the authority's key is missing, or a file can't be written.
    pub fn make(&self) -> Result<bool> {
        let (folder, shown) = (&self.folder, self.folder.display());
        let there = |name: &str| is_there(&folder.join(name));
        let mut kept = Vec::new();
        for name in self.roles.iter().map(|role| format!("{role}.pem")) {
            if there(&name)? {
                kept.push(name);
            }
        }
        if !self.renew && !kept.is_empty() {
            bail!(
                "{shown} already has {}: add --renew to replace {}, or choose another folder for \
                 another run",
                kept.join(", "),
                if kept.len() == 1 { "it" } else { "them (--roles selects some)" }
            );
        }
        let is_new = match (there(AUTHORITY)?, there(AUTHORITY_KEY)?) {
            (true, true) => false,
            (true, false) => bail!(
                "{shown} has {AUTHORITY} but not {AUTHORITY_KEY}: run this command on the machine \
                 where the authority was made, then copy the new files here"
            ),
            (false, true) => {
                bail!("{shown} has {AUTHORITY_KEY} but not {AUTHORITY}: copy that file back")
            }
            (false, false) if self.renew => {
                bail!("{shown} has no authority to renew certificates from: leave out --renew")
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

/// Writes a temporary file and renames it, so that a reader finds the old or the new file.
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
