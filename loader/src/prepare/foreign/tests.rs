//! Messages about files that are no tars; the commands are run.

use std::io::Write;
use std::process::Command;

use super::*;
use crate::prepare::tarfile::tests::tar_of;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

#[test]
fn each_kind_of_file_is_named_and_no_bytes_of_it_are_shown() {
    let folder = tempfile::tempdir().unwrap();
    for (bytes, said) in [
        (&b"\x1f\x8b\x08\0\0\0"[..], "gzip"),
        (b"PK\x03\x04\x14\0", "a zip archive"),
        (b"\xfd7zXZ\0\0", "xz"),
        (b"\x28\xb5\x2f\xfd\x04", "zstd"),
        (b"BZh91AY", "bzip2"),
        (b"7z\xbc\xaf\x27\x1c", "7-Zip"),
        (b"Rar!\x1a\x07", "RAR"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"", "0 bytes"),
        (b"\n <!DOCTYPE html><html>", "web page"),
        (b"\xEF\xBB\xBF<HTML>", "web page"),
        (b"<?xml version='1.0'?><Error>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
    ] {
        let path = folder.path().join("train.tar");
        std::fs::write(&path, bytes).unwrap();
        let doubt = doubt(&path).unwrap();
        assert!(doubt.why.contains(said), "{}", doubt.why);
        assert!(!doubt.why.contains(|c: char| c.is_control()), "{:?}", doubt.why);
    }
    let path = folder.path().join("train.tar");
    std::fs::write(&path, tar_of(&[("1.jpg", vec![1])])).unwrap();
    assert_eq!(doubt(&path), None);
}

#[test]
fn the_command_that_is_said_unpacks_whatever_the_name() {
    for name in ["data.tar.gz", "data.tar", "my 'own' data.tgz", "no-ending", "data.TAR.GZ"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, gzip(&tar_of(&[("cat/1.jpg", vec![7])]))).unwrap();
        let doubt = doubt(&path).unwrap();
        let Some(Instead::Before(command)) = doubt.instead else { panic!("{}", doubt.why) };
        let done = Command::new("sh").args(["-c", &command]).status().unwrap();
        assert!(done.success(), "{command}");
        let made = std::fs::read_dir(folder.path()).unwrap().flatten();
        let made: Vec<_> = made.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
        assert_eq!(std::fs::read(made[0].join("cat/1.jpg")).unwrap(), [7], "{command}");
    }
}

#[test]
fn a_folder_that_exists_is_not_unpacked_into() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("a")).unwrap();
    assert_eq!(free_folder(&folder.path().join("a.tar.gz")), folder.path().join("a-unpacked"));
    assert_eq!(free_folder(&folder.path().join("b.zip")), folder.path().join("b"));
}
