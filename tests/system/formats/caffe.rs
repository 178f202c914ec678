//! A `.caffemodel` that the test writes, in both forms that Caffe has, becomes the network that its
//! numbers mean.

use std::path::Path;

use super::{done, predicted, refused};
use harness::golden::{self, Tensors};
use harness::untrained;
use model::recipe::{Init, Recipe};
use prost::Message;

/// `NetParameter`, written from `caffe.proto` independently of the program under test.
#[derive(Clone, PartialEq, Message)]
struct Net {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, repeated, tag = "2")]
    layers: Vec<V1Layer>,
    #[prost(message, repeated, tag = "100")]
    layer: Vec<Layer>,
}

#[derive(Clone, PartialEq, Message)]
struct Layer {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    kind: String,
    #[prost(string, repeated, tag = "3")]
    bottom: Vec<String>,
    #[prost(string, repeated, tag = "4")]
    top: Vec<String>,
    #[prost(message, repeated, tag = "7")]
    blobs: Vec<Blob>,
    #[prost(message, optional, tag = "106")]
    convolution: Option<Convolution>,
    #[prost(message, optional, tag = "118")]
    lrn: Option<Lrn>,
    #[prost(message, optional, tag = "121")]
    pooling: Option<Pooling>,
}

#[derive(Clone, PartialEq, Message)]
struct V1Layer {
    #[prost(string, repeated, tag = "2")]
    bottom: Vec<String>,
    #[prost(string, repeated, tag = "3")]
    top: Vec<String>,
    #[prost(string, tag = "4")]
    name: String,
    #[prost(int32, tag = "5")]
    kind: i32,
    #[prost(message, repeated, tag = "6")]
    blobs: Vec<Blob>,
    #[prost(message, optional, tag = "10")]
    convolution: Option<Convolution>,
    #[prost(message, optional, tag = "18")]
    lrn: Option<Lrn>,
    #[prost(message, optional, tag = "19")]
    pooling: Option<Pooling>,
}

#[derive(Clone, PartialEq, Message)]
struct Blob {
    #[prost(int32, tag = "1")]
    num: i32,
    #[prost(int32, tag = "2")]
    channels: i32,
    #[prost(int32, tag = "3")]
    height: i32,
    #[prost(int32, tag = "4")]
    width: i32,
    #[prost(float, repeated, tag = "5")]
    data: Vec<f32>,
    #[prost(message, optional, tag = "7")]
    shape: Option<BlobShape>,
}

