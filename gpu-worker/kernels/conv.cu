// conv.cu — convolution: outputs, gradients of inputs and of weights.
//
// Math    y[map, p] = b[map] + Σ_k w[map, k] · x[place(p) + offset(k)], k = (input, ky, kx), then the
//         activation; dw[map, k] = Σ_{image, p} dy[image, p, map] · x[place(image, p) + offset(k)].
//         The gradient of the inputs is a convolution again: of dy, dilated by the stride, with
//         kernels rotated by half a turn.
// Shapes  conv_layout first copies what the windows read, with the zeros around it, so that one place
//         per pixel and one offset per k say everything: packed [n, maps, r, r, q, q], r the remainders
//         of the stride that the kernel meets, q = out_side + (kernel − 1) / stride. A padded row is
//         stride · quotient + remainder, so windows are at distance 1 for any stride. For the gradient
//         of the weights conv_channels_last packs both operands so that neighbors are maps.
// Launch  products as in gemm_tile.cu; the others 256 threads per block. A sum may be cut into splits
//         (split-K), which reduce.cu adds up.
// Result  same bits every run, and of outputs and input gradients for every n: their cut depends on the layer alone.
// Twin    src/backend/cpu/conv.rs, windows.rs.

// Packs the maps for the windows; writes the tables of offsets and places beside them.
//
// Block (plane, part of a plane). Padded row u is row (u − pad) / dilation of x, where that leaves no
// remainder, and zeros elsewhere.
extern "C" __global__ void conv_layout(
    float* __restrict__ packed, unsigned* __restrict__ offsets, int* __restrict__ places,
    const float* __restrict__ x,                                   // [planes, side, side]
    int side, int dilation, int pad, int stride, int kernel, int out_side, int depth)
{
    int r = min(stride, kernel);                // remainders of the stride that the kernel meets
    int q = out_side + (kernel - 1) / stride;   // quotients of a padded line by the stride
    int len = r * r * q * q;
    int i = blockIdx.y * blockDim.x + threadIdx.x;
    if (i >= len) return;

    // A padded column is stride * column_quotient + column_remainder, a padded row likewise.
    // Neighbors in i read neighbors in x.
    int column_remainder = i % r;
    int column_quotient = i / r % q;
    int row_quotient = i / (r * q) % q;
    int row_remainder = i / (r * q * q);
    int row = stride * row_quotient + row_remainder - pad;
    int column = stride * column_quotient + column_remainder - pad;
    bool inside = row >= 0 && column >= 0 && row % dilation == 0 && column % dilation == 0;
    row /= dilation;
    column /= dilation;
    inside = inside && row < side && column < side;
    int to = ((row_remainder * r + column_remainder) * q + row_quotient) * q + column_quotient;
    packed[(long long)blockIdx.x * len + to] = inside ? x[((long long)blockIdx.x * side + row) * side + column] : 0.0f;

    // The first image's planes have more numbers than either table. Offsets are filled up in
    // front like the depth, and behind for the loads ahead of the last strip: nobody uses those.
    int padded_depth = (depth + STRIP - 1) / STRIP * STRIP;
    int entry = blockIdx.x * len + i;
    if (blockIdx.x * (long long)len + i < padded_depth + STRIP) {
        int k = entry - (padded_depth - depth);
        int kx = k % kernel, ky = k / kernel % kernel, input = k / (kernel * kernel);
        int plane = (input * r + ky % stride) * r + kx % stride;
        offsets[entry] = k >= 0 ? (plane * q + ky / stride) * q + kx / stride : 0;
    }
    if (blockIdx.x == 0 && i < out_side * out_side) places[i] = i / out_side * q + i % out_side;
}

// Weights as conv_forward reads them, neighbors in a tile beside each other: [groups, inputs, k, maps]
// from w's range. In w, two maps are map_step apart and two inputs input_step. Kernels may be rotated by
// half a turn.
extern "C" __global__ void conv_weights(
    float* __restrict__ packed,
    const float* __restrict__ w,
    int groups, int maps, int inputs, int kernel_numbers, int map_step, int input_step, int rotated)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= groups * inputs * kernel_numbers * maps) return;

    int map = i % maps, k = i / maps % kernel_numbers;
    int input = i / (maps * kernel_numbers) % inputs, group = i / (maps * kernel_numbers * inputs);
    long long group_step = rotated ? inputs * input_step : maps * map_step;
    long long from = group * group_step + (long long)map * map_step + input * input_step;
    packed[i] = w[from + (rotated ? kernel_numbers - 1 - k : k)];
}

// An operand each thread of which stands for a column: element (d, column) is at[offsets[d]]. Forward,
// a column is a pixel and d a place in its window; for the weights, a column is a place in the window
// and d a pixel.
struct Windows {
    const float* at;
    const uint4* offsets;
    uint4 low, high;  // offsets of the strip that is fetched next
    float next[STRIP];

    __device__ Windows(const float* at, const unsigned* table) : at(at), offsets((const uint4*)table)
    {
        low = offsets[0];
        high = offsets[1];
    }
    // Depth filled in front needs no zeros here: the other operand has them.
    __device__ void fetch(int = 0)
    {
        unsigned offset[STRIP] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
        for (int i = 0; i < STRIP; ++i) next[i] = at[offset[i]];
        offsets += 2;
        low = offsets[0];
        high = offsets[1];
    }
    template <class Strip>
    __device__ void put(Strip& strip) const
    {
#pragma unroll
        for (int i = 0; i < STRIP; ++i) strip[i][threadIdx.x] = next[i];
    }
};

