//! Every operation of one half of AlexNet at batch 128, against the rate of a large matrix product.
//!
//! `cargo bench -p gpu-worker --bench ops [-- IMAGES [THREADS]]`. The table's last column is the
//! share of the measured rate; the last line compares a whole step's operations with the time that
//! their multiplications alone would take at it.
#![expect(clippy::print_stdout, reason = "a table is what this is for")]

use std::hint::black_box;
use std::time::Instant;

use gpu_worker::backend::cpu::Cpu;
use gpu_worker::backend::{
    Backend, Conv, Dropout, Finish, Full, Lrn, Part, Pool, Sgd, Softmax, Sum,
};
use model::recipe::{Activation, Wire};

type Floats = <Cpu as Backend>::Floats;

/// What a step asks of an operation.
struct Bench {
    cpu: Cpu,
    n: usize,
    /// GFLOP/s of a large product.
    rate: f64,
    total_ms: f64,
    total_gflop: f64,
}

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|arg| arg.parse::<usize>().ok());
    let n = numbers.next().unwrap_or(128);
    let cpu = Cpu::new(numbers.next().unwrap_or(1));
    let mut bench = Bench { cpu, n, rate: 0.0, total_ms: 0.0, total_gflop: 0.0 };
    bench.rate = bench.product_rate();
    println!("{}, batch {n}, matrix product {:.0} GFLOP/s", bench.cpu.name(), bench.rate);
    println!("{:34} {:>9} {:>9} {:>7}", "operation", "ms", "GFLOP/s", "share");
    bench.input();
    bench.convolutions();
    bench.between();
    bench.full_layers();
    bench.end();
    let floor = bench.total_gflop / bench.rate * 1e3;
    let ratio = bench.total_ms / floor;
    println!("a step: {:.0} ms, {ratio:.2} x the floor of {floor:.0} ms", bench.total_ms);
}

impl Bench {
    fn floats(&mut self, len: usize) -> Floats {
        let mut floats = self.cpu.floats("bench", len).expect("memory");
        let values: Vec<u8> =
            (0..len).flat_map(|i| ((i * 7919 % 1000) as f32 * 0.002 - 1.0).to_le_bytes()).collect();
        self.cpu.upload(&[values.into()], Wire::F32, 0, &mut floats, 0).expect("same length");
        floats
    }

    /// The best of a few large products, through the same door as everything else.
    fn product_rate(&mut self) -> f64 {
        let (side, n) = (2048, 2048);
        let full = Full { inputs: side, units: side };
        let [x, w, mut dx] = [n * side, side * side, n * side].map(|len| self.floats(len));
        let part = Part(0..side);
        let ms = best(5, || {
            self.cpu.full_backward_inputs(&full, 0..n, &x, &w, &part, &mut dx).expect("fits");
        });
        2.0 * (side * side * n) as f64 / ms / 1e6
    }

    /// Times one operation, which a step runs once, and writes its row.
    fn row(&mut self, what: &str, gflop: f64, mut run: impl FnMut(&mut Cpu)) {
        let ms = best(3, || run(&mut self.cpu));
        self.total_ms += ms;
        self.total_gflop += gflop;
        if gflop > 0.0 {
            let rate = gflop / ms * 1e3;
            println!("{what:34} {ms:9.1} {rate:9.0} {:6.0}%", rate / self.rate * 100.0);
        } else {
            println!("{what:34} {ms:9.1}");
        }
    }

    fn input(&mut self) {
        let (n, crop, side) = (self.n, 224, 256);
        let pixels = self.cpu.bytes("pixels", n * 3 * crop * crop).expect("memory");
        let places = self.cpu.floats("places", n * 6).expect("memory");
        let [mean, mut y] = [3 * side * side, n * 3 * crop * crop].map(|len| self.floats(len));
        self.row("input", 0.0, |cpu| {
            cpu.input(0..n, crop, side, &pixels, &places, &mean, &mut y).expect("fits");
        });
    }

