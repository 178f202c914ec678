//! AlexNet in one column, forward, in f64: written from the paper, with nothing of the program's.

use std::collections::BTreeMap;

/// The order of the operations after a convolution.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Order {
    /// Activation, normalization, pooling.
    Paper,
    /// The authors' program: conv1 normalization, pooling, activation; conv5 pooling, activation.
    AsRun,
}

/// Maps of one picture.
struct Maps {
    side: usize,
    values: Vec<Vec<f64>>,
}

/// Name, kernel, stride, pad, normalized, pooled.
const CONVOLUTIONS: [(&str, usize, usize, usize, bool, bool); 5] = [
    ("conv1", 11, 4, 0, true, true),
    ("conv2", 5, 1, 2, true, true),
    ("conv3", 3, 1, 1, false, false),
    ("conv4", 3, 1, 1, false, false),
    ("conv5", 3, 1, 1, false, true),
];

/// The network's probabilities for one picture, whose mean has been subtracted.
pub(crate) fn probabilities(
    weights: &BTreeMap<String, Vec<f32>>,
    order: Order,
    input: Vec<f64>,
    side: usize,
) -> Vec<f64> {
    let values = input.chunks(side * side).map(<[f64]>::to_vec).collect();
    let mut x = Maps { side, values };
    for (name, kernel, stride, pad, normalized, pooled) in CONVOLUTIONS {
        let (w, b) = (&weights[&format!("{name}.weight")], &weights[&format!("{name}.bias")]);
        x = convolve(&x, w, b, kernel, stride, pad);
        let late = order == Order::AsRun && ["conv1", "conv5"].contains(&name);
        if !late {
            x.values.iter_mut().flatten().for_each(|v| *v = v.max(0.0));
        }
        x = if normalized { normalize(&x) } else { x };
        x = if pooled { pool(&x) } else { x };
        if late {
            x.values.iter_mut().flatten().for_each(|v| *v = v.max(0.0));
        }
    }
    let mut x = x.values.concat();
    for name in ["fc6", "fc7", "fc8"] {
        let (w, b) = (&weights[&format!("{name}.weight")], &weights[&format!("{name}.bias")]);
        let unit = |(w, b): (&[f32], &f32)| {
            w.iter().zip(&x).map(|(w, x)| f64::from(*w) * x).sum::<f64>() + f64::from(*b)
        };
        x = w.chunks(x.len()).zip(b).map(unit).collect();
        if name != "fc8" {
            x.iter_mut().for_each(|v| *v = v.max(0.0));
        }
    }
    let most = x.iter().fold(f64::NEG_INFINITY, |m, v| m.max(*v));
    let exponentials: Vec<f64> = x.iter().map(|v| (v - most).exp()).collect();
    let sum: f64 = exponentials.iter().sum();
    exponentials.iter().map(|e| e / sum).collect()
}

/// Windows may reach beyond the picture, where they read zeros.
fn convolve(x: &Maps, w: &[f32], b: &[f32], kernel: usize, stride: usize, pad: usize) -> Maps {
    let side = 1 + (x.side + 2 * pad - kernel).div_ceil(stride);
    let inputs = x.values.len();
    let at = |map: &[f64], y: usize, column: usize| match (
        y.checked_sub(pad),
        column.checked_sub(pad),
    ) {
        (Some(y), Some(column)) if y < x.side && column < x.side => map[y * x.side + column],
        _ => 0.0,
    };
    let map = |(w, b): (&[f32], &f32)| {
        let mut out = vec![f64::from(*b); side * side];
        for (i, out) in out.iter_mut().enumerate() {
            let (top, left) = (i / side * stride, i % side * stride);
            for (k, w) in w.iter().enumerate() {
                let (input, y, column) = (k / kernel / kernel, k / kernel % kernel, k % kernel);
                *out += f64::from(*w) * at(&x.values[input], top + y, left + column);
            }
        }
        out
    };
    Maps { side, values: w.chunks(inputs * kernel * kernel).zip(b).map(map).collect() }
}

/// Paper §3.3: k = 2, n = 5, α = 10⁻⁴, β = 0.75.
fn normalize(x: &Maps) -> Maps {
    let n = x.values.len();
    let map = |i: usize| {
        (0..x.side * x.side)
            .map(|p| {
                let window = i.saturating_sub(2)..(i + 3).min(n);
                let squares: f64 = window.map(|j| x.values[j][p] * x.values[j][p]).sum();
                x.values[i][p] / (2.0 + 1e-4 * squares).powf(0.75)
            })
            .collect()
    };
    Maps { side: x.side, values: (0..n).map(map).collect() }
}

/// Paper §3.4: z = 3, s = 2; the last window may reach beyond the map.
fn pool(x: &Maps) -> Maps {
    let side = 1 + (x.side - 3).div_ceil(2);
    let map = |map: &Vec<f64>| {
        (0..side * side)
            .map(|i| {
                let (top, left) = (i / side * 2, i % side * 2);
                let rows = top..(top + 3).min(x.side);
                let window = rows.flat_map(|y| (left..(left + 3).min(x.side)).map(move |c| (y, c)));
                window.map(|(y, c)| map[y * x.side + c]).fold(f64::NEG_INFINITY, f64::max)
            })
            .collect()
    };
    Maps { side, values: x.values.iter().map(map).collect() }
}
