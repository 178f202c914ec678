// tensor.cu — the matrix product on tensor cores: what tile.cu is for FFMA; a prototype.
//
// Math    sum[row][column] = Σ over depth of a[depth][row] · b[depth][column]; operands TF32
//         (rounded on the way from shared memory), BF16 (as stored), or TF32×3 (high and low parts,
//         the small products first); sums f32.
// Shapes  a block makes a tile of 128 × 128 outputs from stages of 64 bytes of depth (16 f32,
//         32 bf16), three of them in shared memory, copied there 16 bytes at a time without passing
//         registers (cp.async).
// Launch  128 threads: four warps of 64 × 64 outputs; grid (column tiles, row tiles, splits of the
//         depth or groups).
// Result  every output is one thread's accumulator, in order of depth: the same bits every run on
//         one architecture.
// Asks    sm_80; pitches and starts that are multiples of 16 bytes, an even number of columns.
//
// Rows and columns beyond the edge are filled with zeros or repeat the last one; what they give is
// never stored. Depth beyond the end is filled with zeros, by the copy itself.

typedef unsigned int u32;
typedef unsigned short bf16;

constexpr int TILE = 128, STAGES = 3, THREADS = 128, RESIDENT = 2;
constexpr int OPERAND = TILE * 64, STAGE = 2 * OPERAND; // bytes

template <class T> constexpr int PER = 16 / (int)sizeof(T); // numbers of one copy
template <class T> constexpr int DEPTH = 64 / (int)sizeof(T); // depth of a stage

// The stages of one split of the depth.
struct Part {
    int first, count, stages;
    __device__ Part(int depth, int a_stage, int stages_a_split, int split)
    {
        first = split * stages_a_split * a_stage;
        count = min(stages_a_split * a_stage, depth - first);
        stages = (count + a_stage - 1) / a_stage;
    }
};

__device__ inline void copy16(u32 to, const void* from, int bytes)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes)
        : "memory");
}
__device__ inline void copies_end()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int N> __device__ inline void copies_wait()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

// An operand whose neighbors in memory are neighbors in depth: [row][depth]. In shared memory a
// row is 64 bytes, its four pieces exchanged by bits of the row, so that eight rows of a piece lie
// in different banks. With a table, piece p of the depth begins table[p] further: the windows of a
// convolution over maps-last images.
template <class T, bool TABLE> struct Along {
    const T* at;
    u32 offset[4], to, next;
    const u32* table;
    int left; // depth from this thread's piece on

    // `starts`: where each row begins, or null: at pitch · row.
    __device__ Along(const T* from, int pitch, const u32* starts, const u32* pieces, int first,
        int count, Part part)
    {
        int piece = threadIdx.x % 4;
        at = TABLE ? from : from + part.first + piece * PER<T>;
        table = TABLE ? pieces + part.first / PER<T> + piece : nullptr;
        next = TABLE ? *table : 0;
        left = part.count - piece * PER<T>;
        to = threadIdx.x / 4 * 64 + ((piece ^ (threadIdx.x / 8 % 4)) << 4);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            int row = min(first + (int)threadIdx.x / 4 + 32 * i, count - 1);
            offset[i] = starts ? starts[row] : (u32)(row * pitch);
        }
    }
    __device__ void load(u32 stage)
    {
        int bytes = min(max(left, 0) * (int)sizeof(T), 16);
#pragma unroll
        for (int i = 0; i < 4; ++i)
            copy16(stage + to + i * 32 * 64, at + offset[i] + (TABLE ? next : 0), bytes);
        left -= DEPTH<T>;
        if (TABLE) {
            table += 4; // the table is filled up by a stage
            next = *table;
        } else {
            at += DEPTH<T>;
        }
    }
};

