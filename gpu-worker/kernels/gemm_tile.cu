// gemm_tile.cu — one tile of a matrix product, under convolution and fully-connected layers; a prelude.
//
// Math    sum[row][column] = Σ over depth of a[depth][row] · b[depth][column], f32, fused multiply-add.
// Shapes  a block makes a tile of 64 × 128 outputs from strips of depth 8 that it keeps in shared memory.
// Launch  128 threads, 8 × 8 outputs each; grid (column tiles, row tiles, splits of the depth or groups).
//         Two strips: while one is multiplied, the next one's loads are on their way to registers.
// Result  every output is one thread's sum, in order of depth: no bit depends on the tile around it.
// Twin    src/backend/cpu/gemm.rs.
//
// A depth that is no multiple of 8 is filled up with zeros *in front*: only the first strip needs
// guards, and the loop has none. Rows and columns beyond the edge read the last one that exists;
// what they give is never stored.

constexpr int ROWS = 64, COLUMNS = 128, STRIP = 8, THREADS = 128;

// Blocks that a multiprocessor must have room for: with a fourth, registers would spill.
constexpr int RESIDENT = 3;

// What a block of a product keeps in shared memory. Four floats of padding per line put the 8 × 4
// numbers that a warp stores from an KContiguous operand into 32 different banks.
union Tile {
    struct { float a[2][STRIP][ROWS + 4], b[2][STRIP][COLUMNS + 4]; } strips;
    float stage[ROWS / 2][COLUMNS];
};

// The strips of one split of the depth.
struct Depth {
    int first;   // depth of the first strip's first line; negative where zeros are filled in
    int zeros;   // lines of the first strip that are zeros
    int strips;

    __device__ Depth(int depth, int strips_per_split, int split)
    {
        int all = max((depth + STRIP - 1) / STRIP, 1), missing = all * STRIP - depth;
        int from = split * strips_per_split;
        first = from * STRIP - missing;
        zeros = split == 0 ? missing : 0;
        strips = min(strips_per_split, all - from);
    }
};

// A K-contiguous operand: neighbors in memory are neighbors in depth, element (d, r) is from[r · pitch + d].
// N numbers per thread: 16 · N rows or columns.
template <int N>
struct KContiguous {
    const float* at;
    unsigned offset[N];
    float next[N];

    __device__ KContiguous(const float* from, int pitch, int first, int count, Depth depth)
    {
        at = from + (long long)first * pitch + depth.first + line();
#pragma unroll
        for (int i = 0; i < N; ++i) offset[i] = min(place(i), count - 1 - first) * pitch;
    }
    __device__ static int line() { return threadIdx.x % STRIP; }
    __device__ static int place(int i) { return threadIdx.x / STRIP + THREADS / STRIP * i; }

    __device__ void fetch(int zeros = 0)
    {
#pragma unroll
        for (int i = 0; i < N; ++i) next[i] = line() >= zeros ? at[offset[i]] : 0.0f;
        at += STRIP;
    }
    template <class Strip>
    __device__ void put(Strip& strip) const
    {
#pragma unroll
        for (int i = 0; i < N; ++i) strip[line()][place(i)] = next[i];
    }
};

// A K-strided operand: neighbors in memory are neighbors in the tile, element (d, r) is from[d · pitch + r].
template <int N>
struct KStrided {
    static constexpr int WIDTH = N * THREADS / STRIP, LINES = THREADS / WIDTH;  // lines read at once
    const float* at;
    int pitch;
    float next[N];

    __device__ KStrided(const float* from, int pitch, int first, int count, Depth depth) : pitch(pitch)
    {
        at = from + (long long)(depth.first + line(0)) * pitch + min(first + place(), count - 1);
    }
    __device__ static int line(int i) { return threadIdx.x / WIDTH + LINES * i; }
    __device__ static int place() { return threadIdx.x % WIDTH; }

