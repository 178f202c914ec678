// conv.cu — convolution: outputs, gradients of inputs and of weights.
//
// Math    y[map, p] = b[map] + Σ_k w[map, k] · x[place(p) + offset(k)], k = (input, ky, kx), then the activation;
//         dw[map, k] = Σ_{image, p} dy[image, p, map] · x[place(image, p) + offset(k)]. The gradient of the inputs is a
//         convolution again: of dy, its numbers set `stride` apart, with the kernels turned round.
// Shapes  conv_layout first copies what the windows read, with the zeros around it, so that one place a pixel and one
//         offset a k say everything: laid [n, maps, r, r, q, q], r the remainders of the stride that the kernel meets,
//         q = out_side + (kernel − 1) / stride; line y = stride · qy + ry. So windows are at distance 1 for any stride.
//         For the gradient of the weights conv_maps_last lays out both operands, so that neighbours are maps.
// Launch  products as in tile.cu; the others 256 threads a block. A sum may be cut into splits, which sum.cu adds up.
// Result  same bits every run, and of outputs and input gradients for every n: their cut depends on the layer alone.
// Twin    src/backend/cpu/conv.rs, windows.rs.

// Lays out the maps for the windows; writes the tables of offsets and places beside it.
//
// Block (plane, part of a plane). Source line of line u: (u − lead) / apart, where that leaves no remainder.
extern "C" __global__ void conv_layout(
    float* __restrict__ laid, unsigned* __restrict__ offsets, int* __restrict__ places,
    const float* __restrict__ x,                                   // [planes, side, side]
    int side, int apart, int lead, int stride, int kernel, int out_side, int depth)
{
    int r = min(stride, kernel), q = out_side + (kernel - 1) / stride, len = r * r * q * q;
    int i = blockIdx.y * blockDim.x + threadIdx.x;
    if (i >= len) return;

    // Neighbours in i read neighbours in x.
    int rx = i % r, qx = i / r % q, line = i / (r * q), qy = line % q, ry = line / q;
    int y = stride * qy + ry - lead, from = stride * qx + rx - lead;
    bool inside = y >= 0 && from >= 0 && y % apart == 0 && from % apart == 0;
    y /= apart;
    from /= apart;
    inside = inside && y < side && from < side;
    laid[(long long)blockIdx.x * len + ((ry * r + rx) * q + qy) * q + qx] =
        inside ? x[((long long)blockIdx.x * side + y) * side + from] : 0.0f;

    // The first image's planes have more numbers than either table. Offsets are filled up in
    // front like the depth, and behind for the loads ahead of the last strip: nobody uses those.
    int filled = (depth + STRIP - 1) / STRIP * STRIP, entry = blockIdx.x * len + i;
    if (blockIdx.x * (long long)len + i < filled + STRIP) {
        int k = entry - (filled - depth), kx = k % kernel, ky = k / kernel % kernel, input = k / kernel / kernel;
        offsets[entry] = k >= 0 ? (((input * r + ky % stride) * r + kx % stride) * q + ky / stride) * q + kx / stride : 0;
    }
    if (blockIdx.x == 0 && i < out_side * out_side) places[i] = i / out_side * q + i % out_side;
}

// Weights as conv_forward reads them, neighbours in a tile beside each other: [groups, inputs, k, maps] from w's part. Of w,
// two maps are map_step apart and two inputs input_step. Turned, every kernel is turned round.
extern "C" __global__ void conv_weights(
    float* __restrict__ laid,
    const float* __restrict__ w,
    int groups, int maps, int inputs, int kernel_numbers, int map_step, int input_step, int turned)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= groups * inputs * kernel_numbers * maps) return;

    int map = i % maps, k = i / maps % kernel_numbers;
    int input = i / (maps * kernel_numbers) % inputs, group = i / (maps * kernel_numbers * inputs);
    long long group_step = turned ? inputs * input_step : maps * map_step;
    laid[i] = w[group * group_step + (long long)map * map_step + input * input_step + (turned ? kernel_numbers - 1 - k : k)];
}

// An operand each thread of which stands for a column: element (d, column) is at[offsets[d]]. Forward, a column is a
// pixel and d a place in its window; for the weights, a column is a place in the window and d a pixel.
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

