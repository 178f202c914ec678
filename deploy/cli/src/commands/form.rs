//! Forms of results about pictures: lines for people, CSV, or JSON Lines.

use clap::ValueEnum;
use serde::Serialize;

/// Forms of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// The path, then a line per class or picture
    Text,
    /// Rows under a header
    Csv,
    /// One JSON object per line and picture
    Json,
}

/// A row of CSV, quoted where it is needed.
pub(super) fn record<Field: AsRef<[u8]>>(fields: impl IntoIterator<Item = Field>) -> Vec<u8> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    // Memory takes every byte: this can't fail.
    let written = csv.write_record(fields);
    debug_assert!(written.is_ok());
    csv.into_inner().unwrap_or_default()
}

/// A line of JSON; `value` holds nothing but strings, numbers, lists and structs of these.
pub(super) fn json_line(value: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.push(b'\n');
    line
}