// An operand whose neighbors in memory are neighbors in the tile: [depth][row]. A line of shared
// memory is one depth; its pieces are exchanged by bits of the depth. With a table, line d begins
// at starts[d].
template <class T, bool TABLE> struct Across {
    static constexpr int PIECES = TILE / PER<T>; // of a line
    static constexpr int LINES = THREADS / PIECES; // read at once
    const T* at;
    const u32* table;
    u32 to, next[4];
    int pitch, left, bytes;

    __device__ Across(const T* from, int pitch, const u32* starts, int first, int count, Part part)
        : pitch(pitch)
    {
        int piece = threadIdx.x % PIECES, line = threadIdx.x / PIECES;
        bytes = min(max(count - first - piece * PER<T>, 0) * (int)sizeof(T), 16);
        at = from + first + piece * PER<T>;
        if (!TABLE) at += (long long)(part.first + line) * pitch;
        table = TABLE ? starts + part.first + line : nullptr;
        left = part.count - line;
        // No bank is shared: tf32 by a fragment's four depths, bf16 by eight lines of a piece.
        int swap = sizeof(T) == 4 ? line % 4 * 2 : line % 8;
        to = line * TILE * (int)sizeof(T) + ((piece ^ swap) << 4);
#pragma unroll
        for (int i = 0; i < 4; ++i) next[i] = TABLE ? table[LINES * i] : 0;
    }
    __device__ void load(u32 stage)
    {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const T* from = TABLE ? at + next[i] : at + (long long)(LINES * i) * pitch;
            copy16(
                stage + to + i * LINES * TILE * (int)sizeof(T), from, LINES * i < left ? bytes : 0);
        }
        left -= DEPTH<T>;
        if (TABLE) {
            table += DEPTH<T>; // filled up by a stage
#pragma unroll
            for (int i = 0; i < 4; ++i) next[i] = table[LINES * i];
        } else {
            at += (long long)DEPTH<T> * pitch;
        }
    }
};

__device__ inline void matrices(u32 (&r)[4], u32 at)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
        : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
        : "r"(at)
        : "memory");
}
__device__ inline void matrices_turned(u32 (&r)[4], u32 at)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
        : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
        : "r"(at)
        : "memory");
}
__device__ inline u32 word(u32 at)
{
    u32 r;
    asm volatile("ld.shared.b32 %0, [%1];" : "=r"(r) : "r"(at) : "memory");
    return r;
}

// Where a lane finds its share of an operand. In: 16 rows and a step of depth (8 tf32, 16 bf16) as
// the four registers of an mma's A; of B the same registers hold two blocks of 8 columns, in the
// order 0 2 1 3.
template <class T, bool ACROSS, bool IS_B> struct Reader {
    u32 base, other[4];

    __device__ Reader(u32 operand, int first)
    {
        int lane = threadIdx.x % 32, low = lane % 8, mid = lane / 8 % 2, high = lane / 16;
        if (!ACROSS) {
            int row = low + 8 * (IS_B ? high : mid), piece = IS_B ? mid : high;
            base = operand + (first + row) * 64 + ((piece ^ (row / 2 % 4)) << 4);
        } else if (sizeof(T) == 2) {
            int depth = low + 8 * (IS_B ? mid : high), piece = IS_B ? high : mid;
            base = operand + depth * TILE * 2 + first * 2 + ((piece ^ low) << 4);
        } else {
            int t = lane % 4, g = lane / 4;
            base = operand + t * TILE * 4 + first * 4;
#pragma unroll
            for (int i = 0; i < 4; ++i) other[i] = ((g | t << 3) ^ i << 3) << 2;
        }
    }
    // Block i of 16, step s of the stage that begins `stage` bytes further.
    __device__ void get(u32 (&r)[4], u32 stage, int i, int s) const
    {
        if (!ACROSS) {
            matrices(r, (base ^ s << 5) + stage + i * 16 * 64);
        } else if (sizeof(T) == 2) {
            matrices_turned(r, (base ^ i << 5) + stage + s * 16 * TILE * 2);
        } else {
#pragma unroll
            for (int j = 0; j < 4; ++j) {
                int eight = IS_B ? j / 2 : j % 2, four = IS_B ? j % 2 : j / 2;
                r[j] = word(base + stage + other[(2 * i + eight) % 4] + (i / 2) * 128
                    + (s * 8 + four * 4) * TILE * 4);
            }
        }
    }
};

