//! Convolution: real shapes with fewer maps, and awkward ones.

use gpu_worker::backend::cpu::{Convolution, Cpu};
use gpu_worker::backend::{Backend, Run};
use gpu_worker::ops::{
    Accumulate, Conv, ConvBackwardInputs, ConvBackwardWeights, ConvForward, Epilogue, InputRange,
};
use model::recipe::{Activation, Encoding};

use crate::harness::{
    assert_close, assert_gradient, assert_same_in_micro_batches, before, dot, random, range_of,
    ranges, read, read_images, upload, wide,
};

const fn conv(inputs: usize, side: usize, maps: usize, out_side: usize, rest: [usize; 4]) -> Conv {
    let [kernel, stride, pad, groups] = rest;
    Conv { inputs, side, maps, out_side, kernel, stride, pad, groups }
}

/// The convolution, images, and where the inputs are cut in two (0: not at all).
#[rustfmt::skip] // one shape a line
static CASES: [(Conv, usize, usize); 17] = [
    (conv(3, 224, 4, 55, [11, 4, 0, 1]), 2, 0), // conv1: windows overhang by 3
    (conv(3, 36, 5, 8, [11, 4, 0, 1]), 3, 0),   // the same in small
    (conv(6, 27, 10, 27, [5, 1, 2, 1]), 3, 0),  // conv2
    (conv(6, 27, 10, 27, [5, 1, 2, 2]), 3, 0),  // conv2 of the whole network
    (conv(8, 13, 6, 13, [3, 1, 1, 1]), 3, 4),   // conv3: own maps and the peer's
    (conv(40, 13, 50, 13, [3, 1, 1, 1]), 3, 17),
    (conv(3, 32, 8, 32, [5, 1, 2, 1]), 3, 0),   // CIFAR-10
    (conv(4, 7, 6, 4, [3, 2, 1, 2]), 3, 0),     // side no multiple of the stride
    (conv(5, 9, 3, 5, [4, 2, 0, 1]), 4, 2),     // overhang by 3 of 4
    (conv(2, 5, 3, 3, [1, 2, 0, 1]), 2, 1),     // kernel smaller than the stride
    (conv(2, 3, 2, 4, [2, 1, 1, 1]), 2, 0),     // output larger than the input
    (conv(2, 14, 3, 3, [3, 4, 0, 1]), 3, 0),    // columns that no window reaches
    (conv(2, 9, 2, 3, [2, 2, 0, 1]), 3, 0),
    (conv(3, 10, 2, 4, [5, 4, 4, 1]), 3, 1),    // zeros a whole stride wide
    (conv(300, 2, 3, 2, [3, 1, 1, 1]), 4, 1),   // deeper than one pass of a product, maps of 4
    (conv(2, 4, 3, 6, [3, 1, 2, 1]), 35, 0),    // more images than pass at one time on a CPU
    (conv(3, 6, 70, 4, [3, 1, 0, 1]), 2, 0),    // more maps than lanes at one time on a CPU
];

/// Side of the pictures that conv1 reads.
const PICTURE: usize = 224;

/// The cases without the two that take long and show nothing more: conv1 at full size has a small
/// form, and a half's conv2 is one group of the grouped one.
fn quick_cases() -> impl Iterator<Item = &'static (Conv, usize, usize)> {
    CASES[1..2].iter().chain(&CASES[3..])
}

/// Reads `x` at a padded place; None outside.
fn inside(c: &Conv, window: usize, k: usize) -> Option<usize> {
    (window * c.stride + k).checked_sub(c.pad).filter(|at| *at < c.side)
}

