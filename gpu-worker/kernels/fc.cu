// fc.cu — fully-connected layers: outputs, gradients of inputs and of weights.
//
// Math    y = x·wᵀ + b, then the activation      dx = dy·w      dw = dyᵀ·x
// Shapes  x, dx: [n, range]   y, dy: [n, units]   w, dw: [units, inputs], of which the pointer is at the range's
//         first column. Sums may be cut into splits, which reduce.cu adds up: partial [splits, rows, columns].
// Launch  as in gemm_tile.cu; grid z: splits.
// Result  same bits every run, and of outputs and input gradients for every n: their cut depends on the layer alone.
// Twin    src/backend/cpu/fc.rs; there the whole sum runs in one order, here in splits.

extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT) fc_forward(
    float* __restrict__ partial,                                   // [splits, n, units]
    const float* __restrict__ x, const float* __restrict__ w,      // [n, range], [units, inputs]
    int n, int units, int range, int inputs, int strips_per_split)
{
    __shared__ __align__(16) Tile tile;
    Depth depth(range, strips_per_split, blockIdx.z);
    Accumulator sums;
    sums.add_product(
        tile, KContiguous<4>(x, range, blockIdx.y * ROWS, n, depth),
        KContiguous<8>(w, inputs, blockIdx.x * COLUMNS, units, depth), depth);
    store_partial(sums, tile, partial + (long long)blockIdx.z * n * units, n, units);
}

extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT) fc_backward_inputs(
    float* __restrict__ partial,                                   // [splits, n, range]
    const float* __restrict__ dy, const float* __restrict__ w,     // [n, units], [units, inputs]
    int n, int units, int range, int inputs, int strips_per_split)
{
    __shared__ __align__(16) Tile tile;
    Depth depth(units, strips_per_split, blockIdx.z);
    Accumulator sums;
    sums.add_product(
        tile, KContiguous<4>(dy, units, blockIdx.y * ROWS, n, depth),
        KStrided<8>(w, inputs, blockIdx.x * COLUMNS, range, depth), depth);
    store_partial(sums, tile, partial + (long long)blockIdx.z * n * range, n, range);
}

extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT) fc_backward_weights(
    float* __restrict__ dw,                                        // [splits, units, pitch]
    const float* __restrict__ dy, const float* __restrict__ x,     // [n, units], [n, range]
    int add, int n, int units, int range, int pitch, int strips_per_split)
{
    __shared__ __align__(16) Tile tile;
    Depth depth(n, strips_per_split, blockIdx.z);
    Accumulator sums;
    sums.add_product(
        tile, KStrided<4>(dy, units, blockIdx.y * ROWS, units, depth),
        KStrided<8>(x, range, blockIdx.x * COLUMNS, range, depth), depth);

    int first = blockIdx.y * ROWS, column = blockIdx.x * COLUMNS + threadIdx.x;
    sums.each(tile, [=](int row, float* values) {
        float* to = dw + ((long long)blockIdx.z * units + first + row) * pitch + column;
        int rows = column < range ? units - first - row : 0;
        if (add) {
#pragma unroll
            for (int i = 0; i < 8; ++i) values[i] += i < rows ? to[(long long)i * pitch] : 0.0f;
        }
#pragma unroll
        for (int i = 0; i < 8; ++i)
            if (i < rows) to[(long long)i * pitch] = values[i];
    });
}
