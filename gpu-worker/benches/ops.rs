//! Every operation of one half of AlexNet at batch 128 on one device, one after the other, against
//! the rate of a large matrix product there.
//!
//! `cargo bench -p gpu-worker --bench ops [-- --device cuda:0]`; `--help` lists the options. The
//! table's last column is the share of the measured rate; the last lines sum up a step's operations
//! and compare them with the time that their multiplications alone would take at it. A row's name
//! is written before its operation starts, and the device is waited for after each row, so a fault
//! or a hang shows where it is.
#![expect(clippy::print_stdout, reason = "a table is what this is for")]

use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

use gpu_worker::Result;
use gpu_worker::backend::Backend;
use gpu_worker::backend::cpu::Cpu;
use gpu_worker::backend::cuda::{self, Cuda};
use gpu_worker::ops::{Fc, FcBackwardInputs, InputRange};
use model::recipe::Encoding;

#[path = "ops/options.rs"]
mod options; // the command line
#[path = "ops/step.rs"]
mod step; // the rows
#[path = "../tests/ops/search.rs"]
mod search; // where NVRTC may be

use options::{Device, Options};

fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "--help") {
        println!("{}", options::USAGE);
        return ExitCode::SUCCESS;
    }
    let ended = Options::read(std::env::args().skip(1))
        .map_err(|why| format!("{why}\n\n{}", options::USAGE))
        .and_then(run);
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: Options) -> std::result::Result<(), String> {
    let Options { device, convolve, images, nvrtc, once } = options;
    match device {
        Device::Cpu(threads) => {
            Bench::new(Cpu::new(threads).convolving(convolve), images, once).run();
        }
        Device::Cuda(gpu) => {
            let search = search::search(nvrtc);
            let options = cuda::Options { search, ..cuda::Options::new(gpu) };
            let gpu = Cuda::new(&options).map_err(|why| why.to_string())?;
            Bench::new(gpu, images, once).run();
        }
    }
    Ok(())
}

/// Images of a product whose other two sides are [`SIDE`], for each image of the minibatch.
const PRODUCT: usize = 16;
const SIDE: usize = 2048;

/// Kind of a row of the table.
#[derive(Clone, Copy)]
enum Kind {
    /// A matrix product of so many GFLOP.
    Product(f64),
    /// An operation that is bound by memory.
    Memory,
    /// Numbers on their way between host and device, timed by the host's clock.
    Transfer,
}

/// A device with the work that is asked of it.
struct Bench<B> {
    device: B,
    n: usize,
    once: bool,
    /// GFLOP/s of a large product.
    rate: f64,
    products_ms: f64,
    memory_ms: f64,
    transfers_ms: f64,
    gflop: f64,
}

impl<B: Backend> Bench<B> {
    fn new(device: B, n: usize, once: bool) -> Self {
        let [rate, products_ms, memory_ms, transfers_ms, gflop] = [0.0; 5];
        Self { device, n, once, rate, products_ms, memory_ms, transfers_ms, gflop }
    }

    /// All rows, and what they come to.
    fn run(mut self) {
        self.rate = self.product_rate();
        println!(
            "{}, batch {}, matrix product {:.0} GFLOP/s",
            self.device.name(),
            self.n,
            self.rate
        );
        println!("{:34} {:>9} {:>9} {:>7}", "operation", "ms", "GFLOP/s", "share");
        self.input();
        self.convolutions();
        self.between();
        self.fully_connected();
        self.end();
        let floor = self.gflop / self.rate * 1e3;
        let all = self.products_ms + self.memory_ms + self.transfers_ms;
        println!("a step: {all:.3} ms, {:.2} x the floor of {floor:.3} ms", all / floor);
        println!(
            "products {:.3} ms, other operations {:.3} ms, transfers {:.3} ms",
            self.products_ms, self.memory_ms, self.transfers_ms
        );
    }

    fn floats(&mut self, len: usize) -> B::Floats {
        let mut floats = self.device.floats("bench", len).expect("memory");
        let values: Vec<u8> =
            (0..len).flat_map(|i| ((i * 7919 % 1000) as f32 * 0.002 - 1.0).to_le_bytes()).collect();
        self.device
            .upload(&[values.into()], Encoding::F32, 0, &mut floats, 0)
            .expect("same length");
        floats
    }

    /// A few large products, through the same door as everything else.
    fn product_rate(&mut self) -> f64 {
        let n = PRODUCT * self.n;
        let fc = &Fc { inputs: SIDE, units: SIDE };
        self.device.reserve(None, Some(fc), n).expect("memory");
        let [x, w, mut dx] = [n * SIDE, SIDE * SIDE, n * SIDE].map(|len| self.floats(len));
        let range = &InputRange(0..SIDE);
        let ms = self.ms(5, |device| {
            let (images, dy, w, dx) = (0..n, &x, &w, &mut dx);
            device.run(FcBackwardInputs { fc, images, dy, w, range, dx })
        });
        2.0 * (SIDE * SIDE * n) as f64 / ms.expect("a product") / 1e6
    }

    /// The shortest of some runs by the device's own marks; all are queued before any is waited
    /// for, so that a GPU is never idle between two.
    fn ms(&mut self, runs: usize, mut run: impl FnMut(&mut B) -> Result<()>) -> Result<f64> {
        let runs = if self.once { 1 } else { runs };
        if !self.once {
            run(&mut self.device)?;
        }
        let mut marks = vec![self.device.mark()?];
        for _ in 0..runs {
            run(&mut self.device)?;
            marks.push(self.device.mark()?);
        }
        self.device.finish()?;
        let mut shortest = f64::INFINITY;
        for between in marks.windows(2) {
            shortest = shortest.min(self.device.ms_between(&between[0], &between[1])?);
        }
        Ok(shortest)
    }

    /// The shortest of some runs by the host's clock, the device waited for in each.
    fn host_ms(&mut self, runs: usize, mut run: impl FnMut(&mut B) -> Result<()>) -> Result<f64> {
        let runs = if self.once { 1 } else { runs };
        let mut shortest = f64::INFINITY;
        for _ in 0..runs {
            self.device.finish()?;
            let start = Instant::now();
            run(&mut self.device)?;
            self.device.finish()?;
            shortest = shortest.min(start.elapsed().as_secs_f64() * 1e3);
        }
        Ok(shortest)
    }

    /// Times one operation, which a step runs once, and writes its row.
    fn row(&mut self, what: &str, kind: Kind, run: impl FnMut(&mut B) -> Result<()>) {
        const RUNS: usize = 4;
        print!("{what:34} ");
        std::io::stdout().flush().expect("standard output takes a row");
        let ms = match kind {
            Kind::Transfer => self.host_ms(RUNS, run),
            Kind::Product(_) | Kind::Memory => self.ms(RUNS, run),
        };
        let ms = ms.unwrap_or_else(|why| panic!("{what}: {why}"));
        match kind {
            Kind::Product(gflop) => {
                let rate = gflop / ms * 1e3;
                println!("{ms:9.3} {rate:9.0} {:6.0}%", rate / self.rate * 100.0);
                self.products_ms += ms;
                self.gflop += gflop;
            }
            Kind::Memory => {
                println!("{ms:9.3}");
                self.memory_ms += ms;
            }
            Kind::Transfer => {
                println!("{ms:9.3}");
                self.transfers_ms += ms;
            }
        }
    }
}
