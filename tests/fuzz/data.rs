//! Prepared data sets, and what they are made from.

use std::path::Path;
use std::rc::Rc;

use loader::dataset::DataSet;
use loader::prepare::Options;
use loader::{Split, prepare};
use proto::digest::sha256;

use crate::engine::Target;
use crate::mutate::Shape;

/// Name, bytes.
type File = (&'static str, Vec<u8>);

fn tar(files: &[File]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, bytes.as_slice()).unwrap();
    }
    tar.into_inner().unwrap()
}

/// Makes the sums of a tar's headers right.
#[expect(clippy::ptr_arg, reason = "other seals change the length")]
fn seal_tar(bytes: &mut Vec<u8>) {
    for header in bytes.chunks_exact_mut(512).filter(|block| block[257..262] == *b"ustar") {
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
}

fn png() -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image::RgbImage::new(9, 9).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

fn webdataset() -> Vec<u8> {
    tar(&[
        ("a.png", png()),
        ("a.cls", b"0".into()),
        ("b.png", png()),
        ("b.json", b"{\"label\": 1}".into()),
    ])
}

fn made(source: &Path, dest: &Path) -> bool {
    let options = Options { side: 8, threads: 1, ..Options::default() };
    let report = prepare(source, dest, &options, &|_| {});
    let made = report.is_ok_and(|report| report.summary.n_train > 0);
    if made {
        DataSet::open(dest).unwrap().verify().unwrap();
        std::fs::remove_dir_all(dest).unwrap();
    }
    made
}

/// A source whose file `name` is the input, beside others.
fn source(
    target: &'static str,
    shape: Shape,
    name: &'static str,
    seeds: Vec<Vec<u8>>,
    others: Vec<File>,
) -> Target {
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("source");
    std::fs::create_dir(&from).unwrap();
    for (name, bytes) in others {
        std::fs::create_dir_all(from.join(name).parent().unwrap()).unwrap();
        std::fs::write(from.join(name), bytes).unwrap();
    }
    Target::new(target, 96 << 20, shape, seeds, move |bytes| {
        std::fs::write(from.join(name), bytes).unwrap();
        made(&from, &folder.path().join("made"))
    })
}

/// A prepared data set of which one file is the input; its sums are made right, so that what they
/// cover is reached too.
fn prepared() -> Vec<Target> {
    let folder = tempfile::tempdir().unwrap();
    let (tar, set) = (folder.path().join("set.tar"), folder.path().join("set"));
    std::fs::write(&tar, webdataset()).unwrap();
    let options = Options { side: 8, threads: 1, ..Options::default() };
    prepare(&tar, &set, &options, &|_| {}).unwrap();
    let folder = Rc::new((folder, set));
    let read = |name: &str| std::fs::read(folder.1.join(name)).unwrap();
    let words: &[&str] = &["side", "format", "n_train", "jpeg", "raw", "train-00000.tar", "../x"];
    let files = [
        ("dataset.json", Shape::Text(words)),
        ("train.index", Shape::Binary),
        ("mean.f32", Shape::Binary),
        ("train-00000.tar", Shape::Binary),
    ];
    let names = ["description", "index", "mean file", "shard"];
    let description = String::from_utf8(read("dataset.json")).unwrap();
    let sums = String::from_utf8(read("SHA256SUMS")).unwrap();
    files
        .into_iter()
        .zip(names)
        .map(|((file, shape), name)| {
            let (seed, folder) = (read(file), folder.clone());
            let (old, description, sums) = (sha256(&seed), description.clone(), sums.clone());
            let valid = seed.clone();
            Target::new(name, 16 << 20, shape, vec![seed], move |bytes| {
                let set = &folder.1;
                std::fs::write(set.join(file), bytes).unwrap();
                let (own, new) = (description.replace(&old, &sha256(bytes)), sha256(bytes));
                if file != "dataset.json" {
                    std::fs::write(set.join("dataset.json"), &own).unwrap();
                }
                let covered = sha256(&std::fs::read(set.join("dataset.json")).unwrap());
                let sums =
                    sums.replace(&sha256(description.as_bytes()), &covered).replace(&old, &new);
                std::fs::write(set.join("SHA256SUMS"), sums).unwrap();
                let read = read_all(set);
                std::fs::write(set.join(file), &valid).unwrap();
                std::fs::write(set.join("dataset.json"), &description).unwrap();
                read
            })
        })
        .collect()
}

fn read_all(set: &Path) -> bool {
    let Ok(set) = DataSet::open(set) else { return false };
    let (side, classes) = (set.describe().side, set.describe().classes.len());
    let (mut stored, mut pixels) = (Vec::new(), Vec::new());
    let mut all = true;
    for (split, n) in [(Split::Train, set.describe().n_train), (Split::Val, set.describe().n_val)] {
        for index in 0..n {
            match set.read(split, index, &mut stored, &mut pixels) {
                Ok(label) => {
                    assert!((label as usize) < classes, "label {label}");
                    assert_eq!(pixels.len(), 3 * side * side);
                }
                Err(_) => all = false,
            }
        }
    }
    all
}

fn golden(name: &str) -> Vec<u8> {
    std::fs::read(cuda_emulator::root().join("tests/golden").join(name)).unwrap()
}

pub(crate) fn targets() -> Vec<Target> {
    let cifar: Vec<u8> = (0..2).flat_map(|n| [vec![n], vec![n * 9; 3072]].concat()).collect();
    let inner = tar(&[("x_1.JPEG", png()), ("x_2.JPEG", png())]);
    let train = tar(&[("n01.tar", inner.clone()), ("n02.tar", inner)]);
    let val = tar(&[("ILSVRC2012_val_00000001.JPEG", png())]);
    let solution = b"ImageId,PredictionString\nILSVRC2012_val_00000001,n01 1 2 3 4\n".to_vec();
    let csv: &[&str] = &["n01", "n02", ",", "\"", "ILSVRC2012_val_00000001"];
    let with = |own: &str| -> Vec<File> {
        let files = [
            ("ILSVRC2012_img_train.tar", train.clone()),
            ("ILSVRC2012_img_val.tar", val.clone()),
            ("LOC_val_solution.csv", solution.clone()),
        ];
        files.into_iter().filter(|(name, _)| *name != own).collect()
    };
    let (tars, solutions) = ("ILSVRC2012_img_train.tar", "LOC_val_solution.csv");
    // Written by SciPy: tests/golden/make_mat.py.
    let mats = ["meta.mat", "meta-compressed.mat"].map(golden).to_vec();
    let meta = "ILSVRC2012_devkit_t12/data/meta.mat";
    let truth = "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt";
    let mut kit = with(solutions);
    kit.push((truth, b"1\n".to_vec()));
    let mut targets = vec![
        source("webdataset", Shape::Binary, "a.tar", vec![webdataset()], vec![]).sealed(seal_tar),
        source("cifar", Shape::Binary, "data_batch_1.bin", vec![cifar], vec![]),
        source("imagenet", Shape::Binary, tars, vec![train.clone()], with(tars)).sealed(seal_tar),
        source("meta.mat", Shape::Binary, meta, mats, kit),
        source("solution", Shape::Text(csv), solutions, vec![solution.clone()], with(solutions)),
    ];
    targets.extend(prepared());
    targets
}