__device__ inline void mma(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1, float)
{
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
                 "{%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ inline void mma(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1, bf16)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, "
                 "{%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ inline u32 tf32(u32 x)
{
    u32 r;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(r) : "f"(__uint_as_float(x)));
    return r;
}

// The outputs of a thread: of its warp's 64 × 64, rows 16 i + lane / 4 (+ 8) and columns
// 8 j + 2 (lane % 4) (+ 1). PRODUCTS: 1, or 3 for TF32×3. ROUND: whether f32 operands are rounded
// here, not where they were laid out.
template <class T, int PRODUCTS, bool ROUND> struct Sums {
    float sum[4][8][4] = {};

    __device__ static int row() { return threadIdx.x / 64 * 64; }
    __device__ static int column() { return threadIdx.x / 32 % 2 * 64; }

    __device__ static void split(u32 (&high)[4], u32 (&low)[4])
    {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            float all = __uint_as_float(high[j]);
            if (ROUND || PRODUCTS == 3) high[j] = tf32(high[j]);
            if (PRODUCTS == 3) low[j] = tf32(__float_as_uint(all - __uint_as_float(high[j])));
        }
    }

    template <class A, class B>
    __device__ void multiply(const A& from_a, const B& from_b, u32 stage)
    {
#pragma unroll
        for (int s = 0; s < 2; ++s) {
            u32 a[4][4], b[4][4], a_low[4][4], b_low[4][4];
#pragma unroll
            for (int i = 0; i < 4; ++i) from_a.get(a[i], stage, i, s);
#pragma unroll
            for (int j = 0; j < 4; ++j) from_b.get(b[j], stage, j, s);
            if (sizeof(T) == 4) {
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    split(a[i], a_low[i]);
                    split(b[i], b_low[i]);
                }
            }
#pragma unroll
            for (int i = 0; i < 4; ++i)
#pragma unroll
                for (int j = 0; j < 8; ++j) {
                    u32 b0 = b[j / 2][j % 2 * 2], b1 = b[j / 2][j % 2 * 2 + 1];
                    if (PRODUCTS == 3) {
                        mma(sum[i][j], a_low[i], b0, b1, T());
                        mma(sum[i][j], a[i], b_low[j / 2][j % 2 * 2], b_low[j / 2][j % 2 * 2 + 1],
                            T());
                    }
                    mma(sum[i][j], a[i], b0, b1, T());
                }
        }
    }

    template <bool A_ACROSS, bool B_ACROSS, class A, class B>
    __device__ void add_product(u32 shared, A a, B b, int stages)
    {
        Reader<T, A_ACROSS, false> from_a(shared, row());
        Reader<T, B_ACROSS, true> from_b(shared + OPERAND, column());
        u32 writes = 0, reads = 0;
#pragma unroll
        for (int s = 0; s < STAGES - 1; ++s) {
            if (s < stages) {
                a.load(shared + writes);
                b.load(shared + writes + OPERAND);
            }
            copies_end();
            writes += STAGE;
        }
        for (int s = 0; s < stages; ++s) {
            copies_wait<STAGES - 2>();
            // This stage is there, and all have read the one that is overwritten now.
            __syncthreads();
            if (s + STAGES - 1 < stages) {
                a.load(shared + writes);
                b.load(shared + writes + OPERAND);
            }
            copies_end();
            multiply(from_a, from_b, reads);
            writes = writes == (STAGES - 1) * STAGE ? 0 : writes + STAGE;
            reads = reads == (STAGES - 1) * STAGE ? 0 : reads + STAGE;
        }
    }

    // Calls store(row, column, value, next column's value) for all outputs: a warp's store is 8
    // whole sectors.
    template <class Store> __device__ void each(Store store) const
    {
        int lane = threadIdx.x % 32;
#pragma unroll
        for (int i = 0; i < 4; ++i)
#pragma unroll
            for (int j = 0; j < 8; ++j) {
                int r = row() + 16 * i + lane / 4, c = column() + 8 * j + lane % 4 * 2;
                store(r, c, sum[i][j][0], sum[i][j][1]);
                store(r + 8, c, sum[i][j][2], sum[i][j][3]);
            }
    }
};

