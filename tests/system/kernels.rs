//! The kernels' speed as far as it can be known without a GPU: their machine code, the blocks of
//! each launch, and the traffic that the emulated driver counts. All of it stands in
//! `gpu-worker/kernels/FIGURES.md`, which these tests keep true.

mod page; // of figures

use std::path::{Path, PathBuf};
use std::process::Command;

use gpu_worker::backend::Backend;
use gpu_worker::backend::cpu::Cpu;
use gpu_worker::backend::cuda::gemm::{MULTIPROCESSORS, Product, THREADS};
use gpu_worker::backend::cuda::program::PROGRAMS;
use gpu_worker::backend::cuda::{conv, fc};
use gpu_worker::network::Work;
use gpu_worker::ops::{
    Accumulate, ConvBackwardInputs, ConvBackwardWeights, ConvForward, Fc, FcBackwardInputs,
    FcBackwardWeights, FcForward, InputRange,
};
use harness::golden::furthest_number;
use harness::gpu;
use harness::machine_code::{self, ARCHITECTURES, Kernel};
use model::halves::{Half, Partition, Plan, PlannedLayer};
use model::recipe::{Encoding, Recipe};
use model::shape::Network;

/// The products; all others are bound by memory.
const CONVOLUTION: [&str; 2] = ["conv_forward", "conv_backward_weights"];
const FC: [&str; 3] = ["fc_forward", "fc_backward_inputs", "fc_backward_weights"];
const PASSES: [&str; 3] = ["forward", "inputs", "weights"];
const OVERWRITE: Accumulate = Accumulate::Overwrite;
/// The gradient of the pictures is never needed.
const NOT_IN_A_STEP: (&str, &str) = ("conv1", "inputs");

fn tools() -> Option<PathBuf> {
    if cuda_emulator::only_emulated("machine code is looked at without one") {
        return None;
    }
    let tools = cuda_emulator::tools()?;
    if !tools.join("nvidia/cu13/bin/nvdisasm").exists() {
        eprintln!("skipped: no nvdisasm in {}", tools.display());
        return None;
    }
    Some(tools)
}

/// Every kernel on every architecture.
fn machine_code(tools: &Path) -> Vec<(u32, Kernel)> {
    let of = |arch: u32| {
        let programs = PROGRAMS.iter();
        programs.flat_map(move |program| machine_code::of(tools, program, arch))
    };
    ARCHITECTURES.iter().flat_map(|arch| of(*arch).map(|kernel| (*arch, kernel))).collect()
}

#[test]
fn machine_code_keeps_its_bounds_and_the_page_of_figures_is_true() {
    let Some(tools) = tools() else { return };
    let code = machine_code(&tools);
    let n_kernels: usize = PROGRAMS.iter().map(|program| program.kernels.len()).sum();
    assert_eq!(code.len(), n_kernels * ARCHITECTURES.len());
    for (arch, kernel) in &code {
        let name = &kernel.name;
        assert_eq!(kernel.stack, 0, "{name} on sm_{arch}: registers spill");
        let bar = if CONVOLUTION.contains(&name.as_str()) {
            0.70
        } else if FC.contains(&name.as_str()) {
            0.78
        } else {
            continue;
        };
        let main = kernel.main_loop().expect("a loop that multiplies");
        assert!(main.share() >= bar, "{name} on sm_{arch}: {main:?}");
        assert!(main.ffma_a_byte() >= 1.0, "{name} on sm_{arch}: {main:?}");
        assert_eq!(main.narrow_loads, 0, "{name} on sm_{arch}: {main:?}");
        assert!(kernel.resident(*arch, THREADS) >= 2, "{name} on sm_{arch}: {kernel:?}");
    }
    let Some(traffic) = traffic() else { return };
    assert_little(&traffic);
    let page = page::page(&code, &launches(), &traffic);
    let file = cuda_emulator::root().join("gpu-worker/kernels/FIGURES.md");
    if std::fs::read_to_string(&file).ok().as_ref() != Some(&page) {
        let new = cuda_emulator::scratch().join("FIGURES.md");
        std::fs::write(&new, page).unwrap();
        panic!("{} is not what was measured: look at {}", file.display(), new.display());
    }
}

/// One launch of a product in a step of 128: layer, pass, sizes, bytes that must be moved.
struct Launch {
    layer: &'static str,
    pass: &'static str,
    product: Product,
    bytes: usize,
}

fn half_a() -> Plan {
    let recipe = Recipe::builtin("paper").unwrap();
    Plan::new(&Network::new(&recipe, 1000).unwrap(), &recipe, Partition::Half(Half::A))
}