/// Calls `f` with the places in y, x and w of every multiplication of one image.
fn each_product(c: &Conv, mut f: impl FnMut(usize, usize, usize)) {
    let (maps, inputs) = (c.maps / c.groups, c.inputs / c.groups);
    for map in 0..c.maps {
        for input in 0..inputs {
            let from = map / maps * inputs + input;
            for (ky, kx) in (0..c.kernel * c.kernel).map(|k| (k / c.kernel, k % c.kernel)) {
                let w = ((map * inputs + input) * c.kernel + ky) * c.kernel + kx;
                for oy in 0..c.out_side {
                    let Some(y) = inside(c, oy, ky) else { continue };
                    for ox in 0..c.out_side {
                        let Some(x) = inside(c, ox, kx) else { continue };
                        let y_at = (map * c.out_side + oy) * c.out_side + ox;
                        f(y_at, (from * c.side + y) * c.side + x, w);
                    }
                }
            }
        }
    }
}

fn x_len(c: &Conv) -> usize {
    c.inputs * c.side * c.side
}

fn y_len(c: &Conv) -> usize {
    c.maps * c.out_side * c.out_side
}

fn w_len(c: &Conv) -> usize {
    c.maps * c.inputs / c.groups * c.kernel * c.kernel
}

fn forward(c: &Conv, x: &[f64], w: &[f64]) -> Vec<f64> {
    let mut y = Vec::new();
    for x in x.chunks(x_len(c)) {
        let mut sums = vec![0.0; y_len(c)];
        each_product(c, |iy, ix, iw| sums[iy] += x[ix] * w[iw]);
        y.extend(sums);
    }
    y
}

fn backward(c: &Conv, x: &[f64], w: &[f64], dy: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let (mut dx, mut dw) = (Vec::new(), vec![0.0; w.len()]);
    for (x, dy) in x.chunks(x_len(c)).zip(dy.chunks(y_len(c))) {
        let mut sums = vec![0.0; x.len()];
        each_product(c, |iy, ix, iw| {
            sums[ix] += dy[iy] * w[iw];
            dw[iw] += dy[iy] * x[ix];
        });
        dx.extend(sums);
    }
    (dx, dw)
}

pub(crate) fn reference_agrees_with_finite_differences() {
    for (seed, (c, n, _)) in (0..).step_by(10).zip(quick_cases()) {
        let what = format!("{c:?}");
        let x = wide(&random(seed, n * x_len(c)));
        let w = wide(&random(seed + 1, w_len(c)));
        let dy = wide(&random(seed + 2, n * y_len(c)));
        let (dx, dw) = backward(c, &x, &w, &dy);
        assert_gradient(&what, |x| dot(&dy, &forward(c, x, &w)), &x, &dx);
        assert_gradient(&what, |w| dot(&dy, &forward(c, &x, w)), &w, &dw);
    }
}

pub(crate) fn agrees_with_the_reference_whole_and_in_ranges<B: Backend>(b: &mut B) {
    for (seed, (c, n, cut)) in (0..).step_by(10).zip(CASES) {
        let what = format!("{c:?}");
        // One image more than is worked on, so that an untouched one remains in front.
        let images = 1..n + 1;
        let x = random(seed, (n + 1) * x_len(&c));
        let w = random(seed + 1, w_len(&c));
        let bias = random(seed + 2, c.maps);
        let dy = random(seed + 3, (n + 1) * y_len(&c));
        let [x64, w64, dy64] = [&x[x_len(&c)..], &w, &dy[y_len(&c)..]].map(wide);

        let mut want = forward(&c, &x64, &w64);
        let (dx, dw) = backward(&c, &x64, &w64, &dy64);

        let (w, bias_buffer, dy) = (upload(b, &w), upload(b, &bias), upload(b, &dy));
        let mut y = before(b, (n + 1) * y_len(&c));
        let mut dw_buffer = before(b, w_len(&c));
        let map = c.side * c.side;
        let ranges = ranges(c.inputs, cut);
        for (i, range) in ranges.iter().enumerate() {
            let x = upload(b, &range_of(&x, x_len(&c), range, map));
            let (conv, range) = (&c, &InputRange(range.clone()));
            let accumulate = if i == 0 { Accumulate::Overwrite } else { Accumulate::Add };
            let epilogue = (i + 1 == ranges.len())
                .then_some(Epilogue { bias: &bias_buffer, activation: Some(Activation::Relu) });
            let op = ConvForward {
                conv,
                images: images.clone(),
                x: &x,
                range,
                w: &w,
                accumulate,
                epilogue,
                y: &mut y,
            };
            b.run(op).unwrap();

            // Nobody asks for the gradient of pictures, and on the emulated GPU it takes seconds.
            if c.side != PICTURE {
                let len = range.0.len() * map;
                let mut dx_buffer = before(b, (n + 1) * len);
                let (images, dy, w, dx_to) = (images.clone(), &dy, &w, &mut dx_buffer);
                b.run(ConvBackwardInputs { conv, images, dy, w, range, dx: dx_to }).unwrap();
                let got = read_images(b, &dx_buffer, n + 1, &(1..n + 1), len);
                assert_close(&what, &got, &range_of(&dx, x_len(&c), &range.0, map));
            }

            for (accumulate, images) in [(Accumulate::Overwrite, 1..2), (Accumulate::Add, 2..n + 1)]
            {
                let (x, dy, dw) = (&x, &dy, &mut dw_buffer);
                let op = ConvBackwardWeights { conv, images, x, range, dy, accumulate, dw };
                b.run(op).unwrap();
            }
        }
        for (y, bias) in want.chunks_mut(c.out_side * c.out_side).zip(bias.iter().cycle()) {
            y.iter_mut().for_each(|y| *y = (*y + f64::from(*bias)).max(0.0));
        }
        assert_close(&what, &read_images(b, &y, n + 1, &images, y_len(&c)), &want);
        assert_close(&what, &read(b, &dw_buffer, 0..w_len(&c)), &dw);
    }
}

