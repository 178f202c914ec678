//! Ctrl-C and other wishes to stop while pictures are stored: the preparation keeps or removes what
//! it has written before the process ends. A second signal ends the process at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};

use crate::signals::{self, OnStop};

/// A preparation that a signal may stop, until this is dropped.
#[derive(Debug)]
pub(super) struct Stop {
    asked: Arc<AtomicBool>,
    /// Dropped at the end of the preparation, for which the cleanup waits.
    _ended: Sender<()>,
    _cleanup: OnStop,
}

impl Stop {
    /// From now on a signal asks the preparation to stop.
    pub(super) fn new() -> Self {
        let asked = Arc::new(AtomicBool::new(false));
        let (ended, has_ended) = channel();
        let flag = asked.clone();
        let cleanup = signals::on_stop(move || {
            flag.store(true, Ordering::SeqCst);
            let _ = has_ended.recv();
        });
        Self { asked, _ended: ended, _cleanup: cleanup }
    }

    /// A flag that turns true when a signal asks to stop.
    pub(super) fn flag(&self) -> Arc<AtomicBool> {
        self.asked.clone()
    }
}
