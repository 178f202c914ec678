//! Rows of numbers, one per picture, with labels: written to a safetensors file as they come, so
//! that those of a large data set need no memory.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use crate::files;

/// A file of rows that is being written; it gets its name when it is complete.
#[derive(Debug)]
pub(crate) struct Rows {
    path: PathBuf,
    beside: PathBuf,
    file: BufWriter<File>,
    /// Labels of the rows so far; they come after all rows.
    labels: Vec<u32>,
    n: u64,
    len: usize,
}

impl Rows {
    /// Begins a file of `n` rows of `len` numbers under this name, with texts about it.
    ///
    /// # Errors
    /// If the file can't be written.
    pub(crate) fn create(
        path: &Path,
        name: &str,
        [n, len]: [usize; 2],
        about: HashMap<String, String>,
    ) -> Result<Self> {
        files::ends_in(path, "safetensors", "the format of the file")?;
        let beside = path.with_added_extension("partial");
        let cant = || format!("{} can't be written", beside.display());
        let mut file = BufWriter::new(File::create(&beside).with_context(cant)?);
        file.write_all(&header(name, [n, len], about)?).with_context(cant)?;
        let labels = Vec::with_capacity(n);
        Ok(Self { path: path.into(), beside, file, labels, n: n as u64, len })
    }

    /// Writes the next rows, one per label.
    ///
    /// # Errors
    /// If the file can't be written.
    pub(crate) fn add(&mut self, rows: &[f32], labels: &[u32]) -> Result<()> {
        ensure!(
            rows.len() == self.len * labels.len(),
            "{} numbers for {} rows of {}",
            rows.len(),
            labels.len(),
            self.len
        );
        self.labels.extend(labels);
        let written = self.file.write_all(&proto::chunk::floats_to_bytes(rows));
        written.with_context(|| format!("{} can't be written", self.beside.display()))
    }

    /// Writes the labels, and gives the file its name.
    ///
    /// # Errors
    /// If rows are missing, or the file can't be written.
    pub(crate) fn finish(mut self) -> Result<()> {
        let got = self.labels.len() as u64;
        ensure!(got == self.n, "{got} rows were written, expected {}", self.n);
        let labels: Vec<u8> = self.labels.iter().flat_map(|l| (*l as i32).to_le_bytes()).collect();
        let written = self.file.write_all(&labels).and_then(|()| self.file.flush());
        let named = written.and_then(|()| std::fs::rename(&self.beside, &self.path));
        named.with_context(|| format!("{} can't be written", self.path.display()))
    }
}

/// A file that lacks rows is removed; one that is complete has its name by now.
impl Drop for Rows {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.beside);
    }
}

/// The beginning of the file, up to the first row.
fn header(name: &str, [n, len]: [usize; 2], about: HashMap<String, String>) -> Result<Vec<u8>> {
    let rows = 4 * n * len;
    let info = |dtype, shape: &[usize], from, to| TensorInfo {
        dtype,
        shape: shape.to_vec(),
        data_offsets: (from, to),
    };
    let tensors = vec![
        (name.to_owned(), info(Dtype::F32, &[n, len], 0, rows)),
        ("labels".to_owned(), info(Dtype::I32, &[n], rows, rows + 4 * n)),
    ];
    let mut json = serde_json::to_vec(&Metadata::new(Some(about), tensors)?)?;
    // Spaces up to a multiple of eight, as the format asks for.
    json.resize(json.len().next_multiple_of(8), b' ');
    Ok([&(json.len() as u64).to_le_bytes()[..], &json].concat())
}

#[cfg(test)]
mod tests {
    use safetensors::SafeTensors;

    use super::*;

    #[test]
    fn rows_that_were_written_one_after_the_other_can_be_read_as_one_tensor() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.safetensors");
        let about = HashMap::from([("layer".to_owned(), "fc7".to_owned())]);
        let mut rows = Rows::create(&path, "features", [3, 2], about).unwrap();
        rows.add(&[1.0, 2.0, 3.0, 4.0], &[7, 8]).unwrap();
        assert!(!path.exists(), "not before it is complete");
        assert!(rows.add(&[5.0], &[9]).is_err(), "a number is missing");
        rows.add(&[5.0, 6.5], &[9]).unwrap();
        rows.finish().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let read = SafeTensors::deserialize(&bytes).unwrap();
        let features = read.tensor("features").unwrap();
        assert_eq!((features.dtype(), features.shape()), (Dtype::F32, &[3, 2][..]));
        let floats = proto::chunk::bytes_to_floats(features.data()).unwrap();
        assert_eq!(floats, [1.0, 2.0, 3.0, 4.0, 5.0, 6.5]);
        assert_eq!(read.tensor("labels").unwrap().data()[..8], [7, 0, 0, 0, 8, 0, 0, 0]);
        let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
        assert_eq!(metadata.metadata().as_ref().unwrap()["layer"], "fc7");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing beside it");
    }

    #[test]
    fn a_file_with_too_few_rows_gets_no_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.safetensors");
        let rows = Rows::create(&path, "features", [3, 2], HashMap::new()).unwrap();
        assert!(rows.finish().unwrap_err().to_string().contains("0 rows were written, expected 3"));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
