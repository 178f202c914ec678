//! The connection of a preparation to the program around it: progress, remarks, and the wish to
//! stop.

/// The progress of a preparation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Part of the work.
    pub phase: Phase,
    /// Pictures processed in this phase, including those left out.
    pub done: u64,
    /// Pictures to process in this phase; 0 if that isn't known.
    pub total: u64,
    /// Pictures left out so far.
    pub left_out: u64,
}

/// A part of a preparation's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Pictures are decoded and stored.
    Storing,
    /// Stored pictures are divided into training and validation pictures.
    Dividing,
    /// Indices and description are written.
    Finishing,
}

/// Hears of a preparation's progress, and may stop it. Any function of [`Progress`] is one.
pub trait Watch: Sync {
    /// Hears of the progress after every batch of pictures.
    fn progress(&self, progress: Progress);

    /// Hears that an interrupted preparation is resumed, and how far it was.
    fn resumed(&self, _progress: Progress) {}

    /// Hears a remark for people.
    fn say(&self, _remark: &str) {}

    /// Returns true to stop the preparation; asked between any two pictures.
    fn stopped(&self) -> bool {
        false
    }
}

impl<F: Fn(Progress) + Sync> Watch for F {
    fn progress(&self, progress: Progress) {
        self(progress);
    }
}
