// full.cu — full layers: outputs, gradients of inputs and of weights.
//
// Math    y = x·wᵀ + b, then the activation      dx = dy·w      dw = dyᵀ·x
// Shapes  x, dx: [n, part]   y, dy: [n, units]   w, dw: [units, inputs], of which the pointer is at the part's
//         first column. Sums over units or inputs are cut into splits: partial [splits, n, units or part].
// Launch  products as in tile.cu; full_sum 256 threads a block, a thread an output.
// Result  same bits every run and for every n: splits depend on the layer alone, and are added in order.
// Twin    src/backend/cpu/full.rs; there the whole sum runs in one order, here in splits.

extern "C" __global__ void __launch_bounds__(THREADS, 4) full_forward(
    float* __restrict__ partial,                                   // [splits, n, units]
    const float* __restrict__ x, const float* __restrict__ w,      // [n, part], [units, inputs]
    int n, int units, int part, int inputs, int strips_a_split)
{
    __shared__ __align__(16) Tile tile;
    Depth depth(part, strips_a_split, blockIdx.z);
    Outputs outputs;
    outputs.add_product(
        tile, AlongDepth<4>(x, part, blockIdx.y * ROWS, n, depth),
        AlongDepth<8>(w, inputs, blockIdx.x * COLUMNS, units, depth), depth);
    store_partial(outputs, tile, partial + (long long)blockIdx.z * n * units, n, units);
}

extern "C" __global__ void __launch_bounds__(THREADS, 4) full_backward_inputs(
    float* __restrict__ partial,                                   // [splits, n, part]
    const float* __restrict__ dy, const float* __restrict__ w,     // [n, units], [units, inputs]
    int n, int units, int part, int inputs, int strips_a_split)
{
    __shared__ __align__(16) Tile tile;
    Depth depth(units, strips_a_split, blockIdx.z);
    Outputs outputs;
    outputs.add_product(
        tile, AlongDepth<4>(dy, units, blockIdx.y * ROWS, n, depth),
        AcrossDepth<8>(w, inputs, blockIdx.x * COLUMNS, part, depth), depth);
    store_partial(outputs, tile, partial + (long long)blockIdx.z * n * part, n, part);
}

extern "C" __global__ void __launch_bounds__(THREADS, 4) full_backward_weights(
    float* __restrict__ dw,                                        // [units, inputs]
    const float* __restrict__ dy, const float* __restrict__ x,     // [n, units], [n, part]
    int add, int n, int units, int part, int inputs)
{
    __shared__ __align__(16) Tile tile;
    Depth depth(n, (n + STRIP - 1) / STRIP, 0);
    Outputs outputs;
    outputs.add_product(
        tile, AcrossDepth<4>(dy, units, blockIdx.y * ROWS, units, depth),
        AcrossDepth<8>(x, part, blockIdx.x * COLUMNS, part, depth), depth);

    int first = blockIdx.y * ROWS, column = blockIdx.x * COLUMNS + threadIdx.x;
    outputs.each(tile, [=](int row, float* values) {
        float* to = dw + (long long)(first + row) * inputs + column;
        int rows = column < part ? units - first - row : 0;
        if (add) {
#pragma unroll
            for (int i = 0; i < 8; ++i) values[i] += i < rows ? to[(long long)i * inputs] : 0.0f;
        }
#pragma unroll
        for (int i = 0; i < 8; ++i)
            if (i < rows) to[(long long)i * inputs] = values[i];
    });
}

// Ends full_forward and full_backward_inputs: adds the splits up, then bias and activation.
extern "C" __global__ void full_sum(
    float* __restrict__ y,                                         // [n, width]
    const float* __restrict__ partial, const float* bias,          // [splits, n, width], [width] or null
    int add, int activation, int splits, int n, int width)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n * width) return;

    float sum = sum_of_splits(partial, splits, i, n * width);
    if (add) sum = y[i] + sum;
    if (bias) sum += bias[i % width];
    y[i] = activated(sum, activation);
}
