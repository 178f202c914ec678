//! The places in which NVRTC may lie on this machine, and its file names there.

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};

/// NVRTC's name without a version: a link that toolkits and development packages have.
const NAME: &str = "libnvrtc.so";

/// The places in which NVRTC is looked for; the default is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Search {
    /// The library or its folder, as the operator names it; no other place is looked at then.
    pub nvrtc: Option<PathBuf>,
    /// Folders of `LD_LIBRARY_PATH`.
    pub library_path: Vec<PathBuf>,
    /// The cache of the system's dynamic loader: `/etc/ld.so.cache`.
    pub loader_cache: Option<PathBuf>,
    /// Python installations (`$VIRTUAL_ENV`, `~/.local`): NVIDIA's wheels lie in their
    /// `lib/python3.*/site-packages`, conda's package in their `lib`.
    pub pythons: Vec<PathBuf>,
    /// Folders of CUDA toolkits (`/usr/local`, `/opt`), which are called `cuda` or `cuda-13.1`.
    pub toolkits: Vec<PathBuf>,
}

/// The kind of place in which an NVRTC was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Named by the operator with `--nvrtc`.
    Named,
    /// In a folder of `LD_LIBRARY_PATH`.
    LibraryPath,
    /// Listed in the cache of the system's dynamic loader.
    System,
    /// In a wheel that a Python installation has.
    Wheel,
    /// In the library folder of conda or of another Python installation.
    Conda,
    /// In a CUDA toolkit.
    Toolkit,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Named => "named with --nvrtc",
            Self::LibraryPath => "on LD_LIBRARY_PATH",
            Self::System => "on the system's library path",
            Self::Wheel => "in a Python wheel",
            Self::Conda => "in the library folder of conda or of a Python installation",
            Self::Toolkit => "in a CUDA toolkit",
        })
    }
}

/// Every file with NVRTC's name in the places of `search`, in their order.
pub(super) fn files(search: &Search) -> Vec<(Place, PathBuf)> {
    let library_path =
        search.library_path.iter().map(|folder| (Place::LibraryPath, folder.clone()));
    let pythons = search.pythons.iter().flat_map(|python| of_python(python));
    let toolkits = search.toolkits.iter().flat_map(|parent| of_toolkits(parent));
    let mut files = in_folders(library_path);
    let cached = search.loader_cache.iter().flat_map(|cache| in_cache(cache));
    files.extend(cached.map(|path| (Place::System, path)));
    files.extend(in_folders(pythons.chain(toolkits)));
    files
}

/// The files of folders; a folder that links to one before it is left out.
fn in_folders(folders: impl Iterator<Item = (Place, PathBuf)>) -> Vec<(Place, PathBuf)> {
    let (mut seen, mut files) = (HashSet::new(), Vec::new());
    for (place, folder) in folders {
        if seen.insert(real(&folder)) {
            files.extend(named_like_nvrtc(&folder).into_iter().map(|path| (place, path)));
        }
    }
    files
}

/// The files of a folder that have NVRTC's name, sorted, each once however many links it has there;
/// empty if the folder can't be read.
pub(super) fn named_like_nvrtc(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in matching(folder, NAME) {
        let is_nvrtc = path.file_name().and_then(|name| name.to_str()).is_some_and(is_name);
        let path = real(&path);
        if is_nvrtc && !found.contains(&path) {
            found.push(path);
        }
    }
    found
}

/// The files with NVRTC's name that the cache of the system's dynamic loader lists.
///
/// The cache is a table of offsets into a run of texts, each ended by a zero; the texts that are
/// paths are all that is read of it, so its layout does not matter.
fn in_cache(cache: &Path) -> Vec<PathBuf> {
    let bytes = std::fs::read(cache).unwrap_or_default();
    let mut found = Vec::new();
    for text in bytes.split(|byte| *byte == 0).filter_map(|text| std::str::from_utf8(text).ok()) {
        let Some((folder, name)) = text.rsplit_once('/') else { continue };
        let path = real(Path::new(text));
        if folder.starts_with('/') && is_name(name) && !found.contains(&path) {
            found.push(path);
        }
    }
    found
}

/// The path with its links followed; as it is where there is no such file.
pub(super) fn real(path: &Path) -> PathBuf {
    path.canonicalize().or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.to_owned())
}

/// Whether a file name is NVRTC's. `libnvrtc.so` and `libnvrtc.so.12.9.86` are;
/// `libnvrtc-builtins.so.12.9`, which NVRTC loads itself, and `libnvrtc.alt.so.12`, the wheels'
/// second build of it, are not.
fn is_name(name: &str) -> bool {
    let version = |rest: &str| {
        rest.strip_prefix('.').is_some_and(|rest| rest.split('.').all(|n| n.parse::<u32>().is_ok()))
    };
    name.strip_prefix(NAME).is_some_and(|rest| rest.is_empty() || version(rest))
}

/// The folders in which a Python installation may have NVRTC: its packages' wheels, the library
/// folder that conda fills, and the installation itself where it is a folder of `pip --target`.
fn of_python(python: &Path) -> Vec<(Place, PathBuf)> {
    let mut folders = of_packages(python);
    for lib in ["lib", "lib64"].map(|lib| python.join(lib)) {
        for installed in matching(&lib, "python3") {
            for packages in ["site-packages", "dist-packages"] {
                folders.extend(of_packages(&installed.join(packages)));
            }
        }
        folders.push((Place::Conda, lib));
    }
    folders
}

/// The folders of the wheels in a folder of packages: CUDA 12 has one per library,
/// CUDA 13 one for all.
fn of_packages(packages: &Path) -> Vec<(Place, PathBuf)> {
    let nvidia = packages.join("nvidia");
    let wheels = matching(&nvidia, "cu").into_iter().filter(|wheel| {
        let name = wheel.file_name().unwrap_or_default().to_string_lossy();
        name == "cuda_nvrtc" || name["cu".len()..].parse::<u32>().is_ok()
    });
    wheels.map(|wheel| (Place::Wheel, wheel.join("lib"))).collect()
}

/// The library folders of all toolkits in `parent`: `cuda`, `cuda-13.1`.
fn of_toolkits(parent: &Path) -> Vec<(Place, PathBuf)> {
    let mut folders = Vec::new();
    for toolkit in matching(parent, "cuda") {
        folders.push(toolkit.join("lib64"));
        let targets = matching(&toolkit.join("targets"), "");
        folders.extend(targets.into_iter().map(|target| target.join("lib")));
    }
    folders.into_iter().map(|folder| (Place::Toolkit, folder)).collect()
}

/// The entries of a folder whose names begin with `prefix`, sorted; empty if it can't be read.
fn matching(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<_> = entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_known_by_its_name_and_its_companions_are_left_out() {
        for name in ["libnvrtc.so", "libnvrtc.so.12", "libnvrtc.so.13", "libnvrtc.so.12.9.86"] {
            assert!(is_name(name), "{name}");
        }
        for name in [
            "libnvrtc-builtins.so.12.9",
            "libnvrtc-builtins.so",
            "libnvrtc.alt.so.12",
            "libnvrtc_static.a",
            "libnvrtc.so.12.bak",
            "libnvrtc.so.",
            "libnvrtc.so12",
        ] {
            assert!(!is_name(name), "{name}");
        }
    }
}
