// input.cu — pixels to the numbers the network reads.
//
// Math    y[c][r][x] = p[c][r][x'] − mean[c][row + r][column + x'] + shift[c]              paper §2, §4.1
//         x' = crop − 1 − x where the image is mirrored, else x.
// Shapes  pixels [images, 3, crop, crop] u8, places [images, 6] (row, column, mirrored, three shifts),
//         mean [3, side, side]; y [images, 3, crop, crop], 0..255 units. n: numbers in y.
// Launch  1-D: 256 threads per block, ceil(n / 256) blocks; thread i owns number i. No shared memory.
// Result  the CPU's bits: one subtraction, one addition, no sums.
// Twin    src/backend/cpu/input.rs.

extern "C" __global__ void input(
    float* y,
    const unsigned char* pixels, const float* places, const float* mean,
    int crop, int side, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;

    int x = i % crop, r = i / crop % crop, c = i / (crop * crop) % 3, image = i / (3 * crop * crop);
    const float* place = places + image * 6;
    // A place beyond the mean would be the loader's fault; it must not become this device's.
    int most = side - crop;
    int row = min(max((int)place[0], 0), most), column = min(max((int)place[1], 0), most);
    int from = place[2] != 0.0f ? crop - 1 - x : x;

    float pixel = (float)pixels[i - x + from];
    y[i] = pixel - mean[(c * side + row + r) * side + column + from] + place[3 + c];
}
