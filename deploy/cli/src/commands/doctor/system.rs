//! Program, system and container: the first lines of a bug report.

use std::path::Path;

use super::check::Check;

/// Version strings and the container.
#[derive(Debug, Clone)]
pub(super) struct System {
    kernel: String,
    libc: String,
    container: Option<String>,
}

impl System {
    /// Asks the system.
    pub(super) fn probe() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        Self {
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            libc: libc(&read("/proc/self/maps")).unwrap_or_else(|| "C library unknown".into()),
            container: container(Path::new("/"), &read("/proc/1/cgroup")),
        }
    }

    /// Lines for information, always `ok`.
    pub(super) fn checks(&self) -> Vec<Check> {
        let version = crate::BUILD;
        let container = self.container.as_deref().unwrap_or("none seen");
        vec![
            Check::ok("program.version", format!("alexnet {version}")),
            Check::ok("program.system", format!("Linux {}, {}", self.kernel, self.libc)),
            Check::ok("program.container", container),
        ]
    }
}

/// `glibc 2.36`: the version in the text of the C library that this process has mapped.
fn libc(maps: &str) -> Option<String> {
    let paths = || maps.lines().filter_map(|line| line.split_once('/').map(|(_, path)| path));
    if paths().any(|path| path.contains("ld-musl")) {
        return Some("musl".into());
    }
    let path =
        paths().find(|path| path.rsplit('/').next().is_some_and(|n| n.starts_with("libc")))?;
    let library = std::fs::read(Path::new("/").join(path)).ok()?;
    glibc_version(&library)
}

fn glibc_version(library: &[u8]) -> Option<String> {
    const BEFORE: &[u8] = b"release version ";
    let at = library.windows(BEFORE.len()).position(|bytes| bytes == BEFORE)? + BEFORE.len();
    let version = library[at..].iter().take_while(|c| c.is_ascii_digit() || **c == b'.');
    let version: String = version.map(|c| char::from(*c)).collect();
    Some(format!("glibc {}", version.trim_end_matches('.')))
}

/// The container around this process, by the files that each kind leaves under `root`, and by the
/// control groups of the first process.
fn container(root: &Path, groups: &str) -> Option<String> {
    const FILES: [(&str, &str); 3] = [
        ("var/run/secrets/kubernetes.io", "Kubernetes"),
        ("run/.containerenv", "Podman"),
        (".dockerenv", "Docker"),
    ];
    const GROUPS: [(&str, &str); 5] = [
        ("kubepods", "Kubernetes"),
        ("libpod", "Podman"),
        ("docker", "Docker"),
        ("containerd", "containerd"),
        ("lxc", "LXC"),
    ];
    let file = FILES.into_iter().find(|(file, _)| root.join(file).exists());
    let group = || GROUPS.into_iter().find(|(word, _)| groups.contains(word));
    let seen = file.map(|(file, name)| format!("{name} (/{file} is there)"));
    seen.or_else(|| group().map(|(word, name)| format!("{name} (control group {word})")))
}

#[cfg(test)]
mod tests {
    use super::super::check::Verdict;
    use super::*;

    #[test]
    fn the_system_is_told_and_asks_for_nothing() {
        let checks = System::probe().checks();
        assert!(checks.iter().all(|check| check.verdict == Verdict::Ok));
        assert!(checks[0].measured.contains(crate::BUILD));
        assert!(checks[1].measured.contains("Linux "), "{checks:?}");
    }

    #[test]
    fn the_c_library_says_its_version() {
        let library = b"\0GNU C Library (Debian GLIBC 2.36-9) stable release version 2.36.\n\0";
        assert_eq!(glibc_version(library).as_deref(), Some("glibc 2.36"));
        assert_eq!(glibc_version(b"another"), None);
        assert_eq!(libc("7f00-7f01 r-xp 0 0 /lib/ld-musl-x86_64.so.1\n").as_deref(), Some("musl"));
    }

    #[test]
    fn containers_are_told_by_their_files_and_control_groups() {
        let root = tempfile::tempdir().expect("a folder");
        assert_eq!(container(root.path(), "0::/\n"), None);
        let by_group = |groups| container(root.path(), groups);
        assert_eq!(
            by_group("0::/kubepods/pod1/2").as_deref(),
            Some("Kubernetes (control group kubepods)")
        );
        assert_eq!(
            by_group("4:memory:/docker/0123").as_deref(),
            Some("Docker (control group docker)")
        );
        std::fs::write(root.path().join(".dockerenv"), "").expect("a file");
        let by_file = container(root.path(), "0::/\n");
        assert_eq!(by_file.as_deref(), Some("Docker (/.dockerenv is there)"));
    }
}
