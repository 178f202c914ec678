//! Both PTX front ends of the compiler, and every architecture asked for: the same bits from each.

use crate::device::{Device, compile, shape};
use cudarc::driver::LaunchConfig;

const ARCHS: [&str; 9] = [
    "compute_75",
    "compute_80",
    "compute_86",
    "compute_87",
    "compute_89",
    "compute_90",
    "compute_100",
    "compute_103",
    "compute_120",
];

/// CUDA C that uses what backends use; kernel `f` of `(float* out, const float* in)`, 256 threads.
const KERNELS: [(&str, &str); 8] = [
    (
        "arithmetic",
        "out[i] = sqrtf(x * x + 0.5f) / (1.0f + fabsf(x)) - fmaxf(x, 0.25f) * rsqrtf(x + 7.0f);",
    ),
    ("functions", "out[i] = expf(x) + logf(x + 3.0f) + powf(x + 3.0f, 0.75f) + tanhf(x);"),
    (
        "whole numbers",
        "unsigned u = __float_as_uint(x); u ^= u >> 16; u *= 0x7feb352dU; u ^= u >> 15; u = u / 7 + u % 11 + __umulhi(u, i * 77u + 1) + __popc(u) + __clz(u); out[i] = (float)(int)(u & 0xffff);",
    ),
    (
        "long numbers",
        "unsigned long long u = 0x9E3779B97F4A7C15ull * (i + 1); u ^= u >> 31; u = u / 1000003ull + u % 977ull; out[i] = (float)(u & 0xfffff) + (float)((long long)(u << 40) >> 50);",
    ),
    (
        "doubles",
        "double d = x; d = sqrt(d * d + 1.0) / (d * d + 3.0); out[i] = (float)d + __double2int_rn(d * 100.0);",
    ),
    (
        "a warp",
        "float s = x; for (int k = 16; k; k >>= 1) s += __shfl_xor_sync(~0u, s, k); out[i] = s + __popc(__ballot_sync(~0u, x > 0.1f)) + __shfl_up_sync(~0u, x, 3);",
    ),
    (
        "a block",
        "__shared__ float tile[8][33]; tile[i / 32][i % 32] = x; __syncthreads(); float s = 0; for (int k = 0; k < i % 29; k++) { if (k % 3 == 1) continue; s += tile[k % 8][(i + k) % 32]; } out[i] = s;",
    ),
    (
        "choices",
        "float own[9]; for (int k = 0; k < 9; k++) own[k] = x * k; switch (i % 6) { case 0: x += 1; break; case 1: x *= 2; break; case 2: x -= 3; break; case 3: x = -x; break; case 4: x = own[i % 9]; break; default: x = own[(i + 4) % 9]; } out[i] = x;",
    ),
];

fn source(body: &str) -> String {
    format!(
        "extern \"C\" __global__ void f(float* out, const float* in) {{ int i = threadIdx.x; float x = in[i]; {body} }}"
    )
}

fn run(name: &str, body: &str, arch: &'static str) -> Option<Vec<u32>> {
    let device = Device::of_cuda(&source(body), arch)?;
    let numbers: Vec<f32> = (0..256).map(|i| ((i * 37) % 101) as f32 * 0.04 - 1.5).collect();
    let args = [device.blank(1024), device.upload(&numbers)];
    let ended = device.launch_with("f", LaunchConfig { ..shape(1, 256) }, &args);
    assert_eq!(ended, Ok(()), "{name} for {arch}");
    Some(device.download(args[0], 256).unwrap())
}

#[test]
fn both_front_ends_give_the_same_bits() {
    for (name, body) in KERNELS {
        let mut first = None;
        for arch in ARCHS {
            let Some(bits) = run(name, body, arch) else { return };
            let first = first.get_or_insert_with(|| bits.clone());
            assert_eq!(*first, bits, "{name} for {arch}");
        }
    }
}

/// The premise of the test above: the two front ends do write different PTX.
#[test]
fn the_front_ends_differ_in_what_they_write() {
    let Some(old) = compile(&source(KERNELS[6].1), "compute_90") else { return };
    let Some(new) = compile(&source(KERNELS[6].1), "compute_100") else { return };
    let body = |text: &str| text.split_once('{').unwrap().1.to_owned();
    assert_ne!(body(&old), body(&new));
}
