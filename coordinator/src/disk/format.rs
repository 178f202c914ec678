//! The number of the format that each JSON file of a run has. A file without one is of format 1.

use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::Error;

/// The number that every file has, whatever else a later version writes into it.
#[derive(Deserialize)]
struct Numbered {
    #[serde(default = "first")]
    format: u64,
}

/// The format of files without a number.
pub(crate) fn first<T: From<u8>>() -> T {
    T::from(1)
}

/// Reads a JSON file of any format up to `reads`.
///
/// # Errors
/// [`Error::Newer`] if the file was written by a later version, otherwise [`Error::Damaged`].
pub fn parse<T: DeserializeOwned>(path: &Path, text: &[u8], reads: u32) -> Result<T, Error> {
    if let Ok(Numbered { format }) = serde_json::from_slice(text)
        && format > reads.into()
    {
        return Err(Error::Newer { path: path.to_path_buf(), format, reads });
    }
    serde_json::from_slice(text)
        .map_err(|e| Error::Damaged { path: path.to_path_buf(), why: e.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Content {
        name: String,
    }

    #[test]
    fn a_newer_file_is_refused_by_name_an_older_one_is_read_and_unknown_fields_are_harmless() {
        let parse = |text: &str| {
            parse::<Content>(Path::new("runs/x/file"), text.as_bytes(), 2)
                .map_err(|error| error.to_string())
        };
        for text in [
            r#"{"name": "a"}"#,
            r#"{"format": 2, "name": "a", "more": [1]}"#,
            r#"{"name": "a", "format": 1}"#,
        ] {
            assert_eq!(parse(text), Ok(Content { name: "a".into() }), "{text}");
        }
        let said = parse(r#"{"format": 3, "names": ["a"]}"#).unwrap_err();
        let words = "runs/x/file was written by a newer version of this program (format 3, this \
                     version reads up to 2): use that version";
        assert_eq!(said, words);
        assert!(parse(r#"{"format": 2}"#).unwrap_err().contains("damaged"));
    }
}
