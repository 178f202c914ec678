// bias.cu — gradient of the biases.
//
// Math    db ← (add ? db : 0) + Σ dy over images and pixels                                      paper §5
// Shapes  dy: [images, maps, pixels] (units: pixels = 1); db: [maps].
// Launch  bias_backward_units: 256 threads per block, one thread per unit.
//         bias_backward_maps: 256 threads per block, one block per map. Shared: one partial sum per thread.
// Result  same bits every run: a thread's share and the order of all sums are fixed.
// Twin    src/backend/cpu/bias.rs, which adds in another order.

constexpr int THREADS = 256;

extern "C" __global__ void bias_backward_units(float* db, const float* dy, int add, int images, int maps)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= maps) return;
    float sum = 0.0f;
    for (int image = 0; image < images; image++) {
        sum += dy[image * maps + i];
    }
    db[i] = (add ? db[i] : 0.0f) + sum;
}

extern "C" __global__ void __launch_bounds__(THREADS) bias_backward_maps(
    float* db,
    const float* dy,
    int add, int images, int maps, int pixels)
{
    __shared__ float shared[THREADS];
    int t = threadIdx.x, map = blockIdx.x;

    float sum = 0.0f;
    for (int image = 0; image < images; image++) {
        const float* from = dy + ((long long)image * maps + map) * pixels;
        for (int i = t; i < pixels; i += THREADS) sum += from[i];
    }
    shared[t] = sum;
    __syncthreads();
    for (int half = THREADS / 2; half > 0; half /= 2) {
        if (t < half) shared[t] += shared[t + half];
        __syncthreads();
    }
    if (t == 0) db[map] = (add ? db[map] : 0.0f) + shared[0];
}
