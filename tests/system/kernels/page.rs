//! The page of figures: tables from the machine code, the launches and the counted traffic.

use gpu_worker::backend::cuda::gemm::{MULTIPROCESSORS, Product, THREADS};
use gpu_worker::backend::cuda::program::PROGRAMS;
use harness::machine_code::Kernel;

use super::{CONVOLUTION, FC, Launch, Traffic};

/// Architectures whose main loops are listed, with the multiprocessors of A100, RTX A6000 and H100;
/// the bars hold for all.
const LISTED: [(u32, usize); 3] = [(80, MULTIPROCESSORS), (86, 84), (90, 132)];

/// The whole page.
pub(super) fn page(code: &[(u32, Kernel)], launches: &[Launch], traffic: &[Traffic]) -> String {
    let mut page = String::from(INTRODUCTION);
    page += LOOPS;
    let products = || CONVOLUTION.into_iter().chain(FC);
    for (name, (arch, _)) in products().flat_map(|name| LISTED.map(|listed| (name, listed))) {
        let kernel = find(code, arch, name);
        let main = kernel.main_loop().expect("looked at above");
        page += &format!(
            "| `{name}` | sm_{arch} | {} | {} | {} | {} of {}: {:.1} % | {:.2} | {:.0} % |\n",
            kernel.registers,
            kernel.stack,
            kernel.resident(arch, THREADS),
            main.ffma,
            main.instructions,
            100.0 * main.share(),
            main.ffma_a_byte(),
            100.0 * allowed(arch, main.share()),
        );
    }
    page += LAUNCHES;
    for Launch { layer, pass, product, bytes } in launches {
        let Product { rows, columns, depth, splits, .. } = product;
        let (asked, made) = product.multiplications();
        let flop = 2.0 * asked as f64;
        let useful = asked as f64 / made as f64;
        page += &format!(
            "| {layer} {pass} | {rows} × {columns} × {depth} | {:.2} | {:.1} | {:.0} | {} | {} | {:.0} % |",
            flop / 1e9,
            *bytes as f64 / 1e6,
            flop / *bytes as f64,
            splits.count,
            product.blocks(),
            100.0 * useful,
        );
        for (arch, multiprocessors) in LISTED {
            let kernel = find(code, arch, kernel_of(layer, pass));
            let main = kernel.main_loop().expect("looked at above");
            let most = product.blocks().div_ceil(multiprocessors);
            let balance = product.blocks() as f64 / (most * multiprocessors) as f64;
            let share = useful * balance * allowed(arch, main.share());
            page += &format!(" {:.0} % |", 100.0 * share);
        }
        page.push('\n');
    }
    page += TRAFFIC_COUNTED;
    for Traffic { layer, pass, shared, sectors, aligned } in traffic {
        let [shared, sectors, aligned] = [shared, sectors, aligned].map(|ratio| ratio.value());
        page += &format!("| {layer} {pass} | {shared:.2} | {sectors:.2} | {aligned:.2} |\n");
    }
    page += KERNELS;
    for name in PROGRAMS.iter().flat_map(|program| program.kernels) {
        let most = |of: fn(&Kernel) -> u32| {
            code.iter().filter(|(_, kernel)| kernel.name == *name).map(|(_, k)| of(k)).max()
        };
        let [registers, shared] = [most(|k| k.registers), most(|k| k.shared)].map(Option::unwrap);
        page += &format!("| `{name}` | {registers} | {shared} |\n");
    }
    page
}

fn find<'a>(code: &'a [(u32, Kernel)], arch: u32, name: &str) -> &'a Kernel {
    let found = code.iter().find(|(of, kernel)| *of == arch && kernel.name == name);
    &found.expect("every kernel is compiled for every architecture").1
}

fn kernel_of(layer: &str, pass: &str) -> &'static str {
    match (layer.starts_with("conv"), pass) {
        (true, "weights") => "conv_backward_weights",
        (true, _) => "conv_forward",
        (false, "forward") => "fc_forward",
        (false, "inputs") => "fc_backward_inputs",
        (false, _) => "fc_backward_weights",
    }
}

/// Share of the fp32 peak that a loop can reach with this share of multiplications: where a
/// multiprocessor issues one instruction a cycle for each 32 fp32 units; sm_80 has half as many.
fn allowed(arch: u32, share: f64) -> f64 {
    if arch == 80 { (2.0 * share).min(1.0) } else { share }
}

const INTRODUCTION: &str = "\
# Figures of the kernels, without a GPU

**Not timed on a GPU.** This page is written by `cargo test -p system-tests kernels`, which fails if
it is not true; it stands for NVRTC 12.9.86. Machine code is read by nvdisasm and cuobjdump, traffic
is counted by the tests' emulated driver. The figures are regression gates and upper bounds, not
predictions of TFLOP/s.

Five kernels multiply; all others move each number a few times and are bound by memory. A block of
128 threads makes a tile of 64 × 128 outputs, 8 × 8 per thread, from strips of depth 8, two of them
in shared memory, with 128-bit loads (`gemm_tile.cu`).
";

const LOOPS: &str = "
## Main loops

The bars: no spills, two blocks per multiprocessor, fused multiply-adds (FFMA) at least 70 % of the
instructions for convolutions and 78 % for fully-connected layers, at least one FFMA per byte loaded
from shared memory, no load of less than 128 bits. They hold on sm_75, 80, 86, 89, 90, 100 and 120.
The last column is the share of the fp32 peak that the mix allows: sm_80 issues two instructions in
the time of one FFMA.

| kernel | architecture | registers | bytes spilled | blocks per multiprocessor | FFMA of the loop | FFMA per shared byte | allowed |
|---|---|---|---|---|---|---|---|
";

const LAUNCHES: &str = "
## Launches of a step

Half A at batch 128. Convolutions run in micro-batches of 32 images, so each of their lines is
launched four times per step; conv3 and fc6 to fc8 run once more over the other half's inputs, with
the same sizes. Floors: GFLOP, and MB that must be moved if every number is read or written once.
Sums are divided into splits where there are fewer than two tiles for each of an A100's 108
multiprocessors. *Useful*: share of the multiplications of whole tiles that is asked for. *Allowed*:
share of the fp32 peak, useful × balance (blocks over multiprocessors, A100, RTX A6000, H100) × mix.

| layer, pass | rows × columns × depth | GFLOP | MB | FLOP per byte | splits | blocks | useful | allowed, sm_80 | sm_86 | sm_90 |
|---|---|---|---|---|---|---|---|---|---|---|
";

const TRAFFIC_COUNTED: &str = "
## Traffic

One image (fully-connected layers: 64) and one row tile of every layer, its inputs at full size.
Wavefronts of shared memory and 32-byte sectors of global memory, divided by the fewest that could
do: for the bytes of each contiguous request from where they begin and, in the last column, if all
began at the border of a sector. The bar is 1.1 for the first two; the last one is the cost of rows
of 13, 27 and 55 pixels, which fit no border of a sector.

| layer, pass | shared wavefronts | global sectors | if aligned |
|---|---|---|---|
";

const KERNELS: &str = "
## All kernels

The most over the seven architectures; none spills.

| kernel | registers | bytes of shared memory per block |
|---|---|---|
";