__device__ inline u32 shared_address(const void* p)
{
    return (u32)__cvta_generic_to_shared(p);
}

// One tile of a product [rows, columns], partial sums of split blockIdx.z.
template <class T, int PRODUCTS, bool A_ACROSS, bool B_ACROSS> __device__ void product(float* to,
    const T* a, const T* b, int a_pitch, int b_pitch, int rows, int columns, int depth,
    int stages_a_split)
{
    __shared__ __align__(128) unsigned char memory[STAGES * STAGE];
    int first = blockIdx.y * TILE, column = blockIdx.x * TILE;
    Part part(depth, DEPTH<T>, stages_a_split, blockIdx.z);
    Sums<T, PRODUCTS, true> sums;
    u32 shared = shared_address(memory);
    if constexpr (A_ACROSS)
        sums.template add_product<true, true>(shared,
            Across<T, false>(a, a_pitch, nullptr, first, rows, part),
            Across<T, false>(b, b_pitch, nullptr, column, columns, part), part.stages);
    else if constexpr (B_ACROSS)
        sums.template add_product<false, true>(shared,
            Along<T, false>(a, a_pitch, nullptr, nullptr, first, rows, part),
            Across<T, false>(b, b_pitch, nullptr, column, columns, part), part.stages);
    else
        sums.template add_product<false, false>(shared,
            Along<T, false>(a, a_pitch, nullptr, nullptr, first, rows, part),
            Along<T, false>(b, b_pitch, nullptr, nullptr, column, columns, part), part.stages);
    to += (long long)blockIdx.z * rows * columns;
    sums.each([=](int r, int c, float v0, float v1) {
        if (first + r < rows && column + c < columns)
            *(float2*)(to + (long long)(first + r) * columns + column + c) = make_float2(v0, v1);
    });
}

#define FULL(name, T, PRODUCTS)                                                                   \
    extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)                               \
        full_forward_##name(float* __restrict__ partial, const T* __restrict__ x,                 \
            const T* __restrict__ w, int n, int units, int part, int inputs, int stages)          \
    {                                                                                             \
        product<T, PRODUCTS, false, false>(partial, x, w, part, inputs, n, units, part, stages);  \
    }                                                                                             \
    extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)                               \
        full_backward_inputs_##name(float* __restrict__ partial, const T* __restrict__ dy,        \
            const T* __restrict__ w, int n, int units, int part, int inputs, int stages)          \
    {                                                                                             \
        product<T, PRODUCTS, false, true>(partial, dy, w, units, inputs, n, part, units, stages); \
    }                                                                                             \
    extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)                               \
        full_backward_weights_##name(float* __restrict__ dw, const T* __restrict__ dy,            \
            const T* __restrict__ x, int n, int units, int part, int pitch, int stages)           \
    {                                                                                             \
        product<T, PRODUCTS, true, true>(dw, dy, x, units, part, units, part, n, stages);         \
    }

FULL(tf32, float, 1)
FULL(tf32x3, float, 3)
FULL(bf16, bf16, 1)

