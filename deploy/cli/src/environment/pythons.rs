//! Python installations, whose packages may hold NVRTC: those on `PATH`, active or not.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// The installations of every `python3` on this `PATH`, the first one first.
///
/// Nothing is run: an installation is the folder above the `bin` in which `python3` lies. A virtual
/// environment's is a link, so both the folder of the link and that of what it leads to count.
/// pyenv's is a script in a folder `shims`, which chooses among `versions` when it runs: there,
/// every version counts.
pub(super) fn on_path(path: &OsStr) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in std::env::split_paths(path) {
        let python = folder.join("python3");
        if !python.is_file() {
            continue;
        }
        if folder.ends_with("shims") {
            found.extend(pyenv_versions(&folder));
            continue;
        }
        // The folder may be a link too: /bin is one to /usr/bin.
        let folder = folder.canonicalize().unwrap_or(folder);
        found.extend(folder.parent().map(Path::to_owned));
        let real = python.canonicalize().ok();
        found.extend(
            real.as_deref().and_then(Path::parent).and_then(Path::parent).map(Path::to_owned),
        );
    }
    found
}

fn pyenv_versions(shims: &Path) -> Vec<PathBuf> {
    let Some(versions) = shims.parent().map(|root| root.join("versions")) else {
        return Vec::new();
    };
    let mut versions: Vec<_> =
        std::fs::read_dir(versions).into_iter().flatten().flatten().map(|v| v.path()).collect();
    versions.sort();
    versions
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A made-up machine: a file per path, or a link where one is given.
    fn touch(path: &Path) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "#!").unwrap();
    }

    #[test]
    fn a_python_on_path_counts_where_its_link_lies_and_where_it_leads() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        touch(&root.join("base/bin/python3.12"));
        std::fs::create_dir_all(root.join("venv/bin")).unwrap();
        symlink(root.join("base/bin/python3.12"), root.join("venv/bin/python3")).unwrap();
        let path = std::env::join_paths([root.join("nothing"), root.join("venv/bin")]).unwrap();
        assert_eq!(on_path(&path), [root.join("venv"), root.join("base")]);
    }

    #[test]
    fn a_folder_that_is_a_link_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        touch(&root.join("usr/bin/python3"));
        symlink(root.join("usr/bin"), root.join("bin")).unwrap();
        let path = std::env::join_paths([root.join("bin")]).unwrap();
        assert_eq!(on_path(&path), [root.join("usr"), root.join("usr")]);
    }

    #[test]
    fn every_version_of_pyenv_counts() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        touch(&root.join("shims/python3"));
        touch(&root.join("versions/3.11.7/bin/python3"));
        touch(&root.join("versions/3.12.1/bin/python3"));
        let path = std::env::join_paths([root.join("shims")]).unwrap();
        let versions = ["versions/3.11.7", "versions/3.12.1"].map(|v| root.join(v));
        assert_eq!(on_path(&path), versions);
    }
}
