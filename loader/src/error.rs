//! The errors of the loader; the variant tells the caller what to do.

use std::path::{Path, PathBuf};

use crate::doubt::Doubt;

/// An error of the loader.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// A file operation that failed.
    #[error("{path}: can't {doing}: {why}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The operation that failed, as a verb.
        doing: &'static str,
        /// The operating system's reason.
        why: String,
    },
    /// A folder that isn't a prepared data set.
    #[error(
        "{path}: no data set here ({missing} is missing); if it holds pictures, prepare them with \
         `alexnet prepare {} DST` and name DST instead",
        net::quoted(path)
    )]
    NoDataSet {
        /// The folder.
        path: PathBuf,
        /// The file that is missing.
        missing: &'static str,
    },
    /// A data set of another version of this program.
    #[error(
        "{path}: written in format {got}, this version of the program reads formats 1 to {want}; \
         use the version that wrote it, or prepare the pictures again"
    )]
    Format {
        /// The data set's description file.
        path: PathBuf,
        /// Format found.
        got: u32,
        /// Newest format that this version reads.
        want: u32,
    },
    /// A data set of a known format with contents that this version doesn't know.
    #[error(
        "{path}: another version of the program wrote this description of format {format} ({why}); \
         use that version, or prepare the pictures again"
    )]
    OtherVersion {
        /// The data set's description file.
        path: PathBuf,
        /// Format found.
        format: u32,
        /// The difference.
        why: String,
    },
    /// Bytes that differ from those that were written; another copy, or another loader, may still
    /// have them.
    #[error("{file}: {record} is damaged: {why}; restore the file from a copy or prepare again")]
    Damaged {
        /// The file.
        file: PathBuf,
        /// The damaged record of the file, in words.
        record: String,
        /// The difference between what was expected and what was found.
        why: String,
    },
    /// A source that can't be read as any known layout.
    #[error("{path}: {why}")]
    Layout {
        /// File or folder.
        path: PathBuf,
        /// The problem, the expected layout, and a remedy.
        why: String,
    },
    /// A source that would probably become another data set than was meant.
    #[error("{path}: {}", sentences(.path, .doubts))]
    Doubtful {
        /// File or folder.
        path: PathBuf,
        /// Reasons, and what was probably meant.
        doubts: Vec<Doubt>,
    },
    /// A destination that isn't free.
    #[error("{path}: {why}")]
    Destination {
        /// The folder.
        path: PathBuf,
        /// The problem, and a remedy.
        why: String,
    },
    /// A preparation that was asked to stop.
    #[error("{}", stopped(*.stored, .kept.as_deref()))]
    Stopped {
        /// Number of pictures that are stored.
        stored: u64,
        /// Folder from which the same preparation resumes; `None` if nothing was kept.
        kept: Option<PathBuf>,
    },
    /// A picture that can't be used.
    #[error("{name}: {why}")]
    Picture {
        /// The file, or member of an archive.
        name: String,
        /// The reason why the picture can't be used.
        why: String,
    },
    /// A crop larger than the pictures.
    #[error(
        "crops of {crop}×{crop} don't fit in pictures stored at {side}×{side}; \
         prepare again with --side {crop} or more, or train with crop={side} or less"
    )]
    Crop {
        /// Side of the crop that was requested.
        crop: usize,
        /// Side of the stored pictures.
        side: usize,
    },
    /// A request with an invalid field.
    #[error("batch request: {field}: {why}")]
    Request {
        /// The field.
        field: &'static str,
        /// The problem with its value.
        why: String,
    },
    /// A request for another data set.
    #[error("the data set asked for is {want}, this loader has {name} ({got})")]
    OtherDataSet {
        /// Digest of the data set that was requested.
        want: String,
        /// Digest of this loader's data set.
        got: String,
        /// Name of this loader's data set.
        name: String,
    },
    /// A setting that can't be used.
    #[error("{setting}: {why}")]
    Setting {
        /// The setting.
        setting: &'static str,
        /// The problem with its value.
        why: String,
    },
    /// A coordinator that refuses this loader.
    #[error("coordinator {address}: {why}")]
    Refused {
        /// Address of the coordinator.
        address: String,
        /// The coordinator's reason.
        why: String,
    },
    /// A network operation that failed.
    #[error("{address}: {why}")]
    Network {
        /// The address, this end's or the other's.
        address: String,
        /// The operation that failed, and why.
        why: String,
    },
}

fn stopped(stored: u64, kept: Option<&Path>) -> String {
    match kept {
        Some(path) => format!(
            "stopped; {stored} pictures are stored in {}, and the same command continues from there",
            path.display()
        ),
        None => "stopped; nothing was kept".into(),
    }
}

/// The reasons, without the path that some begin with: the message has it already.
fn sentences(path: &Path, doubts: &[Doubt]) -> String {
    let path = format!("{}: ", path.display());
    let reason = |doubt: &Doubt| doubt.why.strip_prefix(&path).unwrap_or(&doubt.why).to_owned();
    doubts.iter().map(reason).collect::<Vec<_>>().join("; ")
}

impl Error {
    /// Returns true if a new process with the same settings would fail in the same way.
    ///
    /// A disk or a network may answer the next time; the content of a folder stays what it is.
    pub fn is_for_good(&self) -> bool {
        !matches!(self, Self::Io { .. } | Self::Network { .. })
    }

    /// Turns an I/O error into [`Error::Io`] with the file and the operation, for `map_err`.
    pub(crate) fn io(path: &Path, doing: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |e| Self::Io { path, doing, why: e.to_string() }
    }
}
