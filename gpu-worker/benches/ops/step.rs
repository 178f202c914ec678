//! The operations of one step of a half of AlexNet, in the order of its layers.

use std::hint::black_box;

use gpu_worker::backend::Backend;
use gpu_worker::ops::{
    Accumulate, ActivationBackward, Between, BiasBackward, Classes, Conv, ConvBackwardInputs,
    ConvBackwardWeights, ConvForward, Dropout, DropoutMask, Epilogue, Fc, FcBackwardInputs,
    FcBackwardWeights, FcForward, Input, InputRange, Lrn, LrnPoolBackward, LrnPoolForward, Pool,
    PoolBackward, PoolForward, Sgd, SgdRates, Softmax,
};
use model::recipe::{Activation, Encoding};

use crate::{Bench, Kind};

impl<B: Backend> Bench<B> {
    pub(crate) fn input(&mut self) {
        let (n, crop, side) = (self.n, 224, 256);
        let pixels = self.device.bytes("pixels", n * 3 * crop * crop).expect("memory");
        let crops = self.device.floats("crops", n * 6).expect("memory");
        let [mean, mut y] = [3 * side * side, n * 3 * crop * crop].map(|len| self.floats(len));
        self.row("input", Kind::Memory, |device| {
            let (images, pixels, crops, mean, y) = (0..n, &pixels, &crops, &mean, &mut y);
            device.run(Input { images, crop, side, pixels, crops, mean, y })
        });
    }

    pub(crate) fn convolutions(&mut self) {
        let conv = |inputs, side, maps, out_side, [kernel, stride, pad]: [usize; 3]| Conv {
            inputs,
            side,
            maps,
            out_side,
            kernel,
            stride,
            pad,
            groups: 1,
        };
        self.convolution("conv1", &conv(3, 224, 48, 55, [11, 4, 0]), 1, false);
        self.convolution("conv2", &conv(48, 27, 128, 27, [5, 1, 2]), 1, true);
        self.convolution("conv3", &conv(256, 13, 192, 13, [3, 1, 1]), 2, true);
        self.convolution("conv4", &conv(192, 13, 192, 13, [3, 1, 1]), 1, true);
        self.convolution("conv5", &conv(192, 13, 128, 13, [3, 1, 1]), 1, true);
    }

    fn convolution(&mut self, name: &str, conv: &Conv, ranges: usize, inputs: bool) {
        let n = self.n;
        let (pixels, out) = (conv.side * conv.side, conv.out_side * conv.out_side);
        let kernel = conv.kernel * conv.kernel;
        self.device.reserve(Some(conv), None, n).expect("memory");
        let [w, bias] = [conv.maps * conv.inputs * kernel, conv.maps].map(|len| self.floats(len));
        let [mut y, dy, mut dw] =
            [n * conv.maps * out, n * conv.maps * out, conv.maps * conv.inputs * kernel]
                .map(|len| self.floats(len));
        for i in 0..ranges {
            let len = conv.inputs / ranges;
            let [x, mut dx] = [n * len * pixels; 2].map(|len| self.floats(len));
            let gflop = 2e-9 * (n * conv.maps * out * len * kernel) as f64;
            let range = &InputRange(i * len..(i + 1) * len);
            let accumulate = if i == 0 { Accumulate::Overwrite } else { Accumulate::Add };
            let last = i + 1 == ranges;
            let (x, w, dy) = (&x, &w, &dy);
            self.row(&format!("{name} {:?} forward", range.0), Kind::Product(gflop), |device| {
                let activation = Some(Activation::Relu);
                let epilogue = last.then_some(Epilogue { bias: &bias, activation });
                let (images, y) = (0..n, &mut y);
                device.run(ConvForward { conv, images, x, range, w, accumulate, epilogue, y })
            });
            if inputs {
                let what = format!("{name} {:?} backward inputs", range.0);
                self.row(&what, Kind::Product(gflop), |device| {
                    let (images, dx) = (0..n, &mut dx);
                    device.run(ConvBackwardInputs { conv, images, dy, w, range, dx })
                });
            }
            let what = format!("{name} {:?} backward weights", range.0);
            self.row(&what, Kind::Product(gflop), |device| {
                let (images, accumulate, dw) = (0..n, Accumulate::Overwrite, &mut dw);
                device.run(ConvBackwardWeights { conv, images, x, range, dy, accumulate, dw })
            });
        }
        self.bias(name, conv.maps, out, &dy);
        if ["conv1", "conv2"].contains(&name) {
            return; // the activation's gradient is part of that of the normalization
        }
        let mut dy = dy;
        self.row(&format!("{name} relu backward"), Kind::Memory, |device| {
            let (activation, len) = (Activation::Relu, conv.maps * out);
            let (images, y, dy) = (0..n, &y, &mut dy);
            device.run(ActivationBackward { activation, len, images, y, dy })
        });
    }

