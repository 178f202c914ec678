//! Kernels against the same sums in Rust.

use crate::device::Device;
use cudarc::driver::{LaunchConfig, PushKernelArg};

const SGD: &str = r#"
extern "C" __global__ void sgd(float* w, float* v, const float* g, float rate, float m, float d, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float c = m * v[i] - d * rate * w[i] - rate * g[i];
    v[i] = c;
    w[i] += c;
}"#;

const ARCHS: [&str; 3] = ["compute_75", "compute_80", "compute_120"];

#[test]
fn an_update_is_what_fused_arithmetic_gives() {
    let n = 1000usize;
    let Some(device) = Device::of_cuda(SGD, "compute_80") else { return };
    let stream = &device.stream;
    let host = |seed: u32| {
        (0..n as u32).map(|i| ((i * 7 + seed) % 13) as f32 * 0.37 - 2.0).collect::<Vec<f32>>()
    };
    let (w, v, g) = (host(1), host(2), host(3));
    let mut dw = stream.clone_htod(&w).unwrap();
    let mut dv = stream.clone_htod(&v).unwrap();
    let dg = stream.clone_htod(&g).unwrap();
    let (rate, m, d, count) = (0.01f32, 0.9f32, 0.0005f32, n as i32);
    let sgd = device.function("sgd");
    let mut call = stream.launch_builder(&sgd);
    call.arg(&mut dw).arg(&mut dv).arg(&dg).arg(&rate).arg(&m).arg(&d).arg(&count);
    // SAFETY: order and types are the kernel's, and it stays below n.
    unsafe { call.launch(LaunchConfig::for_num_elems(n as u32)) }.unwrap();
    let got = stream.clone_dtoh(&dw).unwrap();
    for i in 0..n {
        let c = m * v[i] - d * rate * w[i] - rate * g[i];
        assert!((got[i] - (w[i] + c)).abs() < 1e-6, "{i}: {} {}", got[i], w[i] + c);
    }
}

/// A product as the backend's are: shared tiles, 128-bit loads, 8×8 sums a thread.
const PRODUCT: &str = r#"
extern "C" __global__ __launch_bounds__(256) void product(float* __restrict__ C, const float* __restrict__ A,
                                                          const float* __restrict__ B, int M, int N, int K) {
    __shared__ float As[2][8][128];
    __shared__ float Bs[2][8][128];
    int t = threadIdx.x, tx = t % 16, ty = t / 16;
    float acc[8][8] = {};
    const float4* a4 = (const float4*)(A + (blockIdx.y * 128 + t / 2) * K + (t % 2) * 4);
    const float4* b4 = (const float4*)(B + (t / 32) * N + blockIdx.x * 128 + (t % 32) * 4);
    float4 ra = a4[0], rb = b4[0];
    int s = 0;
    for (int k = 0; k < K; k += 8) {
        As[s][(t % 2) * 4 + 0][t / 2] = ra.x;
        As[s][(t % 2) * 4 + 1][t / 2] = ra.y;
        As[s][(t % 2) * 4 + 2][t / 2] = ra.z;
        As[s][(t % 2) * 4 + 3][t / 2] = ra.w;
        *(float4*)&Bs[s][t / 32][(t % 32) * 4] = rb;
        __syncthreads();
        if (k + 8 < K) {
            ra = a4[(k + 8) / 4];
            rb = b4[(size_t)(k + 8) * N / 4];
        }
#pragma unroll
        for (int kk = 0; kk < 8; kk++) {
            float a[8], b[8];
            *(float4*)a = *(float4*)&As[s][kk][ty * 4];
            *(float4*)(a + 4) = *(float4*)&As[s][kk][64 + ty * 4];
            *(float4*)b = *(float4*)&Bs[s][kk][tx * 4];
            *(float4*)(b + 4) = *(float4*)&Bs[s][kk][64 + tx * 4];
#pragma unroll
            for (int i = 0; i < 8; i++)
#pragma unroll
                for (int j = 0; j < 8; j++) acc[i][j] += a[i] * b[j];
        }
        s ^= 1;
    }
    for (int i = 0; i < 8; i++)
        for (int j = 0; j < 8; j++) {
            int r = blockIdx.y * 128 + (i / 4) * 64 + ty * 4 + i % 4;
            int c = blockIdx.x * 128 + (j / 4) * 64 + tx * 4 + j % 4;
            C[(size_t)r * N + c] = acc[i][j];
        }
}"#;

/// Sums in the kernel's order with fused steps: every bit must agree, on PTX of both front ends.
#[test]
fn a_matrix_product_agrees_to_the_last_bit() {
    for arch in ARCHS {
        let Some(device) = Device::of_cuda(PRODUCT, arch) else { return };
        let (m, n, k) = (256usize, 256usize, 64usize);
        let host = |len: usize, seed: usize| {
            (0..len).map(|i| ((i * 31 + seed) % 101) as f32 * 0.013 - 0.6).collect()
        };
        let (a, b): (Vec<f32>, Vec<f32>) = (host(m * k, 5), host(k * n, 9));
        let stream = &device.stream;
        let (da, db) = (stream.clone_htod(&a).unwrap(), stream.clone_htod(&b).unwrap());
        // SAFETY: the kernel writes all of it.
        let mut dc = unsafe { stream.alloc::<f32>(m * n) }.unwrap();
        let product = device.function("product");
        let (mi, ni, ki) = (m as i32, n as i32, k as i32);
        let mut call = stream.launch_builder(&product);
        call.arg(&mut dc).arg(&da).arg(&db).arg(&mi).arg(&ni).arg(&ki);
        let grid = ((n / 128) as u32, (m / 128) as u32, 1);
        let config = LaunchConfig { grid_dim: grid, block_dim: (256, 1, 1), shared_mem_bytes: 0 };
        // SAFETY: order and types are the kernel's; the sizes are whole tiles.
        unsafe { call.launch(config) }.unwrap();
        let c = stream.clone_dtoh(&dc).unwrap();
        for (i, got) in c.iter().enumerate() {
            let want = (0..k).fold(0f32, |sum, p| a[i / n * k + p].mul_add(b[p * n + i % n], sum));
            assert_eq!(got.to_bits(), want.to_bits(), "{arch}: element {i}");
        }
    }
}
