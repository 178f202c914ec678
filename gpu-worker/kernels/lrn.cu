// lrn.cu — response normalization: each number by its neighbors in adjacent maps.
//
// Math    scale = k + α · Σ x²      y = x · scale^−β                                            paper §3.3
//         dx = dy · scale^−β − 2αβ · x · Σ (dy · y / scale)
//         The first sum is over `size` maps from map − size/2 on, the second over the maps whose
//         window holds this one; neither leaves the group of `group` maps.
// Shapes  all [images, maps, pixels] f32, not overlapping.
// Launch  256 threads per block; x: ceil(pixels / 256), y: maps, z: images. A thread owns one number;
//         its neighbors are a map apart, so that a warp's reads are contiguous. No shared memory.
// Result  same bits every run: each sum runs over its maps in order.
// Twin    src/backend/cpu/lrn.rs.

// scale^−β; the paper's β needs roots only.
static __device__ float power(float scale, float beta)
{
    if (beta != 0.75f) return powf(scale, -beta);
    float root = sqrtf(scale);
    return 1.0f / (root * sqrtf(root));
}

extern "C" __global__ void lrn_forward(
    float* y, float* scale,
    const float* x,
    float k, float alpha, float beta, int size, int group, int pixels)
{
    int pixel = blockIdx.x * blockDim.x + threadIdx.x;
    if (pixel >= pixels) return;

    int map = blockIdx.y, first = map / group * group;
    int from = max(map - size / 2, first), to = min(map - size / 2 + size, first + group);
    long long image = (long long)blockIdx.z * gridDim.y * pixels;

    float squares = 0.0f;
    for (int m = from; m < to; m++) {
        float value = x[image + (long long)m * pixels + pixel];
        squares += value * value;
    }
    long long at = image + (long long)map * pixels + pixel;
    float s = k + alpha * squares;
    scale[at] = s;
    y[at] = x[at] * power(s, beta);
}

extern "C" __global__ void lrn_backward(
    float* dx,
    const float* dy, const float* x, const float* y, const float* scale,
    float factor,                                                       // 2αβ
    float beta, int size, int group, int pixels)
{
    int pixel = blockIdx.x * blockDim.x + threadIdx.x;
    if (pixel >= pixels) return;

    int map = blockIdx.y, first = map / group * group;
    int before = size - 1 - size / 2;
    int from = max(map - before, first), to = min(map - before + size, first + group);
    long long image = (long long)blockIdx.z * gridDim.y * pixels;

    float shares = 0.0f;
    for (int m = from; m < to; m++) {
        long long at = image + (long long)m * pixels + pixel;
        shares += dy[at] * y[at] / scale[at];
    }
    long long at = image + (long long)map * pixels + pixel;
    dx[at] = dy[at] * power(scale[at], beta) - factor * x[at] * shares;
}
