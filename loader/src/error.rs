//! Why the loader could not do something; the variant tells the caller what to do.

use std::path::{Path, PathBuf};

/// Everything that can go wrong here.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The file system said no.
    #[error("{path}: can't {doing}: {why}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried, as a verb.
        doing: &'static str,
        /// The system's words.
        why: String,
    },
    /// A folder that isn't a prepared data set.
    #[error(
        "{path}: no data set here ({missing} is missing); make one with `alexnet prepare PICTURES {path}`"
    )]
    NoDataSet {
        /// The folder.
        path: PathBuf,
        /// The file that isn't there.
        missing: &'static str,
    },
    /// A data set of another version of this program.
    #[error("{path}: written in format {got}, this version reads format {want}; prepare it again")]
    Format {
        /// Its description.
        path: PathBuf,
        /// Found.
        got: u32,
        /// Expected.
        want: u32,
    },
    /// Bytes that aren't what was written: another copy, or another loader, may still have them.
    #[error("{file}: {record} is damaged: {why}; restore the file from a copy or prepare again")]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Which record of it, in words.
        record: String,
        /// Expected and found.
        why: String,
    },
    /// Something to prepare from that can't be read as any known layout.
    #[error("{path}: {why}")]
    Layout {
        /// File or folder.
        path: PathBuf,
        /// What was expected, and what to do.
        why: String,
    },
    /// A destination that isn't free.
    #[error("{path}: {why}")]
    Destination {
        /// The folder.
        path: PathBuf,
        /// What is there, and what to do.
        why: String,
    },
    /// A picture that can't be used.
    #[error("{name}: {why}")]
    Picture {
        /// The file, or member of an archive.
        name: String,
        /// Why not.
        why: String,
    },
    /// A crop larger than the pictures.
    #[error(
        "crops of {crop}×{crop} don't fit in pictures stored at {side}×{side}; \
         prepare again with --side {crop} or more, or train with crop={side} or less"
    )]
    Crop {
        /// Asked for.
        crop: usize,
        /// Stored.
        side: usize,
    },
    /// A request that means nothing.
    #[error("batch request: {field}: {why}")]
    Request {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The asker works with other data.
    #[error("the data set asked for is {want}, this loader has {name} ({got})")]
    OtherDataSet {
        /// Digest asked for.
        want: String,
        /// Digest here.
        got: String,
        /// Name here.
        name: String,
    },
    /// A setting that can't be used.
    #[error("{setting}: {why}")]
    Setting {
        /// Which.
        setting: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The coordinator doesn't want this loader.
    #[error("coordinator {address}: {why}")]
    Refused {
        /// Where.
        address: String,
        /// Its words.
        why: String,
    },
    /// The network said no.
    #[error("{address}: {why}")]
    Network {
        /// Own or other's.
        address: String,
        /// What failed.
        why: String,
    },
}

impl Error {
    /// For `map_err`: an I/O error with its file and what was tried.
    pub(crate) fn io(path: &Path, doing: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |e| Self::Io { path, doing, why: e.to_string() }
    }
}