// Forward, and the gradient of the inputs with packed dy and rotated kernels. Grid: column tiles of
// (image, pixel), row tiles of maps, groups within splits.
extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT) conv_forward(
    float* __restrict__ y,                                         // [splits, n, groups · maps, pixels]
    const float* __restrict__ packed, const unsigned* __restrict__ offsets, const int* __restrict__ places,
    const float* __restrict__ w, const float* __restrict__ bias,   // [groups, depth_len, maps], [groups · maps] or null
    int add, int activation, int n, int groups, int maps, int pixels, int depth_len, int packed_group, int strips_per_split)
{
    __shared__ __align__(16) Tile tile;
    int column = blockIdx.x * COLUMNS + threadIdx.x, first = blockIdx.y * ROWS;
    int group = blockIdx.z % groups, split = blockIdx.z / groups;
    bool exists = column < n * pixels;
    int image = (exists ? column : 0) / pixels, pixel = column % pixels;
    int image_group = image * groups + group;

    Depth depth(depth_len, strips_per_split, split);
    Accumulator sums;
    sums.add_product(
        tile, KStrided<4>(w + (long long)group * depth_len * maps, maps, first, maps, depth),
        Windows(packed + (long long)image_group * packed_group + places[pixel], offsets + split * strips_per_split * STRIP),
        depth);

    y += (((long long)split * n * groups + image_group) * maps + first) * pixels + pixel;
    if (bias) bias += group * maps + first;
    sums.each(tile, [=](int row, float* values) {
        float* to = y + (long long)row * pixels;
        int rows = exists ? maps - first - row : 0;
        if (add) {
#pragma unroll
            for (int i = 0; i < 8; ++i) values[i] = (i < rows ? to[i * pixels] : 0.0f) + values[i];
        }
        if (bias) {
#pragma unroll
            for (int i = 0; i < 8; ++i) values[i] += i < rows ? bias[row + i] : 0.0f;
        }
#pragma unroll
        for (int i = 0; i < 8; ++i)
            if (i < rows) to[i * pixels] = activated(values[i], activation);
    });
}

// Channels last, with zeros around the maps: packed [images, line, line, maps] from x [images, maps,
// side, side]; place (y, x) of packed is place (y − pad, x − pad) of x. The places where windows of
// out_side² pixels begin are written to `places`, unless it is null.
//
// Block (a line of an image, 32 columns, 32 maps) of 32 × 8 threads; a square of 32 × 32 is transposed in
// shared memory.
extern "C" __global__ void conv_channels_last(
    float* __restrict__ packed, unsigned* __restrict__ places,
    const float* __restrict__ x,
    int side, int pad, int line, int maps, int stride, int out_side, int depth)
{
    __shared__ float square[32][32 + 1];
    int lane = threadIdx.x % 32, part = threadIdx.x / 32;
    int image = blockIdx.x / line, y = blockIdx.x % line - pad;
    int column = blockIdx.y * 32 + lane - pad;
    bool inside = y >= 0 && y < side && column >= 0 && column < side;
    for (int i = part; i < 32; i += 8) {
        int map = blockIdx.z * 32 + i;
        square[i][lane] = inside && map < maps ? x[(((long long)image * maps + map) * side + y) * side + column] : 0.0f;
    }
    __syncthreads();

    int map = blockIdx.z * 32 + lane;
    for (int i = part; i < 32; i += 8) {
        int to = blockIdx.y * 32 + i;
        if (to < line && map < maps) packed[((long long)blockIdx.x * line + to) * maps + map] = square[lane][i];
    }

    // Places of windows fill up like the depth, as conv_layout's offsets; the first blocks have threads enough.
    int padded_depth = (depth + STRIP - 1) / STRIP * STRIP;
    int entry = ((blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x) * blockDim.x + threadIdx.x;
    if (places && entry < padded_depth + STRIP) {
        int d = max(entry - (padded_depth - depth), 0), pixel = d % (out_side * out_side);
        int row = d / (out_side * out_side) * line + pixel / out_side * stride;
        places[entry] = (row * line + pixel % out_side * stride) * maps;
    }
}

// Partial sums of the gradient of the weights, k = (ky, kx, input). Grid: column tiles of k, row tiles of maps, groups
// within splits.
extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT) conv_backward_weights(
    float* __restrict__ partial,                                   // [splits, groups · maps, k]
    const float* __restrict__ dy, const float* __restrict__ packed,  // channels last
    const unsigned* __restrict__ places,
    int groups, int maps, int inputs, int kernel, int line, int depth_len, int strips_per_split)
{
    __shared__ __align__(16) Tile tile;
    int group = blockIdx.z % groups, split = blockIdx.z / groups, k_len = inputs * kernel * kernel;
    int k = min(blockIdx.x * COLUMNS + threadIdx.x, k_len - 1);
    int input = k % inputs, kx = k / inputs % kernel, ky = k / inputs / kernel;
    packed += ((ky * line + kx) * groups + group) * inputs + input;

    Depth depth(depth_len, strips_per_split, split);
    Accumulator sums;
    sums.add_product(
        tile, KStrided<4>(dy + group * maps, groups * maps, blockIdx.y * ROWS, maps, depth),
        Windows(packed, places + split * strips_per_split * STRIP), depth);
    store_partial(sums, tile, partial + (long long)blockIdx.z * maps * k_len, maps, k_len);
}
