//! Archives as image-net.org gives them, and Kaggle's copy, both made here and small.

use std::fs;
use std::io::Write;

use super::*;
use crate::Split;
use crate::dataset::DataSet;
use crate::prepare::matfile::tests::{meta_mat, meta_with_counts};
use crate::prepare::tests::{gray_jpeg, level};
use crate::prepare::{Options, prepare, read};

const TRAIN: &str = "ILSVRC2012_img_train.tar";
const VAL: &str = "ILSVRC2012_img_val.tar";
const FOX: &str = "n02119789";
const SETTER: &str = "n02100735";

type Files = Vec<(String, Vec<u8>)>;

fn tar(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, bytes.as_slice()).unwrap();
    }
    tar.into_inner().unwrap()
}

/// Three foxes (gray level 40) and two setters (200); one fox can't be read.
fn train_pictures() -> Vec<(String, Files)> {
    let of = |class: &str, n: usize, gray| {
        let file = |i| (format!("{class}_{i}.JPEG"), gray_jpeg(40, 30, gray));
        (class.to_string(), (0..n).map(file).collect::<Vec<_>>())
    };
    let mut all = vec![of(FOX, 3, 40), of(SETTER, 2, 200)];
    all[0].1[1].1.truncate(100);
    all
}

fn val_pictures() -> Files {
    let levels = [200, 40, 40].into_iter().zip(1..);
    levels
        .map(|(gray, i)| (format!("ILSVRC2012_val_{i:08}.JPEG"), gray_jpeg(40, 30, gray)))
        .collect()
}

fn write_kit(root: &Path, compressed: bool) {
    // The kit's numbers are not the labels: the fox is 1 there, and 1 here because
    // n02119789 > n02100735.
    let meta = meta_mat(
        &[(1, FOX, "kit fox, Vulpes macrotis"), (2, SETTER, "English setter")],
        compressed,
    );
    let folder = "ILSVRC2012_devkit_t12/data";
    let kit = tar(&[
        (format!("{folder}/ILSVRC2012_validation_ground_truth.txt"), b"2\n1\n1\n".to_vec()),
        (format!("{folder}/meta.mat"), meta),
    ]);
    fs::write(root.join("ILSVRC2012_devkit_t12.tar.gz"), gzip(&kit)).unwrap();
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

fn write_solution(root: &Path) {
    let line = |(i, class): (usize, &str)| format!("ILSVRC2012_val_{i:08},{class} 1 2 3 4 \n");
    let lines: String = (1..).zip([SETTER, FOX, FOX]).map(line).collect();
    fs::write(root.join(SOLUTION), format!("ImageId,PredictionString\n{lines}")).unwrap();
}

fn write_archives(root: &Path) {
    let classes: Vec<_> = train_pictures()
        .into_iter()
        .map(|(class, files)| (format!("{class}.tar"), tar(&files)))
        .collect();
    fs::write(root.join(TRAIN), tar(&classes)).unwrap();
    fs::write(root.join(VAL), tar(&val_pictures())).unwrap();
}

/// Prepares `root` and checks what came out: labels and pictures belong together.
fn check(root: &Path) -> DataSet {
    let dest = tempfile::tempdir().unwrap();
    let options = Options { side: 24, ..Options::default() };
    let report = prepare(root, &dest.path().join("out"), &options, &|_| ()).unwrap();
    assert_eq!((report.summary.n_train, report.summary.n_val), (4, 3));
    assert_eq!(report.summary.left_out.len(), 1);
    assert!(report.summary.left_out[0].file.ends_with("n02119789_1.JPEG"));
    let data = DataSet::open(&report.path).unwrap();
    let keys: Vec<_> = data.summary().classes.iter().map(|class| class.key.as_str()).collect();
    assert_eq!(keys, [SETTER, FOX]);
    for (split, n) in [(Split::Train, 4), (Split::Val, 3)] {
        for i in 0..n {
            let (label, gray) = level(&data, split, i);
            assert!(gray.abs_diff([200, 40][label as usize]) < 4, "{split:?} {i}: {label} {gray}");
        }
    }
    data
}

#[test]
fn the_archives_as_distributed_with_the_development_kit() {
    for compressed in [true, false] {
        let root = tempfile::tempdir().unwrap();
        write_archives(root.path());
        write_kit(root.path(), compressed);
        let data = check(root.path());
        assert_eq!(data.describe().classes, ["English setter", "kit fox"]);
        let order: Vec<_> = (0..3).map(|i| level(&data, Split::Val, i).0).collect();
        assert_eq!(order, [0, 1, 1]);
    }
}

#[test]
fn the_archives_with_kaggles_solution() {
    let root = tempfile::tempdir().unwrap();
    write_archives(root.path());
    write_solution(root.path());
    check(root.path());
}

#[test]
fn kaggles_copy_packed_out() {
    let root = tempfile::tempdir().unwrap();
    let pictures = root.path().join("ILSVRC/Data/CLS-LOC");
    for (class, files) in train_pictures() {
        fs::create_dir_all(pictures.join("train").join(&class)).unwrap();
        for (name, bytes) in files {
            fs::write(pictures.join("train").join(&class).join(name), bytes).unwrap();
        }
    }
    fs::create_dir_all(pictures.join("val")).unwrap();
    for (name, bytes) in val_pictures() {
        fs::write(pictures.join("val").join(name), bytes).unwrap();
    }
    write_solution(root.path());
    let names = format!("{SETTER} English setter\n{FOX} kit fox, Vulpes macrotis\n");
    fs::write(root.path().join("LOC_synset_mapping.txt"), names).unwrap();
    assert_eq!(check(root.path()).describe().classes, ["English setter", "kit fox"]);
}

#[test]
fn validation_pictures_without_a_list_of_their_classes_are_refused_before_any_work() {
    let root = tempfile::tempdir().unwrap();
    write_archives(root.path());
    let error = prepare(root.path(), &root.path().join("out"), &Options::default(), &|_| ());
    let error = error.unwrap_err();
    assert!(matches!(error, Error::Doubtful { .. }));
    let said = error.to_string();
    assert!(said.contains("ILSVRC2012_devkit_t12.tar.gz") && said.contains(SOLUTION), "{said}");
    fs::remove_file(root.path().join(VAL)).unwrap();
    let options = Options { side: 24, ..Options::default() };
    let report = prepare(root.path(), &root.path().join("out"), &options, &|_| ()).unwrap();
    assert_eq!((report.summary.n_train, report.summary.n_val), (2, 2));
}

#[test]
fn a_damaged_kit_says_which_file_and_where_to_look() {
    let root = tempfile::tempdir().unwrap();
    write_archives(root.path());
    let packed = root.path().join("ILSVRC2012_devkit_t12.tar.gz");
    fs::write(&packed, b"not gzip").unwrap();
    let error = prepare(root.path(), &root.path().join("out"), &Options::default(), &|_| ());
    let error = error.unwrap_err().to_string();
    assert!(error.contains("ILSVRC2012_devkit_t12.tar.gz"), "{error}");
}

#[test]
fn an_archive_that_ends_early_is_refused_or_gives_what_it_has() {
    let root = tempfile::tempdir().unwrap();
    write_archives(root.path());
    write_solution(root.path());
    let path = root.path().join(TRAIN);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() * 2 / 3]).unwrap();
    let options = Options { side: 24, ..Options::default() };
    let refused = prepare(root.path(), &root.path().join("out"), &options, &|_| ());
    assert!(refused.unwrap_err().to_string().contains("cut short"));
    let options = Options { partial: true, ..options };
    let report = prepare(root.path(), &root.path().join("out"), &options, &|_| ()).unwrap();
    assert!(report.summary.n_train >= 1 && report.summary.n_train < 4);
    assert!(report.notes.iter().any(|note| note.contains(TRAIN)), "{:?}", report.notes);
}

