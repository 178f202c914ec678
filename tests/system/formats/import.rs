//! Safetensors files come back as runs, and a file that does not fit is refused with every reason.

use std::collections::BTreeMap;
use std::path::Path;

use super::{alexnet, done, kinds, predicted, refused};
use crate::program;
use harness::golden::{self, Tensors};
use harness::{small, untrained};
use safetensors::tensor::{Dtype, TensorView};

/// Writes tensors of 32-bit floats, or of 16-bit ones for those named `half`.
fn write(path: &Path, tensors: &Tensors, half: &str) {
    let bytes: BTreeMap<_, (Vec<usize>, Dtype, Vec<u8>)> = tensors
        .iter()
        .map(|(name, (shape, values))| {
            let (kind, bytes) = match name == half {
                true => (Dtype::F16, vec![0; 2 * values.len()]),
                false => (Dtype::F32, proto::chunk::floats_to_bytes(values).to_vec()),
            };
            (name.clone(), (shape.clone(), kind, bytes))
        })
        .collect();
    let views = bytes.iter().map(|(name, (shape, kind, bytes))| {
        (name, TensorView::new(*kind, shape.clone(), bytes).unwrap())
    });
    safetensors::serialize_to_file(views, None, path).unwrap();
}

#[test]
fn what_was_exported_and_imported_is_the_same_network_bit_for_bit() {
    for (name, recipe, classes) in kinds() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        untrained::run(&at.join("run"), &recipe, classes);
        let pictures = untrained::pictures(at, recipe.crop + untrained::ROOM, 2);
        done(at, &["export", "run", "net.safetensors"]);
        done(at, &["export", "run", "--hub", "hub"]);
        let (first, expected) =
            (golden::read(&at.join("net.safetensors")), predicted(at, "run", &pictures, classes));
        assert!(first.contains_key("mean"), "{name}");
        for (number, file) in ["net.safetensors", "hub"].into_iter().enumerate() {
            let (run, out) = (format!("again-{number}"), format!("{number}.safetensors"));
            let said = done(at, &["import", file, &run]);
            assert!(said.contains("parameters at step 0"), "{said}");
            done(at, &["export", &run, &out]);
            assert_eq!(golden::read(&at.join(out)), first, "{name}");
            assert_eq!(predicted(at, &run, &pictures, classes), expected, "{name}");
        }
    }
}

#[test]
fn an_imported_run_is_measured_and_trained_further_on_its_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let data = "synthetic:72:200:40";
    let trained = harness::process::Up::start(program(), at, &["--steps", "12"]).end();
    assert!(trained.status.success());
    done(at, &["export", "run", "net.safetensors"]);
    done(at, &["import", "net.safetensors", "again", "--data", data]);
    let measured = |run: &str| {
        let said = done(at, &["eval", run]);
        let (_, errors) = said.split_once("top-1").expect("errors");
        errors.lines().next().unwrap().to_owned()
    };
    assert_eq!(measured("again"), measured("run"));
    let said = done(at, &["up", "--run", "again", "--steps", "3"]);
    assert!(said.contains("trained 3 steps"), "{said}");
    done(at, &["export", "again", "start.safetensors", "--step", "0"]);
    done(at, &["export", "again", "end.safetensors", "--step", "3"]);
    let [net, start, end] = ["net", "start", "end"]
        .map(|name| golden::read(&at.join(name).with_extension("safetensors")));
    assert_eq!(start, net, "step 0 has the imported weights, not random ones");
    assert_ne!(end["fc8.weight"], net["fc8.weight"], "training has changed them");
}

