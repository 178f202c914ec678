//! CIFAR in all four versions, whole and damaged.

use std::fs;

use super::*;
use crate::prepare::{Location, Options, prepare, read};

fn pixel(i: usize, k: usize) -> u8 {
    (k * 7 + i * 31 + k / 1024) as u8
}

fn record(labels: &[u8], i: usize) -> Vec<u8> {
    labels.iter().copied().chain((0..PIXELS).map(|k| pixel(i, k))).collect()
}

/// A batch as Python 2 pickles it: labels, and a NumPy array by row or by column.
fn pickled(key: &str, labels: &[u8], by_column: bool) -> Vec<u8> {
    let text = |text: &str| [&[b'U', text.len() as u8], text.as_bytes()].concat();
    let n = labels.len();
    let numbers: Vec<u8> = labels.iter().flat_map(|label| [b'K', *label]).collect();
    let data: Vec<u8> = match by_column {
        false => (0..n * PIXELS).map(|at| pixel(at / PIXELS, at % PIXELS)).collect(),
        true => (0..n * PIXELS).map(|at| pixel(at % n, at / n)).collect(),
    };
    let length = (data.len() as u32).to_le_bytes();
    [
        b"\x80\x02}q\x01(".as_slice(),
        &text("batch_label"),
        &text("training batch 1 of 5"),
        &text(key),
        b"]q\x02(",
        &numbers,
        b"e",
        &text("data"),
        b"cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04K\x00\x85",
        &text("b"),
        b"\x87Rq\x05(K\x01K",
        &[n as u8],
        b"M\x00\x0c\x86cnumpy\ndtype\n",
        &text("u1"),
        b"K\x00K\x01\x87R(K\x03",
        &text("|"),
        b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb",
        &[if by_column { 0x88 } else { 0x89 }],
        b"T",
        &length,
        &data,
        b"tbu.",
    ]
    .concat()
}

fn names(key: &str, n: usize) -> Vec<u8> {
    let name = |i: usize| [&b"U\x03"[..], format!("c{i:02}").as_bytes()].concat();
    let names: Vec<u8> = (0..n).flat_map(name).collect();
    let key = [&[b'U', key.len() as u8], key.as_bytes()].concat();
    [&b"\x80\x02}("[..], &key, b"](", &names, b"eu."].concat()
}

fn pictures(reading: &Reading) -> Vec<(u32, Vec<u8>)> {
    let bytes = |p: &Picture| (p.label, reading.bytes_of(p).unwrap());
    reading.train.iter().map(bytes).collect()
}

#[test]
fn the_python_version_gives_the_same_pictures_as_the_binary_one() {
    let folder = tempfile::tempdir().unwrap();
    let binary = folder.path().join("binary");
    fs::create_dir(&binary).unwrap();
    let records = [record(&[6], 0), record(&[9], 1), record(&[0], 2)].concat();
    fs::write(binary.join("data_batch_1.bin"), records).unwrap();
    let want = pictures(&find(&binary).unwrap().unwrap());
    for by_column in [false, true] {
        let python = folder.path().join(format!("python-{by_column}"));
        fs::create_dir(&python).unwrap();
        let batch = pickled("labels", &[6, 9, 0], by_column);
        fs::write(python.join("data_batch_1"), batch).unwrap();
        fs::write(python.join("test_batch"), pickled("labels", &[1], false)).unwrap();
        fs::write(python.join("batches.meta"), names("label_names", 10)).unwrap();
        let reading = find(&python).unwrap().unwrap();
        assert_eq!(pictures(&reading), want, "{by_column}");
        assert_eq!(reading.val.as_ref().unwrap()[0].label, 1);
        assert_eq!(reading.classes[9].1, "c09");
        assert!(reading.doubts.is_empty(), "{:?}", reading.doubts);
    }
}

#[test]
fn cifar_100_is_read_with_its_fine_labels() {
    let folder = tempfile::tempdir().unwrap();
    let all: String = (0..100).map(|i| format!("c{i:02}\n")).collect();
    fs::write(folder.path().join("fine_label_names.txt"), all).unwrap();
    fs::write(folder.path().join("train.bin"), record(&[11, 77], 0)).unwrap();
    fs::write(folder.path().join("test.bin"), record(&[1, 5], 0)).unwrap();
    let reading = find(folder.path()).unwrap().unwrap();
    assert_eq!((reading.layout, reading.classes.len()), ("cifar-100", 100));
    assert_eq!(pictures(&reading), [(77, record(&[], 0))]);
    assert_eq!(reading.val.as_ref().unwrap()[0].label, 5);

    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("meta"), names("fine_label_names", 100)).unwrap();
    fs::write(folder.path().join("train"), pickled("fine_labels", &[77], false)).unwrap();
    let reading = find(folder.path()).unwrap().unwrap();
    assert_eq!(pictures(&reading), [(77, record(&[], 0))]);
    // Without the names, files called train and test are nobody's CIFAR-100.
    fs::remove_file(folder.path().join("meta")).unwrap();
    assert!(find(folder.path()).unwrap().is_none());
}

#[test]
fn missing_and_cut_batches_are_named_and_refused_unless_partial() {
    let said = |files: &[(&str, Vec<u8>)]| {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            fs::write(folder.path().join(name), bytes).unwrap();
        }
        let doubts = read(folder.path(), &Options::default()).unwrap().doubts;
        let options = Options { partial: true, ..Options::default() };
        prepare(folder.path(), &folder.path().join("out"), &options, &|_| ()).unwrap();
        doubts.into_iter().map(|doubt| doubt.why).collect::<Vec<_>>().join("; ")
    };
    let one = || record(&[1], 0);
    assert_eq!(said(&[("data_batch_1.bin", one())]), "");
    assert_eq!(said(&[("data_batch_first4000.bin", one())]), "", "somebody's own");
    let gap = said(&[("data_batch_1.bin", one()), ("data_batch_3.bin", one())]);
    assert!(gap.contains("data_batch_2.bin is missing"), "{gap}");
    let cut = said(&[("data_batch_1.bin", [one(), vec![1; 99]].concat())]);
    assert!(cut.contains("cut short") && cut.contains("picture 1"), "{cut}");
    let real = vec![0; 3073 * BATCH];
    let four =
        said(&[("data_batch_1.bin", real.clone()), ("data_batch_2.bin", real[3073..].into())]);
    assert!(four.contains("data_batch_3.bin, data_batch_4.bin, data_batch_5.bin are"), "{four}");
    assert!(four.contains("data_batch_2.bin is cut short: it holds 9999 of 10000"), "{four}");
    let batch = pickled("labels", &[1, 2], false);
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("data_batch_1"), &batch[..batch.len() / 2]).unwrap();
    let doubts = find(folder.path()).unwrap().unwrap().doubts;
    assert!(doubts[0].why.contains("data_batch_1: the pickle ends too early"), "{doubts:?}");
}

#[test]
fn labels_out_of_range_are_left_out_by_name() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("data_batch_1"), pickled("labels", &[3, 77], false)).unwrap();
    let reading = find(folder.path()).unwrap().unwrap();
    assert_eq!((reading.train.len(), reading.left_out.len()), (1, 1));
    assert_eq!(reading.left_out[0].file, "data_batch_1/picture 1");
    assert!(matches!(reading.train[0].location, Location::Member { .. }));
}