pub(crate) fn gives_the_same_bits_in_micro_batches<B: Backend>(b: &mut B) {
    // A CPU sums for up to eight images at a time.
    for (n, c) in quick_cases().map(|(c, _, _)| (4, c)).chain([(19, &CASES[4].0)]) {
        let (x, w) = (random(1, n * x_len(c)), random(2, w_len(c)));
        let (x, w, dy) = (upload(b, &x), upload(b, &w), random(3, n * y_len(c)));
        let dy = upload(b, &dy);
        let (conv, range, w) = (c, &InputRange(0..c.inputs), &w);
        assert_same_in_micro_batches(b, n, y_len(c), |b, images, y| {
            let (x, accumulate, epilogue) = (&x, Accumulate::Overwrite, None);
            b.run(ConvForward { conv, images, x, range, w, accumulate, epilogue, y }).unwrap();
        });
        // The layers that read pictures have the largest maps, and need no such gradient.
        if c.inputs != 3 || c.side < 32 {
            assert_same_in_micro_batches(b, n, x_len(c), |b, images, dx| {
                b.run(ConvBackwardInputs { conv, images, dy: &dy, w, range, dx }).unwrap();
            });
        }
    }
}

pub(crate) fn refuses_buffers_that_do_not_fit<B: Backend>(b: &mut B) {
    let c = CASES[4].0;
    let all = InputRange(0..c.inputs);
    let (x, w) = (before(b, 2 * x_len(&c)), before(b, w_len(&c)));
    let (short, mut y) = (before(b, w_len(&c) - 1), before(b, 2 * y_len(&c)));
    let mut refused = |images, w, range| {
        let (conv, x, accumulate, epilogue) = (&c, &x, Accumulate::Overwrite, None);
        let y = &mut y;
        b.run(ConvForward { conv, images, x, range, w, accumulate, epilogue, y }).is_err()
    };
    assert!(refused(0..3, &w, &all), "three images in buffers of two");
    assert!(refused(0..2, &short, &all), "weights that are too short");
    assert!(refused(0..2, &w, &InputRange(1..c.inputs + 1)), "inputs that do not exist");
    assert_eq!(read(b, &y, 0..1), [crate::harness::BEFORE]);
}