/// Every launch of a product over own inputs; those over the peer's have the same sizes.
fn launches() -> Vec<Launch> {
    let recipe = Recipe::builtin("paper").unwrap();
    let slice = recipe.batch / recipe.slices;
    let mut launches = Vec::new();
    for layer in &half_a().layers {
        let part = Work::range(layer, &layer.own_inputs);
        let (n, products) = match Work::of(layer) {
            Work::Conv(conv) => (slice, conv::products(&conv, &part, slice).unwrap()),
            Work::Fc(f) => (recipe.batch, fc::products(f.units, part.0.len(), recipe.batch)),
        };
        let maps = layer.input.len() / layer.input.maps * layer.own_inputs.len();
        let [x, y] = [maps * n, layer.pre_activation.len() * n];
        let w = products[2].rows * products[2].columns;
        for (pass, product) in PASSES.into_iter().zip(products) {
            if (layer.name, pass) != NOT_IN_A_STEP {
                launches.push(Launch { layer: layer.name, pass, product, bytes: 4 * (x + y + w) });
            }
        }
    }
    launches
}

/// fc6 to fc8 have few tiles, conv3 to conv5 few in a slice: their sums are cut.
#[test]
fn every_product_of_a_step_fills_a_large_gpu() {
    let launches = launches();
    assert_eq!(launches.len(), 8 * 3 - 1);
    for Launch { layer, pass, product, .. } in launches {
        assert!(product.blocks() >= 2 * MULTIPROCESSORS, "{layer} {pass}: {product:?}");
    }
}

/// Every layer's inputs at their full size, few outputs and images: enough for a tile, and the
/// same pattern of reads and writes.
#[test]
fn products_of_every_layers_shape_are_the_cpus() {
    let Some(mut gpu) = gpu::open(0) else { return };
    for layer in &half_a().layers {
        agree(&mut gpu, layer);
    }
}

/// Sums of thousands of numbers in [−½, ½] in another order.
const CLOSE: f64 = 1e-5;

fn agree<B: Backend>(gpu: &mut B, layer: &PlannedLayer) {
    let part = Work::range(layer, &layer.own_inputs);
    let got = passes(gpu, layer, &part);
    let want = passes(&mut Cpu::new(1), layer, &part);
    for ((got, want), pass) in got.iter().zip(&want).zip(PASSES) {
        let (most, off) = furthest_number(got, want);
        assert!(off <= CLOSE * most, "{} {pass}: {off} of {most}", layer.name);
    }
}

/// Outputs, gradients of the inputs (of conv1 too), gradients of the weights.
fn passes<B: Backend>(dev: &mut B, layer: &PlannedLayer, range: &InputRange) -> [Vec<f32>; 3] {
    let maps = layer.input.len() / layer.input.maps * layer.own_inputs.len();
    match Work::of(layer) {
        Work::Conv(mut conv) => {
            conv.maps = conv.maps.min(64);
            let (outputs, weights) = (
                conv.maps * conv.out_side * conv.out_side,
                conv.maps * conv.inputs * conv.kernel * conv.kernel,
            );
            let x = random(dev, 1, maps);
            let w = random(dev, 2, weights);
            let dy = random(dev, 3, outputs);
            let mut y = dev.floats("y", outputs).unwrap();
            let mut dx = dev.floats("dx", maps).unwrap();
            let mut dw = dev.floats("dw", weights).unwrap();
            {
                let (conv, images, accumulate, epilogue) = (&conv, 0..1, OVERWRITE, None);
                let (x, w, dy) = (&x, &w, &dy);
                let (y, dx, dw) = (&mut y, &mut dx, &mut dw);
                dev.run(ConvForward { conv, images, x, range, w, accumulate, epilogue, y })
                    .unwrap();
                let images = 0..1;
                dev.run(ConvBackwardInputs { conv, images, dy, w, range, dx }).unwrap();
                let images = 0..1;
                dev.run(ConvBackwardWeights { conv, images, x, range, dy, accumulate, dw })
                    .unwrap();
            }
            [(&y, outputs), (&dx, maps), (&dw, weights)].map(|(from, len)| read(dev, from, len))
        }
        Work::Fc(Fc { inputs, units }) => {
            let (units, n) = (units.min(128), 64);
            let part_len = range.0.len();
            let x = random(dev, 1, n * part_len);
            let w = random(dev, 2, units * inputs);
            let dy = random(dev, 3, n * units);
            let mut y = dev.floats("y", n * units).unwrap();
            let mut dx = dev.floats("dx", n * part_len).unwrap();
            let mut dw = dev.floats("dw", units * inputs).unwrap();
            {
                let (fc, images, accumulate, epilogue) =
                    (&Fc { inputs, units }, 0..n, OVERWRITE, None);
                let (x, w, dy) = (&x, &w, &dy);
                let (y, dx, dw) = (&mut y, &mut dx, &mut dw);
                dev.run(FcForward { fc, images, x, range, w, accumulate, epilogue, y }).unwrap();
                let images = 0..n;
                dev.run(FcBackwardInputs { fc, images, dy, w, range, dx }).unwrap();
                let images = 0..n;
                dev.run(FcBackwardWeights { fc, images, x, range, dy, accumulate, dw }).unwrap();
            }
            [(&y, n * units), (&dx, n * part_len), (&dw, units * inputs)]
                .map(|(from, len)| read(dev, from, len))
        }
    }
}

