//! The file system of a folder, from `/proc/self/mountinfo`.

use std::path::{Path, PathBuf};

/// A mounted file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// Mount point.
    pub at: PathBuf,
    /// `ext4`, `overlay`, `nfs4`, …
    pub kind: String,
}

/// The file system that `folder` is on.
pub(super) fn of(folder: &Path) -> Option<Mount> {
    let folder = folder.canonicalize().ok()?;
    find(&std::fs::read_to_string("/proc/self/mountinfo").ok()?, &folder)
}

/// The longest mount point above `folder`; of two at one place the later one covers the earlier.
fn find(mounts: &str, folder: &Path) -> Option<Mount> {
    let above = mounts.lines().filter_map(parse).filter(|mount| folder.starts_with(&mount.at));
    above.max_by_key(|mount| mount.at.components().count())
}

/// Field 5 is the mount point; the kind stands behind a lone dash, since the fields before it vary
/// in number.
fn parse(line: &str) -> Option<Mount> {
    let (fields, rest) = line.split_once(" - ")?;
    let at = fields.split(' ').nth(4)?.replace("\\040", " ");
    Some(Mount { at: at.into(), kind: rest.split(' ').next()?.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
28 27 0:25 / /data rw shared:7 master:1 - nfs4 server:/data rw
29 27 0:26 / /data rw - xfs /dev/sdb rw
30 27 0:27 / /my\\040disk rw - vfat /dev/sdc rw
";

    #[test]
    fn the_nearest_mount_counts_and_the_last_of_those_at_one_place() {
        let kind = |folder| find(MOUNTS, Path::new(folder)).map(|mount| mount.kind);
        assert_eq!(kind("/data/run").as_deref(), Some("xfs"));
        assert_eq!(kind("/database").as_deref(), Some("ext4"));
        assert_eq!(kind("/my disk/run").as_deref(), Some("vfat"));
        assert_eq!(find("", Path::new("/")), None);
    }
}