    fn bias(&mut self, name: &str, maps: usize, pixels: usize, dy: &B::Floats) {
        let (n, mut db) = (self.n, self.floats(maps));
        self.row(&format!("{name} bias backward"), Kind::Memory, |device| {
            let (images, accumulate, db) = (0..n, Accumulate::Overwrite, &mut db);
            device.run(BiasBackward { maps, pixels, images, dy, accumulate, db })
        });
    }

    /// Operations between convolutions: normalization and pooling.
    pub(crate) fn between(&mut self) {
        for (name, maps, side, out_side) in
            [("1", 48, 55, 27), ("2", 128, 27, 13), ("5", 128, 13, 6)]
        {
            let n = self.n;
            let pixels = side * side;
            let lrn = &Lrn { maps, pixels, groups: 1, size: 5, k: 2.0, alpha: 1e-4, beta: 0.75 };
            let pool = &Pool { maps, side, out_side, size: 3, stride: 2 };
            let [x, mut dx] = [n * maps * pixels; 2].map(|len| self.floats(len));
            let (x, len) = (&x, n * maps * out_side * out_side);
            let mut y = self.floats(len);
            let mut argmax = self.device.bytes("argmax", len).expect("memory");
            if name != "5" {
                let stored = if B::STORES_NORMALIZED { n * maps * pixels } else { 0 };
                let [scale, value, gradient] = [stored; 3].map(|len| self.floats(len));
                let between = &mut Between { scale, value, gradient };
                self.row(&format!("lrn{name} and pool{name} forward"), Kind::Memory, |device| {
                    let (images, between, argmax, y) = (0..n, &mut *between, &mut argmax, &mut y);
                    device.run(LrnPoolForward { lrn, pool, images, x, between, argmax, y })
                });
                self.row(&format!("relu{name} to pool{name} backward"), Kind::Memory, |device| {
                    let activation = Some(Activation::Relu);
                    let (between, argmax, dy, dx) = (&mut *between, &argmax, &y, &mut dx);
                    device.run(LrnPoolBackward {
                        lrn,
                        pool,
                        activation,
                        images: 0..n,
                        x,
                        between,
                        argmax,
                        dy,
                        dx,
                    })
                });
                continue;
            }
            self.row(&format!("pool{name} forward"), Kind::Memory, |device| {
                let (images, argmax, y) = (0..n, &mut argmax, &mut y);
                device.run(PoolForward { pool, images, x, argmax, y })
            });
            self.row(&format!("pool{name} backward"), Kind::Memory, |device| {
                let (images, argmax, dy, dx) = (0..n, &argmax, &y, &mut dx);
                device.run(PoolBackward { pool, images, argmax, dy, dx })
            });
        }
    }

