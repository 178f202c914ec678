//! Why a worker could not go on.

/// Shorthand for this crate's results.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a step did not finish; the variant tells the coordinator what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A buffer that isn't as long as the plan says: both ends disagree, stop.
    #[error("{tensor}: {got} numbers, the plan says {want}")]
    Shape {
        /// Which one.
        tensor: &'static str,
        /// Its length.
        got: usize,
        /// The plan's.
        want: usize,
    },
    /// The device has no room for the plan.
    #[error("no room for {tensor}: {bytes} bytes asked for")]
    OutOfMemory {
        /// For what.
        tensor: &'static str,
        /// How much.
        bytes: usize,
    },
}
