// sum.cu — what surrounds the products: sums of their splits, gradients of biases, sums of two tensors.
//
// Math    add: to ← to + from    bias_backward: db ← (add ? db : 0) + Σ dy over images and pixels  paper §5
//         outputs: y ← activated((add ? y : 0) + Σ partial + b)    weights: dw ← (add ? dw : 0) + Σ partial
// Shapes  partial: [splits, images, maps, pixels] like y, or [splits, rows, places, inputs] where dw is [rows, inputs,
//         places] with rows `pitch` apart: a product's k has its inputs last;
//         to, from: [n]; dy: [images, maps, pixels] (units: pixels = 1); db: [maps].
// Launch  sum_outputs, sum_weights, add, bias_backward_units: 256 threads a block, one thread a number of the result.
//         bias_backward_maps: 256 threads a block, one block a map. Shared: one partial sum a thread.
// Result  same bits every run: a thread's share and the order of all sums are fixed.
// Twin    src/backend/cpu/sum.rs, which adds in another order.

#define THREADS 256

// Element i of all splits, added up in order.
static __device__ float sum_of_splits(const float* partial, int splits, int i, int n)
{
    float sum = partial[i];
    for (int split = 1; split < splits; ++split) sum += partial[(long long)split * n + i];
    return sum;
}

extern "C" __global__ void sum_outputs(
    float* y,
    const float* partial, const float* bias,                            // or null
    int add, int activation, int splits, int n, int maps, int pixels)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;

    float sum = sum_of_splits(partial, splits, i, n);
    if (add) sum = y[i] + sum;
    if (bias) sum += bias[i / pixels % maps];
    y[i] = activated(sum, activation);
}

extern "C" __global__ void sum_weights(
    float* dw, const float* partial, int add, int splits, int rows, int inputs, int places, int pitch)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= rows * inputs * places) return;

    float sum = sum_of_splits(partial, splits, i, rows * inputs * places);
    int input = i % inputs, place = i / inputs % places, row = i / inputs / places;
    float* to = dw + (long long)row * pitch + input * places + place;
    *to = add ? *to + sum : sum;
}

extern "C" __global__ void add(float* to, const float* from, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    to[i] += from[i];
}

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