#[test]
fn a_run_without_pictures_predicts_and_says_why_it_cannot_be_trained() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    untrained::run(&at.join("run"), &small::recipe(), 3);
    done(at, &["export", "run", "net.safetensors"]);
    let mut tensors = golden::read(&at.join("net.safetensors"));
    tensors.remove("mean");
    write(&at.join("bare.safetensors"), &tensors, "");
    std::fs::write(at.join("classes"), "cat\ndog\ncow\n").unwrap();
    std::fs::write(at.join("small.toml"), small::recipe().to_toml()).unwrap();
    let bare = ["import", "bare.safetensors", "new", "--recipe", "small.toml"];
    let said = refused(at, &bare[..3]);
    assert!(said.contains("--recipe"), "{said}");
    let said = refused(at, &bare);
    assert!(said.contains("--classes FILE"), "{said}");
    let with_classes = [&bare[..], &["--classes", "classes"]].concat();
    let said = refused(at, &with_classes);
    assert!(said.contains("no mean image"), "{said}");
    done(at, &[&with_classes[..], &["--mean", "120,110,100"]].concat());
    let pictures = untrained::pictures(at, 72, 1);
    let said = done(at, &["predict", "new", pictures[0].to_str().unwrap()]);
    assert!(said.contains("cow"), "{said}");
    let said = refused(at, &["up", "--run", "new", "--steps", "3"]);
    assert!(said.contains("imported without pictures"), "{said}");
    let said = refused(at, &with_classes);
    assert!(said.contains("is there already"), "{said}");
}

#[test]
fn every_tensor_that_is_wrong_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    untrained::run(&at.join("run"), &small::recipe(), 3);
    done(at, &["export", "run", "net.safetensors"]);
    let mut tensors = golden::read(&at.join("net.safetensors"));
    tensors.remove("conv2.bias");
    tensors.insert("conv9.weight".into(), (vec![2], vec![0.0; 2]));
    tensors.insert("fc8.bias".into(), (vec![4], vec![0.0; 4]));
    tensors.get_mut("fc6.weight").unwrap().1[5] = f32::NAN;
    write(&at.join("bad.safetensors"), &tensors, "conv3.bias");
    std::fs::write(at.join("classes"), "cat\ndog\ncow\n").unwrap();
    std::fs::write(at.join("small.toml"), small::recipe().to_toml()).unwrap();
    let more = ["--recipe", "small.toml", "--classes", "classes"];
    let said = refused(at, &[&["import", "bad.safetensors", "new"], &more[..]].concat());
    for words in [
        "conv2.bias is missing: expected F32 [16]",
        "conv9.weight, of shape [2], belongs to no layer",
        "fc8.bias is F32 [4], expected F32 [3]",
        "conv3.bias is F16 [24], expected F32 [24]",
        "fc6.weight holds a number that isn't finite, at position 5",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(!at.join("new").exists() && !at.join("new.partial").exists());
}

#[test]
fn files_of_another_kind_are_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let torchvision: Tensors =
        [("features.0.weight", vec![64, 3, 11, 11]), ("classifier.6.weight", vec![10, 8])]
            .into_iter()
            .map(|(name, shape)| {
                let n = shape.iter().product();
                (name.to_owned(), (shape, vec![0.0; n]))
            })
            .collect();
    write(&at.join("torchvision.safetensors"), &torchvision, "");
    std::fs::write(at.join("net.pth"), "PK").unwrap();
    std::fs::write(at.join("net.h5"), "HDF").unwrap();
    std::fs::write(at.join("garbage.safetensors"), "garbage").unwrap();
    std::fs::write(at.join("garbage.caffemodel"), [0xff; 64]).unwrap();
    std::fs::write(at.join("empty.caffemodel"), "").unwrap();
    let run = untrained::run(&at.join("run"), &small::recipe(), 3);
    let shard = run.newest().unwrap().0.shard_path(&run.path, 0).unwrap();
    std::fs::copy(shard, at.join("shard.safetensors")).unwrap();
    for (file, words) in [
        ("torchvision.safetensors", "one column of 64, 192, 384"),
        ("net.pth", "safetensors.torch.save_file"),
        ("net.h5", "expected a .safetensors or .caffemodel"),
        ("garbage.safetensors", "is not a safetensors file"),
        ("garbage.caffemodel", "damaged or not a .caffemodel"),
        ("empty.caffemodel", "holds no layers"),
        ("nothing.safetensors", "can't be read"),
        ("shard.safetensors", "one half of a network"),
    ] {
        let said = refused(at, &["import", file, "new", "--recipe", "caffe"]);
        assert!(said.contains(words) && said.contains(file), "{file}: {said}");
    }
    let said =
        String::from_utf8_lossy(&alexnet(at, &["export", "run", "net.xyz"]).stderr).into_owned();
    assert!(said.contains(".safetensors or .onnx"), "{said}");
}
