//! Reasons to refuse a source of pictures, and what was probably meant.

use std::path::PathBuf;

/// A reason to refuse a source: it would probably become another data set than was meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt {
    /// The sentence that says what was found and what was expected.
    pub why: String,
    /// The likely intention.
    pub instead: Option<Instead>,
}

/// The likely intention; the command line prints it as a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Instead {
    /// Another folder should be prepared.
    Source(PathBuf),
    /// The same source with more options, such as `--val none`.
    Options(Vec<String>),
    /// A shell command has to be run before.
    Before(String),
}
