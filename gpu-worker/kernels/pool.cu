// pool.cu — overlapping max pooling.
//
// Math    y = largest of the window, `argmax` its place there, row-major, the first of equals;     paper §3.4
//         windows that overhang right and bottom are cut off. dx = Σ dy of the windows that took x.
//         NaN wins, so that divergence shows.
// Shapes  x, dx: [maps of all images, side, side]; y, dy, argmax: [the same, out, out]. n: numbers
//         that are written (y forward, dx backward).
// Launch  1-D: 256 threads per block, ceil(n / 256) blocks; thread i owns number i. No shared memory.
// Result  same bits every run: a gradient is collected by its receiver, windows in order.
// Twin    src/backend/cpu/pool.rs.

extern "C" __global__ void pool_forward(
    float* y, unsigned char* argmax,
    const float* x,
    int side, int out, int size, int stride, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;

    int column = i % out * stride, row = i / out % out * stride;
    const float* map = x + (long long)(i / (out * out)) * side * side;
    float best = __int_as_float(0xff800000);                            // −∞
    int place = 0;
    for (int r = 0; r < size && row + r < side; r++) {
        for (int c = 0; c < size && column + c < side; c++) {
            float value = map[(row + r) * side + column + c];
            if (value > best || value != value) {
                best = value;
                place = r * size + c;
            }
        }
    }
    y[i] = best;
    argmax[i] = place;
}

extern "C" __global__ void pool_backward(
    float* dx,
    const float* dy, const unsigned char* argmax,
    int side, int out, int size, int stride, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;

    int column = i % side, row = i / side % side;
    long long map = (long long)(i / (side * side)) * out * out;
    // Windows whose rows hold ours: those from row − size + 1 on that begin no later than it.
    int first_row = row < size ? 0 : (row - size) / stride + 1;
    int first_column = column < size ? 0 : (column - size) / stride + 1;
    float sum = 0.0f;
    for (int r = first_row; r < out && r * stride <= row; r++) {
        for (int c = first_column; c < out && c * stride <= column; c++) {
            int place = (row - r * stride) * size + column - c * stride;
            if (argmax[map + r * out + c] == place) sum += dy[map + r * out + c];
        }
    }
    dx[i] = sum;
}
