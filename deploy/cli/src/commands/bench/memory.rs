//! Peak memory of each process, from `/proc/PID/status`.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Time between two readings; a process that has ended can't be read any more.
const EVERY: Duration = Duration::from_millis(100);

/// Peak megabytes per process name.
pub(super) type Peaks = BTreeMap<String, f64>;

/// A thread that reads peaks.
#[derive(Debug)]
pub(super) struct Watch {
    end: Sender<()>,
    thread: JoinHandle<Peaks>,
}

/// Starts the thread; the function that is returned gives it the processes to read.
pub(super) fn watch() -> (Watch, impl FnOnce(Vec<(String, u32)>)) {
    let (end, ended) = channel();
    let (tell, told) = channel();
    let thread = std::thread::spawn(move || read(&told, &ended));
    let tell = move |processes| {
        let _ = tell.send(processes);
    };
    (Watch { end, thread }, tell)
}

impl Watch {
    /// Stops reading and returns the peaks.
    pub(super) fn end(self) -> Peaks {
        let _ = self.end.send(());
        self.thread.join().unwrap_or_default()
    }
}

fn read(told: &Receiver<Vec<(String, u32)>>, ended: &Receiver<()>) -> Peaks {
    let processes = told.recv().unwrap_or_default();
    let mut peaks = Peaks::new();
    loop {
        for (name, pid) in &processes {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
            if let Some(peak) = status.ok().and_then(|status| peak(&status)) {
                peaks.insert(name.clone(), peak);
            }
        }
        let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(EVERY) else { return peaks };
    }
}

/// The line `VmHWM` in megabytes.
fn peak(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024.0 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_read_in_megabytes() {
        assert_eq!(peak("Name:\tx\nVmHWM:\t  1000000 kB\nVmRSS: 5 kB\n"), Some(1024.0));
        assert_eq!(peak("Name:\tx\n"), None);
    }

    #[test]
    fn this_process_has_a_peak() {
        let (watch, tell) = watch();
        tell(vec![("me".into(), std::process::id())]);
        std::thread::park_timeout(3 * EVERY);
        assert!(watch.end()["me"] > 1.0);
    }
}