fn numbered(kind: &str, grays: &[u8]) -> Files {
    let name = |i: usize| format!("{kind}/ILSVRC2010_{kind}_{:08}.JPEG", i + 1);
    grays.iter().enumerate().map(|(i, gray)| (name(i), gray_jpeg(40, 30, *gray))).collect()
}

/// ILSVRC-2010 as it was distributed; the kit says that the fox has `n_foxes` pictures.
fn write_2010(root: &Path, n_foxes: u8, packed: bool) {
    let classes: Vec<_> = train_pictures()
        .into_iter()
        .map(|(class, mut files)| {
            files[0].1 = gzip(&files[0].1); // as some are in the real archive
            (format!("train/{class}.tar"), tar(&files))
        })
        .collect();
    fs::write(root.join("ILSVRC2010_images_train.tar"), tar(&classes)).unwrap();
    let archive = |kind, grays: &[u8]| tar(&numbered(kind, grays));
    fs::write(root.join("ILSVRC2010_images_val.tar"), archive("val", &[200, 40])).unwrap();
    fs::write(root.join("ILSVRC2010_images_test.tar"), archive("test", &[40, 40, 200])).unwrap();
    fs::write(root.join("ILSVRC2010_test_ground_truth.txt"), "2\n2\n1\n").unwrap();
    let patch = [(format!("patch/train/{FOX}_1.JPEG"), gray_jpeg(40, 30, 40))];
    fs::write(root.join("patch_images.tar"), tar(&patch)).unwrap();
    let synsets = [
        (1, SETTER, "English setter", 0, 2),
        (2, FOX, "kit fox, Vulpes macrotis", 0, n_foxes),
        (3, "n00001740", "entity", 2, 0),
    ];
    let kit = [
        ("devkit-1.0/data/meta.mat".to_string(), meta_with_counts(2010, &synsets)),
        ("devkit-1.0/data/ILSVRC2010_validation_ground_truth.txt".into(), b"1\n2\n".to_vec()),
    ];
    if packed {
        fs::write(root.join("ILSVRC2010_devkit-1.0.tar.gz"), gzip(&tar(&kit))).unwrap();
    } else {
        for (name, bytes) in kit {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }
}

#[test]
fn ilsvrc_2010_is_read_with_its_test_pictures_and_better_copies() {
    for packed in [true, false] {
        let root = tempfile::tempdir().unwrap();
        write_2010(root.path(), 3, packed);
        let reading = read(root.path(), &Options::default()).unwrap();
        assert!(reading.doubts.is_empty(), "{:?}", reading.doubts);
        assert_eq!((reading.layout, reading.train.len()), ("ilsvrc-2010", 5));
        let keys: Vec<_> = reading.classes.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, [SETTER, FOX]);
        let labels = |pictures: &Option<Vec<_>>| -> Vec<u32> {
            let pictures: &Vec<crate::prepare::Picture> = pictures.as_ref().unwrap();
            pictures.iter().map(|picture| picture.label).collect()
        };
        assert_eq!(labels(&reading.val), [0, 1]);
        assert_eq!(labels(&reading.test), [1, 1, 0]);
        // The fox that can't be read has a better copy.
        let all_read = |p| picture::square(&reading.bytes_of(p).unwrap(), 24).is_ok();
        assert!(reading.train.iter().all(all_read));
        assert_eq!(reading.files.len(), if packed { 6 } else { 7 }, "{:?}", reading.files);
    }
}

