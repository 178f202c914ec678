// transfer.cu — numbers to f16 and back, scaled by a power of two per tensor.
//
// Math    largest: the largest finite |x|. f32_to_f16: f16(x · 2^e), e the largest with largest · 2^e ≤ 65504,
//         126 at most; for zeros, any. f16_to_f32: y = f32(h) · factor.
// Shapes  a slot is a header of 16 bytes, the largest's bits first, then [n] f16; x, y: [n] f32.
// Launch  256 threads per block; one thread per number, in largest several.
// Result  the CPU's bits: magnitudes order like their bits, so an integer maximum in any order is one result.
// Twin    src/backend/cpu/transfer.rs.

constexpr int HEADER = 16;

extern "C" __global__ void transfer_largest(unsigned char* slot, const float* x, int n)
{
    unsigned int most = 0;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
        unsigned int bits = __float_as_uint(x[i]) & 0x7fffffff;
        if (bits < 0x7f800000 && bits > most) most = bits;
    }
    atomicMax((unsigned int*)slot, most);
}

extern "C" __global__ void transfer_f32_to_f16(unsigned char* slot, const float* x, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;

    float largest = __uint_as_float(*(const unsigned int*)slot);
    int power = 0;                                                      // largest = fraction · 2^power
    float fraction = frexpf(largest, &power);
    int e = 16 - power - (fraction > 65504.0f / 65536.0f);
    e = min(e, 126);                                                    // −113 is the least
    float scaled = x[i] * __int_as_float((e + 127) << 23);

    unsigned short f16;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(f16) : "f"(scaled));
    ((unsigned short*)(slot + HEADER))[i] = f16;
}

extern "C" __global__ void transfer_f16_to_f32(float* y, const unsigned char* slot, float factor, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(((const unsigned short*)slot)[i]));
    y[i] = value * factor;
}
