//! The environment: every variable that the program reads, in one place.

use std::ffi::OsString;
use std::path::PathBuf;

use gpu_worker::backend::cuda::Search;

mod pythons; // Python installations on PATH

/// Folder of certificates for roles and for `status` if `--certs` is not typed.
pub(crate) const CERTS_VARIABLE: &str = "ALEXNET_CERTS";
/// Folders that hold CUDA toolkits.
const TOOLKITS: [&str; 2] = ["/usr/local", "/opt"];
/// The cache of the system's dynamic loader.
const LOADER_CACHE: &str = "/etc/ld.so.cache";

/// Values that the program takes from its environment.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// Log filter, from `RUST_LOG`.
    pub rust_log: Option<String>,
    /// Folder of certificates, from `ALEXNET_CERTS`.
    pub certs: Option<PathBuf>,
    /// Folder for files that can be made again, such as compiled kernels.
    pub cache: Option<PathBuf>,
    /// Places to search for NVRTC.
    pub search: Search,
}

impl Environment {
    /// Reads the values of environment variables.
    pub fn read(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let path = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = path("HOME");
        let in_home = |folder| home.as_ref().map(|home| home.join(folder));
        let active = [path("VIRTUAL_ENV"), path("CONDA_PREFIX"), in_home(".local")];
        let on_path = variable("PATH").map(|path| pythons::on_path(&path)).unwrap_or_default();
        let system = ["/usr/local", "/usr"].map(PathBuf::from);
        let library_path = variable("LD_LIBRARY_PATH").unwrap_or_default();
        let folders = std::env::split_paths(&library_path);
        Self {
            rust_log: variable("RUST_LOG").and_then(|value| value.into_string().ok()),
            certs: path(CERTS_VARIABLE),
            cache: path("XDG_CACHE_HOME").or_else(|| in_home(".cache")),
            search: Search {
                nvrtc: None,
                library_path: folders.filter(|folder| !folder.as_os_str().is_empty()).collect(),
                loader_cache: Some(LOADER_CACHE.into()),
                pythons: active.into_iter().flatten().chain(on_path).chain(system).collect(),
                toolkits: TOOLKITS.map(PathBuf::from).into(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_says_where_wheels_and_caches_are() {
        let variables = |name: &str| match name {
            "HOME" => Some("/home/a".into()),
            "VIRTUAL_ENV" => Some("/v".into()),
            "XDG_CACHE_HOME" => Some("".into()),
            "LD_LIBRARY_PATH" => Some("/a::/b".into()),
            _ => None,
        };
        let environment = Environment::read(variables);
        assert_eq!(environment.cache, Some("/home/a/.cache".into()));
        let pythons = ["/v", "/home/a/.local", "/usr/local", "/usr"].map(PathBuf::from);
        assert_eq!(environment.search.pythons, pythons);
        assert_eq!(environment.search.library_path, ["/a", "/b"].map(PathBuf::from));
    }
}
