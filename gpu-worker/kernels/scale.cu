// scale.cu — multiplication by a factor: dropout at test time.
//
// Math    y ← factor · y                                                                        paper §4.2
// Shapes  y: [n] f32, in place.
// Launch  1-D: 256 threads per block, ceil(n / 256) blocks; thread i owns number i. No shared memory.
// Result  same bits every run, those of the CPU.
// Twin    src/backend/cpu/scale.rs.

extern "C" __global__ void scale(float* y, float factor, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    y[i] *= factor;
}