#[derive(Clone, PartialEq, Message)]
struct BlobShape {
    #[prost(int64, repeated, tag = "1")]
    dim: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct Convolution {
    #[prost(uint32, tag = "1")]
    num_output: u32,
    #[prost(uint32, repeated, packed = "false", tag = "3")]
    pad: Vec<u32>,
    #[prost(uint32, optional, tag = "5")]
    group: Option<u32>,
    #[prost(uint32, repeated, packed = "false", tag = "6")]
    stride: Vec<u32>,
}

#[derive(Clone, PartialEq, Message)]
struct Lrn {
    #[prost(uint32, tag = "1")]
    local_size: u32,
    #[prost(float, tag = "2")]
    alpha: f32,
    #[prost(float, tag = "3")]
    beta: f32,
}

#[derive(Clone, PartialEq, Message)]
struct Pooling {
    #[prost(uint32, tag = "2")]
    kernel_size: u32,
    #[prost(uint32, tag = "3")]
    stride: u32,
}

/// The settings with which the tests import: Caffe's network at 1/16 of its width, on small crops.
const SMALL: [&str; 6] = ["--set", "width=0.0625", "--set", "crop=67", "--set", "batch=16"];

fn recipe() -> Recipe {
    let caffe = Recipe::builtin("caffe").unwrap();
    Recipe { width: 1.0 / 16.0, crop: 67, init: Init::FanIn, weight_stds: [].into(), ..caffe }
}

/// The first and the last of three planes exchanged.
fn reversed(planes: &[f32]) -> Vec<f32> {
    let plane = planes.len() / 3;
    let order = [2, 1, 0].map(|color| &planes[color * plane..][..plane]);
    order.concat()
}

/// A tensor of this program as Caffe would have it.
fn blob(name: &str, (shape, values): &(Vec<usize>, Vec<f32>), old: bool) -> Blob {
    let data: Vec<f32> = match name {
        "conv1.weight" => values.chunks(3 * 11 * 11).flat_map(reversed).collect(),
        // Caffe doubles in training what dropout keeps; the paper halves at test.
        "fc7.weight" | "fc8.weight" => values.iter().map(|value| value / 2.0).collect(),
        _ => values.clone(),
    };
    if !old {
        let shape = BlobShape { dim: shape.iter().map(|n| *n as i64).collect() };
        return Blob { data, shape: Some(shape), ..Blob::default() };
    }
    let mut four = vec![1; 4 - shape.len()];
    four.extend(shape.iter().map(|n| *n as i32));
    let [num, channels, height, width] = four[..] else { unreachable!("four numbers") };
    Blob { num, channels, height, width, data, shape: None }
}

/// The layers of bvlc_alexnet with these weights, in the order of its prototxt.
fn layers(tensors: &Tensors, old: bool) -> Vec<Layer> {
    let of = |name: &str, kind: &str, reads: &str, top: &str| Layer {
        name: name.into(),
        kind: kind.into(),
        bottom: vec![reads.into()],
        top: vec![top.into()],
        ..Layer::default()
    };
    let weighted = |name: &str, kind: &str, reads: &str| {
        let blobs = ["weight", "bias"].map(|suffix| format!("{name}.{suffix}"));
        let blobs = blobs.map(|tensor| blob(&tensor, &tensors[&tensor], old)).to_vec();
        Layer { blobs, ..of(name, kind, reads, name) }
    };
    let conv = |name: &str, reads: &str, pad: u32, group: u32, stride: u32| {
        let group = (group > 1).then_some(group);
        // Caffe leaves out what is the default.
        let pad = if pad > 0 { vec![pad] } else { vec![] };
        let stride = if stride > 1 { vec![stride] } else { vec![] };
        let convolution = Some(Convolution { num_output: 0, pad, group, stride });
        Layer { convolution, ..weighted(name, "Convolution", reads) }
    };
    let relu = |name: &str, at: &str| of(name, "ReLU", at, at);
    let norm = |name: &str, reads: &str| Layer {
        lrn: Some(Lrn { local_size: 5, alpha: 1e-4, beta: 0.75 }),
        ..of(name, "LRN", reads, name)
    };
    let pool = |name: &str, reads: &str| Layer {
        pooling: Some(Pooling { kernel_size: 3, stride: 2 }),
        ..of(name, "Pooling", reads, name)
    };
    let full = |name: &str, reads: &str| weighted(name, "InnerProduct", reads);
    let drop = |name: &str, at: &str| of(name, "Dropout", at, at);
    vec![
        of("data", "Data", "", "data"),
        conv("conv1", "data", 0, 1, 4),
        relu("relu1", "conv1"),
        norm("norm1", "conv1"),
        pool("pool1", "norm1"),
        conv("conv2", "pool1", 2, 2, 1),
        relu("relu2", "conv2"),
        norm("norm2", "conv2"),
        pool("pool2", "norm2"),
        conv("conv3", "pool2", 1, 1, 1),
        relu("relu3", "conv3"),
        conv("conv4", "conv3", 1, 2, 1),
        relu("relu4", "conv4"),
        conv("conv5", "conv4", 1, 2, 1),
        relu("relu5", "conv5"),
        pool("pool5", "conv5"),
        full("fc6", "pool5"),
        relu("relu6", "fc6"),
        drop("drop6", "fc6"),
        full("fc7", "fc6"),
        relu("relu7", "fc7"),
        drop("drop7", "fc7"),
        full("fc8", "fc7"),
        of("loss", "SoftmaxWithLoss", "fc8", "loss"),
    ]
}

/// A layer in the form of 2014.
fn old(layer: Layer) -> V1Layer {
    let kind = match layer.kind.as_str() {
        "Convolution" => 4,
        "Data" => 5,
        "Dropout" => 6,
        "InnerProduct" => 14,
        "LRN" => 15,
        "Pooling" => 17,
        "ReLU" => 18,
        _ => 21,
    };
    let Layer { name, bottom, top, blobs, convolution, lrn, pooling, .. } = layer;
    V1Layer { bottom, top, name, kind, blobs, convolution, lrn, pooling }
}

fn write(path: &Path, layer: Vec<Layer>) {
    let net = Net { name: "AlexNet".into(), layers: vec![], layer };
    std::fs::write(path, net.encode_to_vec()).unwrap();
}

/// An untrained network and its tensors, its classes and its mean image in Caffe's forms.
fn prepared(at: &Path) -> (Tensors, usize) {
    let run = untrained::run(&at.join("run"), &recipe(), 10);
    let side = run.data_set().unwrap().side as usize;
    std::fs::write(at.join("classes"), run.data_set().unwrap().classes.join("\n")).unwrap();
    let data = reversed(&run.mean().unwrap());
    let (height, width) = (side as i32, side as i32);
    let mean = Blob { num: 1, channels: 3, height, width, data, shape: None };
    std::fs::write(at.join("mean.binaryproto"), mean.encode_to_vec()).unwrap();
    done(at, &["export", "run", "net.safetensors"]);
    (golden::read(&at.join("net.safetensors")), side)
}

#[test]
fn both_forms_of_a_caffemodel_become_the_network_they_mean() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let (tensors, side) = prepared(at);
    write(&at.join("new.caffemodel"), layers(&tensors, false));
    let older = layers(&tensors, true).into_iter().map(old).collect();
    let net = Net { name: "AlexNet".into(), layers: older, layer: vec![] };
    std::fs::write(at.join("old.caffemodel"), net.encode_to_vec()).unwrap();
    let pictures = untrained::pictures(at, side, 3);
    let expected = predicted(at, "run", &pictures, 10);
    let more = ["--classes", "classes", "--mean", "mean.binaryproto"];
    for form in ["new", "old"] {
        let file = format!("{form}.caffemodel");
        let output =
            super::alexnet(at, &[&["import", &file, form], &more[..], &SMALL[..]].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        for words in ["blue, green, red", "fc7 and fc8 were multiplied by 2", "across the border"] {
            assert!(said.contains(words), "{words}: {said}");
        }
        let out = format!("{form}.safetensors");
        done(at, &["export", form, &out]);
        assert_eq!(golden::read(&at.join(out)), tensors, "{form}");
        assert_eq!(predicted(at, form, &pictures, 10), expected, "{form}");
    }
}

#[test]
fn a_caffemodel_is_measured_and_trained_further() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let (tensors, _) = prepared(at);
    write(&at.join("net.caffemodel"), layers(&tensors, false));
    // A low rate: these starting values are too large for Caffe's.
    let data = ["--data", "synthetic:72:200:40", "--set", "rate=0.00001"];
    let said = done(at, &[&["import", "net.caffemodel", "new"], &data[..], &SMALL[..]].concat());
    assert!(said.contains("up --run new"), "{said}");
    let said = done(at, &["eval", "new"]);
    assert!(said.contains("top-1"), "{said}");
    let said = done(at, &["up", "--run", "new", "--steps", "3"]);
    assert!(said.contains("trained 3 steps"), "{said}");
    done(at, &["export", "new", "end.safetensors", "--step", "3"]);
    let end = golden::read(&at.join("end.safetensors"));
    let moved = golden::distance(&end["fc8.weight"].1, &tensors["fc8.weight"].1);
    assert!(moved > 0.0 && moved < 0.5, "trained from these weights: {moved}");
}

