// activated.cu — what ends a sum; a prelude, without kernels.
//
// Math    0: y    1: y < 0 ? 0 : y    2: tanh y. What is not a number stays so.                 paper §3.1
// Shapes  one number.
// Launch  called by the thread that has the sum.
// Result  as relu.cu's.
// Twin    src/backend/cpu/relu.rs.

__device__ inline float activated(float y, int activation)
{
    if (activation == 1) return y < 0.0f ? 0.0f : y;
    return activation == 2 ? tanhf(y) : y;
}
