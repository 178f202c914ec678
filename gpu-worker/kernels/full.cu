// full.cu — full layers: outputs, gradients of inputs and of weights.
//
// Math    y = x·wᵀ + b, then the activation      dx = dy·w      dw = dyᵀ·x
// Shapes  x, dx: [n, part]   y, dy: [n, units]   w, dw: [units, inputs], of which the pointer is at the part's
//         first column. Sums may be cut into splits, which sum.cu adds up: partial [splits, rows, columns].
// Launch  as in tile.cu; grid z: splits.
// Result  same bits every run, and of outputs and input gradients for every n: their cut depends on the layer alone.
// Twin    src/backend/cpu/full.rs; there the whole sum runs in one order, here in splits.

extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT) full_forward(
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

extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT) full_backward_inputs(
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

extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT) full_backward_weights(
    float* __restrict__ dw,                                        // [splits, units, pitch]
    const float* __restrict__ dy, const float* __restrict__ x,     // [n, units], [n, part]
    int add, int n, int units, int part, int pitch, int strips_a_split)
{
    __shared__ __align__(16) Tile tile;
    Depth depth(n, strips_a_split, blockIdx.z);
    Outputs outputs;
    outputs.add_product(
        tile, AcrossDepth<4>(dy, units, blockIdx.y * ROWS, units, depth),
        AcrossDepth<8>(x, part, blockIdx.x * COLUMNS, part, depth), depth);

    int first = blockIdx.y * ROWS, column = blockIdx.x * COLUMNS + threadIdx.x;
    outputs.each(tile, [=](int row, float* values) {
        float* to = dw + ((long long)blockIdx.z * units + first + row) * pitch + column;
        int rows = column < part ? units - first - row : 0;
        if (add) {
#pragma unroll
            for (int i = 0; i < 8; ++i) values[i] += i < rows ? to[(long long)i * pitch] : 0.0f;
        }
#pragma unroll
        for (int i = 0; i < 8; ++i)
            if (i < rows) to[(long long)i * pitch] = values[i];
    });
}