fn random<B: Backend>(dev: &mut B, seed: u32, len: usize) -> B::Floats {
    let number = |i: u32| (i.wrapping_mul(2_654_435_761).wrapping_add(seed << 7) >> 8) as f32;
    let bytes: Vec<u8> =
        (0..len as u32).flat_map(|i| (number(i) / 16_777_216.0 - 0.5).to_le_bytes()).collect();
    let mut to = dev.floats("random", len).unwrap();
    dev.upload(&[bytes.into()], Encoding::F32, 0, &mut to, 0).unwrap();
    to
}

fn read<B: Backend>(dev: &mut B, from: &B::Floats, len: usize) -> Vec<f32> {
    let bytes = dev.download(from, 0..len, Encoding::F32).unwrap().wait().unwrap().bytes;
    proto::chunk::bytes_to_floats(&bytes).unwrap()
}

/// Traffic of one product as the emulated driver counted it, over the fewest requests that could
/// do.
struct Traffic {
    layer: &'static str,
    pass: &'static str,
    /// Wavefronts of shared memory.
    shared: Ratio,
    /// Sectors of global memory: the fewest that hold as many bytes in a row from where they begin.
    sectors: Ratio,
    /// The same if everything began at a sector's border.
    aligned: Ratio,
}

#[derive(Clone, Copy)]
struct Ratio {
    needed: u64,
    fewest: u64,
}

impl Ratio {
    fn value(self) -> f64 {
        self.needed as f64 / self.fewest as f64
    }
}

/// More than the fewest by this factor is too much.
const TRAFFIC: f64 = 1.1;

/// Runs `products_of_every_layers_shape_are_the_cpus` in a process of its own, whose driver counts.
fn traffic() -> Option<Vec<Traffic>> {
    if cuda_emulator::only_emulated("a real driver counts nothing") {
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("counters.jsonl");
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kernels::products_of_every_layers_shape_are_the_cpus"])
        .env("CUDA_EMULATOR", format!("counters={}", file.display()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let lines = std::fs::read_to_string(&file).unwrap();
    let lines = lines.lines().map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap());
    let products: Vec<_> = lines.filter(|l| is_product(l["kernel"].as_str().unwrap())).collect();
    let plan = half_a();
    let layers = plan.layers.iter().map(|layer| layer.name);
    let named = layers.flat_map(|layer| PASSES.map(|pass| (layer, pass)));
    assert_eq!(products.len(), plan.layers.len() * PASSES.len());
    let counted = named.zip(products).map(|((layer, pass), line)| {
        let sum = |of: &str, what: &str| -> u64 {
            let both = ["load", "store"].map(|way| format!("{of}_{way}_{what}"));
            both.iter().map(|name| line[name].as_u64().unwrap()).sum()
        };
        let ratio = |of: &str, what: &str, fewest: &str| Ratio {
            needed: sum(of, what),
            fewest: sum(of, &format!("{what}_{fewest}")),
        };
        Traffic {
            layer,
            pass,
            shared: ratio("shared", "wavefronts", "ideal"),
            sectors: ratio("global", "sectors", "span"),
            aligned: ratio("global", "sectors", "ideal"),
        }
    });
    Some(counted.filter(|t| (t.layer, t.pass) != NOT_IN_A_STEP).collect())
}

fn assert_little(traffic: &[Traffic]) {
    for Traffic { layer, pass, shared, sectors, .. } in traffic {
        assert!(shared.value() <= TRAFFIC, "{layer} {pass}: {} wavefronts", shared.value());
        assert!(sectors.value() <= TRAFFIC, "{layer} {pass}: {} sectors", sectors.value());
    }
}

fn is_product(kernel: &str) -> bool {
    CONVOLUTION.contains(&kernel) || FC.contains(&kernel)
}