    pub(crate) fn fully_connected(&mut self) {
        for (name, inputs, units) in [("fc6", 9216, 2048), ("fc7", 4096, 2048), ("fc8", 4096, 500)]
        {
            let n = self.n;
            let fc = &Fc { inputs, units };
            self.device.reserve(None, Some(fc), n).expect("memory");
            let [w, mut dw] = [inputs * units; 2].map(|len| self.floats(len));
            let [mut y, dy] = [n * units; 2].map(|len| self.floats(len));
            let [x, mut dx] = [n * inputs / 2; 2].map(|len| self.floats(len));
            let bias = self.floats(units);
            let gflop = 1e-9 * (n * inputs * units) as f64;
            for (range, accumulate) in
                [(0..inputs / 2, Accumulate::Overwrite), (inputs / 2..inputs, Accumulate::Add)]
            {
                let range = &InputRange(range);
                let (x, w, dy) = (&x, &w, &dy);
                self.row(
                    &format!("{name} {:?} forward", range.0),
                    Kind::Product(gflop),
                    |device| {
                        let activation = Some(Activation::Relu);
                        let last = accumulate == Accumulate::Add;
                        let epilogue = last.then_some(Epilogue { bias: &bias, activation });
                        let (images, y) = (0..n, &mut y);
                        device.run(FcForward { fc, images, x, range, w, accumulate, epilogue, y })
                    },
                );
                let what = format!("{name} {:?} backward inputs", range.0);
                self.row(&what, Kind::Product(gflop), |device| {
                    let (images, dx) = (0..n, &mut dx);
                    device.run(FcBackwardInputs { fc, images, dy, w, range, dx })
                });
                let what = format!("{name} {:?} backward weights", range.0);
                self.row(&what, Kind::Product(gflop), |device| {
                    let (images, accumulate, dw) = (0..n, Accumulate::Overwrite, &mut dw);
                    device.run(FcBackwardWeights { fc, images, x, range, dy, accumulate, dw })
                });
            }
            self.bias(name, units, 1, &dy);
            let (mut w, mut v) = (w, self.floats(inputs * units));
            let rates = &SgdRates { rate: 1e-6, momentum: 0.9, decay: 5e-4 };
            self.row(&format!("{name} update"), Kind::Memory, |device| {
                device.run(Sgd { rates, g: &dw, w: &mut w, v: &mut v })
            });
        }
    }

    /// Dropout, softmax, and what an exchange of conv3's inputs costs the CPU.
    pub(crate) fn end(&mut self) {
        let (n, units, classes) = (self.n, 2048, 1000);
        let mut y = self.floats(n * units);
        let mask = &DropoutMask {
            rate: 0.5,
            seed: 1,
            stream: 6,
            first_sample: 0,
            units,
            first_unit: 0,
            of_units: 2 * units,
        };
        for what in ["forward", "backward"] {
            for layer in ["fc6", "fc7"] {
                self.row(&format!("{layer} dropout {what}"), Kind::Memory, |device| {
                    device.run(Dropout { mask, images: 0..n, y: &mut y })
                });
            }
        }
        let [own, peer, mut dlogits] = [n * classes / 2; 3].map(|len| self.floats(len));
        let labels = self.device.floats("labels", n).expect("memory");
        let [mut p, mut loss] = [n * classes, n].map(|len| self.floats(len));
        let classes = &Classes { classes, own: 0..classes / 2, batch: n };
        self.row("softmax", Kind::Memory, |device| {
            device.run(Softmax {
                classes,
                images: 0..n,
                own: &own,
                peer: Some(&peer),
                labels: &labels,
                probabilities: &mut p,
                loss: &mut loss,
                dlogits: &mut dlogits,
            })
        });
        let len = n * 128 * 13 * 13;
        self.device.reserve_transfers(len, 2).expect("memory");
        let mut maps = self.floats(len);
        for encoding in [Encoding::F32, Encoding::F16] {
            let mut sent = None;
            self.row(&format!("pool2 download {encoding:?}"), Kind::Transfer, |device| {
                sent = Some(device.download(&maps, 0..len, encoding)?.wait()?);
                Ok(())
            });
            let sent = sent.expect("it ran");
            self.row(&format!("pool2 upload {encoding:?}"), Kind::Transfer, |device| {
                let pieces = [sent.bytes.clone()];
                device.upload(&pieces, encoding, sent.exponent, &mut maps, 0)
            });
        }
        black_box(&maps);
    }
}
