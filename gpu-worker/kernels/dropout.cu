// dropout.cu — silences units in training.
//
// Math    unit u of sample s is silent if word i mod 4 of Philox(i / 4, stream) is below the threshold,
//         i = s · of_units + first_unit + u                                                      paper §4.2
// Shapes  y: [images, units], in place.
// Launch  256 threads per block, x: enough for units / 4 + 2 draws, y: images; a thread takes the units
//         of one draw. No shared memory.
// Result  the CPU's masks bit for bit, whichever half or slice a unit is in.
// Twin    src/backend/cpu/dropout.rs.

extern "C" __global__ void dropout(
    float* y,
    unsigned long long seed, unsigned long long threshold, unsigned long long first_sample,
    int stream, int units, int first_unit, int of_units)
{
    unsigned long long first = (first_sample + blockIdx.y) * of_units + first_unit;
    unsigned long long draw = first / 4 + blockIdx.x * blockDim.x + threadIdx.x;

    const unsigned int purpose = 5;                                     // random.rs: Purpose::Dropout
    Words words = {{(unsigned int)draw, (unsigned int)(draw >> 32), (unsigned int)stream, purpose}};
    words = philox(words, (unsigned int)seed, (unsigned int)(seed >> 32));
    for (int i = 0; i < 4; i++) {
        unsigned long long unit = draw * 4 + i;
        if (unit >= first && unit < first + units && words.word[i] < threshold) {
            y[(long long)blockIdx.y * units + (unit - first)] = 0.0f;
        }
    }
}