// Forward, and the gradient of the inputs with laid-out dy and turned kernels. Grid: column tiles of
// (image, pixel), row tiles of maps, groups within splits.
extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT) conv_forward(
    float* __restrict__ y,                                         // [splits, n, groups · maps, pixels]
    const float* __restrict__ laid, const unsigned* __restrict__ offsets, const int* __restrict__ places,
    const float* __restrict__ w, const float* __restrict__ bias,   // [groups, depth_len, maps], [groups · maps] or null
    int add, int activation, int n, int groups, int maps, int pixels, int depth_len, int laid_group, int strips_a_split)
{
    __shared__ __align__(16) Tile tile;
    int column = blockIdx.x * COLUMNS + threadIdx.x, first = blockIdx.y * ROWS;
    int group = blockIdx.z % groups, split = blockIdx.z / groups;
    bool exists = column < n * pixels;
    int image = (exists ? column : 0) / pixels, pixel = column % pixels;
    int image_group = image * groups + group;

    Depth depth(depth_len, strips_a_split, split);
    Outputs outputs;
    outputs.add_product(
        tile, AcrossDepth<4>(w + (long long)group * depth_len * maps, maps, first, maps, depth),
        Windows(laid + (long long)image_group * laid_group + places[pixel], offsets + split * strips_a_split * STRIP),
        depth);

    y += (((long long)split * n * groups + image_group) * maps + first) * pixels + pixel;
    if (bias) bias += group * maps + first;
    outputs.each(tile, [=](int row, float* values) {
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

// Maps last, zeros around them: laid [images, line, line, maps] from x [images, maps, side, side], place (y, x) of it
// being place (y − lead, x − lead) of x. Where windows of out_side² pixels begin is written beside, unless null.
//
// Block (a line of an image, 32 columns, 32 maps) of 32 × 8 threads; a square of 32 × 32 turns in shared memory.
extern "C" __global__ void conv_maps_last(
    float* __restrict__ laid, unsigned* __restrict__ places,
    const float* __restrict__ x,
    int side, int lead, int line, int maps, int stride, int out_side, int depth)
{
    __shared__ float square[32][32 + 1];
    int lane = threadIdx.x % 32, part = threadIdx.x / 32;
    int image = blockIdx.x / line, y = blockIdx.x % line - lead;
    int column = blockIdx.y * 32 + lane - lead;
    bool inside = y >= 0 && y < side && column >= 0 && column < side;
    for (int i = part; i < 32; i += 8) {
        int map = blockIdx.z * 32 + i;
        square[i][lane] = inside && map < maps ? x[(((long long)image * maps + map) * side + y) * side + column] : 0.0f;
    }
    __syncthreads();

    int map = blockIdx.z * 32 + lane;
    for (int i = part; i < 32; i += 8) {
        int to = blockIdx.y * 32 + i;
        if (to < line && map < maps) laid[((long long)blockIdx.x * line + to) * maps + map] = square[lane][i];
    }

    // Places of windows fill up like the depth, as conv_layout's offsets; the first blocks have threads enough.
    int filled = (depth + STRIP - 1) / STRIP * STRIP;
    int entry = ((blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x) * blockDim.x + threadIdx.x;
    if (places && entry < filled + STRIP) {
        int d = max(entry - (filled - depth), 0), pixel = d % (out_side * out_side);
        int row = d / (out_side * out_side) * line + pixel / out_side * stride;
        places[entry] = (row * line + pixel % out_side * stride) * maps;
    }
}

// Partial sums of the gradient of the weights, k = (ky, kx, input). Grid: column tiles of k, row tiles of maps, groups
// within splits.
extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT) conv_backward_weights(
    float* __restrict__ partial,                                   // [splits, groups · maps, k]
    const float* __restrict__ dy, const float* __restrict__ laid,  // maps last
    const unsigned* __restrict__ places,
    int groups, int maps, int inputs, int kernel, int line, int depth_len, int strips_a_split)
{
    __shared__ __align__(16) Tile tile;
    int group = blockIdx.z % groups, split = blockIdx.z / groups, k_len = inputs * kernel * kernel;
    int k = min(blockIdx.x * COLUMNS + threadIdx.x, k_len - 1);
    int input = k % inputs, kx = k / inputs % kernel, ky = k / inputs / kernel;
    laid += ((ky * line + kx) * groups + group) * inputs + input;

    Depth depth(depth_len, strips_a_split, split);
    Outputs outputs;
    outputs.add_product(
        tile, AcrossDepth<4>(dy + group * maps, groups * maps, blockIdx.y * ROWS, maps, depth),
        Windows(laid, places + split * strips_a_split * STRIP), depth);
    store_partial(outputs, tile, partial + (long long)blockIdx.z * maps * k_len, maps, k_len);
}