#[test]
fn another_network_with_the_same_tensors_is_refused_with_every_difference() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let (tensors, _) = prepared(at);
    let more = ["--classes", "classes", "--mean", "mean.binaryproto"];
    let refused = |layers: Vec<Layer>| {
        write(&at.join("other.caffemodel"), layers);
        refused(at, &[&["import", "other.caffemodel", "new"], &more[..], &SMALL[..]].concat())
    };
    // bvlc_reference_caffenet pools before it normalizes.
    let mut caffenet = layers(&tensors, false);
    (caffenet[3].bottom[0], caffenet[4].bottom[0]) = ("pool1".into(), "conv1".into());
    caffenet[5].bottom[0] = "norm1".into();
    let said = refused(caffenet);
    assert!(said.contains("norm1") && said.contains("bvlc_reference_caffenet"), "{said}");

    let mut other = layers(&tensors, false);
    other[1].convolution.as_mut().unwrap().stride = vec![2];
    other[3].lrn.as_mut().unwrap().alpha = 2e-4;
    other[5].convolution.as_mut().unwrap().group = None;
    other[4].pooling.as_mut().unwrap().kernel_size = 2;
    other[2].kind = "PReLU".into();
    other[22].name = "fc8_flowers".into();
    other[16].blobs.truncate(1);
    let said = refused(other);
    for words in [
        "layer conv1 has stride 2, the recipe 4",
        "layer norm1 has alpha / local_size",
        "layer conv2 has group 1, the recipe 2",
        "layer pool1 has kernel_size 2, the recipe 3",
        "layer relu1 is of type PReLU",
        "fc8.weight is missing: expected F32 [10, 256]",
        "fc8_flowers.weight, of shape [10, 256], belongs to no layer",
        "fc6.bias is missing",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(!at.join("new").exists());
}
