// epilogue.cu — the activation at the end of a product; a prelude, without kernels.
//
// Math    0: y    1: y < 0 ? 0 : y    2: tanh y. NaN stays NaN.                 paper §3.1
// Shapes  one number.
// Launch  called by the thread that has the sum.
// Result  as activation.cu's.
// Twin    src/backend/cpu/activation.rs.

__device__ inline float activated(float y, int activation)
{
    if (activation == 1) return y < 0.0f ? 0.0f : y;
    return activation == 2 ? tanhf(y) : y;
}