// Convolution, maps last: x laid [n, line, line, groups · inputs] with zeros around, in T and
// rounded; w [groups, maps, ky, kx, inputs]. Rows are (image, pixel), columns maps:
// y [splits][n · pixels][groups · maps], itself maps last. Forward, and the gradient of the inputs
// with laid-out dy and turned kernels.
template <class T, bool ROUND> __device__ void conv_forward(float* y, const T* laid,
    const u32* starts, const u32* pieces, const T* w, const float* bias, int activation, int rows,
    int groups, int maps, int inputs, int depth, int stages_a_split)
{
    __shared__ __align__(128) unsigned char memory[STAGES * STAGE];
    int first = blockIdx.y * TILE, column = blockIdx.x * TILE, group = blockIdx.z % groups,
        split = blockIdx.z / groups;
    Part part(depth, DEPTH<T>, stages_a_split, split);
    Sums<T, 1, ROUND> sums;
    sums.template add_product<false, false>(shared_address(memory),
        Along<T, true>(laid + group * inputs, 0, starts, pieces, first, rows, part),
        Along<T, false>(
            w + (long long)group * maps * depth, depth, nullptr, nullptr, column, maps, part),
        part.stages);
    y += ((long long)split * rows * groups + group) * maps;
    sums.each([=](int r, int c, float v0, float v1) {
        if (first + r >= rows || column + c >= maps) return;
        if (bias) {
            v0 += bias[group * maps + column + c];
            v1 += bias[group * maps + column + c + 1];
        }
        if (activation == 1) {
            v0 = v0 < 0.0f ? 0.0f : v0;
            v1 = v1 < 0.0f ? 0.0f : v1;
        }
        *(float2*)(y + (long long)(first + r) * groups * maps + column + c) = make_float2(v0, v1);
    });
}

// Gradient of the weights: rows are maps, columns k = (ky, kx, input), depth (image, pixel).
// partial [splits, groups · maps, k].
template <class T, bool ROUND> __device__ void conv_backward_weights(float* partial, const T* dy,
    const T* laid, const u32* starts, const u32* columns_at, int groups, int maps, int inputs,
    int k_len, int depth, int stages_a_split)
{
    __shared__ __align__(128) unsigned char memory[STAGES * STAGE];
    int first = blockIdx.y * TILE, column = blockIdx.x * TILE, group = blockIdx.z % groups,
        split = blockIdx.z / groups;
    Part part(depth, DEPTH<T>, stages_a_split, split);
    Sums<T, 1, ROUND> sums;
    // A piece of PER columns is PER inputs of one (ky, kx): it begins where a table says, not where
    // Across has put it; the rest is Across's.
    Across<T, true> windows(laid + group * inputs, 0, starts, column, k_len, part);
    int piece
        = min(column / PER<T> + (int)threadIdx.x % Across<T, true>::PIECES, k_len / PER<T> - 1);
    windows.at = laid + group * inputs + columns_at[piece];
    sums.template add_product<true, true>(shared_address(memory),
        Across<T, false>(dy + group * maps, groups * maps, nullptr, first, maps, part), windows,
        part.stages);
    partial += (long long)blockIdx.z * maps * k_len;
    sums.each([=](int r, int c, float v0, float v1) {
        if (first + r < maps && column + c < k_len)
            *(float2*)(partial + (long long)(first + r) * k_len + column + c) = make_float2(v0, v1);
    });
}

#define CONV(name, T, ROUND)                                                                      \
    extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT) conv_forward_##name(          \
        float* __restrict__ y, const T* __restrict__ laid, const u32* __restrict__ starts,        \
        const u32* __restrict__ pieces, const T* __restrict__ w, const float* __restrict__ bias,  \
        int activation, int rows, int groups, int maps, int inputs, int depth, int stages)        \
    {                                                                                             \
        conv_forward<T, ROUND>(y, laid, starts, pieces, w, bias, activation, rows, groups, maps,  \
            inputs, depth, stages);                                                               \
    }                                                                                             \
    extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT) conv_backward_weights_##name( \
        float* __restrict__ partial, const T* __restrict__ dy, const T* __restrict__ laid,        \
        const u32* __restrict__ starts, const u32* __restrict__ columns_at, int groups, int maps, \
        int inputs, int k_len, int depth, int stages)                                             \
    {                                                                                             \
        conv_backward_weights<T, ROUND>(                                                          \
            partial, dy, laid, starts, columns_at, groups, maps, inputs, k_len, depth, stages);   \
    }

CONV(tf32, float, false)
CONV(bf16, bf16, false)