    fn convolutions(&mut self) {
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
            self.row(&format!("{name} {:?} forward", part.0), gflop, |cpu| {
                let finish =
                    last.then_some(Finish { bias: &bias, activation: Some(Activation::Relu) });
                cpu.conv_forward(conv, 0..n, &x, &part, &w, sum, finish, &mut y).expect("fits");
            });
            if inputs {
                self.row(&format!("{name} {:?} backward inputs", part.0), gflop, |cpu| {
                    cpu.conv_backward_inputs(conv, 0..n, &dy, &w, &part, &mut dx).expect("fits");
                });
            }
            self.row(&format!("{name} {:?} backward weights", part.0), gflop, |cpu| {
                cpu.conv_backward_weights(conv, 0..n, &x, &part, &dy, Sum::Start, &mut dw)
                    .expect("fits");
            });
        }
        self.row(&format!("{name} bias backward"), 0.0, |cpu| {
            cpu.bias_backward(conv.maps, out, 0..n, &dy, Sum::Start, &mut db).expect("fits");
        });
        let mut dy = dy;
        self.row(&format!("{name} relu backward"), 0.0, |cpu| {
            let activation = Activation::Relu;
            cpu.activation_backward(activation, conv.maps * out, 0..n, &y, &mut dy).expect("fits");
        });
    }

    /// What lies between convolutions.
    fn between(&mut self) {
        for (name, maps, side, out_side) in
            [("1", 48, 55, 27), ("2", 128, 27, 13), ("5", 128, 13, 6)]
        {
            let n = self.n;
            let pixels = side * side;
            let lrn = Lrn { maps, pixels, groups: 1, size: 5, k: 2.0, alpha: 1e-4, beta: 0.75 };
            let [x, mut scale, mut y, dy, mut dx] =
                [n * maps * pixels; 5].map(|len| self.floats(len));
            if name != "5" {
                self.row(&format!("lrn{name} forward"), 0.0, |cpu| {
                    cpu.lrn_forward(&lrn, 0..n, &x, &mut scale, &mut y).expect("fits");
                });
                self.row(&format!("lrn{name} backward"), 0.0, |cpu| {
                    cpu.lrn_backward(&lrn, 0..n, &x, &scale, &y, &dy, &mut dx).expect("fits");
                });
            }
            let pool = Pool { maps, side, out_side, size: 3, stride: 2 };
            let mut y = self.floats(n * maps * out_side * out_side);
            let mut taken =
                self.cpu.bytes("taken", n * maps * out_side * out_side).expect("memory");
            self.row(&format!("pool{name} forward"), 0.0, |cpu| {
                cpu.pool_forward(&pool, 0..n, &x, &mut taken, &mut y).expect("fits");
            });
            self.row(&format!("pool{name} backward"), 0.0, |cpu| {
                cpu.pool_backward(&pool, 0..n, &taken, &y, &mut dx).expect("fits");
            });
        }
    }

    fn full_layers(&mut self) {
        for (name, inputs, units) in [("fc6", 9216, 2048), ("fc7", 4096, 2048), ("fc8", 4096, 500)]
        {
            let n = self.n;
            let full = Full { inputs, units };
            let [w, mut dw] = [inputs * units; 2].map(|len| self.floats(len));
            let [mut y, dy] = [n * units; 2].map(|len| self.floats(len));
            let [x, mut dx] = [n * inputs / 2; 2].map(|len| self.floats(len));
            let [bias, mut db] = [units; 2].map(|len| self.floats(len));
            let gflop = 1e-9 * (n * inputs * units) as f64;
            for (part, sum) in [(0..inputs / 2, Sum::Start), (inputs / 2..inputs, Sum::Add)] {
                let part = Part(part);
                self.row(&format!("{name} {:?} forward", part.0), gflop, |cpu| {
                    let finish = (sum == Sum::Add)
                        .then_some(Finish { bias: &bias, activation: Some(Activation::Relu) });
                    cpu.full_forward(&full, 0..n, &x, &part, &w, sum, finish, &mut y)
                        .expect("fits");
                });
                self.row(&format!("{name} {:?} backward inputs", part.0), gflop, |cpu| {
                    cpu.full_backward_inputs(&full, 0..n, &dy, &w, &part, &mut dx).expect("fits");
                });
                self.row(&format!("{name} {:?} backward weights", part.0), gflop, |cpu| {
                    cpu.full_backward_weights(&full, 0..n, &x, &part, &dy, Sum::Start, &mut dw)
                        .expect("fits");
                });
            }
            self.row(&format!("{name} bias backward"), 0.0, |cpu| {
                cpu.bias_backward(units, 1, 0..n, &dy, Sum::Start, &mut db).expect("fits");
            });
            let (mut w, mut v) = (w, self.floats(inputs * units));
            let sgd = Sgd { rate: 1e-6, momentum: 0.9, decay: 5e-4 };
            self.row(&format!("{name} update"), 0.0, |cpu| {
                cpu.sgd(&sgd, &mut w, &mut v, &dw).expect("fits");
            });
        }
    }

    /// Dropout, softmax, and what an exchange of conv3's inputs costs the CPU.
    fn end(&mut self) {
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
                self.row(&format!("{layer} dropout {what}"), 0.0, |cpu| {
                    cpu.dropout(&dropout, 0..n, &mut y).expect("fits");
                });
            }
        }
        let [own, peer, mut dlogits] = [n * classes / 2; 3].map(|len| self.floats(len));
        let labels = self.cpu.floats("labels", n).expect("memory");
        let [mut p, mut loss] = [n * classes, n].map(|len| self.floats(len));
        let softmax = Softmax { classes, own: 0..classes / 2, batch: n };
        self.row("softmax", 0.0, |cpu| {
            cpu.softmax(
                &softmax,
                0..n,
                &own,
                Some(&peer),
                &labels,
                &mut p,
                &mut loss,
                &mut dlogits,
            )
            .expect("fits");
        });
        let len = n * 128 * 13 * 13;
        let mut maps = self.floats(len);
        for wire in [Wire::F32, Wire::F16] {
            let mut sent = None;
            self.row(&format!("pool2 download {wire:?}"), 0.0, |cpu| {
                let download = cpu.download(&maps, 0..len, wire).expect("fits");
                sent = Some(download.wait().expect("it is there"));
            });
            let sent = sent.expect("it ran");
            self.row(&format!("pool2 upload {wire:?}"), 0.0, |cpu| {
                let pieces = [sent.bytes.clone()];
                cpu.upload(&pieces, wire, sent.exponent, &mut maps, 0).expect("fits");
            });
        }
        black_box(&maps);
    }
}

/// The shortest of some runs, after one to warm up.
fn best(runs: usize, mut run: impl FnMut()) -> f64 {
    run();
    (0..runs)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64() * 1e3
        })
        .fold(f64::INFINITY, f64::min)
}
