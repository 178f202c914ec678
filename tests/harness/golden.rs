//! The results of an independent implementation (`tests/golden/make.py`), and distances from them.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::Dtype;

/// Tensors by name: shape and values.
pub type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// Reads all tensors of a safetensors file.
pub fn read(path: &Path) -> Tensors {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    parse(&bytes)
}

/// Parses all tensors of safetensors bytes.
pub fn parse(bytes: &[u8]) -> Tensors {
    let file = SafeTensors::deserialize(bytes).expect("a safetensors file");
    file.iter()
        .filter(|(_, view)| view.dtype() == Dtype::F32)
        .map(|(name, view)| {
            let floats = proto::chunk::bytes_to_floats(view.data()).expect("whole floats");
            (name.to_string(), (view.shape().to_vec(), floats))
        })
        .collect()
}

/// The golden tensors of one kind: `gradient`, `momentum` or `update`.
pub fn tensors(what: &str) -> Tensors {
    ["conv", "fc6-fc8", "fc7"]
        .iter()
        .flat_map(|part| read(&folder().join(format!("{what}-{part}.safetensors"))))
        .collect()
}

/// The golden losses.
pub fn losses() -> Vec<f64> {
    let bytes = std::fs::read(folder().join("losses.safetensors")).expect("golden losses");
    let file = SafeTensors::deserialize(&bytes).expect("a safetensors file");
    let data = file.tensor("losses").expect("losses").data().to_vec();
    data.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)).collect()
}

fn folder() -> std::path::PathBuf {
    cuda_emulator::root().join("tests/golden")
}

/// Relative distance of `a` from `b`: ‖a − b‖₂ / ‖b‖₂.
pub fn distance(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len(), "two tensors of one shape");
    let square = |x: f64| x * x;
    let apart: f64 = a.iter().zip(b).map(|(a, b)| square(f64::from(*a) - f64::from(*b))).sum();
    let norm: f64 = b.iter().map(|b| square(f64::from(*b))).sum();
    if norm == 0.0 { apart.sqrt() } else { (apart / norm).sqrt() }
}

/// Names and distances of the tensors that are further from `want` than `limit`.
///
/// A tensor with fewer rows in `want` has every fourth row there.
pub fn further_than(limit: f64, got: &Tensors, want: &Tensors) -> Vec<(String, f64)> {
    assert!(!want.is_empty(), "nothing to compare with");
    want.iter()
        .filter_map(|(name, (shape, values))| {
            let (full, own) = &got[name];
            let row: usize = full[1..].iter().product();
            let own: Vec<f32> = if full == shape {
                own.clone()
            } else {
                own.chunks(row).step_by(4).flatten().copied().collect()
            };
            let distance = distance(&own, values);
            (distance.is_nan() || distance > limit).then(|| (name.clone(), distance))
        })
        .collect()
}

/// The largest magnitude in `want`, and the largest difference of `got` from `want`.
pub fn furthest_number(got: &[f32], want: &[f32]) -> (f64, f64) {
    assert_eq!(got.len(), want.len(), "two tensors of one shape");
    got.iter().zip(want).fold((0.0, 0.0), |(most, off): (f64, f64), (got, want)| {
        let (got, want) = (f64::from(*got), f64::from(*want));
        // What is not a number must not hide behind max.
        let difference = (got - want).abs();
        let difference = if difference.is_nan() { f64::INFINITY } else { difference };
        (most.max(want.abs()), off.max(difference))
    })
}

/// Joins the tensors of two halves along their first dimension, half A's rows first.
pub fn join(halves: &[Tensors]) -> Tensors {
    let mut whole = halves[0].clone();
    for half in &halves[1..] {
        for (name, (shape, values)) in half {
            let (all, joined) = whole.get_mut(name).expect("both halves have the same tensors");
            all[0] += shape[0];
            joined.extend(values);
        }
    }
    whole
}
