//! Damage: one flipped byte anywhere is found, and the error says where.

use std::fs;

use jpeg_encoder::{ColorType, Encoder};

use super::*;
use crate::prepare::{Options, prepare};

/// A data set of four pictures, and the folder it is in.
fn prepared() -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    for i in 0..4_u8 {
        let folder = root.path().join(format!("in/train/{}", i % 2));
        fs::create_dir_all(&folder).unwrap();
        let mut jpeg = Vec::new();
        let pixels: Vec<u8> = (0..32 * 32 * 3).map(|k| (k as u8).wrapping_mul(i + 3)).collect();
        Encoder::new(&mut jpeg, 90).encode(&pixels, 32, 32, ColorType::Rgb).unwrap();
        fs::write(folder.join(format!("{i}.jpg")), jpeg).unwrap();
    }
    let dest = root.path().join("out");
    let options = Options { side: 32, ..Options::default() };
    prepare(&root.path().join("in"), &dest, &options, &|_| ()).unwrap();
    (root, dest)
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

fn opening(dest: &Path) -> String {
    DataSet::open(dest).map(|_| "fine".to_string()).unwrap_or_else(|e| e.to_string())
}

#[test]
fn a_flipped_byte_in_a_shard_names_file_and_record() {
    let (_root, dest) = prepared();
    let data = DataSet::open(&dest).unwrap();
    let record = data.train.records[1];
    drop(data);
    flip(&dest.join("train-00000.tar"), record.offset as usize + record.length as usize / 2);
    let data = DataSet::open(&dest).unwrap();
    let (mut stored, mut pixels) = (Vec::new(), Vec::new());
    data.read(Split::Train, 0, &mut stored, &mut pixels).unwrap();
    let error = data.read(Split::Train, 1, &mut stored, &mut pixels).unwrap_err().to_string();
    assert!(error.contains("train-00000.tar") && error.contains("train picture 1"), "{error}");
    let error = data.verify().unwrap_err().to_string();
    assert!(error.contains("train-00000.tar"), "{error}");
}

#[test]
fn a_flipped_byte_anywhere_else_keeps_the_data_set_shut() {
    for file in ["train.index", "val.index", "mean.f32", "dataset.json"] {
        let (_root, dest) = prepared();
        assert_eq!(opening(&dest), "fine");
        let path = dest.join(file);
        flip(&path, fs::metadata(&path).unwrap().len() as usize / 2);
        let error = opening(&dest);
        assert!(error.contains(file) && error.contains("damaged"), "{error}");
    }
}

#[test]
fn a_shard_that_was_cut_short_keeps_the_data_set_shut() {
    let (_root, dest) = prepared();
    let path = dest.join("train-00000.tar");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    assert!(opening(&dest).contains("train-00000.tar"), "{}", opening(&dest));
    fs::remove_file(&path).unwrap();
    assert!(opening(&dest).contains("train-00000.tar"), "{}", opening(&dest));
}

#[test]
fn a_folder_without_data_set_says_how_to_make_one() {
    let folder = tempfile::tempdir().unwrap();
    assert!(opening(folder.path()).contains("alexnet prepare"), "{}", opening(folder.path()));
}

#[test]
fn a_data_set_of_another_format_says_both_versions() {
    let (_root, dest) = prepared();
    let path = dest.join(DESCRIPTION);
    let json = fs::read_to_string(&path).unwrap().replace("\"format\": 1", "\"format\": 2");
    fs::write(&path, &json).unwrap();
    let sum = proto::digest::sha256(json.as_bytes());
    fs::write(dest.join(SUMS), format!("{sum}  {DESCRIPTION}\n")).unwrap();
    let error = opening(&dest);
    assert!(error.contains("format 2") && error.contains("format 1"), "{error}");
}
