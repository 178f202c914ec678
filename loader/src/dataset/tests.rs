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
    let record = data.splits[0].records[1];
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
    let json = fs::read_to_string(&path).unwrap().replace("\"format\": 3", "\"format\": 4");
    fs::write(&path, &json).unwrap();
    let sum = proto::digest::sha256(json.as_bytes());
    fs::write(dest.join(SUMS), format!("{sum}  {DESCRIPTION}\n")).unwrap();
    let error = opening(&dest);
    assert!(error.contains("format 4") && error.contains("formats 1 to 3"), "{error}");
}

/// Rewrites the description, with the sum that belongs to it.
fn rewrite(dest: &Path, change: impl FnOnce(&mut serde_json::Value)) -> String {
    let path = dest.join(DESCRIPTION);
    let mut json = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut json);
    let json = serde_json::to_vec_pretty(&json).unwrap();
    fs::write(&path, &json).unwrap();
    let sum = proto::digest::sha256(&json);
    fs::write(dest.join(SUMS), format!("{sum}  {DESCRIPTION}\n")).unwrap();
    sum
}

#[test]
fn format_1_is_still_read_and_keeps_its_digest() {
    let (_root, dest) = prepared();
    let sum = rewrite(&dest, |json| {
        json["format"] = 1.into();
        let fields = json.as_object_mut().unwrap();
        for new in ["quality", "fingerprint", "source_files", "source_path", "notes"] {
            fields.remove(new);
        }
    });
    let data = DataSet::open(&dest).unwrap();
    assert_eq!(data.describe().digest, sum);
    assert_eq!(changes_since(&dest, &[]).unwrap(), None);
}

#[test]
fn what_another_version_wrote_is_not_called_damaged() {
    let (_root, dest) = prepared();
    rewrite(&dest, |json| json["zoom"] = 3.into());
    let error = DataSet::open(&dest).unwrap_err();
    assert!(matches!(error, Error::OtherVersion { .. }), "{error}");
    assert!(error.to_string().contains("zoom"), "{error}");
    rewrite(&dest, |json| json["format"] = 9.into());
    fs::write(dest.join(SUMS), "sums of another kind").unwrap();
    let error = opening(&dest);
    assert!(error.contains("format 9") && !error.contains("damaged"), "{error}");
}

#[test]
fn only_a_prepared_folder_is_one() {
    let (root, dest) = prepared();
    assert!(is_prepared(&dest));
    fs::remove_file(dest.join(SUMS)).unwrap();
    assert!(is_prepared(&dest)); // to be refused, not to be prepared
    let foreign = [r#"{"labels": [["cat/1.jpg", 0]]}"#, r#"{"format": "coco"}"#, "[1]", "", "{"];
    for json in foreign {
        fs::write(root.path().join(DESCRIPTION), json).unwrap();
        assert!(!is_prepared(root.path()), "{json}");
    }
}
