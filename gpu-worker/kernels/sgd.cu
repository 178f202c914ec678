// sgd.cu — one parameter update with momentum and weight decay.
//
// Math    v ← m·v − d·r·w − r·g      w ← w + v                                                  paper §5
//         r rate, m momentum, d decay; g is already the mean over the batch.
// Shapes  w, v, g: [n] f32, not overlapping; w and v change in place.
// Launch  1-D: 256 threads per block, ceil(n / 256) blocks; thread i owns number i. No shared memory.
// Result  same bits every run: no atomics, no sums across threads.
// Twin    src/backend/cpu/sgd.rs; they differ only where the GPU fuses multiply and add.

extern "C" __global__ void sgd(
    float* w, float* v,
    const float* g,
    float rate, float momentum, float decay, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;

    float change = momentum * v[i] - decay * rate * w[i] - rate * g[i];  // decay sees the old w
    v[i] = change;
    w[i] += change;
}