#[test]
fn fewer_pictures_or_classes_than_the_kit_says_are_refused_unless_partial() {
    let root = tempfile::tempdir().unwrap();
    write_2010(root.path(), 4, true);
    let said = |options: Options| read(root.path(), &options).unwrap();
    let reading = said(Options::default());
    assert!(reading.doubts[0].why.contains("n02119789 has 3 of 4"), "{:?}", reading.doubts);
    let options = Options { partial: true, ..Options::default() };
    assert!(said(options.clone()).doubts.is_empty());
    let setters = tar(&train_pictures()[1].1);
    let train = tar(&[(format!("{SETTER}.tar"), setters)]);
    fs::write(root.path().join("ILSVRC2010_images_train.tar"), train).unwrap();
    fs::write(root.path().join("ILSVRC2010_images_val.tar"), tar(&numbered("val", &[200])))
        .unwrap();
    let reading = said(Options::default());
    let all: Vec<_> = reading.doubts.iter().map(|doubt| doubt.why.as_str()).collect();
    assert!(all[0].contains("1 classes, and the development kit lists 2"), "{all:?}");
    assert!(all[1].contains("holds 1 of the 2 pictures"), "{all:?}");
    let reading = said(options);
    assert_eq!((reading.classes.len(), reading.val.unwrap().len()), (2, 1));
}

#[test]
fn a_kit_of_another_edition_and_a_missing_test_list_are_said() {
    let root = tempfile::tempdir().unwrap();
    write_2010(root.path(), 3, true);
    fs::remove_file(root.path().join("ILSVRC2010_test_ground_truth.txt")).unwrap();
    let reading = read(root.path(), &Options::default()).unwrap();
    assert!(reading.test.is_none());
    let said = "3 test pictures in ILSVRC2010_images_test.tar aren't used";
    assert!(reading.notes.iter().any(|note| note.contains(said)), "{:?}", reading.notes);
    fs::remove_file(root.path().join("ILSVRC2010_devkit-1.0.tar.gz")).unwrap();
    fs::write(root.path().join("ILSVRC2010_test_ground_truth.txt"), "1\n").unwrap();
    let said = read(root.path(), &Options::default()).unwrap_err().to_string();
    assert!(said.contains("development kit of ilsvrc2010"), "{said}");
}

#[test]
fn a_train_archive_made_by_macos_has_no_classes_more() {
    let root = tempfile::tempdir().unwrap();
    let of = |class: &str| (format!("./{class}.tar"), tar(&train_pictures()[1].1));
    let double = |class: &str| (format!("./._{class}.tar"), b"\0\x05\x16\x07Mac OS X".to_vec());
    let members = [double(FOX), of(FOX), double(SETTER), of(SETTER)];
    fs::write(root.path().join(TRAIN), tar(&members)).unwrap();
    let reading = read(root.path(), &Options::default()).unwrap();
    assert_eq!((reading.classes.len(), reading.train.len()), (2, 4));
    assert_eq!(reading.passed_over.kinds().next().unwrap().1, 2);
    assert!(reading.left_out.is_empty() && reading.doubts.is_empty());
}

#[test]
fn unpacked_validation_pictures_beside_packed_training_pictures_are_read() {
    for folder in ["val", "ILSVRC2012_img_val"] {
        let root = tempfile::tempdir().unwrap();
        write_archives(root.path());
        write_kit(root.path(), true);
        fs::remove_file(root.path().join(VAL)).unwrap();
        fs::create_dir(root.path().join(folder)).unwrap();
        for (name, bytes) in val_pictures() {
            fs::write(root.path().join(folder).join(name), bytes).unwrap();
        }
        check(root.path());
    }
}
