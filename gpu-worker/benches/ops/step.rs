//! The operations of one step of a half of AlexNet, in the order of its layers.

use std::hint::black_box;

use gpu_worker::backend::{
    Backend, Conv, Dropout, Finish, Full, Lrn, Part, Pool, Sgd, Softmax, Sum,
};
use model::recipe::{Activation, Encoding};

use crate::{Bench, Kind};

impl<B: Backend> Bench<B> {
    pub(crate) fn input(&mut self) {
        let (n, crop, side) = (self.n, 224, 256);
        let pixels = self.device.bytes("pixels", n * 3 * crop * crop).expect("memory");
        let places = self.device.floats("places", n * 6).expect("memory");
        let [mean, mut y] = [3 * side * side, n * 3 * crop * crop].map(|len| self.floats(len));
        self.row("input", Kind::Memory, |device| {
            device.input(0..n, crop, side, &pixels, &places, &mean, &mut y)
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

    fn convolution(&mut self, name: &str, conv: &Conv, parts: usize, inputs: bool) {
        let n = self.n;
        let (pixels, out) = (conv.side * conv.side, conv.out_side * conv.out_side);
        let kernel = conv.kernel * conv.kernel;
        self.device.reserve(Some(conv), None, n).expect("memory");
        let [w, bias] = [conv.maps * conv.inputs * kernel, conv.maps].map(|len| self.floats(len));
        let [mut y, dy, mut dw] =
            [n * conv.maps * out, n * conv.maps * out, conv.maps * conv.inputs * kernel]
                .map(|len| self.floats(len));
        let mut db = self.floats(conv.maps);
        for i in 0..parts {
            let len = conv.inputs / parts;
            let part = i * len..(i + 1) * len;
            let [x, mut dx] = [n * len * pixels; 2].map(|len| self.floats(len));
            let gflop = 2e-9 * (n * conv.maps * out * len * kernel) as f64;
            let part = Part(part);
            let sum = if i == 0 { Sum::Start } else { Sum::Add };
            let last = i + 1 == parts;
            self.row(&format!("{name} {:?} forward", part.0), Kind::Product(gflop), |device| {
                let finish =
                    last.then_some(Finish { bias: &bias, activation: Some(Activation::Relu) });
                device.conv_forward(conv, 0..n, &x, &part, &w, sum, finish, &mut y)
            });
            if inputs {
                self.row(
                    &format!("{name} {:?} backward inputs", part.0),
                    Kind::Product(gflop),
                    |device| device.conv_backward_inputs(conv, 0..n, &dy, &w, &part, &mut dx),
                );
            }
            self.row(
                &format!("{name} {:?} backward weights", part.0),
                Kind::Product(gflop),
                |device| {
                    device.conv_backward_weights(conv, 0..n, &x, &part, &dy, Sum::Start, &mut dw)
                },
            );
        }
        self.row(&format!("{name} bias backward"), Kind::Memory, |device| {
            device.bias_backward(conv.maps, out, 0..n, &dy, Sum::Start, &mut db)
        });
        let mut dy = dy;
        self.row(&format!("{name} relu backward"), Kind::Memory, |device| {
            let activation = Activation::Relu;
            device.activation_backward(activation, conv.maps * out, 0..n, &y, &mut dy)
        });
    }

    /// What lies between convolutions.
    pub(crate) fn between(&mut self) {
        for (name, maps, side, out_side) in
            [("1", 48, 55, 27), ("2", 128, 27, 13), ("5", 128, 13, 6)]
        {
            let n = self.n;
            let pixels = side * side;
            let lrn = Lrn { maps, pixels, groups: 1, size: 5, k: 2.0, alpha: 1e-4, beta: 0.75 };
            let [x, mut scale, mut y, dy, mut dx] =
                [n * maps * pixels; 5].map(|len| self.floats(len));
            if name != "5" {
                self.row(&format!("lrn{name} forward"), Kind::Memory, |device| {
                    device.lrn_forward(&lrn, 0..n, &x, &mut scale, &mut y)
                });
                self.row(&format!("lrn{name} backward"), Kind::Memory, |device| {
                    device.lrn_backward(&lrn, 0..n, &x, &scale, &y, &dy, &mut dx)
                });
            }
            let pool = Pool { maps, side, out_side, size: 3, stride: 2 };
            let mut y = self.floats(n * maps * out_side * out_side);
            let mut taken =
                self.device.bytes("taken", n * maps * out_side * out_side).expect("memory");
            self.row(&format!("pool{name} forward"), Kind::Memory, |device| {
                device.pool_forward(&pool, 0..n, &x, &mut taken, &mut y)
            });
            self.row(&format!("pool{name} backward"), Kind::Memory, |device| {
                device.pool_backward(&pool, 0..n, &taken, &y, &mut dx)
            });
        }
    }

    pub(crate) fn full_layers(&mut self) {
        for (name, inputs, units) in [("fc6", 9216, 2048), ("fc7", 4096, 2048), ("fc8", 4096, 500)]
        {
            let n = self.n;
            let full = Full { inputs, units };
            self.device.reserve(None, Some(&full), n).expect("memory");
            let [w, mut dw] = [inputs * units; 2].map(|len| self.floats(len));
            let [mut y, dy] = [n * units; 2].map(|len| self.floats(len));
            let [x, mut dx] = [n * inputs / 2; 2].map(|len| self.floats(len));
            let [bias, mut db] = [units; 2].map(|len| self.floats(len));
            let gflop = 1e-9 * (n * inputs * units) as f64;
            for (part, sum) in [(0..inputs / 2, Sum::Start), (inputs / 2..inputs, Sum::Add)] {
                let part = Part(part);
                self.row(&format!("{name} {:?} forward", part.0), Kind::Product(gflop), |device| {
                    let finish = (sum == Sum::Add)
                        .then_some(Finish { bias: &bias, activation: Some(Activation::Relu) });
                    device.full_forward(&full, 0..n, &x, &part, &w, sum, finish, &mut y)
                });
                self.row(
                    &format!("{name} {:?} backward inputs", part.0),
                    Kind::Product(gflop),
                    |device| device.full_backward_inputs(&full, 0..n, &dy, &w, &part, &mut dx),
                );
                self.row(
                    &format!("{name} {:?} backward weights", part.0),
                    Kind::Product(gflop),
                    |device| {
                        device.full_backward_weights(
                            &full,
                            0..n,
                            &x,
                            &part,
                            &dy,
                            Sum::Start,
                            &mut dw,
                        )
                    },
                );
            }
            self.row(&format!("{name} bias backward"), Kind::Memory, |device| {
                device.bias_backward(units, 1, 0..n, &dy, Sum::Start, &mut db)
            });
            let (mut w, mut v) = (w, self.floats(inputs * units));
            let sgd = Sgd { rate: 1e-6, momentum: 0.9, decay: 5e-4 };
            self.row(&format!("{name} update"), Kind::Memory, |device| {
                device.sgd(&sgd, &mut w, &mut v, &dw)
            });
        }
    }

    /// Dropout, softmax, and what an exchange of conv3's inputs costs the CPU.
    pub(crate) fn end(&mut self) {
        let (n, units, classes) = (self.n, 2048, 1000);
        let mut y = self.floats(n * units);
        let dropout = Dropout {
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
                    device.dropout(&dropout, 0..n, &mut y)
                });
            }
        }
        let [own, peer, mut dlogits] = [n * classes / 2; 3].map(|len| self.floats(len));
        let labels = self.device.floats("labels", n).expect("memory");
        let [mut p, mut loss] = [n * classes, n].map(|len| self.floats(len));
        let softmax = Softmax { classes, own: 0..classes / 2, batch: n };
        self.row("softmax", Kind::Memory, |device| {
            device.softmax(
                &softmax,
                0..n,
                &own,
                Some(&peer),
                &labels,
                &mut p,
                &mut loss,
                &mut dlogits,
            )
        });
        let len = n * 128 * 13 * 13;
        self.device.reserve_transfers(len, 2).expect("memory");
        let mut maps = self.floats(len);
        for wire in [Encoding::F32, Encoding::F16] {
            let mut sent = None;
            self.row(&format!("pool2 download {wire:?}"), Kind::Transfer, |device| {
                sent = Some(device.download(&maps, 0..len, wire)?.wait()?);
                Ok(())
            });
            let sent = sent.expect("it ran");
            self.row(&format!("pool2 upload {wire:?}"), Kind::Transfer, |device| {
                let pieces = [sent.bytes.clone()];
                device.upload(&pieces, wire, sent.exponent, &mut maps, 0)
            });
        }
        black_box(&maps);
    }
}
