//! The clocks: whether the wall clock can be right, is synchronized, and runs as fast as the
//! steady clock.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use time::OffsetDateTime;

use super::check::Check;

/// The year in which this version was made; an earlier date is a clock that was never set.
const MADE_IN: i32 = 2026;
/// Largest difference between the clocks during the report. A service that synchronizes the wall
/// clock changes its speed by less.
const APART: Duration = Duration::from_millis(100);
/// Services that synchronize a clock, by the names of their processes.
const SERVICES: [&str; 5] = ["chronyd", "ntpd", "systemd-timesyn", "openntpd", "ptp4l"];

/// Both clocks at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    wall: SystemTime,
    steady: Instant,
}

impl Moment {
    /// This moment.
    pub(super) fn now() -> Self {
        Self { wall: SystemTime::now(), steady: Instant::now() }
    }
}

/// State of the clocks.
#[derive(Debug, Clone)]
pub(super) struct Clock {
    wall: OffsetDateTime,
    /// Service that synchronizes the wall clock, if it can be seen.
    service: Option<String>,
    /// Duration of the report, by the steady clock.
    took: Duration,
    /// Difference between the clocks at the end of the report.
    apart: Duration,
    /// The kernel's source of time.
    source: String,
}

impl Clock {
    /// Compares the clocks with those of an earlier moment.
    pub(super) fn probe(since: Moment) -> Self {
        let now = Moment::now();
        let took = now.steady - since.steady;
        let expected = since.wall + took;
        let apart = now.wall.duration_since(expected).unwrap_or_else(|behind| behind.duration());
        let source = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
        let source = std::fs::read_to_string(source).unwrap_or_else(|_| "unknown".into());
        let service = service(Path::new("/"));
        Self { wall: now.wall.into(), service, took, apart, source: source.trim().to_owned() }
    }

    /// Judges them.
    pub(super) fn checks(&self) -> Vec<Check> {
        vec![self.judge_wall(), self.judge_steady()]
    }

    fn judge_wall(&self) -> Check {
        let (date, time) = (self.wall.date(), self.wall.time());
        let (hour, minute, second) = (time.hour(), time.minute(), time.second());
        let kept = match &self.service {
            Some(service) => format!("synchronized by {service}"),
            None => "no service seen that synchronizes it".to_owned(),
        };
        let text = format!("{date} {hour:02}:{minute:02}:{second:02} UTC; {kept}");
        let check =
            Check::ok("clock.wall", text).number("unix_s", self.wall.unix_timestamp() as f64);
        if self.wall.year() >= MADE_IN {
            return check;
        }
        check.look(
            "The date is earlier than this program, so certificates of a run are not valid yet \
             and records get wrong dates: set the clock (timedatectl set-ntp true, or date -s).",
        )
    }

    fn judge_steady(&self) -> Check {
        let ms = self.apart.as_secs_f64() * 1e3;
        let text = format!(
            "source {}; the wall clock drifted {ms:.1} ms in {:.1} s",
            self.source,
            self.took.as_secs_f64()
        );
        let check = Check::ok("clock.steady", text).number("apart_ms", ms);
        if self.apart <= APART {
            return check;
        }
        check.look(
            "The wall clock jumped during the report, or the machine was suspended. Run this \
             command again; if it repeats, let only one service set the clock (chronyd or \
             systemd-timesyncd).",
        )
    }
}

/// The service that synchronizes the clock, by its file or its process under `root`.
fn service(root: &Path) -> Option<String> {
    if root.join("run/systemd/timesync/synchronized").exists() {
        return Some("systemd-timesyncd".into());
    }
    let processes = std::fs::read_dir(root.join("proc")).ok()?;
    let names = processes.flatten().filter_map(|process| {
        let is_process = process.file_name().to_string_lossy().parse::<u32>().is_ok();
        let name = std::fs::read_to_string(process.path().join("comm"));
        is_process.then_some(name.ok()?.trim().to_owned())
    });
    names.into_iter().find(|name| SERVICES.contains(&name.as_str()))
}

#[cfg(test)]
mod tests {
    use super::super::check::Verdict;
    use super::*;

    fn good() -> Clock {
        Clock {
            wall: OffsetDateTime::from_unix_timestamp(1_780_000_000).expect("a date in 2026"),
            service: Some("chronyd".into()),
            took: Duration::from_secs(3),
            apart: Duration::ZERO,
            source: "tsc".into(),
        }
    }

    #[test]
    fn clocks_that_agree_are_in_order_kept_or_not() {
        for service in [good().service, None] {
            let verdicts = Clock { service, ..good() }.checks();
            assert!(verdicts.iter().all(|check| check.verdict == Verdict::Ok), "{verdicts:?}");
        }
    }

    #[test]
    fn a_clock_that_was_never_set_is_looked_at() {
        let check = Clock { wall: OffsetDateTime::UNIX_EPOCH, ..good() }.checks().remove(0);
        assert_eq!(check.verdict, Verdict::Look);
        assert!(check.measured.starts_with("1970-01-01 00:00:00 UTC"), "{check:?}");
    }

    #[test]
    fn a_clock_that_jumps_is_looked_at() {
        let clock = Clock { apart: APART + Duration::from_millis(1), ..good() };
        assert_eq!(clock.checks()[1].verdict, Verdict::Look);
    }

    #[test]
    fn a_jump_is_measured_in_both_directions() {
        let hour = Duration::from_secs(3600);
        for wall in [SystemTime::now() - hour, SystemTime::now() + hour] {
            let clock = Clock::probe(Moment { wall, steady: Instant::now() });
            assert!(clock.apart > hour / 2, "{clock:?}");
        }
    }

    #[test]
    fn the_service_is_found_by_its_mark_or_its_process() {
        let root = tempfile::tempdir().expect("a folder");
        assert_eq!(service(root.path()), None);
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            std::fs::write(path, text).expect("a file");
        };
        put("proc/17/comm", "bash\n");
        put("proc/self/comm", "chronyd\n");
        assert_eq!(service(root.path()), None);
        put("proc/18/comm", "chronyd\n");
        assert_eq!(service(root.path()).as_deref(), Some("chronyd"));
        put("run/systemd/timesync/synchronized", "");
        assert_eq!(service(root.path()).as_deref(), Some("systemd-timesyncd"));
    }
}
