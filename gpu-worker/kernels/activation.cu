// activation.cu — activations, in place: max(0, x), and tanh for the comparison of Figure 1.
//
// Math    relu: y = x < 0 ? 0 : x    dy ← y > 0 ? dy : 0                                        paper §3.1
//         tanh: y = tanh x           dy ← dy · (1 − y²)
//         NaN stays NaN: divergence must show in the loss.
// Shapes  y, dy: [n] f32.
// Launch  1-D: 256 threads per block, ceil(n / 256) blocks; thread i owns number i. No shared memory.
// Result  same bits every run; relu gives the CPU's.
// Twin    src/backend/cpu/activation.rs.

extern "C" __global__ void relu_forward(float* y, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    y[i] = y[i] < 0.0f ? 0.0f : y[i];
}

extern "C" __global__ void relu_backward(float* dy, const float* y, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    dy[i] = y[i] > 0.0f ? dy[i] : 0.0f;
}

extern "C" __global__ void tanh_forward(float* y, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    y[i] = tanhf(y[i]);
}

extern "C" __global__ void tanh_backward(float* dy, const float* y, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    dy[i] *= 1.0f - y[i] * y[i];
}
