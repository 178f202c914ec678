//! Memory: the machine's, and what a control group leaves of it.

use std::path::Path;

use super::check::{Check, size};
use super::needs;

/// Memory that the demonstration takes, rounded up: with less, nothing trains.
const LEAST: u64 = 500_000_000;

/// Memory in bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Memory {
    total: u64,
    /// Memory that processes can take without swapping.
    available: u64,
    group: Option<Group>,
}

/// The tightest control group around this process.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Group {
    limit: u64,
    /// In use, without what the system can drop at once.
    used: u64,
}

impl Memory {
    /// Asks the system.
    pub(super) fn probe() -> Option<Self> {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let info = read("/proc/meminfo");
        let bytes = |name| Some(number(&info, name)? * 1024);
        let (total, available) = (bytes("MemTotal:")?, bytes("MemAvailable:")?);
        let group = tightest(Path::new("/sys/fs/cgroup"), &read("/proc/self/cgroup"));
        Some(Self { total, available, group: group.filter(|group| group.limit < total) })
    }

    /// Judges it; None means that the system does not tell.
    pub(super) fn checks(memory: Option<Self>) -> Vec<Check> {
        let Some(memory) = memory else {
            let check = Check::ok("memory.available", "/proc/meminfo cannot be read");
            return vec![check.look("Mount /proc, then run this command again.")];
        };
        let available = memory.judge_available();
        match memory.group {
            None => vec![available],
            Some(group) => {
                let text = format!("{} of {} in use", size(group.used), size(group.limit));
                let limit = Check::ok("memory.container-limit", text)
                    .number("limit_bytes", group.limit as f64)
                    .number("used_bytes", group.used as f64);
                vec![available, limit]
            }
        }
    }

    /// Memory that this process and its children can take.
    fn usable(&self) -> u64 {
        let left = self.group.map_or(u64::MAX, |group| group.limit.saturating_sub(group.used));
        self.available.min(left)
    }

    fn judge_available(&self) -> Check {
        let usable = self.usable();
        let text = format!(
            "{} of {}; the full network on the CPU takes {}",
            size(usable),
            size(self.total),
            size(needs::RUN)
        );
        let check = Check::ok("memory.available", text)
            .number("available_bytes", usable as f64)
            .number("total_bytes", self.total as f64)
            .number("full_network_bytes", needs::RUN as f64);
        let who = match self.group {
            Some(group) if group.limit.saturating_sub(group.used) < self.available => {
                "raise the container's or the service's memory limit"
            }
            _ => "end other programs, or use a machine with more memory",
        };
        if usable < LEAST {
            return check.wrong(format!(
                "Not even the demonstration fits, and the system would kill processes during a \
                 run: {who}."
            ));
        }
        if usable < needs::RUN {
            return check.look(format!(
                "On the CPU, each half of the full network takes {} at batch 128: {who}; or train \
                 with a smaller batch (--set batch=32), on GPUs, or the recipe `demo`.",
                size(needs::WORKER)
            ));
        }
        check
    }
}

/// The number after `name` at the beginning of a line.
fn number(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The control group, among this process's own and all above it, that leaves the least; `own` is
/// `/proc/self/cgroup`. Both versions of control groups; in a container the own path may not be
/// there, since the root folder is what is left of it.
fn tightest(root: &Path, own: &str) -> Option<Group> {
    let groups = own.lines().filter_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        match controllers {
            "" => Some((root.to_owned(), path, ["memory.max", "memory.current"])),
            "memory" => {
                let files = ["memory.limit_in_bytes", "memory.usage_in_bytes"];
                Some((root.join("memory"), path, files))
            }
            _ => None,
        }
    });
    let found = groups.flat_map(|(root, path, files)| {
        let path = Path::new(path.trim_start_matches('/')).to_owned();
        let folders: Vec<_> = path.ancestors().map(|above| root.join(above)).collect();
        folders.into_iter().filter_map(move |folder| Group::read(&folder, files))
    });
    found.min_by_key(|group| group.limit.saturating_sub(group.used))
}

impl Group {
    /// None where there is no limit.
    fn read(folder: &Path, [limit, used]: [&str; 2]) -> Option<Self> {
        let read = |file: &str| std::fs::read_to_string(folder.join(file)).ok();
        let bytes = |file: &str| read(file)?.trim().parse::<u64>().ok();
        let limit = bytes(limit)?;
        let stat = read("memory.stat").unwrap_or_default();
        let cache =
            number(&stat, "total_inactive_file ").or_else(|| number(&stat, "inactive_file "));
        Some(Self { limit, used: bytes(used)?.saturating_sub(cache.unwrap_or(0)) })
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::Verdict;
    use super::*;

    const GB: u64 = 1_000_000_000;

    fn judged(available: u64, group: Option<Group>) -> Check {
        Memory::checks(Some(Memory { total: 64 * GB, available, group })).remove(0)
    }

    #[test]
    fn a_machine_with_room_for_the_full_network_is_in_order() {
        assert_eq!(judged(needs::RUN, None).verdict, Verdict::Ok);
    }

    #[test]
    fn room_for_less_than_the_full_network_is_looked_at() {
        let check = judged(needs::RUN - 1, None);
        assert_eq!(check.verdict, Verdict::Look);
        assert!(check.remedy.is_some_and(|said| said.contains("batch=32")));
    }

    #[test]
    fn room_for_less_than_the_demonstration_is_wrong() {
        assert_eq!(judged(LEAST - 1, None).verdict, Verdict::Wrong);
    }

    #[test]
    fn a_container_s_limit_counts_and_the_remedy_names_it() {
        let group = Some(Group { limit: 2 * GB, used: GB });
        let check = judged(60 * GB, group);
        assert_eq!(check.verdict, Verdict::Look);
        assert!(check.remedy.is_some_and(|said| said.contains("memory limit")));
        assert_eq!(check.numbers["available_bytes"], 1e9);
        let checks = Memory::checks(Some(Memory { total: 64 * GB, available: GB, group }));
        assert_eq!(checks[1].measured, "1.0 GB of 2.0 GB in use");
    }

    #[test]
    fn a_system_that_does_not_say_is_looked_at() {
        assert_eq!(Memory::checks(None)[0].verdict, Verdict::Look);
    }

    #[test]
    fn the_tightest_control_group_counts_in_both_versions() {
        let root = tempfile::tempdir().expect("a folder");
        let put = |folder: &str, file: &str, text: &str| {
            let folder = root.path().join(folder);
            std::fs::create_dir_all(&folder).expect("a folder");
            std::fs::write(folder.join(file), text).expect("a file");
        };
        assert_eq!(tightest(root.path(), "0::/a/b\n"), None);
        put("a", "memory.max", "4000\n");
        put("a", "memory.current", "3000\n");
        put("a", "memory.stat", "anon 5\ninactive_file 1000\n");
        put("a/b", "memory.max", "max\n");
        let outer = Group { limit: 4000, used: 2000 };
        assert_eq!(tightest(root.path(), "0::/a/b\n"), Some(outer));
        put("memory/c", "memory.limit_in_bytes", "500\n");
        put("memory/c", "memory.usage_in_bytes", "100\n");
        let own = "5:cpu:/c\n4:memory:/c\n0::/a/b\n";
        assert_eq!(tightest(root.path(), own), Some(Group { limit: 500, used: 100 }));
    }
}
