//! Certificates for tests.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use alexnet::CertificateRequest;
use net::Role;

/// Makes a run's certificates in `folder/name`, valid for a day.
pub fn certificates(folder: &Path, name: &str) -> PathBuf {
    certificates_until(folder, name, SystemTime::now() + Duration::from_secs(24 * 3600))
}

/// Makes a run's certificates in `folder/name`, valid until `until`.
pub fn certificates_until(folder: &Path, name: &str, until: SystemTime) -> PathBuf {
    let folder = folder.join(name);
    let from = SystemTime::now() - Duration::from_secs(3600);
    let order = CertificateRequest { folder, roles: Role::ALL.to_vec(), renew: false, from, until };
    order.make().expect("certificates");
    order.folder
}

/// Makes new certificates from the authority in `folder`, in the place of the old ones.
pub fn renew(folder: &Path, roles: &[Role], until: SystemTime) {
    let (folder, roles) = (folder.to_path_buf(), roles.to_vec());
    let from = SystemTime::now() - Duration::from_secs(3600);
    let order = CertificateRequest { folder, roles, renew: true, from, until };
    order.make().expect("certificates");
}