/// A GPU writes the table that its product reads while it packs the images: there must be one.
pub(crate) fn refuses_a_weight_gradient_of_no_image<B: Backend>(b: &mut B) {
    let c = CASES[4].0;
    let (x, dy) = (before(b, x_len(&c)), before(b, y_len(&c)));
    let mut dw = before(b, w_len(&c));
    let (conv, range) = (&c, &InputRange(0..c.inputs));
    for accumulate in [Accumulate::Overwrite, Accumulate::Add] {
        let (x, dy, dw) = (&x, &dy, &mut dw);
        let op = ConvBackwardWeights { conv, images: 1..1, x, range, dy, accumulate, dw };
        assert!(b.run(op).is_err());
    }
    assert_eq!(read(b, &dw, 0..1), [crate::harness::BEFORE]);
}

/// Outputs, gradient of inputs and gradient of weights of a convolution, each with its reference.
fn three_results(b: &mut Cpu, c: &Conv, n: usize) -> [(Vec<f32>, Vec<f64>); 3] {
    let (x, w) = (random(1, n * x_len(c)), random(2, w_len(c)));
    let dy = random(3, n * y_len(c));
    let [x64, w64, dy64] = [&x[..], &w, &dy].map(wide);
    let want_y = forward(c, &x64, &w64);
    let (want_dx, want_dw) = backward(c, &x64, &w64, &dy64);
    let [x, w, dy] = [x, w, dy].map(|values| upload(b, &values));
    let [mut y, mut dx, mut dw] =
        [want_y.len(), want_dx.len(), want_dw.len()].map(|len| before(b, len));
    let (conv, range, images, accumulate) =
        (c, &InputRange(0..c.inputs), 0..n, Accumulate::Overwrite);
    let (x, w, dy, epilogue) = (&x, &w, &dy, None);
    let y_to = &mut y;
    let images_y = images.clone();
    b.run(ConvForward { conv, images: images_y, x, range, w, accumulate, epilogue, y: y_to })
        .unwrap();
    let images_x = images.clone();
    b.run(ConvBackwardInputs { conv, images: images_x, dy, w, range, dx: &mut dx }).unwrap();
    b.run(ConvBackwardWeights { conv, images, x, range, dy, accumulate, dw: &mut dw }).unwrap();
    [(y, want_y), (dx, want_dx), (dw, want_dw)]
        .map(|(got, want)| (read(b, &got, 0..want.len()), want))
}

/// Relative L2 distances of these results from float64.
fn distances(b: &mut Cpu, c: &Conv, n: usize) -> [f64; 3] {
    three_results(b, c, n).map(|(got, want)| {
        let off: f64 =
            got.iter().zip(&want).map(|(got, want)| (f64::from(*got) - want).powi(2)).sum();
        (off / dot(&want, &want)).sqrt()
    })
}

/// The gradient of a convolution's weights has the same bits by any number of threads, except by
/// products: there, the library takes other paths for fewer maps.
pub(crate) fn sums_weights_alike_in_any_number_of_threads() {
    let c = conv(20, 13, 33, 13, [3, 1, 1, 1]);
    let n = 9;
    let (x, dy) = (random(1, n * x_len(&c)), random(2, n * y_len(&c)));
    for how in [Convolution::Direct, Convolution::Frequency] {
        let [one, three, forty] = [1, 3, 40].map(|threads| {
            let b = &mut Cpu::new(threads).convolving(how);
            let (x, dy, mut dw) = (upload(b, &x), upload(b, &dy), before(b, w_len(&c)));
            let (conv, range, images) = (&c, &InputRange(0..c.inputs), 0..n);
            let (x, dy, accumulate) = (&x, &dy, Accumulate::Overwrite);
            b.run(ConvBackwardWeights { conv, images, x, range, dy, accumulate, dw: &mut dw })
                .unwrap();
            read(b, &dw, 0..w_len(&c)).iter().map(|v| v.to_bits()).collect::<Vec<_>>()
        });
        assert!(one == three && one == forty, "{how:?}: bits depend on the threads");
    }
}

