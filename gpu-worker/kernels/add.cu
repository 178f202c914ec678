// add.cu — sum of two tensors.
//
// Math    to ← to + from
// Shapes  to, from: [n] f32, not overlapping; to changes in place.
// Launch  1-D: 256 threads per block, ceil(n / 256) blocks; thread i owns number i. No shared memory.
// Result  same bits every run, those of the CPU.
// Twin    src/backend/cpu/add.rs.

extern "C" __global__ void add(float* to, const float* from, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    to[i] += from[i];
}
