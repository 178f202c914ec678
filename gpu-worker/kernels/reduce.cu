// reduce.cu — adds up the partial sums of split-K products.
//
// Math    outputs: y ← activated((add ? y : 0) + Σ partial + b)    weights: dw ← (add ? dw : 0) + Σ partial
// Shapes  partial: [splits, images, maps, pixels] like y, or [splits, rows, places, inputs] where dw is
//         [rows, inputs, places] with rows `pitch` apart: a product's k has its inputs last.
// Launch  256 threads per block, one thread per number of the result. No shared memory.
// Result  same bits every run: the splits are added in order.
// Twin    src/backend/cpu/gemm.rs, which cuts a sum at other places.

// Element i of all splits, added up in order.
static __device__ float sum_of_splits(const float* partial, int splits, int i, int n)
{
    float sum = partial[i];
    for (int split = 1; split < splits; ++split) sum += partial[(long long)split * n + i];
    return sum;
}

extern "C" __global__ void reduce_outputs(
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

extern "C" __global__ void reduce_weights(
    float* dw, const float* partial, int add, int splits, int rows, int inputs, int places, int pitch)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= rows * inputs * places) return;

    float sum = sum_of_splits(partial, splits, i, rows * inputs * places);
    int input = i % inputs, place = i / inputs % places, row = i / inputs / places;
    float* to = dw + (long long)row * pitch + input * places + place;
    *to = add ? *to + sum : sum;
}