    __device__ void fetch(int zeros = 0)
    {
#pragma unroll
        for (int i = 0; i < N; ++i) next[i] = line(i) >= zeros ? at[LINES * i * pitch] : 0.0f;
        at += STRIP * pitch;
    }
    template <class Strip>
    __device__ void put(Strip& strip) const
    {
#pragma unroll
        for (int i = 0; i < N; ++i) strip[line(i)][place()] = next[i];
    }
};

// The 8 × 8 outputs of a thread: of its warp's 32 × 64, rows {0, 16} + 4 y + (0..4) and columns
// {0, 32} + 4 x + (0..4), y = lane / 8, x = lane % 8. So eight lanes in a row read 128 bytes in a row.
struct Accumulator {
    float sum[8][8] = {};

    __device__ static int row() { return threadIdx.x / 64 * 32 + threadIdx.x % 32 / 8 * 4; }
    __device__ static int column() { return threadIdx.x / 32 % 2 * 64 + threadIdx.x % 8 * 4; }

    __device__ void multiply(const Tile& tile, int buffer)
    {
#pragma unroll
        for (int d = 0; d < STRIP; ++d) {
            const float* from_a = &tile.strips.a[buffer][d][row()];
            const float* from_b = &tile.strips.b[buffer][d][column()];
            float4 a0 = *(const float4*)from_a, a1 = *(const float4*)(from_a + 16);
            float4 b0 = *(const float4*)from_b, b1 = *(const float4*)(from_b + 32);
            float a[8] = {a0.x, a0.y, a0.z, a0.w, a1.x, a1.y, a1.z, a1.w};
            float b[8] = {b0.x, b0.y, b0.z, b0.w, b1.x, b1.y, b1.z, b1.w};
#pragma unroll
            for (int i = 0; i < 8; ++i)
#pragma unroll
                for (int j = 0; j < 8; ++j) sum[i][j] = fmaf(a[i], b[j], sum[i][j]);
        }
    }

    template <class A, class B>
    __device__ void add_product(Tile& tile, A a, B b, Depth depth)
    {
        a.fetch(depth.zeros);
        b.fetch(depth.zeros);
        a.put(tile.strips.a[0]);
        b.put(tile.strips.b[0]);
        __syncthreads();
        int buffer = 0;
        for (int strip = 1; strip < depth.strips; ++strip) {
            a.fetch();
            b.fetch();
            multiply(tile, buffer);
            buffer ^= 1;  // the other buffer was last read before the barrier that ended the last round
            a.put(tile.strips.a[buffer]);
            b.put(tile.strips.b[buffer]);
            __syncthreads();
        }
        multiply(tile, buffer);
    }

    // Hands the tile out so that a warp holds 32 neighbors of a row: calls store(row, values) with
    // 8 rows of the column that this thread stands for.
    template <class Store>
    __device__ void each(Tile& tile, Store store)
    {
#pragma unroll
        for (int part = 0; part < 2; ++part) {
            __syncthreads();
            float* to = &tile.stage[row() / 32 * 16 + row() % 32][column()];
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const float* s = sum[4 * part + i];
                *(float4*)(to + i * COLUMNS) = make_float4(s[0], s[1], s[2], s[3]);
                *(float4*)(to + i * COLUMNS + 32) = make_float4(s[4], s[5], s[6], s[7]);
            }
            __syncthreads();
            for (int line = 0; line < ROWS / 2; line += 8) {
                float values[8];
#pragma unroll
                for (int i = 0; i < 8; ++i) values[i] = tile.stage[line + i][threadIdx.x];
                store(line / 16 * 32 + part * 16 + line % 16, values);
            }
        }
    }
};

// Writes one thread's column of a tile of partial sums [rows, columns].
__device__ inline void store_partial(Accumulator& sums, Tile& tile, float* to, int rows, int columns)
{
    int first = blockIdx.y * ROWS, column = blockIdx.x * COLUMNS + threadIdx.x;
    sums.each(tile, [=](int row, const float* values) {
#pragma unroll
        for (int i = 0; i < 8; ++i)
            if (first + row + i < rows && column < columns)
                to[(long long)(first + row + i) * columns + column] = values[i];
    });
}