/// The three results of a convolution have the same bits with vectors of every width.
pub(crate) fn computes_alike_with_vectors_of_any_width() {
    let shapes = [conv(20, 13, 33, 13, [3, 1, 1, 1]), conv(3, 27, 18, 27, [5, 1, 2, 1])];
    for (how, c) in [Convolution::Direct, Convolution::Frequency].into_iter().zip(shapes) {
        let mut device = Some(Cpu::new(1).convolving(how));
        let mut first = None;
        while let Some(mut b) = device {
            let bits = three_results(&mut b, &c, 9)
                .map(|(got, _)| got.iter().map(|v| v.to_bits()).collect::<Vec<_>>());
            // Gradients of inputs are products where nothing is transformed.
            let bits = if how == Convolution::Direct {
                let [y, _, dw] = bits;
                vec![y, dw]
            } else {
                bits.into()
            };
            assert!(*first.get_or_insert_with(|| bits.clone()) == bits, "{how:?}: other bits");
            device = b.with_narrower_vectors();
        }
    }
}

/// A CPU keeps what it computed from weights and from gradients, until these change.
pub(crate) fn notices_changed_weights_and_gradients_in_frequency() {
    let c = conv(20, 13, 18, 13, [3, 1, 1, 1]);
    let n = 3;
    let b = &mut Cpu::new(1).convolving(Convolution::Frequency);
    let values = [w_len(&c), n * y_len(&c)].map(|len| (random(1, len), random(2, len)));
    let [(w, other_w), (dy, other_dy)] = values;
    let gradient = |b: &mut Cpu, dy: &_, w: &_| {
        let mut dx = before(b, n * x_len(&c));
        let (conv, range, images) = (&c, &InputRange(0..c.inputs), 0..n);
        b.run(ConvBackwardInputs { conv, images, dy, w, range, dx: &mut dx }).unwrap();
        read(b, &dx, 0..n * x_len(&c))
    };
    let fresh = |b: &mut Cpu, dy: &[f32], w: &[f32]| {
        let (dy, w) = (upload(b, dy), upload(b, w));
        gradient(b, &dy, &w)
    };
    let (mut dy_buffer, mut w_buffer) = (upload(b, &dy), upload(b, &w));
    let first = gradient(b, &dy_buffer, &w_buffer);
    assert_eq!(first, fresh(b, &dy, &w));
    assert_eq!(first, gradient(b, &dy_buffer, &w_buffer), "the same from what was kept");

    let overwrite = |b: &mut Cpu, from: &[f32], to: &mut _, at: usize| {
        let bytes: Vec<u8> = from[at..at + 5].iter().flat_map(|v| v.to_le_bytes()).collect();
        b.upload(&[bytes.into()], Encoding::F32, 0, to, at).unwrap();
    };
    let mut mixed_w = w.clone();
    mixed_w[700..705].copy_from_slice(&other_w[700..705]);
    overwrite(b, &other_w, &mut w_buffer, 700);
    assert_eq!(gradient(b, &dy_buffer, &w_buffer), fresh(b, &dy, &mixed_w));

    let mut mixed_dy = dy.clone();
    mixed_dy[4000..4005].copy_from_slice(&other_dy[4000..4005]);
    overwrite(b, &other_dy, &mut dy_buffer, 4000);
    assert_eq!(gradient(b, &dy_buffer, &w_buffer), fresh(b, &mixed_dy, &mixed_w));
}

/// Transforms add roundings, but leave fewer to the sums.
pub(crate) fn is_as_exact_in_frequency_as_by_products() {
    let shapes = [
        conv(48, 27, 16, 27, [5, 1, 2, 1]),
        conv(128, 13, 16, 13, [3, 1, 1, 1]),
        conv(16, 13, 192, 13, [3, 1, 1, 1]),
    ];
    for c in shapes {
        let [product, frequency] = [Convolution::Product, Convolution::Frequency]
            .map(|how| distances(&mut Cpu::new(1).convolving(how), &c, 4));
        for (what, (frequency, product)) in
            ["y", "dx", "dw"].into_iter().zip(frequency.into_iter().zip(product))
        {
            assert!(frequency <= 2.0 * product, "{c:?} {what}: {frequency:e}, {product:e}");
        }
    }
}
