//! Limits of this process: open files, and shared memory.

use super::check::{Check, size};
use super::disk::room;

/// Open files below which a crowd of connections leaves none for training: a coordinator or worker
/// keeps places for 512 connections (`proto/net/src/limits.rs`).
const COMFORTABLE: u64 = 1024;
/// Open files below which no run works: on a CPU, the demonstration failed with 24 and trained
/// with 28.
const LEAST: u64 = 32;

/// Limits that the system sets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Limits {
    open_files: Option<OpenFiles>,
    /// Bytes of `/dev/shm`: all of it, and what is free.
    shared_memory: Option<(u64, u64)>,
}

/// Files that one process may have open.
#[derive(Debug, Clone, Copy, PartialEq)]
struct OpenFiles {
    now: u64,
    /// Largest value to which `ulimit -n` may raise it.
    most: u64,
}

impl Limits {
    /// Asks the system.
    pub(super) fn probe() -> Self {
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let open_files = OpenFiles::read(&limits);
        Self { open_files, shared_memory: room(std::path::Path::new("/dev/shm")).ok() }
    }

    /// Judges them.
    pub(super) fn checks(&self) -> Vec<Check> {
        let shared = match self.shared_memory {
            Some((total, free)) => {
                let text = format!("{} free of {}", size(free), size(total));
                Check::ok("limits.shared-memory", format!("{text}; training uses none"))
                    .number("total_bytes", total as f64)
                    .number("free_bytes", free as f64)
            }
            None => Check::ok("limits.shared-memory", "no /dev/shm; training uses none"),
        };
        self.open_files.map(OpenFiles::judge).into_iter().chain([shared]).collect()
    }
}

impl OpenFiles {
    fn read(limits: &str) -> Option<Self> {
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
        let mut numbers = line.split_whitespace().map(|limit| match limit {
            "unlimited" => Some(u64::MAX),
            number => number.parse().ok(),
        });
        Some(Self { now: numbers.next()??, most: numbers.next()?? })
    }

    fn judge(self) -> Check {
        let said = |n| match n {
            u64::MAX => "any number".to_owned(),
            n => crate::print::thousands(n),
        };
        let more = match self.most > self.now {
            true => format!("; `ulimit -n` raises it up to {}", said(self.most)),
            false => String::new(),
        };
        let text = format!("{} per process{more}", said(self.now));
        let check = Check::ok("limits.open-files", text).number("open_files", self.now as f64);
        let raise = match self.most >= COMFORTABLE {
            true => format!("type `ulimit -n {COMFORTABLE}` before starting the program"),
            false => "ask root to raise it (LimitNOFILE= of a systemd unit, docker run --ulimit \
                      nofile=1024)"
                .to_owned(),
        };
        if self.now < LEAST {
            return check.wrong(format!(
                "A coordinator needs more for its connections, checkpoints and records: {raise}."
            ));
        }
        if self.now < COMFORTABLE {
            return check.look(format!(
                "A process of a run accepts 512 connections; with fewer open files, strangers that \
                 connect can use up those that training needs: {raise}."
            ));
        }
        check
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::Verdict;
    use super::*;

    fn judged(now: u64, most: u64) -> Check {
        OpenFiles { now, most }.judge()
    }

    #[test]
    fn limits_are_read_as_the_system_writes_them() {
        let line =
            |limits: &str| format!("Max processes  1  2  p\nMax open files   {limits} files\n");
        let read = |limits: &str| OpenFiles::read(&line(limits));
        assert_eq!(read("20000    unlimited"), Some(OpenFiles { now: 20000, most: u64::MAX }));
        assert_eq!(read("many"), None);
        assert_eq!(OpenFiles::read(""), None);
    }

    #[test]
    fn few_open_files_are_looked_at_and_too_few_are_wrong() {
        assert_eq!(judged(COMFORTABLE, 4096).verdict, Verdict::Ok);
        assert_eq!(judged(COMFORTABLE - 1, 4096).verdict, Verdict::Look);
        assert_eq!(judged(LEAST - 1, 4096).verdict, Verdict::Wrong);
    }

    #[test]
    fn the_remedy_says_who_can_raise_the_limit() {
        let remedy = |most| judged(256, most).remedy.expect("a remedy");
        assert!(remedy(4096).contains("`ulimit -n 1024`"), "{}", remedy(4096));
        assert!(remedy(256).contains("root"), "{}", remedy(256));
    }

    #[test]
    fn shared_memory_is_told_and_never_needed() {
        for shared_memory in [None, Some((64_000_000, 0))] {
            let checks = Limits { open_files: None, shared_memory }.checks();
            assert_eq!((checks.len(), checks[0].verdict), (1, Verdict::Ok));
            assert!(checks[0].measured.contains("training uses none"));
        }
    }
}
